//! What is computed from the weights of a module, once. In: a module's tensors. Out: others made of
//! them, kept beside them as long as the module stays as it is: a copy of a module, or one whose
//! parameters are loaded or changed, starts without. They are no parameters, and are never saved.

use std::sync::{Mutex, PoisonError};

use burn::module::{
    AutodiffModule, Content, Devices, EmptyRecord, Module, ModuleDisplay, ModuleDisplayDefault,
    ModuleMapper, ModuleVisitor,
};
use burn::tensor::Tensor;
use burn::tensor::backend::{AutodiffBackend, Backend};

use super::kept::generation;
use super::kernels::{Parts, parts_of};

/// Tensors made of the parameters of the module that this is a field of, and when.
pub struct Derived<B: Backend, const N: usize, const D: usize>(Mutex<Option<Made<B, N, D>>>);

struct Made<B: Backend, const N: usize, const D: usize> {
    tensors: [Tensor<B, D>; N],
    generation: u64,
}

impl<B: Backend, const N: usize, const D: usize> Derived<B, N, D> {
    /// What `make` gives; it runs once, and again after [`forget`](super::kept::forget). With gradients,
    /// it runs every time: what is made belongs to one pass.
    pub fn get(
        &self,
        device: &B::Device,
        make: impl FnOnce() -> [Tensor<B, D>; N],
    ) -> [Tensor<B, D>; N] {
        match B::ad_enabled(device) {
            true => make(),
            false => self.get_in(generation(), make),
        }
    }

    fn get_in(&self, now: u64, make: impl FnOnce() -> [Tensor<B, D>; N]) -> [Tensor<B, D>; N] {
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*made {
            Some(Made { tensors, generation }) if *generation == now => tensors.clone(),
            _ => {
                let tensors = make();
                *made = Some(Made { tensors: tensors.clone(), generation: now });
                tensors
            }
        }
    }
}

impl<B: Backend> Derived<B, 1, 2> {
    /// [`parts_of`] the module's `matrix`.
    pub fn parts_of(&self, matrix: Tensor<B, 2>) -> Parts<B, 2> {
        let [stacked] = self.get(&matrix.device(), || [parts_of(matrix.clone()).stacked()]);
        Parts::made(stacked)
    }
}

impl<B: Backend, const N: usize, const D: usize> Default for Derived<B, N, D> {
    fn default() -> Self {
        Derived(Mutex::new(None))
    }
}

impl<B: Backend, const N: usize, const D: usize> Clone for Derived<B, N, D> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<B: Backend, const N: usize, const D: usize> std::fmt::Debug for Derived<B, N, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived")
    }
}

impl<B: Backend, const N: usize, const D: usize> Module<B> for Derived<B, N, D> {
    type Record = EmptyRecord;

    fn collect_devices(&self, devices: Devices<B>) -> Devices<B> {
        devices
    }

    fn fork(self, _: &B::Device) -> Self {
        Self::default()
    }

    fn to_device(self, _: &B::Device) -> Self {
        Self::default()
    }

    fn visit<V: ModuleVisitor<B>>(&self, _: &mut V) {}

    fn map<M: ModuleMapper<B>>(self, _: &mut M) -> Self {
        Self::default()
    }

    fn load_record(self, _: EmptyRecord) -> Self {
        Self::default()
    }

    fn into_record(self) -> EmptyRecord {
        EmptyRecord::new()
    }
}

impl<B: AutodiffBackend, const N: usize, const D: usize> AutodiffModule<B> for Derived<B, N, D> {
    type InnerModule = Derived<B::InnerBackend, N, D>;

    fn valid(&self) -> Self::InnerModule {
        Derived::default()
    }

    fn from_inner(_: Self::InnerModule) -> Self {
        Derived::default()
    }
}

impl<B: Backend, const N: usize, const D: usize> ModuleDisplayDefault for Derived<B, N, D> {
    fn content(&self, content: Content) -> Option<Content> {
        content.optional()
    }
}

impl<B: Backend, const N: usize, const D: usize> ModuleDisplay for Derived<B, N, D> {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::device::{Backend as Own, cpu};

    #[test]
    fn what_is_derived_is_made_once_and_outlives_neither_a_change_nor_a_failure() {
        let made = Cell::new(0);
        let ask = |derived: &Derived<Own, 1, 1>, generation| {
            let [tensor] = derived.get_in(generation, || {
                made.set(made.get() + 1);
                [Tensor::full([1], made.get(), &cpu())]
            });
            tensor.into_scalar()
        };
        struct Same;
        impl ModuleMapper<Own> for Same {}
        let derived = Derived::default();
        assert_eq!([ask(&derived, 7), ask(&derived, 7)], [1.0, 1.0]);
        assert_eq!([ask(&derived, 8), ask(&derived, 8)], [2.0, 2.0]);
        assert_eq!(ask(&derived.clone(), 8), 3.0);
        assert_eq!(ask(&derived.map(&mut Same), 8), 4.0);
    }
}
