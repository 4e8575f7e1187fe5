//! Tests of the exporters together.

use super::*;
use crate::{
    pipeline::samples::{self, open, server_span},
    trace::span::SpanEvent,
};

fn batch() -> Batch {
    samples::batch(vec![
        SpanEvent::Span(Box::new(server_span())),
        open(),
        SpanEvent::Span(Box::new(server_span())),
    ])
}

#[tokio::test]
async fn every_exporter_gets_every_span_and_the_account_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    let dead_collector = OtlpSettings {
        endpoint: Some(otlp::settings::Endpoint::Base("http://127.0.0.1:1".into())),
        retry: otlp::retry::RetrySettings { max_elapsed: Duration::ZERO, ..Default::default() },
        ..OtlpSettings::default()
    };
    let settings =
        Settings { file: Some(FileSettings::new(path.clone())), otlp: Some(dead_collector), console: None };
    let exporters = Exporters::start(&settings, &HostResource::default(), &Handle::current()).unwrap();
    let sender = exporters.sender();
    sender.send(&batch());
    exporters.send(&batch());
    let summary = exporters.shutdown(Duration::from_secs(60)).await;
    assert_eq!(
        summary.to_string(),
        "file: 4 spans exported; otlp: 0 spans exported, 4 dropped (retries_exhausted 4)"
    );
    sender.send(&batch());
    let mut metrics = MetricsText::default();
    sender.collect(&mut metrics);
    let metrics = metrics.finish();
    for line in [
        "wirespan_exported_spans_total{exporter=\"file\"} 4",
        "wirespan_export_dropped_spans_total{exporter=\"otlp\",reason=\"retries_exhausted\"} 4",
        "wirespan_export_dropped_spans_total{exporter=\"otlp\",reason=\"queue_full\"} 2",
        "wirespan_export_dropped_notices_total{exporter=\"file\",reason=\"queue_full\"} 1",
        "wirespan_export_queue_entries{exporter=\"file\"} 0",
        "wirespan_export_queue_capacity_entries{exporter=\"otlp\"} 32768",
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line} not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_span_file_that_cannot_be_opened_ends_the_start() {
    let settings =
        Settings { file: Some(FileSettings::new("/no/such/directory/x".into())), ..Settings::default() };
    let error = Exporters::start(&settings, &HostResource::default(), &Handle::current()).unwrap_err();
    assert!(error.to_string().contains("/no/such/directory"), "{error}");
}

#[tokio::test]
async fn without_exporters_spans_go_nowhere() {
    let exporters =
        Exporters::start(&Settings::default(), &HostResource::default(), &Handle::current()).unwrap();
    exporters.send(&batch());
    assert_eq!(exporters.shutdown(Duration::ZERO).await, Summary::default());
}
