//! Which of burn's backends the networks run on. In: a device. Out: work done on its own backend: on a
//! GPU the one of its runtime, whose tensors our kernels reach; else the program's own. Nothing else maps
//! a kind of device to a backend. Never here: gradients, which only the program's own backend has.

use burn::tensor::backend::Backend as AnyBackend;

use super::{Backend, Device};

/// CUDA's own backend.
#[cfg(feature = "cuda-untuned")]
pub type Cuda = burn::backend::Cuda<f32>;

/// The backend of Vulkan, Metal and DirectX.
#[cfg(feature = "wgpu")]
pub type Wgpu = burn::backend::Wgpu<f32>;

/// A backend that networks run on without gradients.
pub trait NetworkBackend: AnyBackend {
    /// `device` as this backend names it.
    ///
    /// # Panics
    /// If it is another backend's; [`on_backend`] chooses the right one.
    fn own(device: &Device) -> Self::Device;
}

impl NetworkBackend for Backend {
    fn own(device: &Device) -> Device {
        device.clone()
    }
}

#[cfg(feature = "cuda-untuned")]
impl NetworkBackend for Cuda {
    fn own(device: &Device) -> Self::Device {
        match device {
            Device::Cuda(device) => device.clone(),
            other => unreachable!("{other:?} is no device of CUDA"),
        }
    }
}

#[cfg(feature = "wgpu")]
impl NetworkBackend for Wgpu {
    fn own(device: &Device) -> Self::Device {
        match device {
            Device::Wgpu(device) => device.clone(),
            other => unreachable!("{other:?} is no device of wgpu"),
        }
    }
}

/// Work that runs on any backend.
pub trait OnBackend {
    type Output;

    /// Does the work; `device`s are [`NetworkBackend::own`].
    fn on<B: NetworkBackend>(self) -> Self::Output;
}

/// Does `work` on the backend of `device`.
pub fn on_backend<W: OnBackend>(device: &Device, work: W) -> W::Output {
    match device {
        #[cfg(feature = "cuda-untuned")]
        Device::Cuda(_) => work.on::<Cuda>(),
        #[cfg(feature = "wgpu")]
        Device::Wgpu(_) => work.on::<Wgpu>(),
        _ => work.on::<Backend>(),
    }
}
