//! Prints what a claim costs while many are held.
//!
//! `cargo run --release -p treering-benches --bin claims -- [--held N] [DIR]`. The claims are held by another handle, as another
//! process would hold them. Beside them stands the call to the system without which there is no claim (lock a byte), in a file of
//! its own, and in one file that has all the locks: why there are 256.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use treering::storage::os::OsStorage;
use treering::storage::{LockKind, Storage, StorageFile};
use treering::{Claim, Claims, Options, Store};
use treering_benches::{Failure, Outcome};

const USAGE: &str = "\
usage: claims [--held N] [DIR]

  --held N   claims that are held meanwhile (30000)
  DIR        where a store is made, and removed at the end (the default folder for temporary files)";

/// Claims of which the median counts.
const ROUNDS: usize = 2001;

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    let (mut held, mut directory) = (30_000_usize, std::env::temp_dir());
    while let Some(argument) = given.next() {
        match (&*argument, given.size_hint().0) {
            ("--held", 1..) => match given.next().unwrap_or_default().parse() {
                Ok(count @ 1..=1_000_000) => held = count,
                _ => return wrong("--held wants a number from 1 to 1000000"),
            },
            (option, _) if option.starts_with('-') => return wrong(&format!("{option} is not known")),
            (path, _) => directory = PathBuf::from(path),
        }
    }
    treering_benches::finish("claims", run(held, &directory))
}

fn wrong(what: &str) -> ExitCode {
    eprintln!("claims: {what}\n\n{USAGE}");
    ExitCode::from(2)
}

/// The median of what the rounds say that they took.
fn median(mut round: impl FnMut(usize) -> Outcome<Duration>) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(ROUNDS);
    for number in 0..ROUNDS {
        times.push(round(number)?);
    }
    times.sort();
    Ok(times[ROUNDS / 2])
}

fn run(held: usize, directory: &std::path::Path) -> Outcome<()> {
    let folder = tempfile::tempdir_in(directory)?;
    Store::open(folder.path(), Options::new())?.close()?;
    let claims = || Claims::open(folder.path(), &Options::new());
    let (one, other) = (claims()?, claims()?);

    let one_stream = || median(|_| claim(&one, "a stream".to_owned()));
    let many_streams = || median(|number| claim(&one, format!("stream {number}")));
    let alone = (one_stream()?, many_streams()?);
    let start = Instant::now();
    let taken: Vec<Claim> =
        (0..held).map(|number| other.try_claim(&format!("held {number}"))).collect::<Result<_, _>>()?;
    let taking = start.elapsed();
    let beside = (one_stream()?, many_streams()?);
    let refused = median(|number| {
        let start = Instant::now();
        match other.try_claim(&format!("held {}", number % held)) {
            Err(_) => Ok(start.elapsed()),
            Ok(_) => Err("it was to be refused".into()),
        }
    })?;
    // Through a handle that has files open already, as a program that holds many claims has.
    let further = median(|number| claim(&other, format!("stream {number}")))?;
    let start = Instant::now();
    let refusal = one.try_claim("held 0").map(drop).err().map(|error| error.to_string());
    let told = start.elapsed();
    let start = Instant::now();
    drop(taken);
    let dropping = start.elapsed();

    let storage = OsStorage::open(folder.path())?;
    let file = storage.create("floor", 0)?;
    let floor = floor(&*file)?;
    let holder = storage.open("floor", treering::storage::Access::ReadWrite)?;
    for number in 0..held as u64 {
        // Apart, since the kernel joins neighbours.
        let _ = holder.try_lock_byte(scattered(number), LockKind::Exclusive)?;
    }
    let crowded = self::floor(&*file)?;

    let row = |what: &str, time: Duration| {
        let ratio = time.as_secs_f64() / floor.as_secs_f64();
        println!("{what:<58} {:>10.2} µs {ratio:>8.1}", time.as_secs_f64() * 1e6);
    };
    println!("{:<58} {:>13} {:>8}", format!("median of {ROUNDS}"), "time", "floor");
    row("floor: lock a byte of a file", floor);
    row(&format!("the same, {held} locks in that one file"), crowded);
    row("a claim, nothing held, one stream", alone.0);
    row("a claim, nothing held, many streams", alone.1);
    row(&format!("the same, {held} held by another, one stream"), beside.0);
    row(&format!("the same, {held} held by another, many streams"), beside.1);
    row(&format!("the same, {held} held through the same handle"), further);
    row("refused at once, held through the same handle", refused);
    row("refused once, held by another handle, who is named", told);
    row(&format!("each of {held} claims that are taken"), taking / held as u32);
    row(&format!("each of {held} claims that are dropped"), dropping / held as u32);
    if let Some(refusal) = refusal {
        println!("\n{refusal}");
    }
    Ok(())
}

/// How long a claim takes, which is let go of then.
fn claim(claims: &Claims, stream: String) -> Outcome<Duration> {
    let start = Instant::now();
    let claim = claims.try_claim(&stream)?;
    let took = start.elapsed();
    drop(claim);
    Ok(took)
}

/// Locking a byte of a file.
fn floor(file: &dyn StorageFile) -> Result<Duration, Failure> {
    median(|number| {
        let at = scattered(number as u64) + 1;
        let start = Instant::now();
        let is_taken = file.try_lock_byte(at, LockKind::Exclusive)?;
        let took = start.elapsed();
        file.unlock_byte(at)?;
        if is_taken { Ok(took) } else { Err("nobody else has it".into()) }
    })
}

/// A place in a file, far from those of other numbers.
fn scattered(number: u64) -> u64 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 9) & !1
}
