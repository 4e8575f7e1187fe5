//! Tests of the tracer: a small fake host produces the events and messages that a source and its
//! parsers would.

mod ambiguity;
mod assembly;
mod causality;
mod connection_join;
mod content;
mod ended;
mod given_up;
mod goroutine;
mod header;
mod inherited;
mod instrumented;
mod lifetime;
mod loss;
mod scenario;
mod simulation;
mod stolen;
mod streams;
mod tasks;
mod turns;
mod world;
