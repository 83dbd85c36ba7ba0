//! The bodies of the fuzz targets on bytes made here: whatever they are, the body returns.

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
