//! The table of streams: sections and places, what is elsewhere, what leaves and comes back.

use super::*;

fn placed(revision: u64, count: u32, frame: u64) -> Placed {
    Placed {
        stream: StreamId(100),
        first_revision: Revision(revision),
        count,
        frame: Position(frame),
        first_position: Position(frame),
    }
}

#[test]
fn sections_continue_their_stream_without_gap() {
    let mut table = StreamTable::default();
    assert!(!table.place(None, placed(0, 1, 100)), "not known yet");
    assert!(table.place(Some("a"), placed(0, 2, 100)));
    assert!(!table.place(Some("a"), placed(0, 2, 300)), "the name is taken");
    assert!(!table.place(None, placed(3, 1, 300)), "leaves a gap");
    assert!(!table.place(None, placed(1, 1, 300)), "was there");
    assert!(table.place(None, placed(2, 3, 300)));
    let stream = table.by_name("a").expect("is there");
    assert_eq!((stream.head, stream.head_position, stream.last_place), (Revision(4), Position(302), Position(300)));
}

#[test]
fn places_to_start_from_are_found_for_every_revision() {
    let mut table = StreamTable::default();
    assert!(table.place(Some("a"), placed(0, 1, 100)));
    for revision in 1..1000 {
        assert!(table.place(None, placed(revision, 1, 100 + revision * 8)));
    }
    let stream = table.by_name("a").expect("is there");
    for revision in 0..1000 {
        let behind = (stream.place_behind(Revision(revision)).0 - 100) / 8;
        assert!(behind >= revision && behind - revision <= u64::from(PLACE_EVERY), "{revision}: {behind}");
        let (first, _) = stream.place_before(Revision(revision)).expect("the first section is remembered");
        assert!(first.0 <= revision && revision - first.0 < u64::from(PLACE_EVERY));
    }
}

#[test]
fn places_are_forgotten_of_few_streams_at_a_time() {
    const MANY: u64 = 10;
    let mut table = StreamTable::on_top_of(MANY);
    // Every other stream has several places; half of all were elsewhere when the sections came.
    let of = |stream: u64, revision: u64| Placed {
        stream: StreamId(stream),
        frame: Position(1000 * revision + 8 * stream),
        ..placed(revision, 1, 0)
    };
    let sections = |stream: u64| if stream.is_multiple_of(2) { 200 } else { 32 };
    for stream in 0..2 * MANY {
        let name = (stream < MANY).then(|| format!("s{stream}"));
        let first = if stream < MANY { 0 } else { 1 };
        assert!(table.place(name.as_deref(), of(stream, first)));
        (first + 1..sections(stream)).for_each(|revision| assert!(table.place(None, of(stream, revision))));
    }
    assert_eq!(table.with_places(), MANY as usize, "of the others there is nothing to forget");
    let last_place = |table: &StreamTable, stream: u64| {
        let known = table.by_id(StreamId(stream)).or_else(|| table.continued.get(&StreamId(stream)));
        known.expect("is there").places.clone()
    };
    let places: Vec<_> = (0..2 * MANY).map(|stream| last_place(&table, stream)).collect();
    let border = Position(100_000);
    let forgotten = |table: &StreamTable| {
        (0..2 * MANY).filter(|stream| last_place(table, *stream).len() < places[*stream as usize].len()).count()
    };
    for count in 1..=MANY as usize {
        table.forget_places(border, 1);
        assert_eq!(forgotten(&table), count);
    }
    for stream in 0..2 * MANY {
        let all = &places[stream as usize];
        let kept = all.partition_point(|(_, place)| *place < border).saturating_sub(1);
        assert_eq!(*last_place(&table, stream), all[kept..]);
    }
    // They have several still; once all lie before the border none has.
    assert_eq!(table.with_places(), MANY as usize);
    table.forget_places(Position(1 << 40), usize::MAX);
    assert_eq!(table.with_places(), 0);
    (200..240).for_each(|revision| assert!(table.place(None, of(4, revision))));
    assert_eq!(table.with_places(), 1);
}

#[test]
fn what_came_since_is_held_against_what_was_elsewhere_once_that_is_asked_for() {
    let elsewhere = |head: u64| directory::Entry {
        stream: StreamId(100),
        name: "a".into(),
        first: Revision(0),
        head: Revision(head),
        head_position: Position(900),
        last_place: Position(900),
    };
    let mut table = StreamTable::on_top_of(1);
    assert!(table.place(None, placed(5, 2, 1000)), "what it continues is not asked");
    assert!(!table.place(None, placed(8, 1, 1100)), "leaves a gap");
    assert!(table.place(None, placed(7, 1, 1100)));
    assert!(table.by_id(StreamId(100)).is_none() && table.count() == 1 && table.in_memory() == 1);
    assert!(table.load(elsewhere(5)).is_none() && table.load(elsewhere(3)).is_none(), "it is not continued");
    assert_eq!(table.newest(elsewhere(4)).map(|stream| stream.head), Some(Revision(7)));
    assert_eq!(table.load(elsewhere(4)), Some(true));
    let stream = table.by_name("a").expect("is there");
    assert_eq!((stream.first, stream.head, stream.last_place), (Revision(0), Revision(7), Position(1100)));
    assert_eq!(stream.place_before(Revision(6)), Some((Revision(5), Position(1000))));
    assert!(table.place(None, placed(8, 1, 1200)) && table.count() == 1 && table.in_memory() == 1);
}

fn entry(head: u64, place: u64) -> directory::Entry {
    directory::Entry {
        stream: StreamId(100),
        name: "a".into(),
        first: Revision(0),
        head: Revision(head),
        head_position: Position(place),
        last_place: Position(place),
    }
}

#[test]
fn a_stream_leaves_only_as_it_was_looked_at_and_comes_back_as_it_is_elsewhere() {
    let mut table = StreamTable::default();
    let other = Placed { stream: StreamId(200), ..placed(0, 1, 200) };
    assert!(table.place(Some("a"), placed(0, 1, 100)) && table.place(Some("b"), other));
    let was = table.by_name("a").expect("is there").clone();
    assert!(was.is_as_in(&entry(0, 100)));
    for other in [entry(1, 100), entry(0, 108), directory::Entry { name: "b".into(), ..entry(0, 100) }] {
        assert!(!was.is_as_in(&other), "{other:?}");
    }
    assert!(table.place(None, placed(1, 1, 300)));
    table.let_go(&was);
    let is = table.by_name("a").expect("it went on meanwhile, and stays").clone();
    table.keep_all(true);
    assert!(!table.move_base());
    table.let_go(&is);
    assert_eq!(table.in_memory(), 2, "all are kept");
    table.keep_all(false);
    assert!(table.move_base());
    table.let_go(&is);
    table.let_go(&is);
    table.shrink();
    assert!(table.by_name("a").is_none() && table.by_id(StreamId(100)).is_none() && table.has_others());
    assert_eq!((table.count(), table.in_memory()), (2, 1));
    let left = table.by_name("b").expect("stays").slot;
    assert_eq!(
        table
            .extend(left, Placed { frame: Position(400), ..Placed { first_revision: Revision(1), ..other } })
            .map(|it| it.head),
        Some(Revision(1))
    );
    assert_eq!(table.load(entry(1, 300)), Some(true));
    assert_eq!((table.by_name("a").map(|it| it.head), table.count()), (Some(Revision(1)), 2));
}

#[test]
fn a_later_directory_may_know_some_of_what_came_since() {
    let mut table = StreamTable::on_top_of(1);
    assert!(table.place(None, placed(5, 2, 1000)) && table.place(None, placed(7, 1, 1100)));
    assert!(table.newest(entry(6, 1000)).is_none(), "not the one that was there when it began");
    assert!(table.move_base());
    for (head, place) in [(4, 900), (6, 1000), (7, 1100)] {
        let newest = table.newest(entry(head, place)).expect("it is continued");
        assert_eq!((newest.head, newest.last_place, &*newest.name), (Revision(7), Position(1100), "a"));
    }
    assert!(table.newest(entry(3, 900)).is_none() && table.newest(entry(8, 1200)).is_none());
    let since = table.newest_of(StreamId(100)).expect("is there").clone();
    assert!(since.is_as_in(&entry(7, 1100)) && !since.is_as_in(&entry(6, 1000)));
    table.let_go(&since);
    assert_eq!((table.count(), table.in_memory()), (1, 0));
}
