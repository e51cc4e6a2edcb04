//! A linear layer. In: tokens. Out: `x·W + b`, see [`project`](super::precision::project). Its type has
//! the name and the fields of burn's, by which weights are found; beside them it keeps the parts of its
//! matrix that a device with rounding matmuls needs.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, backend::Backend};

use super::derived::Derived;
use super::kernels::Parts;

/// Dimensions of a [`Linear`]; it has a bias unless it is told not to.
#[derive(Debug, Clone)]
pub struct LinearConfig {
    inputs: usize,
    outputs: usize,
    has_bias: bool,
}

/// `x·W + b`.
#[derive(Module, Debug)]
pub struct Linear<B: Backend> {
    /// `[inputs, outputs]`.
    pub weight: Param<Tensor<B, 2>>,
    /// `[outputs]`.
    pub bias: Option<Param<Tensor<B, 1>>>,
    /// Of `weight`, for matmuls that round.
    parts: Derived<B, 1, 2>,
}

impl LinearConfig {
    pub fn new(inputs: usize, outputs: usize) -> Self {
        LinearConfig { inputs, outputs, has_bias: true }
    }

    pub fn without_bias(self) -> Self {
        LinearConfig { has_bias: false, ..self }
    }

    /// A layer with random weights, as burn draws them.
    pub fn init<B: Backend>(&self, device: &B::Device) -> Linear<B> {
        let config = burn::nn::LinearConfig::new(self.inputs, self.outputs);
        let burn::nn::Linear { weight, bias } = config.with_bias(self.has_bias).init(device);
        Linear { weight, bias, parts: Derived::default() }
    }
}

impl<B: Backend> Linear<B> {
    /// The parts of the weight, computed once.
    pub fn parts(&self) -> Parts<B, 2> {
        self.parts.parts_of(self.weight.val())
    }
}

#[cfg(test)]
mod tests {
    use burn::module::ModuleMapper;

    use super::*;
    use crate::device::{Backend as Own, cpu};

    struct Twice;

    impl ModuleMapper<Own> for Twice {
        fn map_float<const D: usize>(
            &mut self,
            param: Param<Tensor<Own, D>>,
        ) -> Param<Tensor<Own, D>> {
            let (id, tensor, mapper) = param.consume();
            Param::from_mapped_value(id, tensor * 2.0, mapper)
        }
    }

    #[test]
    fn the_parts_add_up_to_the_weight_also_after_it_has_changed() {
        let layer = LinearConfig::new(5, 3).init::<Own>(&cpu());
        for layer in [layer.clone(), layer.map(&mut Twice)] {
            let stacked = layer.parts().stacked();
            let [itself, small, large] = [0, 5, 10].map(|row| stacked.clone().narrow(0, row, 5));
            assert_eq!(itself.into_data(), layer.weight.val().into_data());
            assert_eq!((large + small).into_data(), layer.weight.val().into_data());
        }
        let layer = LinearConfig::new(5, 3).without_bias().init::<Own>(&cpu());
        let before = layer.parts().stacked();
        let after = layer.map(&mut Twice).parts().stacked();
        assert_eq!((before * 2.0).into_data(), after.into_data());
    }
}
