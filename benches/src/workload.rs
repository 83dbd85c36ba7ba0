//! The events that are appended: 256 bytes of payload that no compression or page sharing makes smaller, one type.

/// Length of a payload, in bytes.
pub const PAYLOAD_BYTES: usize = 256;
/// Events in a batch, where events come in batches.
pub const BATCH_EVENTS: usize = 100;
/// Appends that are outstanding at once, where many wait together.
pub const OUTSTANDING: usize = 64;
/// The type of every event.
pub const EVENT_TYPE: &str = "note";

/// Different payloads, one after the other for ever, made before the clock starts.
#[derive(Debug)]
pub struct Payloads {
    all: Vec<[u8; PAYLOAD_BYTES]>,
}

impl Default for Payloads {
    /// As many as stay in a core's own cache.
    fn default() -> Payloads {
        const DIFFERENT: usize = 256;
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut draw = || {
            // xorshift64: enough to keep bytes from repeating.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        Payloads { all: (0..DIFFERENT).map(|_| std::array::from_fn(|_| draw())).collect() }
    }
}

impl Payloads {
    /// The payload of the event with this number.
    #[must_use]
    pub fn get(&self, number: u64) -> &[u8; PAYLOAD_BYTES] {
        &self.all[number as usize % self.all.len()]
    }
}

/// The stream with this number, where there are many.
#[must_use]
pub fn stream_name(number: usize) -> String {
    format!("session-{number:04}")
}

/// Numbers below `bound` in an order that no prefetcher follows, the same in every run.
pub fn scattered(bound: u64) -> impl FnMut() -> u64 {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % bound
    }
}
