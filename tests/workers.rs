//! A pool of worker processes, killed at random: what the example does, looked at from outside by other code.

use std::path::Path;
use std::process::{Command, Stdio};

use treering::{Options, ReadOptions, Store, Visibility, maintain};
use treering_tests::store::everything;

#[allow(dead_code, unreachable_pub, clippy::print_stdout)]
#[path = "../engine/examples/workers.rs"]
mod example;

/// Set for a process that works until there is nothing to do: the store, the world and the steps of an agent.
const WORKER: &str = "TREERING_POOL_WORKER";

/// Not a test of its own. Does nothing where it is run as a test.
#[test]
fn worker() {
    let Some(given) = std::env::var_os(WORKER) else { return };
    let given = given.into_string().unwrap();
    let [store, world, steps] = given.split('\n').collect::<Vec<_>>()[..] else { panic!("{given}") };
    example::work(Path::new(store), Path::new(world), steps.parse().unwrap()).unwrap();
}

/// [FRM-3] The chain holds through all of it, which verify looks at.
#[test]
fn p14_of_workers_that_are_killed_at_random_every_step_is_taken_once() {
    const WORKERS: usize = 4;
    const AGENTS: u64 = 8;
    const STEPS: u64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let (store, world) = (folder.path().join("s"), folder.path().join("world"));
    std::fs::create_dir(&world).unwrap();
    example::begin(&store, AGENTS).unwrap();
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "workers::worker", "--nocapture", "--test-threads=1"])
            .env(WORKER, format!("{}\n{}\n{STEPS}", store.display(), world.display()))
            .stdout(Stdio::null())
            .spawn()
    };
    let kills = example::keep_killing(&store, WORKERS, start).unwrap();
    assert!(kills > 0, "none was killed");

    let read = Store::open_read_only(&store, Options::new()).unwrap();
    let events = everything(&read);
    assert_eq!(events.len() as u64, AGENTS * STEPS * 3, "nothing is there twice, and nothing is missing");
    let mut places = std::collections::BTreeMap::new();
    for event in &events {
        let place: &mut u64 = places.entry(event.stream.to_string()).or_default();
        let (step, kind) = (*place / 3, *place % 3);
        assert_eq!(event.event_type.to_string(), ["step.asked", "effect.intended", "step.done"][kind as usize]);
        assert_eq!(*event.payload, *step.to_string().as_bytes(), "{}", event.stream);
        assert_eq!(event.id.as_deref(), Some(&*step.to_string()));
        *place += 1;
    }
    assert_eq!(places.len() as u64, AGENTS);
    assert!(places.values().all(|place| *place == STEPS * 3));
    let effects = std::fs::read_dir(&world).unwrap().count() as u64;
    assert_eq!(effects, AGENTS * STEPS, "what was said to be done was done, and nothing else");
    for stream in places.keys() {
        let options = ReadOptions::new().visibility(Visibility::Committed);
        let open = read.open_intents(stream, &["effect.intended"], &["step.done"], options).unwrap();
        assert!(open.is_empty(), "{stream}");
        drop(read.event(stream, treering::Revision(0), Visibility::Durable).unwrap().expect("all of it is durable"));
    }
    let report = maintain::verify(&store, &mut ()).unwrap();
    assert!(report.is_clean() && report.events == AGENTS * STEPS * 3, "{:#?}", report.damage);
    println!("{kills} workers were killed");
}
