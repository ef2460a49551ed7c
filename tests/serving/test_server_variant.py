"""The server's Xception from its shipped recipe, as its users go on: trained, exported, served, teacher of a small one.

The network is the recipe's own, on ellipses at 64 x 64 and for one epoch: that it is wired right, not that it is good.
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import requests
from ellipses import SIZE, make_pairs, run
from serving_process import serving

from edge_deeplab.manifest import read_manifest
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import rebuild

pytestmark = pytest.mark.slow
pytest.importorskip("tf_keras", reason="needs the extra train")

RECIPE = Path(__file__).parents[2] / "edge_deeplab/recipes/portrait_server.toml"
STUDENT = """
name = "student"

[data]
train = ["${DATA}/train"]
validation = ["${DATA}/train"]
unlabelled = ["${DATA}/train/images"]

[teacher]
model = "run/portrait-server.keras"
doubt = 0.02

[model]
width = 0.35
aspp_filters = 8
aspp_rates = [1]
decoder_filters = 8
low_level_filters = 8

[[stages]]
size_hw = [64, 64]
epochs = 1
batch_size = 8
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with run/portrait-server.keras in it."""
    at = tmp_path_factory.mktemp("variant")
    make_pairs(at / "data/train", 8, seed=1)
    changes = {
        "data.train": '["data/train"]', "data.validation": '["data/train"]', "data.backgrounds": '"data/train/images"',
        "stages": f"[{{size_hw=[{SIZE}, {SIZE}], epochs=1, batch_size=4}}]",
    }  # fmt: skip
    settings = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
    run("train", RECIPE, "--data", ".", "--output", "run", *settings, at=at)
    return at


def probabilities_by_http(model: Path, picture: bytes) -> np.ndarray:
    """What `edge-deeplab serve` answers."""
    with serving(str(model)) as server:
        assert requests.get(f"{server.url}/v1/model", timeout=60).json()["labels"] == ["background", "person"]
        answer = requests.post(f"{server.url}/v1/segment?answer=probabilities&form=npz", data=picture, timeout=60)
    assert answer.status_code == 200, answer.text
    with np.load(io.BytesIO(answer.content)) as arrays:
        return arrays["probabilities"]


def test_it_is_the_recipes_network_exported_and_served(trained: Path) -> None:
    network, manifest = rebuild(trained / "run/portrait-server.keras", keras_namespace("keras"))
    assert manifest.architecture["backbone"] == "xception_41"
    run("convert", "run/portrait-server.keras", "--to", "savedmodel", "--output", "server.savedmodel", at=trained)
    picture = cv2.imread(str(trained / "data/train/images/000.png"))
    served = probabilities_by_http(trained / "server.savedmodel", cv2.imencode(".png", picture)[1].tobytes())
    logits = network.predict_on_batch(picture[np.newaxis, ..., ::-1] / np.float32(255))[0]
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(served, expected, atol=2e-3)  # other sums in another order, and rounding to bytes


def test_it_teaches_a_small_one_with_labels_and_without(trained: Path) -> None:
    (trained / "student.toml").write_text(STUDENT, encoding="utf-8")
    run("train", "student.toml", "--data", "data", "--output", "student", at=trained)
    manifest = read_manifest(trained / "student/student.keras")
    assert manifest is not None
    assert manifest.provenance["teacher"].startswith("portrait-server.keras sha256 ")
    assert manifest.provenance["trained_on"] == {"train": 8, "images": 8}
