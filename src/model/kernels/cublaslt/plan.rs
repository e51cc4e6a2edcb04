//! What cuBLASLt is asked for. In: a matmul of strided operands, row by row as tensors are. Out: its
//! descriptors, column by column as the library counts, or none where it has no form for it. Pure: no
//! device, no library; a mock runs plans on plain memory.

/// Number format of an operand or a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    F32,
    F16,
    Bf16,
}

impl Format {
    fn bytes(self) -> u64 {
        match self {
            Format::F32 => 4,
            Format::F16 | Format::Bf16 => 2,
        }
    }
}

/// What is done with the sums before they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Epilogue {
    None,
    Bias,
    ReluBias,
}

/// A stack of matrices: elements from one index to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Strides {
    /// From one matrix to the next; 0 where all are one.
    pub batch: u64,
    pub row: u64,
    pub column: u64,
}

/// `d = act(a·b + bias + beta·d)`: `a` `[batch, m, k]`, `b` `[batch, k, n]`, `d` `[batch, m, n]`, `bias`
/// `[n]`. Sums in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Matmul {
    pub batch: u64,
    pub m: u64,
    pub n: u64,
    pub k: u64,
    pub a: Strides,
    pub b: Strides,
    pub d: Strides,
    /// Of `a` and `b`.
    pub operands: Format,
    /// Of `d` and `bias`.
    pub result: Format,
    pub epilogue: Epilogue,
    /// Whether `d` holds numbers to which the matmul is added.
    pub onto: bool,
    /// Bytes by which the starts of `a`, `b` and `d` can be divided.
    pub aligned: [u64; 3],
}

/// How the library reads a stored matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Op {
    AsStored,
    Transposed,
}

/// A matrix in memory, column by column: element `(i, j)` of matrix `z` is `z·stride + j·leading + i`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Layout {
    pub rows: u64,
    pub columns: u64,
    pub leading: i64,
    pub batch: i32,
    pub stride: i64,
    pub format: Format,
    /// Bytes by which every matrix's start can be divided, at most 256.
    pub aligned: u32,
}

/// `D = act(op(A)·op(B) + bias + beta·D)` as the library has it. `A` is `b` of the matmul and `B` is `a`:
/// a matrix that is stored row by row is its transpose column by column, and `dᵀ = bᵀ·aᵀ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Plan {
    pub a: Layout,
    pub op_a: Op,
    pub b: Layout,
    pub op_b: Op,
    pub d: Layout,
    /// Whether β is 1, or 0.
    pub onto: bool,
    pub epilogue: Epilogue,
}

/// What the library is asked for, or `None` where it has no form for it: rows and columns both apart,
/// overlapping results, too large numbers, formats that it does not mix.
pub fn plan(matmul: Matmul) -> Option<Plan> {
    let Matmul { batch, m, n, k, a, b, d, operands, result, epilogue, onto, aligned } = matmul;
    if [batch, m, n, k].contains(&0)
        || d.column != 1
        || (result != operands && result != Format::F32)
    {
        return None;
    }
    if d.row < n || (batch > 1 && d.batch < d.row * (m - 1) + n) {
        return None;
    }
    let (a_layout, op_b) = stored(a, [m, k], operands, batch, aligned[0])?;
    let (b_layout, op_a) = stored(b, [k, n], operands, batch, aligned[1])?;
    let (d_layout, _) = stored(d, [m, n], result, batch, aligned[2])?;
    Some(Plan { a: b_layout, op_a, b: a_layout, op_b, d: d_layout, onto, epilogue })
}

/// A stack of `[rows, columns]` as the library's layout of its transpose, and how it is read to be that.
fn stored(
    strides: Strides,
    [rows, columns]: [u64; 2],
    format: Format,
    batch: u64,
    aligned: u64,
) -> Option<(Layout, Op)> {
    let by_rows = strides.column == 1 || columns == 1;
    let by_columns = strides.row == 1 || rows == 1;
    let (first, second, leading, op) = match (by_rows, by_columns) {
        (true, _) => (columns, rows, if rows == 1 { columns } else { strides.row }, Op::AsStored),
        (_, true) => (rows, columns, strides.column, Op::Transposed),
        _ => return None,
    };
    if leading < first {
        return None;
    }
    let stride = if batch == 1 { 0 } else { strides.batch };
    let gaps = [aligned, stride * format.bytes()].into_iter().filter(|&bytes| bytes != 0);
    let aligned = gaps.fold(256u64, greatest_common_divisor);
    let layout = Layout {
        rows: first,
        columns: second,
        leading: i64::try_from(leading).ok()?,
        batch: i32::try_from(batch).ok()?,
        stride: i64::try_from(stride).ok()?,
        format,
        aligned: u32::try_from(aligned).ok()?,
    };
    Some((layout, op))
}

/// The step from one matrix of a stack to the next, if it is the same for all: `shape` and `strides` are
/// those of the outer dimensions, of which ones of size 1 stand for all of `outer`.
pub fn batch_stride(shape: &[usize], strides: &[usize], outer: &[usize]) -> Option<u64> {
    let mut found = None;
    let mut count = 1;
    for ((&size, &stride), &all) in shape.iter().zip(strides).zip(outer).rev() {
        if all == 1 {
            continue;
        }
        let stride = if size == 1 { 0 } else { stride };
        match found {
            None => found = Some(stride),
            Some(first) if stride == first * count => {}
            Some(_) => return None,
        }
        count *= all;
    }
    Some(found.unwrap_or(0) as u64)
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::super::mock;
    use super::*;

    /// Strides of a tensor without gaps.
    fn dense([rows, columns]: [u64; 2]) -> Strides {
        Strides { batch: rows * columns, row: columns, column: 1 }
    }

    fn matmul(batch: u64, m: u64, n: u64, k: u64) -> Matmul {
        Matmul {
            batch,
            m,
            n,
            k,
            a: dense([m, k]),
            b: dense([k, n]),
            d: dense([m, n]),
            operands: Format::F32,
            result: Format::F32,
            epilogue: Epilogue::None,
            onto: false,
            aligned: [512; 3],
        }
    }

    fn numbers(count: u64, seed: u64) -> Vec<f32> {
        let value = |i: u64| ((i * 37 + seed * 101) % 29) as f32 / 8.0 - 1.5;
        (0..count).map(value).collect()
    }

    fn extent(strides: Strides, batch: u64, [rows, columns]: [u64; 2]) -> u64 {
        (batch - 1) * strides.batch + (rows - 1) * strides.row + (columns - 1) * strides.column + 1
    }

    /// By the definition, index by index.
    fn naive(matmul: Matmul, a: &[f32], b: &[f32], bias: &[f32], d: &mut [f32]) {
        let Matmul { batch, m, n, k, epilogue, onto, .. } = matmul;
        let at = |strides: Strides, z: u64, i: u64, j: u64| {
            (z * strides.batch + i * strides.row + j * strides.column) as usize
        };
        for z in 0..batch {
            for i in 0..m {
                for j in 0..n {
                    let product = |l| a[at(matmul.a, z, i, l)] * b[at(matmul.b, z, l, j)];
                    let mut sum = (0..k).map(product).sum::<f32>();
                    let to = at(matmul.d, z, i, j);
                    sum += if onto { d[to] } else { 0.0 };
                    sum += if epilogue == Epilogue::None { 0.0 } else { bias[j as usize] };
                    d[to] = if epilogue == Epilogue::ReluBias { sum.max(0.0) } else { sum };
                }
            }
        }
    }

    fn check(what: &str, matmul: Matmul) {
        let Matmul { batch, m, n, k, .. } = matmul;
        let a = numbers(extent(matmul.a, batch, [m, k]), 1);
        let b = numbers(extent(matmul.b, batch, [k, n]), 2);
        let bias = numbers(n, 3);
        let before = numbers(extent(matmul.d, batch, [m, n]), 4);
        let (mut expected, mut planned) = (before.clone(), before);
        naive(matmul, &a, &b, &bias, &mut expected);
        let plan = plan(matmul).unwrap_or_else(|| panic!("no plan of {what}"));
        mock::run(&plan, &b, &a, &bias, &mut planned);
        for (i, (planned, expected)) in planned.iter().zip(&expected).enumerate() {
            assert!((planned - expected).abs() < 1e-3, "{what}: {planned}, {expected} at {i}");
        }
    }

    /// Sizes stand for the published ones: what matters is which strides are equal, and gaps.
    #[test]
    fn plans_of_all_matmuls_of_the_networks_are_those_matmuls() {
        let linear = matmul(1, 11, 9, 7);
        check("linear layer", Matmul { epilogue: Epilogue::Bias, ..linear });
        check("linear layer before a ReLU", Matmul { epilogue: Epilogue::ReluBias, ..linear });
        check("linear layer onto its residual", Matmul { onto: true, ..linear });
        let pitched = Strides { batch: 0, row: 16, column: 1 };
        check("rows with gaps", Matmul { a: pitched, d: pitched, ..linear });
        // Columns of a fused projection's matrix.
        check("part of a matrix", Matmul { b: Strides { batch: 0, row: 27, column: 1 }, ..linear });
        check("one row", matmul(1, 1, 9, 7));
        check("one column", matmul(1, 11, 1, 7));
        check("one of all", matmul(1, 1, 1, 1));

        // All heads of all images: q·kᵀ and p·v.
        let (heads, tokens, width) = (6, 5, 4);
        let keys = Strides { batch: tokens * width, row: 1, column: width };
        check("q·kᵀ", Matmul { b: keys, ..matmul(heads, tokens, tokens, width) });
        check("p·v", matmul(heads, tokens, width, tokens));
        // Of one head, where they lie in the rows of a projection.
        let rows = Strides { batch: tokens * 12, row: 12, column: 1 };
        check("v of a projection", Matmul { b: rows, ..matmul(3, tokens, width, tokens) });

        // One matrix for all images, of the text tower and the map heads; images for one of texts.
        let shared = Strides { batch: 0, ..dense([7, 9]) };
        check("one matrix for all images", Matmul { b: shared, ..matmul(3, 5, 9, 7) });
        let texts = Strides { batch: 7 * 9, row: 1, column: 7 };
        check("texts against patches", Matmul { b: texts, ..matmul(3, 2, 9, 7) });
        let turned = Strides { batch: 5 * 7, row: 1, column: 5 };
        check("rows that are columns", Matmul { a: turned, b: texts, ..matmul(3, 5, 9, 7) });
        let halves = Matmul { operands: Format::Bf16, ..linear };
        check("16 bits to f32", halves);
    }

    #[test]
    fn what_the_library_has_no_form_for_has_no_plan() {
        let fine = matmul(2, 5, 9, 7);
        assert!(plan(fine).is_some());
        let apart = Strides { batch: 200, row: 20, column: 2 };
        for refused in [
            Matmul { m: 0, ..fine },
            Matmul { a: apart, ..fine },
            Matmul { b: apart, ..fine },
            Matmul { d: Strides { batch: 45, row: 1, column: 5 }, ..fine },
            // Results over each other.
            Matmul { d: Strides { batch: 0, ..fine.d }, ..fine },
            Matmul { d: Strides { row: 8, ..fine.d }, ..fine },
            Matmul { a: Strides { row: 6, ..fine.a }, ..fine },
            Matmul { operands: Format::F32, result: Format::F16, ..fine },
            Matmul { batch: 1 << 40, ..fine },
        ] {
            assert_eq!(plan(refused), None, "{refused:?}");
        }
    }

    #[test]
    fn a_stack_of_matrices_has_one_stride_or_none() {
        assert_eq!(batch_stride(&[], &[], &[]), Some(0));
        assert_eq!(batch_stride(&[3], &[35], &[3]), Some(35));
        assert_eq!(batch_stride(&[2, 4], &[80, 20], &[2, 4]), Some(20));
        // Heads of an image, as columns of rows.
        assert_eq!(batch_stride(&[2, 4], &[600, 5], &[2, 4]), None);
        assert_eq!(batch_stride(&[1, 4], &[7, 20], &[1, 4]), Some(20));
        // One for all.
        assert_eq!(batch_stride(&[1, 1], &[80, 20], &[2, 4]), Some(0));
        assert_eq!(batch_stride(&[2, 1], &[80, 20], &[2, 4]), None);
    }

    /// The library takes 256 bytes for granted, and chooses kernels that fail on less.
    #[test]
    fn alignment_is_that_of_the_start_and_of_each_step() {
        let of = |matmul| plan(matmul).map(|plan| [plan.a, plan.b, plan.d].map(|x| x.aligned));
        assert_eq!(of(matmul(1, 5, 9, 7)), Some([256; 3]));
        assert_eq!(of(Matmul { aligned: [8, 512, 48], ..matmul(1, 5, 9, 7) }), Some([256, 8, 16]));
        // 63, 35 and 45 floats from one matrix to the next.
        assert_eq!(of(matmul(2, 5, 9, 7)), Some([4; 3]));
        assert_eq!(of(matmul(2, 4, 8, 16)), Some([256, 256, 128]));
    }
}
