from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.errors import InputError
from edge_deeplab.profiling.engine import describe_model, profile_engine
from edge_deeplab.profiling.history import check_comparable, compare_with, what_changed
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.operators import profile_operators
from edge_deeplab.profiling.report import FORMAT, ProfileReport, read_profile, write_json
from edge_deeplab.profiling.startup import StartupReport, StartupStep
from edge_deeplab.runtime.interpreter import engine_name

QUICK = MeasureOptions(warmup=1, runs=4, min_runs=1)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ProfileReport:
    path = tmp_path_factory.mktemp("history") / "small.tflite"
    path.write_bytes(bright_segmenter(io="uint8").to_bytes())
    step = StartupStep(
        name="ready", took_ms=90.0, at_ms=100.0, peak_memory_bytes=50 << 20, is_ready=True, held_memory_bytes=40 << 20
    )  # fmt: skip
    return ProfileReport(
        host=describe_host(),
        engine=engine_name(),
        model=describe_model(path),
        latency=tuple(profile_engine(path, threads=threads, options=QUICK) for threads in (1, 2)),
        model_start=StartupReport(steps=(step,), runs=1),
        operators=profile_operators(path, options=QUICK),
        vitals={"before": {"governors": ["performance"]}, "after": {"governors": ["performance"]}},
        measured_at="2026-01-02T03:04:05+00:00",
        edge_deeplab="0.1.0",
        notes=("a note",),
    )


def slower(report: ProfileReport, factor: float) -> ProfileReport:
    rows = [
        dataclasses.replace(row, latency=dataclasses.replace(row.latency, median_ms=row.latency.median_ms * factor))
        for row in report.latency
    ]
    return dataclasses.replace(report, latency=tuple(rows))


def test_a_profile_survives_its_file(report: ProfileReport, tmp_path: Path) -> None:
    write_json(tmp_path / "profile.json", report.to_dict())
    again = read_profile(tmp_path / "profile.json")
    assert again.to_dict() == report.to_dict()
    assert (again.host, again.model, again.operators) == (report.host, report.model, report.operators)


def test_a_profile_made_before_format_2_is_read(report: ProfileReport, tmp_path: Path) -> None:
    old: dict[str, Any] = json.loads(json.dumps(report.to_dict())) | {"format": 1}
    for key in ("measured_at", "edge_deeplab", "operators", "peaks", "energy", "vitals"):
        del old[key]
    for row in old["latency"]:
        del row["samples_ms"]
    for step in old["model_start"]["steps"]:
        del step["held_memory_bytes"]
    (tmp_path / "old.json").write_text(json.dumps(old))
    again = read_profile(tmp_path / "old.json")
    assert again.operators is None and again.measured_at is None
    assert compare_with(report, again)[0].ratio == 1.0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("not json", "is no JSON"),
        ("[]", "no profile"),
        ("{}", "no profile"),
        (json.dumps({"format": FORMAT + 1}), "another format"),
        (json.dumps({"format": FORMAT, "host": {}}), "no profile"),
    ],
)
def test_what_is_no_profile_is_one_line_naming_the_file(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "earlier.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        read_profile(path)
    assert "earlier.json" in str(caught.value) and "\n" not in str(caught.value)


def test_figures_that_both_have_are_held_against_each_other(report: ProfileReport) -> None:
    rows = {row.name: row for row in compare_with(slower(report, 1.2), report)}
    assert rows["inference, 1 thread(s), median ms"].ratio == pytest.approx(1.2)
    assert [name for name, row in rows.items() if row.exceeds(1.1)] == [
        "inference, 1 thread(s), median ms", "inference, 2 thread(s), median ms",
    ]  # fmt: skip
    assert rows["peak memory, model alone, MiB"].is_held and not rows["start, model alone, ms"].is_held
    assert not any(row.exceeds(1.3) for row in rows.values())


def test_getting_faster_never_exceeds_a_budget(report: ProfileReport) -> None:
    assert not any(row.exceeds(1.0) for row in compare_with(slower(report, 0.5), report))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"host": {"cpu_name": "Cortex-A76"}}, "processor"),
        ({"host": {"flags": ("avx2",)}}, "instructions"),
        ({"model": {"inputs": (("image", (1, 64, 64, 3), "uint8"),)}}, "input"),
    ],
)
def test_figures_of_another_world_are_refused(report: ProfileReport, change: dict[str, Any], words: str) -> None:
    host = dataclasses.replace(report.host, **change.get("host", {}))
    model = dataclasses.replace(report.model, **change.get("model", {}))
    with pytest.raises(InputError, match=words):
        check_comparable(report, host=host, model=model, kernels="auto", threads=(1,))


def test_other_kernels_and_other_threads_are_refused(report: ProfileReport) -> None:
    check_comparable(report, host=report.host, model=report.model, kernels="auto", threads=(2, 8))
    with pytest.raises(InputError, match="kernels"):
        check_comparable(report, host=report.host, model=report.model, kernels="builtin", threads=(1,))
    with pytest.raises(InputError, match="number of threads"):
        check_comparable(report, host=report.host, model=report.model, kernels="auto", threads=(8,))


def test_another_file_or_engine_is_allowed_and_said(report: ProfileReport) -> None:
    assert what_changed(report, report) == []
    model = dataclasses.replace(report.model, sha256="0" * 64)
    said = what_changed(dataclasses.replace(report, model=model, engine=("ai-edge-litert", "9.0")), report)
    assert len(said) == 2 and "0000000000000000" in said[0] and "9.0" in said[1]
