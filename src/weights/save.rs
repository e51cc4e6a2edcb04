//! A network → a safetensors file with the names and layouts of a published checkpoint, so that
//! whatever reads those reads this. The file appears whole or not at all.

use std::path::Path;

use burn_store::{BurnToPyTorchAdapter, ModuleSnapshot};
use safetensors::tensor::{Dtype, TensorView};

use super::keymap::checkpoint_name;
use crate::device::Backend;
use crate::model::filo::Filo;
use crate::store::write_whole;

/// Writes `network` in f32 to `path`.
///
/// # Errors
/// What the file system says.
pub fn save_filo(network: &Filo<Backend>, path: &Path) -> std::io::Result<()> {
    let snapshots = network.collect(None, Some(Box::new(BurnToPyTorchAdapter)), false);
    let mut tensors = Vec::with_capacity(snapshots.len());
    for snapshot in snapshots {
        let data = snapshot.to_data().map_err(std::io::Error::other)?.convert::<f32>();
        tensors.push((checkpoint_name(&snapshot.full_path()), data));
    }
    let views = tensors.iter().map(|(name, data)| {
        let view = TensorView::new(Dtype::F32, data.shape.to_vec(), data.as_bytes());
        Ok((name.as_str(), view.map_err(std::io::Error::other)?))
    });
    let views = views.collect::<std::io::Result<Vec<_>>>()?;
    let bytes = safetensors::serialize(views, None).map_err(std::io::Error::other)?;
    write_whole(path, &bytes)
}
