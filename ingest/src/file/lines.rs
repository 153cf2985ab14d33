//! Lines of a stream of bytes, in flat memory: blocks of the input are shared by the lines in them.

use std::io::{ErrorKind, Read};

use bytes::{Bytes, BytesMut};
use memchr::memchr;

/// Read size: large enough for the decompressors, small enough that a retained line pins little.
const BLOCK_BYTES: usize = 256 << 10;
/// What is kept of a line that is over the cap: enough to recognise it by.
const OVERLONG_KEPT_BYTES: usize = 64 << 10;

/// One line without its end, and where it lies.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Line number, from 0; blank lines are counted.
    pub(super) number: i64,
    /// The bytes, without `\n` or `\r\n`.
    pub(super) bytes: Bytes,
    /// Whole length, if `bytes` is only the beginning of a line over the cap.
    pub(super) truncated_from: Option<u64>,
}

/// Splits a reader into lines. After a read error the lines before it still come, then the error, then the end.
pub(super) struct Lines {
    input: Box<dyn Read + Send>,
    line_bytes_max: usize,
    block: Bytes,
    /// How much of the block is known to hold no line end.
    searched: usize,
    next_number: i64,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    Failed(std::io::Error),
    Ended,
}

impl Lines {
    pub(super) fn new(input: Box<dyn Read + Send>, line_bytes_max: usize) -> Self {
        let state = State::Reading;
        Self { input, line_bytes_max, block: Bytes::new(), searched: 0, next_number: 0, state }
    }

    /// Number of the line that comes next.
    pub(super) const fn next_number(&self) -> i64 {
        self.next_number
    }

    /// The next line that is not blank; `None` at the end.
    pub(super) fn next_line(&mut self) -> Result<Option<Line>, std::io::Error> {
        while let Some(line) = self.any_line()? {
            if !line.bytes.trim_ascii().is_empty() {
                return Ok(Some(line));
            }
        }
        Ok(None)
    }

    /// Passes over lines until the next one is number `number`.
    pub(super) fn skip_to(&mut self, number: i64) -> Result<(), std::io::Error> {
        while self.next_number < number && self.any_line()?.is_some() {}
        Ok(())
    }

    fn any_line(&mut self) -> Result<Option<Line>, std::io::Error> {
        loop {
            if let Some(at) = memchr(b'\n', &self.block[self.searched..]) {
                let line = self.block.split_to(self.searched + at + 1);
                self.searched = 0;
                return Ok(Some(self.capped_line(&line.slice(..line.len() - 1))));
            }
            self.searched = self.block.len();
            if self.block.len() > self.line_bytes_max {
                return Ok(Some(self.overlong_line()));
            }
            if !self.fill() {
                return self.last_line();
            }
        }
    }

    /// What is left without a line end, then the error if there was one, then `None`.
    fn last_line(&mut self) -> Result<Option<Line>, std::io::Error> {
        if !self.block.is_empty() {
            let rest = std::mem::take(&mut self.block);
            self.searched = 0;
            return Ok(Some(self.capped_line(&rest)));
        }
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Failed(error) => Err(error),
            State::Reading | State::Ended => Ok(None),
        }
    }

    fn capped_line(&mut self, bytes: &Bytes) -> Line {
        if bytes.len() > self.line_bytes_max {
            let kept = Bytes::copy_from_slice(&bytes[..bytes.len().min(OVERLONG_KEPT_BYTES)]);
            return self.line(kept, Some(bytes.len() as u64));
        }
        self.line(bytes.clone(), None)
    }

    /// Keeps the beginning of the line and reads on to its end, block by block, holding nothing.
    fn overlong_line(&mut self) -> Line {
        let kept = Bytes::copy_from_slice(&self.block[..self.block.len().min(OVERLONG_KEPT_BYTES)]);
        let mut length = self.block.len() as u64;
        self.block.clear();
        self.searched = 0;
        while self.fill() {
            if let Some(at) = memchr(b'\n', &self.block) {
                let end = self.block.split_to(at + 1);
                length += end.len() as u64 - 1;
                break;
            }
            length += self.block.len() as u64;
            self.block.clear();
        }
        self.line(kept, Some(length))
    }

    fn line(&mut self, mut bytes: Bytes, truncated_from: Option<u64>) -> Line {
        let number = self.next_number;
        self.next_number += 1;
        if number == 0 && bytes.starts_with(b"\xef\xbb\xbf") {
            bytes = bytes.slice(3..);
        }
        if bytes.last() == Some(&b'\r') && truncated_from.is_none() {
            bytes.truncate(bytes.len() - 1);
        }
        Line { number, bytes, truncated_from }
    }

    /// Appends input to the block; false if there is no more. A line longer than a block doubles the read, so
    /// that copying stays linear.
    fn fill(&mut self) -> bool {
        if !matches!(self.state, State::Reading) {
            return false;
        }
        let kept = self.block.len();
        let target = kept + kept.max(BLOCK_BYTES);
        let mut block = BytesMut::zeroed(target);
        block[..kept].copy_from_slice(&self.block);
        let mut filled = kept;
        while filled < target && matches!(self.state, State::Reading) {
            match self.input.read(&mut block[filled..]) {
                Ok(0) => self.state = State::Ended,
                Ok(n) => filled += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => self.state = State::Failed(e),
            }
            // A pipe or terminal gives what it has: a complete line must not wait for the block to fill.
            if block[kept..filled].last() == Some(&b'\n') {
                break;
            }
        }
        block.truncate(filled);
        // A line keeps its whole block alive: one line of a slow pipe must not pin a block of its own.
        self.block = if filled < target / 2 { Bytes::copy_from_slice(&block) } else { block.freeze() };
        filled > kept
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn lines_of(text: &[u8], line_bytes_max: usize) -> Vec<(i64, Vec<u8>, Option<u64>)> {
        let mut lines = Lines::new(Box::new(Cursor::new(text.to_vec())), line_bytes_max);
        let mut out = Vec::new();
        while let Some(line) = lines.next_line().unwrap() {
            out.push((line.number, line.bytes.to_vec(), line.truncated_from));
        }
        out
    }

    #[test]
    fn byte_order_mark_and_carriage_returns_go_and_blank_lines_count() {
        let lines = lines_of(b"\xef\xbb\xbf{\"a\":1}\r\n\r\n  \n{\"b\":2}", 1_000);
        assert_eq!(lines, vec![(0, b"{\"a\":1}".to_vec(), None), (3, b"{\"b\":2}".to_vec(), None)]);
    }

    #[test]
    fn overlong_line_keeps_its_beginning_and_its_length_and_the_next_line_is_whole() {
        let mut text = vec![b'x'; 20 << 20];
        text.extend_from_slice(b"\nnext\n");
        text.extend(vec![b'y'; 9 << 20]);
        let lines = lines_of(&text, 8 << 20);
        let shape: Vec<_> = lines.iter().map(|(n, bytes, from)| (*n, bytes.len(), *from)).collect();
        assert_eq!(shape, vec![(0, 64 << 10, Some(20 << 20)), (1, 4, None), (2, 64 << 10, Some(9 << 20))]);
    }

    /// Gives one byte a call and then an error, as a damaged stream does.
    struct Broken(Cursor<Vec<u8>>);

    impl Read for Broken {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            match self.0.read(&mut into[..1])? {
                0 => Err(ErrorKind::UnexpectedEof.into()),
                n => Ok(n),
            }
        }
    }

    #[test]
    fn everything_before_a_read_error_is_delivered_then_the_error_then_the_end() {
        let mut lines = Lines::new(Box::new(Broken(Cursor::new(b"one\ntwo\nhal".to_vec()))), 100);
        let mut texts = Vec::new();
        let error = loop {
            match lines.next_line() {
                Ok(line) => texts.push(line.unwrap().bytes),
                Err(error) => break error,
            }
        };
        assert_eq!(texts, ["one", "two", "hal"]);
        assert_eq!((error.kind(), lines.next_number()), (ErrorKind::UnexpectedEof, 3));
        assert_eq!(lines.next_line().unwrap(), None);
    }

    proptest! {
        #[test]
        fn agrees_with_splitting_the_whole_text(text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a'), any::<u8>()], 0..400)) {
            prop_assume!(!text.starts_with(b"\xef\xbb\xbf"));
            let expected: Vec<(i64, Vec<u8>, Option<u64>)> = text
                .split(|b| *b == b'\n')
                .enumerate()
                .map(|(n, line)| (n as i64, line.strip_suffix(b"\r").unwrap_or(line).to_vec(), None))
                .filter(|(_, line, _)| !line.trim_ascii().is_empty())
                .collect();
            prop_assert_eq!(lines_of(&text, 1_000), expected);
        }
    }
}
