-- What screenings were made of and found, statements of ownership, and lists of removed entries: each under its hash.
-- An act of the log names the hash; a document that no act names says nothing, and one that was altered is none.
CREATE TABLE standing_document (
  sha256  TEXT PRIMARY KEY,            -- of the content, hexadecimal
  content BLOB NOT NULL                -- canonical JSON
) STRICT, WITHOUT ROWID;
