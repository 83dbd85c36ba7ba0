//! The machine-readable parts of the pages: tables behind `<!-- table: NAME -->`, examples behind `<!-- hex: NAME -->`.
//!
//! A part that is missing or that does not have the form which `format-spec/README.md` describes fails the test that asked.

use std::path::{Path, PathBuf};

/// The folder of the pages.
pub(super) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace").join("format-spec")
}

/// All pages as one text, in reading order.
fn text() -> String {
    let mut pages: Vec<PathBuf> = std::fs::read_dir(folder())
        .expect("the pages are there")
        .map(|entry| entry.expect("it was just listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    pages.sort();
    pages.iter().map(|page| std::fs::read_to_string(page).expect("a page is text")).collect()
}

/// The rows of a table by the names of its columns.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// One row of a byte table.
#[derive(Clone, Debug)]
pub(super) struct Field {
    /// `None`: directly behind the field before.
    pub(super) offset: Option<usize>,
    /// `None`: given by a length field.
    pub(super) size: Option<usize>,
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) value: String,
}

/// The table of this name.
pub(super) fn table(name: &str) -> Table {
    tables().into_iter().find(|table| table.name == name).unwrap_or_else(|| panic!("no page has a table {name}"))
}

/// Every table, in reading order.
pub(super) fn tables() -> Vec<Table> {
    let text = text();
    let marks = text.match_indices("\n<!-- table: ").map(|(at, mark)| &text[at + mark.len()..]);
    // The page that explains the notation shows a mark inside a line; real ones stand alone.
    marks
        .map(|rest| {
            let (name, rest) = rest.split_once(" -->\n").expect("a mark ends its line");
            let lines = rest.lines().skip_while(|line| line.starts_with("<!--"));
            let mut rows = lines.take_while(|line| line.starts_with('|')).map(cells);
            let columns = rows.next().unwrap_or_else(|| panic!("the table {name} does not follow its mark"));
            rows.next().expect("a rule stands under the names of the columns");
            let rows: Vec<Vec<String>> = rows.collect();
            assert!(!rows.is_empty() && rows.iter().all(|row| row.len() == columns.len()), "shape of {name}");
            Table { name: name.into(), columns, rows }
        })
        .collect()
}

fn cells(line: &str) -> Vec<String> {
    line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect()
}

impl Table {
    /// Whether it lays out bytes.
    pub(super) fn is_layout(&self) -> bool {
        self.columns == ["offset", "size", "field", "type", "value"]
    }

    /// The rows of a byte table.
    pub(super) fn fields(&self) -> Vec<Field> {
        assert!(self.is_layout(), "{} is no byte table", self.name);
        let number = |cell: &str, other: &str| {
            if cell == other { None } else { Some(cell.parse().expect("a number of bytes")) }
        };
        let rows = self.rows.iter().map(|row| Field {
            offset: number(&row[0], "+"),
            size: number(&row[1], "*"),
            name: row[2].clone(),
            kind: row[3].clone(),
            value: row[4].clone(),
        });
        rows.collect()
    }

    /// The names and values of a value table, in its order.
    pub(super) fn values(&self) -> Vec<(String, String)> {
        assert_eq!(self.columns, ["value", "name", "meaning"], "{}", self.name);
        self.rows.iter().map(|row| (row[1].clone(), row[0].clone())).collect()
    }
}

/// One line of a hex example that names a field, with the bytes up to the next such line.
#[derive(Clone, Debug)]
pub(super) struct HexField {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The text of the example of this name, without its fence.
pub(super) fn example(name: &str) -> String {
    let text = text();
    let (_, rest) = text.split_once(&format!("<!-- hex: {name} -->\n```text\n")).expect("a page has the example");
    rest.split_once("```\n").expect("an example ends").0.to_owned()
}

/// The fields of a hex dump.
pub(super) fn hex(name: &str) -> Vec<HexField> {
    let mut fields: Vec<HexField> = Vec::new();
    let mut at = 0;
    for line in example(name).lines().take_while(|line| !line.is_empty()) {
        assert_eq!(line[..6].trim().parse(), Ok(at), "the offset in {line:?}");
        let width = line.char_indices().nth(56).map_or(line.len(), |(end, _)| end);
        let (bytes, field) = (line[8..width].trim(), line[width..].trim());
        let bytes = match bytes.split_once(" × ") {
            Some((byte, times)) => vec![byte_of(byte); times.parse().expect("how often it is repeated")],
            None => bytes.split_whitespace().map(byte_of).collect(),
        };
        at += bytes.len();
        match (fields.last_mut(), field) {
            (Some(last), "") => last.bytes.extend(bytes),
            (_, field) => fields.push(HexField { name: field.into(), bytes }),
        }
    }
    assert!(!fields.is_empty(), "the example {name} is empty");
    fields
}

fn byte_of(digits: &str) -> u8 {
    u8::from_str_radix(digits, 16).expect("a byte in hex")
}

/// All bytes of a hex dump.
pub(super) fn bytes(name: &str) -> Vec<u8> {
    hex(name).into_iter().flat_map(|field| field.bytes).collect()
}
