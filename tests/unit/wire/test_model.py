"""The service model: what it says, and where it may come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from botocore.loaders import Loader

from countenance.wire import model


def test_the_model() -> None:
    assert len(model.operations()) == 75
    assert model.TARGET_PREFIX == "RekognitionService"
    assert model.service() is model.service()


def test_a_shape() -> None:
    shape = model.input_shape("SearchFacesByImage")
    assert shape.required == ("CollectionId", "Image")
    collection = shape.members["CollectionId"]
    assert (collection.kind, collection.minimum, collection.maximum) == ("string", 1, 255)
    assert collection.pattern == "[a-zA-Z0-9_.\\-]+"
    assert shape.members["QualityFilter"].enum == ("NONE", "AUTO", "LOW", "MEDIUM", "HIGH")


def test_an_operation_without_an_answer_has_an_empty_output() -> None:
    assert model.output_shape("TagResource").members == {}


def test_errors() -> None:
    assert "ResourceNotFoundException" in model.errors("ListFaces")
    assert "ResourceNotFoundException" not in model.errors("DetectFaces")


def test_an_unknown_operation() -> None:
    with pytest.raises(KeyError):
        model.operation("NoSuchThing")


def test_a_model_in_the_home_folder_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "rekognition" / "2999-01-01"
    folder.mkdir(parents=True)
    document = {"metadata": {"targetPrefix": "Other"}, "operations": {}, "shapes": {}}
    (folder / "service-2.json").write_text(json.dumps(document), "utf-8")
    monkeypatch.setattr(Loader, "CUSTOMER_DATA_PATH", str(tmp_path))
    # botocore's own loader would take it.
    assert Loader().load_service_model("rekognition", "service-2")["metadata"]["targetPrefix"] == "Other"
    assert model.service.__wrapped__().target_prefix == "RekognitionService"


def test_a_shape_may_contain_itself() -> None:
    shapes = {
        "Node": {"type": "structure", "members": {"Children": {"shape": "Nodes"}}},
        "Nodes": {"type": "list", "member": {"shape": "Node"}},
    }
    node = model._shape("Node", shapes, {})
    assert node.members["Children"].element is node
