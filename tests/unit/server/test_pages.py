"""Metrics of several workers on one page."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from countenance.server.metrics import Metrics
from countenance.server.pages import merged


def test_samples_keep_their_names_and_get_their_worker(metrics: Metrics) -> None:
    page = merged({1: metrics.render(), 2: None, 3: metrics.render()}).decode()
    families = {each.name: each for each in text_string_to_metric_families(page)}
    up = {sample.labels["worker"]: sample.value for sample in families["countenance_worker_up"].samples}
    assert up == {"1": 1.0, "2": 0.0, "3": 1.0}
    faces = {sample.labels["worker"]: sample.value for sample in families["countenance_faces_enrolled"].samples}
    assert faces == {"1": 40.0, "3": 40.0}
    build = families["countenance_build_info"].samples
    assert {sample.labels["face_model"] for sample in build} == {"scripted-1"}
    assert page.count("# TYPE countenance_faces_enrolled ") == 1
    own = {each.name: each for each in text_string_to_metric_families(metrics.render().decode())}
    assert families.keys() == own.keys() | {"countenance_worker_up"}
    assert {name: families[name].type for name in own} == {name: each.type for name, each in own.items()}
