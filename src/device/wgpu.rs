//! GPUs through Vulkan (Metal or DirectX 12 elsewhere), of any maker; and programs that act as one.

use burn::DispatchDevice;
use burn::backend::wgpu::{RuntimeOptions, WgpuDevice, WgpuSetup, init_device};
use futures::executor::block_on;
use wgpu::{
    Adapter, Backends, DeviceDescriptor, DeviceType, Features, Instance, InstanceDescriptor,
};

use super::found::{Found, Kind, Trouble, WGPU};
use super::kernels::keep_in_cache;
use super::precisions;
use super::quietly::quietly;

/// Bytes that one buffer may have at most: the limit of a smaller device, with which tests see what
/// happens beyond it.
const BUFFER_LIMIT: &str = "FILO_WGPU_BUFFER_LIMIT";

pub fn kind() -> Result<Kind, Trouble> {
    let limit = match std::env::var(BUFFER_LIMIT) {
        Err(_) => None,
        Ok(text) => match text.parse() {
            Ok(bytes) => Some(bytes),
            Err(_) => {
                let why = format!("{BUFFER_LIMIT}={text} is not a number of bytes");
                return Err(Trouble::broken(why));
            }
        },
    };
    let opened = quietly(|| {
        let backends = Backends::PRIMARY;
        let without_display = InstanceDescriptor::new_without_display_handle();
        let instance = Instance::new(InstanceDescriptor { backends, ..without_display });
        let adapters = block_on(instance.enumerate_adapters(backends));
        (instance, adapters)
    });
    let (instance, adapters) =
        opened.map_err(|why| Trouble::broken(format!("no graphics driver answers: {why}")))?;
    keep_in_cache();
    let named = named(&adapters);
    if named.is_empty() {
        return Err(Trouble::absent("no GPU: no Vulkan driver was found"));
    }
    let (count, software) =
        (named.len(), named.iter().filter(|(_, device)| *device == WgpuDevice::Cpu).count());
    let open = move |number: usize| {
        let (adapter, device) = &named[number];
        found(number, &instance, adapter, device, limit)
    };
    Ok(Kind { count, hardware: count - software, open: Box::new(open) })
}

fn found(
    number: usize,
    instance: &Instance,
    adapter: &Adapter,
    device: &WgpuDevice,
    limit: Option<u64>,
) -> Result<Found, String> {
    let info = adapter.get_info();
    let unusable = |why| format!("{} cannot be used: {why}", info.name);
    let software = *device == WgpuDevice::Cpu;
    let device = match limit {
        None => device.clone(),
        Some(bytes) => limited(instance, adapter, bytes).map_err(unusable)?,
    };
    let device = DispatchDevice::Wgpu(device);
    let precisions = precisions(&device).map_err(unusable)?;
    let driver = [&info.driver, &info.driver_info].map(|text| text.trim().to_owned());
    Ok(Found {
        name: format!("{WGPU}:{number}"),
        what: format!("{}, {} {}", info.name, info.backend, driver.join(" ")).trim().to_owned(),
        memory: None,
        free: None,
        precisions,
        software,
        device,
    })
}

/// The device of `adapter`, with buffers of `bytes` at most.
fn limited(instance: &Instance, adapter: &Adapter, bytes: u64) -> Result<WgpuDevice, String> {
    let mut limits = adapter.limits();
    limits.max_buffer_size = limits.max_buffer_size.min(bytes);
    limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(bytes);
    let features = adapter.features().difference(Features::all_experimental_mask());
    let descriptor = DeviceDescriptor {
        required_features: features.difference(Features::MAPPABLE_PRIMARY_BUFFERS),
        required_limits: limits,
        ..DeviceDescriptor::default()
    };
    let (device, queue) =
        block_on(adapter.request_device(&descriptor)).map_err(|error| error.to_string())?;
    let setup = WgpuSetup {
        instance: instance.clone(),
        adapter: adapter.clone(),
        device,
        queue,
        backend: adapter.get_info().backend,
    };
    quietly(|| init_device(setup, RuntimeOptions::default()))
}

/// Adapters with the names that burn has for them, fastest kind first.
fn named(adapters: &[Adapter]) -> Vec<(Adapter, WgpuDevice)> {
    let of = |kind: DeviceType| {
        adapters.iter().filter(move |adapter| adapter.get_info().device_type == kind).cloned()
    };
    let discrete = of(DeviceType::DiscreteGpu).enumerate();
    let integrated = of(DeviceType::IntegratedGpu).enumerate();
    let virtual_ones = of(DeviceType::VirtualGpu).enumerate();
    discrete
        .map(|(i, adapter)| (adapter, WgpuDevice::DiscreteGpu(i)))
        .chain(integrated.map(|(i, adapter)| (adapter, WgpuDevice::IntegratedGpu(i))))
        .chain(virtual_ones.map(|(i, adapter)| (adapter, WgpuDevice::VirtualGpu(i))))
        .chain(of(DeviceType::Cpu).take(1).map(|adapter| (adapter, WgpuDevice::Cpu)))
        .collect()
}
