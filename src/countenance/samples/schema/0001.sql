-- Which images are kept, and the keys that open them. The images themselves are files beside the database, sealed.

-- Written in the transaction of the call's leaf, and removed in that of the leaf that says so.
CREATE TABLE samples (
  number     INTEGER PRIMARY KEY AUTOINCREMENT,
  account    TEXT NOT NULL,
  request_id TEXT NOT NULL UNIQUE,
  file       TEXT NOT NULL UNIQUE,          -- 32 random hexadecimal digits: says nothing about its content
  bytes      INTEGER NOT NULL,              -- of the image
  kept_at    INTEGER NOT NULL               -- microseconds since 1970, UTC
) STRICT;

CREATE INDEX samples_of_account ON samples (account, number);
CREATE INDEX samples_by_age ON samples (kept_at);

-- One wrapped key per sample that ever was; overwritten with zeros of the same length when the sample is erased and
-- never removed, as the gallery does with those of collections and for the same reason: SQLite then never moves a key.
CREATE TABLE sample_keys (
  number  INTEGER PRIMARY KEY,
  wrapped BLOB NOT NULL
) STRICT;
