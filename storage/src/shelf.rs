//! A shelf for parts of the state that are seldom asked for: a file without a name in the data directory, which is gone with
//! the process. What the system has memory for it keeps there, and takes back when others need it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use event::{Medium, Shelf};

use crate::error::StorageError;

/// A shelf on a file in `dir`. Where the disk is full, what is to be put there stays in memory, which is counted, and logged once; where
/// the disk has lost what was put there, `lost` ends the process.
///
/// # Errors
/// Where no file can be made in `dir`.
pub fn shelf_in(dir: &Path, lost: fn(StorageError) -> !) -> Result<Shelf, StorageError> {
    let file = tempfile::tempfile_in(dir).map_err(|error| StorageError::io(dir, &error))?;
    Ok(Shelf::on(ShelfFile { file, dir: dir.to_owned(), is_told: AtomicBool::new(false), lost }))
}

struct ShelfFile {
    file: File,
    dir: PathBuf,
    /// Whether it was logged that the disk takes no more.
    is_told: AtomicBool,
    lost: fn(StorageError) -> !,
}

impl Medium for ShelfFile {
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at).inspect_err(|error| {
            metrics::counter!("asterism_shelf_refused_total").increment(1);
            if !self.is_told.swap(true, Ordering::Relaxed) {
                let error = StorageError::io(&self.dir, error);
                tracing::warn!("state that is seldom asked for stays in memory: {error}");
            }
        })
    }

    fn read(&self, at: u64, into: &mut [u8]) {
        if let Err(error) = self.file.read_exact_at(into, at) {
            (self.lost)(StorageError::io(&self.dir, &error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(error: StorageError) -> ! {
        panic!("{error}")
    }

    #[test]
    fn what_is_kept_leaves_no_file_behind() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = shelf_in(dir.path(), fails).unwrap();
        let bytes: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let kept = [&bytes[..], &bytes[..1_000], &bytes[7..]].map(|bytes| shelf.keep(bytes.to_vec()));
        assert!(shelf.used() >= 2_000_993);
        assert_eq!(&*kept[0].read(), &bytes[..]);
        assert_eq!(&*kept[1].part(990, 10), &bytes[990..1_000]);
        assert_eq!(&*kept[2].read(), &bytes[7..]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_leaves_it_in_memory() {
        let file = File::options().read(true).write(true).open("/dev/full").unwrap();
        let dir = PathBuf::from("/data");
        let shelf = Shelf::on(ShelfFile { file, dir, is_told: AtomicBool::new(false), lost: fails });
        let kept = shelf.keep(vec![7; 1_000]);
        assert_eq!((shelf.used(), &*kept.read()), (0, &[7; 1_000][..]));
    }

    #[test]
    #[should_panic(expected = "/data")]
    fn a_disk_that_lost_it_ends_the_process() {
        let file = tempfile::tempfile().unwrap();
        let cut = file.try_clone().unwrap();
        let dir = PathBuf::from("/data");
        let shelf = Shelf::on(ShelfFile { file, dir, is_told: AtomicBool::new(false), lost: fails });
        let kept = shelf.keep(vec![7; 1_000]);
        cut.set_len(10).unwrap();
        drop(kept.read());
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let refused = shelf_in(Path::new("/nowhere/at/all"), fails);
        assert!(refused.is_err_and(|error| error.to_string().contains("/nowhere/at/all")));
    }
}
