//! Trade ids as sortable numbers, and the groups in which they grow: what makes ranges of ids useful for finding repeats.

use std::collections::HashMap;

/// Frames below 2^40 and indexes below 2^24 of `<connection>-<frame>-<index>` share one u64 in order.
const INDEX_BITS: u32 = 24;
const FRAME_BITS: u32 = 40;

/// A trade id, taken apart. Two different texts never give the same value: only canonical digits (no sign, no leading zero) count as
/// a number, so the text can be written back from the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TradeId<'a> {
    /// `4839201`
    Number(u64),
    /// `<connection>-<frame>-<index>`: frame and index packed into one number that grows as they do.
    Framed { connection: &'a str, number: u64 },
    /// Anything else, ordered as text.
    Opaque(&'a str),
}

impl<'a> TradeId<'a> {
    pub fn parse(text: &'a str) -> Self {
        if let Some(number) = canonical(text) {
            return Self::Number(number);
        }
        let mut parts = text.rsplitn(3, '-');
        if let (Some(index), Some(frame), Some(connection)) = (parts.next(), parts.next(), parts.next())
            && let (Some(index), Some(frame)) = (canonical(index), canonical(frame))
            && index < 1 << INDEX_BITS
            && frame < 1 << FRAME_BITS
        {
            return Self::Framed {
                connection,
                number: (frame << INDEX_BITS) | index,
            };
        }
        Self::Opaque(text)
    }
}

/// The value of `0` or of digits without a leading zero that fit.
fn canonical(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let leading_zero = bytes.len() > 1 && bytes[0] == b'0';
    if bytes.is_empty() || bytes.len() > 20 || leading_zero || !bytes.iter().all(u8::is_ascii_digit) {
        return None;
    }
    text.parse().ok()
}

/// How the ids of a group compare.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Series {
    Numbers,
    Frames(Box<str>),
    Opaque,
}

/// Trades whose ids form one series: a market's kind, and the connection where ids are per connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    pub venue: Box<str>,
    pub symbol: Box<str>,
    pub kind: Box<str>,
    pub series: Series,
}

/// A trade's key as two integers, comparable among keys of one [`Keys`]: the group's number, and the id in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub group: u32,
    pub id: u64,
}

/// Numbers the groups, and the opaque ids, of one piece of work.
#[derive(Debug, Default)]
pub struct Keys {
    groups: Vec<Group>,
    group_of: HashMap<Box<[u8]>, u32>,
    opaque: Vec<Box<str>>,
    opaque_of: HashMap<Box<str>, u64>,
    buffer: Vec<u8>,
}

impl Keys {
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The text behind the id of an opaque group.
    pub fn opaque(&self, id: u64) -> &str {
        usize::try_from(id)
            .ok()
            .and_then(|id| self.opaque.get(id))
            .map_or("", |text| text)
    }

    /// The key, numbering its group where it is new.
    pub fn key(&mut self, venue: &str, symbol: &str, kind: &str, trade_id: &str) -> Key {
        let parsed = TradeId::parse(trade_id);
        encode(&mut self.buffer, venue, symbol, kind, &parsed);
        let group = match self.group_of.get(self.buffer.as_slice()) {
            Some(group) => *group,
            None => {
                let group = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
                self.group_of.insert(self.buffer.as_slice().into(), group);
                let series = match parsed {
                    TradeId::Number(_) => Series::Numbers,
                    TradeId::Framed { connection, .. } => Series::Frames(connection.into()),
                    TradeId::Opaque(_) => Series::Opaque,
                };
                self.groups.push(Group {
                    venue: venue.into(),
                    symbol: symbol.into(),
                    kind: kind.into(),
                    series,
                });
                group
            }
        };
        let id = match parsed {
            TradeId::Number(number) | TradeId::Framed { number, .. } => number,
            TradeId::Opaque(text) => match self.opaque_of.get(text) {
                Some(id) => *id,
                None => {
                    let id = self.opaque.len() as u64;
                    self.opaque.push(text.into());
                    self.opaque_of.insert(text.into(), id);
                    id
                }
            },
        };
        Key { group, id }
    }

    /// The key if its group (and, where ids are opaque, its id) is known already.
    pub fn find(&mut self, venue: &str, symbol: &str, kind: &str, trade_id: &str) -> Option<Key> {
        let parsed = TradeId::parse(trade_id);
        encode(&mut self.buffer, venue, symbol, kind, &parsed);
        let group = *self.group_of.get(self.buffer.as_slice())?;
        let id = match parsed {
            TradeId::Number(number) | TradeId::Framed { number, .. } => number,
            TradeId::Opaque(text) => *self.opaque_of.get(text)?,
        };
        Some(Key { group, id })
    }
}

/// The group as bytes, lengths first, so that no two groups share them.
fn encode(buffer: &mut Vec<u8>, venue: &str, symbol: &str, kind: &str, id: &TradeId<'_>) {
    buffer.clear();
    for part in [venue, symbol, kind] {
        buffer.extend_from_slice(&(part.len() as u64).to_le_bytes());
        buffer.extend_from_slice(part.as_bytes());
    }
    match id {
        TradeId::Number(_) => buffer.push(0),
        TradeId::Opaque(_) => buffer.push(1),
        TradeId::Framed { connection, .. } => {
            buffer.push(2);
            buffer.extend_from_slice(connection.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn write_back(id: TradeId<'_>) -> String {
        match id {
            TradeId::Number(number) => number.to_string(),
            TradeId::Framed { connection, number } => {
                format!(
                    "{connection}-{}-{}",
                    number >> INDEX_BITS,
                    number & ((1 << INDEX_BITS) - 1)
                )
            }
            TradeId::Opaque(text) => text.to_owned(),
        }
    }

    #[test]
    fn ids_are_numbers_only_in_canonical_digits() {
        assert_eq!(TradeId::parse("0"), TradeId::Number(0));
        assert_eq!(TradeId::parse("18446744073709551615"), TradeId::Number(u64::MAX));
        assert_eq!(
            TradeId::parse("9f2c-7-3"),
            TradeId::Framed {
                connection: "9f2c",
                number: (7 << 24) | 3
            }
        );
        for text in [
            "",
            "007",
            "18446744073709551616",
            "+5",
            "-5",
            "a-01-2",
            "a-1-16777216",
            "550e8400-e29b-41d4-a716-446655440000",
        ] {
            assert_eq!(TradeId::parse(text), TradeId::Opaque(text));
        }
    }

    proptest! {
        /// The text can be written back, so different texts are different ids.
        #[test]
        fn parsing_loses_nothing(text in "[0-9a-c-]{0,12}|[0-9]{1,21}|[a-f0-9]{2}-[0-9]{1,14}-[0-9]{1,9}") {
            prop_assert_eq!(write_back(TradeId::parse(&text)), text);
        }

        #[test]
        fn frames_sort_by_frame_then_index(a in (0u64..1 << 40, 0u64..1 << 24), b in (0u64..1 << 40, 0u64..1 << 24)) {
            let number = |(frame, index): (u64, u64)| match TradeId::parse(&format!("c-{frame}-{index}")) {
                TradeId::Framed { number, .. } => number,
                _ => unreachable!(),
            };
            prop_assert_eq!(number(a).cmp(&number(b)), a.cmp(&b));
        }
    }

    #[test]
    fn keys_tell_groups_apart() {
        let mut keys = Keys::default();
        let a = keys.key("v", "A-B", "trade", "7");
        assert_eq!(keys.key("v", "A-B", "trade", "7"), a);
        for (venue, symbol, kind, id) in [
            ("vA", "-B", "trade", "7"),
            ("v", "A-B", "agg", "7"),
            ("v", "A-B", "trade", "8"),
            ("v", "A-B", "trade", "07"),
            ("v", "A-B", "trade", "c-0-7"),
        ] {
            assert_ne!(keys.key(venue, symbol, kind, id), a);
        }
        assert_eq!(keys.find("v", "A-B", "trade", "9"), Some(Key { group: a.group, id: 9 }));
        assert_eq!(keys.find("v", "A-B", "trade", "x"), None);
        assert_eq!(keys.find("w", "A-B", "trade", "7"), None);
    }
}
