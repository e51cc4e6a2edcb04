//! The last step before the network. In: 8-bit RGB. Out: f32 planes with the mean and the standard
//! deviation of a training set taken out, equal to torchvision bit for bit. Knows no tensor library.

use super::Rgb8;

/// Mean and standard deviation of each channel (R, G, B), for values in 0..=1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelStats {
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl ChannelStats {
    /// Of CLIP's training set (Radford et al. 2021), as far as f32 holds the digits.
    pub const CLIP: ChannelStats = ChannelStats {
        mean: [0.48145466, 0.4578275, 0.40821073],
        std: [0.26862954, 0.261_302_6, 0.275_777_1],
    };

    /// Of ImageNet, as the detector wants it.
    pub const IMAGENET: ChannelStats =
        ChannelStats { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    /// What each of the 256 bytes becomes in channel `c`: `(byte / 255 − mean) / std` in f32, in
    /// this order.
    fn table(&self, c: usize) -> [f32; 256] {
        std::array::from_fn(|byte| (byte as f32 / 255.0 - self.mean[c]) / self.std[c])
    }
}

/// The planes `[3, height, width]` of `picture`, row by row.
pub fn normalize(picture: &Rgb8, stats: &ChannelStats) -> Vec<f32> {
    let (pixels, _) = picture.as_bytes().as_chunks::<3>();
    let mut planes = Vec::with_capacity(picture.as_bytes().len());
    for c in 0..3 {
        let table = stats.table(c);
        planes.extend(pixels.iter().map(|pixel| table[usize::from(pixel[c])]));
    }
    planes
}

#[cfg(test)]
mod tests {
    use super::super::Size;
    use super::*;

    #[test]
    fn channels_become_planes() {
        let picture = Rgb8::new(Size { width: 2, height: 1 }, vec![0, 255, 51, 102, 0, 0]).unwrap();
        let stats = ChannelStats { mean: [0.0, 0.5, 0.0], std: [1.0, 0.5, 2.0] };
        assert_eq!(normalize(&picture, &stats), [0.0, 0.4, 1.0, -1.0, 0.1, 0.0]);
    }
}
