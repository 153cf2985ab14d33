//! Lets decided steps out to the EDR and reports what came of them. A step is on disk before it gets here.

use std::sync::Arc;

use anyhow::{Context, bail};
use respond::{ApiConfig, DefenderExecutor, Report, Work, Worker};
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
        let is_address = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        if !reqwest::Url::parse(&edr.url).is_ok_and(|url| is_address(&url)) {
            bail!(
                "respond.edr.url is {:?}: write the address of the EDR's API, such as https://edr.example, or \"\" for none",
                edr.url
            );
        }
        let token = read_secret(&edr.token_file).context("respond.edr.token_file")?;
        let token = token.context(
            "respond.edr.url is set, but respond.edr.token_file is empty: name the file with its token",
        )?;
        let executor = DefenderExecutor::new(ApiConfig::new(&edr.url, token)).context("respond.edr")?;
        Ok(Some(Self { worker: Worker::new([Arc::new(executor) as Arc<dyn respond::Executor>]) }))
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
