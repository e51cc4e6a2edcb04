//! The drawn images on the page, each once, however many cards show it. In: files of layers. Out: text
//! that holds them, and which of them a card shows.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::images::{Images, ReferenceKey};
use super::layers::Layers;
use super::page::short;
use super::picks::SeenScore;
use super::references::Place;
use crate::image::Size;
use crate::tables::BoxRow;

pub struct ImageView {
    pub id: usize,
    pub width: usize,
    pub height: usize,
    pub picture: String,
    /// How the image lies below its layers.
    pub below: &'static str,
    /// A reference has no findings.
    pub is_reference: bool,
    pub layers: Vec<LayerView>,
    pub boxes: Vec<[String; 4]>,
}

/// A layer that some image of the page has, and can be hidden.
pub struct Layer {
    pub class: &'static str,
    /// The key that hides it.
    pub key: &'static str,
    pub name: &'static str,
    /// How the legend draws it; empty without one.
    pub legend: &'static str,
}

pub struct LayerView {
    pub class: &'static str,
    pub href: String,
}

/// Which drawing, and its size.
#[derive(Clone, Copy)]
pub struct Drawn {
    pub id: usize,
    pub width: usize,
    pub height: usize,
}

/// The nearest reference of an image.
pub struct Compared {
    pub image_id: String,
    pub drawn: Option<Drawn>,
    /// Why it is not shown.
    pub why: String,
}

/// The drawings of a page by number: images of galleries, then references, then close-ups.
pub struct Drawings<'a> {
    images: &'a Images,
    numbers: BTreeMap<(Place, &'a str), usize>,
    close_ups: BTreeMap<(usize, &'a str), usize>,
}

impl<'a> Drawings<'a> {
    pub fn new(images: &'a Images) -> Self {
        let shown = images.shown.keys().map(|(run, id)| (Place::Input(*run), id.as_str()));
        let references = images.references.keys().map(|(place, id)| (place.clone(), id.as_str()));
        let numbers = shown.chain(references).zip(0..).collect::<BTreeMap<_, _>>();
        let shown = images.shown.iter().filter(|(_, of)| of.close_up.is_some());
        let close_ups = shown.map(|((run, id), _)| (*run, id.as_str()));
        let close_ups = close_ups.zip(numbers.len()..).collect();
        Drawings { images, numbers, close_ups }
    }

    fn drawn(&self, place: &Place, id: &str, layers: &Layers) -> Option<Drawn> {
        let Size { width, height } = layers.size;
        Some(Drawn { id: *self.numbers.get(&(place.clone(), id))?, width, height })
    }

    /// The drawing of an image of a gallery.
    pub fn of(&self, seen: &SeenScore) -> Option<Drawn> {
        let layers = self.images.of(seen)?.layers.as_ref().ok()?;
        self.drawn(&Place::Input(seen.run), &seen.row.image_id, layers)
    }

    /// The hottest part of an image of a gallery.
    pub fn close_up(&self, seen: &SeenScore) -> Option<Drawn> {
        let id = *self.close_ups.get(&(seen.run, seen.row.image_id.as_str()))?;
        let Size { width, height } = self.images.of(seen)?.close_up.as_ref()?.layers.size;
        Some(Drawn { id, width, height })
    }

    /// That of what an image is compared with.
    pub fn compared(&self, reference: &ReferenceKey) -> Compared {
        let (place, id) = reference;
        let (drawn, why) = match self.images.reference(reference) {
            Ok(layers) => (self.drawn(place, id, layers), String::new()),
            Err(why) => (None, short(why)),
        };
        Compared { image_id: short(id), drawn, why }
    }

    /// Which layers there are.
    pub fn layers(&self) -> Vec<Layer> {
        let all = || self.images.shown.values();
        let drawn = || all().filter_map(|of| of.layers.as_ref().ok());
        let layers = [
            (drawn().any(|of| of.heat.is_some()), "heat", "H", "heat map", ""),
            (drawn().any(|of| of.prediction.is_some()), "mask", "M", "predicted mask", "mask"),
            (drawn().any(|of| of.truth.is_some()), "truth", "T", "true mask", "truth"),
            (
                all().any(|of| of.layers.is_ok() && !of.boxes.is_empty()),
                "boxes",
                "B",
                "boxes",
                "box",
            ),
        ];
        let there = layers.into_iter().filter(|(there, ..)| *there);
        there.map(|(_, class, key, name, legend)| Layer { class, key, name, legend }).collect()
    }

    /// All of them as text.
    pub fn views(&self) -> Vec<ImageView> {
        let shown = self.images.shown.values().map(|of| (&of.layers, Some(&of.boxes)));
        let references = self.images.references.values().map(|layers| (layers, None));
        let all = shown.chain(references).enumerate();
        let all = all.filter_map(|(id, (layers, boxes))| Some((id, layers.as_ref().ok()?, boxes)));
        let none = &Vec::new();
        let close_ups = self.images.shown.values().filter_map(|of| of.close_up.as_ref());
        let close_ups = close_ups.map(|of| (&of.layers, Some(none)));
        let close_ups = (self.numbers.len()..).zip(close_ups).map(|(id, (of, no))| (id, of, no));
        all.chain(close_ups).map(|(id, layers, boxes)| view(id, layers, boxes)).collect()
    }
}

fn view(id: usize, layers: &Layers, boxes: Option<&Vec<BoxRow>>) -> ImageView {
    let png = |class, png: &Option<Vec<u8>>| {
        let href = data_uri("image/png", png.as_ref()?);
        Some(LayerView { class, href })
    };
    let all =
        [png("heat", &layers.heat), png("truth", &layers.truth), png("mask", &layers.prediction)];
    ImageView {
        id,
        width: layers.size.width,
        height: layers.size.height,
        picture: data_uri("image/jpeg", &layers.picture),
        below: if layers.heat.is_some() { "below" } else { "" },
        is_reference: boxes.is_none(),
        layers: all.into_iter().flatten().collect(),
        boxes: boxes.into_iter().flatten().map(|of| box_view(of, layers)).collect(),
    }
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
