//! Tests of the queue: exactness under every order of calls, waking, closing.

use std::thread;

use proptest::prelude::*;

use super::*;
use crate::pipeline::samples::{batch, open, server_span};

const LONG: Duration = Duration::from_secs(60);

fn spans(count: usize) -> Batch {
    batch((0..count).map(|_| SpanEvent::Span(Box::new(server_span()))).collect())
}

fn taken(next: Next) -> usize {
    match next {
        Next::Piece(piece) => piece.entries().len(),
        Next::Idle | Next::Closed => 0,
    }
}

#[test]
fn a_full_queue_drops_the_newest_and_counts() {
    let queue = Queue::new(10);
    queue.push(spans(6));
    queue.push(spans(6));
    queue.push(spans(3));
    assert_eq!((queue.len(), queue.accepted_spans(), queue.dropped_spans()), (10, 10, 5));
    assert_eq!(taken(queue.try_next(usize::MAX)), 6);
    assert_eq!(taken(queue.try_next(usize::MAX)), 4);
    assert!(matches!(queue.try_next(1), Next::Idle));
}

#[test]
fn notices_of_open_requests_take_room_but_are_no_lost_spans() {
    let queue = Queue::new(2);
    let entry = || SpanEvent::Span(Box::new(server_span()));
    queue.push(batch(vec![open(), entry(), open(), entry()]));
    assert_eq!((queue.accepted_spans(), queue.dropped_spans(), queue.dropped_notices()), (1, 1, 1));
}

#[test]
fn a_closed_queue_gives_what_it_has_and_takes_no_more() {
    let queue = Queue::new(10);
    queue.push(spans(2));
    queue.close();
    queue.push(spans(3));
    assert_eq!(queue.dropped_spans(), 3);
    assert_eq!(taken(queue.next_within(10, LONG)), 2);
    assert!(matches!(queue.next_within(10, LONG), Next::Closed));
}

#[test]
fn a_waiting_thread_is_woken_by_a_push_and_by_the_close() {
    let queue = Arc::new(Queue::new(10));
    let consumer = thread::spawn({
        let queue = Arc::clone(&queue);
        move || {
            let mut total = 0;
            while let Next::Piece(piece) = queue.next_within(10, LONG) {
                total += piece.entries().len();
            }
            total
        }
    });
    queue.push(spans(3));
    queue.push(spans(4));
    queue.close();
    assert_eq!(consumer.join().unwrap(), 7);
}

#[tokio::test]
async fn a_waiting_task_is_woken_by_a_push_and_by_the_close() {
    let queue = Arc::new(Queue::new(10));
    let consumer = tokio::spawn({
        let queue = Arc::clone(&queue);
        async move {
            let mut total = 0;
            while let Some(piece) = queue.next(2).await {
                total += piece.entries().len();
            }
            total
        }
    });
    tokio::task::yield_now().await;
    queue.push(spans(5));
    tokio::task::yield_now().await;
    queue.close();
    assert_eq!(consumer.await.unwrap(), 5);
}

#[test]
fn the_batcher_flushes_by_size_age_and_on_demand() {
    let entry = || SpanEvent::Span(Box::new(server_span()));
    let mut batcher = Batcher::with_limits(3, 100);
    assert!(batcher.tick(Timestamp(1_000_000)).is_none(), "nothing to flush");
    assert!(batcher.push(entry(), Timestamp(1_000)).is_none());
    assert!(batcher.push(entry(), Timestamp(1_050)).is_none());
    assert!(batcher.tick(Timestamp(1_099)).is_none());
    assert_eq!(batcher.tick(Timestamp(1_100)).unwrap().entries.len(), 2);
    assert!(batcher.push(entry(), Timestamp(2_000)).is_none());
    assert!(batcher.push(entry(), Timestamp(2_000)).is_none());
    assert_eq!(batcher.push(entry(), Timestamp(2_000)).unwrap().entries.len(), 3);
    assert!(batcher.push(entry(), Timestamp(3_000)).is_none());
    let last = batcher.take(Timestamp(3_050));
    assert_eq!((last.entries.len(), last.at), (1, Timestamp(3_050)));
    assert!(batcher.take(Timestamp(3_050)).entries.is_empty());
}

#[test]
fn a_producer_that_can_wait_loses_nothing() {
    let queue = Arc::new(Queue::new(10));
    let producer = thread::spawn({
        let queue = Arc::clone(&queue);
        move || {
            for _ in 0..50 {
                queue.push_waiting(spans(7));
            }
            // More than the queue could ever hold: the rest is dropped, not waited for.
            queue.push_waiting(spans(11));
            queue.close();
            // Nobody takes from a closed queue: not waited for either.
            queue.push_waiting(spans(1));
        }
    });
    let mut total = 0;
    while let Next::Piece(piece) = queue.next_within(3, LONG) {
        total += piece.entries().len();
    }
    producer.join().unwrap();
    assert_eq!((total, queue.dropped_spans()), (360, 2));
}

#[test]
fn a_batch_without_entries_tells_the_time_and_takes_no_room() {
    let queue = Queue::new(1);
    for at in [5, 9, 7] {
        queue.push(Batch { at: Timestamp(at), entries: Arc::default() });
    }
    assert_eq!((queue.now(), queue.len()), (Timestamp(9), 0));
}

proptest! {
    /// Whatever the order of pushes and takes: nothing is lost uncounted and the bound holds.
    #[test]
    fn every_span_is_taken_or_inside_or_counted(
        capacity in 1_usize..40,
        steps in prop::collection::vec((0_usize..20, 0_usize..20), 0..50),
    ) {
        let queue = Queue::new(capacity);
        let (mut pushed, mut received) = (0, 0);
        for (push, most) in steps {
            queue.push(spans(push));
            pushed += push;
            prop_assert!(queue.len() <= capacity);
            if most > 0 {
                let got = taken(queue.try_next(most));
                prop_assert!(got <= most);
                received += got;
            }
        }
        prop_assert_eq!(queue.accepted_spans() as usize, received + queue.len());
        prop_assert_eq!(pushed as u64, queue.accepted_spans() + queue.dropped_spans());
    }
}
