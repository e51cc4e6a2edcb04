//! NVIDIA GPUs. Driver, compiler (NVRTC) and its headers are found at run time; each may be
//! missing.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use burn::DispatchDevice;
use burn::backend::cuda::CudaDevice;
use cudarc::driver::{CudaContext, DriverError};

use super::found::{Found, Listing};
use super::kernels::keep_in_cache;
use super::precisions;
use super::quietly::quietly;
use crate::job::Precision;

/// As `--device` calls them.
const KIND: &str = "cuda";

/// Since this compute capability (Ampere) matrix units take bf16, and f32 rounded to TF32.
const AMPERE: i32 = 8;

/// A header that every kernel needs.
const HEADER: &str = "include/cuda_runtime.h";

pub fn listing() -> Listing {
    let count = match quietly(CudaContext::device_count) {
        Err(_) => return Listing::absent(KIND, "no NVIDIA driver: libcuda was not found"),
        Ok(Err(error)) => {
            return Listing::broken(KIND, format!("the NVIDIA driver does not answer: {error}"));
        }
        Ok(Ok(0)) => return Listing::absent(KIND, "the NVIDIA driver knows no GPU"),
        Ok(Ok(count)) => usize::try_from(count).unwrap_or(0),
    };
    if let Err(why) = compiler() {
        return Listing::broken(KIND, why);
    }
    keep_in_cache();
    Listing::of(KIND, (0..count).map(found))
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
        number,
        name: format!("{KIND}:{number}"),
        what: format!("{name}, compute capability {major}.{minor}{driver}"),
        memory: Some(memory as u64),
        free: Some(free as u64),
        precisions,
        software: false,
        device,
    })
}

/// Whether the matrix units of GPU `number` multiply f32 at all, rounded.
pub fn rounds_operands(number: usize) -> bool {
    static MAJORS: OnceLock<Vec<i32>> = OnceLock::new();
    let majors = MAJORS.get_or_init(|| {
        let asked = |number| Ok(CudaContext::new(number)?.compute_capability()?.0);
        let major = |number| Result::<_, DriverError>::unwrap_or(asked(number), AMPERE);
        let count = quietly(CudaContext::device_count).ok().and_then(Result::ok).unwrap_or(0);
        (0..usize::try_from(count).unwrap_or(0)).map(major).collect()
    });
    majors.get(number).is_none_or(|major| *major >= AMPERE)
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
