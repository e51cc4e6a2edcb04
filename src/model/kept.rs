//! Tensors that depend on sizes only: indices, masks, coordinates. In: what is asked for, by name and
//! sizes, and how it is made on the host. Out: the tensor on its device, made there once and kept for
//! later batches, within bounds. Never here: what depends on an image or on weights.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::tensor::backend::{Backend, DeviceId, DeviceOps};
use burn::tensor::{BasicOps, Tensor};

/// Bytes of all kept tensors together; images of one size need a tenth of it.
const MOST_BYTES: usize = 64 << 20;

static KEPT: Mutex<Option<Kept<Key>>> = Mutex::new(None);

/// How often [`forget`] was called.
static GENERATION: AtomicU64 = AtomicU64::new(0);

/// A tensor: two of equal keys have equal numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    /// What it is of, such as a grid of windows, and what it is there.
    what: &'static str,
    /// All that it depends on.
    sizes: Vec<usize>,
    device: DeviceId,
    /// Its type: backends have tensors of their own.
    tensor: TypeId,
}

/// The tensor `what` of `sizes` on `device`, made by `make` unless it is there.
pub fn kept<B, const D: usize, K>(
    what: &'static str,
    sizes: &[usize],
    device: &B::Device,
    make: impl FnOnce() -> Tensor<B, D, K>,
) -> Tensor<B, D, K>
where
    B: Backend,
    K: BasicOps<B> + 'static,
    Tensor<B, D, K>: Send + Sync,
{
    let (sizes, device) = (sizes.to_vec(), device.id());
    let key = Key { what, sizes, device, tensor: TypeId::of::<Tensor<B, D, K>>() };
    if let Some(found) = with_kept(|kept| kept.get::<Tensor<B, D, K>>(&key)) {
        return found;
    }
    // Not under the lock: making one may ask for another.
    let tensor = make();
    #[cfg(test)]
    MADE.with(|made| made.set(made.get() + 1));
    let bytes = tensor.shape().num_elements() * tensor.dtype().size();
    with_kept(|kept| kept.put(key, tensor.clone(), bytes));
    tensor
}

/// Drops all that is kept, here and beside weights: a device that has failed, for want of memory or else,
/// may have left numbers that are none.
pub fn forget() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    with_kept(|kept| *kept = Kept::new(MOST_BYTES));
}

/// What was made in an earlier one than this is forgotten.
pub fn generation() -> u64 {
    GENERATION.load(Ordering::Relaxed)
}

fn with_kept<T>(with: impl FnOnce(&mut Kept<Key>) -> T) -> T {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    with(kept.get_or_insert_with(|| Kept::new(MOST_BYTES)))
}

#[cfg(test)]
thread_local! {
    static MADE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// How many tensors this thread has had to make.
#[cfg(test)]
pub fn made_by_this_thread() -> usize {
    MADE.with(std::cell::Cell::get)
}

/// Values of any type. The one that was not asked for the longest goes when there are too many.
struct Kept<K> {
    values: HashMap<K, Value>,
    most_bytes: usize,
    bytes: usize,
    /// Counts what was asked for.
    clock: u64,
}

struct Value {
    value: Box<dyn Any + Send>,
    bytes: usize,
    asked: u64,
}

impl<K: Clone + Eq + std::hash::Hash> Kept<K> {
    fn new(most_bytes: usize) -> Self {
        Kept { values: HashMap::new(), most_bytes, bytes: 0, clock: 0 }
    }

    fn get<T: Clone + 'static>(&mut self, key: &K) -> Option<T> {
        self.clock += 1;
        let value = self.values.get_mut(key)?;
        value.asked = self.clock;
        value.value.downcast_ref::<T>().cloned()
    }

    fn put<T: Send + 'static>(&mut self, key: K, value: T, bytes: usize) {
        if bytes > self.most_bytes {
            return;
        }
        self.clock += 1;
        let value = Value { value: Box::new(value), bytes, asked: self.clock };
        if let Some(before) = self.values.insert(key, value) {
            self.bytes -= before.bytes;
        }
        self.bytes += bytes;
        while self.bytes > self.most_bytes {
            let oldest = self.values.iter().min_by_key(|(_, value)| value.asked);
            let Some(oldest) = oldest.map(|(key, _)| key.clone()) else { return };
            self.bytes -= self.values.remove(&oldest).map_or(0, |value| value.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Int;

    use super::*;
    use crate::device::{Backend as B, cpu};

    #[test]
    fn a_tensor_is_made_once_for_each_name_and_kind() {
        let made = std::cell::Cell::new(0);
        let numbers = |what, size| {
            kept::<B, 1, Int>(what, &[size], &cpu(), || {
                made.set(made.get() + 1);
                Tensor::arange(0..size as i64, &cpu())
            })
        };
        let first = numbers("test of kept tensors", 3);
        assert_eq!(numbers("test of kept tensors", 3).into_data(), first.into_data());
        assert_eq!(made.get(), 1);
        assert_eq!(numbers("test of kept tensors", 4).dims(), [4]);
        assert_eq!(numbers("another", 4).dims(), [4]);
        let floats = || Tensor::<B, 1>::ones([3], &cpu());
        assert_eq!(kept("test of kept tensors", &[3], &cpu(), floats).dims(), [3]);
        assert_eq!(made.get(), 3);
    }

    #[test]
    fn what_was_not_asked_for_the_longest_goes_first_and_what_is_too_large_is_not_kept() {
        let mut kept = Kept::new(10);
        kept.put(1, "one", 4);
        kept.put(2, "two", 4);
        assert_eq!(kept.get::<&str>(&1), Some("one"));
        kept.put(3, "three", 4);
        kept.put(4, "eleven", 11);
        let found = [1, 2, 3, 4].map(|key| kept.get::<&str>(&key));
        assert_eq!(found, [Some("one"), None, Some("three"), None]);
        kept.put(3, "again", 6);
        assert_eq!((kept.get::<&str>(&3), kept.bytes), (Some("again"), 10));
    }
}
