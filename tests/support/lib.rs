//! Support for the tests: reference model, workloads, helpers.
