-- Who may call. An account owns collections and access keys; secrets and the account's id key are stored
-- encrypted under the master key (AES-256-GCM), bound to the row they belong to.
CREATE TABLE account (
    account_id   TEXT PRIMARY KEY CHECK (length(account_id) = 12),
    name         TEXT NOT NULL,
    is_owner     INTEGER NOT NULL DEFAULT 0,
    id_key       BLOB NOT NULL,
    created_at   INTEGER NOT NULL             -- microseconds since 1970-01-01 UTC
) STRICT;
CREATE UNIQUE INDEX account_one_owner ON account (is_owner) WHERE is_owner = 1;

CREATE TABLE access_key (
    access_key_id TEXT PRIMARY KEY,
    account_id    TEXT NOT NULL REFERENCES account (account_id),
    purpose       TEXT NOT NULL,
    holder        TEXT NOT NULL,
    secret        BLOB NOT NULL,
    created_at    INTEGER NOT NULL,
    revoked_at    INTEGER
) STRICT;
CREATE INDEX access_key_by_account ON access_key (account_id);

CREATE TABLE bucket_grant (
    account_id TEXT NOT NULL REFERENCES account (account_id),
    bucket     TEXT NOT NULL,
    granted_at INTEGER NOT NULL,
    PRIMARY KEY (account_id, bucket)
) STRICT, WITHOUT ROWID;
