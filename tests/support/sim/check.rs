//! What is asked of one state: it is opened by the real engine, read, opened again, appended to, closed and read again.

use std::sync::Arc;

use treering::{
    Batch, BatchId, BootId, ContextOptions, Durability, Epoch, ErrorKind, Expected, Incarnation, LogReader, NewEvent,
    Position, ReadAllOptions, ReadOptions, Receipt, Revision, Store, Visibility, maintain,
};

use super::account::{Account, Beside, Claimed, Demand, Entry, Oracle, Outcome, Plan};
use super::{Image, SimStorage, control, loss, options};

/// An event as it was found, or a fork, which stands among them where it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its stream.
    pub stream: String,
    /// Its revision.
    pub revision: u64,
    /// Its position.
    pub position: u64,
    /// Its batch.
    pub batch: BatchId,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Of a fork: the stream that it leaves, at this revision.
    pub leaves: Option<String>,
}

/// All events of the log and all forks, and how many losses the reader told of.
///
/// # Errors
/// Where reading fails in another way than by telling of damage.
pub fn read(store: &Store) -> Result<(Vec<Seen>, usize), String> {
    let mut events = Vec::new();
    let losses = read_on(&mut begin_reading(store)?, &mut events)?;
    let forks = store.forks().map_err(|error| format!("P16: the forks cannot be listed: {error}"))?;
    if !forks.is_empty() {
        events.extend(forks.into_iter().map(|fork| Seen {
            stream: (*fork.name).into(),
            revision: fork.revision.0,
            position: fork.stream.0,
            batch: BatchId::default(),
            payload: Vec::new(),
            leaves: Some((*fork.parent_name).into()),
        }));
        events.sort_by_key(|seen| seen.position);
    }
    Ok((events, losses))
}

fn begin_reading(store: &Store) -> Result<LogReader, String> {
    let options = ReadAllOptions::new().visibility(Visibility::Committed).with_engine_streams();
    store.read_all(options).map_err(|error| format!("reading: {error}"))
}

/// Reads to the end of what is visible; returns how many losses were told of.
fn read_on(reader: &mut LogReader, events: &mut Vec<Seen>) -> Result<usize, String> {
    let mut losses = 0;
    while let Some(event) = reader.next() {
        match event {
            Ok(event) => events.push(Seen {
                stream: event.stream().into(),
                revision: event.revision().0,
                position: event.position().0,
                batch: event.batch(),
                payload: event.payload().into(),
                leaves: None,
            }),
            Err(error) if error.damage().is_some() => losses += 1,
            Err(error) => return Err(format!("reading: {error}")),
        }
    }
    Ok(losses)
}

/// A reader that was there before the store was recovered, and stays.
struct Follower {
    store: Store,
    reader: LogReader,
    seen: Vec<Seen>,
}

impl Follower {
    fn begin(store: Store) -> Result<Follower, String> {
        let (mut reader, mut seen) = (begin_reading(&store)?, Vec::new());
        read_on(&mut reader, &mut seen)?;
        Ok(Follower { store, reader, seen })
    }

    /// Whether it has seen all that the log holds; a fork is no event.
    fn has_seen(&self, events: &[Seen]) -> bool {
        self.seen.iter().eq(events.iter().filter(|seen| seen.leaves.is_none()))
    }

    /// Goes on: by now it has seen what the log holds, no less and no more.
    fn go_on(&mut self, events: &[Seen]) -> Result<(), String> {
        self.store.refresh().map_err(|error| format!("P13: following: {error}"))?;
        let losses = read_on(&mut self.reader, &mut self.seen)?;
        match losses == 0 && self.has_seen(events) {
            true => Ok(()),
            false => Err(format!(
                "P13: who followed saw {} events and {losses} losses, the log holds {}",
                self.seen.len(),
                events.len()
            )),
        }
    }
}

/// How a state is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The machine's run after the crash.
    pub boot: BootId,
    /// The mount of the file system after it.
    pub mount: u64,
    /// For randomness of its own.
    pub seed: u64,
    /// Whether also every byte is verified.
    pub verifies: bool,
}

/// What was found, and the second life that began with it.
#[derive(Debug)]
pub struct Life {
    /// The directory, with the trace of recovery and of the second life.
    pub storage: SimStorage,
    /// The image, which is durable, and the account of all that is in it and came to it.
    pub account: Account,
    /// How many batches were found.
    pub found: usize,
}

/// Opens, checks, goes on, checks again.
///
/// # Errors
/// The first broken promise, in words.
pub fn check(image: &Image, oracle: &Oracle<'_>, look: Look) -> Result<Option<Life>, String> {
    let storage = SimStorage::of_image(image, look.seed, look.boot);
    storage.memory().set_mount_id(Some(look.mount));
    let reader = Store::open_read_only_on(Arc::new(storage.process()), options());
    let mut follower = reader.ok().map(Follower::begin).transpose()?;
    // It may sync, to find out what the disk holds; it changes nothing.
    if storage.has_changed() {
        return Err(format!("P8: opening for reading wrote: {:?}", storage.trace()));
    }
    let first = storage.process();
    let store = match Store::open_on(Arc::new(first.clone()), options()) {
        Ok(store) => store,
        Err(error) if oracle.demand == Demand::Nothing && is_refusal(error.kind()) => return Ok(None),
        Err(error)
            if oracle.demand == Demand::DurableOnHostileDisk
                && matches!(error.kind(), ErrorKind::NotAStore | ErrorKind::Damage)
                && oracle.account.seen_at(oracle.last).1.is_none() =>
        {
            return Ok(None);
        }
        Err(error) => return Err(format!("the store does not open: {error:?}")),
    };
    let (events, losses) = read(&store)?;
    let report = store.open_report().clone();
    let is_damage_reported = losses > 0 || !report.damage.is_empty();
    let loss = oracle.account.loss.as_ref();
    if is_damage_reported && oracle.demand != Demand::Nothing && loss.is_none() {
        return Err(format!("P5: a crash is reported as damage: {:?}, {losses} losses", report.damage));
    }
    let found = oracle.hold(&events, is_damage_reported)?;
    let seen_epoch = oracle.account.seen_at(oracle.last).1;
    if oracle.demand != Demand::Nothing && !report.is_new && Some(report.epoch) <= seen_epoch {
        return Err(format!("P4: the epoch {} after {seen_epoch:?}", report.epoch));
    }
    if oracle.demand == Demand::Acknowledged && !(report.has_rolled || report.is_new || report.was_clean) {
        control::allows_going_on(image, report.end.0)?;
    }
    check_order(&store, &events, is_damage_reported)?;
    check_claims(&store, &events, oracle, is_damage_reported)?;
    if let Some(follower) = &follower
        && !follower.has_seen(&events)
    {
        let counts = format!("{} events, a writer {}", follower.seen.len(), events.len());
        return Err(format!("P8: a reader found {counts}: {:?}, then {report:?}", follower.store.open_report()));
    }
    let marks = store.watermarks();
    if marks.durable < report.end || events.last().is_some_and(|last| marks.durable.0 <= last.position) {
        return Err(format!("after opening not all is durable: {marks:?}"));
    }
    if let Some(loss) = loss {
        return loss::check(&storage, store, &events, oracle, loss).map(|()| None);
    }
    if is_damage_reported {
        return Ok(None); // what can be appended then is another question
    }
    // A store that had no name yet is made anew: who read what was there of it follows nothing.
    follower.take_if(|_| report.is_new);
    let account = begin(oracle, &found, report.is_new);
    let store = match look.seed % 3 {
        // Recovered once more, after dying at once.
        0 => {
            first.kill();
            drop(store);
            let again = open(&storage)?;
            if again.open_report().epoch <= report.epoch {
                return Err(format!("P4: the epoch {} twice", report.epoch));
            }
            same(&again, &events, "recovered twice")?;
            again
        }
        _ => store,
    };
    if look.seed.is_multiple_of(4) {
        store.work_in_background().map_err(|error| error.to_string())?; // finished segments are sealed, by chance
    }
    let account = go_on(&storage, store, account, oracle, &found, follower.as_mut())?;
    if look.verifies {
        let report = maintain::verify_on(Arc::new(storage.process()), &mut ()).map_err(|error| error.to_string())?;
        if !report.is_clean() {
            return Err(format!("P5: verify finds damage after recovery: {:?}", report.damage));
        }
    }
    let found = found.len();
    Ok(Some(Life { storage, account, found }))
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Damage | ErrorKind::CopyIncomplete | ErrorKind::NotAStore | ErrorKind::NotFound)
}

fn open(storage: &SimStorage) -> Result<Store, String> {
    Store::open_on(Arc::new(storage.process()), options()).map_err(|error| format!("opened again: {error:?}"))
}

fn same(store: &Store, events: &[Seen], when: &str) -> Result<(), String> {
    let (again, losses) = read(store)?;
    if again != events || losses > 0 || !store.open_report().damage.is_empty() {
        return Err(format!(
            "P8: {when}: {} events, before {}; {losses} losses, {:?}",
            again.len(),
            events.len(),
            store.open_report().damage
        ));
    }
    Ok(())
}

/// Positions rise, revisions are dense, and every index leads to the events that the log holds.
fn check_order(store: &Store, events: &[Seen], has_gaps: bool) -> Result<(), String> {
    if let Some(pair) = events.windows(2).find(|pair| pair[0].position >= pair[1].position) {
        return Err(format!("P4: position {} after {}", pair[1].position, pair[0].position));
    }
    if has_gaps {
        return Ok(());
    }
    // What each stream is, said the long way: a fork is its parent's prefix, as it was when it was made.
    let mut streams: std::collections::BTreeMap<&str, Vec<&Seen>> = Default::default();
    for seen in events {
        let Some(parent) = &seen.leaves else {
            streams.entry(&seen.stream).or_default().push(seen);
            continue;
        };
        let shared = streams
            .get(&**parent)
            .map_or(Vec::new(), |all| all.iter().take(seen.revision as usize + 1).copied().collect());
        if shared.len() as u64 != seen.revision + 1 {
            return Err(format!("P16: {:?} leaves {parent:?} at {}, which is not there", seen.stream, seen.revision));
        }
        streams.insert(&seen.stream, shared);
    }
    let list = |prefix| store.streams_with_prefix(prefix);
    let listed = list("").and_then(|listed| Ok([listed, list("$snapshot/")?, list("$cursor/")?].concat()));
    let listed = listed.map_err(|error| format!("P11: the streams cannot be listed: {error}"))?;
    check_beside(store, &streams)?;
    if streams.len() != listed.len() {
        return Err(format!("P11: {} streams have events, {} are listed", streams.len(), listed.len()));
    }
    for (name, expected) in streams {
        let head = listed.iter().find(|stream| *stream.name == *name).map(|stream| stream.head.0 + 1);
        if head != Some(expected.len() as u64) {
            return Err(format!("P4: the stream {name:?} goes on with {head:?}, it has {} events", expected.len()));
        }
        let options = ReadOptions::new().visibility(Visibility::Committed);
        let mut reader = store.read_stream(name, options).map_err(|error| error.to_string())?;
        for (revision, event) in expected.iter().enumerate() {
            let next = reader.next().transpose().map_err(|error| error.to_string())?;
            let is_same = next.is_some_and(|next| {
                next.revision() == Revision(revision as u64)
                    && next.position().0 == event.position
                    && next.payload() == event.payload
            });
            if !is_same || event.revision != revision as u64 {
                return Err(format!("P11: the stream {name:?} is not what the log says at revision {revision}"));
            }
        }
        if reader.next().is_some() {
            return Err(format!("P11: the stream {name:?} has more events than the log says"));
        }
    }
    Ok(())
}

/// Of each stream's claims none counts before which another one is there, nor two at once; the newest of all does where it is there.
/// An append that expects a stream not to be there which is there says so, and changes nothing. Where damage was reported, that
/// may hide where the stream ends, or its claims.
fn check_claims(store: &Store, events: &[Seen], oracle: &Oracle<'_>, has_gaps: bool) -> Result<(), String> {
    let there_until = events.last().map_or(0, |last| last.position);
    // One that was being made may be there too.
    let all = &oracle.account.claims;
    let is_there = |claimed: &Claimed| {
        claimed.token.0 < there_until || oracle.demand == Demand::Acknowledged && claimed.at <= oracle.first
    };
    for (index, claimed) in all.iter().enumerate() {
        let Claimed { stream, token, .. } = claimed;
        if !store.stream(stream).is_ok_and(|stream| stream.is_some()) {
            continue;
        }
        let later = || all[index + 1..].iter().filter(|later| later.stream == *stream);
        let event = [NewEvent::new("t", "not to be appended")];
        let tried = store.append(&Batch::to(stream, Expected::NoStream, &event).fenced(stream, *token));
        let is_accepted = match tried.map_err(|error| error.kind()) {
            Err(ErrorKind::Conflict) => true,
            Err(ErrorKind::Fenced) => false,
            Err(ErrorKind::HeadUnknown | ErrorKind::Damage) if has_gaps => continue,
            other => return Err(format!("P14: an append with token {token} of {stream:?}: {other:?}")),
        };
        if is_accepted && later().any(is_there) {
            return Err(format!("P14: token {token} of {stream:?} counts, which was claimed again since"));
        }
        if !is_accepted && later().next().is_none() && is_there(claimed) && oracle.demand != Demand::Nothing {
            return Err(format!("P14: token {token} of {stream:?} does not count, though it is the newest"));
        }
    }
    Ok(())
}

/// Every snapshot is whole and bound to what is there, and found from its source; the newest place of a cursor counts.
fn check_beside(store: &Store, streams: &std::collections::BTreeMap<&str, Vec<&Seen>>) -> Result<(), String> {
    let batches = |name: &str| {
        let ids: std::collections::BTreeSet<BatchId> = streams[name].iter().map(|seen| seen.batch).collect();
        ids.len()
    };
    let there: usize = streams.keys().filter(|name| name.starts_with("$snapshot/")).map(|name| batches(name)).sum();
    for name in streams.keys().filter_map(|name| name.strip_prefix("$cursor/")) {
        let place = store.cursor_place(name).map_err(|error| format!("P16: the place of the cursor: {error}"))?;
        if place.is_none_or(|place| place.revision.0 + 1 != streams[&*format!("$cursor/{name}")].len() as u64) {
            return Err("P16: the place of the cursor is not the newest".into());
        }
    }
    if there == 0 {
        return Ok(());
    }
    let mut found = 0;
    for name in streams.keys().filter(|name| !name.starts_with('$')) {
        let snapshots = store.snapshots(name).map_err(|error| format!("P16: snapshots of {name:?}: {error}"))?;
        if let Some(lost) = snapshots.iter().find_map(|one| one.as_ref().err()) {
            return Err(format!("P16: a snapshot of {name:?} is lost: {}", lost.why));
        }
        found += snapshots.len();
        let options = ContextOptions::new().visibility(Visibility::Committed).proven();
        let context = store.context(name, options).map_err(|error| format!("P16: the context of {name:?}: {error}"))?;
        if let Some(ignored) = context.ignored.first() {
            return Err(format!("P16: a snapshot of {name:?} does not count: {}", ignored.why));
        }
    }
    match found == there {
        true => Ok(()),
        false => Err(format!("P16: {there} snapshots are in the log, {found} are found from their sources")),
    }
}

/// Opens the store for reading while others write it, in a process of its own: what it is shown as committed must be all
/// that was acknowledged (unless the cache went back to old bytes), and what it is shown as durable must survive, so that
/// this goes into the account.
///
/// # Errors
/// The first broken promise, in words.
pub fn look_on(machine: &SimStorage, account: &mut Account, reverts: bool) -> Result<(), String> {
    let observer = Arc::new(machine.observer());
    let store = Store::open_read_only_on(observer, options()).map_err(|error| format!("P13: {error:?}"))?;
    let (events, losses) = read(&store)?;
    let report = store.open_report();
    if account.loss.is_none() && (losses > 0 || !report.damage.is_empty()) {
        return Err(format!("P13: a reader beside a writer meets {losses} losses: {:?}", report.damage));
    }
    let now = machine.trace_len();
    if !reverts {
        let oracle = Oracle { account, first: usize::MAX, last: now, demand: Demand::Acknowledged };
        let _ = oracle.hold(&events, false)?;
    }
    let marks = store.watermarks();
    if marks.durable > marks.committed {
        return Err(format!("P1: {marks:?}"));
    }
    account.durable.push((now, marks.durable.0));
    Ok(())
}

/// What a state holds, without changing it, as the account of a second life in which nothing was done yet.
///
/// # Errors
/// The first broken promise, in words.
pub fn account_of(image: &Image, oracle: &Oracle<'_>, boot: BootId) -> Result<Account, String> {
    let storage = SimStorage::of_image(image, 0, boot);
    match Store::open_read_only_on(Arc::new(storage), options()) {
        Ok(store) => Ok(begin(oracle, &oracle.hold(&read(&store)?.0, false)?, false)),
        Err(error) if is_refusal(error.kind()) => Ok(begin(oracle, &oracle.hold(&[], false)?, true)),
        Err(error) => Err(format!("a reader cannot open the store: {error:?}")),
    }
}

/// The account of the second life: what was found is on the disk from its first moment.
fn begin(oracle: &Oracle<'_>, found: &[(usize, u64)], is_new: bool) -> Account {
    let entries = found.iter().map(|(index, position)| {
        let plan = &oracle.account.entries[*index].plan;
        let receipt = Receipt {
            batch: plan.id(),
            epoch: Epoch::default(),
            incarnation: Incarnation::default(),
            position: Position(*position),
            end: Position(position + 1),
            level: Durability::Synced,
            is_repeated: false,
            sections: Default::default(),
            proof: Default::default(),
        };
        // Its bytes are on the disk: a crash during the second life cannot take them.
        let plan = Plan { level: Durability::Synced, ..plan.clone() };
        Entry { plan, began: 0, ended: 0, outcome: Outcome::Acknowledged(receipt) }
    });
    let (end, epoch) = oracle.account.seen_at(oracle.last);
    // A store that has no name yet was seen by nobody.
    let seen = epoch.filter(|_| !is_new).map(|epoch| (0, end, epoch)).into_iter().collect();
    Account { entries: entries.collect(), durable: Vec::new(), seen, loss: None, claims: Vec::new() }
}

/// Appends two batches, one of them a retry of the last that was begun before the crash, closes, opens, compares.
fn go_on(
    storage: &SimStorage,
    store: Store,
    mut account: Account,
    oracle: &Oracle<'_>,
    found: &[(usize, u64)],
    follower: Option<&mut Follower>,
) -> Result<Account, String> {
    let now = || storage.trace_len();
    let (seen_end, seen_epoch) = match oracle.demand {
        Demand::Nothing => (0, None), // a disk that lies may lose all that was seen
        _ => account.seen_at(usize::MAX),
    };
    let begun = oracle.account.entries.iter().enumerate().rev().find(|(_, entry)| entry.began <= oracle.first);
    if let Some((index, entry)) = begun {
        let was_found = found.iter().any(|(there, _)| *there == index);
        let mut plan = Plan { level: Durability::Synced, ..entry.plan.clone() };
        // Who comes back after a crash has no claim any more.
        plan.beside.take_if(|beside| matches!(beside, Beside::Fence { .. }));
        // With the power what was only Written goes, and with it what could be forked.
        let needs = plan.fork.as_ref().map(|fork| (&*fork.parent, fork.revision));
        let needs = needs.or(plan.beside.as_ref().map(Beside::needs));
        let can_be_made = was_found || needs.is_none_or(|needs| has_event(&store, needs));
        if !can_be_made && oracle.demand == Demand::Acknowledged {
            return Err(format!("P16: {plan:?} cannot be made again: an event that it needs is gone"));
        }
        if can_be_made {
            let receipt = account.append(&store, plan, now).map_err(|error| format!("retry: {error:?}"))?;
            if receipt.is_repeated != was_found {
                return Err(format!("P12: a retry was called {}: it was found: {was_found}", receipt.is_repeated));
            }
            if !was_found {
                check_new(&receipt, seen_end, seen_epoch)?;
            }
        }
    }
    // Numbers of the second life differ from those of the first, in every depth.
    let number = 1_000_000 * (1 + oracle.account.entries.iter().map(|e| e.plan.number / 1_000_000).max().unwrap_or(0));
    let plan = Plan {
        number,
        sections: vec![("a".into(), vec![vec![1; 90]]), ("second life".into(), vec![vec![2; 700], vec![]])],
        fork: None,
        beside: None,
        level: Durability::Written,
    };
    let receipt = account.append(&store, plan, now).map_err(|error| format!("append: {error:?}"))?;
    check_new(&receipt, seen_end, seen_epoch)?;
    let (events, _) = read(&store)?;
    follower.map_or(Ok(()), |follower| follower.go_on(&events))?;
    store.close().map_err(|error| format!("close: {error}"))?;
    let end = receipt.end.0;
    account.durable.push((now(), end));
    let store = open(storage)?;
    let report = store.open_report();
    if !report.was_clean || report.has_rolled {
        return Err(format!("P8: closed, and not opened clean: {report:?}"));
    }
    same(&store, &events, "closed and opened")?;
    let whole = Oracle { account: &account, first: usize::MAX, last: usize::MAX, demand: Demand::Acknowledged };
    let held = whole.hold(&events, false)?;
    if held.len() != account.entries.len() {
        return Err(format!("P1: {} batches of {} in the second life", held.len(), account.entries.len()));
    }
    Ok(account)
}

/// Whether the event is there at which a fork leaves its parent, or that something beside a stream needs.
fn has_event(store: &Store, (stream, revision): (&str, u64)) -> bool {
    matches!(store.event(stream, Revision(revision), Visibility::Committed), Ok(Some(_)))
}

fn check_new(receipt: &Receipt, seen_end: u64, seen_epoch: Option<Epoch>) -> Result<(), String> {
    if receipt.position.0 < seen_end || Some(receipt.epoch) <= seen_epoch {
        return Err(format!("P4: {receipt:?}, though {seen_end} and {seen_epoch:?} were seen before the crash"));
    }
    Ok(())
}
