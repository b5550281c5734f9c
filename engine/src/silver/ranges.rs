//! Which trades a data file may hold: ranges of ids by group, kept as a tag of the file's Add so that finding repeats rarely reads a file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::key::{Group, Key, Keys, Series};

/// Tag of an Add of silver.trades and silver.quarantine.
pub const TAG: &str = "ticklake.keys";

/// Beyond this many groups the tag only carries the watermarks, and who needs the ranges reads the file's key columns: an Add stays below
/// about 300 kB whatever the ids look like.
pub const MAX_TAG_GROUPS: usize = 4096;

/// Least and greatest id of each group in a file, and the greatest trade time of each venue in microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// `None`: too many for a tag.
    pub groups: Option<BTreeMap<Group, Span>>,
    pub watermarks: BTreeMap<String, i64>,
}

/// An inclusive range, of numbers or of texts as the group's series says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    Numbers(u64, u64),
    Texts(Box<str>, Box<str>),
}

#[derive(Serialize, Deserialize)]
struct Tag {
    watermarks: BTreeMap<String, i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<TagGroup>>,
}

/// venue, symbol, kind, connection, least, greatest.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum TagGroup {
    Numbers(Box<str>, Box<str>, Box<str>, Option<Box<str>>, u64, u64),
    Texts(Box<str>, Box<str>, Box<str>, Box<str>, Box<str>),
}

impl Ranges {
    /// `rows`: the key and, for trades that count as silver's, the venue's time of each row.
    pub fn of(keys: &Keys, rows: impl Iterator<Item = (Key, Option<i64>)>) -> Self {
        let mut numbers: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
        let mut texts: BTreeMap<u32, (&str, &str)> = BTreeMap::new();
        let mut latest: BTreeMap<u32, i64> = BTreeMap::new();
        for (key, ts) in rows {
            if keys.groups()[key.group as usize].series == Series::Opaque {
                let text = keys.opaque(key.id);
                let span = texts.entry(key.group).or_insert((text, text));
                *span = (span.0.min(text), span.1.max(text));
            } else {
                let span = numbers.entry(key.group).or_insert((key.id, key.id));
                *span = (span.0.min(key.id), span.1.max(key.id));
            }
            if let Some(ts) = ts {
                let latest = latest.entry(key.group).or_insert(ts);
                *latest = (*latest).max(ts);
            }
        }
        let group = |group: u32| keys.groups()[group as usize].clone();
        let mut watermarks = BTreeMap::new();
        for (number, ts) in latest {
            let watermark = watermarks.entry(group(number).venue.into_string()).or_insert(ts);
            *watermark = (*watermark).max(ts);
        }
        let numbers = numbers
            .iter()
            .map(|(number, (least, greatest))| (group(*number), Span::Numbers(*least, *greatest)));
        let texts = texts
            .iter()
            .map(|(number, (least, greatest))| (group(*number), Span::Texts((*least).into(), (*greatest).into())));
        Self {
            groups: Some(numbers.chain(texts).collect()),
            watermarks,
        }
    }

    pub fn to_tag(&self) -> String {
        let groups = self
            .groups
            .as_ref()
            .filter(|groups| groups.len() <= MAX_TAG_GROUPS)
            .map(|groups| {
                groups
                    .iter()
                    .map(|(group, span)| {
                        let (venue, symbol, kind) = (group.venue.clone(), group.symbol.clone(), group.kind.clone());
                        match (span, &group.series) {
                            (Span::Texts(least, greatest), _) => {
                                TagGroup::Texts(venue, symbol, kind, least.clone(), greatest.clone())
                            }
                            (Span::Numbers(least, greatest), Series::Frames(connection)) => {
                                TagGroup::Numbers(venue, symbol, kind, Some(connection.clone()), *least, *greatest)
                            }
                            (Span::Numbers(least, greatest), _) => {
                                TagGroup::Numbers(venue, symbol, kind, None, *least, *greatest)
                            }
                        }
                    })
                    .collect()
            });
        serde_json::to_string(&Tag {
            watermarks: self.watermarks.clone(),
            groups,
        })
        .unwrap_or_default()
    }

    /// `None` where the tag is not one of ours: the ranges are read from the file then.
    pub fn from_tag(tag: &str) -> Option<Self> {
        let tag: Tag = serde_json::from_str(tag).ok()?;
        let groups = tag.groups.map(|groups| {
            groups
                .into_iter()
                .map(|group| match group {
                    TagGroup::Numbers(venue, symbol, kind, connection, least, greatest) => {
                        let series = connection.map_or(Series::Numbers, Series::Frames);
                        (
                            Group {
                                venue,
                                symbol,
                                kind,
                                series,
                            },
                            Span::Numbers(least, greatest),
                        )
                    }
                    TagGroup::Texts(venue, symbol, kind, least, greatest) => (
                        Group {
                            venue,
                            symbol,
                            kind,
                            series: Series::Opaque,
                        },
                        Span::Texts(least, greatest),
                    ),
                })
                .collect()
        });
        Some(Self {
            groups,
            watermarks: tag.watermarks,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_says_what_the_rows_span() {
        let mut keys = Keys::default();
        let rows: Vec<_> = [
            ("v", "A-B", "trade", "10", Some(5)),
            ("v", "A-B", "trade", "9", Some(7)),
            ("v", "C-D", "trade", "c1-2-3", Some(9)),
            ("w", "A-B", "agg", "x9", Some(1)),
            ("w", "A-B", "agg", "x10", None),
        ]
        .into_iter()
        .map(|(venue, symbol, kind, id, ts)| (keys.key(venue, symbol, kind, id), ts))
        .collect();
        let ranges = Ranges::of(&keys, rows.into_iter());
        assert_eq!(
            ranges.watermarks,
            BTreeMap::from([("v".to_owned(), 9), ("w".to_owned(), 1)])
        );
        let spans: Vec<_> = ranges.groups.as_ref().unwrap().values().cloned().collect();
        assert_eq!(
            spans,
            [
                Span::Numbers(9, 10),
                Span::Numbers((2 << 24) | 3, (2 << 24) | 3),
                Span::Texts("x10".into(), "x9".into())
            ]
        );
        assert_eq!(Ranges::from_tag(&ranges.to_tag()), Some(ranges));
        assert_eq!(Ranges::from_tag("[1]"), None);
    }

    #[test]
    fn a_tag_with_too_many_groups_carries_the_watermarks() {
        let mut keys = Keys::default();
        let rows: Vec<_> = (0..=MAX_TAG_GROUPS)
            .map(|n| (keys.key("v", "A-B", "trade", &format!("c{n}-1-1")), Some(n as i64)))
            .collect();
        let ranges = Ranges::of(&keys, rows.into_iter());
        assert_eq!(
            Ranges::from_tag(&ranges.to_tag()),
            Some(Ranges { groups: None, ..ranges })
        );
    }
}
