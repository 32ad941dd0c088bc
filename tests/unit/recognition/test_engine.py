"""The engine as its callers use it: features that depend on the face alone, whatever runs beside it."""

from __future__ import annotations

import importlib.util
import io
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from countenance.recognition import Busy, Engine, ImageUnreadable, build_engine, modelpack
from countenance.recognition.engine import Gate
from countenance.recognition.session import RUNTIMES, choose, open_session


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, quality=92)
    return out.getvalue()


def random_crops(count: int) -> np.ndarray:
    """Smooth noise: no faces, but every crop's features are different."""
    random = np.random.default_rng(7)
    small = random.integers(0, 255, (count, 14, 14, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(each).resize((112, 112))) for each in small])


@pytest.fixture(scope="module")
def portable(models_dir: Path) -> Iterator[Engine]:
    built = build_engine(cache_dir=models_dir, runtime="onnxruntime", threads=1)
    yield built
    built.close()


def test_features_have_unit_length_and_their_dimension(engine: Engine) -> None:
    features = engine.features(random_crops(5))
    assert features.shape == (5, engine.dimension) == (5, 128)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    assert engine.features(random_crops(5)[:0]).shape == (0, 128)


def test_features_do_not_depend_on_the_batch(engine: Engine, portable: Engine) -> None:
    crops = random_crops(9)
    for each in (engine, portable):
        alone = np.concatenate([each.features(crops[at : at + 1]) for at in range(len(crops))])
        assert abs(alone[0] @ alone[1]) < 0.99
        for size in range(2, len(crops) + 1):
            np.testing.assert_allclose(each.features(crops[:size]), alone[:size], atol=1e-5)
            np.testing.assert_allclose(each.features(crops[::-1][:size]), alone[::-1][:size], atol=1e-5)


def test_features_are_the_same_every_time_and_in_a_second_engine(engine: Engine, models_dir: Path) -> None:
    crops = random_crops(3)
    first = engine.features(crops)
    assert all(np.array_equal(engine.features(crops), first) for _ in range(5))
    other = build_engine(cache_dir=models_dir, workers=1, threads=1)
    np.testing.assert_allclose(other.features(crops), first, atol=1e-5)
    other.close()


def test_flipping_makes_a_face_and_its_mirror_image_one(models_dir: Path, engine: Engine) -> None:
    flipping = build_engine(cache_dir=models_dir, threads=1, flip=True)
    crops = random_crops(2)
    mirrored = np.ascontiguousarray(crops[:, :, ::-1])
    np.testing.assert_allclose(flipping.features(crops), flipping.features(mirrored), atol=1e-5)
    plain = build_engine(cache_dir=models_dir, threads=1, flip=False)
    assert np.abs(plain.features(crops) - plain.features(mirrored)).max() > 1e-3
    assert flipping.model_version != plain.model_version
    flipping.close()


def test_both_runtimes_agree_on_real_faces(engine: Engine, portable: Engine, group: bytes) -> None:
    if "openvino" not in [choose(each) for each in RUNTIMES]:
        pytest.skip("OpenVINO is not installed")
    one, other = engine.analyse(group), portable.analyse(group)
    assert engine.runtime.startswith("openvino")
    assert portable.runtime.startswith("onnxruntime")
    assert len(one.faces) == len(other.faces) == 5
    for a, b in zip(one.faces, other.faces, strict=True):
        assert a.box.iou(b.box) > 0.98
    cosines = (engine.extract(one, one.faces) * portable.extract(other, other.faces)).sum(axis=1)
    assert cosines.min() > 0.999


def test_a_face_is_the_same_alone_and_among_others(engine: Engine, group: bytes) -> None:
    analysis = engine.analyse(group)
    together = engine.extract(analysis, analysis.faces)
    for at, face in enumerate(analysis.faces):
        np.testing.assert_allclose(engine.extract(analysis, [face])[0], together[at], atol=1e-5)
    turned_round = engine.extract(analysis, analysis.faces[::-1])
    np.testing.assert_allclose(turned_round[::-1], together, atol=1e-5)


def test_faces_come_largest_first_and_may_be_limited(engine: Engine, group: bytes) -> None:
    faces = engine.analyse(group).faces
    areas = [face.box.area for face in faces]
    assert areas == sorted(areas, reverse=True)
    assert engine.analyse(group, max_faces=2).faces == faces[:2]


def test_eight_threads_get_what_one_gets(engine: Engine, group: bytes, portrait: bytes) -> None:
    def both(data: bytes) -> tuple[tuple[tuple[int, int, int, int], ...], np.ndarray]:
        analysis = engine.analyse(data)
        return tuple(face.pixel_box for face in analysis.faces), engine.extract(analysis, analysis.faces)

    expected = {data: both(data) for data in (group, portrait)}
    work = [group, portrait] * 12
    with ThreadPoolExecutor(8) as pool:
        for data, (boxes, features) in zip(work, pool.map(both, work), strict=True):
            assert boxes == expected[data][0]
            np.testing.assert_allclose(features, expected[data][1], atol=1e-5)


@pytest.mark.parametrize(
    ("turn", "rotated"),
    [(Image.Transpose.ROTATE_90, 90), (Image.Transpose.ROTATE_180, 180), (Image.Transpose.ROTATE_270, 270)],
)
def test_a_picture_lying_on_its_side_is_turned(
    engine: Engine, portrait: bytes, turn: Image.Transpose, rotated: int
) -> None:
    upright = engine.analyse(portrait)
    lying = engine.analyse(encoded(Image.open(io.BytesIO(portrait)).transpose(turn)))
    assert lying.rotated == rotated
    assert upright.rotated == 0
    assert len(lying.faces) == len(upright.faces) == 1
    score = engine.extract(lying, lying.faces) @ engine.extract(upright, upright.faces).T
    assert score[0, 0] > 0.95


def test_small_and_huge_faces_are_found(engine: Engine, portrait: bytes) -> None:
    source = Image.open(io.BytesIO(portrait)).convert("RGB")
    (face,) = engine.analyse(portrait).faces
    shrink = 40 / (face.box.height * source.height)
    small = source.resize((round(source.width * shrink), round(source.height * shrink)), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", (1920, 1080), (110, 120, 100))
    frame.paste(small, (1500, 700))
    for kind in ("PNG", "JPEG"):
        (found,) = engine.analyse(encoded(frame, kind)).faces
        assert 30 < found.pixel_box[3] < 50
        assert 1500 < found.pixel_box[0] < 1500 + small.width
    middle_x = (face.box.left + face.box.width / 2) * source.width
    middle_y = (face.box.top + face.box.height / 2) * source.height
    half = face.box.width * source.width / 2
    window = (middle_x - half, middle_y - 1.5 * half, middle_x + half, middle_y + 1.5 * half)
    filling = source.crop(tuple(int(each) for each in window)).resize((4000, 6000))
    analysis = engine.analyse(encoded(filling, "JPEG"))
    assert analysis.faces[0].box.width > 0.7


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_small_face_is_found_in_the_picture_s_own_pixels_beside_a_larger_one(
    engine: Engine, portrait: bytes, kind: str
) -> None:
    source = Image.open(io.BytesIO(portrait)).convert("RGB")
    (face,) = engine.analyse(portrait).faces
    frame = Image.new("RGB", (1920, 1080), (110, 120, 100))
    for height, place in ((90, (200, 300)), (30, (1500, 700)), (30, (900, 80))):
        by = height / (face.box.height * source.height)
        size = (round(source.width * by), round(source.height * by))
        frame.paste(source.resize(size, Image.Resampling.LANCZOS), place)
    found = engine.analyse(encoded(frame, kind)).faces
    assert [round(each.pixel_box[3] / 30) for each in found] == [3, 1, 1]
    corners = {(each.pixel_box[0] // 100, each.pixel_box[1] // 100) for each in found}
    assert corners == {(3, 4), (9, 1), (15, 7)}


def test_a_picture_without_a_face_has_none(engine: Engine) -> None:
    analysis = engine.analyse(encoded(Image.new("RGB", (300, 200), (90, 120, 150))))
    assert analysis.faces == ()
    assert (analysis.width, analysis.height, analysis.rotated) == (300, 200, 0)
    assert engine.extract(analysis, []).shape == (0, 128)


def test_boxes_of_a_scaled_decode_are_those_of_the_whole(engine: Engine, group: bytes) -> None:
    source = Image.open(io.BytesIO(group)).convert("RGB")
    large = source.resize((source.width * 3, source.height * 3), Image.Resampling.BICUBIC)
    scaled, whole = engine.analyse(encoded(large, "JPEG")), engine.analyse(encoded(large, "PNG"))
    assert scaled.picture.denominator == 2
    assert whole.picture.denominator == 2
    assert len(scaled.faces) == len(whole.faces) == 5
    for face in scaled.faces:
        assert max(face.box.iou(other.box) for other in whole.faces) > 0.85


def test_the_gate_refuses_one_call_too_many_and_opens_again() -> None:
    gate = Gate(slots=1, queue_limit=1)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with gate.entered():
            inside.set()
            leave.wait(10)

    entered = threading.Event()

    def wait_then_enter() -> None:
        with gate.entered():
            entered.set()

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    waiter = threading.Thread(target=wait_then_enter)
    waiter.start()
    while gate._places.acquire(blocking=False):  # until the waiter has taken the one place in the queue
        gate._places.release()
    with pytest.raises(Busy) as caught, gate.entered():
        pass
    assert caught.value.hint
    assert not entered.is_set()
    leave.set()
    holder.join(10)
    waiter.join(10)
    assert entered.is_set()
    with gate.entered():
        pass


def test_a_failed_call_gives_its_place_back(models_dir: Path) -> None:
    small = build_engine(cache_dir=models_dir, runtime="onnxruntime", workers=1, threads=1, queue_limit=0)
    for _ in range(20):
        with pytest.raises(ImageUnreadable):
            small.analyse(b"no picture")
    assert small.analyse(encoded(Image.new("RGB", (100, 100)))).faces == ()
    small.close()


def test_strict_formats_are_the_engines_too(models_dir: Path) -> None:
    strict = build_engine(cache_dir=models_dir, runtime="onnxruntime", threads=1, strict_formats=True)
    with pytest.raises(ImageUnreadable):
        strict.analyse(encoded(Image.new("RGB", (100, 100)), "WEBP"))
    strict.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_thread_counts_hold_in_whatever_thread_asks(models_dir: Path, runtime: str, threads: int) -> None:
    if importlib.util.find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    graph = modelpack.folded(modelpack.load().file("features"), models_dir)

    def opened() -> tuple[int, int]:
        session = open_session(graph, runtime=runtime, shapes=[(1, 112, 112)], lanes=1, threads=threads, bfloat16=False)
        before = thread_count()
        session.run(random_crops(1))
        seen = session.threads, thread_count() - before
        session.close()
        return seen

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(opened).result() == (threads, 0)


def thread_count() -> int:
    tasks = Path("/proc/self/task")
    return len(list(tasks.iterdir())) if tasks.is_dir() else 0
