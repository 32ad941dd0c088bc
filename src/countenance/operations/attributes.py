"""Which attributes a call asks for, and how they look in its answer: Amazon's words for `biometrics.Attributes`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from countenance.biometrics import Attributes, DetectedFace, Judgement
from countenance.operations.context import Invocation
from countenance.recognition import Analysis

NAMED: Final = {
    "AGE_RANGE": "age_range",
    "EMOTIONS": "emotions",
    "EYE_DIRECTION": "eye_direction",
    "EYES_OPEN": "eyes_open",
    "GENDER": "gender",
    "MOUTH_OPEN": "mouth_open",
    "SMILE": "smile",
}
"""Of the service model's Attribute, those that this server can estimate."""

UNSUPPORTED: Final = ("BEARD", "EYEGLASSES", "FACE_OCCLUDED", "MUSTACHE", "SUNGLASSES")
"""Accepted in a request and left out of the answer: there is no model for them that may be used by everybody."""

LANDMARKS: Final = "landmarks"
"""The 25 beyond the five of DEFAULT: no Attribute of their own, so they come with ALL."""

EVERYTHING: Final = frozenset(NAMED.values()) | {LANDMARKS}


def asked_for(selection: Iterable[str] | None) -> frozenset[str]:
    """What a call's Attributes or DetectionAttributes ask for beyond DEFAULT, which every answer has.

    ALL is everything, whatever is named beside it; a name alone adds what it names to DEFAULT, as DEFAULT with that
    name does (API reference, DetectFaces).
    """
    names = set(selection or ())
    if "ALL" in names:
        return EVERYTHING
    return frozenset(NAMED[name] for name in names if name in NAMED)


def estimated(
    call: Invocation, analysis: Analysis, faces: Sequence[DetectedFace], selection: Iterable[str] | None
) -> list[Attributes]:
    """The attributes that a call asks for, of some faces. The entry says which were estimated, and no value of them."""
    engine = call.service.engine
    wanted = asked_for(selection) & engine.attributes
    if wanted and faces:
        call.trace.details["attributes"] = ",".join(sorted(wanted))
    return engine.estimate(analysis, faces, wanted)


def rendered(found: Attributes) -> dict[str, Any]:
    """Members of FaceDetail for what was estimated; landmarks are not among them (see `render.face_detail`)."""
    shown: dict[str, Any] = {}
    if found.age_range is not None:
        shown["AgeRange"] = {"Low": found.age_range.low, "High": found.age_range.high}
    if found.gender is not None:
        shown["Gender"] = {"Value": found.gender.kind.capitalize(), "Confidence": found.gender.confidence}
    if found.emotions:
        shown["Emotions"] = [{"Type": each.kind.upper(), "Confidence": each.confidence} for each in found.emotions]
    for member, judgement in (("Smile", found.smile), ("EyesOpen", found.eyes_open), ("MouthOpen", found.mouth_open)):
        if judgement is not None:
            shown[member] = _judgement(judgement)
    if found.eye_direction is not None:
        eyes = found.eye_direction
        shown["EyeDirection"] = {"Yaw": eyes.yaw, "Pitch": eyes.pitch, "Confidence": eyes.confidence}
    return shown


def _judgement(judgement: Judgement) -> dict[str, Any]:
    return {"Value": judgement.holds, "Confidence": judgement.confidence}
