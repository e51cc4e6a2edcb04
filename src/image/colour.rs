//! Changes of colour mode, sample by sample, with Pillow's integer rules. In and out: interleaved
//! 8-bit samples. Nothing here moves a pixel or changes a size.

/// a · b / 255, rounded, for a, b in 0..=255.
fn multiply_255(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    (((t >> 8) + t) >> 8) as u8
}

/// Grey to three equal channels.
pub(super) fn grey_to_rgb(grey: &[u8]) -> Vec<u8> {
    grey.iter().flat_map(|&value| [value; 3]).collect()
}

/// CMYK (0 is no ink) to RGB without a colour profile: `(255 − ink) · (255 − black) / 255`.
pub(super) fn cmyk_to_rgb(cmyk: &[u8]) -> Vec<u8> {
    let rgb = cmyk.as_chunks::<4>().0.iter().flat_map(|&[cyan, magenta, yellow, black]| {
        let light = 255 - black;
        [cyan, magenta, yellow].map(|ink| light - multiply_255(ink, light))
    });
    rgb.collect()
}

/// Leaves the first C − 1 of C channels.
pub(super) fn drop_alpha<const C: usize>(samples: &[u8]) -> Vec<u8> {
    samples.as_chunks::<C>().0.iter().flat_map(|pixel| &pixel[..C - 1]).copied().collect()
}

/// Multiplies the colour channels by alpha, the last of C channels.
pub(super) fn premultiply<const C: usize>(samples: &[u8]) -> Vec<u8> {
    let mut samples = samples.to_vec();
    for pixel in samples.as_chunks_mut::<C>().0 {
        let alpha = pixel[C - 1];
        pixel[..C - 1].iter_mut().for_each(|value| *value = multiply_255(*value, alpha));
    }
    samples
}

/// Undoes [`premultiply`] as far as 8 bits allow: integer division, clamped; a pixel of alpha 0
/// keeps what it has.
pub(super) fn unpremultiply<const C: usize>(samples: &mut [u8]) {
    for pixel in samples.as_chunks_mut::<C>().0 {
        let alpha = u32::from(pixel[C - 1]);
        if alpha == 0 || alpha == 255 {
            continue;
        }
        for value in &mut pixel[..C - 1] {
            *value = (255 * u32::from(*value) / alpha).min(255) as u8;
        }
    }
}

/// 16-bit grey to 8 bits over the whole range: `value · 255 / 65535`, rounded.
pub(super) fn scale_grey16(grey: &[u16]) -> Vec<u8> {
    // 65535 = 255 · 257
    grey.iter().map(|&value| ((u32::from(value) + 128) / 257) as u8).collect()
}

/// 16-bit grey to 8 bits as Pillow converts it: everything above 255 becomes white. An ordinary
/// 16-bit photograph turns white; the published code has this defect.
pub(super) fn clip_grey16_at_255(grey: &[u16]) -> Vec<u8> {
    grey.iter().map(|&value| value.min(255) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bits_scale_to_eight_with_rounding() {
        assert_eq!(
            scale_grey16(&[0, 128, 129, 257, 32768, 65406, 65407, 65535]),
            [0, 0, 1, 1, 128, 254, 255, 255]
        );
    }

    #[test]
    fn black_ink_darkens_and_no_ink_is_white() {
        assert_eq!(
            cmyk_to_rgb(&[0, 0, 0, 0, 255, 0, 0, 0, 0, 100, 0, 155]),
            [255, 255, 255, 0, 255, 255, 100, 61, 100]
        );
    }

    #[test]
    fn alpha_is_undone_except_where_it_is_zero() {
        let mut pixels = premultiply::<2>(&[200, 255, 200, 128, 200, 0]);
        assert_eq!(pixels, [200, 255, 100, 128, 0, 0]);
        unpremultiply::<2>(&mut pixels);
        assert_eq!(pixels, [200, 255, 199, 128, 0, 0]);
    }
}
