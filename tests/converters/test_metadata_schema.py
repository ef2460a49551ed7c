"""TFLite metadata in bytes: read back by this file, and by the reader that MediaPipe's own compiler generated."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

from edge_deeplab.converters.metadata_schema import (
    METADATA_IDENTIFIER,
    TABLES,
    UNIONS,
    read_table,
    write_table,
)
from edge_deeplab.errors import ModelError

VALUES = {
    "name": "portrait",
    "description": "ä person",
    "version": "1",
    "subgraph_metadata": [
        {
            "input_tensor_metadata": [
                {
                    "name": "image",
                    "dimension_names": ["batch", "height"],
                    "content": {
                        "content_properties": (
                            "ImageProperties",
                            {"color_space": "RGB", "default_size": {"width": 320, "height": 192}},
                        ),
                        "range": {"min": -1, "max": 2},
                    },
                    "process_units": [{"options": ("NormalizationOptions", {"mean": [1.5, 2.5], "std": [255.0]})}],
                    "stats": {"max": [1.0], "min": [-1.0]},
                    "associated_files": [{"name": "labels.txt", "type": "TENSOR_AXIS_LABELS"}],
                }
            ],
            "custom_metadata": [{"name": "SOME", "data": bytes(range(40))}],
        }
    ],
    "license": "Apache-2.0",
    "min_parser_version": "1.5.0",
}


def test_what_is_written_is_read_back() -> None:
    data = write_table("ModelMetadata", VALUES, identifier=METADATA_IDENTIFIER)
    assert data[4:8] == b"M001"
    assert read_table("ModelMetadata", data) == VALUES


def test_the_same_values_make_the_same_bytes() -> None:
    first, second = (write_table("ModelMetadata", VALUES, identifier=METADATA_IDENTIFIER) for _ in range(2))
    assert first == second


def test_every_type_named_is_known() -> None:
    for table, fields in TABLES.items():
        for name, kind in fields:
            element = kind.strip("[]")
            if element[0].isupper():
                from edge_deeplab.converters import metadata_schema

                known = {**metadata_schema.TABLES, **metadata_schema.ENUMS, **metadata_schema.UNIONS}
                assert element in known, f"{table}.{name}"
    assert all(member in TABLES for members in UNIONS.values() for member in members)


def test_an_unknown_field_or_name_is_refused() -> None:
    with pytest.raises(KeyError, match="nickname"):
        write_table("ModelMetadata", {"nickname": "x"}, identifier=METADATA_IDENTIFIER)
    with pytest.raises(ValueError, match="tuple"):
        write_table("ImageProperties", {"color_space": "BGR"}, identifier=METADATA_IDENTIFIER)


def test_damaged_bytes_are_one_line() -> None:
    data = write_table("ModelMetadata", VALUES, identifier=METADATA_IDENTIFIER)
    for end in range(0, len(data), 13):
        try:
            read_table("ModelMetadata", data[:end])
        except ModelError as error:
            assert "\n" not in str(error)


@pytest.fixture
def generated_reader() -> ModuleType:
    """MediaPipe's flatc-generated reader, from the peer's environment; it needs flatbuffers and numpy alone."""
    python = os.environ.get("EDGE_DEEPLAB_PEER_PYTHON")
    if not python:
        pytest.skip("needs MediaPipe in an environment of its own: set EDGE_DEEPLAB_PEER_PYTHON to its Python")
    found = sorted(Path(python).parent.parent.glob("lib/python3*/site-packages/mediapipe/tasks/metadata"))
    spec = importlib.util.spec_from_file_location("generated", found[0] / "metadata_schema_py_generated.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mediapipes_reader_sees_the_same(generated_reader: ModuleType) -> None:
    data = write_table("ModelMetadata", VALUES, identifier=METADATA_IDENTIFIER)
    assert generated_reader.ModelMetadata.ModelMetadataBufferHasIdentifier(data, 0)
    model = generated_reader.ModelMetadataT.InitFromPackedBuf(data, 0)
    assert (model.name, model.description.decode(), model.minParserVersion) == (b"portrait", "ä person", b"1.5.0")
    (graph,) = model.subgraphMetadata
    (tensor,) = graph.inputTensorMetadata
    assert tensor.content.contentPropertiesType == generated_reader.ContentProperties.ImageProperties
    assert tensor.content.contentProperties.colorSpace == generated_reader.ColorSpaceType.RGB
    assert tensor.content.contentProperties.defaultSize.width == 320
    assert (tensor.content.range.min, tensor.content.range.max) == (-1, 2)
    assert list(tensor.processUnits[0].options.mean) == [1.5, 2.5]
    assert (list(tensor.stats.min), list(tensor.stats.max)) == ([-1.0], [1.0])
    assert tensor.associatedFiles[0].type == generated_reader.AssociatedFileType.TENSOR_AXIS_LABELS
    assert bytes(graph.customMetadata[0].data) == bytes(range(40))
