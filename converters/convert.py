"""From an opened source to published files, every one verified: what `edge-deeplab convert` does.

source = open_source(Path("portrait.keras"), describe=facts.manifest)
convert(source, Path("portrait.tflite"), formats=("int8", "float16"), io="uint8", calibration=calibration)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from edge_deeplab import __version__
from edge_deeplab.calibration.artifact import CalibrationSet
from edge_deeplab.calibration.calibrators import Calibrator
from edge_deeplab.converters.export import FLOAT_FORMATS
from edge_deeplab.converters.int8 import IO_TYPES, convert_int8, post_training_int8
from edge_deeplab.converters.onnx_file import write_onnx
from edge_deeplab.converters.paths import FORMATS, SERVER_FORMATS, check_calibration, check_free, output_path
from edge_deeplab.converters.saved_model import write_saved_model
from edge_deeplab.converters.sources import Source, run_function
from edge_deeplab.converters.verify import FileReport, write_verified
from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.manifest import Manifest
from edge_deeplab.quantization.ranges import set_chosen_ranges
from edge_deeplab.quantization.scheme import FakeQuant

CALIBRATION_BATCH = 8
COMPARED = 4  # images a file is run on against its source
PTQ_LABEL = "post-training, by TFLite's own calibrator"
RANGES_LABEL = "ranges from calibration samples, no training"


def test_images(size_hw: tuple[int, int], count: int = COMPARED) -> np.ndarray:
    """Smooth coloured pictures for a comparison without calibration samples; the same for every run.

    Returns: (count, H, W, 3) float32 in 0..1.
    """
    rng = np.random.default_rng(0)
    coarse = rng.uniform(0.0, 1.0, (count, 6, 6, 3)).astype(np.float32)
    return np.clip(tf.image.resize(coarse, size_hw, method="bicubic").numpy(), 0.0, 1.0).astype(np.float32)


def calibration_facts(calibration: CalibrationSet, calibrator: Calibrator | None = None) -> dict[str, Any]:
    """What a manifest says of the samples, and of how the ranges followed from them."""
    facts = calibration.facts
    chosen = {} if calibrator is None else {"calibrator": str(calibrator)}
    return {"samples": len(calibration), "sha256": calibration.sha256, "seed": facts.get("seed"), **chosen}


def calibrated(source: Source, samples: CalibrationSet, calibrator: Calibrator | None = None) -> Source:
    """The source with a fake-quantized network whose ranges come from samples: post-training quantization.

    Raises: InputError for samples of another size; ConversionError naming the layer without an int8 form.
    """
    check_calibration(samples, source.size_hw)
    network = source.quantized()
    passes = lambda: source.real(samples.batches(CALIBRATION_BATCH))  # noqa: E731
    set_chosen_ranges(network, passes, calibrator or Calibrator())
    return dataclasses.replace(source, network=network)


def _provenance(manifest: Manifest, **conversion: Any) -> Manifest:
    made = {key: value for key, value in conversion.items() if value is not None}
    made |= {"edge_deeplab": __version__, "tensorflow": tf.__version__}
    return manifest.replace(provenance={**manifest.provenance, "conversion": made})


class _Converter:
    """One source on its way to files; keeps what the formats share."""

    def __init__(
        self, source: Source, io: str, calibration: CalibrationSet | None, calibrator: Calibrator | None
    ) -> None:
        self.source, self.io, self.calibration = source, io, calibration
        self.calibrator = calibrator or Calibrator()
        unit = test_images(source.size_hw) if calibration is None else next(calibration.batches(COMPARED))
        self.pixels = np.rint(unit * 255).astype(np.uint8)
        self.images = next(source.real([unit]))
        self.function = source.float_function()
        self.expected = run_function(self.function, self.images)

    def float_file(self, format_name: str) -> dict[str, Any]:
        """Bytes, manifest and expectations of a float format."""
        return {
            "data": FLOAT_FORMATS[format_name](self.function),
            "manifest": _provenance(self.source.manifest, format=format_name),
            "expected": self.expected,
        }

    def server_file(self, path: Path, format_name: str, *, overwrite: bool) -> FileReport:
        """Writes a server format."""
        manifest = _provenance(self.source.manifest, format=format_name)
        if format_name == "onnx":
            return write_onnx(path, self.source, manifest=manifest, images=self.pixels, overwrite=overwrite)
        halves = format_name.endswith("float16")
        return write_saved_model(
            path, self.source, manifest=manifest, images=self.pixels, halves=halves, overwrite=overwrite
        )

    def _samples(self) -> CalibrationSet:
        if self.calibration is None:
            raise UsageError(
                f"{self.source.path}: int8 ranges need calibration samples",
                next_step="give --calibration FILE.calib (made by `edge-deeplab calibrate`), or --to float16",
            )
        return self.calibration

    def int8_file(self) -> dict[str, Any]:
        """Bytes, manifest and expectations of the int8 format."""
        if self.source.function is not None:
            return self._converter_int8()
        facts, how = None, "tuned"
        if self.source.kind != "tuned":
            facts, how = calibration_facts(self._samples(), self.calibrator), RANGES_LABEL
        if self.source.network is None:
            self.source = calibrated(self.source, self._samples(), self.calibrator)
        network = self.source.quantized()
        with network.switch.set(FakeQuant.OFF):
            plain = np.asarray(network.model(self.images, training=False), np.float32)
        with network.switch.set(FakeQuant.HOLD):
            rounded = np.asarray(network.model(self.images, training=False), np.float32)
        return {
            "data": convert_int8(network, size_hw=self.source.size_hw, io=self.io),
            "manifest": _provenance(
                self.source.int8_manifest, format="int8", io=self.io, quantization=how, calibration=facts
            ),
            "expected": plain,
            "expected_quantized": rounded,
        }

    def _converter_int8(self) -> dict[str, Any]:
        samples = self._samples()
        real = (image[np.newaxis] for batch in self.source.real(samples.batches(1)) for image in batch)
        return {
            "data": post_training_int8(self.function, real, io=self.io),
            "manifest": _provenance(
                self.source.manifest, format="int8", io=self.io, quantization=PTQ_LABEL,
                calibration=calibration_facts(samples),
            ),
            "expected": self.expected,
        }  # fmt: skip


def convert(
    source: Source,
    output: Path,
    *,
    formats: tuple[str, ...],
    io: str = "uint8",
    calibration: CalibrationSet | None = None,
    calibrator: Calibrator | None = None,
    overwrite: bool = False,
    on_file: Callable[[FileReport], None] | None = None,
) -> list[FileReport]:
    """Writes a source in the formats asked for, each gated, load-tested and compared with its source.

    Args:
        output: NAME.tflite, the int8 file; the others go beside it, to paths.output_path.
        formats: some of paths.FORMATS.
        io: type of the int8 file's ends.
        calibration: needed for int8 of anything that is not tuned.
        calibrator: how ranges follow from the samples; min-max where it is None. Not for a SavedModel.
        on_file: called after each file.
    Raises: UsageError, OutputError before any work; ConversionError, ModelError naming what cannot be.
    """
    for name in formats:
        if name not in FORMATS:
            raise UsageError("unknown format", came=name, allowed=nearest(name, FORMATS))
        check_free(output_path(output, name), overwrite=overwrite)
    if io not in IO_TYPES:
        raise UsageError("unknown type for the ends of an int8 file", came=io, allowed=nearest(io, IO_TYPES))
    if calibration is not None:
        check_calibration(calibration, source.size_hw)
    if source.function is not None and calibrator is not None and calibrator.needs_histogram and "int8" in formats:
        raise UsageError(
            f"{source.path}: a SavedModel takes TFLite's own calibrator", came=str(calibrator), allowed="min-max"
        )
    converter = _Converter(source, io, calibration, calibrator)
    reports = []
    for name in formats:
        path = output_path(output, name)
        if name in SERVER_FORMATS:
            report = converter.server_file(path, name, overwrite=overwrite)
        else:
            made = converter.int8_file() if name == "int8" else converter.float_file(name)
            report = write_verified(
                path, format_name=name, io=io, images=converter.images, overwrite=overwrite,
                wants_one_delegate=bool(source.manifest.architecture), **made,
            )  # fmt: skip
        reports.append(report)
        if on_file is not None:
            on_file(report)
    return reports
