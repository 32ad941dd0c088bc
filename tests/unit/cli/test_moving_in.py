"""Which image is whose, which box is which face, and what an import remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from countenance.biometrics import BoundingBox
from countenance.cli.import_journal import Journal, JournalError
from countenance.cli.rekognition_import import matched
from countenance.cli.source_images import bucket_of, naming
from countenance.errors import Error

FACE = {"FaceId": "f-1", "ImageId": "i-1", "ExternalImageId": "ann:1.jpg"}
SOURCE = {"endpoint": "https://rekognition.eu-west-1.amazonaws.com", "region": "eu-west-1", "account": "1" * 12}


def table(folder: Path, *lines: str) -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join(("collection,face_id,external_image_id,image", *lines)) + "\n")
    return path


def test_a_table_goes_before_names_and_a_face_id_before_others(tmp_path: Path) -> None:
    written = table(tmp_path, ",,ann:1.jpg,any.jpg", "staff,,ann:1.jpg,staff.jpg", "staff,f-1,,face.jpg")
    names = naming(["{external_path}"], written)
    assert next(iter(names.candidates("staff", FACE))) == "face.jpg"
    assert next(iter(names.candidates("staff", {**FACE, "FaceId": "f-2"}))) == "staff.jpg"
    assert next(iter(names.candidates("guests", FACE))) == "any.jpg"
    assert list(names.candidates("guests", {**FACE, "ExternalImageId": "ben:2.jpg"})) == ["ben/2.jpg"]


def test_names_are_tried_in_turn_and_never_lead_out() -> None:
    names = naming(["{external_image_id}.jpg", "{collection}/{image_id}", "{external_path}"], None)
    assert list(names.candidates("c", FACE)) == ["ann:1.jpg.jpg", "c/i-1", "ann/1.jpg"]
    assert list(names.candidates("c", {"FaceId": "f", "ImageId": "i"})) == ["c/i"]
    for outside in ("..:..:etc:passwd", ":etc:passwd", "..:x"):
        found = naming(["{external_path}"], None).candidates("c", {**FACE, "ExternalImageId": outside})
        assert list(found) == []


@pytest.mark.parametrize("template", ["photo.jpg", "{name}.jpg", "{", "{face_id.__class__}", "{0}"])
def test_a_template_names_what_there_is(template: str) -> None:
    with pytest.raises(Error, match="cannot be used"):
        naming([template], None)


@pytest.mark.parametrize("line", [",,,x.jpg", ",f,,", ",f,,/etc/passwd", ",f,,../x.jpg"])
def test_a_table_says_whose_image_it_is(tmp_path: Path, line: str) -> None:
    with pytest.raises(Error, match="Line 2"):
        naming(["{face_id}"], table(tmp_path, line))


def test_a_bucket_is_a_name_and_a_prefix() -> None:
    assert bucket_of("s3://bucket/a/b") == ("bucket", "a/b/")
    assert bucket_of("s3://bucket/a/") == ("bucket", "a/")
    assert bucket_of("s3://bucket") == ("bucket", "")
    assert bucket_of("/srv/photos") is None
    assert bucket_of("s3:///x") is None


def box(left: float, width: float = 0.2) -> BoundingBox:
    return BoundingBox(left, 0.1, width, 0.4)


def test_boxes_are_matched_best_first_and_each_once() -> None:
    assert matched([box(0.1), box(0.5)], [box(0.52), box(0.11), box(0.8)], 0.3) == {0: 1, 1: 0}
    # Two of one place: the nearer one has it, the other has nothing.
    assert matched([box(0.15), box(0.1)], [box(0.1)], 0.3) == {1: 0}
    assert matched([box(0.1)], [box(0.29)], 0.3) == {}
    assert matched([], [box(0.1)], 0.3) == {}


def test_a_journal_knows_what_was_done_and_drops_a_line_that_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path, SOURCE)
    journal.will_make("staff")
    journal.has_made("staff", "arn:aws:rekognition:eu-west-2:1:collection/staff")
    journal.has_enrolled(("staff", "a.jpg", "ann"), {"old": "new"})
    journal.has_user("staff", "ann")
    with pytest.raises(JournalError, match="Another import"):
        Journal(path, SOURCE)
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"user":["staff","b')
    again = Journal(path, SOURCE)
    assert again.id == journal.id
    assert (again.making, again.users) == ({"staff"}, {("staff", "ann")})
    assert again.faces == {("staff", "old"): "new"}
    again.has_user("staff", "ben")
    again.close()
    assert [json.loads(line) for line in path.read_bytes().splitlines()][-1] == {"user": ["staff", "ben"]}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_journal_is_of_one_import(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    Journal(path, SOURCE).close()
    with pytest.raises(JournalError, match="this one is from"):
        Journal(path, {**SOURCE, "region": "us-east-1"})
    for content in (b"not JSON\n", b'{"format": 2}\n', path.read_bytes() + b'{"image": 3}\n', b"\xff\n"):
        path.write_bytes(content)
        with pytest.raises(JournalError):
            Journal(path, SOURCE)
