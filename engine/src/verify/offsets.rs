//! A set of offsets, one bit each: dense as offsets are, a billion records take 125 MB.

use std::collections::BTreeMap;
use std::ops::Range;

const WORDS: usize = 1024;
const BLOCK: i64 = (WORDS as i64) * 64;

type Block = Box<[u64; WORDS]>;

#[derive(Debug, Clone, Default)]
pub struct Offsets {
    blocks: BTreeMap<i64, usize>,
    bits: Vec<Block>,
    /// The block of the last insertion: neighbours come together.
    last: Option<(i64, usize)>,
    count: u64,
}

impl Offsets {
    /// False where it was in the set already.
    pub fn insert(&mut self, offset: i64) -> bool {
        let number = offset.div_euclid(BLOCK);
        let slot = match self.last {
            Some((last, slot)) if last == number => slot,
            _ => self.slot(number),
        };
        let (word, bit) = place(offset);
        let Some(word) = self.bits.get_mut(slot).map(|block| &mut block[word]) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    fn slot(&mut self, number: i64) -> usize {
        let bits = &mut self.bits;
        let slot = *self.blocks.entry(number).or_insert_with(|| {
            bits.push(Box::new([0; WORDS]));
            bits.len() - 1
        });
        self.last = Some((number, slot));
        slot
    }

    pub fn contains(&self, offset: i64) -> bool {
        let (word, bit) = place(offset);
        self.block(offset.div_euclid(BLOCK))
            .is_some_and(|block| block[word] & bit != 0)
    }

    fn block(&self, number: i64) -> Option<&Block> {
        self.blocks.get(&number).and_then(|slot| self.bits.get(*slot))
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn first(&self) -> Option<i64> {
        self.ranges().next().map(|range| range.start)
    }

    /// The greatest offset, plus one.
    pub fn end(&self) -> Option<i64> {
        self.blocks.iter().rev().find_map(|(number, slot)| {
            let block = self.bits.get(*slot)?;
            let (word, bits) = block.iter().enumerate().rev().find(|(_, bits)| **bits != 0)?;
            let bit = 63 - i64::from(bits.leading_zeros());
            Some(number * BLOCK + (word as i64) * 64 + bit + 1)
        })
    }

    /// Members in runs, in order.
    pub fn ranges(&self) -> impl Iterator<Item = Range<i64>> {
        runs(self.blocks.iter().flat_map(|(number, slot)| {
            let words: &[u64] = self.bits.get(*slot).map_or(&[], |block| &block[..]);
            words
                .iter()
                .enumerate()
                .map(move |(word, bits)| (number * BLOCK + (word as i64) * 64, *bits))
        }))
    }

    /// Members that `other` lacks, in runs, in order.
    pub fn without(&self, other: &Offsets) -> Offsets {
        let mut rest = Offsets::default();
        for (number, slot) in &self.blocks {
            let Some(own) = self.bits.get(*slot) else { continue };
            let mut block = own.clone();
            if let Some(others) = other.block(*number) {
                block
                    .iter_mut()
                    .zip(others.iter())
                    .for_each(|(own, other)| *own &= !other);
            }
            let members: u64 = block.iter().map(|bits| u64::from(bits.count_ones())).sum();
            if members > 0 {
                rest.blocks.insert(*number, rest.bits.len());
                rest.bits.push(block);
                rest.count += members;
            }
        }
        rest
    }

    /// Members of `within`.
    pub fn count_in(&self, within: Range<i64>) -> u64 {
        self.ranges()
            .map(|run| {
                run.end
                    .min(within.end)
                    .saturating_sub(run.start.max(within.start))
                    .max(0)
            })
            .map(|members| u64::try_from(members).unwrap_or(0))
            .sum()
    }
}

fn place(offset: i64) -> (usize, u64) {
    let within = offset.rem_euclid(BLOCK);
    let word = usize::try_from(within / 64).unwrap_or(0);
    (word, 1 << (within % 64))
}

/// Words of 64 members each, in order, into runs.
fn runs(words: impl Iterator<Item = (i64, u64)>) -> impl Iterator<Item = Range<i64>> {
    let mut words = words.peekable();
    let mut rest: Option<(i64, u64)> = None;
    std::iter::from_fn(move || {
        let (base, bits) = loop {
            match rest.take() {
                Some((base, bits)) if bits != 0 => break (base, bits),
                _ => rest = Some(words.next()?),
            }
        };
        let start = base + i64::from(bits.trailing_zeros());
        let (mut base, mut bits) = (base, bits);
        let mut shift = start - base;
        loop {
            let ones = i64::from((!(bits >> shift)).trailing_zeros()).min(64 - shift);
            let end = base + shift + ones;
            if shift + ones < 64 {
                rest = Some((base, bits & (u64::MAX << (shift + ones))));
                return Some(start..end);
            }
            match words.peek() {
                Some((next, more)) if *next == end && more & 1 == 1 => {
                    (base, bits, shift) = (*next, *more, 0);
                    words.next();
                }
                _ => return Some(start..end),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn offsets(members: &[i64]) -> Offsets {
        let mut offsets = Offsets::default();
        members.iter().for_each(|offset| {
            offsets.insert(*offset);
        });
        offsets
    }

    #[test]
    fn runs_cross_words_and_blocks() {
        let members: Vec<i64> = (60..70).chain(BLOCK - 2..BLOCK + 2).chain([BLOCK * 9]).collect();
        let set = offsets(&members);
        assert_eq!(
            set.ranges().collect::<Vec<_>>(),
            [60..70, BLOCK - 2..BLOCK + 2, BLOCK * 9..BLOCK * 9 + 1]
        );
        assert_eq!((set.len(), set.first(), set.end()), (15, Some(60), Some(BLOCK * 9 + 1)));
    }

    proptest! {
        #[test]
        fn a_set_of_offsets_is_a_set(a in prop::collection::vec(-200i64..200, 0..300), b in prop::collection::vec(-200i64..200, 0..300)) {
            let (one, other) = (offsets(&a), offsets(&b));
            let (plain, others): (BTreeSet<i64>, BTreeSet<i64>) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(one.ranges().flatten().collect::<Vec<_>>(), plain.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(one.len(), plain.len() as u64);
            prop_assert_eq!(one.end(), plain.last().map(|last| last + 1));
            let rest = one.without(&other);
            prop_assert_eq!(rest.ranges().flatten().collect::<Vec<_>>(), plain.difference(&others).copied().collect::<Vec<_>>());
            prop_assert_eq!(rest.len(), plain.difference(&others).count() as u64);
            prop_assert!((-210..210).all(|offset| one.contains(offset) == plain.contains(&offset)));
            prop_assert_eq!(one.count_in(-50..50), plain.range(-50..50).count() as u64);
        }
    }
}
