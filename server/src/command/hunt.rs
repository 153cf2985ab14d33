//! `asterism hunt`: SQL over the lake and the state.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use event::TenantId;
use reqwest::Method;
use storage::{Hunt, HuntLimits};

use super::client::Client;
use crate::api::{HuntColumn, HuntRequest, HuntResponse};
use crate::cli::{Format, HuntArgs};
use crate::output::{self, Lines};

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
    let request =
        HuntRequest { sql: sql.to_owned(), limit: Some(args.limit), timeout_s: Some(seconds(args.timeout)) };
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

fn seconds(timeout: Duration) -> u64 {
    timeout.as_secs().max(1)
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
                writer.write(batch).context("CSV holds no lists: pick columns, or use --format json")?;
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

fn table(schema: &SchemaRef, batches: &[RecordBatch]) -> anyhow::Result<String> {
    let empty = RecordBatch::new_empty(schema.clone());
    let shown = if batches.is_empty() { std::slice::from_ref(&empty) } else { batches };
    Ok(arrow::util::pretty::pretty_format_batches(shown)?.to_string())
}
