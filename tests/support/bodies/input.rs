//! Bytes as choices: what a fuzzer changes one byte of should change one choice.

/// What is left of the bytes. Behind their end all choices are 0.
#[derive(Debug)]
pub(super) struct Input<'b>(pub(super) &'b [u8]);

impl Input<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        let choice = match end {
            0..=256 => usize::from(self.byte()),
            257..=65_536 => usize::from(self.byte()) << 8 | usize::from(self.byte()),
            _ => (0..4).fold(0, |number, _| number << 8 | usize::from(self.byte())),
        };
        choice % end.max(1)
    }

    /// One in two.
    pub(super) fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A number of any size: how many bytes it takes is a choice too.
    pub(super) fn number(&mut self) -> u64 {
        let bytes = self.below(9);
        (0..bytes).fold(0, |number, _| number << 8 | u64::from(self.byte()))
    }

    /// Up to so many bytes as they are.
    pub(super) fn take(&mut self, most: usize) -> Vec<u8> {
        let len = self.below(most + 1).min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken.to_vec()
    }
}
