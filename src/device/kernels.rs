//! Where compiled and tuned kernels are kept, so that a nightly run does not make them anew.

use std::sync::Once;

use burn::cubecl::config::cache::CacheConfig;
use burn::cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};

use crate::store::cache_folder;

static ONCE: Once = Once::new();

/// Must be called before a GPU is first used; later calls do nothing.
pub fn keep_in_cache() {
    ONCE.call_once(|| {
        let folder = cache_folder().join("kernels");
        let mut config = CubeClRuntimeConfig::default();
        config.autotune.cache = CacheConfig::File(folder.clone());
        config.compilation.cache = Some(CacheConfig::File(folder));
        CubeClRuntimeConfig::set(config.override_from_env());
    });
}
