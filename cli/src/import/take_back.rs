//! How does an export go back into a store?
//!
//! Every line names its stream and its revision there. A stream of that name that holds the same events is gone along
//! with as far as it goes and continued behind its head; one that holds other events is left alone, and the export's
//! stream becomes NAME~2, NAME~3 …, revisions unchanged. So taking the same export back twice adds nothing.
//!
//! A fork is gone along with where the stream of its name leaves what became of its parent at that revision, by what both hold. So
//! where a parent gets another name, its forks are compared anew. A snapshot goes to where its stream goes.
//!
//! Before anything is added, the whole file is read once per round of comparing ([`plan`]): a line that is no event, or a
//! revision that is out of turn, is found while the store is still as it was. Memory: a few words a stream, never the
//! events.

use std::collections::HashMap;

use treering::limits;

use super::lines::Line;
use super::shallow::{self, Shape, string};
use super::stream_name::numbered;
use crate::event_json::{Back, ForkLine, SnapshotBack, TakenBack, take_back};
use crate::names::{event_type, stream_name};

/// Whether a line is one that an export holds, and of no other format that resembles it.
pub(crate) fn recognises(line: &[u8]) -> bool {
    let names = ["stream", "revision", "type", "recorded_at", "payload", "payload_base64"];
    let Ok(Shape::Object([stream, revision, event_type, recorded_at, payload, base64])) = shallow::parse(line, names)
    else {
        return false;
    };
    string(stream).is_some()
        && string(event_type).is_some()
        && revision.is_some_and(|raw| raw.parse::<u64>().is_ok())
        && recorded_at.is_some_and(|raw| raw.parse::<i64>().is_ok())
        && (string(payload).is_some() || string(base64).is_some())
}

/// How an exported event stands to the stream that it would go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The stream ends before that revision, or does not exist.
    Beyond,
    /// The stream holds that very event there.
    Same,
    /// The stream holds another one there.
    Other,
}

/// Where the events of one exported stream go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The stream in the store.
    pub(crate) name: String,
    /// The first revision to add; `None` where all are there already.
    pub(crate) first_new: Option<u64>,
    /// How many events the export holds of it.
    pub(crate) events: u64,
    /// It is a fork that is to be made.
    pub(crate) is_new_fork: bool,
}

/// The store, as far as comparing looks at it.
pub(crate) trait Held {
    /// What goes wrong when looking.
    type Error: From<Unusable>;

    /// How an exported event stands to the stream of that name.
    fn event(&self, stream: &str, event: &TakenBack) -> Result<Standing, Self::Error>;

    /// How a fork of `parent`, at this revision, stands to the stream of that name.
    fn fork(&self, stream: &str, parent: &str, revision: u64) -> Result<Standing, Self::Error>;
}

/// What is wrong with an export, in words with the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable(pub(crate) String);

/// Where every exported stream goes, by its name in the export.
pub(crate) type Targets = HashMap<String, Target>;

/// Reads one line of an export. A blank line is no event and no mistake: `None`.
pub(crate) fn read(line: &Line) -> Result<Option<Back>, Unusable> {
    match shallow::parse(&line.bytes, []) {
        Ok(Shape::Blank) => return Ok(None),
        Ok(Shape::Object([])) => {}
        Ok(Shape::Other) => return Err(Unusable(format!("line {} is no exported event: no object", line.number))),
        Err(flaw) => return Err(Unusable(format!("line {} is no exported event: {flaw}", line.number))),
    }
    let bytes = line.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line.bytes);
    let checked = take_back(bytes).and_then(|back| match &back {
        Back::Event(event) => check(event).map(|()| back),
        Back::Fork(fork) => stream_name(&fork.fork).map(|_| back),
        Back::Snapshot(snapshot) => check_snapshot(snapshot).map(|()| back),
    });
    checked.map(Some).map_err(|what| Unusable(format!("line {} is no exported event: {what}", line.number)))
}

/// Refuses what no store holds, so that it is found before anything is added.
fn check(event: &TakenBack) -> Result<(), String> {
    stream_name(&event.stream)?;
    check_event(event)
}

fn check_event(event: &TakenBack) -> Result<(), String> {
    event_type(&event.event_type)?;
    if event.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > limits::EVENT_ID_BYTES_MAX) {
        return Err(format!("an id has 1 to {} bytes", limits::EVENT_ID_BYTES_MAX));
    }
    if event.metadata.len() > limits::METADATA_BYTES_MAX {
        return Err(format!("metadata has {} bytes at most", limits::METADATA_BYTES_MAX));
    }
    Ok(())
}

/// The same for a snapshot; whether its range is there is asked where it stands.
fn check_snapshot(snapshot: &SnapshotBack) -> Result<(), String> {
    let SnapshotBack { label, version, range: [first, end], events, .. } = snapshot;
    if label.is_empty() || label.starts_with(limits::RESERVED_NAME_PREFIX) {
        return Err(format!("{label:?} is no label of a snapshot that is not the engine's own"));
    }
    if label.len().max(version.len()) > limits::LABEL_BYTES_MAX {
        return Err(format!("labels and versions have {} bytes at most", limits::LABEL_BYTES_MAX));
    }
    if first >= end {
        return Err(format!("the range {first}..{end} of a snapshot holds nothing"));
    }
    if events.is_empty() {
        return Err("a snapshot has one event at least".to_owned());
    }
    events.iter().try_for_each(check_event)
}

struct Walk {
    target: Target,
    number: u32,
    state: State,
    is_fork: bool,
    /// The revision that the next event has.
    due: u64,
}

impl Walk {
    fn new(name: String, is_fork: bool, due: u64) -> Walk {
        let target = Target { name, first_new: None, events: 0, is_new_fork: false };
        Walk { target, number: 1, state: State::Comparing, is_fork, due }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Comparing,
    Decided,
    Diverged,
}

/// Decides for every stream of the export where its events go.
///
/// `lines` runs over all lines of the file from the start and hands each to the function it is given; `rename` gives the name
/// that a stream is to have in the store.
pub(crate) fn plan<H: Held>(
    mut lines: impl FnMut(&mut dyn FnMut(&Line) -> Result<(), H::Error>) -> Result<(), H::Error>,
    held: &H,
    rename: impl Fn(&str) -> String,
) -> Result<Targets, H::Error> {
    let mut plan = Plan { held, rename, walks: HashMap::new(), is_first_round: true };
    loop {
        lines(&mut |line| match read(line)? {
            Some(Back::Event(event)) => plan.event(line, &event),
            Some(Back::Fork(fork)) => plan.fork(line, &fork),
            Some(Back::Snapshot(snapshot)) => Ok(plan.snapshot(line, &snapshot)?),
            None => Ok(()),
        })?;
        if plan.is_done() {
            return Ok(plan.walks.into_iter().map(|(name, walk)| (name, walk.target)).collect());
        }
    }
}

struct Plan<'h, H, R> {
    held: &'h H,
    rename: R,
    walks: HashMap<String, Walk>,
    is_first_round: bool,
}

impl<H: Held, R: Fn(&str) -> String> Plan<'_, H, R> {
    fn begin(&mut self, line: &Line, stream: &str, is_fork: bool, due: u64) -> Result<(), Unusable> {
        let name = (self.rename)(stream);
        stream_name(&name).map_err(|what| Unusable(format!("line {}: as {name:?}, {what}", line.number)))?;
        self.walks.insert(stream.to_owned(), Walk::new(name, is_fork, due));
        Ok(())
    }

    fn walk(&mut self, line: &Line, stream: &str) -> Result<&mut Walk, Unusable> {
        let changed = || Unusable(format!("line {}: the file changed while it was read", line.number));
        self.walks.get_mut(stream).ok_or_else(changed)
    }

    fn event(&mut self, line: &Line, event: &TakenBack) -> Result<(), H::Error> {
        if self.is_first_round && !self.walks.contains_key(&event.stream) {
            self.begin(line, &event.stream, false, 0)?;
        }
        let (held, is_first_round) = (self.held, self.is_first_round);
        let walk = self.walk(line, &event.stream)?;
        if is_first_round {
            if event.revision != walk.due {
                return Err(Unusable(format!(
                    "line {}: stream {:?} goes on at revision {} where {} is due; an export that is not whole cannot keep \
                     its revisions",
                    line.number, event.stream, event.revision, walk.due
                ))
                .into());
            }
            walk.due += 1;
            walk.target.events += 1;
        }
        if walk.state == State::Comparing {
            match held.event(&walk.target.name, event)? {
                Standing::Same => {}
                Standing::Other => walk.state = State::Diverged,
                Standing::Beyond => {
                    walk.target.first_new = Some(event.revision);
                    walk.state = State::Decided;
                }
            }
        }
        Ok(())
    }

    fn fork(&mut self, line: &Line, fork: &ForkLine) -> Result<(), H::Error> {
        let ForkLine { fork: name, parent, revision } = fork;
        if self.is_first_round {
            if self.walks.contains_key(name) {
                return Err(
                    Unusable(format!("line {}: stream {name:?} is forked behind its beginning", line.number)).into()
                );
            }
            if self.walks.get(parent).is_none_or(|parent| parent.due <= *revision) {
                return Err(Unusable(format!(
                    "line {}: {name:?} is a fork of {parent:?} at revision {revision}, which does not stand before it",
                    line.number
                ))
                .into());
            }
            self.begin(line, name, true, revision + 1)?;
        }
        let parent = self.walk(line, parent)?.target.name.clone();
        let held = self.held;
        let walk = self.walk(line, name)?;
        if walk.state == State::Comparing {
            match held.fork(&walk.target.name, &parent, *revision)? {
                Standing::Same => {}
                Standing::Other => walk.state = State::Diverged,
                Standing::Beyond => {
                    (walk.target.first_new, walk.target.is_new_fork) = (Some(revision + 1), true);
                    walk.state = State::Decided;
                }
            }
        }
        Ok(())
    }

    /// Where its stream goes the snapshot goes; what it stands for must be there by then.
    fn snapshot(&mut self, line: &Line, snapshot: &SnapshotBack) -> Result<(), Unusable> {
        let SnapshotBack { label, of, range: [first, end], .. } = snapshot;
        if self.is_first_round && self.walks.get(of).is_none_or(|walk| walk.due < *end) {
            return Err(Unusable(format!(
                "line {}: the snapshot {label:?} is of {first}..{end} of {of:?}, which does not stand before it",
                line.number
            )));
        }
        Ok(())
    }

    /// Ends a round; whether all is decided.
    fn is_done(&mut self) -> bool {
        self.is_first_round = false;
        let has_diverged = self.walks.values().any(|walk| walk.state == State::Diverged);
        for (name, walk) in &mut self.walks {
            if walk.state == State::Diverged {
                walk.number += 1;
                walk.target.name = numbered(&(self.rename)(name), walk.number);
                walk.state = State::Comparing;
            } else {
                walk.state = State::Decided;
            }
            // Its parent may have got another name.
            if has_diverged && walk.is_fork {
                (walk.target.first_new, walk.target.is_new_fork) = (None, false);
                walk.state = State::Comparing;
            }
        }
        !has_diverged
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Lines;
    use super::*;
    use std::collections::HashMap;

    fn line(stream: &str, revision: u64, payload: &str) -> String {
        format!(r#"{{"stream":"{stream}","revision":{revision},"type":"t","recorded_at":1,"payload":"{payload}"}}"#)
            + "\n"
    }

    /// Events by stream, and where forks leave which stream.
    #[derive(Default)]
    struct Stored<'s> {
        events: HashMap<&'s str, Vec<&'s str>>,
        forks: HashMap<&'s str, (&'s str, u64)>,
    }

    impl Held for Stored<'_> {
        type Error = Unusable;

        fn event(&self, stream: &str, event: &TakenBack) -> Result<Standing, Unusable> {
            let held = self.events.get(stream).and_then(|events| events.get(event.revision as usize));
            Ok(match held {
                None => Standing::Beyond,
                Some(payload) if payload.as_bytes() == event.payload => Standing::Same,
                Some(_) => Standing::Other,
            })
        }

        fn fork(&self, stream: &str, parent: &str, revision: u64) -> Result<Standing, Unusable> {
            Ok(match (self.events.get(stream), self.forks.get(stream)) {
                (None, _) => Standing::Beyond,
                (_, Some(leaves)) if *leaves == (parent, revision) => Standing::Same,
                _ => Standing::Other,
            })
        }
    }

    fn planned(file: &str, store: &Stored<'_>) -> Result<Targets, Unusable> {
        plan(
            |each| {
                let mut lines = Lines::new(file.as_bytes());
                while let Some(line) = lines.next_line().unwrap() {
                    each(&line)?;
                }
                Ok(())
            },
            store,
            str::to_owned,
        )
    }

    fn target(name: &str, first_new: Option<u64>, events: u64) -> Target {
        Target { name: name.into(), first_new, events, is_new_fork: false }
    }

    fn forked(fork: &str, parent: &str, revision: u64) -> String {
        format!(r#"{{"fork":"{fork}","parent":"{parent}","revision":{revision}}}"#) + "\n"
    }

    fn summed(of: &str, label: &str, first: u64, end: u64) -> String {
        let event = line("", 0, "x");
        format!(r#"{{"snapshot":"{label}","of":"{of}","range":[{first},{end}],"events":[{}]}}"#, event.trim_end())
            + "\n"
    }

    #[test]
    fn forks_are_new_continued_or_beside_with_their_parents() {
        let file = [
            line("a", 0, "a0"),
            line("a", 1, "a1"),
            forked("f", "a", 0),
            line("f", 1, "f1"),
            forked("silent", "f", 1),
            line("a", 2, "a2"),
        ]
        .concat();
        let empty = Stored::default();
        let targets = planned(&file, &empty).unwrap();
        assert_eq!(targets["a"], target("a", Some(0), 3));
        assert_eq!(targets["f"], Target { is_new_fork: true, ..target("f", Some(1), 1) });
        assert_eq!(targets["silent"], Target { is_new_fork: true, ..target("silent", Some(2), 0) });
        let mut same = Stored {
            events: HashMap::from([("a", vec!["a0", "a1"]), ("f", vec!["a0", "f1"]), ("silent", vec!["a0", "f1"])]),
            forks: HashMap::from([("f", ("a", 0)), ("silent", ("f", 1))]),
        };
        let targets = planned(&file, &same).unwrap();
        assert_eq!(targets["a"], target("a", Some(2), 3));
        assert_eq!(targets["f"], target("f", None, 1));
        assert_eq!(targets["silent"], target("silent", None, 0));
        // Another parent: its forks go with it, though each would fit by itself.
        same.events.insert("a", vec!["other"]);
        let targets = planned(&file, &same).unwrap();
        assert_eq!(targets["a"], target("a~2", Some(0), 3));
        assert_eq!(targets["f"], Target { is_new_fork: true, ..target("f~2", Some(1), 1) });
        assert_eq!(targets["silent"], Target { is_new_fork: true, ..target("silent~2", Some(2), 0) });
        for (text, words) in [
            (forked("f", "a", 0), "which does not stand before it"),
            (line("a", 0, "a0") + &forked("f", "a", 1), "which does not stand before it"),
            (line("a", 0, "a0") + &forked("a", "a", 0), "behind its beginning"),
            (line("a", 0, "a0") + &forked("$f", "a", 0), "belong to the engine"),
            (line("a", 0, "a0") + &forked("f", "a", 0) + &line("f", 2, "x"), "where 1 is due"),
            (summed("a", "sum", 0, 1), "which does not stand before it"),
            (line("a", 0, "a0") + &summed("a", "sum", 0, 2), "0..2 of \"a\", which does not stand before it"),
            (line("a", 0, "a0") + &summed("a", "sum", 1, 1), "holds nothing"),
            (line("a", 0, "a0") + &summed("a", "$sum", 0, 1), "no label"),
            (line("a", 0, "a0") + &summed("a", "", 0, 1), "no label"),
            (line("a", 0, "a0") + &summed("a", "sum", 0, 1).replace("\"t\"", "\"\""), "not empty"),
        ] {
            let error = planned(&text, &empty).unwrap_err().0;
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn streams_are_new_continued_repeated_or_beside() {
        let file = [
            line("new", 0, "n0"),
            line("grown", 0, "g0"),
            line("same", 0, "s0"),
            line("grown", 1, "g1"),
            line("other", 0, "o0"),
            line("other", 1, "o1"),
            "\n".into(),
        ]
        .concat();
        let events = HashMap::from([
            ("grown", vec!["g0"]),
            ("same", vec!["s0", "s1"]),
            ("other", vec!["o0", "x"]),
            ("other~2", vec!["y"]),
            ("other~3", vec!["o0"]),
        ]);
        let store = Stored { events, ..Stored::default() };
        let targets = planned(&file, &store).unwrap();
        assert_eq!(targets["new"], target("new", Some(0), 1));
        assert_eq!(targets["grown"], target("grown", Some(1), 2));
        assert_eq!(targets["same"], target("same", None, 1));
        assert_eq!(targets["other"], target("other~3", Some(1), 2));
        assert!(planned("", &store).unwrap().is_empty());
    }

    #[test]
    fn an_export_that_cannot_be_kept_is_refused_before_anything_is_added() {
        let none = Stored::default();
        let gap = [line("s", 0, "a"), line("s", 2, "b")].concat();
        assert!(planned(&gap, &none).unwrap_err().0.starts_with("line 2: stream \"s\" goes on at revision 2 where 1"));
        assert!(planned(&line("s", 1, "a"), &none).unwrap_err().0.contains("where 0 is due"));
        let noise = line("s", 0, "a") + "noise\n";
        assert!(planned(&noise, &none).unwrap_err().0.starts_with("line 2 is no exported event"));
        assert!(planned("[1]\n", &none).unwrap_err().0.contains("no object"));
        for (text, words) in [
            (line("$engine", 0, "a"), "belong to the engine"),
            (line("", 0, "a"), "not empty"),
            (line(&"n".repeat(1025), 0, "a"), "1025 bytes long"),
            (line("s", 0, "a").replace("\"type\":\"t\"", "\"type\":\"\""), "not empty"),
            (line("s", 0, "a").replace("\"type\":", "\"id\":\"\",\"type\":"), "an id has 1 to 255 bytes"),
        ] {
            let error = planned(&text, &none).unwrap_err().0;
            assert!(error.starts_with("line 1 ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn exported_lines_are_recognised_and_others_are_not() {
        assert!(recognises(line("s", 0, "p").as_bytes()));
        assert!(recognises(br#"{"stream":"s","revision":0,"type":"t","recorded_at":-1,"payload_base64":"/w=="}"#));
        for other in
            [r#"{"stream":"s","revision":"0","type":"t","recorded_at":1,"payload":""}"#, r#"{"stream":"s"}"#, "1"]
        {
            assert!(!recognises(other.as_bytes()), "{other}");
        }
    }
}
