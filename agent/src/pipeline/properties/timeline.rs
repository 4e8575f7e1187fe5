//! A conversation as calls: when which bytes move, and what becomes of each call's event.

use std::ops::Range;

use proptest::prelude::*;

use super::{plan::End, script::Script};
use crate::event::Direction;

pub(super) const MILLISECOND: u64 = 1_000_000;
/// Between two calls.
pub(super) const STEP: u64 = 20_000;
/// A flight that was idle before waited so long.
const IDLE: u64 = 150 * MILLISECOND;

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Seen,
    /// Only so many first and last bytes are captured.
    Captured(usize, usize),
    NotCaptured,
    /// The event finds no room, and the kernel counts it.
    Dropped,
    /// It passes without any trace.
    Unseen,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    Call { direction: Direction, range: Range<usize>, fate: Fate },
    Fin { direction: Direction, lost: bool },
    Tick,
    Close { lost: bool },
}

#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) at: u64,
    pub(super) what: What,
}

/// Everything that happens on one connection, in its order.
#[derive(Debug)]
pub(super) struct Timeline(pub(super) Vec<Happening>);

/// Where calls begin and end.
#[derive(Debug, Clone)]
pub(super) struct Cuts {
    pub(super) sizes: Vec<usize>,
    /// Also wherever something begins or seems to.
    pub(super) marks: bool,
    /// The server's FIN is seen before the end.
    pub(super) fin: bool,
}

impl Cuts {
    /// Each flight is one call.
    pub(super) fn none() -> Self {
        Self { sizes: vec![usize::MAX], marks: false, fin: false }
    }
}

pub(super) fn cuts() -> impl Strategy<Value = Cuts> {
    let size = prop_oneof![2 => 1..12_usize, 3 => 12..200_usize, 2 => Just(usize::MAX)];
    (prop::collection::vec(size, 1..8), any::<bool>(), any::<bool>()).prop_map(|(sizes, marks, fin)| Cuts {
        sizes,
        marks,
        fin,
    })
}

/// What may happen to a call, most of them nothing.
pub(super) fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        (0..80_usize, 0..20_usize).prop_map(|(head, tail)| Fate::Captured(head, tail)),
        Just(Fate::NotCaptured),
        Just(Fate::Dropped),
        Just(Fate::Unseen),
    ]
}

impl Timeline {
    pub(super) fn new(script: &Script, cuts: &Cuts) -> Self {
        let mut now = MILLISECOND;
        let mut all = Vec::new();
        let mut sizes = cuts.sizes.iter().cycle();
        for flight in &script.flights {
            if flight.idle {
                for _ in 0..2 {
                    now += IDLE / 2;
                    all.push(Happening { at: now, what: What::Tick });
                }
            }
            let direction = flight.direction;
            let marks = &script.of(direction).marks;
            let mut start = flight.range.start;
            while start < flight.range.end {
                let size = *sizes.next().expect("they repeat");
                let mut end = start.saturating_add(size).min(flight.range.end);
                if cuts.marks
                    && let Some(mark) = marks.iter().find(|mark| start < **mark && **mark < end)
                {
                    end = *mark;
                }
                now += STEP;
                let what = What::Call { direction, range: start..end, fate: Fate::Seen };
                all.push(Happening { at: now, what });
                start = end;
            }
        }
        if cuts.fin || script.end == End::UntilClose {
            now += STEP;
            let what = What::Fin { direction: script.client.reverse(), lost: false };
            all.push(Happening { at: now, what });
        }
        all.push(Happening { at: now + STEP, what: What::Close { lost: false } });
        Self(all)
    }

    /// When the byte moved.
    pub(super) fn at(&self, wanted: Direction, position: usize) -> u64 {
        let holds = |what: &What| matches!(what, What::Call { direction, range, .. } if *direction == wanted && range.contains(&position));
        self.0.iter().find(|happening| holds(&happening.what)).expect("every byte moves").at
    }

    /// When the server was seen to say no more.
    pub(super) fn over_at(&self) -> u64 {
        let over = |what: &What| matches!(what, What::Fin { lost: false, .. } | What::Close { .. });
        self.0.iter().find(|happening| over(&happening.what)).expect("it is closed").at
    }

    pub(super) fn calls(&self) -> impl Iterator<Item = (u64, Direction, &Range<usize>, Fate)> {
        self.0.iter().filter_map(|happening| match &happening.what {
            What::Call { direction, range, fate } => Some((happening.at, *direction, range, *fate)),
            _ => None,
        })
    }

    /// Bytes that were not captured.
    pub(super) fn missing(&self) -> u64 {
        let missing = |range: &Range<usize>, fate| match fate {
            Fate::Seen => 0,
            Fate::Captured(head, tail) => range.len().saturating_sub(head + tail),
            Fate::NotCaptured | Fate::Dropped | Fate::Unseen => range.len(),
        };
        self.calls().map(|(_, _, range, fate)| missing(range, fate) as u64).sum()
    }

    pub(super) fn fates_mut(&mut self) -> impl Iterator<Item = (Direction, &Range<usize>, &mut Fate)> {
        self.0.iter_mut().filter_map(|happening| match &mut happening.what {
            What::Call { direction, range, fate } => Some((*direction, &*range, fate)),
            _ => None,
        })
    }
}
