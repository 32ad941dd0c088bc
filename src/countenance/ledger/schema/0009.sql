-- Acts after one that was read already, without a look at the calls between: processes that share the log ask for them.
CREATE INDEX log_acts_in_order ON log_acts (idx);
