//! Orders of events: commit, watermarks and wake-ups under a scheduler that chooses which thread goes on at every lock,
//! atomic and sync. A test binary of its own, and an empty one but with `--cfg treering_shuttle`, since everything below has
//! to be built for it:
//!
//! ```sh
//! RUSTFLAGS="--cfg treering_shuttle" cargo test --release --target-dir target/shuttle -p treering-tests --test schedules
//! ```
//!
//! What runs is the engine on storage in memory; see `engine/src/sync.rs`. A thread that nobody wakes is a deadlock, which the
//! scheduler reports. Beside that: no receipt says Synced before a sync that began after the write has ended; the durable mark
//! never passes what was synced; whoever waits gets an answer, also when a sync fails or its leader panics; and after that no
//! answer is a success.
//!
//! Each test tries so many orders that a seed draws, by chance and by changing priorities (PCT), each seed so many times;
//! `TREERING_SCHEDULE_SECONDS` says for how long. A failure prints a line `TREERING_SCHEDULE='…'`; with it in the environment
//! the same test does the same again.
#![cfg(treering_shuttle)]
#![allow(clippy::unwrap_used)]

use std::io;
use std::panic::{self, AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner, thread};
use treering::storage::mem::MemStorage;
use treering::{
    Batch, Durability, ErrorKind, Expected, NewEvent, Options, Position, Receipt, Result, Store, SubscribeOptions,
    Visibility,
};
use treering_tests::journal::Journal;
use treering_tests::store::alone;

/// Orders that one seed stands for.
const ORDERS: usize = 50;
/// Changes of priority in an order of PCT.
const DEPTH: usize = 4;
/// Of each thread. Locks of the scheduler are larger than those of the product, and opening a store holds many.
const STACK_BYTES: usize = 256 << 10;
/// A panic that was planted.
struct Planted;

/// Runs a scenario in many orders.
fn in_many_orders(name: &'static str, scenario: impl Fn() + Send + Sync + Clone + 'static) {
    quiet_planted_panics();
    if let Ok(bug) = std::env::var("TREERING_SCHEDULE_PLANT") {
        assert!(treering::planted::plant(&bug), "this build has no bug {bug:?}");
    }
    let try_seed = |scheduler: &str, seed: u64| {
        let scenario = scenario.clone();
        let mut config = Config::new();
        config.stack_size = STACK_BYTES;
        let ran = catch_unwind(AssertUnwindSafe(|| match scheduler {
            "pct" => Runner::new(PctScheduler::new_from_seed(seed, DEPTH, ORDERS), config).run(scenario),
            _ => Runner::new(RandomScheduler::new_from_seed(seed, ORDERS), config).run(scenario),
        }));
        ran.unwrap_or_else(|broken| {
            println!("broken: TREERING_SCHEDULE='{name} {scheduler} {seed}'");
            panic::resume_unwind(broken)
        })
    };
    if let Ok(line) = std::env::var("TREERING_SCHEDULE") {
        let words: Vec<&str> = line.split(' ').collect();
        if let [of, scheduler, seed] = words[..]
            && of == name
        {
            try_seed(scheduler, seed.parse().expect("the line ends with a number"));
        }
        return;
    }
    let seconds = std::env::var("TREERING_SCHEDULE_SECONDS").ok().and_then(|text| text.parse::<f64>().ok());
    let until = Instant::now() + Duration::from_secs_f64(seconds.unwrap_or(2.0));
    let mut orders = 0;
    for seed in 0.. {
        orders += try_seed(["random", "pct"][seed as usize % 2], seed);
        if Instant::now() >= until && seed > 0 {
            break;
        }
    }
    println!("\norders: {orders} {name}");
}

/// Panics that belong to a scenario are not told of.
fn quiet_planted_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        Runner::new(RandomScheduler::new(1), Config::new()).run(|| ()); // it sets a hook of its own with its first run
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Planted>() {
                hook(info);
            }
        }));
    });
}

/// A store whose syncs take so long that anything may happen meanwhile, and the account of them.
struct Place {
    journal: Journal,
    store: Arc<Store>,
    segment_bytes: u64,
}

impl Place {
    fn new(options: Options) -> Place {
        Place::with_syncs(options, |_| Ok(()))
    }

    /// `result` says how the nth sync of the log, which stays in one segment, ends; counted from the opening's end.
    fn with_syncs(options: Options, result: impl Fn(u64) -> io::Result<()> + Send + Sync + 'static) -> Place {
        let count = Arc::new(AtomicU64::new(0));
        let opened = Arc::new(AtomicU64::new(u64::MAX));
        let (counted, is_open) = (Arc::clone(&count), Arc::clone(&opened));
        let journal = Journal::with_syncs(move |name| {
            thread::yield_now();
            if name != "0000000000000000.segment" {
                return Ok(()); // the watermark file, a prepared segment
            }
            let number = counted.fetch_add(1, Ordering::SeqCst);
            number.checked_sub(is_open.load(Ordering::SeqCst)).map_or(Ok(()), &result)
        });
        let store = Store::open_on(Arc::new(journal.clone()), options).unwrap();
        opened.store(count.load(Ordering::SeqCst), Ordering::SeqCst);
        Place { journal, store: Arc::new(store), segment_bytes: 16 << 10 }
    }

    fn put(&self, stream: &str, level: Durability) -> Result<Receipt> {
        put(&self.store, stream, level)
    }

    /// A receipt that says Synced is true.
    fn check(&self, receipt: &Receipt) {
        if receipt.level == Durability::Synced {
            assert!(self.journal.is_durable(receipt.end, self.segment_bytes), "Synced before its sync: {receipt:?}");
            assert!(self.store.watermarks().durable >= receipt.end);
        }
        self.check_marks();
    }

    fn check_marks(&self) {
        let marks = self.store.watermarks();
        assert!(marks.durable <= marks.committed, "{marks:?}");
        let is_true = marks.durable == Position::ZERO || self.journal.is_durable(marks.durable, self.segment_bytes);
        assert!(is_true, "{marks:?}: durable passes what was synced");
    }

    /// The last handle closes the store.
    fn close(self) -> Result<()> {
        Arc::into_inner(self.store).expect("all others are gone").close()
    }

    fn share(&self) -> Place {
        Place { journal: self.journal.clone(), store: Arc::clone(&self.store), segment_bytes: self.segment_bytes }
    }
}

fn put(store: &Store, stream: &str, level: Durability) -> Result<Receipt> {
    store.append(&Batch::to(stream, Expected::Any, &[NewEvent::new("t", b"payload")]).durability(level))
}

fn submit(store: &Store, stream: &str) -> Result<treering::Pending> {
    let events = [NewEvent::new("t", b"payload")];
    store.submit(&Batch::to(stream, Expected::Any, &events).durability(Durability::Synced))
}

/// Starts threads that each have the place, and waits for all.
fn on_threads<T: Send + 'static>(
    place: &Place,
    count: usize,
    work: impl Fn(&Place, usize) -> T + Send + Sync + 'static,
) -> Vec<T> {
    let work = Arc::new(work);
    let threads: Vec<_> = (0..count)
        .map(|number| {
            let (place, work) = (place.share(), Arc::clone(&work));
            thread::spawn(move || work(&place, number))
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
}

#[test]
fn p01_no_order_of_leaders_and_followers_acknowledges_before_the_sync() {
    in_many_orders("leaders", || {
        let place = Place::new(alone());
        on_threads(&place, 3, |place, number| {
            for _ in 0..2 {
                let receipt = place.put(&format!("s{number}"), Durability::Synced).unwrap();
                place.check(&receipt);
            }
        });
        place.close().unwrap();
    });
}

#[test]
fn p01_no_order_of_tasks_and_threads_loses_a_wake_up() {
    in_many_orders("tasks", || {
        let place = Place::new(alone());
        on_threads(&place, 3, |place, number| {
            if number == 0 {
                let receipt = place.put("s", Durability::Synced).unwrap();
                place.check(&receipt);
            } else {
                // Two at a time of one task: the second is served by the sync of the first or asks for its own.
                let (first, second) = (submit(&place.store, "t").unwrap(), submit(&place.store, "u").unwrap());
                for pending in [second, first] {
                    place.check(&block_on(pending).unwrap());
                }
            }
        });
        place.close().unwrap();
    });
}

#[test]
fn p01_no_order_of_back_pressure_leaves_a_writer_waiting() {
    in_many_orders("back-pressure", || {
        let place = Place::new(alone().unsynced_bytes_max(200));
        on_threads(&place, 3, |place, number| {
            for round in 0..3 {
                let level = if number == 2 && round == 1 { Durability::Synced } else { Durability::Written };
                let receipt = place.put(&format!("s{number}"), level).unwrap();
                place.check(&receipt);
                let marks = place.store.watermarks();
                assert!(marks.committed.0 - marks.durable.0.min(marks.committed.0) < 200 + 3 * 300, "{marks:?}");
            }
        });
        place.close().unwrap();
    });
}

/// Written only, and a background that syncs soon: at the end everything is durable without anybody asking.
#[test]
fn p01_no_order_of_the_background_forgets_what_was_written() {
    in_many_orders("background", || {
        let place = Place::new(alone().sync_interval(Duration::from_millis(5)));
        let store = Arc::clone(&place.store);
        let waiting = thread::spawn(move || {
            let mut events = store.subscribe(SubscribeOptions::all()).unwrap();
            for _ in 0..4 {
                events.next().unwrap();
            }
        });
        on_threads(&place, 2, |place, number| {
            for _ in 0..2 {
                let _ = place.put(&format!("s{number}"), Durability::Written).unwrap();
                place.check_marks();
            }
        });
        waiting.join().unwrap();
        place.close().unwrap();
    });
}

/// Who follows, as a thread or a task, at either mark, gets everything in every order.
#[test]
fn p13_no_order_of_raises_and_waits_loses_a_followers_wake_up() {
    in_many_orders("followers", || {
        let place = Place::new(alone());
        let followers: Vec<_> = (0..3)
            .map(|number| {
                let place = place.share();
                thread::spawn(move || {
                    let visibility = if number == 1 { Visibility::Committed } else { Visibility::Durable };
                    let options = SubscribeOptions::all().visibility(visibility);
                    let mut events = place.store.subscribe(options).unwrap();
                    let mut last = None;
                    for _ in 0..4 {
                        let event = match number {
                            0 => events.next().unwrap(),
                            _ => block_on(events.next_async()).unwrap(),
                        };
                        assert!(last < Some(event.position));
                        let marks = place.store.watermarks();
                        let mark = if number == 1 { marks.committed } else { marks.durable };
                        assert!(event.position < mark, "{} is handed out above {marks:?}", event.position);
                        place.check_marks();
                        last = Some(event.position);
                    }
                })
            })
            .collect();
        on_threads(&place, 2, |place, number| {
            for _ in 0..2 {
                let receipt = place.put(&format!("s{number}"), Durability::Synced).unwrap();
                place.check(&receipt);
            }
        });
        followers.into_iter().for_each(|follower| follower.join().unwrap());
        place.close().unwrap();
    });
}

/// One of the syncs fails: everyone gets an answer, none of them a success that is not true, and none after the failure.
#[test]
fn p06_in_every_order_all_who_wait_hear_of_a_failed_sync() {
    in_many_orders("failed-sync", || {
        let place = Place::with_syncs(alone(), |number| match number {
            1 => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        });
        let follower = {
            let store = Arc::clone(&place.store);
            thread::spawn(move || {
                let mut events = store.subscribe(SubscribeOptions::all()).unwrap();
                while let Ok(event) = events.next() {
                    assert!(event.position < store.watermarks().durable);
                }
            })
        };
        let answers = on_threads(&place, 3, |place, number| {
            let mut failed = 0;
            for _ in 0..2 {
                let answer = match number {
                    0 => submit(&place.store, "s").and_then(block_on),
                    _ => place.put(&format!("s{number}"), Durability::Synced),
                };
                match answer {
                    Ok(receipt) => {
                        assert_eq!(failed, 0, "a success after the failure");
                        place.check(&receipt);
                    }
                    Err(error) => {
                        assert!(error.kind() == ErrorKind::Poisoned && error.is_outcome_unknown(), "{error}");
                        failed += 1;
                    }
                }
            }
            failed
        });
        let failed: u64 = answers.into_iter().sum();
        if failed > 0 {
            let closing = Arc::clone(&place.store);
            assert!(closing.append(&Batch::to("s", Expected::Any, &[NewEvent::new("t", b"late")])).is_err());
            drop(closing);
            follower.join().unwrap();
            place.close().expect_err("nothing can be made durable any more");
        } else {
            // One sync served everyone: the failure meets whoever syncs next.
            let error = place.put("late", Durability::Synced).expect_err("the second sync fails");
            assert!(error.is_outcome_unknown(), "{error}");
            follower.join().unwrap();
            place.close().expect_err("nothing can be made durable any more");
        }
    });
}

/// The thread that leads a sync panics: the others get an answer all the same.
#[test]
fn p06_in_every_order_all_who_wait_hear_of_a_leader_that_panicked() {
    in_many_orders("panicked-leader", || {
        let place = Place::with_syncs(alone(), |number| match number {
            0 => panic_any(Planted),
            _ => Ok(()),
        });
        let answers = on_threads(&place, 3, |place, number| {
            let answer = catch_unwind(AssertUnwindSafe(|| match number {
                0 => submit(&place.store, "s").and_then(|pending| pending.wait()),
                _ => place.put(&format!("s{number}"), Durability::Synced),
            }));
            match answer {
                Ok(Ok(receipt)) => panic!("acknowledged without a sync: {receipt:?}"),
                Ok(Err(error)) => assert!(error.is_outcome_unknown(), "{error}"),
                Err(panic) if panic.is::<Planted>() => return 1,
                Err(panic) => panic::resume_unwind(panic),
            }
            0
        });
        assert_eq!(answers.into_iter().sum::<u64>(), 1, "one of them led");
        place.close().expect_err("nothing can be made durable any more");
    });
}

/// Of a store that is read alone streams leave while they are asked for, and while what others appended is taken in.
#[test]
fn p12_in_no_order_is_a_stream_lost_that_leaves_a_readers_memory() {
    const STREAMS: u64 = 6;
    in_many_orders("leaving", || {
        let storage = MemStorage::new();
        let options = alone().background_threads(false).streams_kept(1);
        let store = Store::open_on(Arc::new(storage.clone()), options.clone()).unwrap();
        let name = |number: u64| format!("s{}", number % STREAMS);
        let append = |number: u64| {
            let event = [NewEvent::new("t", &[7; 3000])];
            let _ = store.append(&Batch::to(&name(number), Expected::Any, &event)).unwrap();
            store.work_in_background().unwrap();
        };
        // A segment holds five of them.
        (0..2 * STREAMS).for_each(append);
        let reader = Arc::new(Store::open_read_only_on(Arc::new(storage), options).unwrap());
        (2 * STREAMS..3 * STREAMS + 3).for_each(append);
        let threads: Vec<_> = (0..3)
            .map(|thread| {
                let reader = Arc::clone(&reader);
                thread::spawn(move || {
                    for number in 0..STREAMS {
                        if thread == 0 && number == 2 {
                            reader.refresh().unwrap();
                        }
                        let head = reader.stream(&name(number + thread)).unwrap().expect("it is there").head;
                        assert!((1..=3).contains(&head.0), "head {head}");
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        for number in 0..STREAMS {
            let head = |store: &Store| store.stream(&name(number)).unwrap().map(|it| it.head);
            assert_eq!(head(&reader), head(&store));
        }
        assert_eq!(reader.stat().unwrap().streams, STREAMS);
    });
}
