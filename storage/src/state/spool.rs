//! State on its way into the database: in a file without a name, since in memory it would be there twice.

use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::StorageError;

/// Bytes that were written and are read once.
#[derive(Debug, Clone)]
pub struct Spool {
    file: Arc<File>,
    len: u64,
}

/// Bytes that are in memory at a time.
const PORTION: usize = 256 << 10;

impl Spool {
    /// Keeps what `write` writes in a file in `dir`, which is gone with it.
    pub(crate) fn write(
        dir: &Path,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Self, StorageError> {
        let written = || {
            let mut out = BufWriter::with_capacity(PORTION, tempfile::tempfile_in(dir)?);
            write(&mut out)?;
            let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
            let len = file.stream_position()?;
            Ok(Self { file: Arc::new(file), len })
        };
        written().map_err(|error| StorageError::io(dir, &error))
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Hands all bytes on, portion by portion, each with its place.
    pub(crate) fn read<E: From<io::Error>>(
        &self,
        mut each: impl FnMut(&[u8], usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut file = self.file.as_ref();
        file.seek(SeekFrom::Start(0))?;
        let mut portion = vec![0; PORTION.min(self.len as usize)];
        let mut at = 0;
        while (at as u64) < self.len {
            let read = file.read(&mut portion)?;
            if read == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            each(&portion[..read], at)?;
            at += read;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let spool = Spool::write(dir.path(), |out| out.write_all(&bytes)).unwrap();
        assert_eq!(spool.len(), 1_000_000);
        for _ in 0..2 {
            let mut back = vec![0; bytes.len()];
            let read = spool.read(|portion, at| {
                back[at..at + portion.len()].copy_from_slice(portion);
                io::Result::Ok(())
            });
            assert!(read.is_ok() && back == bytes);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_is_told() {
        let full = |out: &mut dyn Write| {
            out.write_all(b"x")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        };
        let refused = Spool::write(&std::env::temp_dir(), full);
        assert!(matches!(refused, Err(StorageError::Full { .. })));
    }
}
