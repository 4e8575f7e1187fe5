//! Any cutting of the same bytes into calls gives the same spans.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    host::Host,
    plan::plans,
    script::Script,
    timeline::{Cuts, Fate, Timeline, cuts},
    truth::Truth,
};
use crate::{pipeline::Settings, protocol::Limits, trace::span::Span};

/// Long bodies are left out by the kernel, and these are long.
fn settings() -> Settings {
    Settings { limits: Limits { skip_bytes: 80, ..Limits::default() }, ..Settings::default() }
}

/// As the kernel does, only the beginning and the end of a call are captured: here at least what a reader needs.
fn capture(timeline: &mut Timeline, script: &Script) {
    for (direction, range, fate) in timeline.fates_mut() {
        let needed = &script.of(direction).needed[range.clone()];
        let Some(hole) = needed.iter().position(|needed| !needed) else { continue };
        let length = needed[hole..].iter().take_while(|needed| !**needed).count();
        *fate = Fate::Captured(hole, range.len() - hole - length);
    }
}

fn timeless(mut span: Span) -> Span {
    (span.start, span.end, span.first_response_byte) = (0, 0, None);
    span
}

proptest! {
    #[test]
    fn any_calls_give_the_same_spans(
        plan in plans(6),
        cuts in cuts(),
        captured in any::<bool>(),
        deaf in any::<bool>(),
    ) {
        let script = Arc::new(Script::new(&plan));
        let whole = Timeline::new(&script, &Cuts { fin: cuts.fin, ..Cuts::none() });
        let mut pieces = Timeline::new(&script, &cuts);
        if captured {
            capture(&mut pieces, &script);
        }
        let mut told = Vec::new();
        for timeline in [&whole, &pieces] {
            let mut host = Host::new(settings(), [Arc::clone(&script)]);
            host.deaf = deaf;
            let host = host.play(&timeline.0);
            prop_assert_eq!(host.spans.len(), script.exchanges.len());
            let truth = Truth { script: &script, timeline };
            for span in &host.spans {
                truth.is_exact(span)?;
            }
            let mut spans: Vec<_> = host.spans.into_iter().map(timeless).collect();
            spans.sort_by_key(|span| span.id);
            told.push(spans);
        }
        prop_assert_eq!(&told[0], &told[1]);
    }
}
