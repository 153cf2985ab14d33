//! `asterism hunt`: SQL over the lake and the state.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::json::writer::{EncoderOptions, make_encoder};
use event::TenantId;
use reqwest::Method;
use storage::{Hunt, HuntLimits};

use super::client::Client;
use super::reader::require_data_dir;
use crate::api::{HuntColumn, HuntRequest, HuntResponse};
use crate::cli::{Format, HuntArgs};
use crate::output::{self, Lines};

/// What the server takes as a time limit.
const SERVER_TIMEOUT_S: std::ops::RangeInclusive<u64> = 1..=crate::api::HUNT_TIMEOUT_S_MAX;

pub(crate) async fn run(args: HuntArgs) -> anyhow::Result<ExitCode> {
    let sql = if args.sql == "-" { read_stdin()? } else { args.sql.clone() };
    let (schema, batches) = match &args.target.data_dir {
        Some(dir) => local(dir, &sql, &args).await?,
        None => remote(&sql, &args).await?,
    };
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    write(&schema, &batches, args.format)?;
    if args.limit > 0 && rows >= args.limit {
        output::note(&format!("{rows} rows: stopped at --limit {}; there may be more", args.limit));
    }
    Ok(ExitCode::SUCCESS)
}

fn read_stdin() -> anyhow::Result<String> {
    let mut sql = String::new();
    std::io::stdin()
        .lock()
        .take(1 << 20)
        .read_to_string(&mut sql)
        .context("cannot read SQL from standard input")?;
    Ok(sql)
}

async fn local(dir: &Path, sql: &str, args: &HuntArgs) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
    require_data_dir(dir)?;
    let hunt = Hunt::open(dir)?;
    let rows_max = if args.limit > 0 { args.limit } else { usize::MAX };
    let limits = HuntLimits { rows_max, time_max: args.timeout, ..HuntLimits::default() };
    let result = hunt.query(sql, &TenantId::new(args.target.tenant.as_str()), limits).await?;
    let schema = result.schema();
    let (batches, _) = result.collect().await?;
    Ok((schema, batches))
}

/// The server answers in rows of JSON; they become columns again, so that every format works.
async fn remote(sql: &str, args: &HuntArgs) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
    let client = Client::new(&args.target)?;
    let timeout_s = Some(seconds(args.timeout)?);
    let request = HuntRequest { sql: sql.to_owned(), limit: Some(args.limit), timeout_s };
    let response: HuntResponse = client.send_json(Method::POST, "/api/v1/hunt", &request).await?;
    let mut json = Vec::new();
    for row in &response.rows {
        serde_json::to_writer(&mut json, row)?;
        json.push(b'\n');
    }
    let (inferred, _) = arrow::json::reader::infer_json_schema(json.as_slice(), None)?;
    // Columns in the order of the SELECT; one that is null in every row is not inferred.
    let field = |c: &HuntColumn| {
        let known = inferred.field_with_name(&c.name).cloned();
        known.unwrap_or_else(|_| Field::new(&c.name, DataType::Utf8, true))
    };
    let schema: SchemaRef = Arc::new(Schema::new(response.columns.iter().map(field).collect::<Vec<_>>()));
    let reader = arrow::json::ReaderBuilder::new(schema.clone()).build(json.as_slice())?;
    Ok((schema, reader.collect::<Result<_, _>>()?))
}

fn seconds(timeout: Duration) -> anyhow::Result<u64> {
    let seconds = timeout.as_secs();
    if timeout.subsec_nanos() != 0 || !SERVER_TIMEOUT_S.contains(&seconds) {
        bail!(
            "--timeout is {} s; with a server it must be whole seconds from {} to {}",
            timeout.as_secs_f64(),
            SERVER_TIMEOUT_S.start(),
            SERVER_TIMEOUT_S.end()
        );
    }
    Ok(seconds)
}

fn write(schema: &SchemaRef, batches: &[RecordBatch], format: Format) -> anyhow::Result<()> {
    let mut out = Lines::stdout();
    let mut bytes = Vec::new();
    match format {
        Format::Table => out.text(&table(schema, batches)?)?,
        Format::Csv => {
            let mut writer = arrow::csv::WriterBuilder::new().with_header(true).build(&mut bytes);
            if batches.is_empty() {
                writer.write(&RecordBatch::new_empty(schema.clone()))?;
            }
            for batch in batches {
                writer.write(&flattened(batch)?)?;
            }
        }
        Format::Json => {
            let mut writer = arrow::json::ArrayWriter::new(&mut bytes);
            writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
            writer.finish()?;
        }
        Format::Ndjson => {
            let mut writer = arrow::json::LineDelimitedWriter::new(&mut bytes);
            writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
            writer.finish()?;
        }
        Format::Parquet => {
            if std::io::stdout().is_terminal() {
                bail!("Parquet is binary: redirect standard output to a file");
            }
            let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, schema.clone(), None)?;
            for batch in batches {
                writer.write(batch)?;
            }
            writer.close()?;
        }
    }
    out.bytes(&bytes)?;
    out.flush()
}

/// The batch with lists and objects as JSON text: CSV has neither.
fn flattened(batch: &RecordBatch) -> anyhow::Result<RecordBatch> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(json_text(field, column)?);
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// Each value of a column as JSON.
fn json_text(field: &FieldRef, column: &ArrayRef) -> anyhow::Result<ArrayRef> {
    let options = EncoderOptions::default();
    let mut encoder = make_encoder(field, column.as_ref(), &options)?;
    let mut text = |row: usize| {
        if column.is_null(row) {
            return Ok(None);
        }
        let mut json = Vec::new();
        encoder.encode(row, &mut json);
        String::from_utf8(json).map(Some)
    };
    let texts: Vec<Option<String>> = (0..column.len()).map(&mut text).collect::<Result<_, _>>()?;
    Ok(Arc::new(StringArray::from(texts)))
}

fn table(schema: &SchemaRef, batches: &[RecordBatch]) -> anyhow::Result<String> {
    let empty = RecordBatch::new_empty(schema.clone());
    let shown = if batches.is_empty() { std::slice::from_ref(&empty) } else { batches };
    Ok(arrow::util::pretty::pretty_format_batches(shown)?.to_string())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn csv_holds_lists_as_json_text() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(1), Some(2)]),
            None,
            Some(Vec::new()),
        ]);
        let columns: [(&str, ArrayRef); 2] =
            [("n", Arc::new(Int64Array::from(vec![7, 8, 9]))), ("list", Arc::new(lists))];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut csv = Vec::new();
        arrow::csv::Writer::new(&mut csv).write(&flattened(&batch).unwrap()).unwrap();
        assert_eq!(String::from_utf8(csv).unwrap(), "n,list\n7,\"[1,2]\"\n8,\n9,[]\n");
    }

    #[test]
    fn a_timeout_that_the_server_would_not_keep_is_refused() {
        assert_eq!(seconds(Duration::from_secs(60)).unwrap(), 60);
        for wrong in [Duration::from_millis(200), Duration::from_millis(1_500), Duration::from_secs(101)] {
            let error = seconds(wrong).unwrap_err().to_string();
            assert!(error.contains("--timeout") && error.contains("from 1 to 100"), "{error}");
        }
    }
}
