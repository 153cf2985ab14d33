//! Lets decided steps out to the EDR and reports what came of them. A step is on disk before it gets here.

use std::sync::Arc;

use respond::{HttpExecutor, HttpExecutorConfig, Report, Work, Worker};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Edr, read_secret};

/// Steps on the wire at once: a provider's rate limit is a few a second.
const CONCURRENT: usize = 8;

/// The EDR that commands go to.
pub(crate) struct EdrConnection {
    worker: Worker,
}

impl EdrConnection {
    /// The configured EDR, or `None` where none is.
    pub(crate) fn configured(edr: &Edr) -> anyhow::Result<Option<Self>> {
        if edr.url.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self::new(&edr.url, read_secret(&edr.token_file)?)?))
    }

    pub(crate) fn new(url: &str, token: Option<String>) -> anyhow::Result<Self> {
        let config = HttpExecutorConfig::new(url, token.unwrap_or_default());
        Ok(Self { worker: Worker::new(Arc::new(HttpExecutor::new(config)?)) })
    }

    /// Performs steps until no more come.
    pub(crate) async fn run(self, mut work: mpsc::Receiver<Work>, reports: mpsc::Sender<Report>) {
        let mut running = JoinSet::new();
        while let Some(step) = work.recv().await {
            if running.len() >= CONCURRENT {
                running.join_next().await;
            }
            let (worker, reports) = (self.worker.clone(), reports.clone());
            running.spawn(async move {
                let report = worker.perform(&step).await;
                // The core is gone only when the process stops; the lease lapses then.
                drop(reports.send(report).await);
            });
        }
    }
}
