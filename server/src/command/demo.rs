//! `asterism demo`: a simulated company under attack, the engine, the API, and a simulated EDR, all embedded.

mod feed;
mod story;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use respond::Policy;
use simulate::{Company, CompanyOptions, EdrConfig, EdrSimulator, GraphConfig, GraphSimulator};
use tokio_util::sync::CancellationToken;

use super::run::{Content, Daemon};
use crate::cli::DemoArgs;
use crate::config::{Config, ConnectorSettings};
use crate::engine::stop_on_signals;
use crate::output::note;
use feed::Feed;
use story::Narrator;

/// Marks a folder as the demo's own, so that `--fresh` never removes anything else.
const MARK: &str = ".asterism-demo";

/// Tokens of the simulated EDR and the simulated Graph, which guard nothing.
const EDR_TOKEN: &str = "edr.token";
const GRAPH_TOKEN: &str = "graph.token";

/// What the demo lets the engine do by itself: isolate workstations, never servers, and end sessions. To disable an
/// account, delete a message or take rights back, it asks.
const POLICY: &str = r#"
automation = "semi"
groups = [{ name = "workstations", names = { device = ["ws-*"] }, automation = "full" }]
"#;

pub(crate) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    prepare(&args.data_dir, args.fresh)?;
    let stopping = CancellationToken::new();
    stop_on_signals(stopping.clone())?;
    let edr = edr(&args).await?;
    let graph = graph(&args).await?;
    let config = config(&args, &edr, &graph)?;
    let content = Content::load(&config)?;
    let daemon = Daemon::start(config, content, stopping.clone()).await?;
    welcome(&daemon, &edr, &graph, &args);
    let state = daemon.state().clone();
    let feed = Feed::open(&args, daemon.journal().clone())?;
    let feeding = tokio::spawn(feed.run(stopping.clone()));
    let narrator = Narrator::new(state.clone(), Instant::now())?;
    let narrating = tokio::spawn(narrator.run(stopping.clone()));
    if let Some(duration) = args.duration {
        let stopping = stopping.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            stopping.cancel();
        });
    }
    daemon.wait().await?;
    let fed = feeding.await.context("bug: the feed panicked")??;
    narrating.await.context("bug: the narrator panicked")??;
    drop((edr, graph));
    story::summary(&state, &args.data_dir, fed)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes the data directory; `--fresh` empties it, if it is the demo's.
fn prepare(dir: &Path, fresh: bool) -> anyhow::Result<()> {
    let mark = dir.join(MARK);
    let occupied = dir.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if occupied && !mark.exists() {
        bail!("{} holds something that is not the demo's: choose another --data-dir", dir.display());
    }
    if fresh && occupied {
        std::fs::remove_dir_all(dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    std::fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))
}

/// The simulated EDR, which manages every machine of the company.
async fn edr(args: &DemoArgs) -> anyhow::Result<EdrSimulator> {
    let company = Company::new(CompanyOptions { seed: args.seed, ..CompanyOptions::default() });
    let machines = company.hosts().iter().map(|h| h.fqdn().to_owned()).collect();
    let state_file = Some(args.data_dir.join("edr.json"));
    let config = EdrConfig { machines, state_file, ..EdrConfig::default() };
    std::fs::write(args.data_dir.join(EDR_TOKEN), &config.token)?;
    EdrSimulator::start(config).await.context("the simulated EDR")
}

/// The simulated Graph, which holds every account of the company, and the mail and applications that it is asked for.
async fn graph(args: &DemoArgs) -> anyhow::Result<GraphSimulator> {
    let company = Company::new(CompanyOptions { seed: args.seed, ..CompanyOptions::default() });
    let users = company.people().iter().map(|person| person.upn().to_owned()).collect();
    let state_file = Some(args.data_dir.join("graph.json"));
    let config = GraphConfig { users, state_file, onboard_unknown: true, ..GraphConfig::default() };
    std::fs::write(args.data_dir.join(GRAPH_TOKEN), &config.token)?;
    GraphSimulator::start(config).await.context("the simulated Graph")
}

fn config(args: &DemoArgs, edr: &EdrSimulator, graph: &GraphSimulator) -> anyhow::Result<Config> {
    let mut config = Config::load(None)?;
    config.data_dir = args.data_dir.clone();
    config.api.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    config.respond.edr.url = edr.url();
    config.respond.edr.token_file = args.data_dir.join(EDR_TOKEN);
    config.respond.connectors = vec![ConnectorSettings {
        file: "microsoft_graph".into(),
        url: graph.url(),
        token_file: args.data_dir.join(GRAPH_TOKEN),
        ..ConnectorSettings::default()
    }];
    config.respond.policy = toml::from_str::<Policy>(POLICY).context("bug: the demo's policy")?;
    // The demo squeezes an hour into half a minute: checkpoints and idle partitions keep that pace.
    config.store.checkpoint_s = 3;
    config.ingest.idle_partition_s = 3;
    Ok(config)
}

fn welcome(daemon: &Daemon, edr: &EdrSimulator, graph: &GraphSimulator, args: &DemoArgs) {
    let resumed = progress_path(&args.data_dir).exists();
    let server = format!("http://{}", daemon.address());
    note(&format!("asterism demo: a simulated company feeds the journal in {}", args.data_dir.display()));
    note(&format!(
        "  API             {server}/api/v1/incidents   ({server}/api/v1/openapi.json describes it)"
    ));
    note(&format!("  live stream     curl -N {server}/api/v1/stream"));
    note(&format!("  incidents       asterism incidents list --server {server}"));
    note(&format!("  hunting         asterism hunt --server {server} 'SHOW TABLES'"));
    note(&format!(
        "  simulated EDR   curl -H 'Authorization: Bearer simulated-edr' {}/simulator/machines",
        edr.url()
    ));
    note(&format!("  simulated Graph curl {}/simulator/graph", graph.url()));
    note(&format!("  what waits      asterism actions list --state awaiting_approval --server {server}"));
    let how_long =
        args.duration.map_or("Ctrl-C stops it".to_owned(), |d| format!("It stops after {} s", d.as_secs()));
    let story = if resumed {
        "The company goes on where it was stopped; what it missed passes ninety times as fast."
    } else {
        "Three attacks hide in an ordinary morning; the last 45 minutes pass in half a minute."
    };
    note(&format!("{story} {how_long}.\n"));
}

/// Where the feed keeps how far it came.
fn progress_path(dir: &Path) -> PathBuf {
    dir.join("feed.json")
}

/// Where the feed writes which records are attack.
fn truth_path(dir: &Path) -> PathBuf {
    dir.join("truth.ndjson")
}

/// A clock-like pace for humans.
fn seconds(duration: Duration) -> String {
    format!("{:5.1}s", duration.as_secs_f64())
}
