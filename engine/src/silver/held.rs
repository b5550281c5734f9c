//! What a table holds, file by file: the ranges of trade ids in each active data file, in memory.
//!
//! Derived from the table alone: loaded from the Adds of a snapshot, then kept up to date from the log. Finding the files that may hold a
//! key costs a pass over the ranges of its group, and nothing at all where ids only grow.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use deltalake::kernel::{Add, Remove};

use super::key::{Group, Key, Keys, Series};
use super::ranges::{Ranges, Span, TAG};
use super::read::FileRef;

/// A file with more groups than this (ids that share nothing) is not listed but always a candidate: memory stays bounded, reads do not.
const MAX_GROUPS: usize = 1 << 16;

/// Number of an active file, never used twice.
pub type Slot = u32;

#[derive(Debug, Clone)]
pub struct HeldFile {
    pub path: String,
    pub size_bytes: i64,
    pub partition_values: HashMap<String, Option<String>>,
    watermarks: BTreeMap<String, i64>,
}

impl HeldFile {
    pub fn reference(&self) -> FileRef {
        FileRef {
            path: self.path.clone(),
            size_bytes: self.size_bytes,
            partition_values: self.partition_values.clone(),
        }
    }
}

#[derive(Debug, Default)]
pub struct Held {
    files: HashMap<Slot, HeldFile>,
    slot_of: HashMap<String, Slot>,
    next: Slot,
    spans: HashMap<Group, Spans>,
    /// Files whose ranges are not known yet.
    unlisted: BTreeSet<Slot>,
    /// Files with too many groups to list.
    scattered: BTreeSet<Slot>,
    watermarks: BTreeMap<String, i64>,
}

/// Ranges of one group: numbers or texts, as the series of the group says.
#[derive(Debug, Default)]
struct Spans {
    numbers: Vec<(u64, u64, Slot)>,
    greatest: u64,
    texts: Vec<(Box<str>, Box<str>, Slot)>,
}

impl Held {
    /// Every active file.
    pub fn all(&self) -> impl Iterator<Item = (Slot, &HeldFile)> {
        self.files.iter().map(|(slot, file)| (*slot, file))
    }

    pub fn file(&self, slot: Slot) -> Option<&HeldFile> {
        self.files.get(&slot)
    }

    pub fn files(&self) -> impl Iterator<Item = (Slot, &HeldFile)> {
        self.files.iter().map(|(slot, file)| (*slot, file))
    }

    /// The greatest trade time of each venue, microseconds.
    pub fn watermarks(&self) -> &BTreeMap<String, i64> {
        &self.watermarks
    }

    /// The watermarks that a commit with these removes and adds leaves.
    pub fn watermarks_after(&self, removed: &HashSet<Slot>, added: &[Ranges]) -> BTreeMap<String, i64> {
        let mut watermarks = if removed.is_empty() {
            self.watermarks.clone()
        } else {
            self.greatest(removed)
        };
        for ranges in added {
            raise(&mut watermarks, &ranges.watermarks);
        }
        watermarks
    }

    pub fn apply(&mut self, adds: &[Add], removes: &[Remove]) {
        let gone: HashSet<Slot> = removes
            .iter()
            .filter_map(|remove| self.slot_of.remove(&remove.path))
            .collect();
        if !gone.is_empty() {
            self.files.retain(|slot, _| !gone.contains(slot));
            self.unlisted.retain(|slot| !gone.contains(slot));
            self.scattered.retain(|slot| !gone.contains(slot));
            self.spans.retain(|_, spans| spans.forget(&gone));
            self.watermarks = self.greatest(&HashSet::new());
        }
        for add in adds {
            self.add(add);
        }
    }

    fn add(&mut self, add: &Add) {
        if self.slot_of.contains_key(&add.path) {
            return;
        }
        let slot = self.next;
        self.next += 1;
        self.slot_of.insert(add.path.clone(), slot);
        self.files.insert(
            slot,
            HeldFile {
                path: add.path.clone(),
                size_bytes: add.size,
                partition_values: add.partition_values.clone(),
                watermarks: BTreeMap::new(),
            },
        );
        let tag = add
            .tags
            .as_ref()
            .and_then(|tags| tags.get(TAG))
            .and_then(Option::as_deref);
        match tag.and_then(Ranges::from_tag) {
            Some(ranges) => self.list(slot, ranges),
            None => {
                self.unlisted.insert(slot);
            }
        }
    }

    /// Files to read the key columns of before `candidates` is asked.
    pub fn unlisted(&self) -> impl Iterator<Item = (Slot, &HeldFile)> {
        self.unlisted
            .iter()
            .filter_map(|slot| Some((*slot, self.files.get(slot)?)))
    }

    pub fn list(&mut self, slot: Slot, ranges: Ranges) {
        raise(&mut self.watermarks, &ranges.watermarks);
        if let Some(file) = self.files.get_mut(&slot) {
            file.watermarks = ranges.watermarks;
        }
        match ranges.groups {
            None => {
                self.unlisted.insert(slot);
            }
            Some(groups) if groups.len() > MAX_GROUPS => {
                self.unlisted.remove(&slot);
                self.scattered.insert(slot);
            }
            Some(groups) => {
                self.unlisted.remove(&slot);
                for (group, span) in groups {
                    self.spans.entry(group).or_default().insert(span, slot);
                }
            }
        }
    }

    /// Files that may hold one of the keys. `sorted`: distinct keys in order, numbered by `keys`.
    pub fn candidates(&self, keys: &Keys, sorted: &[Key]) -> BTreeSet<Slot> {
        let mut candidates = self.scattered.clone();
        for of_group in sorted.chunk_by(|a, b| a.group == b.group) {
            let group = &keys.groups()[of_group[0].group as usize];
            let Some(spans) = self.spans.get(group) else { continue };
            if group.series == Series::Opaque {
                let mut texts: Vec<&str> = of_group.iter().map(|key| keys.opaque(key.id)).collect();
                texts.sort_unstable();
                candidates.extend(
                    spans
                        .texts
                        .iter()
                        .filter(|(least, greatest, _)| any_within(&texts, &&**least, &&**greatest))
                        .map(|span| span.2),
                );
            } else if of_group[0].id <= spans.greatest {
                let within = |least: &u64, greatest: &u64| {
                    let from = of_group.partition_point(|key| key.id < *least);
                    of_group.get(from).is_some_and(|key| key.id <= *greatest)
                };
                candidates.extend(
                    spans
                        .numbers
                        .iter()
                        .filter(|(least, greatest, _)| within(least, greatest))
                        .map(|span| span.2),
                );
            }
        }
        candidates
    }

    fn greatest(&self, without: &HashSet<Slot>) -> BTreeMap<String, i64> {
        let mut watermarks = BTreeMap::new();
        for (_, file) in self.files.iter().filter(|(slot, _)| !without.contains(slot)) {
            raise(&mut watermarks, &file.watermarks);
        }
        watermarks
    }
}

impl Spans {
    fn insert(&mut self, span: Span, slot: Slot) {
        match span {
            Span::Numbers(least, greatest) => {
                self.numbers.push((least, greatest, slot));
                self.greatest = self.greatest.max(greatest);
            }
            Span::Texts(least, greatest) => self.texts.push((least, greatest, slot)),
        }
    }

    /// False when nothing is left.
    fn forget(&mut self, gone: &HashSet<Slot>) -> bool {
        self.numbers.retain(|span| !gone.contains(&span.2));
        self.texts.retain(|span| !gone.contains(&span.2));
        self.greatest = self.numbers.iter().map(|span| span.1).max().unwrap_or(0);
        !(self.numbers.is_empty() && self.texts.is_empty())
    }
}

fn any_within<T: Ord>(sorted: &[T], least: &T, greatest: &T) -> bool {
    let from = sorted.partition_point(|value| value < least);
    sorted.get(from).is_some_and(|value| value <= greatest)
}

fn raise(watermarks: &mut BTreeMap<String, i64>, by: &BTreeMap<String, i64>) {
    for (venue, ts) in by {
        match watermarks.get_mut(venue) {
            Some(watermark) => *watermark = (*watermark).max(*ts),
            None => {
                watermarks.insert(venue.clone(), *ts);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(path: &str, ids: &[&str], ts: i64) -> Add {
        let mut keys = Keys::default();
        let rows: Vec<_> = ids
            .iter()
            .map(|id| (keys.key("v", "A-B", "trade", id), Some(ts)))
            .collect();
        let tag = Ranges::of(&keys, rows.into_iter()).to_tag();
        Add {
            path: path.into(),
            tags: Some(HashMap::from([(TAG.to_owned(), Some(tag))])),
            ..Add::default()
        }
    }

    #[track_caller]
    fn check(held: &Held, ids: &[&str], expected: &[&str]) {
        let mut keys = Keys::default();
        let mut sorted: Vec<_> = ids.iter().map(|id| keys.key("v", "A-B", "trade", id)).collect();
        sorted.sort_unstable();
        let paths: Vec<_> = held
            .candidates(&keys, &sorted)
            .into_iter()
            .map(|slot| held.file(slot).unwrap().path.as_str())
            .collect();
        assert_eq!(paths, expected, "{ids:?}");
    }

    #[test]
    fn only_files_whose_range_holds_an_id_are_candidates() {
        let mut held = Held::default();
        held.apply(
            &[
                add("a", &["1", "9"], 5),
                add("b", &["20", "30"], 7),
                add("c", &["x-1-1", "x-5-0", "lost"], 3),
            ],
            &[],
        );
        check(&held, &["10", "19", "31"], &[]);
        check(&held, &["10", "30"], &["b"]);
        check(&held, &["5", "25", "40"], &["a", "b"]);
        check(&held, &["x-2-7", "y-2-7"], &["c"]);
        check(&held, &["x-5-1", "found"], &[]);
        check(&held, &["lost", "zero"], &["c"]);
        assert_eq!(held.watermarks["v"], 7);
    }

    #[test]
    fn removed_files_are_forgotten() {
        let mut held = Held::default();
        held.apply(&[add("a", &["1", "9"], 5), add("b", &["20"], 7)], &[]);
        held.apply(
            &[add("a", &["1", "9"], 5)],
            &[Remove {
                path: "b".into(),
                ..Remove::default()
            }],
        );
        check(&held, &["5", "20"], &["a"]);
        assert_eq!((held.files.len(), held.watermarks["v"]), (1, 5));
        held.apply(
            &[],
            &[Remove {
                path: "a".into(),
                ..Remove::default()
            }],
        );
        check(&held, &["5"], &[]);
        assert!(held.watermarks.is_empty() && held.spans.is_empty());
    }

    #[test]
    fn a_file_without_a_tag_waits_to_be_read() {
        let mut held = Held::default();
        held.apply(
            &[Add {
                path: "a".into(),
                ..Add::default()
            }],
            &[],
        );
        let slots: Vec<_> = held.unlisted().map(|(slot, _)| slot).collect();
        let mut keys = Keys::default();
        let key = keys.key("v", "A-B", "trade", "3");
        held.list(slots[0], Ranges::of(&keys, [(key, Some(1))].into_iter()));
        check(&held, &["3"], &["a"]);
        assert_eq!(held.unlisted().count(), 0);
    }
}
