//! Spans: from exchanges to spans with parents.

pub mod span;
