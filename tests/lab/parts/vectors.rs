//! The vectors of the format, read and gone on with: what the engine makes of files that the pages, and not the engine, made.

use treering_tests::lab::{Part, Share};
use treering_tests::vectors::{all, differences, go_on};

pub(crate) struct Vectors;

impl Part for Vectors {
    fn name(&self) -> &'static str {
        "vectors"
    }

    fn about(&self) -> &'static str {
        "files made from the pages of the format, read and gone on with"
    }

    fn weight(&self) -> u32 {
        1
    }

    fn run(&self, share: &Share) {
        for (name, vector) in all() {
            share.say(&*name);
            share.count("vectors", 1);
            for what in differences(&vector).into_iter().chain(go_on(&name, &vector)) {
                share.fail(format!("P19: {name}: {what}"), &*name);
            }
        }
    }

    fn replay(&self, line: &str) -> Result<(), String> {
        let (name, vector) = all().into_iter().find(|(name, _)| name == line).ok_or("there is no such vector")?;
        let wrong: Vec<String> = differences(&vector).into_iter().chain(go_on(&name, &vector)).collect();
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
    }
}
