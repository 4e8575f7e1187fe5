//! How the exchanges of a [`Session`] end when their connection does.

use super::{body::Body, exchange::ResponseState, reader::State, session::Session};
use crate::{
    event::{Direction, Timestamp},
    protocol::{Context, Incomplete, Outcome},
};

impl Session {
    /// Nothing more will be read: ends every exchange, those whose response is not over as `outcome`. `ends`: so does a response
    /// without length, which is all there was if it is `whole`.
    pub(super) fn end_all(
        &mut self,
        outcome: Outcome,
        ends: bool,
        whole: bool,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let Some(client) = self.client else { return };
        self.give_up_request_head(client, cx);
        let response = client.reverse();
        self.give_up_response_head(response, cx);
        if ends {
            self.finish_until_close(response, whole, at, cx);
        }
        let reader = self.reader(response);
        let lost = reader.is_lost();
        let lost_at = reader.lost_at;
        self.pairing.end_all(at, cx, |exchange| {
            if exchange.response == ResponseState::Over {
                // The rest of the request was never sent.
                return Some(Outcome::Complete);
            }
            let passed_unread = lost_at.is_some_and(|lost_at| lost_at > exchange.request_at);
            let unread = lost && (exchange.response == ResponseState::Begun || passed_unread);
            (!unread && !exchange.unpairable).then_some(outcome)
        });
    }

    /// How an exchange ends whose response was not complete when the peer or an error ended the connection. Seen from the server
    /// an error or an earlier FIN says that the client went away.
    pub(super) fn cut_off(&self, errno: Option<u16>) -> Outcome {
        let aborted = self.client == Some(Direction::In) && (errno.is_some() || self.client_finished);
        if aborted { Outcome::ClientAborted(errno) } else { Outcome::ConnectionClosed(errno) }
    }

    /// Nothing more will be read: counts what was not understood.
    pub(super) fn over(&mut self, cx: &mut Context<'_>) {
        self.drop_kept(cx);
        if !self.understood && self.read {
            cx.out.counters.connections_not_http1 += 1;
        }
    }

    /// A response without length ends with its direction; `whole`: by its sender.
    pub(super) fn finish_until_close(
        &mut self,
        direction: Direction,
        whole: bool,
        at: Timestamp,
        cx: &mut Context<'_>,
    ) {
        let reader = self.reader(direction);
        if reader.state == State::Body(Body::UntilClose) {
            let payload = (whole && !reader.unsure).then_some(reader.payload);
            if !whole {
                self.blame(direction, Incomplete::GAP, 0);
            }
            self.message_over(direction, at, payload, cx);
        }
    }
}
