//! Golden data of the detector: configuration, weights and the tensors of each case, and a check
//! that compares stages with them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use burn::tensor::{Bool, DType, Int, Tensor, TensorData};
use filo::device::NetworkBackend;
use filo::model::grounding::{GroundingConfig, GroundingDino, ImageBatch, TextBatch};
use filo::weights::Checkpoint;
use filo::weights::load::load_grounding;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::support::golden::{Parity, Place, golden_dir};

/// Largest error of a stage, relative to its largest value.
const TOLERANCE: f64 = 1e-4;

/// Where the detector is computed.
pub static PLACE: LazyLock<Place> = LazyLock::new(Place::in_f32);

#[derive(Deserialize)]
pub struct GoldenSet {
    pub config: GroundingConfig,
    pub cases: Vec<Case>,
}

#[derive(Deserialize)]
pub struct Case {
    pub name: String,
    file: String,
    pub captions: Vec<String>,
}

pub struct Setup<B: NetworkBackend> {
    dir: PathBuf,
    pub golden: GoldenSet,
    pub net: GroundingDino<B>,
}

/// The tensors of one file, widened to f32.
pub struct Tensors(BTreeMap<String, TensorData>);

impl Tensors {
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).expect("golden files are safetensors");
        let tensors = file.iter().map(|(name, view)| {
            let dtype = match view.dtype() {
                Dtype::F32 => DType::F32,
                Dtype::F16 => DType::F16,
                Dtype::I32 => DType::I32,
                Dtype::I64 => DType::I64,
                other => panic!("{name}: golden tensors are not {other:?}"),
            };
            let data =
                TensorData::from_bytes_vec(view.data().to_vec(), view.shape().to_vec(), dtype);
            (name.to_string(), data.convert::<f32>())
        });
        Tensors(tensors.collect())
    }

    fn get<B: NetworkBackend, const D: usize>(&self, name: &str) -> Tensor<B, D> {
        let data = self.0.get(name).unwrap_or_else(|| panic!("no tensor {name}"));
        Tensor::from_data(data.clone(), &B::own(&PLACE.device))
    }

    fn int<B: NetworkBackend>(&self, name: &str) -> Tensor<B, 2, Int> {
        self.get::<B, 2>(name).int()
    }

    fn is_zero<B: NetworkBackend, const D: usize>(&self, name: &str) -> Tensor<B, D, Bool> {
        self.get::<B, D>(name).equal_elem(0.0)
    }

    pub fn text<B: NetworkBackend>(&self) -> TextBatch<B> {
        TextBatch {
            ids: self.int("text.input_ids"),
            positions: self.int("text.position_ids"),
            hidden: self.is_zero("text.self_attention_mask"),
            padding: self.is_zero("text.attention_mask"),
        }
    }

    pub fn images<B: NetworkBackend>(&self) -> ImageBatch<B> {
        ImageBatch {
            pixels: self.get("image"),
            padding: self.is_zero("image_padding_mask").bool_not(),
            full: false,
        }
    }
}

pub fn values<B: NetworkBackend, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().to_vec::<f32>().expect("tensors are f32")
}

impl<B: NetworkBackend> Setup<B> {
    /// From `FILO_GOLDENS`, or else the repository.
    pub fn load(name: &str) -> Self {
        Self::load_from(golden_dir(), name)
    }

    pub fn load_from(dir: PathBuf, name: &str) -> Self {
        let dir = dir.join(name);
        let text = std::fs::read_to_string(dir.join("config.json")).expect("config.json");
        let golden: GoldenSet = serde_json::from_str(&text).expect("config and cases");
        golden.config.validate().expect("the golden configuration is valid");
        let weights = dir.join(format!("{name}.safetensors"));
        let checkpoint = Checkpoint::open(&weights).expect("golden weights");
        let (net, report) =
            load_grounding(&checkpoint, &golden.config, &PLACE.device).expect("they fit");
        assert!(report.unexpected.is_empty(), "{:?}", report.unexpected);
        Setup { dir, golden, net }
    }

    pub fn tensors(&self, case: &Case) -> Tensors {
        Tensors::open(&self.dir.join(&case.file))
    }
}

/// Compares stages with the tensors of one case, in the order of the computation.
pub struct Check<'a> {
    pub golden: &'a Tensors,
    pub parity: Parity,
}

impl<'a> Check<'a> {
    pub fn new(case: &str, golden: &'a Tensors) -> Self {
        Check { golden, parity: Parity::new(case) }
    }

    /// Checks `stage`, if the case has it. Infinities must stand at the same places.
    pub fn stage<B: NetworkBackend, const D: usize>(&mut self, stage: &str, actual: Tensor<B, D>) {
        let Some(expected) = self.golden.0.get(stage) else { return };
        assert_eq!(actual.dims().as_slice(), &expected.shape[..], "{stage}: shape");
        let expected = expected.to_vec::<f32>().expect("tensors are f32");
        let actual = values(actual);
        for (a, e) in actual.iter().zip(&expected) {
            assert!(a.is_infinite() == e.is_infinite(), "{stage}: {a} where {e} should be");
        }
        let finite = |value: &f32| if value.is_infinite() { 0.0 } else { *value };
        let expected: Vec<f64> = expected.iter().map(|e| f64::from(finite(e))).collect();
        let actual: Vec<f32> = actual.iter().map(finite).collect();
        self.parity.stage(stage, &actual, &expected, PLACE.tolerance(TOLERANCE));
    }
}
