//! What it costs to share a store: `cargo run --release -p treering-benches --bin shared [written|synced|wake|opening …]`; all of
//! it, where none is named.
//!
//! Each row is the median of five runs, each on a store of its own below the target folder. Processes are this very program,
//! started again. Events have 256 bytes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use treering::{Batch, Durability, Expected, NewEvent, Options, Store, SubscribeOptions, Visibility};

const PAYLOAD: [u8; 256] = [7; 256];
const RUNS: usize = 5;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn options(exclusive: bool) -> Options {
    Options::new().exclusive(exclusive).mapped_writes(false)
}

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["append", store, stream, level] => append_child(store, stream, level),
        ["pong", store] => pong_child(store),
        ["echo"] => echo_child(),
        ref only => report(only),
    }
}

fn report(only: &[&str]) -> Outcome<()> {
    type Row = (&'static str, fn() -> Outcome<()>);
    const ROWS: [Row; 4] = [("written", written), ("synced", synced), ("wake", wake_up), ("opening", opening)];
    if let Some(other) = only.iter().find(|name| ROWS.iter().all(|row| row.0 != **name)) {
        return Err(format!("there is no {other}: name some of written, synced, wake, opening").into());
    }
    ROWS.into_iter().filter(|row| only.is_empty() || only.contains(&row.0)).try_for_each(|row| row.1())
}

fn written() -> Outcome<()> {
    let alone = median(|| Ok(rate(&mut [worker("0", "written")?], Duration::from_millis(800))?.iter().sum()))?;
    println!("Written, shared, one process            {alone:>9.0} events/s");
    let exclusive = median(exclusive_rate)?;
    println!("Written, exclusive by positioned writes {exclusive:>9.0} events/s");
    let mut least = f64::MAX;
    let four = median(|| {
        let rates = rate(&mut workers(4, "written")?, Duration::from_millis(1500))?;
        least = least.min(rates.iter().copied().fold(f64::MAX, f64::min) / rates.iter().sum::<f64>());
        Ok(rates.iter().sum())
    })?;
    println!(
        "Written, shared, four processes in sum  {four:>9.0} events/s, the slowest had {:.0} % of it",
        100.0 * least
    );
    Ok(())
}

fn synced() -> Outcome<()> {
    let (mut threads, mut processes) = (Vec::new(), Vec::new());
    // By turns, since the disk has its moods.
    for _ in 0..RUNS {
        threads.push(synced_threads(8)?);
        processes.push(rate(&mut workers(8, "synced")?, Duration::from_millis(1500))?.iter().sum::<f64>());
    }
    let mut ratios: Vec<f64> = processes.iter().zip(&threads).map(|(processes, threads)| processes / threads).collect();
    let [threads, processes, ratio] = [&mut threads, &mut processes, &mut ratios].map(|values| {
        values.sort_by(f64::total_cmp);
        values[RUNS / 2]
    });
    println!("Synced, eight threads of one process    {threads:>9.0} events/s");
    println!("Synced, eight processes in sum          {processes:>9.0} events/s, {ratio:.2} of that");
    Ok(())
}

fn median(mut run: impl FnMut() -> Outcome<f64>) -> Outcome<f64> {
    let mut values = (0..RUNS).map(|_| run()).collect::<Outcome<Vec<f64>>>()?;
    values.sort_by(f64::total_cmp);
    Ok(values[RUNS / 2])
}

/// A fresh folder on the disk.
fn folder() -> Outcome<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/shared");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn start(arguments: &[&str]) -> Outcome<Child> {
    Ok(Command::new(std::env::current_exe()?).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?)
}

fn worker(stream: &str, level: &str) -> Outcome<Child> {
    start(&["append", folder()?.to_str().ok_or("a path")?, stream, level])
}

fn workers(count: usize, level: &str) -> Outcome<Vec<Child>> {
    let folder = folder()?;
    let store = folder.to_str().ok_or("a path")?;
    (0..count).map(|number| start(&["append", store, &number.to_string(), level])).collect()
}

/// Has them work for a while, all at once; what each did in a second.
fn rate(workers: &mut [Child], time: Duration) -> Outcome<Vec<f64>> {
    let mut lines = Vec::new();
    for worker in workers.iter_mut() {
        let mut line = BufReader::new(worker.stdout.take().ok_or("no output")?);
        let mut ready = String::new();
        let _ = line.read_line(&mut ready)?;
        lines.push(line);
    }
    for worker in workers.iter_mut() {
        writeln!(worker.stdin.as_mut().ok_or("no input")?, "go {}", time.as_millis())?;
    }
    let mut rates = Vec::new();
    for (line, worker) in lines.iter_mut().zip(workers) {
        let mut done = String::new();
        let _ = line.read_line(&mut done)?;
        rates.push(done.trim().parse::<f64>()?);
        let _ = worker.wait()?;
    }
    Ok(rates)
}

fn append_child(store: &str, stream: &str, level: &str) -> Outcome<()> {
    let store = Store::open(store, options(false))?;
    let level = if level == "synced" { Durability::Synced } else { Durability::Written };
    let events = [NewEvent::new("t", &PAYLOAD)];
    let batch = || Batch::to(stream, Expected::Any, &events).durability(level);
    let _ = store.append(&batch())?;
    println!("ready");
    let mut go = String::new();
    let _ = std::io::stdin().read_line(&mut go)?;
    let time = Duration::from_millis(go.trim().trim_start_matches("go ").parse()?);
    let (begun, mut count) = (Instant::now(), 0u64);
    while begun.elapsed() < time {
        for _ in 0..if level == Durability::Synced { 1 } else { 32 } {
            let _ = store.append(&batch())?;
            count += 1;
        }
    }
    println!("{}", count as f64 / begun.elapsed().as_secs_f64());
    Ok(())
}

fn exclusive_rate() -> Outcome<f64> {
    let store = Store::open(folder()?, options(true))?;
    let events = [NewEvent::new("t", &PAYLOAD)];
    let (begun, mut count) = (Instant::now(), 0u64);
    while begun.elapsed() < Duration::from_millis(800) {
        for _ in 0..32 {
            let _ = store.append(&Batch::to("0", Expected::Any, &events).durability(Durability::Written))?;
            count += 1;
        }
    }
    Ok(count as f64 / begun.elapsed().as_secs_f64())
}

fn synced_threads(threads: usize) -> Outcome<f64> {
    let store = Store::open(folder()?, options(true))?;
    let begun = Instant::now();
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|number| {
                let store = &store;
                scope.spawn(move || {
                    let (name, events) = (number.to_string(), [NewEvent::new("t", &PAYLOAD)]);
                    let mut count = 0;
                    while begun.elapsed() < Duration::from_millis(1500) {
                        let appended = store.append(&Batch::to(&name, Expected::Any, &events));
                        count += u64::from(appended.is_ok());
                    }
                    count
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(0)).collect()
    });
    Ok(counts.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64())
}

/// Follows another process and answers each event by one of its own.
fn pong_child(store: &str) -> Outcome<()> {
    let store = Store::open(store, options(false))?;
    let mut ping = store.subscribe(SubscribeOptions::stream("ping").visibility(Visibility::Committed))?;
    println!("ready");
    let events = [NewEvent::new("t", b"pong")];
    while let Ok(Some(event)) = ping.next_timeout(Duration::from_secs(3)) {
        if event.payload.is_empty() {
            break;
        }
        let _ = store.append(&Batch::to("pong", Expected::Any, &events).durability(Durability::Written))?;
    }
    Ok(())
}

/// Answers each byte by one.
fn echo_child() -> Outcome<()> {
    let (mut from, mut to, mut byte) = (std::io::stdin().lock(), std::io::stdout().lock(), [0]);
    while from.read_exact(&mut byte).is_ok() {
        to.write_all(&byte)?;
        to.flush()?;
    }
    Ok(())
}

/// What the system needs to wake another process, which has nothing else to do then: half the way of a byte there and back
/// through pipes, in µs.
fn bare_wake_up() -> Outcome<f64> {
    let mut child = start(&["echo"])?;
    let (mut to, mut from) = (child.stdin.take().ok_or("no input")?, child.stdout.take().ok_or("no output")?);
    let mut times = Vec::new();
    for _ in 0..3000 {
        std::thread::sleep(Duration::from_micros(200));
        let begun = Instant::now();
        to.write_all(&[1])?;
        from.read_exact(&mut [0])?;
        times.push(begun.elapsed() / 2);
    }
    drop(to);
    let _ = child.wait()?;
    times.sort();
    Ok(times[times.len() / 2].as_secs_f64() * 1e6)
}

/// Half the way there and back: an append that wakes a follower in another process.
fn wake_up() -> Outcome<()> {
    let bare = bare_wake_up()?;
    let folder = folder()?;
    let mut child = start(&["pong", folder.to_str().ok_or("a path")?])?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut ready = String::new();
    let _ = lines.read_line(&mut ready)?;
    let store = Store::open(&folder, options(false))?;
    let mut pong = store.subscribe(SubscribeOptions::stream("pong").visibility(Visibility::Committed))?;
    let put = |payload: &[u8]| {
        store.append(&Batch::to("ping", Expected::Any, &[NewEvent::new("t", payload)]).durability(Durability::Written))
    };
    let mut times = Vec::new();
    for _ in 0..3000 {
        std::thread::sleep(Duration::from_micros(200));
        let begun = Instant::now();
        let _ = put(b"ping")?;
        let _ = pong.next_timeout(Duration::from_secs(3))?.ok_or("no answer")?;
        times.push(begun.elapsed() / 2);
    }
    let _ = put(b"")?;
    let _ = child.wait()?;
    times.sort();
    let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "wake-up of a follower in another process p50 {:.1} µs, p99 {:.1} µs; a byte through a pipe {bare:.1} µs",
        at(0.5),
        at(0.99)
    );
    Ok(())
}

/// Opening beside a process that appends.
fn opening() -> Outcome<()> {
    let folder = folder()?;
    let mut child = start(&["append", folder.to_str().ok_or("a path")?, "a", "written"])?;
    let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut ready = String::new();
    let _ = lines.read_line(&mut ready)?;
    writeln!(child.stdin.as_mut().ok_or("no input")?, "go 2000")?;
    let mut times = Vec::new();
    for _ in 0..30 {
        std::thread::sleep(Duration::from_millis(40));
        let begun = Instant::now();
        let store = Store::open(&folder, options(false))?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        drop(store);
    }
    let _ = child.wait()?;
    times.sort_by(f64::total_cmp);
    println!("opening beside a process that appends p50 {:.2} ms, most {:.2} ms", times[15], times[29]);
    Ok(())
}
