//! Connections that make room at any moment: what was open is told as unfinished, what comes later is a late join, nothing is
//! invented, and all of it is counted.

use std::{sync::Arc, time::Duration};

use proptest::{prelude::*, sample::Index};

use super::{
    host::Host,
    late,
    plan::{Plan, plans},
    script::Script,
    timeline::{Cuts, Happening, STEP, Timeline, What, cuts},
    truth::Truth,
};
use crate::{
    pipeline::{Eviction, Settings},
    trace::span::Span,
};

/// Little room: for some connections, some bytes, some silence (in calls).
fn settings() -> impl Strategy<Value = Settings> {
    (1..4_usize, 20..2_000_usize, 1..40_u64).prop_map(|(connections, buffered_bytes, idle)| Settings {
        connections,
        buffered_bytes,
        idle: Duration::from_nanos(idle * STEP * 50),
        ..Settings::default()
    })
}

fn conversations() -> impl Strategy<Value = Vec<(Plan, Cuts)>> {
    prop::collection::vec((plans(4).prop_map(Plan::one_at_a_time), cuts()), 2..6).prop_map(|mut all| {
        for (number, (plan, _)) in (1..).zip(&mut all) {
            plan.number = number;
        }
        all
    })
}

/// The sum of what was open when it had to go is what the engine says that it let go.
fn is_counted(host: &Host) -> Result<(), TestCaseError> {
    let counted: u64 = host.evicted().iter().map(|(_, count)| count).sum();
    let forgotten: u64 = host.sockets.iter().map(|socket| socket.forgotten).sum();
    prop_assert_eq!(counted, forgotten);
    let sights: usize = host.sockets.iter().map(|socket| socket.sights.len()).sum();
    prop_assert!(sights >= host.sockets.len());
    let ledger = host.ledger();
    let known = ledger.parsed + ledger.skipped + ledger.truncated + ledger.dropped + ledger.unseen;
    prop_assert_eq!(ledger.observed, known);
    Ok(())
}

proptest! {
    #[test]
    fn what_makes_room_is_told_as_it_stands(
        settings in settings(),
        conversations in conversations(),
        order in prop::collection::vec((any::<Index>(), 0..30_u64), 0..400),
    ) {
        let scripts: Vec<_> = conversations.iter().map(|(plan, _)| Arc::new(Script::new(plan))).collect();
        let mut timelines: Vec<_> =
            scripts.iter().zip(&conversations).map(|(script, (_, cuts))| Timeline::new(script, cuts)).collect();
        let mut host = Host::new(settings, scripts.iter().cloned());
        let mut next = vec![0; scripts.len()];
        let mut order = order.into_iter();
        let mut now = 0;
        loop {
            let open: Vec<_> = (0..scripts.len()).filter(|number| next[*number] < timelines[*number].0.len()).collect();
            if open.is_empty() {
                break;
            }
            let (choice, silence) = order.next().map_or((0, 0), |(index, silence)| (index.index(open.len()), silence));
            let number = open[choice];
            // One clock for all: each happening comes when it is its turn.
            now += STEP;
            if silence > 27 {
                now += 10_000_000_000;
                host.happen(number, &Happening { at: now, what: What::Tick });
                now += STEP;
            }
            let happening = &mut timelines[number].0[next[number]];
            happening.at = now;
            host.happen(number, happening);
            next[number] += 1;
        }
        host.shutdown();
        is_counted(&host)?;
        for (number, (script, timeline)) in scripts.iter().zip(&timelines).enumerate() {
            let truth = Truth { script, timeline };
            let own = |span: &&Span| span.process.pid == u32::try_from(number).expect("few") + 1;
            let sights = &host.sockets[number].sights;
            let (first, others): (Vec<_>, Vec<_>) = host
                .spans
                .iter()
                .filter(own)
                .partition(|span| sights.iter().any(|sight| late::is_first_sight(span, sight.0)));
            truth.explained(truth.holds(others))?;
            for span in first.into_iter().filter(|span| !late::is_fake(span)) {
                truth.explained(truth.is_part(span))?;
            }
            if sights.len() == 1 && host.sockets[number].forgotten == 0 {
                let told = host.spans.iter().filter(own).filter(|span| span.incomplete.is_empty()).count();
                prop_assert_eq!(told, script.exchanges.len(), "nothing happened to it");
            }
        }
    }

    /// One connection makes room for another in the middle of any exchange: it is told once, as unfinished.
    #[test]
    fn an_open_exchange_is_unfinished(plan in plans(1), cuts in cuts(), at in any::<Index>()) {
        let mut plan = plan;
        plan.exchanges.iter_mut().for_each(|exchange| exchange.idle = false);
        let script = Arc::new(Script::new(&plan));
        let other = Arc::new(Script::new(&plan.clone().numbered(2)));
        let timeline = Timeline::new(&script, &cuts);
        let calls = timeline.calls().count();
        let seen = at.index(calls);
        let settings = Settings { connections: 1, ..Settings::default() };
        let mut host = Host::new(settings, [Arc::clone(&script), other]);
        for happening in timeline.0.iter().take(seen) {
            host.happen(0, happening);
        }
        let mut last = timeline.0.last().expect("it is closed").clone();
        last.what = What::Call { direction: script.client, range: 0..1, fate: super::timeline::Fate::Seen };
        host.happen(1, &last);
        host.shutdown();
        let evicted = [(Eviction::Connections, u64::from(seen > 0)), (Eviction::Memory, 0), (Eviction::Idle, 0)];
        prop_assert_eq!(host.evicted(), evicted);
        let truth = Truth { script: &script, timeline: &timeline };
        let line = script.of(script.client).bytes.iter().position(|byte| *byte == b'\n').expect("a request line");
        let begun = timeline.0[..seen].iter().any(|it| {
            matches!(&it.what, What::Call { direction, range, .. } if *direction == script.client && range.contains(&line))
        });
        prop_assert_eq!(host.spans.len(), usize::from(begun));
        for span in &host.spans {
            truth.explained(truth.holds([span]))?;
        }
    }
}
