//! What the tests share: the reference model of a store, random workloads, and the runner that compares a store with
//! the model.
//!
//! The model uses nothing of the engine, so that the two can only agree by both being right. A store is put behind [`Target`],
//! whose words are those of the public API and whose types are plain numbers, strings and bytes.

pub mod bodies;
pub mod counting;
pub mod damage;
pub mod engine;
pub mod grown;
pub mod image;
pub mod journal;
pub mod lab;
pub mod model;
pub mod mutate;
pub mod run;
pub mod sim;
pub mod store;
pub mod torture;
pub mod vectors;
pub mod workload;

pub use engine::Engine;
pub use run::{Target, run};
