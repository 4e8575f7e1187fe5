//! The pages of metrics, of the list that the agent's metrics page is made of too.

use wirespan::{
    metric::Metric,
    metrics::{GROUPS, Group},
};

use crate::{
    Page,
    text::{heading, table},
};

pub(crate) fn pages() -> Vec<Page> {
    GROUPS.iter().map(page).collect()
}

fn page(group: &Group) -> Page {
    let mut text = heading(group.title, &about(group), "agent/src/metrics and the counters of the code");
    let (plain, labelled): (Vec<_>, Vec<_>) = group.metrics.iter().partition(|metric| values(metric) == 0);
    if !plain.is_empty() {
        text.push('\n');
        text.push_str(&table(
            ["metric", "type", "labels", "meaning"],
            plain
                .iter()
                .map(|metric| [code(metric.name), kind(metric).into(), labels(metric), metric.help.into()]),
        ));
    }
    for metric in labelled {
        text.push_str(&section(metric));
    }
    Page { file: format!("{}.md", group.page), text }
}

fn about(group: &Group) -> String {
    let others = GROUPS.iter().filter(|other| other.page != group.page);
    let others: Vec<_> =
        others.map(|other| format!("[{}]({}.md)", other.title.to_lowercase(), other.page)).collect();
    format!(
        "{} The agent serves its metrics in Prometheus text at `/metrics` of `metrics.listen`.\nFurther \
         pages: {}.",
        group.about,
        others.join(", ")
    )
}

/// A metric whose labels have values to explain.
fn section(metric: &Metric) -> String {
    let mut text = format!("\n## {}\n\n{}: {}", code(metric.name), kind(metric), metric.help);
    for label in metric.labels.iter().filter(|label| label.values.is_empty()) {
        text.push_str(&format!(" Label {}: any text.", code(label.name)));
    }
    text.push('\n');
    for label in metric.labels.iter().filter(|label| !label.values.is_empty()) {
        if label.name == "exporter" {
            text.push_str(&format!(
                "Label `exporter`: {}.\n",
                list(label.values.iter().map(|(value, _)| *value))
            ));
            continue;
        }
        text.push('\n');
        let rows = label.values.iter().map(|(value, meaning)| [code(value), (*meaning).to_owned()]);
        text.push_str(&table([&code(label.name), "meaning"], rows));
    }
    text
}

/// How many values of labels have to be explained.
fn values(metric: &Metric) -> usize {
    metric.labels.iter().filter(|label| label.name != "exporter").map(|label| label.values.len()).sum()
}

fn labels(metric: &Metric) -> String {
    list(metric.labels.iter().map(|label| label.name))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(code).collect::<Vec<_>>().join(", ")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn kind(metric: &Metric) -> &'static str {
    if metric.is_counter() { "counter" } else { "gauge" }
}
