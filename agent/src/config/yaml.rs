//! A YAML text as a tree in which every key and value has its line and column, with typed access to
//! its values.
//!
//! It is a tree and no derived reader, because an error has to name the place of a key, what is
//! expected there and the nearest known key, whatever the value is.

use std::{fmt, ops::RangeInclusive};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{
    Error, MessageFormatter as _, Spanned, UserMessageFormatter,
    options::{DuplicateKeyPolicy, MergeKeyPolicy},
};

use super::error::Problem;

/// A place in the file; both count from 1, the column in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl From<serde_saphyr::Location> for Location {
    fn from(location: serde_saphyr::Location) -> Self {
        Self { line: location.line(), column: location.column() }
    }
}

pub(super) type Node = Spanned<Value>;

#[derive(Debug)]
pub(super) enum Value {
    Nothing,
    Flag(bool),
    Integer(i128),
    Decimal(f64),
    Text(String),
    List(Vec<Node>),
    Mapping(Vec<(Spanned<String>, Node)>),
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        duplicate_keys: DuplicateKeyPolicy::Error,
        merge_keys: MergeKeyPolicy::Error,
        reject_unsupported_tags: true,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| problem(text, &error))
}

fn problem(text: &str, error: &Error) -> Problem {
    let at = error.location().map_or(Location { line: 1, column: 1 }, Location::from);
    let message = match error {
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("{key} is given twice; keep one"),
        Error::MultipleDocuments { .. } => "a second document begins here; keep one".to_owned(),
        _ => UserMessageFormatter.format_message(error).into_owned(),
    };
    let line = usize::try_from(at.line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
    let column = usize::try_from(at.column).ok();
    let character = line.and_then(|line| line.chars().nth(column?.checked_sub(1)?));
    match character {
        Some(special @ ('*' | '&' | '!' | '@' | '`' | '%')) => Problem {
            at,
            message: format!("{message}; a text that begins with {special} must stand in double quotes"),
        },
        _ => Problem { at, message },
    }
}

/// A value and the key that it stands under: what errors begin with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    name: &'a str,
    node: &'a Node,
}

impl<'a> Entry<'a> {
    pub(super) const fn new(name: &'a str, node: &'a Node) -> Self {
        Self { name, node }
    }

    /// A problem with this value.
    pub(super) fn problem(&self, message: impl fmt::Display) -> Problem {
        let name = self.name;
        let message = if name.is_empty() { message.to_string() } else { format!("{name}: {message}") };
        Problem { at: self.node.referenced.into(), message }
    }

    /// The problem that the value is not what is `expected` there.
    pub(super) fn expected(&self, expected: impl fmt::Display) -> Problem {
        self.problem(format_args!("expected {expected}, found {}", self.node.value))
    }

    pub(super) fn is_nothing(&self) -> bool {
        matches!(self.node.value, Value::Nothing)
    }

    /// A free text, not empty.
    pub(super) fn text(&self, expected: impl fmt::Display) -> Result<&'a str, Problem> {
        match &self.node.value {
            // A version or a number that is meant as a text.
            Value::Integer(_) | Value::Decimal(_) | Value::Flag(_) => {
                Err(self.expected(format_args!("{expected} in double quotes")))
            }
            _ => self.word(expected),
        }
    }

    /// A text of a certain form, so never a number, not even a quoted one.
    pub(super) fn word(&self, expected: impl fmt::Display) -> Result<&'a str, Problem> {
        match &self.node.value {
            Value::Text(text) if !text.is_empty() => Ok(text),
            _ => Err(self.expected(expected)),
        }
    }

    pub(super) fn integer(&self, range: &RangeInclusive<u64>) -> Result<u64, Problem> {
        let found = match self.node.value {
            Value::Integer(number) => u64::try_from(number).ok().filter(|number| range.contains(number)),
            _ => None,
        };
        found.ok_or_else(|| self.expected(format_args!("a number from {} to {}", range.start(), range.end())))
    }

    /// The number, when it is one.
    pub(super) const fn as_integer(&self) -> Option<i128> {
        match self.node.value {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn flag(&self) -> Result<bool, Problem> {
        match self.node.value {
            Value::Flag(flag) => Ok(flag),
            _ => Err(self.expected("true or false")),
        }
    }

    pub(super) fn list(&self, expected: &str) -> Result<impl Iterator<Item = Self> + use<'a>, Problem> {
        match &self.node.value {
            Value::List(items) => {
                let name = self.name;
                Ok(items.iter().map(move |node| Entry { name, node }))
            }
            _ => Err(self.expected(expected)),
        }
    }

    /// All pairs of a mapping whose keys are free.
    pub(super) fn pairs(&self, expected: &str) -> Result<impl Iterator<Item = Self> + use<'a>, Problem> {
        match &self.node.value {
            Value::Mapping(pairs) => Ok(pairs.iter().map(|(key, node)| Entry { name: &key.value, node })),
            _ => Err(self.expected(expected)),
        }
    }

    pub(super) const fn name(&self) -> &'a str {
        self.name
    }

    /// The fields of a mapping; a key that is not `known` is a problem.
    pub(super) fn fields(&self, known: &[&str]) -> Result<Fields<'a>, Problem> {
        let pairs = match &self.node.value {
            Value::Mapping(pairs) => pairs.as_slice(),
            _ => return Err(self.expected(format_args!("a mapping with {}", known.join(", ")))),
        };
        match pairs.iter().find(|(key, _)| !known.contains(&key.value.as_str())) {
            Some((key, _)) => Err(unknown_key(key, known)),
            None => Ok(Fields { pairs }),
        }
    }
}

/// The fields of a mapping.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a> {
    pairs: &'a [(Spanned<String>, Node)],
}

impl<'a> Fields<'a> {
    pub(super) fn get(&self, name: &str) -> Option<Entry<'a>> {
        let (key, node) = self.pairs.iter().find(|(key, _)| key.value == name)?;
        Some(Entry { name: &key.value, node })
    }

    /// What `read` makes of the field, if it is there.
    pub(super) fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(Entry<'a>) -> Result<T, Problem>,
    ) -> Result<Option<T>, Problem> {
        self.get(name).map(read).transpose()
    }
}

fn unknown_key(key: &Spanned<String>, known: &[&str]) -> Problem {
    let name = &key.value;
    let nearest = known.iter().min_by_key(|candidate| distance(name, candidate));
    let suggestion = nearest.filter(|candidate| distance(name, candidate) <= candidate.len().div_ceil(3));
    let meant = suggestion.map(|candidate| format!("; did you mean {candidate}?")).unwrap_or_default();
    let message = format!("unknown key {name}{meant} (known here: {})", known.join(", "));
    Problem { at: key.referenced.into(), message }
}

/// Levenshtein distance between two short names, in characters. A long name is far from every
/// other.
fn distance(left: &str, right: &str) -> usize {
    const LONG: usize = 64;
    if left.len() > LONG || right.len() > LONG {
        return usize::MAX;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (number, from) in left.chars().enumerate() {
        let mut diagonal = number;
        let mut before = number + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&right) {
            let substituted = diagonal + usize::from(from != *to);
            diagonal = *cell;
            *cell = substituted.min(diagonal + 1).min(before + 1);
            before = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = number + 1;
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 60;
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Decimal(number) => write!(f, "{number}"),
            Self::Text(text) if text.len() > SHOWN => {
                write!(f, "{:?}", format!("{}…", &text[..text.floor_char_boundary(SHOWN)]))
            }
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(_) => f.write_str("a list"),
            Self::Mapping(_) => f.write_str("a mapping"),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Nothing)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::Integer(number.into()))
    }

    fn visit_i128<E>(self, number: i128) -> Result<Value, E> {
        Ok(Value::Integer(number))
    }

    fn visit_u128<E>(self, number: u128) -> Result<Value, E> {
        Ok(Value::Integer(i128::try_from(number).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Decimal(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = access.next_entry()? {
            pairs.push(pair);
        }
        Ok(Value::Mapping(pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "", 0),
            ("exe", "exe", 0),
            ("exse", "exe", 1),
            ("prot", "port", 2),
            ("", "exe", 3),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }
}
