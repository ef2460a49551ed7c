"""What the official DeepLab code computes, for tests: shared/oracles read as its README says.

oracle = load(shared, "mobilenet_v2_os16")
weights_for(oracle)["MobilenetV2/Conv/weights"]
oracle.difference("logits_lowres", logits, "A")      # in standard deviations; TOLERANCE is what may differ
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.models.official_config import OfficialConfig

TOLERANCE = 2e-4  # oracles/README.md: about three times what other CPU kernels change
MULTI_SCALE = "mobilenet_v2_multiscale_flip"
VARIANTS = (
    "mobilenet_edgetpu_os16", "mobilenet_edgetpu_os32", "mobilenet_v2_aspp_dec4_os16", "mobilenet_v2_dm05_os16",
    "mobilenet_v2_dm05_os8", "mobilenet_v2_nocrop_os16", "mobilenet_v2_os16", "mobilenet_v3_large_os32",
    "mobilenet_v3_large_os32_official769", "mobilenet_v3_large_plainaspp_os16", "mobilenet_v3_small_os32",
    "mobilenet_v3_small_os32_official769", "nas_hnasnet_os8", "nas_pnasnet_os16", "resnet_v1_101_os16",
    "resnet_v1_18_beta_os16", "resnet_v1_50_beta_os16", "resnet_v1_50_dec4_fullconv_os16",
    "resnet_v1_50_deeplabv1_like_os8", "resnet_v1_50_deeplabv2_like_os8", "resnet_v1_50_deeplabv3_fullconv_os16",
    "resnet_v1_50_os16", "resnet_v1_50_os16_evencrop", "xception_41_os16", "xception_65_os16",
    "xception_65_os16_bounded", "xception_65_os16_multigrid", "xception_71_dpc_os16",
)  # fmt: skip


@dataclass(frozen=True)
class Oracle:
    """One variant's folder: its oracle.json, and its arrays by name."""

    name: str
    facts: dict[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Official variable name -> shape, in creation order."""
        return {name: tuple(shape) for name, shape, _ in self.facts["variables"]}

    @property
    def config(self) -> OfficialConfig:
        """The network of its flags."""
        return OfficialConfig.from_flags(self.facts["flags"], self.facts["model_options"])

    @property
    def trainable(self) -> set[str]:
        """The names of the trainable variables."""
        return {name for name, _, trainable in self.facts["variables"] if trainable}

    def difference(self, name: str, actual: np.ndarray, picture: str) -> float:
        """max|actual - stored| in standard deviations of the full array; `actual` is the full tensor."""
        key = name if picture == "A" else f"{name}__B"
        facts = self.facts["arrays"][key]
        assert tuple(actual.shape) == tuple(facts["full_shape"]), (name, actual.shape, facts["full_shape"])
        stored = self.arrays[key]
        return float(np.abs(_part(actual, stored.shape, facts) - stored).max() / facts["std"])


def _part(actual: np.ndarray, shape: tuple[int, ...], facts: dict[str, Any]) -> np.ndarray:
    """What the oracle kept of a tensor: the first channels, or every fifth (of large ones sixteenth) row and column."""
    if actual.shape[1:3] != shape[1:3]:
        step = -(-actual.shape[1] // shape[1])
        assert f"::{step}, ::{step}" in facts["stored"], facts
        actual = actual[:, ::step, ::step]
    actual = actual[..., : shape[-1]] if actual.ndim == 4 else actual
    assert actual.shape == shape, (actual.shape, shape, facts)
    return actual


def names(shared: Path) -> list[str]:
    """All variants with regenerated weights."""
    return sorted(path.parent.name for path in (shared / "oracles").glob("*/oracle.json") if "trained" not in str(path))


def load(shared: Path, name: str) -> Oracle:
    """Reads a variant."""
    folder = shared / "oracles" / name
    return Oracle(name, json.loads((folder / "oracle.json").read_text()), np.load(folder / "arrays.npz"))


def weights_for(oracle: Oracle) -> dict[str, np.ndarray]:
    """The weights of the oracle's recipe, float32 by official name."""
    return {name: variable(name, shape, float(oracle.facts["kernel_gain"])) for name, shape in oracle.shapes.items()}


def variable(name: str, shape: tuple[int, ...], gain: float) -> np.ndarray:
    """One variable of the recipe."""
    rng = np.random.RandomState(zlib.crc32(name.encode()) & 0x7FFFFFFF)
    last = name.rsplit("/", 1)[-1]
    if last == "depthwise_weights":
        value = rng.standard_normal(shape) * np.sqrt(gain / (shape[0] * shape[1]))
    elif last in ("weights", "pointwise_weights"):
        value = rng.standard_normal(shape) * np.sqrt(gain / np.prod(shape[:-1]))
    elif last in ("gamma", "moving_variance"):
        value = rng.uniform(0.5, 1.5, shape)
    else:
        value = 0.1 * rng.standard_normal(shape)
    return value.astype(np.float32)


def picture(oracle: Oracle, which: str) -> np.ndarray:
    """Input "A" or "B": (1, H, W, 3) float32 RGB, 0..255."""
    _, height, width, _ = oracle.facts["input_shape"]
    noise = np.random.RandomState(0).uniform(0, 255, size=[1, height, width, 3])
    if which == "A":
        return noise.astype(np.float32)
    blocks = np.random.RandomState(1).uniform(0, 255, size=[1, -(-height // 32), -(-width // 32), 3])
    blocks = blocks.repeat(32, axis=1).repeat(32, axis=2)[:, :height, :width]
    return (0.8 * blocks + 0.2 * noise).astype(np.float32)
