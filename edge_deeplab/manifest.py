"""What a model file says of itself: one JSON document, packed inside the .tflite or .keras file it describes.

Nothing here knows a runtime or a converter; reading needs the standard library alone.

    manifest = read_manifest(Path("portrait.tflite"))
    manifest.labels, manifest.person_class, manifest.size_hw
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_deeplab.errors import ModelError

ENTRY = "manifest.json"
FORMAT = 1
ACTIVATIONS = ("none", "softmax", "sigmoid", "argmax")
FITS = ("stretch", "letterbox")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The facts a program needs to run a model, and where it came from.

    A pixel p in 0..255 (RGB) becomes the network's real input as
    `((low + p / 255 * (high - low)) - mean) / std` with (low, high) = input_range.
    For our own models that is p / 255: mean and scale are inside the first convolution.

    Attributes:
        name: what people call the model.
        labels: one name per class, in the order of the output's channels.
        person_class: the index of the person among labels, None when there is none.
        size_hw: input height and width in pixels.
        input_range: real values of pixel 0 and pixel 255 before mean and std.
        mean, std: per RGB channel, in the units of input_range.
        fit: how a picture of another shape is brought to size_hw.
        activation: what has yet to be applied to the output to get probabilities: "none" means the output
            is already a probability, "argmax" that it is already a label map.
        logits_stride: input pixels per output pixel.
        architecture: the fields of a config in models.architecture; empty for a model of someone else.
        provenance: how it was made: recipe, data, terms, starting weights, calibration, steps, versions.
        figures: measured quality, by data set.
    """

    name: str
    labels: tuple[str, ...]
    person_class: int | None
    size_hw: tuple[int, int]
    input_range: tuple[float, float] = (0.0, 1.0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    fit: str = "stretch"
    activation: str = "softmax"
    logits_stride: int = 1
    licence: str = ""
    architecture: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise ModelError("manifest: unknown activation", came=self.activation, allowed=", ".join(ACTIVATIONS))
        if self.fit not in FITS:
            raise ModelError("manifest: unknown fit", came=self.fit, allowed=", ".join(FITS))
        if self.person_class is not None and not 0 <= self.person_class < len(self.labels):
            raise ModelError(
                "manifest: person_class is no class", came=self.person_class, allowed=f"0..{len(self.labels) - 1}"
            )
        if min(self.size_hw) < 1:
            raise ModelError("manifest: size_hw must be positive", came=self.size_hw)
        if any(value == 0 for value in self.std) or self.input_range[0] == self.input_range[1]:
            raise ModelError("manifest: std must not be 0 and input_range not empty", came=(self.std, self.input_range))

    @property
    def real_range(self) -> tuple[float, float]:
        """The smallest and largest real input that a picture can give the network."""
        low, high = self.input_range
        ends = [(end - mean) / std for mean, std in zip(self.mean, self.std) for end in (low, high)]
        return float(min(ends)), float(max(ends))

    def replace(self, **changes: Any) -> Manifest:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_json(self) -> str:
        """The manifest as indented JSON text, keys in the order of the fields."""
        import json

        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, *, source: str = "manifest") -> Manifest:
        """Parses what to_json wrote. Raises ModelError naming `source` and the key that is wrong."""
        import json

        try:
            raw = json.loads(text)
        except ValueError as error:
            raise ModelError(f"{source}: its manifest is not JSON", came=str(error)) from error
        if not isinstance(raw, dict):
            raise ModelError(f"{source}: its manifest is not a JSON object")
        if raw.get("format") != FORMAT:
            raise ModelError(
                f"{source}: its manifest has another format", came=raw.get("format"), allowed=FORMAT,
                next_step="update edge-deeplab",
            )  # fmt: skip
        known = {item.name for item in dataclasses.fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            raise ModelError(
                f"{source}: unknown manifest keys", came=", ".join(unknown), allowed=", ".join(sorted(known))
            )
        for key in ("labels", "size_hw", "input_range", "mean", "std"):
            if key in raw:
                raw[key] = tuple(raw[key])
        try:
            return cls(**raw)
        except TypeError as error:
            raise ModelError(f"{source}: its manifest is incomplete", came=str(error)) from error


def read_manifest(path: Path) -> Manifest | None:
    """Reads the manifest inside a .tflite, .keras or .qat file or a SavedModel; None when it carries none.

    Raises: ModelError when the file is missing or its manifest is damaged.
    """
    import zipfile  # here: with what it imports it costs a tenth of a live program's start

    if is_saved_model(path):
        return saved_model_manifest(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file", next_step="check the path, or name a bundled model")
    if not zipfile.is_zipfile(path):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            if ENTRY not in archive.namelist():
                return None
            return Manifest.from_json(archive.read(ENTRY), source=str(path))
    except (zipfile.BadZipFile, OSError) as error:
        raise ModelError(f"{path}: its associated files cannot be read", came=str(error)) from error


def is_saved_model(path: Path) -> bool:
    """Whether a path is the folder of a TensorFlow SavedModel."""
    return path.is_dir() and (path / "saved_model.pb").is_file()


def saved_model_manifest(folder: Path) -> Manifest | None:
    """The manifest among a SavedModel's assets; None when there is none. Raises ModelError when it is damaged."""
    file = folder / "assets" / ENTRY
    try:
        return Manifest.from_json(file.read_bytes(), source=str(folder)) if file.is_file() else None
    except OSError as error:
        raise ModelError(f"{folder}: its manifest cannot be read", came=error.strerror) from error


def append_manifest(path: Path, manifest: Manifest) -> None:
    """Adds the manifest to a file that is, or ends in, a zip without one. The file must hold no manifest yet."""
    import zipfile

    with zipfile.ZipFile(path, "a", compression=zipfile.ZIP_STORED) as archive:
        if ENTRY in archive.namelist():
            raise ModelError(f"{path}: already holds a manifest")
        info = zipfile.ZipInfo(ENTRY)  # a fixed time stamp: the same model makes the same bytes
        archive.writestr(info, manifest.to_json())
