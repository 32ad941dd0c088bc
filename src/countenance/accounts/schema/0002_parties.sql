-- Every row that grants something names the entry that granted it by its request id (PROOFS, section 7). What was there
-- before is given the one found in the log at the next start; without one it grants nothing.
ALTER TABLE account ADD COLUMN granted_by TEXT;
ALTER TABLE access_key ADD COLUMN granted_by TEXT;
ALTER TABLE bucket_grant ADD COLUMN granted_by TEXT;

-- Whom an account belongs to, as was declared. A later declaration is another version; earlier ones stay.
CREATE TABLE party (
    account_id  TEXT NOT NULL REFERENCES account (account_id),
    version     INTEGER NOT NULL CHECK (version > 0),
    recorded_at INTEGER NOT NULL,             -- microseconds since 1970-01-01 UTC
    content     TEXT NOT NULL,                -- canonical JSON
    granted_by  TEXT NOT NULL,
    PRIMARY KEY (account_id, version)
) STRICT, WITHOUT ROWID;
