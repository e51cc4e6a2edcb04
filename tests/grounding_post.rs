//! From the detector's outputs to phrases, position and damped map: everything equals what the
//! published release does with the same numbers.

mod support;

use filo::image::Size;
use filo::model::filo::descriptions::Descriptions;
use filo::model::filo::position::{PixelBox, best_detection, choose_position, damp_outside};
use filo::model::grounding::caption::CaptionTokenizer;
use filo::model::grounding::phrases::{
    Detection, DetectionThresholds, NormalizedBox, PhraseFilter, QueryOutputs, printed_score,
    select_detections,
};
use serde_json::Value;
use support::golden::{Golden, golden_dir};

const SIZE: usize = 518;

fn golden(name: &str) -> Value {
    let path = golden_dir().join("grounding_post").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    serde_json::from_str(&text).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

fn normalized(values: &[f32]) -> NormalizedBox {
    NormalizedBox::from(<[f32; 4]>::try_from(values).unwrap())
}

/// A detection as the release writes it, `dent(0.41)`, with a probability that prints so.
fn detection(query: usize, bbox: NormalizedBox, published: &str) -> Detection {
    let (phrase, score) = published.strip_suffix(')').unwrap().rsplit_once('(').unwrap();
    // Two decimals stand for a range; its middle prints like its bounds.
    let number: f32 = score.replace("3.1e", "3.1e-5").parse().unwrap();
    let probability = if printed_score(number) == score { number } else { number + 0.005 };
    if score != "3.1e" {
        assert_eq!(printed_score(probability), score);
    }
    Detection { query, bbox, probability, phrase: phrase.to_string() }
}

fn pixels(bbox: &PixelBox) -> [f32; 4] {
    [bbox.x0, bbox.y0, bbox.x1, bbox.y1]
}

/// Checks everything from phrases on: filter, boxes, best, centre, position, damping.
fn check_from_phrases(what: &str, detections: &[Detection], case: &Value, accepted: &Value) {
    let category = case["category"].as_str().unwrap();
    let words = Descriptions::built_in().unwrap().caption_words(category);
    let filter = PhraseFilter::new(&words, &CaptionTokenizer::embedded().unwrap());
    let boxes_after = case["boxes_after"].as_array().unwrap();
    let mut kept = Vec::new();
    for (i, detection) in detections.iter().enumerate() {
        let accepts = filter.accepts(detection);
        assert_eq!(Some(accepts), accepted[i].as_bool(), "{what}: {:?}", detection.phrase);
        if accepts {
            let bbox = PixelBox::new(detection.bbox, SIZE, SIZE);
            assert_eq!(pixels(&bbox), floats(&boxes_after[i])[..], "{what}: box {i}");
            kept.push(detection.clone());
        }
    }

    // Where a score prints with an exponent the release crashes and says nothing of a best box.
    if case["error"].is_null() {
        let best = best_detection(&kept);
        let position = choose_position(&kept, SIZE).map(|position| position.as_str());
        assert_eq!(position.into_iter().collect::<Vec<_>>(), texts(&case["position"]), "{what}");
        let want = case["best_index"].as_u64().map(|index| detections[index as usize].query);
        assert_eq!(best.map(|best| best.query), want, "{what}: best box");
        if let Some(best) = best {
            let (x, y) = PixelBox::new(best.bbox, SIZE, SIZE).center();
            assert_eq!([x, y], floats(&case["centre"])[..], "{what}: centre");
        }
    }

    let boxes: Vec<PixelBox> =
        kept.iter().map(|detection| PixelBox::new(detection.bbox, SIZE, SIZE)).collect();
    let mut map = vec![1.0; SIZE * SIZE];
    damp_outside(&mut map, Size::square(SIZE), &boxes);
    let inside = map.iter().filter(|&&value| value == 1.0).count() as u64;
    assert_eq!(Some(inside), case["full_weight_pixels"].as_u64(), "{what}: pixels inside");
    if let Some(sum) = case["ramp_map_sum_after"].as_f64() {
        let pixels = (SIZE * SIZE) as f64;
        let mut ramp: Vec<f32> =
            (0..SIZE * SIZE).map(|i| (0.05 + 0.9 * i as f64 / pixels) as f32).collect();
        damp_outside(&mut ramp, Size::square(SIZE), &boxes);
        let got: f64 = ramp.iter().map(|&value| f64::from(value)).sum();
        assert!((got - sum).abs() < 1e-2, "{what}: sum of the ramp {got}, not {sum}");
    }
}

#[test]
fn boxes_and_phrases_give_the_published_position_and_damping() {
    let cases = golden("cases.json");
    let cases = cases.as_array().unwrap();
    assert_eq!(cases.len(), 22);
    for case in cases {
        let boxes = case["boxes_cxcywh"].as_array().unwrap();
        let detections: Vec<Detection> = boxes
            .iter()
            .zip(texts(&case["phrases"]))
            .enumerate()
            .map(|(query, (bbox, phrase))| detection(query, normalized(&floats(bbox)), phrase))
            .collect();
        check_from_phrases(case["name"].as_str().unwrap(), &detections, case, &case["kept"]);
    }
}

fn sigmoid(logit: f32) -> f32 {
    1.0 / (1.0 + (-logit).exp())
}

/// The detections that the raw outputs of one image give.
fn detections(logits: &[f32], boxes: &[f32], caption: &str, probability: f32) -> Vec<Detection> {
    let tokenizer = CaptionTokenizer::embedded().unwrap();
    let caption = tokenizer.encode(caption, 256);
    let boxes: Vec<NormalizedBox> = boxes.chunks(4).map(normalized).collect();
    // A batch pads the shorter caption's rows at their end.
    let rows = logits.chunks(logits.len() / boxes.len());
    let probabilities: Vec<f32> =
        rows.flat_map(|row| row[..caption.len()].iter().copied().map(sigmoid)).collect();
    let outputs = QueryOutputs { probabilities: &probabilities, boxes: &boxes };
    let thresholds = DetectionThresholds { probability, ..Default::default() };
    select_detections(outputs, &caption, thresholds, &tokenizer)
}

fn check_phrases(what: &str, detections: &[Detection], queries: &Value, phrases: &Value) {
    let kept: Vec<u64> = detections.iter().map(|detection| detection.query as u64).collect();
    let want: Vec<u64> = queries.as_array().unwrap().iter().map(|q| q.as_u64().unwrap()).collect();
    assert_eq!(kept, want, "{what}: queries kept");
    let got: Vec<String> = detections.iter().map(Detection::published_phrase).collect();
    assert_eq!(got, texts(phrases), "{what}: phrases");
}

#[test]
fn raw_outputs_give_the_published_queries_and_phrases_at_every_threshold() {
    let outputs = Golden::open(&golden_dir().join("grounding_post/detector_outputs.safetensors"));
    let cases = golden("detections.json");
    let mut checked = 0;
    for case in cases["detector"].as_array().unwrap() {
        let name = case["name"].as_str().unwrap();
        let captions = texts(&case["captions"]);
        let logits = outputs.f32(&format!("{name}.logits"));
        let boxes = outputs.f32(&format!("{name}.boxes"));
        for expected in case["thresholds"].as_array().unwrap() {
            let picture = expected["batch_index"].as_u64().unwrap() as usize;
            let part = |values: &[f32]| {
                let length = values.len() / captions.len();
                values[picture * length..(picture + 1) * length].to_vec()
            };
            let threshold = expected["threshold"].as_f64().unwrap() as f32;
            let kept = detections(&part(&logits), &part(&boxes), captions[picture], threshold);
            let what = format!("{name}, image {picture}, threshold {threshold}");
            check_phrases(&what, &kept, &expected["query"], &expected["phrase"]);
            checked += kept.len();
        }
    }
    assert_eq!(checked, 601);
}

#[test]
fn whole_pictures_give_the_published_phrases_position_and_damping() {
    let outputs = Golden::open(&golden_dir().join("grounding_post/detector_outputs.safetensors"));
    let cases = golden("detections.json");
    let cases = cases["end_to_end"].as_array().unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let image = case["image"].as_str().unwrap();
        let threshold = case["box_threshold"].as_f64().unwrap() as f32;
        let what = format!("{image}, threshold {threshold}");
        let kept = detections(
            &outputs.f32(&format!("{image}.logits")),
            &outputs.f32(&format!("{image}.boxes")),
            case["caption"].as_str().unwrap(),
            threshold,
        );
        check_phrases(&what, &kept, &case["queries"], &case["phrases"]);
        check_from_phrases(&what, &kept, case, &case["accepted"]);
    }
}
