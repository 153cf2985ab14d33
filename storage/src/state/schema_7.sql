-- What correlation rules and joins hold has another form: state of the old one is let go, and the log is read again from
-- its beginning. What the lake and the tables have already is known there.
DELETE FROM snapshots;
