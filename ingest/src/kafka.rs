//! Kafka as a source: a member of a consumer group that reads from the positions the engine gives.
//!
//! The state database is the truth about positions. A partition that is assigned begins at the engine's position
//! ([`Source::seek`]), or where this process had read to, or as [`KafkaStart`] says; the offsets committed to the
//! broker are written for lag tools only. Offsets that the broker no longer has are counted and named.
//!
//! A rebalance runs inside [`Source::poll`], in `kafka/context.rs`: partitions that are taken away leave what was
//! delivered with the engine, and what was fetched but not delivered is forgotten, to be read by their next owner.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use rdkafka::consumer::{CommitMode, Consumer, RebalanceProtocol, StreamConsumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::{Offset, TopicPartitionList};

use crate::error::IngestError;
use crate::metrics;
use crate::record::Record;
use crate::source::{PollBudget, Polled, Positions, Source, TopicPartition};

mod context;
mod options;
mod outage;
mod writer;

use context::{News, SourceContext};
pub use options::{KafkaOptions, KafkaStart};
pub use writer::{KafkaHeader, KafkaWriter};

/// Waiting for the broker's answer to one request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// A partition that was just assigned refuses to seek until its fetcher runs.
const SEEK_TRIES: u32 = 8;
const SEEK_RETRY_AFTER: Duration = Duration::from_millis(250);
/// More than a client can say while it waits for its first answer: some lines for each try to connect.
const NEWS_MAX: usize = 10_000;

type Client = StreamConsumer<SourceContext>;
/// Oldest offset held, next offset to be given.
type Bounds = (i64, i64);

/// A member of a Kafka consumer group.
pub struct KafkaSource {
    client: Arc<Client>,
    bootstrap: String,
    topics: Vec<Arc<str>>,
    assigned: BTreeSet<TopicPartition>,
    /// Paused by the caller; beside that everything is paused while `closed`.
    paused: BTreeSet<TopicPartition>,
    closed: bool,
    /// Fetched, not yet delivered: a dropped poll loses nothing.
    pending: VecDeque<Record>,
    /// Records of paused partitions that were on their way when they were paused.
    held_back: VecDeque<Record>,
    /// Assignments and faults not yet told.
    news: Polled,
    /// A position was out of range: the partitions must be checked before anything else.
    out_of_range: bool,
}

impl KafkaSource {
    /// Joins the group. With [`KafkaOptions::start_timeout`] the broker must answer within that time; without,
    /// a broker that is away is waited for in [`Source::poll`].
    ///
    /// # Errors
    ///
    /// [`IngestError::Config`] for a setting that Kafka's client refuses, [`IngestError::Unavailable`] for a broker
    /// that does not answer in time.
    pub async fn open(options: KafkaOptions) -> Result<Self, IngestError> {
        options.check()?;
        let client: Client = options.create_consumer()?;
        let client = Arc::new(client);
        if let Some(timeout) = options.start_timeout {
            reach_broker(&client, &options.bootstrap, timeout).await?;
        }
        let topics: Vec<&str> = options.topics.iter().map(String::as_str).collect();
        client.subscribe(&topics).map_err(|e| unavailable(&options.bootstrap, &e))?;
        Ok(Self {
            client,
            topics: topics.into_iter().map(Arc::from).collect(),
            bootstrap: options.bootstrap,
            assigned: BTreeSet::new(),
            paused: BTreeSet::new(),
            closed: false,
            pending: VecDeque::new(),
            held_back: VecDeque::new(),
            news: Polled::default(),
            out_of_range: false,
        })
    }

    /// Leaves the group, so that others take over at once. Dropping does the same, but blocks the thread.
    ///
    /// # Errors
    ///
    /// Only if the client panics.
    pub async fn close(self) -> Result<(), IngestError> {
        let client = self.client;
        tokio::task::spawn_blocking(move || drop(client)).await.map_err(|e| panicked(&e))
    }

    /// Fills `pending` up to the budget: waits for the first record, then takes what is at hand.
    async fn fetch(&mut self, budget: PollBudget) -> Result<(), IngestError> {
        let deadline = tokio::time::Instant::now() + budget.wait;
        let mut bytes: usize = self.pending.iter().map(|record| record.payload.len()).sum();
        while self.pending.len() < budget.records_max.max(1) && bytes < budget.bytes_max.max(1) {
            if self.out_of_range {
                self.mend_out_of_range().await?;
            }
            let wait_no_more = !budget.is_exhausted() && (!self.pending.is_empty() || !self.news.is_empty());
            let client = Arc::clone(&self.client);
            let received = if wait_no_more {
                client.recv().now_or_never()
            } else {
                tokio::time::timeout_at(deadline, client.recv()).await.ok()
            };
            self.take_news()?;
            match received {
                None => break,
                Some(Err(error)) => self.trouble(&error)?,
                Some(Ok(message)) => bytes += self.accept(&message),
            }
        }
        Ok(())
    }

    /// Keeps a message. Returns its bytes, if it may be delivered now.
    fn accept(&mut self, message: &BorrowedMessage<'_>) -> usize {
        let known = self.topics.iter().find(|topic| topic.as_ref() == message.topic());
        let topic = known.map_or_else(|| Arc::from(message.topic()), Arc::clone);
        let payload = Bytes::copy_from_slice(message.payload().unwrap_or_default());
        let bytes = payload.len();
        let record = Record::new(topic, message.partition(), message.offset(), payload);
        if is_among(&record, &self.paused) {
            self.held_back.push_back(record);
            return 0;
        }
        self.pending.push_back(record);
        bytes
    }

    /// Forgets records that will come again, or to others.
    fn forget(&mut self, is_gone: impl Fn(&Record) -> bool) {
        self.pending.retain(|record| !is_gone(record));
        self.held_back.retain(|record| !is_gone(record));
    }

    /// Puts what was fetched in its place after partitions were paused or resumed. Each partition keeps its order:
    /// of one that was paused until now nothing else is pending.
    fn sort_out(&mut self) {
        let all = std::mem::take(&mut self.held_back).into_iter().chain(std::mem::take(&mut self.pending));
        (self.held_back, self.pending) = all.partition(|record| is_among(record, &self.paused));
    }

    /// Applies what happened in rebalances since the last look.
    fn take_news(&mut self) -> Result<(), IngestError> {
        for news in self.client.context().take_news() {
            match news {
                News::Revoked(partitions) => {
                    self.forget(|record| is_among(record, &partitions));
                    self.assigned.retain(|held| !partitions.contains(held));
                    self.news.assigned.retain(|held| !partitions.contains(held));
                    self.news.revoked.extend(partitions);
                }
                News::Assigned(partitions) => {
                    let held_back = partitions.iter().filter(|p| self.closed || self.paused.contains(*p));
                    self.set_paused(&list(held_back))?;
                    self.assigned.extend(partitions.iter().cloned());
                    self.tell_assigned(partitions);
                }
            }
        }
        Ok(())
    }

    /// The eager protocol takes everything away and gives most of it back: what stays is no news.
    fn tell_assigned(&mut self, partitions: Vec<TopicPartition>) {
        for partition in partitions {
            match self.news.revoked.iter().position(|revoked| *revoked == partition) {
                Some(at) => drop(self.news.revoked.swap_remove(at)),
                None => self.news.assigned.push(partition),
            }
        }
    }

    /// Most errors are the client's to retry, and were told by the context.
    fn trouble(&mut self, error: &KafkaError) -> Result<(), IngestError> {
        match error {
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                self.out_of_range = true;
                Ok(())
            }
            KafkaError::MessageConsumptionFatal(code) => {
                let problem = format!(
                    "{code}: another process uses the same group.instance.id, or the client must be restarted"
                );
                Err(IngestError::Unavailable { endpoint: format!("Kafka at {}", self.bootstrap), problem })
            }
            _ => Ok(()),
        }
    }

    /// Delivers pending records within the budget, the first one whatever its size.
    fn hand_out(&mut self, budget: PollBudget) -> Vec<Record> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while !budget.is_exhausted()
            && records.len() < budget.records_max
            && let Some(record) = self.pending.pop_front()
        {
            bytes += record.payload.len();
            if bytes > budget.bytes_max && !records.is_empty() {
                self.pending.push_front(record);
                break;
            }
            records.push(record);
        }
        self.client.context().advance(&records);
        metrics::delivered(&records);
        records
    }

    /// Asks the broker what it holds of each partition, and moves positions that lie outside.
    async fn mend_out_of_range(&mut self) -> Result<(), IngestError> {
        let positions = self.next_offsets();
        let client = Arc::clone(&self.client);
        let look_up = move || -> KafkaResult<Vec<(TopicPartition, i64, Bounds)>> {
            let look_up = |(key, next)| bounds_of(&client, &key).map(|bounds| (key, next, bounds));
            positions.into_iter().map(look_up).collect()
        };
        let held = match tokio::task::spawn_blocking(look_up).await.map_err(|e| panicked(&e))? {
            Ok(held) => held,
            // The broker went away: the flag stays, so the partitions are looked at again.
            Err(error) => return self.client.context().told(&error),
        };
        let outside = held.into_iter().filter(|(_, next, (low, high))| !(low..=high).contains(&next));
        let outside: Vec<(TopicPartition, i64, i64)> =
            outside.map(|(key, next, (low, _))| (key, next, low)).collect();
        let moved = outside.iter().map(|(key, _, low)| (key.clone(), *low)).collect();
        self.client.context().start_from(&moved);
        self.restart_at(&moved)?;
        self.out_of_range = false;
        for (key, next, low) in &outside {
            self.tell_gone(key, *next, *low);
        }
        Ok(())
    }

    fn tell_gone(&mut self, (topic, partition): &TopicPartition, next: i64, low: i64) {
        let (to, problem) = if next < low {
            metrics::gone(topic, (low - next).unsigned_abs());
            (
                low,
                "the broker deleted them before they were read; raise the topic's retention, or read faster",
            )
        } else {
            (
                next,
                "the partition ends before that offset: the topic was made anew or truncated; all it holds is read",
            )
        };
        let fault = IngestError::OffsetsGone {
            topic: topic.to_string(),
            partition: *partition,
            from: next,
            to,
            resumed_at: low,
            problem: problem.to_owned(),
        };
        metrics::fault(&fault);
        tracing::warn!("{fault}");
        self.news.faults.push(fault);
    }

    /// The offset that the client wants next of each assigned partition, where it is known.
    fn next_offsets(&self) -> Positions {
        let mut next = self.client.context().starts();
        next.retain(|key, _| self.assigned.contains(key));
        for record in self.held_back.iter().chain(&self.pending) {
            next.insert((Arc::clone(&record.topic), record.partition), record.offset + 1);
        }
        next
    }

    async fn seek_client(&mut self, positions: &Positions) -> Result<(), IngestError> {
        if positions.is_empty() {
            return Ok(());
        }
        self.forget(|record| is_among(record, positions.keys()));
        for _ in 0..SEEK_TRIES {
            if self.seek_once(positions).await?.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(SEEK_RETRY_AFTER).await;
        }
        self.restart_at(positions)
    }

    /// Gives partitions up and takes them again at new offsets: a fetcher that stopped at an offset out of range
    /// cannot seek. Not while a rebalance waits for its callback, which such a call would answer: hence seeking
    /// comes first elsewhere.
    fn restart_at(&mut self, positions: &Positions) -> Result<(), IngestError> {
        let bootstrap = self.bootstrap.clone();
        let failed = |e: KafkaError| unavailable(&bootstrap, &e);
        if positions.is_empty() {
            return Ok(());
        }
        self.forget(|record| is_among(record, positions.keys()));
        let moved = list_at(positions).map_err(failed)?;
        match self.client.rebalance_protocol() {
            RebalanceProtocol::Cooperative => {
                self.client.incremental_unassign(&moved).map_err(failed)?;
                self.client.incremental_assign(&moved).map_err(failed)?;
            }
            RebalanceProtocol::Eager | RebalanceProtocol::None => {
                self.forget(|_| true);
                let all = self.assigned.iter().map(|key| (key.clone(), self.client.context().start_of(key)));
                self.client.assign(&list_from(all).map_err(failed)?).map_err(failed)?;
            }
        }
        // Taking a partition again also resumes it.
        self.set_paused(&list(self.assigned.iter().filter(|p| self.closed || self.paused.contains(*p))))
    }

    async fn seek_once(&self, positions: &Positions) -> Result<KafkaResult<()>, IngestError> {
        let client = Arc::clone(&self.client);
        let wanted = list_at(positions).map_err(|e| unavailable(&self.bootstrap, &e))?;
        let seek = move || {
            let outcome = client.seek_partitions(wanted, REQUEST_TIMEOUT)?;
            outcome.elements().iter().try_for_each(|element| element.error())
        };
        tokio::task::spawn_blocking(seek).await.map_err(|e| panicked(&e))
    }

    /// Pauses or resumes everything when the room downstream is gone or back.
    fn apply_flow(&mut self, closed: bool) -> Result<(), IngestError> {
        if closed == self.closed {
            return Ok(());
        }
        self.closed = closed;
        let flowing = list(self.assigned.iter().filter(|p| !self.paused.contains(*p)));
        if closed {
            self.set_paused(&flowing)?
        } else {
            self.set_resumed(&flowing)?
        }
        self.gauge_paused();
        Ok(())
    }

    fn set_paused(&self, partitions: &TopicPartitionList) -> Result<(), IngestError> {
        if partitions.count() == 0 {
            return Ok(());
        }
        self.client.pause(partitions).map_err(|e| unavailable(&self.bootstrap, &e))
    }

    fn set_resumed(&self, partitions: &TopicPartitionList) -> Result<(), IngestError> {
        if partitions.count() == 0 {
            return Ok(());
        }
        self.client.resume(partitions).map_err(|e| unavailable(&self.bootstrap, &e))
    }

    fn gauge_paused(&self) {
        let by_caller = self.assigned.intersection(&self.paused).count();
        metrics::paused(if self.closed { self.assigned.len() } else { by_caller });
    }
}

#[async_trait]
impl Source for KafkaSource {
    async fn poll(&mut self, budget: PollBudget) -> Result<Polled, IngestError> {
        self.apply_flow(budget.is_exhausted())?;
        self.fetch(budget).await?;
        let records = self.hand_out(budget);
        Ok(Polled { records, ..std::mem::take(&mut self.news) })
    }

    async fn seek(&mut self, positions: &Positions) -> Result<(), IngestError> {
        self.client.context().start_from(positions);
        self.take_news()?;
        let held = positions.iter().filter(|(key, _)| self.assigned.contains(*key));
        let held: Positions = held.map(|(key, offset)| (key.clone(), *offset)).collect();
        self.seek_client(&held).await
    }

    async fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError> {
        self.paused.extend(partitions.iter().cloned());
        self.sort_out();
        self.set_paused(&list(partitions.iter().filter(|p| self.assigned.contains(*p))))?;
        self.gauge_paused();
        Ok(())
    }

    async fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), IngestError> {
        self.paused.retain(|paused| !partitions.contains(paused));
        self.sort_out();
        if !self.closed {
            self.set_resumed(&list(partitions.iter().filter(|p| self.assigned.contains(*p))))?;
        }
        self.gauge_paused();
        Ok(())
    }

    async fn commit(&mut self, positions: &Positions) -> Result<(), IngestError> {
        let held = positions.iter().filter(|(key, _)| self.assigned.contains(*key));
        let held: Positions = held.map(|(key, offset)| (key.clone(), *offset)).collect();
        if held.is_empty() {
            return Ok(());
        }
        let offsets = list_at(&held).map_err(|e| unavailable(&self.bootstrap, &e))?;
        match self.client.commit(&offsets, CommitMode::Async) {
            Ok(()) => Ok(()),
            Err(error) => self.client.context().told(&error),
        }
    }
}

fn is_among<'a>(record: &Record, partitions: impl IntoIterator<Item = &'a TopicPartition>) -> bool {
    partitions.into_iter().any(|(topic, partition)| *partition == record.partition && *topic == record.topic)
}

async fn reach_broker(client: &Arc<Client>, bootstrap: &str, timeout: Duration) -> Result<(), IngestError> {
    let asked = Arc::clone(client);
    let ask = move || asked.fetch_metadata(None, timeout).map(drop);
    let answer = tokio::task::spawn_blocking(ask).await.map_err(|e| panicked(&e))?;
    answer.map_err(|error| IngestError::Unavailable {
        endpoint: format!("Kafka at {bootstrap}"),
        problem: refusal(client).unwrap_or_else(|| {
            format!(
                "no answer within {} s ({}); start the broker, or correct kafka.bootstrap and kafka.settings",
                timeout.as_secs_f64(),
                reason(&error)
            )
        }),
    })
}

/// Why the brokers turn this client away. What the client has to say waits in its queue until it is polled, log lines
/// among it, and a poll that brings no record takes one or two from there. No record can be in it before a topic is
/// subscribed.
fn refusal(client: &Client) -> Option<String> {
    (0..NEWS_MAX).find_map(|_| {
        drop(client.recv().now_or_never());
        client.context().refusal()
    })
}

/// The oldest offset that the broker holds, and the next one it will give.
fn bounds_of(client: &Client, (topic, partition): &TopicPartition) -> KafkaResult<Bounds> {
    client.fetch_watermarks(topic, *partition, REQUEST_TIMEOUT)
}

fn list<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in partitions {
        list.add_partition(topic, *partition);
    }
    list
}

fn list_at(positions: &Positions) -> KafkaResult<TopicPartitionList> {
    list_from(positions.iter().map(|(key, offset)| (key.clone(), Offset::Offset(*offset))))
}

fn list_from(places: impl IntoIterator<Item = (TopicPartition, Offset)>) -> KafkaResult<TopicPartitionList> {
    let mut list = TopicPartitionList::new();
    for ((topic, partition), offset) in places {
        list.add_partition_offset(&topic, partition, offset)?;
    }
    Ok(list)
}

fn unavailable(bootstrap: &str, error: &KafkaError) -> IngestError {
    IngestError::Unavailable { endpoint: format!("Kafka at {bootstrap}"), problem: reason(error) }
}

/// What the broker or client says, without the wrapping of the client library.
fn reason(error: &KafkaError) -> String {
    error.rdkafka_error_code().map_or_else(|| error.to_string(), |code| code.to_string())
}

fn panicked(error: &tokio::task::JoinError) -> IngestError {
    IngestError::Bug(format!("a request to Kafka ended early: {error}"))
}

fn panicked_client() -> IngestError {
    IngestError::Bug("Kafka's client ended before it answered".to_owned())
}
