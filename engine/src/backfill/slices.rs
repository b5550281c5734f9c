//! Text cut into slices of whole lines, numbered from 1: what one commit holds. Memory is one slice, however long the file or a line is.

use std::io::Read;

use memchr::{memchr, memchr_iter, memrchr};
use sha2::{Digest, Sha256};

use super::bad_line::{BadLine, Class, KEPT_BYTES};

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// How much is read at a time: small enough to stay in the cache until it is cut.
const READ_BYTES: usize = 1 << 18;

/// Whole lines, each with its terminator but perhaps the last.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Slice {
    pub text: Vec<u8>,
    /// Number of the first line.
    pub first_line: i64,
    /// Number after the last line: where the next slice begins.
    pub next_line: i64,
    /// Lines of this range that are set aside already: longer than a slice, or where the file is damaged.
    pub bad: Vec<BadLine>,
    /// Nothing comes after it.
    pub is_last: bool,
}

pub struct Slices<R> {
    input: R,
    slice_bytes: usize,
    next_line: i64,
    /// The beginning of a line whose end has not been read yet.
    rest: Vec<u8>,
    done: bool,
}

impl<R: Read> Slices<R> {
    pub fn new(input: R, slice_bytes: usize) -> Self {
        Self {
            input,
            slice_bytes,
            next_line: 1,
            rest: Vec::new(),
            done: false,
        }
    }

    /// The next slice; `None` after the last.
    pub fn next(&mut self) -> Option<Slice> {
        if self.done {
            return None;
        }
        let mut slice = Slice {
            text: Vec::with_capacity(self.slice_bytes + READ_BYTES),
            first_line: self.next_line,
            ..Slice::default()
        };
        slice.text.append(&mut self.rest);
        let end = loop {
            if slice.text.len() >= self.slice_bytes {
                match memrchr(b'\n', &slice.text) {
                    Some(newline) => {
                        self.rest = slice.text.split_off(newline + 1);
                        break End::Full;
                    }
                    None => break self.too_long(&mut slice),
                }
            }
            match self.fill(&mut slice.text) {
                Ok(0) => break End::OfFile,
                Ok(_) => {}
                Err(error) => break End::Damage(error.to_string()),
            }
        };
        self.close(&mut slice, end);
        Some(slice)
    }

    fn fill(&mut self, text: &mut Vec<u8>) -> std::io::Result<usize> {
        let length = text.len();
        text.resize(length + READ_BYTES.min(self.slice_bytes), 0);
        let read = loop {
            match self.input.read(&mut text[length..]) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        text.truncate(length + read.as_ref().map_or(0, |read| *read));
        if length == 0 && self.next_line == 1 && text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        read
    }

    /// A line that fills a slice without an end: its beginning, length and digest are kept, the rest of it is skipped.
    fn too_long(&mut self, slice: &mut Slice) -> End {
        let start = std::mem::take(&mut slice.text);
        let (mut hasher, mut bytes) = (Sha256::new(), start.len() as u64);
        hasher.update(&start);
        let end = loop {
            let mut more = Vec::new();
            match self.fill(&mut more) {
                Ok(0) => break End::OfFile,
                Err(error) => break End::Damage(error.to_string()),
                Ok(_) => {}
            }
            let until = memchr(b'\n', &more);
            let of_line = &more[..until.unwrap_or(more.len())];
            hasher.update(of_line);
            bytes += of_line.len() as u64;
            if let Some(newline) = until {
                self.rest = more.split_off(newline + 1);
                break End::Full;
            }
        };
        let message = format!("the line has {bytes} bytes, more than any trade");
        let mut bad = BadLine::new(
            self.next_line,
            Class::TooLarge,
            message,
            &start[..start.len().min(KEPT_BYTES)],
        );
        bad.payload_bytes = bytes;
        bad.payload_sha256 = Some(format!("{:x}", hasher.finalize()));
        slice.bad.push(bad);
        self.next_line += 1;
        end
    }

    fn close(&mut self, slice: &mut Slice, end: End) {
        let damage = match end {
            End::Full => None,
            End::OfFile => {
                self.done = true;
                None
            }
            End::Damage(why) => {
                self.done = true;
                let whole = memrchr(b'\n', &slice.text).map_or(0, |newline| newline + 1);
                Some((why, slice.text.split_off(whole)))
            }
        };
        let newlines = memchr_iter(b'\n', &slice.text).count() as i64;
        let open_line = !slice.text.is_empty() && !slice.text.ends_with(b"\n");
        self.next_line += newlines + i64::from(open_line);
        if let Some((why, partial)) = damage {
            let message = format!("the file is damaged here, what comes after is lost: {why}");
            slice
                .bad
                .push(BadLine::new(self.next_line, Class::DamagedFile, message, &partial));
            self.next_line += 1;
        }
        slice.next_line = self.next_line;
        slice.is_last = self.done;
    }
}

enum End {
    /// More may come.
    Full,
    OfFile,
    Damage(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(text: &[u8], slice_bytes: usize) -> Vec<Slice> {
        let mut slices = Slices::new(text, slice_bytes);
        std::iter::from_fn(|| slices.next()).collect()
    }

    #[test]
    fn slices_hold_whole_lines_and_number_them() {
        for slice_bytes in [4, 5, 8, 1000] {
            for text in ["a\nbb\n\nccc", "a\nbb\n\nccc\n", "\u{feff}a\nbb\n\nccc\n"] {
                let found = slices(text.as_bytes(), slice_bytes);
                let joined: Vec<u8> = found.iter().flat_map(|slice| slice.text.clone()).collect();
                assert_eq!(joined, text.trim_start_matches('\u{feff}').as_bytes());
                let mut next = 1;
                for slice in &found {
                    assert_eq!(slice.first_line, next);
                    next = slice.next_line;
                }
                assert_eq!(next, 5, "{text:?} in {slice_bytes}");
                assert!(found.last().unwrap().is_last);
            }
        }
        assert_eq!(slices(b"", 10)[0].next_line, 1);
    }

    #[test]
    fn a_line_without_end_costs_no_memory() {
        let long = "x".repeat(3 * READ_BYTES);
        let found = slices(format!("a\n{long}\nb\n").as_bytes(), 1000);
        let lines: Vec<(i64, usize)> = found.iter().map(|slice| (slice.first_line, slice.text.len())).collect();
        assert_eq!(
            found.iter().map(|slice| slice.text.len()).sum::<usize>(),
            4,
            "{lines:?}"
        );
        let bad: Vec<&BadLine> = found.iter().flat_map(|slice| &slice.bad).collect();
        assert_eq!(
            (bad.len(), bad[0].line, bad[0].payload_bytes),
            (1, 2, long.len() as u64)
        );
        assert_eq!(bad[0].payload_sha256, Some(format!("{:x}", Sha256::digest(&long))));
        assert_eq!(found.last().unwrap().next_line, 4);
    }

    #[test]
    fn damage_is_a_bad_line_and_the_end() {
        struct Broken(&'static [u8]);
        impl Read for Broken {
            fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
                if self.0.is_empty() {
                    return Err(std::io::Error::other("torn"));
                }
                let read = self.0.len().min(out.len());
                out[..read].copy_from_slice(&self.0[..read]);
                self.0 = &self.0[read..];
                Ok(read)
            }
        }
        let mut found = Slices::new(Broken(b"a\nb\npart"), 1000);
        let slice = found.next().unwrap();
        assert_eq!((slice.text.as_slice(), slice.next_line), (b"a\nb\n".as_slice(), 4));
        assert_eq!(
            (slice.bad[0].line, slice.bad[0].payload.as_slice()),
            (3, b"part".as_slice())
        );
        assert!(slice.is_last && found.next().is_none());
    }
}
