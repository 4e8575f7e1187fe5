//! What makes a request the same request on both sides of a proxy: method, target and the fields that proxies hand on
//! (RFC 9110, section 7.6: end-to-end), as hashes.
//!
//! Host, Via, Forwarded, Accept-Encoding and all that is meant for one hop are left out, since proxies change them; so are
//! fields that hardly tell requests apart.
//!
//! The hashes are compared within one run of the agent only, and nobody outside gets to see them. So a seed that is random for
//! each run is enough to keep anyone from preparing different requests with the same hash, and a hash of a few
//! multiplications does what SipHash did for four times the instructions.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::LazyLock,
};

use foldhash::{SharedSeed, quality::FoldHasher};

use super::name::Name;
use crate::protocol::http::Content;

/// The seeds of this run.
struct Seeds {
    own: u64,
    shared: SharedSeed,
}

static SEEDS: LazyLock<Seeds> = LazyLock::new(|| {
    // From the keys that the standard library gets of the kernel.
    let random = |number: u64| RandomState::new().hash_one(number);
    Seeds { own: random(0), shared: SharedSeed::from_u64(random(1)) }
});

fn hasher() -> FoldHasher<'static> {
    let seeds = &*SEEDS;
    FoldHasher::with_seed(seeds.own, &seeds.shared)
}

/// Adds up what is read of a head, in any order of the fields: proxies may change it.
pub(super) struct Summary {
    base: u64,
    identity: u64,
}

impl Summary {
    pub(super) fn new(method: &[u8], target: &[u8]) -> Self {
        let mut hasher = hasher();
        hasher.write(method);
        hasher.write_u8(0);
        hasher.write(target);
        Self { base: hasher.finish(), identity: 0 }
    }

    pub(super) fn field(&mut self, name: Name, value: &[u8]) {
        let Some((tag, identifies)) = tag(name) else { return };
        let mut hasher = hasher();
        hasher.write_u8(tag);
        hasher.write(value);
        let sum = if identifies { &mut self.identity } else { &mut self.base };
        *sum = sum.wrapping_add(hasher.finish());
    }

    pub(super) const fn content(&self) -> Content {
        Content { base: self.base, identity: self.identity }
    }
}

/// A number for each of the fields, and whether it names one request rather than its sender or kind.
const fn tag(name: Name) -> Option<(u8, bool)> {
    Some(match name {
        Name::Range => (1, false),
        Name::Cookie => (2, false),
        Name::Accept => (3, false),
        Name::Referer => (4, false),
        Name::UserAgent => (5, false),
        Name::RequestId => (6, true),
        Name::Traceparent => (7, true),
        Name::ContentType => (8, false),
        Name::XRequestId => (9, true),
        Name::Authorization => (10, false),
        Name::IfNoneMatch => (11, false),
        Name::XAmznTraceId => (12, true),
        Name::XCorrelationId => (13, true),
        _ => return None,
    })
}
