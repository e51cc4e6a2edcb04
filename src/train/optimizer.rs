//! AdamW as PyTorch computes it (Loshchilov and Hutter 2019, decoupled decay). In: a network and
//! gradients by name. Out: the network after the step. One pass per parameter; the state goes by
//! name, so that a checkpoint gives back the same numbers.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::AutodiffBackend;
use burn::tensor::{Tensor, TensorData, Transaction};
use rayon::prelude::*;

use super::network::{NamedValues, values_of};
use super::parts::{Path, Rates};
use crate::device::{Backend, TrainBackend, cpu};
use crate::model::filo::Filo;
use crate::model::kernels::simd::widest;

/// Values per task.
const TASK: usize = 1 << 14;

/// Gradients of a step by the path of their parameter.
#[derive(Debug, Clone, Default)]
pub struct Gradients(pub BTreeMap<String, Vec<f32>>);

struct Collect<'a> {
    tape: &'a mut <TrainBackend as AutodiffBackend>::Gradients,
    path: Path,
    names: Vec<String>,
    /// All are read at once: a device is waited for once.
    gradients: Transaction<Backend>,
}

impl ModuleVisitor<TrainBackend> for Collect<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<TrainBackend, D>>) {
        let value = param.val();
        if value.is_require_grad()
            && let Some(gradient) = value.grad_remove(self.tape)
        {
            self.names.push(self.path.dotted());
            self.gradients = std::mem::take(&mut self.gradients).register(gradient);
        }
    }
}

fn floats(data: TensorData) -> Vec<f32> {
    data.into_vec::<f32>().expect("training computes in f32")
}

impl Gradients {
    /// The gradients of `network`'s learning parameters, by the tape of `loss`.
    pub fn of(loss: &Tensor<TrainBackend, 1>, network: &Filo<TrainBackend>) -> Self {
        let mut tape = loss.backward();
        let mut collect = Collect {
            tape: &mut tape,
            path: Path::default(),
            names: Vec::new(),
            gradients: Transaction::default(),
        };
        network.visit(&mut collect);
        let Collect { names, gradients, .. } = collect;
        let values = gradients.execute().into_iter().map(floats);
        Gradients(names.into_iter().zip(values).collect())
    }

    /// Adds `share` times `other`.
    pub fn add(&mut self, other: Gradients, share: f32) {
        for (name, mut values) in other.0 {
            values.iter_mut().for_each(|value| *value *= share);
            match self.0.get_mut(&name) {
                Some(sum) => sum.iter_mut().zip(&values).for_each(|(sum, value)| *sum += value),
                None => drop(self.0.insert(name, values)),
            }
        }
    }

    /// Euclidean norm over all of them.
    pub fn norm(&self) -> f64 {
        let square = |value: &f32| f64::from(*value) * f64::from(*value);
        self.0.values().map(|values| values.iter().map(square).sum::<f64>()).sum::<f64>().sqrt()
    }

    /// Scales them so that their norm is at most `limit`. Returns the norm before.
    pub fn clip(&mut self, limit: f64) -> f64 {
        let norm = self.norm();
        if norm > limit {
            let factor = (limit / norm) as f32;
            self.0.values_mut().flatten().for_each(|value| *value *= factor);
        }
        norm
    }
}

/// Running means of a parameter's gradient and of its square.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    /// Steps that the parameter has seen.
    pub steps: u64,
}

/// The optimiser with its state. [`AdamW::published`] has the constants of the recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    pub betas: [f64; 2],
    pub epsilon: f64,
    /// On every parameter, biases and contexts too.
    pub weight_decay: f64,
    pub moments: BTreeMap<String, Moments>,
}

impl AdamW {
    /// β = (0.5, 0.999), ε = 1e-8, weight decay 0.01.
    pub fn published() -> Self {
        AdamW { betas: [0.5, 0.999], epsilon: 1e-8, weight_decay: 0.01, moments: BTreeMap::new() }
    }

    /// One step with `rates` times `factor`. A parameter without a gradient stays as it is.
    pub fn step(
        &mut self,
        network: Filo<TrainBackend>,
        gradients: &Gradients,
        rates: &Rates,
        factor: f64,
    ) -> Filo<TrainBackend> {
        // A GPU's are read at once, a CPU's one by one where they lie.
        let steps = |path: &str| gradients.0.contains_key(path) && rates.of(path).is_some();
        let values = match network.devices().contains(&cpu()) {
            true => NamedValues::new(),
            false => values_of(&network, &steps),
        };
        let path = Path::default();
        network.map(&mut Apply { optimizer: self, values, gradients, rates, factor, path })
    }
}

struct Apply<'a> {
    optimizer: &'a mut AdamW,
    values: NamedValues,
    gradients: &'a Gradients,
    rates: &'a Rates,
    factor: f64,
    path: Path,
}

impl ModuleMapper<TrainBackend> for Apply<'_> {
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
        let path = self.path.dotted();
        let (Some(gradient), Some(rate)) = (self.gradients.0.get(&path), self.rates.of(&path))
        else {
            return param;
        };
        let (id, tensor, mapper) = param.consume();
        let (shape, device) = (tensor.dims(), tensor.device());
        let read = self.values.remove(&path);
        let mut values = read.unwrap_or_else(|| floats(tensor.inner().into_data()));
        let moments = self.optimizer.moments.entry(path).or_insert_with(|| Moments {
            first: vec![0.0; values.len()],
            second: vec![0.0; values.len()],
            steps: 0,
        });
        moments.steps += 1;
        let [beta_1, beta_2] = self.optimizer.betas;
        let rate = rate * self.factor;
        let corrected = |beta: f64| 1.0 - beta.powf(moments.steps as f64);
        let constants = Constants {
            keep: (1.0 - rate * self.optimizer.weight_decay) as f32,
            betas: [beta_1 as f32, beta_2 as f32],
            rests: [(1.0 - beta_1) as f32, (1.0 - beta_2) as f32],
            pace: (rate / corrected(beta_1)) as f32,
            root: corrected(beta_2).sqrt().recip() as f32,
            epsilon: self.optimizer.epsilon as f32,
        };
        values
            .par_chunks_mut(TASK)
            .zip(gradient.par_chunks(TASK))
            .zip(moments.first.par_chunks_mut(TASK))
            .zip(moments.second.par_chunks_mut(TASK))
            .for_each(|(((values, gradient), first), second)| {
                widest(Step { constants, values, gradient, first, second });
            });
        let tensor = Tensor::from_data(TensorData::new(values, shape), &device).require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}

#[derive(Debug, Clone, Copy)]
struct Constants {
    keep: f32,
    betas: [f32; 2],
    rests: [f32; 2],
    pace: f32,
    root: f32,
    epsilon: f32,
}

struct Step<'a> {
    constants: Constants,
    values: &'a mut [f32],
    gradient: &'a [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl pulp::NullaryFnOnce for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Constants { keep, betas, rests, pace, root, epsilon } = self.constants;
        let moments = self.first.iter_mut().zip(self.second);
        for ((value, gradient), (first, second)) in
            self.values.iter_mut().zip(self.gradient).zip(moments)
        {
            *first = betas[0] * *first + rests[0] * gradient;
            *second = betas[1] * *second + rests[1] * gradient * gradient;
            let delta = *first / (second.sqrt() * root + epsilon);
            *value = *value * keep - pace * delta;
        }
    }
}
