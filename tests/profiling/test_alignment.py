from __future__ import annotations

from edge_deeplab.profiling.alignment import align


def test_one_kernel_for_each_operator_is_one_to_one() -> None:
    operators = ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESIZE_BILINEAR"]
    kernels = ["Fully Connected (NC, QS8, QC8W) GEMM", "Convolution (NHWC, QC8) DWConv", "Add (ND)", "Resize Bilinear"]
    assert align(operators, kernels) == [0, 1, 2, 3]


def test_an_operator_folded_into_another_has_no_kernel() -> None:
    assert align(["CONV_2D", "PAD", "ADD"], ["Convolution (NHWC, F32) IGEMM", "Add (ND)"]) == [0, 2]


def test_kernels_that_the_engine_put_in_belong_to_no_operator() -> None:
    kernels = ["Transpose (ND)", "Convolution (NHWC, F32) IGEMM", "Copy (NC, X32)", "Add (ND)", "Transpose (ND)"]
    assert align(["CONV_2D", "ADD"], kernels) == [None, 0, None, 1, None]


def test_kinds_that_cannot_be_one_another_are_never_put_together() -> None:
    assert align(["CONV_2D"], ["Add (ND)"]) == [None]


def test_an_operator_this_file_does_not_know_takes_what_nothing_else_does() -> None:
    assert align(["CONV_2D", "CUSTOM:Bias", "ADD"], ["Convolution IGEMM", "Something New", "Add (ND)"]) == [0, 1, 2]


def test_nothing_aligns_with_nothing() -> None:
    assert align([], []) == [] and align(["ADD"], []) == [] and align([], ["Add (ND)"]) == [None]


def test_of_two_that_fit_the_first_is_taken() -> None:
    assert align(["CONV_2D", "CONV_2D"], ["Convolution (NHWC, F32) IGEMM"]) == [0]
