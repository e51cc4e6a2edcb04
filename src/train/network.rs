//! A network between its forms: for scoring, for training, as named numbers. In: one form. Out:
//! another, with the same numbers. No file is read or written here.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend as AnyBackend;
use burn::tensor::{Tensor, TensorData, Transaction};

use super::parts::Path;
use crate::device::{Backend, Device, TrainBackend};
use crate::model::config::FiloConfig;
use crate::model::filo::Filo;

/// Numbers of every parameter by its path.
pub type NamedValues = BTreeMap<String, Vec<f32>>;

struct Read<'a, B: AnyBackend> {
    wanted: &'a dyn Fn(&str) -> bool,
    path: Path,
    names: Vec<String>,
    /// All are read at once: a device is waited for once.
    values: Transaction<B>,
}

impl<B: AnyBackend> ModuleVisitor<B> for Read<'_, B> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        let path = self.path.dotted();
        if (self.wanted)(&path) {
            self.names.push(path);
            self.values = std::mem::take(&mut self.values).register(param.val());
        }
    }
}

struct Write<'a> {
    path: Path,
    values: &'a NamedValues,
}

impl<B: AnyBackend> ModuleMapper<B> for Write<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let shape = param.lazy_shape();
        match self.values.get(&self.path.dotted()) {
            Some(values) if values.len() == shape.num_elements() => {
                let device = param.lazy_device();
                let data = TensorData::new(values.clone(), shape);
                Param::initialized(param.id, Tensor::from_data(data, &device))
            }
            _ => param,
        }
    }
}

/// The numbers of every parameter.
pub fn named_values<B: AnyBackend>(network: &Filo<B>) -> NamedValues {
    values_of(network, &|_| true)
}

/// The numbers of the parameters whose path is `wanted`.
pub fn values_of<B: AnyBackend>(network: &Filo<B>, wanted: &dyn Fn(&str) -> bool) -> NamedValues {
    let (path, names) = (Path::default(), Vec::new());
    let mut read = Read { wanted, path, names, values: Transaction::default() };
    network.visit(&mut read);
    let values = read.values.execute().into_iter();
    let floats = values.map(|data| data.convert::<f32>().into_vec::<f32>());
    let floats = floats.map(|values| values.expect("they were converted"));
    read.names.into_iter().zip(floats).collect()
}

/// `network` with the numbers of `values`; what they lack, or have in another size, stays.
pub fn with_values<B: AnyBackend>(network: Filo<B>, values: &NamedValues) -> Filo<B> {
    network.map(&mut Write { path: Path::default(), values })
}

/// `network` in the form for training, frozen in all parts.
pub fn trainable(
    network: &Filo<Backend>,
    config: &FiloConfig,
    device: &Device,
) -> Filo<TrainBackend> {
    with_values(Filo::new(config, device), &named_values(network))
}

/// `network` in the form for scoring.
pub fn scoring(
    network: &Filo<TrainBackend>,
    config: &FiloConfig,
    device: &Device,
) -> Filo<Backend> {
    with_values(Filo::new(config, device), &named_values(network))
}
