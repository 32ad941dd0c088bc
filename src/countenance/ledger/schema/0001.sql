-- The log and what opens it, in the file and the transactions of the effects that it records.

-- idx is the position in the tree, from 0 and without gaps: the writer thread gives it inside the transaction.
CREATE TABLE log_leaves (
  idx  INTEGER PRIMARY KEY,
  leaf BLOB NOT NULL
) STRICT;

-- Complete tiles of 256 hashes (C2SP tlog-tiles). Derived from the leaves; `ledger fsck` compares.
CREATE TABLE log_tiles (
  level  INTEGER NOT NULL,
  n      INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  PRIMARY KEY (level, n)
) STRICT, WITHOUT ROWID;

-- Openings of the opaque leaves. An erased person section has its hash in the place of content and salt.
CREATE TABLE log_openings (
  idx             INTEGER PRIMARY KEY,
  request_id      TEXT NOT NULL,
  accounting      TEXT NOT NULL,            -- canonical JSON
  accounting_salt BLOB NOT NULL,
  person          TEXT,
  person_salt     BLOB,
  person_hash     BLOB,
  CHECK ((person IS NULL) = (person_salt IS NULL) AND (person IS NULL) = (person_hash IS NOT NULL))
) STRICT;

CREATE INDEX log_openings_by_request ON log_openings (request_id);

-- Signed checkpoints, as they were published.
CREATE TABLE log_checkpoints (
  size INTEGER PRIMARY KEY,
  note BLOB NOT NULL
) STRICT;

-- Keys that signed or sign for the origin; seeds wrapped under the master key.
CREATE TABLE log_keys (
  number  INTEGER PRIMARY KEY,
  origin  TEXT NOT NULL,
  wrapped BLOB NOT NULL
) STRICT;

-- Units charged by account, price group and UTC month: which tier the next call is in. Derived from the openings.
CREATE TABLE log_usage (
  account TEXT NOT NULL,
  price_group TEXT NOT NULL,
  month   TEXT NOT NULL,
  units   INTEGER NOT NULL,
  PRIMARY KEY (account, price_group, month)
) STRICT, WITHOUT ROWID;

-- Accounts whose entries may not be erased, and why.
CREATE TABLE log_holds (
  account TEXT PRIMARY KEY,
  reason  TEXT NOT NULL
) STRICT, WITHOUT ROWID;
