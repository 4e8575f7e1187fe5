//! The rows of the table: which programs talk, over how many connections, how long these live, and
//! which exporter gets the spans.

/// What `--only` calls the rows that CI checks.
pub(super) const CI: &str = "ci";

const MIXES: [&str; 4] = ["gateway", "client", "browser", "plain"];

#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) mix: &'static str,
    pub(super) connections: usize,
    pub(super) life: Life,
    pub(super) export: &'static str,
}

/// How long connections live, and how fast events follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// 100 exchanges, at 250,000 events/s: at 100 connections they close before the other end is
    /// given up
    Short,
    /// 10,000 exchanges, at 25,000 events/s: a server's keep-alive or a client's pool
    Long,
    /// The same at 2,500 events/s, which is what people look at: the console holds a trace for 200
    /// ms
    Slow,
}

/// All rows, in the table's order.
pub(super) fn all() -> Vec<Row> {
    let otlp = |mix, connections, life| Row { mix, connections, life, export: "otlp" };
    let mut rows = Vec::new();
    for mix in MIXES {
        rows.extend([
            otlp(mix, 100, Life::Short),
            otlp(mix, 10_000, Life::Short),
            otlp(mix, 100, Life::Long),
        ]);
    }
    for mix in ["gateway", "browser"] {
        rows.push(Row { mix, connections: 100, life: Life::Long, export: "json" });
        rows.push(Row { mix, connections: 100, life: Life::Slow, export: "console" });
    }
    rows
}

impl Row {
    /// What the table calls it.
    pub(super) fn name(&self) -> String {
        format!("{} {} {} {}", self.mix, self.connections, self.life.name(), self.export)
    }

    /// Whether `--only` asks for it.
    pub(super) fn is_meant_by(&self, only: &str) -> bool {
        // Each mix and each exporter once, at the pace that needs the shortest warm-up.
        let stands_for_others = self.life != Life::Short && (self.export == "otlp" || self.mix == "gateway");
        if only == CI { stands_for_others } else { self.name().contains(only) }
    }

    /// Options of the benchmark's program.
    pub(super) fn options(&self) -> Vec<String> {
        // More where spans come out in waves: when connections close at once, and when they are
        // idle together.
        let (lifetime, step, exchanges) = match self.life {
            Life::Short => (100, 4_000, 30_000),
            Life::Long => (10_000, 40_000, 5_000),
            Life::Slow => (10_000, 400_000, 5_000),
        };
        [
            ("--mix", self.mix.to_owned()),
            ("--connections", self.connections.to_string()),
            ("--export", self.export.to_owned()),
            ("--lifetime", lifetime.to_string()),
            ("--step", step.to_string()),
            ("--round", "5000".to_owned()),
            ("--exchanges", exchanges.to_string()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect()
    }
}

impl Life {
    const fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Long => "long",
            Self::Slow => "slow",
        }
    }
}
