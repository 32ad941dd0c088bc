"""capacity: what it computes, by hand and by simulation; what it refuses; what it says of its own figures."""

from __future__ import annotations

import heapq
import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from countenance.cli import measured as figures
from countenance.cli import sizing
from countenance.cli.capacity import machine_of
from countenance.cli.queueing import chance_of_waiting, waiting
from countenance.cli.sizing import Asked, Plan, plan
from countenance.gallery import quantised, sealing, shelves, tiers

Invoke = Callable[..., Result]
MEASURED = figures.read()


def asked(faces: int = 1_000_000, qps: float = 1.0, **other: Any) -> Asked:
    given: dict[str, Any] = {
        "dimension": 128,
        "kind": "face",
        "tier": None,
        "target_ms": 100.0,
        "machine": machine_of(MEASURED),
    }
    return Asked(faces=faces, qps=qps, **(given | other))


def value(answer: Plan, name: str) -> float:
    (found,) = [each.value for each in answer.figures if each.name == name]
    return found


def basis(answer: Plan, name: str) -> str:
    (found,) = [each.basis for each in answer.figures if each.name == name]
    return found


def answered(invoke: Invoke, *words: object, status: int = 0) -> dict[str, Any]:
    result = invoke("capacity", *words, "--json")
    assert result.exit_code == status, result.output
    document: dict[str, Any] = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    return document


def test_a_million_faces_by_hand() -> None:
    """Each number below is worked out from docs/design/decisions/0023 and docs/performance.md, not by the code."""
    answer = plan(asked(qps=20.0, tier="exact"), MEASURED)
    assert (answer.shards, answer.replicas, answer.why_shards, answer.obstacles) == (1, 1, "", ())
    # 1,000,000 rows at 17.4 ns
    assert value(answer, "search of the index alone") == pytest.approx(17.4)
    # 20 scans a second of 17.4 ms keep the one that runs at a time (256 B / 17.4 ns = 14.7 GB/s of 26) busy 34.8 %;
    # half of all calls do not wait, p99 = 1.47 x 17.4 + 17.4 / (2 x 0.652) x ln(0.348 / 0.01) = 25.58 + 47.36
    assert value(answer, "search of the index, p50") == pytest.approx(17.4)
    assert value(answer, "search of the index, p99") == pytest.approx(72.94, abs=0.01)
    # 20 calls of 17.4 + 4.68 ms on 2 cores
    assert value(answer, "cores busy") == pytest.approx(0.2208)
    # 461 MiB and 277 bytes a face; no index file; 501 bytes in the store
    assert value(answer, "memory a machine") == pytest.approx(760_393_536)
    assert value(answer, "index files a machine") == 0
    assert value(answer, "store") == 501_000_000
    # 20 x 86,400 x 30 calls of 1,495 bytes
    assert value(answer, "ledger growth a month") == pytest.approx(77_500_800_000)


def test_a_quantised_index_by_hand() -> None:
    answer = plan(asked(), MEASURED)
    assert answer.tier == "quantised"
    # 950,000 codes at 9.3 ns, 50,000 rows at 17.4, 58 rows opened in 2.1 us
    assert value(answer, "search of the index alone") == pytest.approx(8.835 + 0.87 + 0.1218)
    # codes of 128 bytes and 277 - 256 beside them, the latest 50,000 in full
    assert value(answer, "memory a machine") == pytest.approx(461 * 1024**2 + 950_000 * 149 + 50_000 * 277)
    # 256 bytes and 28 of the seal, a code, an id
    assert value(answer, "index files a machine") == 428_000_000


def test_it_quantises_where_the_gallery_does() -> None:
    for dimension in figures.DIMENSIONS:
        assert MEASURED[f"exact_up_to.{dimension}"].value == tiers.quantised_from(dimension)
        assert MEASURED[f"code_bytes.{dimension}"].value == dimension
        assert MEASURED[f"reranked.{dimension}"].value == 10 + quantised._SPARE
    assert sizing.TAIL_ROWS == quantised.TAIL_ROWS
    assert sizing.FILES_FROM == shelves.FILES_FROM
    assert sizing.SEAL_BYTES == sealing.SEAL_OVERHEAD_BYTES


def test_an_image_costs_its_parts() -> None:
    by_face, by_image = (plan(asked(kind=kind, tier="exact"), MEASURED) for kind in ("face", "image"))
    parts = 13.86 + 31.46 + 1.9 + 1.84 + 4.5 + 0.39 + 20.53 * 1.95
    assert value(by_image, "whole call, p50") - value(by_face, "whole call, p50") == pytest.approx(parts)


@pytest.mark.parametrize("kind", ["image", "face"])
@pytest.mark.parametrize("tier", ["exact", "quantised"])
def test_more_never_takes_less(tier: str, kind: str) -> None:
    sizes = (1, 1000, 49_999, 50_001, 10**6, 3 * 10**6, 10**7, 5 * 10**7, 10**8)
    rates = (0.01, 1.0, 7.0, 50.0, 200.0, 1000.0)
    plans = {(faces, qps): plan(asked(faces, qps, tier=tier, kind=kind), MEASURED) for faces in sizes for qps in rates}
    for (faces, qps), answer in plans.items():
        assert answer.machines, answer.obstacles
        assert value(answer, "cores busy") <= 0.7
        assert value(answer, "search of the index, p99") <= 100
        assert value(answer, "whole call, p50") <= value(answer, "whole call, p99") < math.inf
        for other in ((faces, more) for more in rates if more > qps):
            assert plans[other].machines >= answer.machines
            assert value(plans[other], "ledger growth a month") > value(answer, "ledger growth a month")
        for other in ((more, qps) for more in sizes if more > faces):
            assert plans[other].machines >= answer.machines
            assert value(plans[other], "store") > value(answer, "store")


def test_better_machines_are_never_more() -> None:
    small = machine_of(MEASURED)
    counts = [
        plan(asked(10**7, 100.0, machine=replace(small, cores=cores, bandwidth_gb_s=speed)), MEASURED).machines
        for cores, speed in ((1, 26.0), (2, 26.0), (4, 52.0), (16, 100.0), (64, 400.0))
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_what_lies_beyond_the_measurement_says_so() -> None:
    near = plan(asked(10**6), MEASURED)
    assert basis(near, "store") == "measured"
    assert basis(near, "search of the index alone") == "measured"
    assert basis(near, "search of the index, p99") == "model"
    far = plan(asked(50 * 10**6, target_ms=10_000.0), MEASURED)
    assert far.shards == 1
    assert basis(far, "store") == "extrapolated 50x (faces in the store)"
    assert basis(far, "search of the index alone") == "extrapolated 50x (rows of an index)"
    large = plan(asked(10**6, machine=machine_of(MEASURED, 16)), MEASURED)
    assert basis(large, "whole call, p50") == "model; extrapolated 8x (cores of a machine)"
    wide = plan(asked(10**6, dimension=512, kind="image"), MEASURED)
    assert basis(wide, "store") == "computed from the format"
    assert basis(wide, "whole call, p99") == "model; computed from the network of 128 features"


def test_why_there_are_shards() -> None:
    assert plan(asked(10**6), MEASURED).why_shards == ""
    assert "100 are asked for" in plan(asked(5 * 10**7), MEASURED).why_shards
    small = machine_of(MEASURED, memory=1)
    assert (
        "of a machine's 1 GiB" in plan(asked(10**7, tier="exact", target_ms=1000.0, machine=small), MEASURED).why_shards
    )


@pytest.mark.parametrize(("servers", "busy"), [(1, 0.7), (2, 0.7), (4, 0.8), (16, 0.7)])
def test_waiting_is_what_a_simulation_says(servers: int, busy: float) -> None:
    drawn = random.Random(7)
    free, now, waits = [0.0] * servers, 0.0, []
    for _ in range(200_000):
        now += drawn.expovariate(servers * busy)
        start = max(now, heapq.heappop(free))
        heapq.heappush(free, start + 1)
        waits.append(start - now)
    waits.sort()
    load = servers * busy
    mean = chance_of_waiting(servers, load) / (2 * servers * (1 - busy))
    assert sum(waits) / len(waits) == pytest.approx(mean, abs=0.15)
    assert waits[len(waits) // 2] == pytest.approx(waiting(servers, load, 1.0, 0.5), abs=0.3)
    assert -0.2 <= waiting(servers, load, 1.0, 0.99) - waits[int(len(waits) * 0.99)] <= 1.0


def test_too_much_work_is_waited_for_without_end() -> None:
    assert waiting(2, 2.0, 1.0, 0.5) == math.inf
    assert waiting(2, 0.0, 1.0, 0.99) == 0.0
    assert chance_of_waiting(1, 0.25) == pytest.approx(0.25)


def test_it_is_told_as_text_and_as_json(invoke: Invoke) -> None:
    text = invoke("capacity", "--faces", "50e6", "--qps", "200")
    assert text.exit_code == 0
    assert text.stdout.startswith("50,000,000 faces of 128 features, 200 searches a second, each with an image\n")
    assert "outside the server" in text.stdout
    document = answered(invoke, "--faces", "50e6", "--qps", 200)
    assert document["possible"] is True
    assert document["machines"] == document["shards"] * document["replicas"] > 1
    assert document["sharding"] is True
    assert {"what": "faces in the store", "times": 50.0} in next(
        each["beyond"] for each in document["figures"] if each["name"] == "store"
    )


def test_what_cannot_be_had_is_said_with_status_1(invoke: Invoke) -> None:
    document = answered(invoke, "--faces", 1000, "--qps", 4000, status=1)
    assert document["possible"] is False
    assert document["obstacles"] == ["one log, which every call waits for, takes 3,058 calls a second at 70%"]
    document = answered(invoke, "--faces", "1e10", "--qps", 1, "--target-ms", 1, status=1)
    assert document["machines"] == 0
    assert document["obstacles"][0].startswith("the target: ")
    assert {each["name"] for each in document["figures"]} == {"store", "ledger growth a month"}
    document = answered(invoke, "--faces", "1e10", "--qps", 1, "--memory", 1, status=1)
    assert document["obstacles"][0].startswith("memory: ")


@pytest.mark.parametrize("faces", ["0", "-1", "nan", "inf", "-inf", "1e30", "1.5", "many", ""])
def test_faces_that_are_no_number_of_faces(invoke: Invoke, faces: str) -> None:
    result = invoke("capacity", "--faces", faces, "--qps", "1")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Invalid value for '--faces'" in result.stderr


@pytest.mark.parametrize(
    ("option", "given"),
    [
        ("--qps", "0"),
        ("--qps", "nan"),
        ("--qps", "1e9"),
        ("--qps", "-5"),
        ("--dimension", "100"),
        ("--cores", "0"),
        ("--cores", "2.5"),
        ("--memory", "nan"),
        ("--bandwidth", "-1"),
        ("--target-ms", "0"),
        ("--by", "user"),
        ("--tier", "graph"),
    ],
)
def test_other_values_that_cannot_be(invoke: Invoke, option: str, given: str) -> None:
    result = invoke("capacity", "--faces", "1000", "--qps", "1", option, given)
    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr


@pytest.mark.parametrize("words", [[], ["--faces", "10"], ["--qps", "1"]])
def test_both_have_to_be_said(invoke: Invoke, words: list[str]) -> None:
    result = invoke("capacity", *words)
    assert result.exit_code == 2
    assert "--faces N --qps Q" in result.stderr


def test_the_constants_are_shown_with_their_sources(invoke: Invoke) -> None:
    document = answered(invoke, "--constants")
    assert [each["name"] for each in document["constants"]] == list(MEASURED.constants)
    assert all(each["printed_by"] and each["machine"]["title"] for each in document["constants"])
    assert "python -m bench ledger" in invoke("capacity", "--constants").stdout


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("value = 2.1\n", "value = -2.1\n", "value of opened_row is not a positive number"),
        ("value = 2.1\n", "value = nan\n", "value of opened_row is not a positive number"),
        ("value = 2.1\n", "value = true\n", "value of opened_row is not a positive number"),
        ("[opened_row]", "[opened_rows]", "opened_row, opened_rows"),
        ('in = "calls"\n', "", "the members of ledger_call"),
        ("tail = 1.74 ", "# tail ", "wire lacks a tail"),
        ("tail = 1.47 ", "title = 1.47 ", "the members of exact.128"),
        ('by = "library"', 'by = "hearsay"', "hearsay"),
        ('machine = "a"', 'machine = "z"', "cannot be read"),
        ("[decode]", "[decode", "cannot be read"),
        ("cores = 2", "cores = 2\nkernels = 3", "cannot be read"),
    ],
)
def test_a_file_of_figures_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    text = figures.PATH.read_text("utf-8")
    assert old in text
    path = tmp_path / "measured.toml"
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(figures.MeasuredError, match=said):
        figures.read(path)
