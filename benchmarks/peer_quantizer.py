"""int8 without training from one float network and its samples: our calibrators, TFLite's converter, ai-edge-quantizer.

Prints person IoU, mean IoU, trimap IoU and boundary F of every int8 file on labelled pictures, what it loses against
the float network, and how many delegate partitions and operators outside of them it has.

    python benchmarks/peer_quantizer.py MODEL.keras --calibration FILE.calib --data PAIRS [--limit N] [--json FILE]

ai-edge-quantizer takes our float32 .tflite as it is, its recipe static_wi8_ai8 (kernels and activations int8, min-max)
and the same samples; TFLite's converter takes the float network's function. Both keep float32 ends, where ours have
uint8 ones.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from edge_deeplab.calibration.artifact import CalibrationSet
from edge_deeplab.calibration.calibrators import NAMES, Calibrator
from edge_deeplab.cli.evaluate_command import PERSON, score_pairs
from edge_deeplab.cli.foreign_facts import ForeignFacts
from edge_deeplab.cli.predictors import open_predictor
from edge_deeplab.cli.progress_bar import progress_bar
from edge_deeplab.cli.tensorflow_start import quiet_native_stderr, start_tensorflow
from edge_deeplab.data.pairs import PairsFolder, spread
from edge_deeplab.errors import EdgeDeepLabError, OutputError
from edge_deeplab.evaluation.inference import Look
from edge_deeplab.evaluation.runner import FIGURES, EvaluationReport
from edge_deeplab.profiling.report import write_json
from edge_deeplab.runtime.delegates import delegation_of
from edge_deeplab.runtime.flatbuffer import tflite_schema
from edge_deeplab.runtime.rewrite import pack_model, unpack_model

PEER = "ai-edge-quantizer"
CONVERTER = "TFLite's converter"
SIGNATURE = "serving_default"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a float .keras file of ours")
    parser.add_argument("--calibration", type=Path, required=True, help="made by `edge-deeplab calibrate`")
    parser.add_argument("--data", type=Path, action="append", required=True, help="a folder with images/ and masks/")
    parser.add_argument("--limit", type=int, help="only so many pictures of each folder, spread evenly")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here, replacing the file")
    arguments = parser.parse_args()
    if arguments.json and not arguments.json.parent.is_dir():
        raise OutputError(f"{arguments.json}: cannot be written", came=f"no folder {arguments.json.parent}")
    folders = {path.name: spread(PairsFolder(path).pairs, arguments.limit) for path in arguments.data}
    samples = CalibrationSet.load(arguments.calibration)
    start_tensorflow()
    console, figures = Console(), {}
    with tempfile.TemporaryDirectory() as folder:
        paths, facts = make_files(arguments.model, samples, Path(folder))
        for name, pairs in folders.items():
            reports = {who: score(who, path, pairs, facts) for who, path in paths.items()}
            console.print(table(reports, paths, title=f"{name}: {len(pairs)} pictures"))
            figures[name] = {who: report.summary() for who, report in reports.items()}
    if arguments.json:
        write_json(arguments.json, figures, overwrite=True)


def make_files(model: Path, samples: CalibrationSet, folder: Path) -> tuple[dict[str, Path], ForeignFacts]:
    """The float file and every int8 file, by who made it; and what to say of one without a manifest."""
    from edge_deeplab.converters.convert import calibrated, convert
    from edge_deeplab.converters.paths import output_path
    from edge_deeplab.converters.sources import open_source

    source = open_source(model, describe=ForeignFacts().manifest)
    convert(source, folder / "net.tflite", formats=("float32",))
    float_file = output_path(folder / "net.tflite", "float32")
    paths = {"float32": float_file}
    for name in NAMES:
        paths[f"ours, {name}"] = path = folder / f"{name}.tflite"
        calibrator = Calibrator(name)
        ready = calibrated(source, samples, calibrator)
        convert(ready, path, formats=("int8",), calibration=samples, calibrator=calibrator)
    paths[CONVERTER] = by_converter(source, samples, folder / "converter.tflite")
    paths[PEER] = by_peer(float_file, source, samples, folder / "peer.tflite")
    manifest = source.manifest
    facts = ForeignFacts(
        labels=",".join(manifest.labels), input_range=manifest.input_range, mean=manifest.mean, std=manifest.std,
        activation=manifest.activation, fit=manifest.fit,
    )  # fmt: skip
    return paths, facts


def by_converter(source: Any, samples: CalibrationSet, path: Path) -> Path:
    """TFLite's own post-training quantization of the float network."""
    from edge_deeplab.converters.int8 import post_training_int8
    from edge_deeplab.converters.publish import publish

    with quiet_native_stderr():
        data = post_training_int8(source.float_function(), source.real(samples.batches(1)), io="float32")
    path.write_bytes(publish(data, source.manifest))
    return path


def by_peer(float_file: Path, source: Any, samples: CalibrationSet, path: Path) -> Path:
    """ai-edge-quantizer's static int8 of the float file."""
    from ai_edge_quantizer import quantizer, recipe

    signed = path.with_suffix(".signed.tflite")
    signed.write_bytes(with_signature(float_file.read_bytes()))
    peer = quantizer.Quantizer(str(signed), recipe.static_wi8_ai8())
    images = [{"image": np.asarray(batch, np.float32)} for batch in source.real(samples.batches(1))]
    with quiet_native_stderr():
        result = peer.quantize(peer.calibrate({SIGNATURE: images}))
    # it keeps its constants outside the flatbuffer, where no manifest can be packed: facts_of says what it is
    path.write_bytes(bytes(result.quantized_model))
    return path


def with_signature(data: bytes) -> bytes:
    """The file with a signature, which the peer calibrates by; its one input is called "image", its output "logits"."""
    schema = tflite_schema()
    model = unpack_model(data)
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
    for name, tensors in (("image", model.subgraphs[0].inputs), ("logits", model.subgraphs[0].outputs)):
        mapped = schema.TensorMapT()
        mapped.name, mapped.tensorIndex = name, int(tensors[0])
        if name == "image":
            signature.inputs = [mapped]
        else:
            signature.outputs = [mapped]
    model.signatureDefs = [signature]
    return pack_model(model)


def score(who: str, path: Path, pairs: Any, facts: ForeignFacts) -> EvaluationReport:
    """The figures of one file."""
    with (
        contextlib.closing(open_predictor(str(path), facts)) as predictor,
        progress_bar(who, total=len(pairs)) as on_progress,
    ):
        report = score_pairs(predictor, pairs, PERSON, Look(), on_progress=on_progress)
    assert isinstance(report, EvaluationReport)
    return report


def table(reports: dict[str, EvaluationReport], paths: dict[str, Path], *, title: str) -> Table:
    """One row per file."""
    shown = Table("int8 by", box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for name in ("person\nIoU", "mean\nIoU", "trimap\nIoU", "boundary\nF", "loss", "parti-\ntions", "outside"):
        shown.add_column(name, justify="right")
    first = reports["float32"].person_iou
    for who, report in reports.items():
        delegation = delegation_of(paths[who])
        values = [report.mean(figure) for figure in FIGURES]
        shown.add_row(
            who, *("-" if value is None else f"{value:.4f}" for value in values), f"{first - report.person_iou:+.4f}",
            str(delegation.partitions), str(len(delegation.outside)),
        )  # fmt: skip
    return shown


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        raise SystemExit(f"peer_quantizer: error: {error}") from None
