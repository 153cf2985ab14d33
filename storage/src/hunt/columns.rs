//! The tables of the state database as hunters see them: each column, its type, and the SQLite expression behind it.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use event::entity_list_type;

/// A table of the state database.
#[derive(Debug)]
pub(super) struct TableSpec {
    pub(super) name: &'static str,
    /// What follows `FROM`; must have a column `tenant`.
    pub(super) from: &'static str,
    pub(super) columns: &'static [ColumnSpec],
}

/// A column: name, type, expression.
#[derive(Debug)]
pub(super) struct ColumnSpec {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) sql: &'static str,
}

/// How a SQLite value becomes an Arrow value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Bool,
    /// Microseconds since the epoch.
    Time,
    /// The number of a class, as its name.
    ClassName,
    /// A JSON list of texts.
    Texts,
    /// A JSON list of entities, or of pairs of an entity and a number.
    Entities,
    /// A JSON list of places in the log.
    Records,
}

impl Kind {
    pub(super) fn arrow(self) -> DataType {
        match self {
            Text | ClassName => DataType::Utf8View,
            Int => DataType::Int64,
            Bool => DataType::Boolean,
            Time => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Texts => DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))),
            Entities => entity_list_type(),
            Records => DataType::List(Arc::new(Field::new("item", record_type(), false))),
        }
    }
}

fn record_type() -> DataType {
    let fields = [("topic", DataType::Utf8View), ("partition", DataType::Int64), ("offset", DataType::Int64)];
    DataType::Struct(fields.into_iter().map(|(name, kind)| Field::new(name, kind, false)).collect())
}

impl TableSpec {
    pub(super) fn schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|c| Field::new(c.name, c.kind.arrow(), true));
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }
}

const fn c(name: &'static str, kind: Kind, sql: &'static str) -> ColumnSpec {
    ColumnSpec { name, kind, sql }
}

use Kind::{Bool, ClassName, Entities, Int, Records, Text, Texts, Time};

/// Every table of the state database that hunters see.
pub(super) const STATE_TABLES: &[TableSpec] = &[
    TableSpec { name: "alerts", from: "alerts t", columns: ALERTS },
    TableSpec { name: "incidents", from: "incidents t", columns: INCIDENTS },
    TableSpec { name: "incident_alerts", from: "incident_alerts t", columns: INCIDENT_ALERTS },
    TableSpec { name: "entity_risk", from: "entity_risk t", columns: ENTITY_RISK },
    TableSpec { name: "actions", from: "actions t", columns: ACTIONS },
    TableSpec { name: "effects", from: "effects t", columns: EFFECTS },
    TableSpec { name: "audit", from: "audit t", columns: AUDIT },
    TableSpec { name: "suppressions", from: "suppressions t", columns: SUPPRESSIONS },
    TableSpec { name: "exceptions", from: "exceptions t", columns: EXCEPTIONS },
    TableSpec { name: "suggestions", from: "suggestions t", columns: SUGGESTIONS },
    TableSpec { name: "campaigns", from: "campaigns t", columns: CAMPAIGNS },
    TableSpec { name: "analyst_inputs", from: "analyst_inputs t", columns: ANALYST_INPUTS },
    TableSpec { name: "completeness", from: "completeness t", columns: COMPLETENESS },
    TableSpec { name: "dead_letters", from: "dead_letters t", columns: DEAD_LETTERS },
];

const ALERTS: &[ColumnSpec] = &[
    c("time", Time, "t.time"),
    c("end_time", Time, "t.end_time"),
    c("tenant", Text, "t.tenant"),
    c("id", Text, "t.id"),
    c(
        "incident_id",
        Text,
        "(SELECT m.incident FROM incident_alerts m WHERE m.tenant = t.tenant AND m.alert = t.id)",
    ),
    c("title", Text, "t.title"),
    c("severity_id", Int, "t.severity"),
    c("severity", Text, "t.body ->> '$.severity'"),
    c("domain", Text, "t.domain"),
    c("rule_id", Text, "t.rule"),
    c("rule_title", Text, "t.body ->> '$.rule.title'"),
    c("rule_author", Text, "t.body ->> '$.rule.author'"),
    c("product", Text, "t.body ->> '$.product'"),
    c("source", Text, "t.source"),
    c("class", ClassName, "t.body ->> '$.class'"),
    c("event_uid", Text, "t.body ->> '$.event_uid'"),
    c(
        "tactics",
        Texts,
        "(SELECT json_group_array(value ->> '$.tactic') FROM json_each(t.body, '$.attack') WHERE value ->> '$.tactic' IS NOT NULL)",
    ),
    c(
        "techniques",
        Texts,
        "(SELECT json_group_array(value ->> '$.technique') FROM json_each(t.body, '$.attack') WHERE value ->> '$.technique' IS NOT NULL)",
    ),
    c("entities", Entities, "t.body -> '$.entities'"),
    c("records", Records, "t.body -> '$.records'"),
    c("evidence", Text, "t.body -> '$.evidence'"),
];

const INCIDENTS: &[ColumnSpec] = &[
    c("first_time", Time, "t.first_time"),
    c("last_time", Time, "t.last_time"),
    c("tenant", Text, "t.tenant"),
    c("id", Text, "t.id"),
    c("title", Text, "t.body ->> '$.title'"),
    c("summary", Text, "t.body ->> '$.summary'"),
    c("status", Text, "t.status"),
    c("severity_id", Int, "t.severity"),
    c("severity", Text, "t.body ->> '$.severity'"),
    c("score", Int, "t.score"),
    c("confidence", Int, "t.body ->> '$.confidence'"),
    c("alert_count", Int, "json_array_length(t.body, '$.alerts')"),
    c("priority", Text, "t.body -> '$.priority'"),
    c("assets", Text, "t.body -> '$.assets'"),
    c("blast_radius", Text, "t.body -> '$.blast_radius'"),
    c("timeline", Text, "t.body -> '$.timeline'"),
    c("domains", Texts, "t.body -> '$.domains'"),
    c("tactics", Texts, "t.body -> '$.tactics'"),
    c("techniques", Texts, "t.body -> '$.techniques'"),
    c("entities", Entities, "t.body -> '$.entities'"),
    c("sealed", Bool, "t.sealed"),
    c("assignee", Text, "t.assignee"),
    c("classification", Text, "t.body ->> '$.classification'"),
    c("redirect_to", Text, "t.redirect_to"),
    c("links", Texts, "(SELECT json_group_array(value ->> '$.incident') FROM json_each(t.body, '$.links'))"),
    c("version", Int, "t.version"),
];

const INCIDENT_ALERTS: &[ColumnSpec] =
    &[c("tenant", Text, "t.tenant"), c("incident_id", Text, "t.incident"), c("alert_id", Text, "t.alert")];

const ENTITY_RISK: &[ColumnSpec] = &[
    c("as_of", Time, "t.as_of"),
    c("tenant", Text, "t.tenant"),
    c("type", Text, "t.type"),
    c("name", Text, "t.name"),
    c("level_id", Int, "t.level"),
    c("level", Text, "t.body ->> '$.level'"),
    c("score", Int, "t.score"),
    c("last_raised", Time, "t.last_raised"),
    c("aliases", Texts, "t.body -> '$.aliases'"),
    c("raised_by", Text, "t.body -> '$.raised_by'"),
];

const ACTIONS: &[ColumnSpec] = &[
    c("created_at", Time, "t.created_at"),
    c("expires_at", Time, "t.expires_at"),
    c("tenant", Text, "t.tenant"),
    c("id", Text, "t.id"),
    c("incident_id", Text, "t.incident"),
    c("verb", Text, "t.verb"),
    c("target", Text, "t.target"),
    c("state", Text, "t.state"),
    c("risk", Text, "t.body ->> '$.risk'"),
    c("rule", Text, "t.body ->> '$.decision.rule'"),
    c("automation", Text, "t.body ->> '$.decision.automation'"),
    c("outcome", Text, "t.body ->> '$.decision.outcome'"),
    c("reasons", Texts, "t.body -> '$.decision.reasons'"),
    c(
        "approved_by",
        Texts,
        "(SELECT json_group_array(value ->> '$.by') FROM json_each(t.body, '$.approvals') WHERE value ->> '$.approved')",
    ),
    c("provider_ref", Text, "t.body ->> '$.provider_ref'"),
    c("attempts", Int, "t.body ->> '$.attempts'"),
    c("history", Text, "t.body -> '$.history'"),
];

const EFFECTS: &[ColumnSpec] = &[
    c("updated_at", Time, "t.updated_at"),
    c("expires_at", Time, "t.expires_at"),
    c("tenant", Text, "t.tenant"),
    c("id", Text, "t.id"),
    c("kind", Text, "t.kind"),
    c("target", Text, "t.target"),
    c("state", Text, "t.state"),
    c("holders", Texts, "(SELECT json_group_array(value ->> '$.by') FROM json_each(t.body, '$.holders'))"),
];

const AUDIT: &[ColumnSpec] = &[
    c("at", Time, "t.at"),
    c("tenant", Text, "t.tenant"),
    c("seq", Int, "t.seq"),
    c("kind", Text, "t.kind"),
    c("subject", Text, "t.subject"),
    c("hash", Text, "t.hash"),
    c("body", Text, "t.body"),
];

const SUPPRESSIONS: &[ColumnSpec] = &[
    c("time", Time, "t.window_start"),
    c("end_time", Time, "t.window_end"),
    c("tenant", Text, "t.tenant"),
    c("rule_id", Text, "t.rule"),
    c("alert_id", Text, "t.alert"),
    c("key", Text, "t.key"),
    c("first_time", Time, "t.first_time"),
    c("last_time", Time, "t.last_time"),
    c("count", Int, "t.count"),
    c("samples", Texts, "t.samples"),
    c("running", Bool, "t.running"),
];

const EXCEPTIONS: &[ColumnSpec] = &[
    c("time", Time, "t.first_time"),
    c("end_time", Time, "t.last_time"),
    c("tenant", Text, "t.tenant"),
    c("exception_id", Text, "t.exception"),
    c("rule_id", Text, "t.rule"),
    c("owner", Text, "t.owner"),
    c("reason", Text, "t.reason"),
    c("expires", Time, "t.expires"),
    c("count", Int, "t.count"),
];

const SUGGESTIONS: &[ColumnSpec] = &[
    c("tenant", Text, "t.tenant"),
    c("id", Text, "t.id"),
    c("incident_a", Text, "t.body ->> '$.a'"),
    c("incident_b", Text, "t.body ->> '$.b'"),
    c("guard", Text, "t.body ->> '$.guard'"),
    c("because", Text, "t.body ->> '$.because'"),
    c("alert_a", Text, "t.body ->> '$.join.a'"),
    c("alert_b", Text, "t.body ->> '$.join.b'"),
    c("weight_ppm", Int, "t.weight"),
];

const CAMPAIGNS: &[ColumnSpec] = &[
    c("first_time", Time, "t.first_time"),
    c("last_time", Time, "t.last_time"),
    c("tenant", Text, "t.tenant"),
    c("id", Text, "t.id"),
    c("incidents", Texts, "t.body -> '$.incidents'"),
    c(
        "artefacts",
        Texts,
        "(SELECT json_group_array((value ->> '$.type') || ':' || (value ->> '$.value')) FROM json_each(t.body, '$.artefacts'))",
    ),
];

const ANALYST_INPUTS: &[ColumnSpec] = &[
    c("at", Time, "t.at"),
    c("tenant", Text, "t.tenant"),
    c("id", Text, "t.id"),
    c("by", Text, "t.body ->> '$.by'"),
    c("kind", Text, "t.body ->> '$.said.kind'"),
    c("said", Text, "t.body -> '$.said'"),
    c("alerts", Texts, "t.body -> '$.alerts'"),
];

const COMPLETENESS: &[ColumnSpec] = &[
    c("start_time", Time, "t.start_time"),
    c("tenant", Text, "t.tenant"),
    c("rule_id", Text, "t.rule"),
    c("evaluated", Int, "t.evaluated"),
    c("late", Int, "t.late"),
    c("recomputed", Int, "t.recomputed"),
    c("dropped", Int, "t.dropped"),
    c("complete", Bool, "t.complete"),
];

const DEAD_LETTERS: &[ColumnSpec] = &[
    c("ingest_time", Time, "t.ingest_time"),
    c("tenant", Text, "t.tenant"),
    c("topic", Text, "t.topic"),
    c("partition", Int, "t.partition"),
    c("offset", Int, "t.offset"),
    c("reason", Text, "t.reason"),
    c("message", Text, "t.message"),
    c("payload", Text, "t.payload"),
    c("payload_bytes", Int, "t.payload_bytes"),
];
