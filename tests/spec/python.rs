//! The reader in `format-spec/reader`, which was written from the pages alone, judges what the engine writes.
