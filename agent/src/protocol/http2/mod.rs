//! HTTP/2 in plaintext (RFC 9113): each stream is an exchange. A folder's way: [`reader`] cuts a direction into frames,
//! [`session`] gives each frame to its stream, [`hpack`] and [`head`] read the fields.
//!
//! DATA is never read. A header block that was not captured whole costs its own fields, and those that refer to what it
//! inserted; the frames go on. Where the next frame begins is not known any more after a hole outside a payload: the open
//! exchanges end as lost, and reading goes on with the next transfer that consists of whole frames.

mod blocks;
mod frame;
mod grpc;
mod head;
mod hpack;
mod mask;
mod protocol;
mod reader;
mod session;
mod stream;

pub(super) use mask::Mask;
pub(super) use session::Session;

/// How every client begins (section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
