//! Whatever is lost on the way, what comes out is true, and says so where something is missing.
//!
//! Assumed is what no observer can see: after a loss a client waits for each answer before it says more, unless it was seen
//! not to; then only its bodies tell nothing that looks like a message.

use std::sync::Arc;

use proptest::{prelude::*, sample::Index};

use super::{
    host::Host,
    plan::{Plan, plans},
    script::Script,
    timeline::{Cuts, Fate, Happening, Timeline, What, cuts, fates},
    truth::Truth,
};
use crate::{event::Direction, pipeline::Settings, protocol::Limits, trace::span::Span};

/// A run of calls of which something is lost.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    first: Index,
    calls: usize,
    /// Only of the direction of the first one.
    one_way: bool,
    fate: Fate,
}

pub(super) fn losses() -> impl Strategy<Value = Vec<Loss>> {
    let run = prop_oneof![3 => Just(1), 2 => 2..5_usize, 1 => 5..20_usize];
    let loss = (any::<Index>(), run, any::<bool>(), fates()).prop_map(|(first, calls, one_way, fate)| Loss {
        first,
        calls,
        one_way,
        fate,
    });
    prop::collection::vec(loss, 1..4)
}

/// Some bodies are long enough to be left out, and no connection is given up.
fn settings() -> Settings {
    let limits = Limits {
        skip_bytes: 250,
        unknown_starts: u32::MAX,
        unknown_starts_late: u32::MAX,
        unknown_transfers: u32::MAX,
        ..Limits::default()
    };
    Settings { limits, ..Settings::default() }
}

pub(super) fn lose(timeline: &mut Timeline, losses: &[Loss], spared: usize) {
    for loss in losses {
        let mut calls: Vec<_> = timeline.fates_mut().collect();
        if calls.len() <= spared {
            return;
        }
        let first = spared + loss.first.index(calls.len() - spared);
        let direction = calls[first].0;
        let meant = |other: Direction| !loss.one_way || other == direction;
        let hit = calls[first..].iter_mut().filter(|call| meant(call.0)).take(loss.calls);
        hit.for_each(|call| *call.2 = loss.fate);
    }
}

/// Of the ends some are not told.
fn silence(timeline: &mut Timeline, no_fin: bool, no_close: bool) {
    for Happening { what, .. } in &mut timeline.0 {
        match what {
            What::Fin { lost, .. } => *lost = no_fin,
            What::Close { lost } => *lost = no_close,
            _ => {}
        }
    }
}

/// What was over before anything was lost is told in full.
fn nothing_before_is_touched(truth: &Truth<'_>, spans: &[Span]) -> Result<(), TestCaseError> {
    let lost = truth.timeline.calls().filter(|call| call.3 != Fate::Seen).map(|call| call.0).min();
    let server = truth.script.client.reverse();
    for exchange in &truth.script.exchanges {
        if lost.is_none_or(|lost| truth.timeline.at(server, exchange.response.end - 1) >= lost) {
            break;
        }
        let span =
            spans.iter().find(|span| truth.find(span).is_some_and(|found| found.path == exchange.path));
        prop_assert!(span.is_some_and(|span| span.incomplete.is_empty()), "{:?}: {:?}", exchange, span);
    }
    Ok(())
}

fn check(script: &Arc<Script>, timeline: &Timeline) -> Result<Vec<Span>, TestCaseError> {
    let host = Host::new(settings(), [Arc::clone(script)]).play(&timeline.0);
    let truth = Truth { script, timeline };
    truth.explained(truth.holds(&host.spans))?;
    truth.explained(nothing_before_is_touched(&truth, &host.spans))?;
    Ok(host.spans)
}

proptest! {
    #[test]
    fn what_is_left_of_a_conversation_is_true(
        plan in plans(6).prop_map(Plan::one_at_a_time),
        cuts in cuts(),
        losses in losses(),
        no_fin in prop::bool::weighted(0.2),
        no_close in prop::bool::weighted(0.2),
    ) {
        let script = Arc::new(Script::new(&plan));
        let mut timeline = Timeline::new(&script, &cuts);
        lose(&mut timeline, &losses, 0);
        silence(&mut timeline, no_fin, no_close);
        check(&script, &timeline)?;
    }

    #[test]
    fn what_is_left_of_a_pipelined_conversation_is_true(
        plan in plans(6).prop_map(Plan::pipelining),
        cuts in cuts(),
        losses in losses(),
        no_fin in prop::bool::weighted(0.2),
        no_close in prop::bool::weighted(0.2),
    ) {
        let script = Arc::new(Script::new(&plan));
        let mut timeline = Timeline::new(&script, &cuts);
        // That this client pipelines is seen before anything is lost.
        let answered = timeline.at(script.client.reverse(), script.exchanges[1].response.end - 1);
        let spared = timeline.calls().filter(|call| call.0 <= answered).count();
        lose(&mut timeline, &losses, spared);
        silence(&mut timeline, no_fin, no_close);
        check(&script, &timeline)?;
    }

    #[test]
    fn a_connection_whose_first_sight_is_lost_tells_nothing(plan in plans(3), cuts in cuts()) {
        let script = Arc::new(Script::new(&plan));
        let timeline = Timeline::new(&script, &cuts);
        let mut host = Host::new(settings(), [Arc::clone(&script)]);
        host.sockets[0].opened_lost = true;
        prop_assert!(host.play(&timeline.0).spans.is_empty());
    }

    /// After a loss one exchange may be needed to find the way again.
    #[test]
    fn the_third_exchange_after_a_loss_is_whole_again(
        plan in plans(3).prop_map(Plan::one_at_a_time),
        later in plans(4).prop_map(Plan::one_at_a_time),
        losses in losses(),
        cuts in cuts(),
    ) {
        let exchanges: Vec<_> = plan.exchanges.iter().chain(&later.exchanges).cloned().collect();
        let before = plan.exchanges.len();
        let script = Arc::new(Script::new(&Plan { exchanges, ..later }));
        let mut timeline = Timeline::new(&script, &Cuts { sizes: vec![usize::MAX], ..cuts });
        let first = timeline.at(script.client, script.exchanges[before].request.start);
        let mut rest = timeline.0.split_off(timeline.0.iter().position(|it| it.at == first).expect("it is there"));
        lose(&mut timeline, &losses, 0);
        timeline.0.append(&mut rest);
        let spans = check(&script, &timeline)?;
        for exchange in script.exchanges.iter().skip(before + 2) {
            let path = |span: &&Span| span.http.as_ref().and_then(|http| http.path()) == Some(&*exchange.path);
            let span = spans.iter().find(path);
            let whole = span.is_some_and(|span| span.incomplete.is_empty());
            let truth = Truth { script: &script, timeline: &timeline };
            truth.explained(whole.then_some(()).ok_or_else(|| TestCaseError::fail(format!("{exchange:?} of {spans:?}"))))?;
        }
    }
}
