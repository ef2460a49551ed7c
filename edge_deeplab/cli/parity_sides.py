"""The two sides of `edge-deeplab parity`: running a model on both, how they agree, and how far apart they may be.

result = compare(model, target, where, facts, samples=None, limit=16, threads=1, kernels="auto", ...)
result.steps.max_steps, result.classes.iou, Limits().missed(result.steps, result.classes)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

    from edge_deeplab.cli.foreign_facts import ForeignFacts
    from edge_deeplab.cli.target_options import TargetOptions
    from edge_deeplab.evaluation.agreement import ClassAgreement, StepAgreement
    from edge_deeplab.remote.address import Target
    from edge_deeplab.remote.desk import Place, RemoteOutputs
    from edge_deeplab.runtime.segmenter import Segmenter

# LiteRT's own kernel sets lie 0.46 steps in the mean and an IoU of 0.997 apart on the bundled model (29 pictures, 5
# steps at most), a core that computes garbage 40 steps and 0.01 (tests/arm64). How far the farthest output may be
# depends on the model: not held by default.
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
            found.append(f"{steps.max_steps:g} steps in one output, at most {self.max_steps}")
        if self.max_steps == 0 and not steps.is_identical and not found:
            found.append("other bits")
        return found


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


def _say(what: str) -> None:
    click.echo(what, err=True)
