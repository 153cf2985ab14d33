//! Lets decided steps out to the EDR and reports what came of them. A step is on disk before it gets here.

use std::sync::Arc;

use respond::{Executor, HttpExecutor, HttpExecutorOptions, Report, Work};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::command::now;
use crate::config::{Edr, read_secret};

/// Steps on the wire at once: a provider's rate limit is a few a second.
const CONCURRENT: usize = 8;

/// The EDR that commands go to.
pub(crate) struct EdrConnection {
    executor: Arc<dyn Executor>,
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
        let options = HttpExecutorOptions { base_url: url.to_owned(), token: token.map(Into::into), ..HttpExecutorOptions::default() };
        Ok(Self { executor: Arc::new(HttpExecutor::new(options)?) })
    }

    /// Performs steps until no more come.
    pub(crate) async fn run(self, mut work: mpsc::Receiver<Work>, reports: mpsc::Sender<Report>) {
        let mut running = JoinSet::new();
        while let Some(step) = work.recv().await {
            if running.len() >= CONCURRENT {
                running.join_next().await;
            }
            let (executor, reports) = (Arc::clone(&self.executor), reports.clone());
            running.spawn(async move {
                let report = respond::perform(executor.as_ref(), &step, now()).await;
                // The core is gone only when the process stops; the lease lapses then.
                drop(reports.send(report).await);
            });
        }
    }
}
