//! The exported spans as a test reads them: one row per span from the file exporter's OTLP JSON
//! lines.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context as _, Result, anyhow};
use serde_json::Value;

/// OTLP's span kinds that occur here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Server,
    Client,
    Other,
}

/// One span with its resource's attributes; every value as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanRow {
    pub kind: Kind,
    pub name: String,
    pub trace: String,
    pub id: String,
    pub parent: Option<String>,
    /// Unix nanoseconds.
    pub start: u64,
    /// Unix nanoseconds.
    pub end: u64,
    /// OTLP status code: 0 unset, 1 ok, 2 error.
    pub status: u64,
    pub trace_state: String,
    pub flags: u64,
    pub attributes: BTreeMap<String, String>,
    pub resource: BTreeMap<String, String>,
}

impl SpanRow {
    /// An attribute's value, empty where it is absent.
    #[must_use]
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }

    #[must_use]
    pub fn path(&self) -> &str {
        self.attribute("url.path")
    }

    #[must_use]
    pub fn method(&self) -> &str {
        self.attribute("http.request.method")
    }

    /// The response's status; 0 where there is none.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        self.attribute("http.response.status_code").parse().unwrap_or(0)
    }

    /// Body bytes of the request and of the response; a missing attribute is 0.
    #[must_use]
    pub fn sizes(&self) -> (u64, u64) {
        let size = |name: &str| self.attribute(name).parse().unwrap_or(0);
        (size("http.request.body.size"), size("http.response.body.size"))
    }

    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.get("service.name").map_or("", String::as_str)
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.resource.get("process.pid").and_then(|pid| pid.parse().ok()).unwrap_or(0)
    }
}

/// Reads every span of an OTLP JSON lines file.
///
/// # Errors
/// When the file cannot be read or a line is not OTLP JSON.
pub fn read(path: &Path) -> Result<Vec<SpanRow>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rows = Vec::new();
    for line in text.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        for resource in list(&message, "resourceSpans") {
            let facts = attributes(&resource["resource"]);
            for scope in list(resource, "scopeSpans") {
                for span in list(scope, "spans") {
                    rows.push(row(span, &facts).with_context(|| format!("not an OTLP span: {span}"))?);
                }
            }
        }
    }
    Ok(rows)
}

fn row(span: &Value, resource: &BTreeMap<String, String>) -> Result<SpanRow> {
    let text = |name: &str| span[name].as_str().map(str::to_owned);
    let time = |name: &str| number(&span[name]).ok_or_else(|| anyhow!("no {name}"));
    Ok(SpanRow {
        kind: match number(&span["kind"]) {
            Some(2) => Kind::Server,
            Some(3) => Kind::Client,
            _ => Kind::Other,
        },
        name: text("name").ok_or_else(|| anyhow!("no name"))?,
        trace: text("traceId").ok_or_else(|| anyhow!("no traceId"))?,
        id: text("spanId").ok_or_else(|| anyhow!("no spanId"))?,
        parent: text("parentSpanId").filter(|id| !id.is_empty()),
        start: time("startTimeUnixNano")?,
        end: time("endTimeUnixNano")?,
        status: number(&span["status"]["code"]).unwrap_or(0),
        trace_state: text("traceState").unwrap_or_default(),
        flags: number(&span["flags"]).unwrap_or(0),
        attributes: attributes(span),
        resource: resource.clone(),
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

/// OTLP JSON writes 64-bit numbers as text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn attributes(of: &Value) -> BTreeMap<String, String> {
    let pairs = list(of, "attributes").iter();
    pairs.filter_map(|pair| Some((pair["key"].as_str()?.to_owned(), plain(&pair["value"])))).collect()
}

/// An `AnyValue` as text; lists are joined by commas.
fn plain(value: &Value) -> String {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return String::new();
    };
    match (kind.as_str(), inner) {
        ("arrayValue", list) => self::list(list, "values").iter().map(plain).collect::<Vec<_>>().join(","),
        (_, Value::String(text)) => text.clone(),
        (_, other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_file_exporter_becomes_rows() {
        let line = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}},
            {"key":"process.pid","value":{"intValue":"7"}}]},"scopeSpans":[{"scope":{},"spans":[{"traceId":"aa","spanId":"bb",
            "parentSpanId":"","name":"GET","kind":2,"startTimeUnixNano":"10","endTimeUnixNano":"20","status":{"code":2},
            "attributes":[{"key":"http.response.status_code","value":{"intValue":"500"}},
            {"key":"x","value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}}]}]}]}]}"#;
        let file = std::env::temp_dir().join(format!("wirespan-span-{}", std::process::id()));
        fs::write(&file, line.replace('\n', "")).unwrap();
        let rows = read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        assert_eq!(rows.len(), 1);
        let row = &rows[0];
        assert_eq!((row.kind, row.status_code(), row.pid(), row.service()), (Kind::Server, 500, 7, "shop"));
        assert_eq!((row.parent.as_deref(), row.attribute("x"), row.end), (None, "a,b", 20));
    }
}
