//! Clocks that run backwards, stand still, or are out of their minds.

use treering::storage::mem::MemStorage;
use treering::{Durability, Epoch, Revision};
use treering_tests::store::{everything, open, open_read_only, try_put};

/// Every clock in turn, in one store: the order of events, their revisions and what opening finds after a kill and after a
/// close are what they are with a clock that is right; positions and epochs rise.
#[test]
fn p18_no_clock_affects_order_identity_or_recovery() {
    let year = 365 * 86_400 * 1_000_000_000i64;
    let clocks =
        [50 * year, 50 * year - 1, 0, -1, i64::MIN, i64::MAX, i64::MAX, 292 * year, 1, i64::MIN + 1, 50 * year];
    let told = |clocks: &[i64]| {
        let storage = MemStorage::new();
        storage.set_clock_step(0);
        let mut told = Vec::new();
        let mut epoch: Option<Epoch> = None;
        for (round, now) in clocks.iter().enumerate() {
            storage.set_clock(*now);
            let store = open(&storage);
            // Where seals come between is up to the background: places are compared within a run only.
            assert!(epoch < Some(store.open_report().epoch), "epochs rise, whatever the clock says");
            epoch = Some(store.open_report().epoch);
            told.push(format!("{:?}", store.open_report().damage));
            for number in 0..12u8 {
                let level = if number % 5 == 0 { Durability::Synced } else { Durability::Written };
                let receipt = try_put(&store, ["a", "b"][number as usize % 2], &[number; 700], level).unwrap();
                assert!(receipt.sections[0].first_revision >= Revision(round as u64 * 6));
            }
            if round % 2 == 0 {
                store.close().unwrap();
            } else {
                // Killed: nothing that it would write from here on reaches the files.
                storage.fail_after(0, std::io::ErrorKind::Other, true);
                drop(store);
                storage.clear_fault();
            }
            let reader = open_read_only(&storage);
            let events = everything(&reader);
            assert!(events.iter().rev().take(12).all(|event| event.recorded_at == *now), "it is kept as it was told");
            assert!(events.windows(2).all(|pair| pair[0].position < pair[1].position));
            told.extend(
                events.iter().map(|event| format!("{} {} {:?}", event.stream, event.revision, &event.payload[..1])),
            );
        }
        told
    };
    let right: Vec<i64> = (0..clocks.len() as i64).map(|day| 50 * year + day * 86_400_000_000_000).collect();
    assert_eq!(told(&clocks), told(&right));
}
