//! From the tensor names of Grounding DINO checkpoints to the paths of [`super::net::GroundingDino`].
//! Names only: nothing here reads a file. Transposing linear weights is the loader's part.

/// Regular expressions and their replacements, applied in this order, every one to every name.
pub const RENAMES: [(&str, &str); 14] = [
    // The public file was saved from a data-parallel wrapper.
    (r"^module\.", ""),
    // One box head is stored once per decoder layer, under two names: all are one path here.
    // Who loads should see that the copies are equal.
    (r"^(?:transformer\.decoder\.)?bbox_embed\.\d+\.", "bbox_embed."),
    (
        r"^transformer\.(enc_output|enc_output_norm|enc_out_bbox_embed|tgt_embed)\.",
        "query_selector.$1.",
    ),
    (r"^transformer\.", ""),
    (r"^backbone\.0\.norm(\d+)\.", "backbone.layers.$1.output_norm."),
    (r"^backbone\.0\.", "backbone."),
    (r"^input_proj\.(\d+)\.0\.", "input_proj.$1.conv."),
    (r"^input_proj\.(\d+)\.1\.", "input_proj.$1.norm."),
    (r"^bert\.encoder\.layer\.(\d+)\.", "bert.layers.$1."),
    (r"\.attention\.self\.", ".attention."),
    (r"\.LayerNorm\.", ".layer_norm."),
    (r"\.in_proj_(weight|bias)$", ".in_proj.$1"),
    // Norms call their scale gamma and their shift beta.
    (r"((?:^|\.)[a-z0-9_]*norm[a-z0-9_]*)\.weight$", "$1.gamma"),
    (r"((?:^|\.)[a-z0-9_]*norm[a-z0-9_]*)\.bias$", "$1.beta"),
];

/// How the names of tensors end that no path needs: derivable, or never read.
const UNUSED: [&str; 5] = [
    "label_enc.weight",
    "bert.embeddings.position_ids",
    "bert.pooler.dense.weight",
    "bert.pooler.dense.bias",
    ".relative_position_index",
];

/// Whether the network has no use for the tensor of this name in a checkpoint.
pub fn is_unused(name: &str) -> bool {
    UNUSED.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    fn rename(name: &str) -> String {
        RENAMES.iter().fold(name.to_string(), |name, (from, to)| {
            Regex::new(from).unwrap().replace_all(&name, *to).into_owned()
        })
    }

    #[test]
    fn checkpoint_names_become_module_paths() {
        for (name, path) in [
            ("module.backbone.0.norm1.weight", "backbone.layers.1.output_norm.gamma"),
            ("backbone.0.layers.2.blocks.5.norm2.bias", "backbone.layers.2.blocks.5.norm2.beta"),
            ("input_proj.3.1.weight", "input_proj.3.norm.gamma"),
            (
                "bert.encoder.layer.4.attention.self.query.weight",
                "bert.layers.4.attention.query.weight",
            ),
            ("bert.embeddings.LayerNorm.bias", "bert.embeddings.layer_norm.beta"),
            (
                "transformer.encoder.fusion_layers.0.layer_norm_v.weight",
                "encoder.fusion_layers.0.layer_norm_v.gamma",
            ),
            (
                "transformer.encoder.text_layers.0.self_attn.in_proj_weight",
                "encoder.text_layers.0.self_attn.in_proj.weight",
            ),
            ("module.transformer.decoder.bbox_embed.5.layers.2.bias", "bbox_embed.layers.2.bias"),
            ("transformer.enc_output_norm.weight", "query_selector.enc_output_norm.gamma"),
        ] {
            assert_eq!(rename(name), path);
        }
    }

    #[test]
    fn tables_that_can_be_derived_are_not_asked_for() {
        assert!(is_unused("module.backbone.0.layers.0.blocks.0.attn.relative_position_index"));
        assert!(!is_unused("backbone.0.layers.0.blocks.0.attn.relative_position_bias_table"));
    }
}
