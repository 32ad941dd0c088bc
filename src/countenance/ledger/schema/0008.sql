-- Secrets of the keys that maps of days are made with, wrapped under the master key; kept as long as openings, since
-- without one nobody can be shown a key of its days any more.
CREATE TABLE period_keys (
  origin  TEXT NOT NULL,
  day     TEXT NOT NULL,               -- from which on it is the key
  wrapped BLOB NOT NULL,
  PRIMARY KEY (origin, day)
) STRICT, WITHOUT ROWID;

-- Published maps: leaves of 64 octets, and the hashes above them, which proofs are cut from.
CREATE TABLE period_maps (
  origin   TEXT NOT NULL,
  day      TEXT NOT NULL,
  revision INTEGER NOT NULL,
  leaves   BLOB NOT NULL,
  tree     BLOB NOT NULL,
  PRIMARY KEY (origin, day, revision)
) STRICT;

-- What the latest map of a day commits to, by identifier. Derived from openings; goes with them.
CREATE TABLE period_usage (
  origin TEXT NOT NULL,
  day    TEXT NOT NULL,
  scheme TEXT NOT NULL,
  value  TEXT NOT NULL,
  calls  INTEGER NOT NULL,
  units  INTEGER NOT NULL,
  amount INTEGER NOT NULL,
  leaves TEXT NOT NULL,
  PRIMARY KEY (origin, day, scheme, value)
) STRICT, WITHOUT ROWID;

-- What monitors and auditors signed about this log, as it was handed in.
CREATE TABLE period_statements (
  sha256 TEXT PRIMARY KEY,
  origin TEXT NOT NULL,
  day    TEXT NOT NULL,                -- the last one that it is about
  note   BLOB NOT NULL
) STRICT, WITHOUT ROWID;
