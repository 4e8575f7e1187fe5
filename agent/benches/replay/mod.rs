//! What the benchmark of the pipeline does: replay generated traffic through the engine and an exporter's encoder, as the
//! session does, but without a kernel before them and a collector behind.

mod exchanges;
mod exporter;
mod heads;
mod traffic;

use clap::Parser;
use nix::time::{ClockId, clock_gettime};
use wirespan::{
    event::{Event, Timestamp},
    pipeline::{self, Engine},
    trace::{self, span::SpanEvent},
};

use self::{
    exchanges::Mix,
    exporter::{Export, Exporter},
    traffic::Traffic,
};

/// Spans in a request, as the exporter has them by default.
const BATCH: usize = 512;

/// Events between two rounds of the session: about 2 ms of them.
const DRAIN: usize = 512;

/// So much event time passes before anything is measured: twice the 600 ms for which a span may wait for the other end of its
/// connection, so that about as many come out as go in.
const WARM: u64 = 1_200_000_000;

#[derive(Debug, Parser)]
pub(crate) struct Options {
    /// Connections open at once
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Who talks
    #[arg(long, value_enum, default_value_t = Mix::Mixed)]
    mix: Mix,
    /// Where spans go
    #[arg(long, value_enum, default_value_t = Export::Otlp)]
    export: Export,
    /// Exchanges measured; each makes one span, those of a gateway two
    #[arg(long, default_value_t = 200_000)]
    exchanges: usize,
    /// Exchanges of each connection before anything is measured
    #[arg(long, default_value_t = 1)]
    warm: usize,
    /// Exchanges that are generated, then replayed, at a time
    #[arg(long, default_value_t = 20_000)]
    round: usize,
    /// Nanoseconds of event time between two events: how many spans wait for 600 ms of it to pass depends on this
    #[arg(long, default_value_t = 4_000)]
    step: u64,
    /// Exchanges of a connection, on average, before it is closed
    #[arg(long, default_value_t = 100)]
    lifetime: usize,
    /// What cargo gives every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// What the measured rounds took and gave.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// CPU time in nanoseconds: all of it, and the encoder's part.
    pub(crate) all: i64,
    pub(crate) encoding: i64,
    pub(crate) spans: u64,
    pub(crate) encoded_bytes: u64,
    pub(crate) captured_bytes: u64,
}

/// Traffic and what it goes through.
#[derive(Debug)]
pub(crate) struct Replay {
    traffic: Traffic,
    engine: Engine,
    exporter: Exporter,
    batch: Vec<SpanEvent>,
    /// Spans that what was replayed should give, but for what was lost.
    expected: u64,
    options: Options,
}

impl Replay {
    /// Generates the first round, so that what generating needs is in memory before anything is replayed.
    pub(crate) fn new(options: Options) -> Self {
        let defaults = trace::Settings::default();
        let settings = pipeline::Settings {
            // The defaults, but for those who ask for more connections.
            connections: options.connections.max(65_536) + options.connections / 8,
            trace: trace::Settings {
                connections: options.connections.max(65_536) + options.connections / 8,
                // As live: only the trees of a console show what is open.
                open_notice: defaults.open_notice.filter(|_| options.export == Export::Console),
                ..defaults
            },
            ..pipeline::Settings::default()
        };
        let mut engine = Engine::new(settings);
        let mut traffic = Traffic::new(options.mix, options.connections, options.step, options.lifetime);
        for event in traffic.processes() {
            engine.feed(&event);
        }
        traffic.generate(options.round);
        let exporter = Exporter::new(options.export);
        Self { traffic, engine, exporter, batch: Vec::with_capacity(BATCH), expected: 0, options }
    }

    /// Warms up, then measures. Generating is not measured.
    pub(crate) fn run(&mut self) -> Measured {
        let mut cold = Measured::default();
        let mut exchanges = 0;
        while exchanges < self.options.warm * self.options.connections || self.traffic.at() < WARM {
            self.round(&mut cold);
            self.traffic.generate(self.options.round);
            exchanges += self.options.round;
        }
        let mut measured = Measured::default();
        let captured = self.engine.tally().captured_bytes;
        for _ in 0..self.options.exchanges.div_ceil(self.options.round) {
            self.measured_round(&mut measured);
            self.traffic.generate(self.options.round);
        }
        measured.captured_bytes = self.engine.tally().captured_bytes - captured;
        self.check();
        measured
    }

    /// A function of its own: valgrind counts what happens inside it, and nothing else. `xtask` knows its name.
    #[inline(never)]
    fn measured_round(&mut self, measured: &mut Measured) {
        let before = cpu_time();
        self.round(measured);
        measured.all += cpu_time() - before;
    }

    fn round(&mut self, measured: &mut Measured) {
        let Self { traffic, engine, exporter, batch, .. } = self;
        let mut export = |batch: &mut Vec<SpanEvent>, at: Timestamp| {
            let before = cpu_time();
            let (spans, bytes) = exporter.export(batch, at);
            measured.spans += spans;
            measured.encoded_bytes += bytes;
            measured.encoding += cpu_time() - before;
            forget(batch);
        };
        for (index, event) in traffic.events().enumerate() {
            engine.feed(&event);
            if index % DRAIN == 0 || matches!(event, Event::Tick { .. }) {
                engine.drain_feedback().for_each(drop);
                for traced in engine.drain() {
                    batch.push(traced);
                    if batch.len() == BATCH {
                        export(batch, event.at().unwrap_or_default());
                    }
                }
            }
        }
        // The rest of a batch goes out before the next round, so that what is measured is what came out.
        export(batch, Timestamp(traffic.at()));
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
            ("spans that had to go for others", trace.expired_limit),
        ];
        for (what, count) in surprises {
            assert_eq!(count, 0, "{what}");
        }
        let (spans, expected) = (trace.spans + trace.exchanges, self.expected);
        // Of 100 exchanges one lost a call, and may lose a neighbour's by it.
        assert!(spans * 100 > expected * 95, "{spans} spans of {expected} that were expected");
    }
}

/// What an exporter's thread does with spans that are out. A function of its own, which valgrind tells from others.
#[inline(never)]
fn forget(batch: &mut Vec<SpanEvent>) {
    batch.clear();
}

/// Nanoseconds of CPU time of this thread.
fn cpu_time() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("every thread has a clock");
    time.tv_sec() * 1_000_000_000 + time.tv_nsec()
}
