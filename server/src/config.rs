//! `asterism.toml`. The shipped `default.toml` is both the documentation and the source of every default.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

/// Topics of the journal that hold records which came over HTTP begin with this, then the source kind.
pub(crate) const HTTP_TOPIC_PREFIX: &str = "http.";

/// The commented default configuration.
pub(crate) const DEFAULT: &str = include_str!("default.toml");

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) data_dir: PathBuf,
    pub(crate) mappings: Vec<PathBuf>,
    pub(crate) api: Api,
    pub(crate) kafka: Kafka,
    pub(crate) rules: Rules,
    pub(crate) ingest: Ingest,
    pub(crate) correlate: Correlate,
    pub(crate) store: Store,
    pub(crate) respond: Respond,
    pub(crate) forward: Forward,
}

/// Where changes go besides Kafka.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Forward {
    pub(crate) webhooks: Vec<Webhook>,
}

/// A subscription.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Webhook {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) secret_file: PathBuf,
    #[serde(default)]
    pub(crate) streams: Vec<Subscribed>,
    #[serde(default)]
    pub(crate) allow: Vec<ipnet::IpNet>,
}

/// What may be subscribed to.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Subscribed {
    Findings,
    Incidents,
    Actions,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Api {
    pub(crate) listen: SocketAddr,
    pub(crate) token_file: PathBuf,
    pub(crate) users: Vec<ApiUser>,
    pub(crate) ingest_body_bytes_max: usize,
}

/// Somebody with a token of their own.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ApiUser {
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) token_file: PathBuf,
}

/// What a user of the API may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Reads and hunts.
    Viewer,
    /// The same, and edits incidents.
    Analyst,
    /// The same, and decides on actions.
    Responder,
    /// Brings records.
    Sender,
    /// Leases the work of playbooks, and reads.
    Playbook,
    /// Everything.
    Admin,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Analyst => "analyst",
            Role::Responder => "responder",
            Role::Sender => "sender",
            Role::Playbook => "playbook",
            Role::Admin => "admin",
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kafka {
    pub(crate) bootstrap: String,
    pub(crate) group: String,
    pub(crate) dead_letter_topic: String,
    pub(crate) forward: bool,
    pub(crate) topics: Vec<Topic>,
    pub(crate) settings: BTreeMap<String, String>,
    pub(crate) secret_files: BTreeMap<String, PathBuf>,
}

/// A topic and how to read it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Topic {
    pub(crate) name: String,
    #[serde(default = "auto")]
    pub(crate) source: String,
    #[serde(default = "default_tenant")]
    pub(crate) tenant: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rules {
    pub(crate) builtin: bool,
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) pipelines: Vec<PathBuf>,
    pub(crate) placeholders: Vec<PathBuf>,
    pub(crate) overlays: Vec<PathBuf>,
    pub(crate) reload_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ingest {
    pub(crate) poll_records_max: usize,
    pub(crate) poll_bytes_max: usize,
    pub(crate) record_bytes_max: usize,
    pub(crate) idle_partition_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Correlate {
    pub(crate) parameters: PathBuf,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Store {
    pub(crate) checkpoint_rows_max: usize,
    pub(crate) checkpoint_bytes_max: usize,
    pub(crate) checkpoint_s: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Respond {
    pub(crate) builtin: bool,
    pub(crate) rules: Vec<PathBuf>,
    pub(crate) policy: respond::Policy,
    pub(crate) edr: Edr,
    pub(crate) mail: MailSettings,
    pub(crate) connectors: Vec<ConnectorSettings>,
    /// Verbs that playbooks do.
    pub(crate) pulled: BTreeSet<respond::Verb>,
}

/// A provider that a connector file describes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ConnectorSettings {
    /// A file, or the name of a shipped connector.
    pub(crate) file: PathBuf,
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) url_file: PathBuf,
    #[serde(default)]
    pub(crate) user: String,
    #[serde(default)]
    pub(crate) token_file: PathBuf,
    #[serde(default)]
    pub(crate) scheme: String,
    #[serde(default)]
    pub(crate) oauth2: OAuth2,
    /// By name, for a connector that picks one for each request, instead of the one above.
    #[serde(default)]
    pub(crate) addresses: BTreeMap<String, AddressSettings>,
    /// What the connector's `config` asks for.
    #[serde(default)]
    pub(crate) values: BTreeMap<String, String>,
}

/// One of several addresses of a provider.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AddressSettings {
    pub(crate) url: String,
    /// A file with the address, where that is the secret.
    pub(crate) url_file: PathBuf,
    /// Whose password the token is.
    pub(crate) user: String,
    pub(crate) token_file: PathBuf,
    /// Scheme of that token, where it is not the one of the connector file.
    pub(crate) scheme: String,
    pub(crate) oauth2: OAuth2,
}

impl ConnectorSettings {
    /// The one address that stands beside the file.
    pub(crate) fn address(&self) -> AddressSettings {
        AddressSettings {
            url: self.url.clone(),
            url_file: self.url_file.clone(),
            user: self.user.clone(),
            token_file: self.token_file.clone(),
            scheme: self.scheme.clone(),
            oauth2: self.oauth2.clone(),
        }
    }
}

/// Notices by mail.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MailSettings {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: MailTls,
    pub(crate) ca_file: PathBuf,
    pub(crate) user: String,
    pub(crate) password_file: PathBuf,
    pub(crate) from: String,
    pub(crate) channels: BTreeMap<String, Vec<String>>,
    pub(crate) link: String,
}

/// How mail is kept from others on its way to the server.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MailTls {
    StartTls,
    Implicit,
    None,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edr {
    pub(crate) url: String,
    pub(crate) token_file: PathBuf,
    pub(crate) oauth2: OAuth2,
}

/// Client credentials, in place of a token; all of it is empty where there are none. The client has a secret, or a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct OAuth2 {
    pub(crate) token_url: String,
    pub(crate) client_id: String,
    pub(crate) secret_file: PathBuf,
    /// Its private key (PEM, PKCS #8), where it signs who it is.
    pub(crate) key_file: PathBuf,
    /// Which of its keys that is, where it has several.
    pub(crate) key_id: String,
    pub(crate) scope: String,
}

fn auto() -> String {
    "auto".to_owned()
}

fn default_tenant() -> String {
    "default".to_owned()
}

impl std::fmt::Debug for Kafka {
    /// Settings may hold passwords: only their names are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kafka")
            .field("bootstrap", &self.bootstrap)
            .field("group", &self.group)
            .field("topics", &self.topics)
            .field("settings", &self.settings.keys().collect::<Vec<_>>())
            .field("secret_files", &self.secret_files)
            .finish_non_exhaustive()
    }
}

impl Config {
    /// The defaults, overlaid with the file if there is one, and with the secrets of Kafka's clients.
    pub(crate) fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let Some(path) = path else { return Self::parse("") };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let read = || {
            let mut config = Self::parse(&text)?;
            config.kafka.read_secrets()?;
            anyhow::Ok(config)
        };
        in_file(Some(path), read())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        // Unknown keys are found in the user's own text first, so that the message points into it.
        let user: toml::Table = toml::from_str(text)?;
        let mut merged: toml::Table = toml::from_str(DEFAULT).context("the shipped default.toml")?;
        if let Err(unknown) = overlay(&mut merged, user, &[]) {
            bail!(unknown.message(text));
        }
        let config: Config = merged.try_into()?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> anyhow::Result<()> {
        let needs_no_token = self.api.token_file.as_os_str().is_empty() && self.api.users.is_empty();
        if !self.api.listen.ip().is_loopback() && needs_no_token {
            bail!(
                "api.listen is {}, which others can reach, but api.token_file is empty and api.users has nobody: set a token \
                 file, or listen on 127.0.0.1",
                self.api.listen
            );
        }
        let mut names = BTreeSet::new();
        if let Some(user) =
            self.api.users.iter().find(|user| user.name.is_empty() || !names.insert(&user.name))
        {
            bail!("api.users: the name {:?} is empty or taken: name each user once", user.name);
        }
        self.kafka.validate()?;
        self.respond.policy.check()?;
        if self.ingest.poll_records_max == 0 || self.store.checkpoint_rows_max == 0 {
            bail!("ingest.poll_records_max and store.checkpoint_rows_max must be at least 1");
        }
        Ok(())
    }
}

impl Kafka {
    fn validate(&self) -> anyhow::Result<()> {
        if !self.bootstrap.is_empty() && self.topics.is_empty() {
            bail!("kafka.bootstrap is set, but kafka.topics is empty: name the topics to read");
        }
        if let Some(key) = self.secret_files.keys().find(|key| self.settings.contains_key(*key)) {
            bail!(
                "{key:?} stands in kafka.settings and in kafka.secret_files: keep the one in kafka.secret_files"
            );
        }
        if let Some(topic) = self.topics.iter().find(|topic| topic.name.starts_with(HTTP_TOPIC_PREFIX)) {
            bail!(
                "kafka.topics names {:?}, but topics that begin with {HTTP_TOPIC_PREFIX:?} are the journal's, for records \
                 that come over HTTP: positions and alerts name a record by topic, partition and offset, so a topic must be \
                 in one of the two; let the records come in a Kafka topic of another name",
                topic.name
            );
        }
        Ok(())
    }

    /// Settings whose value lies in a file become settings like the others.
    fn read_secrets(&mut self) -> anyhow::Result<()> {
        for (key, file) in &self.secret_files {
            let secret = read_secret(file).with_context(|| format!("kafka.secret_files.{key:?}"))?;
            let secret = secret.with_context(|| format!("kafka.secret_files.{key:?} names no file"))?;
            self.settings.insert(key.clone(), secret);
        }
        Ok(())
    }
}

/// Tables that name their own keys.
const FREE_FORM: [&str; 3] = ["kafka.settings", "kafka.secret_files", "respond.mail.channels"];

/// Tables with more keys than the defaults have: what they do not give stays.
const OPEN: [&str; 5] = [
    "respond.policy.caps_of",
    "respond.policy.protected",
    "respond.policy.critical",
    "respond.policy.approvers",
    "respond.policy.approval_within_of",
];

/// A key that no setting has.
struct UnknownKey {
    path: Vec<String>,
    known: String,
}

impl UnknownKey {
    /// What is wrong, with the line in `text`.
    fn message(&self, text: &str) -> String {
        let line = line_of(text, &self.path).map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{line}unknown key `{}`; known here: {}", self.path.join("."), self.known)
    }
}

/// The line of a key, from 1.
fn line_of(text: &str, path: &[String]) -> Option<usize> {
    let document = toml::de::DeTable::parse(text).ok()?;
    let (last, tables) = path.split_last()?;
    let mut table = document.get_ref();
    for name in tables {
        table = table.get(name.as_str())?.get_ref().as_table()?;
    }
    let (key, _) = table.get_key_value(last.as_str())?;
    Some(text.get(..key.span().start)?.matches('\n').count() + 1)
}

/// Lays `user` over `base`; a key that `base` lacks is unknown, free-form tables aside.
fn overlay(base: &mut toml::Table, user: toml::Table, at: &[String]) -> Result<(), UnknownKey> {
    for (key, value) in user {
        let path = [at, std::slice::from_ref(&key)].concat();
        let is_one_of = |tables: &[&str]| tables.contains(&path.join(".").as_str());
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) if is_one_of(&OPEN) => {
                inner.extend(value);
            }
            (Some(toml::Value::Table(inner)), toml::Value::Table(value)) if !is_one_of(&FREE_FORM) => {
                overlay(inner, value, &path)?;
            }
            (Some(slot), value) => *slot = value,
            (None, _) => {
                let known = base.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                return Err(UnknownKey { path, known });
            }
        }
    }
    Ok(())
}

/// Says in which file a setting stands that turned out to be wrong.
pub(crate) fn in_file<T>(path: Option<&Path>, outcome: anyhow::Result<T>) -> anyhow::Result<T> {
    match path {
        Some(path) => outcome.with_context(|| format!("in {}", path.display())),
        None => outcome,
    }
}

/// A secret file, or `None` where no file is configured.
fn secret_text(path: &Path) -> anyhow::Result<Option<String>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path);
    text.map(Some).with_context(|| format!("cannot read secret file {}", path.display()))
}

/// Every line of a secret file that is not empty.
pub(crate) fn read_secrets(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = secret_text(path)?.context("no secret file is named")?;
    let secrets: Vec<String> =
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    anyhow::ensure!(!secrets.is_empty(), "secret file {} is empty", path.display());
    Ok(secrets)
}

/// The whole text of a secret file, such as a key.
pub(crate) fn read_key(path: &Path) -> anyhow::Result<Option<String>> {
    let Some(text) = secret_text(path)? else { return Ok(None) };
    anyhow::ensure!(!text.trim().is_empty(), "secret file {} is empty", path.display());
    Ok(Some(text))
}

/// The first line of a secret file, or `None` where no file is configured.
pub(crate) fn read_secret(path: &Path) -> anyhow::Result<Option<String>> {
    let Some(text) = secret_text(path)? else { return Ok(None) };
    let secret = text.lines().next().unwrap_or_default().trim().to_owned();
    if secret.is_empty() {
        bail!("secret file {} is empty", path.display());
    }
    Ok(Some(secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_default_is_valid() {
        let config = Config::load(None).unwrap();
        assert_eq!(config.respond.policy, respond::Policy::default());
        assert!(config.api.listen.ip().is_loopback());
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let error = Config::parse("[api]\nlissten = \"x\"").unwrap_err().to_string();
        assert!(error.contains("api.lissten") && error.contains("token_file"), "{error}");
        for (text, says) in [
            ("\n[api]\n# why\nlissten = \"x\"", "line 4: unknown key `api.lissten`"),
            (
                "[respond]\npolicy = { automatoin = \"full\" }",
                "line 2: unknown key `respond.policy.automatoin`",
            ),
            (
                "[respond.policy.caps]\nrule_per_hour = 3",
                "line 2: unknown key `respond.policy.caps.rule_per_hour`",
            ),
            ("[apis]\nlisten = 1", "line 1: unknown key `apis`"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn every_setting_of_the_policy_stands_in_the_default() {
        let shipped: toml::Table = toml::from_str(DEFAULT).unwrap();
        let shipped = serde_json::to_value(&shipped["respond"]["policy"]).unwrap();
        assert_eq!(shipped, serde_json::to_value(respond::Policy::default()).unwrap());
    }

    #[test]
    fn a_policy_keeps_the_defaults_of_what_it_does_not_say() {
        let text = "[respond.policy]\nttl = \"2h\"\ncaps = { concurrent_max = 3 }\n\
                    protected = { app = [\"mail-*\"] }\napprovers = { R3 = 2 }";
        let config = Config::parse(text).unwrap();
        let (policy, default) = (config.respond.policy, respond::Policy::default());
        assert_eq!(
            (policy.caps.concurrent_max, policy.caps.rule_per_hour_max),
            (3, default.caps.rule_per_hour_max)
        );
        assert_eq!(policy.protected.iter().count(), default.protected.iter().count() + 1);
        assert_eq!(policy.approvers.len(), 2);
        let text = "[respond.policy]\nexclusions = [{ names = { device = [\"ws-9\"] }, verbs = [\"host.isolate\"], \
                    until = \"2030-01-31T00:00:00Z\", owner = \"kim\", reason = \"red team\" }]\n\
                    maintenance = [{ from = \"2030-01-31T20:00:00Z\", until = \"2030-02-01T04:00:00Z\", reason = \"patches\" }]\n\
                    stopped = { rules = [\"r\"] }";
        let policy = Config::parse(text).unwrap().respond.policy;
        assert_eq!(
            (policy.exclusions.len(), policy.maintenance.len(), policy.stopped.rules.len()),
            (1, 1, 1)
        );
        let error = Config::parse("[respond.policy.protected]\nhost = [\"x\"]").unwrap_err();
        assert!(format!("{error:#}").contains("host"), "{error:#}");
        let error = Config::parse("[respond.policy]\nttl = \"9d\"").unwrap_err().to_string();
        assert!(error.contains("respond.policy.ttl_max"), "{error}");
    }

    #[test]
    fn wrong_types_and_broken_toml_are_refused() {
        assert!(Config::parse("data_dir = 3").is_err());
        let broken = Config::parse("[api\nlisten = 1").unwrap_err().to_string();
        assert!(broken.contains("line 1"), "{broken}");
    }

    #[test]
    fn nothing_listens_beyond_loopback_without_a_token() {
        let error = Config::parse("[api]\nlisten = \"0.0.0.0:8080\"").unwrap_err().to_string();
        assert!(error.contains("token_file"), "{error}");
    }

    #[test]
    fn secrets_of_kafka_are_not_shown() {
        let text = "[kafka]\nbootstrap = \"b:9\"\ntopics = [{name = \"t\"}]\n[kafka.settings]\n\"sasl.password\" = \"hunter2\"";
        let config = Config::parse(text).unwrap();
        assert_eq!(config.kafka.settings["sasl.password"], "hunter2");
        assert!(!format!("{config:?}").contains("hunter2"));
    }

    #[test]
    fn client_credentials_stand_beside_a_token() {
        let oauth2 = "{ token_url = \"https://h/t\", client_id = \"c\", secret_file = \"s\" }";
        let edr = format!("[respond.edr]\nurl = \"https://h\"\noauth2 = {oauth2}\n");
        let connector =
            format!("{{ file = \"crowdstrike_falcon\", url = \"https://h\", oauth2 = {oauth2} }}");
        let config = Config::parse(&format!("[respond]\nconnectors = [{connector}]\n{edr}")).unwrap();
        let expected = OAuth2 {
            token_url: "https://h/t".into(),
            client_id: "c".into(),
            secret_file: "s".into(),
            ..OAuth2::default()
        };
        assert_eq!(config.respond.edr.oauth2, expected);
        assert_eq!(config.respond.connectors[0].oauth2, expected);
        let wrong =
            Config::parse("[respond.edr]\noauth2 = { secret = \"hunter2\" }").unwrap_err().to_string();
        assert!(wrong.contains("respond.edr.oauth2.secret`") && !wrong.contains("hunter2"), "{wrong}");
    }

    fn kafka(rest: &str) -> String {
        format!("[kafka]\nbootstrap = \"b:9\"\n{rest}")
    }

    #[test]
    fn a_password_is_read_from_its_file_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let (config, password) = (dir.path().join("asterism.toml"), dir.path().join("password"));
        let secrets = format!("secret_files = {{ \"sasl.password\" = {password:?} }}");
        std::fs::write(&config, kafka(&format!("topics = [{{name = \"t\"}}]\n{secrets}"))).unwrap();
        let missing = format!("{:#}", Config::load(Some(&config)).unwrap_err());
        assert!(
            missing.contains("secret_files.\"sasl.password\"") && missing.contains("No such file"),
            "{missing}"
        );
        std::fs::write(&password, "hunter2\n").unwrap();
        let read = Config::load(Some(&config)).unwrap();
        assert_eq!(read.kafka.settings["sasl.password"], "hunter2");
        assert!(!format!("{read:?}").contains("hunter2"));
    }

    #[test]
    fn a_setting_has_one_place() {
        let twice = "topics = [{name = \"t\"}]\nsettings = {\"sasl.password\" = \"hunter2\"}\n\
                     secret_files = {\"sasl.password\" = \"f\"}";
        let error = Config::parse(&kafka(twice)).unwrap_err().to_string();
        assert!(error.contains("sasl.password") && error.contains("kafka.secret_files"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn providers_have_one_address_or_several_by_name() {
        let text = "[[respond.connectors]]\nfile = \"chat_webhook\"\naddresses = { soc = { url_file = \"soc.url\" } }\n\
                    values = { link = \"https://asterism.example/\" }\n[respond.mail]\nhost = \"mail.example\"\n\
                    channels = { duty = [\"anna@corp.example\"] }";
        let respond = Config::parse(text).unwrap().respond;
        assert_eq!(respond.connectors[0].addresses["soc"].url_file, Path::new("soc.url"));
        assert_eq!(respond.mail.channels["duty"], ["anna@corp.example"]);
        assert_eq!((respond.mail.port, respond.mail.user.as_str()), (587, ""));
        let error = Config::parse("[respond.mail]\ntls = \"maybe\"").unwrap_err().to_string();
        assert!(error.contains("starttls"), "{error}");
    }

    #[test]
    fn topics_of_records_over_http_are_not_read_from_kafka() {
        let error = Config::parse(&kafka("topics = [{name = \"http.auto\"}]")).unwrap_err().to_string();
        assert!(
            error.contains("kafka.topics") && error.contains("http.auto") && error.contains("journal"),
            "{error}"
        );
    }
}
