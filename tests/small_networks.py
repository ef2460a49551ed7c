"""Small networks that behave like trained ones, and what they are fed, for tests of quantization and conversion."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_deeplab.calibration.artifact import CalibrationSet, _digest
from edge_deeplab.manifest import Manifest
from edge_deeplab.models.deeplab import DeepLabConfig, build_deeplab
from edge_deeplab.models.int8_form import to_int8_form
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import save_model
from edge_deeplab.models.transfer import assign_weights, weights_of

SIZE_HW = (64, 64)
BACKBONES = ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large")


def small_config(backbone: str = "mobilenet_v2", **changes: Any) -> DeepLabConfig:
    """The smallest DeepLabv3+ of a backbone, at 64 x 64."""
    fields = {
        "backbone": backbone, "width": 0.35, "size_hw": SIZE_HW, "aspp_filters": 16, "decoder_filters": 16,
        "low_level_filters": 8, "aspp_rates": (1, 2, 3),
    }  # fmt: skip
    return DeepLabConfig(**{**fields, **changes})


def smooth_images(count: int = 8, seed: int = 0, size_hw: tuple[int, int] = SIZE_HW) -> np.ndarray:
    """Coloured blobs: (count, H, W, 3) float32 in 0..1, on the grid of 8-bit pixels."""
    rng = np.random.default_rng(seed)
    images = [
        cv2.resize(rng.uniform(0, 1, (6, 6, 3)).astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_CUBIC)
        for _ in range(count)
    ]
    return (np.round(np.clip(np.stack(images), 0, 1) * 255) / 255).astype(np.float32)


def liven(model: Any, seed: int = 0) -> Any:
    """Gives every batch norm the numbers a mild training leaves; fresh ones (0 and 1) hide faults. Returns model."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if type(layer).__name__ == "BatchNormalization":
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, gamma.shape),
                    rng.normal(0, 0.3, beta.shape),
                    rng.normal(0, 0.2, mean.shape),
                    rng.uniform(0.5, 1.5, variance.shape),
                ]
            )
    return model


@functools.cache
def lively_deeplab(backbone: str, *, form: str = "training", **changes: Any) -> Any:
    """A small tf_keras DeepLabv3+ with lively batch norms, in the form asked for. Shared: do not change it."""
    K = keras_namespace("tf_keras")
    K.utils.set_random_seed(0)
    config = small_config(backbone, **changes)
    model = liven(build_deeplab(K, config))
    if form == "training":
        return model
    int8_config, weights = to_int8_form(K, config, weights_of(model))
    twin = build_deeplab(K, int8_config)
    assign_weights(twin, weights)
    return twin


@functools.cache
def ready_network(backbone: str) -> Any:
    """The int8 form of lively_deeplab, fake-quantized, its ranges set. Shared: do not change it."""
    from edge_deeplab.quantization.graph import quantize
    from edge_deeplab.quantization.ranges import set_ranges

    network = quantize(lively_deeplab(backbone, form="int8"))
    set_ranges(network, [smooth_images(8)])
    return network


def signal_to_noise_db(expected: Any, got: Any) -> float:
    """10 log10 of the mean square of `expected` over that of the difference; 300 for equal ones."""
    expected, got = np.asarray(expected, np.float64), np.asarray(got, np.float64)
    return float(10 * np.log10((expected**2).mean() / max(((expected - got) ** 2).mean(), 1e-30)))


def write_model(path: Path, backbone: str = "mobilenet_v2", **changes: Any) -> Path:
    """Saves a small lively model as `edge-deeplab train` would."""
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    config = small_config(backbone, **changes)
    manifest = Manifest(
        name=path.stem, labels=("background", "person"), person_class=1, size_hw=config.size_hw,
        architecture=config.to_dict(),
    )  # fmt: skip
    save_model(path, liven(build_deeplab(K, config)), manifest)
    return path


def write_calibration(path: Path, size_hw: tuple[int, int] = SIZE_HW, count: int = 8) -> Path:
    """Saves smooth pictures as a calibration artifact."""
    samples = np.round(smooth_images(count, size_hw=size_hw) * 255).astype(np.uint8)
    CalibrationSet(samples=samples, facts={"format": 1, "sha256": _digest(samples), "seed": 0}).save(path)
    return path


def write_pairs(root: Path, count: int = 8, size_hw: tuple[int, int] = (72, 80)) -> Path:
    """Saves pictures and masks whose label is where green is bright."""
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for index, image in enumerate(smooth_images(count, seed=1, size_hw=size_hw)):
        cv2.imwrite(str(root / "images" / f"{index}.png"), np.round(image[..., ::-1] * 255).astype(np.uint8))
        cv2.imwrite(str(root / "masks" / f"{index}.png"), ((image[..., 1] > 0.5) * 255).astype(np.uint8))
    return root
