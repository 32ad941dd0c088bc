-- How operators prove who they are. A row counts only while its hash is the one in the operator's latest act.
CREATE TABLE operator_credential (
  operator TEXT PRIMARY KEY,
  password TEXT NOT NULL,
  totp     BLOB NOT NULL
) STRICT;
