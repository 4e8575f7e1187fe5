//! What of a request's head the caller wants to hear besides what every span needs: fields by their names, and whether two
//! requests are the same request (a proxy's two sides of it).

use compact_str::CompactString;

use super::http1::first_letter;

/// Most fields of one head that are given as they are.
pub const MOST_FIELDS: usize = 16;

/// Set by the caller, in force for the heads that are read from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interest {
    /// Compute [`Content`](super::http::Content).
    pub content: bool,
    fields: Vec<CompactString>,
    /// The first letters of names.
    letters: u32,
}

impl Interest {
    /// Fields to be given as they are, by name in any case.
    #[must_use]
    pub fn in_fields<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let fields: Vec<CompactString> =
            names.into_iter().map(|name| name.to_ascii_lowercase().into()).collect();
        let letters = fields
            .iter()
            .filter_map(|name| name.as_bytes().first())
            .fold(0, |all, it| all | first_letter(*it));
        Self { content: false, fields, letters }
    }

    /// [`Content`](super::http::Content) alone.
    #[cfg(test)]
    pub(super) fn in_content() -> Self {
        Self { content: true, ..Self::default() }
    }

    /// The name of the field in lower case, if it is to be given.
    pub(super) fn field(&self, name: &[u8]) -> Option<&CompactString> {
        self.fields.iter().find(|field| field.as_bytes().eq_ignore_ascii_case(name))
    }

    /// The first letters of fields that are to be given.
    pub(super) const fn letters(&self) -> u32 {
        self.letters
    }

    /// Whether a field whose name begins with this letter may be among those to be given.
    pub(super) const fn may_begin(&self, letter: u8) -> bool {
        self.letters & first_letter(letter) != 0
    }
}
