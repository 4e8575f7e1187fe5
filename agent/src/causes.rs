//! An error with all that caused it, on one line, as it stands in messages for people.

use std::error::Error;

/// The error's text and those of its causes. What an error says first (hyper's "client error (Connect)", aya's "map error") is
/// never the whole story; a cause whose text an error repeats is left out.
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

/// What caused an error, the nearest cause first.
pub(crate) fn causes<'a>(error: &'a dyn Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}
