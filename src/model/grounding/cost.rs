//! What the detector costs per batch; see [`crate::model::cost`].

use super::config::{GroundingConfig, SwinConfig};
use crate::model::cost::{Batch, Cost};

impl Batch {
    /// Images of `height` × `width` pixels with a caption of `text` tokens that BERT has read.
    pub fn detector(
        &self,
        config: &GroundingConfig,
        height: usize,
        width: usize,
        text: usize,
    ) -> Cost {
        let levels = level_tokens(config, height, width);
        let tokens = levels.iter().sum::<usize>();
        let d = config.d_model;
        let encoder = self.fusion(config, tokens, text)
            + self.text_layer(config, text)
            + self.deformable_layer(config, tokens, tokens);
        let selection = self.product(tokens, d, d) + self.product(tokens, d, text);
        let queries = config.queries;
        let decoder = self.self_attention(queries, d)
            + self.product(queries + 2 * text, d, d)
            + self.attention(queries, text, d)
            + self.product(queries, d, d)
            + self.deformable_layer(config, queries, tokens)
            + self.product(queries, 4 * config.query_sine_features_per_coordinate, d)
            + self.product(queries, d, d) * 3;
        self.swin(&config.swin, height, width)
            + self.projections(config, &levels)
            + encoder * config.encoder_layers
            + selection
            + decoder * config.decoder_layers
            + self.product(queries, d, text)
    }

    fn swin(&self, swin: &SwinConfig, height: usize, width: usize) -> Cost {
        let mut sides = [height, width].map(|side| side.div_ceil(swin.patch));
        let mut costs =
            vec![self.product(sides[0] * sides[1], 3 * swin.patch * swin.patch, swin.embed_dim)];
        for (stage, &depth) in swin.depths.iter().enumerate() {
            let width = swin.width(stage);
            let tokens = sides[0] * sides[1];
            // Windows cover the image filled up to whole ones.
            let [rows, columns] = sides.map(|side| side.next_multiple_of(swin.window));
            let windowed = rows * columns;
            let window = swin.window * swin.window;
            let windows = Batch { pictures: self.pictures * windowed / window, ..*self };
            let block = self.pass(10 * tokens * width)
                + self.product(windowed, width, 3 * width)
                + windows.attention(window, window, width)
                + self.product(windowed, width, width)
                + self.product(tokens, width, swin.mlp_ratio * width)
                + self.pass(2 * tokens * swin.mlp_ratio * width)
                + self.product(tokens, swin.mlp_ratio * width, width);
            costs.push(block * depth);
            if stage + 1 < swin.depths.len() {
                sides = sides.map(|side| side.div_ceil(2));
                costs.push(self.product(sides[0] * sides[1], 4 * width, 2 * width));
            }
        }
        costs.into_iter().sum()
    }

    /// Backbone maps to levels of one width: products of pixels, then 3×3 convolutions.
    fn projections(&self, config: &GroundingConfig, levels: &[usize]) -> Cost {
        let stages = &config.swin.out_stages;
        let deepest = stages.last().map_or(0, |&stage| config.swin.width(stage));
        let of_level = |(i, &tokens): (usize, &usize)| {
            let inputs = match stages.get(i) {
                Some(&stage) => config.swin.width(stage),
                None if i == stages.len() => 9 * deepest,
                None => 9 * config.d_model,
            };
            self.product(tokens, inputs, config.d_model) + self.pass(2 * tokens * config.d_model)
        };
        levels.iter().enumerate().map(of_level).sum()
    }

    /// Scores of image and text, read both ways, with the projections of the image folded into the
    /// few text tokens.
    fn fusion(&self, config: &GroundingConfig, tokens: usize, text: usize) -> Cost {
        let (d, inner) = (config.d_model, config.fusion_dim);
        let pairs = config.fusion_heads * text;
        self.pass(4 * tokens * d)
            + self.product(text, d, inner) * 2
            + self.product(text, inner, d) * 4
            + self.product(tokens, d, pairs)
            + self.product(tokens, pairs, d) * 2
            + self.pass(8 * tokens * pairs)
    }

    fn text_layer(&self, config: &GroundingConfig, text: usize) -> Cost {
        self.self_attention(text, config.d_model)
            + self.product(text, config.d_model, config.text_layer_ffn) * 2
    }

    fn self_attention(&self, tokens: usize, width: usize) -> Cost {
        self.pass(6 * tokens * width)
            + self.product(tokens, width, 3 * width)
            + self.attention(tokens, tokens, width)
            + self.product(tokens, width, width)
    }

    /// `queries` reading samples of `tokens`, and a feed-forward net over them.
    fn deformable_layer(&self, config: &GroundingConfig, queries: usize, tokens: usize) -> Cost {
        let d = config.d_model;
        let looks = config.levels * config.points;
        self.product(queries, d, 3 * config.heads * looks)
            + self.product(tokens, d, d)
            // Four pixels make a sample.
            + self.pass(4 * queries * looks * d + queries * d)
            + self.product(queries, d, d)
            + self.pass(12 * queries * d)
            + self.product(queries, d, config.ffn)
            + self.pass(2 * queries * config.ffn)
            + self.product(queries, config.ffn, d)
    }
}

/// Tokens of every level: the backbone's maps, then halved ones.
fn level_tokens(config: &GroundingConfig, height: usize, width: usize) -> Vec<usize> {
    let halved = |side: usize, times: usize| (0..times).fold(side, |side, _| side.div_ceil(2));
    let sides = [height, width].map(|side| side.div_ceil(config.swin.patch));
    let first = config.swin.out_stages.first().copied().unwrap_or(0);
    (0..config.levels)
        .map(|level| sides.map(|side| halved(side, first + level)).iter().product())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published code was counted at 248 GFLOP with BERT (8) and with the fusion's projections
    /// of the image taken as they stand, which is 4 · 2 · 256 · 1024 more per token and layer.
    #[test]
    fn the_published_size_is_counted_as_the_published_code_less_what_is_folded() {
        let config = GroundingConfig::swin_t_ogc();
        let one = Batch { pictures: 1, product_bytes: 4 };
        let levels = level_tokens(&config, 518, 518);
        assert_eq!(levels, [65 * 65, 33 * 33, 17 * 17, 9 * 9]);
        let tokens = levels.iter().sum::<usize>() as f64;
        let folded = 6.0 * 4.0 * 2.0 * 256.0 * 1024.0 * tokens;
        let ours = one.detector(&config, 518, 518, 47).flops;
        let published = 248e9 - 8e9;
        assert!((ours + folded - published).abs() < 0.1 * published, "{ours:e} and {folded:e}");
        let swin = one.swin(&config.swin, 518, 518).flops;
        assert!((swin - 53e9).abs() < 3e9, "{swin:e}");
    }
}
