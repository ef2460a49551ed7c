"""Other metadata, the same model: what the interpreter computes does not change by a bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.flatbuffer import TfliteFile, tflite_schema
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.rewrite import replace_metadata

FLOAT = "models/deeplabv3_257_mv_gpu.tflite"


def test_entries_are_added_and_replaced_never_doubled() -> None:
    graph = bright_segmenter()
    graph.metadata = {"kept": b"as it was", "old": b"old"}
    data = replace_metadata(graph.to_bytes(), {"old": b"new", "added": b"more"})
    model = TfliteFile.from_bytes(data)
    assert model.metadata_names == ("kept", "old", "added")
    assert [model.metadata(name) for name in model.metadata_names] == [b"as it was", b"new", b"more"]
    assert replace_metadata(data, {"old": b"new", "added": b"more"}) == data


def test_records_stay() -> None:
    before = bright_segmenter(io="float32").to_bytes()
    old, new = TfliteFile.from_bytes(before), TfliteFile.from_bytes(replace_metadata(before, {"a": b"b"}))
    assert [o.name for o in new.operators] == [o.name for o in old.operators]
    for one, other in zip(old.tensors, new.tensors):
        assert (one.name, one.shape, one.dtype, one.axis) == (other.name, other.shape, other.dtype, other.axis)
        np.testing.assert_array_equal(one.scales, other.scales)
        if one.is_constant:
            np.testing.assert_array_equal(old.stored_values(one), new.stored_values(other))


def test_constants_lie_on_multiples_of_sixteen() -> None:
    """The schema's force_align, which the generated Python writer does not keep (it aligns to 4)."""
    data = replace_metadata(bright_segmenter(io="uint8").to_bytes(), {"metadata": b"odd"})
    model = tflite_schema().Model.GetRootAs(data, 0)
    buffers = [model.Buffers(i) for i in range(model.BuffersLength())]
    starts = [buffer._tab.Vector(buffer._tab.Offset(4)) for buffer in buffers if buffer.DataLength()]
    assert len(starts) == 3 and all(start % 16 == 0 for start in starts)
    assert len(data) % 16 == 0


def test_a_real_model_computes_the_same(shared: Path, tmp_path: Path) -> None:
    path = tmp_path / "rewritten.tflite"
    path.write_bytes(replace_metadata((shared / FLOAT).read_bytes(), {"TFLITE_METADATA": b"something"}))
    picture = np.random.default_rng(0).uniform(-1, 1, (1, 257, 257, 3)).astype(np.float32)
    with Engine(shared / FLOAT) as before, Engine(path) as after:
        np.testing.assert_array_equal(before.run(picture)[0], after.run(picture)[0])


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match=r"no \.tflite file"):
        replace_metadata(b"not a model", {})
