-- RFC 3161 timestamps over checkpoints: the note exactly as it was stamped, and the authority's whole answer.
CREATE TABLE log_timestamps (
  size      INTEGER PRIMARY KEY,
  note      BLOB NOT NULL,
  answer    BLOB NOT NULL,
  stamped_at INTEGER NOT NULL           -- genTime, microseconds since 1970
) STRICT;
