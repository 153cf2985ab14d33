//! The command line: a contract that tests, benchmarks and users' scripts rely on.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, RangedU64ValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::api::CLASSIFICATIONS;

/// Open XDR: telemetry in, incidents out, guarded response.
#[derive(Debug, Parser)]
#[command(name = "asterism", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    /// More log lines on standard error (repeat for more); ASTERISM_LOG takes tracing filters
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Everything embedded: a simulated company under attack, the engine, the API
    #[command(after_help = "Example:\n  asterism demo --duration 2m --fresh")]
    Demo(DemoArgs),
    /// The daemon: reads Kafka topics (or the embedded journal) and serves the API
    #[command(
        after_help = "Example:\n  asterism run -c asterism.toml\n  asterism run --print-default-config > asterism.toml"
    )]
    Run(RunArgs),
    /// Evaluate rules over files; alerts as NDJSON on standard output, none stored
    #[command(
        after_help = "Example:\n  asterism detect --rules sigma/rules --source auto events.ndjson.zst | jq .rule_title"
    )]
    Detect(DetectArgs),
    /// Alerts or findings in, one line per alert with its incident out
    #[command(
        after_help = "Example:\n  asterism correlate --explain --incidents incidents.ndjson alerts.ndjson.gz"
    )]
    Correlate(CorrelateArgs),
    /// The whole path offline: files into a data directory
    #[command(
        after_help = "Example:\n  asterism replay --rules sigma/rules --data-dir /tmp/case events.ndjson.zst\n  asterism incidents list --data-dir /tmp/case"
    )]
    Replay(ReplayArgs),
    /// SQL over events, alerts, incidents and actions
    #[command(
        after_help = "Example:\n  asterism hunt --data-dir data 'SELECT device_hostname, process_cmd_line FROM process_activity LIMIT 10'\n  asterism hunt --data-dir data 'SHOW TABLES'"
    )]
    Hunt(HuntArgs),
    /// List, show and work incidents
    #[command(
        after_help = "Example:\n  asterism incidents list --data-dir data --severity high\n  asterism incidents show i-1234 --server http://127.0.0.1:8080"
    )]
    Incidents(IncidentsArgs),
    /// Users, devices and apps at risk, and what raised it
    #[command(after_help = "Example:\n  asterism risk --type user --level medium --data-dir data")]
    Risk(RiskArgs),
    /// List, approve, reject and undo actions
    #[command(
        after_help = "Example:\n  asterism actions list --state awaiting_approval\n  asterism actions approve c-1234 --comment 'confirmed with owner'"
    )]
    Actions(ActionsArgs),
    /// How far subscribers have come; deliver again, or go on after they were gone
    #[command(after_help = "Example:\n  asterism deliveries list\n  asterism deliveries resume soar")]
    Deliveries(DeliveriesArgs),
    /// Verify or export the audit chain of decisions
    #[command(after_help = "Example:\n  asterism audit verify --data-dir data")]
    Audit(AuditArgs),
    /// Check and list rules
    #[command(after_help = "Example:\n  asterism rules check sigma/rules")]
    Rules(RulesArgs),
    /// Simulated telemetry with known truth
    #[command(
        after_help = "Example:\n  asterism generate --seed 7 --events 100000 --scenario all --truth truth.ndjson --out telemetry/"
    )]
    Generate(GenerateArgs),
    /// A simulated provider of the demo as a process of its own (a test double)
    #[command(hide = true)]
    Simulator(SimulatorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Stop after this long (default: run until Ctrl-C)
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(crate) duration: Option<Duration>,
    /// Port of the API on 127.0.0.1; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Where the demo keeps its state; a second start resumes from it
    #[arg(long, default_value = "asterism-demo")]
    pub(crate) data_dir: PathBuf,
    /// Remove the demo's earlier state first
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Seed of the simulated company
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Records a second of real time, at least 1
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: u32,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Configuration file; every setting has a default
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the commented default configuration and exit
    #[arg(long)]
    pub(crate) print_default_config: bool,
    /// Check the configuration, rules and mappings, then exit
    #[arg(long)]
    pub(crate) check: bool,
}

/// How records are read: shared by every command that takes files.
#[derive(Debug, Args)]
pub(crate) struct InputArgs {
    /// Source kind of the records, `auto`, or `json` (any JSON object, every field native)
    #[arg(long, default_value = "auto", value_name = "KIND")]
    pub(crate) source: String,
    /// Directory with further mappings (repeatable)
    #[arg(long, value_name = "DIR")]
    pub(crate) mappings: Vec<PathBuf>,
    /// NDJSON files, optionally .gz or .zst; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// What changes rules while they are loaded.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RewriteArgs {
    /// Processing pipeline in pySigma's format (repeatable)
    #[arg(long = "pipeline", value_name = "FILE")]
    pub(crate) pipelines: Vec<PathBuf>,
    /// Values of placeholders (repeatable): YAML of names and lists, or any other file with a value a line, named as
    /// its placeholder
    #[arg(long, value_name = "FILE")]
    pub(crate) placeholders: Vec<PathBuf>,
    /// Rules disabled, patched, excepted or suppressed, with owner, reason and expiry (repeatable)
    #[arg(long = "overlay", value_name = "FILE")]
    pub(crate) overlays: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DetectArgs {
    /// Directory or file with Sigma rules (repeatable); `builtin` is the shipped pack
    #[arg(long, required = true, value_name = "DIR")]
    pub(crate) rules: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) rewrite: RewriteArgs,
    /// With `--source json`: the logsource of the records, which gates the rules
    #[arg(long, value_name = "product=..,category=..,service=..", value_parser = parse_logsource)]
    pub(crate) logsource: Vec<event::Logsource>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CorrelateArgs {
    /// Say for each alert why it is in its incident
    #[arg(long)]
    pub(crate) explain: bool,
    /// Also write the incidents, one JSON object a line
    #[arg(long, value_name = "FILE", value_parser = parse_file)]
    pub(crate) incidents: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Configuration as of `run`: policy, response rules, limits, and per file name its source kind and tenant
    /// (kafka.topics). Decides as the daemon would; nothing is executed
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Directory or file with Sigma rules (repeatable); `builtin` is the shipped pack [default: those of --config]
    #[arg(long, required_unless_present = "config", value_name = "DIR")]
    pub(crate) rules: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) rewrite: RewriteArgs,
    /// Data directory to fill; a file that is in it already, by name and content, changes nothing
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,
    /// Tenant of the records
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
    #[command(flatten)]
    pub(crate) input: InputArgs,
}

/// Where a command reads: a data directory, or a running server.
#[derive(Debug, Clone, Args)]
pub(crate) struct TargetArgs {
    /// Data directory of `run`, `replay` or `demo`
    #[arg(long, value_name = "DIR", conflicts_with = "server")]
    pub(crate) data_dir: Option<PathBuf>,
    // The client reads the environment: to clap a variable that is set would contradict --data-dir.
    /// Running server [env: ASTERISM_SERVER] [default: http://127.0.0.1:8080]
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// Bearer token of the server
    #[arg(long, value_name = "TOKEN", env = "ASTERISM_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Tenant
    #[arg(long, default_value = "default")]
    pub(crate) tenant: String,
}

impl TargetArgs {
    /// Who speaks: nobody is named where the server knows it by the token.
    pub(crate) fn speaker(&self, by: Option<&str>) -> Option<String> {
        let login = || match &self.token {
            Some(_) => None,
            None => std::env::var("USER").ok().or_else(|| Some("analyst".to_owned())),
        };
        by.map(str::to_owned).or_else(login)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Csv,
    Json,
    Ndjson,
    Parquet,
}

#[derive(Debug, Args)]
pub(crate) struct HuntArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Output format
    #[arg(long, default_value = "table")]
    pub(crate) format: Format,
    /// Most rows to return; 0 is unlimited (with --data-dir)
    #[arg(long, default_value_t = 10_000)]
    pub(crate) limit: usize,
    /// Give up after this long; with a server whole seconds, 1 to 100
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "TIME")]
    pub(crate) timeout: Duration,
    /// A SELECT; `-` reads it from standard input
    pub(crate) sql: String,
}

#[derive(Debug, Args)]
pub(crate) struct IncidentsArgs {
    #[command(subcommand)]
    pub(crate) command: IncidentsCommand,
}

/// The format of a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphFormat {
    /// Nodes, edges, cuts and the path, as the API has them
    Json,
    /// For Gephi, yEd, Cytoscape, NetworkX
    Graphml,
    /// A STIX 2.1 bundle
    Stix,
}

#[derive(Debug, Args)]
pub(crate) struct RiskArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// user, device or app; several with commas
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) types: Option<String>,
    /// Lowest level to list: low, medium or high
    #[arg(long)]
    pub(crate) level: Option<String>,
    /// Text in the name, another name, or what raised it
    #[arg(long, short, value_name = "TEXT")]
    pub(crate) query: Option<String>,
    /// Most entities to list, 1 to 1000
    #[arg(long, default_value_t = 50, value_parser = page_rows())]
    pub(crate) limit: usize,
    /// One JSON object a line, with all that raised it, instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// What relates incidents, of all or of one.
#[derive(Debug, Args)]
pub(crate) struct RelationArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Only those with this incident
    #[arg(long, value_name = "ID")]
    pub(crate) incident: Option<String>,
    /// Most to list, 1 to 1000
    #[arg(long, default_value_t = 50, value_parser = page_rows())]
    pub(crate) limit: usize,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IncidentsCommand {
    /// List incidents, most urgent first
    #[command(after_help = "Example:\n  asterism incidents list --status new,in_progress --severity high")]
    List {
        #[command(flatten)]
        target: TargetArgs,
        /// new, in_progress, closed or redirected; several with commas
        #[arg(long)]
        status: Option<String>,
        /// Lowest severity to list
        #[arg(long)]
        severity: Option<String>,
        /// Only incidents that touch this domain (repeatable: all of them)
        #[arg(long)]
        domain: Vec<String>,
        /// Most incidents to list, 1 to 1000
        #[arg(long, default_value_t = 50, value_parser = page_rows())]
        limit: usize,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one incident with its alerts in order
    #[command(after_help = "Example:\n  asterism incidents show i-1234 --server http://127.0.0.1:8080")]
    Show {
        #[command(flatten)]
        target: TargetArgs,
        /// Incident id
        id: String,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// The incident as a graph of alerts and entities: JSON, GraphML or STIX 2.1
    #[command(
        after_help = "Example:\n  asterism incidents graph i-1234 --path alice@contoso.example 203.0.113.9 | jq -r .path.text\n  asterism incidents graph i-1234 --format graphml > incident.graphml"
    )]
    Graph {
        #[command(flatten)]
        target: TargetArgs,
        /// Incident id
        id: String,
        /// What to write
        #[arg(long, value_enum, default_value_t = GraphFormat::Json)]
        format: GraphFormat,
        /// The shortest path between two alerts or entities, by id, name or value
        #[arg(long, num_args = 2, value_names = ["A", "B"])]
        path: Vec<String>,
    },
    /// What is planned for it, as a CACAO 2.0 playbook for other tools
    #[command(after_help = "Example:\n  asterism incidents playbook i-1234 > playbook.json")]
    Playbook {
        #[command(flatten)]
        target: TargetArgs,
        /// Incident id
        id: String,
    },
    /// Why two alerts belong together, or do not; without alerts: the joins of the incident
    #[command(after_help = "Example:\n  asterism incidents explain i-1234 a-56 a-78")]
    Explain {
        #[command(flatten)]
        target: TargetArgs,
        /// Incident id
        id: String,
        /// Two alert ids
        #[arg(num_args = 0..=2)]
        alerts: Vec<String>,
        /// One JSON object a line instead of text
        #[arg(long)]
        json: bool,
    },
    /// Put an analyst in charge
    #[command(after_help = "Example:\n  asterism incidents assign i-1234 anna")]
    Assign {
        #[command(flatten)]
        edit: EditArgs,
        /// Incident id
        id: String,
        /// The analyst's name; '' takes the assignment back
        to: String,
    },
    /// Close with a classification; effects that only this incident holds are released
    #[command(after_help = "Example:\n  asterism incidents close i-1234 --classification false_positive")]
    Close {
        #[command(flatten)]
        edit: EditArgs,
        /// Incident id
        id: String,
        /// What it turned out to be
        #[arg(long, default_value = "true_positive", value_parser = PossibleValuesParser::new(CLASSIFICATIONS))]
        classification: String,
    },
    /// Merge one incident into another
    #[command(after_help = "Example:\n  asterism incidents merge i-1234 i-5678")]
    Merge {
        #[command(flatten)]
        edit: EditArgs,
        /// Id of the incident that becomes part of the other
        from: String,
        /// Id of the other incident
        into: String,
    },
    /// Take alerts out of an incident into one of their own
    #[command(after_help = "Example:\n  asterism incidents split i-1234 a-56 a-78")]
    Split {
        #[command(flatten)]
        edit: EditArgs,
        /// Incident id
        id: String,
        /// Ids of the alerts that leave it
        #[arg(required = true)]
        alerts: Vec<String>,
    },
    /// Move alerts to another incident; both keep their ids
    #[command(after_help = "Example:\n  asterism incidents move i-1234 i-5678 a-56 a-78")]
    Move {
        #[command(flatten)]
        edit: EditArgs,
        /// Id of the incident they are in
        from: String,
        /// Id of the incident they belong to
        to: String,
        /// Ids of the alerts
        #[arg(required = true)]
        alerts: Vec<String>,
    },
    /// Veto a join: two alerts do not belong together, or two names are not those of one thing
    #[command(
        after_help = "Example:\n  asterism incidents veto i-1234 a-56 a-78\n  asterism incidents veto i-1234 --type user 'contoso\\alice' alice@fabrikam.com"
    )]
    Veto {
        #[command(flatten)]
        edit: EditArgs,
        /// Incident id
        id: String,
        /// Alert id, or a name
        a: String,
        /// Alert id, or another name
        b: String,
        /// The two are names of this type (user, device, ...), not alerts
        #[arg(long, value_name = "TYPE")]
        r#type: Option<String>,
    },
    /// What analysts said of an incident; the ids are what `undo` takes
    #[command(after_help = "Example:\n  asterism incidents inputs i-1234")]
    Inputs {
        #[command(flatten)]
        target: TargetArgs,
        /// Incident id
        id: String,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Undo a merge, split, move, veto, assignment, classification or closing, as if it had never been said
    #[command(after_help = "Example:\n  asterism incidents undo n-1234")]
    Undo {
        #[command(flatten)]
        edit: EditArgs,
        /// Id of the input, from `incidents inputs`
        input: String,
    },
    /// Merges that the engine does not do by itself, strongest join first
    #[command(after_help = "Example:\n  asterism incidents suggestions --data-dir data")]
    Suggestions(RelationArgs),
    /// Merge two incidents as suggested
    #[command(after_help = "Example:\n  asterism incidents accept s-1234 --into i-5678")]
    Accept {
        #[command(flatten)]
        edit: EditArgs,
        /// Suggestion id
        id: String,
        /// Which of the two incidents stays [default: that of the earlier alert]
        #[arg(long, value_name = "ID")]
        into: Option<String>,
    },
    /// Decide against a suggested merge: it is not suggested again
    #[command(after_help = "Example:\n  asterism incidents dismiss s-1234")]
    Dismiss {
        #[command(flatten)]
        edit: EditArgs,
        /// Suggestion id
        id: String,
    },
    /// Incidents that rare artefacts link over weeks, latest activity first
    #[command(after_help = "Example:\n  asterism incidents campaigns --data-dir data")]
    Campaigns(RelationArgs),
}

/// A change of an incident.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Who changes it [default: the login name, or whose token it is]
    #[arg(long)]
    by: Option<String>,
}

impl EditArgs {
    pub(crate) fn by(&self) -> Option<String> {
        self.target.speaker(self.by.as_deref())
    }
}

#[derive(Debug, Args)]
pub(crate) struct ActionsArgs {
    #[command(subcommand)]
    pub(crate) command: ActionsCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ActionsCommand {
    /// List actions, newest first
    #[command(after_help = "Example:\n  asterism actions list --state awaiting_approval")]
    List {
        #[command(flatten)]
        target: TargetArgs,
        /// Only this state (awaiting_approval, succeeded, ...); several with commas
        #[arg(long)]
        state: Option<String>,
        /// Most actions to list, 1 to 1000
        #[arg(long, default_value_t = 50, value_parser = page_rows())]
        limit: usize,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Show one action with its decision and history
    #[command(after_help = "Example:\n  asterism actions show c-1234")]
    Show {
        #[command(flatten)]
        target: TargetArgs,
        /// Action id
        id: String,
    },
    /// Approve waiting actions
    #[command(after_help = "Example:\n  asterism actions approve c-1234 --comment 'confirmed with owner'")]
    Approve(DecideArgs),
    /// Reject a waiting action
    #[command(after_help = "Example:\n  asterism actions reject c-1234 --comment 'planned test'")]
    Reject(DecideArgs),
    /// Cancel an action that has not finished
    #[command(after_help = "Example:\n  asterism actions cancel c-1234")]
    Cancel(DecideArgs),
    /// Take an action back
    #[command(after_help = "Example:\n  asterism actions undo c-1234 --comment 'host is clean'")]
    Undo(DecideArgs),
    /// Take back all that was done about an incident
    #[command(after_help = "Example:\n  asterism actions rollback i-1234 --dry-run")]
    Rollback {
        #[command(flatten)]
        target: TargetArgs,
        /// Incident id
        incident: String,
        #[command(flatten)]
        said: SaidArgs,
    },
    /// Stop every new effect, of all tenants or of one connector; what holds can still be taken back
    #[command(after_help = "Example:\n  asterism actions pause --comment 'wrong hosts isolated'\n  \
        asterism actions pause --connector okta --comment 'migration'")]
    Pause(PauseArgs),
    /// Let the response, or one connector, go on after a pause
    #[command(after_help = "Example:\n  asterism actions resume --comment 'rule corrected'")]
    Resume(PauseArgs),
    /// What rules in audit_only would have done, by rule: how often, on what
    #[command(after_help = "Example:\n  asterism actions report --data-dir data")]
    Report {
        #[command(flatten)]
        target: TargetArgs,
        /// Latest dry runs that are looked at, 1 to 1000
        #[arg(long, default_value_t = 1_000, value_parser = page_rows())]
        limit: usize,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// What does actions: connectors with their verbs, what they lack, and which are paused
    #[command(after_help = "Example:\n  asterism actions connectors")]
    Connectors {
        #[command(flatten)]
        target: TargetArgs,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// What can be done: verbs with their targets, risk, undo and arguments
    #[command(after_help = "Example:\n  asterism actions verbs")]
    Verbs {
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DeliveriesArgs {
    #[command(subcommand)]
    pub(crate) command: DeliveriesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveriesCommand {
    /// How far each subscriber has come, and what it refused
    #[command(after_help = "Example:\n  asterism deliveries list")]
    List {
        #[command(flatten)]
        target: TargetArgs,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Deliver to a subscriber once more
    #[command(after_help = "Example:\n  asterism deliveries replay soar --after 0")]
    Replay {
        #[command(flatten)]
        target: TargetArgs,
        /// Name of the webhook, or kafka
        sink: String,
        /// The changes after this sequence number, as far as they are still there
        #[arg(long, value_parser = clap::value_parser!(i64).range(0..))]
        after: i64,
    },
    /// Try a webhook again that has said that it is gone (410)
    #[command(after_help = "Example:\n  asterism deliveries resume soar")]
    Resume {
        #[command(flatten)]
        target: TargetArgs,
        /// Name of the webhook
        sink: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DecideArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Action ids; several must have one verb
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) said: SaidArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// One connector alone: its name, as `asterism actions connectors` tells it
    #[arg(long, value_name = "NAME")]
    pub(crate) connector: Option<String>,
    /// Why; goes into the audit chain
    #[arg(long, default_value = "")]
    pub(crate) comment: String,
    /// Who decides [default: the login name, or whose token it is]
    #[arg(long)]
    pub(crate) by: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SaidArgs {
    /// Why; goes into the audit chain
    #[arg(long, default_value = "")]
    pub(crate) comment: String,
    /// Who decides [default: the login name, or whose token it is]
    #[arg(long)]
    pub(crate) by: Option<String>,
    /// Only say what would change
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) command: AuditCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// The hash chain holds, or its first broken record
    #[command(after_help = "Example:\n  asterism audit verify --data-dir data")]
    Verify {
        #[command(flatten)]
        target: TargetArgs,
    },
    /// Every entry, one JSON object a line
    #[command(after_help = "Example:\n  asterism audit export --data-dir data > audit.ndjson")]
    Export {
        #[command(flatten)]
        target: TargetArgs,
        /// What to write
        #[arg(long, value_enum, default_value_t = AuditFormat::Json)]
        format: AuditFormat,
    },
}

/// The format of the audit chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuditFormat {
    /// The entries as they are chained
    Json,
    /// OCSF Remediation Activities (7001), each with its entry under `unmapped.audit`
    Ocsf,
}

#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    pub(crate) command: RulesCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum RulesCommand {
    /// Load report: per rule ok or rejected with the reason; which source kinds feed each logsource
    #[command(after_help = "Example:\n  asterism rules check sigma/rules")]
    Check {
        /// Directories or files; `builtin` is the shipped pack
        #[arg(required = true)]
        rules: Vec<PathBuf>,
        #[command(flatten)]
        rewrite: RewriteArgs,
        /// Directory with further mappings (repeatable)
        #[arg(long)]
        mappings: Vec<PathBuf>,
        /// Every rule, not only the rejected ones
        #[arg(long)]
        all: bool,
    },
    /// The loaded rules, one JSON object a line
    #[command(after_help = "Example:\n  asterism rules list builtin | jq -r .title")]
    List {
        /// Directories or files; `builtin` is the shipped pack
        #[arg(required = true)]
        rules: Vec<PathBuf>,
        #[command(flatten)]
        rewrite: RewriteArgs,
    },
    /// What became of every hour of event time under every rule: evaluated, late, recomputed, dropped
    #[command(after_help = "Example:\n  asterism rules completeness --data-dir data --faulty")]
    Completeness {
        #[command(flatten)]
        target: TargetArgs,
        /// Only this rule
        #[arg(long, value_name = "ID")]
        rule: Option<String>,
        /// Only hours in which something came late, was recomputed or dropped
        #[arg(long)]
        faulty: bool,
        /// Most hours to list, 1 to 1000
        #[arg(long, default_value_t = 50, value_parser = page_rows())]
        limit: usize,
        /// One JSON object a line instead of a table
        #[arg(long)]
        json: bool,
    },
    /// Why a rule did or did not match the events of a file
    #[command(
        after_help = "Example:\n  asterism rules explain --rules sigma/rules --rule 3d304fda events.ndjson"
    )]
    Explain {
        /// Directory or file with the rule
        #[arg(long, required = true)]
        rules: Vec<PathBuf>,
        #[command(flatten)]
        rewrite: RewriteArgs,
        /// Rule id, or its first 8 characters and more
        #[arg(long, value_name = "ID")]
        rule: String,
        #[command(flatten)]
        input: InputArgs,
    },
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// The same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Number of records
    #[arg(long, default_value_t = 100_000)]
    pub(crate) events: u64,
    /// Scenario (repeatable): phishing_to_cloud, business_email_compromise, password_spray, benign, all
    #[arg(long, default_value = "all")]
    pub(crate) scenario: Vec<String>,
    /// Write what is attack: one line per attack record with its story and step
    #[arg(long, value_name = "FILE", value_parser = parse_file)]
    pub(crate) truth: Option<PathBuf>,
    /// Users of the company
    #[arg(long, default_value_t = 300)]
    pub(crate) users: usize,
    /// Event time of the first record
    #[arg(long, default_value = "2026-03-02T07:00:00Z")]
    pub(crate) start: String,
    #[command(flatten)]
    pub(crate) sink: SinkArgs,
    /// Client settings for Kafka, such as TLS and SASL: kafka.settings and kafka.secret_files of this configuration
    #[arg(short, long, value_name = "FILE", requires = "kafka")]
    pub(crate) config: Option<PathBuf>,
}

/// Where generated records go: one of the two.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SinkArgs {
    /// Directory for one NDJSON file a topic
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,
    /// Kafka bootstrap servers; records go to topics of the source's name
    #[arg(long, value_name = "BROKERS")]
    pub(crate) kafka: Option<String>,
}

/// What is simulated.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum SimulatedProvider {
    /// Machine actions
    Edr,
    /// Accounts, mail and applications
    Graph,
    /// Hosts, tags and indicators; knows the client `asterism` with the secret `simulated-falcon`
    Falcon,
    /// Accounts and sessions
    Okta,
}

#[derive(Debug, Args)]
pub(crate) struct SimulatorArgs {
    /// Which provider
    pub(crate) provider: SimulatedProvider,
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Keep state here, so that a restart remembers
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
    /// Write the bound address here once listening
    #[arg(long)]
    pub(crate) address_file: Option<PathBuf>,
}

/// How many rows one page of the API may have.
fn page_rows() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=1_000)
}

/// A file to write; standard output has the data.
fn parse_file(text: &str) -> Result<PathBuf, String> {
    if text == "-" {
        return Err("name a file: standard output is taken".to_owned());
    }
    Ok(PathBuf::from(text))
}

/// `90s`, `10m`, `2h`, `1d`, `500ms`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no duration (90s, 10m, 2h, 1d)"))?;
    let seconds = match unit {
        "ms" => number / 1_000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3_600.0,
        "d" => number * 86_400.0,
        _ => return Err(format!("unknown unit {unit:?} (ms, s, m, h, d)")),
    };
    Duration::try_from_secs_f64(seconds).map_err(|e| e.to_string())
}

/// `product=windows,category=process_creation`.
fn parse_logsource(text: &str) -> Result<event::Logsource, String> {
    let mut logsource = event::Logsource::default();
    for pair in text.split(',').filter(|p| !p.trim().is_empty()) {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("{pair:?} is no key=value"))?;
        let value = Some(value.trim().to_ascii_lowercase().into());
        match key.trim() {
            "product" => logsource.product = value,
            "category" => logsource.category = value,
            "service" => logsource.service = value,
            other => return Err(format!("unknown key {other:?} (product, category, service)")),
        }
    }
    Ok(logsource)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse_duration("5 parsecs").is_err());
        assert!(parse_duration("").is_err());
    }

    #[test]
    fn every_command_has_an_example() {
        use clap::CommandFactory;
        check_examples(&Cli::command(), "asterism");
    }

    fn refused(args: &[&str]) -> String {
        let args = ["asterism"].iter().chain(args);
        Cli::try_parse_from(args).expect_err("wrong usage").to_string()
    }

    #[test]
    fn wrong_values_are_refused_with_those_that_are_right() {
        let close = refused(&["incidents", "close", "i-1", "--classification", "foo"]);
        assert!(CLASSIFICATIONS.iter().all(|known| close.contains(known)), "{close}");
        let rate = refused(&["demo", "--rate", "0"]);
        assert!(rate.contains("--rate") && rate.contains("1.."), "{rate}");
        let limit = refused(&["actions", "list", "--limit", "0"]);
        assert!(limit.contains("--limit") && limit.contains("1..=1000"), "{limit}");
        let incidents = refused(&["correlate", "--incidents", "-", "alerts.ndjson"]);
        assert!(incidents.contains("--incidents") && incidents.contains("name a file"), "{incidents}");
        let sink = refused(&["generate"]);
        assert!(sink.contains("--out") && sink.contains("--kafka"), "{sink}");
        let both = refused(&["generate", "--out", "d", "--kafka", "b:9092"]);
        assert!(both.contains("cannot be used with"), "{both}");
    }

    /// What an option or argument is for stands in the help.
    #[test]
    fn every_argument_is_described() {
        use clap::CommandFactory;
        check_described(&Cli::command(), "asterism");
    }

    fn check_described(of: &clap::Command, path: &str) {
        for argument in of.get_arguments() {
            assert!(argument.get_help().is_some(), "{path}: {} has no text", argument.get_id());
        }
        for command in of.get_subcommands().filter(|c| !c.is_hide_set()) {
            check_described(command, &format!("{path} {}", command.get_name()));
        }
    }

    fn check_examples(of: &clap::Command, path: &str) {
        for command in of.get_subcommands().filter(|c| !c.is_hide_set()) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Example:") && help.contains(&path), "{path} has no example");
            check_examples(command, &path);
        }
    }
}
