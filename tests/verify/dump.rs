//! Dumps: stable, whole, and honest about what is bad.

use super::*;

fn dump(storage: &MemStorage, name: &str) -> String {
    let mut text = Vec::new();
    maintain::dump_on(storage, name, &mut text).unwrap();
    String::from_utf8(text).unwrap()
}

#[test]
fn the_dump_of_every_file_is_stable_and_mentions_each_frame() {
    let (storage, frames) = small_store();
    let report = verify(&storage);
    let mut met = 0;
    for name in names(&storage) {
        let text = dump(&storage, &name);
        assert_eq!(text, dump(&storage.deep_copy().unwrap(), &name), "{name}");
        assert!(!text.contains("BAD"), "{name}: {text}");
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("file: "));
        assert!(lines.all(|line| line[..10].bytes().all(|byte| byte.is_ascii_digit())), "{name}: {text}");
        met += text.lines().filter(|line| line.contains(" frame at position") && line.ends_with(": ok")).count();
    }
    // Each segment has an open frame besides.
    assert_eq!(met as u64, report.frames + report.segments);
    let text = dump(&storage, &segment(0));
    for position in &frames[..3] {
        assert!(text.contains(&format!("batch frame at position {position}, ")), "{text}");
    }
    for words in
        ["creates stream: 7 bytes \"session\"", "payload: \"hello\"", "void or unused", "type: 4 bytes \"user\""]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(dump(&storage, &segment(1)).contains("seal frame at position"));
    assert!(dump(&storage, &segment(0)).contains("index block frame at position"));
    assert!(
        dump(&storage, "identity").starts_with("file: identity, 128 bytes\n0000000000   magic: 8 bytes \"TREERING\"\n")
    );
    assert!(dump(&storage, "watermark").contains("slot 1"));
    let control = dump(&storage, "control");
    for words in
        ["file: control, 4096 bytes", "sync in flight, up to (0: none): 0", "durable, slot 0", "poisoned (0: no): 0"]
    {
        assert!(control.contains(words), "{words}: {control}");
    }
}

#[test]
fn a_dump_goes_on_behind_what_is_bad() {
    let (storage, frames) = small_store();
    let flip = |at: u64| {
        let file = storage.open(&segment(0), Access::ReadWrite).unwrap();
        let mut byte = [0];
        file.read_at(&mut byte, at).unwrap();
        file.write_at(&[byte[0] ^ 1], at).unwrap();
    };
    flip(frames[0] + 20);
    let text = dump(&storage, &segment(0));
    assert!(text.contains(&format!("frame at position {}: BAD", frames[0])), "{text}");
    assert!(text.contains("going on here: the index block"), "{text}");
    for position in &frames[1..3] {
        assert!(text.contains(&format!("batch frame at position {position}, ")), "{text}");
    }
    flip(frames[0] + 20);
    let (bytes, from) = (bytes_of(&storage, &segment(0)), frames[1] as usize);
    flip((from + bytes[from..].windows(5).position(|bytes| bytes == b"hello").unwrap()) as u64);
    let text = dump(&storage, &segment(0));
    let bad = text.lines().filter(|line| line.contains("BAD")).count();
    assert_eq!(bad, 2, "the frame and its event: {text}");
}

#[test]
fn a_token_and_what_is_no_file_of_a_store_are_told_apart() {
    use treering::format::token::Token;
    let folder = tempfile::tempdir().unwrap();
    let token = Token {
        store: treering::StoreId([1; 16]),
        incarnation: treering::Incarnation([2; 16]),
        epoch: treering::Epoch::default(),
        frame: treering::Position(8192),
        ordinal: 1,
        number: 2,
        frame_check: 3,
    };
    let path = folder.path().join("token");
    std::fs::write(&path, token.to_bytes()).unwrap();
    let mut text = Vec::new();
    maintain::dump(&path, &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("frame: 8192") && text.ends_with(" ok\n"), "{text}");
    std::fs::write(&path, "a letter").unwrap();
    let error = maintain::dump(&path, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert_eq!(maintain::dump(folder.path().join("none"), &mut Vec::new()).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!maintain::dump_bytes(b"", &mut Vec::new()).unwrap());
}
