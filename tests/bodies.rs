//! The bodies of the fuzz targets on bytes made here: whatever they are, the body returns.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use treering_tests::bodies;

fn cases(number: u32) -> ProptestConfig {
    ProptestConfig { cases: number, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn p07_no_bytes_confuse_a_decoder(bytes in vec(any::<u8>(), 0..600)) {
        bodies::decode(&bytes);
        bodies::dump(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(1_500))]

    #[test]
    fn p03_a_store_whose_files_are_changed_at_random_invents_nothing(changes in vec(any::<[u8; 8]>(), 1..6)) {
        bodies::store(changes.as_flattened());
    }
}

proptest! {
    #![proptest_config(cases(400))]

    #[test]
    fn p07_any_files_in_a_directory_are_answered_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        bodies::directory(&bytes);
    }

    #[test]
    fn p12_the_engine_answers_as_the_model_does_whatever_bytes_choose(bytes in vec(any::<u8>(), 0..200)) {
        bodies::operations(&bytes);
    }
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn p01_a_crash_whose_moment_and_losses_bytes_choose_loses_nothing(bytes in vec(any::<u8>(), 0..80)) {
        bodies::crashes(&bytes);
    }
}

/// What the fuzzer begins with, and whatever it found and was kept, does what it did.
#[test]
fn the_seeds_of_the_fuzzer_run_through_their_bodies() {
    type Body = fn(&[u8]);
    let bodies: [(&str, Body); 6] = [
        ("decode", bodies::decode),
        ("dump", bodies::dump),
        ("store", bodies::store),
        ("directory", bodies::directory),
        ("operations", bodies::operations),
        ("crashes", bodies::crashes),
    ];
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    assert_eq!(fs::read_dir(fuzz.join("targets")).unwrap().count(), bodies.len());
    for (target, body) in bodies {
        let seeds: Vec<_> = fs::read_dir(fuzz.join("seeds").join(target)).unwrap().collect();
        assert!(!seeds.is_empty(), "{target}");
        for seed in seeds {
            body(&fs::read(seed.unwrap().path()).unwrap());
        }
    }
}
