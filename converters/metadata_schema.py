"""Writes and reads the flatbuffers of TFLite's model metadata, table by table from one list of fields.

The tables are those of MediaPipe's metadata_schema.fbs and image_segmenter_metadata_schema.fbs (The MediaPipe
Authors, Apache-2.0, google-ai-edge/mediapipe, mediapipe/tasks/metadata); a field's place here is its slot there.
What a model should say is for publish.py; this file knows how it is laid out in bytes.

    data = write_table("ModelMetadata", {"name": "portrait"}, identifier=METADATA_IDENTIFIER)
    read_table("ModelMetadata", data)["name"]
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from edge_deeplab.errors import MissingExtraError, ModelError

METADATA_IDENTIFIER = b"M001"
SEGMENTER_IDENTIFIER = b"V001"

ENUMS: dict[str, tuple[str, ...]] = {
    "AssociatedFileType": (
        "UNKNOWN", "DESCRIPTIONS", "TENSOR_AXIS_LABELS", "TENSOR_VALUE_LABELS", "TENSOR_AXIS_SCORE_CALIBRATION",
        "VOCABULARY", "SCANN_INDEX_FILE",
    ),
    "ColorSpaceType": ("UNKNOWN", "RGB", "GRAYSCALE"),
    "BoundingBoxType": ("UNKNOWN", "BOUNDARIES", "UPPER_LEFT", "CENTER"),
    "CoordinateType": ("RATIO", "PIXEL"),
    "ScoreTransformationType": ("IDENTITY", "LOG", "INVERSE_LOGISTIC"),
    "Activation": ("NONE", "SIGMOID", "SOFTMAX"),
}  # fmt: skip

# The type of a union's value is stored in a slot of its own before it; 0 there means there is none.
UNIONS: dict[str, tuple[str, ...]] = {
    "ContentProperties": ("FeatureProperties", "ImageProperties", "BoundingBoxProperties", "AudioProperties"),
    "ProcessUnitOptions": (
        "NormalizationOptions", "ScoreCalibrationOptions", "ScoreThresholdingOptions", "BertTokenizerOptions",
        "SentencePieceTokenizerOptions", "RegexTokenizerOptions",
    ),
}  # fmt: skip

TABLES: dict[str, tuple[tuple[str, str], ...]] = {
    "AssociatedFile": (
        ("name", "string"), ("description", "string"), ("type", "AssociatedFileType"), ("locale", "string"),
        ("version", "string"),
    ),
    "FeatureProperties": (),
    "ImageSize": (("width", "uint"), ("height", "uint")),
    "ImageProperties": (("color_space", "ColorSpaceType"), ("default_size", "ImageSize")),
    "AudioProperties": (("sample_rate", "uint"), ("channels", "uint")),
    "BoundingBoxProperties": (
        ("index", "[uint]"), ("type", "BoundingBoxType"), ("coordinate_type", "CoordinateType"),
    ),
    "ValueRange": (("min", "int"), ("max", "int")),
    "Content": (("content_properties", "ContentProperties"), ("range", "ValueRange")),
    "NormalizationOptions": (("mean", "[float]"), ("std", "[float]")),
    "ScoreCalibrationOptions": (("score_transformation", "ScoreTransformationType"), ("default_score", "float")),
    "ScoreThresholdingOptions": (("global_score_threshold", "float"),),
    "BertTokenizerOptions": (("vocab_file", "[AssociatedFile]"),),
    "SentencePieceTokenizerOptions": (
        ("sentencePiece_model", "[AssociatedFile]"), ("vocab_file", "[AssociatedFile]"),
    ),
    "RegexTokenizerOptions": (("delim_regex_pattern", "string"), ("vocab_file", "[AssociatedFile]")),
    "ProcessUnit": (("options", "ProcessUnitOptions"),),
    "Stats": (("max", "[float]"), ("min", "[float]")),
    "TensorGroup": (("name", "string"), ("tensor_names", "[string]")),
    "TensorMetadata": (
        ("name", "string"), ("description", "string"), ("dimension_names", "[string]"), ("content", "Content"),
        ("process_units", "[ProcessUnit]"), ("stats", "Stats"), ("associated_files", "[AssociatedFile]"),
    ),
    "CustomMetadata": (("name", "string"), ("data", "bytes")),
    "SubGraphMetadata": (
        ("name", "string"), ("description", "string"), ("input_tensor_metadata", "[TensorMetadata]"),
        ("output_tensor_metadata", "[TensorMetadata]"), ("associated_files", "[AssociatedFile]"),
        ("input_process_units", "[ProcessUnit]"), ("output_process_units", "[ProcessUnit]"),
        ("input_tensor_groups", "[TensorGroup]"), ("output_tensor_groups", "[TensorGroup]"),
        ("custom_metadata", "[CustomMetadata]"),
    ),
    "ModelMetadata": (
        ("name", "string"), ("description", "string"), ("version", "string"),
        ("subgraph_metadata", "[SubGraphMetadata]"), ("author", "string"), ("license", "string"),
        ("associated_files", "[AssociatedFile]"), ("min_parser_version", "string"),
    ),
    "ImageSegmenterOptions": (("activation", "Activation"), ("min_parser_version", "string")),
}  # fmt: skip

_BYTES_ALIGNMENT = 16  # CustomMetadata.data is declared force_align: 16
_SCALARS = {"float": "Float32", "int": "Int32", "uint": "Uint32"}


def write_table(table: str, values: Mapping[str, Any], *, identifier: bytes) -> bytes:
    """The flatbuffer of a root table.

    Args:
        table: a key of TABLES.
        values: by field name; enums by name, unions as (type name, fields), vectors as sequences, tables as mappings.
            Fields left out are left out of the bytes.
        identifier: the four bytes of the schema's file identifier.

    Raises: KeyError or ValueError for a field, an enum's or a union's name the schema does not know.
    """
    builder = _flatbuffers().Builder(1024)
    builder.ForceDefaults(True)  # a value given is a value written, also when it is the schema's default
    builder.Finish(_write(builder, table, values), file_identifier=identifier)
    return bytes(builder.Output())


def read_table(table: str, data: bytes) -> dict[str, Any]:
    """A root table as write_table takes it; fields left out in the bytes are left out here.

    Raises: ModelError when the bytes are no such flatbuffer.
    """
    module = _flatbuffers()
    try:
        return _read(module.table.Table(data, struct.unpack_from("<I", data, 0)[0]), table)
    except (struct.error, IndexError, ValueError, TypeError, UnicodeDecodeError) as error:
        raise ModelError("the model's TFLite metadata is damaged", came=f"{type(error).__name__} in it") from error


def _flatbuffers() -> ModuleType:
    try:
        import flatbuffers
    except ImportError as error:
        raise MissingExtraError("flatbuffers", extra="headless", purpose="TFLite metadata") from error
    return flatbuffers


def _slots(table: str) -> list[tuple[int, str, str]]:
    """Slot, name and type of each field; a union's slot is that of its value."""
    slots, slot = [], 0
    for name, kind in TABLES[table]:
        slot += kind in UNIONS
        slots.append((slot, name, kind))
        slot += 1
    return slots


def _write(builder: Any, table: str, values: Mapping[str, Any]) -> int:
    unknown = set(values) - {name for name, _ in TABLES[table]}
    if unknown:
        raise KeyError(f"{table} has no field {', '.join(sorted(unknown))}")
    slots = [(slot, kind, values[name]) for slot, name, kind in _slots(table) if name in values]
    # A flatbuffer is written back to front: what a table points to has to be there before the table begins.
    children = {slot: _write_child(builder, kind, value) for slot, kind, value in slots if not _is_inline(kind)}
    builder.StartObject(sum(1 + (kind in UNIONS) for _, kind in TABLES[table]))
    for slot, kind, value in slots:
        if kind in UNIONS:
            builder.PrependUint8Slot(slot - 1, UNIONS[kind].index(value[0]) + 1, 0)
        if kind in ENUMS:
            builder.PrependInt8Slot(slot, ENUMS[kind].index(value), 0)
        elif kind in _SCALARS:
            getattr(builder, f"Prepend{_SCALARS[kind]}Slot")(slot, value, 0)
        else:
            builder.PrependUOffsetTRelativeSlot(slot, children[slot], 0)
    return int(builder.EndObject())


def _is_inline(kind: str) -> bool:
    return kind in ENUMS or kind in _SCALARS


def _write_child(builder: Any, kind: str, value: Any) -> int:
    if kind == "string":
        return int(builder.CreateString(value))
    if kind in UNIONS:
        return _write(builder, value[0], value[1])
    if kind == "bytes":
        builder.StartVector(1, len(value), _BYTES_ALIGNMENT)
        for byte in reversed(value):
            builder.PrependUint8(byte)
        return int(builder.EndVector())
    if kind.startswith("["):
        return _write_vector(builder, kind[1:-1], value)
    return _write(builder, kind, value)


def _write_vector(builder: Any, kind: str, values: Sequence[Any]) -> int:
    if kind in _SCALARS:
        builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            getattr(builder, f"Prepend{_SCALARS[kind]}")(value)
        return int(builder.EndVector())
    offsets = [_write_child(builder, kind, value) for value in values]
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _read(view: Any, table: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for slot, name, kind in _slots(table):
        offset = view.Offset(4 + 2 * slot)
        if kind in UNIONS:
            tag = view.Offset(4 + 2 * (slot - 1))
            member = UNIONS[kind][_scalar(view, "Uint8", view.Pos + tag) - 1] if tag and offset else None
            if member is not None:
                fields[name] = (member, _read(_table_at(view, view.Pos + offset), member))
        elif offset:
            fields[name] = _read_field(view, kind, view.Pos + offset, offset)
    return fields


def _read_field(view: Any, kind: str, position: int, offset: int) -> Any:
    if kind in ENUMS:
        return ENUMS[kind][_scalar(view, "Int8", position)]
    if kind in _SCALARS:
        return _scalar(view, _SCALARS[kind], position)
    if kind == "string":
        return view.String(position).decode()
    if kind == "bytes":
        start = view.Vector(offset)
        return bytes(view.Bytes[start : start + view.VectorLen(offset)])
    if kind.startswith("["):
        start, element = view.Vector(offset), kind[1:-1]
        places = [start + 4 * i for i in range(view.VectorLen(offset))]
        if element in _SCALARS:
            return [_scalar(view, _SCALARS[element], place) for place in places]
        if element == "string":
            return [view.String(place).decode() for place in places]
        return [_read(_table_at(view, place), element) for place in places]
    return _read(_table_at(view, position), kind)


def _scalar(view: Any, kind: str, position: int) -> Any:
    return view.Get(getattr(_flatbuffers().number_types, f"{kind}Flags"), position)


def _table_at(view: Any, position: int) -> Any:
    return _flatbuffers().table.Table(view.Bytes, view.Indirect(position))
