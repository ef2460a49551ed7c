"""The stages of `edge-deeplab report`: what is given is opened, what is not is made in a folder that goes away.

    with TemporaryDirectory() as folder:
        line = StageLine(inputs, Path(folder))
        for stage in line.stages(skipped=()):
            with stage.open() as predictor: ...

Opening a stage may take a minute (a conversion); it happens when the stage's turn comes, and what later stages need of
it is kept.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_deeplab.cli.report_inputs import Inputs

if TYPE_CHECKING:
    from edge_deeplab.cli.predictors import Predictor
    from edge_deeplab.converters.sources import Source

FLOAT_STAGE = "float"
# The names --skip takes, and what the table calls them.
STAGES = {
    "float32": "float32 file",
    "float16": "float16 file",
    "ptq": "calibrated only",
    "qat": "tuned",
    "int8": "int8 file",
    "reference": "reference kernels",
}


class StageLeftOutError(Exception):
    """A stage that is not there for a good reason; str() says which."""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """The most a stage may lose against the float network, in person IoU (mean IoU of many classes)."""

    float_file: float = 0.001
    ptq: float = 0.010
    qat: float = 0.003


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """A stage to be opened in its turn.

    Attributes:
        open: gives the predictor, and facts of it for JSON. Raises StageLeftOutError, or an error of ours when it
            cannot be made.
    """

    name: str
    gate: float | None
    open: Callable[[], tuple[Predictor, dict[str, Any]]]


class StageLine:
    """Opens the stages of one network, each from the one before it where it was not given.

    Args:
        folder: for files that are made; its owner takes it away.
    """

    def __init__(self, inputs: Inputs, folder: Path, gates: Gates) -> None:
        self.inputs, self.folder, self.gates = inputs, folder, gates

    def stages(self, skipped: tuple[str, ...] = ()) -> list[PlannedStage]:
        """All of them, in the order of the work; those in `skipped` say so when they are opened."""
        int8_gate = self.gates.qat if self.is_tuned else self.gates.ptq
        opened: dict[str, tuple[float, Callable[[], tuple[Predictor, dict[str, Any]]]]] = {
            "float32": (self.gates.float_file, functools.partial(self._float_file, "float32")),
            "float16": (self.gates.float_file, functools.partial(self._float_file, "float16")),
            "ptq": (self.gates.ptq, self._calibrated_network),
            "qat": (self.gates.qat, self._tuned_network),
            "int8": (int8_gate, self._int8_file),
            "reference": (int8_gate, functools.partial(self._int8_file, kernels="reference")),
        }
        planned = [PlannedStage(name=FLOAT_STAGE, gate=None, open=self._float_network)]
        for key, (gate, opener) in opened.items():
            chosen = functools.partial(_left_out, "--skip") if key in skipped else opener
            planned.append(PlannedStage(name=STAGES[key], gate=gate, open=chosen))
        return planned

    @functools.cached_property
    def source(self) -> Source:
        """The float model, opened for conversion."""
        from edge_deeplab.converters.sources import open_source

        facts = self.inputs.facts
        return open_source(self.inputs.model, describe=facts.manifest, size_hw=facts.size_hw)

    @functools.cached_property
    def tuned(self) -> Source | None:
        """The tuned network, where one was given."""
        from edge_deeplab.converters.sources import open_source

        if self.inputs.tuned is None:
            return None
        return open_source(self.inputs.tuned, describe=self.inputs.facts.manifest)

    @functools.cached_property
    def calibrated(self) -> Source:
        """The float model with a fake-quantized network whose ranges come from the samples.

        Raises: StageLeftOutError when there are no samples, or no layers to quantize.
        """
        from edge_deeplab.converters.convert import calibrated

        if self.source.function is not None:
            raise StageLeftOutError("a SavedModel has no layers to fake-quantize")
        if self.inputs.samples is None:
            raise StageLeftOutError("no samples were given (--calibration FILE.calib)")
        return calibrated(self.source, self.inputs.samples, self.inputs.calibrator)

    @property
    def quantized(self) -> Source:
        """The network that the int8 file comes from: the tuned one, else the calibrated one."""
        return self.tuned or self.calibrated

    @property
    def is_tuned(self) -> bool:
        """Whether int8 was trained for: a .qat was given, or a .tflite that says so of itself."""
        from edge_deeplab.manifest import read_manifest

        if self.inputs.tuned is not None or self.inputs.tflite is None:
            return self.inputs.tuned is not None
        manifest = read_manifest(self.inputs.tflite)
        conversion = manifest.provenance.get("conversion", {}) if manifest else {}
        return bool(conversion.get("quantization") == "tuned")

    @functools.cached_property
    def int8_path(self) -> Path:
        """The int8 file, given or made. Raises ConversionError, or StageLeftOutError when there is nothing to make."""
        if self.inputs.tflite is not None:
            return self.inputs.tflite
        if self.tuned is None and self.source.function is not None:
            if self.inputs.samples is None:
                raise StageLeftOutError("no samples were given (--calibration FILE.calib)")
            return self._convert(self.source, "int8", "saved_model")
        return self._convert(self.quantized, "int8", "quantized")

    def _convert(self, source: Source, format_name: str, stem: str) -> Path:
        from edge_deeplab.cli.tensorflow_start import quiet_native_stderr
        from edge_deeplab.converters.convert import convert
        from edge_deeplab.converters.paths import output_path

        output = self.folder / f"{stem}.tflite"
        with quiet_native_stderr():  # TFLite's own calibrator prints its settings
            convert(
                source,
                output,
                formats=(format_name,),
                calibration=self.inputs.samples,
                calibrator=self.inputs.calibrator,
            )
        return output_path(output, format_name)

    def _float_network(self) -> tuple[Predictor, dict[str, Any]]:
        from edge_deeplab.cli.predictors import network_predictor, open_predictor

        model = self.inputs.model
        if model.is_dir():
            function = self.source.function

            def run(image: Any) -> Any:
                import tensorflow as tf

                return tf.nest.flatten(function(tf.constant(image)))[0]

            return network_predictor(model, "saved_model", self.source.manifest, run), {"model": model.name}
        return open_predictor(str(model), self.inputs.facts), _file_facts(model)

    def _float_file(self, format_name: str) -> tuple[Predictor, dict[str, Any]]:
        from edge_deeplab.cli.predictors import open_predictor

        path = self._convert(self.source, format_name, "float")
        return open_predictor(str(path), self.inputs.facts, threads=self.inputs.threads), _made_facts(path)

    def _calibrated_network(self) -> tuple[Predictor, dict[str, Any]]:
        from edge_deeplab.converters.convert import calibration_facts

        source = self.calibrated
        assert self.inputs.samples is not None  # StageLeftOutError otherwise
        facts = {"calibration": calibration_facts(self.inputs.samples, self.inputs.calibrator)}
        return _network(source, "fake-quantized"), facts

    def _tuned_network(self) -> tuple[Predictor, dict[str, Any]]:
        if self.tuned is None:
            raise StageLeftOutError("no tuned network was given (--tuned FILE.qat, from `edge-deeplab tune`)")
        return _network(self.tuned, "qat"), _file_facts(self.tuned.path)

    def _int8_file(self, kernels: str = "auto") -> tuple[Predictor, dict[str, Any]]:
        from edge_deeplab.cli.predictors import open_predictor

        path = self.int8_path
        predictor = open_predictor(str(path), self.inputs.facts, threads=self.inputs.threads, kernels=kernels)
        facts = _file_facts(path) if path == self.inputs.tflite else _made_facts(path)
        return predictor, {**facts, "kernels": kernels}


def _left_out(why: str) -> tuple[Predictor, dict[str, Any]]:
    raise StageLeftOutError(why)


def _network(source: Source, kind: str) -> Predictor:
    from edge_deeplab.cli.predictors import network_predictor

    assert source.network is not None
    return network_predictor(source.path, kind, source.int8_manifest, source.network.model.predict_on_batch)


def _file_facts(path: Path) -> dict[str, Any]:
    data = path.read_bytes()
    return {"model": path.name, "size_bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _made_facts(path: Path) -> dict[str, Any]:
    return {"model": None, "size_bytes": path.stat().st_size}  # made for the report: its name says nothing
