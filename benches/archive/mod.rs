//! A zip as the venue's archive has it: a day of Binance-style trades, seeded.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

const NAME: &str = "BTCUSDT-trades-2025-01-06";
/// 2025-01-06T00:00:00Z.
const START_US: u64 = 1_736_121_600_000_000;
const DAY_US: u64 = 86_400_000_000;

/// The zip of `rows` trades in `dir`, written where it is not there yet.
pub fn made(dir: &Path, rows: u64) -> PathBuf {
    let path = dir.join(format!("{NAME}.zip"));
    if !path.exists() {
        let part = dir.join("part");
        write_zip(&part, rows);
        std::fs::rename(part, &path).unwrap();
    }
    path
}

/// One deflated entry with its sizes filled in at the end; the directory's first bytes end it.
fn write_zip(path: &Path, rows: u64) {
    let mut file = std::fs::File::create(path).unwrap();
    let name = format!("{NAME}.csv");
    // Version 2.0, a data descriptor follows.
    file.write_all(b"PK\x03\x04\x14\0\x08\0\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0")
        .unwrap();
    file.write_all(&(name.len() as u16).to_le_bytes()).unwrap();
    file.write_all(&[0, 0]).unwrap();
    file.write_all(name.as_bytes()).unwrap();
    let start = file.stream_position().unwrap();
    let mut encoder = flate2::write::DeflateEncoder::new(BufWriter::new(&mut file), flate2::Compression::default());
    let mut crc = flate2::Crc::new();
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |limit: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % limit
    };
    let (mut price, mut line, mut bytes) = (6_423_112u64, Vec::new(), 0u64);
    for row in 0..rows {
        price = (price + next(11)).saturating_sub(5).max(1_000_000);
        let qty = next(5_000) * next(5_000) + 1;
        let quote = u128::from(price) * u128::from(qty) / 100;
        let ts = START_US + row * DAY_US / rows;
        let maker = if next(2) == 0 { "True" } else { "False" };
        line.clear();
        writeln!(
            line,
            "{},{}.{:02}000000,{}.{:08},{}.{:08},{ts},{maker},True",
            4_200_000_000 + row,
            price / 100,
            price % 100,
            qty / 100_000_000,
            qty % 100_000_000,
            quote / 100_000_000,
            quote % 100_000_000
        )
        .unwrap();
        crc.update(&line);
        bytes += line.len() as u64;
        encoder.write_all(&line).unwrap();
    }
    encoder.finish().unwrap().flush().unwrap();
    let end = file.seek(SeekFrom::End(0)).unwrap();
    for value in [0x0807_4b50, crc.sum(), (end - start) as u32, bytes as u32] {
        file.write_all(&value.to_le_bytes()).unwrap();
    }
    file.write_all(b"PK\x01\x02").unwrap();
}
