"""A model as a replica holds it: a batch of pictures of one size in, the probabilities of every class out.

    with closing(open_batch_model(Path("portrait.keras"), threads=2)) as model:
        probabilities = model.predict(images)      # (N, H, W, 3) uint8 RGB -> (N, h, w, classes) float32

TensorFlow is imported for the files that need it alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from edge_deeplab.errors import ModelError
from edge_deeplab.manifest import Manifest, is_saved_model, read_manifest
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.serving.model_file import KERAS_SUFFIX

TFLITE_SUFFIX = ".tflite"
SMALL_MULTIPLY_ADDS = 1_000_000_000
"""Networks below that gain little from several threads a picture; portrait-large.keras has 0.7 billion, Xception 10."""


class BatchModel(Protocol):
    """A model ready to run."""

    @property
    def kind(self) -> str:
        """What it is, for people: "tflite", "keras"."""

    @property
    def manifest(self) -> Manifest:
        """Its labels, its person, how pictures are fitted."""

    @property
    def sizes_hw(self) -> tuple[tuple[int, int], ...]:
        """The input sizes it takes."""

    @property
    def align(self) -> int:
        """A picture's place in its input is a multiple of it, so that padding can be cut off exactly."""

    @property
    def beside(self) -> int:
        """How many threads may call predict at once, and gain by it."""

    def predict(self, images: np.ndarray) -> np.ndarray:
        """The probability of every class over the whole input.

        images: (N, H, W, 3) uint8, RGB, (H, W) one of sizes_hw.
        Returns: (N, h, w, classes) float32 in 0..1, owned by the caller.
        """

    def close(self) -> None:
        """Frees the model; twice is harmless."""


def open_batch_model(
    path: Path,
    *,
    threads: int = 1,
    sizes_hw: tuple[tuple[int, int], ...] = (),
    max_batch: int = 1,
    manifest: Manifest | None = None,
) -> BatchModel:
    """Opens a model file by its suffix, or a SavedModel's folder, and runs it once at every size.

    Args:
        sizes_hw: input sizes to be ready for; empty: the manifest's own.
        max_batch: the largest batch that will come.
        manifest: of a .tflite that carries none.
    Raises: ModelError when the file is missing, of another kind, does not load, or cannot take a size.
    """
    suffix = path.suffix.lower()
    if suffix == KERAS_SUFFIX:
        return KerasBatchModel(path, threads=threads, sizes_hw=sizes_hw, max_batch=max_batch)
    if suffix == TFLITE_SUFFIX:
        return TfliteBatchModel(path, threads=threads, sizes_hw=sizes_hw, manifest=manifest)
    if is_saved_model(path):
        return SavedBatchModel(path, threads=threads, sizes_hw=sizes_hw, max_batch=max_batch)
    raise ModelError(
        f"{path}: cannot be served", came=f"the suffix {suffix or 'none'}",
        allowed=".tflite, .keras, a SavedModel folder", next_step="convert it with edge-deeplab convert",
    )  # fmt: skip


class TfliteBatchModel:
    """A .tflite on LiteRT: its batch is one, so a batch is run picture by picture, on all threads.

    Args:
        sizes_hw: none but its own.
    """

    kind = "tflite"
    beside = 1

    def __init__(
        self, path: Path, *, threads: int, sizes_hw: tuple[tuple[int, int], ...], manifest: Manifest | None
    ) -> None:
        self._segmenter = Segmenter(path, threads=threads, manifest=manifest)
        self.manifest = self._segmenter.manifest
        own = self._segmenter.size_hw
        try:
            refuse_other_sizes(path, own, sizes_hw)
        except ModelError:
            self._segmenter.close()
            raise
        self.sizes_hw = (own,)
        self.align = output_stride(own, self._segmenter.output_hw)
        self.predict(np.zeros((1, *own, 3), np.uint8))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As BatchModel.predict."""
        return np.stack([self._segmenter.probabilities(image) for image in images])

    def close(self) -> None:
        """As BatchModel.close."""
        self._segmenter.close()


class KerasBatchModel:
    """One of our .keras networks on TensorFlow: a batch at once or, of a small network, in a part for each thread.

    The network is traced at every size with a batch of any length. A graph of a fixed batch was no faster
    (portrait.keras on two cores of a Zen 5, milliseconds a picture at batches of 1, 4, 8: 23, 15, 15 against
    25, 19, 22), and XLA many times slower (120).
    """

    kind = "keras"

    def __init__(self, path: Path, *, threads: int, sizes_hw: tuple[tuple[int, int], ...], max_batch: int) -> None:
        manifest = read_manifest(path)
        if manifest is None or not manifest.architecture:
            raise ModelError(
                f"{path}: not a model this program trained", allowed="a .keras file of edge-deeplab train or import",
                next_step="convert it to .tflite and serve that",
            )  # fmt: skip
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from edge_deeplab.models.keras_api import keras_namespace

        K = keras_namespace("keras")
        import tensorflow as tf

        self.manifest = manifest
        self.sizes_hw = sizes_hw or (manifest.size_hw,)
        self.beside = _share_processors(tf, threads, are_small(manifest, self.sizes_hw))
        self._parts = Parts(self.beside)
        self._runs: dict[tuple[int, int], Any] = {}
        strides = set()
        for size in self.sizes_hw:
            self._runs[size] = run = _traced(tf, K, path, manifest, size)
            output = run(np.zeros((1, *size, 3), np.uint8)).shape
            if len(output) != 4 or output[3] != len(manifest.labels):
                raise ModelError(
                    f"{path}: its output does not fit its labels", came=tuple(output),
                    allowed=f"N x h x w x {len(manifest.labels)}",
                )  # fmt: skip
            self.predict(np.zeros((max_batch, *size, 3), np.uint8))  # the first run of a shape is slow
            strides.add(output_stride(size, (output[1], output[2])))
        self.align = strides.pop() if len(strides) == 1 else 1

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As BatchModel.predict."""
        run = self._runs[(images.shape[1], images.shape[2])]
        return self._parts.map(lambda part: run(part).numpy(), images)

    def close(self) -> None:
        """As BatchModel.close: TensorFlow frees it with the last name that holds it."""
        self._parts.close()
        self._runs.clear()


class SavedBatchModel:
    """A SavedModel of `edge-deeplab convert`: the signature `serving_default`, at its own size.

    Args:
        sizes_hw: none but its own.
    """

    kind = "savedmodel"

    def __init__(self, path: Path, *, threads: int, sizes_hw: tuple[tuple[int, int], ...], max_batch: int) -> None:
        manifest = read_manifest(path)
        if manifest is None:
            raise ModelError(f"{path}: carries no manifest", allowed="a SavedModel of edge-deeplab convert")
        refuse_other_sizes(path, manifest.size_hw, sizes_hw)
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import tensorflow as tf

        self.beside = _share_processors(tf, threads, are_small(manifest, (manifest.size_hw,)))
        self._parts = Parts(self.beside)
        try:
            self._loaded = tf.saved_model.load(str(path))
            self._run = self._loaded.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            raise ModelError(f"{path}: TensorFlow cannot load it", came=str(error).splitlines()[0]) from error
        self.manifest = manifest
        self.sizes_hw = (manifest.size_hw,)
        output = self.predict(np.zeros((1, *manifest.size_hw, 3), np.uint8)).shape
        self.predict(np.zeros((max_batch, *manifest.size_hw, 3), np.uint8))  # the first run of a shape is slow
        self.align = output_stride(manifest.size_hw, (output[1], output[2]))

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As BatchModel.predict."""
        return self._parts.map(lambda part: self._run(images=part)["probabilities"].numpy(), images)

    def close(self) -> None:
        """As BatchModel.close: TensorFlow frees it with the last name that holds it."""
        self._parts.close()
        self._loaded = None


class Parts:
    """A batch in parts, each a call of its own beside the others.

    Args:
        count: parts at most; 1 takes the batch as it is.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="part") if count > 1 else None

    def map(self, run: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> np.ndarray:
        """What `run` makes of the whole batch, in order."""
        if self._pool is None or len(images) == 1:
            return run(images)
        return np.concatenate(list(self._pool.map(run, np.array_split(images, min(self._count, len(images))))))

    def close(self) -> None:
        """Ends the threads; twice is harmless."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)


def are_small(manifest: Manifest, sizes_hw: tuple[tuple[int, int], ...]) -> bool:
    """Whether one picture of a network of ours is below SMALL_MULTIPLY_ADDS at every size."""
    if not manifest.architecture:
        return False
    from edge_deeplab.models.architecture import architecture_from, at_size, count

    config = architecture_from(manifest.architecture)
    return all(count(at_size(config, size)).multiply_adds < SMALL_MULTIPLY_ADDS for size in sizes_hw)


def refuse_other_sizes(path: Path, own_hw: tuple[int, int], sizes_hw: tuple[tuple[int, int], ...]) -> None:
    """Raises ModelError for sizes that a file of one fixed size cannot take."""
    other = [size for size in sizes_hw if size != own_hw]
    if other:
        raise ModelError(
            f"{path}: its input size is fixed", came=", ".join("{}x{}".format(*size) for size in other),
            allowed="{}x{}".format(*own_hw), next_step="serve the .keras file it was made from",
        )  # fmt: skip


def _share_processors(tf: Any, threads: int, is_split: bool) -> int:
    """Gives every operator all threads, or, for small networks, one thread to each part of a batch.

    A small network is no faster on two threads than on one, and threads that wait for work spin: MobileNetV2 0.5 at
    256 x 256 on two cores of a Zen 4 takes 13, 11, 9 ms a picture at batches of 1, 2, 4 with two threads to an
    operator, and 15, 9, 8 in two parts, with a quarter less of the processors at a batch of one.

    Returns: parts that a batch is split into.
    """
    inside, beside = (1, threads) if is_split else (threads, 1)
    try:
        tf.config.threading.set_intra_op_parallelism_threads(inside)
        tf.config.threading.set_inter_op_parallelism_threads(beside)
    except RuntimeError as error:  # it is running already, on the threads of who started it
        running = tf.config.threading.get_intra_op_parallelism_threads()
        if running and running != inside:
            raise ModelError("TensorFlow runs already in this process, with other threads") from error
    return beside


def _traced(tf: Any, K: Any, path: Path, manifest: Manifest, size_hw: tuple[int, int]) -> Any:
    """(N, H, W, 3) uint8 -> (N, h, w, classes) float32 probabilities, as one TensorFlow function."""
    from edge_deeplab.models.store import rebuild

    model, _ = rebuild(path, K, size_hw=size_hw)
    low, high = manifest.input_range
    slope = np.float32((high - low) / 255 / np.array(manifest.std))
    start = np.float32((low - np.array(manifest.mean)) / np.array(manifest.std))
    activate = {"softmax": tf.nn.softmax, "sigmoid": tf.nn.sigmoid}.get(manifest.activation, tf.identity)

    @tf.function(input_signature=[tf.TensorSpec((None, *size_hw, 3), tf.uint8)])
    def run(pixels: Any) -> Any:
        return activate(tf.cast(model(tf.cast(pixels, tf.float32) * slope + start, training=False), tf.float32))

    return run


def output_stride(size_hw: tuple[int, int], output_hw: tuple[int, int]) -> int:
    """Input pixels per output pixel, 1 where that is no whole number or differs between the sides."""
    strides = {size / out for size, out in zip(size_hw, output_hw, strict=True)}
    stride = strides.pop()
    return int(stride) if not strides and stride.is_integer() else 1
