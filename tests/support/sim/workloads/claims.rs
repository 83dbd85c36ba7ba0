//! Workloads in which streams are claimed again and again, and whoever had one before is refused.

use treering::Durability::{Synced, Written};
use treering::{Durability, Error, ErrorKind, FencingToken};

use super::Run;
use crate::sim::account::{Beside, Claimed};

impl Run {
    /// Claims a stream, and lets go of it at once: who had it may still append with its token.
    ///
    /// # Panics
    /// Where that fails.
    fn claim(&mut self, stream: &str) -> FencingToken {
        let claim = self.store().try_claim(stream).expect("nobody has the stream");
        let token = self.store().fencing_token(&claim).expect("the claim is noted");
        claim.release().expect("the claim is released");
        self.account.claims.push(Claimed { at: self.machine.trace_len(), stream: stream.to_owned(), token });
        token
    }

    /// Appends one event with a token.
    ///
    /// # Errors
    /// What the append said.
    fn fenced(&mut self, stream: &str, len: usize, token: FencingToken, level: Durability) -> Result<(), Error> {
        let mut plan = self.plan(&[(stream, &[len])], level);
        plan.beside = Some(Beside::Fence { stream: stream.to_owned(), token });
        self.try_append(plan)
    }
}

/// Fails unless the token is refused, with nothing written.
fn refused(run: &mut Run, stream: &str, token: FencingToken) {
    let len = run.machine().trace_len();
    let kind = run.fenced(stream, 30, token, Written).err().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::Fenced), "P14: an append with an old token");
    assert_eq!(run.machine().trace_len(), len, "P14: a refused append wrote");
}

fn taken(run: &mut Run, stream: &str, len: usize, token: FencingToken, level: Durability) {
    run.fenced(stream, len, token, level).expect("P14: the newest token counts");
}

/// Two streams whose claims go from one to the next between appends of both levels, over a roll.
pub(super) fn claims(run: &mut Run) {
    run.open();
    run.append("a", 40, Synced);
    run.append("b", 40, Written);
    let first = run.claim("a");
    taken(run, "a", 50, first, Written);
    let beside = run.claim("b");
    taken(run, "b", 60, beside, Synced);
    let second = run.claim("a");
    refused(run, "a", first);
    taken(run, "a", 6000, second, Written); // rolls
    taken(run, "b", 20, beside, Written);
    let third = run.claim("a");
    refused(run, "a", second);
    taken(run, "a", 30, third, Synced);
    refused(run, "a", first);
}

/// Tokens of one life in the next: closed, killed, with what is behind a checkpoint looked up.
pub(super) fn claims_in_several_lives(run: &mut Run) {
    run.open();
    run.append("a", 60, Written);
    let first = run.claim("a");
    taken(run, "a", 60, first, Written);
    run.kill();
    run.open();
    taken(run, "a", 60, first, Written);
    let second = run.claim("a");
    run.append("a", 5000, Written);
    run.rest();
    run.close();
    run.open();
    refused(run, "a", first);
    taken(run, "a", 10, second, Written);
    let third = run.claim("a");
    run.kill();
    run.open();
    refused(run, "a", second);
    taken(run, "a", 10, third, Synced);
}
