//! The part of Python's pickle format that tensor archives use. In: the bytes of a `data.pkl`.
//! Out: names and descriptions of tensors. Nothing is executed: a pickle is a program, and here it
//! may only build texts, numbers, dictionaries, tensors, and the modules of TorchScript as bags of
//! attributes; whatever else it names is refused.

mod machine;
mod value;

use std::rc::Rc;

use burn::tensor::DType;

use self::machine::Machine;
use self::value::Value;

/// A longer name is none.
const MAX_NAME_BYTES: usize = 1024;

/// What TorchScript calls the classes of its modules begins with this.
const MODULE_CLASS: &str = "__torch__.";

/// Where the numbers of a tensor lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Name of the storage in the archive.
    pub storage: Rc<str>,
    pub dtype: DType,
    /// First element, counted in elements of the storage.
    pub offset: usize,
    pub shape: Vec<usize>,
    /// Steps between neighbours along each dimension, in elements.
    pub strides: Vec<usize>,
}

/// What kind of program wrote a pickle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Root {
    /// A state dictionary.
    Dictionary,
    /// A tree of TorchScript modules.
    Module,
}

/// The tensors of a pickle. Of a state dictionary: those of the dictionary under the first of
/// `keys` that is there, else of the outermost one. Of TorchScript: all parameters and buffers by
/// their dotted paths. Entries that are no tensors are left out.
///
/// # Errors
/// Says at which byte what was found: an opcode or a global that tensors do not need, or the end.
pub fn tensors_of(
    bytes: &[u8],
    keys: &[&str],
) -> Result<(Root, Vec<(String, StoredTensor)>), String> {
    let mut named = Vec::new();
    match Machine::new(bytes).run()? {
        Value::Dict { items, .. } => {
            let inner = keys.iter().find_map(|key| {
                items.iter().find_map(|(name, value)| match (name, value) {
                    (Value::Text(name), Value::Dict { items, .. }) if **name == **key => {
                        Some(items)
                    }
                    _ => None,
                })
            });
            for (name, value) in inner.unwrap_or(&items) {
                if let (Value::Text(name), Value::Tensor(tensor)) = (name, value) {
                    named.push((checked_name(name)?, StoredTensor::clone(tensor)));
                }
            }
            Ok((Root::Dictionary, named))
        }
        Value::Module { items, .. } => {
            flatten("", &items, &mut named)?;
            Ok((Root::Module, named))
        }
        _ => Err("the pickle holds neither a dictionary nor a module".to_string()),
    }
}

/// All tensors among the attributes of a module and of the modules in it.
fn flatten(
    prefix: &str,
    items: &[(Value, Value)],
    named: &mut Vec<(String, StoredTensor)>,
) -> Result<(), String> {
    for (name, value) in items {
        let Value::Text(name) = name else { continue };
        let path = || checked_name(&format!("{prefix}{name}"));
        match value {
            Value::Tensor(tensor) => named.push((path()?, StoredTensor::clone(tensor))),
            Value::Module { items, .. } => flatten(&format!("{}.", path()?), items, named)?,
            _ => {}
        }
    }
    Ok(())
}

fn checked_name(name: &str) -> Result<String, String> {
    match name.len() {
        ..=MAX_NAME_BYTES => Ok(name.to_string()),
        length => Err(format!("a tensor's name has {length} bytes")),
    }
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
        assert!(tensors_of(b"\x80\x02N.", &[]).unwrap_err().contains("neither"));
    }

    #[test]
    fn nesting_without_end_is_refused() {
        let mut deep = b"\x80\x02)".to_vec();
        deep.extend([0x85; 100_000]);
        assert!(tensors_of(&deep, &[]).unwrap_err().contains("nested"));
    }
    #[test]
    fn copies_of_something_large_are_not_made() {
        // A tuple of 20 000 numbers, put aside 200 000 times.
        let mut pickle = b"\x80\x02(".to_vec();
        pickle.extend(b"K\x01".repeat(20_000));
        pickle.push(b't');
        for slot in 0..200_000u32 {
            pickle.push(b'r');
            pickle.extend(slot.to_le_bytes());
        }
        pickle.push(b'.');
        assert!(tensors_of(&pickle, &[]).unwrap_err().contains("neither"));
    }
}
