//! Data on standard output, everything else on standard error.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use storage::StorageError;

/// Writes lines of data to standard output through one buffer.
pub(crate) struct Lines {
    out: io::BufWriter<io::StdoutLock<'static>>,
}

impl Lines {
    pub(crate) fn stdout() -> Self {
        Self { out: io::BufWriter::with_capacity(256 * 1024, io::stdout().lock()) }
    }

    /// One JSON value on a line.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> anyhow::Result<()> {
        serde_json::to_writer(&mut self.out, value)?;
        Ok(self.out.write_all(b"\n")?)
    }

    /// One line of text.
    pub(crate) fn text(&mut self, line: &str) -> anyhow::Result<()> {
        Ok(writeln!(self.out, "{}", printable(line))?)
    }

    /// Raw bytes.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.out.write_all(bytes)?)
    }

    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.out.flush()?)
    }
}

/// Telemetry may hold escape sequences that take over a terminal; they are shown, not sent.
fn printable(line: &str) -> std::borrow::Cow<'_, str> {
    if !line.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
        return line.into();
    }
    let escape = |c: char| match c {
        '\t' | '\n' => c.to_string(),
        c if c.is_control() => c.escape_default().to_string(),
        c => c.to_string(),
    };
    line.chars().map(escape).collect::<String>().into()
}

/// A message for the person at the terminal.
#[allow(clippy::print_stderr)] // The one place that speaks to standard error.
pub(crate) fn note(message: &str) {
    eprintln!("{}", printable(message));
}

/// An error with its causes, one line.
pub(crate) fn error(error: &anyhow::Error) {
    note(&format!("error: {error:#}"));
}

/// Ends the process, since a part of its state cannot be read any more: no answer would be right.
pub(crate) fn lost_state(cause: StorageError) -> ! {
    let told = "a part of the state is lost; the next start goes on from the last checkpoint";
    error(&anyhow::Error::new(cause).context(told));
    std::process::exit(1)
}

/// Whether the reader of our output went away (`asterism ... | head`): no failure.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(io::ErrorKind::BrokenPipe)
    })
}

/// Progress of long work: drawn on a terminal, silent elsewhere.
pub(crate) fn progress(what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    let template = "{spinner} {prefix}: {human_pos} records, {per_sec}, {elapsed} {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A plain table with aligned columns.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count());
        cells.chain([header[i].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells.zip(&widths).map(|(c, w)| format!("{c:<w$}")).collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut lines = vec![line(&mut header.iter().copied())];
    lines.extend(rows.iter().map(|r| line(&mut r.iter().map(String::as_str))));
    lines.join("\n")
}

/// At most `max` characters, with an ellipsis where something is cut.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    text.chars().take(max.saturating_sub(1)).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_of_telemetry_are_shown() {
        assert_eq!(printable("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("plain\ttext"), "plain\ttext");
    }

    #[test]
    fn tables_align() {
        let text = table(&["id", "title"], &[vec!["1".into(), "x".into()], vec!["22".into(), "yy".into()]]);
        assert_eq!(text, "id  title\n1   x\n22  yy");
    }
}
