"""Which operators the delegate takes: by hand for the walk, against LiteRT's own verdict for real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.errors import ModelError
from edge_deeplab.runtime.bundled import bundled_model
from edge_deeplab.runtime.delegates import delegation_of, divide, members, partitions_of
from edge_deeplab.runtime.flatbuffer import TfliteFile


def node(index: int, name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
    return {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}


# 0 -> CONV -> 1 -> HARD_SWISH -> 2 -> CONV -> 3
CHAIN = [node(0, "CONV_2D", [0, -1], [1]), node(1, "HARD_SWISH", [1], [2]), node(2, "CONV_2D", [2], [3])]


def test_without_a_delegate_everything_is_outside() -> None:
    found = divide(CHAIN, [3])
    assert (found.partitions, found.outside, found.is_complete) == (0, (0, 1, 2), False)


def test_one_partition_takes_all() -> None:
    found = divide([*CHAIN, node(3, "DELEGATE", [0], [3])], [3])
    assert (found.partitions, found.outside, found.is_complete) == (1, (), True)


def test_an_operator_between_two_partitions_is_outside() -> None:
    found = divide([*CHAIN, node(3, "DELEGATE", [0], [1]), node(4, "DELEGATE", [2], [3])], [3])
    assert (found.partitions, found.outside, found.is_complete) == (2, (1,), False)


@pytest.mark.parametrize(("io", "outside"), [("int8", ()), ("float32", ()), ("uint8", (0, 2))])
def test_the_network_between_the_ends_is_one_partition(tmp_path: Path, io: str, outside: tuple[int, ...]) -> None:
    """XNNPACK takes QUANTIZE from float32, not from uint8 to int8 (ai-edge-litert 2.3.0)."""
    path = tmp_path / "bright.tflite"
    path.write_bytes(bright_segmenter(io=io).to_bytes())
    found = delegation_of(path)
    assert (found.partitions, found.outside) == (1, outside)


@pytest.mark.parametrize("name", ["deeplabv3_257_mv_gpu", "tf2_mobilenet_v2_1.0_224_ptq"])
def test_complete_means_what_litert_says(shared: Path, name: str) -> None:
    compiled_model = pytest.importorskip("ai_edge_litert.compiled_model")
    path = shared / "models" / f"{name}.tflite"
    theirs = compiled_model.CompiledModel.from_file(str(path)).is_fully_accelerated()
    assert delegation_of(path).is_complete is theirs


def test_names_the_operators_left_to_plain_kernels(shared: Path) -> None:
    path = shared / "models" / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    found, operators = delegation_of(path), TfliteFile.read(path).operators
    assert found.partitions == 2
    assert [operators[index].name for index in found.outside] == ["AVERAGE_POOL_2D", "ARG_MAX"]


def test_a_file_that_does_not_load_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "wrong.tflite"
    path.write_bytes(b"\x00\x00\x00\x00TFL3" + bytes(200))
    with pytest.raises(ModelError, match=r"wrong\.tflite") as caught:
        delegation_of(path)
    assert "\n" not in str(caught.value)


def test_partitions_hold_what_lies_between_their_ends() -> None:
    """Two partitions around a plain operator; the second begins with a tensor of the first and one of the plain one."""
    nodes = [
        node(0, "CONV_2D", [0, 10], [1]),
        node(1, "RELU", [1], [2]),
        node(2, "ARG_MAX", [2], [3]),
        node(3, "ADD", [3, 2], [4]),
        node(4, "DELEGATE", [0, 10], [2]),
        node(5, "DELEGATE", [3, 2], [4]),
    ]
    assert members(nodes) == [(0, 1), (3,)]
    assert members(nodes[:4]) == []


def test_members_and_outside_are_all_operators_of_a_real_model() -> None:
    path = bundled_model("portrait")
    (partition,) = partitions_of(path)
    assert sorted((*partition, *delegation_of(path).outside)) == list(range(84))
