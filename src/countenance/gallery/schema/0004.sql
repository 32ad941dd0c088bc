-- Aligned crops of enrolled faces, where the operator opted in to keep them: what another model can make its features of.
-- Sealed under the collection's key and bound to the FaceId.
CREATE TABLE reference_crops (
  ref_id INTEGER PRIMARY KEY,
  crop   BLOB NOT NULL                      -- nonce, AES-256-GCM(what gallery/migrating.py packs), tag
) STRICT;

-- Templates of another model, on their way into a collection: nothing reads them until all are there.
CREATE TABLE staged_templates (
  ref_id        INTEGER PRIMARY KEY,
  model_version TEXT NOT NULL,
  template      BLOB NOT NULL               -- as in enrolled_references, bound to the other model version
) STRICT;

-- However a reference goes, what was made of the same face goes with it.
CREATE TRIGGER reference_gone AFTER DELETE ON enrolled_references BEGIN
  DELETE FROM reference_crops WHERE ref_id = OLD.ref_id;
  DELETE FROM staged_templates WHERE ref_id = OLD.ref_id;
END;
