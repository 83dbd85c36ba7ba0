//! Two models go on from one history, and a summary stands beside what it sums up.
//!
//! ```text
//! cargo run -p treering --example fork_and_compact
//! ```

use treering::{
    Batch, Context, ContextOptions, ContextPart, Expected, Fork, NewEvent, NewSnapshot, Options, Result, Revision,
    Store, Visibility,
};

fn main() -> Result<()> {
    let folder = std::env::temp_dir().join(format!("treering-branches-{}", std::process::id()));
    let store = Store::open(&folder, Options::new())?;
    let say = |stream: &str, who: &str, text: &str| {
        store.append(&Batch::to(stream, Expected::Any, &[NewEvent::new(who, text)])).map(|_receipt| ())
    };
    for turn in 0..50 {
        say("session", "user", &format!("question {turn}"))?;
        say("session", "model", &format!("answer {turn}"))?;
    }

    // A fork is one frame, however long the history. Each goes on by itself.
    for (model, text) in [("one", "I would ship it"), ("another", "I would test it first")] {
        let name = format!("session/{model}");
        let forked = store.fork(&Fork::new("session", &name).at(Revision(59)))?;
        println!("{name}: {} bytes", forked.receipt.end.get() - forked.receipt.position.get());
        say(&name, "model", text)?;
    }
    let parting = store.parting("session/one", "session/another")?;
    println!("they share {} events, and added {:?}", parting.shared_events(), parting.added());

    // A compaction stands beside the range that it sums up. The range stays.
    let summary = [NewEvent::new("summary", "fifty questions about trees, most of them answered")];
    let _made = store.snapshot(&NewSnapshot::new("session", Revision(0)..Revision(40), "summary", &summary))?;
    for name in ["session", "session/one"] {
        // A fork has the snapshots that end before it leaves its parent.
        let context = store.context(name, ContextOptions::new())?;
        println!("{name}: {} events in place of {}", context.len(), events_behind(&context));
        let mut events = context.read();
        while let Some(event) = events.next() {
            let _what_a_model_is_told = event?.payload();
        }
    }
    // Time travel: what an agent knew when revision 20 was the head.
    println!("at revision 20: {} events", store.context("session", ContextOptions::new().at(Revision(20)))?.len());
    assert!(store.event("session", Revision(7), Visibility::Durable)?.is_some(), "nothing was thrown away");

    store.close()?;
    std::fs::remove_dir_all(&folder).ok();
    Ok(())
}

/// How many events of the stream the context stands for.
fn events_behind(context: &Context) -> u64 {
    let behind = |part: &ContextPart| match part {
        ContextPart::Snapshot(snapshot) => snapshot.range.end.get() - snapshot.range.start.get(),
        ContextPart::Events(first, last) => last.get() - first.get() + 1,
    };
    context.parts.iter().map(behind).sum()
}
