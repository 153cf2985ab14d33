//! Files of NDJSON records as a source: each file is a partition, and the one furthest behind in event time is
//! read next, so that the watermarks of all files advance together.
//!
//! A thread of its own reads and decompresses, one chunk ahead of the engine: memory does not grow with the
//! files, and a blocking read of standard input never blocks the runtime.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use async_trait::async_trait;
use event::Time;
use tokio::sync::mpsc;

use crate::error::IngestError;
use crate::metrics;
use crate::record::Record;
use crate::source::{PollBudget, Polled, Positions, Source, TopicPartition};

mod identity;
mod lines;
mod open;
mod reader;

use identity::Identity;
use reader::{Chunk, FileReader};

/// How files are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileOptions {
    /// Longest line, in bytes. A longer one becomes a record that is cut and marked. Default 8 MiB.
    pub line_bytes_max: usize,
    /// What numbers the partitions.
    pub partition: FilePartition,
}

/// What numbers the partition of a file. The topic is its name, which others may have too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FilePartition {
    /// Its place in the list, from 0: for positions that are not kept beyond one reading.
    #[default]
    Place,
    /// Its content, so that positions may be kept: the same file is known again, wherever it lies and whatever else
    /// is read with it, and no other file is taken for it. A file that has grown is another file. Reads each file
    /// once beforehand. Standard input and pipes are partition 0 and cannot be known again: [`Source::seek`] refuses
    /// to go on in one that was read before.
    Content,
}

impl Default for FileOptions {
    fn default() -> Self {
        Self { line_bytes_max: 8 << 20, partition: FilePartition::default() }
    }
}

/// Reads .ndjson, .gz (of any number of members) and .zst files, and standard input (`-`).
///
/// Topic is the file name, partition as [`FilePartition`] says, offset the line number from 0.
#[derive(Debug)]
pub struct FileSource {
    files: Vec<FileState>,
    partition: FilePartition,
    paused: BTreeSet<TopicPartition>,
    requests: Sender<Request>,
    chunks: mpsc::UnboundedReceiver<Chunk>,
    /// A request is under way.
    reading: bool,
    /// An answer that came before it was polled for.
    ahead: Option<Chunk>,
    announced: bool,
}

#[derive(Debug)]
struct FileState {
    key: TopicPartition,
    is_stream: bool,
    /// Event time reached, as the caller says.
    progress: Option<Time>,
    next_line: i64,
    started: bool,
    finished: bool,
}

/// What the reading thread is asked to do.
enum Request {
    Read { file: usize, budget: PollBudget },
    Seek { file: usize, line: i64 },
}

impl FileSource {
    /// Checks that every file can be opened, and starts the reading thread. With [`FilePartition::Content`] a file
    /// that is named twice is read once.
    ///
    /// # Errors
    ///
    /// [`IngestError::Io`] for the first file that is missing, unreadable or a directory; [`IngestError::Config`]
    /// for an empty list, standard input named twice, or two files that cannot be told apart.
    pub fn open(paths: &[PathBuf], options: FileOptions) -> Result<Self, IngestError> {
        check(paths)?;
        let found = identity::identify(paths, options.partition)?;
        let readers =
            found.iter().map(|file| FileReader::new(file.path.clone(), options.line_bytes_max)).collect();
        let files = found.into_iter().map(FileState::new).collect();
        let (requests, inbox) = channel();
        let (outbox, chunks) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("file-reader".to_owned())
            .spawn(move || serve(readers, &inbox, &outbox))
            .map_err(|cause| IngestError::Io { path: paths[0].clone(), cause })?;
        Ok(Self {
            files,
            partition: options.partition,
            paused: BTreeSet::new(),
            requests,
            chunks,
            reading: false,
            ahead: None,
            announced: false,
        })
    }

    /// The files, as topic and partition, in the order of the list.
    pub fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.files.iter().map(|file| &file.key)
    }

    /// Tells the event time that the records of `partition` have reached. The file furthest behind is read next.
    pub fn progress(&mut self, partition: &TopicPartition, reached: Time) {
        if let Some(file) = self.files.iter_mut().find(|file| file.key == *partition) {
            file.progress = file.progress.max(Some(reached));
        }
    }

    /// Asks for a chunk of the file furthest behind, unless one is under way or none is left.
    fn request(&mut self, budget: PollBudget) -> Result<(), IngestError> {
        if self.reading || self.ahead.is_some() || budget.is_exhausted() {
            return Ok(());
        }
        let open = self
            .files
            .iter()
            .enumerate()
            .filter(|(_, file)| !file.finished && !self.paused.contains(&file.key));
        // Files without progress yet come first; equals take turns by lines read.
        let Some((file, _)) = open.min_by_key(|(_, file)| (file.progress, file.next_line)) else {
            return Ok(());
        };
        self.send(Request::Read { file, budget })?;
        self.files[file].started = true;
        self.reading = true;
        Ok(())
    }

    fn send(&self, request: Request) -> Result<(), IngestError> {
        self.requests.send(request).map_err(|_| reader_died())
    }

    /// The chunk at hand, or the one under way, awaited at most `budget.wait`.
    async fn next_chunk(&mut self, budget: PollBudget) -> Result<Option<Chunk>, IngestError> {
        if let Some(chunk) = self.ahead.take() {
            return Ok(Some(chunk));
        }
        match tokio::time::timeout(budget.wait, self.chunks.recv()).await {
            Err(_elapsed) => Ok(None),
            Ok(None) => Err(reader_died()),
            Ok(Some(chunk)) => {
                self.reading = false;
                Ok(Some(chunk))
            }
        }
    }

    fn accept(&mut self, chunk: Chunk, polled: &mut Polled) {
        let file = &mut self.files[chunk.file];
        file.next_line = chunk.next_line;
        file.finished = chunk.ended;
        let (topic, partition) = file.key.clone();
        polled.records.extend(chunk.lines.into_iter().map(|line| Record {
            topic: Arc::clone(&topic),
            partition,
            offset: line.number,
            payload: line.bytes,
            truncated_from: line.truncated_from,
        }));
        polled.finished.extend(chunk.ended.then_some((topic, partition)));
        if let Some(fault) = chunk.fault {
            metrics::fault(&fault);
            polled.faults.push(fault);
        }
        metrics::delivered(&polled.records);
    }

    fn announce(&mut self, polled: &mut Polled) {
        if !std::mem::replace(&mut self.announced, true) {
            polled.assigned = self.partitions().cloned().collect();
        }
    }

    fn seek_file(&mut self, index: usize, line: i64) -> Result<(), IngestError> {
        let file = &mut self.files[index];
        if file.is_stream && file.started {
            let name = &file.key.0;
            return Err(config(&format!("{name} cannot go back; give the records as a file")));
        }
        if file.is_stream && line > 0 && self.partition == FilePartition::Content {
            return Err(config(&format!(
                "records of {name} were read before, and a stream does not tell whether they are the same; give them \
                 as a file, or begin a new data directory",
                name = file.key.0
            )));
        }
        (file.next_line, file.finished) = (line, false);
        if self.ahead.as_ref().is_some_and(|chunk| chunk.file == index) {
            self.ahead = None;
        }
        self.send(Request::Seek { file: index, line })
    }

    fn all_finished(&self) -> bool {
        self.files.iter().all(|file| file.finished)
    }
}

impl FileState {
    fn new(file: Identity) -> Self {
        let (key, is_stream) = (file.key, file.is_stream);
        Self { key, is_stream, progress: None, next_line: 0, started: false, finished: false }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn poll(&mut self, budget: PollBudget) -> Result<Polled, IngestError> {
        let mut polled = Polled::default();
        self.request(budget)?;
        let at_hand = self.reading || self.ahead.is_some();
        if at_hand && !budget.is_exhausted() {
            if let Some(chunk) = self.next_chunk(budget).await? {
                self.accept(chunk, &mut polled);
                self.request(budget)?;
            }
        } else if !self.all_finished() {
            tokio::time::sleep(budget.wait).await;
        }
        self.announce(&mut polled);
        polled.ended = self.all_finished();
        Ok(polled)
    }

    async fn seek(&mut self, positions: &Positions) -> Result<(), IngestError> {
        if self.reading {
            self.ahead = Some(self.chunks.recv().await.ok_or_else(reader_died)?);
            self.reading = false;
        }
        for index in 0..self.files.len() {
            if let Some(line) = positions.get(&self.files[index].key) {
                self.seek_file(index, *line)?;
            }
        }
        Ok(())
    }

    async fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError> {
        self.paused.extend(partitions.iter().cloned());
        Ok(())
    }

    async fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError> {
        self.paused.retain(|paused| !partitions.contains(paused));
        Ok(())
    }

    /// Files have no lag tools: nothing happens.
    async fn commit(&mut self, _positions: &Positions) -> Result<(), IngestError> {
        Ok(())
    }
}

/// The reading thread: ends when the source is dropped.
fn serve(mut readers: Vec<FileReader>, inbox: &Receiver<Request>, outbox: &mpsc::UnboundedSender<Chunk>) {
    for request in inbox {
        match request {
            Request::Seek { file, line } => readers[file].seek(line),
            Request::Read { file, budget } => {
                let chunk = readers[file].read(file, budget);
                if outbox.send(chunk).is_err() {
                    return;
                }
            }
        }
    }
}

fn check(paths: &[PathBuf]) -> Result<(), IngestError> {
    if paths.is_empty() {
        return Err(config("name at least one file, or - for standard input"));
    }
    if paths.iter().filter(|path| open::is_stdin(path)).count() > 1 {
        return Err(config("- (standard input) can be read once only"));
    }
    for path in paths.iter().filter(|path| !open::is_stdin(path)) {
        let io = |cause| IngestError::Io { path: path.clone(), cause };
        let is_dir = std::fs::File::open(path).and_then(|file| file.metadata()).map_err(io)?.is_dir();
        if is_dir {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
    }
    Ok(())
}

fn config(problem: &str) -> IngestError {
    IngestError::Config { setting: "FILE".to_owned(), problem: problem.to_owned() }
}

fn reader_died() -> IngestError {
    IngestError::Bug("the thread that reads files has ended".to_owned())
}
