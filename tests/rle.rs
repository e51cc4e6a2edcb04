//! Promises about masks as text: the encoding is pycocotools' byte for byte, and any mask comes back
//! unchanged. The golden encodings were made with pycocotools.

use std::path::Path;

use filo::image::{Mask, PixelBox, Rle, Size};
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde_json::Value;

fn golden(name: &str) -> Option<Vec<u8>> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/rle"));
    std::fs::read(folder.join(name)).ok()
}

/// The large masks are PNG files, the small ones tensors.
fn mask(case: &Value, tensors: &SafeTensors) -> Mask {
    let name = case["name"].as_str().unwrap();
    let side = |i: usize| case["size"][i].as_u64().unwrap() as usize;
    let size = Size { width: side(1), height: side(0) };
    let values = match golden(&format!("{name}.png")) {
        Some(png) => image::load_from_memory(&png).unwrap().to_luma8().into_raw(),
        None => tensors.tensor(name).unwrap().data().to_vec(),
    };
    Mask::new(size, values).unwrap()
}

fn bbox(case: &Value) -> PixelBox {
    let value = |i: usize| case["bbox_xywh"][i].as_f64().unwrap() as usize;
    PixelBox { x: value(0), y: value(1), width: value(2), height: value(3) }
}

#[test]
fn all_golden_masks_encode_to_the_same_text_and_back() {
    let cases: Vec<Value> = serde_json::from_slice(&golden("cases.json").unwrap()).unwrap();
    let file = golden("masks.safetensors").unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    assert_eq!(cases.len(), 18);
    for case in &cases {
        let name = &case["name"];
        let mask = mask(case, &tensors);
        let rle = Rle::encode(&mask);
        assert_eq!(rle.counts(), case["counts"], "{name}");
        assert_eq!(Some(rle.area_px()), case["area"].as_u64(), "{name}");
        assert_eq!(rle.bbox(), bbox(case), "{name}");
        assert_eq!(rle.decode(), mask, "{name}");
        let read = Rle::from_counts(mask.size(), case["counts"].as_str().unwrap().to_string());
        assert_eq!(read, Ok(rle), "{name}");
    }
}

/// Masks from noise to solid, by how likely a value is to repeat the one above or before it.
fn any_mask() -> impl Strategy<Value = Mask> {
    (1..40usize, 1..40usize, 0.0..1.0f64).prop_flat_map(|(width, height, defect)| {
        let values = prop::collection::vec(prop::bool::weighted(defect), width * height);
        values.prop_map(move |values| {
            let values = values.into_iter().map(u8::from).collect();
            Mask::new(Size { width, height }, values).unwrap()
        })
    })
}

/// The smallest box, the slow way.
fn box_of(mask: &Mask) -> PixelBox {
    let width = mask.size().width;
    let defect = || mask.values().iter().enumerate().filter(|(_, v)| **v > 0).map(|(i, _)| i);
    let (xs, ys) = (|| defect().map(|i| i % width), || defect().map(|i| i / width));
    match (xs().min(), xs().max(), ys().min(), ys().max()) {
        (Some(x), Some(right), Some(y), Some(bottom)) => {
            PixelBox { x, y, width: right - x + 1, height: bottom - y + 1 }
        }
        _ => PixelBox::default(),
    }
}

proptest! {
    #[test]
    fn any_mask_comes_back_unchanged(mask in any_mask()) {
        let rle = Rle::encode(&mask);
        prop_assert_eq!(&rle.decode(), &mask);
        prop_assert_eq!(rle.area_px(), mask.area_px());
        prop_assert_eq!(rle.bbox(), box_of(&mask));
        let read = Rle::from_counts(mask.size(), rle.counts().to_string());
        prop_assert_eq!(read, Ok(rle));
    }

    #[test]
    fn any_text_is_refused_or_decodes_to_the_size_that_was_asked(
        text in "[0-o]{0,12}",
        width in 1..9usize,
        height in 1..9usize,
    ) {
        let size = Size { width, height };
        if let Ok(rle) = Rle::from_counts(size, text) {
            let mask = rle.decode();
            prop_assert_eq!(mask.size(), size);
            prop_assert_eq!(mask.area_px(), rle.area_px());
        }
    }
}
