//! Wakers that do more than wake: they append, read and wait. Nobody may wait for ever for them, nor because of them.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use treering::storage::mem::{Fault, MemStorage, Operation};
use treering::storage::os::OsStorage;
use treering::storage::{Access, LockKind, Storage};
use treering::{
    Batch, Durability, ErrorKind, Expected, NewEvent, Pending, Store, SubscribeOptions, Subscription, Visibility,
};
use treering_tests::store::{PATIENCE, block_on, everything, small, try_put, wait_until};

/// Runs it on a thread of its own; a test of what waits for ever would else do so too.
fn in_time<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(run()));
    ended.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: it panicked, or somebody waits for ever"))
}

/// A waker that uses the store.
struct Busy {
    store: Weak<Store>,
    woken: AtomicUsize,
    told: mpsc::Sender<Vec<Option<ErrorKind>>>,
}

impl Wake for Busy {
    fn wake(self: Arc<Self>) {
        if self.woken.fetch_add(1, Ordering::SeqCst) > 0 {
            return; // what it appends wakes it again
        }
        let Some(store) = self.store.upgrade() else { return };
        let mut told = Vec::new();
        for level in [Durability::Written, Durability::Synced] {
            told.push(try_put(&store, "woken", b"from the waker", level).err().map(|error| error.kind()));
        }
        let events = [NewEvent::new("t", "and waited for")];
        let waited = store.submit(&Batch::to("woken", Expected::Any, &events)).and_then(Pending::wait);
        told.push(waited.err().map(|error| error.kind()));
        let _ = everything(&store);
        let _ = store.stat().unwrap();
        let _ = self.told.send(told);
    }
}

fn busy(store: &Arc<Store>) -> (Waker, mpsc::Receiver<Vec<Option<ErrorKind>>>) {
    let (told, hears) = mpsc::channel();
    (Waker::from(Arc::new(Busy { store: Arc::downgrade(store), woken: AtomicUsize::new(0), told })), hears)
}

fn poll<T>(future: Pin<&mut impl Future<Output = T>>, waker: &Waker) -> Poll<T> {
    future.poll(&mut Context::from_waker(waker))
}

fn submit(store: &Store, payload: &str) -> Pending {
    store.submit(&Batch::to("s", Expected::Any, &[NewEvent::new("t", payload)])).unwrap()
}

/// Each way to open it.
fn stores() -> Vec<(&'static str, Arc<Store>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let shared = Store::open(folder.path(), small().exclusive(false)).unwrap();
    let long = || small().segment_bytes(1 << 20);
    let memory = Store::open_on(Arc::new(MemStorage::new()), long()).unwrap();
    vec![("shared", Arc::new(shared), Some(folder)), ("alone", Arc::new(memory), None)]
}

#[test]
fn p13_a_waker_of_an_append_may_append_and_read() {
    for (what, store, _folder) in stores() {
        in_time(what, move || {
            let (waker, hears) = busy(&store);
            let mut pending = pin!(submit(&store, "waits"));
            assert!(poll(pending.as_mut(), &waker).is_pending());
            // Some other thread leads, or the one in the background.
            let _ = try_put(&store, "s", b"synced", Durability::Synced).unwrap();
            assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), [None; 3]);
            assert!(block_on(pending).is_ok());
            assert_eq!(everything(&store).len(), 5);
        });
    }
}

#[test]
fn p13_a_waker_of_a_follower_may_append_and_read() {
    for visibility in [Visibility::Committed, Visibility::Durable] {
        for (what, store, _folder) in stores() {
            in_time(what, move || {
                let (waker, hears) = busy(&store);
                let mut follower = store.subscribe(SubscribeOptions::stream("s").visibility(visibility)).unwrap();
                let mut next = pin!(follower.next_async());
                assert!(poll(next.as_mut(), &waker).is_pending());
                let _ = try_put(&store, "s", b"seen", Durability::Written).unwrap();
                let _ = store.sync().unwrap();
                assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), [None; 3]);
                assert_eq!(&block_on(next).unwrap().payload[..], b"seen");
            });
        }
    }
}

#[test]
fn p06_a_waker_that_appends_hears_of_a_failed_write_or_sync() {
    for (on, is_panic) in [(Operation::Write, false), (Operation::Write, true), (Operation::Sync, false)] {
        in_time("a failure", move || {
            let storage = MemStorage::new();
            let reopened = || Store::open_on(Arc::new(storage.clone()), small().segment_bytes(1 << 20)).unwrap();
            reopened().close().unwrap(); // so that the background has nothing to do
            let store = Arc::new(reopened());
            let (waker, hears) = busy(&store);
            let (others_waker, other_hears) = busy(&store);
            let mut follower = store.subscribe(SubscribeOptions::all().visibility(Visibility::Committed)).unwrap();
            let mut next = pin!(follower.next_async());
            assert!(poll(next.as_mut(), &waker).is_pending());
            let mut waits = store.subscribe(SubscribeOptions::all()).unwrap();
            let mut waits = pin!(waits.next_async());
            assert!(poll(waits.as_mut(), &others_waker).is_pending());
            storage.panic_at_faults(is_panic);
            storage.inject(Fault { after: 0, error: io::ErrorKind::Other, sticky: false, on: Some(on), keep: 5 });
            let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                try_put(&store, "s", b"fails", Durability::Synced).map(drop)
            }));
            assert_eq!(failed.is_err(), is_panic);
            storage.panic_at_faults(false);
            let mut told = vec![other_hears.recv_timeout(PATIENCE).unwrap()];
            told.push(hears.recv_timeout(PATIENCE).unwrap());
            // Before a sync fails the append is visible, and who follows is told of that: Written is what can be had.
            let of_written = told[1].remove(0);
            assert!(of_written == Some(ErrorKind::Poisoned) || on == Operation::Sync, "{on:?}: {of_written:?}");
            let told: Vec<_> = told.concat();
            assert!(told.iter().all(|kind| *kind == Some(ErrorKind::Poisoned)), "{on:?} {told:?}");
        });
    }
}

#[test]
fn p01_tasks_whose_sync_could_not_be_begun_are_served_once_it_can() {
    /// Who syncs has it locked.
    const SYNC: u64 = (1 << 62) + 1;
    let folder = tempfile::tempdir().unwrap();
    let options = small().exclusive(false).patience(Duration::from_millis(20));
    let store = Store::open(folder.path(), options).unwrap();
    let identity = OsStorage::open(folder.path()).unwrap().open("identity", Access::ReadWrite).unwrap();
    assert!(identity.try_lock_byte(SYNC, LockKind::Exclusive).unwrap());
    let mut tasks: Vec<_> = (0..3).map(|number| Box::pin(submit(&store, &number.to_string()))).collect();
    for task in &mut tasks {
        assert!(poll(task.as_mut(), Waker::noop()).is_pending());
        std::thread::sleep(Duration::from_millis(50));
    }
    let refused = try_put(&store, "s", b"a thread is told", Durability::Synced).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked, "{refused}");
    let _ = try_put(&store, "s", b"nobody waits for it", Durability::Written).unwrap();
    let end = store.watermarks().committed;
    assert!(store.watermarks().durable < end);
    identity.unlock_byte(SYNC).unwrap();
    in_time("tasks", move || {
        tasks.into_iter().for_each(|task| assert!(block_on(task).is_ok()));
        wait_until("what nobody waits for is synced", || store.watermarks().durable >= end);
    });
}

#[test]
fn p13_a_store_that_is_closed_wakes_followers_whose_wakers_use_it() {
    in_time("closing", || {
        for (how, store, _folder) in stores() {
            let _ = submit(&store, "read by the waker").wait().unwrap();
            let (mut follower, other) = (subscribe(&store), subscribe(&store));
            assert_eq!(&follower.next().unwrap().payload[..], b"read by the waker", "{how}");
            let (told, hears) = mpsc::channel();
            let waker = Waker::from(Arc::new(Last { follower: Mutex::new(other), told }));
            let mut next = pin!(follower.next_async());
            assert!(poll(next.as_mut(), &waker).is_pending());
            Arc::into_inner(store).unwrap().close().unwrap();
            let told: Vec<_> = hears.try_iter().collect();
            assert_eq!(told, [(1, Some(ErrorKind::Closed))], "{how}: woken once, by closing");
            let Poll::Ready(ended) = poll(next.as_mut(), &waker) else { panic!("{how}: woken for nothing") };
            assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed, "{how}");
        }
    });
}

fn subscribe(store: &Store) -> Subscription {
    store.subscribe(SubscribeOptions::all()).unwrap()
}

/// A waker that outlives the store, and reads what a follower of its own still gets.
struct Last {
    follower: Mutex<Subscription>,
    told: mpsc::Sender<(usize, Option<ErrorKind>)>,
}

impl Wake for Last {
    fn wake(self: Arc<Self>) {
        let mut follower = self.follower.lock().unwrap();
        let mut events = 0;
        let ended = loop {
            match follower.next_timeout(Duration::ZERO) {
                Ok(Some(_)) => events += 1,
                Ok(None) => break None,
                Err(error) => break Some(error.kind()),
            }
        };
        let _ = self.told.send((events, ended));
    }
}
