//! The part of Python's pickle format that tensor archives use. In: the bytes of a `data.pkl`.
//! Out: names and descriptions of tensors. Nothing is executed: a pickle is a program, and here it
//! may only build texts, numbers, dictionaries and tensors; whatever else it names is refused.

use std::collections::HashMap;

use burn::tensor::DType;

/// Nesting beyond this is no checkpoint.
const MAX_DEPTH: u8 = 16;

/// Where the numbers of a tensor lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Name of the storage in the archive.
    pub storage: String,
    pub dtype: DType,
    /// First element, counted in elements of the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// Steps between neighbours along each dimension, in elements.
    pub strides: Vec<usize>,
}

/// What a pickle can say here.
#[derive(Debug, Clone)]
enum Value {
    Nothing,
    Int(i64),
    Text(String),
    Sequence { items: Vec<Value>, depth: u8 },
    Dict { items: Vec<(Value, Value)>, depth: u8 },
    Global(String),
    Storage { name: String, dtype: DType },
    Tensor(StoredTensor),
}

/// The tensors of a pickled state dictionary: of the dictionary under the first of `keys` that is
/// there, else of the outermost one. Entries that are no tensors are left out.
///
/// # Errors
/// Says at which byte what was found: an opcode or a global that tensors do not need, or the end.
pub fn tensors_of(bytes: &[u8], keys: &[&str]) -> Result<Vec<(String, StoredTensor)>, String> {
    let mut machine =
        Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() };
    let Value::Dict { items, .. } = machine.run()? else {
        return Err("the pickle holds no dictionary".to_string());
    };
    let inner = keys.iter().find_map(|key| {
        items.iter().find_map(|(name, value)| match (name, value) {
            (Value::Text(name), Value::Dict { items, .. }) if name == key => Some(items),
            _ => None,
        })
    });
    let named = inner.unwrap_or(&items).iter().filter_map(|(name, value)| match (name, value) {
        (Value::Text(name), Value::Tensor(tensor)) => Some((name.clone(), tensor.clone())),
        _ => None,
    });
    Ok(named.collect())
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Value, String> {
        loop {
            let at = self.at;
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode).map_err(|what| format!("byte {at} of the pickle: {what}"))?;
        }
    }

    fn step(&mut self, opcode: u8) -> Result<(), String> {
        match opcode {
            0x80 => drop(self.byte()?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::Nothing),
            0x88 | 0x89 => self.stack.push(Value::Int(i64::from(opcode == 0x88))),
            b'K' => self.int::<1>()?,
            b'M' => self.int::<2>()?,
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.stack.push(Value::Int(i64::from(value)));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.stack.push(Value::Nothing);
            }
            b'X' => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                self.text(length)?;
            }
            0x8c => {
                let length = usize::from(self.byte()?);
                self.text(length)?;
            }
            b'c' => {
                let global = format!("{}.{}", self.line()?, self.line()?);
                self.stack.push(Value::Global(global));
            }
            0x93 => self.stack_global()?,
            b'q' => {
                let slot = u32::from(self.byte()?);
                self.put(slot)?;
            }
            b'r' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.put(slot)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'h' => {
                let slot = u32::from(self.byte()?);
                self.get(slot)?;
            }
            b'j' => {
                let slot = u32::from_le_bytes(self.array()?);
                self.get(slot)?;
            }
            b')' | b']' => self.sequence(Vec::new())?,
            b't' => {
                let items = self.pop_to_mark()?;
                self.sequence(items)?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
                let items = self.stack.split_off(start);
                self.sequence(items)?;
            }
            b'a' | b'e' => self.append(opcode)?,
            b'}' => self.stack.push(Value::Dict { items: Vec::new(), depth: 1 }),
            b's' | b'u' => self.set_items(opcode)?,
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            // State of an object: for dictionaries some metadata that nobody reads.
            b'b' => drop(self.pop()?),
            other => {
                return Err(format!("opcode 0x{other:02x} is not needed for tensors, refused"));
            }
        }
        Ok(())
    }

    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let end = end.ok_or("the pickle ends too early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, String> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'\n').ok_or("a line does not end")?;
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|e| e.to_string())?.to_string();
        self.stack.push(Value::Text(text));
        Ok(())
    }

    /// An unsigned number of `N` bytes.
    fn int<const N: usize>(&mut self) -> Result<(), String> {
        let bytes = self.array::<N>()?;
        let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | i64::from(byte));
        self.stack.push(Value::Int(value));
        Ok(())
    }

    /// A signed number of up to eight bytes.
    fn long(&mut self) -> Result<(), String> {
        let length = usize::from(self.byte()?);
        if length > 8 {
            return Err(format!("a number of {length} bytes"));
        }
        let bytes = self.take(length)?;
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; 8];
        wide[..length].copy_from_slice(bytes);
        self.stack.push(Value::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn pop(&mut self) -> Result<Value, String> {
        self.stack.pop().ok_or_else(|| "the stack is empty".to_string())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().filter(|&mark| mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("there is no mark")?))
    }

    fn put(&mut self, slot: u32) -> Result<(), String> {
        let value = self.stack.last().ok_or("the stack is empty")?.clone();
        self.memo.insert(slot, value);
        Ok(())
    }

    /// Fetches a value that cannot have changed since it was put aside.
    fn get(&mut self, slot: u32) -> Result<(), String> {
        let value = self.memo.get(&slot).ok_or("nothing was put into this slot")?;
        if matches!(value, Value::Dict { .. }) {
            return Err("one dictionary in two places, refused".to_string());
        }
        self.stack.push(value.clone());
        Ok(())
    }

    fn sequence(&mut self, items: Vec<Value>) -> Result<(), String> {
        let depth = deeper(items.iter().map(Value::depth))?;
        self.stack.push(Value::Sequence { items, depth });
        Ok(())
    }

    fn append(&mut self, opcode: u8) -> Result<(), String> {
        let added = if opcode == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        let below = deeper(added.iter().map(Value::depth))?;
        match self.stack.last_mut() {
            Some(Value::Sequence { items, depth }) => {
                items.extend(added);
                *depth = below.max(*depth);
                Ok(())
            }
            _ => Err("something is appended to what is no list".to_string()),
        }
    }

    fn set_items(&mut self, opcode: u8) -> Result<(), String> {
        let added = if opcode == b's' {
            let (value, key) = (self.pop()?, self.pop()?);
            vec![key, value]
        } else {
            self.pop_to_mark()?
        };
        let below = deeper(added.iter().map(Value::depth))?;
        let Some(Value::Dict { items, depth }) = self.stack.last_mut() else {
            return Err("an entry is made in what is no dictionary".to_string());
        };
        *depth = below.max(*depth);
        let mut added = added.into_iter();
        while let (Some(key), Some(value)) = (added.next(), added.next()) {
            items.push((key, value));
        }
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        match (self.pop()?, self.pop()?) {
            (Value::Text(name), Value::Text(module)) => {
                self.stack.push(Value::Global(format!("{module}.{name}")));
                Ok(())
            }
            _ => Err("a global without a name".to_string()),
        }
    }

    /// A reference to a storage: ("storage", type, name, device, elements).
    fn persistent(&mut self) -> Result<(), String> {
        let Value::Sequence { items, .. } = self.pop()? else {
            return Err("a reference to something that is no storage".to_string());
        };
        match items.as_slice() {
            [Value::Text(tag), Value::Global(kind), Value::Text(name), ..] if tag == "storage" => {
                let dtype =
                    dtype_of(kind).ok_or_else(|| format!("storage type {kind}, refused"))?;
                self.stack.push(Value::Storage { name: name.clone(), dtype });
                Ok(())
            }
            _ => Err("a reference to something that is no storage".to_string()),
        }
    }

    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, callable) = (self.pop()?, self.pop()?);
        let Value::Global(name) = callable else {
            return Err("a call of something that is no global".to_string());
        };
        let Value::Sequence { mut items, .. } = arguments else {
            return Err(format!("a call of {name} without arguments"));
        };
        let made = match name.as_str() {
            "collections.OrderedDict" if items.is_empty() => {
                Value::Dict { items: Vec::new(), depth: 1 }
            }
            "torch._utils._rebuild_tensor_v2" => Value::Tensor(tensor_from(&items)?),
            "torch._utils._rebuild_parameter" | "torch.Size" if !items.is_empty() => {
                items.remove(0)
            }
            _ => return Err(format!("a call of {name}, refused")),
        };
        self.stack.push(made);
        Ok(())
    }
}

impl Value {
    fn depth(&self) -> u8 {
        match self {
            Value::Sequence { depth, .. } | Value::Dict { depth, .. } => *depth,
            _ => 0,
        }
    }
}

/// One more than the deepest.
fn deeper(depths: impl Iterator<Item = u8>) -> Result<u8, String> {
    let depth = 1 + depths.max().unwrap_or(0);
    if depth > MAX_DEPTH { Err(format!("nested more than {MAX_DEPTH} deep")) } else { Ok(depth) }
}

/// From (storage, offset, shape, strides, …).
fn tensor_from(arguments: &[Value]) -> Result<StoredTensor, String> {
    let [
        Value::Storage { name, dtype },
        Value::Int(offset),
        Value::Sequence { items: shape, .. },
        Value::Sequence { items: strides, .. },
        ..,
    ] = arguments
    else {
        return Err("a tensor without storage, offset, shape and strides".to_string());
    };
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

fn dtype_of(storage: &str) -> Option<DType> {
    Some(match storage.strip_prefix("torch.")? {
        "FloatStorage" => DType::F32,
        "HalfStorage" => DType::F16,
        "BFloat16Storage" => DType::BF16,
        "DoubleStorage" => DType::F64,
        "LongStorage" => DType::I64,
        "IntStorage" => DType::I32,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_tensor_is_refused_by_name() {
        let call = b"\x80\x02cos\nsystem\n(X\x04\x00\x00\x00echotR.";
        assert!(tensors_of(call, &[]).unwrap_err().contains("os.system"));
        assert!(tensors_of(b"\x80\x02i", &[]).unwrap_err().contains("0x69"));
        assert!(tensors_of(b"\x80\x02}", &[]).unwrap_err().contains("ends too early"));
        assert!(tensors_of(b"\x80\x02N.", &[]).unwrap_err().contains("no dictionary"));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let mut deep = b"\x80\x02)".to_vec();
        deep.extend([0x85; 100_000]);
        assert!(tensors_of(&deep, &[]).unwrap_err().contains("nested"));
    }
}
