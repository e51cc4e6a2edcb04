//! A batch of images of different sizes as the detector reads it. In: normalised images. Out:
//! one tensor, filled up with zeros on the right and below, and where that filling is.

use burn::tensor::ops::PadMode;
use burn::tensor::{Bool, Tensor, TensorData, backend::Backend};

/// Images of a batch, filled up to a common size.
#[derive(Debug, Clone)]
pub struct ImageBatch<B: Backend> {
    /// `[batch, 3, height, width]`, normalised; zero in the padding.
    pub pixels: Tensor<B, 4>,
    /// `[batch, height, width]`, true in the padding.
    pub padding: Tensor<B, 3, Bool>,
    /// Whether there is none.
    pub full: bool,
}

impl<B: Backend> ImageBatch<B> {
    /// From `images` `[3, height, width]`, each of its own size. No images, no batch.
    pub fn new(images: Vec<Tensor<B, 3>>) -> Option<Self> {
        let height = images.iter().map(|image| image.dims()[1]).max()?;
        let width = images.iter().map(|image| image.dims()[2]).max()?;
        let device = images.first()?.device();
        let sizes = images.iter().map(|image| {
            let [_, h, w] = image.dims();
            (h, w)
        });
        let sizes = sizes.collect::<Vec<_>>();
        if sizes.iter().all(|&size| size == (height, width)) {
            // Nothing is sent to the device.
            let padding = Tensor::zeros([images.len(), height, width], &device);
            return Some(ImageBatch { pixels: Tensor::stack(images, 0), padding, full: true });
        }
        let outside = |&(h, w): &(usize, usize)| {
            (0..height).flat_map(move |y| (0..width).map(move |x| y >= h || x >= w))
        };
        let padding = sizes.iter().flat_map(outside).collect::<Vec<_>>();
        let filled = |(image, (h, w)): (Tensor<B, 3>, (usize, usize))| {
            image.pad((0, width - w, 0, height - h), PadMode::Constant(0.0))
        };
        let shape = [images.len(), height, width];
        Some(ImageBatch {
            pixels: Tensor::stack(images.into_iter().zip(sizes).map(filled).collect(), 0),
            padding: Tensor::from_data(TensorData::new(padding, shape), &device),
            full: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Backend as B, cpu};

    #[test]
    fn a_smaller_image_is_filled_up_on_the_right_and_below() {
        let ones = |h, w| Tensor::<B, 3>::ones([3, h, w], &cpu());
        let batch = ImageBatch::new(vec![ones(1, 2), ones(2, 1)]).unwrap();
        assert_eq!(batch.pixels.dims(), [2, 3, 2, 2]);
        let pixels = batch.pixels.into_data().to_vec::<f32>().unwrap();
        assert_eq!(pixels[..4], [1.0, 1.0, 0.0, 0.0]);
        let padding = batch.padding.into_data().iter::<bool>().collect::<Vec<_>>();
        assert_eq!(padding, [false, false, true, true, false, true, false, true]);
    }

    #[test]
    fn images_of_one_size_have_no_padding() {
        let image = |value: f32| Tensor::<B, 3>::full([3, 2, 1], value, &cpu());
        let batch = ImageBatch::new(vec![image(1.0), image(2.0)]).unwrap();
        let pixels = batch.pixels.into_data().to_vec::<f32>().unwrap();
        assert_eq!(pixels, [[1.0; 6], [2.0; 6]].concat());
        assert_eq!(batch.padding.dims(), [2, 2, 1]);
        assert!(batch.padding.into_data().iter::<bool>().all(|outside| !outside));
    }
}
