//! One file, opened when it is first read.

use std::path::PathBuf;

use super::lines::{Line, Lines};
use super::open::open;
use crate::error::IngestError;
use crate::source::PollBudget;

/// What one read of a file brought.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) file: usize,
    pub(super) lines: Vec<Line>,
    pub(super) next_line: i64,
    pub(super) ended: bool,
    pub(super) fault: Option<IngestError>,
}

pub(super) struct FileReader {
    path: PathBuf,
    line_bytes_max: usize,
    lines: Option<Lines>,
    /// Reading starts at this line when the file is (re)opened.
    start_line: i64,
    /// A line that was read, but did not fit into the last chunk.
    held_back: Option<Line>,
}

impl FileReader {
    pub(super) const fn new(path: PathBuf, line_bytes_max: usize) -> Self {
        Self { path, line_bytes_max, lines: None, start_line: 0, held_back: None }
    }

    /// Goes to `line`, by reading from the beginning when the file is next read.
    pub(super) fn seek(&mut self, line: i64) {
        (self.lines, self.held_back, self.start_line) = (None, None, line);
    }

    /// Reads lines within the budget. A damaged or vanished file ends with a fault.
    pub(super) fn read(&mut self, file: usize, budget: PollBudget) -> Chunk {
        let mut lines = Vec::new();
        let outcome = self.read_into(&mut lines, budget);
        let next_line = self.next_line();
        let (ended, fault) = match outcome {
            Ok(ended) => (ended, None),
            Err(fault) => (true, Some(fault)),
        };
        if ended {
            self.lines = None;
            self.start_line = next_line;
        }
        Chunk { file, lines, next_line, ended, fault }
    }

    fn read_into(&mut self, out: &mut Vec<Line>, budget: PollBudget) -> Result<bool, IngestError> {
        self.ensure_open()?;
        let mut bytes = 0;
        while out.len() < budget.records_max {
            let Some(line) = self.next_line_of_file()? else { return Ok(true) };
            bytes += line.bytes.len();
            if bytes > budget.bytes_max && !out.is_empty() {
                self.held_back = Some(line);
                return Ok(false);
            }
            out.push(line);
        }
        Ok(false)
    }

    fn next_line_of_file(&mut self) -> Result<Option<Line>, IngestError> {
        if let Some(line) = self.held_back.take() {
            return Ok(Some(line));
        }
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let read = lines.next_line();
        let at = lines.next_number();
        read.map_err(|error| self.damaged(at, error))
    }

    fn ensure_open(&mut self) -> Result<(), IngestError> {
        if self.lines.is_some() {
            return Ok(());
        }
        let mut lines = Lines::new(open(&self.path)?, self.line_bytes_max);
        let skipped = lines.skip_to(self.start_line);
        let at = lines.next_number();
        self.lines = Some(lines);
        skipped.map_err(|error| self.damaged(at, error))
    }

    fn next_line(&self) -> i64 {
        let read = self.lines.as_ref().map_or(self.start_line, Lines::next_number);
        self.held_back.as_ref().map_or(read, |line| line.number)
    }

    /// `line` is the first one that could not be read.
    fn damaged(&self, line: i64, error: std::io::Error) -> IngestError {
        if error.raw_os_error().is_some() {
            return IngestError::Io { path: self.path.clone(), cause: error };
        }
        IngestError::Corrupt {
            place: format!("{}:{}", self.path.display(), line + 1),
            problem: format!(
                "the compressed data is cut short or damaged ({error}); the {line} lines before it were read; \
                 fetch the file again"
            ),
        }
    }
}
