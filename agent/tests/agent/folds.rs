//! The folds: what each comes to, and that it comes to the same wherever it is stopped and gone on with.

use crate::support::{CLAUDE_CODE, CODEX, Logged, apply, folded, log_of, logged, view};
use proptest::prelude::*;
use serde_json::{Value, json};
use treering::{EventView, Projection};
use treering_agent::{Budget, Context, Ledger, Message, Part, Role, Timeline, Tools, Transcript, estimated_tokens};

fn own(event_type: &str, payload: Value) -> Logged {
    logged(event_type, payload.to_string())
}

fn user(text: &str) -> Logged {
    own("user_input", json!({ "content": text }))
}

fn model(provider: &str, content: Value) -> Logged {
    own("model_output", json!({ "provider": provider, "content": content }))
}

fn call(id: &str) -> Logged {
    own("tool_call", json!({ "call": id, "tool": "t", "input": { "n": 1 } }))
}

fn result(id: &str) -> Logged {
    own("tool_result", json!({ "call": id, "content": "done" }))
}

/// All events of these numbers.
fn events_of(numbers: &[(u8, u8)]) -> Vec<Logged> {
    let foreign: Vec<Logged> = log_of(&CLAUDE_CODE).into_iter().chain(log_of(&CODEX)).collect();
    let sizes = [1, 10, 200, 3_000];
    let event = |(number, &(kind, choice)): (usize, &(u8, u8))| {
        let text = format!("{number} ü{}", "x".repeat(sizes[choice as usize % 4]));
        let id = format!("call-{}", choice % 5);
        let mut event = match kind % 12 {
            0 => user(&text),
            1 => model(
                ["anthropic", "openai"][choice as usize % 2],
                json!([{ "type": "reasoning", "text": "t", "seal": "s" }, { "type": "text", "text": text }]),
            ),
            2 | 3 => call(&id),
            4 | 5 => result(&id),
            6 => own(
                "compaction",
                json!({ "summary": text, "through": (number as u64).checked_sub(u64::from(choice % 4)) }),
            ),
            7 => own(
                "usage",
                json!({ "usage": { "input": choice, "output": u64::from(choice) * 3 }, "model": "m", "message": id }),
            ),
            8 => own("session", json!({ "model": id, "x": 0.1 + f64::from(choice) })),
            9 => logged(["tool_call", "note", "usage"][choice as usize % 3], &b"{\"torn"[..]),
            _ => foreign[choice as usize % foreign.len()].clone(),
        };
        event.time = i64::from(choice) * 1_000 - number as i64;
        event
    };
    numbers.iter().enumerate().map(event).collect()
}

/// At each cut, what is saved and taken up there comes to what was never stopped.
fn is_the_same_at_every_cut<P: Projection + Clone + PartialEq + std::fmt::Debug>(new: &P, events: &[Logged]) {
    let whole = folded(new.clone(), events);
    let mut until = new.clone();
    for cut in 0..=events.len() {
        assert_eq!(until, folded(new.clone(), &events[..cut]), "the state depends on the events alone");
        let mut later = new.clone();
        later.load(&until.save()).unwrap();
        assert_eq!(later, until, "at {cut}");
        for (revision, event) in events.iter().enumerate().skip(cut) {
            apply(&mut later, revision, event);
        }
        assert_eq!((&later, later.save()), (&whole, whole.save()), "from {cut} on");
        if let Some(event) = events.get(cut) {
            apply(&mut until, cut, event);
        }
    }
    for torn in [&b""[..], b"{", b"[]", b"{\"kept\":5}", b"null"] {
        let _ = new.clone().load(torn);
    }
}

/// Every fold, with settings that matter.
fn every_fold_is_the_same_at_every_cut(events: &[Logged]) {
    is_the_same_at_every_cut(&Ledger::new(), events);
    is_the_same_at_every_cut(&Tools::new(), events);
    is_the_same_at_every_cut(&Timeline::new(), events);
    is_the_same_at_every_cut(&Transcript::new().shown_bytes(100), events);
    is_the_same_at_every_cut(&Context::new().provider("openai"), events);
    for budget in [Budget::Tokens(0), Budget::Tokens(150), Budget::Bytes(700)] {
        is_the_same_at_every_cut(&Context::new().budget(budget), events);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p11_every_fold_gone_on_with_is_the_fold_built_anew(numbers in prop::collection::vec(any::<(u8, u8)>(), 0..40)) {
        every_fold_is_the_same_at_every_cut(&events_of(&numbers));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes: within the budget, answers beside their calls, the end of what was said.
    #[test]
    fn a_context_keeps_its_promises(numbers in prop::collection::vec(any::<(u8, u8)>(), 0..60), most in 0_u64..400) {
        let events = events_of(&numbers);
        let whole = folded(Context::new(), &events);
        let some = folded(Context::new().budget(Budget::Tokens(most)), &events);
        prop_assert!(some.size() <= most);
        prop_assert_eq!(some.messages().iter().map(|message| message.size).sum::<u64>(), some.size());
        for context in [&whole, &some] {
            are_paired(&context.messages());
        }
        let revisions = |context: &Context| context.messages().iter().map(|message| message.revision).collect::<Vec<_>>();
        let (all, kept) = (revisions(&whole), revisions(&some));
        prop_assert!(all.is_sorted() && kept.is_sorted());
    }
}

/// Every answer stands behind its call, and only calls that say so have none.
fn are_paired(messages: &[Message]) {
    let mut waiting: Vec<&str> = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        waiting.extend(message.calls.iter().map(|call| call.call.as_str()));
        open.extend(message.open.iter().map(String::as_str));
        if let Some(call) = &message.call {
            let place = waiting.iter().position(|waiting| waiting == call).expect("its call stands before it");
            waiting.remove(place);
        }
    }
    waiting.sort_unstable();
    open.sort_unstable();
    assert_eq!(waiting, open);
}

#[test]
fn every_fold_is_the_same_at_every_cut_of_the_logs_of_other_tools() {
    for lines in [&CLAUDE_CODE[..], &CODEX[..]] {
        every_fold_is_the_same_at_every_cut(&log_of(lines));
    }
}

#[test]
fn a_context_is_what_a_model_is_told() {
    let context = folded(Context::new(), &log_of(&CODEX));
    let messages = context.messages();
    let said: Vec<(Role, String)> = messages.iter().map(|message| (message.role, message.words())).collect();
    let expected = [
        (Role::User, "<environment_context>\n  <cwd>/srv</cwd>"),
        (Role::User, "Say hello."),
        (Role::Model, ""),
        (Role::Tool, "hello\n"),
        (Role::Model, "Hello."),
    ];
    assert_eq!(said, expected.map(|(role, words)| (role, words.to_owned())), "nothing twice");
    assert_eq!((messages[2].calls.len(), messages[2].open.len(), messages[4].open.len()), (1, 0, 1));
    assert_eq!(context.session().model.as_deref(), Some("gpt-5.1"));
    assert_eq!(context.session().instructions.as_deref(), Some("You are Codex."));

    let before = folded(Context::new(), &log_of(&CLAUDE_CODE[..9]));
    let roles: Vec<Role> = before.messages().iter().map(|message| message.role).collect();
    assert_eq!(
        roles,
        [Role::User, Role::Model, Role::Tool, Role::Tool],
        "what is said aside is not of the conversation"
    );
    let after = folded(Context::new(), &log_of(&CLAUDE_CODE));
    let words: Vec<String> = after.messages().iter().map(Message::words).collect();
    assert_eq!(words, ["Two files, a and b.", "Be brief."], "a compaction leaves what stands for the rest");
}

#[test]
fn what_a_provider_sealed_goes_back_to_it_alone() {
    let sealed = json!([{ "type": "reasoning", "text": "hm", "seal": "c2ln" }, { "type": "sealed", "kind": "k", "data": "d" }, { "type": "text", "text": "open words" }]);
    let events = [user("hi"), model("anthropic", sealed.clone())];
    for (provider, parts) in [(None, 3), (Some("anthropic"), 3), (Some("openai"), 1)] {
        let context = provider.map_or_else(Context::new, |provider| Context::new().provider(provider));
        let context = folded(context, &events);
        let model = &context.messages()[1];
        assert_eq!(model.content.len(), parts, "{provider:?}");
        assert_eq!((model.provider.as_deref(), context.left_out()), (Some("anthropic"), 3 - parts as u64));
        assert!(model.words().contains("open words"));
    }
    let nobodys = own("model_output", json!({ "content": sealed }));
    let context = folded(Context::new().provider("openai"), &[nobodys]);
    assert_eq!(context.messages()[0].content, [Part::text("open words")], "whose it is, nobody knows");
}

#[test]
fn a_budget_keeps_the_newest_and_pairs_together() {
    let events = [user("one"), call("a"), user("two"), result("a"), call("b"), result("b"), user("three")];
    let kept = |bytes: u64| -> Vec<u64> {
        let context = folded(Context::new().budget(Budget::Bytes(bytes)), &events);
        context.messages().iter().map(|message| message.revision).collect()
    };
    let size_of_call = "t{\"n\":1}".len() as u64;
    let all = 3 + size_of_call + 3 + 4 + size_of_call + 4 + 5;
    assert_eq!(kept(all), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(kept(all - 1), [1, 2, 3, 4, 5, 6]);
    assert_eq!(kept(all - 4), [2, 4, 5, 6], "the answer goes with its call, from the middle");
    assert_eq!(kept(size_of_call + 4 + 5), [4, 5, 6]);
    assert_eq!(kept(4 + 5), [6], "no answer without its call");
    assert_eq!(kept(4), [] as [u64; 0]);
    let open = folded(Context::new(), &[call("a"), call("b"), result("b")]);
    assert_eq!(open.messages()[0].open, ["a"]);
}

#[test]
fn tokens_are_estimated_from_what_is_written() {
    assert_eq!(["", "a", "abc", "abcd", "日本", "né"].map(estimated_tokens), [0, 1, 1, 2, 2, 2]);
}

#[test]
fn each_token_counts_once() {
    let claude = folded(Ledger::new(), &log_of(&CLAUDE_CODE));
    let spent: Vec<_> = claude
        .spent()
        .iter()
        .map(|spent| (spent.model.as_deref().unwrap(), spent.messages, spent.numbers.total()))
        .collect();
    assert_eq!(spent, [("claude-opus-4-6", 1, 3 + 100 + 1000 + 209), ("claude-haiku-4-5", 1, 12)]);
    let codex = folded(Ledger::new(), &log_of(&CODEX));
    assert_eq!(codex.spent().len(), 1);
    let spent = &codex.spent()[0];
    assert_eq!((spent.model.as_deref(), spent.messages), (Some("gpt-5.1"), 2));
    let numbers = spent.numbers;
    assert_eq!((numbers.input, numbers.cache_read, numbers.output, numbers.reasoning), (110, 140, 15, 4));

    // A sum that falls is a new count; its step is what it took.
    let so_far = |total: u64, step: u64| {
        own("usage", json!({ "usage": { "input": total }, "counts": "so_far", "step": { "input": step } }))
    };
    let ledger = folded(Ledger::new(), &[so_far(100, 100), so_far(150, 50), so_far(30, 20), so_far(40, 10)]);
    assert_eq!(ledger.total().input, 100 + 50 + 20 + 10);
    let paid = own("model_output", json!({ "content": "x", "usage": { "output": 1, "cost_usd": 0.25 } }));
    let odd = own("model_output", json!({ "content": "x", "usage": { "output": 1, "cost_usd": -5.0 } }));
    let ledger = folded(Ledger::new(), &[paid.clone(), paid, odd]);
    assert_eq!((ledger.total().cost_nano_usd, ledger.total().output), (500_000_000, 3));
}

#[test]
fn open_intents_are_what_has_no_result() {
    let mut events = log_of(&CODEX);
    events.extend(log_of(&CLAUDE_CODE));
    events.push(result("nobody's"));
    let mut tools = folded(Tools::new(), &events);
    let open: Vec<_> = tools.open().iter().map(|call| (call.call.clone(), call.tool.clone(), call.revision)).collect();
    assert_eq!(open, [("call_2".to_owned(), "apply_patch".to_owned(), 14)]);
    assert_eq!(tools.unmatched(), 1);
    let sums: Vec<_> =
        tools.sums().map(|(tool, sum)| (tool, sum.calls, sum.finished, sum.failed, sum.refused)).collect();
    assert_eq!(sums, [("Bash", 1, 1, 0, 0), ("Read", 1, 1, 1, 1), ("apply_patch", 1, 0, 0, 0), ("shell", 1, 1, 1, 0)]);
    let finished: Vec<_> =
        tools.take().iter().map(|it| (it.call.clone(), it.revision, it.result_revision, it.took)).collect();
    assert_eq!(finished[0], ("call_1".to_owned(), 7, 10, 3_000_000_000));
    assert_eq!(finished.len(), 3);
    assert!(tools.take().is_empty());
    let asked = [call("a"), own("permission_asked", json!({ "call": "a" }))];
    assert_eq!(folded(Tools::new(), &asked).open()[0].permission.as_deref(), Some("asked"));
}

#[test]
fn a_transcript_reads_from_top_to_bottom() {
    let text = folded(Transcript::new(), &log_of(&CODEX)).take();
    let order = [
        "*Session: codex_cli_rs, openai*",
        "## Put in by the harness · 1",
        "## User · 2",
        "Say hello.",
        "## Model openai · 5",
        "> A greeting",
        "**Calls `shell`**",
        "```json",
        "**Error of `shell`**",
        "```\nhello\n```",
        "Hello.",
        "**Calls `apply_patch`**",
    ];
    let mut at = 0;
    for piece in order {
        at += text[at..].find(piece).unwrap_or_else(|| panic!("{piece:?} is not behind {:?}", &text[..at]));
    }
    assert_eq!(text.matches("Say hello.").count(), 1);
    assert_eq!(text.matches("> A greeting").count(), 1);

    // Nothing that a tool says ends its fence, and what is cut says so.
    let nasty = own("tool_result", json!({ "call": "x", "content": "a\n````\n## not a heading\n```" }));
    let text = folded(Transcript::new(), &[nasty]).take();
    assert!(text.contains("`````\na\n````\n## not a heading\n```\n`````"), "{text}");
    let long = own("tool_result", json!({ "call": "x", "content": "ü".repeat(100) }));
    let text = folded(Transcript::new().shown_bytes(51), &[long]).take();
    assert!(text.contains(&format!("```\n{}\n```\n\n*(150 bytes more)*", "ü".repeat(25))), "{text}");
}

#[test]
fn a_timeline_leaves_nothing_out() {
    let mut events = log_of(&CLAUDE_CODE);
    events.push(Logged { time: 3, ..logged("tool_call", &b"{torn"[..]) });
    let mut timeline = folded(Timeline::new(), &events);
    let entries = timeline.take();
    assert_eq!(entries.len(), events.len());
    assert!(entries.iter().zip(&events).all(|(entry, event)| entry.event_type == event.event_type));
    assert_eq!((entries[0].gap, entries[1].gap), (None, Some(1_000_000_000)));
    assert_eq!(entries[13].gap, Some(3 - 12_000_000_000), "a gap below zero is told as it is");
    assert!(entries.iter().all(|entry| !entry.has_occurred), "nothing says when");
    assert_eq!((entries[0].kinds.len(), entries[4].kinds.len()), (0, 3));
    assert_eq!(entries[4].says, r#"Bash {"command":"ls"} · Read {"path":"a"}"#);
    assert!(entries[13].is_unreadable && entries[13].says.contains("key must be a string"), "{}", entries[13].says);
    assert!(timeline.take().is_empty());
}

/// Events that say when they happened, among some that were recorded long after.
#[test]
fn gaps_are_between_times_of_one_clock() {
    let mut timeline = Timeline::new();
    let times = [(900, None), (901, Some(10)), (902, None), (903, Some(14)), (904, Some(12)), (950, None)];
    for (revision, (recorded_at, occurred_at)) in times.into_iter().enumerate() {
        timeline.apply(&EventView { recorded_at, occurred_at, ..view(revision, &user("x")) });
    }
    let gaps: Vec<_> = timeline.entries().iter().map(|entry| (entry.time, entry.has_occurred, entry.gap)).collect();
    let expected = [
        (900, false, None),
        (10, true, None),
        (902, false, Some(2)),
        (14, true, Some(4)),
        (12, true, Some(-2)),
        (950, false, Some(48)),
    ];
    assert_eq!(gaps, expected);
}

#[test]
fn what_says_nothing_is_counted() {
    let mut events = log_of(&CLAUDE_CODE);
    events.push(logged("tool_call", &b"{torn"[..]));
    events.push(logged("usage", &b""[..]));
    for passed in [
        folded(Tools::new(), &events).passed().clone(),
        folded(Ledger::new(), &events).passed().clone(),
        folded(Context::new(), &events).passed().clone(),
        folded(Transcript::new(), &events).passed().clone(),
    ] {
        assert_eq!((passed.unknown, passed.unreadable), (2, 2));
        let (stream, revision, reason) = passed.first_unreadable.unwrap();
        assert_eq!((stream.as_str(), revision), ("s", 13));
        assert!(reason.contains("tool_call"), "{reason}");
    }
}
