"""The first load of a file: what kills the interpreter kills a child, and what passed is not asked again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime import probe
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.probe import ensure_loads, known_good_file


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(subprocess, "run", refuse)


def test_the_aborting_model_does_abort_a_process(aborting_model: Path) -> None:
    # Without this the next test would prove nothing: the file must be one the interpreter dies of.
    code = (
        "import sys; from ai_edge_litert.interpreter import Interpreter;"
        "Interpreter(model_path=sys.argv[1]).allocate_tensors()"
    )
    child = subprocess.run([sys.executable, "-c", code, str(aborting_model)], capture_output=True, check=False)
    assert child.returncode < 0


def test_a_file_that_aborts_the_interpreter_gets_one_line(aborting_model: Path, empty_cache: Path) -> None:
    with pytest.raises(ModelError, match="SIGABRT") as caught:
        Engine(aborting_model)
    message = str(caught.value)
    assert aborting_model.name in message and "\n" not in message
    assert "INFO" not in message  # the interpreter's own log is no cause
    assert not known_good_file().exists()


def test_a_file_that_passed_is_not_asked_again(
    tiny_models: dict[str, Path], empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tiny_models["person_uint8"]
    ensure_loads(path)
    assert known_good_file().is_relative_to(empty_cache)
    (entry,) = json.loads(known_good_file().read_text())
    assert " auto " in entry
    started: list[object] = []
    monkeypatch.setattr(probe, "_load_in_child", lambda *arguments: started.append(arguments))
    renamed = tmp_path / "renamed.tflite"
    renamed.write_bytes(path.read_bytes())
    ensure_loads(renamed)
    assert started == []
    ensure_loads(path, kernels="reference")  # other kernels may fail where these did not
    renamed.write_bytes(tiny_models["person_int8"].read_bytes())
    ensure_loads(renamed)  # another content under the same name
    assert len(started) == 2


@pytest.mark.parametrize("content", ["", "[1, 2", '{"a": 1}', "[3, null]"])
def test_a_damaged_cache_is_no_cache(tiny_models: dict[str, Path], empty_cache: Path, content: str) -> None:
    known_good_file().parent.mkdir(parents=True)
    known_good_file().write_text(content)
    ensure_loads(tiny_models["person_uint8"])
    assert len(json.loads(known_good_file().read_text())) == 1


def test_a_cache_that_cannot_be_written_stops_nothing(
    tiny_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    ensure_loads(tiny_models["person_uint8"])


def test_a_bundled_model_is_trusted(
    tiny_models: dict[str, Path], empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_child: None
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    (assets / "portrait.tflite").write_bytes(tiny_models["person_uint8"].read_bytes())
    monkeypatch.setattr("edge_deeplab.runtime.bundled.assets_folder", lambda: assets)
    ensure_loads(assets / "portrait.tflite")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "no such model file"),
        (b"", "is empty"),
        (b"PK\3\4 not a model", "no TFLite model"),
        (b"\0\0", "no TFLite"),
    ],
)
def test_what_is_no_model_costs_no_child(tmp_path: Path, no_child: None, content: bytes | None, reason: str) -> None:
    path = tmp_path / "wrong.tflite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=reason):
        ensure_loads(path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_model_gets_one_line(
    tiny_models: dict[str, Path], tmp_path: Path, empty_cache: Path, share: float
) -> None:
    whole = tiny_models["person_uint8"].read_bytes()
    path = tmp_path / "half.tflite"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ModelError, match=r"half\.tflite") as caught:
        ensure_loads(path)
    assert "\n" not in str(caught.value)


def test_a_load_that_takes_too_long_is_given_up(tiny_models: dict[str, Path], empty_cache: Path) -> None:
    with pytest.raises(ModelError, match="does not load in time"):
        ensure_loads(tiny_models["person_uint8"], timeout_s=0.001)


def test_the_child_imports_nothing_from_the_working_folder(
    tiny_models: dict[str, Path], empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    ensure_loads(tiny_models["person_uint8"])


def test_a_name_with_spaces_and_umlauts_loads(tiny_models: dict[str, Path], empty_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "Größe 1 人.tflite"
    path.write_bytes(tiny_models["person_uint8"].read_bytes())
    with Engine(path) as engine:
        assert engine.inputs[0].dtype.name == "uint8"
