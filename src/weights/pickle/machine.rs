//! The machine that a pickle is a program for: a stack, marks, and a memo. It knows the opcodes
//! that tensor archives use and refuses the others.

use std::collections::HashMap;
use std::rc::Rc;

use super::value::{Value, deeper, dtype_of, tensor_from};
use super::{MAX_NAME_BYTES, MODULE_CLASS};

pub struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    /// A machine in front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// Runs to the end; the value is the last one on the stack.
    pub fn run(&mut self) -> Result<Value, String> {
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
                self.stack.push(Value::Global(global.into()));
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
            b')' => self.tuple(Vec::new())?,
            b']' => self.stack.push(Value::List { items: Vec::new(), depth: 1 }),
            b't' => {
                let items = self.pop_to_mark()?;
                self.tuple(items)?;
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let start = self.stack.len().checked_sub(count).ok_or("the stack is empty")?;
                let items = self.stack.split_off(start);
                self.tuple(items)?;
            }
            b'a' | b'e' => self.append(opcode)?,
            b'}' => self.stack.push(Value::Dict { items: Vec::new(), depth: 1 }),
            b's' | b'u' => self.set_items(opcode)?,
            b'Q' => self.persistent()?,
            b'R' => self.reduce()?,
            0x81 => self.new_module()?,
            b'b' => self.build()?,
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
        if length > MAX_NAME_BYTES {
            return Err(format!("a name of {length} bytes"));
        }
        let line = String::from_utf8_lossy(&rest[..length]).into_owned();
        self.at += length + 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<(), String> {
        let text = std::str::from_utf8(self.take(length)?).map_err(|e| e.to_string())?.into();
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
        let value = match self.stack.last().ok_or("the stack is empty")? {
            // What can still change is not worth a copy, see `get`.
            Value::Dict { .. } => Value::Dict { items: Vec::new(), depth: 0 },
            Value::List { .. } => Value::List { items: Vec::new(), depth: 0 },
            Value::Module { .. } => Value::Module { items: Vec::new(), depth: 0 },
            other => other.clone(),
        };
        self.memo.insert(slot, value);
        Ok(())
    }

    /// Fetches a value that cannot have changed since it was put aside.
    fn get(&mut self, slot: u32) -> Result<(), String> {
        let value = self.memo.get(&slot).ok_or("nothing was put into this slot")?;
        if matches!(value, Value::Dict { .. } | Value::List { .. } | Value::Module { .. }) {
            return Err("one dictionary, list or module in two places, refused".to_string());
        }
        self.stack.push(value.clone());
        Ok(())
    }

    fn tuple(&mut self, items: Vec<Value>) -> Result<(), String> {
        let depth = deeper(items.iter().map(Value::depth))?;
        self.stack.push(Value::Tuple { items: items.into(), depth });
        Ok(())
    }

    /// An object of TorchScript, without attributes yet.
    fn new_module(&mut self) -> Result<(), String> {
        let (_arguments, class) = (self.pop()?, self.pop()?);
        match class {
            Value::Global(class) if class.starts_with(MODULE_CLASS) => {
                self.stack.push(Value::Module { items: Vec::new(), depth: 1 });
                Ok(())
            }
            Value::Global(class) => Err(format!("an object of class {class}, refused")),
            _ => Err("an object of what is no class".to_string()),
        }
    }

    /// Gives an object its state: a module its attributes. Of anything else it is metadata that
    /// nobody reads.
    fn build(&mut self) -> Result<(), String> {
        let state = self.pop()?;
        let Some(Value::Module { items, depth }) = self.stack.last_mut() else { return Ok(()) };
        let Value::Dict { items: attributes, depth: below } = state else {
            return Err("a module whose state is no dictionary".to_string());
        };
        (*items, *depth) = (attributes, below);
        Ok(())
    }

    fn append(&mut self, opcode: u8) -> Result<(), String> {
        let added = if opcode == b'a' { vec![self.pop()?] } else { self.pop_to_mark()? };
        let below = deeper(added.iter().map(Value::depth))?;
        match self.stack.last_mut() {
            Some(Value::List { items, depth }) => {
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
            (Value::Text(name), Value::Text(module))
                if name.len().max(module.len()) <= MAX_NAME_BYTES =>
            {
                self.stack.push(Value::Global(format!("{module}.{name}").into()));
                Ok(())
            }
            _ => Err("a global without a name".to_string()),
        }
    }

    /// A reference to a storage: ("storage", type, name, device, elements).
    fn persistent(&mut self) -> Result<(), String> {
        let Value::Tuple { items, .. } = self.pop()? else {
            return Err("a reference to something that is no storage".to_string());
        };
        match &*items {
            [Value::Text(tag), Value::Global(kind), Value::Text(name), ..]
                if **tag == *"storage" =>
            {
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
        let Value::Tuple { items, .. } = arguments else {
            return Err(format!("a call of {name} without arguments"));
        };
        let made = match &*name {
            "collections.OrderedDict" if items.is_empty() => {
                Value::Dict { items: Vec::new(), depth: 1 }
            }
            "torch._utils._rebuild_tensor_v2" => Value::Tensor(Rc::new(tensor_from(&items)?)),
            // A parameter around a tensor, and TorchScript's typed lists around a list.
            "torch._utils._rebuild_parameter"
            | "torch.Size"
            | "torch.jit._pickle.build_intlist"
            | "torch.jit._pickle.build_doublelist"
            | "torch.jit._pickle.build_boollist" => match items.first() {
                Some(first @ (Value::Tensor(_) | Value::Tuple { .. })) => first.clone(),
                _ => Value::Nothing,
            },
            _ => return Err(format!("a call of {name}, refused")),
        };
        self.stack.push(made);
        Ok(())
    }
}
