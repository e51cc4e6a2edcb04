//! cuBLASLt on plain memory, as its manual defines a matmul: matrices column by column with a leading
//! dimension, strided batches, transposes, epilogue. In: a plan and slices. Out: the result, slowly. For
//! tests; it knows nothing of how a plan came about.

use super::plan::{Epilogue, Layout, Op, Plan};

fn at(layout: &Layout, z: u64, i: u64, j: u64) -> usize {
    assert!(i < layout.rows && j < layout.columns, "inside the matrix");
    (z as i64 * layout.stride + j as i64 * layout.leading) as usize + i as usize
}

fn read(memory: &[f32], layout: &Layout, op: Op, z: u64, i: u64, j: u64) -> f32 {
    let (i, j) = match op {
        Op::AsStored => (i, j),
        Op::Transposed => (j, i),
    };
    memory[at(layout, z, i, j)]
}

/// Rows and columns of `op(matrix)`.
fn sizes(layout: &Layout, op: Op) -> [u64; 2] {
    match op {
        Op::AsStored => [layout.rows, layout.columns],
        Op::Transposed => [layout.columns, layout.rows],
    }
}

/// Runs `plan` over `a`, `b` and `d` as the library names them.
pub fn run(plan: &Plan, a: &[f32], b: &[f32], bias: &[f32], d: &mut [f32]) {
    let ([rows, inner], [other, columns]) = (sizes(&plan.a, plan.op_a), sizes(&plan.b, plan.op_b));
    assert_eq!(inner, other, "inner sizes of a matmul");
    assert_eq!([rows, columns], [plan.d.rows, plan.d.columns], "sizes of the result");
    for layout in [&plan.a, &plan.b, &plan.d] {
        assert_eq!(layout.batch, plan.d.batch, "one batch count for all");
        assert!(layout.leading >= layout.rows as i64, "columns do not overlap");
    }
    for z in 0..plan.d.batch as u64 {
        for i in 0..rows {
            for j in 0..columns {
                let product =
                    |l| read(a, &plan.a, plan.op_a, z, i, l) * read(b, &plan.b, plan.op_b, z, l, j);
                let mut sum = (0..inner).map(product).sum::<f32>();
                let to = at(&plan.d, z, i, j);
                if plan.onto {
                    sum += d[to];
                }
                // One number for each row of the result.
                match plan.epilogue {
                    Epilogue::None => {}
                    Epilogue::Bias => sum += bias[i as usize],
                    Epilogue::ReluBias => sum = (sum + bias[i as usize]).max(0.0),
                }
                d[to] = sum;
            }
        }
    }
}
