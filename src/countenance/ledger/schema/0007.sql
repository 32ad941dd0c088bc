-- Which leaves are legible to everybody: at every start those about keys say which of them sign. Derived from the leaves;
-- a search takes it when it asks with these words.
CREATE INDEX log_public ON log_leaves (idx) WHERE substr(leaf, 1, 1) = x'7b';
