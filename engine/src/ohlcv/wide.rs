//! Sums of 128-bit integers that cannot overflow on the way: whether a bar fits is asked once, of the whole sum.
//!
//! A checked 128-bit sum of mixed signs may overflow in one order of its terms and not in another; a bar must not depend on order.

use std::cmp::Ordering;

use arrow::datatypes::i256;

/// 10^38: the first magnitude that DECIMAL(38, s) does not hold.
const DECIMAL38_LIMIT: i128 = 100_000_000_000_000_000_000_000_000_000_000_000_000;

/// A 192-bit two's complement integer: `high * 2^128 + low`. Holds any sum of fewer than 2^63 128-bit terms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wide {
    low: u128,
    high: i64,
}

impl Wide {
    #[inline(always)]
    pub fn add(&mut self, term: i128) {
        let (low, carry) = self.low.overflowing_add(term as u128);
        self.low = low;
        self.high += i64::from(carry) + (term >> 127) as i64;
    }

    pub fn merge(&mut self, other: Wide) {
        let (low, carry) = self.low.overflowing_add(other.low);
        self.low = low;
        self.high += i64::from(carry) + other.high;
    }

    pub fn to_i256(self) -> i256 {
        i256::from_parts(self.low, i128::from(self.high))
    }

    /// `None` where the value is no sum that [`Self::add`] could have made.
    pub fn from_i256(value: i256) -> Option<Self> {
        let (low, high) = value.to_parts();
        Some(Self {
            low,
            high: i64::try_from(high).ok()?,
        })
    }

    /// The value where it fits DECIMAL(38, s).
    pub fn to_decimal38(self) -> Option<i128> {
        self.to_i256().to_i128().filter(|value| fits_decimal38(*value))
    }
}

fn fits_decimal38(value: i128) -> bool {
    -DECIMAL38_LIMIT < value && value < DECIMAL38_LIMIT
}

/// `numerator / denominator` to the nearest integer, ties to the even one; `None` at a zero denominator or where it does not fit DECIMAL(38, s).
pub fn divide_half_even(numerator: Wide, denominator: Wide) -> Option<i128> {
    let (numerator, denominator) = (numerator.to_i256(), denominator.to_i256());
    let quotient = numerator.checked_div(denominator)?;
    let remainder = numerator.checked_rem(denominator)?.wrapping_abs();
    let rest = denominator.wrapping_abs().wrapping_sub(remainder);
    let away = match remainder.cmp(&rest) {
        Ordering::Greater => true,
        Ordering::Equal => quotient.to_parts().0 & 1 == 1,
        Ordering::Less => false,
    };
    let rounded = match (away, numerator.is_negative() == denominator.is_negative()) {
        (false, _) => quotient,
        (true, true) => quotient.wrapping_add(i256::ONE),
        (true, false) => quotient.wrapping_sub(i256::ONE),
    };
    rounded.to_i128().filter(|value| fits_decimal38(*value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wide(terms: &[i128]) -> Wide {
        let mut sum = Wide::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum
    }

    #[test]
    fn a_sum_passes_beyond_128_bits_and_comes_back() {
        let there = wide(&[i128::MAX, i128::MAX, i128::MAX]);
        assert_eq!(there.to_decimal38(), None);
        let mut back = there;
        back.merge(wide(&[-i128::MAX, -i128::MAX, -i128::MAX, -7]));
        assert_eq!(back.to_decimal38(), Some(-7));
        assert_eq!(Wide::from_i256(there.to_i256()), Some(there));
        assert_eq!(
            wide(&[i128::MIN, i128::MIN, -1]).to_i256(),
            i256::from_i128(i128::MIN)
                .wrapping_mul(i256::from_i128(2))
                .wrapping_sub(i256::ONE)
        );
    }

    #[test]
    fn the_limit_is_38_digits() {
        assert_eq!(wide(&[DECIMAL38_LIMIT - 1]).to_decimal38(), Some(DECIMAL38_LIMIT - 1));
        assert_eq!(wide(&[DECIMAL38_LIMIT]).to_decimal38(), None);
        assert_eq!(wide(&[-DECIMAL38_LIMIT]).to_decimal38(), None);
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let divide = |n: i128, d: i128| divide_half_even(wide(&[n]), wide(&[d]));
        assert_eq!(divide(5, 2), Some(2));
        assert_eq!(divide(7, 2), Some(4));
        assert_eq!(divide(-5, 2), Some(-2));
        assert_eq!(divide(-7, 2), Some(-4));
        assert_eq!(divide(7, -2), Some(-4));
        assert_eq!(divide(1, 3), Some(0));
        assert_eq!(divide(2, 3), Some(1));
        assert_eq!(divide(-2, 3), Some(-1));
        assert_eq!(divide(1, 0), None);
        assert_eq!(
            divide_half_even(wide(&[i128::MAX, i128::MAX]), wide(&[i128::MAX])),
            Some(2)
        );
    }
}
