//! Large matmuls by NVIDIA's cuBLASLt, found at run time. `plan` describes them, purely; `mock` runs plans
//! on plain memory, for tests; `library` runs them on a GPU, and `tensors` hands it burn's.

#[cfg(feature = "cuda-untuned")]
mod library;
#[cfg(test)]
mod mock;
mod plan;
#[cfg(feature = "cuda-untuned")]
mod tensors;

#[cfg(feature = "cuda-untuned")]
pub use tensors::{After, multiplied};
