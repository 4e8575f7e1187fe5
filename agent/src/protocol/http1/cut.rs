//! Heads that are not whole: a part was not captured, or they are larger than what is kept. What was read of them is said, and
//! their bodies are measured where that suffices.

use super::{
    body::Body,
    head,
    kept::Kept,
    line::Role,
    reader::{Lost, State},
    session::{Answered, Session, Step},
};
use crate::{
    event::Direction,
    protocol::{Context, Incomplete},
    stream::Cursor,
};

/// A request line that was cut in its target counts only with this many bytes of it, unless HTTP was seen before.
const CUT_TARGET_BYTES: usize = 32;

impl Session {
    /// A part of a head was not captured.
    pub(super) fn hole_in_head(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        if !self.reader(direction).line_done
            && let Some(step) = self.cut_line(direction, cursor, cx)
        {
            return step;
        }
        self.miss_needed(direction, cursor);
        self.cut_head(direction, Lost::Head(None), cx);
        if let State::Lost(Lost::Head(body)) = self.reader(direction).state {
            self.cut_head_goes_on(direction, body, cursor, cx);
        }
        self.pairing.lose(cx);
        Step::Next
    }

    /// The first line itself was cut: goes on if it surely is one.
    fn cut_line(
        &mut self,
        direction: Direction,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Option<Step> {
        let role = self.role(direction);
        let reader = self.reader(direction);
        let target_bytes = if role == Role::Request { 1 } else { CUT_TARGET_BYTES };
        let is_request = reader.line.request.cut_is_plausible(&reader.buffer, target_bytes);
        if role != Role::Response && is_request {
            // Every version since 1.0 is read as 1.1 when it is not there to be read.
            reader.line.request.minor = 1;
            self.request_starts(direction, cx);
            return None;
        }
        let answers = reader.line.status.cut_is_known();
        if answers && (role == Role::Response || (role == Role::Unknown && !self.kept.is_empty())) {
            return self.response_starts(direction, cursor, cx);
        }
        self.keep_cut(direction, cx);
        self.miss_needed(direction, cursor);
        let buffer = std::mem::take(&mut self.reader(direction).buffer);
        self.reader(direction).release(buffer);
        Some(self.unknown(direction, true, cursor, cx))
    }

    /// A line that was cut too early to be one by itself: an answer may still prove it.
    fn keep_cut(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let reader = self.reader(direction);
        let mut line = reader.line;
        if !reader.boundary || !line.request.cut_is_plausible(&reader.buffer, 1) {
            return;
        }
        line.request.minor = 1;
        let (origin, head) = (reader.origin, reader.buffer.clone());
        let (other_position, flag) = (cx.other_position, Incomplete::TRUNCATED);
        let end = origin.position;
        self.keep(Kept { direction, origin, line, head, other_position, end, whole: false, flag }, cx);
    }

    /// The buffered beginning of a head is all there will be: says what it says, and goes on by `lost`.
    pub(super) fn cut_head(&mut self, direction: Direction, lost: Lost, cx: &mut Context<'_>) {
        let buffer = std::mem::take(&mut self.reader(direction).buffer);
        let known =
            if self.reader(direction).line_done { self.emit_cut_head(direction, &buffer, cx) } else { None };
        self.reader(direction).release(buffer);
        let lost = if lost == Lost::Head(None) { Lost::Head(known) } else { lost };
        self.lose_framing(direction, lost, cx);
    }

    /// Makes the message of an incomplete head; returns the body that it surely announces.
    fn emit_cut_head(&mut self, direction: Direction, head: &[u8], cx: &mut Context<'_>) -> Option<Body> {
        let line = self.reader(direction).line;
        if self.role(direction) == Role::Request {
            let (request, framing) = head::request(head, &line, None, &cx.out.interest);
            self.describe(direction, &request, &framing, cx);
            return if framing.is_stated() { framing.request_body() } else { None };
        }
        let framing = head::response(head, &line);
        let upgraded = self.reply(direction, None, cx);
        if upgraded {
            let at = self.reader(direction).origin.at;
            self.upgrade(direction, at, cx);
            self.tunnel = true;
        }
        if self.is_bodyless(direction) {
            return Some(Body::EMPTY);
        }
        if framing.is_stated() { framing.response_body() } else { None }
    }

    /// After a hole in a head: a transfer that ends with an empty line ends the head.
    pub(super) fn cut_head_goes_on(
        &mut self,
        direction: Direction,
        body: Option<Body>,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) {
        let at = cursor.at;
        let ends = cursor.ends_with(b"\r\n\r\n");
        let last_chunk = cursor.ends_with(b"\r\n0\r\n\r\n");
        let no_body_follows = self.role(direction) == Role::Response && body == Some(Body::EMPTY);
        self.pass(direction, cursor, cx);
        self.reader(direction).unsure = true;
        match body {
            // The empty line may as well end the last chunk's trailers.
            Some(Body::Chunked(_)) if last_chunk => self.message_over(direction, at, None, cx),
            Some(Body::Chunked(_)) if ends => self.reader(direction).state = State::Lost(Lost::Chunked),
            Some(body) if ends => self.start_body(direction, Some(body), at, cx),
            Some(_) if no_body_follows && self.is_bodyless(direction) => {
                self.message_over(direction, at, Some(0), cx);
            }
            None if ends => self.reader(direction).state = State::Lost(Lost::Nothing),
            _ => {}
        }
    }

    pub(super) fn head_too_large(
        &mut self,
        direction: Direction,
        cursor: &Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        cx.out.counters.heads_too_large += 1;
        if !self.reader(direction).line_done {
            let buffer = std::mem::take(&mut self.reader(direction).buffer);
            self.reader(direction).release(buffer);
            let mut rest = *cursor;
            return self.unknown(direction, true, &mut rest, cx);
        }
        self.blame(direction, Incomplete::TRUNCATED, 0);
        let buffer = std::mem::take(&mut self.reader(direction).buffer);
        let known = self.emit_cut_head(direction, &buffer, cx);
        let reader = self.reader(direction);
        reader.release(buffer);
        reader.state = State::HeadRest(known);
        Step::Next
    }

    /// In a head whose fields are not kept any more: every byte is seen, so its end is exact.
    pub(super) fn head_rest(
        &mut self,
        direction: Direction,
        body: Option<Body>,
        cursor: &mut Cursor<'_>,
        cx: &mut Context<'_>,
    ) -> Step {
        let front = cursor.front();
        if front.is_empty() {
            self.miss_needed(direction, cursor);
            self.lose_framing(direction, Lost::Head(body), cx);
            self.cut_head_goes_on(direction, body, cursor, cx);
            return Step::Next;
        }
        let reader = self.reader(direction);
        let found = reader.blank.find(front);
        cursor.parse(found.unwrap_or(front.len()));
        match (found, body) {
            (None, _) => {}
            (Some(_), Some(body)) => self.start_body(direction, Some(body), cursor.at, cx),
            (Some(_), None) => self.lose_framing(direction, Lost::Nothing, cx),
        }
        Step::Next
    }

    /// The request's head will not be complete before its response, or ever.
    pub(super) fn give_up_request_head(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let reader = self.reader(direction);
        if reader.state != State::Head || !reader.line_done {
            return;
        }
        self.blame(direction, Incomplete::TRUNCATED, 0);
        let buffer = std::mem::take(&mut self.reader(direction).buffer);
        let known = self.emit_cut_head(direction, &buffer, cx);
        let reader = self.reader(direction);
        reader.release(buffer);
        reader.state = State::HeadRest(known);
    }

    /// The response's head will not be complete: a status line that was seen whole, or up to its reason, is told all the same.
    pub(super) fn give_up_response_head(&mut self, direction: Direction, cx: &mut Context<'_>) {
        let is_response = self.role(direction) == Role::Response;
        let reader = self.reader(direction);
        if reader.state != State::Head {
            return;
        }
        if !reader.line_done {
            let at = reader.origin.at;
            if !is_response || !reader.line.status.cut_is_known() {
                return;
            }
            let may_wait = std::mem::replace(&mut cx.may_wait, false);
            let answered = self.answered(direction, at, cx);
            cx.may_wait = may_wait;
            let Answered::Exchange(ordinal) = answered else { return };
            self.answers(direction, ordinal);
        }
        self.blame(direction, Incomplete::TRUNCATED, 0);
        self.cut_head(direction, Lost::Nothing, cx);
    }
}
