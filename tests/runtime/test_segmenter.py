"""The segmenter on small real models, and on networks others trained."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import InputError, ModelError, UsageError
from edge_deeplab.imaging.resize import fit_image
from edge_deeplab.labels import PORTRAIT, VOC
from edge_deeplab.manifest import Manifest, append_manifest
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.quantized_values import dequantize, quantize
from edge_deeplab.runtime.segmenter import Segmenter

FLOAT_ROUNDING = 2e-6
STREET = ("road", "car", "sky", "person", "tree")

PERSON = Manifest(name="tiny", labels=PORTRAIT, person_class=1, size_hw=(32, 32))
KINDS = {
    "person_float32": PERSON,
    "person_uint8": PERSON,
    "person_int8": PERSON,
    "street_int8": PERSON.replace(labels=STREET, person_class=3),
    "street_argmax": PERSON.replace(labels=STREET, person_class=3, activation="argmax"),
    "foreground_uint8": PERSON.replace(activation="none"),
}


def picture(height: int = 90, width: int = 120, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut())


@pytest.mark.parametrize("name", KINDS)
def test_matte_and_classes_are_the_probabilities(tiny_models: dict[str, Path], name: str) -> None:
    manifest = KINDS[name]
    with Segmenter(tiny_models[name], manifest=manifest) as segmenter:
        probabilities = segmenter.probabilities(picture())
        matte, classes = segmenter.matte(picture()), segmenter.classes(picture())
    assert probabilities.shape == (16, 16, len(manifest.labels)) and probabilities.dtype == np.float32
    assert np.abs(probabilities.sum(-1) - 1).max() < FLOAT_ROUNDING
    assert np.abs(matte - probabilities[..., manifest.person_class]).max() < FLOAT_ROUNDING
    assert matte.dtype == np.float32 and classes.dtype == np.uint8
    best = probabilities.max(-1)
    assert np.array_equal(np.take_along_axis(probabilities, classes[..., None].astype(int), -1)[..., 0], best)


@pytest.mark.parametrize("name", ["person_float32", "person_uint8", "person_int8"])
def test_the_matte_is_the_models_output_dequantized_and_softmaxed(tiny_models: dict[str, Path], name: str) -> None:
    fitted, _ = fit_image(picture(), (32, 32))
    with Engine(tiny_models[name]) as engine:
        source, output = engine.inputs[0], engine.outputs[0]
        real = (fitted / 255).astype(np.float32)[np.newaxis]
        raw = quantize(real, source.quantization, source.dtype) if source.quantization else real
        (result,) = engine.run(raw)
        logits = dequantize(result, output.quantization) if output.quantization else result
    powers = np.exp(logits[0].astype(np.float64))
    with Segmenter(tiny_models[name], manifest=PERSON) as segmenter:
        assert np.abs(segmenter.matte(picture()) - powers[..., 1] / powers.sum(-1)).max() < FLOAT_ROUNDING


@pytest.mark.parametrize("name", KINDS)
def test_a_bgr_frame_gives_what_its_rgb_picture_gives(tiny_models: dict[str, Path], name: str) -> None:
    frame = np.ascontiguousarray(picture()[..., ::-1])
    with Segmenter(tiny_models[name], manifest=KINDS[name]) as segmenter:
        assert np.array_equal(segmenter.matte_bgr(frame), segmenter.matte(picture()))
        assert np.array_equal(segmenter.classes_bgr(frame), segmenter.classes(picture()))
        exact = np.ascontiguousarray(frame[:32, :32])  # a frame of the model's own size is not resized, nor changed
        kept = exact.copy()
        segmenter.matte_bgr(exact)
        segmenter.matte(exact)
        assert np.array_equal(exact, kept)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("name", KINDS)
def test_a_prepared_frame_gives_its_matte_whatever_becomes_of_the_frame(tiny_models, name: str, fit: str) -> None:
    frames = [np.ascontiguousarray(picture(seed=seed)[..., ::-1]) for seed in range(2)]
    with Segmenter(tiny_models[name], manifest=KINDS[name].replace(fit=fit)) as segmenter:
        wanted = [segmenter.matte_bgr(frame) for frame in frames]
        prepared = [segmenter.prepare_bgr(frame) for frame in frames]
        for frame in frames:
            frame.fill(0)
        assert all(np.array_equal(segmenter.matte_of(one), matte) for one, matte in zip(prepared, wanted))
        assert set(segmenter.stage_ms) == {"prepare", "invoke", "decode"}


@pytest.mark.parametrize("name", KINDS)
def test_results_belong_to_the_caller(tiny_models: dict[str, Path], name: str) -> None:
    with Segmenter(tiny_models[name], manifest=KINDS[name]) as segmenter:
        results = [call(picture()) for call in (segmenter.matte, segmenter.classes, segmenter.probabilities)]
        kept = [result.copy() for result in results]
        for call in (segmenter.matte, segmenter.classes, segmenter.probabilities):
            call(picture(seed=1))
    for result, copy in zip(results, kept, strict=True):
        assert np.array_equal(result, copy)


def test_a_view_of_a_frame_counts_as_the_frame(tiny_models: dict[str, Path]) -> None:
    wide = picture(90, 240)
    with Segmenter(tiny_models["person_uint8"], manifest=PERSON) as segmenter:
        for view in (wide[:, ::2], wide[20:52, 7:39], wide[::-1, :, ::-1]):
            assert np.array_equal(segmenter.matte(view), segmenter.matte(np.ascontiguousarray(view)))


@pytest.mark.parametrize(("height", "width"), [(90, 160), (160, 90), (31, 97), (64, 64)])
def test_a_letterboxed_map_covers_exactly_the_picture(tiny_models: dict[str, Path], height: int, width: int) -> None:
    manifest = KINDS["street_argmax"].replace(fit="letterbox")
    image = picture(height, width)
    with Segmenter(tiny_models["street_argmax"], manifest=manifest) as segmenter:
        classes = segmenter.classes(image)
    fitted, placement = fit_image(image, (32, 32), "letterbox", align=2)
    assert classes.shape == (placement.inner_hw[0] // 2, placement.inner_hw[1] // 2)
    with Engine(tiny_models["street_argmax"]) as engine:
        (whole,) = engine.run((fitted / 255).astype(np.float32)[np.newaxis])
    top, left = placement.top // 2, placement.left // 2
    assert np.array_equal(classes, whole[0, top : top + classes.shape[0], left : left + classes.shape[1]])


def test_the_manifest_inside_the_file_is_read_and_one_given_wins(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "own.tflite"
    shutil.copy(tiny_models["person_uint8"], path)
    append_manifest(path, PERSON.replace(name="inside"))
    with Segmenter(path) as segmenter:
        inside = segmenter.matte(picture())
        assert segmenter.manifest.name == "inside" and segmenter.labels == PORTRAIT
        assert segmenter.size_hw == (32, 32) and segmenter.output_hw == (16, 16)
    with Segmenter(str(path), manifest=PERSON.replace(person_class=0)) as segmenter:
        assert np.abs(segmenter.matte(picture()) - (1 - inside)).max() < FLOAT_ROUNDING


def test_a_model_of_any_size_takes_the_manifests(tiny_models: dict[str, Path]) -> None:
    with Segmenter(tiny_models["any_size"], manifest=PERSON.replace(size_hw=(48, 64))) as segmenter:
        assert segmenter.output_hw == (24, 32)
        assert segmenter.matte(picture()).shape == (24, 32)


def test_stage_ms_is_of_the_last_call(tiny_models: dict[str, Path]) -> None:
    with Segmenter(tiny_models["person_uint8"], manifest=PERSON) as segmenter:
        assert segmenter.stage_ms == {}
        segmenter.matte_bgr(picture())
        first = segmenter.stage_ms
        segmenter.classes(picture())
    assert list(first) == ["prepare", "invoke", "decode"] and min(first.values()) > 0
    assert segmenter.stage_ms is not first


def test_without_a_manifest_the_missing_facts_are_named(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ModelError, match=r"no manifest.*uint8 1 x 16 x 16 x 2.*labels, person_class.*--labels"):
        Segmenter(tiny_models["person_uint8"])


def test_a_model_without_a_person_has_classes_and_no_matte(tiny_models: dict[str, Path]) -> None:
    with Segmenter(tiny_models["street_int8"], manifest=KINDS["street_int8"].replace(person_class=None)) as segmenter:
        assert segmenter.classes(picture()).shape == (16, 16)
        assert segmenter.probabilities(picture()).shape == (16, 16, 5)
        for matte in (segmenter.matte, segmenter.matte_bgr):
            with pytest.raises(ModelError, match=r"which class is the person.*--person-class"):
                matte(picture())


@pytest.mark.parametrize(
    ("name", "facts", "reason"),
    [
        ("two_inputs", {}, "2 inputs.*one picture in, one map out"),
        ("wide_float32", {}, "2 x 32 x 32 x 3; allowed: 1 x 32 x 32 x 3"),
        ("person_uint8", {"size_hw": (64, 64)}, "input does not fit its manifest.*1 x 64 x 64 x 3"),
        ("person_uint8", {"labels": STREET}, r"person_uint8\.tflite: the labels do not fit.*5 labels"),
        ("street_argmax", {"labels": STREET}, "no map of classes"),
    ],
)
def test_a_model_that_contradicts_its_manifest_gets_one_line(
    tiny_models: dict[str, Path], name: str, facts: dict[str, object], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason) as caught:
        Segmenter(tiny_models[name], manifest=PERSON.replace(**facts))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "frame",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)],
)
def test_a_frame_that_is_no_colour_picture_is_refused(tiny_models: dict[str, Path], frame: np.ndarray) -> None:
    with (
        Segmenter(tiny_models["person_uint8"], manifest=PERSON) as segmenter,
        pytest.raises(InputError, match=r"allowed: uint8 \(H, W, 3\)"),
    ):
        segmenter.matte(frame)


def test_options_are_checked(tiny_models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="threads"):
        Segmenter(tiny_models["person_uint8"], manifest=PERSON, threads=0)
    with pytest.raises(ModelError, match="no such model file"):
        Segmenter(tmp_path / "missing.tflite")


def test_an_aborting_model_is_refused(aborting_model: Path) -> None:
    with pytest.raises(ModelError, match="SIGABRT"):
        Segmenter(aborting_model, manifest=PERSON)


def test_networks_of_others_find_the_astronaut(shared: Path, astronaut: np.ndarray) -> None:
    """Google's float VOC model takes -1..1; Coral's uint8 one takes bytes as they are and ends in argmax."""
    google = Manifest(name="google", labels=VOC, person_class=15, size_hw=(257, 257), input_range=(-1, 1))
    coral = google.replace(name="coral", size_hw=(513, 513), input_range=(-1, 127 / 128), activation="argmax")
    mattes = []
    for name, manifest in (
        ("deeplabv3_257_mv_gpu.tflite", google),
        ("deeplabv3_mnv2_dm05_pascal_quant.tflite", coral),
        ("deeplabv3_mnv2_pascal_quant.tflite", coral),
    ):
        with Segmenter(shared / "models" / name, manifest=manifest) as segmenter:
            matte, classes = segmenter.matte(astronaut), segmenter.classes(astronaut)
        assert matte.shape == classes.shape == manifest.size_hw
        assert (classes[matte > 0.5] == 15).all()
        mattes.append(cv2.resize(matte, (512, 512)) > 0.5)
    for found in mattes:
        assert found[100:160, 200:240].all() and found[250:380, 180:260].all()  # face and suit
        assert not found[:60, :60].any()  # the flag behind her
    for other in mattes[1:]:
        assert (mattes[0] & other).sum() / (mattes[0] | other).sum() > 0.8  # three networks, one person
