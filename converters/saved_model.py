"""A network as a SavedModel for servers: picture in, labels, probabilities and matte out, all resizing inside.

    write_saved_model(Path("portrait.savedmodel"), source)
    loaded = tf.saved_model.load("portrait.savedmodel")
    loaded.signatures["serving_default"](images=pictures)["labels"]

The signatures are SIGNATURES; they are part of what this project promises. The network's variables are constants inside
saved_model.pb, so that the loader folds batch norms; with float16 kernels they are unpacked while loading. The manifest
is an asset.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework.graph_pb2 import GraphDef
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edge_deeplab.converters import server_graph
from edge_deeplab.converters.paths import check_free
from edge_deeplab.converters.sources import Source
from edge_deeplab.converters.verify import Agreement, FileReport, agreement
from edge_deeplab.errors import ConversionError, OutputError
from edge_deeplab.manifest import ENTRY, Manifest, read_manifest
from edge_deeplab.quantization.scheme import FakeQuant

SIGNATURES = {
    "serving_default": "images (N, H, W, 3) uint8 RGB of any size -> as the network gives them labels (N, h, w),"
    " probabilities (N, h, w, classes), matte (N, h, w); box (N, 4): first row, first column, rows and columns of the"
    " picture in them",
    "serve_own_size": "the same -> labels, probabilities, matte at the pictures' own size, (N, H, W, ...)",
    "serve_bytes": "image_bytes (N,) string, JPEG or PNG files of any sizes -> as serving_default, and size_hw (N, 2)",
    "serve_png": "the same -> labels_bytes, matte_bytes (N,) string: grey PNG files at each picture's own size",
}
"""What each signature takes and gives. matte is there where the manifest knows a person; 0..1, 1 is person."""

TESTED_BATCH = 2


def network_of(source: Source) -> Callable[[Any], Any]:
    """The float network of a source, for batches of any length: (N, H, W, 3) float32 -> its output.

    Raises: ConversionError for a SavedModel, which is one already.
    """
    if source.function is not None:
        raise ConversionError(
            f"{source.path}: is a SavedModel already", next_step="export the .keras or .qat file it was made from"
        )
    if source.network is None:
        return lambda images: source.model(images, training=False)
    network = source.network

    def plain(images: Any) -> Any:
        with network.switch.set(FakeQuant.OFF):
            return network.model(images, training=False)

    return plain


def frozen_graph(call: Callable[[Any], Any], size_hw: tuple[int, int], *, halves: bool) -> Callable[[Any], Any]:
    """`call` with its variables as constants, those of kernels in float16 where `halves`.

    Raises: ConversionError for a kernel that float16 cannot hold.
    """
    signature = [tf.TensorSpec((None, *size_hw, 3), tf.float32, name="image")]
    traced = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced)
    graph = frozen.graph.as_graph_def()
    if halves:
        graph = _with_half_kernels(graph)
    taken, given = frozen.inputs[0].name, frozen.outputs[0].name

    def run(images: Any) -> Any:
        (output,) = tf.graph_util.import_graph_def(graph, {taken: images}, [given], name="network")
        return tf.ensure_shape(output, frozen.outputs[0].shape)

    return run


def _with_half_kernels(graph: GraphDef) -> GraphDef:
    changed = GraphDef()
    changed.CopyFrom(graph)
    del changed.node[:]
    for node in graph.node:
        value = tf.make_ndarray(node.attr["value"].tensor) if node.op == "Const" else np.zeros(0)
        if value.dtype != np.float32 or value.ndim != 4:
            changed.node.add().CopyFrom(node)
            continue
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            raise ConversionError(f"{node.name}: a kernel leaves the range of float16", came=float(np.abs(value).max()))
        stored = changed.node.add(name=f"{node.name}/half", op="Const")
        stored.attr["dtype"].type = tf.float16.as_datatype_enum
        stored.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(half))
        cast = changed.node.add(name=node.name, op="Cast", input=[stored.name])
        cast.attr["SrcT"].type = tf.float16.as_datatype_enum
        cast.attr["DstT"].type = tf.float32.as_datatype_enum
    return changed


class ServerModel(tf.Module):
    """The network with its signatures.

    Args:
        run: (N, h, w, 3) float32 in the manifest's real range -> the network's output.
        manifest_file: a file that holds the manifest's JSON.
    """

    def __init__(self, run: Callable[[Any], Any], manifest: Manifest, manifest_file: Path) -> None:
        super().__init__(name="edge_deeplab")
        self.manifest = tf.saved_model.Asset(str(manifest_file))
        self._facts = manifest
        taken = tf.TensorSpec((None, *manifest.size_hw, 3), tf.float32)
        # one function that all signatures call: the network stands in the file once
        self._run = tf.function(run, input_signature=[taken], autograph=False)
        map_shape = self._run.get_concrete_function().outputs[0].shape
        self._map_hw = (int(map_shape[1]), int(map_shape[2]))
        strides = {side / out for side, out in zip(manifest.size_hw, self._map_hw, strict=True)}
        stride = strides.pop()
        self._align = int(stride) if not strides and stride.is_integer() else 1  # as the Segmenter has it

    def traced(self) -> dict[str, Any]:
        """The functions of SIGNATURES by name."""
        pictures = tf.TensorSpec((None, None, None, 3), tf.uint8, name="images")
        files = tf.TensorSpec((None,), tf.string, name="image_bytes")
        calls = {
            "serving_default": (self.serve, pictures), "serve_own_size": (self.serve_own_size, pictures),
            "serve_bytes": (self.serve_bytes, files), "serve_png": (self.serve_png, files),
        }  # fmt: skip
        return {
            name: tf.function(call, input_signature=[spec], autograph=False) for name, (call, spec) in calls.items()
        }

    def _fit(self, images: Any) -> tuple[Any, server_graph.Place]:
        return server_graph.fit_pictures(images, self._facts.size_hw, self._facts.fit, align=self._align)

    def _probabilities(self, fitted: Any) -> Any:
        facts = self._facts
        output = server_graph.class_probabilities(self._run(server_graph.to_network(fitted, facts)), facts)
        return tf.ensure_shape(output, (None, *self._map_hw, len(facts.labels)))

    def _answers(self, probabilities: Any) -> dict[str, Any]:
        answers = {"labels": server_graph.most_probable(probabilities), "probabilities": probabilities}
        if self._facts.person_class is not None:
            answers["matte"] = probabilities[..., self._facts.person_class]
        return answers

    def _box(self, place: server_graph.Place) -> Any:
        return server_graph.box_in_map(place, self._map_hw, self._facts.size_hw)

    def serve(self, images: Any) -> dict[str, Any]:
        """As SIGNATURES says of serving_default."""
        fitted, place = self._fit(images)
        boxes = tf.tile(self._box(place)[tf.newaxis], [tf.shape(images)[0], 1])
        return {**self._answers(self._probabilities(fitted)), "box": boxes}

    def serve_own_size(self, images: Any) -> dict[str, Any]:
        """As SIGNATURES says."""
        fitted, place = self._fit(images)
        restored = self._restored(self._probabilities(fitted), place, tf.shape(images)[1:3])
        return self._answers(restored)

    def _restored(self, probabilities: Any, place: server_graph.Place, picture_hw: Any) -> Any:
        return server_graph.restore(probabilities, place, self._facts.size_hw, picture_hw)

    def _decoded(self, image_bytes: Any) -> tuple[Any, Any, Any]:
        """Returns: (N, h, w, 3) float32 fitted, (N, 4) boxes of the pictures in it as Place, (N, 2) their own sizes."""

        def one(data: Any) -> tuple[Any, Any, Any]:
            image = server_graph.decode(data)
            fitted, place = self._fit(image[tf.newaxis])
            return fitted[0], tf.stack(place), tf.shape(image)[:2]

        specs = (
            tf.TensorSpec((*self._facts.size_hw, 3), tf.float32), tf.TensorSpec((4,), tf.int32),
            tf.TensorSpec((2,), tf.int32),
        )  # fmt: skip
        fitted, places, sizes = tf.map_fn(one, image_bytes, fn_output_signature=specs)
        return fitted, places, sizes

    def serve_bytes(self, image_bytes: Any) -> dict[str, Any]:
        """As SIGNATURES says."""
        fitted, places, sizes = self._decoded(image_bytes)
        boxes = tf.map_fn(lambda place: self._box(server_graph.Place(*tf.unstack(place, 4))), places)
        return {**self._answers(self._probabilities(fitted)), "box": boxes, "size_hw": sizes}

    def serve_png(self, image_bytes: Any) -> dict[str, Any]:
        """As SIGNATURES says."""
        fitted, places, sizes = self._decoded(image_bytes)
        names = ["labels_bytes"] + ["matte_bytes"] * (self._facts.person_class is not None)

        def one(pair: tuple[Any, Any, Any]) -> dict[str, Any]:
            probabilities, place, size = pair
            restored = self._restored(probabilities[tf.newaxis], server_graph.Place(*tf.unstack(place, 4)), size)
            answers = self._answers(restored)
            files = [server_graph.grey_png(tf.cast(answers["labels"][0], tf.uint8))]
            if "matte" in answers:
                files.append(server_graph.grey_png(tf.cast(tf.round(answers["matte"][0] * 255.0), tf.uint8)))
            return dict(zip(names, files, strict=True))

        specs = {name: tf.TensorSpec((), tf.string) for name in names}
        answered: dict[str, Any] = tf.map_fn(
            one, (self._probabilities(fitted), places, sizes), fn_output_signature=specs
        )
        return answered


def write_saved_model(
    path: Path, source: Source, *, manifest: Manifest, images: np.ndarray, halves: bool = False, overwrite: bool = False
) -> FileReport:  # fmt: skip
    """Writes a SavedModel folder, loads it again and compares it with its source; there whole or not at all.

    Args:
        manifest: goes inside, as assets/manifest.json.
        images: (N, H, W, 3) uint8 RGB at the network's size, to compare on.
        halves: kernels in float16.
    Raises: OutputError when `path` is there and may not be replaced or is no SavedModel; ConversionError.
    """
    check_free(path, overwrite=overwrite)
    if len(manifest.labels) > server_graph.MOST_BYTE_LABELS:
        raise ConversionError(f"{path}: a label map as PNG holds 256 classes", came=f"{len(manifest.labels)} classes")
    network = network_of(source)
    run = frozen_graph(network, manifest.size_hw, halves=halves)
    with tempfile.TemporaryDirectory() as folder:
        manifest_file = Path(folder) / ENTRY
        manifest_file.write_text(manifest.to_json(), encoding="utf-8")
        module = ServerModel(run, manifest, manifest_file)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            tf.saved_model.save(module, str(temporary), signatures=module.traced())
            agrees = _compared(temporary, network, images)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return FileReport(
        path=path, format="savedmodel-float16" if halves else "savedmodel",
        size_bytes=sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        sha256=hashlib.sha256((path / "saved_model.pb").read_bytes()).hexdigest(), against_float=agrees,
    )  # fmt: skip


def _compared(folder: Path, network: Callable[[Any], Any], images: np.ndarray) -> Agreement:
    """Probabilities of the loaded SavedModel beside those of the network it was made from."""
    manifest = read_manifest(folder)
    assert manifest is not None, "it was written a moment ago"
    loaded = tf.saved_model.load(str(folder))
    wanted, got = [], []
    for start in range(0, len(images), TESTED_BATCH):
        pixels = tf.constant(images[start : start + TESTED_BATCH])
        wanted.append(server_graph.class_probabilities(network(server_graph.to_network(pixels, manifest)), manifest))
        got.append(loaded.signatures["serving_default"](images=pixels)["probabilities"])
    return agreement(np.concatenate(wanted), np.concatenate(got))
