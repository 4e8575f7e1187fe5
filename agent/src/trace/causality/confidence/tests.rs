//! How many calls and responses of which kind it takes to trust a process, and to lose the trust.

use super::*;
use crate::event::{Thread, Timestamp};

const SIGNATURE: CallSignature = CallSignature { hash: 7, shares_cause: false };

fn read_by(tid: u32) -> Origin {
    let thread = Thread { pid: 1, tid };
    Origin { at: Timestamp(0), thread, position: 0, last_receive: None, task: None }
}

fn record(confidence: &mut Confidence, outcome: LinkOutcome) -> u64 {
    confidence.record_signature_outcome(SIGNATURE, None, outcome);
    confidence.record_outcome(outcome)
}

fn after(what: &[(LinkOutcome, usize)]) -> Confidence {
    let mut confidence = Confidence::default();
    for (outcome, times) in what {
        for _ in 0..*times {
            record(&mut confidence, *outcome);
        }
    }
    confidence
}

#[test]
fn a_conflict_counts_for_400_calls() {
    let mut confidence = after(&[(LinkOutcome::Consistent, 1), (LinkOutcome::Conflict, 1)]);
    for _ in 0..SEEN {
        confidence.record_concurrent_agreement();
    }
    for _ in 0..399 {
        record(&mut confidence, LinkOutcome::RequestSideOnly);
        assert!(!confidence.trusts_agreement(true, false) && !confidence.is_consistent());
    }
    record(&mut confidence, LinkOutcome::RequestSideOnly);
    assert!(confidence.trusts_agreement(true, false) && confidence.is_consistent());
}

#[test]
fn several_open_requests_need_a_history_of_such() {
    let mut confidence = Confidence::default();
    assert!(confidence.trusts_agreement(true, false) && !confidence.trusts_agreement(false, false));
    for _ in 0..SEEN {
        confidence.record_concurrent_agreement();
    }
    assert!(confidence.trusts_agreement(false, false));
}

#[test]
fn three_quarters_of_agreement_outweigh_conflicts() {
    assert!(!after(&[(LinkOutcome::Conflict, 1), (LinkOutcome::Consistent, 28)]).agrees_mostly());
    assert!(after(&[(LinkOutcome::Conflict, 1), (LinkOutcome::Consistent, 29)]).agrees_mostly());
    assert!(after(&[(LinkOutcome::Conflict, 100), (LinkOutcome::Consistent, 300)]).agrees_mostly());
    assert!(!after(&[(LinkOutcome::Conflict, 101), (LinkOutcome::Consistent, 299)]).agrees_mostly());
}

#[test]
fn half_of_agreement_suffices_for_unambiguous_calls() {
    let concurrent = |what: &[(LinkOutcome, usize)]| {
        let mut confidence = after(what);
        (0..SEEN).for_each(|_| confidence.record_concurrent_agreement());
        confidence
    };
    let half = concurrent(&[
        (LinkOutcome::Consistent, 200),
        (LinkOutcome::Conflict, 6),
        (LinkOutcome::AmbiguousConflict, 60),
        (LinkOutcome::RequestSideOnly, 134),
    ]);
    assert!(half.trusts_agreement(false, true) && !half.trusts_agreement(false, false));
    assert!(!half.agrees_mostly());
    let less = concurrent(&[
        (LinkOutcome::Consistent, 199),
        (LinkOutcome::AmbiguousConflict, 1),
        (LinkOutcome::RequestSideOnly, 200),
    ]);
    assert!(!less.trusts_agreement(false, true));
    let oftener = concurrent(&[
        (LinkOutcome::Consistent, 200),
        (LinkOutcome::Conflict, 7),
        (LinkOutcome::RequestSideOnly, 193),
    ]);
    assert!(!oftener.trusts_agreement(false, true));
    assert!(
        !after(&[(LinkOutcome::Consistent, 20), (LinkOutcome::Conflict, 1)]).trusts_agreement(true, true),
        "too few"
    );
}

#[test]
fn the_request_side_alone_needs_a_full_window_without_conflicts() {
    assert!(
        after(&[(LinkOutcome::RequestSideOnly, 1_500), (LinkOutcome::Consistent, 500)])
            .request_side_suffices(true)
    );
    assert!(
        !after(&[(LinkOutcome::RequestSideOnly, 1_499), (LinkOutcome::Consistent, 500)])
            .request_side_suffices(true)
    );
    assert!(
        !after(&[(LinkOutcome::RequestSideOnly, 1_501), (LinkOutcome::Consistent, 499)])
            .request_side_suffices(true)
    );
    for spoiler in [LinkOutcome::Conflict, LinkOutcome::Unexplained] {
        let mut confidence = after(&[(spoiler, 1), (LinkOutcome::Consistent, 1_999)]);
        assert!(!confidence.trusts_request_side(true, SIGNATURE));
        record(&mut confidence, LinkOutcome::Consistent);
        assert!(confidence.trusts_request_side(true, SIGNATURE));
        assert!(
            !confidence.trusts_request_side(true, CallSignature { hash: 8, ..SIGNATURE }),
            "another signature"
        );
    }
}

#[test]
fn a_recorded_outcome_can_be_corrected() {
    let mut confidence = after(&[(LinkOutcome::Consistent, 2_000)]);
    let number = record(&mut confidence, LinkOutcome::Unexplained);
    assert!(!confidence.request_side_suffices(true));
    confidence.correct_outcome(number, LinkOutcome::Consistent);
    assert!(confidence.request_side_suffices(true));
}

#[test]
fn a_response_side_is_awaited_only_where_some_come() {
    let waits = |what: &[(LinkOutcome, usize)]| {
        let mut confidence = after(what);
        confidence.request_opened(&read_by(1));
        (0..RESPONSES).for_each(|_| confidence.record_coverage(true));
        assert!(confidence.trusts_response_side(false));
        confidence.awaits_response_side()
    };
    assert!(waits(&[]), "nothing is known");
    assert!(waits(&[(LinkOutcome::Unexplained, 29)]));
    assert!(!waits(&[(LinkOutcome::Unexplained, 30)]));
    assert!(!waits(&[(LinkOutcome::ResponseSideOnly, 1), (LinkOutcome::Unexplained, 400)]), "too long ago");
    for come in [LinkOutcome::ResponseSideOnly, LinkOutcome::Consistent, LinkOutcome::Conflict] {
        assert!(waits(&[(come, 1), (LinkOutcome::Unexplained, 399)]));
    }
    let seldom = [(LinkOutcome::ResponseSideOnly, 1), (LinkOutcome::Consistent, 399)];
    assert!(!waits(&seldom));
    let mut stealing = after(&seldom);
    stealing.request_opened(&read_by(1));
    (0..RESPONSES).for_each(|_| stealing.record_coverage(true));
    (0..SEEN_SEVERAL_READERS).for_each(|_| stealing.record_stolen(true));
    assert!(stealing.awaits_response_side(), "of tasks that were stolen");
}

#[test]
fn one_uncovered_response_counts_for_400() {
    let mut confidence = Confidence::default();
    for _ in 0..SEEN - 1 {
        confidence.record_coverage(true);
    }
    assert!(!confidence.trusts_response_side(true));
    confidence.record_coverage(true);
    assert!(
        confidence.trusts_response_side(true) && !confidence.trusts_response_side(false),
        "no other request was open"
    );
    confidence.request_opened(&read_by(1));
    for _ in 0..SEEN {
        confidence.record_coverage(true);
    }
    assert!(confidence.trusts_response_side(false));
    let mut several = confidence.clone();
    several.request_opened(&read_by(2));
    assert!(!several.trusts_response_side(false), "two threads");
    (0..RESPONSES).for_each(|_| several.record_coverage(true));
    assert!(several.trusts_response_side(false));
    confidence.record_coverage(false);
    for _ in 0..399 {
        confidence.record_coverage(true);
        assert!(!confidence.trusts_response_side(true));
    }
    confidence.record_coverage(true);
    assert!(confidence.trusts_response_side(true));
}
