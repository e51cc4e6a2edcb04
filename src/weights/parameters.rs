//! What a network asks for: the paths and shapes of its parameters, read off the network itself
//! without making one number.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend as AnyBackend;

use crate::device::{Backend, cpu};
use crate::model::config::FiloConfig;
use crate::model::filo::Filo;
use crate::model::grounding::GroundingConfig;

/// How burn calls the module whose weight it holds as `[input, output]`, where checkpoints of
/// PyTorch hold `[output, input]`.
const LINEAR: &str = "Struct:Linear";

/// One parameter of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As the network holds it.
    pub shape: Vec<usize>,
    pub orientation: Orientation,
}

/// How the published files hold a parameter, compared with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orientation {
    Same,
    Transposed,
}

impl Parameter {
    /// The shape that the published files give it.
    pub fn published_shape(&self) -> Vec<usize> {
        let mut shape = self.shape.clone();
        if self.orientation == Orientation::Transposed {
            shape.reverse();
        }
        shape
    }

    /// How many numbers it has.
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }
}

/// All parameters of `network` by their dotted paths.
pub fn parameters<B: AnyBackend>(network: &impl Module<B>) -> BTreeMap<String, Parameter> {
    let mut visitor = Visitor::default();
    network.visit(&mut visitor);
    visitor.found
}

/// What FiLo of `config` asks for.
pub fn filo_parameters(config: &FiloConfig) -> BTreeMap<String, Parameter> {
    parameters(&Filo::<Backend>::new(config, &cpu()))
}

/// What the detector of `config` asks for.
pub fn grounding_parameters(config: &GroundingConfig) -> BTreeMap<String, Parameter> {
    parameters(&config.init::<Backend>(&cpu()))
}

#[derive(Default)]
struct Visitor {
    /// Name of each field that is open, and the type that it is a field of.
    open: Vec<(String, String)>,
    found: BTreeMap<String, Parameter>,
}

impl<B: AnyBackend> ModuleVisitor<B> for Visitor {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.open.push((name.to_string(), container_type.to_string()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.open.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let path = self.open.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(".");
        let shape = param.lazy_shape().to_vec();
        let in_linear = self.open.last().is_some_and(|(_, kind)| kind == LINEAR);
        let orientation = match in_linear && shape.len() == 2 {
            true => Orientation::Transposed,
            false => Orientation::Same,
        };
        self.found.insert(path, Parameter { shape, orientation });
    }
}
