-- Users: named sets of references of one person (Amazon's word for an enrolled subject). A reference belongs to one user
-- at most. What a user is compared by is computed from its references when an index is loaded, and is in no row.
ALTER TABLE collections ADD COLUMN user_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE collections ADD COLUMN next_user INTEGER NOT NULL DEFAULT 1;      -- order of creation inside the collection
ALTER TABLE collections ADD COLUMN user_revision INTEGER NOT NULL DEFAULT 0;  -- grows with every change of what users
                                                                              -- are compared by

CREATE TABLE collection_users (
  uid        INTEGER NOT NULL,
  seq        INTEGER NOT NULL,
  user_id    TEXT NOT NULL,
  created_at INTEGER NOT NULL,              -- microseconds since 1970, UTC
  PRIMARY KEY (uid, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX users_by_id ON collection_users (uid, user_id);

ALTER TABLE enrolled_references ADD COLUMN user_seq INTEGER;
CREATE INDEX references_of_user ON enrolled_references (uid, user_seq) WHERE user_seq IS NOT NULL;

-- Answers given under a client's token, for a day: the same call gets the same answer and changes nothing.
CREATE TABLE client_tokens (
  account_id TEXT NOT NULL,
  token      TEXT NOT NULL,
  asked      BLOB NOT NULL,                 -- SHA-256 of operation and parameters
  answer     TEXT NOT NULL,                 -- JSON
  at         INTEGER NOT NULL,              -- microseconds since 1970, UTC
  PRIMARY KEY (account_id, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX client_tokens_by_time ON client_tokens (at);
