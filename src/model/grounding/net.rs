//! Grounding DINO (Liu et al. 2023) from images and an encoded caption to raw detections.
//! Choosing boxes, phrases and positions comes after this and never here. `forward` is the stages
//! below in sequence; each is public, so that a test can stop between them.

use burn::module::{Module, Param};
use burn::nn::Initializer;
use burn::tensor::activation::sigmoid;
use burn::tensor::{Bool, Tensor, backend::Backend};

use super::bert::Bert;
use super::boxes::clamped_logit;
use super::config::GroundingConfig;
use super::decoder::{Decoder, DecoderMemory, DecoderState, refined_on_gpu};
use super::enhancer::{Enhancer, ImageContext, TextContext};
use super::feed_forward::{Perceptron, PerceptronConfig};
use super::fusion::ImageAndText;
use super::images::ImageBatch;
use super::levels::{
    LevelGeometry, LevelProjection, LevelShape, flatten_levels, project_levels, zero_rows,
};
use super::position_code::{SineCode, TEXT_AND_BOX_TEMPERATURE};
use super::queries::{Proposals, QuerySelector, text_logits};
use super::swin::SwinTransformer;
use super::text::{EncodedCaption, TextBatch};
use crate::model::kernels::gpu;
use crate::model::linear::{Linear, LinearConfig};
use crate::model::precision::project;

/// The detector.
#[derive(Module, Debug)]
pub struct GroundingDino<B: Backend> {
    pub backbone: SwinTransformer<B>,
    pub input_proj: Vec<LevelProjection<B>>,
    pub bert: Bert<B>,
    /// From BERT's width to `d_model`.
    pub feat_map: Linear<B>,
    /// `[levels, d_model]`: added to the position code of each level.
    pub level_embed: Param<Tensor<B, 2>>,
    pub encoder: Enhancer<B>,
    pub query_selector: QuerySelector<B>,
    pub decoder: Decoder<B>,
    /// One box head for all decoder layers.
    pub bbox_embed: Perceptron<B>,
    image_code_temperature: f64,
}

/// What the detector says of every query.
#[derive(Debug, Clone)]
pub struct RawDetections<B: Backend> {
    /// `[batch, queries, text tokens]`: dot products with the caption's tokens, −∞ for padded
    /// text. (The published model adds columns of −∞ up to 256.)
    pub logits: Tensor<B, 3>,
    /// `[batch, queries, 4]`: (centre x, centre y, width, height) in 0..=1 of the image.
    pub boxes: Tensor<B, 3>,
}

impl GroundingConfig {
    /// A detector with random weights, to be loaded over. The configuration must be
    /// [valid](GroundingConfig::validate).
    pub fn init<B: Backend>(&self, device: &B::Device) -> GroundingDino<B> {
        GroundingDino {
            backbone: self.swin.init(device),
            input_proj: self.init_projections(device),
            bert: self.bert.init(device),
            feat_map: LinearConfig::new(self.bert.hidden, self.d_model).init(device),
            level_embed: Initializer::Normal { mean: 0.0, std: 1.0 }
                .init([self.levels, self.d_model], device),
            encoder: self.init_enhancer(device),
            query_selector: self.init_query_selector(device),
            decoder: self.init_decoder(device),
            bbox_embed: PerceptronConfig::box_head(self.d_model).init(device),
            image_code_temperature: self.image_pos_temperature,
        }
    }
}

impl<B: Backend> GroundingDino<B> {
    /// BERT and the projection: the part that depends on the caption only.
    pub fn encode_caption(&self, text: TextBatch<B>) -> EncodedCaption<B> {
        let TextBatch { ids, positions, hidden, padding } = text;
        let features =
            project(&self.feat_map, self.bert.forward(ids, positions.clone(), hidden.clone()));
        let code = SineCode { features: self.d_model(), temperature: TEXT_AND_BOX_TEMPERATURE };
        let position = code.forward(positions.float().unsqueeze_dim(2));
        EncodedCaption { features, context: TextContext { position, hidden, padding } }
    }

    /// `caption` holds one caption for all images, or one per image.
    pub fn forward(&self, images: ImageBatch<B>, caption: &EncodedCaption<B>) -> RawDetections<B> {
        let [batch, _, height, width] = images.pixels.dims();
        let size = [height, width];
        let caption = caption.for_images(batch);
        let levels = self.levels(images.pixels);
        let geometry = match images.full && gpu::reaches::<B>() {
            true => self.full_geometry(&levels, size),
            false => self.geometry(&levels, images.padding),
        };
        let tokens = ImageAndText { image: flatten_levels(levels), text: caption.features.clone() };
        let image = ImageContext { geometry: &geometry, position: self.positions(&geometry) };
        let tokens = self.encoder.forward(tokens, &image, &caption.context);

        let start = self.start(&tokens, &geometry, &caption.context.padding);
        let memory = DecoderMemory {
            image: tokens.image,
            geometry: &geometry,
            text: tokens.text.clone(),
            text_context: &caption.context,
        };
        let end = self.decoder.forward(start, &memory, &self.bbox_embed);
        self.detections(end, tokens.text, caption.context.padding)
    }

    /// `pixels` `[batch, 3, height, width]` → the feature levels, `[batch, d_model, h, w]` each.
    pub fn levels(&self, pixels: Tensor<B, 4>) -> Vec<Tensor<B, 4>> {
        project_levels(&self.input_proj, &self.backbone.forward(pixels))
    }

    /// Where the tokens of `levels` are; `padding` `[batch, height, width]` as in [`ImageBatch`].
    pub fn geometry(
        &self,
        levels: &[Tensor<B, 4>],
        padding: Tensor<B, 3, Bool>,
    ) -> LevelGeometry<B> {
        LevelGeometry::new(shapes_of(levels), padding, self.image_code())
    }

    /// The same without padding, of images of `size` (height, width): made once for each size.
    fn full_geometry(&self, levels: &[Tensor<B, 4>], size: [usize; 2]) -> LevelGeometry<B> {
        let device = self.level_embed.val().device();
        LevelGeometry::full(shapes_of(levels), size, self.image_code(), &device)
    }

    fn image_code(&self) -> SineCode {
        let features = self.d_model() / 2;
        SineCode { features, temperature: self.image_code_temperature }
    }

    /// `[batch, n, d_model]`: position code plus the learned vector of the level.
    pub fn positions(&self, geometry: &LevelGeometry<B>) -> Tensor<B, 3> {
        let vectors = self.level_embed.val();
        let width = vectors.dims()[1];
        let rows = geometry
            .shapes
            .iter()
            .enumerate()
            .map(|(level, shape)| {
                vectors.clone().narrow(0, level, 1).expand([shape.tokens(), width])
            })
            .collect();
        geometry.position_code.clone() + Tensor::cat(rows, 0).unsqueeze_dim(0)
    }

    /// The queries before the first decoder layer.
    pub fn start(
        &self,
        tokens: &ImageAndText<B>,
        geometry: &LevelGeometry<B>,
        text_padding: &Tensor<B, 2, Bool>,
    ) -> DecoderState<B> {
        let selector = &self.query_selector;
        let proposals = Proposals::new(geometry);
        let [batch, n, _] = tokens.image.dims();
        let invalid = proposals.invalid.expand([batch, n]);
        let memory = selector.memory(zero_rows(tokens.image.clone(), invalid));
        let scores = selector.scores(memory.clone(), tokens.text.clone(), text_padding.clone());
        let queries = selector.select(memory, scores, proposals.boxes);
        DecoderState { content: queries.content, boxes: sigmoid(queries.boxes) }
    }

    /// Logits and boxes from the normalised content after the last layer and the boxes that
    /// entered it.
    pub fn detections(
        &self,
        end: DecoderState<B>,
        text: Tensor<B, 3>,
        text_padding: Tensor<B, 2, Bool>,
    ) -> RawDetections<B> {
        let content = self.decoder.norm.forward(end.content);
        if gpu::reaches::<B>() {
            let boxes = refined_on_gpu(&self.bbox_embed, content.clone(), end.boxes);
            return RawDetections { logits: text_logits(content, text, text_padding), boxes };
        }
        let shift = self.bbox_embed.forward(content.clone());
        RawDetections {
            logits: text_logits(content, text, text_padding),
            boxes: sigmoid(shift + clamped_logit(end.boxes)),
        }
    }

    fn d_model(&self) -> usize {
        self.level_embed.val().dims()[1]
    }
}

fn shapes_of<B: Backend>(levels: &[Tensor<B, 4>]) -> Vec<LevelShape> {
    let shape = |map: &Tensor<B, 4>| {
        let [_, _, height, width] = map.dims();
        LevelShape { height, width }
    };
    levels.iter().map(shape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as Own, cpu};
    use crate::model::grounding::CaptionToken;
    use crate::model::kept::made_by_this_thread;
    use burn::tensor::Distribution;

    fn tiny() -> GroundingConfig {
        let mut config = GroundingConfig::swin_t_ogc();
        config.swin.embed_dim = 8;
        config.swin.depths = vec![1, 2, 1];
        config.swin.num_heads = vec![1, 2, 4];
        config.swin.out_stages = vec![1, 2];
        (config.bert.hidden, config.bert.heads, config.bert.layers) = (16, 2, 1);
        (config.bert.intermediate, config.bert.vocab) = (16, 10);
        (config.d_model, config.text_sine_features, config.heads) = (32, 32, 2);
        (config.ffn, config.text_layer_ffn, config.fusion_dim) = (16, 16, 16);
        (config.encoder_layers, config.decoder_layers) = (2, 2);
        (config.levels, config.queries, config.group_norm_groups) = (3, 20, 8);
        config.query_sine_features_per_coordinate = 8;
        config.validate().expect("the sizes fit together");
        config
    }

    /// Indices, masks and coordinates are made for the first batch of a size, and sent once.
    #[test]
    fn a_second_batch_of_a_size_makes_nothing_that_depends_on_sizes_only() {
        let config = tiny();
        let net = config.init::<Own>(&cpu());
        let token = |id| CaptionToken { id, position: 0, sees: 0..2 };
        let text = TextBatch::new(&[&[token(1), token(2)]], &config, &cpu()).unwrap();
        let caption = net.encode_caption(text);
        // A size that no other test has.
        let picture = || Tensor::random([3, 93, 71], Distribution::Normal(0.0, 1.0), &cpu());
        let made_for_batch_of = |count: usize| {
            let before = made_by_this_thread();
            let images = ImageBatch::new((0..count).map(|_| picture()).collect()).unwrap();
            net.forward(images, &caption);
            made_by_this_thread() - before
        };
        assert!(made_for_batch_of(2) > 10);
        assert_eq!(made_for_batch_of(2), 0);
        // Rows of windows and of pixels are those of a batch: of both shifts of all stages but the last
        // and the first, which have one block.
        assert_eq!(made_for_batch_of(1), 2 * 4);
        assert_eq!(made_for_batch_of(2), 0);
    }
}
