//! The few functions beyond + − × ÷ √ that images need, as polynomials: the system's own
//! differ in the last bit from machine to machine, and are slower.

/// Rounds down; for |x| < 2³¹.
pub fn floor(x: f32) -> i32 {
    let whole = x as i32;
    whole - i32::from(whole as f32 > x)
}

/// Part after the point, 0..1.
pub fn fract(x: f32) -> f32 {
    x - floor(x) as f32
}

/// Sine of `turns` full turns, within 0.002.
pub fn sin(turns: f32) -> f32 {
    let t = turns - floor(turns + 0.5) as f32;
    let parabola = 8.0 * t - 16.0 * t * t.abs();
    0.225 * (parabola * parabola.abs() - parabola) + parabola
}

/// Cosine of `turns` full turns, within 0.002.
pub fn cos(turns: f32) -> f32 {
    sin(turns + 0.25)
}

/// 2ˣ for −126 < x < 126, within 0.02 %.
pub fn exp2(x: f32) -> f32 {
    let whole = floor(x);
    let part = x - whole as f32;
    let mantissa = 1.0 + part * (0.695_556_2 + part * (0.226_173_2 + part * 0.078_270_6));
    mantissa * f32::from_bits(((whole + 127) as u32) << 23)
}

/// Binary logarithm of a positive, normal number, within 0.001.
pub fn log2(x: f32) -> f32 {
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000) - 1.0;
    let y = m
        * (1.441_799_2
            + m * (-0.709_664_8 + m * (0.415_442_6 + m * (-0.194_345_6 + m * 0.046_768_6))));
    exponent as f32 + y
}

/// xʸ for x ≥ 0.
pub fn pow(x: f32, y: f32) -> f32 {
    if x < 1e-6 { 0.0 } else { exp2(y * log2(x)) }
}

/// `a` at t = 0, `b` at t = 1.
pub fn lerp(a: f32, b: f32, t: f32) -> f32 {
    a + (b - a) * t
}

/// 0 below `low`, 1 above `high`, smooth between.
pub fn smoothstep(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Well mixed bits of `x` (the finaliser of SplitMix64).
pub fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_polynomials_follow_the_functions_they_stand_for() {
        for i in -400..400 {
            let x = i as f32 * 0.017;
            let exact = (f64::from(x) * std::f64::consts::TAU).sin() as f32;
            assert!((sin(x) - exact).abs() < 0.002, "sin {x}");
            assert!((exp2(x) / f64::from(x).exp2() as f32 - 1.0).abs() < 4e-4, "exp2 {x}");
            let positive = 0.01 + x.abs();
            let exact = f64::from(positive).log2() as f32;
            assert!((log2(positive) - exact).abs() < 0.001, "log2 {positive}");
        }
    }

    #[test]
    fn floor_rounds_down_on_both_sides_of_zero() {
        assert_eq!((floor(1.5), floor(-1.5), floor(2.0), floor(-2.0)), (1, -2, 2, -2));
    }
}
