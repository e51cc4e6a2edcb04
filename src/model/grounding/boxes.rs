//! The arithmetic of boxes in logit space, where proposals are made and refined. A box is
//! (centre x, centre y, width, height), each a fraction of its image.

use burn::tensor::{Tensor, backend::Backend};

/// How close to 0 and 1 [`clamped_logit`] lets a coordinate come.
pub const LOGIT_MARGIN: f64 = 1e-3;

/// `ln(max(x, ε) / max(1 − x, ε))` of `x` clamped to 0..=1, with ε = 1e-3: finite for every box.
pub fn clamped_logit<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    let x = x.clamp(0.0, 1.0);
    let complement = (x.clone().neg() + 1.0).clamp_min(LOGIT_MARGIN);
    (x.clamp_min(LOGIT_MARGIN) / complement).log()
}

/// `ln(x / (1 − x))`, without a margin: outside (0, 1) it is no number.
pub fn logit<B: Backend>(x: Tensor<B, 3>) -> Tensor<B, 3> {
    (x.clone() / (x.neg() + 1.0)).log()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};

    #[test]
    fn the_clamped_logit_of_the_border_is_finite_and_of_one_half_is_zero() {
        let x = Tensor::<B, 3>::from_data([[[0.0, 0.5, 1.0, 7.0]]], &cpu());
        let out = clamped_logit(x).into_data().to_vec::<f32>().unwrap();
        for (got, want) in out.iter().zip([-6.907_755, 0.0, 6.907_755, 6.907_755]) {
            assert!((got - want).abs() < 1e-5, "{got} is not {want}");
        }
    }
}
