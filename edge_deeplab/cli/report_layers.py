"""`edge-deeplab report --layers`: the noise of every int8 tensor, the worst layers, and what keeping them wider gives.

layers = measure_layers(line.quantized, images, worst=5, folder=folder, score=..., on_progress=...)
for part in layer_tables(layers):
    console.print(part)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from rich.table import Table

    from edge_deeplab.cli.predictors import Predictor
    from edge_deeplab.converters.mixed import WiderCost
    from edge_deeplab.converters.sources import Source
    from edge_deeplab.data.pairs import LabelledPicture
    from edge_deeplab.evaluation.runner import ClassReport, EvaluationReport
    from edge_deeplab.quantization.sensitivity import LayerNoise

    Score = Callable[[str, Predictor], EvaluationReport | ClassReport]

BATCH = 4  # all activations of a batch are held at once: 0.1 GB each for MobileNetV2 0.5 at 256 x 256
FORMS = {"float16": "FLOAT16", "int16x8": "INT16"}  # what the table calls it, and its FakeQuant


@dataclass(frozen=True, kw_only=True)
class KeptLayer:
    """One of the worst layers kept wider, the others as they are. SQNR of the network's output, in dB."""

    name: str
    float16_db: float
    int16_db: float


@dataclass(frozen=True, kw_only=True)
class KeptTogether:
    """All of the worst layers kept in one wider form.

    Attributes:
        form: "float16" or "int16x8".
        output_db: SQNR of the network's output.
        report: the figures on the pictures; None where they were not asked for.
        cost: in the file; None where it cannot be converted, and `refusal` says why.
    """

    form: str
    output_db: float
    report: EvaluationReport | ClassReport | None
    cost: WiderCost | None
    refusal: str = ""


@dataclass(frozen=True, kw_only=True)
class LayerFindings:
    """What is known of a quantized network layer by layer.

    Attributes:
        pictures: how many samples it was measured on.
        noises: every quantized tensor, in the network's order.
        worst: the names of the worst, first the one whose rounding costs the output most.
        output_db: SQNR of the whole network's output.
        kept: each of the worst alone; together: all of them, once per form.
    """

    pictures: int
    noises: list[LayerNoise]
    worst: list[str]
    output_db: float
    kept: list[KeptLayer]
    together: list[KeptTogether]

    def to_dict(self) -> dict[str, Any]:
        """As plain values; a ratio without noise is None."""
        return {
            "pictures": self.pictures,
            "output_sqnr_db": _finite(self.output_db),
            "layers": [
                {
                    "name": noise.group.name,
                    "kind": noise.group.kind,
                    "layers": list(noise.group.layers),
                    "sqnr_db": _finite(noise.sqnr_db),
                    "alone_db": _finite(noise.alone_db),
                    "output_db": _finite(noise.output_db),
                }
                for noise in self.noises
            ],
            "worst": self.worst,
            "kept": [
                {"name": one.name, "float16_db": _finite(one.float16_db), "int16x8_db": _finite(one.int16_db)}
                for one in self.kept
            ],
            "together": [
                {
                    "form": one.form,
                    "output_sqnr_db": _finite(one.output_db),
                    "figures": None if one.report is None else summary(one.report),
                    "cost": None if one.cost is None else asdict(one.cost),
                    "refusal": one.refusal or None,
                }
                for one in self.together
            ],
        }


def summary(report: EvaluationReport | ClassReport) -> dict[str, Any]:
    """The means of a report alone."""
    from edge_deeplab.evaluation.runner import EvaluationReport

    if isinstance(report, EvaluationReport):
        return report.summary()
    return {"pictures": report.pictures, "mean_iou": report.mean_iou, "pixel_accuracy": report.pixel_accuracy}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def network_images(source: Source, pairs: tuple[LabelledPicture, ...]) -> list[np.ndarray]:
    """Pictures as the network takes them, in batches: (n, H, W, 3) float32 in its real range."""
    from edge_deeplab.imaging.resize import fit_image

    manifest = source.int8_manifest
    fitted = [fit_image(pair.read_image(), manifest.size_hw, manifest.fit)[0] for pair in pairs]
    stacked = np.stack(fitted).astype(np.float32) / np.float32(255)
    return list(source.real(stacked[start : start + BATCH] for start in range(0, len(stacked), BATCH)))


def measure_layers(
    source: Source, batches: list[np.ndarray], *, worst: int, folder: Path, score: Score | None,
    on_progress: Callable[[str], None],
) -> LayerFindings:  # fmt: skip
    """Measures a fake-quantized network layer by layer.

    Args:
        source: its network's ranges set.
        batches: pictures as network_images gives them.
        worst: how many layers to try wider.
        folder: where mixed files may be written for a moment.
        score: scores a predictor on the pictures of the report; None leaves those figures out.
        on_progress: called with a line of text.
    """
    from edge_deeplab.quantization.scheme import FakeQuant
    from edge_deeplab.quantization.sensitivity import keep, layer_groups, layer_noise, output_sqnr_db, worst_first

    network = source.network
    assert network is not None
    total = len(batches) * len(layer_groups(network))
    noises = layer_noise(
        network, batches, on_progress=lambda done: on_progress(f"layer by layer: {done}/{total} tensors")
    )
    chosen = worst_first(noises)[:worst]
    on_progress(f"keeping {len(chosen)} layers wider")
    groups = [[noise] for noise in chosen] + [chosen]
    states = {form: [keep(group, FakeQuant[name]) for group in groups] for form, name in FORMS.items()}
    found = output_sqnr_db(network, batches, [{}, *states["float16"], *states["int16x8"]])
    output_db, half, wide = found[0], found[1 : len(groups) + 1], found[len(groups) + 1 :]
    together = []
    for form, decibels in (("float16", half[-1]), ("int16x8", wide[-1])):
        report = None if score is None else score(form, mixed_predictor(source, states[form][-1]))
        together.append((form, decibels, report))
    on_progress("converting with float layers")
    costs, refusal = mixed_costs(source, chosen, folder)
    return LayerFindings(
        pictures=sum(len(batch) for batch in batches), noises=noises, worst=[noise.group.name for noise in chosen],
        output_db=output_db,
        kept=[
            KeptLayer(name=noise.group.name, float16_db=one, int16_db=other)
            for noise, one, other in zip(chosen, half, wide)
        ],
        together=[
            KeptTogether(form=form, output_db=decibels, report=report, cost=costs.get(form), refusal=refusal)
            for form, decibels, report in together
        ],
    )  # fmt: skip


def mixed_predictor(source: Source, states: Any) -> Predictor:
    """The network with some layers wider, as a predictor."""
    import tensorflow as tf

    from edge_deeplab.cli.predictors import network_predictor
    from edge_deeplab.cli.tensorflow_start import quiet_native_stderr
    from edge_deeplab.quantization.sensitivity import mixed_call

    assert source.network is not None
    run = tf.function(mixed_call(source.network, states), autograph=False)
    with quiet_native_stderr():  # it is run once here, and oneDNN says that it has no half precision on this processor
        return network_predictor(source.path, "mixed", source.int8_manifest, lambda image: run(tf.constant(image)))


def mixed_costs(source: Source, chosen: list[LayerNoise], folder: Path) -> tuple[dict[str, WiderCost], str]:
    """What the chosen layers cost in a file, once per form; or why the converter refuses the mixture."""
    from edge_deeplab.converters.mixed import float_cost, int16_cost, mixed_float
    from edge_deeplab.errors import ConversionError, ModelError
    from edge_deeplab.quantization.scheme import FakeQuant
    from edge_deeplab.quantization.sensitivity import keep
    from edge_deeplab.runtime.flatbuffer import TfliteFile

    assert source.network is not None
    path = folder / "mixed.tflite"
    try:
        path.write_bytes(mixed_float(source.network, keep(chosen, FakeQuant.OFF), size_hw=source.size_hw))
        return {"float16": float_cost(path), "int16x8": int16_cost(TfliteFile.read(path))}, ""
    except (ConversionError, ModelError) as error:
        return {}, str(error)
    finally:
        path.unlink(missing_ok=True)


def layer_tables(findings: LayerFindings, *, everything: bool = False) -> list[Table | str]:
    """The worst layers, or every one, and what keeping the worst wider gives."""
    from edge_deeplab.evaluation.runner import EvaluationReport

    plural = "s" if findings.pictures > 1 else ""
    table = _table(
        f"SQNR against float in dB on {findings.pictures} picture{plural}; the whole network has"
        f" {_decibels(findings.output_db)} at its output",
        "layer", "kind", "here,\nall int8", "here,\nit alone", "output,\nit alone", "output, it\nin float16",
        "output, it\nin int16x8",
    )  # fmt: skip
    kept = {one.name: one for one in findings.kept}
    by_name = {noise.group.name: noise for noise in findings.noises}
    rows = findings.noises if everything else [by_name[name] for name in findings.worst]
    for noise in rows:
        one = kept.get(noise.group.name)
        wider = ("", "") if one is None else (_decibels(one.float16_db), _decibels(one.int16_db))
        table.add_row(
            noise.group.name, noise.group.kind, *map(_decibels, (noise.sqnr_db, noise.alone_db, noise.output_db)),
            *wider,
        )  # fmt: skip
    count = len(findings.worst)
    named = "this layer" if count == 1 else f"these {count} layers"
    lines: list[Table | str] = [table]
    for together in findings.together:
        parts = [f"{named} in {together.form}: output {_decibels(together.output_db)} dB"]
        if isinstance(together.report, EvaluationReport):
            parts.append(f"person IoU {together.report.person_iou:.4f}")
        elif together.report is not None:
            parts.append(f"mean IoU {together.report.mean_iou:.4f}")
        parts.append(_cost_text(together))
        lines.append("; ".join(parts))
    return lines


def _cost_text(together: KeptTogether) -> str:
    cost = together.cost
    if cost is None:
        return f"no such file: {together.refusal}"
    pieces = "1 delegate partition" if cost.partitions == 1 else f"{cost.partitions} delegate partitions"
    how = "as loaded" if together.form == "float16" else "worked out: XNNPACK has no 16-bit activations"
    return (
        f"{cost.operators} operators, {cost.share_of_macs:.0%} of the multiply-adds, {cost.conversions} conversions,"
        f" {pieces} with {cost.outside} operators outside ({how})"
    )


def _decibels(value: float) -> str:
    return "exact" if value == math.inf else f"{value:.1f}"


def _table(title: str, *columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title=title, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < 2 else "right", overflow="fold")
    return table
