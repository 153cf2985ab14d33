//! Opening a file of records: what compression it has is told by its first bytes, not by its name.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::error::IngestError;

/// Read ahead of the decompressors.
const BUFFER_BYTES: usize = 128 << 10;

/// The decompressed bytes of `path`; `-` is standard input.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, IngestError> {
    let io = |cause| IngestError::Io { path: path.to_owned(), cause };
    let mut raw: Box<dyn Read + Send> =
        if is_stdin(path) { Box::new(std::io::stdin()) } else { Box::new(File::open(path).map_err(io)?) };
    let mut head = Vec::with_capacity(4);
    raw.by_ref().take(4).read_to_end(&mut head).map_err(io)?;
    let compression = Compression::of(&head);
    let input = BufReader::with_capacity(BUFFER_BYTES, Cursor::new(head).chain(raw));
    Ok(match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Zstd => Box::new(zstd::Decoder::with_buffer(input).map_err(io)?),
        Compression::Utf16 => {
            let problem = "the text is UTF-16; convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)".to_owned();
            return Err(IngestError::Corrupt { place: path.display().to_string(), problem });
        }
    })
}

/// `-` names standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

enum Compression {
    None,
    Gzip,
    Zstd,
    Utf16,
}

impl Compression {
    /// By magic number: RFC 1952 for gzip, RFC 8878 for zstd frames and skippable frames.
    fn of(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Compression::Zstd,
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Compression::Utf16,
            _ => Compression::None,
        }
    }
}
