"""Any model file as one thing that maps pictures to probabilities: .tflite, .keras, .qat, ours or someone else's.

    with closing(open_predictor("portrait", ForeignFacts())) as predictor:
        matte = predictor.matte(image)          # (h, w) float32

TensorFlow and Keras are imported for the files that need them alone. All go through the same resize, input table and
output reader, so that a difference between two rows of a table is one between the networks.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_deeplab.cli.foreign_facts import ForeignFacts
from edge_deeplab.cli.tensorflow_start import start_tensorflow
from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.imaging.resize import fit_image
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.class_maps import make_reader
from edge_deeplab.runtime.interpreter import Engine, TensorInfo
from edge_deeplab.runtime.quantized_io import PixelEncoder
from edge_deeplab.runtime.segmenter import Segmenter

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")
QUANTIZED_SUFFIX = ".qat"


class Predictor(Protocol):
    """A model ready to run."""

    @property
    def path(self) -> Path:
        """Its file."""

    @property
    def kind(self) -> str:
        """What it is, for a table: "tflite int8", "tflite float32", "keras", "qat"."""

    @property
    def manifest(self) -> Manifest:
        """What its numbers mean."""

    def matte(self, image: np.ndarray) -> np.ndarray:
        """The person. image: (H, W, 3) uint8 RGB. Returns: (h, w) float32 in 0..1, over the whole picture."""

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """Every class. Returns: (h, w, classes) float32 in 0..1, over the whole picture."""

    def close(self) -> None:
        """Frees the model; twice is harmless."""


def open_predictor(
    model: str, facts: ForeignFacts, *, threads: int = 1, kernels: str = "auto", output_stride: int | None = None
) -> Predictor:
    """Opens a model file by its suffix, or a bundled model by its name.

    Args:
        facts: of a model that carries no manifest; not used for one that does.
        threads, kernels: of the LiteRT engine.
        output_stride: builds a .keras file of ours anew at another stride than the one it was trained at.
    Raises: ModelError when the file is missing, does not load, or needs facts that were not given; UsageError for an
        output stride that the file cannot have.
    """
    if output_stride is not None:
        return _open_at_stride(Path(model), output_stride)
    suffix = Path(model).suffix.lower()
    if suffix not in (*KERAS_SUFFIXES, QUANTIZED_SUFFIX):
        return _open_tflite(bundled_model(model), facts, threads=threads, kernels=kernels)
    path = Path(model)
    manifest = read_manifest(path)
    start_tensorflow()
    if suffix == QUANTIZED_SUFFIX:
        return _open_quantized(path)
    return _open_foreign_keras(path, facts) if manifest is None else _open_own_keras(path, manifest)


class _EnginePredictor(Segmenter):
    """A Segmenter that says what kind of file it runs."""

    @property
    def kind(self) -> str:
        """E.g. "tflite int8"; which types lie inside the file, not at its ends."""
        return f"tflite {_inside(self.path)}"


def _open_tflite(path: Path, facts: ForeignFacts, *, threads: int, kernels: str) -> Predictor:
    manifest = read_manifest(path)
    if manifest is None:
        with Engine(path, threads=threads, kernels=kernels) as engine:
            inputs, outputs = engine.inputs, engine.outputs
        signature = inputs[0].signature
        is_fixed = len(signature) == 4 and all(side > 0 for side in signature[1:3])
        proven = "argmax" if outputs[0].dtype.name in ("int32", "int64") else None
        size_hw = (signature[1], signature[2]) if is_fixed else None
        manifest = facts.manifest(path, size_hw=size_hw, activation=proven)
    return _EnginePredictor(path, threads=threads, kernels=kernels, manifest=manifest)


def _inside(path: Path) -> str:
    """What the convolutions of a .tflite compute in: "int8", "dynamic" (int8 kernels alone), "float16" (stored so)."""
    from edge_deeplab.runtime.flatbuffer import TfliteFile

    graph = TfliteFile.read(path)
    convolutions = [operator for operator in graph.operators if "CONV_2D" in operator.name]
    if any(operator.outputs[0].dtype in ("int8", "uint8") for operator in convolutions):
        return "int8"
    kernels = [tensor for operator in convolutions if (tensor := operator.inputs[1]) is not None]
    if any(kernel.dtype == "int8" for kernel in kernels):
        return "dynamic"
    return "float16" if any(tensor.dtype == "float16" for tensor in graph.tensors) else "float32"


class _KerasPredictor:
    """A Keras network, run one picture at a time.

    Args:
        run: (1, H, W, 3) float32 -> (1, h, w, classes).
    """

    def __init__(self, path: Path, kind: str, manifest: Manifest, run: Callable[[np.ndarray], Any]) -> None:
        self.path = path
        self.kind = kind
        self.manifest = manifest
        self._run = run
        self._encoder = PixelEncoder(manifest, np.dtype(np.float32), None)
        raw = self._raw(np.zeros((*manifest.size_hw, 3), np.float32))
        info = TensorInfo("output", (1, *raw.shape), (1, *raw.shape), np.dtype(np.float32), None)
        try:
            self._reader = make_reader(manifest, info)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        strides = {size / out for size, out in zip(manifest.size_hw, raw.shape[:2], strict=True)}
        stride = strides.pop()
        self._align = int(stride) if not strides and stride.is_integer() else 1  # as the Segmenter has it

    def _raw(self, real: np.ndarray) -> np.ndarray:
        output = np.asarray(self._run(real[np.newaxis]), np.float32)
        if output.ndim not in (3, 4) or output.shape[0] != 1:
            raise ModelError(f"{self.path}: is no segmentation model", came=f"output {output.shape}",
                             allowed="1 x h x w x classes")  # fmt: skip
        return output[0]

    def _read(self, image: np.ndarray, read: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        fitted, placement = fit_image(image, self.manifest.size_hw, self.manifest.fit, align=self._align)
        return placement.crop(read(self._raw(self._encoder.encode(fitted))))

    def matte(self, image: np.ndarray) -> np.ndarray:
        """As Predictor.matte. Raises ModelError when the manifest knows no person."""
        if self.manifest.person_class is None:
            raise ModelError(f"{self.path}: does not say which class is the person", next_step="give --person-class")
        return self._read(image, self._reader.matte)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """As Predictor.probabilities."""
        return self._read(image, self._reader.probabilities)

    def close(self) -> None:
        """As Predictor.close: Keras frees it with the last name that holds it."""


def network_predictor(path: Path, kind: str, manifest: Manifest, run: Callable[[np.ndarray], Any]) -> Predictor:
    """A network in memory as a predictor.

    Args:
        path: the file it came from, for messages.
        run: (1, H, W, 3) float32 in the manifest's real range -> (1, h, w, classes).
    Raises: ModelError when its output does not fit the manifest.
    """
    return _KerasPredictor(path, kind, manifest, run)


def _open_own_keras(path: Path, manifest: Manifest) -> Predictor:
    from edge_deeplab.models.keras_api import keras_namespace
    from edge_deeplab.models.store import rebuild

    if not manifest.architecture:
        return _open_loaded_keras(path, manifest)
    model, manifest = rebuild(path, keras_namespace("keras"), batch_size=1)
    return _KerasPredictor(path, "keras", manifest, model.predict_on_batch)


def _open_at_stride(path: Path, output_stride: int) -> Predictor:
    manifest = read_manifest(path) if path.suffix.lower() in KERAS_SUFFIXES else None
    if manifest is None or not manifest.architecture:
        raise UsageError(
            f"--output-stride: {path.name} cannot be built anew",
            allowed="a .keras file of `edge-deeplab train` or `import`",
            next_step="leave the option out, or score the .keras file it came from",
        )  # fmt: skip
    start_tensorflow()
    from edge_deeplab.models.keras_api import keras_namespace
    from edge_deeplab.models.store import rebuild

    model, manifest = rebuild(path, keras_namespace("keras"), batch_size=1, output_stride=output_stride)
    return _KerasPredictor(path, f"keras, stride {output_stride}", manifest, model.predict_on_batch)


def _open_foreign_keras(path: Path, facts: ForeignFacts) -> Predictor:
    model = _load_keras(path)
    fixed = tuple(model.inputs[0].shape[1:3])
    size_hw = (int(fixed[0]), int(fixed[1])) if len(fixed) == 2 and all(fixed) else None
    return _keras_with(path, model, facts.manifest(path, size_hw=size_hw))


def _open_loaded_keras(path: Path, manifest: Manifest) -> Predictor:
    return _keras_with(path, _load_keras(path), manifest)


def _keras_with(path: Path, model: Any, manifest: Manifest) -> Predictor:
    wanted = tuple(model.inputs[0].shape)
    given = (None, *manifest.size_hw, 3)
    if len(wanted) != 4 or any(a not in (None, b) for a, b in zip(wanted[1:], given[1:], strict=True)):
        raise ModelError(f"{path}: its input is no RGB picture of that size", came=wanted, allowed=given)
    return _KerasPredictor(path, "keras", manifest, model.predict_on_batch)


def _load_keras(path: Path) -> Any:
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):  # known before seconds of importing Keras
        raise ModelError(f"{path}: is no .keras file, or a damaged one", allowed="what model.save wrote")

    from edge_deeplab.models.keras_api import keras_namespace, own_layers

    K = keras_namespace("keras")
    own_layers(K)
    try:
        model = K.saving.load_model(path, compile=False)
    except (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0]
        is_own_layer = "locate class" in reason or "Unknown layer" in reason
        hint = "register it with keras.saving.register_keras_serializable, or convert the model to .tflite first"
        raise ModelError(
            f"{path}: Keras cannot load it", came=reason, next_step=hint if is_own_layer else None
        ) from error
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ModelError(f"{path}: is no segmentation model", came=f"{len(model.inputs)} inputs, "
                         f"{len(model.outputs)} outputs", allowed="one picture in, one map out")  # fmt: skip
    return model


def _open_quantized(path: Path) -> Predictor:
    from edge_deeplab.quantization.store import load_quantized

    network, manifest = load_quantized(path)
    return _KerasPredictor(path, "qat", manifest, network.model.predict_on_batch)


def refuse_idle_facts(predictors: list[str], facts: ForeignFacts, *, but: str = "") -> None:
    """Refuses facts that no model of the list needs, but one option. Raises UsageError."""
    idle = [option for option in facts.given if option != but]
    if idle and all(_says_of_itself(model) for model in predictors):
        raise UsageError(
            f"{', '.join(idle)}: for models that carry no manifest",
            came=f"{', '.join(predictors)}, which carr{'ies' if len(predictors) == 1 else 'y'} one",
            next_step="leave the options out",
        )


def _says_of_itself(model: str) -> bool:
    if Path(model).is_dir():  # a SavedModel
        return False
    path = Path(model) if Path(model).suffix.lower() in (*KERAS_SUFFIXES, QUANTIZED_SUFFIX) else bundled_model(model)
    return read_manifest(path) is not None
