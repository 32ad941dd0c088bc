"""House values as AWS structures: every word has its counterpart in the service model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.conformance.in_process import SCRIPTED, face_at

from countenance.biometrics import Attributes, BoundingBox, Judgement, Pose, Quality, Reference
from countenance.operations import render
from countenance.recognition import engine
from countenance.recognition.attributes import demography, emotions, mesh
from countenance.recognition.quality import rejection_reasons
from countenance.wire import model

REFERENCE = Reference(
    face_id="11111111-2222-5333-8444-555555555555",
    image_id="21111111-2222-5333-8444-555555555555",
    external_image_id="ann",
    box=BoundingBox(-0.1, 0.2, 0.3, 0.4),
    detection_confidence=98.5,
    model_version="m-1",
    enrolled_at=datetime(2026, 1, 2, tzinfo=UTC),
)


def shape(operation: str, *path: str) -> model.Shape:
    found = model.output_shape(operation)
    for name in path:
        found = found.members[name]
        found = found.element or found
    return found


def names(value: Any, within: model.Shape) -> None:
    """Every member of a rendered structure exists in its shape, all the way down."""
    if isinstance(value, dict):
        for name, item in value.items():
            assert name in within.members, f"{within.name} has no {name}"
            names(item, within.members[name])
    elif isinstance(value, list):
        assert within.element is not None
        for item in value:
            names(item, within.element)
    elif within.enum:
        assert value in within.enum


def test_a_box_keeps_its_four_numbers_apart() -> None:
    rendered = render.bounding_box(BoundingBox(left=0.1, top=0.2, width=0.3, height=0.4))
    assert rendered == {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4}


def test_a_box_may_reach_past_the_border() -> None:
    assert render.bounding_box(BoundingBox(-0.5, 0.9, 0.7, 0.8))["Left"] == -0.5


def test_every_landmark_of_the_engine_has_a_type_of_the_model() -> None:
    assert list(render.LANDMARK_TYPES) == [*engine.LANDMARKS, *mesh.LANDMARKS]
    known = shape("DetectFaces", "FaceDetails", "Landmarks").members["Type"].enum
    assert sorted(render.LANDMARK_TYPES.values()) == sorted(known)
    for kind, type_ in render.LANDMARK_TYPES.items():
        assert type_.lower() == kind.replace("_", "")


def test_every_reason_is_one_of_the_model() -> None:
    known = set(shape("IndexFaces", "UnindexedFaces", "Reasons").enum)
    assert set(render.REASONS.values()) | {"EXCEEDS_MAX_FACES"} == known


@pytest.mark.parametrize("level", ["LOW", "MEDIUM", "HIGH", "AUTO"])
def test_every_reason_the_engine_gives_can_be_rendered(level: str) -> None:
    worst = replace(face_at(0.1, 0.1, 0.001), detection_confidence=0.0, pose=Pose(0, 90, 90), quality=Quality(0.0, 0.0))
    words = rejection_reasons(worst, image_width=1000, image_height=1000, level=level)
    assert set(words) == set(render.REASONS)
    assert render.reasons(words) == [render.REASONS[word] for word in words]


def test_reasons_keep_their_order() -> None:
    assert render.reasons(("low_sharpness", "extreme_pose")) == ["LOW_SHARPNESS", "EXTREME_POSE"]
    assert render.reasons(()) == []


def test_a_detected_face_has_the_default_attributes() -> None:
    rendered = render.face_detail(face_at(0.25, 0.5, 0.125))
    # DEFAULT is "BoundingBox, Confidence, Pose, Quality, and Landmarks" (API reference, DetectFaces).
    assert set(rendered) == {"BoundingBox", "Confidence", "Pose", "Quality", "Landmarks"}
    assert rendered["BoundingBox"] == {"Left": 0.25, "Top": 0.5, "Width": 0.125, "Height": 0.125}
    assert rendered["Pose"] == {"Roll": 1.0, "Yaw": -2.0, "Pitch": 3.0}
    assert rendered["Quality"] == {"Brightness": 60.0, "Sharpness": 80.0}
    assert rendered["Landmarks"][0] == {"Type": "eyeLeft", "X": 0.3125, "Y": 0.5625}
    names(rendered, shape("DetectFaces", "FaceDetails"))


def test_every_attribute_that_was_estimated_is_rendered() -> None:
    rendered = render.face_detail(face_at(0.25, 0.5, 0.125), Attributes(**SCRIPTED))
    names(rendered, shape("DetectFaces", "FaceDetails"))
    assert len(rendered["Landmarks"]) == 30
    assert len({each["Type"] for each in rendered["Landmarks"]}) == 30
    defaults = render.face_detail(face_at(0.25, 0.5, 0.125))
    assert rendered["Landmarks"][:5] == defaults["Landmarks"]
    assert {name: value for name, value in rendered.items() if name not in defaults} == {
        "AgeRange": {"Low": 31, "High": 47},
        "Gender": {"Value": "Female", "Confidence": 97.5},
        "Emotions": [{"Type": "CALM", "Confidence": 80.0}, {"Type": "HAPPY", "Confidence": 20.0}],
        "Smile": {"Value": False, "Confidence": 71.0},
        "EyesOpen": {"Value": True, "Confidence": 99.0},
        "MouthOpen": {"Value": False, "Confidence": 88.0},
        "EyeDirection": {"Yaw": -3.5, "Pitch": 1.25, "Confidence": 90.0},
    }


def test_an_attribute_that_was_not_estimated_is_left_out() -> None:
    assert render.face_detail(face_at(0.25, 0.5, 0.125), Attributes()) == render.face_detail(face_at(0.25, 0.5, 0.125))
    only = render.face_detail(face_at(0.25, 0.5, 0.125), Attributes(smile=Judgement(True, 60.0)))
    assert set(only) - {"BoundingBox", "Confidence", "Pose", "Quality", "Landmarks"} == {"Smile"}


def test_every_expression_and_gender_is_one_of_the_model() -> None:
    types = {each.upper() for each in emotions.EXPRESSIONS}
    assert set(shape("DetectFaces", "FaceDetails", "Emotions", "Type").enum) - types == {"CONFUSED", "UNKNOWN"}
    assert set(shape("DetectFaces", "FaceDetails", "Gender", "Value").enum) == {
        each.capitalize() for each in demography.GENDERS
    }


def test_a_compared_face_fits_the_narrower_shape() -> None:
    names(render.compared_face(face_at(0.1, 0.1, 0.5)), shape("CompareFaces", "UnmatchedFaces"))


def test_a_reference_is_rendered_without_what_it_lacks() -> None:
    rendered = render.face(REFERENCE)
    assert rendered == {
        "FaceId": REFERENCE.face_id,
        "ImageId": REFERENCE.image_id,
        "ExternalImageId": "ann",
        "BoundingBox": {"Left": -0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4},
        "Confidence": 98.5,
        "IndexFacesModelVersion": "m-1",
    }
    names(rendered, shape("ListFaces", "Faces"))
    anonymous = render.face(replace(REFERENCE, external_image_id=None))
    assert set(rendered) - set(anonymous) == {"ExternalImageId"}
