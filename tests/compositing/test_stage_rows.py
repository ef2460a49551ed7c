"""The rows of benchmarks/live_quality.py: every option of compositing is a stage with a row, or said to be none."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from edge_deeplab.compositing.options import CompositingOptions


@pytest.fixture(scope="module")
def rows(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("live_quality_rows", repository / "benchmarks/live_quality_rows.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_every_option_has_a_row_that_changes_it_alone_or_is_no_stage(rows: ModuleType) -> None:
    default, changed = CompositingOptions(), set()
    for name, options in rows.stage_variants().items():
        different = [
            field.name for field in dataclasses.fields(default)
            if getattr(default, field.name) != getattr(options, field.name)
        ]  # fmt: skip
        assert len(different) == 1, name
        assert different[0] in name, name
        changed |= set(different)
    assert changed | rows.NO_STAGE == {field.name for field in dataclasses.fields(default)}
    assert not changed & rows.NO_STAGE


def test_a_stage_that_is_on_is_named_off_and_the_other_way_round(rows: ModuleType) -> None:
    on, off = (
        CompositingOptions(refines_edges=True, smoothing=0.7),
        CompositingOptions(refines_edges=False, smoothing=0),
    )
    assert rows.stage_variants(on)["no refines_edges"].refines_edges is False
    assert rows.stage_variants(off)["with refines_edges"].refines_edges is True
    assert rows.stage_variants(on)["no smoothing"].smoothing == 0
    assert rows.stage_variants(off)["smoothing 0.475"].smoothing == 0.475


def test_a_perfect_matte_and_nobody_leave_the_plain_row_as_it_says(rows: ModuleType) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    row = rows.PlainRow()
    np.testing.assert_array_equal(row.make(frame, np.ones((8, 8), np.float32)).picture_bgr, frame)
    np.testing.assert_array_equal(row.make(frame, np.zeros((8, 8), np.float32)).picture_bgr, row.behind(frame))


def test_ours_shows_where_nobody_is_what_it_shows_behind(rows: ModuleType) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (96, 128, 3)).astype(np.uint8)
    row = rows.OurRow(CompositingOptions())
    made = row.make(frame, np.zeros((32, 32), np.float32))
    assert made.alpha.max() == 0
    np.testing.assert_array_equal(made.picture_bgr, row.behind(frame))


def test_the_usual_script_shows_whole_what_is_above_a_tenth(rows: ModuleType) -> None:
    masks = np.array([[[0.05, 0.2]]], np.float32)
    clip = rows.PeerClip(masks, {}, {})
    np.testing.assert_array_equal(clip.make("usual", 0, None).alpha, [[0, 1]])
    np.testing.assert_array_equal(clip.make("careful", 0, None).alpha, masks[0])
