"""Which file of a pair runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.runtime import bundled, precision
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.precision import CACHE_FILE, choose_precision, user_cache_folder


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled models with one pair, both files real, and one model without a twin."""
    original = bundled_model("portrait")
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("pair.tflite", "pair.float16.tflite", "alone.tflite"):
        shutil.copy(original, folder / name)
    monkeypatch.setattr(bundled, "assets_folder", lambda: folder)
    return folder


def as_timed(monkeypatch: pytest.MonkeyPatch, **took_ms: float) -> list[int]:
    """Puts latencies in place of the timing; the list grows by one entry a timing."""
    timings: list[int] = []

    def time_files(files: dict[str, Path], threads: int) -> dict[str, float]:
        timings.append(threads)
        return took_ms

    monkeypatch.setattr(precision, "_time", time_files)
    return timings


@pytest.mark.parametrize(("int8", "float16", "wins"), [(2.0, 5.0, "int8"), (5.0, 2.0, "float16")])
def test_the_faster_file_of_a_pair_runs(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, int8: float, float16: float, wins: str
) -> None:
    as_timed(monkeypatch, int8=int8, float16=float16)
    chosen = choose_precision("pair", threads=1, cache_folder=tmp_path)
    assert chosen.precision == wins
    assert chosen.path == pair / {"int8": "pair.tflite", "float16": "pair.float16.tflite"}[wins]
    assert wins in str(chosen) and "timed now" in str(chosen)


def test_the_answer_is_remembered_for_this_processor_pair_and_threads(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = as_timed(monkeypatch, int8=2.0, float16=5.0)
    first = choose_precision("pair", threads=1, cache_folder=tmp_path)
    again = choose_precision("pair", threads=1, cache_folder=tmp_path)
    assert (first.is_remembered, again.is_remembered) == (False, True)
    assert again.path == first.path and "as timed earlier" in str(again)
    choose_precision("pair", threads=2, cache_folder=tmp_path)
    monkeypatch.setattr(precision, "_processor", lambda: "another one")
    choose_precision("pair", threads=1, cache_folder=tmp_path)
    with (pair / "pair.tflite").open("ab") as file:
        file.write(b"another model")
    choose_precision("pair", threads=1, cache_folder=tmp_path)
    assert timings == [1, 2, 1, 1]


def test_both_files_are_really_timed(pair: Path, tmp_path: Path) -> None:
    took_ms = choose_precision("pair", threads=1, cache_folder=tmp_path).took_ms
    assert took_ms is not None and set(took_ms) == {"int8", "float16"} and min(took_ms.values()) > 0
    (stored,) = json.loads((tmp_path / CACHE_FILE).read_text()).values()
    assert stored == took_ms


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"KEY": {"int8": "fast"}}', '{"KEY": {"int8": 1}}'])
def test_a_damaged_memory_is_made_anew(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    timings = as_timed(monkeypatch, int8=2.0, float16=5.0)
    choose_precision("pair", threads=1, cache_folder=tmp_path)
    (key,) = json.loads((tmp_path / CACHE_FILE).read_text())
    (tmp_path / CACHE_FILE).write_text(content.replace("KEY", key.replace('"', '\\"')))
    assert choose_precision("pair", threads=1, cache_folder=tmp_path).precision == "int8"
    assert len(timings) == 2


def test_a_cache_that_cannot_be_written_costs_only_the_timing(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = as_timed(monkeypatch, int8=2.0, float16=5.0)
    (tmp_path / "taken").write_text("a file where the folder would be")
    for _ in range(2):
        assert choose_precision("pair", threads=1, cache_folder=tmp_path / "taken").precision == "int8"
    assert len(timings) == 2


def test_a_precision_that_is_asked_for_is_not_timed(
    pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timings = as_timed(monkeypatch, int8=2.0, float16=5.0)
    wanted = {"int8": "pair.tflite", "float16": "pair.float16.tflite"}
    for name, file in wanted.items():
        assert choose_precision("pair", threads=1, precision=name, cache_folder=tmp_path).path == pair / file
    assert choose_precision("alone", threads=1, cache_folder=tmp_path).path == pair / "alone.tflite"
    assert not timings


def test_a_path_means_that_file(pair: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timings = as_timed(monkeypatch, int8=5.0, float16=2.0)
    mine = tmp_path / "mine.tflite"
    for path in (mine, mine.with_name("mine.float16.tflite")):
        shutil.copy(pair / "pair.tflite", path)
    for path in (mine, pair / "pair.tflite"):
        assert choose_precision(path, threads=1, cache_folder=tmp_path).path == path
    assert choose_precision("pair.float16", threads=1, cache_folder=tmp_path).path == pair / "pair.float16.tflite"
    assert not timings
    with pytest.raises(UsageError, match=r"mine\.tflite: precision float16 of a single file.*name the file"):
        choose_precision(mine, threads=1, precision="float16")


def test_what_is_not_there_is_said(pair: Path) -> None:
    with pytest.raises(ModelError, match="alone: is not bundled as float16"):
        choose_precision("alone", threads=1, precision="float16")
    with pytest.raises(UsageError, match=r"precision 'int4'.*auto, int8, float16"):
        choose_precision("pair", threads=1, precision="int4")


def test_the_memory_lies_where_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache_folder() == tmp_path / "edge-deeplab"
