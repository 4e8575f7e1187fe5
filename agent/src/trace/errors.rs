//! `error.type` for errors that the kernel reports: a low-cardinality word for common errors, the
//! errno's name for the others.

use std::borrow::Cow;

use nix::errno::Errno;

/// The program closed the socket before the connect had a result (errno 0).
const CONNECT_CANCELLED: &str = "connect_cancelled";

/// The word for a positive errno of a socket.
pub(super) fn error_type(errno: u16) -> Cow<'static, str> {
    let word = match Errno::from_raw(i32::from(errno)) {
        Errno::ECONNREFUSED => "connection_refused",
        Errno::ETIMEDOUT => "timeout",
        // Writing to a connection that the peer has reset gives EPIPE.
        Errno::ECONNRESET | Errno::EPIPE => "connection_reset",
        Errno::ECONNABORTED => "connection_aborted",
        Errno::EHOSTUNREACH => "host_unreachable",
        Errno::ENETUNREACH => "network_unreachable",
        Errno::UnknownErrno => return Cow::Owned(format!("errno_{errno}")),
        other => return Cow::Owned(format!("{other:?}")),
    };
    Cow::Borrowed(word)
}

/// The word for how a connect failed; 0 if the program closed the socket before the connect had a
/// result.
pub(super) fn connect_error_type(errno: u16) -> Cow<'static, str> {
    if errno == 0 { Cow::Borrowed(CONNECT_CANCELLED) } else { error_type(errno) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_errnos() {
        for (errno, word) in [
            (Errno::ECONNREFUSED, "connection_refused"),
            (Errno::ETIMEDOUT, "timeout"),
            (Errno::ECONNRESET, "connection_reset"),
            (Errno::EPIPE, "connection_reset"),
            (Errno::EHOSTUNREACH, "host_unreachable"),
            (Errno::ENETUNREACH, "network_unreachable"),
            (Errno::EACCES, "EACCES"),
        ] {
            assert_eq!(connect_error_type(u16::try_from(errno as i32).unwrap()), word);
        }
        assert_eq!(connect_error_type(0), "connect_cancelled");
        assert_eq!(error_type(9_999), "errno_9999");
    }
}
