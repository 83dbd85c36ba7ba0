//! What the benchmarks share: floors and workloads.
