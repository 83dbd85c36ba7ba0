//! An encoder that knows no layout of its own: it follows a byte table of the pages, given the values of the fields.
//!
//! What it makes is compared with what the engine makes of the same values. Values are given in the order of the table;
//! a value that the table has no place for, or a field that no value was given for, fails.

use std::collections::VecDeque;

use treering::checksum::long_check;
use treering::format::wire::put_var;

use super::pages::{Field, table};

/// The value of a field.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A number, of whatever width the table says.
    Number(i128),
    /// Bytes, as they are.
    Bytes(Vec<u8>),
}

impl<T: Into<i128>> From<T> for Value {
    fn from(number: T) -> Value {
        Value::Number(number.into())
    }
}

/// Bytes as a value.
pub(super) fn raw(bytes: impl AsRef<[u8]>) -> Value {
    Value::Bytes(bytes.as_ref().to_vec())
}

struct Encoder<'v> {
    table: &'v str,
    values: VecDeque<&'v (&'v str, Value)>,
    out: Vec<u8>,
}

/// The bytes of a structure by its table. Constants, reserved bytes and checks of the form `xxh64(0, bytes [0, n))` come
/// from the table alone.
pub(super) fn encode(name: &str, values: &[(&str, Value)]) -> Vec<u8> {
    let mut encoder = Encoder { table: name, values: values.iter().collect(), out: Vec::new() };
    let fields = table(name).fields();
    let mut rest = &fields[..];
    while let Some(first) = rest.first() {
        let is_repeated = |field: &Field| field.value.contains("× ") || field.value.starts_with("behind each ");
        let count_of = |field: &Field| {
            let count = field.value.split_once("× ").map(|(_, count)| count);
            count.map(|count| count.split([';', ',']).next().unwrap_or(count).trim().to_owned())
        };
        if !is_repeated(first) {
            encoder.one(first);
            rest = &rest[1..];
            continue;
        }
        // Fields that are repeated equally often, or each behind the other, stand together.
        let more = rest[1..].iter().take_while(|field| {
            is_repeated(field) && (count_of(field).is_none() || count_of(field) == count_of(first))
        });
        let (group, behind) = rest.split_at(1 + more.count());
        while encoder.comes(&first.name) {
            for field in group {
                assert!(encoder.comes(&field.name), "{name}: {} is not given", field.name);
                encoder.put(field);
            }
        }
        rest = behind;
    }
    assert!(encoder.values.is_empty(), "{name} has no place for {:?}", encoder.values);
    encoder.out
}

impl Encoder<'_> {
    fn comes(&self, name: &str) -> bool {
        self.values.front().is_some_and(|(next, _)| *next == name)
    }

    fn one(&mut self, field: &Field) {
        let table = self.table;
        if let Some(offset) = field.offset {
            assert_eq!(offset, self.out.len(), "{table}: the offset of {}", field.name);
        }
        if self.comes(&field.name) {
            self.put(field);
        } else if field.kind == "reserved" {
            self.out.resize(self.out.len() + field.size.expect("reserved bytes have a size"), 0);
        } else if let Some(constant) = field.value.strip_prefix("= ") {
            let constant = constant.split([' ', ';']).next().unwrap_or(constant);
            match constant.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                Some(text) => self.bytes(field, text.as_bytes()),
                None => self.number(field, constant.parse().expect("a constant is a number or quoted")),
            }
        } else if let Some(upto) = field.value.strip_prefix("xxh64(0, bytes [0, ") {
            let upto: usize = upto.strip_suffix("))").expect("a range").parse().expect("its end");
            assert_eq!(upto, self.out.len(), "{table}: the check covers all before it");
            self.number(field, long_check(0, &self.out).into());
        } else {
            assert!(field.value.starts_with("if "), "{table}: {} is not given; next is {:?}", field.name, self.values);
        }
    }

    fn put(&mut self, field: &Field) {
        let (_, value) = self.values.pop_front().expect("it comes next");
        match value {
            Value::Number(number) => self.number(field, *number),
            Value::Bytes(bytes) => self.bytes(field, bytes),
        }
    }

    fn number(&mut self, field: &Field, number: i128) {
        let place = || format!("{}.{} = {number}", self.table, field.name);
        let unsigned = |width: usize| {
            assert_eq!(field.size, Some(width), "{}: width", place());
            assert!((0..1i128 << (8 * width)).contains(&number), "{}", place());
            number.to_le_bytes()[..width].to_vec()
        };
        let bytes = match field.kind.as_str() {
            "u8" => unsigned(1),
            "u16" => unsigned(2),
            "u32" => unsigned(4),
            "u64" => unsigned(8),
            "i64" => {
                assert_eq!(field.size, Some(8), "{}: width", place());
                i64::try_from(number).expect("fits").to_le_bytes().to_vec()
            }
            "var" => {
                assert_eq!(field.size, None, "{}: a var has no width", place());
                let mut out = Vec::new();
                put_var(&mut out, u64::try_from(number).expect("fits"));
                out
            }
            other => panic!("{}: {other} is no number", place()),
        };
        self.out.extend(bytes);
    }

    fn bytes(&mut self, field: &Field, bytes: &[u8]) {
        let is_number = matches!(field.kind.as_str(), "u8" | "u16" | "u32" | "u64" | "i64" | "var");
        assert!(!is_number, "{}.{} is a number", self.table, field.name);
        assert!(field.size.is_none_or(|size| size == bytes.len()), "{}.{}: size", self.table, field.name);
        self.out.extend_from_slice(bytes);
    }
}

/// The range of bytes that a field with a fixed place has.
pub(super) fn range(table_name: &str, field_name: &str) -> std::ops::Range<usize> {
    let fields = table(table_name).fields();
    let field = fields.iter().find(|field| field.name == field_name).unwrap_or_else(|| panic!("no {field_name}"));
    let offset = field.offset.expect("it has a fixed offset");
    offset..offset + field.size.expect("it has a fixed size")
}
