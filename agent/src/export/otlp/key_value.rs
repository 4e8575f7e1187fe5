//! Attributes as OTLP's `KeyValue`s. A span has about twenty, so each is written as its key's ready-made beginning, in which
//! only the lengths are changed; what does not fit into lengths of one byte is put together piece by piece.

use std::net::IpAddr;

use super::wire::{
    LENGTH, VARINT, append, bytes, field_length, start, tag, three_bytes, two_bytes, varint_length,
    write_varint,
};
use crate::{
    address::write_address,
    export::attributes::{Constant, Key, Sink},
};

/// Field of a `Span` that holds its attributes, as ready-made beginnings have it.
const SPAN_ATTRIBUTES: u8 = 9;

/// Fields of an `AnyValue`.
const TEXT: u8 = 1;
const BOOLEAN: u8 = 2;
const INTEGER: u8 = 3;
const ARRAY: u8 = 5;

/// The longest length that has one byte.
const ONE_BYTE: usize = 0x7f;
/// Bytes of an address, as text, at most.
const LONGEST_ADDRESS: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// Bytes around the name in a beginning: key and length of the `KeyValue` and of its name before it, of the `AnyValue` and of
/// what is in it after it.
const BEFORE_NAME: usize = 4;
const AFTER_NAME: usize = 4;

/// Length of the beginning of a text attribute.
pub(crate) const fn text_beginning_length(name: &str) -> usize {
    BEFORE_NAME + name.len() + AFTER_NAME
}

/// The beginning of a text attribute of a span, with an empty text. `N` is its [`text_beginning_length`].
pub(crate) const fn text_beginning<const N: usize>(name: &str) -> [u8; N] {
    assert!(N == text_beginning_length(name) && N - 2 <= ONE_BYTE);
    let mut all = [0; N];
    all[0] = tag(SPAN_ATTRIBUTES, LENGTH);
    all[1] = (N - 2) as u8;
    all[2] = tag(1, LENGTH);
    all[3] = name.len() as u8;
    all.split_at_mut(BEFORE_NAME).1.split_at_mut(name.len()).0.copy_from_slice(name.as_bytes());
    all[N - 4] = tag(2, LENGTH);
    all[N - 3] = 2;
    all[N - 2] = tag(TEXT, LENGTH);
    all
}

/// A text attribute of a span with this `beginning`. `M` is the length of both.
pub(crate) const fn whole_text<const N: usize, const M: usize>(beginning: &[u8; N], text: &str) -> [u8; M] {
    assert!(M == N + text.len() && M - 2 <= ONE_BYTE);
    let mut all = [0; M];
    let mut head = *beginning;
    set_text_length(&mut head, text.len() as u8);
    let (start, end) = all.split_at_mut(N);
    start.copy_from_slice(&head);
    end.copy_from_slice(text.as_bytes());
    all
}

/// Writes the attributes of a span.
#[derive(Debug)]
pub(super) struct SpanAttributes<'a>(pub(super) &'a mut Vec<u8>);

impl Sink for SpanAttributes<'_> {
    #[inline]
    fn text<const N: usize>(&mut self, key: &Key<N>, value: &str) {
        let Some(length) = fitting::<N>(value.len()) else {
            return self.long_text(key, value);
        };
        let beginning = append(&key.otlp_text, self.0);
        set_text_length(beginning, length);
        self.0.extend_from_slice(value.as_bytes());
    }

    #[inline]
    fn constant<const N: usize, const M: usize>(&mut self, constant: &Constant<N, M>) {
        self.0.extend_from_slice(&constant.otlp);
    }

    #[inline]
    fn integer<const N: usize>(&mut self, key: &Key<N>, value: i64) {
        let value = value.cast_unsigned();
        match value {
            0..0x80 => self.number(key, tag(INTEGER, VARINT), [value as u8]),
            0x80..0x4000 => self.number(key, tag(INTEGER, VARINT), two_bytes(value)),
            0x4000..0x20_0000 => self.number(key, tag(INTEGER, VARINT), three_bytes(value)),
            _ => self.long_integer(key.name, value.cast_signed()),
        }
    }

    fn boolean<const N: usize>(&mut self, key: &Key<N>, value: bool) {
        self.number(key, tag(BOOLEAN, VARINT), [u8::from(value)]);
    }

    fn texts(&mut self, name: &str, values: &[&str]) {
        KeyValues { field: SPAN_ATTRIBUTES, out: self.0 }.texts(name, values);
    }

    #[inline]
    fn address<const N: usize>(&mut self, key: &Key<N>, value: IpAddr) {
        const { assert!(N - 2 + LONGEST_ADDRESS <= ONE_BYTE) };
        let at = self.0.len();
        self.0.extend_from_slice(&key.otlp_text);
        write_address(value, self.0);
        let length = self.0.len() - at - N;
        if let Some(beginning) = self.0[at..].first_chunk_mut::<N>() {
            set_text_length(beginning, length as u8);
        }
    }
}

impl SpanAttributes<'_> {
    /// Writes a number as its varint, which begins in the place of the text's length.
    #[inline]
    fn number<const N: usize, const W: usize>(&mut self, key: &Key<N>, tag: u8, varint: [u8; W]) {
        const { assert!(N - 3 + W <= ONE_BYTE) };
        let beginning = append(&key.otlp_text, self.0);
        beginning[1] = (N - 3 + W) as u8;
        beginning[N - 3] = (1 + W) as u8;
        beginning[N - 2] = tag;
        beginning[N - 1] = varint[0];
        self.0.extend_from_slice(&varint[1..]);
    }

    #[cold]
    fn long_integer(&mut self, name: &str, value: i64) {
        KeyValues { field: SPAN_ATTRIBUTES, out: self.0 }.integer(name, value);
    }

    /// Writes a text with which a length has two bytes or more, as those of browsers and of whole URLs may have.
    #[inline(never)]
    fn long_text<const N: usize>(&mut self, key: &Key<N>, value: &str) {
        // The name as a field, and the key of the value.
        let name = &key.otlp_text[2..N - 3];
        let text = field_length(value.len());
        self.0.push(tag(SPAN_ATTRIBUTES, LENGTH));
        write_varint((name.len() + varint_length(text as u64) + text) as u64, self.0);
        self.0.extend_from_slice(name);
        write_varint(text as u64, self.0);
        bytes(TEXT, value.as_bytes(), self.0);
    }
}

/// The length of a text with which all lengths in the attribute have one byte.
#[inline]
fn fitting<const N: usize>(length: usize) -> Option<u8> {
    (length <= ONE_BYTE - (N - 2)).then_some(length as u8)
}

/// `length` is [`fitting`].
#[inline]
const fn set_text_length<const N: usize>(beginning: &mut [u8; N], length: u8) {
    beginning[1] = (N - 2) as u8 + length;
    beginning[N - 3] = 2 + length;
    beginning[N - 1] = length;
}

/// Writes attributes of any name and length, each as a `KeyValue` in this field.
#[derive(Debug)]
pub(super) struct KeyValues<'a> {
    pub(super) field: u8,
    pub(super) out: &'a mut Vec<u8>,
}

impl KeyValues<'_> {
    pub(super) fn text(&mut self, name: &str, value: &str) {
        self.begin(name, field_length(value.len()));
        bytes(TEXT, value.as_bytes(), self.out);
    }

    pub(super) fn integer(&mut self, name: &str, value: i64) {
        let value = value.cast_unsigned();
        self.begin(name, 1 + varint_length(value));
        self.out.push(tag(INTEGER, VARINT));
        write_varint(value, self.out);
    }

    pub(super) fn texts(&mut self, name: &str, values: &[impl AsRef<str>]) {
        let lengths = values.iter().map(|value| field_length(field_length(value.as_ref().len())));
        let array = lengths.sum();
        self.begin(name, field_length(array));
        start(ARRAY, array, self.out);
        for value in values {
            let value = value.as_ref().as_bytes();
            start(1, field_length(value.len()), self.out);
            bytes(TEXT, value, self.out);
        }
    }

    /// Begins a `KeyValue` whose `AnyValue` has `value` bytes.
    fn begin(&mut self, name: &str, value: usize) {
        start(self.field, field_length(name.len()) + field_length(value), self.out);
        bytes(1, name.as_bytes(), self.out);
        start(2, value, self.out);
    }
}
