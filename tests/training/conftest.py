"""A data set that a tiny network learns in seconds: bright discs before dark noise."""

from pathlib import Path

import cv2
import numpy as np
import pytest

RECIPE = """
name = "disc"
seed = 3
checkpoint_every = 2
[data]
train = ["${DATA}/train"]
validation = ["${DATA}/val"]
backgrounds = "${DATA}/backgrounds"
terms = "made by a test"
[model]
width = 0.35
aspp_filters = 8
aspp_rates = [1]
decoder_filters = 8
low_level_filters = 8
[augment]
scale = [0.9, 1.1]
[optimizer]
learning_rate = 0.02
ema = 0.8
[[stages]]
size_hw = [32, 32]
epochs = 2
batch_size = 4
[[stages]]
size_hw = [48, 48]
epochs = 1
batch_size = 4
"""


@pytest.fixture(scope="session")
def discs(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("discs")
    random = np.random.RandomState(0)
    for part, count in (("train", 24), ("val", 4)):
        for name in ("images", "masks"):
            (root / part / name).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((48, 48), np.uint8)
            cv2.circle(mask, tuple(random.randint(16, 32, 2).tolist()), int(random.randint(8, 14)), 255, -1)
            image = random.randint(0, 90, (48, 48, 3)).astype(np.uint8)
            image[mask > 0] += 150
            cv2.imwrite(str(root / part / f"images/{index:02d}.png"), image)
            cv2.imwrite(str(root / part / f"masks/{index:02d}.png"), mask)
    (root / "backgrounds").mkdir()
    cv2.imwrite(str(root / "backgrounds/0.png"), random.randint(0, 90, (50, 50, 3)).astype(np.uint8))
    return root


@pytest.fixture(scope="session")
def recipe_text() -> str:
    return RECIPE


@pytest.fixture
def recipe(tmp_path, recipe_text) -> Path:
    path = tmp_path / "disc.toml"
    path.write_text(recipe_text)
    return path
