//! Lets decided steps out to providers and reports what came of them. A step is on disk before it gets here.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use respond::{
    Addresses, ApiConfig, Capability, ClientCredentials, Connector, ConnectorExecutor, Credential,
    DefenderExecutor, Executor, Proof, Report, SmtpConfig, SmtpExecutor, SmtpTls, Work, Worker,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::{
    AddressSettings, ConnectorSettings, MailSettings, MailTls, OAuth2, Respond, read_key, read_secret,
};

/// Steps on the wire at once: a provider's rate limit is a few a second.
const CONCURRENT: usize = 8;

/// The providers that commands go to.
pub(crate) struct Providers {
    worker: Worker,
    capabilities: Vec<Capability>,
}

impl Providers {
    /// The configured EDR and connectors, or `None` where there are none.
    pub(crate) fn configured(respond: &Respond) -> anyhow::Result<Option<Self>> {
        let mut executors: Vec<Arc<dyn Executor>> = Vec::new();
        if !respond.edr.url.is_empty() {
            let edr = &respond.edr;
            let config = api("respond.edr", &edr.url, &edr.token_file, &edr.oauth2)?;
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
        let capabilities = executors.iter().map(|executor| executor.capability()).collect();
        Ok(Some(Self { worker: Worker::new(executors), capabilities }))
    }

    /// What they can do, in the order in which they are asked.
    pub(crate) fn capabilities(&self) -> Vec<Capability> {
        self.capabilities.clone()
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
    let AddressSettings { url, url_file, user, token_file, scheme, oauth2 } = settings;
    let has_token = !token_file.as_os_str().is_empty();
    let speaks_of_token = !scheme.is_empty() || !user.is_empty();
    if speaks_of_token && !has_token {
        bail!(
            "{place} says whose the token is (user), or its scheme, but {place}.token_file is empty: name the file, or leave \
             it out"
        );
    }
    let secret = read_secret(url_file).with_context(|| format!("{place}.url_file"))?;
    let config = match secret {
        None => api(place, url, token_file, oauth2)?,
        Some(_) if !url.is_empty() => bail!("{place} has url and url_file: give one or the other"),
        Some(secret) => {
            let config = ApiConfig::at_secret_address(secret);
            let is_bare = !has_token && *oauth2 == OAuth2::default();
            let credential =
                if is_bare { Credential::Nothing } else { credential(place, token_file, oauth2)? };
            ApiConfig { credential, ..config }
        }
    };
    let scheme = Some(scheme.clone()).filter(|scheme| !scheme.is_empty());
    let credential = match config.credential {
        Credential::Token(password) if !user.is_empty() => {
            Credential::Password { user: user.clone(), password }
        }
        other => other,
    };
    Ok(ApiConfig { scheme, credential, ..config })
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
    let ca_pem =
        match settings.ca_file.as_os_str().is_empty() {
            true => None,
            false => Some(std::fs::read(&settings.ca_file).with_context(|| {
                format!("respond.mail.ca_file: cannot read {}", settings.ca_file.display())
            })?),
        };
    let config = SmtpConfig::new(settings.host.as_str(), settings.from.as_str());
    let link = settings.link.clone();
    Ok(SmtpConfig { port: settings.port, tls, ca_pem, login, channels, link, ..config })
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

fn api(place: &str, url: &str, token_file: &Path, oauth2: &OAuth2) -> anyhow::Result<ApiConfig> {
    let is_address = |url: &reqwest::Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if !reqwest::Url::parse(url).is_ok_and(|url| is_address(&url)) {
        bail!(
            "{place}.url is {url:?}: write the address of the provider's API, such as https://edr.example, or \"\" for none"
        );
    }
    Ok(ApiConfig::new(url, credential(place, token_file, oauth2)?))
}

/// The one thing that a provider knows us by.
fn credential(place: &str, token_file: &Path, oauth2: &OAuth2) -> anyhow::Result<Credential> {
    match (token_file.as_os_str().is_empty(), *oauth2 == OAuth2::default()) {
        (true, true) => bail!(
            "{place}.url is set, but {place}.token_file is empty and {place}.oauth2 is, too: name the file with its token, \
             or token_url, client_id and secret_file of its client credentials"
        ),
        (false, false) => bail!(
            "{place}.token_file and {place}.oauth2 are both set: keep the one that the provider is to know us by"
        ),
        (false, true) => {
            let token = read_secret(token_file).with_context(|| format!("{place}.token_file"))?;
            Ok(token.with_context(|| format!("{place}.token_file is empty"))?.into())
        }
        (true, false) => Ok(client_credentials(place, oauth2)?.into()),
    }
}

fn client_credentials(place: &str, oauth2: &OAuth2) -> anyhow::Result<ClientCredentials> {
    for (name, text) in [("token_url", &oauth2.token_url), ("client_id", &oauth2.client_id)] {
        if text.is_empty() {
            bail!(
                "{place}.oauth2.{name} is empty: client credentials need token_url, client_id, and secret_file or key_file"
            );
        }
    }
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    Ok(ClientCredentials {
        token_url: oauth2.token_url.clone(),
        client_id: oauth2.client_id.clone(),
        proof: proof(place, oauth2)?,
        scope: said(&oauth2.scope),
    })
}

/// The client's secret, or its key.
fn proof(place: &str, oauth2: &OAuth2) -> anyhow::Result<Proof> {
    let has = |path: &Path| !path.as_os_str().is_empty();
    if has(&oauth2.key_file) {
        if has(&oauth2.secret_file) {
            bail!(
                "{place}.oauth2 has a secret_file and a key_file: keep the one that the client is known by"
            );
        }
        let file = || format!("{place}.oauth2.key_file");
        let pem = read_key(&oauth2.key_file).with_context(file)?.with_context(file)?;
        let id = Some(oauth2.key_id.clone()).filter(|id| !id.is_empty());
        return Ok(Proof::Key { pem: pem.into(), id });
    }
    let file = format!("{place}.oauth2.secret_file");
    let secret = read_secret(&oauth2.secret_file).with_context(|| file.clone())?;
    let text =
        format!("{file} is empty: name the file with the client's secret, or key_file with its private key");
    Ok(secret.context(text)?.into())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_provider_has_one_credential_and_all_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "hunter2\n").unwrap();
        let whole = OAuth2 {
            token_url: "https://h/t".into(),
            client_id: "c".into(),
            secret_file: secret.clone(),
            ..OAuth2::default()
        };
        let key = OAuth2 {
            secret_file: PathBuf::new(),
            key_file: secret.clone(),
            key_id: "k-1".into(),
            ..whole.clone()
        };
        let of = |token_file: &Path, oauth2: &OAuth2| credential("respond.edr", token_file, oauth2);
        let none = Path::new("");
        assert!(matches!(of(&secret, &OAuth2::default()), Ok(Credential::Token(_))));
        let client = of(none, &whole).unwrap();
        assert!(matches!(&client, Credential::Client(client) if client.scope.is_none()));
        assert!(!format!("{client:?}").contains("hunter2"));
        let signing = format!("{:?}", of(none, &key).unwrap());
        assert!(signing.contains("k-1") && !signing.contains("hunter2"), "{signing}");
        for (token_file, oauth2, says) in [
            (none, OAuth2::default(), "respond.edr.token_file is empty and respond.edr.oauth2 is, too"),
            (&*secret, whole.clone(), "respond.edr.token_file and respond.edr.oauth2 are both set"),
            (
                none,
                OAuth2 { token_url: String::new(), ..whole.clone() },
                "respond.edr.oauth2.token_url is empty",
            ),
            (
                none,
                OAuth2 { client_id: String::new(), ..whole.clone() },
                "respond.edr.oauth2.client_id is empty",
            ),
            (
                none,
                OAuth2 { secret_file: none.into(), ..whole.clone() },
                "respond.edr.oauth2.secret_file is empty",
            ),
            (none, OAuth2 { secret_file: secret.clone(), ..key }, "has a secret_file and a key_file"),
        ] {
            let error = format!("{:#}", of(token_file, &oauth2).unwrap_err());
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
    }
}
