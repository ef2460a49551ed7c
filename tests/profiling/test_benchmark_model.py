"""LiteRT's benchmark_model: no package here brings it, so its output is that of its documentation and bug reports, and
what runs is a program that prints it. The times are ours; layout and wording are the tool's.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.errors import EdgeDeepLabError, InputError
from edge_deeplab.profiling.benchmark_model import (
    operators_report,
    parse_benchmark_output,
    run_benchmark_model,
)
from edge_deeplab.runtime.flatbuffer import TfliteFile

HEAD = """STARTING!
Log parameter values verbosely: [0]
Num threads: [1]
Graph: [small.tflite]
Enable op profiling: [1]
Loaded model small.tflite
INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
Initialized session in 18.777ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=9 first=9791 curr=6295 min=5873 max=9831 avg=6758.2 std=4065

Inference timings in us: Init: 18777, First inference: 9791, Warmup (avg): 6758.2, Inference (avg): 5000
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.7227
Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t ModifyGraphWithDelegate\t    0.110\t    0.110\t 90.000%\t 90.000%\t   452.000\t        1\tModifyGraphWithDelegate/0
\t         AllocateTensors\t    0.012\t    0.012\t 10.000%\t100.000%\t     0.000\t        1\tAllocateTensors/0

Number of nodes executed: 2
"""
REGULAR = "Operator-wise Profiling Info for Regular Benchmark Runs:\n"
COLUMNS = (
    "============================== Run Order ==============================\n"
    "\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]\n"
)
TAIL = """
============================== Top by Computation Time ==============================
\t             [node type]\t  [first]\t [avg ms]\t     [%]\t  [cdf%]\t  [mem KB]\t[times called]\t[Name]
\t                 CONV_2D\t    9.000\t    9.000\t 60.000%\t 60.000%\t     0.000\t        1\t[net/logits]:1

Number of nodes executed: 3
"""


def row(kind: str, avg_ms: float, name: str, times: int = 1) -> str:
    return f"\t{kind:>24}\t    0.900\t {avg_ms:8.3f}\t 20.000%\t 20.000%\t     0.000\t{times:9}\t{name}\n"


FIRST, LAST = row("QUANTIZE", 1, "[image]:0"), row("QUANTIZE", 0.5, "[maps]:2")
INSIDE = row("Convolution (NHWC, QC8) IGEMM", 3, "Delegate/Convolution (NHWC, QC8) IGEMM:0")
NODE = row("TfLiteXNNPackDelegate", 3.1, "[net/logits]:3")
# Without a delegate; with XNNPACK's operators among the nodes; with them in a part of their own; LiteRT's own tool.
PLAIN = HEAD + REGULAR + COLUMNS + FIRST + row("CONV_2D", 3, "[net/logits]:1") + LAST + TAIL
AMONG = HEAD + REGULAR + COLUMNS + FIRST + INSIDE + LAST + TAIL
APART = HEAD + REGULAR + COLUMNS + FIRST + NODE + LAST + TAIL + "Delegate internal: \n" + COLUMNS + INSIDE + TAIL
LITERT = "".join(
    (
        "INFO: [./litert/tools/benchmark_litert_model.h:80] Model initialization:        18.78 ms\n",
        "INFO: [./litert/tools/benchmark_litert_model.h:90] Warmup (avg):         6.76 ms\n",
        "INFO: [./litert/tools/benchmark_litert_model.h:92] Inference (avg):      5.00 ms\n",
        "INFO: [./litert/tools/benchmark_litert_model.h:179]\n",
        COLUMNS,
        row("LiteRT::Run[buffer registration]", 0.014, "LiteRT::Run[buffer registration]/0"),
        FIRST,
        row("AllocateTensors", 0.291, "AllocateTensors/0", 0),
        INSIDE,
        LAST,
        row("LiteRT::Run[Buffer sync]", 0.012, "LiteRT::Run[Buffer sync]/0"),
        TAIL,
    )
)


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """QUANTIZE, CONV_2D, QUANTIZE."""
    path = tmp_path / "small.tflite"
    path.write_bytes(bright_segmenter(io="uint8").to_bytes())
    return path


@pytest.mark.parametrize("output", [PLAIN, AMONG, APART, LITERT], ids=["plain", "among", "apart", "litert"])
def test_every_form_gives_the_same_times(small: Path, output: str) -> None:
    run = parse_benchmark_output(output)
    assert (run.inference_ms, run.hidden_by) == (5.0, None)
    report = operators_report(TfliteFile.read(small), run, threads=1)
    assert [(row.index, row.name, row.time_ms) for row in report.rows] == [
        (0, "QUANTIZE", 1.0), (1, "CONV_2D", 3.0), (2, "QUANTIZE", 0.5),
    ]  # fmt: skip
    assert report.method == "benchmark_model" and not report.is_estimate
    assert report.sum_share == pytest.approx(4.5 / 5.0)


def test_all_timings_are_read_in_milliseconds() -> None:
    run = parse_benchmark_output(PLAIN)
    assert (run.init_ms, run.first_ms, run.warmup_ms) == pytest.approx((18.777, 9.791, 6.7582))
    large = parse_benchmark_output(PLAIN.replace("Inference (avg): 5000", "Inference (avg): 1.2345e+06"))
    assert large.inference_ms == pytest.approx(1234.5)


def test_old_columns_and_rows_without_numbers_are_read(small: Path) -> None:
    """Up to 2020 the tables had [start], nodes no number, and calls were not counted."""
    old = PLAIN.replace("[node type]\t  [first]", "[node type]\t          [start]\t  [first]")
    old = old.replace("\t    0.900\t", "\t  0.000\t    0.900\t").replace("\t        1\t[", "\t        0\t[")
    for index in range(3):
        old = old.replace(f"]:{index}\n", "]\n")
    report = operators_report(TfliteFile.read(small), parse_benchmark_output(old), threads=1)
    assert [row.time_ms for row in report.rows] == [1.0, 3.0, 0.5]


def test_operators_of_two_partitions_that_the_tool_adds_up_count_each_call() -> None:
    twice = AMONG.replace("        1\tDelegate/", "        2\tDelegate/")
    assert ("Convolution (NHWC, QC8) IGEMM", None, 6.0) in parse_benchmark_output(twice).operators


def test_a_tool_that_hides_operators_is_named(small: Path) -> None:
    run = parse_benchmark_output(APART.partition("Delegate internal")[0])
    assert run.hidden_by == "TfLiteXNNPackDelegate"
    with pytest.raises(InputError, match=r"2\.9\.1"):
        operators_report(TfliteFile.read(small), run, threads=1)


@pytest.mark.parametrize("output", ["", "usage: something else\n", "Inference timings in us: none\n"])
def test_what_is_no_output_of_the_tool_is_refused(output: str) -> None:
    with pytest.raises(InputError, match="no times"):
        parse_benchmark_output(output)


def test_a_tool_without_op_profiling_is_said(small: Path) -> None:
    with pytest.raises(InputError, match="lists no operators"):
        operators_report(TfliteFile.read(small), parse_benchmark_output(HEAD.partition("Profiling")[0]), threads=1)


def script(folder: Path, text: str) -> Path:
    tool = folder / "benchmark_model"
    tool.write_text(f"#!/bin/sh\n{text}\n")
    tool.chmod(0o755)
    return tool


def test_the_tool_is_asked_for_what_is_measured(small: Path, tmp_path: Path) -> None:
    (tmp_path / "output").write_text(AMONG)
    tool = script(tmp_path, f'echo "$@" > "{tmp_path}/asked"; cat "{tmp_path}/output"')
    run = run_benchmark_model(tool, small, threads=2, use_xnnpack=False, warmup=3, runs=7)
    assert run.inference_ms == 5.0
    asked = (tmp_path / "asked").read_text().split()
    assert {f"--graph={small}", "--num_threads=2", "--num_runs=7", "--warmup_runs=3", "--use_xnnpack=false",
            "--enable_op_profiling=true"} == set(asked)  # fmt: skip


def test_a_tool_that_fails_or_is_none_is_one_line(small: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeDeepLabError, match=r"exit 3: unknown flag"):
        run_benchmark_model(script(tmp_path, "echo unknown flag >&2; exit 3"), small)
    with pytest.raises(InputError, match="no such program"):
        run_benchmark_model(tmp_path / "nowhere", small)
    plain = tmp_path / "text"
    plain.write_text("no program")
    with pytest.raises(InputError, match="cannot be run"):
        run_benchmark_model(plain, small)
