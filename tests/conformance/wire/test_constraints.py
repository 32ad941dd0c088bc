"""Every constraint of every operation's input, at its bound and one beyond, as botocore reads the model."""

from __future__ import annotations

from typing import Any

import pytest

from countenance.wire import constraints, model
from countenance.wire.faults import Fault, require_declared


def test_full_parameters_keep_every_constraint(values: Any, operation: str) -> None:
    constraints.check(operation, values.full(values.input(operation)))


def refusal(operation: str, params: dict[str, Any]) -> Fault | None:
    try:
        constraints.check(operation, params)
    except Fault as fault:
        return fault
    return None


def test_every_constraint_at_its_bound_and_beyond(values: Any, operation: str) -> None:
    for case in values.broken(operation):
        if case.inside is not None:
            kept = refusal(operation, case.inside)
            assert kept is None, f"{case.name}: refused at its bound: {kept}"
        fault = refusal(operation, case.outside)
        assert fault is not None, f"{case.name}: accepted beyond its bound"
        assert require_declared(operation, fault).code == "ValidationException", case.name
        assert case.text in fault.message, case.name


IMAGES = [
    (operation, member)
    for operation in model.operations()
    for member, shape in model.input_shape(operation).members.items()
    if shape.name == "Image"
]


@pytest.mark.parametrize(("operation_name", "member"), IMAGES)
def test_the_rules_for_images_raise_what_the_operation_declares(values: Any, operation_name: str, member: str) -> None:
    refused = {
        "InvalidParameterException": [{}, {"Bytes": b"x", "S3Object": {"Bucket": "photos", "Name": "a.jpg"}}],
        "InvalidS3ObjectException": [{"S3Object": {}}, {"S3Object": {"Bucket": "photos"}}, {"S3Object": {"Name": "a"}}],
    }
    params = values.full(values.input(operation_name))
    for code, images in refused.items():
        for image in images:
            fault = refusal(operation_name, {**params, member: image})
            assert fault is not None
            assert require_declared(operation_name, fault).code == code


def test_the_generator_finds_the_constraints(values: Any) -> None:
    """So that a change in botocore's reading of the model cannot silently empty the test above."""
    found = {name: sum(1 for _ in values.broken(name)) for name in values.service.operation_names}
    bounded = {name: sum(case.inside is not None for case in values.broken(name)) for name in found}
    assert found["SearchFacesByImage"] == 19
    assert len(IMAGES) > 8
    assert sum(found.values()) > 600
    assert sum(bounded.values()) > 0.9 * sum(found.values())


def test_every_pattern_of_the_model_compiles_and_has_an_example(values: Any) -> None:
    checked = 0
    for name in values.service.shape_names:
        shape = values.service.shape_for(name)
        pattern = shape.metadata.get("pattern")
        if pattern is None:
            continue
        good, more, bad = values.pattern(shape)
        compiled = constraints.compiled(pattern)
        assert compiled.fullmatch(good + more * 3), name
        assert not compiled.fullmatch(bad), name
        checked += 1
    assert checked > 30


def test_our_reading_of_the_model_is_botocores(values: Any, operation: str) -> None:
    theirs = values.service.operation_model(operation)
    ours = model.operation(operation)
    assert ours.errors == {shape.name for shape in theirs.error_shapes}
    assert list(ours.input.members) == list(theirs.input_shape.members)
    assert list(ours.output.members) == list(theirs.output_shape.members if theirs.output_shape else {})
    assert sorted(ours.input.required) == sorted(theirs.input_shape.required_members)


def test_no_member_is_renamed_or_reformatted_on_the_wire(values: Any) -> None:
    """The codec uses names and default forms as they are: a later model that changes them has to be seen."""
    special = {}
    for name in values.service.shape_names:
        for member, inner in getattr(values.service.shape_for(name), "members", {}).items():
            if inner.serialization not in ({}, {"name": member}):
                special[name, member] = inner.serialization
    # `jsonvalue` concerns HTTP headers only, and this member travels in a body.
    known = ("HumanLoopActivationOutput", "HumanLoopActivationConditionsEvaluationResults")
    assert special == {known: {"jsonvalue": True}}
