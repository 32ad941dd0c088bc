"""Collections of two models beside each other: none is ever compared with the other's features, and both are there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.conformance.in_process import ScriptedEngine, code_of, service_in

FACES = {"Bytes": b"faces: 2"}


def test_collections_of_two_models_and_dimensions_live_beside_each_other(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    with service_in(tmp_path, engine) as house:
        house.ok("CreateCollection", {"CollectionId": "old"})
        indexed = house.ok("IndexFaces", {"CollectionId": "old", "Image": FACES, "ExternalImageId": "ann"})
        face_id = indexed["FaceRecords"][0]["Face"]["FaceId"]
        house.ok("CreateUser", {"CollectionId": "old", "UserId": "ann"})
        face = {"CollectionId": "old", "FaceIds": [face_id], "UserId": "ann", "UserMatchThreshold": 0}
        house.ok("AssociateFaces", face)
        assert len(house.ok("SearchFaces", {"CollectionId": "old", "FaceId": face_id})["FaceMatches"]) == 0

        # Another model, with twice as many numbers in its features, as after a restart.
        engine.model_version, engine.dimension = "wider-1.0", 16
        house.ok("CreateCollection", {"CollectionId": "new"})
        assert house.ok("IndexFaces", {"CollectionId": "new", "Image": FACES})["FaceModelVersion"] == "wider-1.0"
        assert len(house.ok("SearchFacesByImage", {"CollectionId": "new", "Image": FACES})["FaceMatches"]) == 1
        refused: dict[str, dict[str, Any]] = {
            "IndexFaces": {"Image": FACES},
            "SearchFaces": {"FaceId": face_id},
            "SearchFacesByImage": {"Image": FACES},
            "SearchUsers": {"UserId": "ann"},
            "SearchUsersByImage": {"Image": FACES},
            "AssociateFaces": {"FaceIds": [face_id], "UserId": "ann"},
        }
        for operation, params in refused.items():
            answer = house.call(operation, {"CollectionId": "old", **params})
            assert code_of(answer) == "InvalidParameterException", operation
            told = json.loads(answer.body)["message"]
            assert "scripted-1" in told, operation
            assert "wider-1.0" in told, operation
        versions = house.ok("ListCollections", {})
        assert dict(zip(versions["CollectionIds"], versions["FaceModelVersions"], strict=True)) == {
            "old": "scripted-1",
            "new": "wider-1.0",
        }
        assert len(house.ok("ListFaces", {"CollectionId": "old"})["Faces"]) == 2
        assert house.ok("DescribeCollection", {"CollectionId": "old"})["FaceModelVersion"] == "scripted-1"
        house.ok("DisassociateFaces", {"CollectionId": "old", "FaceIds": [face_id], "UserId": "ann"})
        house.ok("DeleteFaces", {"CollectionId": "old", "FaceIds": [face_id]})
        house.ok("DeleteCollection", {"CollectionId": "old"})
