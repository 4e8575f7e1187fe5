//! Event-log tests: a small fake host tells events and messages as the source and the parsers would.

mod assembly;
mod causality;
mod flow;
mod header;
mod lifetime;
mod simulation;
mod tasks;
mod world;
