"""LiteRT's own profiler, asked through its C library; and what happens where it cannot be asked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.runtime import native_profiler
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.native_profiler import NativeProfilerError, main, native_library, profile_operators


def test_every_operator_of_the_bundled_model_is_reported() -> None:
    path = bundled_model("portrait")
    graph = TfliteFile.read(path)
    times = profile_operators(path, warmup=1, runs=5)
    assert len(times.operators) == len(graph.operators)
    assert times.elapsed_us.shape == (5, len(graph.operators))
    assert [(o.name, o.node) for o in times.operators if o.node is not None] == [("QUANTIZE", 0), ("QUANTIZE", 83)]
    assert {o.partition for o in times.operators} == {None, 0}
    assert sum("DWConv" in operator.name for operator in times.operators) == 22
    assert (times.elapsed_us.sum(axis=1) <= times.whole_us).all()  # the parts fit into the whole, each run


def test_without_a_delegate_operators_carry_the_files_names_and_numbers() -> None:
    path = bundled_model("portrait")
    times = profile_operators(path, kernels="builtin", warmup=0, runs=2)
    graph = TfliteFile.read(path)
    assert [(o.name, o.node) for o in times.operators] == [(o.name, o.index) for o in graph.operators]


def test_float_inputs_are_filled_with_numbers(tmp_path: Path) -> None:
    path = tmp_path / "float.tflite"
    path.write_bytes(bright_segmenter(io="float32").to_bytes())
    times = profile_operators(path, warmup=0, runs=3)
    assert times.whole_us.shape == (3,)
    assert np.isfinite(times.elapsed_us).all()


def test_an_engine_without_the_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_profiler, "LIBRARY_NAMES", ("libNowhere.so",))
    assert native_library() is None
    with pytest.raises(NativeProfilerError, match="brings no profiler"):
        profile_operators(bundled_model("portrait"))


def test_kernels_that_the_library_does_not_run_are_refused() -> None:
    with pytest.raises(NativeProfilerError, match="reference"):
        profile_operators(bundled_model("portrait"), kernels="reference")


def test_a_library_that_ends_the_child_ends_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A real shared library without the functions, and a child that dies of a signal."""
    other = Path(np._core._multiarray_umath.__file__)
    monkeypatch.setattr(native_profiler, "native_library", lambda: other)
    with pytest.raises(NativeProfilerError, match="CreateEnvironment"):
        profile_operators(bundled_model("portrait"))
    killer = tmp_path / "python"
    killer.write_text("#!/bin/sh\nkill -ABRT $$\n")
    killer.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(killer))
    with pytest.raises(NativeProfilerError, match="exit -6"):
        profile_operators(bundled_model("portrait"))


def test_the_child_says_in_one_line_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "no.so"), str(bundled_model("portrait")), "1", "delegate", "0", "1"]) == 1
    assert "no.so" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", '{"operators": [["a", null]], "elapsed_us": [[1, 2]], "whole_us": [3]}']
)
def test_an_answer_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(NativeProfilerError):
        native_profiler._read_answer(line)


def test_events_of_an_unknown_size_are_read_and_nonsense_is_refused() -> None:
    names = [b"first\0", b"second\0"]
    import ctypes

    kept = [ctypes.create_string_buffer(name) for name in names]
    head, tail = native_profiler._HEAD, native_profiler._TAIL
    for memory_bytes in (0, 32, 64, 96):  # two figures of memory use, begin and end, of versions gone and to come
        room = b"".join(
            head.pack(ctypes.addressof(tag), 2, 10, 7 + number) + bytes(memory_bytes) + tail.pack(40 + number, 0, 1)
            for number, tag in enumerate(kept)
        )
        room += b"\xaa" * (2 * 1024 - len(room))
        assert native_profiler._read_events(room, 2) == [("first", 2, 7, 40), ("second", 2, 8, 41)]
    with pytest.raises(NativeProfilerError):
        native_profiler._read_events(b"\xaa" * 4096, 2)
    with pytest.raises(NativeProfilerError):
        native_profiler._read_events(bytes(208) + b"\xaa" * 1000, 2)
