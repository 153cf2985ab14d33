//! `asterism run`: the daemon.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use correlate::Parameters;
use event::EntityType;
use ingest::{
    DeadLetterSink, DecodeLimits, Journal, JournalOptions, JournalSource, KafkaOptions, KafkaSource,
    KafkaWriter, MappingSet, PollBudget,
};
use respond::{Capability, Policy, ResponseRules, Verb};
use rules::RuleSet;
use storage::Hunt;
use tokio_util::sync::CancellationToken;

use super::{load_mappings, note_rules, now};
use crate::api::{self, ApiState, Auth, Intake, User};
use crate::cli::RunArgs;
use crate::config::{self, ApiUser, Config, Role, Topic};
use crate::engine::{
    CheckpointLimits, Detector, Engine, EngineOptions, PLAYBOOKS, Pipeline, PipelineOptions, Providers,
    SourceWithDetector, Stores, Topics, Webhooks, deliver_to_kafka, stop_on_signals,
};
use crate::output::{Lines, note};
use crate::rule_loading::RuleSources;
use crate::{rule_loading, rule_watch, telemetry};

pub(crate) async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    if args.print_default_config {
        let mut out = Lines::stdout();
        out.bytes(config::DEFAULT.as_bytes())?;
        out.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = Config::load(args.config.as_deref())?;
    let content = config::in_file(args.config.as_deref(), sound(&config))?;
    if args.check {
        note("the configuration, rules and mappings are sound");
        return Ok(ExitCode::SUCCESS);
    }
    let stopping = CancellationToken::new();
    stop_on_signals(stopping.clone())?;
    let daemon = Daemon::start(config, content, stopping).await?;
    note(&format!("asterism serves http://{}; Ctrl-C stops it", daemon.address()));
    daemon.wait().await?;
    Ok(ExitCode::SUCCESS)
}

/// What the settings name, read and found sound: content, secrets, and the addresses of providers.
fn sound(config: &Config) -> anyhow::Result<Content> {
    let content = Content::load(config)?;
    api_users(config)?;
    let providers = Providers::configured(&config.respond)?;
    known_connectors(config, providers.as_ref())?;
    Webhooks::configured(&config.forward)?;
    Ok(content)
}

/// Refuses a stop of a connector that does not exist, and a page that nobody would get: both would be found out when they are
/// needed most.
fn known_connectors(config: &Config, providers: Option<&Providers>) -> anyhow::Result<()> {
    let policy = &config.respond.policy;
    let capabilities = providers.map(Providers::capabilities).unwrap_or_default();
    let mut known: Vec<&str> = capabilities.iter().map(|capability| capability.provider.as_str()).collect();
    if !config.respond.pulled.is_empty() {
        known.push(PLAYBOOKS);
    }
    if let Some(unknown) = policy.stopped.connectors.iter().find(|name| !known.contains(&name.as_str())) {
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        bail!(
            "respond.policy.stopped.connectors names {unknown:?}, which is no connector here; known: {known}"
        );
    }
    let channel = BTreeMap::from([("channel".to_owned(), policy.page.clone())]);
    let tells =
        |capability: &Capability| capability.lacks(Verb::NotifySend, EntityType::Device, &channel).is_none();
    let is_told = config.respond.pulled.contains(&Verb::NotifySend) || capabilities.iter().any(tells);
    if !policy.page.is_empty() && !is_told {
        bail!(
            "respond.policy.page is {:?}, but no connector has a channel of that name: add it to respond.mail.channels or to \
             the addresses of a chat, or leave it empty",
            policy.page
        );
    }
    Ok(())
}

/// Who may call the API. A token that two have would leave open who speaks.
fn api_users(config: &Config) -> anyhow::Result<Vec<User>> {
    let token = config::read_secret(&config.api.token_file).context("api.token_file")?;
    let anybody = token.map(|token| User { name: None, role: Role::Admin, token: token.into() });
    let mut users: Vec<User> = anybody.into_iter().collect();
    for ApiUser { name, role, token_file } in &config.api.users {
        let token =
            config::read_secret(token_file).with_context(|| format!("api.users: token_file of {name}"))?;
        let token: Arc<str> = token.with_context(|| format!("api.users: {name} has no token_file"))?.into();
        if users.iter().any(|other| other.token == token) {
            bail!("api.users: {name} has the token of another: give each a token of their own");
        }
        users.push(User { name: Some(name.as_str().into()), role: *role, token });
    }
    Ok(users)
}

/// Everything that is content: mappings, rules, response rules.
pub(crate) struct Content {
    mappings: Arc<MappingSet>,
    rules: Arc<RuleSet>,
    response_rules: ResponseRules,
    policy: Policy,
    parameters: Parameters,
}

impl Content {
    /// The mappings, shipped ones and others.
    pub(crate) fn mappings(&self) -> &MappingSet {
        &self.mappings
    }

    pub(crate) fn load(config: &Config) -> anyhow::Result<Self> {
        let mappings = load_mappings(&config.mappings).context("mappings")?;
        known_kinds(&config.kafka.topics, &mappings)?;
        let sources = RuleSources::configured(&config.rules).fed_by(&mappings);
        let (rules, report) = sources.load(now()).context("rules.dirs")?;
        note_rules(&report);
        let (response_rules, rejected) =
            rule_loading::load_response(config.respond.builtin, &config.respond.rules)
                .context("respond.rules")?;
        for rejection in rejected {
            let place = rejection.line.map_or_else(String::new, |line| format!(":{line}"));
            note(&format!("  response rule rejected: {}{place}: {}", rejection.file, rejection.reason));
        }
        let parameters = parameters(&config.correlate.parameters).context("correlate.parameters")?;
        Ok(Self {
            parameters: parameters.feeds(&mappings.feeds()),
            mappings,
            rules: Arc::new(rules),
            response_rules,
            policy: config.respond.policy.clone(),
        })
    }
}

fn parameters(path: &std::path::Path) -> anyhow::Result<Parameters> {
    if path.as_os_str().is_empty() {
        return Ok(Parameters::builtin()?);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Parameters::parse(&text).with_context(|| path.display().to_string())
}

/// Refuses a topic whose source kind does not exist: every record of it would become a dead letter.
fn known_kinds(topics: &[Topic], mappings: &MappingSet) -> anyhow::Result<()> {
    let known: Vec<&str> =
        ["auto"].into_iter().chain(mappings.source_kinds().map(|(name, _)| name)).collect();
    match topics.iter().find(|topic| !known.contains(&topic.source.as_str())) {
        Some(topic) => bail!(
            "kafka.topics reads {:?} with source = {:?}, which is no source kind: correct it, or add its mapping to \
             `mappings`; known: {}",
            topic.name,
            topic.source,
            known.join(", ")
        ),
        None => Ok(()),
    }
}

/// The engine and its API, running.
pub(crate) struct Daemon {
    address: std::net::SocketAddr,
    state: storage::StateDb,
    journal: Journal,
    engine: tokio::task::JoinHandle<anyhow::Result<()>>,
    server: tokio::task::JoinHandle<anyhow::Result<()>>,
    stopping: CancellationToken,
}

impl Daemon {
    /// Opens the stores, binds the port, and starts the stages.
    pub(crate) async fn start(
        config: Config,
        content: Content,
        stopping: CancellationToken,
    ) -> anyhow::Result<Self> {
        let auth = Auth::new(api_users(&config)?);
        let listener = api::bind(config.api.listen).await?;
        let address = listener.local_addr()?;
        let metrics = telemetry::init_metrics()?;
        let stores = Stores::open(&config.data_dir).await?;
        let journal = Journal::open(&config.data_dir.join("journal"), JournalOptions::default())?;
        let hunt = Arc::new(Hunt::new(stores.lake.clone(), stores.state.clone())?);
        let sources = sources(&config, &content, &journal).await?;
        let providers = Providers::configured(&config.respond)?;
        let webhooks = Webhooks::configured(&config.forward)?;
        let mappings = Arc::clone(&content.mappings);
        let kafka = config.kafka.clone();
        let forwards = kafka.forward && !kafka.bootstrap.is_empty();
        let rule_sources = RuleSources::configured(&config.rules).fed_by(&mappings);
        tokio::task::block_in_place(|| rule_sources.prepare(&content.rules));
        let rules = rule_watch::follow(
            rule_sources,
            Arc::clone(&content.rules),
            Duration::from_secs(config.rules.reload_s),
            stopping.clone(),
        )?;
        let capabilities = providers.as_ref().map(Providers::capabilities);
        let options = pipeline_options(&config, content, capabilities);
        let pipeline = Pipeline::open(stores.clone(), options, now()).await?;
        let (engine, handle) = Engine::new(pipeline, sources, providers, engine_options(&config), rules);
        let engine = tokio::spawn(engine.run(stopping.clone()));
        let state = stores.state.clone();
        if forwards {
            deliver_to_kafka(state.clone(), &kafka, stopping.clone())?;
        }
        let gone = Arc::new(webhooks.gone());
        webhooks.deliver(&state, &stopping);
        let intake = Intake { journal: journal.clone(), mappings };
        let api = ApiState {
            state: state.clone(),
            hunt,
            engine: handle,
            metrics,
            ingest: intake,
            webhooks: gone,
            stopping: stopping.clone(),
        };
        let router = api::router(api, auth, config.api.ingest_body_bytes_max);
        let server = tokio::spawn(api::serve(listener, router, stopping.clone()));
        Ok(Self { address, state, journal, engine, server, stopping })
    }

    /// Where the API listens.
    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// The embedded journal, which the engine reads.
    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The state database.
    pub(crate) fn state(&self) -> &storage::StateDb {
        &self.state
    }

    /// Waits until the engine has stopped, on its own or because it was told to.
    pub(crate) async fn wait(self) -> anyhow::Result<()> {
        let outcome = self.engine.await.context("bug: the engine panicked")?;
        self.stopping.cancel();
        // An open stream must not keep the process alive.
        let server = tokio::time::timeout(Duration::from_secs(5), self.server).await;
        outcome?;
        match server {
            Ok(served) => served.context("bug: the HTTP server panicked")?,
            Err(_) => Ok(()),
        }
    }
}

/// What decodes the records of these topics and evaluates rules on them.
pub(crate) fn detector(config: &Config, content: &Content, topics: Topics) -> Detector {
    let limits = DecodeLimits { record_bytes_max: config.ingest.record_bytes_max, ..DecodeLimits::default() };
    Detector::new(Arc::clone(&content.mappings), Arc::clone(&content.rules), topics, limits)
}

/// The journal always (records over HTTP go there); Kafka where it is configured.
async fn sources(
    config: &Config,
    content: &Content,
    journal: &Journal,
) -> anyhow::Result<Vec<SourceWithDetector>> {
    let detector = || detector(config, content, Topics::configured(&config.kafka.topics));
    let mut sources = vec![SourceWithDetector {
        source: Box::new(JournalSource::open(journal.clone(), Vec::new())),
        detector: detector(),
        dead_letters: None,
    }];
    if !config.kafka.bootstrap.is_empty() {
        refuse_shared_topic(&config.kafka.topics, journal)?;
        let options = KafkaOptions {
            group: config.kafka.group.clone(),
            settings: config.kafka.settings.clone(),
            // The daemon serves without its broker, and says what it waits for.
            start_timeout: None,
            ..KafkaOptions::new(
                config.kafka.bootstrap.as_str(),
                config.kafka.topics.iter().map(|t| t.name.as_str()),
            )
        };
        let topic = Some(config.kafka.dead_letter_topic.clone()).filter(|t| !t.is_empty());
        let dead_letters = match topic {
            Some(topic) => {
                let writer = KafkaWriter::open(&config.kafka.bootstrap, &config.kafka.settings)?;
                Some(DeadLetterSink::kafka(writer, Some(topic)))
            }
            None => None,
        };
        let source = Box::new(KafkaSource::open(options).await?);
        sources.push(SourceWithDetector { source, detector: detector(), dead_letters });
    }
    Ok(sources)
}

/// Positions, lake and alerts name a record by topic, partition and offset alone. Of a topic that is in Kafka and in
/// the journal, records of one would count as read because those of the other were.
fn refuse_shared_topic(kafka: &[Topic], journal: &Journal) -> anyhow::Result<()> {
    let held = journal.partitions();
    let shared = kafka.iter().find(|topic| held.iter().any(|(name, _)| **name == *topic.name));
    match shared {
        Some(topic) => bail!(
            "kafka.topics names {:?}, but the journal {} has a topic of that name too, and their records could not be \
             told apart: read it from Kafka under another name, or choose another data_dir",
            topic.name,
            journal.path().display()
        ),
        None => Ok(()),
    }
}

/// How the stateful half works under this configuration.
pub(crate) fn pipeline_options(
    config: &Config,
    content: Content,
    providers: Option<Vec<Capability>>,
) -> PipelineOptions {
    PipelineOptions {
        rules: content.rules,
        parameters: content.parameters,
        response_rules: content.response_rules,
        policy: content.policy,
        checkpoint: CheckpointLimits {
            rows_max: config.store.checkpoint_rows_max,
            bytes_max: config.store.checkpoint_bytes_max,
        },
        providers,
        pulled: config.respond.pulled.clone(),
    }
}

fn engine_options(config: &Config) -> EngineOptions {
    EngineOptions {
        budget: PollBudget {
            records_max: config.ingest.poll_records_max,
            bytes_max: config.ingest.poll_bytes_max,
            wait: Duration::from_millis(200),
        },
        checkpoint: Duration::from_secs(config.store.checkpoint_s.max(1)),
        idle_partition: Duration::from_secs(config.ingest.idle_partition_s.max(1)),
    }
}
