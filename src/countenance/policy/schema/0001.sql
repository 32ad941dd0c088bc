-- Texts of policy sets by their hash; which of them is in force, acts of the log say. A row whose text has another hash
-- is as good as none.
CREATE TABLE policy_set (
  sha256 TEXT PRIMARY KEY,
  text   TEXT NOT NULL
) STRICT;
