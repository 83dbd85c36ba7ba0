//! Random workloads on the engine, compared with the reference model after every operation.

use std::sync::Arc;

use proptest::prelude::*;
use treering::storage::mem::MemStorage;
use treering::{Compression, Durability, Options};
use treering_tests::workload::{Sizes, operations};
use treering_tests::{Engine, run};

/// Opened as by default, or by one process alone: then events are copied into mappings too.
fn small(is_alone: bool) -> Options {
    Options::new().segment_bytes(16 << 10).index_stride_bytes(4 << 10).exclusive(is_alone)
}

fn cases(number: u32) -> ProptestConfig {
    ProptestConfig { cases: number, failure_persistence: None, max_shrink_iters: 2_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn p12_the_engine_answers_as_the_model_does(ops in operations(60, Sizes::default()), is_alone in any::<bool>()) {
        let mut engine = Engine::open(Arc::new(MemStorage::new()), small(is_alone)).unwrap();
        run(&ops, &mut engine).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn p20_streams_that_leave_memory_change_no_answer(ops in operations(80, Sizes::default()), is_alone in any::<bool>()) {
        let options = small(is_alone).streams_kept(0).durability(Durability::Synced);
        let mut engine = Engine::without_threads(Arc::new(MemStorage::new()), options).unwrap();
        run(&ops, &mut engine).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn p20_streams_that_leave_a_readers_memory_change_no_answer(ops in operations(80, Sizes::default()), is_alone in any::<bool>()) {
        let options = small(is_alone).streams_kept(0).durability(Durability::Synced);
        let mut engine = Engine::read_beside(Arc::new(MemStorage::new()), options).unwrap();
        run(&ops, &mut engine).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn p10_compression_changes_no_answer(ops in operations(40, Sizes::default()), is_alone in any::<bool>()) {
        let options = small(is_alone).compression(Some(Compression { level: 1, min_bytes: 64 }));
        let mut engine = Engine::open(Arc::new(MemStorage::new()), options).unwrap();
        run(&ops, &mut engine).map_err(TestCaseError::fail)?;
    }
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn p12_the_engine_answers_as_the_model_does_on_a_disk(ops in operations(60, Sizes::default()), is_alone in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let storage = treering::storage::os::OsStorage::create(folder.path()).unwrap();
        let mut engine = Engine::open(Arc::new(storage), small(is_alone).segment_bytes(64 << 10)).unwrap();
        run(&ops, &mut engine).map_err(TestCaseError::fail)?;
    }
}
