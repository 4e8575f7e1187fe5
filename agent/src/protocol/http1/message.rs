//! Reading one message of a [`Session`]: its head, which may be split, and its body. Heads that are not whole are for `cut.rs`.

use super::{
    body::{BlankLine, Body},
    exchange::{Method, RequestState, ResponseState},
    framing::Framing,
    head::{self, Reading},
    line::{FirstLine, Recognised, Role},
    loose::{self, Loose},
    reader::{Lost, State, is_interim, proven},
    session::{Answered, Session, Step},
};
use crate::{
    event::{Direction, Timestamp},
    protocol::{
        Context, ExchangeId, Incomplete, Operation, Ordinal, Progress, Reply,
        http::{RequestHead, ResponseHead, UpgradeToken, Version},
    },
    stream::Cursor,
};

impl Session {
    /// In a head: at its first byte, or after bytes that are in the reader's buffer.
    pub(super) fn head(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        let front = cursor.front();
        if front.is_empty() {
            return self.hole_in_head(direction, cursor, cx);
        }
        if !self.reader(direction).buffer.is_empty() {
            return self.head_goes_on(direction, front, cursor, cx);
        }
        let role = self.reader(direction).line.role();
        let step = self.head_bytes(direction, front, 0, cursor, cx);
        let reader = self.reader(direction);
        if reader.state == State::Head {
            match step {
                // Other bytes may come in this place first, when transfers overlap.
                Step::Wait => reader.line = FirstLine::new(role),
                Step::Next | Step::Opaque | Step::Upgraded(_) | Step::Unknown { .. } => {
                    reader.buffer.extend_from_slice(front);
                }
            }
            return self.head_so_far(direction, step, cursor, cx);
        }
        step
    }

    /// In a head that came in part with earlier transfers.
    fn head_goes_on(
        &mut self,
        direction: Direction,
        front: &[u8],
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        let line = self.reader(direction).line;
        let mut buffer = std::mem::take(&mut self.reader(direction).buffer);
        let before = buffer.len();
        buffer.extend_from_slice(front);
        let step = self.head_bytes(direction, &buffer, before, cursor, cx);
        let reader = self.reader(direction);
        if reader.state != State::Head {
            reader.release(buffer);
            return step;
        }
        if step == Step::Wait {
            buffer.truncate(before);
            reader.line = line;
        }
        reader.buffer = buffer;
        self.head_so_far(direction, step, cursor, cx)
    }

    /// The head is not over: what the buffer may hold is bounded.
    fn head_so_far(
        &mut self,
        direction: Direction,
        step: Step,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        if step == Step::Next && self.reader(direction).buffer.len() > cx.limits.head_bytes {
            return self.head_too_large(direction, cursor, cx);
        }
        step
    }

    /// `view` is the head so far, of which the first `before` bytes came with earlier transfers.
    fn head_bytes(
        &mut self,
        direction: Direction,
        view: &[u8],
        before: usize,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        if !self.reader(direction).line_done {
            match self.reader(direction).line.advance(view) {
                Recognised::More => {
                    cursor.parse(view.len() - before);
                    return Step::Next;
                }
                Recognised::Neither => match self.loose_line(direction, view, cx) {
                    Loose::Request(_) => self.request_starts(direction, cx),
                    Loose::More => {
                        cursor.parse(view.len() - before);
                        return Step::Next;
                    }
                    Loose::Simple | Loose::Neither => return self.unknown(direction, true, cursor, cx),
                },
                Recognised::Request => {
                    if self.role(direction) == Role::Response {
                        if self.client_proven {
                            return self.unknown(direction, true, cursor, cx);
                        }
                        self.forget_client(cx);
                    }
                    self.request_starts(direction, cx);
                }
                Recognised::Response => {
                    if let Some(step) = self.response_starts(direction, cursor, cx) {
                        return step;
                    }
                }
            }
        }
        match self.role(direction) {
            Role::Request => self.request_fields(direction, view, before, cursor, cx),
            Role::Response | Role::Unknown => self.response_fields(direction, view, before, cursor, cx),
        }
    }

    /// The request line was read: goes on once the head is whole. `view` and `before` are those of [`Session::head_bytes`].
    fn request_fields(
        &mut self,
        direction: Direction,
        view: &[u8],
        before: usize,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        let reader = &mut self.readers[direction.index()];
        let (line, interest) = (reader.line, &cx.out.interest);
        let mut reading = Reading::new(view, &line.request, interest);
        let at_once = if reader.nothing_searched() { reading.at_once(&line.request) } else { None };
        let (request, framing, end) = match at_once {
            Some(end) => {
                let framing = reading.framing;
                (reading.finish(&line.request, Some(end as u64)), framing, end)
            }
            None => {
                let Some(end) = reader.head_end(view) else {
                    cursor.parse(view.len() - before);
                    return Step::Next;
                };
                let (request, framing) = head::request(&view[..end], &line, Some(end as u64), interest);
                (request, framing, end)
            }
        };
        cursor.parse(end - before);
        self.describe(direction, &request, &framing, cx);
        self.start_body(direction, framing.request_body(), cursor.at, cx);
        self.note_end(direction, cursor.position, cx);
        Step::Next
    }

    /// The same of a status line.
    fn response_fields(
        &mut self,
        direction: Direction,
        view: &[u8],
        before: usize,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        let reader = &mut self.readers[direction.index()];
        let at_once = match reader.nothing_searched() {
            true => head::response_at_once(view, reader.line.length()),
            false => None,
        };
        let (framing, end) = match at_once {
            Some(whole) => whole,
            None => {
                let Some(end) = reader.head_end(view) else {
                    cursor.parse(view.len() - before);
                    return Step::Next;
                };
                (head::response(&view[..end], &reader.line), end)
            }
        };
        cursor.parse(end - before);
        let step = if self.reply(direction, Some(end as u64), cx) {
            self.upgrade(direction, cursor.at, cx);
            let switched = self.reader(direction).line.status.status == 101;
            Step::Upgraded(if switched { UpgradeToken::of_head(&view[..end]) } else { UpgradeToken::Other })
        } else {
            let bodyless = self.is_bodyless(direction);
            let body = if bodyless { Some(Body::EMPTY) } else { framing.response_body() };
            self.start_body(direction, body, cursor.at, cx);
            Step::Next
        };
        self.note_end(direction, cursor.position, cx);
        step
    }

    /// What a first line is that is not to the letter. It is believed only where the message before has surely ended.
    fn loose_line(&mut self, direction: Direction, view: &[u8], cx: &mut Context<'_>) -> Loose {
        let response = self.role(direction) == Role::Response;
        let reader = self.reader(direction);
        if response || !reader.boundary {
            return Loose::Neither;
        }
        let loose = loose::read(view);
        match loose {
            Loose::Request(line) => {
                reader.line.request = line;
                reader.malformed = true;
            }
            Loose::Simple => cx.out.counters.requests_http09 += 1,
            Loose::More | Loose::Neither => {}
        }
        loose
    }

    /// The message that ended at `position` may be none: what follows there may prove it.
    fn note_end(&mut self, direction: Direction, position: u64, cx: &Context<'_>) {
        let reader = self.reader(direction);
        // An interim response and the final one after it answer one request.
        if reader.state == State::Lost(Lost::Nothing) && reader.message.is_none() && !reader.interim {
            reader.ended_at = Some(position);
            reader.ended_other = cx.other_position;
        }
    }

    /// The request line is complete, or surely is one.
    pub(super) fn request_starts(&mut self, direction: Direction, cx: &mut Context<'_>) {
        self.client = Some(direction);
        self.client_proven |= !self.reader(direction).unproven;
        self.recognised();
        let around = self.surroundings(direction);
        let response = self.reader(direction.reverse());
        if response.unsure {
            // What seemed to be its body may be anything now.
            response.state = State::Lost(Lost::Nothing);
        }
        let reader = &mut self.readers[direction.index()];
        let ordinal = self.pairing.start(direction, &reader.origin, around, cx.other_position, cx);
        reader.message = Some(ordinal);
        reader.line_done = true;
        reader.searched = reader.line.length();
        reader.blank = BlankLine::new();
        let (unproven, malformed) = (reader.unproven, reader.malformed);
        let Some(exchange) = self.pairing.get(Some(ordinal)) else { return };
        if unproven {
            exchange.unproven = true;
            exchange.incomplete.add(Incomplete::JOINED_MID_STREAM);
        }
        if malformed {
            exchange.incomplete.add(Incomplete::MALFORMED);
        }
    }

    /// The status line is complete: finds its exchange. A step, if the response cannot be read now or ever.
    pub(super) fn response_starts(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Option<Step> {
        if self.role(direction) == Role::Request {
            if self.client_proven {
                return Some(self.unknown(direction, true, cursor, cx));
            }
            self.forget_client(cx);
        }
        let at = self.reader(direction).origin.at;
        let is_final = !is_interim(self.reader(direction).line.status.status);
        let answered = match self.answered(direction, at, cx) {
            // What is still to be read may be its request, and nothing to be proven.
            Answered::Wait if cx.older_is_held(cursor) || self.kept.is_empty() => return Some(Step::Wait),
            Answered::Wait | Answered::Nothing if is_final => {
                self.prove_kept(direction, cx).map_or(Answered::Nothing, Answered::Exchange)
            }
            answered => answered,
        };
        match answered {
            Answered::Wait => Some(Step::Wait),
            Answered::Nothing => {
                cx.out.counters.responses_without_request += 1;
                self.understood = true;
                self.note_answer(direction, None, cursor);
                // Its request was missed.
                self.lossy = true;
                self.reader(direction).state = State::Lost(Lost::Nothing);
                self.pass(direction, cursor, cx);
                Some(Step::Next)
            }
            Answered::Exchange(ordinal) => {
                self.recognised();
                self.client_proven = true;
                self.note_answer(direction, Some(ordinal), cursor);
                self.answers(direction, ordinal);
                None
            }
        }
    }

    /// The response being read belongs to this exchange.
    pub(super) fn answers(&mut self, direction: Direction, ordinal: Ordinal) {
        let unproven = self.pairing.get(Some(ordinal)).is_some_and(|exchange| exchange.unproven);
        let reader = self.reader(direction);
        // What was asked tells how the answer is framed.
        reader.unsure |= unproven;
        reader.message = Some(ordinal);
        reader.line_done = true;
        reader.searched = reader.line.length();
        reader.blank = BlankLine::new();
    }

    /// Whether the response being read has no body whatever its fields say (RFC 9112, section 6.3, rule 1).
    pub(super) fn is_bodyless(&mut self, direction: Direction) -> bool {
        let reader = self.reader(direction);
        let (status, message) = (reader.line.status.status, reader.message);
        let head = self.pairing.get(message).is_some_and(|exchange| exchange.method == Method::Head);
        head || matches!(status, 100..200 | 204 | 304)
    }

    /// A request's head was read, or as much of it as will come.
    pub(super) fn describe(
        &mut self,
        direction: Direction,
        request: &RequestHead<'_>,
        framing: &Framing,
        cx: &mut Context<'_>,
    ) {
        cx.out.counters.heads_incomplete += u64::from(request.incomplete);
        let message = self.reader(direction).message;
        let Some(exchange) = self.pairing.get(message) else { return };
        exchange.head_told(request.method.as_bytes(), framing);
        let id = ExchangeId::new(cx.stream, exchange.ordinal);
        cx.out.report.described(id, Operation::Http(request));
    }

    /// A response's head was read, or as much of it as will come; `size` is the head's, if it is whole. Says whether the connection
    /// is a tunnel from here.
    pub(super) fn reply(&mut self, direction: Direction, size: Option<u64>, cx: &mut Context<'_>) -> bool {
        let reader = &mut self.readers[direction.index()];
        let (origin, status) = (&reader.origin, reader.line.status);
        let interim = is_interim(status.status);
        reader.interim = interim;
        cx.out.counters.heads_incomplete += u64::from(size.is_none());
        let Some(exchange) = self.pairing.get(reader.message) else { return false };
        if interim {
            exchange.expects_continue = false;
        } else {
            exchange.response = ResponseState::Begun;
            exchange.response_at = origin.at;
        }
        let head = ResponseHead {
            status: status.status,
            version: Version::of_minor(status.minor),
            head_size: size,
            incomplete: size.is_none(),
        };
        let id = ExchangeId::new(cx.stream, exchange.ordinal);
        let progress = if interim { Progress::Interim } else { Progress::Final };
        cx.out.report.reply(id, origin, progress, Reply::Http(&head));
        let connected = exchange.method == Method::Connect && matches!(status.status, 200..300);
        connected || status.status == 101
    }

    pub(super) fn upgrade(&mut self, direction: Direction, at: Timestamp, cx: &mut Context<'_>) {
        let message = self.reader(direction).message;
        self.give_up_request_head(direction.reverse(), cx);
        self.pairing.upgrade(message, at, cx);
        cx.out.counters.connections_upgraded += 1;
    }

    /// The head is read; `None` when its body cannot be told.
    pub(super) fn start_body(
        &mut self,
        direction: Direction,
        body: Option<Body>,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        match body {
            Some(Body::EMPTY) => self.message_over(direction, at, Some(0), cx),
            Some(body) => self.reader(direction).state = State::Body(body),
            None => {
                self.blame(direction, Incomplete::MALFORMED, 0);
                self.lose_framing(direction, Lost::Nothing, cx);
            }
        }
    }

    /// The message's last byte moved at `at`; `body` is its payload in bytes, if known.
    pub(super) fn message_over(
        &mut self,
        direction: Direction,
        at: Timestamp,
        body: Option<u64>,
        cx: &mut Context<'_>,
    ) {
        let reader = self.reader(direction);
        let sure = !reader.unsure;
        if sure {
            reader.state = State::Start;
        } else {
            reader.state = State::Lost(Lost::Nothing);
            reader.lost_at = reader.lost_at.max(Some(at));
        }
        let message = reader.message.take();
        if self.role(direction) == Role::Request {
            self.pairing.request_done(message, RequestState::Over, Some((at, body)), cx);
        } else if !self.reader(direction).interim {
            let unread = self.reader(direction.reverse()).lost_at;
            self.pairing.response_done(message, at, body, sure, unread, cx);
        }
    }

    pub(super) fn body(
        &mut self,
        direction: Direction,
        mut body: Body,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        if self.body_was_given_up(direction, cursor, cx) {
            return Step::Next;
        }
        if let Some(step) = self.body_was_none(direction, cursor, cx) {
            return step;
        }
        let reader = self.reader(direction);
        if reader.unsure {
            reader.lost_at = reader.lost_at.max(Some(cursor.at));
        }
        let count = body.skippable().min(cursor.length);
        if count > 0 {
            cursor.skip(count);
            reader.payload += count;
            body.skip(count);
        } else if let Body::Chunked(chunked) = &mut body {
            let front = cursor.front();
            if front.is_empty() {
                return self.hole_in_chunks(direction, cursor, cx);
            }
            let Ok(count) = chunked.framing(front) else {
                self.blame(direction, Incomplete::MALFORMED, 0);
                self.lose_framing(direction, Lost::Nothing, cx);
                return Step::Next;
            };
            cursor.parse(count);
        }
        reader.state = State::Body(body);
        let over = match body {
            Body::Length { remaining } => remaining == 0,
            Body::Chunked(chunked) => chunked.is_done(),
            Body::UntilClose => false,
        };
        if over {
            let payload = reader.payload;
            self.message_over(direction, cursor.at, Some(payload), cx);
            self.note_end(direction, cursor.position, cx);
        }
        Step::Next
    }

    /// A client that waited for 100 (Continue) and got a final response may never send the body (RFC 9110, section 10.1.1).
    fn body_was_given_up(&mut self, direction: Direction, cursor: &Cursor<'_>, cx: &mut Context<'_>) -> bool {
        let reader = self.reader(direction);
        let message = reader.message;
        if reader.payload > 0 || self.role(direction) != Role::Request {
            return false;
        }
        let answered = self
            .pairing
            .get(message)
            .is_some_and(|exchange| exchange.expects_continue && exchange.response == ResponseState::Over);
        if !answered || proven(cursor, Role::Request).is_none() {
            return false;
        }
        self.pairing.request_done(message, RequestState::Lost, None, cx);
        self.reader(direction).state = State::Start;
        true
    }
}
