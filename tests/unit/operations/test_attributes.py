"""Which attributes a call asks for, as Amazon's documentation has it, and that no other work is done."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.in_process import InProcess, ScriptedEngine, service_in

from countenance.config.settings import ATTRIBUTES
from countenance.operations.attributes import EVERYTHING, NAMED, UNSUPPORTED, asked_for
from countenance.recognition.attributes import NAMES
from countenance.wire import model

DEFAULTS = {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}
MEMBERS = {
    "AGE_RANGE": "AgeRange",
    "EMOTIONS": "Emotions",
    "EYE_DIRECTION": "EyeDirection",
    "EYES_OPEN": "EyesOpen",
    "GENDER": "Gender",
    "MOUTH_OPEN": "MouthOpen",
    "SMILE": "Smile",
}


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def house(tmp_path: Path, engine: ScriptedEngine) -> Iterator[InProcess]:
    with service_in(tmp_path, engine) as running:
        yield running


def image(faces: int) -> dict[str, bytes]:
    return {"Bytes": b"faces: %d" % faces}


def detected(house: InProcess, **more: Any) -> list[dict[str, Any]]:
    answer = house.call("DetectFaces", {"Image": image(2)} | more)
    assert answer.status == 200, answer.body
    details: list[dict[str, Any]] = house.parsed("DetectFaces", answer)["FaceDetails"]
    return details


def indexed(house: InProcess, **more: Any) -> dict[str, Any]:
    answer = house.call("IndexFaces", {"CollectionId": "people", "Image": image(3)} | more)
    assert answer.status == 200, answer.body
    return house.parsed("IndexFaces", answer)


def test_every_name_of_the_model_is_known() -> None:
    names = model.input_shape("DetectFaces").members["Attributes"].element
    assert names is not None
    assert set(names.enum) == {"DEFAULT", "ALL", *NAMED, *UNSUPPORTED}
    assert set(NAMED) == set(MEMBERS)


def test_what_can_be_estimated_is_what_can_be_asked_for_and_switched() -> None:
    assert set(NAMES) == EVERYTHING == set(ATTRIBUTES)


@pytest.mark.parametrize(
    "selection", [None, [], ["DEFAULT"], ["DEFAULT", "DEFAULT"], *([each] for each in UNSUPPORTED)]
)
def test_default_asks_for_nothing_more(selection: list[str] | None) -> None:
    assert asked_for(selection) == frozenset()


@pytest.mark.parametrize("selection", [["ALL"], ["DEFAULT", "ALL"], ["ALL", "DEFAULT"], ["SMILE", "ALL"]])
def test_all_wins(selection: list[str]) -> None:
    assert asked_for(selection) == EVERYTHING


@pytest.mark.parametrize("pair", list(itertools.combinations([*NAMED, *UNSUPPORTED], 2)))
def test_names_add_what_they_name(pair: tuple[str, str]) -> None:
    wanted = {NAMED[name] for name in pair if name in NAMED}
    assert asked_for(pair) == asked_for(["DEFAULT", *pair]) == wanted


@pytest.mark.parametrize("name", [*MEMBERS, *UNSUPPORTED])
@pytest.mark.parametrize("also", [[], ["DEFAULT"]])
def test_one_name_adds_its_member_and_only_its_work_is_done(
    house: InProcess, engine: ScriptedEngine, name: str, also: list[str]
) -> None:
    more = {MEMBERS[name]} if name in MEMBERS else set()
    for detail in detected(house, Attributes=[*also, name]):
        assert set(detail) == DEFAULTS | more
        assert len(detail["Landmarks"]) == 5
    assert engine.estimated == [frozenset({NAMED[name]} if name in NAMED else ())]


def test_all_adds_every_member_and_the_other_landmarks(house: InProcess) -> None:
    for detail in detected(house, Attributes=["ALL", "DEFAULT"]):
        assert set(detail) == DEFAULTS | set(MEMBERS.values())
        assert len({each["Type"] for each in detail["Landmarks"]}) == 30


def test_without_a_selection_nothing_is_estimated(house: InProcess, engine: ScriptedEngine) -> None:
    assert all(set(detail) == DEFAULTS for detail in detected(house))
    assert engine.estimated == [frozenset()]


def test_an_unknown_name_is_refused_as_amazon_refuses_it(house: InProcess) -> None:
    answer = house.call("DetectFaces", {"Image": image(1), "Attributes": ["AGE"]})
    assert answer.status == 400
    assert b"ValidationException" in answer.body or b"InvalidParameterException" in answer.body


def test_index_faces_gives_them_of_enrolled_and_of_other_faces(house: InProcess) -> None:
    assert house.call("CreateCollection", {"CollectionId": "people"}).status == 200
    answer = indexed(house, MaxFaces=1, DetectionAttributes=["GENDER"])
    details = [each["FaceDetail"] for each in [*answer["FaceRecords"], *answer["UnindexedFaces"]]]
    assert (len(answer["FaceRecords"]), len(details)) == (1, 3)
    assert all(set(detail) == DEFAULTS | {"Gender"} for detail in details)


def test_what_is_not_available_is_left_out(house: InProcess, engine: ScriptedEngine) -> None:
    engine.attributes = frozenset({"smile"})
    for detail in detected(house, Attributes=["ALL"]):
        assert set(detail) == DEFAULTS | {"Smile"}
        assert len(detail["Landmarks"]) == 5
    assert engine.estimated == [frozenset({"smile"})]


def test_the_entry_names_what_was_estimated_and_holds_no_value(house: InProcess) -> None:
    detected(house, Attributes=["EMOTIONS", "AGE_RANGE", "BEARD"])
    detected(house)
    log = house.service.ledger.log
    said = [opening.accounting for _, opening in log.storage.openings(0, log.size)]
    first, second = (each["details"] for each in said if each["operation"] == "DetectFaces")
    assert first == {"attributes": "age_range,emotions"}
    assert second == {}


def test_comparing_and_searching_for_users_estimate_nothing(house: InProcess, engine: ScriptedEngine) -> None:
    answer = house.call("CompareFaces", {"SourceImage": image(1), "TargetImage": image(2), "SimilarityThreshold": 0})
    compared = house.parsed("CompareFaces", answer)
    assert all(set(each["Face"]) == DEFAULTS for each in compared["FaceMatches"])
    house.call("CreateCollection", {"CollectionId": "people"})
    answer = house.call("SearchUsersByImage", {"CollectionId": "people", "Image": image(2)})
    found = house.parsed("SearchUsersByImage", answer)
    assert set(found["SearchedFace"]["FaceDetail"]) == DEFAULTS
    assert engine.estimated == []
