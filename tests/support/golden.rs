//! Golden files, where they are compared, and how closely a tensor must follow them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use filo::device::{Device, device, rounds_operands};
use filo::job::{DeviceChoice, Precision};
use safetensors::{Dtype, SafeTensors};

/// Runs a function that is generic over the backend on that of the tests' device.
#[allow(unused_macros, reason = "each test binary uses its own part")]
macro_rules! on_place {
    ($work:ident) => {{
        struct Work;
        impl filo::device::OnBackend for Work {
            type Output = ();

            fn on<B: filo::device::NetworkBackend>(self) {
                $work::<B>()
            }
        }
        let place = $crate::support::golden::Place::of_the_tests();
        filo::device::on_backend(&place.device, Work)
    }};
}
#[allow(unused_imports, reason = "each test binary uses its own part")]
pub(crate) use on_place;

/// Where and how the networks are computed: `FILO_TEST_DEVICE` as `--device` takes it, or the CPU;
/// `FILO_TEST_PRECISION`, or f32.
pub struct Place {
    pub device: Device,
    pub precision: Precision,
    on_cpu: bool,
    rounds: bool,
}

impl Place {
    pub fn of_the_tests() -> Self {
        let variable = |name| std::env::var(name).unwrap_or_default();
        let (choice, precision) = (variable("FILO_TEST_DEVICE"), variable("FILO_TEST_PRECISION"));
        let choice = match choice.as_str() {
            "" => DeviceChoice::Cpu,
            choice => choice.parse().expect("FILO_TEST_DEVICE is a device"),
        };
        let precision = match precision.as_str() {
            "" => Precision::F32,
            precision => precision.parse().expect("FILO_TEST_PRECISION is a precision"),
        };
        let device = device(choice, precision).expect("the device can be used");
        let rounds = rounds_operands(&device);
        Place { device, precision, on_cpu: choice == DeviceChoice::Cpu, rounds }
    }

    /// The same for a network that is never computed in fewer bits.
    pub fn in_f32() -> Self {
        Place { precision: Precision::F32, ..Self::of_the_tests() }
    }

    /// Whether it is the place that all others are held against.
    #[allow(dead_code)]
    pub fn is_cpu(&self) -> bool {
        self.on_cpu
    }

    /// Largest relative error of a stage that is allowed to be `on_cpu` there. Products of GPUs add
    /// in another order; 16 bits round their operands.
    pub fn tolerance(&self, on_cpu: f64) -> f64 {
        match self.precision {
            Precision::F32 if self.on_cpu => on_cpu,
            Precision::F32 => on_cpu.max(1e-4),
            Precision::F16 => on_cpu.max(3e-2),
            // Three bits less than f16.
            Precision::Bf16 => on_cpu.max(6e-2),
        }
    }

    /// The same of a training; `rounded` where a GPU rounds the operands of its products to 10 bits.
    #[allow(dead_code)]
    pub fn training_tolerance(&self, on_cpu: f64, rounded: f64) -> f64 {
        if self.rounds { rounded } else { self.tolerance(on_cpu) }
    }
}

/// Named tensors of one golden file, widened to f64.
pub struct Golden {
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
    file: String,
}

/// The folder with golden data: `FILO_GOLDENS`, or the copy in the repository.
pub fn golden_dir() -> PathBuf {
    match std::env::var_os("FILO_GOLDENS") {
        Some(dir) => PathBuf::from(dir),
        None => repository_golden_dir(),
    }
}

/// The golden data that only the repository has. A program that was built elsewhere is run in the
/// repository's root.
pub fn repository_golden_dir() -> PathBuf {
    let built_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    if built_in.exists() { built_in } else { "tests/golden".into() }
}

impl Golden {
    pub fn open(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let file = SafeTensors::deserialize(&bytes).expect("golden files are safetensors");
        let widen = |view: &safetensors::tensor::TensorView| -> Vec<f64> {
            let bytes = view.data();
            match view.dtype() {
                Dtype::F32 => chunks(bytes).map(|b| f64::from(f32::from_le_bytes(b))).collect(),
                Dtype::F64 => chunks(bytes).map(f64::from_le_bytes).collect(),
                Dtype::I32 => chunks(bytes).map(|b| f64::from(i32::from_le_bytes(b))).collect(),
                Dtype::F16 => chunks(bytes).map(|b| half::f16::from_le_bytes(b).into()).collect(),
                other => panic!("golden tensors are not {other:?}"),
            }
        };
        Golden {
            tensors: file
                .iter()
                .map(|(name, view)| (name.to_string(), (view.shape().to_vec(), widen(&view))))
                .collect(),
            file: path.display().to_string(),
        }
    }

    /// The values of `name`.
    pub fn get(&self, name: &str) -> &[f64] {
        &self.entry(name).1
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.entry(name).0
    }

    fn entry(&self, name: &str) -> &(Vec<usize>, Vec<f64>) {
        self.tensors.get(name).unwrap_or_else(|| panic!("{}: no tensor {name}", self.file))
    }

    /// The one name that starts with `prefix`.
    pub fn name_starting_with(&self, prefix: &str) -> &str {
        let mut names = self.tensors.keys().filter(|name| name.starts_with(prefix));
        names.next().unwrap_or_else(|| panic!("{}: no tensor {prefix}*", self.file))
    }

    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        self.get(name).iter().map(|&value| value as f32).collect()
    }
}

fn chunks<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.chunks_exact(N).map(|chunk| chunk.try_into().expect("chunks have N bytes"))
}

/// Compares stages in the order of the computation and stops at the first that differs.
pub struct Parity {
    case: String,
    worst: Vec<(String, f64)>,
}

impl Parity {
    pub fn new(case: impl Into<String>) -> Self {
        Parity { case: case.into(), worst: Vec::new() }
    }

    /// Checks one stage: largest absolute difference over largest absolute expected value.
    pub fn stage(&mut self, stage: &str, actual: &[f32], expected: &[f64], tolerance: f64) {
        assert_eq!(actual.len(), expected.len(), "{}: {stage}: number of values", self.case);
        let scale = expected.iter().fold(0.0f64, |max, e| max.max(e.abs())).max(1e-12);
        let error = actual
            .iter()
            .zip(expected)
            .map(|(a, e)| (f64::from(*a) - e).abs() / scale)
            .fold(0.0f64, |max, e| if e.is_nan() { f64::INFINITY } else { max.max(e) });
        assert!(
            error <= tolerance,
            "{}: first stage that differs: {stage}, largest relative error {error:.2e} \
             (allowed {tolerance:.0e}); before it: {:?}",
            self.case,
            self.worst
        );
        self.worst.push((stage.to_string(), error));
    }

    /// Prints what was reached; shown with `--nocapture`.
    pub fn report(&self) {
        for (stage, error) in &self.worst {
            println!("{:<28} {stage:<32} {error:.1e}", self.case);
        }
    }
}
