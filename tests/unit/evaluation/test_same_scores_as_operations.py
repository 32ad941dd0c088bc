"""The evaluation measures what callers get: its scores are CompareFaces' Similarities."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from tests.conformance.in_process import service_in

from countenance.evaluation import acquire
from countenance.evaluation.comparisons import compare
from countenance.evaluation.dataset import load
from countenance.evaluation.featurestore import extract
from countenance.operations import Caller, Invocation, Service
from countenance.operations.compare import compare_faces
from countenance.recognition import build_engine

PAIRS = 100


def test_a_hundred_pairs_score_the_same(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "faces" / "lfw_view1"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    with (folder / "pairsDevTest.csv").open(newline="") as rows:
        every = list(csv.DictReader(rows))
    pairs = [(folder / "images" / row["a"], folder / "images" / row["b"]) for row in every[:: len(every) // PAIRS]]
    engine = build_engine(cache_dir=tmp_path)
    first, second = (acquire(engine, list(side)) for side in zip(*pairs, strict=True))
    call = Invocation(
        service=cast(Service, _EngineOnly(engine)),
        caller=Caller("123456789012", "AKCN", "test"),
        operation="CompareFaces",
        request_id="r",
        at=datetime.now(UTC),
    )
    compared = 0
    for (a, b), x, y in zip(pairs, first.features, second.features, strict=True):
        answer = compare_faces(
            call,
            {
                "SourceImage": {"Bytes": a.read_bytes()},
                "TargetImage": {"Bytes": b.read_bytes()},
                "SimilarityThreshold": 0.0,
            },
        )
        largest = max(
            answer["FaceMatches"],
            key=lambda match: match["Face"]["BoundingBox"]["Width"] * match["Face"]["BoundingBox"]["Height"],
        )
        assert largest["Similarity"] == pytest.approx(engine.calibration.similarity(float(x @ y)), abs=1e-3)
        compared += 1
    assert compared >= PAIRS
    engine.close()


def test_evaluate_scores_a_hundred_pairs_as_the_service_does(test_data: Path, tmp_path: Path) -> None:
    """Through signature, wire, policy and ledger: the scores that `countenance evaluate` counts are those answered."""
    folder = test_data / "faces" / "lfw_view1"
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing")
    with (folder / "pairsDevTest.csv").open(newline="") as rows:
        every = list(csv.DictReader(rows))
    chosen = every[:: len(every) // PAIRS][:PAIRS]
    table = tmp_path / "pairs.csv"
    table.write_text("a,b,same\n" + "".join(f"{row['a']},{row['b']},{row['same']}\n" for row in chosen), "utf-8")
    dataset = load(table, folder / "images")
    engine = build_engine(cache_dir=tmp_path)
    features = extract(engine, dataset, tmp_path / "features")
    compared = compare(features.matrix, features.acquired, dataset, [])
    scores = {}
    for kept in (compared.highest, compared.lowest):
        for a, b, score in zip(kept.first.tolist(), kept.second.tolist(), kept.scores.tolist(), strict=True):
            scores[a, b] = score
    assert len(scores) == PAIRS
    (tmp_path / "served").mkdir()
    with service_in(tmp_path / "served", engine) as served:
        for (a, b), score in scores.items():
            answer = served.ok(
                "CompareFaces",
                {
                    "SourceImage": {"Bytes": dataset.path(a).read_bytes()},
                    "TargetImage": {"Bytes": dataset.path(b).read_bytes()},
                    "SimilarityThreshold": 0.0,
                },
            )
            sides = [each["Face"]["BoundingBox"] for each in answer["FaceMatches"]]
            largest = int(np.argmax([each["Width"] * each["Height"] for each in sides]))
            similarity = answer["FaceMatches"][largest]["Similarity"]
            assert engine.calibration.similarity(score) == pytest.approx(similarity, abs=1e-4)
            assert score == pytest.approx(engine.calibration.comparison_score(similarity), abs=1e-6)
    engine.close()


class _EngineOnly:
    """A service of which CompareFaces on bytes uses the engine and nothing else."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
