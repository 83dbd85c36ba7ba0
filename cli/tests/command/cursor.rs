//! Cursors: where consumers stand, as shown and moved from the command line.

use crate::support::Place;

#[test]
fn a_cursor_is_shown_moved_and_expected() {
    let place = Place::new();
    place.feed("append", &["s"], b"one\ntwo\nthree\n").ok();
    assert!(place.run("cursor", &["--json"]).json().is_empty());
    place.run("cursor", &["indexer"]).failed(1, "no cursor indexer");
    let events = place.run("cat", &["s", "--json"]).json();
    let token = |index: usize| events[index]["token"].as_str().unwrap();
    let set = place.last_json("cursor", &["indexer", "--set", token(0), "--expect", "none", "--json"]);
    assert_eq!((&set["cursor"], &set["token"], &set["lag_events"]), (&"indexer".into(), &token(0).into(), &2.into()));
    place.run("cursor", &["indexer", "--set", token(1), "--expect", "none"]).failed(3, "conflict");
    place.run("cursor", &["indexer", "--set", token(1), "--expect", "0"]).ok();
    let place_told = place.last_json("cursor", &["indexer", "--json"]);
    assert_eq!((&place_told["token"], &place_told["revision"]), (&token(1).into(), &1.into()));
    let rest = place.run("tail", &["--after", token(1), "--json"]).json();
    assert_eq!(rest.len(), 1, "who goes on there meets no place of a cursor");
    place.run("cursor", &["other", "--set", token(2)]).ok();
    let all = place.run("cursor", &["--json"]).json();
    assert_eq!(all.len(), 2);
    assert!(place.run("cursor", &[]).text().contains("indexer"));
    // Set back on purpose.
    place.run("cursor", &["indexer", "--set", token(0)]).ok();
    assert_eq!(place.last_json("cursor", &["indexer", "--json"])["token"], token(0));
    place.run("cursor", &["indexer", "--set", "nonsense"]).failed(2, "token");
    assert_eq!(place.run("cat", &["--json"]).json().len(), 3, "who reads the log does not meet them");
    place.is_clean();
}

#[test]
fn a_token_of_another_store_moves_nothing() {
    let (one, other) = (Place::new(), Place::new());
    one.feed("append", &["s"], b"one\n").ok();
    other.feed("append", &["s"], b"one\n").ok();
    let token = other.last_json("cat", &["s", "--json"])["token"].as_str().unwrap().to_owned();
    one.run("cursor", &["c", "--set", &token]).failed(1, "store");
    assert!(one.run("cursor", &["--json"]).json().is_empty());
}
