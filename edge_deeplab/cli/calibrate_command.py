"""`edge-deeplab calibrate`: picks the pictures that a model's int8 ranges are set from."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.calibration.recipe import SamplingRecipe
from edge_deeplab.cli.models_command import SizeHW
from edge_deeplab.cli.progress_bar import progress_bar
from edge_deeplab.recipe import describe

if TYPE_CHECKING:
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.calibration.sampling import Picture

SUFFIX = ".calib"
PIPE_WIDTH = 120


@dataclass(frozen=True, kw_only=True)
class SourceOfPictures:
    """One thing the command was given.

    Attributes:
        name: as it stands in the artifact: the last part of its path, nothing of where it lies.
        total: how many pictures it holds, None when unknown.
        read: starts reading it.
    """

    name: str
    total: int | None
    read: Callable[[], Iterator[Picture]]


def recipe_option(*declarations: str, key: str, **more: Any) -> Callable[[Any], Any]:
    """An option whose default, range and help stand in SamplingRecipe."""
    item = describe(SamplingRecipe, key)
    ranges: dict[Any, Any] = {int: click.IntRange, float: click.FloatRange}
    kind = ranges[item.type](item.low, item.high) if item.type in ranges else click.Choice(item.choices or ())
    options = {"type": kind, "default": item.default, "show_default": key != "size_hw", **more}
    note = "  [default: {}x{}]".format(*item.default) if key == "size_hw" else ""  # click would show a tuple
    return click.option(*declarations, key, help=f"{item.help[0].upper()}{item.help[1:]}.{note}", **options)


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="FOLDER|VIDEO...")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar=f"NAME{SUFFIX}", help="The file to write."
)
@recipe_option("--count", key="count", metavar="N")
@recipe_option("--size", key="size_hw", type=SizeHW(), metavar="HxW")
@recipe_option("--seed", key="seed", metavar="N")
@recipe_option("--fit", key="fit")
@recipe_option("--coverage", key="coverage", metavar="X")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Look at N pictures of each source at most.")
@click.option("--json", "as_json", is_flag=True, help="Write the facts as JSON to stdout in place of the summary.")
@click.option("--force", is_flag=True, help="Replace the output when it exists.")
def command(
    sources: tuple[str, ...], output: Path, limit: int | None, as_json: bool, force: bool, **asked: Any
) -> None:
    """Pick diverse samples from folders of pictures or from videos.

    A FOLDER is a data set (see `edge-deeplab doctor --list`), of which the training pictures are taken, FOLDER@SPLIT
    those of another split, or it holds pictures at any depth. Anything else is a source as `blur` knows it: a video
    file, a picture, a camera, a stream. Near duplicates are rejected; half of the samples (see
    --coverage) are drawn at random, half are chosen to lie as far apart in light, colour and edges as they can. The
    same pictures and seed give the same file.

    The file holds the samples themselves, so treat it as you treat the pictures.
    """
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.calibration.sampling import choose_samples
    from edge_deeplab.errors import OutputError, UsageError

    recipe = SamplingRecipe(**asked)
    if output.suffix != SUFFIX:
        raise UsageError(f"--output {output}: another kind of file", came=output.suffix or "no suffix", allowed=SUFFIX)
    if output.exists() and not force:  # before minutes of work; save checks again
        raise OutputError(f"{output}: exists already", next_step="choose another name, or pass --force")
    if not output.parent.is_dir():
        raise OutputError(f"{output}: cannot be written", came=f"no folder {output.parent}")
    found = open_sources(sources, limit)

    totals = [source.total for source in found]
    total = None if None in totals else sum(one or 0 for one in totals)
    with progress_bar("looking at pictures", total=total) as on_progress:
        pictures = itertools.chain.from_iterable(source.read() for source in found)
        choice = choose_samples(pictures, recipe, on_progress=on_progress)
    made = CalibrationSet.of(choice)
    made.save(output, overwrite=force)
    if as_json:
        import json

        click.echo(json.dumps(made.facts, indent=2, ensure_ascii=False))
    else:
        show(output, made)


def open_sources(specs: tuple[str, ...], limit: int | None) -> list[SourceOfPictures]:
    """Finds out what each argument is, before any picture is read.

    Raises: UsageError for one source given twice, or a live one without a limit; DataError for a folder without
        pictures; what open_source raises.
    """
    from edge_deeplab.errors import UsageError

    found: list[SourceOfPictures] = []
    for spec in specs:
        if specs.count(spec) > 1:
            raise UsageError(f"{spec}: given twice")
        path = Path(spec)
        taken = [source.name for source in found]
        name = source_name(spec, taken=taken)
        if is_data_set(spec):
            found.append(_data_set(spec, taken, limit))
        else:
            found.append(_folder(path, name, limit) if path.is_dir() else _frames(spec, name, limit))
    return found


def is_data_set(spec: str) -> bool:
    """Whether a source is a data set in its owners' layout or a pairs folder, named or recognised."""
    from edge_deeplab.data.catalogue import CATALOGUE, DataSpec, recognise

    if not Path(spec).exists() and spec.partition(":")[0] in CATALOGUE:
        return True
    if "://" in spec:
        return False
    root = DataSpec.parse(spec).root if not Path(spec).exists() else Path(spec)
    return root.is_dir() and bool(recognise(root))


def source_name(spec: str, *, taken: list[str]) -> str:
    """What a source is called in the artifact: no path, and no address, which may hold a password."""
    if "://" in spec:
        name = "stream"
    elif spec.isdigit():
        name = f"camera {spec}"
    else:
        name = Path(spec).resolve().name or spec
    if name not in taken:
        return name
    return next(f"{name} ({count})" for count in itertools.count(2) if f"{name} ({count})" not in taken)


def _data_set(spec: str, taken: list[str], limit: int | None) -> SourceOfPictures:
    from edge_deeplab.calibration.sampling import Picture
    from edge_deeplab.data.catalogue import open_data
    from edge_deeplab.data.pairs import spread

    data = open_data(spec, role="train")
    name, pairs = source_name(data.name, taken=taken), spread(data.pairs, limit)

    def read() -> Iterator[Picture]:
        for pair in pairs:
            file = pair.image_path.name if pair.name == pair.image_path.stem else pair.name
            yield Picture(source=name, name=file, image=pair.read_image())

    return SourceOfPictures(name=name, total=len(pairs), read=read)


def _folder(path: Path, name: str, limit: int | None) -> SourceOfPictures:
    from edge_deeplab.calibration.sampling import Picture
    from edge_deeplab.errors import DataError
    from edge_deeplab.imaging.decode import IMAGE_SUFFIXES, read_image

    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        raise DataError(f"{path}: holds no pictures", allowed=", ".join(IMAGE_SUFFIXES))
    if limit is not None and limit < len(files):
        files = [files[index * len(files) // limit] for index in range(limit)]

    def read() -> Iterator[Picture]:
        for file in files:
            yield Picture(source=name, name=file.relative_to(path).as_posix(), image=read_image(file))

    return SourceOfPictures(name=name, total=len(files), read=read)


def _frames(spec: str, name: str, limit: int | None) -> SourceOfPictures:
    import cv2

    from edge_deeplab.calibration.sampling import Picture
    from edge_deeplab.errors import UsageError
    from edge_deeplab.video.source import open_source

    with open_source(spec) as source:
        if source.is_live and limit is None:
            raise UsageError(f"{spec}: a live source has no end", next_step="give --limit N, the frames to look at")
        total = min((count for count in (source.frame_count, limit) if count is not None), default=None)

    def read() -> Iterator[Picture]:
        with open_source(spec) as source:
            for frame in itertools.islice(source, limit):
                image = cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2RGB)
                yield Picture(source=name, name=frame.name or f"frame {frame.index}", image=image)

    return SourceOfPictures(name=name, total=total, read=read)


def show(path: Path, made: CalibrationSet) -> None:
    """Prints what was chosen and what was seen."""
    from rich.console import Console
    from rich.table import Table

    from edge_deeplab.calibration.artifact import QUANTITIES

    facts = made.facts
    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(
        f"{path}: {facts['count']} samples of {{}}x{{}} ({facts['fit']}), seed {facts['seed']}, "
        f"{path.stat().st_size / 1e6:.1f} MB".format(*made.size_hw),
        markup=False,
    )
    if facts["count"] < facts["asked"]:
        console.print(f"{facts['asked']} were asked for: there are no more distinct pictures", markup=False)
    sources = Table("source", box=None, padding=(0, 2, 0, 0))
    for heading in ("seen", "samples"):
        sources.add_column(heading, justify="right")
    for source in facts["sources"]:
        sources.add_row(source["name"], str(source["seen"]), str(source["samples"]))
    spread = Table("of the samples, 0..1", box=None, padding=(0, 2, 0, 0))
    keys = {"min": "least", "p5": "5 %", "median": "median", "p95": "95 %", "max": "most"}
    for heading in keys.values():
        spread.add_column(heading, justify="right")
    for quantity in QUANTITIES:
        values = facts["statistics"][quantity]
        spread.add_row(quantity.replace("_", " "), *(f"{values[key]:.3f}" for key in keys))
    sizes = facts["resolutions"]
    console.print(sources, "", spread, "", sep="\n")
    console.print(
        "colour: mean R {:.3f} G {:.3f} B {:.3f}".format(*facts["statistics"]["rgb"]["mean"]),
        "originals: {}x{} to {}x{} (height x width), {} sizes".format(
            *sizes["smallest_hw"], *sizes["largest_hw"], sizes["distinct"]
        ),
        f"near duplicates rejected: {facts['near_duplicates']}",
        f"sha256 of the samples: {made.sha256}",
        sep="\n",
        markup=False,
    )
