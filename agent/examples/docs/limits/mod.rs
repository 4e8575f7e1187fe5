//! The pages of limits: what is bounded, by how much, and which counter says that it was met. The
//! figures are those of the code; the words are here.

mod capture;
mod process;
mod spans;
#[cfg(test)]
mod tests;
mod trace;

use crate::{
    Page,
    text::{heading, table},
};

/// A limit.
#[derive(Clone)]
struct Limit {
    what: &'static str,
    /// The default, and between which bounds it may be set.
    value: String,
    /// The key of the configuration, or the option, that sets it.
    set: Option<&'static str>,
    /// What happens to what is beyond it.
    beyond: &'static str,
    /// Metrics that count this, as `name` or `name{label="value"}`.
    counted: &'static [&'static str],
}

impl Limit {
    fn fixed(
        what: &'static str,
        value: String,
        beyond: &'static str,
        counted: &'static [&'static str],
    ) -> Self {
        Self { what, value, set: None, beyond, counted }
    }

    /// A limit that can be set.
    fn set_by(mut self, key: &'static str, range: String) -> Self {
        self.set = Some(key);
        self.value = format!("{} ({range})", self.value);
        self
    }
}

/// Limits of one room.
struct Section {
    title: &'static str,
    limits: Vec<Limit>,
}

pub(crate) fn pages() -> Vec<Page> {
    vec![
        page(
            "limits",
            "Limits: capture, connections, export",
            "Everything that the agent keeps is bounded, and each bound has a counter where meeting it costs data.\n\
             Further page: [limits of processes, spans and parents](limits-trace.md).",
            [capture::sections(), spans::sections()].concat_sections(),
        ),
        page(
            "limits-trace",
            "Limits: processes, spans, parents",
            "Further page: [limits of capture, connections and export](limits.md).",
            [trace::sections(), process::sections()].concat_sections(),
        ),
    ]
}

trait Concat {
    fn concat_sections(self) -> Vec<Section>;
}

impl<const N: usize> Concat for [Vec<Section>; N] {
    fn concat_sections(self) -> Vec<Section> {
        self.into_iter().flatten().collect()
    }
}

fn page(file: &str, title: &str, about: &str, sections: Vec<Section>) -> Page {
    let mut text = heading(title, about, "the constants of the code and agent/examples/docs/limits");
    for section in sections {
        text.push_str(&format!("\n## {}\n\n", section.title));
        text.push_str(&table(
            ["limit", "default (range)", "set by", "beyond it", "counted by"],
            section.limits.iter().map(row),
        ));
    }
    Page { file: format!("{file}.md"), text }
}

fn row(limit: &Limit) -> [String; 5] {
    let counted = limit.counted.iter().map(|metric| format!("`{metric}`")).collect::<Vec<_>>().join(", ");
    [
        limit.what.to_owned(),
        limit.value.clone(),
        limit.set.map_or_else(String::new, |key| format!("`{key}`")),
        limit.beyond.to_owned(),
        counted,
    ]
}
