//! Trouble with a single image: where it happened, a stable code, and a line for a person. It
//! never travels as an error through the pipeline; it ends as a row of the `failures` table.

/// Why one image has no score. The text form is a promise: dashboards filter on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureCode {
    /// The file could not be read (permissions, vanished, I/O error).
    Unreadable,
    /// The file is not the one that was listed when the run began.
    InputChanged,
    /// The file has no bytes.
    EmptyFile,
    /// The bytes are no image format we know, whatever the name says.
    UnknownFormat,
    /// The format is known, the content is broken or cut off.
    CorruptImage,
    /// More pixels than the limit (decompression bomb).
    TooLarge,
    /// The file name is not UTF-8, so no table could name it.
    NonUtf8Name,
    /// The layout promises a mask for this image and there is none.
    MaskMissing,
    /// The mask file cannot be decoded.
    MaskCorrupt,
    /// The mask has another size than its image.
    MaskSizeMismatch,
    /// EXIF turns the image, and nothing shows whether the mask is turned already.
    MaskFrame,
    /// Several images claim the same name where names pair images with masks or rows.
    DuplicateName,
    /// The archive around the image is broken, or what it says about the image is.
    CorruptArchive,
    /// The words of the image's category are too long for the networks.
    Words,
    /// The network returned NaN or infinity.
    NonFinite,
    /// The device has too little memory for this one image.
    DeviceMemory,
    /// The pipeline broke while it held this image.
    Internal,
}

impl FailureCode {
    const ALL: [FailureCode; 17] = [
        FailureCode::Unreadable,
        FailureCode::InputChanged,
        FailureCode::EmptyFile,
        FailureCode::UnknownFormat,
        FailureCode::CorruptImage,
        FailureCode::TooLarge,
        FailureCode::NonUtf8Name,
        FailureCode::MaskMissing,
        FailureCode::MaskCorrupt,
        FailureCode::MaskSizeMismatch,
        FailureCode::MaskFrame,
        FailureCode::DuplicateName,
        FailureCode::CorruptArchive,
        FailureCode::Words,
        FailureCode::NonFinite,
        FailureCode::DeviceMemory,
        FailureCode::Internal,
    ];

    /// Whether it may be gone when the same file is tried again.
    pub fn may_be_gone(self) -> bool {
        matches!(self, FailureCode::Unreadable | FailureCode::InputChanged | FailureCode::Internal)
    }

    /// The code with this text form.
    pub fn named(text: &str) -> Option<Self> {
        FailureCode::ALL.into_iter().find(|code| code.as_str() == text)
    }

    /// The stable text form, as written to the `failures` table.
    pub fn as_str(self) -> &'static str {
        match self {
            FailureCode::Unreadable => "unreadable",
            FailureCode::InputChanged => "input_changed",
            FailureCode::EmptyFile => "empty_file",
            FailureCode::UnknownFormat => "unknown_format",
            FailureCode::CorruptImage => "corrupt_image",
            FailureCode::TooLarge => "too_large",
            FailureCode::NonUtf8Name => "non_utf8_name",
            FailureCode::MaskMissing => "mask_missing",
            FailureCode::MaskCorrupt => "mask_corrupt",
            FailureCode::MaskSizeMismatch => "mask_size_mismatch",
            FailureCode::MaskFrame => "mask_frame",
            FailureCode::DuplicateName => "duplicate_name",
            FailureCode::CorruptArchive => "corrupt_archive",
            FailureCode::Words => "words",
            FailureCode::NonFinite => "non_finite",
            FailureCode::DeviceMemory => "device_memory",
            FailureCode::Internal => "internal",
        }
    }
}

/// Where in the pipeline an image was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    List,
    Fetch,
    Decode,
    Mask,
    Infer,
    Finish,
}

impl Stage {
    /// The text form, as written to the `failures` table.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::List => "list",
            Stage::Fetch => "fetch",
            Stage::Decode => "decode",
            Stage::Mask => "mask",
            Stage::Infer => "infer",
            Stage::Finish => "finish",
        }
    }
}

/// One image that could not be scored: the future row of `failures`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub stage: Stage,
    pub code: FailureCode,
    /// One line for a person: what was wrong and what to do.
    pub message: String,
}

/// A message is a line of a table and of a log.
const MOST_CHARS: usize = 1000;

impl Failure {
    /// A failure at `stage` with `code`; `message` is one line for a person.
    pub fn new(stage: Stage, code: FailureCode, message: impl AsRef<str>) -> Self {
        // Words of a stranger's file may be in it.
        Failure { stage, code, message: super::one_line(message.as_ref(), MOST_CHARS) }
    }
}
