//! What labels mean, by hand: no line is computed, so that the program cannot agree with itself.

/// What a label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The image is normal.
    Normal,
    /// It has a defect, of no particular type.
    Anomalous,
    /// It has a defect of this type.
    Defect,
    /// Nobody knows.
    Unknown,
    /// The label says something that is not understood: unknown, too.
    Unclear,
    /// The same, with a defect that is taken back or left open: no type of a set either.
    TakenBack,
}

use Meaning::{Anomalous, Defect, Normal, TakenBack, Unclear, Unknown};

/// Words and written numbers.
pub const MEANING: &[(&str, Meaning)] = &[
    ("good", Normal),
    ("ok", Normal),
    ("normal", Normal),
    ("no_defect", Normal),
    ("No Defect", Normal),
    ("defect-free", Normal),
    ("non-defective", Normal),
    ("i.O.", Normal),
    ("passed", Normal),
    ("negative", Normal),
    ("gut", Normal),
    ("false", Normal),
    ("0", Normal),
    ("0.0", Normal),
    ("0,0", Normal),
    ("-0", Normal),
    ("00", Normal),
    ("+0", Normal),
    ("0e3", Normal),
    ("bad", Anomalous),
    ("NG", Anomalous),
    ("ko", Anomalous),
    ("n.i.O.", Anomalous),
    ("not_ok", Anomalous),
    ("defect", Anomalous),
    ("Anomaly", Anomalous),
    ("abnormal", Anomalous),
    ("reject", Anomalous),
    ("positive", Anomalous),
    ("true", Anomalous),
    ("1", Anomalous),
    ("1.0", Anomalous),
    ("1,0", Anomalous),
    ("01", Anomalous),
    ("1e0", Anomalous),
    ("crack", Defect),
    ("Broken_Large", Defect),
    ("thread side scratch", Defect),
    ("metal_contamination", Defect),
    ("MT_Blowhole", Defect),
    ("surface-scratches", Defect),
    ("hole", Defect),
    ("", Unknown),
    ("unknown", Unknown),
    ("N/A", Unknown),
    ("NaN", Unknown),
    ("null", Unknown),
    ("None", Unknown),
    ("-1", Unknown),
    ("-1.0", Unknown),
    ("?", Unknown),
    ("unlabeled", Unknown),
    ("0.7", Unclear),
    ("0,5", Unclear),
    ("2", Unclear),
    ("-3", Unclear),
    ("1e9", Unclear),
    ("banana", Unclear),
    ("yes", Unclear),
    ("whole", Unclear),
    ("no scratch", TakenBack),
    ("scratchless", TakenBack),
    ("crack: 0", TakenBack),
    ("scratch repaired", TakenBack),
    ("good_1", TakenBack),
    ("type a", Unclear),
    ("0 1", Unclear),
    ("[]", Unclear),
    ("класс 4", Unclear),
];

/// Numbers as such.
pub const NUMBERS: &[(f64, Meaning)] = &[
    (0.0, Normal),
    (-0.0, Normal),
    (1.0, Anomalous),
    (-1.0, Unknown),
    (2.0, Unclear),
    (7.0, Unclear),
    (0.5, Unclear),
    (0.75, Unclear),
    (-0.25, Unclear),
    (1e9, Unclear),
    (-3.0, Unclear),
];

impl Meaning {
    /// Whether the image is anomalous, if that is known.
    pub fn label(self) -> Option<bool> {
        match self {
            Meaning::Normal => Some(false),
            Meaning::Anomalous | Meaning::Defect => Some(true),
            Meaning::Unknown | Meaning::Unclear | Meaning::TakenBack => None,
        }
    }

    /// The defect type that `text` names.
    pub fn defect_type(self, text: &str) -> Option<String> {
        (self == Meaning::Defect).then(|| text.trim().to_owned())
    }
}
