//! The rows of a query as a stream that holds its limits, and its errors in words.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::sqlparser::parser::ParserError;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use tokio::time::{Instant, Sleep, sleep_until};

use super::HuntLimits;
use crate::StorageError;

/// The rows of a query, batch by batch.
pub struct HuntResult {
    stream: SendableRecordBatchStream,
    rows_left: usize,
    truncated: bool,
    done: bool,
    deadline: Pin<Box<Sleep>>,
    limits: HuntLimits,
}

impl HuntResult {
    pub(super) fn new(stream: SendableRecordBatchStream, limits: HuntLimits, deadline: Instant) -> Self {
        let deadline = Box::pin(sleep_until(deadline));
        Self { stream, rows_left: limits.rows_max, truncated: false, done: false, deadline, limits }
    }

    /// The columns.
    pub fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// Whether rows were left out at [`HuntLimits::rows_max`]; known once the stream has ended.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// All batches, and whether rows were left out.
    ///
    /// # Errors
    /// As the stream's items.
    pub async fn collect(mut self) -> Result<(Vec<RecordBatch>, bool), StorageError> {
        let batches = self.by_ref().try_collect().await?;
        Ok((batches, self.truncated))
    }

    fn admit(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        if batch.num_rows() <= self.rows_left {
            self.rows_left -= batch.num_rows();
            return Some(batch);
        }
        (self.truncated, self.done) = (true, true);
        let rows = std::mem::take(&mut self.rows_left);
        (rows > 0).then(|| batch.slice(0, rows))
    }
}

impl Stream for HuntResult {
    type Item = Result<RecordBatch, StorageError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.done {
            return Poll::Ready(None);
        }
        if self.deadline.poll_unpin(cx).is_ready() {
            self.done = true;
            return Poll::Ready(Some(Err(too_slow(self.limits.time_max))));
        }
        match std::task::ready!(self.stream.poll_next_unpin(cx)) {
            Some(Ok(batch)) => Poll::Ready(self.admit(batch).map(Ok)),
            Some(Err(e)) => {
                self.done = true;
                Poll::Ready(Some(Err(hunt_error(&e))))
            }
            None => Poll::Ready(None),
        }
    }
}

impl std::fmt::Debug for HuntResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HuntResult")
            .field("schema", &self.schema())
            .field("truncated", &self.truncated)
            .finish()
    }
}

pub(super) fn too_slow(time_max: Duration) -> StorageError {
    StorageError::Limit {
        what: "the query's time".to_owned(),
        limit: format!("{} s", time_max.as_secs_f64()),
        remedy: "narrow it by `time`, ask for fewer columns, or raise the limit".to_owned(),
    }
}

/// Sorts an error of the query engine.
pub(super) fn hunt_error(error: &DataFusionError) -> StorageError {
    match error.find_root() {
        DataFusionError::External(inner) => match inner.downcast_ref::<StorageError>() {
            Some(ours) => ours.clone(),
            None => StorageError::unavailable("the lake", inner),
        },
        DataFusionError::ResourcesExhausted(detail) => StorageError::Limit {
            what: "the query's memory".to_owned(),
            limit: first_line(detail),
            remedy: "narrow it by `time`, group by fewer values, or raise the limit".to_owned(),
        },
        DataFusionError::IoError(e) => StorageError::unavailable("the lake", e),
        DataFusionError::ObjectStore(e) => StorageError::unavailable("the lake", e),
        DataFusionError::ParquetError(e) => StorageError::corrupt("a file of the lake", e),
        DataFusionError::Internal(detail) => StorageError::Bug(first_line(detail)),
        root => query_error(root),
    }
}

/// What is wrong with a query, without the engine's names for its own stages.
fn query_error(error: &DataFusionError) -> StorageError {
    let plain = |message: &str| StorageError::Query { message: first_line(message), hint: None };
    match error {
        DataFusionError::SQL(e, _) => match e.as_ref() {
            ParserError::ParserError(message) | ParserError::TokenizerError(message) => {
                plain(&format!("syntax error: {message}"))
            }
            ParserError::RecursionLimitExceeded => plain("the query is nested too deeply"),
        },
        DataFusionError::NotImplemented(message) if message.contains("OuterReferenceColumn") => {
            StorageError::Query {
                message: "a subquery or function in FROM cannot use columns of its neighbours here"
                    .to_owned(),
                hint: Some(
                    "unnest inside: SELECT e['value'] FROM (SELECT unnest(entities) AS e FROM alerts)"
                        .to_owned(),
                ),
            }
        }
        DataFusionError::Plan(message) | DataFusionError::Execution(message) => plain(message),
        DataFusionError::ArrowError(e, _) => plain(&arrow_text(e)),
        DataFusionError::SchemaError(e, _) => plain(&e.to_string()),
        other => plain(&other.strip_backtrace()),
    }
}

/// What went wrong with a value, without the names of the library's own kinds of errors.
fn arrow_text(error: &ArrowError) -> String {
    match error {
        ArrowError::DivideByZero => "division by zero".to_owned(),
        ArrowError::CastError(text)
        | ArrowError::ParseError(text)
        | ArrowError::ComputeError(text)
        | ArrowError::ArithmeticOverflow(text)
        | ArrowError::InvalidArgumentError(text) => text.clone(),
        other => other.to_string(),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_values_are_told_in_plain_words() {
        let told = |error: ArrowError| hunt_error(&DataFusionError::from(error)).to_string();
        assert_eq!(told(ArrowError::DivideByZero), "division by zero");
        let cast = "Cannot cast string 'x' to value of Int64 type";
        assert_eq!(told(ArrowError::CastError(cast.to_owned())), cast);
    }
}
