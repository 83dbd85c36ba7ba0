//! Types of events as values that many events share.
//!
//! A type is mostly one of a few. Each has its place among a fixed number of them by its bytes; of two that share a place the
//! newer stays, and the other is made anew when it is asked for.

use std::sync::Arc;

use crate::sync::Mutex;

/// Places for types.
const PLACES: usize = 64;

/// The types that were asked for last.
#[derive(Debug)]
pub(crate) struct TypeNames {
    places: [Mutex<Option<Arc<str>>>; PLACES],
}

impl Default for TypeNames {
    fn default() -> TypeNames {
        TypeNames { places: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl TypeNames {
    /// The type of this name.
    pub(crate) fn shared(&self, name: &str) -> Arc<str> {
        const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
        let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(ODD);
        let mixed = name.as_bytes().iter().fold(name.len() as u64, fold);
        let mut place = self.places[(mixed >> 58) as usize % PLACES].lock();
        match &*place {
            Some(known) if **known == *name => Arc::clone(known),
            _ => {
                let shared: Arc<str> = name.into();
                *place = Some(Arc::clone(&shared));
                shared
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_shared_and_never_taken_for_another() {
        let names = TypeNames::default();
        for number in 0..500 {
            let name = format!("type-{number}");
            let one = names.shared(&name);
            assert_eq!(&*one, name);
            assert!(Arc::ptr_eq(&one, &names.shared(&name)));
        }
        assert_eq!(&*names.shared(""), "");
    }
}
