//! Event logs: any bytes as a file, and files whose checksums are right whatever else they hold,
//! since the reader stops at a wrong one. The events go through the engine, as in a replay.
//!
//! Input: a file, if it begins like one; it is read as it is, and again with its checksums put
//! right. Everything else is a recipe: which version, what to damage (how, and a place of 2 bytes),
//! then records (kind, length, body) with ends of blocks between them ([`END`]).

use std::{collections::HashSet, io::Read, time::Duration};

use wirespan::{
    event::{Event, Timestamp},
    pipeline::{Engine, Settings},
    protocol,
    source::log::{
        Blocks, End, LogReader, MAGIC,
        format::{BLOCK_HEADER, FILE_HEADER, MAJOR, MAX_PAYLOAD, MINOR, OLD_MAJOR, OLD_MINOR, RECORD_HEADER},
    },
    trace::{self, span::Span},
};

use crate::{reader::Choices, spans};

/// What all connections may buffer.
const BUFFERED: usize = 4 * 1024;
/// Connections open at once.
const CONNECTIONS: usize = 3;

/// Kinds of a recipe that are no records. A block ends here …
const END: u8 = 0xf0;
/// … and says that it has as many records more as its first byte says (as an i8) …
const END_WITH_WRONG_COUNT: u8 = 0xf1;
/// … or that its number is another.
const END_WITH_WRONG_NUMBER: u8 = 0xf2;

/// The kinds of records, as the format has them.
const HEADER: u8 = 1;
/// Those whose bodies are others since format 2.
const CHANGED: [u8; 7] = [32, 35, 36, 37, 38, 39, 41];
const ASKED: u8 = 43;
const SHUTDOWN: u8 = 49;

pub(crate) fn run(data: &[u8]) {
    if data.starts_with(&MAGIC) {
        let _ = read(data);
        if let Some(file) = File::parse(data) {
            let middle = u16::try_from(data.len() / 2).unwrap_or(u16::MAX);
            file.check(0x55, middle);
        }
        return;
    }
    // The reader must handle anything, also what is no log at all.
    assert!(read(data).is_err(), "it is no log");
    let mut choices = Choices(data);
    let version = VERSIONS[usize::from(choices.byte()) % VERSIONS.len()];
    let (damage, place) = (choices.byte(), choices.short());
    File::from_recipe(version, choices).check(damage, place);
}

/// Major and minor version.
type Version = (u16, u16);

/// The major version before, one of it with a newer minor, and the same of this one.
const VERSIONS: [Version; 4] =
    [(OLD_MAJOR, OLD_MINOR), (OLD_MAJOR, OLD_MINOR + 1), (MAJOR, MINOR), (MAJOR, MINOR + 1)];

/// What is to be a file.
struct File {
    version: Version,
    blocks: Vec<Block>,
}

#[derive(Default)]
struct Block {
    payload: Vec<u8>,
    /// What its header says.
    records: u32,
    number: u64,
}

/// A record: its kind and its body.
type Record<'a> = (u8, &'a [u8]);

impl Block {
    fn add(&mut self, kind: u8, body: &[u8]) {
        self.payload.push(kind);
        let length = u32::try_from(body.len()).expect("an input is small");
        self.payload.extend_from_slice(&length.to_le_bytes());
        self.payload.extend_from_slice(body);
        self.records += 1;
    }

    /// Its records, if their number is right and nothing else is in it.
    fn parse(&self) -> Option<Vec<Record<'_>>> {
        let mut found = vec![];
        let mut rest = &self.payload[..];
        while let Some((header, behind)) = rest.split_first_chunk::<RECORD_HEADER>() {
            let [kind, length @ ..] = *header;
            let (body, behind) = behind.split_at_checked(u32::from_le_bytes(length) as usize)?;
            found.push((kind, body));
            rest = behind;
        }
        (rest.is_empty() && found.len() == self.records as usize).then_some(found)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&u32::try_from(self.payload.len()).expect("an input is small").to_le_bytes());
        out.extend_from_slice(&self.records.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(&out[start..]);
        checksum.update(&self.payload);
        out.extend_from_slice(&checksum.finalize().to_le_bytes());
        out.extend_from_slice(&self.payload);
    }
}

impl File {
    fn from_recipe(version: Version, mut choices: Choices<'_>) -> Self {
        let mut header = Block::default();
        header.add(HEADER, b"{}");
        let mut blocks = vec![header];
        let mut block = Block { number: 1, ..Block::default() };
        while !choices.is_empty() {
            let kind = choices.byte();
            let length = match choices.byte() {
                u8::MAX => choices.short(),
                length => length.into(),
            };
            let body = choices.bytes(length.into());
            let by = i64::from(body.first().map_or(0, |byte| byte.cast_signed()));
            match kind {
                END => {}
                END_WITH_WRONG_COUNT => {
                    block.records = u32::try_from(i64::from(block.records) + by).unwrap_or_default();
                }
                END_WITH_WRONG_NUMBER => block.number = block.number.wrapping_add_signed(by),
                _ => {
                    block.add(kind, body);
                    continue;
                }
            }
            let number = blocks.len() as u64 + 1;
            blocks.push(std::mem::replace(&mut block, Block { number, ..Block::default() }));
        }
        if block.records > 0 {
            blocks.push(block);
        }
        Self { version, blocks }
    }

    /// The whole blocks of a file.
    fn parse(data: &[u8]) -> Option<Self> {
        let (header, mut rest) = data.split_first_chunk::<FILE_HEADER>()?;
        let number = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let version = (number(8), number(10));
        let mut blocks = vec![];
        while let Some((header, behind)) = rest.split_first_chunk::<BLOCK_HEADER>() {
            let number = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| header[at + byte]));
            let Some((payload, behind)) = behind.split_at_checked(number(0) as usize) else { break };
            blocks.push(Block { payload: payload.to_vec(), records: number(4), number: blocks.len() as u64 });
            rest = behind;
        }
        Some(Self { version, blocks })
    }

    /// The file, and where each block begins in it and the last one ends.
    fn write(&self) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.version.0.to_le_bytes());
        bytes.extend_from_slice(&self.version.1.to_le_bytes());
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let mut borders = vec![bytes.len()];
        for block in &self.blocks {
            block.write(&mut bytes);
            borders.push(bytes.len());
        }
        (bytes, borders)
    }

    fn is_old(&self) -> bool {
        self.version.0 == OLD_MAJOR
    }

    fn is_newer(&self) -> bool {
        self.version.1 > if self.is_old() { OLD_MINOR } else { MINOR }
    }

    /// By block, the records that are events; `None` when the file has an error that checksums do
    /// not show.
    fn events(&self) -> Option<Vec<Vec<Record<'_>>>> {
        if ![MAJOR, OLD_MAJOR].contains(&self.version.0) {
            return None;
        }
        let (first, rest) = self.blocks.split_first()?;
        let [(HEADER, text)] = first.parse()?[..] else { return None };
        std::str::from_utf8(text).ok()?;
        let mut events = vec![vec![]];
        for (number, block) in rest.iter().enumerate() {
            if block.number != number as u64 + 1 {
                return None;
            }
            events.push(block.parse()?.into_iter().filter(|(kind, _)| self.has(*kind)).collect());
        }
        Some(events)
    }

    const fn has(&self, kind: u8) -> bool {
        let last = if self.version.0 == OLD_MAJOR { 41 } else { ASKED };
        matches!(kind, 16..=20 | 48 | 49) || (kind >= 32 && kind <= last)
    }

    /// Reads it as it is, damaged and cut.
    fn check(&self, damage: u8, place: u16) {
        let (mut bytes, borders) = self.write();
        let found = read(&bytes);
        let Some(events) = self.events() else { return };
        let found = found.expect("a log with a header is opened");
        self.check_contents(&found, &events, &borders);
        let again = read(&bytes).expect("it was opened before");
        assert_eq!(again.spans, found.spans, "two replays differ");

        let place = usize::from(place) % bytes.len();
        let block = borders.partition_point(|border| *border <= place).checked_sub(1);
        let before = |blocks: usize| {
            let count: usize = events[..blocks].iter().map(Vec::len).sum();
            &found.records[..count.min(found.records.len())]
        };
        let ends_earlier = |blocks: usize| match found.end {
            End::Damaged { at, .. } => at < borders[blocks] as u64,
            _ => false,
        };

        match (read(&bytes[..place]), block) {
            (cut, None | Some(0)) => assert!(cut.is_err(), "there was no whole block"),
            (cut, Some(block)) => {
                let cut = cut.expect("its first block is whole");
                assert_eq!(cut.records, before(block), "cut at {place}");
                match cut.end {
                    _ if ends_earlier(block) => assert_eq!(cut.end, found.end),
                    End::Torn { at } => assert!(at == place as u64 && place != borders[block]),
                    End::Whole | End::Early => assert_eq!(place, borders[block], "{:?}", cut.end),
                    End::Damaged { .. } => panic!("cut at {place}: {:?}", cut.end),
                }
            }
        }

        bytes[place] ^= damage.max(1);
        match (read(&bytes), block) {
            (damaged, None | Some(0)) => assert!(damaged.is_err(), "its start is damaged at {place}"),
            (damaged, Some(block)) => {
                let damaged = damaged.expect("its first block is whole");
                assert_eq!(damaged.records, before(block), "damaged at {place}");
                match damaged.end {
                    _ if ends_earlier(block) => assert_eq!(damaged.end, found.end),
                    End::Damaged { at, .. } => assert_eq!(at, borders[block] as u64),
                    End::Torn { at } => assert_eq!(at, bytes.len() as u64),
                    End::Whole | End::Early => panic!("damaged at {place}: {:?}", damaged.end),
                }
            }
        }
    }

    /// What was read is what was written, up to the first invalid record.
    fn check_contents(&self, found: &Contents, events: &[Vec<Record<'_>>], borders: &[usize]) {
        let mut written = events
            .iter()
            .enumerate()
            .flat_map(|(block, records)| records.iter().map(move |record| (block, record)));
        for read in &found.records {
            let (_, (kind, body)) = written.next().expect("an event was read that was not written");
            let (header, read) = read.split_at(RECORD_HEADER);
            assert_eq!(header[0], *kind);
            // A record of format 1 is written as one of format 2; `again` has read that.
            if self.is_old() && CHANGED.contains(kind) {
                continue;
            }
            let same = if self.is_newer() { body.starts_with(read) } else { body == &read };
            // What a mode of a newer version is, nobody knows here.
            assert!(same || (self.is_newer() && *kind == ASKED), "{read:?} is not {body:?}");
        }
        let unread = written.next();
        match found.end {
            End::Torn { .. } => panic!("every block is whole"),
            End::Damaged { at, .. } => {
                let (block, _) = unread.expect("everything was read, and something is said to be damaged");
                assert_eq!(at, borders[block] as u64);
            }
            End::Whole | End::Early => {
                assert!(unread.is_none(), "{unread:?} was not read");
                let all: usize = self.blocks.iter().map(|block| block.records as usize).sum();
                // All but the header, which is not unknown.
                assert_eq!(found.unknown, (all - 1 - found.records.len()) as u64);
                let last = found.records.last().map(|record| record[0]);
                assert_eq!(found.end == End::Whole, last == Some(SHUTDOWN));
            }
        }
    }
}

/// What was read from a file.
struct Contents {
    /// The events, written again.
    records: Vec<Vec<u8>>,
    unknown: u64,
    end: End,
    spans: Vec<Span>,
}

/// The reader asks for no more at once than a block may have.
struct Careful<'a>(&'a [u8]);

impl Read for Careful<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        assert!(into.len() <= MAX_PAYLOAD, "room for {} bytes", into.len());
        self.0.read(into)
    }
}

/// Reads a file through the engine; the error is what is wrong at its start.
fn read(bytes: &[u8]) -> Result<Contents, String> {
    let mut reader = LogReader::open(Careful(bytes)).map_err(|error| error.to_string())?;
    let mut replay = Replay::new();
    let mut records = vec![];
    while let Some(event) = reader.next_event().expect("memory can be read") {
        records.push(again(&event));
        replay.feed(&event);
    }
    let end = reader.end().expect("a reader that gives nothing has ended");
    if let End::Torn { at } | End::Damaged { at, .. } = end {
        assert!(at <= bytes.len() as u64, "{end:?} of {} bytes", bytes.len());
    }
    Ok(Contents { records, unknown: reader.unknown_records(), end, spans: replay.finish(end) })
}

/// Writes the record of an event, and checks that reading it gives the event.
fn again(event: &Event<'_>) -> Vec<u8> {
    let (mut blocks, mut log) = Blocks::begin("").expect("a short header");
    let full = blocks.add(event).expect("what was read can be written");
    let block = full.or_else(|| blocks.seal()).expect("there is an event");
    log.extend_from_slice(&block);
    let mut reader = LogReader::open(&log[..]).expect("what was written can be read");
    let read = reader.next_event().expect("memory can be read").expect("it was written");
    assert_eq!(format!("{read:?}"), format!("{event:?}"));
    block[BLOCK_HEADER..].to_vec()
}

/// What `wirespan replay` does with events.
struct Replay {
    engine: Engine,
    now: Timestamp,
    found: Vec<Span>,
    keys: u32,
    /// What a kernel names once: connections, and connects by their time.
    named: HashSet<(u64, Option<Timestamp>)>,
    /// Whether something was named again: then ids may be the same.
    repeats: bool,
}

impl Replay {
    fn new() -> Self {
        let limits = protocol::Limits {
            head_bytes: 512,
            held_transfers: 8,
            held_bytes: 2_048,
            pending_requests: 4,
            ..protocol::Limits::default()
        };
        let trace = trace::Settings {
            waiting_spans: 16,
            exchanges: 32,
            exchanges_per_connection: 8,
            connections: 8,
            ..trace::Settings::default()
        };
        let idle = Duration::from_secs(60);
        let settings = Settings { trace, limits, connections: CONNECTIONS, buffered_bytes: BUFFERED, idle };
        Self {
            engine: Engine::new(settings),
            now: Timestamp::default(),
            found: vec![],
            keys: 0,
            named: HashSet::new(),
            repeats: false,
        }
    }

    fn feed(&mut self, event: &Event<'_>) {
        let name = match event {
            Event::RunKey(_) => {
                self.keys += 1;
                self.repeats |= self.keys > 1 || !self.found.is_empty();
                None
            }
            Event::Opened(opened) => Some((opened.connection.0, None)),
            Event::Connecting(connecting) => Some((connecting.socket.0, Some(connecting.at))),
            _ => None,
        };
        self.repeats |= name.is_some_and(|name| !self.named.insert(name));
        self.now = self.now.max(event.at().unwrap_or_default());
        self.engine.feed(event);
        assert!(self.engine.buffered() <= BUFFERED, "{} bytes are buffered", self.engine.buffered());
        assert!(self.engine.connections() <= CONNECTIONS, "{} connections", self.engine.connections());
        assert!(self.engine.drain_feedback().count() <= 64);
        self.found.extend(spans::drain(&mut self.engine));
    }

    fn finish(mut self, end: End) -> Vec<Span> {
        if end != End::Whole {
            let at = self.now;
            self.feed(&Event::Shutdown { at });
        }
        assert_eq!((self.engine.connections(), self.engine.buffered()), (0, 0), "something is left");
        if self.repeats {
            spans::check_each(&self.found);
        } else {
            spans::check(&self.found);
        }
        self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The properties are of something: what the seeds say is understood.
    #[test]
    fn seeds_have_spans() {
        let file = read(include_bytes!("../corpus/log/file")).unwrap();
        assert!(file.spans.len() >= 2 && file.end != End::Whole, "{:?} {:?}", file.end, file.spans);
        let recipe = include_bytes!("../corpus/log/recipe");
        let version = VERSIONS[usize::from(recipe[0]) % VERSIONS.len()];
        let (bytes, _) = File::from_recipe(version, Choices(&recipe[4..])).write();
        let made = read(&bytes).unwrap();
        assert!(made.spans.len() >= 2 && made.end == End::Whole, "{:?} {:?}", made.end, made.spans);
        let unix = include_bytes!("../corpus/log/unix");
        let (bytes, _) = File::from_recipe(VERSIONS[2], Choices(&unix[4..])).write();
        let made = read(&bytes).unwrap();
        assert!(made.end == End::Whole && made.spans.len() == 3, "{:?} {:?}", made.end, made.spans);
        assert!(made.spans.iter().all(|span| span.peer.is_unix()));
        let plaintext = include_bytes!("../corpus/log/plaintext");
        let (bytes, _) = File::from_recipe(VERSIONS[2], Choices(&plaintext[4..])).write();
        assert_eq!(read(&bytes).unwrap().end, End::Whole);
    }
}
