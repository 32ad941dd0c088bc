-- Which openings are of acts, by account: who granted what is asked at the first use of every key, and calls are many.
-- Derived from the openings. A table, as an index over JSON is refused while trusted_schema is off.
CREATE TABLE log_acts (
  account TEXT NOT NULL,
  idx     INTEGER NOT NULL,
  PRIMARY KEY (account, idx)
) STRICT, WITHOUT ROWID;

INSERT INTO log_acts (account, idx)
  SELECT json_extract(accounting, '$.account'), idx FROM log_openings WHERE json_extract(accounting, '$.kind') = 'act';
