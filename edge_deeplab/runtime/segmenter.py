"""A picture in, a class map out: what every program on the device calls.

    with Segmenter("portrait", threads=2) as segmenter:
        matte = segmenter.matte_bgr(frame)        # (h, w) float32, 1 is person, at the model's output resolution

All facts about the model come from the manifest inside its file; this module knows no file name and no model.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import cv2
import numpy as np

from edge_deeplab.errors import InputError, ModelError
from edge_deeplab.imaging.resize import PictureFitter, Placement
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.runtime.class_maps import EnlargingReader, OutputReader, make_reader
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.precision import choose_precision
from edge_deeplab.runtime.probe import ensure_loads
from edge_deeplab.runtime.quantized_io import PixelEncoder


class Prepared(NamedTuple):
    """What the model's input will hold of a picture, and where the picture lies in it. Owned by whoever has it.

    Attributes:
        raw: (1, height, width, 3) of the model, in the raw dtype of its input.
        placement: undoes the fit.
        took_ms: milliseconds of making it.
    """

    raw: np.ndarray
    placement: Placement
    took_ms: float


class Segmenter:
    """A segmentation model with its manifest. A context manager; not for several threads at once.

    Every map it returns covers exactly the picture that came: padding of a letterbox is cut off.

    Args:
        model: a .tflite file, or the name of a bundled model.
        threads: of the interpreter.
        kernels: as Engine's.
        manifest: for a model that carries none; wins over the one inside.
        precision: of a bundled name, which means two files (precision.choose_precision): "auto" takes the faster one.
        trims_ends: leaves out what the model does at its ends (trimming.trim_ends) where it has such ends. Quicker;
            maps then have half the height and width to which the model itself would enlarge them.

    Raises: ModelError when the model does not load, carries no manifest and none is given, or contradicts it.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        threads: int = 1,
        kernels: str = "auto",
        manifest: Manifest | None = None,
        precision: str = "auto",
        trims_ends: bool = False,
    ) -> None:
        self.chosen = choose_precision(model, threads=threads, precision=precision)
        """Which of a pair's files it runs, and why."""
        self.path = self.chosen.path
        trimmed = None
        if trims_ends:
            from edge_deeplab.runtime.trimming import trim_ends  # reads the schema: 10 ms that others need not pay

            ensure_loads(self.path, kernels=kernels)  # a damaged file is not to be taken apart
            trimmed = trim_ends(self.path.read_bytes())
        self._enlarged_hw = trimmed.enlarged_hw if trimmed else None
        content = trimmed.content if trimmed else None
        self.engine = Engine(self.path, threads=threads, kernels=kernels, content=content)
        try:
            self.manifest = manifest or read_manifest(self.path) or _refuse_without_manifest(self.engine)
            self._prepare()
        except ModelError:
            self.engine.close()
            raise
        self.stage_ms: dict[str, float] = {}
        """Of the last call: "prepare" (resize, colour order, quantize), "invoke", "decode"."""

    def _prepare(self) -> None:
        engine, manifest = self.engine, self.manifest
        self.size_hw = manifest.size_hw
        self.labels = manifest.labels
        if len(engine.inputs) != 1 or len(engine.outputs) != 1:
            raise ModelError(
                f"{self.path}: is no segmentation model",
                came=f"{len(engine.inputs)} inputs ({', '.join(map(str, engine.inputs))}) and "
                f"{len(engine.outputs)} outputs ({', '.join(map(str, engine.outputs))})",
                allowed="one picture in, one map out",
            )
        wanted = (1, *self.size_hw, 3)
        came = engine.inputs[0]
        if len(came.signature) == 4 and any(size == -1 for size in came.signature[1:]) and came.shape != wanted:
            engine.resize_input(wanted)
        if engine.inputs[0].shape != wanted:
            raise ModelError(
                f"{self.path}: its input does not fit its manifest", came=came,
                allowed=" x ".join(map(str, wanted)) + " (batch 1, height and width of the manifest's size_hw, RGB)",
            )  # fmt: skip
        try:
            self._encoder = PixelEncoder(manifest, came.dtype, came.quantization)
            self._reader = self._make_reader()
        except ModelError as error:
            raise ModelError(
                f"{self.path}: {error.what}", came=error.came, allowed=error.allowed, next_step=error.next_step
            ) from error
        strides = {size / out for size, out in zip(self.size_hw, self.output_hw, strict=True)}
        stride = strides.pop()
        # A letterboxed picture starts and ends at whole output pixels, so that cutting its padding off is exact.
        align = int(stride) if not strides and stride.is_integer() else 1
        self._fitter = PictureFitter(self.size_hw, manifest.fit, align=align)
        self._rgb = np.empty((*self.size_hw, 3), np.uint8)

    def _make_reader(self) -> OutputReader:
        """The reader of the output; sets output_hw, the size of its maps."""
        output = self.engine.outputs[0]
        if self._enlarged_hw is None:
            reader = make_reader(self.manifest, output)
            self.output_hw = (output.shape[1], output.shape[2])
            return reader
        half_hw = (self._enlarged_hw[0] // 2, self._enlarged_hw[1] // 2)
        self.output_hw = (max(output.shape[1], half_hw[0]), max(output.shape[2], half_hw[1]))
        return EnlargingReader(self.manifest, output, self.output_hw)

    def probabilities(self, image: np.ndarray) -> np.ndarray:
        """The probability of every class.

        image: (H, W, 3) uint8, RGB.
        Returns: (h, w, classes) float32 in 0..1 at the model's output resolution. A model that ends in argmax
            gives 0 and 1.
        """
        return self._run(image, self._reader.probabilities, is_bgr=False)

    def matte(self, image: np.ndarray) -> np.ndarray:
        """The probability of the person.

        image: (H, W, 3) uint8, RGB.
        Returns: (h, w) float32 in 0..1, 1 is person, at the model's output resolution.
        Raises: ModelError when the manifest knows no person among its labels.
        """
        self._check_person()
        return self._run(image, self._reader.matte, is_bgr=False)

    def classes(self, image: np.ndarray) -> np.ndarray:
        """The most probable class of each pixel.

        image: (H, W, 3) uint8, RGB.
        Returns: (h, w) uint8 (int32 above 256 classes) at the model's output resolution.
        """
        return self._run(image, self._reader.classes, is_bgr=False)

    def matte_bgr(self, frame: np.ndarray) -> np.ndarray:
        """As matte, for a camera frame. frame: (H, W, 3) uint8, BGR; its colours are swapped after the shrink."""
        self._check_person()
        return self._run(frame, self._reader.matte, is_bgr=True)

    def prepare_bgr(self, frame: np.ndarray) -> Prepared:
        """The first part of matte_bgr, so that `matte_of` can do the rest in another thread while the frame changes.

        frame: (H, W, 3) uint8, BGR; not needed any more afterwards.
        """
        self._check_person()
        prepared = self._prepared(frame, is_bgr=True)
        return prepared._replace(raw=prepared.raw.copy())

    def matte_of(self, prepared: Prepared) -> np.ndarray:
        """The rest of matte_bgr: the matte of a picture that prepare_bgr took in. One thread may call this while
        another one calls prepare_bgr.
        """
        return self._answer(prepared, self._reader.matte)

    def classes_bgr(self, frame: np.ndarray) -> np.ndarray:
        """As classes, for a camera frame. frame: (H, W, 3) uint8, BGR."""
        return self._run(frame, self._reader.classes, is_bgr=True)

    def encode(self, image: np.ndarray) -> np.ndarray:
        """What the model's input holds for a picture, to run it elsewhere.

        image: (H, W, 3) uint8, RGB.
        Returns: (height, width, 3) of the model, in the raw dtype of its input, owned by the caller.
        """
        fitted, _ = self._fitter.fit(image)
        return np.array(self._encoder.encode(fitted))

    def decode_classes(self, raw: np.ndarray) -> np.ndarray:
        """The most probable class of each pixel of a raw output, wherever it was computed.

        raw: as the model's output without its batch, (h, w, C) or (h, w).
        Returns: as classes, but over the whole input of the model: the padding of a letterbox included.
        """
        return self._reader.classes(raw)

    def _run(self, picture: np.ndarray, read: Callable[[np.ndarray], np.ndarray], *, is_bgr: bool) -> np.ndarray:
        return self._answer(self._prepared(picture, is_bgr=is_bgr), read)

    def _prepared(self, picture: np.ndarray, *, is_bgr: bool) -> Prepared:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or picture.size == 0:
            raise InputError(
                "the picture does not fit", came=f"{picture.dtype} {picture.shape}", allowed="uint8 (H, W, 3)"
            )
        start = time.perf_counter_ns()
        fitted, placement = self._fitter.fit(picture)
        if is_bgr:
            fitted = cv2.cvtColor(fitted, cv2.COLOR_BGR2RGB, dst=self._rgb)
        raw = self._encoder.encode(fitted)[np.newaxis]
        return Prepared(raw, placement, (time.perf_counter_ns() - start) / 1e6)

    def _answer(self, prepared: Prepared, read: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        start = time.perf_counter_ns()
        self.engine.invoke(prepared.raw)
        invoked = time.perf_counter_ns()
        result = prepared.placement.crop(read(self.engine.peek()[0]))
        done = time.perf_counter_ns()
        self.stage_ms = {
            "prepare": prepared.took_ms,
            "invoke": (invoked - start) / 1e6,
            "decode": (done - invoked) / 1e6,
        }
        return result

    def _check_person(self) -> None:
        if self.manifest.person_class is None:
            raise ModelError(
                f"{self.path}: does not say which class is the person", came=f"labels {', '.join(self.labels)}",
                next_step="give a manifest with person_class (on the command line: --person-class)",
            )  # fmt: skip

    def close(self) -> None:
        """Frees the model; closing twice is harmless."""
        self.engine.close()

    def __enter__(self) -> Segmenter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refuse_without_manifest(engine: Engine) -> Manifest:
    inputs, outputs = (", ".join(map(str, infos)) for infos in (engine.inputs, engine.outputs))
    raise ModelError(
        f"{engine.path}: carries no manifest, so what its numbers mean is unknown (input {inputs}; output {outputs})",
        allowed="a file of `edge-deeplab convert`, or its facts beside it: labels, person_class, size_hw, input_range"
        " (or mean and std), activation",
        next_step="give them as manifest=Manifest(...), on the command line as"
        " --labels, --person-class, --size, --input-range, --mean, --std",
    )
