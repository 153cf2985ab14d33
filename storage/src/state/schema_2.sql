-- What is correlated has another form: state of the old one is let go, and the log is read again from its beginning. What
-- the lake and the tables have already is known there.
DROP TABLE snapshots;
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

-- 1: the window is not over, and what is said of it may change
ALTER TABLE suppressions ADD COLUMN running INTEGER NOT NULL DEFAULT 0;
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
