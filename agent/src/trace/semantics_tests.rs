//! Tables of request targets, statuses and outcomes.
