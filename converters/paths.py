"""What can be checked of a conversion without TensorFlow: where files go, whether they may, what they are made from."""

from __future__ import annotations

from pathlib import Path

from edge_deeplab.calibration.artifact import CalibrationSet
from edge_deeplab.errors import InputError, OutputError

DEVICE_FORMATS = ("float32", "float16", "dynamic", "int8")
SERVER_FORMATS = ("savedmodel", "savedmodel-float16", "onnx")
FORMATS = (*DEVICE_FORMATS, *SERVER_FORMATS)
SAVED_MODEL_SUFFIX, ONNX_SUFFIX = ".savedmodel", ".onnx"


def output_path(output: Path, format_name: str) -> Path:
    """Where a format goes when the int8 file goes to `output`: NAME.tflite, NAME.float16.tflite and so on.

    Server formats go to NAME.savedmodel and NAME.float16.savedmodel, which are folders, and NAME.onnx.
    """
    if format_name == "int8":
        return output.with_name(f"{output.stem}.tflite")
    if format_name in DEVICE_FORMATS:
        return output.with_name(f"{output.stem}.{format_name}.tflite")
    if format_name == "onnx":
        return output.with_name(f"{output.stem}{ONNX_SUFFIX}")
    _, _, kernels = format_name.partition("-")
    return output.with_name(f"{output.stem}{'.' * bool(kernels)}{kernels}{SAVED_MODEL_SUFFIX}")


def check_free(path: Path, *, overwrite: bool) -> None:
    """Raises OutputError when a file exists and may not be replaced, or its folder is missing."""
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already", next_step="give another name with -o, or --force")
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        raise OutputError(f"{path}: is a folder of something else", next_step="give another name with -o")
    if not path.parent.is_dir():
        raise OutputError(f"{path.parent}: no such folder", next_step="make it first")


def check_calibration(calibration: CalibrationSet, size_hw: tuple[int, int]) -> None:
    """Raises InputError when the samples have another size than the model."""
    if calibration.size_hw != size_hw:
        raise InputError(
            "the calibration samples have another size than the model",
            came="{}x{}".format(*calibration.size_hw),
            allowed="{}x{}".format(*size_hw),
            next_step="make them again with `edge-deeplab calibrate --size`",
        )
