//! What a pickle can say here, and how deep it may nest.

use std::rc::Rc;

use burn::tensor::DType;

use super::StoredTensor;

/// Nesting beyond this is no checkpoint.
const MAX_DEPTH: u8 = 32;

/// Dimensions beyond this are no parameter's.
const MAX_RANK: usize = 8;

/// What a pickle can say here. Clones share what is large: a pickle may ask for any number of them.
#[derive(Debug, Clone)]
pub enum Value {
    Nothing,
    Int(i64),
    Text(Rc<str>),
    /// A tuple, which nothing can change any more.
    Tuple {
        items: Rc<[Value]>,
        depth: u8,
    },
    List {
        items: Vec<Value>,
        depth: u8,
    },
    Dict {
        items: Vec<(Value, Value)>,
        depth: u8,
    },
    /// A module of TorchScript: its attributes, once they are known.
    Module {
        items: Vec<(Value, Value)>,
        depth: u8,
    },
    Global(Rc<str>),
    Storage {
        name: Rc<str>,
        dtype: DType,
    },
    Tensor(Rc<StoredTensor>),
}

impl Value {
    /// How deep the value nests.
    pub fn depth(&self) -> u8 {
        match self {
            Value::Tuple { depth, .. }
            | Value::List { depth, .. }
            | Value::Dict { depth, .. }
            | Value::Module { depth, .. } => *depth,
            _ => 0,
        }
    }
}

/// One more than the deepest.
pub fn deeper(depths: impl Iterator<Item = u8>) -> Result<u8, String> {
    let depth = 1 + depths.max().unwrap_or(0);
    if depth > MAX_DEPTH { Err(format!("nested more than {MAX_DEPTH} deep")) } else { Ok(depth) }
}

/// From (storage, offset, shape, strides, …).
pub fn tensor_from(arguments: &[Value]) -> Result<StoredTensor, String> {
    let [
        Value::Storage { name, dtype },
        Value::Int(offset),
        Value::Tuple { items: shape, .. },
        Value::Tuple { items: strides, .. },
        ..,
    ] = arguments
    else {
        return Err("a tensor without storage, offset, shape and strides".to_string());
    };
    if shape.len() > MAX_RANK {
        return Err(format!("a tensor of {} dimensions", shape.len()));
    }
    let size = |value: &Value| match value {
        Value::Int(size) => usize::try_from(*size).ok(),
        _ => None,
    };
    let sizes = |values: &[Value]| values.iter().map(size).collect::<Option<Vec<_>>>();
    match (usize::try_from(*offset), sizes(shape), sizes(strides)) {
        (Ok(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
            Ok(StoredTensor { storage: name.clone(), dtype: *dtype, offset, shape, strides })
        }
        _ => Err("a tensor with a negative or missing size".to_string()),
    }
}

/// The numbers of a storage class of PyTorch.
pub fn dtype_of(storage: &str) -> Option<DType> {
    Some(match storage.strip_prefix("torch.")? {
        "FloatStorage" => DType::F32,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "DoubleStorage" => DType::F64,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        "ShortStorage" => DType::I16,
        "CharStorage" => DType::I8,
        "ByteStorage" | "BoolStorage" => DType::U8,
        _ => return None,
    })
}
