//! `demo` and `bench`: they run without a terminal, keep what they promise, and leave what they should.

use crate::support::{Place, Ran, treering};

#[test]
fn the_demo_loses_nothing_and_keeps_its_store() {
    let place = Place::new();
    let told = place.run("demo", &["--json", "--step-millis", "20"]).json();
    let step = |name: &str| told.iter().filter(|object| object["step"] == name).collect::<Vec<_>>();
    assert_eq!((step("worker_started").len(), step("worker_killed").len(), step("event").len()), (2, 1, 39));
    let revisions: Vec<_> = step("event").iter().map(|event| event["revision"].as_u64().unwrap()).collect();
    assert!(revisions.iter().copied().eq(0..39), "the follower saw each event once and in order: {revisions:?}");
    let killed = step("worker_killed")[0]["acknowledged"].as_u64().unwrap();
    let found = step("worker_reads_log")[1]["events"].as_u64().unwrap();
    assert!(found >= killed && found < 39, "{killed} acknowledged, {found} found");
    assert_eq!(step("late_worker_refused")[0]["actual"], 38);
    let branched = &step("branched")[0];
    assert_eq!((&branched["shared"], &branched["added"]), (&20.into(), &serde_json::json!([1, 1])));
    assert_eq!((&branched["context_events"], &branched["raw_events"]), (&3.into(), &39.into()));
    let pool = &step("pool_ends")[0];
    assert_eq!((&pool["steps"], &pool["agents"], &pool["workers"]), (&24.into(), &6.into(), &3.into()));
    assert!(pool["killed"].as_u64().unwrap() > 0, "{pool}");
    let end = told.last().unwrap();
    assert_eq!((&end["step"], &end["lost"], &end["clean"]), (&"end".into(), &0.into(), &true.into()));
    assert_eq!(place.events(), end["events"].as_u64().unwrap());
    let session = "6b30bc6d-525e-427f-a53d-9ec562ab9f18";
    let sample = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("samples/claude-code-session.jsonl");
    assert!(place.raw(session) == std::fs::read(sample).unwrap());
    place.is_clean();
    place.run("demo", &[]).failed(1, "is not empty");
}

#[test]
fn the_demo_tells_its_story_to_people() {
    let place = Place::new();
    let text = place.run("demo", &["--step-millis", "5"]).text();
    for words in ["SIGKILL", "worker 2 starts", "0 of them lost", "Look around", "treering"] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
}

#[test]
fn the_bench_measures_every_kind_beside_its_floor_and_cleans_up() {
    let place = Place::new();
    let folder = place.path("disk");
    std::fs::create_dir(&folder).unwrap();
    let ran: Ran = treering(["bench"]).arg(&folder).args(["--rounds", "1", "--json"]).output().unwrap().into();
    let rows = ran.json();
    let kinds: Vec<_> =
        rows.iter().map(|row| (row["level"].as_str().unwrap(), row["batch"].as_u64().unwrap())).collect();
    assert_eq!(kinds, [("synced", 1), ("synced", 100), ("written", 1), ("written", 100)]);
    for row in &rows {
        for key in ["events_per_second", "floor_events_per_second", "of_floor", "p50_nanos", "floor_p50_nanos"] {
            assert!(row[key].as_f64().unwrap() > 0.0, "{key} in {row}");
        }
    }
    assert_eq!(folder.read_dir().unwrap().count(), 0);
    let gone: Ran = treering(["bench"]).arg(place.path("gone")).output().unwrap().into();
    gone.failed(1, "cannot make the folder");
}
