"""Every constraint of every built operation through the whole pipeline: at its bound, and one beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from countenance.operations import OPERATIONS
from countenance.wire import model
from countenance.wire.faults import COMMON_FAULTS
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in, service_model
from tests.conformance.wire.conftest import Values


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    folder: Path = tmp_path_factory.mktemp("bounds")
    with service_in(folder, ScriptedEngine()) as running:
        yield running


@pytest.fixture(scope="module")
def values() -> Values:
    return Values(service_model())


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_constraint_is_kept_by_the_whole_server(house: InProcess, values: Any, operation: str) -> None:
    allowed = {"OK"} | model.errors(operation) | COMMON_FAULTS.keys() - {"InternalServerError"}
    cases = list(values.broken(operation))
    within = 0
    for case in cases:
        if case.inside is not None:
            answer = house.call(operation, case.inside)
            code = code_of(answer)
            assert code not in ("ValidationException", "SerializationException"), (case.name, answer.body)
            assert code in allowed, (case.name, answer.body)
            within += 1
        answer = house.call(operation, case.outside)
        assert (answer.status, code_of(answer)) == (400, "ValidationException"), (case.name, answer.body)
        assert case.text in json.loads(answer.body)["message"], case.name
    print(f"\n{operation}: {len(cases)} constraints broken, {within} kept at their bound")
    assert within > 0
    assert cases


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_call_with_every_member_is_not_refused_for_its_form(house: InProcess, values: Any, operation: str) -> None:
    answer = house.call(operation, values.full(values.input(operation)))
    assert code_of(answer) not in ("ValidationException", "SerializationException"), answer.body
    assert answer.status < 500


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_a_call_without_members_is_refused_for_each_required_one(house: InProcess, operation: str) -> None:
    required = model.input_shape(operation).required
    answer = house.call(operation, {})
    if not required:
        assert answer.status == 200
        return
    assert code_of(answer) == "ValidationException"
    message = json.loads(answer.body)["message"]
    assert message.startswith(f"{len(required)} validation error")
    for name in required:
        assert f"'{name[:1].lower()}{name[1:]}' failed to satisfy constraint: Member must not be null" in message
