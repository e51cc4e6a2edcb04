//! A running mean of weights, which scores better than the weights of any one step of a training
//! with large rates (Polyak and Juditsky 1992). In: weights after a step. Out: their mean.

use super::network::NamedValues;

/// The mean so far, and how fast it forgets.
#[derive(Debug, Clone, PartialEq)]
pub struct Averaging {
    /// Share that the mean keeps in a step; reached slowly, so that the start is forgotten.
    decay: f64,
    pub values: NamedValues,
    pub steps: u64,
}

impl Averaging {
    /// A mean that has seen nothing.
    pub fn new(decay: f64) -> Self {
        Averaging::resumed(decay, NamedValues::new(), 0)
    }

    /// The mean `values` of `steps` steps.
    pub fn resumed(decay: f64, values: NamedValues, steps: u64) -> Self {
        Averaging { decay, values, steps }
    }

    /// Takes in the weights after a step. The first ones are the mean.
    pub fn add(&mut self, values: &NamedValues) {
        self.steps += 1;
        let early = self.steps as f64 / (self.steps as f64 + 9.0);
        let share = (1.0 - self.decay.min(early)) as f32;
        for (name, values) in values {
            let mean = self.values.entry(name.clone()).or_insert_with(|| values.clone());
            mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += share * (value - *mean));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_follows_and_forgets_its_start() {
        let named = |value: f32| NamedValues::from([("w".to_string(), vec![value])]);
        let mut mean = Averaging::new(0.9);
        mean.add(&named(1.0));
        assert_eq!(mean.values, named(1.0));
        mean.add(&named(0.0));
        // min(0.9, 2/11) is kept.
        assert!((mean.values["w"][0] - 2.0 / 11.0).abs() < 1e-6);
    }
}
