"""A collection carried over to another model by an operator: on record, with its faces, and not by halves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from countenance.biometrics import DetectedFace
from countenance.ledger.retention import HoldInForce
from countenance.operations.migration import NotMigrated
from countenance.pipeline import Pipeline
from countenance.recognition import Busy
from tests.conformance.in_process import InProcess, ScriptedAnalysis, ScriptedEngine, service_in

ANN = {"CollectionId": "people", "Image": {"Bytes": b"faces: 1"}, "ExternalImageId": "ann"}
TWO = {"CollectionId": "people", "Image": {"Bytes": b"faces: 2"}, "ExternalImageId": "ben"}


class Cropping(ScriptedEngine):
    """Its crops are of one colour, which is where the face is; features of crops are of that colour, too."""

    busy = 0

    def extract_with_crops(
        self, analysis: ScriptedAnalysis, faces: Sequence[DetectedFace]
    ) -> tuple[np.ndarray, np.ndarray]:
        crops = [np.full((112, 112, 3), face.pixel_box[0] // 20, np.uint8) for face in faces]
        return self.extract(analysis, faces), np.stack(crops)

    def extract_crops(self, crops: np.ndarray) -> np.ndarray:
        if self.busy:
            self.busy -= 1
            raise Busy("Too many images are waiting to be worked on.")
        rows = np.zeros((len(crops), self.dimension), np.float32)
        rows[np.arange(len(crops)), crops[:, 0, 0, 0] % self.dimension] = 1
        return rows


@pytest.fixture
def engine() -> Cropping:
    return Cropping()


@pytest.fixture
def at_home(tmp_path: Path, engine: Cropping) -> Iterator[InProcess]:
    with service_in(tmp_path, engine) as made:
        made.ok("CreateCollection", {"CollectionId": "people"})
        yield made


def keeping(at_home: InProcess, keeps: bool = True) -> None:
    at_home.service = replace(at_home.service, keeps_crops=keeps)
    at_home.pipeline = Pipeline(at_home.service, clock=at_home.now)


def do(at_home: InProcess, verb: str, **params: Any) -> dict[str, Any]:
    return at_home.pipeline.administer(verb, {"collection_id": "people", **params})


def switch(engine: Cropping) -> None:
    engine.model_version, engine.dimension = "wider-1.0", 16


def crops(at_home: InProcess) -> int:
    with at_home.database.reading() as connection:
        return int(connection.execute("SELECT count(*) FROM reference_crops").fetchone()[0])


def problems(at_home: InProcess) -> list[str]:
    found: list[str] = at_home.pipeline.administer("ledger.fsck", {})["problems"]
    return found


def test_crops_are_kept_only_where_the_operator_asked_for_them(at_home: InProcess) -> None:
    at_home.ok("IndexFaces", ANN)
    assert crops(at_home) == 0
    keeping(at_home)
    at_home.ok("IndexFaces", TWO)
    assert crops(at_home) == 2
    assert [each.details.get("crops", 0) for each in at_home.entries() if each.operation == "IndexFaces"] == [0, 2]


def test_a_collection_is_carried_over_and_it_is_on_record(at_home: InProcess, engine: Cropping) -> None:
    keeping(at_home)
    indexed = at_home.ok("IndexFaces", TWO)["FaceRecords"]
    at_home.ok("CreateUser", {"CollectionId": "people", "UserId": "ben"})
    face_id = indexed[0]["Face"]["FaceId"]
    at_home.ok(
        "AssociateFaces", {"CollectionId": "people", "UserId": "ben", "FaceIds": [face_id], "UserMatchThreshold": 0}
    )
    before = at_home.ok("ListFaces", {"CollectionId": "people"})["Faces"]
    switch(engine)
    engine.busy = 1
    done = do(at_home, "collection.migrate")
    assert (done["from"], done["to"], done["references"], done["erased"]) == ("scripted-1", "wider-1.0", 2, 0)
    after = at_home.ok("ListFaces", {"CollectionId": "people"})
    assert after["FaceModelVersion"] == "wider-1.0"
    assert after["Faces"] == [{**each, "IndexFacesModelVersion": "wider-1.0"} for each in before]
    assert after["Faces"][0]["UserId"] == "ben"
    found = at_home.ok("SearchFacesByImage", {"CollectionId": "people", "Image": TWO["Image"]})["FaceMatches"]
    assert [each["Face"]["FaceId"] for each in found] == [face_id]
    again = at_home.ok("IndexFaces", TWO)["FaceRecords"]
    assert [each["Face"]["FaceId"] for each in again] == [each["Face"]["FaceId"] for each in indexed], (
        "the same image is the same face, though its id would be another of this model"
    )
    log = at_home.service.ledger.log
    acts = [
        opening.accounting
        for _, opening in log.storage.openings(0, log.size)
        if opening.accounting["operation"] == "collection.migrate"
    ]
    (act,) = acts
    assert act["kind"] == "act"
    assert act["account"] == at_home.account.account_id
    assert act["details"] == {
        "collection_id": "people",
        "from": "scripted-1",
        "to": "wider-1.0",
        "references": 2,
        "removed": 0,
        "by": "host",
    }
    assert problems(at_home) == []


def test_one_that_is_of_the_model_in_use_is_left_alone(at_home: InProcess) -> None:
    with pytest.raises(NotMigrated, match="already"):
        do(at_home, "collection.migrate")


def test_faces_without_crops_are_told_and_nothing_is_changed(at_home: InProcess, engine: Cropping) -> None:
    missing = at_home.ok("IndexFaces", ANN)["FaceRecords"][0]["Face"]["FaceId"]
    keeping(at_home)
    at_home.ok("IndexFaces", TWO)
    switch(engine)
    with pytest.raises(NotMigrated, match="Of 1 of 3 faces no crop was kept") as refused:
        do(at_home, "collection.migrate")
    assert missing in refused.value.message
    assert at_home.ok("DescribeCollection", {"CollectionId": "people"})["FaceModelVersion"] == "scripted-1"
    at_home.pipeline.administer("ledger.hold", {"account_id": at_home.account.account_id, "reason": "case 1"})
    with pytest.raises(HoldInForce):
        do(at_home, "collection.migrate", erases_rest=True)
    at_home.pipeline.administer("ledger.release", {"account_id": at_home.account.account_id})
    done = do(at_home, "collection.migrate", erases_rest=True)
    assert (done["references"], done["erased_faces"]) == (2, [missing])
    assert at_home.ok("DescribeCollection", {"CollectionId": "people"})["FaceCount"] == 2
    assert problems(at_home) == []


def test_crops_are_erased_on_demand_and_with_a_person(at_home: InProcess, engine: Cropping) -> None:
    keeping(at_home)
    at_home.ok("IndexFaces", ANN)
    at_home.ok("IndexFaces", TWO)
    at_home.pipeline.administer(
        "person.erase",
        {"account_id": at_home.account.account_id, "external_image_id": "ann", "ground": "Art. 17 GDPR"},
    )
    assert crops(at_home) == 2
    assert do(at_home, "crops.erase")["crops"] == 2
    assert crops(at_home) == 0
    switch(engine)
    with pytest.raises(NotMigrated, match="Of 2 of 2 faces"):
        do(at_home, "collection.migrate")
    assert problems(at_home) == []
