-- Keys lead with the tenant, so that a scan of one tenant never touches another's pages.
-- Bodies are the JSON of the event crate's types; columns beside them are what queries filter and sort by.

CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE alerts (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  time INTEGER NOT NULL,
  end_time INTEGER NOT NULL,
  severity INTEGER NOT NULL,
  domain TEXT NOT NULL,
  source TEXT NOT NULL,
  rule TEXT NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);
CREATE INDEX alerts_time ON alerts (tenant, time, id);

CREATE TABLE incidents (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  version INTEGER NOT NULL,
  status TEXT NOT NULL,
  severity INTEGER NOT NULL,
  score INTEGER NOT NULL,
  first_time INTEGER NOT NULL,
  last_time INTEGER NOT NULL,
  domains TEXT NOT NULL, -- ' email endpoint '
  assignee TEXT,
  sealed INTEGER NOT NULL,
  redirect_to TEXT,
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);
CREATE INDEX incidents_last_time ON incidents (tenant, last_time, id);
CREATE INDEX incidents_score ON incidents (tenant, score, id);
CREATE INDEX incidents_redirect ON incidents (tenant, redirect_to) WHERE redirect_to IS NOT NULL;

-- The primary key is the invariant: an alert is in one incident.
CREATE TABLE incident_alerts (
  tenant TEXT NOT NULL,
  alert TEXT NOT NULL,
  incident TEXT NOT NULL,
  PRIMARY KEY (tenant, alert)
) WITHOUT ROWID;
CREATE INDEX incident_alerts_incident ON incident_alerts (tenant, incident, alert);

CREATE TABLE actions (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  incident TEXT NOT NULL,
  verb TEXT NOT NULL,
  target TEXT NOT NULL,
  state TEXT NOT NULL,
  steps INTEGER NOT NULL, -- length of its history, which only grows
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);
CREATE INDEX actions_created ON actions (tenant, created_at, id);
CREATE INDEX actions_incident ON actions (tenant, incident);

CREATE TABLE effects (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  kind TEXT NOT NULL,
  target TEXT NOT NULL,
  state TEXT NOT NULL,
  expires_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);

CREATE TABLE audit (
  seq INTEGER NOT NULL,
  tenant TEXT NOT NULL,
  at INTEGER NOT NULL,
  kind TEXT NOT NULL,
  subject TEXT NOT NULL,
  hash TEXT NOT NULL,
  body TEXT NOT NULL,
  PRIMARY KEY (tenant, seq)
);

-- AUTOINCREMENT: a sequence number is never used twice, even after rows were trimmed.
CREATE TABLE outbox (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  kind TEXT NOT NULL,
  change TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL
);

CREATE TABLE sinks (
  name TEXT PRIMARY KEY,
  cursor INTEGER NOT NULL,
  skipped INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE dead_letters (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  topic TEXT NOT NULL,
  partition INTEGER NOT NULL,
  offset INTEGER NOT NULL,
  reason TEXT NOT NULL,
  message TEXT NOT NULL,
  payload BLOB NOT NULL,
  payload_bytes INTEGER NOT NULL, -- before the cap
  ingest_time INTEGER NOT NULL,
  UNIQUE (topic, partition, offset, reason, tenant)
);

CREATE TABLE analyst_inputs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);

CREATE TABLE snapshots (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  inputs_seq INTEGER NOT NULL,
  positions TEXT NOT NULL,
  correlator BLOB NOT NULL,
  windows BLOB NOT NULL, -- state of Sigma correlation rules
  suppressions BLOB NOT NULL -- state of alert suppression
);

CREATE TABLE suppressions (
  tenant TEXT NOT NULL,
  rule TEXT NOT NULL,
  alert TEXT NOT NULL, -- the one that passed
  key TEXT NOT NULL, -- JSON: pairs of a field and its value
  window_start INTEGER NOT NULL,
  window_end INTEGER NOT NULL,
  first_time INTEGER NOT NULL,
  last_time INTEGER NOT NULL,
  count INTEGER NOT NULL,
  samples TEXT NOT NULL, -- JSON: alert ids
  PRIMARY KEY (tenant, rule, alert)
) WITHOUT ROWID;

CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
