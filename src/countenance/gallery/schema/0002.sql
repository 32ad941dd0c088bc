-- Enrolling looks for what came from the same image under the same external image id, and reads nothing else.
DROP INDEX references_by_image;
CREATE INDEX references_by_image ON enrolled_references (uid, image_id, external_image_id);
