"""`countenance calibrate`: a fit to one's own images goes before the shipped one, if it keeps its promises."""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from tests.unit.evaluation.made_up import NumbersEngine, unit
from tests.unit.recognition import small_models

from countenance import recognition
from countenance.assembly import open_service
from countenance.config import Settings
from countenance.evaluation.promises import halves
from countenance.recognition import ModelPackError, calibrations, modelpack

Invoke = Callable[..., Result]

PEOPLE = 1_600
MODELS = Path("data/models")
WORKING = Path("data/calibrating")


class CrowdEngine(NumbersEngine):
    """Features around a centre for each person, which lies towards that of a relative where the image names one."""

    dimension = 32  # type: ignore[assignment]
    stop_after = 0

    def analyse(self, image: bytes) -> Any:
        if self.stop_after and len(self.seen) >= self.stop_after:
            raise KeyboardInterrupt
        return super().analyse(image)

    def extract(self, analysis: Any, faces: Any) -> np.ndarray:
        person, relative = (int(each) for each in analysis.image.split(b".")[:2])
        centre = np.random.default_rng(person).standard_normal(self.dimension)
        if relative != person:
            share = 0.55 + 0.3 * np.random.default_rng(person).random()
            whose = np.random.default_rng(relative).standard_normal(self.dimension)
            centre = share * whose + np.sqrt(1 - share**2) * centre
        own = np.random.default_rng(list(analysis.image)).standard_normal(self.dimension)
        return np.repeat(unit((centre + 0.3 * own)[None]), len(faces), axis=0)

    def close(self) -> None:
        pass


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Builds engines of numbers; how each was asked for."""
    built: list[dict[str, Any]] = []

    def build(**how: Any) -> CrowdEngine:
        built.append(how)
        return CrowdEngine()

    monkeypatch.setattr(recognition, "build_engine", build)
    return built


def crowd(folder: Path, *, people: int = PEOPLE, related: bool = False) -> Path:
    """A folder per person, one image each and of some two.

    Args:
        related: of those who are not fitted on, every second is a relative of another of them.
    """
    others = np.flatnonzero(~halves(np.arange(people)))
    of = dict(zip(others[1::2].tolist(), others[::2].tolist(), strict=False)) if related else {}
    for person in range(people):
        (folder / f"{person:05}").mkdir(parents=True)
        for image in range(2 if person % 10 == 0 else 1):
            (folder / f"{person:05}" / f"{image}.jpg").write_bytes(
                b"%d.%d.%d" % (person, of.get(person, person), image)
            )
    return folder


def finding(invoke: Invoke, subject: str = "calibration") -> dict[str, Any]:
    told = json.loads(invoke("doctor", "--json").stdout)["findings"]
    return next(each for each in told if each["subject"] == subject)


def listed(invoke: Invoke) -> str:
    packs = json.loads(invoke("models", "list", "--json").stdout)["packs"]
    return str(next(each["calibration"] for each in packs if each["name"] == modelpack.DEFAULT_PACK))


def pack() -> modelpack.ModelPack:
    return modelpack.load(modelpack.DEFAULT_PACK, MODELS)


def test_ones_own_goes_before_the_shipped_one_and_back(
    invoke: Invoke, tmp_path: Path, engines: list[dict[str, Any]]
) -> None:
    photos = crowd(tmp_path / "photos")
    (photos / "00003" / "1.jpg").write_bytes(b"none")
    assert listed(invoke) == "shipped"
    shipped = finding(invoke)
    assert shipped["detail"].startswith("shipped, fitted on LFW View 1")

    ran = invoke("calibrate", photos, "--json")
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["kept"]
    assert told["broken"] == []
    assert told["without_a_face"] == 1
    assert (told["people"], told["images"]) == (PEOPLE, PEOPLE + PEOPLE // 10)
    assert told["checked"]["people_fitted_on"] == told["checked"]["people_checked_on"] == PEOPLE // 2
    assert [each["similarity"] for each in told["checked"]["promises"]] == [80.0, 90.0, 99.0, 99.9]
    at_80 = told["checked"]["promises"][0]
    assert at_80["fmr"]["low"] <= 1e-4 <= at_80["fmr"]["high"]
    assert at_80["fnmr"]["of"] == int((~halves(np.arange(PEOPLE)))[::10].sum())
    assert len(told["expected"]) == 12
    assert engines == [{**engines[0], "pack": modelpack.DEFAULT_PACK, "is_calibrating": True}]
    assert not WORKING.exists()

    text = modelpack.calibration_text(pack(), MODELS)
    assert text == Path(told["path"]).read_text()
    kept = json.loads(text)
    assert kept["weights"] == modelpack.weights_named(pack())
    assert kept["fitted_on"] == "photos"
    assert text != pack().shipped_calibration
    assert listed(invoke) == "own"
    own = finding(invoke)
    assert own["state"] == "ok"
    assert own["detail"].startswith("own, fitted on photos, 1,760 images, at 20")
    assert told["sha256"] in own["detail"]
    assert told["before"] == {"calibration": "shipped", "sha256": shipped["detail"].rpartition(" ")[2]}

    back = invoke("calibrate", "--remove", "--json")
    assert back.exit_code == 0, back.output
    assert json.loads(back.stdout)["calibration"] == "shipped"
    assert modelpack.calibration_text(pack(), MODELS) == pack().shipped_calibration
    assert finding(invoke) == shipped
    again = invoke("calibrate", "--remove")
    assert again.exit_code == 1
    assert "None was fitted" in again.stderr


def test_a_broken_promise_is_not_kept_unless_somebody_says_so(
    invoke: Invoke, tmp_path: Path, engines: list[dict[str, Any]]
) -> None:
    photos = crowd(tmp_path / "photos", related=True)
    ran = invoke("calibrate", photos)
    assert ran.exit_code == 1
    assert "BROKEN" in ran.stdout
    assert "Nothing was kept" in ran.stderr
    assert "--accept-broken" in ran.stderr
    assert listed(invoke) == "shipped"
    assert not WORKING.exists()

    accepted = invoke("calibrate", photos, "--accept-broken", "--json")
    assert accepted.exit_code == 0, accepted.output
    assert 80.0 in json.loads(accepted.stdout)["broken"]
    assert listed(invoke) == "own"
    assert "kept with a promise that was seen broken" in finding(invoke)["detail"]


def test_a_dry_run_says_the_same_and_keeps_nothing(
    invoke: Invoke, tmp_path: Path, engines: list[dict[str, Any]]
) -> None:
    photos = crowd(tmp_path / "photos")
    ran = invoke("calibrate", photos, "--dry-run")
    assert ran.exit_code == 0, ran.output
    assert "1,760 images of 1,600 people" in ran.stdout
    assert "1,000,000 REFERENCES" in ran.stdout
    assert "100 (100.0 %)" in ran.stdout
    assert "Nothing was kept" in ran.stderr
    assert listed(invoke) == "shipped"
    assert not WORKING.exists()


@pytest.mark.parametrize(
    ("header", "rows", "said"),
    [
        ("a,b,same", ["0.jpg,1.jpg,1"], "comparisons that somebody chose"),
        ("image,identity,role", ["0.jpg,x,gallery", "1.jpg,x,probe"], "a gallery and probes"),
    ],
)
def test_what_does_not_have_all_pairs_is_refused(
    invoke: Invoke, tmp_path: Path, engines: list[dict[str, Any]], header: str, rows: list[str], said: str
) -> None:
    for name in ("0.jpg", "1.jpg"):
        (tmp_path / name).write_bytes(b"0.0.0")
    (tmp_path / "set.csv").write_text("\n".join([header, *rows]) + "\n")
    ran = invoke("calibrate", tmp_path / "set.csv")
    assert ran.exit_code == 3
    assert said in ran.stderr
    assert "a folder for each person, or a CSV that begins with `image,identity`" in ran.stderr
    assert engines == []


def test_too_few_people_are_told_how_many_it_takes_before_any_is_looked_at(
    invoke: Invoke, tmp_path: Path, engines: list[dict[str, Any]]
) -> None:
    ran = invoke("calibrate", crowd(tmp_path / "photos", people=400), "--json")
    assert ran.exit_code == 3
    error = json.loads(ran.stderr)["error"]
    assert error["message"].startswith("400 people are too few: half of them make 2")
    needed = int(error["hint"].split("some ")[1].split(" people")[0].replace(",", ""))
    assert 1_350 <= needed <= 1_500  # of 1.1 images each
    assert "1,600 do" in error["hint"]
    assert engines == []
    assert not WORKING.exists()


def test_images_without_a_face_do_not_count(invoke: Invoke, tmp_path: Path, engines: list[dict[str, Any]]) -> None:
    photos = crowd(tmp_path / "photos")
    for person in range(0, PEOPLE, 3):
        for image in (photos / f"{person:05}").iterdir():
            image.write_bytes(b"none")
    ran = invoke("calibrate", photos)
    assert ran.exit_code == 3
    assert "1,600 people are too few" in ran.stderr
    assert len(engines) == 1
    assert not WORKING.exists()


def test_a_run_that_was_stopped_goes_on(
    invoke: Invoke, tmp_path: Path, engines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = crowd(tmp_path / "photos")
    monkeypatch.setattr(CrowdEngine, "stop_after", 300)
    assert invoke("calibrate", photos).exit_code == 130
    assert (WORKING / "features" / "features.f32").is_file()
    assert (WORKING / "features").stat().st_mode & 0o077 == 0
    with (WORKING / "features" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        another = invoke("calibrate", photos)
    assert another.exit_code == 3
    assert "wait until it is done" in another.stderr
    monkeypatch.setattr(CrowdEngine, "stop_after", 0)
    ran = invoke("calibrate", photos, "--json")
    assert ran.exit_code == 0, ran.output
    assert 250 <= json.loads(ran.stdout)["resumed"] <= 300
    assert not WORKING.exists()


def test_one_of_other_weights_is_not_used_and_the_doctor_says_so(invoke: Invoke) -> None:
    path = modelpack.calibration_path(pack(), MODELS)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({**small_models.CALIBRATION, "weights": {"features": "0" * 64}}))
    assert listed(invoke) == "shipped"
    found = finding(invoke)
    assert found["state"] == "warning"
    assert found["detail"].startswith("shipped")
    assert "is not used" in found["detail"]
    with pytest.raises(ModelPackError, match="other weights"):
        calibrations.keep(pack(), MODELS, {**small_models.CALIBRATION, "weights": {}})


def test_one_of_scores_without_the_mirror_image_counts_for_those_alone(invoke: Invoke) -> None:
    fitted = {**small_models.CALIBRATION, "weights": modelpack.weights_named(pack())}
    other = not pack().flip
    kept = calibrations.keep(pack(), MODELS, fitted, flip=other)
    assert kept.stem == pack().version_with(other)
    origins = {flip: calibrations.in_force(pack(), MODELS, flip=flip) for flip in (None, pack().flip, other)}
    assert [each and each.origin for each in origins.values()] == ["shipped", "shipped", "own"]
    assert listed(invoke) == "shipped"
    assert not calibrations.remove(pack(), MODELS)
    assert calibrations.remove(pack(), MODELS, flip=other)


def test_a_source_or_a_way_back(invoke: Invoke, tmp_path: Path) -> None:
    assert invoke("calibrate").exit_code == 2
    assert invoke("calibrate", tmp_path, "--remove").exit_code == 2


def test_the_log_says_which_calibration_a_server_started_with(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", model_pack="small", inference_workers=1, inference_threads=1)
    models = settings.data_dir / "models"
    settings.data_dir.mkdir(mode=0o700)
    small_models.install(models)

    def started() -> list[dict[str, str]]:
        with open_service(settings) as assembled:
            periods = assembled.register.ledger.periods
            assert periods is not None
            said: list[dict[str, str]] = json.loads(periods.rows.leaves_of_kind("start")[-1][1])["models"]
            in_use = assembled.service.engine.calibration.sha256
        assert in_use == said[-1]["sha256"]
        return said

    small = modelpack.load("small", models)
    shipped = calibrations.in_force(small, models)
    assert shipped is not None
    assert started()[2:] == [{"name": "calibration.json", "sha256": shipped.sha256}]
    calibrations.keep(small, models, {**small_models.CALIBRATION, "weights": modelpack.weights_named(small)})
    own = calibrations.in_force(small, models)
    assert own is not None
    assert own.sha256 != shipped.sha256
    assert started()[2:] == [{"name": f"calibrations/{small.model_version}.json", "sha256": own.sha256}]


def test_no_server_starts_with_another_calibration_than_its_entry_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path / "data", model_pack="small", inference_workers=1, inference_threads=1)
    settings.data_dir.mkdir(mode=0o700)
    small_models.install(settings.data_dir / "models")
    read = calibrations.in_force

    def replaced_afterwards(
        pack: modelpack.ModelPack, models: Path, *, flip: bool | None
    ) -> calibrations.InForce | None:
        found = read(pack, models, flip=flip)
        weights = modelpack.weights_named(pack)
        calibrations.keep(pack, models, {**small_models.CALIBRATION, "weights": weights})
        return found

    monkeypatch.setattr(calibrations, "in_force", replaced_afterwards)
    with pytest.raises(ModelPackError, match="replaced while the server started"), open_service(settings):
        pass


@pytest.mark.slow
def test_real_photographs_make_a_calibration_that_is_told_by(invoke: Invoke, tmp_path: Path, test_data: Path) -> None:
    source = test_data / "faces" / "lfw_view1"
    if not source.is_dir():
        pytest.skip(f"{source} is missing")
    with (source / "labels.csv").open(newline="") as rows:
        first = {row["identity"]: row["image"] for row in reversed(list(csv.DictReader(rows)))}
    chosen = sorted(first.items())[:PEOPLE]
    (tmp_path / "some.csv").write_text("image,identity\n" + "".join(f"{image},{name}\n" for name, image in chosen))
    ran = invoke(
        "calibrate", tmp_path / "some.csv", "--images", source / "images", "--face", "middle", "--json",
        "--jobs", os.cpu_count() or 1,
    )  # fmt: skip
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    score = next(each["comparison_score"] for each in told["points"] if each["similarity"] == 80.0)
    shipped = json.loads(pack().shipped_calibration)
    assert score == pytest.approx(
        next(each["comparison_score"] for each in shipped["points"] if each["similarity"] == 80.0), abs=0.03
    )
    engine = recognition.build_engine(cache_dir=MODELS, threads=1, workers=1, switched_on=())
    try:
        assert engine.calibration.comparison_score(80.0) == pytest.approx(score)
    finally:
        engine.close()


def test_the_doctor_warns_when_the_shipped_one_was_fitted_with_the_other_setting_of_flip(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finding(invoke)["state"] == "ok"
    monkeypatch.setenv("COUNTENANCE_FLIP", "false" if pack().flip else "true")
    told = finding(invoke)
    assert told["state"] == "warning"
    assert "other setting of flip" in told["detail"]
