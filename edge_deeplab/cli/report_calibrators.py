"""`edge-deeplab report --compare-calibrators`: the int8 file of every calibrator, scored beside TFLite's own PTQ.

rows = compare_calibrators(line, score)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.evaluation.stages import Stage

if TYPE_CHECKING:
    from edge_deeplab.cli.predictors import Predictor
    from edge_deeplab.cli.report_stages import StageLine
    from edge_deeplab.converters.sources import Source

    Score = Callable[[str, Predictor], Any]

CONVERTERS_OWN = "TFLite's own PTQ"


def compare_calibrators(line: StageLine, score: Score) -> list[Stage]:
    """One row per calibrator, and one of TFLite's own post-training quantization of the float network.

    All from the same samples; one that cannot be converted says why.
    """
    from edge_deeplab.calibration.calibrators import NAMES, Calibrator

    rows = [_row(name, line, calibrated_file, score, Calibrator(name)) for name in NAMES]
    return [*rows, _row(CONVERTERS_OWN, line, converters_own_file, score)]


def _row(name: str, line: StageLine, make: Callable[..., Path], score: Score, *arguments: Any) -> Stage:
    from edge_deeplab.cli.predictors import open_predictor

    try:
        path = make(line, *arguments)
    except (ConversionError, ModelError) as error:
        return Stage(name=name, missing=str(error))
    predictor = open_predictor(str(path), line.inputs.facts, threads=line.inputs.threads)
    try:
        return Stage(name=name, kind=predictor.kind, report=score(name, predictor))
    finally:
        predictor.close()
        path.unlink()


def calibrated_file(line: StageLine, calibrator: Any) -> Path:
    """Our own path with another calibrator: ranges set, converted."""
    from edge_deeplab.converters.convert import calibrated

    assert line.inputs.samples is not None
    if calibrator == line.inputs.calibrator:
        return _converted(line, line.calibrated, calibrator)
    return _converted(line, calibrated(line.source, line.inputs.samples, calibrator), calibrator)


def converters_own_file(line: StageLine) -> Path:
    """The float network's function in the hands of TFLite's converter, as one of someone else would be."""
    source = line.source
    foreign = source.manifest.replace(architecture={})  # not held to one delegate: what comes out is what is compared
    bare = dataclasses.replace(
        source, kind="saved_model", function=source.float_function(), manifest=foreign, int8_manifest=foreign,
        network=None,
    )  # fmt: skip
    return _converted(line, bare, None)


def _converted(line: StageLine, source: Source, calibrator: Any) -> Path:
    from edge_deeplab.cli.tensorflow_start import quiet_native_stderr
    from edge_deeplab.converters.convert import convert

    path = line.folder / "compared.tflite"
    with quiet_native_stderr():  # TFLite's own calibrator prints its settings
        convert(source, path, formats=("int8",), calibration=line.inputs.samples, calibrator=calibrator)
    return path
