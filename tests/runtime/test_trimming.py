"""A model without its ends: the same numbers, with what was cut off done by the caller."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import ModelError
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.cutting import ModelCutter
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.runtime.trimming import trim_ends

PERSON = Manifest(name="tiny", labels=PORTRAIT, person_class=1, size_hw=(32, 32))


def test_the_bundled_model_loses_its_conversions_and_its_last_enlargement() -> None:
    data = bundled_model("portrait").read_bytes()
    trimmed = trim_ends(data)
    assert trimmed is not None and len(trimmed.content) == len(data)
    whole, rest = TfliteFile.from_bytes(data), TfliteFile.from_bytes(trimmed.content)
    assert trimmed.enlarged_hw == whole.outputs[0].shape[1:3]
    assert [operator.name for operator in whole.operators[1:-2]] == [operator.name for operator in rest.operators]
    assert [operator.name for operator in whole.operators[-2:]] == ["RESIZE_BILINEAR", "QUANTIZE"]
    assert (rest.inputs[0].dtype, rest.outputs[0].dtype) == ("int8", "int8")
    assert trim_ends(trimmed.content) is None, "what is trimmed has no such ends any more"


def test_what_is_left_computes_the_same_bits_as_the_piece_cut_out_through_the_schema(tmp_path: Path) -> None:
    path = bundled_model("portrait")
    trimmed = trim_ends(path.read_bytes())
    assert trimmed is not None
    cutter, cut = ModelCutter(path.read_bytes()), tmp_path / "cut.tflite"
    cut.write_bytes(cutter.operators(1, cutter.count - 3))
    with Engine(path, content=trimmed.content) as ours, Engine(cut) as other:
        picture = np.random.default_rng(0).integers(-128, 128, ours.inputs[0].shape).astype(np.int8)
        np.testing.assert_array_equal(ours.run(picture)[0], other.run(picture)[0])


def test_maps_of_the_trimmed_model_are_those_of_the_whole_one_at_half_its_size() -> None:
    coarse = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
    with (
        Segmenter("portrait", precision="int8") as whole,
        Segmenter("portrait", precision="int8", trims_ends=True) as trimmed,
    ):
        half_hw = (whole.output_hw[0] // 2, whole.output_hw[1] // 2)
        assert trimmed.output_hw == half_hw
        matte, expected = trimmed.matte(picture), whole.matte(picture)
        probabilities, classes = trimmed.probabilities(picture), trimmed.classes(picture)
        again = trimmed.matte_bgr(np.ascontiguousarray(picture[..., ::-1]))
    # The whole one rounds enlarged logits to steps of 0.107: half of one changes a probability by at most 0.0133; the
    # mean of four pixels instead of one value in their middle adds its curvature, largest at steep edges.
    halved = cv2.resize(expected, half_hw[::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(matte - halved).mean() < 0.0133
    assert np.abs(matte - halved).max() < 0.15
    np.testing.assert_allclose(probabilities[..., 1], matte, atol=2e-6)
    is_tie = np.abs(matte - 0.5) < 2e-6
    np.testing.assert_array_equal(classes[~is_tie], (matte > 0.5)[~is_tie])
    np.testing.assert_array_equal(again, matte)


@pytest.mark.parametrize("name", ["person_float32", "person_int8", "street_argmax", "any_size", "two_inputs"])
def test_a_model_without_such_ends_is_left_whole(tiny_models: dict[str, Path], name: str) -> None:
    assert trim_ends(tiny_models[name].read_bytes()) is None


def test_conversions_alone_are_trimmed_too_and_nothing_else_changes(tiny_models: dict[str, Path]) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (40, 50, 3), np.uint8)
    trimmed = trim_ends(tiny_models["person_uint8"].read_bytes())
    assert trimmed is not None and trimmed.enlarged_hw is None
    with (
        Segmenter(tiny_models["person_uint8"], manifest=PERSON) as whole,
        Segmenter(tiny_models["person_uint8"], manifest=PERSON, trims_ends=True) as quick,
    ):
        assert quick.engine.inputs[0].dtype == np.int8 and quick.output_hw == whole.output_hw
        np.testing.assert_allclose(quick.matte(picture), whole.matte(picture), atol=2e-6)


def test_a_damaged_file_is_refused_before_it_is_taken_apart(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(bundled_model("portrait").read_bytes()[:2000])
    with pytest.raises(ModelError, match=r"damaged\.tflite"):
        Segmenter(damaged, manifest=PERSON, trims_ends=True)
