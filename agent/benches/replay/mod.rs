//! What both benchmarks of the pipeline do: replay generated traffic through the engine and the OTLP encoder, as the
//! session does, but without a kernel before them and a collector behind.

mod heads;
mod traffic;

use clap::Parser;
use wirespan::{
    event::Event,
    export::{HostResource, otlp::Encoder},
    pipeline::{self, Engine},
    trace::{self, span::Traced},
};

use self::traffic::{Mix, Traffic};

/// Spans in a request, as the exporter has them by default.
const BATCH: usize = 512;

/// Events between two rounds of the session: about 2 ms of them.
const DRAIN: usize = 512;

#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Connections open at once
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Who talks
    #[arg(long, value_enum, default_value_t = Mix::Mixed)]
    mix: Mix,
    /// Exchanges measured; each makes one span, those of a gateway two
    #[arg(long, default_value_t = 200_000)]
    exchanges: usize,
    /// Exchanges of each connection before anything is measured
    #[arg(long, default_value_t = 1)]
    warm: usize,
    /// Exchanges that are generated, then replayed, at a time
    #[arg(long, default_value_t = 20_000)]
    round: usize,
    /// Nanoseconds of event time between two events: how many spans wait for 200 ms of it to pass depends on this
    #[arg(long, default_value_t = 4_000)]
    step: u64,
    /// What cargo gives every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// Measures something that happens in between.
pub(crate) trait Meter {
    type Reading: Default + Copy + std::ops::Sub<Output = Self::Reading> + std::ops::AddAssign;
    fn read(&self) -> Self::Reading;
}

/// What the measured rounds took and gave.
#[derive(Debug, Default)]
pub(crate) struct Measured<R> {
    /// All of it, and the encoder's part.
    pub(crate) all: R,
    pub(crate) encoding: R,
    pub(crate) spans: u64,
    pub(crate) encoded_bytes: u64,
    pub(crate) captured_bytes: u64,
}

/// Traffic and what it goes through.
#[derive(Debug)]
pub(crate) struct Replay {
    traffic: Traffic,
    engine: Engine,
    encoder: Encoder,
    batch: Vec<Traced>,
    /// Spans that what was replayed should give, but for what was lost.
    expected: u64,
    options: Options,
}

impl Replay {
    /// Generates the first round, so that what generating needs is in memory before anything is replayed.
    pub(crate) fn new(options: Options) -> Self {
        let settings = pipeline::Settings {
            // The defaults, but for those who ask for more connections.
            connections: options.connections.max(65_536) + options.connections / 8,
            trace: trace::Settings {
                connections: options.connections.max(65_536) + options.connections / 8,
                ..trace::Settings::default()
            },
            ..pipeline::Settings::default()
        };
        let mut engine = Engine::new(settings);
        let mut traffic = Traffic::new(options.mix, options.connections, options.step);
        for event in traffic.processes() {
            engine.feed(&event);
        }
        traffic.generate(options.round);
        let encoder = Encoder::new(HostResource::detect(|_| None));
        Self { traffic, engine, encoder, batch: Vec::with_capacity(BATCH), expected: 0, options }
    }

    /// Warms up, then measures. Generating is not measured.
    pub(crate) fn run<M: Meter>(&mut self, meter: &M) -> Measured<M::Reading> {
        let mut cold = Measured::default();
        // So many spans wait, and so many connections have to be met.
        let waiting = usize::try_from(400_000_000 / self.options.step.max(1)).unwrap_or(usize::MAX);
        let warm = (self.options.warm * self.options.connections).max(waiting);
        for _ in 0..warm.div_ceil(self.options.round) {
            self.round(meter, &mut cold);
            self.traffic.generate(self.options.round);
        }
        let mut measured = Measured::default();
        let captured = self.engine.tally().captured_bytes;
        for _ in 0..self.options.exchanges.div_ceil(self.options.round) {
            self.round(meter, &mut measured);
            self.traffic.generate(self.options.round);
        }
        measured.captured_bytes = self.engine.tally().captured_bytes - captured;
        self.check();
        measured
    }

    fn round<M: Meter>(&mut self, meter: &M, measured: &mut Measured<M::Reading>) {
        let Self { traffic, engine, encoder, batch, .. } = self;
        let before = meter.read();
        let mut encode = |batch: &mut Vec<Traced>| {
            let before = meter.read();
            let (request, spans) = encoder.request(batch.iter());
            measured.spans += spans;
            measured.encoded_bytes += std::hint::black_box(&request).len() as u64;
            drop(request);
            measured.encoding += meter.read() - before;
            batch.clear();
        };
        for (index, event) in traffic.events().enumerate() {
            engine.feed(&event);
            if index % DRAIN == 0 || matches!(event, Event::Tick { .. }) {
                engine.drain_feedback().for_each(drop);
                for traced in engine.drain() {
                    batch.push(traced);
                    if batch.len() == BATCH {
                        encode(batch);
                    }
                }
            }
        }
        measured.all += meter.read() - before;
        self.expected = self.traffic.spans();
    }

    /// What was measured must be what was meant: nothing refused, evicted, or given up for lack of room.
    fn check(&self) {
        let (tally, trace) = (self.engine.tally(), self.engine.trace_counters());
        let surprises = [
            ("ledger violations", tally.ledger.violations),
            ("stray transfers", tally.stray_transfers),
            ("evicted connections", tally.evicted().map(|(_, count)| count).sum()),
            ("refused exchanges", trace.refused_exchanges + trace.evicted_exchanges),
            ("connections forgotten by the tracer", trace.evicted_connections),
            ("spans that had to go for others", trace.expired_bound),
        ];
        for (what, count) in surprises {
            assert_eq!(count, 0, "{what}");
        }
        let (spans, expected) = (trace.spans + trace.exchanges, self.expected);
        // After a lost call the connection of a client that pipelines is not read until it was idle, which here is never.
        assert!(spans * 100 > expected * 80, "{spans} spans of {expected} that were expected");
    }
}
