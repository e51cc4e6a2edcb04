//! The feature levels: projection of backbone maps to one width, and the geometry of the image
//! tokens they flatten into (padding, centres, valid ratios, position code). Level by level,
//! finest first, row by row; `n` counts the tokens of all levels.

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::{GroupNorm, GroupNormConfig, PaddingConfig2d};
use burn::tensor::{Bool, Int, Tensor, TensorData, backend::Backend};

use super::config::GroundingConfig;
use super::position_code::SineCode;
use crate::model::kept::kept;
use crate::model::kernels::{gpu, linear, parts_of, unfold};
use crate::model::precision::{convolve, kernel_as_matrix};

/// Height and width of a level's map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelShape {
    pub height: usize,
    pub width: usize,
}

impl LevelShape {
    pub fn tokens(&self) -> usize {
        self.height * self.width
    }

    /// `[2]`: width, height.
    pub fn sides<B: Backend>(&self, device: &B::Device) -> Tensor<B, 1> {
        let LevelShape { height, width } = *self;
        kept("sides of a level", &[height, width], device, || {
            Tensor::from_floats([width as f32, height as f32], device)
        })
    }
}

/// Convolution and GroupNorm that bring a map to the width of the transformer.
#[derive(Module, Debug)]
pub struct LevelProjection<B: Backend> {
    pub conv: Conv2d<B>,
    pub norm: GroupNorm<B>,
}

impl GroundingConfig {
    /// One projection per level: 1×1 for the maps of the backbone, then 3×3 with stride 2, the
    /// first of which reads the backbone's last map, the others the level before.
    pub fn init_projections<B: Backend>(&self, device: &B::Device) -> Vec<LevelProjection<B>> {
        let from_backbone = self
            .swin
            .out_stages
            .iter()
            .map(|&stage| Conv2dConfig::new([self.swin.width(stage), self.d_model], [1, 1]));
        let last_width = self.swin.width(self.swin.depths.len() - 1);
        let strided = (self.swin.out_stages.len()..self.levels).map(|level| {
            let first = level == self.swin.out_stages.len();
            let width = if first { last_width } else { self.d_model };
            Conv2dConfig::new([width, self.d_model], [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        });
        from_backbone
            .chain(strided)
            .map(|conv| LevelProjection {
                conv: conv.init(device),
                norm: GroupNormConfig::new(self.group_norm_groups, self.d_model).init(device),
            })
            .collect()
    }
}

impl<B: Backend> LevelProjection<B> {
    /// `[batch, channels, h, w]` → `[batch, d_model, h', w']`.
    pub fn forward(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        match gpu::reaches::<B>() {
            true => self.forward_on_gpu(map),
            false => self.norm.forward(convolve(&self.conv, map)),
        }
    }

    /// Rows of pixels: the result is a view of them.
    fn forward_on_gpu(&self, map: Tensor<B, 4>) -> Tensor<B, 4> {
        let [kernel, stride] = [self.conv.kernel_size[0], self.conv.stride[0]];
        let padding = if kernel == 1 { 0 } else { kernel / 2 };
        let map = map.permute([0, 2, 3, 1]);
        let patches = match (kernel, stride) {
            (1, 1) => map,
            _ => unfold(map, kernel, stride, padding),
        };
        let [batch, height, width, _] = patches.dims();
        let rows = linear(patches, kernel_as_matrix(self.conv.weight.val()), None, parts_of);
        let channels = rows.dims()[3];
        let affine = [&self.norm.gamma, &self.norm.beta].map(|values| match values {
            Some(values) => values.val(),
            None => unreachable!("group norms of the detector have both"),
        });
        let rows = rows.reshape([batch, height * width, channels]);
        let bias = self.conv.bias.as_ref().map(|bias| bias.val());
        let (groups, epsilon) = (self.norm.num_groups, self.norm.epsilon);
        let rows = gpu::normed_groups(rows, bias, affine, groups, epsilon);
        rows.reshape([batch, height, width, channels]).permute([0, 3, 1, 2])
    }
}

/// Projects the backbone's maps and adds the strided levels: `[batch, d_model, h, w]` each.
pub fn project_levels<B: Backend>(
    projections: &[LevelProjection<B>],
    features: &[Tensor<B, 4>],
) -> Vec<Tensor<B, 4>> {
    let mut levels: Vec<Tensor<B, 4>> = Vec::with_capacity(projections.len());
    for (i, projection) in projections.iter().enumerate() {
        let source = match features.get(i) {
            Some(feature) => Some(feature),
            None if i == features.len() => features.last(),
            None => levels.last(),
        };
        levels.extend(source.map(|map| projection.forward(map.clone())));
    }
    levels
}

/// `[batch, d_model, h, w]` of every level → `[batch, n, d_model]`.
pub fn flatten_levels<B: Backend>(levels: Vec<Tensor<B, 4>>) -> Tensor<B, 3> {
    let rows = |map: Tensor<B, 4>| {
        let [batch, channels, height, width] = map.dims();
        map.permute([0, 2, 3, 1]).reshape([batch, height * width, channels])
    };
    let tokens = levels.into_iter().map(|map| match gpu::reaches::<B>() {
        // A view there.
        true => rows(map),
        false => map.flatten::<3>(2, 3).swap_dims(1, 2),
    });
    let tokens = tokens.collect();
    Tensor::cat(tokens, 1)
}

/// `x` `[batch, n, width]` with the rows zero where `rows` is true.
pub fn zero_rows<B: Backend>(x: Tensor<B, 3>, rows: Tensor<B, 2, Bool>) -> Tensor<B, 3> {
    let dims = x.dims();
    x.mask_fill(rows.unsqueeze_dim::<3>(2).expand(dims), 0.0)
}

/// Where the image tokens of a batch are. Depends on the padding of the batch, not on content.
#[derive(Debug, Clone)]
pub struct LevelGeometry<B: Backend> {
    pub shapes: Vec<LevelShape>,
    /// `[batch, n]`, true where a token lies in the padding.
    pub padding: Tensor<B, 2, Bool>,
    /// `[batch, n, 2]`: centre (x, y) of each token as a fraction of its image's own extent.
    pub centres: Tensor<B, 3>,
    /// `[batch, levels, 2]`: share (x, y) of each level's map that its image covers.
    pub valid_ratios: Tensor<B, 3>,
    /// `[batch, n, d_model]`: sine code, without the learned vector of the level.
    pub position_code: Tensor<B, 3>,
    /// Whether no image of the batch has padding; then all of them share one row of the tensors above.
    pub full: bool,
}

/// One level's part of a [`LevelGeometry`].
struct LevelPart<B: Backend> {
    padding: Tensor<B, 2, Bool>,
    centres: Tensor<B, 3>,
    valid_ratio: Tensor<B, 3>,
    position_code: Tensor<B, 3>,
}

impl<B: Backend> LevelGeometry<B> {
    /// `padding` `[batch, height, width]` of the images, true outside an image; `code` has half
    /// of `d_model` features.
    pub fn new(shapes: Vec<LevelShape>, padding: Tensor<B, 3, Bool>, code: SineCode) -> Self {
        let parts: Vec<LevelPart<B>> = shapes
            .iter()
            .map(|&shape| LevelPart::new(shape, resize_nearest(padding.clone(), shape), code))
            .collect();
        LevelGeometry {
            shapes,
            padding: Tensor::cat(parts.iter().map(|p| p.padding.clone()).collect(), 1),
            centres: Tensor::cat(parts.iter().map(|p| p.centres.clone()).collect(), 1),
            valid_ratios: Tensor::cat(parts.iter().map(|p| p.valid_ratio.clone()).collect(), 1),
            position_code: Tensor::cat(parts.into_iter().map(|p| p.position_code).collect(), 1),
            full: false,
        }
    }

    /// The geometry of images of `height` and `width` without padding, made once for each size.
    pub fn full(
        shapes: Vec<LevelShape>,
        [height, width]: [usize; 2],
        code: SineCode,
        device: &B::Device,
    ) -> Self {
        let mut sizes = vec![height, width, code.features, code.temperature.to_bits() as usize];
        sizes.extend(shapes.iter().flat_map(|shape| [shape.height, shape.width]));
        let made = || {
            let nothing = Tensor::<B, 3>::zeros([1, height, width], device).greater_elem(0.0);
            LevelGeometry::new(shapes.clone(), nothing, code)
        };
        LevelGeometry {
            padding: kept("padding of tokens", &sizes, device, || made().padding),
            centres: kept("centres of tokens", &sizes, device, || made().centres),
            valid_ratios: kept("valid ratios", &sizes, device, || made().valid_ratios),
            position_code: kept("codes of tokens", &sizes, device, || made().position_code),
            full: true,
            shapes: shapes.clone(),
        }
    }

    /// `[batch, levels, 4]`: by what centre and size of a box are multiplied on each level.
    pub fn box_ratios(&self) -> Tensor<B, 3> {
        let make = || Tensor::cat(vec![self.valid_ratios.clone(); 2], 2);
        match self.full {
            // Without padding all are 1.
            true => kept("box ratios", &[self.shapes.len()], &self.centres.device(), make),
            false => make(),
        }
    }

    /// What hides padding, if there is any.
    pub fn hidden(&self) -> Option<Tensor<B, 2, Bool>> {
        (!self.full).then(|| self.padding.clone())
    }

    /// `[levels, 3]`: height, width and first token of every level.
    pub fn table(&self) -> Tensor<B, 2, Int> {
        let sizes = self.shapes.iter().flat_map(|shape| [shape.height, shape.width]);
        kept("table of levels", &sizes.collect::<Vec<_>>(), &self.centres.device(), || {
            let mut first = 0;
            let rows = self.shapes.iter().flat_map(|shape| {
                let row = [shape.height as i64, shape.width as i64, first];
                first += shape.tokens() as i64;
                row
            });
            let rows = rows.collect::<Vec<_>>();
            let len = rows.len();
            let rows = TensorData::new(rows, [len]);
            let rows = Tensor::<B, 1, Int>::from_data(rows, &self.centres.device());
            rows.reshape([self.shapes.len(), 3])
        })
    }

    /// Tokens of all levels.
    pub fn tokens(&self) -> usize {
        self.shapes.iter().map(LevelShape::tokens).sum()
    }

    /// `[batch, n, levels, 2]`: each token's centre on the map of every level, as a fraction of
    /// that map, padding included.
    pub fn reference_points(&self) -> Tensor<B, 4> {
        self.centres.clone().unsqueeze_dim::<4>(2) * self.valid_ratios.clone().unsqueeze_dim(1)
    }
}

impl<B: Backend> LevelPart<B> {
    fn new(shape: LevelShape, padding: Tensor<B, 3, Bool>, code: SineCode) -> Self {
        let LevelShape { height, width } = shape;
        let [batch, ..] = padding.dims();
        let device = padding.device();
        let valid = padding.clone().bool_not().float();
        let valid_h = valid.clone().narrow(2, 0, 1).sum_dim(1).reshape([batch, 1, 1]);
        let valid_w = valid.clone().narrow(1, 0, 1).sum_dim(2).reshape([batch, 1, 1]);
        let extent = Tensor::cat(vec![valid_w, valid_h], 2);
        LevelPart {
            centres: pixel_centres::<B>(shape, &device) / extent.clone(),
            valid_ratio: extent / shape.sides::<B>(&device).unsqueeze(),
            position_code: image_position_code(valid, code),
            padding: padding.reshape([batch, height * width]),
        }
    }
}

/// `[1, h·w, 2]`: (x + ½, y + ½) in pixels of the map.
fn pixel_centres<B: Backend>(shape: LevelShape, device: &B::Device) -> Tensor<B, 3> {
    let LevelShape { height, width } = shape;
    kept("pixel centres", &[height, width], device, || {
        let centres = (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| [x as f32 + 0.5, y as f32 + 0.5]));
        let centres = centres.collect::<Vec<f32>>();
        Tensor::from_data(TensorData::new(centres, [1, shape.tokens(), 2]), device)
    })
}

/// The code of the y coordinate, then that of x. A coordinate counts valid pixels from 1 and is
/// divided by the count of its row or column (plus 1e-6, against empty ones). `valid`
/// `[batch, h, w]` is 1 inside an image, 0 in the padding.
fn image_position_code<B: Backend>(valid: Tensor<B, 3>, code: SineCode) -> Tensor<B, 3> {
    let [batch, height, width] = valid.dims();
    let y = valid.clone().cumsum(1);
    let x = valid.cumsum(2);
    let y = y.clone() / (y.narrow(1, height - 1, 1) + 1e-6);
    let x = x.clone() / (x.narrow(2, width - 1, 1) + 1e-6);
    let positions = Tensor::stack::<4>(vec![y, x], 3).reshape([batch, height * width, 2]);
    code.forward(positions)
}

/// Nearest-neighbour resizing as the published model's: pixel `i` reads `⌊i · from / to⌋`.
fn resize_nearest<B: Backend>(mask: Tensor<B, 3, Bool>, to: LevelShape) -> Tensor<B, 3, Bool> {
    let [_, height, width] = mask.dims();
    let device = mask.device();
    let sources = |from: usize, to: usize| {
        kept("nearest pixels", &[from, to], &device, || {
            let scale = from as f32 / to as f32;
            let nearest = |i| ((i as f32 * scale) as usize).min(from - 1) as i64;
            let indices = (0..to).map(nearest).collect::<Vec<i64>>();
            Tensor::<B, 1, Int>::from_data(TensorData::new(indices, [to]), &device)
        })
    };
    mask.select(1, sources(height, to.height)).select(2, sources(width, to.width))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};

    /// An image that fills the left `valid_w` columns of `h`×`w`.
    fn padding(h: usize, w: usize, valid_w: usize) -> Tensor<B, 3, Bool> {
        let values: Vec<bool> = (0..h * w).map(|i| i % w >= valid_w).collect();
        Tensor::from_data(TensorData::new(values, [1, h, w]), &cpu())
    }

    #[test]
    fn the_mask_reads_the_pixel_at_the_floor_of_the_scaled_index() {
        let small = resize_nearest(padding(5, 5, 3), LevelShape { height: 2, width: 3 });
        let values = small.into_data().iter::<bool>().collect::<Vec<_>>();
        assert_eq!(values, vec![false, false, true, false, false, true]);
    }

    #[test]
    fn centres_are_fractions_of_the_picture_and_references_of_the_map() {
        let shape = LevelShape { height: 1, width: 4 };
        let code = SineCode { features: 2, temperature: 20.0 };
        let geometry = LevelGeometry::new(vec![shape], padding(1, 4, 2), code);
        let centres = geometry.centres.clone().into_data().to_vec::<f32>().unwrap();
        assert_eq!(centres, vec![0.25, 0.5, 0.75, 0.5, 1.25, 0.5, 1.75, 0.5]);
        let references = geometry.reference_points().into_data().to_vec::<f32>().unwrap();
        assert_eq!(references, vec![0.125, 0.5, 0.375, 0.5, 0.625, 0.5, 0.875, 0.5]);
    }
}
