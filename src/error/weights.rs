//! Weights that cannot be opened, converted or written.

use std::path::{Path, PathBuf};

use super::{StoreError, first_names, one_line};

/// Opening weights: the run stops with exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("{path}: no such weights file: {hint}", path = path.display(), hint = weights_hint(path))]
    NotFound { path: PathBuf },
    #[error("{path}: holds {found} weights files (*.safetensors, *.pth, *.pt), expected one: name the file itself in --weights", path = path.display())]
    NotOneFile { path: PathBuf, found: usize },
    #[error("{path}: cannot be read ({source}): check the file and its permissions", path = path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{path}: is in PyTorch's format from before version 1.6: load it and save it again with a current torch", path = path.display())]
    OldFormat { path: PathBuf },
    #[error("{path}: is neither safetensors nor a PyTorch archive: pass a FiLo checkpoint", path = path.display())]
    UnknownFormat { path: PathBuf },
    #[error("{path}: broken archive ({what}): copy or download it again", path = path.display(), what = one_line(what, 300))]
    Broken { path: PathBuf, what: String },
    #[error("{path}: its shapes are not the published ones and there is no config.json beside it: add one", path = path.display())]
    NoConfig { path: PathBuf },
    #[error("{path}: {what}: correct it, or remove it if the weights are of the published size", path = path.display())]
    BadConfig { path: PathBuf, what: String },
    #[error("{path}: does not fit its configuration: missing [{missing}]; wrong [{wrong}]: pass the config.json that belongs to it", path = path.display(), missing = first_names(missing, ", "), wrong = first_names(wrong, "; "))]
    Mismatch { path: PathBuf, missing: Vec<String>, wrong: Vec<String> },
    #[error("{path}: holds no weights that are known (its tensors begin with {examples}): pass a checkpoint of FiLo, CLIP or Grounding DINO", path = path.display(), examples = one_line(&examples.join(", "), 200))]
    Unrecognised { path: PathBuf, examples: Vec<String> },
    #[error("{second}: is {kind} as {first} is already: give one file of each kind", first = first.display(), second = second.display())]
    TwoOfAKind { kind: &'static str, first: PathBuf, second: PathBuf },
    #[error("{path}: a bundle is converted alone, it has all that its networks need: leave out the other --from", path = path.display())]
    BundleNotAlone { path: PathBuf },
    #[error("none of {paths} holds FiLo's own heads (decoder_linear, decoder_cov): add FiLo's checkpoint with --from", paths = list_paths(paths))]
    NoFilo { paths: Vec<PathBuf> },
    #[error("{path}: is no new or empty folder: choose another --to", path = path.display())]
    Occupied { path: PathBuf },
    #[error("{path}: cannot be written ({source}): free space or choose another --to", path = path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error("tensor {name}: {what}: copy or download its file again", name = one_line(name, 200))]
    BrokenTensor { name: String, what: String },
    #[error("{path}: holds no bundle.json: pass the --to of filo weights convert", path = path.display())]
    NotABundle { path: PathBuf },
    #[error("{path}: is a bundle of another version (format {found}, this program knows {known}): convert the checkpoints again", path = path.display())]
    OtherBundle { path: PathBuf, found: u32, known: u32 },
    #[error("{path}: broken bundle ({what}): {mend}", path = path.display(), mend = mend(path))]
    BrokenBundle { path: PathBuf, what: String },
    #[error("{name}: is not in the cache yet: run filo weights fetch {name} ({size}) first{hint}", hint = folder_hint(name))]
    NotFetched { name: &'static str, size: &'static str },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path}: a copy of the weights cannot be written ({source}): free space, or set FILO_CACHE to a folder with room", path = path.display())]
    NoCopy { path: PathBuf, source: std::io::Error },
    #[error("{path}: was replaced while it was copied: start again", path = path.display())]
    Changed { path: PathBuf },
    #[error("{path}: {what} wrong with this bundle, see above: {mend}", mend = mend(path), path = path.display(), what = match problems { 1 => "one thing is".to_string(), n => format!("{n} things are") })]
    NotSound { path: PathBuf, problems: usize },
}

/// Names of weights, and what they are.
const NAMES: [(&str, &str); 3] = [
    ("nano", "the embedded weights"),
    ("filo-visa", "published weights"),
    ("filo-mvtec", "published weights"),
];

/// What to do about weights that are not there. A slip in a name is likely where there is neither a
/// folder nor an ending.
fn weights_hint(path: &Path) -> String {
    let exact = NAMES.iter().any(|(name, _)| Path::new(name) == path);
    let written = path.to_string_lossy().to_lowercase();
    let bare = !exact && !written.contains(['/', '\\', '.']);
    let alike = |name: &str| strsim::jaro_winkler(&written, name);
    let nearest = NAMES.into_iter().max_by(|a, b| alike(a.0).total_cmp(&alike(b.0)));
    match nearest {
        Some((name, what)) if bare && alike(name) > 0.8 => {
            format!("did you mean {name}, {what}?")
        }
        _ => "check the path".to_string(),
    }
}

/// Where a folder has the name of published weights, it may have been meant.
fn folder_hint(name: &str) -> String {
    match Path::new(name).exists() {
        true => format!(", or write ./{name} for what is in this folder"),
        false => String::new(),
    }
}

/// What to do about a broken bundle.
fn mend(path: &Path) -> String {
    match NAMES[1..].iter().find(|(name, _)| Path::new(name) == path) {
        Some((name, _)) => format!("run filo weights fetch {name}, which makes it anew"),
        None => "copy it again, or convert the checkpoints again".to_string(),
    }
}

fn list_paths(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
