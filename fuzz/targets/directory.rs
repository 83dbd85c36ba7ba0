//! See `directory` in the tests' support: what it does with any bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| treering_tests::bodies::directory(bytes));
