//! Turning and mirroring. In: interleaved pixels, their size, the orientation that the file asks
//! for. Out: the pixels as a person should see them. The values of the pixels never change.

use image::metadata::Orientation;

use super::Size;

/// The size that an image of `size` has after `orientation`.
pub(super) fn oriented_size(size: Size, orientation: Orientation) -> Size {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => Size { width: size.height, height: size.width },
        _ => size,
    }
}

/// Applies `orientation` to `pixels` (`size.height` × `size.width` × C), which must not be empty.
pub(super) fn orient<const C: usize, T: Copy>(
    pixels: &[T],
    size: Size,
    orientation: Orientation,
) -> Vec<T> {
    let walk = Walk::new(size, orientation);
    let to = oriented_size(size, orientation);
    let (source, _) = pixels.as_chunks::<C>();
    let mut out = Vec::with_capacity(pixels.len());
    for y in 0..to.height {
        for x in 0..to.width {
            out.extend_from_slice(&source[walk.source_index(x, y)]);
        }
    }
    out
}

/// The way through the source that visits it in the order of the output.
struct Walk {
    start: usize,
    step_x: isize,
    step_y: isize,
}

impl Walk {
    fn new(size: Size, orientation: Orientation) -> Self {
        let (right, down) = (1, size.width as isize);
        let top_right = size.width - 1;
        let bottom_left = size.area() - size.width;
        let bottom_right = size.area() - 1;
        let walk = |start, step_x, step_y| Walk { start, step_x, step_y };
        match orientation {
            Orientation::NoTransforms => walk(0, right, down),
            Orientation::FlipHorizontal => walk(top_right, -right, down),
            Orientation::Rotate180 => walk(bottom_right, -right, -down),
            Orientation::FlipVertical => walk(bottom_left, right, -down),
            Orientation::Rotate90FlipH => walk(0, down, right),
            Orientation::Rotate90 => walk(bottom_left, -down, right),
            Orientation::Rotate270FlipH => walk(bottom_right, -down, -right),
            Orientation::Rotate270 => walk(top_right, down, -right),
        }
    }

    fn source_index(&self, x: usize, y: usize) -> usize {
        self.start.wrapping_add_signed(x as isize * self.step_x + y as isize * self.step_y)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pixels 1 2 3 over 4 5 6.
    fn turned(orientation: Orientation) -> Vec<u8> {
        orient::<1, _>(&[1, 2, 3, 4, 5, 6], Size { width: 3, height: 2 }, orientation)
    }

    #[test]
    fn every_exif_value_turns_as_the_standard_says() {
        let expected = [
            (1, [1, 2, 3, 4, 5, 6]),
            (2, [3, 2, 1, 6, 5, 4]),
            (3, [6, 5, 4, 3, 2, 1]),
            (4, [4, 5, 6, 1, 2, 3]),
            (5, [1, 4, 2, 5, 3, 6]),
            (6, [4, 1, 5, 2, 6, 3]),
            (7, [6, 3, 5, 2, 4, 1]),
            (8, [3, 6, 2, 5, 1, 4]),
        ];
        for (exif, pixels) in expected {
            assert_eq!(turned(Orientation::from_exif(exif).unwrap()), pixels, "EXIF {exif}");
        }
    }
}
