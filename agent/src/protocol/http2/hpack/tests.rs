//! The stories of other encoders, whole, joined late and with a block lost; and hostile blocks.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::Path,
};

use flate2::read::GzDecoder;
use proptest::prelude::*;

use super::*;

const MOST: usize = 64 << 10;
type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
/// A name and a value; `None` is not known.
type Found = (Option<Vec<u8>>, Option<Vec<u8>>);

struct Case {
    wire: Vec<u8>,
    fields: Pairs,
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// Each story is one direction of a connection (tests/fixtures/hpack).
fn stories() -> Vec<(String, Vec<Case>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/hpack");
    let mut stories = Vec::new();
    for encoder in ["nghttp2", "nghttp2-change-table-size", "haskell-http2-linear-huffman"] {
        let file = File::open(directory.join(format!("{encoder}.jsonl.gz"))).unwrap();
        for (number, line) in BufReader::new(GzDecoder::new(file)).lines().enumerate() {
            let cases: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            stories
                .push((format!("{encoder} {number}"), cases.as_array().unwrap().iter().map(case).collect()));
        }
    }
    assert_eq!(stories.len(), 36);
    stories
}

fn case(case: &serde_json::Value) -> Case {
    let text = |value: &serde_json::Value| value.as_str().unwrap().as_bytes().to_vec();
    let fields = case["headers"].as_array().unwrap().iter().map(|field| (text(&field[0]), text(&field[1])));
    Case { wire: hex(case["wire"].as_str().unwrap()), fields: fields.collect() }
}

/// Decodes; a name or value that is not known is `None`.
fn decode(decoder: &mut Decoder, wire: &[u8]) -> Result<Vec<Found>, Malformed> {
    let known = |text: Text<'_>| match text {
        Text::Known(bytes) => Some(bytes.to_vec()),
        Text::Unknown(_) => None,
    };
    let mut fields = Vec::new();
    decoder.block(wire, |field| fields.push((known(field.name), known(field.value))))?;
    Ok(fields)
}

#[test]
fn every_story_decodes_exactly() {
    for (name, cases) in stories() {
        let mut decoder = Decoder::new(true, MOST);
        for case in &cases {
            let fields = decode(&mut decoder, &case.wire).unwrap();
            let expected: Vec<_> =
                case.fields.iter().cloned().map(|(name, value)| (Some(name), Some(value))).collect();
            assert_eq!(fields, expected, "{name}");
        }
        assert_eq!(decoder.take_forgotten(), 0, "{name}");
    }
}

/// Whether what is known is right; returns how many names and values are not known.
fn compare(found: &[Found], expected: &Pairs, what: &str) -> (usize, usize) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let mut unknown = 0;
    for ((name, value), (right_name, right_value)) in found.iter().zip(expected) {
        assert!(name.as_ref().is_none_or(|name| name == right_name), "{what}: a wrong name");
        assert!(value.as_ref().is_none_or(|value| value == right_value), "{what}: a wrong value");
        unknown += usize::from(name.is_none() || value.is_none());
    }
    (unknown, found.len())
}

#[test]
fn with_the_first_blocks_hidden_nothing_is_wrong() {
    for hidden in [1, 4, 16] {
        let (mut unknown, mut all) = (0, 0);
        for (name, cases) in stories() {
            let mut decoder = Decoder::new(false, MOST);
            for case in cases.iter().skip(hidden) {
                let fields = decode(&mut decoder, &case.wire).unwrap();
                let (some, of) = compare(&fields, &case.fields, &name);
                (unknown, all) = (unknown + some, all + of);
            }
        }
        assert!(unknown > 0 && unknown * 2 < all, "{hidden} hidden: {unknown} of {all} fields unknown");
    }
}

#[test]
fn with_a_block_lost_nothing_is_wrong() {
    let (mut unknown, mut all) = (0, 0);
    for (name, cases) in stories() {
        let mut decoder = Decoder::new(true, MOST);
        let lost = cases.len() / 2;
        for (number, case) in cases.iter().enumerate() {
            if number == lost {
                decoder.lose();
                continue;
            }
            let fields = decode(&mut decoder, &case.wire).unwrap();
            let (some, of) = compare(&fields, &case.fields, &name);
            assert!(number > lost || some == 0, "{name}");
            (unknown, all) = (unknown + some, all + of);
        }
    }
    assert!(unknown > 0 && unknown * 2 < all, "{unknown} of {all}");
}

/// The limit is reached, and grows where that costs something.
#[test]
fn what_is_forgotten_is_unknown_and_counted() {
    let mut decoder = Decoder::new(true, MOST);
    let insert = |number: usize| {
        let value = format!("{number:0100}");
        [&[0x40, 1, b'n', 100][..], value.as_bytes()].concat()
    };
    for number in 0..200 {
        decode(&mut decoder, &insert(number)).unwrap();
    }
    assert!(decoder.bytes() <= 8 << 10);
    // The 150th behind the newest: index 62 + 150.
    let reference = [0xff, (62 + 150 - 127) as u8];
    assert_eq!(decode(&mut decoder, &reference).unwrap(), [(None, None)]);
    assert_eq!(decoder.take_forgotten(), 1);
    for number in 0..200 {
        decode(&mut decoder, &insert(number)).unwrap();
    }
    assert!(decoder.bytes() > 8 << 10);
}

#[test]
fn an_unknown_entry_has_the_same_ordinal_each_time() {
    let mut decoder = Decoder::new(false, MOST);
    let mut seen = Vec::new();
    // 62 is the newest; after an insertion the same entry is 63.
    for block in [&[0xbe][..], &[0x40, 1, b'a', 1, b'b'], &[0xbf], &[0xbe], &[0x7f, 0, 1, b'c'], &[0xbe]] {
        decoder
            .block(block, |field| {
                seen.push(format!("{:?}", field.name).replace("epoch: 0, ", ""));
            })
            .unwrap();
    }
    let unknown = "Unknown(Ordinal { number: -1 })";
    assert_eq!(seen, [unknown, "Known([97])", unknown, "Known([97])", unknown, unknown]);
}

#[test]
fn what_no_encoder_writes_is_malformed() {
    for (block, what) in [
        (&[0x80][..], "index 0"),
        (&[0xbe], "an index into an empty table"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x0f], "a long integer"),
        (&[0x82, 0x20], "a size update behind a field"),
        (&[0x40, 5, b'a'], "a string that is cut"),
        (&[0x40, 0x81, 0x00, 0], "padding of zeros"),
        (&[0x40, 0x82, 0xff, 0xff, 0], "padding of 8 bits or more"),
        (&[0x40, 0x84, 0xff, 0xff, 0xff, 0xff, 0], "EOS"),
        (&[0x40], "no string"),
    ] {
        assert_eq!(decode(&mut Decoder::new(true, MOST), block), Err(Malformed), "{what}");
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..20)) {
        let mut decoder = Decoder::new(false, 4096);
        for block in blocks {
            if decode(&mut decoder, &block).is_err() {
                decoder.lose();
            }
            prop_assert!(decoder.bytes() <= 4096);
        }
    }
}
