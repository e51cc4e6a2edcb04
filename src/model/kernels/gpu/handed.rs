//! From burn's tensors to those of a GPU's runtime and back: the same memory under another type.

use std::any::TypeId;

use burn::tensor::backend::{Backend, BackendTypes};
use burn::tensor::{Bool, Int, Tensor, TensorPrimitive};
use burn_cubecl::CubeRuntime;
use burn_cubecl::tensor::CubeTensor;

use crate::model::kernels::back;

/// A backend whose tensors are those of a runtime.
pub trait Gpu:
    Backend
    + BackendTypes<
        FloatTensorPrimitive = CubeTensor<Self::Runtime>,
        IntTensorPrimitive = CubeTensor<Self::Runtime>,
        BoolTensorPrimitive = CubeTensor<Self::Runtime>,
    >
{
    type Runtime: CubeRuntime;
}

#[cfg(feature = "cuda-untuned")]
impl Gpu for crate::device::Cuda {
    type Runtime = burn_cubecl::cubecl::cuda::CudaRuntime;
}

#[cfg(feature = "wgpu")]
impl Gpu for crate::device::Wgpu {
    type Runtime = burn_cubecl::cubecl::wgpu::WgpuRuntime;
}

pub fn is<B: 'static, G: 'static>() -> bool {
    TypeId::of::<B>() == TypeId::of::<G>()
}

pub fn take<B: Backend, G: Gpu, const D: usize>(x: Tensor<B, D>) -> CubeTensor<G::Runtime> {
    back::<_, Tensor<G, D>>(x).into_primitive().tensor()
}

pub fn flags<B: Backend, G: Gpu, const D: usize>(x: Tensor<B, D, Bool>) -> CubeTensor<G::Runtime> {
    back::<_, Tensor<G, D, Bool>>(x).into_primitive()
}

pub fn numbers<B: Backend, G: Gpu, const D: usize>(x: Tensor<B, D, Int>) -> CubeTensor<G::Runtime> {
    back::<_, Tensor<G, D, Int>>(x).into_primitive()
}

pub fn give<B: Backend, G: Gpu, const D: usize>(x: CubeTensor<G::Runtime>) -> Tensor<B, D> {
    back(Tensor::<G, D>::from_primitive(TensorPrimitive::Float(x)))
}
