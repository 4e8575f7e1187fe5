//! A connection that is older than the agent: what is told of it is true from wherever on it is seen.
//!
//! One thing cannot be known: whether a call that begins with a whole request line begins a request, when it is the first
//! that was ever seen. It is taken for one, and the span says `joined_mid_stream`.

use std::sync::Arc;

use proptest::{prelude::*, sample::Index};

use super::{
    host::{Host, UNIX_OFFSET},
    plan::{Plan, plans},
    removal::{lose, losses},
    script::Script,
    timeline::{Cuts, Fate, Happening, Timeline, What, cuts},
    truth::Truth,
};
use crate::{event::Direction, pipeline::Settings, trace::span::Span};

/// Of the first call ever seen.
pub(super) fn is_first_sight(span: &Span, at: u64) -> bool {
    span.start - UNIX_OFFSET == at && span.incomplete.contains(&"joined_mid_stream")
}

pub(super) fn is_fake(span: &Span) -> bool {
    span.http.as_ref().and_then(|http| http.path()).is_some_and(|path| path.starts_with("/fake/"))
}

fn play_from(script: &Arc<Script>, timeline: &Timeline, first: usize) -> Host {
    let mut host = Host::new(Settings::default(), [Arc::clone(script)]);
    for happening in &timeline.0[..first] {
        host.pass(0, happening);
    }
    host.play(&timeline.0[first..])
}

/// The number of the happening with this call.
fn call(timeline: &Timeline, index: Index) -> usize {
    let is_call = |what: &What| matches!(what, What::Call { .. });
    let calls: Vec<_> =
        timeline.0.iter().enumerate().filter(|(_, it)| is_call(&it.what)).map(|(number, _)| number).collect();
    calls[index.index(calls.len())]
}

proptest! {
    #[test]
    fn nothing_is_invented_of_what_came_before(
        plan in plans(6).prop_map(Plan::one_at_a_time),
        cuts in cuts(),
        from in any::<Index>(),
    ) {
        let script = Arc::new(Script::new(&plan));
        let timeline = Timeline::new(&script, &cuts);
        let first = call(&timeline, from);
        let host = play_from(&script, &timeline, first);
        let truth = Truth { script: &script, timeline: &timeline };
        let at = timeline.0[first].at;
        let (at_first, others): (Vec<_>, Vec<_>) =
            host.spans.iter().partition(|span| is_first_sight(span, at));
        truth.explained(truth.holds(others))?;
        prop_assert!(at_first.len() <= 1);
        // It tells of nothing that is not there, and never of another exchange's answer.
        if let Some(span) = at_first.first().filter(|span| !is_fake(span)) {
            truth.explained(truth.is_part(span))?;
        }
    }

    #[test]
    fn nor_is_anything_when_more_is_lost(
        plan in plans(6).prop_map(Plan::one_at_a_time),
        cuts in cuts(),
        from in any::<Index>(),
        lost in losses(),
    ) {
        let script = Arc::new(Script::new(&plan));
        let mut timeline = Timeline::new(&script, &cuts);
        let first = call(&timeline, from);
        lose(&mut timeline, &lost, 0);
        let host = play_from(&script, &timeline, first);
        let truth = Truth { script: &script, timeline: &timeline };
        // What is lost is not seen: the first sight is that of a later call.
        let from = timeline.0[first].at;
        let told = |call: &(u64, _, _, Fate)| call.0 >= from && !matches!(call.3, Fate::Dropped | Fate::Unseen);
        let at = timeline.calls().find(told).map_or(0, |call| call.0);
        let others = host.spans.iter().filter(|span| !is_first_sight(span, at));
        truth.explained(truth.holds(others))?;
    }

    /// A call had moved its bytes at first sight and is told of after it: it went the other way than the one by which the
    /// connection was met, and was on its way out of the kernel.
    #[test]
    fn a_call_may_be_on_its_way_at_first_sight(
        plan in plans(6).prop_map(Plan::one_at_a_time),
        cuts in cuts(),
        from in any::<Index>(),
    ) {
        let script = Arc::new(Script::new(&plan));
        let mut timeline = Timeline::new(&script, &cuts);
        let first = call(&timeline, from);
        let way = |number: usize| match &timeline.0[number].what {
            What::Call { direction, .. } => Some(*direction),
            _ => None,
        };
        let against = way(first).map(Direction::reverse);
        let Some(late) = (0..first).rev().find(|number| way(*number) == against) else { return Ok(()) };
        // When it moved is not known, but before that.
        let at = timeline.0[first].at;
        timeline.0[late].at = at - 1;
        let mut host = Host::new(Settings::default(), [Arc::clone(&script)]);
        timeline.0[..first].iter().for_each(|happening| host.pass(0, happening));
        host.happen(0, &timeline.0[first]);
        host.meet_again(0);
        let what = timeline.0[late].what.clone();
        host.happen(0, &Happening { at: at + 1, what });
        let host = host.play(&timeline.0[first + 1..]);
        let truth = Truth { script: &script, timeline: &timeline };
        let (at_first, others): (Vec<_>, Vec<_>) =
            host.spans.iter().partition(|span| is_first_sight(span, at) || is_first_sight(span, at - 1));
        truth.explained(truth.holds(others))?;
        // What answers it may be text in a body.
        prop_assert!(at_first.len() <= 1);
        prop_assert!(at_first.iter().all(|span| is_fake(span) || truth.find(span).is_some()), "{:?}", at_first);
        if first == 1 {
            let whole = host.spans.iter().filter(|span| span.incomplete.is_empty()).count();
            prop_assert_eq!(whole, script.exchanges.len(), "it is the stream's beginning: {:?}", timeline);
        }
    }

    /// From the third request after the first sight on everything is known.
    #[test]
    fn the_way_is_found(
        plan in plans(3).prop_map(Plan::one_at_a_time),
        later in plans(4).prop_map(Plan::one_at_a_time),
        cuts in cuts(),
        from in any::<Index>(),
    ) {
        let exchanges: Vec<_> = plan.exchanges.iter().chain(&later.exchanges).cloned().collect();
        let before = plan.exchanges.len();
        let script = Arc::new(Script::new(&Plan { exchanges, ..later }));
        let timeline = Timeline::new(&script, &Cuts { sizes: vec![usize::MAX], ..cuts });
        let begin = timeline.at(script.client, script.exchanges[before].request.start);
        let calls: Vec<_> = timeline.calls().take_while(|call| call.0 < begin).map(|call| call.0).collect();
        let at = calls[from.index(calls.len())];
        let first = timeline.0.iter().position(|it| it.at == at).expect("it is there");
        let host = play_from(&script, &timeline, first);
        let truth = Truth { script: &script, timeline: &timeline };
        for exchange in script.exchanges.iter().skip(before + 2) {
            let whole = |span: &&Span| span.incomplete.is_empty() && truth.find(span).is_some_and(|it| it.path == exchange.path);
            let found = host.spans.iter().any(|span| whole(&span));
            let fail = || TestCaseError::fail(format!("{exchange:?} of {:?}", host.spans));
            truth.explained(found.then_some(()).ok_or_else(fail))?;
        }
    }
}
