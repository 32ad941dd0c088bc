-- The enrolment database. Templates and collection keys are sealed; everything else is in the clear.

-- A collection's uid is never given twice, so nothing sealed for one can be mistaken for another's.
CREATE TABLE collections (
  uid           INTEGER PRIMARY KEY AUTOINCREMENT,
  account_id    TEXT NOT NULL,
  collection_id TEXT NOT NULL,
  model_version TEXT NOT NULL,
  dimension     INTEGER NOT NULL,
  created_at    INTEGER NOT NULL,           -- microseconds since 1970, UTC
  face_count    INTEGER NOT NULL DEFAULT 0,
  next_seq      INTEGER NOT NULL DEFAULT 1, -- order of enrolment inside the collection
  revision      INTEGER NOT NULL DEFAULT 0, -- grows with every change of its references
  UNIQUE (account_id, collection_id)
) STRICT;

CREATE INDEX collections_of_account ON collections (account_id);

-- One wrapped key per collection that ever was. A row is appended, and overwritten with zeros of the same
-- length when its collection is deleted, but never removed: then SQLite never moves a key between pages, and
-- destroying one does not depend on what becomes of the bytes where a moved row used to be.
CREATE TABLE collection_keys (
  uid     INTEGER PRIMARY KEY,
  wrapped BLOB NOT NULL
) STRICT;

CREATE TABLE collection_tags (
  uid   INTEGER NOT NULL REFERENCES collections (uid) ON DELETE CASCADE,
  name  TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (uid, name)
) STRICT, WITHOUT ROWID;

-- ref_id = collection uid * 2^36 + seq: the references of a collection lie together and in order.
CREATE TABLE enrolled_references (
  ref_id               INTEGER PRIMARY KEY,
  uid                  INTEGER NOT NULL,    -- no foreign key: a deleted collection's rows go in portions
  face_id              BLOB NOT NULL,       -- 16 bytes
  image_id             BLOB NOT NULL,       -- 16 bytes
  external_image_id    TEXT,
  box_left             REAL NOT NULL,
  box_top              REAL NOT NULL,
  box_width            REAL NOT NULL,
  box_height           REAL NOT NULL,
  detection_confidence REAL NOT NULL,
  enrolled_at          INTEGER NOT NULL,    -- microseconds since 1970, UTC
  template             BLOB NOT NULL        -- nonce, AES-256-GCM(fp16 features, little-endian), tag
) STRICT;

CREATE UNIQUE INDEX references_by_face ON enrolled_references (uid, face_id);
CREATE INDEX references_by_image ON enrolled_references (uid, image_id);

-- Deleted collections whose rows are still to be removed; their keys are gone already.
CREATE TABLE erasures (
  uid INTEGER PRIMARY KEY
) STRICT;

-- Sealed with the master key when the gallery was made, so that another master key is noticed at the start.
CREATE TABLE gallery_master_check (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  wrapped  BLOB NOT NULL
) STRICT;
