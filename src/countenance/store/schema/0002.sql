-- What was taken out for good, in order: the same lines as in the file beside the database, which backups leave out.
-- AUTOINCREMENT: a number is never given twice.
CREATE TABLE erased (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  what   TEXT NOT NULL
) STRICT;
