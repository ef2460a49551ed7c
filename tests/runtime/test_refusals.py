"""Why the delegate leaves an operator: every cause on a real file, asked of the real delegate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import Graph, Tensor
from lint_pairs import PAIRS, Net

from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.refusals import AS_IT_IS, Refusal, ask_delegate, refusals_of, scale_ratios


def refusals(tmp_path: Path, graph: Graph) -> tuple[Refusal, ...]:
    path = tmp_path / "model.tflite"
    path.write_bytes(graph.to_bytes())
    return refusals_of(path, delegation_of(path))


@pytest.mark.parametrize(
    ("case", "operators", "reason"),
    [
        ("hard-swish-int8", ["HARD_SWISH"], "int8 is not taken, float32 is"),
        ("uint8-ends", ["QUANTIZE", "QUANTIZE"], "uint8 to int8 is not taken, int8 to int8 is"),
        ("asymmetric-weights", ["DEPTHWISE_CONV_2D"], "its weights have a zero point other than 0"),
        ("add-scales", ["ADD"], "an input's scale is 300 times its output's"),
        ("hybrid-weights", ["DEPTHWISE_CONV_2D"], "float32 with int8 weights is not taken, float32 is"),
        ("argmax-inside", ["ARG_MAX"], "not taken in any form tried: int8 to int64, with int32 indices, as float32"),
        ("space-to-batch", ["SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"], "not taken in any form tried: int8, as float32"),
        (
            "int16-activations",
            ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D"],
            "int16 with int8 weights is not taken, int8 is",
        ),
    ],
)
def test_the_cause_is_what_the_delegate_takes_when_it_is_changed(
    tmp_path: Path, case: str, operators: list[str], reason: str
) -> None:
    fault, _ = PAIRS[case]()
    found = refusals(tmp_path, fault)
    assert [refusal.operator for refusal in found] == operators
    assert found[0].reason.startswith(reason)
    assert AS_IT_IS in found[0].tried and AS_IT_IS not in found[0].taken


@pytest.mark.parametrize("case", ["hard-swish-int8", "asymmetric-weights", "space-to-batch", "int16-activations"])
def test_without_the_fault_nothing_is_refused(tmp_path: Path, case: str) -> None:
    _, clean = PAIRS[case]()
    assert refusals(tmp_path, clean) == ()


def test_a_fused_activation_is_named(tmp_path: Path) -> None:
    net = Net((1, 8, 8, 4), "float32")
    out = net.conv(net.input, 4, fused="")
    net.operators[-1].options[1]["fusedActivationFunction"] = 4  # TANH
    (found,) = refusals(tmp_path, net.graph(out))
    assert found.reason == "the fused activation TANH"


def test_a_size_computed_while_the_model_runs_is_named(tmp_path: Path) -> None:
    """The size of the picture itself, as networks of open size resize to."""
    net = Net((1, 8, 8, 4), "float32")
    shape = net.add("SHAPE", (net.input,), (4,), ("ShapeOptions", {"outType": 2}), dtype="int32")
    slices = tuple(net.constant(np.array([value], np.int32)) for value in (1, 3, 1))
    size = net.add("STRIDED_SLICE", (shape, *slices), (2,), ("StridedSliceOptions", {}), dtype="int32")
    out = net.add("RESIZE_BILINEAR", (net.input, size), (1, 8, 8, 4), ("ResizeBilinearOptions", {}))
    found = [refusal for refusal in refusals(tmp_path, net.graph(out)) if refusal.operator == "RESIZE_BILINEAR"]
    assert [refusal.reason for refusal in found] == ["the size to resize to is computed while the model runs"]


def test_constants_become_real_numbers_in_the_float_trial(tmp_path: Path) -> None:
    """The float trial of a convolution carries its kernel and its int32 bias along, else it would not load."""
    fault, _ = PAIRS["asymmetric-weights"]()
    (found,) = refusals(tmp_path, fault)
    assert "as float32" in found.taken


def test_a_file_that_ends_the_child_is_refused_and_the_others_are_answered() -> None:
    """ADD with an input scale of 2**20 times its output's: SIGABRT inside Prepare."""
    good, _ = PAIRS["argmax-inside"]()
    deadly = Net((1, 4, 4, 8))
    deadly.tensors[deadly.input].scales = (1.0,)
    out = deadly.sum(deadly.input, deadly.input, scale=2.0**-20)
    convolution = Net((1, 4, 4, 8))
    taken = convolution.graph(convolution.conv(convolution.input, 8))
    files = [graph.to_bytes() for graph in (taken, deadly.graph(out), good, taken)]
    assert ask_delegate(files) == [True, False, False, True]


def test_damaged_files_are_refused() -> None:
    net = Net((1, 4, 4, 8))
    whole = net.graph(net.conv(net.input, 8)).to_bytes()
    assert ask_delegate([whole[: len(whole) // 2], whole]) == [False, True]


def test_scale_ratios_leave_constants_of_other_types_out() -> None:
    from edge_deeplab.runtime.flatbuffer import TfliteFile

    fault, _ = PAIRS["add-scales"]()
    (add,) = (one for one in TfliteFile.from_bytes(fault.to_bytes()).operators if one.name == "ADD")
    assert scale_ratios(add) == pytest.approx((1.0, 300.0))


def test_names_the_causes_in_files_of_others(shared: Path) -> None:
    path = shared / "models" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    pool, argmax = refusals_of(path, delegation_of(path))
    assert (pool.operator, pool.reason) == ("AVERAGE_POOL_2D", "uint8 is not taken, float32 is")
    assert argmax.operator == "ARG_MAX" and argmax.taken == ()


def test_float16_weights_are_tried_with_the_operator_that_reads_them(tmp_path: Path) -> None:
    """A DEQUANTIZE that makes a constant comes along with its reader; alone it would have no input."""
    net = Net((1, 8, 8, 4), "float32")
    out = net.conv(net.input, 4, fused="")
    net.operators[-1].options[1]["fusedActivationFunction"] = 4
    kernel, half = net.operators[-1].inputs[1], "half"
    values = net.tensors[kernel].values
    assert values is not None
    net.tensors[half] = Tensor(name=half, values=values.astype(np.float16))
    net.tensors[kernel] = Tensor(name=kernel, shape=values.shape, dtype="float32")
    first = type(net.operators[-1])(
        name="DEQUANTIZE", inputs=(half,), outputs=(kernel,), options=("DequantizeOptions", {})
    )
    net.operators.insert(0, first)
    found = [refusal for refusal in refusals(tmp_path, net.graph(out)) if refusal.operator == "CONV_2D"]
    assert [refusal.reason for refusal in found] == ["the fused activation TANH"]
