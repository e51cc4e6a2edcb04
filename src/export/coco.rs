//! Predicted masks as one COCO data set. In: images, twice in the same order: first as entries of
//! `images`, then for their `annotations`. Out: JSON, written as it comes.
//!
//! One annotation is the predicted mask of one image: all its regions, as compressed run lengths of the
//! image's size, the way pycocotools, FiftyOne and CVAT read them. `iscrowd` is 0: a crowd is what
//! evaluation leaves out. The detector's boxes are no annotations: they have no mask, without which
//! pycocotools cannot read an annotation, and what they say is in the mask already.

use serde_json::{Value, json};

use super::selection::Image;
use super::target::Sink;
use crate::error::Error;

/// How every file of this kind begins.
pub const START: &str = "{\"info\":{\"description\":\"exported by filo\",\"version\":\"";

/// The only category: products are many, what is annotated in them is one thing.
const CATEGORY: &str = "anomaly";

/// A data set that is being written.
pub struct Writer {
    sink: Sink,
    images: u64,
    /// Images whose annotation was looked for.
    looked_at: u64,
    annotations: u64,
}

impl Writer {
    /// Begins with what describes the data set; `runs` are the ids of the runs that it is of.
    ///
    /// # Errors
    /// If the place cannot be written.
    pub fn begin(mut sink: Sink, runs: &[&str], year: i32) -> Result<Self, Error> {
        let version = env!("CARGO_PKG_VERSION");
        let runs = json!(runs);
        let category = json!([{ "id": 1, "name": CATEGORY, "supercategory": "" }]);
        let text = format!(
            "{START}{version}\",\"year\":{year},\"runs\":{runs}}},\n\"licenses\":[],\n\
             \"categories\":{category},\n\"images\":["
        );
        sink.write(text.as_bytes())?;
        Ok(Writer { sink, images: 0, looked_at: 0, annotations: 0 })
    }

    /// Adds an image.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub fn add(&mut self, image: &Image) -> Result<(), Error> {
        self.images += 1;
        let score = &image.score;
        let entry = json!({
            "id": self.images,
            "file_name": score.image_id,
            "width": score.width,
            "height": score.height,
            "category": image.category,
            "score": number(score.score),
            "is_anomalous": score.is_anomalous,
        });
        item(&mut self.sink, self.images, &entry)
    }

    /// After the last image: what follows are annotations.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub fn begin_annotations(&mut self) -> Result<(), Error> {
        self.sink.write(b"\n],\n\"annotations\":[")
    }

    /// Adds the annotation of the next image, if it has one.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub fn annotate(&mut self, image: &Image) -> Result<(), Error> {
        self.looked_at += 1;
        let Some(mask) = &image.mask else { return Ok(()) };
        self.annotations += 1;
        let entry = json!({
            "id": self.annotations,
            "image_id": self.looked_at,
            "category_id": 1,
            "segmentation": { "size": [mask.height, mask.width], "counts": mask.counts },
            "area": mask.area,
            "bbox": [mask.bbox_x, mask.bbox_y, mask.bbox_width, mask.bbox_height],
            "iscrowd": 0,
            "score": number(image.score.score),
        });
        item(&mut self.sink, self.annotations, &entry)
    }

    /// Ends the file, which appears; returns how many annotations it has.
    ///
    /// # Errors
    /// As [`Writer::begin`].
    pub fn finish(mut self) -> Result<u64, Error> {
        self.sink.write(b"\n]}\n")?;
        self.sink.finish()?;
        Ok(self.annotations)
    }

    /// Whether nobody reads it any more.
    pub fn is_gone(&self) -> bool {
        self.sink.is_gone()
    }
}

fn item(sink: &mut Sink, n: u64, entry: &Value) -> Result<(), Error> {
    let comma = if n > 1 { ",\n" } else { "\n" };
    sink.write(format!("{comma}{entry}").as_bytes())
}

/// The number with the fewest digits that name it.
fn number(score: f32) -> Value {
    format!("{score:?}").parse::<f64>().map_or(Value::Null, Value::from)
}
