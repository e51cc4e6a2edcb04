//! Every dimension of the detector (Grounding DINO): test sizes and the published Swin-T "OGC"
//! size are values of one type; no network file holds a literal. The JSON form is the detector's
//! part of the `config.json` that lies beside a weights file; unknown keys are ignored.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::config::ConfigError;

/// Image backbone: Swin transformer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SwinConfig {
    /// Channels of the first stage; every later stage has twice those of the one before.
    pub embed_dim: usize,
    /// Blocks per stage. Odd blocks (counted from 0) use shifted windows.
    pub depths: Vec<usize>,
    /// Attention heads per stage.
    pub num_heads: Vec<usize>,
    /// Edge length of an attention window, in patches.
    pub window: usize,
    /// Edge length of a patch, in pixels.
    pub patch: usize,
    /// Hidden channels of a block's MLP, as a multiple of the stage's channels.
    pub mlp_ratio: usize,
    /// Stages, counted from 0, whose output the detector reads. Rising; ends at the last stage.
    pub out_stages: Vec<usize>,
}

impl SwinConfig {
    /// Channels of stage `stage`, counted from 0.
    pub fn width(&self, stage: usize) -> usize {
        self.embed_dim << stage
    }
}

/// Text backbone: BERT, exact (erf) GELU.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BertConfig {
    /// Channels of a token.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// Attention heads per layer.
    pub heads: usize,
    /// Hidden channels of a layer's MLP.
    pub intermediate: usize,
    /// Rows of the position table.
    pub max_position: usize,
    /// Rows of the token table.
    pub vocab: usize,
    /// Added to the variance in every LayerNorm of this tower only.
    pub layer_norm_eps: f64,
}

/// The whole detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GroundingConfig {
    pub swin: SwinConfig,
    pub bert: BertConfig,
    /// Channels in which image tokens, text tokens and queries meet.
    pub d_model: usize,
    /// Heads of every attention of encoder and decoder that is not named below.
    pub heads: usize,
    pub encoder_layers: usize,
    pub decoder_layers: usize,
    /// Hidden channels of the feed-forward nets of encoder and decoder.
    pub ffn: usize,
    pub text_layer_heads: usize,
    /// Hidden channels of the feed-forward nets of the text layers.
    pub text_layer_ffn: usize,
    pub fusion_heads: usize,
    /// Inner channels of the image-text fusion, all heads together.
    pub fusion_dim: usize,
    /// Feature levels; those beyond `swin.out_stages` are strided convolutions.
    pub levels: usize,
    /// Sampling points per head and level of the deformable attention.
    pub points: usize,
    /// Boxes proposed per image.
    pub queries: usize,
    /// Longest caption, in tokens, special tokens included.
    pub max_text_len: usize,
    pub group_norm_groups: usize,
    /// Temperature of the image position code.
    pub image_pos_temperature: f64,
    /// Sine features of each of a box's four numbers.
    pub query_sine_features_per_coordinate: usize,
    /// Sine features of a text position; equals `d_model`, since both are added.
    pub text_sine_features: usize,
}

impl GroundingConfig {
    /// The published size: Swin-T, BERT-base, "OGC" configuration, 172.8 M parameters.
    pub fn swin_t_ogc() -> Self {
        GroundingConfig {
            swin: SwinConfig {
                embed_dim: 96,
                depths: vec![2, 2, 6, 2],
                num_heads: vec![3, 6, 12, 24],
                window: 7,
                patch: 4,
                mlp_ratio: 4,
                out_stages: vec![1, 2, 3],
            },
            bert: BertConfig {
                hidden: 768,
                layers: 12,
                heads: 12,
                intermediate: 3072,
                max_position: 512,
                vocab: 30_522,
                layer_norm_eps: 1e-12,
            },
            d_model: 256,
            heads: 8,
            encoder_layers: 6,
            decoder_layers: 6,
            ffn: 2048,
            text_layer_heads: 4,
            text_layer_ffn: 1024,
            fusion_heads: 4,
            fusion_dim: 1024,
            levels: 4,
            points: 4,
            queries: 900,
            max_text_len: 256,
            group_norm_groups: 32,
            image_pos_temperature: 20.0,
            query_sine_features_per_coordinate: 128,
            text_sine_features: 256,
        }
    }

    /// Checks what the network takes for granted.
    ///
    /// # Errors
    /// Names the first rule that does not hold.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let rules = self.swin.rules().into_iter().chain(self.bert.rules()).chain(self.rules());
        match rules.into_iter().find(|rule| !rule.holds) {
            Some(rule) => Err(ConfigError { what: rule.what.to_string() }),
            None => Ok(()),
        }
    }

    fn rules(&self) -> Vec<Rule> {
        let divides = |part: usize, whole: usize| part > 0 && whole.is_multiple_of(part);
        vec![
            rule(self.d_model > 0 && divides(self.heads, self.d_model), "heads divide d_model"),
            rule(divides(self.text_layer_heads, self.d_model), "text_layer_heads divide d_model"),
            rule(divides(self.fusion_heads, self.fusion_dim), "fusion_heads divide fusion_dim"),
            rule(divides(self.group_norm_groups, self.d_model), "groups divide d_model"),
            rule(divides(4, self.d_model), "d_model is a multiple of 4 (sine pairs of two axes)"),
            rule(self.text_sine_features == self.d_model, "text_sine_features equals d_model"),
            rule(
                divides(2, self.query_sine_features_per_coordinate),
                "query_sine_features_per_coordinate is even",
            ),
            rule(
                self.levels >= self.swin.out_stages.len(),
                "there are at least as many levels as swin.out_stages",
            ),
            rule(self.encoder_layers > 0 && self.decoder_layers > 0, "encoder and decoder exist"),
            rule(self.points > 0 && self.queries > 0, "points and queries are above 0"),
            rule(
                self.max_text_len > 0 && self.max_text_len <= self.bert.max_position,
                "max_text_len is at most bert.max_position",
            ),
        ]
    }
}

/// One thing that must hold, in words.
struct Rule {
    holds: bool,
    what: &'static str,
}

fn rule(holds: bool, what: &'static str) -> Rule {
    Rule { holds, what }
}

impl SwinConfig {
    fn rules(&self) -> Vec<Rule> {
        let stages = self.depths.len();
        let heads_fit = self
            .num_heads
            .iter()
            .enumerate()
            .all(|(stage, &heads)| heads > 0 && self.width(stage).is_multiple_of(heads));
        vec![
            rule((1..16).contains(&stages), "swin.depths names 1 to 15 stages"),
            rule(self.num_heads.len() == stages, "swin.num_heads has one entry per stage"),
            rule(self.embed_dim > 0 && heads_fit, "swin.num_heads divide the stage widths"),
            rule(self.patch > 0 && self.window > 0, "swin.patch and swin.window are above 0"),
            rule(
                self.out_stages.windows(2).all(|pair| pair[0] < pair[1])
                    && self.out_stages.last().map(|last| last + 1) == Some(stages),
                "swin.out_stages rise and end at the last stage",
            ),
        ]
    }
}

impl BertConfig {
    fn rules(&self) -> Vec<Rule> {
        vec![
            rule(
                self.heads > 0 && self.hidden > 0 && self.hidden.is_multiple_of(self.heads),
                "bert.heads divide bert.hidden",
            ),
            rule(self.vocab > 0, "bert.vocab is above 0"),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_size_is_valid_and_widens_to_768_channels() {
        let config = GroundingConfig::swin_t_ogc();
        assert_eq!(config.validate(), Ok(()));
        assert_eq!(config.swin.width(3), 768);
    }

    #[test]
    fn the_json_form_comes_back_as_it_went() {
        let config = GroundingConfig::swin_t_ogc();
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<GroundingConfig>(&json).unwrap(), config);
    }

    #[test]
    fn heads_that_do_not_divide_the_width_are_refused_by_name() {
        let mut config = GroundingConfig::swin_t_ogc();
        config.swin.num_heads[2] = 5;
        assert!(config.validate().unwrap_err().what.contains("swin.num_heads"));
        let mut config = GroundingConfig::swin_t_ogc();
        config.fusion_heads = 0;
        assert!(config.validate().unwrap_err().what.contains("fusion_heads"));
    }
}
