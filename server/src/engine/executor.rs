//! Lets decided steps out to providers and reports what came of them. A step is on disk before it gets here.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use respond::{
    Addresses, ApiConfig, Connector, ConnectorExecutor, DefenderExecutor, Executor, Report, SmtpConfig,
    SmtpExecutor, SmtpTls, Verb, Work, Worker,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{AddressSettings, ConnectorSettings, MailSettings, MailTls, Respond, read_secret};

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
            let described = described(&connector.file).with_context(|| format!("{place}.file"))?;
            let addresses = addresses(&place, connector)?;
            let executor = ConnectorExecutor::with(described, addresses, connector.values.clone());
            executors.push(Arc::new(executor.context(place)?));
        }
        if !respond.mail.host.is_empty() {
            executors.push(Arc::new(SmtpExecutor::new(mail(&respond.mail)?).context("respond.mail")?));
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

/// The one address of a provider, or those that have names.
fn addresses(place: &str, connector: &ConnectorSettings) -> anyhow::Result<Addresses> {
    if connector.addresses.is_empty() {
        return Ok(Addresses::One(address(place, &connector.address())?));
    }
    let one = connector.address();
    if !one.url.is_empty() || !one.url_file.as_os_str().is_empty() {
        bail!("{place} has an address and addresses: give one or the other");
    }
    let named = connector
        .addresses
        .iter()
        .map(|(name, settings)| Ok((name.clone(), address(&format!("{place}.addresses.{name}"), settings)?)));
    Ok(Addresses::Named(named.collect::<anyhow::Result<_>>()?))
}

fn address(place: &str, settings: &AddressSettings) -> anyhow::Result<ApiConfig> {
    let url = read_secret(&settings.url_file).with_context(|| format!("{place}.url_file"))?;
    let Some(url) = url else {
        return Ok(ApiConfig {
            user: settings.user.clone(),
            ..api(place, &settings.url, &settings.token_file)?
        });
    };
    if !settings.url.is_empty() {
        bail!("{place} has url and url_file: give one or the other");
    }
    let token = read_secret(&settings.token_file).with_context(|| format!("{place}.token_file"))?;
    let user = settings.user.clone();
    Ok(ApiConfig { user, token: token.unwrap_or_default(), ..ApiConfig::at_secret_address(url) })
}

fn mail(settings: &MailSettings) -> anyhow::Result<SmtpConfig> {
    let password = read_secret(&settings.password_file).context("respond.mail.password_file")?;
    let login = match (settings.user.as_str(), password) {
        ("", None) => None,
        ("", Some(_)) => bail!("respond.mail.password_file is set, but respond.mail.user is empty"),
        (_, None) => bail!("respond.mail.user is set, but respond.mail.password_file is empty"),
        (user, Some(password)) => Some((user.to_owned(), password)),
    };
    let tls = match settings.tls {
        MailTls::StartTls => SmtpTls::StartTls,
        MailTls::Implicit => SmtpTls::Implicit,
        MailTls::None => SmtpTls::None,
    };
    let channels = settings.channels.clone();
    let config = SmtpConfig::new(settings.host.as_str(), settings.from.as_str());
    Ok(SmtpConfig { port: settings.port, tls, login, channels, link: settings.link.clone(), ..config })
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
