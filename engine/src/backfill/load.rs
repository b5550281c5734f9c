//! One file: fetched and named, then read, encoded and committed piece by piece. Reading runs ahead, several pieces are encoded at once,
//! commits keep the file's order: a position is never ahead of its rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use futures::{StreamExt, stream};
use ticklake_sql::data_file::FileOptions;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::arrival::{Arrival, failed};
use super::bad_line::{BadLine, Class};
use super::columns::Origin;
use super::csv::CsvShape;
use super::encode::{Content, Encoded, FilePlan, Piece, Shape, encode};
use super::format::{Format, Reads};
use super::ledger::{FileName, Ledger};
use super::mapping::{Mapping, Parameters};
use super::parquet_rows::ParquetRows;
use super::positions::{FIRST_LINE, Standing};
use super::raw::{LINE, line_field, text_schema};
use super::report::{FileReport, Outcome};
use super::slices::Slices;
use super::source::Input;
use super::{BackfillOptions, Progress, replace, text};
use crate::{Error, Result};

/// A row of Parquet is about this long as JSON: what a piece of rows is measured by.
const ROW_BYTES: usize = 100;

/// What the files of one backfill share.
pub struct Shared {
    pub ledger: Ledger,
    pub format: Format,
    pub options: BackfillOptions,
    pub progress: Arc<Progress>,
    pub stop: CancellationToken,
    /// Pieces in memory.
    pub pieces: Arc<Semaphore>,
    /// Pieces being encoded.
    pub encoders: Arc<Semaphore>,
}

type Read = (Piece, OwnedSemaphorePermit);

/// Loads one file; what goes wrong is in the report.
pub async fn load(shared: Arc<Shared>, input: Input) -> FileReport {
    let (address, size_bytes) = (input.address.clone(), input.size_bytes);
    let report = match try_load(&shared, input).await {
        Ok(report) => report,
        Err((mut report, error)) => {
            report.outcome = Outcome::Failed(error);
            report
        }
    };
    if matches!(report.outcome, Outcome::AlreadyLoaded | Outcome::Changed { .. }) {
        shared.progress.passed_over(size_bytes);
    }
    shared.progress.file_done();
    tracing::info!(file = address, rows = report.rows, bad = report.bad, outcome = ?report.outcome, "file");
    report
}

async fn try_load(shared: &Arc<Shared>, input: Input) -> Result<FileReport, (FileReport, Error)> {
    let mut report = FileReport::new(&input.address, Outcome::Loaded);
    if shared.stop.is_cancelled() {
        report.outcome = Outcome::Stopped;
        return Ok(report);
    }
    match load_into(shared, input, &mut report).await {
        Ok(()) => Ok(report),
        Err(error) => Err((report, error)),
    }
}

async fn load_into(shared: &Arc<Shared>, input: Input, report: &mut FileReport) -> Result<()> {
    let arrival = Arc::new(Arrival::of(input).await?);
    let (address, sha256) = (arrival.input.address.clone(), arrival.sha256.clone());
    let (mut standing, newest) = shared.ledger.look_up(&address, &sha256).await?;
    let mut generation = newest.as_ref().map_or(1, |(_, generation)| *generation);
    match newest {
        Some((loaded, _)) if loaded != sha256 => {
            if !shared.options.replace {
                report.outcome = Outcome::Changed { loaded_sha256: loaded };
                return Ok(());
            }
            generation += 1;
            let dates = replace::take_out(&shared.ledger, &loaded, &address, &sha256, generation).await?;
            report.outcome = Outcome::Replaced {
                from: dates.map(|(from, _)| from),
                until: dates.and_then(|(_, last)| last.succ_opt()),
            };
            standing = shared.ledger.look_up(&address, &sha256).await?.0;
        }
        _ if standing.is_whole => {
            report.outcome = Outcome::AlreadyLoaded;
            return Ok(());
        }
        _ => {}
    }
    let name = FileName {
        topic: arrival.topic(),
        address,
        sha256,
        generation,
    };
    pieces(shared, arrival, name, standing, report).await
}

/// Runs the stages until the file ends, is given up, or the backfill is asked to stop.
async fn pieces(
    shared: &Arc<Shared>,
    arrival: Arc<Arrival>,
    name: FileName,
    standing: Standing,
    report: &mut FileReport,
) -> Result<()> {
    let (sender, mut receiver) = mpsc::channel::<Read>(1);
    let reader = {
        let (shared, arrival) = (shared.clone(), arrival.clone());
        tokio::task::spawn_blocking(move || read(&shared, &arrival, standing.next_line, &sender))
    };
    let outcome = async {
        let Some(first) = receiver.recv().await else {
            return Ok(());
        };
        let plan = Arc::new(plan(shared, &arrival, &first.0, standing.next_line).await?);
        let rest = stream::poll_fn(|context| receiver.poll_recv(context));
        let mut encoded = stream::iter([first])
            .chain(rest)
            .map(|(piece, permit)| encoded(shared.clone(), plan.clone(), piece, permit))
            .buffered(shared.options.encoders.max(1));
        let mut from = standing.next_line;
        while let Some(piece) = encoded.next().await {
            let (piece, add, permit) = piece?;
            // The beginning of a file that goes on further down was only looked at.
            if piece.next_line < from || (piece.next_line == from && !piece.is_last) {
                continue;
            }
            judge(&piece, from == FIRST_LINE, &plan, report, shared.options.max_bad_rows)?;
            shared.ledger.commit(&name, from, &piece, add).await?;
            from = piece.next_line;
            report.count(piece.rows, &piece.bad);
            shared.progress.committed(piece.rows, piece.bad.len());
            drop(permit);
            if !piece.is_last && shared.stop.is_cancelled() {
                report.outcome = Outcome::Stopped;
                return Ok(());
            }
        }
        Ok(())
    }
    .await;
    // The reader ends when nobody takes its pieces.
    drop(receiver);
    let read = reader
        .await
        .map_err(|error| Error::Internal(format!("reading a file ended early: {error}")))?;
    outcome.and(read)
}

/// Encodes and uploads one piece.
async fn encoded(
    shared: Arc<Shared>,
    plan: Arc<FilePlan>,
    piece: Piece,
    permit: OwnedSemaphorePermit,
) -> Result<(Encoded, Option<deltalake::kernel::Add>, OwnedSemaphorePermit)> {
    let closed = |_| Error::Internal("the encoders are gone".into());
    let turn = shared.encoders.clone().acquire_owned().await.map_err(closed)?;
    let (bronze, zstd_level) = (shared.ledger.trades.clone(), shared.options.zstd_level);
    let topic = plan.origin.topic.clone();
    let work = move || {
        let options = FileOptions {
            zstd_level,
            ..FileOptions::default()
        };
        let encoded = encode(piece, &plan, &bronze, options);
        drop(turn);
        encoded
    };
    let mut encoded = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Internal(format!("encoding a file ended early: {error}")))??;
    let add = match encoded.file.take() {
        Some(file) => Some(shared.ledger.upload(&file, &topic, &encoded).await?),
        None => None,
    };
    Ok((encoded, add, permit))
}

/// A file whose first piece holds nothing but bad lines is of another format, and too many of them are not set aside either.
fn judge(piece: &Encoded, is_first: bool, plan: &FilePlan, report: &FileReport, max_bad_rows: u64) -> Result<()> {
    let path = || report.address.clone();
    if is_first
        && piece.rows == 0
        && let Some(first) = piece.bad.first()
    {
        let lacking: Vec<&str> = plan.mapping.lacking.iter().map(String::as_str).collect();
        let lacking = match lacking.as_slice() {
            [] => String::new(),
            names => format!(" (it has no column {})", names.join(", ")),
        };
        return Err(Error::File {
            path: path(),
            message: format!(
                "none of its lines fits, line {}: {}{lacking}",
                first.line, first.message
            ),
        });
    }
    if report.bad + piece.bad.len() as u64 > max_bad_rows
        && let Some(last) = piece.bad.last()
    {
        return Err(Error::File {
            path: path(),
            message: format!(
                "more than {max_bad_rows} bad lines, line {}: {}; raise --max-bad-rows to set them aside",
                last.line, last.message
            ),
        });
    }
    Ok(())
}

/// What the beginning of a file says about the rest of it.
async fn plan(shared: &Shared, arrival: &Arrival, first: &Piece, from_line: i64) -> Result<FilePlan> {
    let format = &shared.format;
    let (shape, has) = match (&first.content, format.reads) {
        (Content::Text(text), Reads::Csv) => {
            let shape = CsvShape::of(text, format, &arrival.input.address)?;
            let has = text_schema(shape.columns.iter().map(String::as_str));
            (Shape::Csv(shape), has)
        }
        // An object may hold what the mapping asks for or not: every word may be a key.
        (Content::Text(_), _) => (Shape::Jsonl, text_schema(format.words.iter().map(String::as_str))),
        (Content::Rows(batches), _) => {
            let schema = batches
                .first()
                .map_or_else(|| Arc::new(Schema::empty()), |batch| batch.schema());
            (Shape::Parquet, with_line(&schema))
        }
    };
    let lacking: BTreeSet<String> = format
        .words
        .iter()
        .filter(|word| has.field_with_name(word).is_err())
        .cloned()
        .collect();
    let absent = lacking.iter().map(|name| Field::new(name, DataType::Utf8, true));
    let raw = Schema::new(
        has.fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .chain(absent)
            .collect::<Vec<_>>(),
    );
    let parameters = Parameters {
        venue: shared.options.venue.clone(),
        symbol: shared.options.symbol.clone(),
        file_name: arrival.input.file_name().to_owned(),
        connection: arrival.connection().to_owned(),
        date: arrival.input.date(),
    };
    let bronze = shared.ledger.trades.spec().file_schema();
    Ok(FilePlan {
        mapping: Mapping::plan(
            &format.name,
            &format.sql,
            &Arc::new(raw),
            &lacking,
            &parameters,
            &bronze,
        )
        .await?,
        shape,
        origin: Origin {
            topic: arrival.topic(),
            connection: arrival.connection().to_owned(),
        },
        from_line,
    })
}

fn with_line(schema: &SchemaRef) -> SchemaRef {
    let own = schema
        .fields()
        .iter()
        .filter(|f| f.name() != LINE)
        .map(|f| f.as_ref().clone());
    Arc::new(Schema::new(own.chain([line_field()]).collect::<Vec<_>>()))
}

/// Reads pieces until the file ends or nobody takes them. The first one always goes out: it says what the file looks like.
fn read(shared: &Shared, arrival: &Arrival, from_line: i64, output: &mpsc::Sender<Read>) -> Result<()> {
    let file = arrival.open()?;
    let runtime = tokio::runtime::Handle::current();
    let send = |piece: Piece, permit: OwnedSemaphorePermit| {
        let wanted = piece.first_line == FIRST_LINE || piece.next_line > from_line || piece.is_last;
        !wanted || output.blocking_send((piece, permit)).is_ok()
    };
    let room = || {
        let permit = runtime.block_on(shared.pieces.clone().acquire_owned());
        permit.map_err(|_| Error::Internal("the room for pieces is gone".into()))
    };
    if shared.format.reads == Reads::Parquet {
        return read_rows(shared, arrival, file, room, send);
    }
    let bytes_read = shared.progress.bytes_read.clone();
    let text = text::open(file, bytes_read).map_err(|source| failed(&arrival.input, source))?;
    let mut slices = Slices::new(text, shared.options.slice_bytes);
    loop {
        let permit = room()?;
        let Some(slice) = slices.next() else { return Ok(()) };
        let piece = Piece {
            content: Content::Text(slice.text),
            first_line: slice.first_line,
            next_line: slice.next_line,
            bad: slice.bad,
            is_last: slice.is_last,
        };
        if !send(piece, permit) {
            return Ok(());
        }
    }
}

fn read_rows(
    shared: &Shared,
    arrival: &Arrival,
    file: std::fs::File,
    room: impl Fn() -> Result<OwnedSemaphorePermit>,
    mut send: impl FnMut(Piece, OwnedSemaphorePermit) -> bool,
) -> Result<()> {
    let mut rows = ParquetRows::open(file).map_err(|error| Error::File {
        path: arrival.input.address.clone(),
        message: format!("is no Parquet file: {error}"),
    })?;
    let (mut next_line, mut read_bytes) = (FIRST_LINE, 0);
    loop {
        let permit = room()?;
        let first_line = next_line;
        let (mut batches, mut bad, mut is_last, mut bytes) = (Vec::new(), Vec::new(), false, 0);
        while bytes < shared.options.slice_bytes && !is_last {
            match rows.next() {
                Some(Ok(batch)) => {
                    next_line += batch.num_rows() as i64;
                    bytes += batch.num_rows() * ROW_BYTES;
                    batches.push(batch);
                }
                Some(Err(why)) => {
                    let message = format!("the file is damaged here, what comes after is lost: {why}");
                    bad.push(BadLine::new(next_line, Class::DamagedFile, message, b""));
                    next_line += 1;
                    is_last = true;
                }
                None => is_last = true,
            }
        }
        if batches.is_empty() && first_line == FIRST_LINE {
            batches.push(arrow::record_batch::RecordBatch::new_empty(rows.schema.clone()));
        }
        let share = (next_line - first_line) as u64 * arrival.input.size_bytes / rows.total_rows.max(1);
        let share = share.min(arrival.input.size_bytes - read_bytes);
        read_bytes += share;
        shared.progress.passed_over(share);
        let piece = Piece {
            content: Content::Rows(batches),
            first_line,
            next_line,
            bad,
            is_last,
        };
        if !send(piece, permit) || is_last {
            return Ok(());
        }
    }
}
