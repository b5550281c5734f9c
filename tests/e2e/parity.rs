//! `ticklake parity`: our bars against the candles of a venue, from a file and from an address.

use std::io::{BufRead, BufReader, Write};

use serde_json::Value;

use crate::made::{Made, TRADES};
use crate::process::output;

#[test]
fn bars_are_held_against_candles() {
    let made = Made::new();
    let folder = made.folder.path();
    let decimal = |value: i128, scale: usize| {
        let digits = format!("{value:0>width$}", width = scale + 1);
        format!(
            "{}.{}",
            &digits[..digits.len() - scale],
            &digits[digits.len() - scale..]
        )
    };
    let bars = crate::lake::LakeFolder(made.lake()).bars("1m");
    let candle = |((_, _, start), bar): (&crate::lake::BarKey, &crate::lake::Bar)| {
        let price = |value| decimal(value, 12);
        [
            start.to_string(),
            price(bar.open),
            price(bar.high),
            price(bar.low),
            price(bar.close),
            decimal(bar.volume, 10),
            (bar.window_end_us - 1).to_string(),
            decimal(bar.quote_volume, 22),
            bar.trade_count.to_string(),
            decimal(bar.taker_buy_volume, 10),
            decimal(bar.taker_buy_quote_volume, 22),
            "0".to_owned(),
        ]
        .join(",")
    };
    let mut lines: Vec<String> = bars.iter().map(candle).collect();
    let parity = |lines: &[String]| {
        std::fs::write(folder.join("candles.csv"), lines.join("\n")).unwrap();
        let lake = made.lake();
        let market = ["--venue", "sim", "--symbol", "BTC-USDT", "--format", "json"];
        let args = ["parity", "--candles", "candles.csv", "--lake", lake.to_str().unwrap()];
        let output = output(folder, &[&args[..], &market].concat());
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), report)
    };
    let (code, report) = parity(&lines);
    assert_eq!(
        (code, &report["candles"]),
        (Some(0), &(TRADES / 60).into()),
        "{report:#}"
    );
    lines[2] = lines[2].replace(",60,", ",61,");
    lines.remove(1);
    let (code, report) = parity(&lines);
    assert_eq!(code, Some(3));
    assert_eq!(
        report["by_field"],
        serde_json::json!({ "bar": 1, "trade_count": 1 }),
        "{report:#}"
    );
    // The same from where a venue would publish it.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/candles.csv", listener.local_addr().unwrap());
    let body = std::fs::read_to_string(folder.join("candles.csv")).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap()).lines();
        assert!(
            request.map(Result::unwrap).any(|line| line.is_empty()),
            "the request ends"
        );
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
    });
    let lake = made.lake();
    let args = ["parity", "--candles", &url, "--lake", lake.to_str().unwrap()];
    let output = output(
        folder,
        &[&args[..], &["--venue", "sim", "--symbol", "BTC-USDT"]].concat(),
    );
    answering.join().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{text}");
    assert!(
        text.contains("bar: 1 differ") && text.contains("trade_count: 1 differ"),
        "{text}"
    );
}
