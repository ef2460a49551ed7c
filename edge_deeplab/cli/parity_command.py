"""`edge-deeplab parity`: whether another machine, delegate or kernel set gives the same answer as this one."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.profile_command import KERNELS
from edge_deeplab.cli.target_options import TargetOptions, options_for

if TYPE_CHECKING:
    import numpy as np

    from edge_deeplab.evaluation.agreement import ClassAgreement, StepAgreement
    from edge_deeplab.remote.address import Target
    from edge_deeplab.remote.desk import Place, RemoteOutputs
    from edge_deeplab.runtime.segmenter import Segmenter

PIPE_WIDTH = 110  # columns of the tables where no terminal says how many it has
TO_STDOUT = "-"
LIMIT = 16
# LiteRT's own kernel sets lie 0.46 steps and an IoU of 0.997 apart on the bundled model (29 pictures, at most 5 steps);
# a wrong delegate is off by tens of steps. How far the farthest value may be depends on the model: not held by default.
MIN_IOU, MAX_MEAN_STEPS = 0.99, 1.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How far apart two sides may be.

    Attributes:
        min_iou: of the person between the sides, or the mean over the classes where there is no person.
        max_mean_steps, max_steps: of the difference in output steps, mean and farthest; max_steps 0 asks for the same
            bits, None for nothing.
    """

    min_iou: float = MIN_IOU
    max_mean_steps: float = MAX_MEAN_STEPS
    max_steps: int | None = None

    def missed(self, steps: StepAgreement, classes: ClassAgreement) -> list[str]:
        """What lies beyond, as words; empty where nothing does."""
        found = []
        if classes.iou < self.min_iou:
            found.append(f"IoU {classes.iou:.4f}, at least {self.min_iou:g}")
        if not steps.mean_steps <= self.max_mean_steps:
            found.append(f"{steps.mean_steps:.3f} steps in the mean, at most {self.max_mean_steps:g}")
        if self.max_steps is not None and not steps.max_steps <= self.max_steps:
            found.append(f"{steps.max_steps:g} steps at most, at most {self.max_steps}")
        if self.max_steps == 0 and not steps.is_identical and not found:
            found.append("other bits")
        return found


@click.command()
@click.argument("model")
@options_for("The other side, as above; needed.", hides_runner=True)
@click.option(
    "--kernels",
    type=click.Choice(KERNELS),
    default="auto",
    show_default=True,
    help="Of this side; reference gives the same on every processor.",
)
@click.option("--target-kernels", type=click.Choice(KERNELS), help="Of an ssh target. [auto]")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the engine, both sides.")
@click.option(
    "--samples",
    type=click.Path(path_type=Path),
    metavar="WHAT",
    help="A .calib file, a folder of pictures or one picture. [some pictures of our own]",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="At most N samples, spread evenly.",
)
@click.option(
    "--min-iou",
    type=click.FloatRange(0, 1),
    default=MIN_IOU,
    show_default=True,
    metavar="X",
    help="Exit with 3 where the two sides agree less on the person, or on the classes.",
)
@click.option(
    "--max-mean-steps",
    type=click.FloatRange(min=0),
    default=MAX_MEAN_STEPS,
    show_default=True,
    metavar="X",
    help="Exit with 3 where outputs differ by more in the mean.",
)
@click.option(
    "--max-steps",
    type=click.IntRange(min=0),
    metavar="N",
    help="Exit with 3 where one output differs by more; 0 asks for the same bits. [not held]",
)
@click.option("--json", "json_file", metavar="FILE", help="Also write all figures to FILE; - is stdout alone.")
@click.option("--force", is_flag=True, help="Replace FILE when it exists.")
@foreign_options
def command(
    model: str,
    where: TargetOptions,
    kernels: str,
    target_kernels: str | None,
    threads: int,
    samples: Path | None,
    limit: int,
    min_iou: float,
    max_mean_steps: float,
    max_steps: int | None,
    json_file: str | None,
    force: bool,
    facts: ForeignFacts,
) -> None:
    """Run MODEL here and on --target with the same samples, and say whether they give the same answer.

    \b
    ssh://[USER@]HOST[:PORT]  a machine whose Python has ai-edge-litert; nothing is installed there
    local:KERNELS             xnnpack, builtin or reference, in a process of this machine; --python names another Python
    local:PATH.so             an external delegate on this machine

    MODEL is a .tflite file or the name of a bundled model. A step is the least difference an integer output can have;
    of a float output it is 1/255 of its range. The IoU is that of the person (of the classes, where the model knows no
    person) between the two sides, over all samples.
    """
    from edge_deeplab.errors import GateError, OutputError, UsageError
    from edge_deeplab.profiling.report import to_json, write_json
    from edge_deeplab.remote.address import AdbTarget, SshTarget

    if where.target is None:
        raise UsageError("--target is missing", allowed="ssh://[USER@]HOST[:PORT], local:KERNELS, local:PATH.so")
    target = where.parsed()
    if isinstance(target, AdbTarget):
        raise UsageError(
            f"--target {target}: its runner, benchmark_model, writes no outputs to compare",
            next_step="use `profile` for its speed, and ssh:// for a device with Python",
        )
    if target_kernels and not isinstance(target, SshTarget):
        raise UsageError("--target-kernels: is for ssh://HOST", came=f"--target {target}")
    file = Path(json_file) if json_file and json_file != TO_STDOUT else None
    if file and file.exists() and not force:  # before minutes of work; write_json checks again
        raise OutputError(f"{file}: exists already", next_step="choose another name, or pass --force")
    if file and not file.parent.is_dir():
        raise OutputError(f"{file}: cannot be written", came=f"no folder {file.parent}")

    limits = Limits(min_iou=min_iou, max_mean_steps=max_mean_steps, max_steps=max_steps)
    result = compare(
        model, target, where, facts, samples=samples, limit=limit, threads=threads, kernels=kernels,
        target_kernels=target_kernels or "auto",
    )  # fmt: skip
    missed = limits.missed(result.steps, result.classes)
    document = result.to_dict(limits, missed)
    if file:
        write_json(file, document, overwrite=force)
    if json_file == TO_STDOUT:
        click.echo(to_json(document), nl=False)
    else:
        show(result, limits, missed)
    if missed:
        raise GateError(f"{result.there.place} does not give the same answer: {'; '.join(missed)}")


@dataclass(frozen=True, kw_only=True)
class Parity:
    """Two sides and how they agree.

    Attributes:
        names: of the samples; source: what they are.
        kernels, target_kernels: of this side and of the other, the delegate where there is one.
        steps, classes: how they agree; labels: names of the classes.
    """

    model: Path
    source: str
    names: tuple[str, ...]
    threads: int
    kernels: str
    target_kernels: str
    there: RemoteOutputs
    steps: StepAgreement
    classes: ClassAgreement
    has_person: bool

    @property
    def verdict(self) -> str:
        """How close they are, whatever is allowed."""
        return "bit-identical" if self.steps.is_identical else f"{self.steps.max_steps:.3g} steps apart at most"

    def to_dict(self, limits: Limits, missed: list[str]) -> dict[str, Any]:
        """Everything as plain values."""
        import dataclasses
        import hashlib

        from edge_deeplab import __version__
        from edge_deeplab.profiling.host import describe_host
        from edge_deeplab.runtime.interpreter import engine_name

        data = self.model.read_bytes()
        there = self.there
        return {
            "format": 1,
            "edge_deeplab": __version__,
            "model": {"file": self.model.name, "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)},
            "samples": {"source": self.source, "names": list(self.names)},
            "threads": self.threads,
            "here": {"kernels": self.kernels, "engine": list(engine_name()), "host": describe_host().to_dict()},
            "there": {
                "place": there.place,
                "kernels": self.target_kernels,
                "engine": list(there.engine),
                "host": there.host.to_dict(),
                "vitals": {"before": there.before.to_dict(), "after": there.after.to_dict()},
            },
            "steps": self.steps.to_dict(),
            "classes": self.classes.to_dict(),
            "limits": dataclasses.asdict(limits),
            "verdict": self.verdict,
            "missed": missed,
        }


def compare(
    model: str,
    target: Target,
    where: TargetOptions,
    facts: ForeignFacts,
    *,
    samples: Path | None,
    limit: int,
    threads: int,
    kernels: str,
    target_kernels: str,
) -> Parity:
    """Runs both sides. Raises what loading, connecting and running raise."""
    import numpy as np

    from edge_deeplab.cli.parity_samples import find_samples
    from edge_deeplab.cli.predictors import open_predictor, refuse_idle_facts
    from edge_deeplab.evaluation.agreement import compare_classes, compare_outputs
    from edge_deeplab.remote.address import LocalTarget
    from edge_deeplab.remote.desk import outputs_there
    from edge_deeplab.runtime.bundled import bundled_model
    from edge_deeplab.runtime.probe import check_is_tflite
    from edge_deeplab.runtime.segmenter import Segmenter

    path = bundled_model(model)
    check_is_tflite(path)
    refuse_idle_facts([model], facts)
    source, pictures = find_samples(samples, limit=limit)
    segmenter = open_predictor(str(path), facts, threads=threads, kernels=kernels)
    assert isinstance(segmenter, Segmenter)  # what a .tflite file opens as
    with segmenter, _place(target, where) as place:
        inputs = np.stack([segmenter.encode(image) for _, image in pictures])
        delegate = target.delegate if isinstance(target, LocalTarget) else None
        asked = target.kernels if isinstance(target, LocalTarget) else target_kernels
        _say(f"{place.name}: {len(inputs)} samples")
        there = outputs_there(place, path, inputs, threads=threads, kernels=asked, delegate=delegate)
        here = np.stack([segmenter.engine.run(sample[np.newaxis])[0][0] for sample in inputs])
        steps = compare_outputs(here, there.raw)
        manifest = segmenter.manifest
        maps = [_class_maps(segmenter, raw) for raw in (here, there.raw)]
        classes = compare_classes(*maps, classes=_count(maps, len(manifest.labels)), person=manifest.person_class)
    return Parity(
        model=path, source=source, names=tuple(name for name, _ in pictures), threads=threads, kernels=kernels,
        target_kernels=delegate.name if delegate else asked, there=there, steps=steps, classes=classes,
        has_person=manifest.person_class is not None,
    )  # fmt: skip


def _class_maps(segmenter: Segmenter, raw: np.ndarray) -> list[np.ndarray]:
    return [segmenter.decode_classes(one) for one in raw]


def _count(maps: list[list[np.ndarray]], labels: int) -> int:
    """As many classes as occur: a label map may hold void beyond the labels, and a broken side anything."""
    return max(labels, *(int(one.max()) + 1 for side in maps for one in side))


@contextlib.contextmanager
def _place(target: Target, where: TargetOptions) -> Iterator[Place]:
    from edge_deeplab.remote.address import SshTarget
    from edge_deeplab.remote.desk import LocalPlace, open_ssh

    if isinstance(target, SshTarget):
        with open_ssh(target, python=where.python, config=where.ssh_config, say=_say) as place:
            yield place
    else:
        yield LocalPlace(where.python, say=_say)


def show(result: Parity, limits: Limits, missed: list[str]) -> None:
    """Prints the tables and the verdict."""
    from rich.console import Console
    from rich.table import Table

    from edge_deeplab.profiling.host import describe_host
    from edge_deeplab.profiling.report import host_line
    from edge_deeplab.runtime.interpreter import engine_name

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    steps, classes, there = result.steps, result.classes, result.there
    title = f"{result.model.name} on {len(result.names)} samples ({result.source}), {result.threads} thread(s)"
    sides = Table("", "here", "there", title=title, title_justify="left")
    for column in sides.columns:
        column.overflow = "fold"
    sides.add_row("where", "this machine", there.place)
    sides.add_row("kernels", result.kernels, result.target_kernels)
    sides.add_row("engine", " ".join(engine_name()), " ".join(there.engine))
    sides.add_row("host", *(f"{host.machine}: {host_line(host)}" for host in (describe_host(), there.host)))
    console.print(sides)

    figures = Table("between the two", "figure", "allowed", box=None, pad_edge=False)
    figures.add_row("outputs that are the same", _share(steps.shares[0]), "")
    unit = "steps" if steps.step == 1 else f"steps of {steps.step:.3g}"
    figures.add_row(f"difference, mean, {unit}", f"{steps.mean_steps:.4f}", f"at most {limits.max_mean_steps:g}")
    most = "" if limits.max_steps is None else f"at most {limits.max_steps}"
    worst = result.names[steps.sample_max_steps.index(steps.max_steps)]
    at_worst = f" ({worst})" if steps.max_steps > 0 else ""
    figures.add_row(f"difference, farthest, {unit}", f"{steps.max_steps:.4g}{at_worst}", most)
    name = "person IoU" if result.has_person else "mean IoU of the classes"
    figures.add_row(name, f"{classes.iou:.4f}", f"at least {limits.min_iou:g}")
    lowest = min(classes.sample_iou)
    figures.add_row("lowest IoU of a sample", f"{lowest:.4f} ({result.names[classes.sample_iou.index(lowest)]})", "")
    figures.add_row("pixels of the same class", _share(classes.same_share), "")
    console.print(figures)
    if not steps.is_identical:
        bins = Table("difference in steps", "share of outputs", box=None, pad_edge=False)
        for label, share in steps.bins[: max(index for index, share in enumerate(steps.shares) if share) + 1]:
            bins.add_row(label, _share(share))
        console.print(bins)
    console.print(f"Verdict: {'not the same' if missed else 'the same'}, {result.verdict}", markup=False)


def _share(value: float) -> str:
    return f"{value:.3%}" if value < 1 else "100 %"


def _say(what: str) -> None:
    click.echo(what, err=True)
