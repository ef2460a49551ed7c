"""The calibration artifact: one NAME.calib file with the samples themselves and what was seen while choosing them.

    CalibrationSet.of(choice).save(Path("portrait.calib"))
    for batch in CalibrationSet.load(Path("portrait.calib")).batches(8):
        ...                                     # (n, h, w, 3) float32, 0..1 RGB

A zip with `samples.npy` ((N, h, w, 3) uint8 RGB, at the model's size) and `facts.json`. It holds pictures: who may not
pass those on may not pass this file on. Names in it are relative to what was asked for; no place on a disk is in it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from edge_deeplab.calibration.descriptors import METHOD
from edge_deeplab.calibration.sampling import Choice, Sample
from edge_deeplab.errors import InputError, OutputError

FORMAT = 1
SAMPLES = "samples.npy"
FACTS = "facts.json"
QUANTITIES = ("brightness", "contrast", "saturation", "edge_energy")


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Samples and their facts.

    Attributes:
        samples: (N, h, w, 3) uint8 RGB, N at least 1.
        facts: what `of` writes down: format, method, seed, fit, sources, statistics, resolutions, near_duplicates,
            sha256 of the samples' bytes, and one record per sample.
    """

    samples: np.ndarray = field(repr=False)
    facts: dict[str, Any]

    @classmethod
    def of(cls, choice: Choice) -> Self:
        """The set that a choice makes."""
        samples = np.stack([sample.image for sample in choice.samples])
        recipe = dataclasses.asdict(choice.recipe)
        asked = recipe.pop("count")
        return cls(
            samples=samples,
            facts={
                "format": FORMAT,
                "count": len(samples),
                "asked": asked,
                **recipe,
                "method": f"near duplicates rejected; random share and k-center greedy on: {METHOD}",
                "sha256": _digest(samples),
                "seen": sum(choice.seen.values()),
                "near_duplicates": choice.near_duplicates,
                "radius": round(choice.radius, 4),
                "sources": [
                    {
                        "name": source,
                        "seen": seen,
                        "samples": sum(sample.source == source for sample in choice.samples),
                    }
                    for source, seen in choice.seen.items()
                ],
                "statistics": _statistics(choice.samples),
                "resolutions": _resolutions(choice.samples),
                "samples": [_record(sample) for sample in choice.samples],
            },
        )

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width of the samples in pixels."""
        return int(self.samples.shape[1]), int(self.samples.shape[2])

    @property
    def sha256(self) -> str:
        """Of the samples' bytes, for a model's provenance."""
        return str(self.facts["sha256"])

    def __len__(self) -> int:
        return len(self.samples)

    def batches(self, batch_size: int) -> Iterator[np.ndarray]:
        """The samples in order: (n, h, w, 3) float32, 0..1 RGB; the last batch may be smaller."""
        if batch_size < 1:
            raise ValueError(f"batch_size must be positive, came {batch_size}")
        for start in range(0, len(self.samples), batch_size):
            yield self.samples[start : start + batch_size].astype(np.float32) / np.float32(255)

    def save(self, path: Path, *, overwrite: bool = False) -> None:
        """Writes the artifact, whole or not at all; the same set makes the same bytes.

        Raises: OutputError when the file exists and overwrite is False, or it cannot be written.
        """
        if path.exists() and not overwrite:
            raise OutputError(f"{path}: exists already", next_step="choose another name, or give --force")
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            with zipfile.ZipFile(temporary, "w") as archive:
                # ZipInfo's own date is 1980: no time of day in the file
                facts = json.dumps(self.facts, indent=2, ensure_ascii=False) + "\n"
                archive.writestr(zipfile.ZipInfo(FACTS), facts)
                # stored, not deflated: a photo's pixels shrink by a quarter at best, and a loader waits for each
                with archive.open(zipfile.ZipInfo(SAMPLES), "w", force_zip64=True) as stream:
                    np.lib.format.write_array(stream, np.ascontiguousarray(self.samples), allow_pickle=False)
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
        finally:
            temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads and checks an artifact. Raises: InputError when it is missing, truncated, changed or none of ours."""
        if not path.is_file():
            raise InputError(f"{path}: no such calibration file", next_step="make one with `edge-deeplab calibrate`")
        try:
            with zipfile.ZipFile(path) as archive:
                facts = json.loads(archive.read(FACTS))
                samples = np.load(io.BytesIO(archive.read(SAMPLES)), allow_pickle=False)
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
            raise InputError(
                f"{path}: is no calibration file, or a damaged one", came=str(error) or type(error).__name__,
                next_step="make it again with `edge-deeplab calibrate`",
            ) from error  # fmt: skip
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise InputError(f"{path}: its facts have another format", allowed=FORMAT, next_step="update edge-deeplab")
        if samples.dtype != np.uint8 or samples.ndim != 4 or samples.shape[3] != 3 or not len(samples):
            raise InputError(
                f"{path}: its samples are no pictures", came=f"{samples.dtype} {samples.shape}",
                allowed="uint8 (N, h, w, 3)",
            )  # fmt: skip
        if _digest(samples) != facts.get("sha256"):
            raise InputError(f"{path}: its samples are not those its facts speak of", next_step="make it again")
        return cls(samples=samples, facts=facts)


def _digest(samples: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples).data).hexdigest()


def _record(sample: Sample) -> dict[str, Any]:
    quantities = {name: round(getattr(sample.look, name), 4) for name in QUANTITIES}
    return {
        "source": sample.source, "name": sample.name, "why": sample.why, "original_hw": list(sample.original_hw),
        **quantities,
    }  # fmt: skip


def _statistics(samples: tuple[Sample, ...]) -> dict[str, Any]:
    """Of the samples chosen: how each quantity (0..1) is spread, and the colour."""
    spread: dict[str, Any] = {}
    for name in QUANTITIES:
        values = [getattr(sample.look, name) for sample in samples]
        low, median, high = np.percentile(values, (5, 50, 95))
        named = {"min": min(values), "p5": low, "median": median, "p95": high, "max": max(values)}
        spread[name] = {key: round(float(value), 4) for key, value in named.items()}
    colours = np.array([sample.look.rgb for sample in samples])
    spread["rgb"] = {"mean": colours.mean(axis=0).round(4).tolist(), "std": colours.std(axis=0).round(4).tolist()}
    return spread


def _resolutions(samples: tuple[Sample, ...]) -> dict[str, Any]:
    """Of the originals: the smallest and largest by area, as [height, width], and how many kinds."""
    sizes = sorted((sample.original_hw for sample in samples), key=lambda size: (size[0] * size[1], size))
    return {
        "smallest_hw": list(sizes[0]), "median_hw": list(sizes[len(sizes) // 2]), "largest_hw": list(sizes[-1]),
        "distinct": len(set(sizes)),
    }  # fmt: skip
