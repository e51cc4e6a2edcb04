//! NVIDIA GPUs. Driver, compiler (NVRTC) and its headers are found at run time; each may be
//! missing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use burn::DispatchDevice;
use burn::backend::cuda::CudaDevice;
use cudarc::driver::sys::CUresult;
use cudarc::driver::{CudaContext, DriverError};

use super::found::{CUDA, Found, Kind, Trouble};
use super::kernels::keep_in_cache;
use super::precisions;
use super::quietly::quietly;
use crate::job::Precision;

/// Since this compute capability (Ampere) matrix units take bf16, and f32 rounded to TF32.
const AMPERE: i32 = 8;

/// A header that every kernel needs.
const HEADER: &str = "include/cuda_runtime.h";

pub fn kind() -> Result<Kind, Trouble> {
    let nothing = || Trouble::absent("the NVIDIA driver knows no GPU");
    let count = match quietly(CudaContext::device_count) {
        Err(_) => return Err(Trouble::absent("no NVIDIA driver: libcuda was not found")),
        Ok(Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) | Ok(0)) => return Err(nothing()),
        Ok(Err(error)) => {
            return Err(Trouble::broken(format!("the NVIDIA driver does not answer: {error}")));
        }
        Ok(Ok(count)) => usize::try_from(count).unwrap_or(0),
    };
    compiler().map_err(Trouble::broken)?;
    keep_in_cache();
    Ok(Kind { count, hardware: count, open: Box::new(found) })
}

fn found(number: usize) -> Result<Found, String> {
    let told = quietly(|| {
        let context = CudaContext::new(number)?;
        let memory = context.mem_get_info()?;
        Ok((context.name()?, context.compute_capability()?, memory))
    });
    let (name, (major, minor), (free, memory)) = told
        .and_then(|told: Result<_, DriverError>| told.map_err(|error| error.to_string()))
        .map_err(|why| format!("GPU {number} does not answer: {why}"))?;
    let device = DispatchDevice::Cuda(CudaDevice::new(number));
    let mut precisions =
        precisions(&device).map_err(|why| format!("GPU {number} cannot be used: {why}"))?;
    precisions.retain(|precision| *precision != Precision::Bf16 || major >= AMPERE);
    let driver = driver_version().map_or(String::new(), |version| format!(", driver {version}"));
    Ok(Found {
        name: format!("{CUDA}:{number}"),
        what: format!("{name}, compute capability {major}.{minor}{driver}"),
        memory: Some(memory as u64),
        free: Some(free as u64),
        precisions,
        software: false,
        device,
    })
}

/// Whether the matrix units of GPU `number`, which is open, multiply f32 at all, rounded.
pub fn rounds_operands(number: usize) -> bool {
    static MAJORS: Mutex<BTreeMap<usize, i32>> = Mutex::new(BTreeMap::new());
    let mut majors = MAJORS.lock().unwrap_or_else(PoisonError::into_inner);
    let major = majors.entry(number).or_insert_with(|| {
        let capability = CudaContext::new(number).and_then(|context| context.compute_capability());
        capability.map_or(AMPERE, |(major, _)| major)
    });
    *major >= AMPERE
}

/// Bytes that are free on GPU `number`, which is open.
pub fn free_memory(number: usize) -> Option<u64> {
    let (free, _total) = CudaContext::new(number).ok()?.mem_get_info().ok()?;
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
