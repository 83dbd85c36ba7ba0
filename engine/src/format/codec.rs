//! Compression of section bodies: one zstd frame, decoded into no more than was promised.

use super::Fault;
use super::batch::CODEC_ZSTD;

/// A body is at most so many times as long as it is stored: what shrinks further is stored as it is, so that a small file never
/// asks for much memory.
pub const RATIO_MAX: u64 = 1024;

/// The largest window that a compressed body may want, as a power of two of bytes. Every decoder of the format has that much;
/// one that believed the body would set aside what a few hostile bytes say.
#[cfg(feature = "zstd")]
const WINDOW_LOG_MAX: u32 = 23;

/// Bodies up to this length are decoded in a context that the thread keeps: making one costs as much as decoding 20 KiB. A
/// longer one would leave it with a larger window.
#[cfg(feature = "zstd")]
const CONTEXT_RAW_BYTES_MAX: u64 = 128 << 10;

#[cfg(feature = "zstd")]
thread_local! {
    static CONTEXT: std::cell::RefCell<zstd::zstd_safe::DCtx<'static>> =
        std::cell::RefCell::new(zstd::zstd_safe::DCtx::create());
}

/// Whether this build can decode the codec.
#[must_use]
pub fn is_known(codec: u8) -> bool {
    cfg!(feature = "zstd") && codec == CODEC_ZSTD
}

/// `raw` as one zstd frame, or `None` where that would not be smaller or this build cannot.
#[must_use]
pub fn compress(raw: &[u8], level: i32) -> Option<Vec<u8>> {
    #[cfg(feature = "zstd")]
    {
        let fits = |stored: &Vec<u8>| stored.len() < raw.len() && raw.len() as u64 <= stored.len() as u64 * RATIO_MAX;
        zstd::bulk::compress(raw, level).ok().filter(fits)
    }
    #[cfg(not(feature = "zstd"))]
    {
        let _ = (raw, level);
        None
    }
}

/// The bytes that were compressed to `stored`; exactly `raw_len` of them, or a fault.
///
/// Memory grows with what is decoded, never ahead of it, and stops one byte behind `raw_len`.
pub fn decompress(codec: u8, stored: &[u8], raw_len: u64) -> Result<Vec<u8>, Fault> {
    if !is_known(codec) {
        return Err(Fault::Unsupported(format!("codec {codec}")));
    }
    #[cfg(feature = "zstd")]
    {
        use std::io::Read;

        use zstd::stream::read::Decoder;
        use zstd::zstd_safe::{DParameter, ResetDirective};

        let bad = |error: std::io::Error| Fault::bad(format!("a compressed body cannot be decoded: {error}"));
        let mut raw = Vec::with_capacity((raw_len as usize).min(stored.len().saturating_mul(8)));
        if raw_len <= CONTEXT_RAW_BYTES_MAX {
            CONTEXT.with_borrow_mut(|context| {
                let _ = context.reset(ResetDirective::SessionOnly); // what an earlier body left that could not be decoded
                let _ = context.set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX)); // a number that zstd knows
                let decoder = Decoder::with_context(stored, context).single_frame();
                decoder.take(raw_len + 1).read_to_end(&mut raw).map_err(bad)
            })?;
        } else {
            let mut decoder = Decoder::with_buffer(stored).map_err(bad)?.single_frame();
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(bad)?;
            decoder.take(raw_len + 1).read_to_end(&mut raw).map_err(bad)?;
        }
        if raw.len() as u64 != raw_len {
            return Err(Fault::bad(format!("a compressed body holds {} bytes, {raw_len} were said", raw.len())));
        }
        Ok(raw)
    }
    #[cfg(not(feature = "zstd"))]
    {
        let _ = (stored, raw_len);
        Err(Fault::Unsupported(format!("codec {codec}")))
    }
}

#[cfg(all(test, feature = "zstd"))]
mod tests {
    use super::*;

    #[test]
    fn p07_a_bomb_decodes_to_what_was_said_and_no_more() {
        let raw = vec![0u8; 16 << 20];
        assert_eq!(compress(&raw, 3), None, "it would shrink further than any reader believes");
        let stored = zstd::bulk::compress(&raw, 3).expect("it can be compressed");
        assert_eq!(decompress(CODEC_ZSTD, &stored, raw.len() as u64).as_deref(), Ok(&raw[..]));
        for said in [0, 1, 1000, raw.len() as u64 - 1, raw.len() as u64 + 1] {
            assert!(matches!(decompress(CODEC_ZSTD, &stored, said), Err(Fault::Bad(_))), "{said}");
        }
        for cut in [0, 1, 4, stored.len() - 1] {
            assert!(decompress(CODEC_ZSTD, &stored[..cut], raw.len() as u64).is_err());
        }
        assert!(matches!(decompress(9, &stored, 1), Err(Fault::Unsupported(_))));
    }

    /// A frame header that says how large the window is, and a block of one byte that is repeated.
    #[test]
    fn p07_a_few_bytes_that_want_a_large_window_are_refused() {
        let with_window = |log: u8| [0x28, 0xB5, 0x2F, 0xFD, 0, (log - 10) << 3, 0x43, 0, 0, 7];
        assert_eq!(decompress(CODEC_ZSTD, &with_window(23), 8).as_deref(), Ok(&[7; 8][..]));
        for log in 24..=41 {
            for said in [8, CONTEXT_RAW_BYTES_MAX + 1] {
                assert!(matches!(decompress(CODEC_ZSTD, &with_window(log), said), Err(Fault::Bad(_))), "{log} {said}");
            }
        }
    }

    #[test]
    fn a_body_that_cannot_be_decoded_leaves_nothing_behind_for_the_next() {
        let raw: Vec<u8> = (0..60_000u32).flat_map(|number| (number / 7).to_le_bytes()).take(100_000).collect();
        let stored = compress(&raw, 3).expect("shrinks");
        for cut in (0..stored.len()).step_by(97) {
            assert!(decompress(CODEC_ZSTD, &stored[..cut], raw.len() as u64).is_err());
            assert_eq!(decompress(CODEC_ZSTD, &stored, raw.len() as u64).as_deref(), Ok(&raw[..]));
        }
    }

    #[test]
    fn what_does_not_shrink_stays() {
        assert_eq!(compress(b"a", 3), None);
    }
}
