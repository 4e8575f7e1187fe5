//! Tables of whole conversations, written as transfers; see `properties` for what must hold for any conversation.

mod conversation;
mod detection;
mod framing;
mod http2;
mod loss;
mod order;
mod outcomes;
mod properties;
mod shortcuts;
mod streams;
mod unread;
