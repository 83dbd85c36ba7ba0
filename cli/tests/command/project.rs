//! What a stream comes to, over a sample that was written for it, events of the vocabulary, and real logs.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use treering::{EventView, Fold, Options, Projection, ReadOptions, Revision, Store, Visibility};
use treering_agent::{AgentEvent, Budget, Context, Ledger, Timeline, Tools, Transcript};

use crate::support::{Place, Ran, real_logs};

const KINDS: [&str; 5] = ["transcript", "context", "tools", "ledger", "timeline"];

/// A session: a question, a message in two lines with usage, a call with its result, one that is open, a torn event.
fn session() -> Place {
    let place = Place::new();
    let put = |event_type: &str, payload: Value| {
        place.feed("append", &["s", "--type", event_type], payload.to_string().as_bytes()).ok();
    };
    put("session", json!({ "agent": "tester", "provider": "anthropic", "model": "m-1" }));
    put("user_input", json!({ "content": "What is\there? \u{1b}[31m" }));
    let usage = json!({ "input": 10, "cache_read": 1000, "output": 3, "cost_usd": 0.5 });
    let sealed = json!([{ "type": "reasoning", "text": "I look.", "seal": "c2ln" }]);
    put(
        "model_output",
        json!({ "provider": "anthropic", "model": "m-1", "message": "g", "content": sealed, "usage": usage }),
    );
    put(
        "model_output",
        json!({ "provider": "anthropic", "model": "m-1", "message": "g", "content": "I list it.", "usage": usage }),
    );
    put("tool_call", json!({ "call": "c1", "tool": "list", "input": { "path": "." }, "provider": "anthropic" }));
    put("tool_result", json!({ "call": "c1", "content": "a\nb" }));
    put("note", json!({ "somebody": "else" }));
    put("tool_call", json!({ "call": "c2", "tool": "remove", "input": { "path": "a" }, "provider": "anthropic" }));
    place.feed("append", &["s", "--type", "tool_result"], b"{torn").ok();
    place
}

fn project(place: &Place, kind: &str, more: &[&str]) -> Ran {
    place.run("project", &[&["s", "--as", kind], more].concat())
}

/// The lines for programs of one kind, and the summary.
fn lines(place: &Place, kind: &str, more: &[&str], wanted: &str) -> (Vec<Value>, Value) {
    let mut lines = project(place, kind, &[&["--json"], more].concat()).json();
    let summary = lines.pop().unwrap();
    assert_eq!(summary["kind"], "summary");
    lines.retain(|line| line["kind"] == wanted);
    (lines, summary)
}

#[test]
fn a_transcript_is_markdown_that_steers_no_terminal() {
    let place = session();
    let ran = project(&place, "transcript", &[]);
    assert!(ran.stderr.contains("1 event could not be read, the first at revision 8"), "{}", ran.stderr);
    let text = ran.text();
    for piece in [
        "## User · 1\n\nWhat is\there? \\u{1b}[31m\n",
        "## Model m-1 · 2\n\n> I look.\n\nI list it.\n",
        "**Calls `list`**\n\n```json\n",
        "```\na\nb\n```",
    ] {
        assert!(text.contains(piece), "{piece:?} is not in {text}");
    }
    let (chunks, summary) = lines(&place, "transcript", &[], "transcript");
    assert_eq!(chunks[1]["revision"], 1);
    assert_eq!((&summary["passed"]["unknown"], &summary["passed"]["unreadable"]), (&1.into(), &1.into()));
    place
        .feed(
            "append",
            &["s", "--type", "tool_result"],
            json!({ "call": "c2", "content": "x".repeat(9_000) }).to_string().as_bytes(),
        )
        .ok();
    assert!(project(&place, "transcript", &[]).text().contains("*(5000 bytes more)*"));
    assert!(project(&place, "transcript", &["--full"]).text().contains(&"x".repeat(9_000)));
}

#[test]
fn a_context_keeps_to_budget_and_provider() {
    let place = session();
    let (messages, summary) = lines(&place, "context", &[], "message");
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "model", "tool", "model"]);
    assert_eq!(messages[1]["content"].as_array().unwrap().len(), 2);
    assert_eq!((&messages[1]["calls"][0]["tool"], &messages[3]["open"]), (&"list".into(), &json!(["c2"])));
    let all = summary["estimated_tokens"].as_u64().unwrap();
    let (others, _) = lines(&place, "context", &["--provider", "openai"], "message");
    assert_eq!(others[1]["content"], json!([{ "type": "text", "text": "I list it." }]), "nothing sealed");
    let budget = (all - 1).to_string();
    let (fewer, summary) = lines(&place, "context", &["--budget", &budget], "message");
    assert_eq!((fewer.len(), fewer[0]["role"].as_str()), (3, Some("model")));
    assert!(summary["estimated_tokens"].as_u64().unwrap() < all && summary["left_out"].as_u64().unwrap() > 0);
    let text = project(&place, "context", &[]);
    assert!(text.stderr.contains("4 messages, about"), "{}", text.stderr);
    assert!(text.text().contains("I list it. [list {\"path\":\".\"}]"));
    let (sessions, _) = lines(&place, "context", &[], "session");
    assert_eq!(sessions[0]["session"]["agent"], "tester");
}

#[test]
fn tools_say_what_is_open() {
    let place = session();
    let text = project(&place, "tools", &[]).text();
    assert!(text.contains("1 call without a result") && text.contains("remove  {\"path\":\"a\"}"), "{text}");
    let (open, summary) = lines(&place, "tools", &[], "open");
    assert_eq!((&open[0]["call"], &open[0]["revision"], &summary["open"]), (&"c2".into(), &7.into(), &1.into()));
    let (calls, _) = lines(&place, "tools", &[], "call");
    assert_eq!((&calls[0]["revision"], &calls[0]["result_revision"]), (&4.into(), &5.into()));
    let (open, _) = lines(&place, "tools", &["--at", "4"], "open");
    assert_eq!(open[0]["call"], "c1", "as it was then");
}

#[test]
fn a_ledger_counts_each_message_once() {
    let place = session();
    let (models, summary) = lines(&place, "ledger", &[], "model");
    assert_eq!(
        (&models[0]["messages"], &models[0]["input"], &models[0]["cost_nano_usd"]),
        (&1.into(), &10.into(), &500_000_000.into())
    );
    assert_eq!(summary["tokens"], 1013);
    let text = project(&place, "ledger", &[]).text();
    assert!(text.contains("$0.5000") && text.contains("1,013"), "{text}");

    // Where the log says no cost, it is reckoned with the prices that are brought.
    let usage = json!({ "usage": { "input": 1_000_000, "output": 10 }, "model": "m-2" });
    place.feed("append", &["s", "--type", "usage"], usage.to_string().as_bytes()).ok();
    place.write("prices.json", r#"{"m-1":{"input":9,"output":9},"m-2":{"input":3,"output":15}}"#);
    let (models, summary) = lines(&place, "ledger", &["--prices", "prices.json"], "model");
    let costs: Vec<u64> = models.iter().map(|model| model["cost_nano_usd"].as_u64().unwrap()).collect();
    assert_eq!((&costs[..], &summary["cost_nano_usd"]), (&[500_000_000, 3_000_150_000][..], &3_500_150_000_u64.into()));
    assert!(project(&place, "ledger", &["--prices", "prices.json"]).text().contains("$3.0001"));
    place.write("prices.json", "{\"m-2\":3}");
    project(&place, "ledger", &["--prices", "prices.json"]).failed(1, "prices.json holds no prices");
    project(&place, "ledger", &["--prices", "none.json"]).failed(1, "cannot read none.json");
    project(&place, "tools", &["--prices", "prices.json"]).failed(2, "--prices");
}

#[test]
fn a_timeline_has_every_event() {
    let place = session();
    let (events, _) = lines(&place, "timeline", &[], "event");
    assert_eq!(events.len(), 9);
    assert_eq!(events[6]["type"], "note");
    assert_eq!((&events[8]["is_unreadable"], &events[0]["gap"]), (&true.into(), &Value::Null));
    let text = project(&place, "timeline", &["--at", "5"]).text();
    assert_eq!(text.lines().count(), 6);
    assert!(text.contains("What is here? \\u{1b}[31m"), "{text}");
}

/// A fork comes to what its parent came to at the fork point, then to what is its own.
#[test]
fn a_fork_is_shown_with_the_history_that_it_shares() {
    let place = session();
    place.run("fork", &["s@4", "other"]).ok();
    for kind in KINDS {
        let parent = project(&place, kind, &["--at", "4", "--json"]).text();
        assert_eq!(place.run("project", &["other", "--as", kind, "--json"]).text(), parent, "{kind}");
    }
    let result = json!({ "call": "c1", "content": "another answer" }).to_string();
    place.feed("append", &["other", "--type", "tool_result"], result.as_bytes()).ok();
    let text = place.run("project", &["other", "--as", "transcript"]).text();
    assert!(text.contains("I list it.") && text.contains("another answer") && !text.contains("a\nb"), "{text}");
    assert!(!project(&place, "transcript", &[]).text().contains("another answer"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let place = session();
    project(&place, "novel", &[]).failed(2, "possible values");
    place.run("project", &["s"]).failed(2, "--as");
    for (kind, more) in [("tools", ["--budget", "5"]), ("ledger", ["--provider", "x"]), ("timeline", ["--at", "one"])] {
        project(&place, kind, &more).failed(2, more[0]);
    }
    project(&place, "context", &["--full"]).failed(2, "--full");
    project(&place, "tools", &["--at", "9"]).failed(1, "no revision 9 yet; its head is 8");
    place.run("project", &["none", "--as", "tools"]).failed(1, "there is no stream none");
    place.run_on(&place.path("nowhere"), "project", &["s", "--as", "tools"]).failed(1, "nowhere");
    let ran = project(&place, "context", &["--budget", "0", "--json"]);
    assert_eq!(ran.json().len(), 2, "a budget of nothing keeps nothing");
}

/// Damage in the middle: the rest is folded, the damage is told, and the exit code says so.
#[test]
fn damage_is_told_beside_what_is_left() {
    use std::os::unix::fs::FileExt;
    let place = session();
    let position = place.run("cat", &["s", "--json"]).json()[5]["position"].as_u64().unwrap();
    let segment = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(place.store().join("0000000000000000.segment"))
        .unwrap();
    let mut byte = [0];
    segment.read_exact_at(&mut byte, position + 130).unwrap();
    segment.write_all_at(&[byte[0] ^ 1], position + 130).unwrap();
    let ran = project(&place, "tools", &["--json"]).failed(4, "damage");
    let open: Vec<Value> = ran.stdout_text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(open.iter().filter(|line| line["kind"] == "open").count(), 2, "the result is lost, so the call is open");
}

fn import_of(place: &Place, folders: &[PathBuf]) {
    for folder in folders {
        place.run("import", &[folder.to_str().unwrap()]).ok();
    }
}

fn streams_of(place: &Place) -> Vec<String> {
    let streams = place.run("streams", &["--json"]).json();
    streams.iter().map(|stream| stream["stream"].as_str().unwrap().to_owned()).collect()
}

/// Logs of the formats that are read: real ones, and fixtures of how they drift.
fn real() -> Option<Place> {
    let folders = ["claude-code", "codex", "multi-tool/agent-sessions/claude", "multi-tool/agent-sessions/codex"];
    let folders: Option<Vec<PathBuf>> = folders.iter().map(|folder| real_logs(folder)).collect();
    let place = Place::new();
    import_of(&place, &folders?);
    Some(place)
}

#[test]
fn real_logs_are_shown_in_every_way() {
    let Some(place) = real() else { return };
    let streams = streams_of(&place);
    assert!(streams.len() >= 45);
    for stream in &streams {
        for kind in KINDS {
            place.run("project", &[stream, "--as", kind]).ok();
            let lines = place.run("project", &[stream, "--as", kind, "--json"]).json();
            assert_eq!(lines.last().unwrap()["kind"], "summary", "{stream}");
        }
    }
    let session = "ae4a77f8-aedd-4bc1-888f-c94edc91af04";
    let lines = place.run("project", &[session, "--as", "tools", "--json"]).json();
    assert_eq!(lines.iter().filter(|line| line["kind"] == "call").count(), 242, "every call has its result");
    assert_eq!(lines.last().unwrap()["open"], 0);
    let lines = place.run("project", &[session, "--as", "timeline", "--json"]).json();
    assert_eq!(lines.len(), 2_385 + 1);
}

/// The sums of a stream, counted in another way: the greatest numbers of each message, and what the running sums grew.
fn counted(store: &Store, stream: &str) -> u64 {
    let mut messages = std::collections::BTreeMap::new();
    let (mut sum, mut so_far) = (0, 0);
    let mut reader = store.read_stream(stream, ReadOptions::new().visibility(Visibility::Committed)).unwrap();
    while let Some(event) = reader.next() {
        let event = event.unwrap();
        let line: Value = serde_json::from_slice(event.payload()).unwrap_or_default();
        let number = |value: &Value, name: &str| value[name].as_u64().unwrap_or_default();
        match event.event_type() {
            "assistant" if line["isApiErrorMessage"] != true => {
                let usage = &line["message"]["usage"];
                let names = ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens"];
                let numbers = names.map(|name| number(usage, name));
                match line["message"]["id"].as_str() {
                    Some(id) => {
                        let known = messages.entry(id.to_owned()).or_insert([0; 4]);
                        *known = std::array::from_fn(|at| known[at].max(numbers[at]));
                    }
                    None => sum += numbers.iter().sum::<u64>(),
                }
            }
            "event_msg/token_count" => {
                let info = &line["payload"]["info"];
                let all = |usage: &Value| number(usage, "input_tokens") + number(usage, "output_tokens");
                if info["total_token_usage"].is_object() {
                    let now = all(&info["total_token_usage"]);
                    sum += now.checked_sub(so_far).unwrap_or_else(|| all(&info["last_token_usage"]));
                    so_far = now;
                }
            }
            _ => {}
        }
    }
    sum + messages.values().flatten().sum::<u64>()
}

#[test]
fn the_ledger_of_real_logs_is_what_another_count_says() {
    let Some(place) = real() else { return };
    let store = Store::open_read_only(place.store(), Options::new()).unwrap();
    let mut with_tokens = 0;
    for stream in streams_of(&place) {
        let summary = place.last_json("project", &[&stream, "--as", "ledger", "--json"]);
        let expected = counted(&store, &stream);
        assert_eq!(summary["tokens"], expected, "{stream}");
        with_tokens += u32::from(expected > 0);
    }
    assert!(with_tokens >= 25, "{with_tokens}");
}

/// Stops a fold at some places, saves it, takes it up and catches up: the same as never stopped, as bytes.
fn is_the_same_at_cuts<P: Projection + Clone>(store: &Store, stream: &str, new: &P) {
    let catch_up = |fold: &mut Fold<P>| store.catch_up(fold, Visibility::Committed, Err).unwrap();
    let mut whole = Fold::over_stream(stream, new.clone());
    let events = catch_up(&mut whole);
    let cuts = [1, events / 7, events / 2, events.saturating_sub(1), events];
    for cut in cuts.into_iter().filter(|cut| *cut > 0) {
        let mut until = Fold::over_stream(stream, new.clone());
        let options = ReadOptions::new().visibility(Visibility::Committed).to(Revision(cut - 1));
        let mut reader = store.read_stream(stream, options).unwrap();
        while let Some(event) = reader.next() {
            until.apply(&event.unwrap());
        }
        let mut later = Fold::over_stream(stream, new.clone());
        later.resume(&until.save()).unwrap();
        assert_eq!(catch_up(&mut later), events - cut);
        assert!(later.save() == whole.save(), "{} of {stream}, stopped behind {cut} events", new.name());
    }
}

#[test]
fn p11_folds_of_real_logs_are_the_same_wherever_they_are_stopped() {
    let Some(place) = real() else { return };
    let store = Store::open_read_only(place.store(), Options::new()).unwrap();
    for stream in streams_of(&place) {
        is_the_same_at_cuts(&store, &stream, &Ledger::new());
        is_the_same_at_cuts(&store, &stream, &Tools::new());
        is_the_same_at_cuts(&store, &stream, &Timeline::new());
        is_the_same_at_cuts(&store, &stream, &Transcript::new());
        is_the_same_at_cuts(&store, &stream, &Context::new().provider("openai"));
        is_the_same_at_cuts(&store, &stream, &Context::new().budget(Budget::Tokens(2_000)));
    }
}

/// Every line of every real log, whatever wrote it: read, passed over, or reported.
#[test]
fn no_real_line_stops_the_vocabulary() {
    let place = Place::new();
    let Some(folders) = ["claude-code", "codex", "multi-tool", "openhands", "llm-stream"]
        .iter()
        .map(|kind| real_logs(kind))
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    import_of(&place, &folders);
    let store = Store::open_read_only(place.store(), Options::new()).unwrap();
    let mut reader = store.read_all(treering::ReadAllOptions::new().visibility(Visibility::Committed)).unwrap();
    let (mut lines, mut said, mut reported) = (0_u32, 0_u32, 0_u32);
    while let Some(event) = reader.next() {
        let event = event.unwrap();
        let view = EventView::from(&event);
        lines += 1;
        match AgentEvent::read(view.event_type, view.payload) {
            Ok(reading) => said += u32::from(!reading.events.is_empty()),
            Err(_) => reported += 1,
        }
    }
    assert!(
        lines > 15_000 && said > 2_000 && reported < 20,
        "{lines} lines, {said} say something, {reported} reported"
    );
}

/// The sample that comes with the command.
#[test]
fn the_samples_are_shown_in_every_way() {
    let place = Place::new();
    import_of(&place, &[Path::new(env!("CARGO_MANIFEST_DIR")).join("samples")]);
    let mut calls = 0;
    for stream in streams_of(&place) {
        for kind in KINDS {
            let lines = place.run("project", &[&stream, "--as", kind, "--json"]).json();
            assert!(lines.len() > 1 || kind == "tools" || kind == "ledger", "{stream} as {kind}");
            calls += lines.iter().filter(|line| line["kind"] == "call").count();
        }
    }
    assert!(calls > 3, "{calls}");
}
