//! References as a file, and back: a safetensors file of few tensors, with a JSON header and a digest
//! over all of it. The same references give the same bytes. Reading trusts nothing: what does not have
//! the digest, the shapes or the format is an error in words.

use std::collections::{BTreeMap, HashMap};

use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version of what is in the file.
const FORMAT: u32 = 1;

/// The key of the header among the metadata: one, since a map of several has no order.
const HEADER: &str = "filo";

/// Hexadecimal digits of the digest in front of the header.
const DIGEST: usize = 64;

/// Numbers of a tensor as they are stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    F32(Vec<f32>),
    /// Kept in 16 bits.
    F16(Vec<f32>),
}

/// Tensors by name, each with its shape.
pub type Tensors = BTreeMap<String, (Vec<usize>, Numbers)>;

/// `value` as the file gives it back, where numbers are kept in 16 bits.
pub fn as_f16(value: f32) -> f32 {
    f16::from_f32(value).to_f32()
}

/// The file of a header and tensors.
pub fn encode<H: Serialize>(header: &H, tensors: &Tensors) -> Vec<u8> {
    let stored = tensors.iter().map(|(name, (shape, numbers))| {
        let (dtype, bytes) = match numbers {
            Numbers::F32(values) => {
                (Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            }
            Numbers::F16(values) => {
                let halves = values.iter().map(|value| f16::from_f32(*value));
                (Dtype::F16, halves.flat_map(f16::to_le_bytes).collect())
            }
        };
        (name.as_str(), dtype, shape.clone(), bytes)
    });
    let stored = stored.collect::<Vec<(&str, Dtype, Vec<usize>, Vec<u8>)>>();
    let header = serde_json::json!({ "format": FORMAT, "reference": header }).to_string();
    let mut digest = blake3::Hasher::new();
    digest.update(header.as_bytes());
    for (name, _, shape, bytes) in &stored {
        add_tensor(&mut digest, name, shape, bytes);
    }
    let header = format!("{}{header}", digest.finalize().to_hex());
    let views = stored.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        (*name, view.expect("each tensor has as many numbers as its shape says"))
    });
    serialize(views, Some(HashMap::from([(HEADER.to_string(), header)])))
        .expect("names, shapes and numbers of ours fit the format")
}

fn add_tensor(digest: &mut blake3::Hasher, name: &str, shape: &[usize], bytes: &[u8]) {
    digest.update(format!("{name}{shape:?}").as_bytes());
    digest.update(bytes);
}

/// What is in the file.
///
/// # Errors
/// Says what is wrong with it.
pub fn decode<H: DeserializeOwned>(bytes: &[u8]) -> Result<(H, Tensors), String> {
    let damaged = |_| "is no file of references, or a damaged one".to_string();
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let header = metadata.metadata().as_ref().and_then(|of| of.get(HEADER));
    let header = header.filter(|text| text.is_char_boundary(DIGEST) && text.len() > DIGEST);
    let (expected, header) = header.ok_or("is no file of references")?.split_at(DIGEST);
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let mut digest = blake3::Hasher::new();
    digest.update(header.as_bytes());
    let views = file.tensors().into_iter().collect::<BTreeMap<_, _>>();
    for (name, view) in &views {
        add_tensor(&mut digest, name, view.shape(), view.data());
    }
    if digest.finalize().to_hex().as_str() != expected {
        return Err("was changed after it was written".to_string());
    }
    let mut header =
        serde_json::from_str::<serde_json::Value>(header).map_err(|e| e.to_string())?;
    if header["format"] != FORMAT {
        return Err(format!("is of format {}, this program knows {FORMAT}", header["format"]));
    }
    let header = serde_json::from_value(header["reference"].take()).map_err(|e| e.to_string())?;
    let tensors = views.into_iter().map(|(name, view)| {
        let numbers = match view.dtype() {
            Dtype::F32 => {
                let (values, _) = view.data().as_chunks::<4>();
                Numbers::F32(values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            Dtype::F16 => {
                let (values, _) = view.data().as_chunks::<2>();
                Numbers::F16(values.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect())
            }
            other => return Err(format!("has numbers of another type ({other:?})")),
        };
        Ok((name, (view.shape().to_vec(), numbers)))
    });
    Ok((header, tensors.collect::<Result<_, _>>()?))
}

/// The numbers of the tensor `name`, if it is there and has `shape`.
///
/// # Errors
/// Says which tensor is missing or has another shape.
pub fn floats(tensors: &mut Tensors, name: &str, shape: &[usize]) -> Result<Vec<f32>, String> {
    match tensors.remove(name) {
        Some((found, Numbers::F32(values) | Numbers::F16(values))) if found == shape => {
            if values.iter().all(|value| value.is_finite()) {
                return Ok(values);
            }
            Err(format!("has a {name} that is not finite"))
        }
        Some((found, _)) => Err(format!("has a {name} of shape {found:?}, not {shape:?}")),
        None => Err(format!("has no {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Vec<u8> {
        let tensors = Tensors::from([
            ("a".to_string(), (vec![2], Numbers::F32(vec![0.5, -1.0]))),
            ("b".to_string(), (vec![1, 2], Numbers::F16(vec![0.25, 3.0]))),
        ]);
        encode(&vec!["weave"], &tensors)
    }

    #[test]
    fn what_is_written_comes_back() {
        let (header, mut tensors) = decode::<Vec<String>>(&file()).unwrap();
        assert_eq!(header, ["weave"]);
        assert_eq!(floats(&mut tensors, "a", &[2]).unwrap(), [0.5, -1.0]);
        assert_eq!(floats(&mut tensors, "b", &[1, 2]).unwrap(), [0.25, 3.0]);
        assert!(floats(&mut tensors, "b", &[2]).unwrap_err().contains("has no b"));
    }

    #[test]
    fn every_byte_that_changes_is_noticed() {
        let whole = file();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            assert!(decode::<Vec<String>>(&changed).is_err(), "byte {at}");
        }
        for end in 0..whole.len() {
            assert!(decode::<Vec<String>>(&whole[..end]).is_err(), "{end} bytes");
        }
    }
}
