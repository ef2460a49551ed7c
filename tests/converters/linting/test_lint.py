"""Every rule on a model with its fault and on the same model without it; on files of others; on the bundled one."""

from __future__ import annotations

import dataclasses
import functools
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import Graph, bright_segmenter
from lint_pairs import CASES, PAIRS, Net

from edge_deeplab.cli import inspect_command
from edge_deeplab.converters.inspect import ModelReport, find_left_overs, inspect_model
from edge_deeplab.converters.linting.lint import (
    DEVICES,
    SEVERITIES,
    Finding,
    at_or_above,
    cost_of,
    lint_model,
    measured_costs,
)
from edge_deeplab.converters.linting.lint_rules import RULES
from edge_deeplab.converters.publish import publish
from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.flatbuffer import TfliteFile

MANIFEST = Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(32, 32))
# Variants that only time is measured of: the width without the fault is a multiple of 8, too.
ONLY_TIMED = ("odd-channels:24 against 32",)
ASK_THE_ENGINE = ("outside-delegate", "unequal-scales", "hard-swish-int8", "dynamic-shape")


def lint_file(path: Path, device: str = "xnnpack") -> dict[str, Finding]:
    report = inspect_model(path)
    return {finding.rule: finding for finding in lint_model(TfliteFile.read(path), report, device=device)}


@functools.cache
def good_report() -> ModelReport:
    return inspect_model(bundled_model("portrait"))


def lint_graph(graph: Graph) -> dict[str, Finding]:
    """As lint_file, without loading the model: as if the delegate took all of it."""
    model = TfliteFile.from_bytes(graph.to_bytes())
    left_overs, requantizers = find_left_overs(model)
    report = dataclasses.replace(good_report(), rows=(), left_overs=left_overs, requantizers=requantizers)
    return {finding.rule: finding for finding in lint_model(model, report)}


def saved(tmp_path: Path, graph: Graph) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(graph.to_bytes())
    return path


@pytest.mark.parametrize("case", sorted(set(CASES) - set(ONLY_TIMED)))
def test_a_rule_finds_its_fault_and_nothing_without_it(tmp_path: Path, case: str) -> None:
    rule = case.partition(":")[0]
    fault, clean = PAIRS[case]()
    if rule in ASK_THE_ENGINE:
        found, found_without = lint_file(saved(tmp_path, fault)), lint_file(saved(tmp_path, clean))
    else:
        found, found_without = lint_graph(fault), lint_graph(clean)
    assert found[rule].places
    assert rule not in found_without


def test_every_rule_is_tested_and_has_a_cost_or_a_source() -> None:
    ids = [rule.id for rule in RULES]
    tested = {case.partition(":")[0] for case in CASES} | {
        "does-not-load", "both-corners", "fixed-scales", "uneven-resize", "custom-operator", "control-flow",
        "no-manifest", "no-metadata", "device-operators",
    }  # fmt: skip
    assert sorted(ids) == sorted(set(ids)) and set(ids) == tested
    assert [rule.id for rule in RULES if not rule.sources and cost_of(rule.id) is None] == ["device-operators"]
    assert {rule.severity for rule in RULES} <= set(SEVERITIES)


def test_every_pair_has_been_timed_but_the_one_that_does_not_load() -> None:
    document = measured_costs()
    assert set(document["costs"]) == set(CASES) - {"unequal-scales"}
    assert document["threads"] == 1 and document["host"]
    for name, cost in document["costs"].items():
        assert 0 < cost["low"] <= cost["ratio"] <= cost["high"] and cost["case"] == CASES[name][1]


def test_a_cost_within_the_noise_is_called_none(monkeypatch: pytest.MonkeyPatch) -> None:
    case = {"clean_ms": 1.0, "case": "a, against b"}
    costs = {
        "none": {**case, "fault_ms": 1.0, "ratio": 1.0, "low": 0.99, "high": 1.01},
        "small": {**case, "fault_ms": 1.1, "ratio": 1.1, "low": 1.08, "high": 1.12},
        "large": {**case, "fault_ms": 64.6, "ratio": 64.6, "low": 64.0, "high": 65.0},
    }
    document = {"host": "a machine", "costs": costs}
    monkeypatch.setattr("edge_deeplab.converters.linting.lint.measured_costs", lambda: document)
    assert cost_of("none") == "no time of its own: a, against b (a machine, 1 thread)"
    assert cost_of("small") == "1.10 times, 1.10 against 1.00 ms: a, against b (a machine, 1 thread)"
    assert str(cost_of("large")).startswith("65 times,")
    assert cost_of("never measured") is None


def test_the_bundled_model_has_nothing_above_info() -> None:
    found = lint_file(bundled_model("portrait"))
    assert {finding.severity for finding in found.values()} == {"info"}
    assert {"uint8-ends", "resize-inside"} <= set(found)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deeplabv3_257_mv_gpu", {"no-manifest", "no-metadata", "resize-inside"}),
        (
            "deeplabv3_mnv2_pascal_quant",
            {"uint8-network", "per-tensor-weights", "no-manifest", "no-metadata", "outside-delegate", "argmax-inside",
             "argmax-int64", "resize-inside"},
        ),
        ("tf2_mobilenet_v2_1.0_224_ptq", {"no-manifest", "softmax-inside"}),
    ],
)  # fmt: skip
def test_warnings_of_files_of_others(shared: Path, name: str, expected: set[str]) -> None:
    found = lint_file(shared / "models" / f"{name}.tflite")
    assert {rule for rule, finding in found.items() if finding.severity != "info"} == expected


def test_a_file_that_aborts_the_interpreter_is_an_error_with_its_cause(tmp_path: Path) -> None:
    net = Net((1, 4, 4, 8))
    net.tensors[net.input].scales = (1.0,)
    found = lint_file(saved(tmp_path, net.graph(net.sum(net.input, net.input, scale=2.0**-20))))
    assert found["does-not-load"].severity == found["add-scales"].severity == "error"
    assert "SIGABRT" in found["does-not-load"].places[0].detail
    assert "aborts the process" in found["add-scales"].places[0].detail


@pytest.mark.parametrize(("ratio", "is_found"), [(255, False), (257, True), (1 / 1000, False), (1 / 1100, True)])
def test_add_scales_are_found_just_where_the_delegate_leaves_them(tmp_path: Path, ratio: float, is_found: bool) -> None:
    net = Net((1, 8, 8, 8))
    net.tensors[net.input].scales = (1.0,)
    x = net.conv(net.input, 8, scale=ratio)
    net.conv(x, 8, scale=1.0)
    path = saved(tmp_path, net.graph(net.sum(x, net.operators[-1].outputs[0], scale=1.0)))
    report = inspect_model(path)
    found = {finding.rule for finding in lint_model(TfliteFile.read(path), report)}
    assert ("add-scales" in found) is is_found
    assert (report.rows[-1].is_delegated is False) is is_found


def test_both_corner_rules_at_once_are_an_error_that_the_plain_kernels_share(tmp_path: Path) -> None:
    from edge_deeplab.runtime.interpreter import Engine

    net = Net((1, 9, 9, 8))
    path = saved(tmp_path, net.graph(net.resize(net.input, (17, 17), align=True, half_pixel=True)))
    assert lint_file(path)["both-corners"].severity == "error"
    with pytest.raises(ModelError, match="align_corners must be False"):
        Engine(path, kernels="builtin")
    assert "device-operators" in lint_file(path, "gpu")


@pytest.mark.parametrize("kind", ["LOGISTIC", "TANH"])
def test_an_output_scale_that_the_specification_fixes(kind: str) -> None:
    net = Net((1, 8, 8, 8))
    graph = net.graph(net.unary(kind, net.input, scale=0.1))
    assert "fixed-scales" in lint_graph(graph)
    made = net.tensors[net.operators[-1].outputs[0]]
    made.scales, made.zero_points = ((1 / 256,), (-128,)) if kind == "LOGISTIC" else ((1 / 128,), (0,))
    assert "fixed-scales" not in lint_graph(graph)


def test_plain_kernels_hand_unequal_scales_on_as_wrong_numbers(tmp_path: Path) -> None:
    """Why unequal scales are an error: 2.0 in, 4.0 out of a RESHAPE, which no rounding explains."""
    from edge_deeplab.runtime.interpreter import Engine

    net = Net((1, 2, 2, 4))
    shape = net.constant(np.array([1, 4, 4], np.int32))
    made = net.add("RESHAPE", (net.input, shape), (1, 4, 4), ("ReshapeOptions", {"newShape": [1, 4, 4]}), scale=0.1)
    path = saved(tmp_path, net.graph(made))
    assert lint_file(path)["unequal-scales"].severity == "error"
    with Engine(path) as engine:
        (out,) = engine.run(np.full((1, 2, 2, 4), 40, np.int8))  # 40 * 0.05 = 2.0
    assert (out * np.float32(0.1) == 4.0).all()


@pytest.mark.parametrize(
    ("few", "many", "align", "is_found"),
    [
        (33, 65, True, False),
        (33, 64, True, True),
        (32, 64, False, False),
        (33, 64, False, True),
        (64, 32, False, False),
    ],
)
def test_a_resize_by_no_whole_factor(few: int, many: int, align: bool, is_found: bool) -> None:
    net = Net((1, few, few, 8))
    graph = net.graph(net.resize(net.input, (many, many), align=align, half_pixel=not align))
    assert ("uneven-resize" in lint_graph(graph)) is is_found


def test_a_resize_from_one_pixel_is_the_same_under_every_rule() -> None:
    net = Net((1, 1, 1, 8))
    found = lint_graph(net.graph(net.resize(net.input, (33, 33), align=False, half_pixel=False)))
    assert not {"legacy-corners", "mixed-corners", "uneven-resize"} & set(found)


def test_odd_channels_weigh_by_their_share_of_the_work() -> None:
    net = Net((1, 32, 32, 8))
    x = net.conv(net.conv(net.input, 128), 128)
    few = lint_graph(net.graph(net.conv(net.conv(x, 9), 8)))["odd-channels"]
    assert few.severity == "info" and "adds" in few.places[0].detail
    net = Net((1, 32, 32, 8))
    many = lint_graph(net.graph(net.conv(net.conv(net.conv(net.input, 33), 33), 8)))["odd-channels"]
    assert many.severity == "warning"
    assert "33 to 33" in [place.detail for place in many.places]


def test_pictures_and_classes_are_no_odd_channels() -> None:
    assert "odd-channels" not in lint_graph(bright_segmenter())


def test_an_enlarged_output_weighs_by_its_size() -> None:
    for size, severity in ((128, "info"), (513, "warning")):
        net = Net((1, 33, 33, 8))
        found = lint_graph(net.graph(net.resize(net.conv(net.input, 21), (size, size))))["resize-inside"]
        assert found.severity == severity and f"33x33x21 to {size}x{size}x21" in found.places[0].detail


def test_a_resize_inside_the_network_is_not_its_output() -> None:
    net = Net((1, 16, 16, 8))
    assert "resize-inside" not in lint_graph(net.graph(net.conv(net.resize(net.input, (32, 32)), 8)))


def test_float16_weights_are_no_float_island(tmp_path: Path) -> None:
    net = Net((1, 8, 8, 8), "float32")
    assert "float-island" not in lint_file(saved(tmp_path, net.graph(net.conv(net.input, 8))))


def test_custom_operators_and_more_subgraphs_are_warned_of(tmp_path: Path) -> None:
    from edge_deeplab.runtime.flatbuffer import tflite_schema
    from edge_deeplab.runtime.rewrite import pack_model

    model = tflite_schema().ModelT.InitFromPackedBuf(bright_segmenter().to_bytes(), 0)
    code = model.operatorCodes[0]
    code.builtinCode = code.deprecatedBuiltinCode = tflite_schema().BuiltinOperator.CUSTOM
    code.customCode = "FlexConv2D"
    model.subgraphs.append(model.subgraphs[0])
    path = tmp_path / "custom.tflite"
    path.write_bytes(pack_model(model))
    found = lint_file(path)
    assert found["custom-operator"].places[0].operator == "CUSTOM:FlexConv2D"
    assert "1 more subgraphs" in found["control-flow"].places[0].detail
    assert "does-not-load" in found


def test_a_published_file_says_of_itself_what_programs_need(tmp_path: Path) -> None:
    path = saved(tmp_path, bright_segmenter())
    assert {"no-manifest", "no-metadata"} <= set(lint_file(path))
    path.write_bytes(publish(bright_segmenter(io="uint8").to_bytes(), MANIFEST))
    assert not {"no-manifest", "no-metadata"} & set(lint_file(path))


def test_the_converter_itself_leaves_dilations_apart_for_an_open_batch(tmp_path: Path) -> None:
    """The fault as users make it: a dilated depthwise convolution, converted with an open batch."""
    tf = pytest.importorskip("tensorflow")
    kernel = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 8, 1)).astype(np.float32))

    def dilated(image):  # type: ignore[no-untyped-def]
        return tf.nn.depthwise_conv2d(image, kernel, [1, 1, 1, 1], "SAME", dilations=[2, 2])

    found = {}
    for batch in (None, 1):
        function = tf.function(dilated).get_concrete_function(tf.TensorSpec((batch, 16, 16, 8), tf.float32))
        path = tmp_path / f"{batch}.tflite"
        path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
        found[batch] = set(lint_file(path))
    assert {"space-to-batch", "dynamic-shape"} <= found[None]
    assert not {"space-to-batch", "dynamic-shape"} & found[1]


@pytest.mark.parametrize("device", ["gpu", "edgetpu"])
def test_what_a_device_does_not_take_is_named_with_its_sources(tmp_path: Path, device: str) -> None:
    fault, clean = PAIRS["argmax-inside"]()
    found = lint_file(saved(tmp_path, fault), device)["device-operators"]
    assert [place.operator for place in found.places] == ["ARG_MAX"]
    assert all(source.startswith("https://") for source in found.sources) and found.sources
    assert "device-operators" not in lint_file(saved(tmp_path, clean), device)


def test_the_edge_tpu_stops_at_the_first_refused_operator(tmp_path: Path) -> None:
    fault, _ = PAIRS["hard-swish-int8"]()
    path = saved(tmp_path, fault)
    places = lint_file(path, "edgetpu")["device-operators"].places
    assert [place.operator for place in places] == ["HARD_SWISH", "CONV_2D"]
    assert "everything after the first refused" in places[1].detail
    assert "device-operators" not in lint_file(path, "gpu")


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("batch", "only the three innermost"),
        ("dynamic-shape", "open until the model runs"),
        ("hybrid-weights", "float32"),
    ],
)
def test_edge_tpu_limits_on_tensors(tmp_path: Path, case: str, reason: str) -> None:
    fault, _ = PAIRS[case]()
    places = lint_file(saved(tmp_path, fault), "edgetpu")["device-operators"].places
    assert reason in places[0].detail


def test_a_softmax_over_a_map_is_beyond_the_edge_tpu(tmp_path: Path) -> None:
    fault, _ = PAIRS["softmax-inside"]()
    (place,) = lint_file(saved(tmp_path, fault), "edgetpu")["device-operators"].places
    assert place.detail == "softmax of 1x65x65x21: it must be one-dimensional"


def test_an_unknown_device_lists_the_known_ones() -> None:
    model = TfliteFile.read(bundled_model("portrait"))
    with pytest.raises(UsageError, match="edgetpu, gpu, xnnpack"):
        lint_model(model, good_report(), device="gpus")


def test_findings_come_gravest_first_and_go_into_json(shared: Path) -> None:
    found = list(lint_file(shared / "models" / "deeplabv3_mnv2_dm05_pascal_quant.tflite").values())
    grades = [SEVERITIES.index(finding.severity) for finding in found]
    assert grades == sorted(grades, reverse=True)
    assert len(at_or_above(found, "info")) == len(found) > len(at_or_above(found, "warning")) > 0
    assert at_or_above(found, "error") == ()
    assert json.loads(json.dumps([finding.to_dict() for finding in found]))[0]["places"]


def test_the_command_offers_what_the_linter_knows() -> None:
    assert inspect_command.DEVICES == DEVICES and inspect_command.SEVERITIES == SEVERITIES


def test_linting_reaches_no_tensorflow() -> None:
    import subprocess

    code = "import sys, edge_deeplab.converters.linting.lint_rules; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
