//! What agents' events are called and how they look, so that tools can read logs that they did not write.
//!
//! The engine does not interpret events; this crate does, for who wants it. It has a *vocabulary* of ten events with
//! one JSON shape each (the page `VOCABULARY.md` beside this crate shows all of them), a *view* that reads them, and five
//! *folds* over what was read.
//!
//! [`AgentEvent::read`] reads the vocabulary's own events and, where they stand, the raw lines that `treering import` takes over
//! from Claude Code and Codex: an imported payload is never touched, it is only looked at. Reading is tolerant: fields that are
//! not known are kept, types that are not known are passed over, and what bears a name of the vocabulary without its
//! shape is [`Unreadable`], with the reason.
//!
//! ```
//! use treering_agent::{AgentEvent, Part, ToolCall};
//!
//! let call = ToolCall::new("call-1", "read_file", serde_json::json!({ "path": "README.md" }));
//! let event = AgentEvent::from(call);
//! let reading = AgentEvent::read(event.event_type(), &event.payload())?;
//! assert_eq!(reading.events, [event]);
//!
//! let foreign = br#"{"type":"user","message":{"role":"user","content":"hello"}}"#;
//! let reading = AgentEvent::read("user", foreign)?;
//! let AgentEvent::UserInput(input) = &reading.events[0] else { panic!() };
//! assert_eq!(input.content, [Part::text("hello")]);
//! # Ok::<(), treering_agent::Unreadable>(())
//! ```
//!
//! Written and folded:
//!
//! ```
//! use treering::{Batch, Expected, Fold, NewEvent, Options, Store, Visibility};
//! use treering_agent::{AgentEvent, Budget, Context, ToolCall, Tools, UserInput};
//!
//! # let folder = std::env::temp_dir().join(format!("treering-agent-{}", std::process::id()));
//! let store = Store::open(&folder, Options::new())?;
//! let asked = UserInput { content: vec!["What is in the README?".into()], ..UserInput::default() };
//! let call = ToolCall::new("call-1", "read_file", serde_json::json!({ "path": "README.md" }));
//! for event in [AgentEvent::from(asked), AgentEvent::from(call)] {
//!     let payload = event.payload();
//!     let event = NewEvent::new(event.event_type(), &payload);
//!     let _ = store.append(&Batch::to("session-1", Expected::Any, &[event]))?;
//! }
//!
//! // What is a model told that goes on from here?
//! let mut context = Fold::over_stream("session-1", Context::new().budget(Budget::Tokens(8_000)));
//! store.catch_up(&mut context, Visibility::Durable, Err)?;
//! assert_eq!(context.projection().messages().len(), 2);
//!
//! // And what may have had effects that nobody recorded?
//! let mut tools = Fold::over_stream("session-1", Tools::new());
//! store.catch_up(&mut tools, Visibility::Durable, Err)?;
//! assert_eq!(tools.projection().open()[0].tool, "read_file");
//! # store.close()?;
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), treering::Error>(())
//! ```
//!
//! # Map
//!
//! `event` has the vocabulary, `part` what messages are made of, `usage` what they cost; `claude_code` and `codex` read foreign
//! lines (with `foreign`, which takes from them only what is wanted); `say` tells an event in a line. `fold` has the projections:
//! [`Context`], [`Transcript`], [`Tools`], [`Ledger`], [`Timeline`]. Each is a [`treering::Projection`]. `prices` turns the ledger's tokens
//! into money, with the prices that who asks brings.

#![forbid(unsafe_code)]

mod claude_code;
mod codex;
mod event;
mod fold;
mod foreign;
mod part;
mod prices;
mod say;
mod usage;

pub use event::{
    AgentEvent, Compaction, Failure, ModelOutput, PermissionAsked, PermissionGiven, Reading, Session, TYPES, ToolCall,
    ToolResult, Unreadable, UsageReport, UserInput,
};
pub use fold::context::{Budget, Context, Message, Role, estimated_tokens};
pub use fold::ledger::{Ledger, Numbers, Spent};
pub use fold::passed::Passed;
pub use fold::timeline::{Entry, Timeline};
pub use fold::tools::{Finished, OpenCall, ToolSum, Tools};
pub use fold::transcript::Transcript;
pub use part::{File, Part, Reasoning, Sealed, Text};
pub use prices::{Price, Prices};
pub use usage::{Counts, Usage};
