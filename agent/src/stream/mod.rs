//! Connections as byte streams: puts the transfers of each direction into the order of their positions, says where bytes are
//! missing, and keeps the ledger. Knows nothing of any protocol but the [`Parser`] trait.

mod asked;
mod connection;
mod cursor;
mod ledger;
mod limits;
mod parser;
mod reassembly;
mod waiting;

pub use connection::Connection;
pub use cursor::Cursor;
use ledger::Tally;
pub use ledger::{Account, Ledger};
pub use limits::{Counters, Limits};
pub use parser::{Context, ContextOf, Fed, Need, Parser, Sink};
