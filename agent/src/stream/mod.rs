//! Connections as byte streams: puts the calls of each direction into the order of their positions, says where bytes are
//! missing, and keeps the loss ledger. Knows nothing of any protocol.

mod cursor;
mod ledger;
mod reassembly;

pub(crate) use cursor::Cursor;
pub(crate) use ledger::Tally;
pub use ledger::{Account, Ledger};
pub(crate) use reassembly::{Admission, Blocked, Reassembler};
