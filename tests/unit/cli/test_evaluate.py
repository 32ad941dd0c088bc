"""`countenance evaluate` from images to report, with the real models; and a page that lets nothing run."""

from __future__ import annotations

import base64
import csv
import io
import json
import os
import re
import shutil
import stat
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.unit.evaluation.made_up import NumbersEngine, crowd, labels

from countenance.cli import main
from countenance.cli.evaluate import _bar
from countenance.cli.evaluation_report import render
from countenance.cli.evaluation_summary import one_in, percent, summary
from countenance.evaluation.dataset import Dataset
from countenance.evaluation.evaluating import Evaluation, measure
from countenance.evaluation.featurestore import Done, Features


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["evaluate", *map(str, arguments)])


@pytest.fixture
def johns(test_data: Path, tmp_path: Path) -> Path:
    """A folder per person, of a few public photographs, and one image without a face."""
    source = test_data / "faces" / "dlib_johns"
    if not source.is_dir():
        pytest.skip(f"{source} is missing")
    taken: dict[str, int] = {}
    with (source / "labels.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            count = taken[row["identity"]] = taken.get(row["identity"], 0) + 1
            if count <= 4:
                target = tmp_path / "johns" / row["identity"] / Path(row["image"]).name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source / row["image"], target)
    assert len(taken) >= 2
    Image.new("RGB", (320, 240), "grey").save(target.with_name("blank.png"))
    return tmp_path / "johns"


def test_a_folder_of_photographs_becomes_a_report(johns: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = run(johns, "--out", out, "--data", tmp_path / "data", "--rounds", 100, "--json")
    assert ran.exit_code == 0, ran.output
    answer = json.loads(ran.stdout)
    people = [each for each in johns.iterdir() if each.is_dir()]
    images = sum(len(list(each.iterdir())) for each in people)
    assert answer["images"] == images
    assert answer["subjects"] == len(people)
    assert answer["failure_to_acquire"]["images"]["errors"] == 1
    assert [each["image"].split("/")[1] for each in answer["without_a_face"]] == ["blank.png"]
    counts = [len(list(each.iterdir())) for each in people]
    assert answer["genuine_comparisons"] == sum(n * (n - 1) // 2 for n in counts)
    at_80 = next(each for each in answer["at_similarity"] if each["similarity"] == 80.0)
    blank = len(list((johns / answer["without_a_face"][0]["image"]).parent.iterdir())) - 1
    assert at_80["fnmr"]["errors"] == at_80["fnmr_acquired"]["errors"] + blank
    assert at_80["fnmr_acquired"]["value"] < 0.5  # these are real people, told apart by real inference
    assert at_80["fmr"]["value"] < 0.1
    assert answer["lowest_genuine"][0]["similarity"] <= answer["lowest_genuine"][-1]["similarity"]
    assert (
        answer["identification"]["probes_without_a_face"] + answer["identification"]["references_without_a_face"] == 1
    )
    stored = json.loads((out / "report.json").read_text("utf-8"))
    assert {**stored, "out": str(out), "features_kept": False} == answer
    assert sorted(each.name for each in out.iterdir()) == ["report.html", "report.json"]
    for each in out.iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    shown = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", (out / "report.html").read_text("utf-8"))
    assert len(shown) > 10
    for each in shown:
        picture = Image.open(io.BytesIO(base64.b64decode(each)))
        assert picture.format == "JPEG"
        assert max(picture.size) <= 160


def test_a_second_run_of_kept_features_extracts_nothing(johns: Path, tmp_path: Path) -> None:
    first = run(johns, "--out", tmp_path / "out", "--data", tmp_path / "data", "--rounds", 100, "--keep-features")
    assert first.exit_code == 0, first.output
    assert (tmp_path / "out" / "features" / "features.f32").is_file()
    again = run(johns, "--out", tmp_path / "out", "--data", tmp_path / "data", "--rounds", 100)
    assert again.exit_code == 0, again.output
    assert "images had been extracted by an earlier run" in again.stdout
    assert not (tmp_path / "out" / "features").exists()
    figures = [line for line in first.stdout.splitlines() if line.startswith(("80", "99"))]
    assert figures
    assert set(figures) <= set(again.stdout.splitlines())


def test_what_is_measured_is_averaged_with_mirror_images_as_the_server_is_told_to(
    johns: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTENANCE_FLIP", "false")
    ran = run(johns, "--out", tmp_path / "out", "--data", tmp_path / "data", "--rounds", 100, "--json")
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["face_model"].endswith("-noflip")


def test_what_cannot_be_evaluated_is_told(tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere").exit_code == 2
    assert run(tmp_path, "--face", "left").exit_code == 2
    table = tmp_path / "set.csv"
    table.write_text("image,identity\ncat.jpg,cat\n", "utf-8")
    ran = run(table, "--json", "--out", tmp_path / "out")
    assert ran.exit_code == 3
    told = json.loads(ran.stderr)["error"]
    assert f"{table}, line 2: there is no file" in told["message"]
    assert not (tmp_path / "out").exists()
    person = tmp_path / "people" / "cat"
    person.mkdir(parents=True)
    Image.new("RGB", (320, 240), "grey").save(person / "blank.png")
    ran = run(tmp_path / "people", "--out", tmp_path / "out", "--data", tmp_path / "data")
    assert ran.exit_code == 3
    assert "None of 1 images gave a face" in ran.stderr
    assert not (tmp_path / "out" / "features").exists()


def test_a_terminal_gets_a_bar_that_says_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with _bar(2_000) as progress:
            progress("extracting", 1_500)
            time.sleep(0.3)  # the bar is drawn ten times a second
            progress("comparing", 0.5)
    seen = b""
    while b"comparing" not in seen:
        try:
            portion = os.read(ours, 65536)
        except OSError:  # the other end is closed, and nothing is left
            break
        if not portion:
            break
        seen += portion
    os.close(ours)
    assert b"1,500/2,000" in seen
    assert b"comparing" in seen


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>.jpg'


def measured(dataset: Dataset, features: np.ndarray, usable: np.ndarray) -> Evaluation:
    done = tuple(
        Done(at, 1, 1, 1, None, 99.0, None if ok else "<b>no face</b>", 0) for at, ok in enumerate(usable.tolist())
    )
    found: Evaluation = measure(
        Features(features, done, 0, None),
        dataset,
        NumbersEngine(),  # type: ignore[arg-type]
        face="largest",
        rounds=100,
        seed=1,
    )
    return found


@pytest.fixture
def hostile(tmp_path: Path) -> Evaluation:
    features, whose = crowd(30, 3, seed=1)
    usable = np.ones(len(whose), np.bool_)
    usable[0] = False
    plain = labels(whose)
    dataset = Dataset(
        form=plain.form,
        source=tmp_path / HOSTILE.replace("/", ":"),
        root=tmp_path,
        images=tuple(f"{at}{HOSTILE}" for at in range(len(whose))),
        subjects=tuple(f"<script>{at}</script>\x1b[31m" for at in range(30)),
        subject_of=plain.subject_of,
        groups={"<svg onload=alert(1)>": tuple("<i>a</i>" if at % 2 else "\udcff'\"" for at in range(30))},
    )
    return measured(dataset, features, usable)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_names_from_elsewhere_are_text_in_the_report(hostile: Evaluation) -> None:
    page = render(hostile)
    page.encode("utf-8")  # also of names that are no text
    tags = Tags()
    tags.feed(page)
    names = {tag for tag, _ in tags.seen}
    assert "script" not in names
    assert "i" not in names
    assert "b" not in names
    for tag, attributes in tags.seen:
        assert not [each for each in attributes if each.startswith("on") or each == "style"]
        assert tag != "a"
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/jpeg;base64,")
    assert "&lt;script&gt;" in page
    assert "\x1b" not in page


def test_the_page_lets_nothing_run_or_load(hostile: Evaluation) -> None:
    tags = Tags()
    tags.feed(render(hostile))
    (policy,) = [each["content"] for _, each in tags.seen if each.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not [each for tag, each in tags.seen if tag in ("link", "iframe", "object", "embed", "form", "base")]


def test_a_picture_too_large_for_the_engine_is_not_decoded_for_the_report(
    hostile: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := hostile.dataset.path(0)).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 30), "grey").save(path, "PNG")
    assert render(hostile).count("data:image/jpeg") > 0
    monkeypatch.setattr("countenance.cli.evaluation_report.MAX_PIXELS", 1_199)
    assert render(hostile).count("data:image/jpeg") == 0


def test_charts_have_a_text_in_their_place(hostile: Evaluation) -> None:
    tags = Tags()
    tags.feed(render(hostile))
    charts = [each for tag, each in tags.seen if tag == "svg"]
    assert len(charts) == 3
    for each in charts:
        assert each["role"] == "img"
        assert len(str(each["aria-label"])) > 20


def test_the_summary_and_the_document_hold_the_same(hostile: Evaluation) -> None:
    document = json.loads(json.dumps(hostile.to_json()))
    lines = "\n".join(summary(hostile))
    at_80 = next(each for each in document["at_similarity"] if each["similarity"] == 80.0)
    assert percent(at_80["fmr"]["value"]) in lines
    assert "too few" in lines  # 1 in 1,000,000 of 4,000 comparisons
    assert document["at_fmr"][-1]["fnmr"] is None
    assert document["differentials"][0]["groups"][0]["subjects"] == 15
    assert sum(document["histograms"]["impostor"]) == document["at_similarity"][0]["fmr"]["of"]


@pytest.mark.parametrize(
    ("share", "in_words", "in_percent"),
    [
        (1e-4, "1 in 10,000", "0.0100 %"),
        (9.956e-6, "1 in 100,000", "0.000996 %"),
        (0.02256, "1 in 44", "2.26 %"),
        (0.5, "1 in 2.0", "50.0 %"),
        (0.0, "none", "0 %"),
        (None, "-", "-"),
    ],
)
def test_shares_in_words(share: float | None, in_words: str, in_percent: str) -> None:
    assert one_in(share) == in_words
    assert percent(share) == in_percent
