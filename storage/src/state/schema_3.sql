-- Messages that a sink would not have; the outbox may have trimmed them since.
CREATE TABLE undelivered (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  sink TEXT NOT NULL,
  seq INTEGER NOT NULL,
  reason TEXT NOT NULL,
  UNIQUE (sink, seq)
);
