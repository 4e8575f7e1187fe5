//! In which order the connections of different processes are told of does not matter, parents included.

use std::sync::Arc;

use proptest::{prelude::*, sample::Index};

use super::{
    host::Host,
    plan::{Plan, plans},
    script::Script,
    timeline::{Cuts, Happening, Timeline, cuts},
    truth::Truth,
};
use crate::{
    pipeline::Settings,
    trace::span::{Evidence, Parent, Span, SpanKind},
};

fn is_of(span: &Span, number: u32, path: &str) -> bool {
    let told = span.http.as_ref().and_then(|http| http.path());
    span.process.pid == number && told == Some(path)
}

/// A host with both ends of a connection.
pub(super) fn facing(ends: &[Arc<Script>; 2]) -> Host {
    let mut host = Host::new(Settings::default(), ends.iter().cloned());
    let [sent, received] = host.sockets[0].sequences;
    host.sockets[1].sequences = [received, sent];
    host
}

/// Plays all of them; which one goes on next is told by `order`, as long as it does.
pub(super) fn play(mut host: Host, timelines: &[Timeline], order: &[Index]) -> Vec<Span> {
    let mut rest: Vec<(usize, &[Happening])> =
        timelines.iter().map(|timeline| &*timeline.0).enumerate().collect();
    let mut order = order.iter();
    while !rest.is_empty() {
        let choice = order.next().map_or(0, |index| index.index(rest.len()));
        let (number, happenings) = &mut rest[choice];
        host.happen(*number, &happenings[0]);
        *happenings = &happenings[1..];
        if happenings.is_empty() {
            rest.remove(choice);
        }
    }
    host.shutdown();
    host.spans.sort_by_key(|span| span.id);
    host.spans
}

fn conversations() -> impl Strategy<Value = Vec<(Plan, Cuts)>> {
    prop::collection::vec((plans(3), cuts()), 2..5).prop_map(|mut all| {
        for (number, (plan, _)) in (1..).zip(&mut all) {
            plan.number = number;
            // Time that has not come yet for the others would end their waiting.
            plan.exchanges.iter_mut().for_each(|exchange| exchange.idle = false);
        }
        all
    })
}

proptest! {
    #[test]
    fn the_order_of_connections_does_not_matter(
        conversations in conversations(),
        order in prop::collection::vec(any::<Index>(), 0..300),
    ) {
        let scripts: Vec<_> = conversations.iter().map(|(plan, _)| Arc::new(Script::new(plan))).collect();
        let timelines: Vec<_> =
            scripts.iter().zip(&conversations).map(|(script, (_, cuts))| Timeline::new(script, cuts)).collect();
        let host = || Host::new(Settings::default(), scripts.iter().cloned());
        let one_by_one = play(host(), &timelines, &[]);
        let merged = play(host(), &timelines, &order);
        for (number, (script, timeline)) in (0_u32..).zip(scripts.iter().zip(&timelines)) {
            let truth = Truth { script, timeline };
            let own = merged.iter().filter(|span| span.process.pid == number + 1);
            truth.explained(truth.holds(own))?;
        }
        prop_assert_eq!(merged.len(), scripts.iter().map(|script| script.exchanges.len()).sum::<usize>());
        prop_assert_eq!(one_by_one, merged);
    }

    /// Each connection has its other end here too: whichever end is told of first, the receiver's parent is the sender.
    #[test]
    fn both_ends_meet_in_any_order(
        plan in plans(4),
        cuts in (cuts(), cuts()),
        order in prop::collection::vec(any::<Index>(), 0..200),
    ) {
        let mut plan = plan.one_at_a_time();
        plan.exchanges.iter_mut().for_each(|exchange| exchange.idle = false);
        let own = Arc::new(Script::new(&plan));
        let other = Arc::new(Script::new(&Plan { client: plan.client.reverse(), ..plan }));
        let scripts = [own, other];
        let timelines = [Timeline::new(&scripts[0], &cuts.0), Timeline::new(&scripts[1], &cuts.1)];
        let spans = play(facing(&scripts), &timelines, &order);
        prop_assert_eq!(spans.len(), 2 * scripts[0].exchanges.len());
        for (number, (script, timeline)) in (1..).zip(scripts.iter().zip(&timelines)) {
            let truth = Truth { script, timeline };
            truth.explained(truth.holds(spans.iter().filter(|span| span.process.pid == number)))?;
        }
        for exchange in &scripts[0].exchanges {
            let end = |number| spans.iter().find(|span| is_of(span, number, &exchange.path));
            let (Some(own), Some(other)) = (end(1), end(2)) else {
                return Err(TestCaseError::fail("it has two ends"));
            };
            let (client, server) = if own.kind == SpanKind::Client { (own, other) } else { (other, own) };
            prop_assert_eq!((client.kind, server.kind), (SpanKind::Client, SpanKind::Server));
            prop_assert_eq!(client.parent, None);
            let flow = Parent { span: client.id, evidence: Evidence::Connection, remote: false };
            prop_assert_eq!((server.parent, server.trace), (Some(flow), client.trace));
        }
    }
}
