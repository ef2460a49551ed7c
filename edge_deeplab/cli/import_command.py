"""`edge-deeplab import`: a network of the official TensorFlow 1 code, as a model file of ours."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.foreign_facts import FITS, LABEL_SETS
from edge_deeplab.cli.models_command import SizeHW

if TYPE_CHECKING:
    from edge_deeplab.converters.importing.import_model import ImportedNetwork
    from edge_deeplab.converters.importing.proof import Difference
    from edge_deeplab.converters.importing.settle import Finding, Told
    from edge_deeplab.manifest import Manifest
    from edge_deeplab.quantization.graph import QuantizedNetwork

CALIBRATION_BATCH = 8
PROOF_PICTURES = 4  # of a folder given with --pictures
TABLE_WIDTH = 100  # where stdout is no terminal


class Numbers(click.ParamType):
    """Whole numbers after commas, such as 6,12,18."""

    name = "N,N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        """Returns the numbers in the order given; refuses anything else."""
        if isinstance(value, tuple):
            return value
        if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", value.replace(" ", "")):
            self.fail(f"{value!r} are no numbers; allowed: whole numbers after commas, such as 6,12,18", param, ctx)
        return tuple(int(number) for number in value.split(","))


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="NAME.keras",
    help="The model file to write.",
)
@click.option(
    "--labels",
    metavar="NAMES",
    help=f"Class names after commas, a file with one per line, or {', '.join(LABEL_SETS)}. "
    "[2 classes: portrait, 21: voc]",
)
@click.option("--person-class", metavar="NAME|INDEX", help='Which class is the person. [the one called "person"]')
@click.option("--fit", type=click.Choice(FITS), default="stretch", show_default=True,
              help="How pictures are brought to the crop.")  # fmt: skip
@click.option("--crop", "crop_hw", type=SizeHW(), metavar="HxW", help="Input size, of a checkpoint or a free graph. "
              "[513x513]")  # fmt: skip
@click.option("--output-stride", type=click.Choice(["8", "16", "32"]), help="Of a checkpoint's features. [16]")
@click.option("--atrous-rates", type=Numbers(), metavar="N,N,N", help="Of a checkpoint's ASPP. "
              "[6,12,18 at output stride 16]")  # fmt: skip
@click.option("--decoder-stride", type=Numbers(), metavar="N", help="decoder_output_stride. [as the shapes say]")
@click.option("--multi-grid", type=Numbers(), metavar="N,N,N", help="Of a checkpoint's last block. [1,1,1]")
@click.option("--dense-prediction-cell", metavar="FILE.json", help="The cell it was trained with. [the published one]")
@click.option("--bounded-activation", is_flag=True, help="A checkpoint was trained with use_bounded_activation.")
@click.option("--variant", metavar="NAME", help="model_variant, where the names say another. [as the names say]")
@click.option("--moving-averages", is_flag=True, help="Take a checkpoint's exponential moving averages.")
@click.option("--preprocessed", is_flag=True, help="The graph's input takes -1..1 (or less the mean), not pixels.")
@click.option(
    "--pictures",
    type=click.Path(path_type=Path),
    metavar="FILE|FOLDER",
    help="What both networks are run on. [made-up coloured pictures]",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="FILE.calib",
    help="Samples for int8 ranges that a quantized graph leaves out.",
)
@click.option("--without-ranges", is_flag=True, help="Leave the int8 ranges of a quantized graph out.")
@click.option("--licence", default="", metavar="TEXT", help="Goes into the manifest.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Write what was found as JSON to stdout.")
def command(path: Path, output: Path, **options: Any) -> None:
    """Bring PATH, a network of the official TensorFlow 1 DeepLab code, into a model file of ours.

    PATH is a checkpoint (NAME.index, its prefix or its folder), a frozen graph (.pb) or a float .tflite. Variant,
    classes, head and decoder are read from names and shapes; output stride, rates and crop from the graph, and of a
    checkpoint, which has none, from the options. What is assumed is said.

    A frozen graph and a .tflite are run beside the new model, and nothing is written where the two differ. A quantized
    graph gives NAME.qat beside NAME.keras, with its int8 ranges. Keras files and SavedModels need no import: they go
    straight to `edge-deeplab convert`.
    """
    from edge_deeplab.errors import UsageError

    if output.suffix != ".keras":
        raise UsageError("-o: the output must be called NAME.keras", came=output.name)
    from edge_deeplab.converters.paths import check_free

    for file in (output, output.with_suffix(".qat")):
        check_free(file, overwrite=options["force"])
    if options["calibration"] and options["without_ranges"]:
        raise UsageError("--calibration fills in int8 ranges that --without-ranges leaves out", allowed="one of them")
    if not path.exists() and not path.with_name(f"{path.name}.index").exists():
        from edge_deeplab.errors import ModelError

        raise ModelError(f"{path}: no such file or folder")
    pictures = read_pictures(options["pictures"]) if options["pictures"] else None
    _import(path, output, pictures, options)


def read_pictures(path: Path) -> list[Any]:
    """Up to PROOF_PICTURES pictures (h, w, 3) uint8 RGB. Raises InputError when there are none."""
    from edge_deeplab.data.pairs import list_images
    from edge_deeplab.imaging.decode import read_image

    files = list_images(path)[:PROOF_PICTURES] if path.is_dir() else (path,)
    return [read_image(file) for file in files]


def _import(path: Path, output: Path, pictures: list[Any] | None, options: dict[str, Any]) -> None:
    from edge_deeplab.cli.tensorflow_start import start_tensorflow

    start_tensorflow()
    from edge_deeplab.converters.convert import test_images
    from edge_deeplab.converters.importing.graph_ranges import equal_labels
    from edge_deeplab.converters.importing.import_model import import_network
    from edge_deeplab.converters.importing.proof import pixels_of
    from edge_deeplab.errors import UsageError
    from edge_deeplab.quantization.store import save_quantized

    network = import_network(
        path, told=_told(options), moving_averages=options["moving_averages"], is_preprocessed=options["preprocessed"]
    )
    manifest, labelled = _manifest(network, output, options)
    if not options["as_json"]:
        show(network, manifest, labelled)
    size_hw = network.size_hw
    pixels = pixels_of(pictures, size_hw) if pictures else (test_images(size_hw, 2) * 255).round()
    proof = network.prove(pixels)
    ranged = None
    if network.reading.ranges is not None and not options["without_ranges"]:
        ranged = with_ranges(network, manifest, options["calibration"])
    elif options["calibration"]:
        raise UsageError("--calibration: only quantized graphs have int8 ranges to fill in",
                         next_step="give it to `edge-deeplab convert`")  # fmt: skip
    made = network.write(output, manifest, proof)
    written = [output]
    if ranged is not None:
        written.append(output.with_suffix(".qat"))
        save_quantized(written[1], ranged[0], ranged[1].replace(provenance=made.provenance))
    if options["as_json"]:
        said = {"output": str(output), "labels": list(made.labels), **made.provenance["imported"]}
        click.echo(json.dumps(said, indent=2))
        return
    click.echo(proof_line(network, proof))
    if ranged is not None:
        share = equal_labels(ranged[0], network, pixels)
        click.echo(f"int8 ranges of the graph kept: labels equal to those of its own fake quantization in {share:.2%}")
    for file in written:
        click.echo(f"{file}: {file.stat().st_size / 1e6:.1f} MB")
    click.echo(next_command(written, network.size_hw))


def _told(options: dict[str, Any]) -> Told:
    from edge_deeplab.converters.importing.settle import Told

    stride = options["output_stride"]
    return Told(
        variant=options["variant"], output_stride=int(stride) if stride else None, crop_hw=options["crop_hw"],
        atrous_rates=options["atrous_rates"], decoder_output_stride=options["decoder_stride"],
        multi_grid=options["multi_grid"], dense_prediction_cell=options["dense_prediction_cell"],
        bounded_activation=options["bounded_activation"] or None,
    )  # fmt: skip


def _manifest(network: ImportedNetwork, output: Path, options: dict[str, Any]) -> tuple[Manifest, Finding]:
    """The manifest, and how the labels were found."""
    from edge_deeplab import labels as known
    from edge_deeplab.cli.foreign_facts import find_class, read_labels
    from edge_deeplab.converters.importing.settle import ASSUMED, TOLD, Finding

    classes = network.config.num_classes
    if options["labels"]:
        labels, how = read_labels(options["labels"]), TOLD
    else:
        usual: dict[int, tuple[str, ...]] = {len(known.PORTRAIT): known.PORTRAIT, len(known.VOC): known.VOC}
        labels, how = usual.get(classes, tuple(f"class {index}" for index in range(classes))), ASSUMED
    manifest = network.manifest(
        name=output.stem, labels=labels, person_class=find_class(options["person_class"], labels), fit=options["fit"],
        licence=options["licence"],
    )  # fmt: skip
    text = ", ".join(labels[:4]) + (f" and {len(labels) - 4} more" if len(labels) > 4 else "")
    return manifest, Finding("labels", text, how)


def show(network: ImportedNetwork, manifest: Manifest, labelled: Finding) -> None:
    """Prints the table of what was found and how, then what was assumed."""
    from rich.console import Console
    from rich.table import Table

    counted = network.count()
    table = Table(title=f"{network.reading.source}: {network.reading.kind}", title_justify="left")
    table.add_column("what")
    table.add_column("found")
    table.add_column("from")
    for finding in (*network.settled.findings, labelled):
        table.add_row(finding.what, finding.value, finding.how)
    table.add_row("parameters", f"{counted.trainable / 1e6:.2f} million trainable", "")
    table.add_row("multiply-adds", f"{counted.multiply_adds / 1e9:.2f} billion at this crop", "")
    Console(highlight=False, width=None if sys.stdout.isatty() else TABLE_WIDTH).print(table)
    for note in network.reading.notes:
        click.echo(note, err=True)


def proof_line(network: ImportedNetwork, proof: Difference | None) -> str:
    """What was proven."""
    if proof is None:
        return f"all {len(network.plan.shapes)} variables fit by name and shape; a checkpoint has no graph to run"
    return f"both networks on the same pictures: {proof}"


def with_ranges(
    network: ImportedNetwork, manifest: Manifest, calibration: Path | None
) -> tuple[QuantizedNetwork, Manifest]:
    """The quantized network with the graph's int8 ranges; samples fill in what it has none for."""
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.converters.importing.graph_ranges import with_graph_ranges
    from edge_deeplab.converters.paths import check_calibration

    if calibration is None:
        return with_graph_ranges(network, manifest)
    samples = CalibrationSet.load(calibration)
    check_calibration(samples, network.size_hw)
    return with_graph_ranges(
        network,
        manifest,
        batches=lambda: (network.prepared(batch * 255) for batch in samples.batches(CALIBRATION_BATCH)),
    )


def next_command(written: list[Path], size_hw: tuple[int, int]) -> str:
    """What to type now."""
    model, tflite = written[-1], written[0].with_suffix(".tflite")
    if model.suffix == ".qat":
        return f"next: edge-deeplab convert {model} -o {tflite}"
    size = "{}x{}".format(*size_hw)
    return (
        f"next: edge-deeplab calibrate PICTURES -o {written[0].with_suffix('.calib')} --size {size}\n"
        f"      edge-deeplab convert {model} -o {tflite} --calibration {written[0].with_suffix('.calib')}"
    )
