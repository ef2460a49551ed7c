"""What `edge-deeplab report` is given, held together and checked before TensorFlow is there.

samples = check_inputs(model, tuned, tflite, calibration, calibrator, facts)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edge_deeplab.cli.foreign_facts import ForeignFacts

if TYPE_CHECKING:
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.calibration.calibrators import Calibrator
    from edge_deeplab.manifest import Manifest

MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What was given on the command line.

    Attributes:
        model: the float model; tuned: its .qat; tflite: its int8 file; samples: calibration samples.
    """

    model: Path
    tuned: Path | None
    tflite: Path | None
    samples: CalibrationSet | None = field(repr=False)
    calibrator: Calibrator
    facts: ForeignFacts
    threads: int


def check_target(path: Path, *, overwrite: bool) -> None:
    """Before minutes of work. Raises OutputError for a file that exists or cannot be."""
    from edge_deeplab.errors import OutputError

    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already", next_step="choose another name, or pass --force")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written", came=f"no folder {path.parent}")


def check_inputs(
    model: Path, tuned: Path | None, tflite: Path | None, calibration: Path | None, calibrator: str | None,
    facts: ForeignFacts,
) -> CalibrationSet | None:  # fmt: skip
    """Reads what can be read without TensorFlow, so that a mistake costs no minute. Returns: the samples.

    Raises: UsageError for files of the wrong kind or options that go with nothing; ModelError and InputError for what
        is missing, damaged, or of another size or other labels than MODEL.
    """
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.cli.predictors import refuse_idle_facts
    from edge_deeplab.converters.paths import check_calibration
    from edge_deeplab.errors import ModelError, UsageError
    from edge_deeplab.manifest import read_manifest

    suffix = model.suffix.lower()
    if not model.is_dir() and suffix not in MODEL_SUFFIXES:
        asked = {".qat": f"--tuned {model}", ".tflite": f"--tflite {model}"}.get(suffix)
        raise UsageError(
            f"{model}: a report begins with the float network", came=suffix or "no suffix",
            allowed=f"{', '.join(MODEL_SUFFIXES)}, or a SavedModel folder",
            next_step=f"give that one, and {asked}" if asked else None,
        )  # fmt: skip
    for option, path, wanted in (("--tuned", tuned, ".qat"), ("--tflite", tflite, ".tflite")):
        if path is not None and path.suffix.lower() != wanted:
            raise UsageError(f"{option}: must be a {wanted} file", came=path.name)
        if path is not None and not path.is_file():
            raise ModelError(f"{path}: no such file")
    if calibrator is not None and calibration is None:
        raise UsageError("--calibrator: there are no samples", next_step="give --calibration FILE.calib")
    if calibrator not in (None, "min-max") and model.is_dir():
        raise UsageError("--calibrator: a SavedModel takes TFLite's own", came=calibrator, allowed="min-max")
    models = [model, *(path for path in (tuned, tflite) if path is not None)]
    refuse_idle_facts([str(path) for path in models], facts)
    samples = CalibrationSet.load(calibration) if calibration else None
    manifests = {path: None if path.is_dir() else read_manifest(path) for path in models}
    first = manifests[model]
    if first is not None and samples is not None:
        check_calibration(samples, first.size_hw)
    for path, manifest in manifests.items():
        if first is not None and manifest is not None:
            check_same(model, first, path, manifest)
    return samples


def check_same(model: Path, wanted: Manifest, path: Path, found: Manifest) -> None:
    """Refuses a stage of another network. Raises ModelError."""
    from edge_deeplab.errors import ModelError

    if found.size_hw != wanted.size_hw:
        raise ModelError(
            f"{path}: has another input size than {model.name}", came="{}x{}".format(*found.size_hw),
            allowed="{}x{}".format(*wanted.size_hw),
        )  # fmt: skip
    if found.labels != wanted.labels:
        raise ModelError(
            f"{path}: has other labels than {model.name}", came=", ".join(found.labels[:4]),
            allowed=", ".join(wanted.labels[:4]),
        )  # fmt: skip


def check_comparison(model: Path, samples: CalibrationSet | None) -> None:
    """Raises UsageError where there is nothing to compare calibrators on."""
    from edge_deeplab.errors import UsageError

    if samples is None:
        raise UsageError("--compare-calibrators: there are no samples", next_step="give --calibration FILE.calib")
    if model.is_dir():
        raise UsageError("--compare-calibrators: a SavedModel takes TFLite's own calibrator", came=model.name)
