"""Reads MobileNetV2 backbone weights out of files other people trained, by their official variable names.

Two kinds of file: a TensorFlow 1 frozen graph (constants by name, batch norm apart) and a .tflite, float or
quantized (convolutions in operator order, batch norm already folded into them). What the arrays become in our
own network is for transplant.py to say; nothing here builds a network.

    backbone = read_foreign_backbone(Path("frozen_inference_graph.pb"))
    backbone.arrays["MobilenetV2/expanded_conv_1/expand/weights"]
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.errors import ConversionError, MissingExtraError, ModelError
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.models.blocks import make_divisible
from edge_deeplab.runtime.flatbuffer import IDENTIFIER, OperatorRecord, TensorRecord, TfliteFile

SCOPE = "MobilenetV2"
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")
# The inverted residual blocks expanded_conv, expanded_conv_1 .. expanded_conv_16: output channels at width 1 and
# expansion factor (MobileNetV2, arXiv 1801.04381, table 2). The stem has 32 channels.
STEM_CHANNELS = 32
BLOCKS = (
    (16, 1), (24, 6), (24, 6), (32, 6), (32, 6), (32, 6), (64, 6), (64, 6), (64, 6), (64, 6),
    (96, 6), (96, 6), (96, 6), (160, 6), (160, 6), (160, 6), (320, 6),
)  # fmt: skip
# Official DeepLab feeds its MobileNets (2/255) p - 1; a file that says nothing else is taken to do so.
OFFICIAL_INPUT_RANGE = (-1.0, 1.0)
OFFICIAL_EPSILON = 1e-3
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


@dataclass(frozen=True, kw_only=True)
class ForeignBackbone:
    """MobileNetV2 weights from elsewhere, stem to expanded_conv_16/project.

    The first convolution expects pixels in `input_range`. A network that takes 0..1 must fold that into its stem:
    with scale s = high - low and offset o = low, kernel * s, and o * sum(kernel over height, width and input) added
    to the bias (before batch norm: subtracted from the moving mean). That is exact inside the picture and not in the
    outermost row and column, where SAME padding puts 0: a real 0 is mid-grey in -1..1 and black in 0..1.

    Attributes:
        arrays: float32 by official name, e.g. MobilenetV2/Conv/weights (3, 3, 3, C),
            MobilenetV2/expanded_conv_1/expand/weights (1, 1, in, out) and
            MobilenetV2/expanded_conv_1/depthwise/depthwise_weights (3, 3, C, 1); beside each either
            .../BatchNorm/{gamma, beta, moving_mean, moving_variance} or, folded, .../biases, all (C,).
        width: the depth multiplier.
        width_divisor: what channels were rounded to multiples of: 1 in the official DeepLab code for widths other
            than 1 (width 0.5 has blocks of 12 channels, where multiples of 8 make 16), else 8.
        input_range: the real values the first convolution expects for pixels 0 and 255.
        is_folded: whether batch norm is inside weights and biases.
        batch_norm_epsilon: what was added to the variance; None when folded.
        source: the file's path, for provenance and messages.
    """

    arrays: Mapping[str, np.ndarray]
    width: float
    width_divisor: int
    input_range: tuple[float, float]
    is_folded: bool
    batch_norm_epsilon: float | None
    source: str


def read_backbone(path: Path) -> dict[str, np.ndarray]:
    """The arrays of read_foreign_backbone alone."""
    return dict(read_foreign_backbone(path).arrays)


def read_foreign_backbone(path: Path) -> ForeignBackbone:
    """Reads a MobileNetV2 backbone from a TensorFlow 1 frozen graph or a .tflite; the content decides which.

    Raises: ModelError when the file is missing, damaged, or holds no complete MobileNetV2;
        MissingExtraError when a frozen graph is given and TensorFlow is not installed.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path}: cannot be read", came=error.strerror, allowed="a frozen graph (.pb) or a .tflite"
        ) from error
    if not data:
        raise ModelError(f"{path}: an empty file", allowed="a frozen graph (.pb) or a .tflite")
    if data[4:8] == IDENTIFIER:
        return _from_tflite(TfliteFile.from_bytes(data, source=str(path)), read_manifest(path))
    return _from_frozen_graph(data, str(path))


def official_channels(width: float, divisor: int) -> tuple[int, ...]:
    """Output channels of the stem and the 17 blocks at a width, rounded as slim's make_divisible does."""
    return tuple(make_divisible(base * width, divisor) for base in (STEM_CHANNELS, *(out for out, _ in BLOCKS)))


def official_layers() -> Iterator[tuple[str, str]]:
    """The 51 convolutions in order: (official layer name, name of its kernel variable)."""
    yield f"{SCOPE}/Conv", "weights"
    for index, (_, expansion) in enumerate(BLOCKS):
        block = f"{SCOPE}/expanded_conv" + (f"_{index}" if index else "")
        if expansion > 1:
            yield f"{block}/expand", "weights"
        yield f"{block}/depthwise", "depthwise_weights"
        yield f"{block}/project", "weights"


def _width_of(arrays: Mapping[str, np.ndarray], source: str) -> tuple[float, int]:
    """Width and divisor from the kernels' shapes. Raises ModelError when they are of another network."""
    channels = [arrays[f"{SCOPE}/Conv/weights"].shape[-1]]
    channels += [arrays[f"{layer}/weights"].shape[-1] for layer, _ in official_layers() if layer.endswith("/project")]
    # The widest layer is rounded least: 320 channels times any width in hundredths comes back exactly.
    width = round(channels[-1] / BLOCKS[-1][0], 2)
    for divisor in (8, 1):
        expected = official_channels(width, divisor)
        # slim at widths below 1 may leave the stem at 32 (keras-applications does not); both are MobileNetV2
        if tuple(channels[1:]) == expected[1:] and channels[0] in (expected[0], STEM_CHANNELS):
            _check_shapes(arrays, source)
            return width, divisor
    raise ModelError(
        f"{source}: its channels are of no MobileNetV2", came=channels,
        allowed=f"e.g. {list(official_channels(width, 8))}",
    )  # fmt: skip


def _check_shapes(arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Each layer must take what the one before it gives, expand by its factor, and have 3 x 3 or 1 x 1 kernels."""
    channels = 3
    factors = [1, *(expansion for _, expansion in BLOCKS)]
    block = 0
    for layer, variable in official_layers():
        shape = arrays[f"{layer}/{variable}"].shape
        if layer.endswith("/depthwise"):
            expected: tuple[int, ...] = (3, 3, channels, 1)
        elif layer.endswith("/expand"):
            expected = (1, 1, channels, channels * factors[block + 1])
        elif layer.endswith("/project"):
            expected = (1, 1, channels, shape[-1])
            block += 1
        else:
            expected = (3, 3, 3, shape[-1])
        if shape != expected:
            raise ModelError(f"{source}: {layer}/{variable} is of no MobileNetV2", came=shape, allowed=expected)
        channels = channels if layer.endswith("/depthwise") else shape[-1]


def _from_frozen_graph(data: bytes, source: str) -> ForeignBackbone:
    try:
        import tensorflow as tf
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise MissingExtraError("tensorflow", extra="train", purpose="reading a frozen graph") from error
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except DecodeError as error:
        raise ModelError(
            f"{source}: neither a frozen graph nor a .tflite, or damaged",
            allowed="a TensorFlow GraphDef (.pb) with its variables as constants, or a .tflite",
        ) from error
    nodes = {node.name: node for node in graph.node}
    wanted = [f"{layer}/{variable}" for layer, variable in official_layers()]
    wanted += [f"{layer}/BatchNorm/{name}" for layer, _ in official_layers() for name in BATCH_NORM]
    missing = [name for name in wanted if name not in nodes or nodes[name].op != "Const"]
    if missing:
        raise ModelError(
            f"{source}: no frozen MobileNetV2", came=f"{len(missing)} of {len(wanted)} constants missing, {missing[0]}",
            allowed=f"constants named {SCOPE}/Conv/weights and so on; a graph of variables has to be frozen first",
        )  # fmt: skip
    try:
        arrays = {name: np.asarray(tf.make_ndarray(nodes[name].attr["value"].tensor), np.float32) for name in wanted}
    except (ValueError, TypeError) as error:
        raise ModelError(f"{source}: a constant of this frozen graph is damaged", came=str(error)) from error
    width, divisor = _width_of(arrays, source)
    return ForeignBackbone(
        arrays=arrays, width=width, width_divisor=divisor, input_range=OFFICIAL_INPUT_RANGE, is_folded=False,
        batch_norm_epsilon=_epsilon(nodes), source=source,
    )  # fmt: skip


def _epsilon(nodes: Mapping[str, object]) -> float:
    """Epsilon of the stem's batch norm: slim builds every layer of a backbone with the same one."""
    pattern = re.compile(rf"{SCOPE}/Conv/BatchNorm/FusedBatchNorm(V\d)?")
    for name, node in nodes.items():
        if pattern.fullmatch(name):
            # float32 1e-3 reads 0.0010000000475; six digits give back what was written
            return float(f"{node.attr['epsilon'].f:.6g}")  # type: ignore[attr-defined]
    return OFFICIAL_EPSILON


def _from_tflite(model: TfliteFile, manifest: Manifest | None) -> ForeignBackbone:
    made_by = {record.index: operator for operator in model.operators for record in operator.outputs}
    layers = list(official_layers())
    convolutions = [operator for operator in model.operators if operator.name in _CONVOLUTIONS][: len(layers)]
    expected = ["DEPTHWISE_CONV_2D" if layer.endswith("/depthwise") else "CONV_2D" for layer, _ in layers]
    came = [operator.name for operator in convolutions]
    if came != expected:
        at = next((i for i, (a, b) in enumerate(zip(came, expected)) if a != b), len(came))
        found = f"convolution {at} is {convolutions[at].layer}" if at < len(came) else f"{at} convolutions"
        raise ModelError(
            f"{model.source}: its convolutions do not follow MobileNetV2", came=found,
            allowed=f"{expected[min(at, len(expected) - 1)]} for {layers[min(at, len(layers) - 1)][0]}",
        )  # fmt: skip
    arrays: dict[str, np.ndarray] = {}
    for (layer, variable), operator in zip(layers, convolutions):
        kernel = _constant(model, operator, 1, made_by)
        is_depthwise = variable == "depthwise_weights"
        # TFLite: (1, h, w, C) depthwise and (out, h, w, in); TensorFlow: (h, w, C, 1) and (h, w, in, out)
        arrays[f"{layer}/{variable}"] = np.ascontiguousarray(
            kernel.transpose(1, 2, 3, 0) if not is_depthwise else kernel[0, ..., None]
        )
        arrays[f"{layer}/biases"] = (
            _constant(model, operator, 2, made_by)
            if len(operator.inputs) > 2 and operator.inputs[2] is not None
            else np.zeros(arrays[f"{layer}/{variable}"].shape[2 if is_depthwise else 3], np.float32)
        )
    width, divisor = _width_of(arrays, model.source)
    return ForeignBackbone(
        arrays=arrays, width=width, width_divisor=divisor, input_range=_tflite_input_range(model, manifest),
        is_folded=True, batch_norm_epsilon=None, source=model.source,
    )  # fmt: skip


def _constant(
    model: TfliteFile, operator: OperatorRecord, position: int, made_by: Mapping[int, OperatorRecord]
) -> np.ndarray:
    """A constant input as real float32, looked up through the DEQUANTIZE that float16 files put before it."""
    tensor: TensorRecord | None = operator.inputs[position]
    while tensor is not None and not tensor.is_constant:
        maker = made_by.get(tensor.index)
        if maker is None or maker.name != "DEQUANTIZE":
            raise ModelError(f"{model.source}: {operator.layer} has weights that are computed, not stored")
        tensor = maker.inputs[0]
    if tensor is None:
        raise ModelError(f"{model.source}: {operator.layer} has no weights")
    return model.real_values(tensor)


def _tflite_input_range(model: TfliteFile, manifest: Manifest | None) -> tuple[float, float]:
    """From the manifest where the file has one, else from a uint8 input's scale, else the official range."""
    if manifest is not None:
        low, high = manifest.input_range
        ends = {((low - mean) / std, (high - mean) / std) for mean, std in zip(manifest.mean, manifest.std)}
        if len(ends) != 1:
            raise ConversionError(
                f"{model.source}: its mean and std differ between channels", came=(manifest.mean, manifest.std),
                allowed="the same for red, green and blue",
            )  # fmt: skip
        return ends.pop()
    if len(model.inputs) != 1:
        raise ModelError(f"{model.source}: not a network of one picture", came=f"{len(model.inputs)} inputs", allowed=1)
    tensor = model.inputs[0]
    if tensor.dtype in ("uint8", "int8") and tensor.scales.size == 1:
        low = 0 if tensor.dtype == "uint8" else -128
        scale, zero_point = float(tensor.scales[0]), int(tensor.zero_points[0])
        return (low - zero_point) * scale, (low + 255 - zero_point) * scale
    return OFFICIAL_INPUT_RANGE
