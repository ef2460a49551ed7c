"""The page and its charts: well-formed, self-contained, complete; and safe from names that hold markup."""

from __future__ import annotations

import dataclasses
import math
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.imaging.svg_drawing import Scale, nice_step
from edge_deeplab.profiling import svg_charts
from edge_deeplab.profiling.energy import EnergyReport
from edge_deeplab.profiling.engine import describe_model, profile_engine
from edge_deeplab.profiling.history import History
from edge_deeplab.profiling.host import describe_host
from edge_deeplab.profiling.html_page import profile_page
from edge_deeplab.profiling.latency import MeasureOptions
from edge_deeplab.profiling.operators import profile_operators
from edge_deeplab.profiling.peaks import MachinePeaks
from edge_deeplab.profiling.report import FrameProfile, ProfileReport
from edge_deeplab.profiling.stages import profile_stages
from edge_deeplab.profiling.startup import StartupReport, StartupStep

QUICK = MeasureOptions(warmup=1, runs=5, min_runs=1)
VOID = {"meta", "br", "hr", "img", "input", "link"}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ProfileReport:
    path = tmp_path_factory.mktemp("page") / "small.tflite"
    path.write_bytes(bright_segmenter(io="uint8").to_bytes())
    steps = tuple(
        StartupStep(
            name=name, took_ms=50.0, at_ms=50.0 * (index + 1), peak_memory_bytes=(40 + index) << 20,
            is_ready=index == 1, held_memory_bytes=30 << 20,
        )
        for index, name in enumerate(("interpreter", "load", "steady"))
    )  # fmt: skip
    return ProfileReport(
        host=describe_host(),
        engine=("ai-edge-litert", "2.3.0"),
        model=describe_model(path),
        latency=tuple(profile_engine(path, threads=threads, options=QUICK) for threads in (1, 2)),
        model_start=StartupReport(steps=steps, runs=3),
        frame=FrameProfile(
            size_wh=(640, 360), threads=1, opencv_threads=2, pixel_kernels="compiled",
            result="portrait blur", shows="astronaut",
            stages=profile_stages(lambda: {"prepare": 0.001, "invoke": 0.002}, options=QUICK),
        ),
        operators=profile_operators(path, options=QUICK),
        peaks=MachinePeaks(
            threads=1, kernels="auto", int8_gops=400.0, float32_gops=100.0, memory_gb_s=20.0, cache_gb_s=80.0
        ),
        energy=EnergyReport(
            source="powercap package-0", idle_w=4.0, busy_w=14.0, gross_mj=56.0, net_mj=40.0, inferences=750,
            duration_s=3.0,
        ),
        vitals={
            "before": {"governors": ["powersave"], "current_mhz": [800, 900], "temperatures_c": {"cpu": 41.0}},
            "after": {"governors": ["powersave"], "current_mhz": [3500, 3600], "temperatures_c": {"cpu": 62.0}},
        },
        measured_at="2026-01-02T03:04:05+00:00",
        edge_deeplab="0.1.0",
        notes=("The machine was busy.",),
    )  # fmt: skip


class Outline(HTMLParser):
    """Checks that tags nest, and collects text, attributes and how often each tag came."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.values: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value or "" for _, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_page_is_well_formed_and_stands_alone(report: ProfileReport) -> None:
    page = profile_page(report)
    outline = Outline(page)
    assert outline.open == []
    assert outline.tags.count("svg") == 7  # timeline, histogram, kinds, along the network, roofline, frame, one start
    assert "script" not in outline.tags and "link" not in outline.tags
    assert not any("//" in value for value in outline.values)


def test_every_figure_is_there_in_words(report: ProfileReport) -> None:
    words = Outline(profile_page(report)).words
    for fact in (
        "small.tflite", report.model.sha256, report.host.cpu_name, "2026-01-02T03:04:05+00:00", "The machine was busy.",
        "CONV_2D", "int8 products", "400.0", "640 x 360", "prepare", "40.00 mJ", "powersave",
        "800..900, 3500..3600 MHz", "62 °C", "steady", "profiler",
    ):  # fmt: skip
        assert fact in words, fact


def test_every_chart_says_what_it_is_and_has_a_table_near(report: ProfileReport) -> None:
    outline = Outline(profile_page(report))
    assert outline.tags.count("figure") == outline.tags.count("svg") == outline.tags.count("figcaption")
    assert outline.tags.count("table") >= outline.tags.count("section")


def test_what_was_not_measured_is_left_out(report: ProfileReport) -> None:
    bare = dataclasses.replace(
        report, operators=None, peaks=None, frame=None, model_start=None, energy=None, vitals=None, notes=(),
        latency=tuple(dataclasses.replace(row, samples_ms=()) for row in report.latency),
    )  # fmt: skip
    outline = Outline(profile_page(bare))
    assert "svg" not in outline.tags and outline.open == []
    assert "Roofline" not in outline.words and "Start-up" not in outline.words


def test_names_that_hold_markup_stay_names(report: ProfileReport) -> None:
    nasty = "<script>alert('x')</script>&\"'"
    model = dataclasses.replace(report.model, name=nasty, file=nasty)
    assert report.operators is not None
    rows = tuple(dataclasses.replace(row, layer="<i>", name=nasty) for row in report.operators.rows)
    changed = dataclasses.replace(
        report, model=model, notes=(nasty,), operators=dataclasses.replace(report.operators, rows=rows)
    )
    outline = Outline(profile_page(changed))
    assert "script" not in outline.tags and outline.open == []
    assert nasty in outline.words and "<i>" in outline.words


def test_a_history_says_what_is_over(report: ProfileReport) -> None:
    slow = dataclasses.replace(
        report,
        latency=tuple(
            dataclasses.replace(row, latency=dataclasses.replace(row.latency, median_ms=row.latency.median_ms * 2))
            for row in report.latency
        ),
    )
    page = profile_page(slow, History.of(slow, report, source="then.json", max_ratio=1.1))
    assert "then.json" in page and page.count('class="over"') == 2 and 'class="held"' in page


CHARTS = {
    "bars": svg_charts.bars([("a", 1.0, "1 ms"), ("b", 0.0, "0 ms")], title="t"),
    "bars of nothing": svg_charts.bars([], title="t"),
    "columns": svg_charts.columns(
        [(1.0, 0, "x"), (0.0, 9, "y")], title="t", y_label="y", x_label="x", legend=[("a", 0)]
    ),
    "columns of nothing": svg_charts.columns([], title="t", y_label="y", x_label="x", legend=[]),
    "timeline": svg_charts.timeline([("1 thread", [1.0, 2.0, 900.0]), ("2 threads", [1.0])], title="t"),
    "timeline of one": svg_charts.timeline([("1 thread", [1.0])], title="t"),
    "histogram": svg_charts.histogram([("1 thread", [1.0, 1.1, 40.0]), ("2 threads", [2.0])], title="t"),
    "histogram of equals": svg_charts.histogram([("1 thread", [1.0, 1.0])], title="t"),
    "roofline": svg_charts.roofline(
        [(10.0, 50.0, 3.0, 0, "a"), (0.2, 0.01, 3.0, 1, "b")], roofs=[("int8", 400.0)], slopes=[("cache", 80.0)],
        title="t", legend=[("a", 0)],
    ),
    "steps": svg_charts.steps([("load", 0.0, 10.0, 0, "10 ms")], title="t"),
    "stacked": svg_charts.stacked([("prepare", 0.3, 0, "x"), ("rest", 0.7, 1, "y")], title="t"),
    "stacked of nothing": svg_charts.stacked([], title="t"),
}  # fmt: skip


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_an_svg_whose_marks_lie_inside(name: str) -> None:
    root = ElementTree.fromstring(CHARTS[name])
    _, _, width, height = (float(value) for value in root.attrib["viewBox"].split())
    for mark in root.iter():
        for key, limit in {"x": width, "cx": width, "x1": width, "y": height, "cy": height, "y2": height}.items():
            if key in mark.attrib:
                value = float(mark.attrib[key])
                assert math.isfinite(value) and -1 <= value <= limit + 1, (mark.tag, key, value)


def test_higher_values_stand_higher_and_twice_is_twice() -> None:
    root = ElementTree.fromstring(svg_charts.bars([("a", 1.0, ""), ("b", 2.0, "")], title="t"))
    widths = [float(mark.attrib["width"]) for mark in root.iter("rect")]
    assert widths[1] == pytest.approx(2 * widths[0], abs=0.2)
    root = ElementTree.fromstring(
        svg_charts.columns([(1.0, 0, ""), (3.0, 0, "")], title="t", y_label="", x_label="", legend=[])
    )
    heights = [float(mark.attrib["height"]) for mark in root.iter("rect")]
    assert heights[1] == pytest.approx(3 * heights[0], abs=0.2)


@pytest.mark.parametrize("is_log", [False, True])
def test_a_scale_maps_its_ends_and_holds_what_is_beyond(is_log: bool) -> None:
    scale = Scale(1.0, 1000.0, 50.0, 850.0, is_log=is_log)
    assert (scale(1.0), scale(1000.0), scale(0.5), scale(2000.0)) == (50.0, 850.0, 50.0, 850.0)
    assert all(1.0 <= tick <= 1000.0 for tick in scale.ticks()) and len(scale.ticks()) >= 3
    if is_log:
        assert scale(10.0) - scale(1.0) == pytest.approx(scale(100.0) - scale(10.0))


@pytest.mark.parametrize(("rough", "step"), [(0.9, 1.0), (1.0, 1.0), (1.2, 2.0), (3.0, 5.0), (0.07, 0.1), (600, 1000)])
def test_steps_of_an_axis_are_round(rough: float, step: float) -> None:
    assert nice_step(rough) == pytest.approx(step)
