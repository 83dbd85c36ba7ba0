//! How does a command end? The exit codes, and what is said on standard error.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | error |
//! | 2 | usage |
//! | 3 | conflict, with the actual head, or the stream was claimed by another since |
//! | 4 | damage found, or the head of a stream is unknown because of it |
//! | 5 | the copy of the store is incomplete |
//! | 6 | held by another: the store is being written, or the stream is claimed |
//!
//! `claim` ends as the program does that it runs, whatever code that is.
//!
//! With `--json` a failure is one JSON object a line on standard error: `error` (its kind), `message`, `exit_code`, and what
//! belongs to it: `conflict` with the actual head, `damage`, `lost_token`.
//!
//! A reader of our output that has gone away (`treering cat … | head`) is no error: the command ends with 0 and without a
//! word, except where it was writing to a store, which then stops half-way: that is 1.

use std::fmt;
use std::io;
use std::process::ExitCode;

use serde::Serialize;
use treering::ErrorKind;

use crate::commands::verify::DamageLine;
use crate::output;

/// Why a command did not finish.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The engine said no.
    Engine(treering::Error),
    /// The name of a new stream is taken: a conflict whose way out is another name.
    Taken(treering::Error),
    /// The command line asks for something that makes no sense.
    Usage(String),
    /// Anything else that went wrong.
    Error(String),
    /// Damage was found and has been reported.
    Damage(String),
    /// The copy ends early, which has been reported.
    CopyIncomplete(String),
    /// The program that was run ended with this code.
    Ended(u8),
    /// Standard output is closed.
    OutputClosed,
}

#[derive(Serialize)]
struct FailureLine<'a> {
    error: &'static str,
    message: String,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    conflict: Option<ConflictPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<DamageLine<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_token: Option<LostTokenPart>,
}

#[derive(Serialize)]
struct ConflictPart<'a> {
    stream: &'a str,
    /// `null` where there is no such stream.
    actual: Option<u64>,
    position: u64,
}

#[derive(Serialize)]
struct LostTokenPart {
    position: u64,
    incarnation: String,
    /// `null` where nothing says how far the two histories are the same.
    shared_until: Option<u64>,
}

/// What commands return.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// The exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Failure::OutputClosed => 0,
            Failure::Ended(code) => *code,
            Failure::Error(_) => 1,
            Failure::Usage(_) => 2,
            Failure::Damage(_) => 4,
            Failure::Taken(_) => 3,
            Failure::CopyIncomplete(_) => 5,
            Failure::Engine(error) => match error.kind() {
                ErrorKind::Conflict | ErrorKind::Fenced => 3,
                ErrorKind::Damage | ErrorKind::HeadUnknown => 4,
                ErrorKind::CopyIncomplete => 5,
                ErrorKind::Locked => 6,
                _ => 1,
            },
        }
    }

    /// The kind, in a word for programs.
    fn kind(&self) -> &'static str {
        match self {
            Failure::OutputClosed => "output_closed",
            Failure::Ended(_) => "ended",
            Failure::Error(_) => "error",
            Failure::Usage(_) => "usage",
            Failure::Damage(_) => "damage",
            Failure::CopyIncomplete(_) => "copy_incomplete",
            Failure::Taken(_) => "conflict",
            Failure::Engine(error) => match error.kind() {
                ErrorKind::Io => "io",
                ErrorKind::NoSpace => "no_space",
                ErrorKind::ReadOnly => "read_only",
                ErrorKind::Locked => "locked",
                ErrorKind::Conflict => "conflict",
                ErrorKind::Fenced => "fenced",
                ErrorKind::Limit => "limit",
                ErrorKind::Invalid => "invalid",
                ErrorKind::NotFound => "not_found",
                ErrorKind::NotAStore => "not_a_store",
                ErrorKind::Unsupported => "unsupported",
                ErrorKind::Damage => "damage",
                ErrorKind::CopyIncomplete => "copy_incomplete",
                ErrorKind::HeadUnknown => "head_unknown",
                ErrorKind::Poisoned => "poisoned",
                ErrorKind::Removed => "removed",
                ErrorKind::Closed => "closed",
                ErrorKind::Forked => "forked",
                ErrorKind::ForeignToken => "foreign_token",
                ErrorKind::LostToken => "lost_token",
                _ => "error",
            },
        }
    }

    /// As an object for programs.
    fn as_object(&self) -> FailureLine<'_> {
        let engine = match self {
            Failure::Engine(error) | Failure::Taken(error) => Some(error),
            _ => None,
        };
        let conflict = engine.and_then(treering::Error::conflict).map(|conflict| ConflictPart {
            stream: &conflict.stream,
            actual: conflict.actual.map(treering::Revision::get),
            position: conflict.position.get(),
        });
        let lost_token = engine.and_then(treering::Error::lost_token).map(|lost| LostTokenPart {
            position: lost.position.get(),
            incarnation: lost.incarnation.to_string(),
            shared_until: lost.shared_until.map(treering::Position::get),
        });
        FailureLine {
            error: self.kind(),
            message: self.to_string(),
            exit_code: self.code(),
            conflict,
            damage: engine.and_then(treering::Error::damage).map(DamageLine::from),
            lost_token,
        }
    }

    /// Says it on standard error and gives the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        let text = self.to_string();
        if output::is_json() && !text.is_empty() {
            output::note_json(&self.as_object());
        } else if !text.is_empty() {
            // With standard error gone too there is nobody left to tell.
            let _ = io::Write::write_all(&mut io::stderr(), format!("treering: {text}\n").as_bytes());
        }
        ExitCode::from(self.code())
    }

    /// A failed call of the system: what was being done, to what.
    pub(crate) fn io(doing: &str, what: impl fmt::Display, error: &io::Error) -> Failure {
        Failure::Error(format!("cannot {doing} {what}: {error}"))
    }

    /// A failed write to standard output.
    pub(crate) fn output(error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::io("write to", "standard output", error),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Engine(error) => match error.conflict() {
                Some(conflict) => {
                    let stream = crate::output::printable(&conflict.stream);
                    match conflict.actual {
                        Some(head) => write!(
                            f,
                            "conflict: the head of stream {stream} is revision {head}; look at what came in between \
                             (treering cat … --from) and append again with --expect {head}"
                        ),
                        None => write!(
                            f,
                            "conflict: stream {stream} does not exist; append with --expect none to create it"
                        ),
                    }
                }
                None => write!(f, "{error}"),
            },
            Failure::Taken(error) => write!(f, "conflict: {error}"),
            Failure::Usage(text) | Failure::Error(text) | Failure::Damage(text) | Failure::CopyIncomplete(text) => {
                f.write_str(text)
            }
            Failure::Ended(_) | Failure::OutputClosed => Ok(()),
        }
    }
}

impl From<treering::Error> for Failure {
    fn from(error: treering::Error) -> Failure {
        Failure::Engine(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_error_and_says_nothing() {
        let closed = Failure::output(&io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.code(), closed.to_string()), (0, String::new()));
        let full = Failure::output(&io::ErrorKind::StorageFull.into());
        assert_eq!(full.code(), 1);
        assert!(full.to_string().starts_with("cannot write to standard output"));
    }

    #[test]
    fn each_kind_has_its_code() {
        let codes = [
            Failure::Error(String::new()),
            Failure::Usage(String::new()),
            Failure::Damage(String::new()),
            Failure::CopyIncomplete(String::new()),
        ]
        .map(|failure| failure.code());
        assert_eq!(codes, [1, 2, 4, 5]);
    }
}
