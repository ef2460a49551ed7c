"""The linter's rules about time: what leaves the delegate, what is computed and not needed, what passes over memory.

    from edge_deeplab.converters.linting.lint_speed import RULES

What was measured without a figure here has it in lint_costs.json.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

from edge_deeplab.converters.inspect import LARGEST_ADD_RATIO, REQUANTIZERS, SMALLEST_ADD_RATIO
from edge_deeplab.converters.linting.device_profiles import PROFILES
from edge_deeplab.converters.linting.lint import (
    BATCH_MOVES,
    CONVOLUTIONS,
    DEVICE_RULE,
    INDEX_OPERATORS,
    ISSUE,
    QUANTIZING_PAGE,
    XNNPACK_PAGE,
    Place,
    Rule,
    Subject,
    at,
    kernel_of,
)
from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.flatbuffer import OperatorRecord
from edge_deeplab.runtime.refusals import scale_ratios

CHANNEL_BLOCK = 8
"""Kernels of today's processors work on blocks of channels: 16 int8 ones with AVX512, 8 or 16 with NEON."""
WASTE = 0.10  # padding work above which odd channels are a warning
LARGE_OUTPUT = 2**20  # values of an enlarged map above which that is a warning
ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")


def _has_its_own_rule(operator: OperatorRecord) -> bool:
    """Whether another rule says more of an operator than that it is outside: it is not named twice."""
    if operator.name in (*INDEX_OPERATORS, *BATCH_MOVES, *ACTIVATIONS, *REQUANTIZERS, "HARD_SWISH", "SOFTMAX"):
        return True
    kernel = kernel_of(operator)
    is_asymmetric = kernel is not None and kernel.dtype == "int8" and bool(kernel.zero_points.any())
    is_scaled_badly = operator.name == "ADD" and any(
        not SMALLEST_ADD_RATIO <= ratio < LARGEST_ADD_RATIO for ratio in scale_ratios(operator)
    )
    is_int16 = any(tensor is not None and tensor.dtype == "int16" for tensor in operator.inputs)
    return is_asymmetric or is_scaled_badly or is_int16


def _outside(subject: Subject) -> list[Place]:
    if subject.device != "xnnpack":
        return []
    left = (subject.model.operators[index] for index in subject.reasons)
    return [at(one, subject.reasons[one.index]) for one in left if not _has_its_own_rule(one)]


def _device(subject: Subject) -> Iterator[Place]:
    profile = PROFILES.get(subject.device)
    if profile is None:
        return
    stopped_at: OperatorRecord | None = None
    for operator in subject.model.operators:
        if operator.index in subject.end_indices:
            continue  # the ends are the processor's anyway
        refused = profile.refusal(operator)
        if refused is None and stopped_at is not None:
            refused = f"behind {stopped_at.name}: everything after the first refused operator runs on the processor"
        if refused is not None:
            stopped_at = stopped_at or (operator if profile.single_partition else None)
            yield at(operator, refused)


def _int8_hard_swish(subject: Subject) -> list[Place]:
    return [at(one) for one in subject.named("HARD_SWISH") if one.outputs[0].dtype in ("int8", "uint8")]


def _unfused_activation(subject: Subject) -> Iterator[Place]:
    for operator in subject.named(*ACTIVATIONS):
        taken = operator.inputs[0]
        maker = subject.makers.get(taken.index) if taken is not None else None
        detail = ""
        if maker is not None and len(subject.readers[maker.outputs[0].index]) == 1 and maker.activation is None:
            detail = f"after {maker.name}, which could do it"
        yield at(operator, detail)


def _softmax(subject: Subject) -> list[Place]:
    in_8_bits = (one for one in subject.named("SOFTMAX") if one.outputs[0].dtype in ("int8", "uint8"))
    return [at(one, subject.reasons.get(one.index, "")) for one in in_8_bits]


def _argmax(subject: Subject) -> list[Place]:
    return [at(operator) for operator in subject.named(*INDEX_OPERATORS)]


def _argmax_int64(subject: Subject) -> list[Place]:
    return [at(one, "int64") for one in subject.named(*INDEX_OPERATORS) if one.outputs[0].dtype == "int64"]


def _batch_moves(subject: Subject) -> list[Place]:
    return [at(operator) for operator in subject.named(*BATCH_MOVES)]


def _float_island(subject: Subject) -> Iterator[Place]:
    if not subject.is_quantized:
        return
    for entry in subject.report.left_overs:
        operator = subject.model.operators[entry.index]
        reads_constants = all(tensor is None or tensor.is_constant for tensor in operator.inputs)
        if "float32" in entry.dtype and not reads_constants:
            yield at(operator, entry.dtype)


def _requantization(subject: Subject) -> list[Place]:
    in_the_middle = (one for one in subject.named("QUANTIZE") if one.index not in subject.end_indices)
    return [at(one) for one in in_the_middle if _is_requantization(one)]


def _is_requantization(operator: OperatorRecord) -> bool:
    taken = operator.inputs[0]
    return taken is not None and taken.dtype in ("int8", "uint8") and operator.outputs[0].dtype in ("int8", "uint8")


def _uint8_ends(subject: Subject) -> list[Place]:
    ends = (subject.model.operators[index] for index in sorted(subject.end_indices))
    return [at(one, subject.reasons.get(one.index, "")) for one in ends if _is_requantization(one)]


def _odd_channels(subject: Subject) -> list[Place]:
    odd, extra, total = [], 0.0, 0
    for operator in subject.model.operators:
        kernel = kernel_of(operator)
        taken, made = operator.inputs[0] if operator.inputs else None, operator.outputs[0]
        if kernel is None or taken is None or operator.macs == 0:
            continue
        total += operator.macs
        is_depthwise = operator.name == "DEPTHWISE_CONV_2D"
        channels = [made.shape[-1]] if is_depthwise else [taken.shape[-1], made.shape[-1]]
        # pictures come with 3 channels and leave with as many as there are classes: no one's choice
        is_end = taken.index in {tensor.index for tensor in subject.model.inputs} or taken.shape[-1] == 3
        if is_end:
            channels = channels[1:]
        if made.index in subject.logits:
            channels = channels[:-1]
        growth = math.prod(-(-count // CHANNEL_BLOCK) * CHANNEL_BLOCK / count for count in channels)
        if growth > 1:
            extra += operator.macs * (growth - 1)
            odd.append(at(operator, " to ".join(map(str, channels))))
    if not odd:
        return []
    share = extra / total
    summary = f"padding to multiples of {CHANNEL_BLOCK} adds {share:.0%} multiply-adds"
    severity = "warning" if share > WASTE else "info"
    return [
        Place(operator="network", detail=summary, severity=severity),
        *(dataclasses.replace(place, severity=severity) for place in odd),
    ]


def _resize_inside(subject: Subject) -> Iterator[Place]:
    for operator in subject.resizes:
        taken, made = operator.inputs[0], operator.outputs[0]
        count = math.prod(made.shape)
        if made.index in subject.logits and taken is not None and count > math.prod(taken.shape):
            before, after = ("x".join(map(str, tensor.shape[1:])) for tensor in (taken, made))
            detail = f"{before} to {after}, {count / 1e6:.2g} M values"
            yield at(operator, detail, severity="warning" if count > LARGE_OUTPUT else "info")


def _transpose_conv(subject: Subject) -> list[Place]:
    return [at(operator) for operator in subject.named("TRANSPOSE_CONV")]


def _hybrid(subject: Subject) -> list[Place]:
    found = []
    for operator in subject.named(*CONVOLUTIONS):
        kernel = kernel_of(operator)
        if kernel is not None and kernel.dtype in ("int8", "int4") and operator.outputs[0].dtype == "float32":
            found.append(at(operator, subject.reasons.get(operator.index, "")))
    return found


def _int16(subject: Subject) -> list[Place]:
    return [at(one) for one in subject.named(*CONVOLUTIONS) if one.outputs[0].dtype == "int16"]


def _layout_transposes(subject: Subject) -> Iterator[Place]:
    for operator in subject.named("TRANSPOSE"):
        order = operator.inputs[1] if len(operator.inputs) > 1 else None
        if order is None or not order.is_constant:
            continue
        axes = subject.model.stored_values(order).tolist()
        if axes in ([0, 3, 1, 2], [0, 2, 3, 1]):
            yield at(operator, "to channels first" if axes[1] == 3 else "to channels last")


def _batch(subject: Subject) -> list[Place]:
    fed = (one for one in subject.model.inputs if len(one.shape) == 4)
    return [Place(operator=one.name, detail=f"batch of {one.shape[0]}") for one in fed if one.shape_signature[0] > 1]


def _dead_operators(subject: Subject) -> list[Place]:
    wanted = {tensor.index for tensor in subject.model.outputs}
    for operator in reversed(subject.model.operators):
        if any(tensor.index in wanted for tensor in operator.outputs):
            wanted |= {tensor.index for tensor in operator.inputs if tensor is not None}
    return [at(one) for one in subject.model.operators if not any(tensor.index in wanted for tensor in one.outputs)]


def _dead_channels(subject: Subject) -> Iterator[Place]:
    for operator in subject.named("CONV_2D", "DEPTHWISE_CONV_2D"):
        kernel = kernel_of(operator)
        if kernel is None:
            continue
        try:
            values = subject.model.stored_values(kernel)
        except ModelError:  # sparse or packed weights cannot be looked at
            continue
        zero = kernel.zero_points.reshape(-1)[0] if kernel.dtype == "uint8" and kernel.is_quantized else 0
        axis = 3 if operator.name == "DEPTHWISE_CONV_2D" else 0
        dead = int((values == zero).all(axis=tuple(set(range(values.ndim)) - {axis})).sum())
        if dead:
            yield at(operator, f"{dead} of {values.shape[axis]} channels")


RULES = (
    Rule(
        id=DEVICE_RULE, severity="warning", look=_device,
        what="operators that the device asked for leaves to the processor",
        why="Each border costs a copy to the processor and back. From documentation, not run on the device, whose"
        " compiler has the last word: the Edge TPU's leaves large RESIZE_BILINEAR to the processor, too.",
        fix="Replace them, or cut the model before the first one and do the rest outside.",
    ),
    Rule(
        id="outside-delegate", severity="warning", look=_outside,
        what="operators outside of the XNNPACK delegate",
        why="A plain kernel is slower, and each border of a partition costs a copy and a repacking.",
        fix="The reason stands beside each: change the type, the scale or the operator.",
        sources=(XNNPACK_PAGE,),
    ),
    Rule(
        id="hard-swish-int8", severity="warning", look=_int8_hard_swish,
        what="HARD_SWISH in int8",
        why="XNNPACK has it in float alone, so a MobileNetV3 falls into some twenty partitions.",
        fix="Use our MobileNetV3, which computes the same as x * relu6(x + 3) with the 1/6 in the next kernel; or"
        " convert to float16.",
        sources=(XNNPACK_PAGE,),
    ),
    Rule(
        id="unfused-activation", severity="warning", look=_unfused_activation,
        what="an activation as an operator of its own",
        why="One more pass over the tensor; in int8 XNNPACK leaves it to the plain kernels.",
        fix="Put the activation right behind convolution and batch norm, with nothing else reading in between.",
        sources=(XNNPACK_PAGE,),
    ),
    Rule(
        id="softmax-inside", severity="warning", look=_softmax,
        what="SOFTMAX in 8 bits inside the model",
        why="XNNPACK has it in float alone, and its output keeps 256 levels.",
        fix="Convert up to the logits; the program takes the softmax of what it shows (manifest: activation softmax).",
        sources=(XNNPACK_PAGE,),
    ),
    Rule(
        id="argmax-inside", severity="warning", look=_argmax,
        what="the largest class is chosen inside the model",
        why="XNNPACK and most accelerators have no such operator, and the probabilities that smoothing, edges and"
        " thresholds need are lost.",
        fix="Convert up to the logits, at their small size, and take the largest outside.",
        sources=(ISSUE + "28600", ISSUE + "51433", ISSUE + "37871", "https://github.com/google-coral/edgetpu/issues/409"),
    ),
    Rule(
        id="argmax-int64", severity="warning", look=_argmax_int64,
        what="the chosen classes are 64-bit integers",
        why="Eight bytes a pixel; GPU kernels write 32-bit indices alone.",
        fix="Ask for output_type=int32, or leave the choice outside.",
        sources=("https://github.com/google-ai-edge/LiteRT/pull/9681",),
    ),
    Rule(
        id="space-to-batch", severity="warning", look=_batch_moves,
        what="dilated convolutions taken apart into SPACE_TO_BATCH, convolution, BATCH_TO_SPACE",
        why="Both are outside of XNNPACK and of the GPU delegate, so every atrous branch is a partition of its own.",
        fix="Convert a concrete function with a fixed batch of 1 and a fixed size: the converter then keeps the"
        " dilation in the convolution.",
        sources=(ISSUE + "29509", ISSUE + "46822", ISSUE + "59870"),
    ),
    Rule(
        id="float-island", severity="warning", look=_float_island,
        what="float operators in the middle of an int8 network",
        why="DEQUANTIZE and QUANTIZE around them cost passes of their own, and integer accelerators stop there.",
        fix="Replace the layer by one that is quantized; see `left over` for its name.",
        sources=("https://coral.ai/docs/edgetpu/models-intro/#quantization",),
    ),
    Rule(
        id="int16-activations", severity="warning", look=_int16,
        what="activations of 16 bits (16x8 quantization)",
        why="XNNPACK takes none of it; the plain kernels are not optimized.",
        fix="Convert to int8, or to float16 where int8 is not accurate enough.",
        sources=(QUANTIZING_PAGE,),
    ),
    Rule(
        id="hybrid-weights", severity="warning", look=_hybrid,
        what="int8 weights under float activations (dynamic-range quantization)",
        why="Small on the disk, not fast: depthwise convolutions leave the delegate, and integer accelerators do not"
        " take it.",
        fix="Convert to full int8 with calibration, or to float16.",
        sources=(QUANTIZING_PAGE,),
    ),
    Rule(
        id="odd-channels", severity="info", look=_odd_channels,
        what=f"channel counts that are no multiple of {CHANNEL_BLOCK}",
        why="Kernels work in blocks of channels, so what is missing to the next block is computed all the same."
        " Measured here (AVX512, int8): time grows in steps of 16.",
        fix=f"Round widths to multiples of {CHANNEL_BLOCK} or 16 before training (`width_divisor`).",
    ),
    Rule(
        id="batch", severity="warning", look=_batch,
        what="a batch of more than one picture",
        why="Every inference computes all of it, and live programs have one frame.",
        fix="Convert with a batch of 1.",
    ),
    Rule(
        id="layout-transposes", severity="warning", look=_layout_transposes,
        what="TRANSPOSE between channels first and channels last",
        why="A pass over the tensor each; they come from PyTorch or ONNX networks.",
        fix="Convert with a tool that moves the whole network to channels last.",
    ),
    Rule(
        id="resize-inside", severity="info", look=_resize_inside,
        what="the model enlarges its own logits",
        why="All classes are interpolated at full size, also where the program shows one or shrinks again.",
        fix="End at the small map (`logits_stride`); the program resizes what it needs.",
    ),
    Rule(
        id="requantization", severity="info", look=_requantization,
        what="QUANTIZE between integer tensors in the middle",
        why="One more pass, and a rounding more.",
        fix="Give both sides one range: concatenations and resizes are where tfmot leaves them.",
    ),
    Rule(
        id="transpose-conv", severity="info", look=_transpose_conv,
        what="TRANSPOSE_CONV",
        why="Dearer than a bilinear resize with a separable convolution, and known for checkerboards.",
        fix="Resize, then convolve.",
        sources=("https://distill.pub/2016/deconv-checkerboard/",),
    ),
    Rule(
        id="uint8-ends", severity="info", look=_uint8_ends,
        what="QUANTIZE between uint8 ends and the int8 network",
        why="XNNPACK leaves it to the plain kernels; MediaPipe needs uint8 or float32 ends.",
        fix="`convert --io int8` where the program is yours.",
        sources=(XNNPACK_PAGE,),
    ),
    Rule(
        id="dead-operators", severity="info", look=_dead_operators,
        what="operators that no output depends on",
        why="They take space in the file; a delegate drops them, plain kernels compute them.",
        fix="Convert from the outputs that are used.",
    ),
    Rule(
        id="dead-channels", severity="info", look=_dead_channels,
        what="output channels whose weights are all zero",
        why="They are computed all the same.",
        fix="Take them out of this layer and of those that read it; pruning without that saves no time.",
    ),
)  # fmt: skip
