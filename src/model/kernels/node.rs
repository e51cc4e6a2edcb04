//! The one place that knows how the gradient tape works: an operator with one tracked input per
//! parent and a rule for its gradient. In: plain tensors and a rule. Out: a tracked tensor.
//! Never here: what is computed.

use std::fmt::{Debug, Formatter};
use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::{Tensor, TensorData, TensorPrimitive};

use crate::device::{Backend, Device, TrainBackend};

/// Held by tests that make tapes: the end of one test's backward pass may drop what a tape that another
/// test is building still needs.
#[cfg(test)]
pub fn no_other_tapes() -> std::sync::MutexGuard<'static, ()> {
    static TAPES: std::sync::Mutex<()> = std::sync::Mutex::new(());
    TAPES.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Gradient of an operator: from what was kept on the way forward and the gradient of the output
/// `[OUT dimensions]` to the gradient of the input `[IN dimensions]`.
pub trait Rule<const IN: usize, const OUT: usize>: Clone + Debug + Send + 'static {
    fn gradient(self, output: Tensor<Backend, OUT>) -> Tensor<Backend, IN>;
}

struct Unary<R, const IN: usize, const OUT: usize>(PhantomData<R>);

impl<R, const IN: usize, const OUT: usize> Debug for Unary<R, IN, OUT> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unary")
    }
}

impl<R: Rule<IN, OUT>, const IN: usize, const OUT: usize> Backward<Backend, 1>
    for Unary<R, IN, OUT>
{
    type State = R;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let output = grads.consume::<Backend>(&ops.node);
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            let output = Tensor::from_primitive(TensorPrimitive::Float(output));
            let input = ops.state.gradient(output).into_primitive().tensor();
            grads.register::<Backend>(parent.id, input);
        }
    }
}

/// `forward(input)` on the tape; `forward` returns the output and the rule of its gradient.
pub fn unary<R: Rule<IN, OUT>, const IN: usize, const OUT: usize>(
    input: Tensor<TrainBackend, IN>,
    forward: impl FnOnce(Tensor<Backend, IN>) -> (Tensor<Backend, OUT>, R),
) -> Tensor<TrainBackend, OUT> {
    let input = input.into_primitive().tensor();
    let node = Unary::<R, IN, OUT>(PhantomData)
        .prepare::<NoCheckpointing>([input.node.clone()])
        .compute_bound()
        .stateful();
    let plain = Tensor::from_primitive(TensorPrimitive::Float(input.primitive));
    let (output, rule) = forward(plain);
    let output = output.into_primitive().tensor();
    let output = match node {
        OpsKind::Tracked(node) => node.finish(rule, output),
        OpsKind::UnTracked(node) => node.finish(output),
    };
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

/// As [`Rule`] for several inputs: from the gradient of the output to those of all inputs.
pub trait ManyRule<const N: usize, const IN: usize, const OUT: usize>:
    Clone + Debug + Send + 'static
{
    fn gradients(self, output: Tensor<Backend, OUT>) -> [Tensor<Backend, IN>; N];
}

struct Many<R, const N: usize, const IN: usize, const OUT: usize>(PhantomData<R>);

impl<R, const N: usize, const IN: usize, const OUT: usize> Debug for Many<R, N, IN, OUT> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Many")
    }
}

impl<R: ManyRule<N, IN, OUT>, const N: usize, const IN: usize, const OUT: usize>
    Backward<Backend, N> for Many<R, N, IN, OUT>
{
    type State = R;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let output = grads.consume::<Backend>(&ops.node);
        let output = Tensor::from_primitive(TensorPrimitive::Float(output));
        for (parent, input) in ops.parents.into_iter().zip(ops.state.gradients(output)) {
            if let Some(parent) = parent {
                grads.register::<Backend>(parent.id, input.into_primitive().tensor());
            }
        }
    }
}

/// As [`unary`] for several inputs.
pub fn many<R: ManyRule<N, IN, OUT>, const N: usize, const IN: usize, const OUT: usize>(
    inputs: [Tensor<TrainBackend, IN>; N],
    forward: impl FnOnce([Tensor<Backend, IN>; N]) -> (Tensor<Backend, OUT>, R),
) -> Tensor<TrainBackend, OUT> {
    let inputs = inputs.map(|input| input.into_primitive().tensor());
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    let node = Many::<R, N, IN, OUT>(PhantomData).prepare::<NoCheckpointing>(nodes).compute_bound();
    let plain = inputs.map(|input| Tensor::from_primitive(TensorPrimitive::Float(input.primitive)));
    let (output, rule) = forward(plain);
    let output = output.into_primitive().tensor();
    let output = match node.stateful() {
        OpsKind::Tracked(node) => node.finish(rule, output),
        OpsKind::UnTracked(node) => node.finish(output),
    };
    Tensor::from_primitive(TensorPrimitive::Float(output))
}

#[derive(Debug, Clone)]
struct Known<const D: usize>(Tensor<Backend, D>);

impl<const D: usize> Rule<D, 1> for Known<D> {
    fn gradient(self, output: Tensor<Backend, 1>) -> Tensor<Backend, D> {
        self.0 * output.reshape([1; D])
    }
}

/// A number that was computed by hand from `input`, `[1]`, with its gradient: a loss.
///
/// # Panics
/// If `gradient` has not as many values as `input`.
pub fn scalar_with_gradient<const D: usize>(
    input: Tensor<TrainBackend, D>,
    value: f32,
    gradient: Vec<f32>,
) -> Tensor<TrainBackend, 1> {
    let (device, shape) = (input.device(), input.dims());
    unary(input, |_| {
        let gradient = Tensor::from_data(TensorData::new(gradient, shape), &device);
        (Tensor::from_data([value], &device), Known(gradient))
    })
}

/// The numbers of a tensor, to be changed in place. No copy is made where nobody else holds the
/// tensor: so drop, or hand over, what is not needed any more.
pub struct Values<const D: usize> {
    data: TensorData,
    shape: [usize; D],
    device: Device,
}

impl<const D: usize> Values<D> {
    pub fn of(tensor: Tensor<Backend, D>) -> Self {
        let (shape, device) = (tensor.dims(), tensor.device());
        Values { data: tensor.into_data(), shape, device }
    }

    pub fn read(&self) -> &[f32] {
        self.data.as_slice::<f32>().expect("the CPU computes in f32 only")
    }

    pub fn write(&mut self) -> &mut [f32] {
        self.data.as_mut_slice::<f32>().expect("the CPU computes in f32 only")
    }

    /// The tensor with these numbers.
    pub fn tensor(self) -> Tensor<Backend, D> {
        Tensor::from_data(self.data, &self.device)
    }

    /// A tensor of `shape` with `values`, on the device of these.
    pub fn beside<const N: usize>(
        &self,
        values: Vec<f32>,
        shape: [usize; N],
    ) -> Tensor<Backend, N> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    pub fn shape(&self) -> [usize; D] {
        self.shape
    }
}
