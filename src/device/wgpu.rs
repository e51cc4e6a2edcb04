//! GPUs through Vulkan (Metal or DirectX 12 elsewhere), of any maker; and programs that act as one.

use burn::DispatchDevice;
use burn::backend::wgpu::WgpuDevice;
use futures::executor::block_on;
use wgpu::{Adapter, AdapterInfo, Backends, DeviceType, Instance, InstanceDescriptor};

use super::found::Found;
use super::kernels::keep_in_cache;
use super::precisions;
use super::quietly::quietly;

pub fn devices() -> Result<Vec<Found>, String> {
    let adapters = quietly(|| {
        let backends = Backends::PRIMARY;
        let without_display = InstanceDescriptor::new_without_display_handle();
        let instance = Instance::new(InstanceDescriptor { backends, ..without_display });
        let adapters = block_on(instance.enumerate_adapters(backends));
        adapters.iter().map(Adapter::get_info).collect::<Vec<_>>()
    });
    let adapters = adapters.map_err(|why| format!("no graphics driver answers: {why}"))?;
    keep_in_cache();
    let named = named(&adapters);
    if named.is_empty() {
        return Err("no GPU: no Vulkan driver was found".into());
    }
    let found = named.into_iter().enumerate().map(|(number, (info, device))| {
        let software = matches!(device, WgpuDevice::Cpu);
        let device = DispatchDevice::Wgpu(device);
        let precisions = quietly(|| precisions(&device))
            .map_err(|why| format!("{} cannot be used: {why}", info.name))?;
        let driver = [&info.driver, &info.driver_info].map(|text| text.trim().to_owned());
        Ok(Found {
            name: format!("wgpu:{number}"),
            what: format!("{}, {} {}", info.name, info.backend, driver.join(" ")).trim().to_owned(),
            memory: None,
            precisions,
            software,
            device,
        })
    });
    found.collect()
}

/// Adapters with the names that burn has for them, fastest kind first.
fn named(adapters: &[AdapterInfo]) -> Vec<(&AdapterInfo, WgpuDevice)> {
    let of = |kind: DeviceType| adapters.iter().filter(move |info| info.device_type == kind);
    let discrete = of(DeviceType::DiscreteGpu).enumerate();
    let integrated = of(DeviceType::IntegratedGpu).enumerate();
    let virtual_ones = of(DeviceType::VirtualGpu).enumerate();
    discrete
        .map(|(i, info)| (info, WgpuDevice::DiscreteGpu(i)))
        .chain(integrated.map(|(i, info)| (info, WgpuDevice::IntegratedGpu(i))))
        .chain(virtual_ones.map(|(i, info)| (info, WgpuDevice::VirtualGpu(i))))
        .chain(of(DeviceType::Cpu).take(1).map(|info| (info, WgpuDevice::Cpu)))
        .collect()
}
