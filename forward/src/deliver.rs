//! Delivers the outbox to one sink: at least once, in order, bounded, with back-off.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::error::ForwardError;
use crate::message::{Message, OutboxRow};
use crate::sink::{Outbox, SetAside, Sink};

/// Rows in memory at once. A larger batch saves nothing and repeats more after a failure.
const BATCH_ROWS: usize = 200;
/// The outbox is looked at this often when it was empty.
const IDLE: Duration = Duration::from_millis(250);
/// Pauses after failures: doubling from the first to the last.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// What a delivery came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Rows that the sink has and that are acknowledged.
    pub delivered: u64,
    /// Rows of kinds that are not forwarded.
    pub passed_over: u64,
    /// Rows set aside: unreadable, or refused by the sink. Each is logged with its sequence number.
    pub set_aside: u64,
}

/// Delivers to one sink. Where it stands, the outbox knows: whoever moves the cursor there moves this.
pub struct Deliverer<S> {
    outbox: Arc<dyn Outbox>,
    sink: S,
    counts: Delivered,
}

impl<S: Sink> Deliverer<S> {
    /// Delivers what the sink has not had yet.
    pub fn new(outbox: Arc<dyn Outbox>, sink: S) -> Self {
        Deliverer { outbox, sink, counts: Delivered::default() }
    }

    /// What was delivered since this was made.
    pub fn counts(&self) -> Delivered {
        self.counts
    }

    /// Delivers one batch; false where nothing was waiting.
    ///
    /// # Errors
    /// [`ForwardError`]; the batch is delivered again by the next call.
    pub async fn step(&mut self) -> Result<bool, ForwardError> {
        let after = self.outbox.cursor(self.sink.name()).await?;
        let rows = self.outbox.fetch(after, BATCH_ROWS).await?;
        let Some(last) = rows.last().map(|r| r.sequence) else { return Ok(false) };
        let before = self.counts;
        let mut aside = Vec::new();
        let messages = self.messages(&rows, &mut aside);
        if let Err(error) = self.deliver(messages, &mut aside).await {
            // The whole batch comes again, so nothing of it counts yet.
            self.counts = before;
            return Err(error);
        }
        self.counts.set_aside += aside.len() as u64;
        self.outbox.ack(self.sink.name(), last, &aside).await?;
        self.report(last);
        Ok(true)
    }

    /// Delivers until `stop` completes. A failure is logged, waited out and tried again.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        let mut pause = BACK_OFF.0;
        loop {
            let wait = match self.step().await {
                Ok(more) => {
                    pause = BACK_OFF.0;
                    if more { Duration::ZERO } else { IDLE }
                }
                Err(error) => {
                    tracing::warn!(%error, retry_in_ms = pause.as_millis() as u64, "delivery failed");
                    metrics::counter!("asterism_forward_failures_total", "sink" => self.sink.name().to_owned()).increment(1);
                    let longer = (pause * 2).min(BACK_OFF.1);
                    std::mem::replace(&mut pause, longer)
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn messages(&mut self, rows: &[OutboxRow], aside: &mut Vec<SetAside>) -> Vec<Message> {
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            match Message::of(row) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => self.counts.passed_over += 1,
                Err(reason) => aside.push(self.set_aside(row.sequence, reason)),
            }
        }
        messages
    }

    /// Delivers, without those that the sink refuses for good.
    async fn deliver(
        &mut self,
        mut messages: Vec<Message>,
        aside: &mut Vec<SetAside>,
    ) -> Result<(), ForwardError> {
        while !messages.is_empty() {
            match self.sink.deliver(&messages).await {
                Ok(()) => {
                    self.counts.delivered += messages.len() as u64;
                    return Ok(());
                }
                Err(ForwardError::Refused { sequence, reason, .. })
                    if messages.iter().any(|m| m.sequence == sequence) =>
                {
                    messages.retain(|m| m.sequence != sequence);
                    aside.push(self.set_aside(sequence, reason));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_aside(&self, sequence: i64, reason: String) -> SetAside {
        tracing::error!(sink = self.sink.name(), sequence, reason, "message set aside");
        SetAside { sequence, reason }
    }

    fn report(&self, cursor: i64) {
        let sink = || self.sink.name().to_owned();
        metrics::counter!("asterism_forward_delivered_total", "sink" => sink())
            .absolute(self.counts.delivered);
        metrics::counter!("asterism_forward_set_aside_total", "sink" => sink())
            .absolute(self.counts.set_aside);
        metrics::gauge!("asterism_forward_cursor", "sink" => sink()).set(cursor as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;
    use crate::testing::incident_row;

    #[derive(Default)]
    struct Memory {
        rows: Vec<OutboxRow>,
        cursor: Mutex<i64>,
    }

    #[async_trait]
    impl Outbox for Memory {
        async fn fetch(&self, after: i64, limit: usize) -> Result<Vec<OutboxRow>, ForwardError> {
            Ok(self.rows.iter().filter(|r| r.sequence > after).take(limit).cloned().collect())
        }

        async fn cursor(&self, _sink: &str) -> Result<i64, ForwardError> {
            Ok(*self.cursor.lock().unwrap())
        }

        async fn ack(&self, _sink: &str, sequence: i64, _aside: &[SetAside]) -> Result<(), ForwardError> {
            *self.cursor.lock().unwrap() = sequence;
            Ok(())
        }
    }

    /// Takes some of a batch and fails every second time; refuses one message for good.
    #[derive(Default)]
    struct Flaky {
        got: Arc<Mutex<Vec<i64>>>,
        calls: usize,
        refuses: Option<i64>,
    }

    #[async_trait]
    impl Sink for Flaky {
        fn name(&self) -> &str {
            "flaky"
        }

        async fn deliver(&mut self, messages: &[Message]) -> Result<(), ForwardError> {
            self.calls += 1;
            let sink = || "flaky".to_owned();
            if let Some(m) = messages.iter().find(|m| Some(m.sequence) == self.refuses) {
                return Err(ForwardError::Refused {
                    sink: sink(),
                    sequence: m.sequence,
                    reason: "too large".into(),
                });
            }
            let part = if self.calls % 2 == 1 { messages.len() / 2 } else { messages.len() };
            self.got.lock().unwrap().extend(messages[..part].iter().map(|m| m.sequence));
            match part == messages.len() {
                true => Ok(()),
                false => Err(ForwardError::Unavailable { sink: sink(), reason: "gone".into() }),
            }
        }
    }

    fn outbox(n: i64) -> Arc<Memory> {
        Arc::new(Memory { rows: (1..=n).map(incident_row).collect(), ..Memory::default() })
    }

    async fn drain(outbox: &Arc<Memory>, sink: Flaky) -> Delivered {
        let mut deliverer = Deliverer::new(Arc::clone(outbox) as Arc<dyn Outbox>, sink);
        for _ in 0..100 {
            if matches!(deliverer.step().await, Ok(false)) {
                break;
            }
        }
        deliverer.counts()
    }

    #[tokio::test]
    async fn everything_arrives_at_least_once_and_in_order_though_the_sink_fails() {
        let outbox = outbox(1_000);
        let sink = Flaky::default();
        let got = Arc::clone(&sink.got);
        let counts = drain(&outbox, sink).await;
        assert_eq!(counts.delivered, 1_000);
        let got = got.lock().unwrap();
        assert!(got.len() > 1_000, "the failing sink makes for repetitions");
        let mut first = got.clone();
        let mut seen = std::collections::BTreeSet::new();
        first.retain(|s| seen.insert(*s));
        assert_eq!(first, (1..=1_000).collect::<Vec<_>>());
        assert_eq!(*outbox.cursor.lock().unwrap(), 1_000);
    }

    #[tokio::test]
    async fn a_refused_and_an_unreadable_message_do_not_stop_the_others() {
        let outbox = Arc::new(Memory {
            rows: (1..=10)
                .map(|i| OutboxRow {
                    body: if i == 3 { "{".into() } else { incident_row(i).body },
                    ..incident_row(i)
                })
                .collect(),
            ..Memory::default()
        });
        let counts = drain(&outbox, Flaky { refuses: Some(5), ..Flaky::default() }).await;
        assert_eq!(counts, Delivered { delivered: 8, passed_over: 0, set_aside: 2 });
    }

    #[tokio::test]
    async fn a_new_deliverer_goes_on_at_the_cursor() {
        let outbox = outbox(10);
        *outbox.cursor.lock().unwrap() = 7;
        assert_eq!(drain(&outbox, Flaky::default()).await.delivered, 3);
    }
}
