-- 'signing': the newest key. 'closing': signs checkpoints beside it, so that who knows only the older key can follow,
-- until it is 'retired'. 'lost': lost or stolen, signs nothing more; what it signed before is still recognised.
ALTER TABLE log_keys ADD COLUMN state TEXT NOT NULL DEFAULT 'signing'
  CHECK (state IN ('signing', 'closing', 'retired', 'lost'));

-- Runs of leaves that were put back by a recovery; openings of some of them are lost for good.
CREATE TABLE log_recoveries (
  first INTEGER PRIMARY KEY,
  size  INTEGER NOT NULL,
  lost  INTEGER NOT NULL
) STRICT;

-- Logs that ended here: size and root of the largest checkpoint known to have been signed. Their rows are in tables of
-- the same names with the prefix closedN_.
CREATE TABLE log_closed (
  number INTEGER PRIMARY KEY,
  origin TEXT NOT NULL,
  size   INTEGER NOT NULL,
  root   BLOB NOT NULL,
  reason TEXT NOT NULL
) STRICT;

-- Public entries that a recovery owes the log, written when it is opened next: canonical JSON without v and time.
CREATE TABLE log_owed (
  number  INTEGER PRIMARY KEY,
  content TEXT NOT NULL
) STRICT;
