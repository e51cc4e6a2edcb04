//! Sine codes of positions: image coordinates, text positions and query boxes all use the one
//! formula here. In: coordinates. Out: features. No parameter lives here.

use burn::tensor::{Tensor, TensorData, backend::Backend};

use crate::model::kept::kept;

/// Temperature of the codes of text positions and of query boxes.
pub const TEXT_AND_BOX_TEMPERATURE: f64 = 10_000.0;

/// `code[2j] = sin(a_j)`, `code[2j+1] = cos(a_j)`, `a_j = 2π·position / temperature^(2j/features)`
/// (Vaswani et al. 2017, section 3.5, with DETR's factor 2π).
#[derive(Debug, Clone, Copy)]
pub struct SineCode {
    /// Features per coordinate, even.
    pub features: usize,
    pub temperature: f64,
}

impl SineCode {
    /// `[batch, n, coordinates]` → `[batch, n, coordinates · features]`, coordinate by coordinate.
    pub fn forward<B: Backend>(&self, positions: Tensor<B, 3>) -> Tensor<B, 3> {
        let [batch, n, coordinates] = positions.dims();
        let pairs = self.features / 2;
        let wavelengths = self.wavelengths::<B>(&positions.device());
        let angles = (positions * std::f64::consts::TAU)
            .reshape([batch * n * coordinates, 1])
            .div(wavelengths.reshape([1, pairs]));
        Tensor::stack::<3>(vec![angles.clone().sin(), angles.cos()], 2).reshape([
            batch,
            n,
            coordinates * self.features,
        ])
    }

    pub(super) fn wavelengths<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1> {
        let SineCode { features, temperature } = *self;
        let bits = temperature.to_bits();
        let [high, low] = [(bits >> 32) as usize, bits as u32 as usize];
        kept("wavelengths", &[features, high, low], device, || {
            let wavelength = |j| temperature.powf(2.0 * j as f64 / features as f64) as f32;
            let values = (0..features / 2).map(wavelength).collect::<Vec<_>>();
            let len = values.len();
            Tensor::from_data(TensorData::new(values, [len]), device)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};

    #[test]
    fn sine_and_cosine_alternate_and_the_second_pair_is_slower() {
        let code = SineCode { features: 4, temperature: 100.0 };
        let quarter = Tensor::<B, 3>::from_data([[[0.25], [0.0]]], &cpu());
        let out = code.forward(quarter).into_data().to_vec::<f32>().unwrap();
        let slow = std::f32::consts::FRAC_PI_2 / 10.0;
        let expected = [1.0, 0.0, slow.sin(), slow.cos(), 0.0, 1.0, 0.0, 1.0];
        for (got, want) in out.iter().zip(expected) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
    }

    #[test]
    fn coordinates_are_coded_one_after_the_other() {
        let code = SineCode { features: 2, temperature: 20.0 };
        let pair = Tensor::<B, 3>::from_data([[[0.25, 0.5]]], &cpu());
        let out = code.forward(pair).into_data().to_vec::<f32>().unwrap();
        for (got, want) in out.iter().zip([1.0, 0.0, 0.0, -1.0]) {
            assert!((got - want).abs() < 1e-6, "{got} is not {want}");
        }
    }
}
