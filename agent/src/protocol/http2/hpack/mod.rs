//! HPACK (RFC 7541) for a reader that may join late.
//!
//! A connection that is older than the agent has a dynamic table that the agent has not seen. What
//! the agent sees of it is exact all the same: static entries, literals, and everything inserted
//! since. An index that leads further back is unknown, and has an [`Ordinal`] that stays the same
//! for as long as the entry is referred to. A lost block begins a new epoch, in which the same
//! holds. Nothing depends on the table's size.

mod huffman;
mod primitive;
mod static_table;
mod window;

use std::sync::Arc;

use primitive::Reader;
use static_table::STATIC;
pub(crate) use window::Ordinal;
use window::{Entry, Found, Stored, Window};

/// A name or a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text<'a> {
    Known(&'a [u8]),
    /// That of an entry which was inserted before the reader came, or was lost.
    Unknown(Ordinal),
}

/// A field of a header block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Field<'a> {
    pub name: Text<'a>,
    pub value: Text<'a>,
}

/// The block is not valid HPACK. The connection cannot go on: its receiver closes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads the header blocks of one direction of a connection, in the order in which they were sent.
#[derive(Debug)]
pub(crate) struct Decoder {
    window: Window,
    /// Decoded strings.
    name: Vec<u8>,
    value: Vec<u8>,
}

/// Octets of a string for which memory is kept between blocks.
const USUAL_STRING: usize = 512;

/// How a field is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Representation {
    /// Section 6.1.
    Indexed,
    /// Section 6.2.1.
    Inserted,
    /// Sections 6.2.2 and 6.2.3.
    Literal,
    /// Section 6.3.
    SizeUpdate,
}

/// The name of a field before its value is read.
enum Name {
    Static(&'static str),
    Stored(Stored),
    /// In the decoder's buffer.
    Literal,
}

impl Decoder {
    /// `whole`: the first block that comes is the connection's first. `most_bytes`: of what was
    /// inserted, as RFC 7541 counts them.
    #[must_use]
    pub(crate) fn new(whole: bool, most_bytes: usize) -> Self {
        Self { window: Window::new(whole, most_bytes), name: Vec::new(), value: Vec::new() }
    }

    /// Reads a whole block, the fragments of its CONTINUATION frames included. Gives each field to
    /// `each`. After an error nothing more of the direction can be read until [`Decoder::lose`].
    ///
    /// # Errors
    ///
    /// The block is malformed. Fields in front of the fault have been given.
    pub(crate) fn block(&mut self, block: &[u8], mut each: impl FnMut(Field<'_>)) -> Result<(), Malformed> {
        for scratch in [&mut self.name, &mut self.value] {
            scratch.clear();
            scratch.shrink_to(USUAL_STRING);
        }
        let mut reader = Reader::new(block);
        let mut any = false;
        while let Some(first) = reader.peek() {
            match Representation::of(first) {
                Representation::SizeUpdate if any => return Err(Malformed),
                Representation::SizeUpdate => {
                    let size = reader.integer(5)?;
                    self.window.announce(size);
                    continue;
                }
                Representation::Indexed => self.indexed(reader.integer(7)?, &mut each)?,
                Representation::Inserted => self.literal(&mut reader, 6, true, &mut each)?,
                Representation::Literal => self.literal(&mut reader, 4, false, &mut each)?,
            }
            any = true;
        }
        Ok(())
    }

    /// A block of this direction was not read, or not whole.
    pub(crate) fn lose(&mut self) {
        self.window.lose();
    }

    /// Bytes that are remembered, as RFC 7541 counts them.
    #[must_use]
    pub(crate) const fn bytes(&self) -> usize {
        self.window.bytes()
    }

    /// References to entries that this reader had seen and forgotten, since they were beyond its
    /// limit; since this was last asked.
    pub(crate) const fn take_forgotten(&mut self) -> u64 {
        self.window.take_forgotten()
    }

    fn indexed(&mut self, index: usize, each: &mut impl FnMut(Field<'_>)) -> Result<(), Malformed> {
        let field = match index.checked_sub(1).ok_or(Malformed)?.checked_sub(STATIC.len()) {
            None => {
                let (name, value) = STATIC[index - 1];
                Field { name: Text::Known(name.as_bytes()), value: Text::Known(value.as_bytes()) }
            }
            Some(back) => match self.window.find(back) {
                Found::Entry(entry) => Field { name: entry.name.text(), value: entry.value.text() },
                Found::Unknown(ordinal) => {
                    Field { name: Text::Unknown(ordinal), value: Text::Unknown(ordinal) }
                }
                Found::Invalid => return Err(Malformed),
            },
        };
        each(field);
        Ok(())
    }

    fn literal(
        &mut self,
        reader: &mut Reader<'_>,
        prefix: u32,
        insert: bool,
        each: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Malformed> {
        let Self { window, name: name_buffer, value: value_buffer } = self;
        let index = reader.integer(prefix)?;
        let mut literal: &[u8] = &[];
        let name = match index.checked_sub(STATIC.len() + 1) {
            None if index == 0 => {
                literal = reader.string(name_buffer)?;
                Name::Literal
            }
            None => Name::Static(STATIC[index - 1].0),
            Some(back) => match window.find(back) {
                Found::Entry(entry) => Name::Stored(entry.name.clone()),
                Found::Unknown(ordinal) => Name::Stored(Stored::Unknown(ordinal)),
                Found::Invalid => return Err(Malformed),
            },
        };
        let value = reader.string(value_buffer)?;
        let text = match &name {
            Name::Static(name) => Text::Known(name.as_bytes()),
            Name::Stored(stored) => stored.text(),
            Name::Literal => Text::Known(literal),
        };
        each(Field { name: text, value: Text::Known(value) });
        if insert {
            let name = match name {
                Name::Static(name) => Stored::Known(Arc::from(name.as_bytes())),
                Name::Stored(stored) => stored,
                Name::Literal => Stored::Known(Arc::from(literal)),
            };
            window.insert(Entry { name, value: Stored::Known(Arc::from(value)) });
        }
        Ok(())
    }
}

impl Representation {
    const fn of(first: u8) -> Self {
        match first {
            0x80.. => Self::Indexed,
            0x40.. => Self::Inserted,
            0x20.. => Self::SizeUpdate,
            _ => Self::Literal,
        }
    }
}

impl Stored {
    fn text(&self) -> Text<'_> {
        match self {
            Self::Known(bytes) => Text::Known(bytes),
            Self::Unknown(ordinal) => Text::Unknown(*ordinal),
        }
    }
}

#[cfg(test)]
mod tests;
