//! The laboratory: a workload is run once on a simulated directory, then every state that a crash may leave of it is made,
//! opened by the real engine and held against the account.
//!
//! States that look the same are opened once, with the strictest demand of all the moments at which they were possible. What
//! cannot be afforded is chosen by a seed; `TREERING_CRASH_BUDGET` multiplies what can. A state that breaks a promise ends
//! the test with one line, to be given back in `TREERING_CRASH_REPLAY`, and with the state's files in a folder.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, mpsc};

use treering::BootId;

use super::account::{Account, Demand, Oracle};
pub use super::budget::{Budget, Count};
use super::check::{Look, account_of, check};
use super::control;
use super::disk::{Call, Disk};
use super::enumerate::{Base, Blank, Choice, Fate, Numbers, Page, Width, beside, hostile, image, power};
use super::hashes::Hashes;
use super::workloads::{Run, Workload};
use super::{Image, Plant, SimStorage};

/// Which crash, on which kind of disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// All processes die; the cache survives, the call under way may be half done.
    Killed,
    /// The power goes: of what was not synced any part is there.
    Power,
    /// As `Power`, on a disk that tears sectors and shows what deleted files held.
    Hostile,
    /// As `Power`, after one of the syncs did nothing and said it had. Given is which.
    Lying,
    /// The power goes, and a write that fails takes the 4 KiB around it along, also what was synced there: what no disk may do
    /// of which the promises hold.
    Beside,
}

/// A state that breaks a promise.
#[derive(Clone, Debug)]
pub struct Broken {
    /// What to give back in `TREERING_CRASH_REPLAY` to see it again.
    pub replay: String,
    /// The promise, and how it was broken.
    pub what: String,
}

/// What a crash may have interrupted: calls from a first image on, and the account of them.
#[derive(Debug)]
pub struct Record {
    pub(super) start: Disk,
    pub(super) trace: Vec<Call>,
    account: Account,
    boot: u64,
}

impl Record {
    /// What a workload did on an empty directory.
    #[must_use]
    pub fn of_workload(workload: &Workload, plant: Option<Plant>) -> Record {
        let storage = SimStorage::new(11);
        storage.plant(plant);
        let mut run = Run::new(&storage);
        (workload.run)(&mut run);
        let account = run.finish();
        Record::of_run(&storage, account)
    }

    /// As [`of_workload`](Self::of_workload), with the store closed at the end.
    #[must_use]
    pub fn of_closed(workload: &Workload) -> Record {
        let storage = SimStorage::new(11);
        let mut run = Run::new(&storage);
        (workload.run)(&mut run);
        run.end_clean();
        let account = run.finish();
        Record::of_run(&storage, account)
    }

    /// The calls.
    #[must_use]
    pub fn trace(&self) -> &[Call] {
        &self.trace
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The pictures before the first call.
    #[must_use]
    pub fn start(&self) -> &Disk {
        &self.start
    }

    /// What was done since the trace began, mostly on an empty directory, and the account of it.
    #[must_use]
    pub fn of_run(storage: &SimStorage, account: Account) -> Record {
        Record { start: storage.start(), trace: storage.trace(), account, boot: 1 }
    }

    /// A second life, from what a crash left of the first.
    #[must_use]
    pub fn of_second_life(image: &Image, storage: &SimStorage, account: Account, boot: u64) -> Record {
        Record { start: Disk::of_image(image), trace: storage.trace(), account, boot }
    }
}

/// The boot id of the run of the machine with this number.
#[must_use]
pub fn boot_id(number: u64) -> BootId {
    let mut id = *b"boot number ....";
    id[8..].copy_from_slice(&number.to_le_bytes());
    BootId(id)
}

/// States that look the same.
struct Group {
    choice: Choice,
    /// Which sync lied.
    lie: Option<usize>,
    first: usize,
    last: usize,
    is_plain: bool,
}

/// Whose work an exploration is: which state alone it is to look at, when to stop, who hears of each state.
#[derive(Clone, Copy)]
pub struct Orders<'o> {
    /// The only state to be opened, as a replay says it.
    pub only: Option<&'o str>,
    /// How many states are opened at once; 0 for as many as there are processors.
    pub threads: usize,
    /// Whether to stop now.
    pub is_over: &'o (dyn Fn() -> bool + Sync),
    /// Hears the hash of each image that was opened and kept its promises, and whether it is of a second life.
    pub opened: &'o (dyn Fn(u64, bool) + Sync),
    /// Whether an image of this hash was opened before: where not all states can be afforded, those come first that were not.
    pub is_known: &'o (dyn Fn(u64) -> bool + Sync),
}

impl std::fmt::Debug for Orders<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orders").field("only", &self.only).field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// Runs all states of a record that the budget allows; with `TREERING_CRASH_REPLAY` the one that it says.
///
/// # Errors
/// The first state that breaks a promise.
pub fn explore(record: &Record, profile: Profile, budget: Budget, name: &str) -> Result<Count, Broken> {
    let only = std::env::var("TREERING_CRASH_REPLAY").ok();
    let orders =
        Orders { only: only.as_deref(), threads: 0, is_over: &|| false, opened: &|_, _| (), is_known: &|_| false };
    explore_for(record, profile, budget, name, orders)
}

/// As [`explore`], as it was ordered.
///
/// # Errors
/// The first state that breaks a promise.
pub fn explore_for(
    record: &Record,
    profile: Profile,
    budget: Budget,
    name: &str,
    orders: Orders<'_>,
) -> Result<Count, Broken> {
    let mut count = Count { calls: record.trace.len(), ..Count::default() };
    let mut groups = HashMap::new();
    let syncs = || (0..record.trace.len()).filter(|at| is_sync(&record.trace[*at]));
    let lies: Vec<Option<usize>> = if profile == Profile::Lying { syncs().map(Some).collect() } else { vec![None] };
    for lie in lies {
        gather(record, profile, lie, budget, &mut count, &mut groups);
    }
    count.distinct = groups.len();
    let mut chosen = choose(groups, budget.states, orders.only.map_or(0, |_| usize::MAX), orders.is_known);
    if let Some(only) = orders.only {
        chosen.retain(|(_, group)| replay_of(name, profile, group) == only);
    }
    let explored = open_all(record, profile, budget, name, &chosen, orders);
    (count.opened, count.deep) = explored.opened;
    match explored.failure {
        Some(broken) => Err(broken),
        None => Ok(count),
    }
}

/// Holds what the cache shows at the end of a record against its account: who comes next finds all that was acknowledged.
/// With `reverted`, all that was called durable.
///
/// # Errors
/// The broken promise, in words.
pub fn hold_end(record: &Record, reverted: bool) -> Result<(), String> {
    let mut disk = record.start.clone();
    record.trace.iter().for_each(|call| disk.apply(call));
    let choice = Choice { at: disk.calls, fates: Vec::new(), blank: Blank::Zeros, page: Page::Kept };
    let image = image_of(record, Profile::Killed, &disk, &Base::new(&disk), &choice);
    let demand = if reverted { Demand::Durable } else { Demand::Acknowledged };
    let oracle = Oracle { account: &record.account, first: disk.calls, last: disk.calls, demand };
    let look = Look { boot: boot_id(record.boot), mount: 1, seed: disk.calls as u64, verifies: true };
    let checked = catch_unwind(AssertUnwindSafe(|| check(&image, &oracle, look)));
    checked.map_err(|panic| format!("P7: a panic: {}", words_of(&*panic)))?.map(drop)
}

/// Some of the states of a record, of those that would be opened, and for each what a crash left: the record of nothing
/// done yet.
///
/// # Errors
/// The broken promise of a state, in words.
pub fn images(record: &Record, profile: Profile, states: usize) -> Result<Vec<(Image, Account)>, String> {
    let budget = Budget::of_environment(states);
    let mut groups = HashMap::new();
    gather(record, profile, None, budget, &mut Count::default(), &mut groups);
    let chosen = choose(groups, states, 0, &|_| false);
    let mut found = Vec::new();
    let mut broken = None;
    make_images(record, profile, &chosen, |image, (_, group)| {
        let demand = demand_of(profile);
        let oracle = Oracle { account: &record.account, first: group.first, last: group.last, demand };
        match account_of(&image, &oracle, boot_id(record.boot + 1)) {
            Ok(account) => found.push((image, account)),
            Err(what) => broken = Some(what),
        }
        broken.is_none()
    });
    broken.map_or(Ok(found), Err)
}

/// Opens the state that a crash before call `at` leaves, in which the units that were not durable fare as `fate` says, one
/// after the other; after a kill, the stretches of the write under way.
///
/// # Errors
/// The broken promise, in words.
pub fn hold_state(
    record: &Record,
    profile: Profile,
    at: usize,
    blank: Blank,
    mut fate: impl FnMut() -> Fate,
) -> Result<(), String> {
    let mut disk = record.start.clone();
    record.trace[..at].iter().for_each(|call| disk.apply(call));
    let units = match (profile, record.trace.get(at)) {
        (Profile::Killed, Some(Call::Write { bytes, .. })) => bytes.len().div_ceil(PART),
        (Profile::Killed, _) => 0,
        _ => disk.pending.len(),
    };
    let fates = (0..units).map(|_| fate()).collect();
    let choice = Choice { at: disk.calls, fates, blank, page: Page::Kept };
    let image = image_of(record, profile, &disk, &Base::new(&disk), &choice);
    let first = at + usize::from(profile == Profile::Killed && units > 0);
    let oracle = Oracle { account: &record.account, first, last: at, demand: demand_of(profile) };
    let next = if profile == Profile::Killed { record.boot } else { record.boot + 1 };
    let look = Look { boot: boot_id(next), mount: 1, seed: image.hash(), verifies: at.is_multiple_of(8) };
    check(&image, &oracle, look).map(drop)
}

fn demand_of(profile: Profile) -> Demand {
    match profile {
        Profile::Killed => Demand::Acknowledged,
        Profile::Power => Demand::Durable,
        Profile::Hostile => Demand::DurableOnHostileDisk,
        Profile::Lying | Profile::Beside => Demand::Nothing,
    }
}

fn is_sync(call: &Call) -> bool {
    matches!(call, Call::Sync { .. } | Call::SyncDirectory)
}

/// Makes all states and brings those together that look the same.
fn gather(
    record: &Record,
    profile: Profile,
    lie: Option<usize>,
    budget: Budget,
    count: &mut Count,
    groups: &mut HashMap<u64, Group>,
) {
    let mut disk = record.start.clone();
    let mut numbers = Numbers(record.trace.len() as u64);
    for at in 0..=record.trace.len() {
        let is_looked_at = (at + record.trace.len()).is_multiple_of(budget.width.moments_one_in);
        // A word that was stored changes nothing of what a loss of power leaves.
        let is_store = at > 0 && matches!(record.trace[at - 1], Call::Store { .. });
        let is_looked_at = is_looked_at && !(is_store && profile != Profile::Killed);
        if is_looked_at && lie.is_none_or(|lie| at > lie) {
            let base = Base::new(&disk);
            let mut hashes = Hashes::new(&disk);
            let choices = choices_at(record, profile, &disk, budget.width, &mut numbers);
            for (number, choice) in choices.into_iter().enumerate() {
                count.made += 1;
                let is_plain = number < 2 || profile == Profile::Killed;
                let quick = (profile != Profile::Killed).then(|| hashes.of(&choice)).flatten();
                let hash = quick.unwrap_or_else(|| image_of(record, profile, &disk, &base, &choice).hash());
                // The same files on another mount are another state.
                let hash = hash ^ u64::from(choice.page == Page::Remounted);
                // Of the call that was under way something may be there, but nothing it leads to is demanded.
                let first = at + usize::from(profile == Profile::Killed && !choice.fates.is_empty());
                let group = groups.entry(hash).or_insert_with(|| Group { choice, lie, first, last: at, is_plain });
                group.first = group.first.min(first);
                group.last = group.last.max(at);
                group.is_plain |= is_plain;
            }
        }
        if let Some(call) = record.trace.get(at) {
            step(&mut disk, call, lie == Some(at));
        }
    }
}

/// Takes in the next call; one that lies does nothing.
fn step(disk: &mut Disk, call: &Call, is_lie: bool) {
    match is_lie {
        true => disk.calls += 1,
        false => disk.apply(call),
    }
}

fn choices_at(record: &Record, profile: Profile, disk: &Disk, width: Width, numbers: &mut Numbers) -> Vec<Choice> {
    match profile {
        Profile::Power => power(disk, width, numbers),
        Profile::Hostile => hostile(disk, width, numbers),
        Profile::Lying => power(disk, Width { exhaustive: 3, pairs: 2, random: 4, ..width }, numbers),
        Profile::Beside => beside(disk, width),
        Profile::Killed => killed(record, disk),
    }
}

/// What a killed process leaves: the cache, and of the write that it was in some bytes. The fates say which: none, or one
/// for each stretch of the write.
fn killed(record: &Record, disk: &Disk) -> Vec<Choice> {
    let choice = |fates| Choice { at: disk.calls, fates, blank: Blank::Zeros, page: Page::Kept };
    let mut choices = vec![choice(Vec::new())];
    choices.extend(control::pages(record, disk).into_iter().map(|page| Choice { page, ..choice(Vec::new()) }));
    if let Some(Call::Write { bytes, .. }) = record.trace.get(disk.calls) {
        let parts = bytes.len().div_ceil(PART);
        for cut in 1..parts {
            choices.push(choice((0..parts).map(|part| kept_if(part < cut)).collect()));
            choices.push(choice((0..parts).map(|part| kept_if(part >= cut)).collect()));
            choices.push(choice((0..parts).map(|part| kept_if(part != cut)).collect()));
        }
        let mut numbers = Numbers(disk.calls as u64);
        for _ in 0..6 {
            choices.push(choice((0..parts).map(|_| kept_if(numbers.below(2) == 0)).collect()));
        }
    }
    choices
}

/// A write is cut into stretches of so many bytes where its process is killed in it.
const PART: usize = 24;

fn kept_if(is_kept: bool) -> Fate {
    if is_kept { Fate::Kept } else { Fate::Lost }
}

fn image_of(record: &Record, profile: Profile, disk: &Disk, base: &Base, choice: &Choice) -> Image {
    if profile != Profile::Killed {
        return image(disk, base, choice);
    }
    let mut files = disk.cache.clone();
    if let Some(Call::Write { inode, offset, bytes }) = record.trace.get(choice.at).filter(|_| !choice.fates.is_empty())
    {
        let file = Arc::make_mut(files.entry(*inode).or_default());
        let mut number = 0;
        for stretch in choice.fates.chunk_by(|one, two| one == two) {
            let part = number * PART..(bytes.len()).min((number + stretch.len()) * PART);
            if stretch[0] == Fate::Kept {
                file.write(offset + part.start as u64, &bytes[part]);
            }
            number += stretch.len();
        }
    }
    let last_inode = files.keys().max().copied().unwrap_or(0);
    let named = disk.names.iter().filter_map(|(name, inode)| Some((name.clone(), (*inode, files.remove(inode)?))));
    let mut image = Image { files: named.collect(), last_inode };
    control::change(record, &mut image, choice.page);
    image
}

/// Those that are opened: the plain ones first, then those whose image was never opened, by the seed that their hash is.
fn choose(
    groups: HashMap<u64, Group>,
    states: usize,
    at_least: usize,
    is_known: &dyn Fn(u64) -> bool,
) -> Vec<(u64, Group)> {
    let mut all: Vec<(u64, Group)> = groups.into_iter().collect();
    all.sort_by_cached_key(|(hash, group)| (!group.is_plain, is_known(*hash), *hash));
    let plain = all.iter().filter(|(_, group)| group.is_plain).count();
    // Plain states may take half of what can be afforded.
    if plain > states / 2 {
        let stride = plain.div_ceil((states / 2).max(1));
        let mut number = 0;
        all.retain(|(_, group)| {
            number += usize::from(group.is_plain);
            !group.is_plain || number % stride == 0 || at_least > 0
        });
    }
    all.truncate(states.max(at_least));
    all.sort_by_key(|(hash, group)| (group.lie, group.choice.at, *hash));
    all
}

fn replay_of(name: &str, profile: Profile, group: &Group) -> String {
    let fates: String = group.choice.fates.iter().map(|fate| fate.digit()).collect();
    let lie = group.lie.map_or(String::new(), |lie| format!(" lie={lie}"));
    let Choice { at, blank, page, .. } = &group.choice;
    let page = if *page == Page::Kept { String::new() } else { format!(" page={page:?}") };
    format!("{name} {profile:?} at={at}{lie}{page} blank={blank:?} fates={fates}")
}

/// What became of the chosen states.
#[derive(Debug, Default)]
struct Explored {
    failure: Option<Broken>,
    /// How many, and how many of second lives.
    opened: (usize, usize),
}

/// Opens the chosen states, until one breaks a promise.
fn open_all(
    record: &Record,
    profile: Profile,
    budget: Budget,
    name: &str,
    chosen: &[(u64, Group)],
    orders: Orders<'_>,
) -> Explored {
    let explored = Mutex::new(Explored::default());
    let lock = || explored.lock().expect("no panic under the lock");
    let is_over = || lock().failure.is_some() || (orders.is_over)();
    let open =
        |image: &Image, hash: u64, group: &Group| match open_one(record, profile, budget, image, hash, group, orders) {
            Ok(states) => {
                let opened = &mut lock().opened;
                *opened = (opened.0 + 1, opened.1 + states);
            }
            Err(what) => {
                let folder = folder(hash);
                let saved = image.save(&folder).map_or_else(|e| e.to_string(), |()| format!("{folder:?}"));
                let replay = replay_of(name, profile, group);
                lock().failure.get_or_insert(Broken { replay, what: format!("{what}\nits files: {saved}") });
            }
        };
    let processors = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    let threads = if orders.threads == 0 { processors } else { orders.threads };
    if threads == 1 {
        make_images(record, profile, chosen, |image, (hash, group)| {
            let goes_on = !is_over();
            if goes_on {
                open(&image, *hash, group);
            }
            goes_on
        });
    } else {
        let (sender, receiver) = mpsc::sync_channel::<(Image, &(u64, Group))>(8);
        let receiver = Mutex::new(receiver);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    while let Ok((image, (hash, group))) = { receiver.lock().expect("no panic under the lock").recv() }
                    {
                        // The sender must not wait for ever, also once it is over.
                        if !is_over() {
                            open(&image, *hash, group);
                        }
                    }
                });
            }
            make_images(record, profile, chosen, |image, group| !is_over() && sender.send((image, group)).is_ok());
            drop(sender);
        });
    }
    explored.into_inner().expect("no panic under the lock")
}

/// Walks through the trace again and makes the images of what was chosen, in order, until `take` says no.
fn make_images<'c>(
    record: &Record,
    profile: Profile,
    chosen: &'c [(u64, Group)],
    mut take: impl FnMut(Image, &'c (u64, Group)) -> bool,
) {
    let mut next = chosen.iter().peekable();
    while let Some((_, first)) = next.peek() {
        let lie = first.lie;
        let mut disk = record.start.clone();
        for at in 0..=record.trace.len() {
            let is_here = |group: &Group| group.lie == lie && group.choice.at == at;
            if next.peek().is_some_and(|(_, group)| is_here(group)) {
                let base = Base::new(&disk);
                while let Some(group) = next.next_if(|(_, group)| is_here(group)) {
                    if !take(image_of(record, profile, &disk, &base, &group.1.choice), group) {
                        return;
                    }
                }
            }
            if let Some(call) = record.trace.get(at) {
                step(&mut disk, call, lie == Some(at));
            }
        }
    }
}

fn folder(hash: u64) -> PathBuf {
    std::env::temp_dir().join(format!("treering-crash-{hash:016x}"))
}

/// Opens one state; how many of its second life were opened too.
fn open_one(
    record: &Record,
    profile: Profile,
    budget: Budget,
    image: &Image,
    hash: u64,
    group: &Group,
    orders: Orders<'_>,
) -> Result<usize, String> {
    let demand = demand_of(profile);
    let oracle = Oracle { account: &record.account, first: group.first, last: group.last, demand };
    // A kill changes nothing about the machine.
    let boot = if profile == Profile::Killed { record.boot } else { record.boot + 1 };
    let mount = if group.choice.page == Page::Remounted { 2 } else { 1 };
    let look = Look { boot: boot_id(boot), mount, seed: hash, verifies: hash.is_multiple_of(8) };
    let checked = catch_unwind(AssertUnwindSafe(|| check(image, &oracle, look)));
    let life = checked.map_err(|panic| format!("P7: a panic: {}", words_of(&*panic)))??;
    (orders.opened)(hash, budget.is_second);
    let is_deep = budget.deep_one_in > 0 && (hash / 8).is_multiple_of(budget.deep_one_in as u64);
    let Some(life) = life.filter(|_| is_deep && demand != Demand::Nothing) else { return Ok(0) };
    let second = Record::of_second_life(image, &life.storage, life.account, boot);
    // A second life is short and looked at from many states: to make all subsets of each would take longer than to open them.
    let Width { exhaustive, pairs, random, moments_one_in } = budget.width;
    let width = Width { exhaustive: exhaustive.min(7), pairs: pairs.min(40), random: random.min(24), moments_one_in };
    let budget = Budget { states: budget.deep_states, deep_one_in: 0, width, is_second: true, ..budget };
    let mut count = Count::default();
    let mut groups = HashMap::new();
    gather(&second, Profile::Power, None, budget, &mut count, &mut groups);
    let chosen = choose(groups, budget.states, 0, orders.is_known);
    let mut opened = 0;
    let mut broken = None;
    make_images(&second, Profile::Power, &chosen, |image, (hash, group)| {
        opened += 1;
        match open_one(&second, Profile::Power, budget, &image, *hash, group, orders) {
            Ok(_) => true,
            Err(what) => {
                let place = replay_of("second life of", Profile::Power, group);
                broken = Some(format!("{what}\nin the {place}"));
                false
            }
        }
    });
    broken.map_or(Ok(opened), Err)
}

fn words_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without words").to_owned()
}
