//! What is known of one direction: where in a message its next byte lies.

use super::{
    body::{BlankLine, Body},
    line::{FirstLine, Recognised, Role, begins_with_known_method},
};
use crate::{
    careful,
    event::{Opening, Thread, Timestamp},
    protocol::{Ordinal, Origin},
    stream::Cursor,
};

/// Where the next byte lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// At the first byte of a message.
    Start,
    /// In a head.
    Head,
    /// In a head that outgrew the limit: its fields are not kept, its end is still looked for.
    HeadRest(Option<Body>),
    Body(Body),
    /// Bytes were missing: looking for the next message.
    Lost(Lost),
}

/// What a lost message's end may be known by, besides the start of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    Nothing,
    /// A transfer that ends with the last chunk.
    Chunked,
    /// A transfer that ends with an empty line ends the head; then comes this body, if it is known.
    Head(Option<Body>),
}

#[derive(Debug)]
pub(super) struct Reader {
    pub state: State,
    /// The first line of the head being read, and whether it was recognised.
    pub line: FirstLine,
    pub line_done: bool,
    /// The end of the head: bytes of the head that were searched.
    pub blank: BlankLine,
    pub searched: usize,
    /// The head so far, when it comes in several transfers.
    pub buffer: Vec<u8>,
    /// First byte of the message being read.
    pub origin: Origin,
    /// The exchange that the message belongs to.
    pub message: Option<Ordinal>,
    /// The message is an interim response.
    pub interim: bool,
    /// The message before this one has surely ended, or it is the connection's first.
    pub boundary: bool,
    /// It begins where the message before has ended, neither of them proven.
    pub follows: bool,
    /// Its first line is not to the letter.
    pub malformed: bool,
    /// Where a message ended of which it is not proven that it is one, and where the other direction stood then.
    pub ended_at: Option<u64>,
    pub ended_other: u64,
    /// Only the first observation of the connection says that the message begins here.
    pub unproven: bool,
    /// Where the message ends was told from bytes that may as well lie in its body.
    pub unsure: bool,
    /// Payload bytes of the body so far.
    pub payload: u64,
    /// Last time at which bytes passed that were not understood.
    pub lost_at: Option<Timestamp>,
    /// When the last final response began that may answer the last request.
    pub answered_at: Option<Timestamp>,
    /// Time of the last transfer.
    pub last_at: Timestamp,
}

impl Reader {
    /// At the first byte of a stream, or anywhere in it.
    pub(super) fn new(from_start: bool) -> Self {
        Self {
            state: if from_start { State::Start } else { State::Lost(Lost::Nothing) },
            line: FirstLine::new(Role::Unknown),
            line_done: false,
            blank: BlankLine::new(),
            searched: 0,
            buffer: Vec::new(),
            origin: Origin {
                at: Timestamp::default(),
                thread: Thread { pid: 0, tid: 0 },
                position: 0,
                last_receive: None,
                task: None,
            },
            message: None,
            interim: false,
            boundary: false,
            follows: false,
            malformed: false,
            ended_at: None,
            ended_other: 0,
            unproven: false,
            unsure: false,
            payload: 0,
            lost_at: None,
            answered_at: None,
            last_at: Timestamp::default(),
        }
    }

    /// A message may start at the transfer's next byte.
    pub(super) fn begin(&mut self, role: Role, cursor: &Cursor<'_>) {
        self.state = State::Head;
        self.line = FirstLine::new(role);
        self.line_done = false;
        self.buffer.clear();
        self.message = None;
        self.interim = false;
        self.boundary = false;
        self.follows = false;
        self.malformed = false;
        self.ended_at = None;
        self.unproven = false;
        self.unsure = false;
        self.payload = 0;
        self.origin = origin(cursor);
    }

    /// A message was read at once, from a boundary to the next one: what may be looked at there is as [`Reader::begin`] and its end
    /// would have left it.
    pub(super) fn whole_message(&mut self) {
        self.message = None;
        self.interim = false;
        self.ended_at = None;
        self.unsure = false;
    }

    /// The same of a head, and bytes of its body are still to come.
    pub(super) fn begin_body(&mut self, message: Ordinal, body: Body) {
        self.whole_message();
        self.state = State::Body(body);
        self.message = Some(message);
        self.buffer.clear();
        self.unproven = false;
        self.payload = 0;
    }

    /// Whether the head may be read at once: its end was not looked for yet.
    pub(super) fn nothing_searched(&self) -> bool {
        self.searched == self.line.length() && !careful::only()
    }

    /// Where the head ends in `view`, which is the head so far. What was searched before is not searched again.
    pub(super) fn head_end(&mut self, view: &[u8]) -> Option<usize> {
        let found = self.blank.find(&view[self.searched..]).map(|count| self.searched + count);
        if found.is_none() {
            self.searched = view.len();
        }
        found
    }

    /// Where the message ends, or whether one begins, is not known for sure.
    pub(super) const fn is_lost(&self) -> bool {
        self.unsure || matches!(self.state, State::Lost(_))
    }

    /// Lets go of the buffer, keeping a small one for the next head.
    pub(super) fn release(&mut self, mut buffer: Vec<u8>) {
        const KEPT: usize = 4096;
        buffer.clear();
        buffer.shrink_to(KEPT);
        self.buffer = buffer;
    }
}

/// Where and by whom the transfer's next byte was moved.
#[inline(always)]
pub(super) fn origin(cursor: &Cursor<'_>) -> Origin {
    Origin {
        at: cursor.at,
        thread: cursor.thread,
        position: cursor.position,
        last_receive: cursor.last_receive,
        task: cursor.task,
    }
}

/// Length of the empty lines at the front, which a server ignores before a request line (RFC 9112, section 2.2).
pub(super) fn empty_lines(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len())
}

/// Whether the transfer, of which nothing was read yet, surely starts with a message: its first line is complete in it.
pub(super) fn proven(cursor: &Cursor<'_>, role: Role) -> Option<Role> {
    if !cursor.whole {
        return None;
    }
    opens(cursor.front(), role)
}

/// The message whose first line stands whole at the front of these bytes.
pub(super) fn opens(front: &[u8], role: Role) -> Option<Role> {
    first_line(front, role)
}

/// The message whose first line stands, cut by the capture, at the front of a transfer of which nothing was read yet.
pub(super) fn opens_cut(cursor: &Cursor<'_>, role: Role) -> Option<Role> {
    /// Bytes of a target that tell it from a line of text.
    const TARGET: usize = 8;
    let front = cursor.front();
    let is_cut = cursor.whole && role != Role::Unknown && (front.len() as u64) < cursor.length;
    let mut line = FirstLine::new(role);
    if !is_cut || line.advance(front) != Recognised::More {
        return None;
    }
    let is_request = begins_with_known_method(front) && line.request.cut_is_plausible(front, TARGET);
    (is_request || line.status.cut_is_known()).then_some(role)
}

/// Says of bytes of which neither connection nor role is known whether a message surely starts there.
pub(in crate::protocol) fn opening(bytes: &[u8]) -> Option<Opening> {
    match first_line(bytes, Role::Unknown)? {
        Role::Request => Some(Opening::Request),
        Role::Response => Some(Opening::Response),
        Role::Unknown => None,
    }
}

/// 1xx other than 101: another response follows.
pub(super) const fn is_interim(status: u16) -> bool {
    matches!(status, 100 | 102..200)
}

/// Whether these bytes begin with a final response, or with interim ones and then a final one.
pub(super) fn has_final_response(mut bytes: &[u8]) -> bool {
    loop {
        let mut line = FirstLine::new(Role::Response);
        if line.advance(bytes) != Recognised::Response {
            return false;
        }
        if !is_interim(line.status.status) {
            return true;
        }
        bytes = &bytes[line.length()..];
        let Some(end) = BlankLine::new().find(bytes) else { return false };
        bytes = &bytes[end..];
    }
}

fn first_line(front: &[u8], role: Role) -> Option<Role> {
    let front = if role == Role::Response { front } else { &front[empty_lines(front)..] };
    match FirstLine::new(role).advance(front) {
        Recognised::Request => Some(Role::Request),
        Recognised::Response => Some(Role::Response),
        Recognised::More | Recognised::Neither => None,
    }
}
