//! Lets decided steps out to providers and reports what came of them. A step is on disk before it gets here.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use respond::{
    ApiConfig, Connector, ConnectorExecutor, DefenderExecutor, Executor, Report, Verb, Work, Worker,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{Respond, read_secret};

/// Steps on the wire at once: a provider's rate limit is a few a second.
const CONCURRENT: usize = 8;

/// The providers that commands go to.
pub(crate) struct Providers {
    worker: Worker,
    verbs: BTreeSet<Verb>,
}

impl Providers {
    /// The configured EDR and connectors, or `None` where there are none.
    pub(crate) fn configured(respond: &Respond) -> anyhow::Result<Option<Self>> {
        let mut executors: Vec<Arc<dyn Executor>> = Vec::new();
        if !respond.edr.url.is_empty() {
            let config = api("respond.edr", &respond.edr.url, &respond.edr.token_file)?;
            executors.push(Arc::new(DefenderExecutor::new(config).context("respond.edr")?));
        }
        for (n, connector) in respond.connectors.iter().enumerate() {
            let place = format!("respond.connectors[{n}]");
            let config = api(&place, &connector.url, &connector.token_file)?;
            let described = described(&connector.file).with_context(|| format!("{place}.file"))?;
            executors.push(Arc::new(ConnectorExecutor::new(described, config).context(place)?));
        }
        if executors.is_empty() {
            return Ok(None);
        }
        let verbs = executors.iter().flat_map(|executor| executor.capability().verbs).collect();
        Ok(Some(Self { worker: Worker::new(executors), verbs }))
    }

    /// What they can do.
    pub(crate) fn verbs(&self) -> BTreeSet<Verb> {
        self.verbs.clone()
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

/// A connector of ours by its name, or one that lies in a file.
fn described(file: &Path) -> anyhow::Result<Connector> {
    let shipped = Connector::builtin();
    let named = shipped.iter().find(|(name, _)| Path::new(name).file_stem() == Some(file.as_os_str()));
    let (name, text) = match named {
        Some((name, text)) => ((*name).to_owned(), (*text).to_owned()),
        None => {
            let names: Vec<&str> = shipped.iter().map(|(name, _)| name.trim_end_matches(".yml")).collect();
            let text = std::fs::read_to_string(file).with_context(|| {
                format!("cannot read {}; shipped connectors are {}", file.display(), names.join(", "))
            })?;
            (file.display().to_string(), text)
        }
    };
    Ok(Connector::parse(&name, &text)?)
}

fn api(place: &str, url: &str, token_file: &Path) -> anyhow::Result<ApiConfig> {
    let is_address = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !reqwest::Url::parse(url).is_ok_and(|url| is_address(&url)) {
        bail!(
            "{place}.url is {url:?}: write the address of the provider's API, such as https://edr.example, or \"\" for none"
        );
    }
    let token = read_secret(token_file).with_context(|| format!("{place}.token_file"))?;
    let token = token.with_context(|| {
        format!("{place}.url is set, but {place}.token_file is empty: name the file with its token")
    })?;
    Ok(ApiConfig::new(url, token))
}
