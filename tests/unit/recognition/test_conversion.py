"""TensorFlow Lite files read by hand and run as ONNX give what TensorFlow Lite's own interpreter gives.

The expected numbers are of ai-edge-litert 2.3.0, the interpreter as Google packages it, on the same pictures.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from countenance.recognition import modelpack
from countenance.recognition.attributes import graphs, tflite
from countenance.recognition.session import RUNTIMES, choose, open_session


def weights(pack: str) -> bytes:
    """Of an attribute pack, if its distribution is installed."""
    (file,) = modelpack.load(pack).files
    try:
        return modelpack.weights(file, Path("nowhere"))
    except modelpack.ModelPackError as error:
        pytest.skip(f"{error.message}; {error.hint}")


def smooth(side: int) -> np.ndarray:
    """A picture of slopes: red to the right, green downwards, blue along the diagonal."""
    y, x = np.mgrid[0:side, 0:side]
    channels = [x * 255 // (side - 1), y * 255 // (side - 1), (x + y) * 255 // (2 * side - 2)]
    return np.stack(channels, axis=-1).astype(np.uint8)[None]


def run(graph: bytes, side: int, runtime: str) -> list[np.ndarray]:
    session = open_session(graph, runtime=runtime, shapes=[(1, side, side)], lanes=1, threads=1, bfloat16=False)
    try:
        return list(session.run(smooth(side)))
    finally:
        session.close()


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    try:
        return choose(request.param)
    except modelpack.ModelPackError as error:
        pytest.skip(error.message)


def test_the_mesh_and_its_blendshapes_are_the_interpreters(runtime: str) -> None:
    points, presence, blendshapes = run(graphs.mesh(weights("attributes-mesh")), graphs.MESH_SIDE, runtime)
    points = points.reshape(478, 3)
    expected = [[121.103, 141.508, -24.085], [130.466, 194.020, -9.388], [94.965, 85.459, 10.039]]
    np.testing.assert_allclose(points[[0, 152, 468]], expected, atol=0.02)
    assert points.sum() == pytest.approx(116543.88, rel=1e-4)
    assert presence.item() == pytest.approx(-8.4108, abs=0.01)
    assert blendshapes.shape == (52,)
    np.testing.assert_allclose(blendshapes[[3, 9, 25, 44, 45]], [0.0132, 0.2089, 0.0003, 0.0509, 0.0352], atol=1e-3)
    assert blendshapes.sum() == pytest.approx(4.68794, abs=2e-3)


def test_the_expressions_are_the_interpreters_but_for_its_rounding(runtime: str) -> None:
    # The interpreter rounds activations to eight bits where weights have eight; here both are float.
    (probabilities,) = run(graphs.expressions(weights("attributes-emotions")), graphs.EXPRESSION_SIDE, runtime)
    np.testing.assert_allclose(probabilities[0], [0.123, 0, 0.205, 0.047, 0.029, 0.111, 0.485], atol=0.02)
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("pack", "side", "classes"), [("attributes-age", 64, 81), ("attributes-gender", 32, 2)])
def test_dlibs_networks_take_bytes_and_give_probabilities(pack: str, side: int, classes: int, runtime: str) -> None:
    import onnxruntime

    content = weights(pack)
    (probabilities,) = run(graphs.dlib_classifier(content, side=side), side, runtime)
    assert probabilities.shape == (1, classes)
    assert probabilities.sum() == pytest.approx(1, abs=1e-4)
    means = np.array([122.781998, 117.000999, 104.297997], np.float32)
    prepared = ((smooth(side).astype(np.float32) - means) / 256).transpose(0, 3, 1, 2)
    (expected,) = onnxruntime.InferenceSession(content).run(None, {"images": prepared})
    np.testing.assert_allclose(probabilities, expected, atol=2e-4)


def test_what_is_no_such_file_is_refused() -> None:
    for content in (b"", b"TFL3", b"\0\0\0\0TFL3", b"\x08\0\0\0TFL3" + bytes(40), bytes(1000)):
        with pytest.raises(ValueError, match=r"TensorFlow Lite|unpack"):
            tflite.read(content)
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w") as archive:
        archive.writestr("face_detector.tflite", b"")
    for content in (b"", b"PK", bundle.getvalue()):
        with pytest.raises(ValueError, match="bundle"):
            graphs.mesh(content)
    for content in (b"", b"no protobuf"):
        with pytest.raises(ValueError, match=r"ONNX|input"):
            graphs.dlib_classifier(content, side=64)


@pytest.mark.filterwarnings("ignore:overflow")  # a damaged scale
def test_a_damaged_file_is_refused_and_nothing_else_happens() -> None:
    content = weights("attributes-emotions")
    random = np.random.default_rng(11)
    refused = 0
    for _ in range(500):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 20):
            damaged[at] ^= int(random.integers(1, 256))
        try:
            tflite.read(bytes(damaged))
        except ValueError:
            refused += 1
    assert refused > 30
    for length in (9, 100, 5_000, len(content) // 2):
        with pytest.raises(ValueError, match="TensorFlow Lite"):
            tflite.read(content[:length])
