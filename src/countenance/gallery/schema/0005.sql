-- What collections became from revision to revision, so that an index at one can be brought to the present without being
-- loaded anew, in another process or after a restart. A row is written in the transaction that makes its revision; it says
-- which ids to look at, and what they are is in the other tables. Old rows go: see gallery/changes.py.
CREATE TABLE collection_changes (
  uid      INTEGER NOT NULL,                -- no foreign key: a deleted collection's rows go in portions
  of_users INTEGER NOT NULL,                -- 0: revision of the references; 1: user_revision
  revision INTEGER NOT NULL,
  mark     BLOB NOT NULL,                   -- random: tells this revision from another one of the same number that a
                                            -- restored database had
  at       INTEGER NOT NULL,                -- microseconds since 1970, UTC
  erases   INTEGER NOT NULL,                -- whether ids in it are gone
  touched  BLOB,                            -- nonce, AES-256-GCM(ids of 16 bytes), tag; NULL: everything may be another
  PRIMARY KEY (uid, of_users, revision)
) STRICT, WITHOUT ROWID;
CREATE INDEX erasing_changes ON collection_changes (at) WHERE erases = 1;
