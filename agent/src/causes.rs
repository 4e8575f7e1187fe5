//! An error with all its causes on one line, for messages.

use std::error::Error;

/// The error's text and those of its causes. The first text (hyper's "client error (Connect)",
/// aya's "map error") is never the whole story. A cause whose text an error repeats is left out.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
    }
    text
}

/// The causes of an error, the nearest one first.
pub(crate) fn causes<'a>(error: &'a dyn Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
