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
  suppressions BLOB NOT NULL, -- state of alert suppression
  exceptions BLOB NOT NULL, -- what exceptions of overlays hid so far
  completeness BLOB NOT NULL -- the completeness ledger
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
  running INTEGER NOT NULL, -- 1: the window is not over, and what is said of it may change
  PRIMARY KEY (tenant, rule, alert)
) WITHOUT ROWID;

CREATE INDEX suppressions_running ON suppressions (tenant, rule, key) WHERE running = 1;

CREATE TABLE exceptions (
  tenant TEXT NOT NULL,
  exception TEXT NOT NULL, -- id of the entry of an overlay
  rule TEXT NOT NULL, -- whose matches it hides
  owner TEXT NOT NULL,
  reason TEXT NOT NULL,
  expires INTEGER NOT NULL,
  count INTEGER NOT NULL,
  first_time INTEGER NOT NULL,
  last_time INTEGER NOT NULL,
  PRIMARY KEY (tenant, exception, rule)
) WITHOUT ROWID;

-- Only what has a level; a risk that faded away is deleted.
CREATE TABLE entity_risk (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL, -- 'user:alice@contoso.com'
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  level INTEGER NOT NULL, -- 1 low, 2 medium, 3 high
  score INTEGER NOT NULL,
  as_of INTEGER NOT NULL,
  last_raised INTEGER NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);
CREATE INDEX entity_risk_score ON entity_risk (tenant, score, id);

CREATE TABLE suggestions (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  weight INTEGER NOT NULL, -- of the join, in millionths
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);
CREATE INDEX suggestions_weight ON suggestions (tenant, weight, id);

CREATE TABLE campaigns (
  tenant TEXT NOT NULL,
  id TEXT NOT NULL,
  first_time INTEGER NOT NULL,
  last_time INTEGER NOT NULL,
  body TEXT NOT NULL,
  UNIQUE (tenant, id)
);
CREATE INDEX campaigns_last_time ON campaigns (tenant, last_time, id);

CREATE TABLE completeness (
  tenant TEXT NOT NULL,
  start_time INTEGER NOT NULL, -- of an hour; 0 for what came when its hour was closed
  rule TEXT NOT NULL,
  evaluated INTEGER NOT NULL,
  late INTEGER NOT NULL,
  recomputed INTEGER NOT NULL,
  dropped INTEGER NOT NULL,
  complete INTEGER NOT NULL,
  PRIMARY KEY (tenant, start_time, rule)
) WITHOUT ROWID;
CREATE INDEX completeness_start ON completeness (start_time);

CREATE TABLE counters (
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL
) WITHOUT ROWID;
