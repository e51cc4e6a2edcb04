//! Which parts of the network learn, and how fast. In: the path of a parameter. Out: its learning
//! rate, or that it is frozen. Groups are those of the published training, and the backbone.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::Tensor;

use crate::device::TrainBackend;
use crate::model::filo::Filo;

/// A part of the network with a learning rate of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Linear heads and MMCI.
    Heads,
    /// Both prompt learners: contexts and meta nets.
    Prompts,
    Adapter,
    /// CLIP's text tower.
    Text,
    /// CLIP's image tower.
    Backbone,
}

impl Part {
    /// The part that the parameter at `path` (`decoder_cov.fc_11.0.weight`) belongs to.
    pub fn of(path: &str) -> Part {
        match path.split('.').next() {
            Some("decoder_linear" | "decoder_cov") => Part::Heads,
            Some("normal_prompt_learner" | "abnormal_prompt_learner") => Part::Prompts,
            Some("adapter") => Part::Adapter,
            Some("text_encoder") => Part::Text,
            _ => Part::Backbone,
        }
    }
}

/// Learning rate of each part; `None` freezes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    pub heads: Option<f64>,
    pub prompts: Option<f64>,
    pub adapter: Option<f64>,
    pub text: Option<f64>,
    pub backbone: Option<f64>,
}

impl Rates {
    /// Stage 1 of the published recipe.
    pub const STAGE_1: Rates =
        Rates { heads: Some(1e-4), prompts: Some(1e-3), adapter: None, text: None, backbone: None };

    /// Stage 2 of the published recipe.
    pub const STAGE_2: Rates =
        Rates { heads: None, prompts: None, adapter: Some(1e-5), text: None, backbone: None };

    /// The rate of the parameter at `path`.
    pub fn of(&self, path: &str) -> Option<f64> {
        match Part::of(path) {
            Part::Heads => self.heads,
            Part::Prompts => self.prompts,
            Part::Adapter => self.adapter,
            Part::Text => self.text,
            Part::Backbone => self.backbone,
        }
    }

    /// `network` with gradients for the parts that learn, and for no other.
    pub fn freeze(&self, network: Filo<TrainBackend>) -> Filo<TrainBackend> {
        network.map(&mut Freeze { rates: self, path: Path::default() })
    }
}

/// Where a walk over a network stands.
#[derive(Debug, Default)]
pub struct Path(Vec<String>);

impl Path {
    pub fn enter(&mut self, name: &str) {
        self.0.push(name.to_string());
    }

    pub fn exit(&mut self) {
        self.0.pop();
    }

    /// `decoder_cov.fc_11.0.weight`.
    pub fn dotted(&self) -> String {
        self.0.join(".")
    }
}

struct Freeze<'a> {
    rates: &'a Rates,
    path: Path,
}

impl ModuleMapper<TrainBackend> for Freeze<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(
        &mut self,
        param: Param<Tensor<TrainBackend, D>>,
    ) -> Param<Tensor<TrainBackend, D>> {
        let learns = self.rates.of(&self.path.dotted()).is_some();
        let (id, tensor, mapper) = param.consume();
        // A tensor made by a computation cannot be switched: start from its numbers.
        let tensor = Tensor::from_inner(tensor.inner()).set_require_grad(learns);
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_belongs_to_the_part_of_its_first_name() {
        assert_eq!(Part::of("decoder_cov.fc_77.1.bias"), Part::Heads);
        assert_eq!(Part::of("abnormal_prompt_learner.ctx"), Part::Prompts);
        assert_eq!(Part::of("text_encoder.token_embedding.weight"), Part::Text);
        assert_eq!(Part::of("image_encoder.conv1.weight"), Part::Backbone);
        assert_eq!(Rates::STAGE_2.of("decoder_linear.fc.0.weight"), None);
        assert_eq!(Rates::STAGE_1.of("normal_prompt_learner.ctx"), Some(1e-3));
    }
}
