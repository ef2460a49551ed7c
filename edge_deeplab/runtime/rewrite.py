"""Writes a .tflite again: with other metadata entries, or changed through the schema's object API.

    data = replace_metadata(data, {"TFLITE_METADATA": metadata})
    data = pack_model(model)                                    # a ModelT that was changed

What the entries mean is for those who make them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge_deeplab.errors import ConversionError
from edge_deeplab.runtime.flatbuffer import IDENTIFIER, TfliteFile, tflite_schema

# TFLite's schema declares constants `force_align: 16`; kernels and delegates read them in place.
_ALIGNMENT = 16


class _AlignedBuffer:
    """Stands for the schema's BufferT, whose generated Pack aligns constants to 4 bytes instead of 16."""

    def __init__(self, data: np.ndarray | None) -> None:
        self.data = data

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the generated code's name
        schema = tflite_schema()
        vector = None
        if self.data is not None:
            raw = self.data.tobytes()
            builder.StartVector(1, len(raw), _ALIGNMENT)
            builder.head = builder.head - len(raw)  # as Builder.CreateByteVector does: one copy, not byte by byte
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def replace_metadata(data: bytes, entries: Mapping[str, bytes], *, source: str = "model") -> bytes:
    """The model with these metadata entries put in, each in place of one of the same name.

    data: a .tflite; anything after the flatbuffer (a zip of associated files) is dropped.
    Returns: the bytes of a flatbuffer whose length is a multiple of 16; the same arguments give the same bytes.
    Raises: ModelError when data is no readable .tflite; ConversionError when it keeps constants outside the
        flatbuffer, as models over 2 GB do.
    """
    model = unpack_model(data, source=source)
    schema = tflite_schema()
    model.metadata = list(model.metadata or [])
    for name, content in entries.items():
        buffer = _AlignedBuffer(np.frombuffer(content, np.uint8))
        known = [entry for entry in model.metadata if entry.name == name.encode()]
        if known:
            model.buffers[known[0].buffer] = buffer
        else:
            entry = schema.MetadataT()
            entry.name, entry.buffer = name, len(model.buffers)
            model.buffers.append(buffer)
            model.metadata.append(entry)
    return pack_model(model, size_hint=len(data))


def unpack_model(data: bytes, *, source: str = "model") -> Any:
    """The schema's ModelT of a .tflite, its buffers such that pack_model aligns them as the schema asks.

    Raises: ModelError when data is no readable .tflite; ConversionError when it keeps constants outside the
        flatbuffer, as models over 2 GB do.
    """
    TfliteFile.from_bytes(data, source=source)  # names what is wrong with a damaged file
    model = tflite_schema().ModelT.InitFromPackedBuf(data, 0)
    operators = [operator for graph in model.subgraphs for operator in graph.operators or []]
    if any(buffer.offset > 1 for buffer in model.buffers) or any(op.largeCustomOptionsOffset > 1 for op in operators):
        raise ConversionError(f"{source}: keeps its constants outside the flatbuffer", allowed="a model under 2 GB")
    model.buffers = [_AlignedBuffer(buffer.data) for buffer in model.buffers]
    return model


def constant_buffer(values: np.ndarray | None) -> Any:
    """A buffer for a ModelT that holds `values` as they lie in memory; None is the empty buffer."""
    return _AlignedBuffer(None if values is None else np.frombuffer(values.tobytes(), np.uint8))


def pack_model(model: Any, *, size_hint: int = 0) -> bytes:
    """The bytes of a ModelT; the same model gives the same bytes."""
    import flatbuffers  # the schema's reader has imported it already

    builder = flatbuffers.Builder(size_hint + 1024)
    builder.Finish(model.Pack(builder), file_identifier=IDENTIFIER)
    return bytes(builder.Output())
