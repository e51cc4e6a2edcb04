//! A network → a safetensors file with the names and layouts of a published checkpoint, so that
//! whatever reads those reads this. The file appears whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use burn_store::{BurnToPyTorchAdapter, ModuleSnapshot};
use safetensors::tensor::{Dtype, TensorView};

use super::keymap::checkpoint_name;
use crate::device::Backend;
use crate::model::filo::Filo;

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

/// Writes `bytes` beside `path`, makes them durable, and puts them in the place of `path` in one
/// step: whenever the program ends, `path` holds what it held or all of `bytes`.
///
/// # Errors
/// What the file system says.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let beside = path.with_file_name(name);
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    std::fs::rename(&beside, path)?;
    sync_folder_of(path)
}

/// Makes durable that `path` is in its folder under this name.
///
/// # Errors
/// What the file system says.
pub fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}
