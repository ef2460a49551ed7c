"""Makes a .tflite say of itself what a program needs: standard TFLite metadata, label file and manifest inside.

The metadata is what MediaPipe's ImageSegmenter asks for (google-ai-edge/mediapipe,
mediapipe/tasks/python/metadata/metadata_writers/image_segmenter.py, Apache-2.0); the files are a zip appended to the
model, as TFLite's associated files are, so the device reads the manifest with the standard library.

    Path("portrait.tflite").write_bytes(publish(tflite_bytes, manifest))
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

from edge_deeplab.converters.metadata_schema import (
    METADATA_IDENTIFIER,
    SEGMENTER_IDENTIFIER,
    read_table,
    write_table,
)
from edge_deeplab.errors import ConversionError
from edge_deeplab.manifest import ENTRY, Manifest
from edge_deeplab.runtime.flatbuffer import TensorRecord, TfliteFile
from edge_deeplab.runtime.rewrite import replace_metadata

METADATA_NAME = "TFLITE_METADATA"
SEGMENTER_NAME = "SEGMENTER_METADATA"
LABELS_FILE = "labels.txt"
# The schema version that brought custom metadata; older readers must refuse the file.
MIN_PARSER_VERSION = "1.5.0"
# MediaPipe knows no argmax: a label map goes out with no activation to apply.
_ACTIVATIONS = {"none": "NONE", "argmax": "NONE", "sigmoid": "SIGMOID", "softmax": "SOFTMAX"}


def publish(tflite_bytes: bytes, manifest: Manifest) -> bytes:
    """The model with metadata, labels.txt and manifest.json inside; what it held of them before is replaced.

    tflite_bytes: a network of one picture (1, H, W, 3) to one map (1, h, w, C) or, argmax inside, labels.
    Returns: the published file; the same arguments give the same bytes. Graph and constants are unchanged.
    Raises: ModelError when the bytes are no .tflite; ConversionError when the manifest does not fit the network.
    """
    model = TfliteFile.from_bytes(tflite_bytes, source=manifest.name)
    _check_fit(model, manifest)
    metadata = write_table("ModelMetadata", _model_metadata(model, manifest), identifier=METADATA_IDENTIFIER)
    file = io.BytesIO(replace_metadata(tflite_bytes, {METADATA_NAME: metadata}, source=manifest.name))
    with zipfile.ZipFile(file, "a", compression=zipfile.ZIP_STORED) as archive:
        labels = "".join(f"{label}\n" for label in manifest.labels)
        for name, text in ((LABELS_FILE, labels), (ENTRY, manifest.to_json())):
            entry = zipfile.ZipInfo(name)  # its time stamp is 1980 always
            entry.create_system = 3  # zipfile would write the platform it runs on
            archive.writestr(entry, text)
    return file.getvalue()


def read_metadata(model: TfliteFile) -> dict[str, Any] | None:
    """The TFLite metadata of a model as plain values, any publisher's; None when it has none.

    Custom metadata named SEGMENTER_METADATA is read too; other custom metadata is given as its length in bytes.
    Raises: ModelError when the metadata is damaged.
    """
    data = model.metadata(METADATA_NAME)
    if data is None:
        return None
    fields = read_table("ModelMetadata", data)
    for subgraph in fields.get("subgraph_metadata", ()):
        for custom in subgraph.get("custom_metadata", ()):
            content = custom.pop("data", b"")
            if custom.get("name") == SEGMENTER_NAME:
                custom["options"] = read_table("ImageSegmenterOptions", content)
            else:
                custom["size_bytes"] = len(content)
    return fields


def _check_fit(model: TfliteFile, manifest: Manifest) -> None:
    """The manifest must describe this network: one picture of its size in, one map of its classes out."""
    ends = (len(model.inputs), len(model.outputs))
    if ends != (1, 1):
        raise ConversionError(
            f"{manifest.name}: cannot be published", came=f"{ends[0]} inputs and {ends[1]} outputs",
            allowed="one picture in, one map out",
        )  # fmt: skip
    picture, result = model.inputs[0].shape, model.outputs[0].shape
    if picture != (1, *manifest.size_hw, 3):
        raise ConversionError(
            f"{manifest.name}: manifest and network differ in input shape", came=picture,
            allowed=(1, *manifest.size_hw, 3),
        )  # fmt: skip
    if manifest.activation == "argmax":
        return
    if len(result) != 4:
        raise ConversionError(f"{manifest.name}: its output is no map", came=result, allowed="(1, h, w, classes)")
    # one channel may stand for two classes: the probability of the second
    counts = {len(manifest.labels), 1} if len(manifest.labels) == 2 else {len(manifest.labels)}
    if result[-1] not in counts:
        raise ConversionError(
            f"{manifest.name}: manifest and network differ in classes", came=f"{result[-1]} channels",
            allowed=f"{len(manifest.labels)} labels: {', '.join(manifest.labels)}",
        )  # fmt: skip


def _model_metadata(model: TfliteFile, manifest: Manifest) -> dict[str, Any]:
    metadata = {
        "name": manifest.name,
        "description": "Semantic segmentation: which class each pixel of a picture belongs to.",
        "version": f"manifest format {manifest.format}",
        "subgraph_metadata": [
            {
                "input_tensor_metadata": [_input_metadata(model.inputs[0], manifest)],
                "output_tensor_metadata": [_output_metadata()],
                "custom_metadata": [{"name": SEGMENTER_NAME, "data": _segmenter_options(manifest)}],
            }
        ],
        "min_parser_version": MIN_PARSER_VERSION,
    }
    if manifest.licence:
        metadata["license"] = manifest.licence
    return metadata


def _input_metadata(tensor: TensorRecord, manifest: Manifest) -> dict[str, Any]:
    mean, std = normalization(manifest)
    if tensor.dtype == "float32":  # stats are of what enters the network
        low = [-m / s for m, s in zip(mean, std)]
        high = [(255 - m) / s for m, s in zip(mean, std)]
    else:
        low, high = [0.0], [255.0]
    height, width = manifest.size_hw
    properties = {"color_space": "RGB", "default_size": {"width": width, "height": height}}
    return {
        "name": "image",
        "description": "Picture to be segmented, RGB.",
        "content": {"content_properties": ("ImageProperties", properties)},
        # MediaPipe asks for it of uint8 inputs too, whose pixels it passes on as they are
        "process_units": [{"options": ("NormalizationOptions", {"mean": mean, "std": std})}],
        "stats": {"max": high, "min": low},
    }


def normalization(manifest: Manifest) -> tuple[list[float], list[float]]:
    """Mean and std in pixel values, for `(pixel - mean) / std`: the manifest's formula in metadata's terms.

    Returns: one value each where the three channels agree, else three.
    """
    low, high = manifest.input_range
    pixels = 255 / (high - low)
    mean = [(value - low) * pixels for value in manifest.mean]
    std = [value * pixels for value in manifest.std]
    if len(set(mean)) == len(set(std)) == 1:
        return mean[:1], std[:1]
    return mean, std


def _output_metadata() -> dict[str, Any]:
    return {
        "name": "segmentation_masks",
        "description": "One map per class, in the order of labels.txt.",
        "content": {
            "content_properties": ("ImageProperties", {"color_space": "GRAYSCALE"}),
            "range": {"min": 1, "max": 2},  # the axes that are height and width
        },
        "associated_files": [
            {"name": LABELS_FILE, "description": "Names of the classes, one a line.", "type": "TENSOR_AXIS_LABELS"}
        ],
    }


def _segmenter_options(manifest: Manifest) -> bytes:
    return write_table(
        "ImageSegmenterOptions", {"activation": _ACTIVATIONS[manifest.activation]}, identifier=SEGMENTER_IDENTIFIER
    )
