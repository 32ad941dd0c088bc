-- Leaves whose whole opening was erased after its floor: the retention entries must come to as many.
CREATE TABLE log_expired (
  idx INTEGER PRIMARY KEY
) STRICT;
