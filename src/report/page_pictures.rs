//! The drawn pictures on the page, each once, however many cards show it. In: files of layers. Out:
//! text that holds them.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::layers::Layers;
use super::page::Shown;
use crate::tables::BoxRow;

pub struct PictureView {
    pub id: usize,
    pub width: usize,
    pub height: usize,
    pub picture: String,
    /// How the picture lies below its layers.
    pub below: &'static str,
    pub layers: Vec<LayerView>,
    pub boxes: Vec<[String; 4]>,
}

pub struct LayerView {
    pub class: &'static str,
    pub href: String,
}

/// `pictures` by name; the place of a name is its number.
pub fn picture_views(pictures: &BTreeMap<String, Shown>) -> Vec<PictureView> {
    let view = |(id, shown): (usize, &Shown)| {
        let layers = shown.layers.as_ref().ok()?;
        let png = |class, png: &Option<Vec<u8>>| {
            let href = data_uri("image/png", png.as_ref()?);
            Some(LayerView { class, href })
        };
        let all = [
            png("heat", &layers.heat),
            png("truth", &layers.truth),
            png("mask", &layers.prediction),
        ];
        Some(PictureView {
            id,
            width: layers.size.width,
            height: layers.size.height,
            picture: data_uri("image/jpeg", &layers.picture),
            below: if layers.heat.is_some() { "below" } else { "" },
            layers: all.into_iter().flatten().collect(),
            boxes: shown.boxes.iter().map(|of| box_view(of, layers)).collect(),
        })
    };
    pictures.values().enumerate().filter_map(view).collect()
}

/// Left, top, width and height of a box, in the pixels of the drawing.
fn box_view(of: &BoxRow, layers: &Layers) -> [String; 4] {
    let scale = |shown: usize, own: usize| shown as f32 / own.max(1) as f32;
    let scale_x = scale(layers.size.width, layers.of.width);
    let scale_y = scale(layers.size.height, layers.of.height);
    let (left, top) = (of.x0 * scale_x, of.y0 * scale_y);
    let (width, height) = ((of.x1 - of.x0) * scale_x, (of.y1 - of.y0) * scale_y);
    [left, top, width.max(0.0), height.max(0.0)].map(|length| format!("{length:.1}"))
}

fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", BASE64_STANDARD.encode(bytes))
}
