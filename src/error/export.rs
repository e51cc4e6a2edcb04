//! Results that cannot be exported.

/// Exporting a run with `filo export`.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "nothing to export: name at least one of --csv FILE, --json-lines FILE, --coco FILE, \
         --overlays DIR and --masks DIR"
    )]
    NothingAsked,
    #[error("--category {category}: the run has no such category")]
    NoCategory { category: String },
    #[error("--{first} and --{second} name the same place ({uri}): give each its own")]
    SamePlace { first: &'static str, second: &'static str, uri: String },
    #[error(
        "{path}: is there and no {what} of this program: choose another name for --{flag}, or remove it"
    )]
    ForeignFile { path: String, what: &'static str, flag: &'static str },
    #[error(
        "{uri}: holds files that no export wrote ({example}): choose a new or an empty folder for --{flag}"
    )]
    ForeignFolder { uri: String, example: String, flag: &'static str },
    #[error("{uri}: holds the {holds} of an earlier export: choose another folder for --{flag}")]
    OtherExport { uri: String, holds: String, flag: &'static str },
    #[error("no overlay can be drawn ({why}): say with --input where the images are now")]
    NoImages { why: String },
    #[error("{what} of {image_id}: cannot be made ({why}): please report this")]
    Encode { what: &'static str, image_id: String, why: String },
}

impl ExportError {
    /// 2 where the arguments are wrong, 1 where the export failed.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            ExportError::Encode { .. } => 1,
            _ => 2,
        }
    }
}
