"""The SavedModel's promises, kept by a program that knows TensorFlow alone: run in a process without our package."""

from __future__ import annotations

import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import cv2
import numpy as np
import pytest
from small_networks import smooth_images, write_model

from edge_deeplab.cli.main import main
from edge_deeplab.converters import server_graph
from edge_deeplab.errors import ModelError
from edge_deeplab.imaging.decode import decode_image
from edge_deeplab.imaging.resize import Placement, fit_image
from edge_deeplab.manifest import ENTRY, Manifest, read_manifest
from edge_deeplab.serving.answers import class_indices
from edge_deeplab.serving.model_file import locate_model, pack_model, unpack_model
from edge_deeplab.serving.models import open_batch_model

FLOAT_NOISE = 1e-4  # of a probability: the same sums in another order
SIZES_HW = {"same": (64, 64), "small": (30, 50), "wide": (150, 400), "large": (701, 333)}
# Each shrinking step rounds to a byte, OpenCV with weights of 11 bits; 701 pixels to 64 are three steps.
PIXEL_STEPS = 3

FRESH = """
import json, sys
import numpy as np, tensorflow as tf
folder, pictures, answers = sys.argv[1:]
assert not any(name.partition(".")[0] == "edge_deeplab" for name in sys.modules)
loaded = tf.saved_model.load(folder)
given, found = np.load(pictures), {}
for name in ("serving_default", "serve_own_size"):
    for key in given.files:
        if not key.startswith("file"):
            answer = loaded.signatures[name](images=tf.constant(given[key]))
            found |= {f"{name} {key} {output}": value.numpy() for output, value in answer.items()}
files = [given[key].tobytes() for key in sorted(given.files) if key.startswith("file")]
for name in ("serve_bytes", "serve_png"):
    answer = loaded.signatures[name](image_bytes=tf.constant(files))
    for output, value in answer.items():
        for index, one in enumerate(value.numpy()):
            found[f"{name} {index} {output}"] = np.frombuffer(one, np.uint8) if isinstance(one, bytes) else one
try:
    loaded.signatures["serve_bytes"](image_bytes=tf.constant([b"no picture"]))
except tf.errors.InvalidArgumentError:
    found["refused"] = np.ones(1)
np.savez(answers, **found)
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of ours that letterboxes: what stretching leaves out is in it, too."""
    folder = tmp_path_factory.mktemp("saved_model")
    made = write_model(folder / "small.keras")
    manifest = read_manifest(made)
    assert manifest is not None
    with ZipFile(made) as source, ZipFile(folder / "model.keras", "w") as target:
        for name in source.namelist():
            data = source.read(name)
            target.writestr(name, manifest.replace(fit="letterbox").to_json() if name == ENTRY else data)
    return folder / "model.keras"


@pytest.fixture(scope="module")
def exported(model: Path) -> Path:
    output = model.parent / "m.savedmodel"
    assert main(["convert", str(model), "--to", "savedmodel,savedmodel-float16", "-o", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Batches (2, H, W, 3) uint8 of every size, noisy enough that a wrong resize is seen."""
    rng = np.random.default_rng(3)
    made = {}
    for name, size_hw in SIZES_HW.items():
        smooth = smooth_images(2, seed=5, size_hw=size_hw) * 255 + rng.normal(0, 12, (2, *size_hw, 3))
        made[name] = np.rint(smooth).clip(0, 255).astype(np.uint8)
    return made


@pytest.fixture(scope="module")
def files(pictures: dict[str, np.ndarray]) -> list[bytes]:
    """A JPEG, a PNG, and a PNG with alpha, of different sizes."""
    wide, large, small = (pictures[name][0][..., ::-1] for name in ("wide", "large", "small"))
    clear = np.dstack([small, np.full(small.shape[:2], 90, np.uint8)])
    return [
        cv2.imencode(kind, image)[1].tobytes() for kind, image in ((".jpg", wide), (".png", large), (".png", clear))
    ]


@pytest.fixture(scope="module")
def answers(exported: Path, pictures: dict[str, np.ndarray], files: list[bytes]) -> dict[str, np.ndarray]:
    given, found = exported.parent / "given.npz", exported.parent / "found.npz"
    arrays: dict[str, Any] = {f"file{index}": np.frombuffer(data, np.uint8) for index, data in enumerate(files)}
    np.savez(given, **pictures, **arrays)
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(exported), str(given), str(found)], capture_output=True, text=True,
        check=False, cwd=exported.parent,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(np.load(found))


class Reference:
    """Our own way from a picture to its maps: OpenCV's resize, Keras, numpy."""

    def __init__(self, path: Path) -> None:
        from edge_deeplab.models.keras_api import keras_namespace
        from edge_deeplab.models.store import rebuild

        self.model, self.manifest = rebuild(path, keras_namespace("keras"))
        output = self.model.predict_on_batch(np.zeros((1, *self.manifest.size_hw, 3), np.float32))
        self.align = self.manifest.size_hw[0] // output.shape[1]

    def maps(self, image: np.ndarray) -> tuple[np.ndarray, Placement]:
        fitted, placement = fit_image(image, self.manifest.size_hw, self.manifest.fit, align=self.align)
        logits = self.model.predict_on_batch(fitted[np.newaxis].astype(np.float32) / 255)[0]
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True), placement


@pytest.fixture(scope="module")
def reference(model: Path) -> Reference:
    return Reference(model)


def test_the_manifest_is_an_asset_and_read_without_tensorflow(exported: Path, model: Path) -> None:
    manifest, source = read_manifest(exported), read_manifest(model)
    assert isinstance(manifest, Manifest)
    assert source is not None
    assert manifest.labels == source.labels
    assert manifest.provenance["conversion"]["format"] == "savedmodel"
    assert str(exported.parent) not in manifest.to_json()


def test_pictures_of_the_models_own_size_give_the_networks_numbers(
    answers: dict[str, np.ndarray], pictures: dict[str, np.ndarray], reference: Reference
) -> None:
    for index, image in enumerate(pictures["same"]):
        expected, _ = reference.maps(image)
        assert np.abs(answers["serving_default same probabilities"][index] - expected).max() < FLOAT_NOISE
    assert answers["serving_default same labels"].dtype == np.uint8
    assert np.array_equal(
        answers["serving_default same labels"], answers["serving_default same probabilities"].argmax(-1)
    )
    assert np.array_equal(answers["serving_default same matte"], answers["serving_default same probabilities"][..., 1])


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("name", SIZES_HW)
def test_pictures_are_fitted_and_maps_restored_as_everywhere_else(
    pictures: dict[str, np.ndarray], name: str, fit: str
) -> None:
    """Within a byte level a shrinking step of what OpenCV makes; the picture lies at the very same place."""
    import tensorflow as tf

    expected, placement = fit_image(pictures[name][0], (64, 64), fit, align=4)
    got, place = server_graph.fit_pictures(tf.constant(pictures[name]), (64, 64), fit, align=4)
    assert [int(number) for number in place] == [placement.top, placement.left, *placement.inner_hw]
    assert np.abs(got[0].numpy() - expected).max() <= PIXEL_STEPS
    assert np.abs(got[0].numpy() - expected).mean() < 0.5
    maps = np.random.default_rng(0).uniform(size=(1, 16, 16, 2)).astype(np.float32)
    restored = server_graph.restore(tf.constant(maps), place, (64, 64), pictures[name].shape[1:3])
    assert np.abs(restored[0].numpy() - placement.restore(maps[0])).max() < FLOAT_NOISE


@pytest.mark.parametrize("name", SIZES_HW)
def test_maps_at_the_own_size_are_those_of_our_restore(
    answers: dict[str, np.ndarray], reference: Reference, pictures: dict[str, np.ndarray], name: str
) -> None:
    """From the SavedModel's own maps, so that the resize before the network is not judged a second time."""
    for index, image in enumerate(pictures[name]):
        _, placement = reference.maps(image)
        maps = answers[f"serving_default {name} probabilities"][index]
        restored = answers[f"serve_own_size {name} probabilities"][index]
        assert restored.shape[:2] == image.shape[:2]
        assert np.abs(restored - placement.restore(maps)).max() < FLOAT_NOISE
        labels = answers[f"serve_own_size {name} labels"][index]
        assert (labels == class_indices(maps, placement, "picture")).mean() > 0.999  # ties of rounding
        top, left, height, width = answers[f"serving_default {name} box"][index]
        inside = maps[top : top + height, left : left + width]
        assert inside.shape == placement.crop(maps).shape
        assert np.array_equal(inside, placement.crop(maps))


def test_files_of_any_sizes_share_a_batch(
    answers: dict[str, np.ndarray], files: list[bytes], reference: Reference
) -> None:
    for index, data in enumerate(files):
        image = decode_image(data, name="file")
        expected, placement = reference.maps(image)
        got = answers[f"serve_bytes {index} probabilities"]
        assert np.abs(got - expected).mean() < 0.01  # two decoders and PIXEL_STEPS
        assert tuple(answers[f"serve_bytes {index} size_hw"]) == image.shape[:2]
        top, left, height, width = answers[f"serve_bytes {index} box"]
        assert np.array_equal(got[top : top + height, left : left + width], placement.crop(got))
        matte = cv2.imdecode(answers[f"serve_png {index} matte_bytes"], cv2.IMREAD_UNCHANGED)
        assert np.abs(matte - placement.restore(np.ascontiguousarray(got[..., 1])) * 255).max() <= 0.51
        labels = cv2.imdecode(answers[f"serve_png {index} labels_bytes"], cv2.IMREAD_UNCHANGED)
        assert (labels == class_indices(got, placement, "picture")).mean() > 0.999
    assert "refused" in answers


def test_half_kernels_make_a_smaller_folder_of_the_same_answers(exported: Path, reference: Reference) -> None:
    import tensorflow as tf

    half = exported.with_name("m.float16.savedmodel")
    sizes = [(folder / "saved_model.pb").stat().st_size for folder in (exported, half)]
    assert sizes[1] < 0.8 * sizes[0]
    image = np.rint(smooth_images(1, seed=9) * 255).astype(np.uint8)
    got = tf.saved_model.load(str(half)).signatures["serving_default"](images=tf.constant(image))["probabilities"]
    assert np.abs(got[0].numpy() - reference.maps(image[0])[0]).max() < 0.02  # 11 bits a kernel value, 40 layers


def test_an_existing_folder_is_kept_without_force_and_a_foreign_one_with_it(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = model.parent / "kept.savedmodel"
    kept.mkdir()
    (kept / "mine.txt").write_text("mine")
    for extra, said in (([], "exists already"), (["--force"], "a folder of something else")):
        assert main(["convert", str(model), "--to", "savedmodel", "-o", str(kept), *extra]) == 1
        error = capsys.readouterr().err
        assert said in error
        assert len(error.strip().splitlines()) == 1
    assert (kept / "mine.txt").read_text() == "mine"
    assert not [path for path in model.parent.iterdir() if path.name.endswith(".part")]


def test_the_server_takes_the_folder_whole_and_packed(exported: Path, reference: Reference) -> None:
    """As `edge-deeplab serve` opens it here, and on a machine of a cluster that lacks it."""
    images = np.rint(smooth_images(3, seed=9) * 255).astype(np.uint8)
    there = unpack_model(pack_model(exported), exported.name)
    try:
        for path in (locate_model(str(exported), None), there):
            with closing(open_batch_model(path, threads=0, max_batch=3)) as model:
                assert (model.kind, model.sizes_hw, model.align) == ("savedmodel", ((64, 64),), reference.align)
                maps = model.predict(images)
        for image, found in zip(images, maps, strict=True):
            assert np.abs(found - reference.maps(image)[0]).max() < FLOAT_NOISE
    finally:
        shutil.rmtree(there.parent)
    with pytest.raises(ModelError, match="its input size is fixed"):
        open_batch_model(exported, sizes_hw=((32, 32),))


def test_a_folder_that_is_no_model_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(ModelError, match="carries no manifest"):
        locate_model(str(tmp_path), None)
