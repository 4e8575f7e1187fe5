//! Cuts one direction into frames, wherever transfers begin and end. A payload is kept only where it says something: header
//! blocks, error codes.

use super::frame::{HEADER, Header, Kind};
use crate::{
    protocol::Origin,
    stream::{Cursor, Need},
};

/// Octets that are kept of a payload other than a header block: of GOAWAY the last stream and the code.
const CODES: usize = 8;

/// Octets for which memory is kept between frames.
const USUAL_KEPT: usize = 512;

/// One direction.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// Octets of the header or the payload that came in an earlier transfer.
    kept: Vec<u8>,
    /// Where the frame began.
    origin: Option<Origin>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// So many octets of the client's preface are still to come.
    Preface(usize),
    Header,
    Payload {
        header: Header,
        /// Octets that are still to come.
        rest: u32,
        /// Octets that were needed and not captured.
        missed: u64,
    },
    /// Where the next frame begins is not known.
    Lost,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Step<'a> {
    /// Nothing more is there.
    Done,
    /// Bytes of no frame.
    Preface { from: u64 },
    /// A frame begins.
    Header { header: Header, origin: Origin },
    /// A part of its payload has passed.
    Payload { header: Header, from: u64, length: u32 },
    /// The frame is over. `payload` lies in the transfer; if it does not, what there is of it was kept ([`Reader::kept`]).
    /// `missed`: so many octets of it are missing.
    Frame { header: Header, origin: Origin, payload: Option<&'a [u8]>, missed: u64 },
    /// Frames can be read again.
    Found,
    /// From here on nothing can be read, since so many octets are missing, or 0: no frame begins here.
    Lost { missed: u64 },
}

impl Reader {
    /// `preface`: octets of it that are still to come.
    pub(super) const fn new(preface: usize) -> Self {
        let state = if preface > 0 { State::Preface(preface) } else { State::Header };
        Self { state, kept: Vec::new(), origin: None }
    }

    /// Octets of the preface that are still to come.
    pub(super) const fn preface_left(&self) -> usize {
        match self.state {
            State::Preface(rest) => rest,
            _ => 0,
        }
    }

    /// Reads on. `most`: octets of a payload that are kept.
    pub(super) fn step<'a>(&mut self, cursor: &mut Cursor<'a>, most: usize) -> Step<'a> {
        match self.state {
            _ if cursor.length == 0 && !self.is_at_end() => Step::Done,
            State::Preface(rest) => self.preface(cursor, rest),
            State::Header => self.header(cursor),
            State::Payload { header, rest, missed } => self.payload(cursor, header, (rest, missed), most),
            State::Lost if cursor.whole && tiles(cursor) => {
                self.state = State::Header;
                Step::Found
            }
            State::Lost => {
                cursor.miss();
                cursor.skip(u64::MAX);
                Step::Done
            }
        }
    }

    /// A frame without payload, or with none left, is over although nothing follows.
    const fn is_at_end(&self) -> bool {
        matches!(self.state, State::Payload { rest: 0, .. })
    }

    /// Bytes were missed.
    pub(super) fn gap(&mut self, length: u64) -> bool {
        if let State::Payload { header, rest, missed } = &mut self.state
            && let Some(left) = u64::from(*rest).checked_sub(length)
        {
            *missed += if needed(*header) { length } else { 0 };
            *rest = left as u32;
            return true;
        }
        self.lose();
        false
    }

    pub(super) fn lose(&mut self) {
        self.state = State::Lost;
        self.kept = Vec::new();
        self.origin = None;
    }

    pub(super) const fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// The stream whose frame is being read.
    pub(super) const fn current(&self) -> Option<Header> {
        match self.state {
            State::Payload { header, .. } => Some(header),
            _ => None,
        }
    }

    /// A payload that nobody looks at need not be captured.
    pub(super) fn need(&self) -> Need {
        match self.state {
            State::Payload { header, rest, .. } if !needed(header) => {
                Need { skippable: u64::from(rest), skipped: u64::from(header.length - rest), whole: false }
            }
            State::Lost => Need { skippable: u64::MAX, skipped: 0, whole: false },
            _ => Need { skippable: 0, skipped: 0, whole: true },
        }
    }

    /// What was kept of the payload of the last frame.
    pub(super) fn kept(&self) -> &[u8] {
        &self.kept
    }

    fn preface(&mut self, cursor: &mut Cursor<'_>, rest: usize) -> Step<'static> {
        let front = cursor.front();
        if front.is_empty() {
            return self.lost(cursor);
        }
        let (from, count) = (cursor.position, rest.min(front.len()));
        cursor.parse(count);
        self.state = if count == rest { State::Header } else { State::Preface(rest - count) };
        Step::Preface { from }
    }

    fn header(&mut self, cursor: &mut Cursor<'_>) -> Step<'static> {
        let front = cursor.front();
        if front.is_empty() {
            return self.lost(cursor);
        }
        if self.origin.is_none() {
            self.kept.clear();
            self.kept.shrink_to(USUAL_KEPT);
        }
        let origin = *self.origin.get_or_insert_with(|| origin(cursor));
        let octets = match front.first_chunk::<HEADER>() {
            Some(octets) if self.kept.is_empty() => {
                cursor.parse(HEADER);
                *octets
            }
            _ => {
                let count = front.len().min(HEADER - self.kept.len());
                self.kept.extend_from_slice(&front[..count]);
                cursor.parse(count);
                let Ok(octets) = <[u8; HEADER]>::try_from(&*self.kept) else { return Step::Done };
                self.kept.clear();
                octets
            }
        };
        let header = Header::read(octets);
        if !header.is_valid() {
            self.lose();
            return Step::Lost { missed: 0 };
        }
        self.state = State::Payload { header, rest: header.length, missed: 0 };
        Step::Header { header, origin }
    }

    fn payload<'a>(
        &mut self,
        cursor: &mut Cursor<'a>,
        header: Header,
        (rest, missed): (u32, u64),
        most: usize,
    ) -> Step<'a> {
        if rest == 0 {
            return self.over(header, missed, None);
        }
        let from = cursor.position;
        if !needed(header) {
            let length = u32::try_from(cursor.length).map_or(rest, |length| length.min(rest));
            cursor.skip(u64::from(length));
            self.state = State::Payload { header, rest: rest - length, missed };
            return Step::Payload { header, from, length };
        }
        let most = if header.carries_headers() { most } else { CODES };
        let front = cursor.front();
        if self.kept.is_empty() && missed == 0 && rest as usize <= most && front.len() >= rest as usize {
            // The usual case: the payload is here as a whole, and is read where it lies.
            cursor.parse(rest as usize);
            return self.over(header, 0, Some(&front[..rest as usize]));
        }
        let length = if front.is_empty() {
            let hole = cursor.hole().min(u64::from(rest));
            cursor.miss_most(hole);
            self.state = State::Payload { header, rest: rest - hole as u32, missed: missed + hole };
            hole as u32
        } else {
            let count = front.len().min(rest as usize);
            let room = most.saturating_sub(self.kept.len()).min(count);
            // What lies behind a hole says nothing.
            let room = if missed == 0 { room } else { 0 };
            self.kept.extend_from_slice(&front[..room]);
            cursor.parse(room);
            cursor.skip((count - room) as u64);
            let unkept = if header.carries_headers() { (count - room) as u64 } else { 0 };
            self.state = State::Payload { header, rest: rest - count as u32, missed: missed + unkept };
            count as u32
        };
        Step::Payload { header, from, length }
    }

    /// The frame is over; `payload` lies in the transfer, if it does so as a whole.
    fn over<'a>(&mut self, header: Header, missed: u64, payload: Option<&'a [u8]>) -> Step<'a> {
        self.state = State::Header;
        let Some(origin) = self.origin.take() else {
            self.lose();
            return Step::Lost { missed };
        };
        Step::Frame { header, origin, payload, missed }
    }

    #[cold]
    fn lost(&mut self, cursor: &mut Cursor<'_>) -> Step<'static> {
        self.lose();
        let missed = cursor.miss();
        cursor.skip(u64::MAX);
        Step::Lost { missed }
    }
}

/// Whether frames lie behind each other from the front of a transfer to its end. That many octets are as a peer writes them
/// hardly by chance: the lengths alone are 24 bits each.
fn tiles(cursor: &Cursor<'_>) -> bool {
    let mut next = 0;
    while next < cursor.length {
        let octets = usize::try_from(next).ok().and_then(|next| cursor.front().get(next..));
        let Some(octets) = octets.and_then(<[u8]>::first_chunk) else { return false };
        let header = Header::read(*octets);
        if !header.is_valid() || header.kind == Kind::Unknown {
            return false;
        }
        next += HEADER as u64 + u64::from(header.length);
    }
    next == cursor.length
}

/// Whether the payload of a frame says something.
const fn needed(header: Header) -> bool {
    header.carries_headers() || matches!(header.kind, Kind::RstStream | Kind::GoAway)
}

/// Where and by whom the byte at the front was moved.
pub(super) const fn origin(cursor: &Cursor<'_>) -> Origin {
    Origin {
        at: cursor.at,
        thread: cursor.thread,
        position: cursor.position,
        last_receive: cursor.last_receive,
        task: cursor.task,
    }
}
