-- Denied calls that two operators can approve, for processes that share the database: who approves may be at another
-- than the one that denied. By digests of what was asked for; nothing of the images.
CREATE TABLE awaited_call (
  number  INTEGER PRIMARY KEY AUTOINCREMENT,
  id      TEXT NOT NULL UNIQUE,
  account TEXT NOT NULL,
  told    TEXT NOT NULL                     -- JSON: what two operators approve
) STRICT;
