//! NVIDIA GPUs. Driver, compiler (NVRTC) and its headers are found at run time; each may be
//! missing.

use std::path::{Path, PathBuf};

use burn::DispatchDevice;
use burn::backend::cuda::CudaDevice;
use cudarc::driver::CudaContext;

use super::found::Found;
use super::kernels::keep_in_cache;
use super::precisions;
use super::quietly::quietly;

/// A header that every kernel needs.
const HEADER: &str = "include/cuda_runtime.h";

pub fn devices() -> Result<Vec<Found>, String> {
    let count = match quietly(CudaContext::device_count) {
        Err(_) => return Err("no NVIDIA driver: libcuda was not found".into()),
        Ok(Err(error)) => return Err(format!("the NVIDIA driver does not answer: {error}")),
        Ok(Ok(0)) => return Err("the NVIDIA driver knows no GPU".into()),
        Ok(Ok(count)) => usize::try_from(count).unwrap_or(0),
    };
    compiler()?;
    keep_in_cache();
    (0..count).map(found).collect()
}

fn found(number: usize) -> Result<Found, String> {
    let told = quietly(|| {
        let context = CudaContext::new(number)?;
        Ok((context.name()?, context.compute_capability()?, context.total_mem()?))
    });
    let (name, (major, minor), memory) = told
        .and_then(|told: Result<_, cudarc::driver::DriverError>| told.map_err(|e| e.to_string()))
        .map_err(|why| format!("GPU {number} does not answer: {why}"))?;
    let device = DispatchDevice::Cuda(CudaDevice::new(number));
    let precisions = quietly(|| precisions(&device))
        .map_err(|why| format!("GPU {number} cannot be used: {why}"))?;
    let driver = driver_version().map_or(String::new(), |version| format!(", driver {version}"));
    Ok(Found {
        name: format!("cuda:{number}"),
        what: format!("{name}, compute capability {major}.{minor}{driver}"),
        memory: Some(memory as u64),
        precisions,
        software: false,
        device,
    })
}

/// Bytes that are free on GPU `number`.
pub fn free_memory(number: usize) -> Option<u64> {
    let told = quietly(|| CudaContext::new(number)?.mem_get_info());
    let (free, _total) = told.ok()?.ok()?;
    Some(free as u64)
}

/// Kernels are compiled when they are first used: without a compiler nothing runs.
fn compiler() -> Result<(), String> {
    let works = quietly(|| cudarc::nvrtc::compile_ptx("extern \"C\" __global__ void none() {}"));
    match works {
        Err(_) => {
            return Err("libnvrtc was not found: install CUDA's NVRTC, or add its folder to \
                        LD_LIBRARY_PATH"
                .into());
        }
        Ok(Err(error)) => return Err(format!("NVRTC does not compile: {error}")),
        Ok(Ok(_)) => {}
    }
    let Some(toolkit) = toolkit() else {
        return Err(
            "CUDA's headers were not found: install them, or name the toolkit's folder in \
                    CUDA_PATH"
                .into(),
        );
    };
    match toolkit.join(HEADER).exists() {
        true => Ok(()),
        false => Err(format!(
            "CUDA's headers were not found: there is no {HEADER} in {}; name the toolkit's folder \
             in CUDA_PATH",
            toolkit.display()
        )),
    }
}

/// Where burn looks for the toolkit.
fn toolkit() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("CUDA_PATH") {
        return Some(path.into());
    }
    let usual = ["/usr/local/cuda", "/opt/cuda"].map(Path::new);
    let usual = usual.into_iter().find(|path| path.exists()).map(Path::to_path_buf);
    usual.or_else(|| Path::new("/usr/bin/nvcc").exists().then(|| "/usr".into()))
}

/// As the kernel module tells it.
fn driver_version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    let numeric =
        |word: &&str| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit());
    text.lines().next()?.split_whitespace().find(numeric).map(str::to_owned)
}
