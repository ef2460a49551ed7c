"""How good a blurred portrait looks, in figures: ours stage by stage, MediaPipe's, and a plain Gaussian blur.

Three tables, made then and there:

    blurred    people cut out of labelled pictures, moved over backgrounds (data.composites): mattes, edges, halo, rim
               and steadiness against the truth
    replaced   the same people before another background
    clips      real clips, of which no truth is known: steadiness along the picture's motion

    python benchmarks/live_quality.py PEER_PYTHON --data ../shared/data/portraits [--set val] [--clips ../shared/clips]
        [--scenes 10] [--frames 20] [--seed 0] [--size 640x480] [--json FILE] [--pictures DIR]

The rows: ours at its defaults; ours with one stage changed at a time; our matte with a plain Gaussian blur of 55 x 55
and no work on the edge; MediaPipe's own call with the scripts of live_speed_peer.py. Figures are means over frames;
what they are is said below each table, and edge_deeplab.evaluation defines them. A halo is held against each row's own
blur of the clean background. PEER_PYTHON is the Python of an environment with mediapipe==0.10.21; "-" leaves it out.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from live_quality_rows import OurRow, PeerClip, PlainRow, stage_variants
from peer_process import PeerProcess
from rich.console import Console

from edge_deeplab.compositing.background import PictureBackground
from edge_deeplab.compositing.options import Background, CompositingOptions
from edge_deeplab.compositing.overlay import draw_text
from edge_deeplab.data.composites import TrueFrame, make_scenes
from edge_deeplab.data.pairs import PairsFolder, list_images
from edge_deeplab.data.scene_options import SceneOptions
from edge_deeplab.errors import EdgeDeepLabError, OutputError, UsageError
from edge_deeplab.evaluation.halo import blend
from edge_deeplab.evaluation.portrait import (
    FIGURES,
    ClipScorer,
    PortraitReport,
    Truth,
    format_figure,
    legend,
    portrait_table,
)
from edge_deeplab.evaluation.temporal import Flow, picture_flow
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.profiling.report import write_json
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.source import open_source

WORKER = Path(__file__).with_name("live_quality_peer.py")
STILLS_EVERY = 4  # the figures of single frames are taken of every fourth: neighbours are alike
OURS, PLAIN = "ours", "our matte, plain blur"
PEERS = {"usual": "MediaPipe, usual", "usual_alpha": "MediaPipe, usual, soft", "careful": "MediaPipe, careful"}
ONLY_REPLACED = ("light_wrap", "despill")  # stages that do nothing where the frame's own is blurred
BLURRED_FIGURES = (
    "sad", "mse", "gradient", "connectivity", "trimap_iou", "boundary_f", "dtssd", "flicker", "halo", "halo_2000",
    "rim",
)  # fmt: skip
REPLACED_FIGURES = ("halo", "halo_2000", "rim", "rim_2000")
CLIP_FIGURES = ("flicker", "steady_iou", "change", "adjacent_iou")
SHOWN = ("sad", "halo", "rim")  # figures whose worst and best frames become pictures
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 95)


@dataclass(frozen=True)
class Clip:
    """Frames with all that the rows share: truth where there is one, our mattes, the motion, what the peer made."""

    name: str
    frames: Sequence[np.ndarray]
    truths: Sequence[TrueFrame] | None
    mattes: Sequence[np.ndarray]
    flows: Sequence[Flow | None]
    peer: PeerClip | None
    background: Background | None


class Peer(PeerProcess):
    """The peer over whole clips, which go to it and come back as files."""

    def __init__(self, python: Path) -> None:
        super().__init__(python, [WORKER])
        self._folder = tempfile.TemporaryDirectory()

    def work_on(self, frames: Sequence[np.ndarray], clean: Sequence[np.ndarray] | None) -> PeerClip:
        """Its mattes of a clip and its pictures of the stills."""
        path = Path(self._folder.name) / "clip.npz"
        arrays = {"frames": np.stack(frames), "stills": np.arange(0, len(frames), STILLS_EVERY)}
        np.savez(path, **arrays, **({} if clean is None else {"clean": np.stack(clean[::STILLS_EVERY])}))
        made = Path(self.ask(str(path))["made"])
        with np.load(made) as arrays_made:
            read = dict(arrays_made)
        made.unlink()
        parts = {
            part: {name: read[f"{name}/{part}"] for name in PEERS if f"{name}/{part}" in read}
            for part in ("picture", "blurred")
        }
        return PeerClip(read["masks"], parts["picture"], parts["blurred"])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        self._folder.cleanup()


class Gallery:
    """The worst and the best frames of each row, side by side with the peer's, kept as JPEG until it is known which."""

    def __init__(self) -> None:
        self._stored: dict[tuple[str, str, int], np.ndarray] = {}

    def keep(self, row: str, clip: str, index: int, picture_bgr: np.ndarray) -> None:
        """Remembers a row's picture of a frame."""
        self._stored[row, clip, index] = cv2.imencode(".jpg", picture_bgr, JPEG)[1]

    def write(self, folder: Path, reports: Mapping[str, PortraitReport], *, beside: Sequence[str]) -> int:
        """Writes FOLDER/FIGURE.worst.ROW.jpg and .best.; returns how many. beside: rows to show in every picture."""
        folder.mkdir(parents=True, exist_ok=True)
        written = 0
        for row, report in reports.items():
            for figure in SHOWN:
                found = report.extremes(figure)
                for which, frame in zip(("worst", "best"), found or ()):
                    values = {name: _value_at(one, frame.clip, frame.index, figure) for name, one in reports.items()}
                    shown = dict.fromkeys(("camera", "perfect", row, *(name for name in beside if name in reports)))
                    tiles = [
                        self._tile(name, frame.clip, frame.index, figure, values.get(name))
                        for name in shown
                        if (name, frame.clip, frame.index) in self._stored
                    ]
                    name = "".join(letter if letter.isalnum() else "_" for letter in row)
                    cv2.imwrite(str(folder / f"{figure}.{which}.{name}.jpg"), _in_rows(tiles), JPEG)
                    written += 1
        return written

    def _tile(self, row: str, clip: str, index: int, figure: str, value: float | None) -> np.ndarray:
        picture = cv2.imdecode(self._stored[row, clip, index], cv2.IMREAD_COLOR)
        says = "" if value is None else f": {FIGURES[figure].title} {format_figure(figure, value)}"
        text = f"{clip} {index}" if row == "camera" else f"{row}{says}"
        draw_text(picture, text, (8, picture.shape[0] - 10), picture.shape[0] / 900)
        return picture


def _value_at(report: PortraitReport, clip: str, index: int, figure: str) -> float | None:
    return next((one.values.get(figure) for one in report.frames if (one.clip, one.index) == (clip, index)), None)


def _in_rows(tiles: Sequence[np.ndarray], columns: int = 3) -> np.ndarray:
    filled = [*tiles, *[np.zeros_like(tiles[0])] * (-len(tiles) % columns)]
    return np.vstack([np.hstack(filled[start : start + columns]) for start in range(0, len(filled), columns)])


def flows_of(frames: Sequence[np.ndarray]) -> list[Flow | None]:
    """From each frame's predecessor to it."""
    return [None, *(picture_flow(before, now) for before, now in itertools.pairwise(frames))]


def made_clips(
    arguments: argparse.Namespace, options: SceneOptions, segmenter: Segmenter, peer: Peer | None
) -> Iterator[Clip]:
    pairs, places = PairsFolder(arguments.data / arguments.set).pairs, list_images(arguments.data / "backgrounds")
    others = np.random.default_rng(arguments.seed + 1).permutation(len(places))
    scenes = make_scenes(pairs, places, count=arguments.scenes, options=options, seed=arguments.seed)
    for number, scene in enumerate(scenes):
        truths = list(scene)
        frames = [true.bgr for true in truths]
        behind = read_image(places[int(others[number % len(places)])])
        yield Clip(
            name=f"{scene.motion} {scene.name}",
            frames=frames,
            truths=truths,
            mattes=[segmenter.matte_bgr(frame).copy() for frame in frames],
            flows=flows_of(frames),
            peer=peer and peer.work_on(frames, [true.clean_bgr for true in truths]),
            background=PictureBackground(np.ascontiguousarray(behind[..., ::-1])),
        )


def real_clips(folder: Path, count: int, segmenter: Segmenter, peer: Peer | None) -> Iterator[Clip]:
    """The first frames of each video of a folder after half a second, when hands begin to move."""
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        with open_source(str(path)) as source:
            frames = [frame.bgr.copy() for frame, _ in zip(source, range(15 + count))][15:]
        yield Clip(
            name=path.stem, frames=frames, truths=None, flows=flows_of(frames), background=None,
            mattes=[segmenter.matte_bgr(frame).copy() for frame in frames], peer=peer and peer.work_on(frames, None),
        )  # fmt: skip


def score_own(
    clip: Clip, row: OurRow | PlainRow, name: str, scorers: dict[str, list[ClipScorer]], gallery: Gallery | None
) -> None:
    scorer = ClipScorer(clip.name, stills_every=STILLS_EVERY)
    scorers.setdefault(name, []).append(scorer)
    for index, (frame, matte) in enumerate(zip(clip.frames, clip.mattes)):
        made = row.make(frame, matte)
        truth = None
        if clip.truths is not None:
            true = clip.truths[index]
            is_still = index % STILLS_EVERY == 0
            truth = Truth(
                alpha=true.alpha, foreground_bgr=true.foreground_bgr,
                background_bgr=row.behind(true.clean_bgr) if is_still else None,
            )  # fmt: skip
            if is_still and gallery is not None and made.picture_bgr is not None:
                gallery.keep(name, clip.name, index, made.picture_bgr)
                if name == OURS:
                    assert truth.background_bgr is not None
                    gallery.keep("camera", clip.name, index, frame)
                    perfect = blend(true.alpha, true.foreground_bgr, truth.background_bgr)
                    gallery.keep("perfect", clip.name, index, perfect)
        scorer.add(made, truth, flow=clip.flows[index])


def score_peer(clip: Clip, script: str, scorers: dict[str, list[ClipScorer]], gallery: Gallery | None) -> None:
    assert clip.peer is not None
    scorer = ClipScorer(clip.name, stills_every=STILLS_EVERY)
    scorers.setdefault(PEERS[script], []).append(scorer)
    for index in range(len(clip.frames)):
        still = index // STILLS_EVERY if index % STILLS_EVERY == 0 else None
        made, truth = clip.peer.make(script, index, still), None
        if clip.truths is not None:
            true = clip.truths[index]
            behind = None if still is None else clip.peer.blurred[script][still]
            truth = Truth(alpha=true.alpha, foreground_bgr=true.foreground_bgr, background_bgr=behind)
            if made.picture_bgr is not None and gallery is not None:
                gallery.keep(PEERS[script], clip.name, index, made.picture_bgr)
        scorer.add(made, truth, flow=clip.flows[index])


def score_blurred(
    clips: Iterable[Clip], options: CompositingOptions, galleries: tuple[Gallery | None, ...]
) -> tuple[dict[str, PortraitReport], dict[str, PortraitReport]]:
    """The tables "blurred" and "replaced"."""
    blurred: dict[str, list[ClipScorer]] = {}
    replaced: dict[str, list[ClipScorer]] = {}
    variants = stage_variants(options)
    for clip in clips:
        started = time.perf_counter()
        score_own(clip, OurRow(options), OURS, blurred, galleries[0])
        new = dataclasses.replace(options, background=clip.background)
        score_own(clip, OurRow(new), OURS, replaced, galleries[1])
        for name, variant in variants.items():
            if not any(stage in name for stage in ONLY_REPLACED):
                score_own(clip, OurRow(variant), name, blurred, galleries[0])
            other = dataclasses.replace(variant, background=clip.background)
            score_own(clip, OurRow(other), name, replaced, galleries[1])
        score_own(clip, PlainRow(), PLAIN, blurred, galleries[0])
        score_own(clip, PlainRow(clip.background), PLAIN, replaced, galleries[1])
        if clip.peer is not None:
            for script in PEERS:
                score_peer(clip, script, blurred, galleries[0])
            theirs = dataclasses.replace(clip, mattes=list(clip.peer.masks))
            score_own(theirs, PlainRow(clip.background), PEERS["careful"], replaced, galleries[1])
        print(f"{clip.name}: scored in {time.perf_counter() - started:.1f} s", file=sys.stderr)
    return reports_of(blurred), reports_of(replaced)


def reports_of(rows: Mapping[str, Sequence[ClipScorer]]) -> dict[str, PortraitReport]:
    """Each row's figures over all its clips."""
    return {name: PortraitReport.of(scorers) for name, scorers in rows.items()}


def score_steadiness(clips: Iterable[Clip], options: CompositingOptions) -> dict[str, PortraitReport]:
    """The table "clips"."""
    rows: dict[str, list[ClipScorer]] = {}
    for clip in clips:
        score_own(clip, OurRow(options), OURS, rows, None)
        for name in ("smoothing", "least_person"):
            score_own(clip, OurRow(dataclasses.replace(options, **{name: 0.0})), f"no {name}", rows, None)
        score_own(clip, PlainRow(), PLAIN, rows, None)
        if clip.peer is not None:
            for script in PEERS:
                score_peer(clip, script, rows, None)
    return reports_of(rows)


def read_size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise UsageError("--size", came=text, allowed="WIDTHxHEIGHT, e.g. 640x480") from error
    return width, height


def print_table(console: Console, title: str, reports: Mapping[str, PortraitReport], figures: Sequence[str]) -> None:
    console.print(title, portrait_table(reports, figures=figures), legend(figures), "", sep="\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", metavar="PEER_PYTHON", help='the Python of the peer\'s environment; "-" for none')
    parser.add_argument("--data", type=Path, required=True, help="a folder with SET/images, SET/masks and backgrounds")
    parser.add_argument("--set", default="val", help="the folder of pairs people are cut out of [val]")
    parser.add_argument("--clips", type=Path, help="a folder of videos, of which no truth is known")
    parser.add_argument("--model", default="portrait", help="ours: a bundled name or a path [portrait]")
    parser.add_argument("--scenes", type=int, default=10, help="[10]")
    parser.add_argument("--frames", type=int, default=20, help="of each scene, and of each clip [20]")
    parser.add_argument("--seed", type=int, default=0, help="of people, paths and noise [0]")
    parser.add_argument("--size", default="640x480", help="of the scenes' frames [640x480]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here, replacing the file")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="also write the worst and best frames here")
    arguments = parser.parse_args()
    if arguments.scenes < 1 or arguments.frames < 2:
        raise UsageError("too little to score", came=f"{arguments.scenes} scenes of {arguments.frames} frames",
                         allowed="1 scene or more, of 2 frames or more")  # fmt: skip
    if arguments.json and not arguments.json.parent.is_dir():
        raise OutputError(f"{arguments.json}: cannot be written", came=f"no folder {arguments.json.parent}")

    scene_options = SceneOptions(size_wh=read_size(arguments.size), frames=arguments.frames)
    options, console, started = CompositingOptions(), Console(highlight=False, width=150), time.perf_counter()
    galleries = (Gallery(), Gallery()) if arguments.pictures else (None, None)
    clips_reports: dict[str, PortraitReport] = {}
    with ExitStack() as stack:
        segmenter = stack.enter_context(Segmenter(arguments.model))
        peer = None if arguments.peer == "-" else stack.enter_context(Peer(Path(arguments.peer)))
        clips = made_clips(arguments, scene_options, segmenter, peer)
        blurred, replaced = score_blurred(clips, options, galleries)
        if arguments.clips:
            found = real_clips(arguments.clips, arguments.frames, segmenter, peer)
            clips_reports = score_steadiness(found, options)
        versions = peer.versions if peer else {}

    about = (
        f"{arguments.scenes} scenes of {arguments.frames} frames, {arguments.size}, people of {arguments.set}, "
        f"seed {arguments.seed}, model {arguments.model}"
    )
    print_table(console, f"blurred: {about}", blurred, BLURRED_FIGURES)
    print_table(console, f"replaced background: {about}", replaced, REPLACED_FIGURES)
    if clips_reports:
        about_clips = f"{len({frame.clip for frame in clips_reports[OURS].frames})} clips of {arguments.frames} frames"
        print_table(console, f"clips, no truth known: {about_clips}", clips_reports, CLIP_FIGURES)
    if arguments.pictures:
        for name, gallery, reports in zip(("blurred", "replaced"), galleries, (blurred, replaced)):
            assert gallery is not None
            written = gallery.write(arguments.pictures / name, reports, beside=(OURS, PEERS["careful"], PLAIN))
            console.print(f"{written} pictures of worst and best frames in {arguments.pictures / name}")
    console.print(f"{time.perf_counter() - started:.0f} s; MediaPipe {versions.get('mediapipe', 'left out')}")
    if arguments.json:
        tables = {"blurred": blurred, "replaced": replaced, "clips": clips_reports}
        document = {
            "benchmark": "live_quality",
            "peer": versions,
            "scenes": arguments.scenes,
            "seed": arguments.seed,
            "set": arguments.set,
            "camera": dataclasses.asdict(scene_options),
            "figures": {name: dataclasses.asdict(figure) for name, figure in FIGURES.items()},
            **{name: {row: report.to_dict() for row, report in rows.items()} for name, rows in tables.items()},
        }
        write_json(arguments.json, document, overwrite=True)


if __name__ == "__main__":
    try:
        main()
    except EdgeDeepLabError as error:
        sys.exit(f"live_quality: error: {error}")
