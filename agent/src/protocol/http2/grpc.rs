//! gRPC's status: its name, and whether it is an error
//! (<https://github.com/grpc/grpc/blob/master/doc/statuscodes.md>,
//! <https://opentelemetry.io/docs/specs/semconv/rpc/grpc/>).

use crate::protocol::Status;

/// Names by code.
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The status of this code. Whatever is not OK is an error for a client; a server answers for some of them only.
pub(super) fn status(code: u32, of_server: bool) -> Status<'static> {
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code)).copied();
    // A code without a name means UNKNOWN.
    let name = name.unwrap_or("UNKNOWN");
    let is_error = if of_server {
        matches!(
            name,
            "UNKNOWN" | "DEADLINE_EXCEEDED" | "UNIMPLEMENTED" | "INTERNAL" | "UNAVAILABLE" | "DATA_LOSS"
        )
    } else {
        name != "OK"
    };
    Status { code: Some(name), is_error }
}

/// A reply that has no status of gRPC, or not yet. One of HTTP other than 200 is an error: something between the two answered.
pub(super) const fn without_status(http: u16) -> Status<'static> {
    Status { code: None, is_error: http != 0 && http != 200 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_error_depends_on_the_side() {
        let errors = |of_server| (0..20).filter(|code| status(*code, of_server).is_error).collect::<Vec<_>>();
        assert_eq!(errors(false), (1..20).collect::<Vec<_>>());
        assert_eq!(errors(true), [2, 4, 12, 13, 14, 15, 17, 18, 19]);
        assert_eq!(status(5, false).code, Some("NOT_FOUND"));
        assert!(!without_status(200).is_error && without_status(503).is_error);
    }
}
