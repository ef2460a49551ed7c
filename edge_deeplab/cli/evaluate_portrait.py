"""`edge-deeplab evaluate --portrait`: mattes and finished pictures against a truth, on made scenes or true mattes.

    @click.command()
    @portrait_options
    def command(portrait: PortraitRequest, ...) -> None:
        if portrait.is_asked:
            evaluate_portrait(models, data, portrait, ...)

Each model has two rows: its matte alone, enlarged, and what compositing at its defaults makes of it.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from edge_deeplab.cli.foreign_facts import ForeignFacts
from edge_deeplab.cli.progress_bar import progress_bar
from edge_deeplab.data.scene_options import SceneOptions

if TYPE_CHECKING:
    import numpy as np

    from edge_deeplab.cli.predictors import Predictor
    from edge_deeplab.compositing.compositor import PortraitCompositor
    from edge_deeplab.evaluation.portrait import PortraitReport, Truth
    from edge_deeplab.evaluation.temporal import Flow

PIPE_WIDTH = 120  # columns of the table where no terminal says how many it has
GO_WITH_IT = {"models", "data", "limit", "threads", "json_file", "force"}
"""Options of `evaluate` that --portrait knows, besides its own and those of foreign models."""
NEEDS_BACKGROUNDS = ("scenes", "frames", "seed", "scene_size")
SCENES, SEED = 10, 0


@dataclass(frozen=True, kw_only=True)
class PortraitRequest:
    """What was asked on the command line; None where nothing was said.

    Attributes:
        is_asked: whether --portrait was given.
        backgrounds: the folder of pictures that scenes are made over.
        scenes, frames, seed, scene_size: of the made scenes; scene_size is (width, height).
    """

    is_asked: bool = False
    backgrounds: Path | None = None
    scenes: int | None = None
    frames: int | None = None
    seed: int | None = None
    scene_size: tuple[int, int] | None = None

    def check(self) -> None:
        """Raises UsageError for options that go with another one that was not given, or not with --portrait."""
        from edge_deeplab.errors import UsageError

        given = [name for name in NEEDS_BACKGROUNDS if getattr(self, name) is not None]
        if given and self.backgrounds is None:
            raise UsageError(f"{_as_typed(given[0])}: is of made scenes", next_step="add --backgrounds FOLDER")
        if self.backgrounds is not None and not self.is_asked:
            raise UsageError("--backgrounds: is for --portrait", next_step="add --portrait")
        if self.is_asked:
            known = GO_WITH_IT | set(PortraitRequest.__dataclass_fields__) | set(ForeignFacts.__dataclass_fields__)
            context = click.get_current_context()
            for parameter in context.command.params:
                source = context.get_parameter_source(parameter.name or "")
                if source is ParameterSource.COMMANDLINE and parameter.name not in known:
                    raise UsageError(f"{parameter.opts[0]}: does not go with --portrait")


class SizeWH(click.ParamType):
    """WIDTHxHEIGHT, as cameras say it."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """(width, height)."""
        if isinstance(value, tuple):
            return value
        width, cross, height = value.lower().partition("x")
        if not (cross and width.isdecimal() and height.isdecimal()):
            self.fail(f"{value!r} is no size; allowed: WIDTHxHEIGHT, e.g. 640x480", param, ctx)
        return int(width), int(height)


def portrait_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options to a command, which gets them as one argument `portrait`."""

    @functools.wraps(function)
    def with_request(*arguments: Any, **options: Any) -> Any:
        names = PortraitRequest.__dataclass_fields__
        request = PortraitRequest(**{name: options.pop(name) for name in names})
        return function(*arguments, portrait=request, **options)

    for option in reversed(_OPTIONS):
        option(with_request)
    return with_request


_CAMERA = SceneOptions()
_OPTIONS = (
    click.option("--portrait", "is_asked", is_flag=True, help="Score mattes and finished portraits instead: SAD, MSE, "
                 "gradient, connectivity, trimap IoU, boundary F; of clips dtSSD and flicker; of scenes halo and rim. "
                 "--data then has images/ and alphas/, or folders of them, one a clip."),
    click.option("--backgrounds", type=click.Path(path_type=Path), metavar="FOLDER", help="With --portrait: pictures "
                 "without people. The people of --data (images/ and masks/) are cut out and moved over them."),
    click.option("--scenes", type=click.IntRange(min=1), metavar="N", help=f"How many to make. [{SCENES}]"),
    click.option("--frames", type=click.IntRange(min=1), metavar="N", help=f"Of each scene. [{_CAMERA.frames}]"),
    click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Of people, paths and noise. "
                 f"[{SEED}]"),
    click.option("--scene-size", type=SizeWH(), metavar="WxH", help="Of the scenes' frames. "
                 "[{}x{}]".format(*_CAMERA.size_wh)),
)  # fmt: skip


@dataclass(frozen=True)
class _Shot:
    """A frame as the models get it; what a truth needs to know of the program is asked for by `truth_for`."""

    bgr: np.ndarray
    truth_for: Callable[[PortraitCompositor | None], Truth]
    flow: Flow | None


def evaluate_portrait(
    models: tuple[str, ...], data: Path, request: PortraitRequest, facts: ForeignFacts, *, limit: int | None,
    threads: int, json_file: str | None, force: bool,
) -> None:  # fmt: skip
    """Scores the models, prints the table, writes the document.

    Raises: UsageError, OutputError before any work; DataError, ModelError.
    """
    from edge_deeplab.cli.evaluate_command import TO_STDOUT, row_names
    from edge_deeplab.cli.predictors import open_predictor, refuse_idle_facts
    from edge_deeplab.errors import UsageError
    from edge_deeplab.evaluation.portrait import FIGURES

    target = Path(json_file) if json_file and json_file != TO_STDOUT else None
    refuse_idle_facts(list(models), facts)
    if limit is not None and request.backgrounds is not None:
        raise UsageError("--limit: is of pictures with mattes", next_step="give --scenes")
    reports: dict[str, PortraitReport] = {}
    with ExitStack() as stack:
        predictors: list[Predictor] = []
        for model in models:
            predictors.append(open_predictor(model, facts, threads=threads))
            stack.callback(predictors[-1].close)
            if predictors[-1].manifest.person_class is None:
                raise UsageError(f"--portrait: no person class in {predictors[-1].path.name}",
                                 next_step="give --person-class")  # fmt: skip
        what, total, clips = _open_clips(data, request, limit)
        scorers = _Scorers(dict(zip(row_names(models), predictors, strict=True)))
        with progress_bar("frames", total=total) as on_progress:
            done = 0
            for name, shots in clips:
                scorers.start(name)
                for shot in shots:
                    scorers.add(shot)
                    done += 1
                    on_progress(done)
        reports = scorers.reports()
    document = {
        "format": 1,
        "score": "portrait",
        "data": data.resolve().name,
        "shows": what,
        "figures": {name: {"unit": figure.help, "scale": figure.scale} for name, figure in FIGURES.items()},
        "rows": {name: report.to_dict() for name, report in reports.items()},
    }
    if target:
        from edge_deeplab.profiling.report import write_json

        write_json(target, document, overwrite=force)
    if json_file == TO_STDOUT:
        from edge_deeplab.profiling.report import to_json

        click.echo(to_json(document), nl=False)
    else:
        _show(reports, title=f"{data.resolve().name}: {what}")


class _Scorers:
    """Two rows a model: "NAME" is its matte alone, "NAME, composed" what compositing makes of it."""

    def __init__(self, predictors: dict[str, Predictor]) -> None:
        from edge_deeplab.evaluation.portrait import ClipScorer

        self._predictors = predictors
        self._new = ClipScorer
        self._all: dict[str, list[ClipScorer]] = {}
        self._compositors: dict[str, tuple[PortraitCompositor, PortraitCompositor]] = {}

    def start(self, clip: str) -> None:
        """The next clip: the past is forgotten."""
        from edge_deeplab.compositing.compositor import PortraitCompositor

        for name in self._predictors:
            self._compositors[name] = PortraitCompositor(), PortraitCompositor()
            for row in (name, f"{name}, composed"):
                self._all.setdefault(row, []).append(self._new(clip))

    def add(self, shot: _Shot) -> None:
        """The next frame of the clip."""
        import cv2
        import numpy as np

        from edge_deeplab.evaluation.portrait import Made

        rgb = cv2.cvtColor(shot.bgr, cv2.COLOR_BGR2RGB)
        for name, predictor in self._predictors.items():
            matte = np.array(predictor.matte(rgb), np.float32)
            alone = np.clip(cv2.resize(matte, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR), 0, 1)
            self._all[name][-1].add(Made(alpha=alone), shot.truth_for(None), flow=shot.flow)
            composer, clean = self._compositors[name]
            picture = composer.compose(shot.bgr, matte)
            made = Made(alpha=composer.alpha.astype(np.float32) / 255, picture_bgr=picture)
            self._all[f"{name}, composed"][-1].add(made, shot.truth_for(clean), flow=shot.flow)

    def reports(self) -> dict[str, PortraitReport]:
        """All that was scored, by row."""
        from edge_deeplab.evaluation.portrait import PortraitReport

        return {row: PortraitReport.of(scorers) for row, scorers in self._all.items()}


def _open_clips(
    data: Path, request: PortraitRequest, limit: int | None
) -> tuple[str, int, Iterator[tuple[str, Iterator[_Shot]]]]:
    """What is shown in words, how many frames that is, and the clips by name."""
    if request.backgrounds is not None:
        return _made_scenes(data, request)
    from edge_deeplab.data.mattes import open_mattes

    clips = open_mattes(data)
    if limit is not None and limit < len(clips):
        clips = tuple(clips[index * len(clips) // limit] for index in range(limit))
    total = sum(len(clip.frames) for clip in clips)
    what = f"{len(clips)} pictures" if total == len(clips) else f"{len(clips)} clips, {total} frames"
    return what, total, ((clip.name, _shots(frame.read for frame in clip.frames)) for clip in clips)


def _shots(reads: Iterator[Callable[[], tuple[np.ndarray, np.ndarray]]]) -> Iterator[_Shot]:
    import numpy as np

    from edge_deeplab.errors import DataError
    from edge_deeplab.evaluation.portrait import Truth

    before: np.ndarray | None = None
    for read in reads:
        image, alpha = read()
        bgr = np.ascontiguousarray(image[..., ::-1])
        if before is not None and before.shape != bgr.shape:
            raise DataError("frames of one clip differ in size", came="{1}x{0}".format(*bgr.shape),
                            allowed="{1}x{0}".format(*before.shape))  # fmt: skip
        yield _Shot(bgr, functools.partial(_truth_of_matte, Truth(alpha=alpha)), _flow(before, bgr))
        before = bgr


def _truth_of_matte(truth: Truth, clean: PortraitCompositor | None) -> Truth:
    return truth


def _made_scenes(data: Path, request: PortraitRequest) -> tuple[str, int, Iterator[tuple[str, Iterator[_Shot]]]]:
    import dataclasses

    from edge_deeplab.data.composites import make_scenes
    from edge_deeplab.data.pairs import PairsFolder, list_images

    assert request.backgrounds is not None
    given: dict[str, Any] = {"frames": request.frames, "size_wh": request.scene_size}
    options = dataclasses.replace(_CAMERA, **{name: value for name, value in given.items() if value is not None})
    count, seed = request.scenes or SCENES, request.seed if request.seed is not None else SEED
    scenes = make_scenes(
        PairsFolder(data).pairs, list_images(request.backgrounds), count=count, options=options, seed=seed
    )
    what = f"{count} made scenes of {options.frames} frames, {options.size_wh[0]}x{options.size_wh[1]}, seed {seed}"

    def clips() -> Iterator[tuple[str, Iterator[_Shot]]]:
        for scene in scenes:
            yield f"{scene.motion} {scene.name}", _scene_shots(scene)

    return what, count * options.frames, clips()


def _scene_shots(scene: Any) -> Iterator[_Shot]:
    import numpy as np

    from edge_deeplab.evaluation.portrait import Truth

    nobody = np.zeros((8, 8), np.float32)
    before: np.ndarray | None = None
    for true in scene:

        def truth_for(clean: PortraitCompositor | None, true: Any = true) -> Truth:
            behind = None if clean is None else clean.compose(true.clean_bgr, nobody)
            return Truth(alpha=true.alpha, foreground_bgr=true.foreground_bgr, background_bgr=behind)

        yield _Shot(true.bgr, truth_for, _flow(before, true.bgr))
        before = true.bgr


def _flow(before: np.ndarray | None, now: np.ndarray) -> Flow | None:
    from edge_deeplab.evaluation.temporal import picture_flow

    return None if before is None else picture_flow(before, now)


def _show(reports: dict[str, PortraitReport], *, title: str) -> None:
    """One table each for mattes, steadiness and pictures, so that a terminal of 80 columns holds them."""
    from rich.console import Console

    from edge_deeplab.evaluation.portrait import GROUPS, legend, portrait_table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(title)
    for group, names in GROUPS.items():
        known = [name for name in names if any(report.mean(name) is not None for report in reports.values())]
        if known:
            shown = {row: report for row, report in reports.items() if report.mean(known[0]) is not None}
            console.print("", portrait_table(shown, figures=known, title=group), legend(known), sep="\n")


def _as_typed(name: str) -> str:
    return f"--{name.replace('_', '-')}"
