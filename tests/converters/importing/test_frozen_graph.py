"""Frozen graphs: a really trained one with its own results as oracle, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fake_quant_graphs
import numpy as np
import pytest
import tensorflow as tf

from edge_deeplab.converters.importing.frozen_graph import read_frozen_graph
from edge_deeplab.converters.importing.graph_ranges import clip_kernels, find_ranges, with_graph_ranges
from edge_deeplab.converters.importing.import_model import ImportedNetwork, import_network
from edge_deeplab.converters.importing.readings import FakeQuantRanges, KernelRange
from edge_deeplab.converters.importing.settle import Told
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.quantization.scheme import FakeQuant

PORTRAIT = "models/portrait_mnv2_dm05_os8_frozen_inference_graph.pb"
TRAINED = "oracles/trained_deeplab_dm05_513"
LOGITS_TOLERANCE = 5e-4  # they reach 7; the official code itself differs from this export by 1.1e-4
CROP = 65


@pytest.fixture(scope="module")
def proto(shared: Path) -> Any:
    return fake_quant_graphs.frozen(shared / PORTRAIT)


@pytest.fixture(scope="module")
def small(proto: Any) -> Any:
    """The trained graph at a crop of 65: the same weights, a fraction of the time."""
    return fake_quant_graphs.at_crop(proto, 513, CROP)


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Any], Path]:
    def write(proto: Any) -> Path:
        path = tmp_path / "graph.pb"
        path.write_bytes(proto.SerializeToString())
        return path

    return write


def pixels(count: int = 1) -> np.ndarray:
    """Coloured areas of every brightness: (count, CROP, CROP, 3), whole numbers."""
    rng = np.random.default_rng(0)
    blocks = rng.integers(0, 256, (count, 9, 9, 3)).repeat(16, axis=1).repeat(16, axis=2)
    return blocks[:, :CROP, :CROP].astype(np.float32)


def test_the_trained_graph_agrees_with_what_it_computed_elsewhere(shared: Path) -> None:
    arrays = np.load(shared / TRAINED / "arrays.npz")
    network = import_network(shared / PORTRAIT, told=Told())
    assert (network.config.output_stride, network.size_hw, network.config.num_classes) == (8, (513, 513), 2)
    weights = np.load(shared / TRAINED / "frozen_weights.npz")
    assert set(weights.files) == set(network.variables)
    for name in ("picsart_00001_sq513", "picsart_00008_sq513"):
        picture = arrays[f"{name}/image"][np.newaxis].astype(np.float32)
        logits = network.model.predict_on_batch(network.prepared(picture))
        assert np.abs(logits[:, ::4, ::4] - arrays[f"{name}/final_logits_s4"]).max() < LOGITS_TOLERANCE
        labels = arrays[f"{name}/semantic_predictions"].reshape(logits.shape[:3])
        assert (logits.argmax(axis=-1) != labels).sum() <= 3


def test_it_is_proven_against_the_graph_itself(small: Any, written: Callable[[Any], Path]) -> None:
    network = import_network(written(small), told=Told())
    proof = network.prove(pixels(2))
    assert proof is not None
    assert proof.holds
    assert proof.largest < LOGITS_TOLERANCE
    assert network.size_hw == (CROP, CROP)


def test_one_changed_weight_is_noticed(small: Any, written: Callable[[Any], Path]) -> None:
    network = import_network(written(small), told=Told())
    changed = {name: array.copy() for name, array in network.variables.items()}
    changed["MobilenetV2/expanded_conv_9/depthwise/depthwise_weights"][1, 1, :8] *= 1.5
    network = ImportedNetwork(network.path, network.reading, network.settled, network.plan, changed)
    with pytest.raises(ConversionError, match="does not compute what the file computes"):
        network.prove(pixels())


def test_batch_norm_folded_into_kernels_and_biases_is_the_same_network(
    small: Any, written: Callable[[Any], Path]
) -> None:
    network = import_network(written(fake_quant_graphs.folded(small)), told=Told())
    assert network.reading.is_folded
    proof = network.prove(pixels())
    assert proof is not None
    assert proof.largest < LOGITS_TOLERANCE


def test_a_graph_without_preprocessing_is_refused_and_taken_when_told(
    small: Any, written: Callable[[Any], Path]
) -> None:
    path = written(fake_quant_graphs.without_preprocessing(small, CROP))
    with pytest.raises(
        ConversionError, match="preprocessing is left out; came pixels 0 and 255 reach MobilenetV2/Conv"
    ):
        import_network(path, told=Told())
    network = import_network(path, told=Told(), is_preprocessed=True)
    proof = network.prove(pixels())
    assert proof is not None
    assert proof.largest < LOGITS_TOLERANCE


def test_other_preprocessing_is_refused_with_what_came(small: Any, written: Callable[[Any], Path]) -> None:
    proto = tf.compat.v1.GraphDef()
    proto.CopyFrom(small)
    node = next(node for node in proto.node if node.name == "mul/x")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(np.float32(1 / 128)))
    with pytest.raises(ConversionError, match=r"not the official one; came pixels 0 and 255 reach .* as -1 and 0.99"):
        import_network(written(proto), told=Told())


def test_a_graph_that_runs_its_network_twice_is_refused(small: Any, written: Callable[[Any], Path]) -> None:
    proto = tf.compat.v1.GraphDef()
    proto.CopyFrom(small)
    again = proto.node.add()
    again.CopyFrom(next(node for node in small.node if node.name == "aspp0/Conv2D"))
    again.name = "aspp0_1/Conv2D"
    with pytest.raises(ConversionError, match="several times"):
        read_frozen_graph(written(proto))


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"\x00\x01not a graph at all", "no frozen graph"), (b"", "no frozen graph, cut short|without nodes")],
)
def test_what_is_no_graph_is_called_so(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "graph.pb"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=said):
        read_frozen_graph(path)


def test_a_graph_cut_short_is_called_so(shared: Path, tmp_path: Path) -> None:
    data = (shared / PORTRAIT).read_bytes()
    path = tmp_path / "graph.pb"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelError, match=r"cut short|damaged"):
        read_frozen_graph(path)


def test_variables_that_are_not_frozen_are_named(written: Callable[[Any], Path]) -> None:
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (1, 33, 33, 3))
        kernel = tf.compat.v1.get_variable("MobilenetV2/Conv/weights", (3, 3, 3, 8), use_resource=False)
        tf.nn.conv2d(image, kernel, 2, "SAME")
        proto = graph.as_graph_def()
    with pytest.raises(ModelError, match="not frozen; came MobilenetV2/Conv/weights"):
        read_frozen_graph(written(proto))


@pytest.mark.parametrize("folds", [False, True], ids=["kernels as they are", "batch norm folded by operators"])
def test_a_quantized_graph_keeps_its_ranges(small: Any, written: Callable[[Any], Path], folds: bool) -> None:
    picture = pixels()
    seen = fake_quant_graphs.seen_ranges(small, fake_quant_graphs.activations(small), "ImageTensor", picture)
    # numbers that no calibration would give
    ranges = {name: (round(low, 1) - 0.25 * (low < 0), round(high, 1) + 0.25) for name, (low, high) in seen.items()}
    network = import_network(written(fake_quant_graphs.quantized(small, ranges, folds=folds)), told=Told())
    proof = network.prove(picture)
    assert proof is not None
    assert proof.largest < LOGITS_TOLERANCE
    assert network.reading.ranges is not None
    assert len(network.reading.ranges.kernels) == 55
    found = find_ranges(network)
    assert found.missing == ()
    kept = found.ranges
    for layer, tensor in {
        "stem_act": "MobilenetV2/Conv/Relu6",
        "block_1_project_bn": "MobilenetV2/expanded_conv_1/project/BatchNorm/FusedBatchNormV3",
        "block_5_add": "MobilenetV2/expanded_conv_5/add",
        "aspp_project_act": "concat_projection/Relu",
        "logits_conv": "logits/semantic/BiasAdd",
    }.items():
        assert kept[layer] == pytest.approx(ranges[tensor], rel=1e-6), layer
    branches = [ranges["image_pooling/Relu"], ranges["aspp0/Relu"]]  # joined, so the wider ends
    assert kept["aspp_concat"] == pytest.approx((0.0, max(high for _, high in branches)), rel=1e-6)
    if not folds:
        return
    quantized, _ = with_graph_ranges(network, network.manifest(name="q", labels=("background", "person")))
    assert all((float(low), float(high)) == pytest.approx(kept[layer], rel=1e-6)
               for layer, (low, high) in quantized.ranges().items())  # fmt: skip
    with quantized.switch.set(FakeQuant.HOLD):
        rounded = np.asarray(quantized.model(network.prepared(picture), training=False))
    plain = network.model.predict_on_batch(network.prepared(picture))
    # no person is in the picture and the ranges are odd on purpose: measured 0.94
    assert (rounded.argmax(axis=-1) == plain.argmax(axis=-1)).mean() > 0.9


def test_a_missing_range_is_named_and_filled_in_from_samples(small: Any, written: Callable[[Any], Path]) -> None:
    picture = pixels()
    ranges = fake_quant_graphs.seen_ranges(small, fake_quant_graphs.activations(small), "ImageTensor", picture)
    del ranges["MobilenetV2/expanded_conv_5/add"]
    network = import_network(written(fake_quant_graphs.quantized(small, ranges, folds=False)), told=Told())
    manifest = network.manifest(name="q", labels=("background", "person"))
    with pytest.raises(ConversionError, match="no int8 range for block_5_add; came 64 of 65"):
        with_graph_ranges(network, manifest)
    filled, _ = with_graph_ranges(network, manifest, batches=lambda: [network.prepared(picture)])
    low, high = filled.ranges()["block_5_add"]
    assert float(low) < 0 < float(high)
    assert float(filled.ranges()["stem_act"][1]) == pytest.approx(ranges["MobilenetV2/Conv/Relu6"][1])


def test_kernels_saturate_where_the_graph_did() -> None:
    kernel = np.array([-2.0, -0.5, 0.5, 2.0], np.float32).reshape(1, 1, 1, 4)
    variables = {
        "a/weights": kernel, "b/weights": kernel, "b/BatchNorm/gamma": np.array([2, 2, 0, -2], np.float32),
        "b/BatchNorm/moving_variance": np.full(4, 1 - 1e-3, np.float32),
    }  # fmt: skip
    ranges = FakeQuantRanges(activations={}, kernels={"a/weights": KernelRange(-1, 1, False),
                                                      "b/weights": KernelRange(-1, 1, True)})  # fmt: skip
    clipped = clip_kernels(variables, ranges, {"b": 1e-3})
    np.testing.assert_allclose(clipped["a/weights"].ravel(), [-1, -0.5, 0.5, 1])
    # folded: times 2, 2, 0 (left alone), -2
    np.testing.assert_allclose(clipped["b/weights"].ravel(), [-0.5, -0.5, 0.5, 0.5], rtol=1e-6)
