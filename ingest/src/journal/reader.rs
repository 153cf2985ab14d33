//! The journal as a source: every reader keeps its own place.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Journal;
use crate::dead_letter::is_dead_letter_topic;
use crate::error::IngestError;
use crate::metrics;
use crate::record::Record;
use crate::source::{PollBudget, Polled, Positions, Source, TopicPartition};

/// Reads topics of a [`Journal`]; partitions that appear later are found.
#[derive(Debug)]
pub struct JournalSource {
    journal: Journal,
    topics: BTreeSet<Arc<str>>,
    commits: watch::Receiver<u64>,
    /// Next offset of each partition held.
    cursors: Positions,
    /// Where partitions that do not exist yet will begin.
    seeked: Positions,
    paused: BTreeSet<TopicPartition>,
    /// Which partition is read first: it moves on with every poll, so that none starves.
    turn: usize,
    /// Assignments and faults not yet told: a dropped poll must not lose them.
    news: Polled,
}

/// One read of one partition.
struct Read {
    of: TopicPartition,
    from: i64,
    records_max: usize,
    bytes_max: usize,
}

impl JournalSource {
    /// A reader of `topics`, from the oldest records on unless [`Source::seek`] says otherwise. Where none is
    /// named, of every topic but those of dead letters, which would come round again and again.
    pub fn open(journal: Journal, topics: impl IntoIterator<Item = Arc<str>>) -> Self {
        Self {
            commits: journal.commits(),
            journal,
            topics: topics.into_iter().collect(),
            cursors: Positions::new(),
            seeked: Positions::new(),
            paused: BTreeSet::new(),
            turn: 0,
            news: Polled::default(),
        }
    }

    fn wants(&self, topic: &Arc<str>) -> bool {
        if self.topics.is_empty() { !is_dead_letter_topic(topic) } else { self.topics.contains(topic) }
    }

    /// Takes up partitions that are new in the journal.
    fn discover(&mut self) {
        for key in self.journal.partitions() {
            if self.wants(&key.0) && !self.cursors.contains_key(&key) {
                let oldest = self.journal.bounds(&key.0, key.1).map_or(0, |(oldest, _)| oldest);
                let from = self.seeked.get(&key).copied().unwrap_or(oldest);
                self.news.assigned.push(key.clone());
                self.cursors.insert(key, from);
            }
        }
    }

    /// Moves cursors that point outside the journal, and tells what is missing.
    fn mend_cursors(&mut self) {
        for ((topic, partition), cursor) in &mut self.cursors {
            let Some((oldest, next)) = self.journal.bounds(topic, *partition) else { continue };
            if (oldest..=next).contains(cursor) {
                continue;
            }
            let (to, problem) = if *cursor < oldest {
                metrics::gone(topic, (oldest - *cursor).unsigned_abs());
                (oldest, "retention dropped them before they were read; raise the journal's retention")
            } else {
                (*cursor, "the journal ends before that offset: it was replaced; everything it holds is read")
            };
            let (topic, from) = (topic.to_string(), *cursor);
            let problem = problem.to_owned();
            let fault = IngestError::OffsetsGone {
                topic,
                partition: *partition,
                from,
                to,
                resumed_at: oldest,
                problem,
            };
            metrics::fault(&fault);
            self.news.faults.push(fault);
            *cursor = oldest;
        }
    }

    /// Partitions with something to read, in turn, and what share of the budget each may use.
    fn plan(&mut self, budget: PollBudget) -> Vec<Read> {
        let mut ready: Vec<(TopicPartition, i64)> = Vec::new();
        for (key, from) in &self.cursors {
            let waiting = self.journal.bounds(&key.0, key.1).map_or(0, |(_, next)| next - from);
            metrics::lag(&key.0, key.1, waiting);
            if waiting > 0 && !self.paused.contains(key) {
                ready.push((key.clone(), *from));
            }
        }
        let count = ready.len().max(1);
        ready.rotate_left(self.turn % count);
        self.turn = self.turn.wrapping_add(1);
        let (records_max, bytes_max) =
            ((budget.records_max / count).max(1), (budget.bytes_max / count).max(1));
        let wanted = ready.into_iter().take(budget.records_max);
        wanted.map(|(of, from)| Read { of, from, records_max, bytes_max }).collect()
    }

    async fn read_within(&mut self, budget: PollBudget) -> Result<Vec<Record>, IngestError> {
        if budget.is_exhausted() {
            return Ok(Vec::new());
        }
        let reads = self.plan(budget);
        if reads.is_empty() {
            return Ok(Vec::new());
        }
        let records = self.read(reads).await?;
        metrics::delivered(&records);
        Ok(records)
    }

    /// Reads off the runtime. The cursors move only when the records are here, so that a dropped future loses none.
    async fn read(&mut self, reads: Vec<Read>) -> Result<Vec<Record>, IngestError> {
        let journal = self.journal.clone();
        let task = tokio::task::spawn_blocking(move || -> Result<Vec<Record>, IngestError> {
            let mut records = Vec::new();
            for read in reads {
                let (topic, partition) = &read.of;
                records.extend(journal.read(
                    topic,
                    *partition,
                    read.from,
                    read.records_max,
                    read.bytes_max,
                )?);
            }
            Ok(records)
        });
        let records = task.await.map_err(|e| IngestError::Bug(format!("reading the journal: {e}")))??;
        for record in &records {
            self.cursors.insert((Arc::clone(&record.topic), record.partition), record.offset + 1);
        }
        Ok(records)
    }
}

#[async_trait]
impl Source for JournalSource {
    async fn poll(&mut self, budget: PollBudget) -> Result<Polled, IngestError> {
        let deadline = tokio::time::Instant::now() + budget.wait;
        loop {
            self.commits.mark_unchanged();
            self.discover();
            self.mend_cursors();
            let records = self.read_within(budget).await?;
            let polled = Polled { records, ..std::mem::take(&mut self.news) };
            if !polled.is_empty() {
                return Ok(polled);
            }
            let woken = async {
                if budget.is_exhausted() {
                    std::future::pending().await
                } else {
                    self.commits.changed().await
                }
            };
            if tokio::time::timeout_at(deadline, woken).await.is_err() {
                return Ok(polled);
            }
        }
    }

    async fn seek(&mut self, positions: &Positions) -> Result<(), IngestError> {
        for (key, offset) in positions {
            self.seeked.insert(key.clone(), *offset);
            if let Some(cursor) = self.cursors.get_mut(key) {
                *cursor = *offset;
            }
        }
        Ok(())
    }

    async fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError> {
        self.paused.extend(partitions.iter().cloned());
        metrics::paused(self.paused.len());
        Ok(())
    }

    async fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError> {
        self.paused.retain(|paused| !partitions.contains(paused));
        metrics::paused(self.paused.len());
        Ok(())
    }

    /// The journal's lag is known from its readers: nothing happens.
    async fn commit(&mut self, _positions: &Positions) -> Result<(), IngestError> {
        Ok(())
    }
}
