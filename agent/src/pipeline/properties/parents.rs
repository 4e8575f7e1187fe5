//! Loss never makes a wrong parent: both ends of a connection are here, and anything of either may be missing.

use std::sync::Arc;

use proptest::{prelude::*, sample::Index};

use super::{
    interleaving::{facing, play},
    plan::{Plan, plans},
    removal::{lose, losses},
    script::Script,
    timeline::{Fate, Timeline, cuts},
    truth::Truth,
};
use crate::trace::span::{Evidence, Span, SpanKind};

proptest! {
    #[test]
    fn a_parent_is_the_other_end_of_the_same_exchange(
        plan in plans(5).prop_map(Plan::one_at_a_time),
        cuts in (cuts(), cuts()),
        lost in (losses(), losses()),
        one_end_is_whole in any::<bool>(),
        order in prop::collection::vec(any::<Index>(), 0..200),
    ) {
        let mut plan = plan;
        plan.exchanges.iter_mut().for_each(|exchange| exchange.idle = false);
        let own = Arc::new(Script::new(&plan));
        let other = Arc::new(Script::new(&Plan { client: plan.client.reverse(), ..plan }));
        let scripts = [own, other];
        let mut timelines = [Timeline::new(&scripts[0], &cuts.0), Timeline::new(&scripts[1], &cuts.1)];
        lose(&mut timelines[0], &lost.0, 0);
        if !one_end_is_whole {
            lose(&mut timelines[1], &lost.1, 0);
        }
        let spans = play(facing(&scripts), &timelines, &order);
        let of = |number: u32| spans.iter().filter(move |span| span.process.pid == number);
        for (number, (script, timeline)) in (1..).zip(scripts.iter().zip(&timelines)) {
            let truth = Truth { script, timeline };
            truth.explained(truth.holds(of(number)))?;
            if timeline.calls().all(|call| call.3 == Fate::Seen) {
                prop_assert_eq!(of(number).count(), script.exchanges.len());
            }
        }
        let path = |span: &Span| span.http.as_ref().and_then(|http| http.path().map(str::to_owned)).expect("it has a path");
        for span in &spans {
            let Some(parent) = span.parent else { continue };
            let found = spans.iter().find(|other| other.id == parent.span);
            let is_right = |other: &Span| {
                // Either may be cut.
                let (one, other_one) = (path(span), path(other));
                let same = one.starts_with(&*other_one) || other_one.starts_with(&*one);
                same && other.process.pid != span.process.pid && other.trace == span.trace
            };
            prop_assert!(found.is_some_and(is_right), "{:?} of {:?}", found, span);
            prop_assert_eq!((span.kind, parent.evidence), (SpanKind::Server, Evidence::Connection));
        }
    }
}
