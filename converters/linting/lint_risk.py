"""The linter's rules about what goes wrong: files that do not load, wrong numbers, lost accuracy, missing facts.

    from edge_deeplab.converters.linting.lint_risk import RULES

What a sentence calls measured was seen on ai-edge-litert 2.3.0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from edge_deeplab.converters.inspect import ABORTING_ADD_RATIO, LARGEST_ADD_RATIO, SMALLEST_ADD_RATIO
from edge_deeplab.converters.linting.device_profiles import GPU_PAGE
from edge_deeplab.converters.linting.lint import (
    CONVOLUTIONS,
    ISSUE,
    QUANTIZATION_PAGE,
    RESIZES,
    XNNPACK_PAGE,
    Place,
    Rule,
    Subject,
    at,
    kernel_of,
)
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord
from edge_deeplab.runtime.refusals import scale_ratios

# Operators that move or choose stored values without rescaling them (the quantization specification's list).
SAME_SCALE = (
    "AVERAGE_POOL_2D", "BATCH_TO_SPACE_ND", "CONCATENATION", "GATHER", "MAX_POOL_2D", "MIRROR_PAD", "PAD", "RESHAPE",
    "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "SLICE", "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SQUEEZE",
    "STRIDED_SLICE", "TRANSPOSE",
)  # fmt: skip
FIXED_SCALE = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}


def _does_not_load(subject: Subject) -> list[Place]:
    error = subject.report.load_error
    return [] if error is None else [Place(operator="file", detail=error)]


def _unequal_scales(subject: Subject) -> Iterator[Place]:
    for operator in subject.named(*SAME_SCALE):
        made = operator.outputs[0]
        for tensor in operator.inputs:
            if tensor is None or tensor.dtype != "int8" or made.dtype != "int8":
                continue
            if tensor.scales.size == made.scales.size == 1 and not _is_same_grid(tensor, made):
                yield at(operator, f"{_grid(tensor)} in, {_grid(made)} out")
                break


def _is_same_grid(one: TensorRecord, other: TensorRecord) -> bool:
    return math.isclose(one.scales[0], other.scales[0], rel_tol=1e-5) and one.zero_points[0] == other.zero_points[0]


def _grid(tensor: TensorRecord) -> str:
    return f"scale {tensor.scales[0]:.4g} zero point {tensor.zero_points[0]}"


def _fixed_scales(subject: Subject) -> Iterator[Place]:
    for operator in subject.named(*FIXED_SCALE):
        scale, zero_point = FIXED_SCALE[operator.name]
        made = operator.outputs[0]
        if made.dtype != "int8" or made.scales.size != 1:
            continue
        if not math.isclose(made.scales[0], scale, rel_tol=1e-5) or made.zero_points[0] != zero_point:
            yield at(operator, f"{_grid(made)}, the specification has 1/{1 / scale:.0f} and {zero_point}")


def _add_scales(subject: Subject) -> Iterator[Place]:
    for operator in subject.named("ADD"):
        for ratio in scale_ratios(operator):
            if ratio >= ABORTING_ADD_RATIO:
                yield at(operator, f"{ratio:.3g} times: the plain kernel aborts the process", severity="error")
            elif not SMALLEST_ADD_RATIO <= ratio < LARGEST_ADD_RATIO:
                yield at(operator, f"{ratio:.3g} times: the delegate leaves it")


def _corners(operator: OperatorRecord) -> str:
    if operator.options.get("alignCorners"):
        return "both" if operator.options.get("halfPixelCenters") else "aligned corners"
    return "half-pixel centres" if operator.options.get("halfPixelCenters") else "neither"


def _both_corners(subject: Subject) -> list[Place]:
    both = (one for one in subject.named(*RESIZES) if _corners(one) == "both")
    return [at(operator) for operator in both]


def _mixed_corners(subject: Subject) -> list[Place]:
    resizes = subject.resizes
    kinds = {_corners(operator) for operator in resizes} - {"both", "neither"}
    return [at(operator, _corners(operator)) for operator in resizes] if len(kinds) > 1 else []


def _legacy_corners(subject: Subject) -> list[Place]:
    return [at(operator) for operator in subject.resizes if _corners(operator) == "neither"]


def _uneven_resize(subject: Subject) -> Iterator[Place]:
    for operator in subject.resizes:
        taken = operator.inputs[0]
        if taken is None:
            continue
        small, large = sorted([taken.shape[1:3], operator.outputs[0].shape[1:3]])
        margin = 1 if _corners(operator) == "aligned corners" else 0
        steps = [(max(few - margin, 1), many - margin) for few, many in zip(small, large)]
        if any(many % few for few, many in steps):
            sizes = f"{'x'.join(map(str, taken.shape[1:3]))} to {'x'.join(map(str, operator.outputs[0].shape[1:3]))}"
            yield at(operator, f"{sizes}, {_corners(operator)}")


def _custom(subject: Subject) -> list[Place]:
    return [at(one) for one in subject.model.operators if one.name.startswith("CUSTOM:")]


def _uint8_network(subject: Subject) -> list[Place]:
    kernels = ((one, kernel_of(one)) for one in subject.named(*CONVOLUTIONS))
    return [at(operator) for operator, kernel in kernels if kernel is not None and kernel.dtype == "uint8"]


def _asymmetric(subject: Subject) -> Iterator[Place]:
    for operator in subject.named(*CONVOLUTIONS):
        kernel = kernel_of(operator)
        if kernel is not None and kernel.dtype == "int8" and kernel.zero_points.any():
            yield at(operator, f"zero point {kernel.zero_points[np.flatnonzero(kernel.zero_points)[0]]}")


def _per_tensor(subject: Subject) -> Iterator[Place]:
    for operator in subject.named("CONV_2D", "DEPTHWISE_CONV_2D"):
        kernel, channels = kernel_of(operator), operator.outputs[0].shape[-1]
        if kernel is None or kernel.dtype not in ("int8", "uint8") or kernel.scales.size != 1 or channels == 1:
            continue
        is_depthwise = operator.name == "DEPTHWISE_CONV_2D"
        yield at(operator, f"one scale for {channels} channels", severity="warning" if is_depthwise else "info")


def _dynamic(subject: Subject) -> list[Place]:
    shown = []
    for tensor in (*subject.model.inputs, *subject.model.outputs):
        if -1 in tensor.shape_signature:
            shape = "x".join("?" if size < 0 else str(size) for size in tensor.shape_signature)
            shown.append(Place(operator=tensor.name, detail=shape))
    return shown


def _control_flow(subject: Subject) -> list[Place]:
    count = subject.model.subgraph_count - 1
    return [Place(operator="file", detail=f"{count} more subgraphs, not looked into")] if count else []


def _second_output(subject: Subject) -> list[Place]:
    outputs = subject.model.outputs
    if len(outputs) == 1:
        return []
    return [Place(operator=one.name, detail="x".join(map(str, one.shape_signature))) for one in outputs]


def _no_manifest(subject: Subject) -> list[Place]:
    return [] if subject.report.manifest is not None else [Place(operator="file")]


def _no_metadata(subject: Subject) -> list[Place]:
    return [] if subject.report.metadata is not None else [Place(operator="file")]


RULES = (
    Rule(
        id="does-not-load", severity="error", look=_does_not_load,
        what="the interpreter does not take this file",
        why="Nothing can be run, and what the delegate would take is unknown.",
        fix="See the other findings for the cause; convert the model again.",
        sources=("loaded here, in a process of its own",),
    ),
    Rule(
        id="unequal-scales", severity="error", look=_unequal_scales,
        what="an operator that does not rescale has another scale at its output than at its input",
        why="Measured: XNNPACK then refuses the whole file for CONCATENATION, RESIZE_BILINEAR, MAX_POOL_2D, PAD,"
        " TRANSPOSE and STRIDED_SLICE; the plain kernels hand the stored numbers on, so values come out wrong by the"
        " ratio of the scales.",
        fix="Give both tensors one range before converting (tfmot: a no-op config on the layer behind), or put a"
        " QUANTIZE between.",
        sources=(QUANTIZATION_PAGE,),
    ),
    Rule(
        id="both-corners", severity="error", look=_both_corners,
        what="a resize asks for aligned corners and half-pixel centres at once",
        why="The two place pixels differently. Measured: the plain kernels refuse the pair, XNNPACK takes it and aligns"
        " the corners; the GPU delegate refuses it.",
        fix="Choose one: align_corners for a size of k * stride + 1, half-pixel centres for a multiple of the stride.",
        sources=("https://github.com/google-ai-edge/LiteRT/blob/main/tflite/kernels/resize_bilinear.cc",),
    ),
    Rule(
        id="add-scales", severity="warning", look=_add_scales,
        what="an ADD whose input and output scales lie far apart",
        why="XNNPACK takes input scales from 2^-10 to 2^8 times the output's and leaves the rest to the plain kernel,"
        " which from 2^19 on ends the process; and the smaller term has no bits left.",
        fix="Calibrate the ranges on pictures like those of use; look for an activation that explodes.",
        sources=("measured on ai-edge-litert 2.3.0",),
    ),
    Rule(
        id="fixed-scales", severity="warning", look=_fixed_scales,
        what="LOGISTIC, SOFTMAX or TANH with another output scale than the specification's",
        why="Plain kernels refuse such a file, so it loads only where a delegate takes the operator.",
        fix="Convert with a current converter, which sets it.",
        sources=(QUANTIZATION_PAGE,),
    ),
    Rule(
        id="custom-operator", severity="warning", look=_custom,
        what="operators outside of the built-in set",
        why="They run only where the program registers them; names that begin with Flex need TensorFlow itself.",
        fix="Replace the layer by built-in ones, or convert with TFLITE_BUILTINS alone to see what it is made of.",
        sources=("https://ai.google.dev/edge/litert/conversion/tensorflow/ops_custom",),
    ),
    Rule(
        id="uint8-network", severity="warning", look=_uint8_network,
        what="a uint8 network of TensorFlow 1's quantization-aware training",
        why="One asymmetric range per kernel; the specification and new kernels are for int8, and XNNPACK calls its"
        " uint8 path experimental.",
        fix="Bring the float checkpoint and convert it anew to int8.",
        sources=(QUANTIZATION_PAGE, XNNPACK_PAGE),
    ),
    Rule(
        id="asymmetric-weights", severity="warning", look=_asymmetric,
        what="int8 weights with a zero point other than 0",
        why="The specification has symmetric weights; kernels that multiply without the offset are wrong or refuse.",
        fix="Convert with a current converter.",
        sources=(QUANTIZATION_PAGE,),
    ),
    Rule(
        id="per-tensor-weights", severity="warning", look=_per_tensor,
        what="one weight scale for all channels of a kernel",
        why="Channels of a depthwise kernel differ in range by orders of magnitude; the small ones round to zero.",
        fix="Convert with per-channel weights (tfmot 0.8.1 quantizes depthwise kernels per tensor: `edge-deeplab tune`"
        " does not).",
        sources=("https://arxiv.org/abs/1806.08342", "https://github.com/tensorflow/model-optimization/issues/808"),
    ),
    Rule(
        id="mixed-corners", severity="warning", look=_mixed_corners,
        what="resizes with aligned corners beside resizes with half-pixel centres",
        why="The two place pixels differently: maps that are added or concatenated are shifted by up to half a coarse"
        " pixel against each other, and labels at the edges of objects with them.",
        fix="Use one rule in the whole network and in the program that enlarges its output.",
        sources=("https://github.com/dmlc/gluon-cv/issues/437", ISSUE + "45207"),
    ),
    Rule(
        id="legacy-corners", severity="warning", look=_legacy_corners,
        what="a resize with neither aligned corners nor half-pixel centres",
        why="TensorFlow 1's default: everything moves half a pixel of the coarse map towards the top left.",
        fix="Resize with half-pixel centres, or aligned corners for sizes of k * stride + 1.",
        sources=("https://github.com/intel/webml-polyfill/issues/400", ISSUE + "6720"),
    ),
    Rule(
        id="uneven-resize", severity="info", look=_uneven_resize,
        what="a resize by no whole factor",
        why="Aligned corners meet the pixels of a k * stride + 1 size, half-pixel centres those of a multiple of the"
        " stride; other sizes are interpolated off the grid that the convolutions saw.",
        fix="513, 257, 129 with aligned corners; 512, 256, 128 with half-pixel centres.",
        sources=("https://github.com/tensorflow/models/blob/master/research/deeplab/g3doc/faq.md (Q8)",),
    ),
    Rule(
        id="dynamic-shape", severity="warning", look=_dynamic,
        what="an input or output of open size",
        why="GPU, NNAPI and Edge TPU want fixed sizes, and the converter takes dilated convolutions apart.",
        fix="Convert a concrete function with a fixed batch of 1 and a fixed size.",
        sources=(ISSUE + "38036", ISSUE + "46822"),
    ),
    Rule(
        id="control-flow", severity="warning", look=_control_flow,
        what="loops or branches",
        why="Delegates take straight graphs; each subgraph is divided for itself.",
        fix="Convert for inference alone (training=False), without conditions.",
        sources=(GPU_PAGE,),
    ),
    Rule(
        id="second-output", severity="warning", look=_second_output,
        what="more than one output",
        why="Our programs and MediaPipe's ImageSegmenter take one map; a second output keeps its memory alive.",
        fix="Convert a model that ends in the logits alone.",
        sources=("https://github.com/google-ai-edge/mediapipe/issues/5931",),
    ),
    Rule(
        id="no-manifest", severity="warning", look=_no_manifest,
        what="the file does not say what its numbers mean",
        why="Labels, input range and activation have to be told by hand; a wrong range costs accuracy in silence.",
        fix="`edge-deeplab convert` writes it; foreign files need --labels, --input-range and --activation.",
        sources=("https://github.com/floe/backscrub/pull/77",),
    ),
    Rule(
        id="no-metadata", severity="warning", look=_no_metadata,
        what="no standard TFLite metadata",
        why="MediaPipe's tasks refuse the file.",
        fix="`edge-deeplab convert` writes it.",
        sources=("https://github.com/google-ai-edge/mediapipe/issues/5583",),
    ),
)  # fmt: skip
