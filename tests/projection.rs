//! Folds: a state gone on with is the state built anew, at every place at which one can stop; and a saved state is used
//! for what it was saved from alone.

use proptest::prelude::*;
use treering::storage::mem::MemStorage;
use treering::storage::{Access, Storage};
use treering::{
    Batch, ContextOptions, ContextPart, Durability, ErrorKind, EventView, Expected, Fold, Fork, NewEvent, NewSnapshot,
    Projection, Revision, Source, Store, SubscribeOptions, Unusable, Visibility,
};
use treering_tests::image::Image;
use treering_tests::store::{everything, noise, open, open_read_only, put, small};

/// A fold in which every field and the order count: it keeps all it was shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Record {
    lines: Vec<String>,
    /// What makes it another version.
    setting: u8,
}

impl Projection for Record {
    fn name(&self) -> &str {
        "record"
    }

    fn version(&self) -> String {
        format!("1 with {}", self.setting)
    }

    fn apply(&mut self, event: &EventView<'_>) {
        let EventView { stream, revision, position, id, event_type, recorded_at, occurred_at, metadata, payload } =
            event;
        self.lines.push(format!(
            "{stream:?} {revision} {position} {id:?} {event_type:?} {recorded_at} {occurred_at:?} {metadata:?} {payload:?}"
        ));
    }

    fn save(&self) -> Vec<u8> {
        self.lines.join("\n").into()
    }

    fn load(&mut self, state: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(state).map_err(|error| error.to_string())?;
        self.lines = text.lines().map(str::to_owned).collect();
        Ok(())
    }
}

const STREAMS: [&str; 3] = ["a", "b", "not there at first"];

/// Forks that are made on the way: of the first stream, and of that fork.
const FORKS: [&str; 2] = ["fork", "fork of the fork"];

fn sources() -> Vec<Source> {
    let streams = STREAMS.iter().chain(&FORKS).map(|name| Source::Stream((*name).to_owned()));
    streams.chain([Source::Log]).collect()
}

fn catch_up(store: &Store, fold: &mut Fold<Record>) -> u64 {
    store.catch_up(fold, Visibility::Committed, Err).unwrap()
}

fn anew(store: &Store, source: &Source) -> Fold<Record> {
    let mut fold = Fold::over(source.clone(), Record::default());
    catch_up(store, &mut fold);
    fold
}

fn taken_up(source: &Source, saved: &[u8]) -> Fold<Record> {
    let mut fold = Fold::over(source.clone(), Record::default());
    fold.resume(saved).unwrap();
    fold
}

/// One event of a random log: which stream, how many with it in the batch, how long.
fn batches() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
    prop::collection::vec((0..STREAMS.len(), 1..4_usize, 0..700_usize), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p11_a_state_gone_on_with_is_the_state_built_anew_at_every_cut(batches in batches()) {
        let storage = MemStorage::new();
        let store = open(&storage);
        let sources = sources();
        let mut living: Vec<_> = sources.iter().map(|source| Fold::over(source.clone(), Record::default())).collect();
        let mut saved: Vec<_> = living.iter().map(Fold::save).collect();
        let mut taken_up_from_log = 0;
        for (number, &(stream, count, len)) in batches.iter().enumerate() {
            let payload = noise(number as u64, len);
            let event = NewEvent::new(["t", "u"][number % 2], &payload).metadata(&payload[..len / 4]);
            let events = vec![if number % 3 == 0 { event.id("i").occurred_at(number as i64) } else { event }; count];
            let mut batch = Batch::to(STREAMS[stream], Expected::Any, &events);
            if number % 5 == 0 {
                batch = batch.section(STREAMS[(stream + 1) % 3], Expected::Any, &events[..1]);
            }
            let _ = store.append(&batch.durability(Durability::Written)).unwrap();
            for (place, parent, after) in [(0, "a", 6), (1, FORKS[0], 12)] {
                if store.stream(FORKS[place]).unwrap().is_some() {
                    if number % 3 == place {
                        let _ = put(&store, FORKS[place], &payload);
                    }
                } else if number > after && store.stream(parent).unwrap().is_some() {
                    let _ = store.fork(&Fork::new(parent, FORKS[place]).durability(Durability::Written)).unwrap();
                }
            }
            let reader = (number % 7 == 0).then(|| open_read_only(&storage));
            for (index, source) in sources.iter().enumerate() {
                let expected = anew(&store, source);
                catch_up(&store, &mut living[index]);
                let mut later = taken_up(source, &saved[index]);
                catch_up(reader.as_ref().unwrap_or(&store), &mut later);
                for fold in [&living[index], &later] {
                    prop_assert_eq!(fold.projection(), expected.projection());
                    prop_assert_eq!((fold.events(), fold.token()), (expected.events(), expected.token()));
                    prop_assert!(!fold.has_gaps());
                }
                if let Source::Stream(_) = source {
                    // From what is kept in the log, which now and then is more than before.
                    let mut kept = Fold::over(source.clone(), Record::default());
                    prop_assert!(store.resume(&mut kept, Visibility::Committed).unwrap().is_empty());
                    taken_up_from_log += u64::from(kept.events() > 0);
                    catch_up(&store, &mut kept);
                    prop_assert_eq!(kept.projection(), expected.projection());
                    prop_assert_eq!((kept.events(), kept.token()), (expected.events(), expected.token()));
                    if number % 4 == index % 4 && kept.events() > 0 {
                        let _ = store.keep(&kept).unwrap();
                    }
                }
                let of_source = match source {
                    Source::Stream(name) => {
                        store.stream(name).unwrap().map_or(0, |stream| stream.head.get() as usize + 1)
                    }
                    Source::Log => everything(&store).len(),
                };
                prop_assert_eq!(expected.projection().lines.len(), of_source, "each event once");
                saved[index] = later.save();
                prop_assert_eq!(&saved[index], &living[index].save(), "equal states are equal bytes");
            }
        }
        prop_assert!(batches.len() < 12 || taken_up_from_log > 0);
    }
}

#[test]
fn p11_what_a_subscription_hands_out_comes_to_the_same() {
    let store = open(&MemStorage::new());
    for number in 0..30 {
        let _ = put(&store, STREAMS[number % 2], &noise(number as u64, 300));
    }
    let mut subscription = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
    let mut fold = Fold::over_log(Record::default());
    while let Some(event) = subscription.try_next().unwrap() {
        fold.apply_held(&event);
    }
    assert_eq!(fold.save(), anew(&store, &Source::Log).save());
    let mut reader = store.read_all(treering::ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let mut lent = Fold::over_log(Record::default());
    while let Some(event) = reader.next() {
        lent.apply(&event.unwrap());
    }
    assert_eq!(lent.save(), fold.save());
}

#[test]
fn p11_a_saved_state_is_of_use_for_what_it_was_saved_from_alone() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let _ = put(&store, "a", b"one");
    let _ = put(&store, "b", b"two");
    let of_stream = Source::Stream("a".to_owned());
    let saved = anew(&store, &of_stream).save();
    let refused = |source: &Source, setting: u8| {
        let error = Fold::over(source.clone(), Record { setting, ..Record::default() }).resume(&saved).unwrap_err();
        assert!(error.to_string().contains("build it anew"), "{error}");
        match error {
            Unusable::Other { what, .. } => what,
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(&of_stream, 1), "version");
    assert_eq!(refused(&Source::Stream("b".to_owned()), 0), "source");
    assert_eq!(refused(&Source::Log, 0), "source");

    // Another store with the same events, and a copy that lived on by itself.
    let foreign = open(&MemStorage::with_seed(77));
    let _ = put(&foreign, "a", b"one");
    let error = foreign.catch_up(&mut taken_up(&of_stream, &saved), Visibility::Committed, Err).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ForeignToken);
    let copy = storage.deep_copy().unwrap();
    let _ = put(&store, "a", b"three");
    let ahead = anew(&store, &of_stream).save();
    let copied = open(&copy);
    let _ = put(&copied, "a", b"another three");
    let error = copied.catch_up(&mut taken_up(&of_stream, &ahead), Visibility::Committed, Err).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LostToken, "{error}");
    // What both have in common is of use in both.
    let mut fold = taken_up(&of_stream, &saved);
    assert_eq!(catch_up(&copied, &mut fold), 1);
    assert_eq!(fold.projection(), anew(&copied, &of_stream).projection());
}

#[test]
fn p11_no_changed_bytes_of_a_saved_state_are_taken_up() {
    let store = open(&MemStorage::new());
    let _ = put(&store, "a", b"one");
    for source in [Source::Stream("a".to_owned()), Source::Log, Source::Stream("none".to_owned())] {
        let saved = anew(&store, &source).save();
        let mut fold = Fold::over(source.clone(), Record::default());
        let mut is_refused = |bytes: &[u8]| matches!(fold.resume(bytes), Err(Unusable::Bytes(_)));
        for bit in 0..saved.len() * 8 {
            let mut changed = saved.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(&changed), "bit {bit}");
        }
        for len in 0..saved.len() {
            assert!(is_refused(&saved[..len]), "{len} bytes");
        }
        assert!(is_refused(&[&saved[..], &[0]].concat()));
        assert!(fold.resume(&saved).is_ok());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any bytes, also under a right check: no panic, no memory beyond theirs.
    #[test]
    fn p07_any_bytes_in_place_of_a_saved_state_are_refused_without_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..200),
        begins_well in any::<bool>(),
    ) {
        if begins_well && bytes.len() >= 8 {
            bytes[..8].copy_from_slice(b"TRFD\x01\0\x06\0");
        }
        let check = treering::checksum::long_check(0, &bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        prop_assert!(Fold::over_log(Record::default()).resume(&bytes).is_err());
    }
}

/// What a fold over `stream` takes up from the log: how many events its state is of, and what was passed over.
fn resumed(store: &Store, stream: &str, setting: u8) -> (u64, usize) {
    let mut fold = Fold::over_stream(stream, Record { setting, ..Record::default() });
    let ignored = store.resume(&mut fold, Visibility::Committed).unwrap();
    if setting == 0 {
        let events = fold.events();
        catch_up(store, &mut fold);
        assert_eq!(fold.projection(), anew(store, fold.source()).projection(), "{events} taken up");
        return (events, ignored.len());
    }
    (fold.events(), ignored.len())
}

#[test]
fn p16_a_kept_state_is_of_its_version_stream_and_forks_and_in_no_context() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let add = |stream: &str, count: u64| {
        for number in 0..count {
            let _ = put(&store, stream, &noise(number, 100));
        }
    };
    let keep = |stream: &str, setting: u8| {
        let mut fold = Fold::over_stream(stream, Record { setting, ..Record::default() });
        catch_up(&store, &mut fold);
        store.keep(&fold).unwrap().snapshot
    };
    add("a", 5);
    assert_eq!(resumed(&store, "a", 0), (0, 0));
    let kept = keep("a", 0);
    assert_eq!((kept.range.clone(), &*kept.label), (Revision(0)..Revision(5), "$projection/record"));
    add("a", 3);
    keep("a", 7);
    add("a", 2);
    assert_eq!((resumed(&store, "a", 0), resumed(&store, "a", 7), resumed(&store, "a", 8)), ((5, 0), (8, 0), (0, 0)));
    let _ = store.fork(&Fork::new("a", "early").at(Revision(6))).unwrap();
    let _ = store.fork(&Fork::new("a", "late")).unwrap();
    add("early", 4);
    assert_eq!((resumed(&store, "early", 0), resumed(&store, "late", 7)), ((5, 0), (8, 0)), "a fork has its parent's");
    assert_eq!(resumed(&store, "early", 7), (0, 0), "but not from behind the fork point");
    keep("early", 0);
    assert_eq!((resumed(&store, "early", 0), resumed(&store, "a", 0)), ((11, 0), (5, 0)), "and the parent none of it");
    add("b", 5);
    assert_eq!((resumed(&store, "b", 0), resumed(&store, "none", 0)), ((0, 0), (0, 0)));

    let context = store.context("a", ContextOptions::new().visibility(Visibility::Committed)).unwrap();
    assert_eq!(context.parts, [ContextPart::Events(Revision(0), Revision(9))]);
    let own = [NewEvent::new("x", "state")];
    let error =
        store.snapshot(&NewSnapshot::new("a", Revision(0)..Revision(3), "$projection/record", &own)).unwrap_err();
    assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("for the engine's own"), "{error}");

    let mut of_log = Fold::over_log(Record::default());
    assert_eq!(store.keep(&of_log).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(store.resume(&mut of_log, Visibility::Committed).unwrap_err().kind(), ErrorKind::Invalid);
    let nothing = Fold::over_stream("a", Record::default());
    assert_eq!(store.keep(&nothing).unwrap_err().kind(), ErrorKind::Invalid);
    let reader = open_read_only(&storage);
    assert_eq!(resumed(&reader, "a", 0), (5, 0), "who reads only takes them up too");
    assert_eq!(reader.keep(&anew(&reader, &Source::Stream("a".to_owned()))).unwrap_err().kind(), ErrorKind::ReadOnly);
}

/// The newest state is hit: the one before it is taken up, and what was passed over is told.
#[test]
fn p16_a_kept_state_that_is_lost_is_told_and_an_older_one_taken_up() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let source = Source::Stream("a".to_owned());
    let mut places = Vec::new();
    for round in 0..3 {
        let _ = put(&store, "a", &noise(round, 100));
        places.push(store.keep(&anew(&store, &source)).unwrap().snapshot.position);
    }
    let _ = put(&store, "a", b"behind");
    store.close().unwrap();
    let segment = Image::take(&storage).last_segment();
    let file = storage.open(&segment, Access::ReadWrite).unwrap();
    for (hit, expected) in [(places[2], 2), (places[1], 1), (places[0], 0)] {
        let at = hit.get() + 400; // in the payload
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 1], at).unwrap();
        let (events, ignored) = resumed(&open_read_only(&storage), "a", 0);
        assert!(events == expected && ignored >= 1, "{events} {ignored}");
    }
}

/// Damage in the middle: the fold stops before it, or goes on behind it and says for good that it has gaps.
#[test]
fn p05_no_state_passes_over_damage_in_silence() {
    let storage = MemStorage::new();
    let store = open(&storage);
    let receipts: Vec<_> = (0..8).map(|number| put(&store, "a", &noise(number, 500))).collect();
    store.close().unwrap();
    let hit = receipts[4].position.get();
    let segment = Image::take(&storage).last_segment();
    let file = storage.open(&segment, Access::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, hit + 200).unwrap();
    file.write_at(&[byte[0] ^ 1], hit + 200).unwrap();

    let store = Store::open_read_only_on(std::sync::Arc::new(storage.clone()), small()).unwrap();
    for source in [Source::Stream("a".to_owned()), Source::Log] {
        let mut fold = Fold::over(source.clone(), Record::default());
        let error = store.catch_up(&mut fold, Visibility::Committed, Err).unwrap_err();
        assert!(error.damage().is_some(), "{error}");
        assert_eq!((fold.events(), fold.has_gaps()), (4, false), "what stands before it was taken");
        let again = store.catch_up(&mut fold, Visibility::Committed, Err).unwrap_err();
        assert!(again.damage().is_some() && fold.events() == 4, "it is not passed by asking again");
        let mut told = 0;
        let mut pass = |_| {
            told += 1;
            Ok(())
        };
        let mut later = taken_up(&source, &fold.save());
        assert!(store.catch_up(&mut later, Visibility::Committed, &mut pass).unwrap() >= 3);
        assert!(told >= 1 && later.has_gaps());
        assert!(taken_up(&source, &later.save()).has_gaps(), "for good");
        let revisions: Vec<_> = later.projection().lines.iter().filter(|line| line.starts_with("\"a\"")).collect();
        assert_eq!(revisions.len(), 7);
    }
}
