//! Event-log tests.
