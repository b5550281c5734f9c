//! Reads of files that the page cache answers at once, on the thread that asks.
//!
//! Handing a read to another thread and being woken by it takes longer than to copy a few pages: a query over hundreds of small files spends more
//! on that than on reading. What would have to wait, for the disk or for a folder, is left to who may block.

use std::ops::Range;
use std::path::Path;

use bytes::Bytes;

/// More is copied elsewhere: whoever shares this thread would wait for it.
#[cfg(target_os = "linux")]
const MAX_BYTES: u64 = 1 << 20;

/// The ranges of a file, where all of them are in memory; None says nothing of the file.
#[cfg(target_os = "linux")]
pub(crate) fn read(path: &Path, ranges: &[Range<u64>]) -> Option<Vec<Bytes>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

    let sizes = ranges.iter().map(|range| range.end.checked_sub(range.start));
    let bytes = sizes.sum::<Option<u64>>()?;
    if bytes > MAX_BYTES {
        return None;
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED).ok()?;
    ranges.iter().map(|range| read_range(&file, range)).collect()
}

#[cfg(target_os = "linux")]
fn read_range(file: &impl std::os::fd::AsFd, range: &Range<u64>) -> Option<Bytes> {
    use std::io::IoSliceMut;

    use rustix::io::{ReadWriteFlags, preadv2};

    let mut buffer = vec![0; usize::try_from(range.end - range.start).ok()?];
    let (mut rest, mut offset) = (buffer.as_mut_slice(), range.start);
    while !rest.is_empty() {
        let read = preadv2(file, &mut [IoSliceMut::new(rest)], offset, ReadWriteFlags::NOWAIT).ok()?;
        if read == 0 {
            return None;
        }
        rest = rest.get_mut(read..)?;
        offset += read as u64;
    }
    Some(buffer.into())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn read(_: &Path, _: &[Range<u64>]) -> Option<Vec<Bytes>> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    // Lists of ranges, one of them empty.
    #[allow(clippy::single_range_in_vec_init, clippy::reversed_empty_ranges)]
    #[test]
    fn what_was_just_written_is_read_and_anything_else_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let content: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let read = read(&path, &[0..10, 99_990..100_000, 4_090..20_000]).unwrap();
        assert_eq!(read, [&content[..10], &content[99_990..], &content[4_090..20_000]]);
        assert_eq!(super::read(&path, &[0..10, 99_999..100_001]), None);
        assert_eq!(super::read(&path, &[0..0, 7..3]), None);
        assert_eq!(super::read(&folder.path().join("none"), &[0..1]), None);
        assert_eq!(super::read(folder.path(), &[0..1]), None);
    }
}
