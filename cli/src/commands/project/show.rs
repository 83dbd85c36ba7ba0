//! How is a projection shown? To people as Markdown, lines and tables, to programs as one object a line.

use serde::Serialize;
use serde_json::json;
use treering_agent::{Context, Entry, Ledger, Message, Passed, Prices, Role, Spent, Timeline, Tools, Transcript};

use crate::exit::Outcome;
use crate::output::{self, Out, Table, count, counted, excerpt, printable, width};
use crate::time::format_utc;

/// What prints.
pub(super) struct Show {
    pub(super) out: Out,
    json: bool,
    width: Option<usize>,
}

/// An object with the word for what it is.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    kind: &'static str,
    #[serde(flatten)]
    rest: &'a T,
}

impl Show {
    pub(super) fn new(json: bool) -> Show {
        Show { out: Out::stdout(), json, width: width() }
    }

    fn object(&mut self, kind: &'static str, rest: &impl Serialize) -> Outcome {
        self.out.json(&Line { kind, rest })
    }

    /// Prints what was written since the last time.
    pub(super) fn transcript(&mut self, fold: &mut Transcript, revision: u64) -> Outcome {
        let text = fold.take();
        if text.is_empty() {
            return Ok(());
        }
        if self.json {
            return self.object("transcript", &json!({ "revision": revision, "markdown": text }));
        }
        for line in text.lines() {
            self.out.line(harmless(line))?;
        }
        Ok(())
    }

    /// Prints the lines since the last time.
    pub(super) fn timeline(&mut self, fold: &mut Timeline) -> Outcome {
        for entry in fold.take() {
            if self.json {
                self.object("event", &entry)?;
            } else {
                self.entry(&entry)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Outcome {
        let kind = match entry.kinds.as_slice() {
            [] if entry.is_unreadable => format!("! {}", entry.event_type),
            [] => entry.event_type.clone(),
            kinds => kinds.join("+"),
        };
        let when = format_utc(entry.time);
        let gap = entry.gap.map(between).unwrap_or_default();
        let head = format!("{:>6}  {when}  {gap:>10}  {:<18}  ", entry.revision, printable(&kind));
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(head.chars().count()).max(20));
        let text = format!("{head}{}", excerpt(entry.says.as_bytes(), room));
        self.out.line(text.trim_end())
    }

    /// For programs, that the timeline ends.
    pub(super) fn summary_of_timeline(&mut self) -> Outcome {
        if self.json { self.object("summary", &json!({})) } else { Ok(()) }
    }

    /// Prints the messages, and what was left out.
    pub(super) fn context(&mut self, fold: &Context, budget: Option<u64>) -> Outcome {
        let messages = fold.messages();
        if self.json {
            self.object("session", &json!({ "session": fold.session() }))?;
            for message in &messages {
                self.object("message", message)?;
            }
            return self.summary(
                fold.passed(),
                json!({
                    "messages": messages.len(),
                    "estimated_tokens": fold.size(),
                    "budget": budget,
                    "left_out": fold.left_out(),
                }),
            );
        }
        for message in &messages {
            self.message(message)?;
        }
        let of_budget = budget.map(|budget| format!(" of {}", count(budget))).unwrap_or_default();
        let left_out = count(fold.left_out());
        let summary = format!(
            "{}, about {} tokens{of_budget}; {left_out} left out",
            counted(messages.len() as u64, "message"),
            count(fold.size())
        );
        output::note(summary);
        self.passed(fold.passed())
    }

    fn message(&mut self, message: &Message) -> Outcome {
        let who = match message.role {
            Role::User => message.from.as_deref().unwrap_or("user"),
            Role::Tool if message.is_error => "tool error",
            Role::Tool => "tool",
            _ => message.provider.as_deref().unwrap_or("model"),
        };
        let mut says = message.words();
        for call in &message.calls {
            let is_open = if message.open.contains(&call.call) { " (no result)" } else { "" };
            says.push_str(&format!(" [{} {}{is_open}]", call.tool, call.input));
        }
        let head = format!("{:>6}  {:<12}{:>8}  ", message.revision, printable(who), count(message.size));
        let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(head.chars().count()).max(20));
        let text = format!("{head}{}", excerpt(says.trim().as_bytes(), room));
        self.out.line(text.trim_end())
    }

    /// For programs, the calls that got their results since the last time; people see the sums.
    pub(super) fn finished(&mut self, fold: &mut Tools) -> Outcome {
        for call in fold.take() {
            if self.json {
                self.object("call", &call)?;
            }
        }
        Ok(())
    }

    /// Prints the sums, then what is open.
    pub(super) fn tools(&mut self, fold: &Tools) -> Outcome {
        let open = fold.open();
        if self.json {
            for (tool, sum) in fold.sums() {
                self.object("tool", &json!({ "tool": tool, "sum": sum }))?;
            }
            for call in &open {
                self.object("open", call)?;
            }
            return self
                .summary(fold.passed(), json!({ "open": open.len(), "results_without_call": fold.unmatched() }));
        }
        let mut table = Table::new(&["tool", ">calls", ">results", ">errors", ">refused", ">mean time"]);
        for (tool, sum) in fold.sums() {
            let mean =
                sum.took.checked_div(i64::try_from(sum.finished).unwrap_or(i64::MAX)).map(span).unwrap_or_default();
            let numbers = [sum.calls, sum.finished, sum.failed, sum.refused].map(count);
            table.row([printable(tool).into_owned()].into_iter().chain(numbers).chain([mean]));
        }
        self.out.line(table)?;
        self.out.line(format_args!("\n{} without a result", counted(open.len() as u64, "call")))?;
        for call in open {
            let permission = call.permission.as_deref().map(|said| format!(" ({said})")).unwrap_or_default();
            let head =
                format!("{:>6}  {}  {}{permission}  ", call.revision, format_utc(call.since), printable(&call.tool));
            let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(head.chars().count()).max(20));
            self.out.line(format_args!("{head}{}", excerpt(call.input.to_string().as_bytes(), room)))?;
        }
        if fold.unmatched() > 0 {
            output::note(format_args!("{} whose call is not there", counted(fold.unmatched(), "result")));
        }
        self.passed(fold.passed())
    }

    /// Prints what each model took, and all of them.
    pub(super) fn ledger(&mut self, fold: &Ledger, prices: &Prices) -> Outcome {
        let messages: u64 = fold.spent().iter().map(|spent| spent.messages).sum();
        let mut total = fold.total();
        // What the log says stands, what it does not say is reckoned.
        let cost = |spent: &Spent| match spent.numbers.cost_nano_usd {
            0 => prices.cost_nano_usd(spent),
            said => Some(said),
        };
        total.cost_nano_usd = fold.spent().iter().filter_map(cost).fold(0, u64::saturating_add);
        if self.json {
            for spent in fold.spent() {
                let mut spent = spent.clone();
                spent.numbers.cost_nano_usd = cost(&spent).unwrap_or_default();
                self.object("model", &spent)?;
            }
            return self.summary(
                fold.passed(),
                json!({ "messages": messages, "tokens": total.total(), "cost_nano_usd": total.cost_nano_usd }),
            );
        }
        let headings =
            ["model", "provider", ">messages", ">input", ">cache write", ">cache read", ">output", ">tokens", ">cost"];
        let mut table = Table::new(&headings);
        let sum = Spent { model: Some("all".to_owned()), provider: None, messages, numbers: total };
        let is_several = fold.spent().len() > 1;
        for spent in fold.spent().iter().chain(is_several.then_some(&sum)) {
            let name = |name: &Option<String>| printable(name.as_deref().unwrap_or("-")).into_owned();
            let it = &spent.numbers;
            let numbers = [spent.messages, it.input, it.cache_write, it.cache_read, it.output, it.total()].map(count);
            let cost = match cost(spent) {
                None | Some(0) => "-".to_owned(),
                Some(nano) => format!("${}.{:04}", count(nano / 1_000_000_000), nano % 1_000_000_000 / 100_000),
            };
            table.row([name(&spent.model), name(&spent.provider)].into_iter().chain(numbers).chain([cost]));
        }
        self.out.line(table)?;
        self.passed(fold.passed())
    }

    /// Says what could not be read; for programs, that it ends here.
    pub(super) fn passed(&mut self, passed: &Passed) -> Outcome {
        if self.json {
            return self.summary(passed, json!({}));
        }
        if let Some((_, revision, why)) = &passed.first_unreadable {
            output::note(format_args!(
                "{} could not be read, the first at revision {revision}: {}",
                counted(passed.unreadable, "event"),
                printable(why)
            ));
        }
        Ok(())
    }

    fn summary(&mut self, passed: &Passed, mut rest: serde_json::Value) -> Outcome {
        rest["passed"] = json!(passed);
        self.object("summary", &rest)
    }
}

/// A line of a log that steers no terminal, with its tabs.
fn harmless(line: &str) -> String {
    line.split('\t').map(printable).collect::<Vec<_>>().join("\t")
}

/// A stretch of time with its sign: `+1.20 s`.
fn between(nanos: i64) -> String {
    let sign = if nanos < 0 { '-' } else { '+' };
    format!("{sign}{}", output::duration(std::time::Duration::from_nanos(nanos.unsigned_abs())))
}

/// The same without the plus.
fn span(nanos: i64) -> String {
    between(nanos).trim_start_matches('+').to_owned()
}
