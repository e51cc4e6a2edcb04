//! Products of parts of matrices that lie in larger ones: rows one after the other, each a fixed
//! number of floats behind the one before. One thread; who calls it has others.

use gemm::Parallelism;

/// A matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    /// Floats from one row to the next.
    row_stride: usize,
    /// Floats from one column to the next.
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` floats each, the first at the start of `values`.
    ///
    /// # Panics
    /// If the last one does not end in `values`.
    pub fn new(values: &'a [f32], rows: usize, columns: usize, row_stride: usize) -> Self {
        assert!(fits(values.len(), rows, columns, row_stride), "a matrix lies in its slice");
        Matrix { values, rows, columns, row_stride, column_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        Matrix {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

fn fits(len: usize, rows: usize, columns: usize, row_stride: usize) -> bool {
    let whole = |rows: usize| (rows - 1).checked_mul(row_stride)?.checked_add(columns);
    rows == 0 || columns == 0 || whole(rows).is_some_and(|end| end <= len)
}

/// `out = a·b`, rows of `out` `row_stride` floats apart; what is between them stays.
///
/// # Panics
/// If shapes do not match, or `out` is too short.
#[allow(unsafe_code)]
pub fn multiply(out: &mut [f32], row_stride: usize, a: Matrix, b: Matrix) {
    assert_eq!(a.columns, b.rows, "inner sides of a product");
    assert!(row_stride >= b.columns || a.rows <= 1, "rows of a product do not overlap");
    assert!(fits(out.len(), a.rows, b.columns, row_stride), "a product lies in its slice");
    // SAFETY: `gemm` reads a.rows × a.columns and b.rows × b.columns floats at their strides and
    // writes a.rows × b.columns at those of `out`. All were checked to end inside their slices:
    // `Matrix` can only be made that way, and transposing keeps the same places. `out` is borrowed
    // mutably, so it is neither operand. Slices of floats are aligned and their strides fit isize.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            row_stride as isize,
            false,
            a.values.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.values.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_larger_matrices_are_multiplied_and_the_rest_stays() {
        // [[1, 2], [3, 4]] and [[5, 6], [7, 8]], rows of 3.
        let a = [1.0, 2.0, 9.0, 3.0, 4.0];
        let b = [5.0, 6.0, 9.0, 7.0, 8.0];
        let (a, b) = (Matrix::new(&a, 2, 2, 3), Matrix::new(&b, 2, 2, 3));
        let mut out = [-1.0; 6];
        multiply(&mut out, 4, a, b);
        assert_eq!(out, [19.0, 22.0, -1.0, -1.0, 43.0, 50.0]);
        multiply(&mut out, 4, a, b.transposed());
        assert_eq!(out, [17.0, 23.0, -1.0, -1.0, 39.0, 53.0]);
    }

    #[test]
    #[should_panic(expected = "a matrix lies in its slice")]
    fn a_matrix_beyond_its_slice_is_refused() {
        Matrix::new(&[0.0; 5], 2, 3, 3);
    }

    #[test]
    #[should_panic(expected = "a product lies in its slice")]
    fn a_product_beyond_its_slice_is_refused() {
        let a = Matrix::new(&[1.0; 4], 2, 2, 2);
        multiply(&mut [0.0; 3], 2, a, a);
    }
}
