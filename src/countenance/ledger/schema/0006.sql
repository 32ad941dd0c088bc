-- What a recovery put back, and how many openings it could not, is said by its public leaf alone: `ledger fsck` rests on
-- nothing that could be written beside it.
DROP TABLE log_recoveries;
