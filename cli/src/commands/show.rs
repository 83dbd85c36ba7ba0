//! How do `cat`, `tail` and `export` show one event?
//!
//! For people one line: where it stands, when it was, what it is, and as much of the payload as the terminal is wide (all
//! of it where output is no terminal). For programs the object of [`crate::event_json`]. Nothing that comes out of a log
//! reaches a terminal unchecked.

use treering::{BatchId, Damage, DamageClass, Event, EventRef, Store, Token};

use crate::commands::verify::DamageLine;
use crate::event_json::EventLine;
use crate::exit::{Failure, Outcome};
use crate::output::{self, Out, excerpt, printable};
use crate::time::format_utc;

/// An event, lent or held.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    stream: &'a str,
    revision: u64,
    position: u64,
    number: u64,
    id: Option<&'a str>,
    event_type: &'a str,
    recorded_at: i64,
    occurred_at: Option<i64>,
    batch: BatchId,
    /// Left out where lines are made for another store.
    token: Option<Token>,
    metadata: &'a [u8],
    payload: &'a [u8],
}

impl<'a> From<&'a EventRef<'_>> for Shown<'a> {
    fn from(event: &'a EventRef<'_>) -> Shown<'a> {
        Shown {
            stream: event.stream(),
            revision: event.revision().get(),
            position: event.position().get(),
            number: event.global_number(),
            id: event.id(),
            event_type: event.event_type(),
            recorded_at: event.recorded_at(),
            occurred_at: event.occurred_at(),
            batch: event.batch(),
            token: Some(event.token()),
            metadata: event.metadata(),
            payload: event.payload(),
        }
    }
}

impl<'a> From<&'a Event> for Shown<'a> {
    fn from(event: &'a Event) -> Shown<'a> {
        Shown {
            stream: &event.stream,
            revision: event.revision.get(),
            position: event.position.get(),
            number: event.global_number,
            id: event.id.as_deref(),
            event_type: &event.event_type,
            recorded_at: event.recorded_at,
            occurred_at: event.occurred_at,
            batch: event.batch,
            token: Some(event.token()),
            metadata: &event.metadata,
            payload: &event.payload,
        }
    }
}

impl<'a> Shown<'a> {
    /// The same for a line that leaves this store.
    pub(crate) fn without_token(self) -> Self {
        Self { token: None, ..self }
    }

    /// As one line of JSON.
    pub(crate) fn as_json(&self, out: &mut Out) -> Outcome {
        out.json(&self.as_object())
    }

    /// As an object for programs.
    pub(crate) fn as_object(self) -> EventLine<'a> {
        EventLine {
            stream: self.stream,
            revision: self.revision,
            position: self.position,
            number: self.number,
            id: self.id,
            event_type: self.event_type,
            recorded_at: self.recorded_at,
            occurred_at: self.occurred_at,
            batch: self.batch.to_string(),
            token: self.token.map(|token| token.to_string()),
            ..EventLine::with_bytes(self.metadata, self.payload)
        }
    }

    /// As one line for people. `with_stream` where events of several streams are mixed.
    pub(crate) fn as_line(&self, out: &mut Out, with_stream: bool, width: Option<usize>) -> Outcome {
        let when = format_utc(self.occurred_at.unwrap_or(self.recorded_at));
        let place = if with_stream {
            format!("{} {}", printable(self.stream), self.revision)
        } else {
            format!("{:>6}", self.revision)
        };
        let head = format!("{place}  {when}  {:<18}  ", printable(self.event_type));
        // A narrow terminal still shows something of the payload, on a second line if need be.
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(head.chars().count()).max(20));
        out.line(format_args!("{head}{}", excerpt(self.payload, room)))
    }
}

/// Damage met while reading: told at once, once each, and remembered for the end.
#[derive(Debug, Default)]
pub(crate) struct DamageMet {
    met: Vec<Damage>,
}

impl DamageMet {
    /// Begins with what opening the store found: where the log ends early, any stream may.
    pub(crate) fn at_opening(store: &Store) -> DamageMet {
        let mut damage = DamageMet::default();
        for found in &store.open_report().damage {
            damage.note(found);
        }
        damage
    }

    /// Takes what a reader gave instead of an event: damage is noted and reading goes on behind it; anything else ends it.
    pub(crate) fn take(&mut self, error: treering::Error) -> Outcome {
        let Some(damage) = error.damage() else { return Err(error.into()) };
        self.note(damage);
        Ok(())
    }

    /// What was asked for; `None` where damage took it, which is noted.
    pub(crate) fn or_none<T>(&mut self, asked: treering::Result<T>) -> Outcome<Option<T>> {
        match asked {
            Ok(found) => Ok(Some(found)),
            Err(error) => self.take(error).map(|()| None),
        }
    }

    pub(crate) fn note(&mut self, damage: &Damage) {
        let known = |met: &Damage| met.file == damage.file && met.bytes == damage.bytes;
        if !self.met.iter().any(known) {
            match output::is_json() {
                true => output::note_json(&DamageLine::from(damage)),
                false => {
                    output::note(format_args!("treering: {}", printable(&damage.to_string())));
                    output::note(format_args!("treering:   {}", damage.meaning()));
                }
            }
            self.met.push(damage.clone());
        }
    }

    /// How the command ends: with the code for what was met, if anything was.
    pub(crate) fn outcome(&self) -> Outcome {
        outcome_of(&self.met)
    }
}

/// How a command ends that met these: a torn tail is no damage, what was accepted as lost is no news, and a copy that ends
/// early has a class of its own.
pub(crate) fn outcome_of(damage: &[Damage]) -> Outcome {
    let count = |class: fn(DamageClass) -> bool| {
        damage.iter().filter(|damage| !damage.is_accepted && class(damage.class)).count() as u64
    };
    let damaged =
        count(|class| !matches!(class, DamageClass::CopyIncomplete | DamageClass::TornTail | DamageClass::Undecoded));
    if damaged > 0 {
        return Err(Failure::Damage(format!(
            "{} of damage; what lies there is lost to readers, everything else in the store stays readable. `treering \
             verify` names all of it, `treering accept --dry-run` says what going on without it means",
            output::counted(damaged, "place")
        )));
    }
    if count(|class| class == DamageClass::CopyIncomplete) > 0 {
        return Err(Failure::CopyIncomplete(
            "this copy of a store ends early: it was made while the store was written; copy it again to have the rest, or \
             see `treering accept --dry-run` for writing to it as it is"
                .to_owned(),
        ));
    }
    if count(|class| class == DamageClass::Undecoded) > 0 {
        return Err(Failure::Error(
            "some events cannot be decoded by this build: they are encrypted, or coded in another way; all others were shown"
                .to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use treering::Position;

    fn damage(class: DamageClass, at: u64) -> Damage {
        let positions = Position(at)..Position(at + 8);
        Damage {
            class,
            file: "0.segment".into(),
            bytes: at..at + 8,
            positions,
            streams: None,
            detail: "a check fails".into(),
            is_accepted: false,
        }
    }

    fn code(damage: &[Damage]) -> u8 {
        outcome_of(damage).map_or_else(|failure| failure.code(), |()| 0)
    }

    #[test]
    fn what_was_met_decides_how_it_ends() {
        let torn = damage(DamageClass::TornTail, 0);
        let incomplete = damage(DamageClass::CopyIncomplete, 8);
        let lost = damage(DamageClass::Missing, 16);
        assert_eq!(code(&[]), 0);
        assert_eq!(code(std::slice::from_ref(&torn)), 0, "nobody was promised a torn tail");
        let accepted = Damage { is_accepted: true, ..lost.clone() };
        assert_eq!(code(std::slice::from_ref(&accepted)), 0, "somebody said that it is lost");
        assert_eq!(code(&[accepted, lost.clone()]), 4, "this is news");
        assert_eq!(code(&[torn.clone(), incomplete.clone()]), 5);
        assert_eq!(code(&[incomplete, lost, torn]), 4, "damage weighs more");
    }

    #[test]
    fn the_same_place_is_met_once() {
        let mut met = DamageMet::default();
        for at in [0, 0, 64, 0] {
            met.note(&damage(DamageClass::Damage, at));
        }
        assert_eq!(met.met.len(), 2);
        assert!(met.outcome().unwrap_err().to_string().starts_with("2 places of damage"));
    }
}
