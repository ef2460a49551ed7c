"""What a person says on the command line of a model that says nothing of itself: options, and the manifest they make.

    @click.command()
    @foreign_options
    def command(facts: ForeignFacts, ...) -> None:
        manifest = facts.manifest(path, size_hw=(513, 513))

What is needed and not given is asked for, all of it in one line; nothing is guessed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.models_command import SizeHW

if TYPE_CHECKING:
    from edge_deeplab.manifest import Manifest

ACTIVATIONS = ("none", "softmax", "sigmoid", "argmax")  # as manifest.ACTIVATIONS; a test holds them equal
FITS = ("stretch", "letterbox")
LABEL_SETS = (  # the portrait's two, and those of data.catalogue's sets; a test holds them equal
    "portrait", "camvid", "voc", "cityscapes", "ade20k", "context59", "context60", "loveda", "potsdam",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ForeignFacts:
    """The facts given; None where nothing was said.

    Attributes:
        labels: names after commas, a file with one name per line, or one of LABEL_SETS.
        person_class: a label's name or index, or "none".
        size_hw: of the input; needed where the file leaves it open.
        input_range: real values of pixel 0 and pixel 255.
        mean, std: per RGB channel, in the units of input_range.
        activation: what is still to be applied to the output.
        fit: how a picture of another shape is brought to the input.
    """

    labels: str | None = None
    person_class: str | None = None
    size_hw: tuple[int, int] | None = None
    input_range: tuple[float, float] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    activation: str | None = None
    fit: str | None = None

    @property
    def given(self) -> tuple[str, ...]:
        """The options that were given, as typed."""
        return tuple(f"--{name.removesuffix('_hw').replace('_', '-')}" for name, value in vars(self).items() if value)

    def manifest(self, path: Path, *, size_hw: tuple[int, int] | None, activation: str | None = None) -> Manifest:
        """The manifest of a file that carries none.

        Args:
            path: the model file; its stem becomes the name.
            size_hw: the input size that the file fixes, None where it leaves it open.
            activation: one that the file itself proves (integer labels are an argmax), else None.
        Raises: ModelError naming every option that is needed and missing, or a size other than the file's;
            UsageError for labels or a person class that make no sense.
        """
        from edge_deeplab.errors import ModelError
        from edge_deeplab.manifest import Manifest

        needed = {
            "--labels": self.labels,
            "--input-range": self.input_range,
            "--activation": self.activation or activation,
            "--size": self.size_hw or size_hw,
        }
        missing = [option for option, value in needed.items() if value is None]
        if missing:
            raise ModelError(
                f"{path}: carries no manifest, so what its numbers mean is unknown",
                next_step=f"give {', '.join(missing)} (and --person-class, --mean, --std, --fit where they apply)",
            )
        if size_hw and self.size_hw and size_hw != self.size_hw:
            raise ModelError(
                f"{path}: has an input of a fixed size", came="--size {}x{}".format(*self.size_hw),
                allowed="{}x{}".format(*size_hw),
            )  # fmt: skip
        labels = read_labels(self.labels or "")
        return Manifest(
            name=path.stem, labels=labels, person_class=find_class(self.person_class, labels),
            size_hw=self.size_hw or size_hw or (0, 0), input_range=self.input_range or (0.0, 1.0),
            mean=self.mean or (0.0, 0.0, 0.0), std=self.std or (1.0, 1.0, 1.0),
            fit=self.fit or "stretch", activation=self.activation or activation or "",
        )  # fmt: skip


def read_labels(text: str) -> tuple[str, ...]:
    """Class names from one of LABEL_SETS, from a file with one per line, or from names after commas.

    Raises: UsageError when that gives no name, or one twice.
    """
    from edge_deeplab.errors import UsageError
    from edge_deeplab.labels import PORTRAIT

    if text in LABEL_SETS:
        if text == "portrait":
            return PORTRAIT
        from edge_deeplab.data.catalogue import CATALOGUE

        return CATALOGUE[text].labels
    path = Path(text)
    if "," not in text and path.is_file():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (UnicodeDecodeError, OSError) as error:
            raise UsageError(f"--labels {path}: is no text file", allowed="one class name per line") from error
        names = [line.strip() for line in lines if line.strip()]
    else:
        names = [name.strip() for name in text.split(",") if name.strip()]
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(
            f"--labels {text!r}: too few names, or one twice", came=", ".join(names[:8]) or "nothing",
            allowed=f"two or more names after commas, a file with one per line, or {', '.join(LABEL_SETS)}",
        )  # fmt: skip
    return tuple(names)


def find_class(text: str | None, labels: tuple[str, ...]) -> int | None:
    """The class that --person-class means: a label's name or index, or "none".

    Without it, the one label called "person", else None. Raises UsageError for what is neither.
    """
    from edge_deeplab.errors import UsageError, nearest
    from edge_deeplab.labels import find_person

    if text is None:
        return find_person(labels)
    if text in labels:
        return labels.index(text)
    if text.isdecimal() and int(text) < len(labels):
        return int(text)
    if text == "none":
        return None
    raise UsageError(
        f"--person-class {text!r}: is no label", allowed=f"0..{len(labels) - 1}, none, {nearest(text, labels)}"
    )


def foreign_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which gets them as one argument `facts`."""

    @functools.wraps(function)
    def with_facts(*arguments: Any, **options: Any) -> Any:
        facts = ForeignFacts(**{name: options.pop(name) for name in ForeignFacts.__dataclass_fields__})
        return function(*arguments, facts=facts, **options)

    for option in reversed(_OPTIONS):
        option(with_facts)
    return with_facts


_OPTIONS = (
    click.option("--labels", metavar="NAMES", help="Class names after commas, a file of them, or "
                 f"{', '.join(LABEL_SETS)}."),
    click.option("--person-class", metavar="NAME|INDEX", help='Which class is the person. [the one called "person"]'),
    click.option("--size", "size_hw", type=SizeHW(), metavar="HxW", help="Input size, where the file "
                 "leaves it open; tune and convert build a network of ours anew at it."),
    click.option("--input-range", type=float, nargs=2, metavar="LOW HIGH",
                 help="Real input of pixels 0 and 255, such as 0 1, -1 1 or 0 255."),
    click.option("--mean", type=float, nargs=3, metavar="R G B", help="Subtracted from the real input. [0 0 0]"),
    click.option("--std", type=float, nargs=3, metavar="R G B", help="The real input is divided by it. [1 1 1]"),
    click.option("--activation", type=click.Choice(ACTIVATIONS),
                 help="What the output still needs; none: it is probabilities, argmax: it is labels."),
    click.option("--fit", type=click.Choice(FITS), help="How pictures are brought to the input size. [stretch]"),
)  # fmt: skip
