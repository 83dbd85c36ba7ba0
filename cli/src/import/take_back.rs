//! How does an export go back into a store?
//!
//! Every line names its stream and its revision there. A stream of that name that holds the same events is gone along
//! with as far as it goes and continued behind its head; one that holds other events is left alone, and the export's
//! stream becomes NAME~2, NAME~3 …, revisions unchanged. So taking the same export back twice adds nothing.
//!
//! Before anything is added, the whole file is read once per round of comparing ([`plan`]): a line that is no event, or a
//! revision that is out of turn, is found while the store is still as it was. Memory: a few words a stream, never the
//! events.

use std::collections::HashMap;

use treering::limits;

use super::lines::Line;
use super::shallow::{self, Shape, string};
use super::stream_name::numbered;
use crate::event_json::{TakenBack, take_back};
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
}

/// What is wrong with an export, in words with the line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unusable(pub(crate) String);

/// Where every exported stream goes, by its name in the export.
pub(crate) type Targets = HashMap<String, Target>;

/// Reads one line of an export. A blank line is no event and no mistake: `None`.
pub(crate) fn event(line: &Line) -> Result<Option<TakenBack>, Unusable> {
    match shallow::parse(&line.bytes, []) {
        Ok(Shape::Blank) => return Ok(None),
        Ok(Shape::Object([])) => {}
        Ok(Shape::Other) => return Err(Unusable(format!("line {} is no exported event: no object", line.number))),
        Err(flaw) => return Err(Unusable(format!("line {} is no exported event: {flaw}", line.number))),
    }
    let bytes = line.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&line.bytes);
    let checked = take_back(bytes).and_then(|event| check(&event).map(|()| event));
    checked.map(Some).map_err(|what| Unusable(format!("line {} is no exported event: {what}", line.number)))
}

/// Refuses what no store holds, so that it is found before anything is added.
fn check(event: &TakenBack) -> Result<(), String> {
    stream_name(&event.stream)?;
    event_type(&event.event_type)?;
    if event.id.as_ref().is_some_and(|id| id.is_empty() || id.len() > limits::EVENT_ID_BYTES_MAX) {
        return Err(format!("an id has 1 to {} bytes", limits::EVENT_ID_BYTES_MAX));
    }
    if event.metadata.len() > limits::METADATA_BYTES_MAX {
        return Err(format!("metadata has {} bytes at most", limits::METADATA_BYTES_MAX));
    }
    Ok(())
}

struct Walk {
    target: Target,
    number: u32,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Comparing,
    Decided,
    Diverged,
}

/// Decides for every stream of the export where its events go.
///
/// `read` runs over all lines of the file from the start and hands each to the function it is given; `stand` looks into
/// the store; `rename` gives the name that a stream is to have there.
pub(crate) fn plan<E: From<Unusable>>(
    mut read: impl FnMut(&mut dyn FnMut(&Line) -> Result<(), E>) -> Result<(), E>,
    stand: impl Fn(&str, &TakenBack) -> Result<Standing, E>,
    rename: impl Fn(&str) -> String,
) -> Result<Targets, E> {
    let mut walks: HashMap<String, Walk> = HashMap::new();
    let mut is_first_round = true;
    loop {
        read(&mut |line| {
            let Some(event) = event(line)? else { return Ok(()) };
            if is_first_round && !walks.contains_key(&event.stream) {
                let name = rename(&event.stream);
                stream_name(&name).map_err(|what| Unusable(format!("line {}: as {name:?}, {what}", line.number)))?;
                let target = Target { name, first_new: None, events: 0 };
                walks.insert(event.stream.clone(), Walk { target, number: 1, state: State::Comparing });
            }
            let changed = || Unusable(format!("line {}: the file changed while it was read", line.number));
            let walk = walks.get_mut(&event.stream).ok_or_else(changed)?;
            if is_first_round {
                if event.revision != walk.target.events {
                    return Err(Unusable(format!(
                        "line {}: stream {:?} goes on at revision {} where {} is due; an export that is not whole cannot \
                         keep its revisions",
                        line.number, event.stream, event.revision, walk.target.events
                    ))
                    .into());
                }
                walk.target.events += 1;
            }
            if walk.state == State::Comparing {
                match stand(&walk.target.name, &event)? {
                    Standing::Same => {}
                    Standing::Other => walk.state = State::Diverged,
                    Standing::Beyond => {
                        walk.target.first_new = Some(event.revision);
                        walk.state = State::Decided;
                    }
                }
            }
            Ok(())
        })?;
        is_first_round = false;
        let mut is_done = true;
        for (name, walk) in &mut walks {
            if walk.state == State::Diverged {
                walk.number += 1;
                walk.target.name = numbered(&rename(name), walk.number);
                walk.state = State::Comparing;
                is_done = false;
            } else {
                walk.state = State::Decided;
            }
        }
        if is_done {
            return Ok(walks.into_iter().map(|(name, walk)| (name, walk.target)).collect());
        }
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

    fn planned(file: &str, store: &HashMap<&str, Vec<&str>>) -> Result<Targets, Unusable> {
        plan(
            |each| {
                let mut lines = Lines::new(file.as_bytes());
                while let Some(line) = lines.next_line().unwrap() {
                    each(&line)?;
                }
                Ok(())
            },
            |stream, event| {
                let held = store.get(stream).and_then(|events| events.get(event.revision as usize));
                Ok(match held {
                    None => Standing::Beyond,
                    Some(payload) if payload.as_bytes() == event.payload => Standing::Same,
                    Some(_) => Standing::Other,
                })
            },
            str::to_owned,
        )
    }

    fn target(name: &str, first_new: Option<u64>, events: u64) -> Target {
        Target { name: name.into(), first_new, events }
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
        let store = HashMap::from([
            ("grown", vec!["g0"]),
            ("same", vec!["s0", "s1"]),
            ("other", vec!["o0", "x"]),
            ("other~2", vec!["y"]),
            ("other~3", vec!["o0"]),
        ]);
        let targets = planned(&file, &store).unwrap();
        assert_eq!(targets["new"], target("new", Some(0), 1));
        assert_eq!(targets["grown"], target("grown", Some(1), 2));
        assert_eq!(targets["same"], target("same", None, 1));
        assert_eq!(targets["other"], target("other~3", Some(1), 2));
        assert!(planned("", &store).unwrap().is_empty());
    }

    #[test]
    fn an_export_that_cannot_be_kept_is_refused_before_anything_is_added() {
        let none = HashMap::new();
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
