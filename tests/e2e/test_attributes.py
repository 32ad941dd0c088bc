"""Attributes as boto3 shows them: all of them, and none on a server that has them switched off."""

from __future__ import annotations

from pathlib import Path

from countenance.recognition.attributes import NAMES, PACK_OF, usable

from .conftest import People, Server, start

DEFAULTS = {"BoundingBox", "Confidence", "Landmarks", "Pose", "Quality"}
MEMBERS = {
    "AgeRange": "age_range",
    "Emotions": "emotions",
    "EyeDirection": "eye_direction",
    "EyesOpen": "eyes_open",
    "Gender": "gender",
    "MouthOpen": "mouth_open",
    "Smile": "smile",
}


def test_all_of_them_with_the_right_members(server: Server, people: People) -> None:
    there = {name for name in NAMES if usable(PACK_OF[name], Path("nowhere")) is None}
    photo = next(iter(people.values()))[0].read_bytes()
    (face,) = server.client().detect_faces(Image={"Bytes": photo}, Attributes=["ALL"])["FaceDetails"]
    # The eyes are open in this photograph, so their direction is told.
    assert set(face) == DEFAULTS | {member for member, name in MEMBERS.items() if name in there}
    assert len(face["Landmarks"]) == (30 if "landmarks" in there else 5)
    if "age_range" in there:
        assert 0 < face["AgeRange"]["Low"] < face["AgeRange"]["High"] < 110
    if "emotions" in there:
        assert len(face["Emotions"]) == 7


def test_none_where_they_are_switched_off(tmp_path: Path, people: People) -> None:
    running = start(tmp_path / "data", environ={"COUNTENANCE_ATTRIBUTES": ""})
    try:
        client = running.client()
        photo = {"Bytes": next(iter(people.values()))[0].read_bytes()}
        (face,) = client.detect_faces(Image=photo, Attributes=["ALL"])["FaceDetails"]
        assert set(face) == DEFAULTS
        assert len(face["Landmarks"]) == 5
        client.create_collection(CollectionId="people")
        answer = client.index_faces(CollectionId="people", Image=photo, DetectionAttributes=["EMOTIONS", "AGE_RANGE"])
        assert set(answer["FaceRecords"][0]["FaceDetail"]) == DEFAULTS
    finally:
        assert running.stop() == 0
