//! A zip file read from front to back by its local headers: what is damaged or cut off at the end gives all that comes before it.
//! (PKWARE APPNOTE 4.3.7; the central directory at the end is not needed)

use std::io::{BufRead, Read};

use flate2::bufread::DeflateDecoder;

const LOCAL_HEADER: [u8; 4] = *b"PK\x03\x04";
const CENTRAL_DIRECTORY: [&[u8; 4]; 3] = [b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06"];
const STORED: u16 = 0;
const DEFLATED: u16 = 8;
const ENCRYPTED: u16 = 1;
/// Sizes and CRC follow the data.
const DATA_DESCRIPTOR: u16 = 1 << 3;
const DESCRIPTOR_MAGIC: u32 = 0x0807_4b50;
const ZIP64_EXTRA: u16 = 1;

/// The text of all entries, one after another.
pub struct ZipReader<R> {
    state: State<R>,
}

enum State<R> {
    Between(R),
    Inside(Entry<R>),
    Done,
}

struct Entry<R> {
    name: String,
    data: Data<R>,
    crc: flate2::Crc,
    /// From the header; `None` where a descriptor follows.
    stated_crc: Option<u32>,
    is_zip64: bool,
    last_byte: u8,
}

enum Data<R> {
    Deflated(Box<DeflateDecoder<R>>),
    Stored(std::io::Take<R>),
}

impl<R: BufRead> ZipReader<R> {
    pub fn new(input: R) -> Self {
        Self {
            state: State::Between(input),
        }
    }
}

impl<R: BufRead> Read for ZipReader<R> {
    /// Inflated bytes. An error tells what is damaged; everything before it was right, but for an entry whose CRC does not match.
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match std::mem::replace(&mut self.state, State::Done) {
                State::Done => return Ok(0),
                State::Between(input) => match next_entry(input)? {
                    Some(entry) => self.state = State::Inside(entry),
                    None => return Ok(0),
                },
                State::Inside(mut entry) => {
                    let read = match &mut entry.data {
                        Data::Deflated(data) => data.read(out),
                        Data::Stored(data) => data.read(out),
                    };
                    let read = read.map_err(|error| match error.kind() {
                        std::io::ErrorKind::UnexpectedEof => damaged(&format!("entry {} is cut off", entry.name)),
                        _ => damaged(&format!("entry {}: {error}", entry.name)),
                    })?;
                    if read > 0 {
                        entry.crc.update(&out[..read]);
                        entry.last_byte = out[read - 1];
                        self.state = State::Inside(entry);
                        return Ok(read);
                    }
                    let ended_in_a_line = entry.crc.amount() > 0 && entry.last_byte != b'\n';
                    self.state = State::Between(entry.finish()?);
                    // The next entry's first line must not run on from this one's last.
                    if ended_in_a_line && !out.is_empty() {
                        out[0] = b'\n';
                        return Ok(1);
                    }
                }
            }
        }
    }
}

impl<R: BufRead> Entry<R> {
    /// The input behind the entry, its CRC compared.
    fn finish(self) -> std::io::Result<R> {
        let mut input = match self.data {
            Data::Deflated(data) => data.into_inner(),
            Data::Stored(data) if data.limit() > 0 => return Err(damaged(&format!("entry {} is cut off", self.name))),
            Data::Stored(data) => data.into_inner(),
        };
        let stated = match self.stated_crc {
            Some(crc) => crc,
            None => descriptor(&mut input, self.is_zip64)
                .map_err(|_| damaged(&format!("entry {} is cut off before its CRC", self.name)))?,
        };
        if stated != self.crc.sum() && input.fill_buf()?.is_empty() {
            return Err(damaged(&format!("entry {} is cut off", self.name)));
        }
        if stated != self.crc.sum() {
            return Err(damaged(&format!(
                "entry {}: the CRC-32 is {:08x}, the zip says {stated:08x}: lines loaded from it may be wrong",
                self.name,
                self.crc.sum()
            )));
        }
        Ok(input)
    }
}

/// CRC of a data descriptor, whose magic is optional.
fn descriptor(input: &mut impl Read, is_zip64: bool) -> std::io::Result<u32> {
    let mut crc = read_u32(input)?;
    if crc == DESCRIPTOR_MAGIC {
        crc = read_u32(input)?;
    }
    let mut sizes = [0; 16];
    input.read_exact(&mut sizes[..if is_zip64 { 16 } else { 8 }])?;
    Ok(crc)
}

fn read_u32(input: &mut impl Read) -> std::io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn next_entry<R: BufRead>(mut input: R) -> std::io::Result<Option<Entry<R>>> {
    loop {
        let mut magic = [0; 4];
        input
            .read_exact(&mut magic)
            .map_err(|_| damaged("it is cut off where an entry or the directory should begin"))?;
        if CENTRAL_DIRECTORY.contains(&&magic) {
            return Ok(None);
        }
        if magic != LOCAL_HEADER {
            return Err(damaged("no entry begins where one should"));
        }
        let entry = header(input).map_err(|error| damaged(&format!("the header of an entry: {error}")))?;
        match entry {
            // A folder has no data.
            Entry {
                name,
                data: Data::Stored(data),
                ..
            } if name.ends_with('/') => input = data.into_inner(),
            entry => return Ok(Some(entry)),
        }
    }
}

fn header<R: BufRead>(mut input: R) -> std::io::Result<Entry<R>> {
    let mut fixed = [0; 26];
    input.read_exact(&mut fixed)?;
    let u16_at = |at: usize| u16::from_le_bytes([fixed[at], fixed[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let (flags, method) = (u16_at(2), u16_at(4));
    let mut name = vec![0; usize::from(u16_at(22))];
    input.read_exact(&mut name)?;
    let mut extra = vec![0; usize::from(u16_at(24))];
    input.read_exact(&mut extra)?;
    let name = String::from_utf8_lossy(&name).into_owned();
    if flags & ENCRYPTED != 0 {
        return Err(damaged(&format!("entry {name} is encrypted: unpack it first")));
    }
    let sizes = zip64_sizes(&extra);
    let has_descriptor = flags & DATA_DESCRIPTOR != 0;
    let data = match method {
        DEFLATED => Data::Deflated(Box::new(DeflateDecoder::new(input))),
        STORED if has_descriptor && !name.ends_with('/') => {
            return Err(damaged(&format!(
                "entry {name} is stored without its size: pack it again"
            )));
        }
        STORED => {
            let stated = u64::from(u32_at(14));
            Data::Stored(input.take(sizes.filter(|_| stated == u64::from(u32::MAX)).unwrap_or(stated)))
        }
        other => {
            return Err(damaged(&format!(
                "entry {name} is packed by method {other}, not by deflate"
            )));
        }
    };
    Ok(Entry {
        name,
        data,
        crc: flate2::Crc::new(),
        stated_crc: (!has_descriptor).then(|| u32_at(10)),
        is_zip64: sizes.is_some(),
        last_byte: 0,
    })
}

/// Compressed size of a zip64 extra field, which holds the plain size first.
fn zip64_sizes(mut extra: &[u8]) -> Option<u64> {
    while let [a, b, c, d, rest @ ..] = extra {
        let (id, length) = (u16::from_le_bytes([*a, *b]), usize::from(u16::from_le_bytes([*c, *d])));
        let field = rest.get(..length)?;
        if id == ZIP64_EXTRA {
            return Some(
                field
                    .get(8..16)
                    .and_then(|size| size.try_into().ok())
                    .map_or(0, u64::from_le_bytes),
            );
        }
        extra = &rest[length..];
    }
    None
}

fn damaged(what: &str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A zip of deflated entries, as `zip` writes them, without a central directory but with its first bytes.
    fn zipped(entries: &[(&str, &str)], descriptor: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, text) in entries {
            let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            let data = encoder.finish().unwrap();
            let mut crc = flate2::Crc::new();
            crc.update(text.as_bytes());
            let sizes = [crc.sum(), data.len() as u32, text.len() as u32];
            bytes.extend(LOCAL_HEADER);
            bytes.extend([20, 0, if descriptor { 8 } else { 0 }, 0, 8, 0, 0, 0, 0, 0]);
            for value in sizes {
                bytes.extend((if descriptor { 0 } else { value }).to_le_bytes());
            }
            bytes.extend((name.len() as u16).to_le_bytes());
            bytes.extend([0, 0]);
            bytes.extend(name.as_bytes());
            bytes.extend(data);
            if descriptor {
                bytes.extend(DESCRIPTOR_MAGIC.to_le_bytes());
                for value in sizes {
                    bytes.extend(value.to_le_bytes());
                }
            }
        }
        bytes.extend(b"PK\x01\x02rest of the directory");
        bytes
    }

    /// What comes out before the end, and the error that is the end.
    fn read(bytes: &[u8]) -> (String, Option<String>) {
        let (mut reader, mut text, mut buffer) = (ZipReader::new(bytes), Vec::new(), [0; 7]);
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return (String::from_utf8(text).unwrap(), None),
                Ok(read) => text.extend_from_slice(&buffer[..read]),
                Err(error) => return (String::from_utf8(text).unwrap(), Some(error.to_string())),
            }
        }
    }

    #[test]
    fn entries_follow_one_another_and_lines_stay_apart() {
        for descriptor in [false, true] {
            let bytes = zipped(&[("a.csv", "1,2\n3,4"), ("b.csv", "5,6\n")], descriptor);
            assert_eq!(read(&bytes), ("1,2\n3,4\n5,6\n".to_owned(), None));
        }
    }

    #[test]
    fn what_comes_before_damage_is_read() {
        let text: String = (0..1000).map(|n| format!("{n},{}\n", n * 7919 % 1000)).collect();
        let whole = zipped(&[("a.csv", &text)], false);
        let (before, error) = read(&whole[..whole.len() / 2]);
        assert!(before.len() > 1000 && text.starts_with(&before));
        assert!(error.unwrap().contains("a.csv is cut off"));
        let mut wrong = whole.clone();
        wrong[14] ^= 1;
        let (all, error) = read(&wrong);
        assert_eq!(all, text);
        assert!(error.unwrap().contains("CRC-32"));
        assert!(read(&whole[..10]).1.unwrap().contains("header"));
        assert!(read(b"PK\x03\x04").1.is_some());
        assert!(read(b"").1.is_some());
    }
}
