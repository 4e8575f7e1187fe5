//! The one ceiling that every layer keeps, so that none forgets a connection that another still
//! follows.

/// Connections followed at once, by the source, by the parsers and by the trace layer, unless
/// configured otherwise.
pub const DEFAULT_CONNECTIONS: u32 = 65_536;
