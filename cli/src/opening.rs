//! Opening a store, and saying so where that takes long; and the same of other work that shows nothing meanwhile.
//!
//! A store opens in a moment, whatever it holds, as long as its directory of streams is there. Where it is missing or old the log
//! behind it is read first: people at a terminal are told after a second what they are waiting for.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use treering::{Options, Result, Store};

use crate::output;

const MOMENT: Duration = Duration::from_secs(1);

/// Opens a store for reading.
pub(crate) fn for_reading(path: &Path) -> Result<Store> {
    told(path, || Store::open_read_only(path, Options::new()))
}

/// Opens a store for writing.
pub(crate) fn for_writing(path: &Path, options: Options) -> Result<Store> {
    told(path, || Store::open(path, options))
}

fn told(path: &Path, open: impl FnOnce() -> Result<Store>) -> Result<Store> {
    let path = path.to_string_lossy();
    let opening = format!("opening {}", output::printable(&path));
    patiently(&opening, "what its directory of streams does not cover is read first (see treering stat)", open)
}

/// Does some work; who sits at a terminal is told after a second that it is still being done, and why that takes so long.
pub(crate) fn patiently<T>(what: &str, why: &str, work: impl FnOnce() -> T) -> T {
    if output::is_json() || !io::stderr().is_terminal() {
        return work();
    }
    after(MOMENT, work, || output::note(format_args!("treering: still {what}; {why}")))
}

/// Runs it, and says something meanwhile if it takes longer than this.
fn after<T>(moment: Duration, run: impl FnOnce() -> T, say: impl FnOnce() + Send) -> T {
    let (over, waits) = channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            if waits.recv_timeout(moment) == Err(RecvTimeoutError::Timeout) {
                say();
            }
        });
        let over = over;
        let done = run();
        drop(over);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_told_and_nothing_else() {
        let (sender, said) = channel();
        let slow = sender.clone();
        assert_eq!(after(Duration::ZERO, || said.recv(), move || slow.send("slow").unwrap()), Ok("slow"));
        assert_eq!(after(Duration::from_secs(3600), || 7, move || sender.send("quick").unwrap()), 7);
        assert!(said.try_recv().is_err());
    }
}
