"""Measuring all that `edge-deeplab profile` shows, on this machine: model, operators, whole frames, starts, energy.

    report = measure_all("portrait", ProfilePlan(threads=(1, 2)))

Here the rooms meet: profiling knows no frames and no compositor, remote reads clocks and temperatures.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_deeplab.profiling.latency import MeasureOptions

if TYPE_CHECKING:
    import numpy as np

    from edge_deeplab.profiling.energy import EnergyReport
    from edge_deeplab.profiling.operators import OperatorsReport
    from edge_deeplab.profiling.peaks import MachinePeaks
    from edge_deeplab.profiling.report import FrameProfile, ProfileReport

FRAME_SIZE_WH = (1280, 720)
STARTS = 5
NO_OPERATORS = "none"


@dataclass(frozen=True, kw_only=True)
class ProfilePlan:
    """What is to be measured.

    Attributes:
        threads: numbers of engine threads; the first is also the frame's, the operators' and the starts'. None
            measures 1 and all.
        kernels: of the engine.
        options: how often.
        size_wh: of the frame, None for no frame.
        needs_frame: whether a model that cannot do a frame is an error (the frame was asked for) or a note.
        picture: what the frames show, None for the astronaut.
        starts: processes started to measure start-up and memory, 0 for none.
        operators: how their times come about, one of profiling.operators.METHODS, or "none" for no operators.
        benchmark_model: the user's native tool, which then times the operators.
    """

    threads: tuple[int, ...] | None = None
    kernels: str = "auto"
    options: MeasureOptions = field(default_factory=MeasureOptions)
    size_wh: tuple[int, int] | None = FRAME_SIZE_WH
    needs_frame: bool = False
    picture: Path | None = None
    starts: int = STARTS
    operators: str = "auto"
    benchmark_model: Path | None = None


def thread_counts(plan: ProfilePlan) -> tuple[int, ...]:
    """The numbers of threads that will be measured."""
    from edge_deeplab.profiling.host import usable_cpus

    return plan.threads or tuple(dict.fromkeys((1, usable_cpus())))


def measure_all(model: str, plan: ProfilePlan) -> ProfileReport:
    """Measures everything asked for; says on stderr what it is at.

    Raises: ModelError, InputError and what measure_startup and profile_operators raise.
    """
    from edge_deeplab import __version__
    from edge_deeplab.cli.frame_program import moving_frames
    from edge_deeplab.errors import ModelError
    from edge_deeplab.manifest import read_manifest
    from edge_deeplab.profiling.engine import describe_model, profile_engine
    from edge_deeplab.profiling.host import describe_host
    from edge_deeplab.profiling.report import ProfileReport, doubts
    from edge_deeplab.profiling.startup import measure_startup
    from edge_deeplab.remote.vitals import changes, read_vitals
    from edge_deeplab.runtime.bundled import bundled_model
    from edge_deeplab.runtime.interpreter import engine_name

    host, notes, before = describe_host(), [], read_vitals()
    path = bundled_model(model)
    facts = describe_model(path)
    size_wh = plan.size_wh
    if size_wh and read_manifest(path) is None:
        if plan.needs_frame:
            raise ModelError(
                f"{path}: no whole frame without a manifest", next_step="pass --no-frame, or publish one in it"
            )
        notes.append("No whole frame: the file carries no manifest, so what its output means is not known.")
        size_wh = None

    _check_means(plan)
    frames = moving_frames(plan.picture, size_wh) if size_wh else None
    counts = thread_counts(plan)
    latency = []
    for count in counts:
        _say(f"{facts.file}: {plan.options.runs} inferences on {count} thread(s)")
        latency.append(profile_engine(path, threads=count, kernels=plan.kernels, options=plan.options))

    operators, peaks = None, None
    if plan.operators != NO_OPERATORS or plan.benchmark_model:
        _say("operators, and what this machine reaches at best")
        operators, peaks = _measure_operators(path, plan, threads=counts[0], notes=notes)

    frame = None
    if size_wh and frames:
        _say("whole frames of {}x{}".format(*size_wh))
        frame = _measure_frame(path, frames, size_wh, plan, threads=counts[0])

    energy = _measure_energy(path, plan, threads=counts[0], notes=notes)

    ways = [str(path), "--threads", str(counts[0]), "--kernels", plan.kernels]
    model_start = frame_start = None
    if plan.starts:
        _say(f"{plan.starts} starts")
        python = [sys.executable, "-P", "-m"]  # -P: modules in the working folder are none of ours
        model_start = measure_startup([*python, "edge_deeplab.profiling.child", *ways], runs=plan.starts)
    if plan.starts and size_wh:
        size = ["--size-wh", *map(str, size_wh)]
        frame_start = measure_startup([*python, "edge_deeplab.cli.frame_program", *ways, *size], runs=plan.starts)

    after = read_vitals()
    noise = {f"{profile.threads} thread(s)": profile.latency for profile in latency}
    if frame:
        noise["the frame"] = frame.stages.total
    return ProfileReport(
        host=host,
        engine=engine_name(),
        model=facts,
        latency=tuple(latency),
        model_start=model_start,
        frame=frame,
        frame_start=frame_start,
        operators=operators,
        peaks=peaks,
        energy=energy,
        vitals={"before": before.to_dict(), "after": after.to_dict()},
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        edge_deeplab=__version__,
        notes=(*notes, *doubts(host, noise), *changes(before, after)),
    )


def _measure_operators(
    path: Path, plan: ProfilePlan, *, threads: int, notes: list[str]
) -> tuple[OperatorsReport | None, MachinePeaks | None]:
    """Times by operator and the machine's peaks; None with a note where this engine cannot tell either."""
    from edge_deeplab.errors import MissingExtraError, ModelError
    from edge_deeplab.profiling.operators import profile_operators
    from edge_deeplab.profiling.peaks import measure_peaks
    from edge_deeplab.runtime.flatbuffer import TfliteFile

    try:
        if plan.benchmark_model:
            from edge_deeplab.profiling.benchmark_model import operators_report, run_benchmark_model

            run = run_benchmark_model(
                plan.benchmark_model, path, threads=threads, use_xnnpack=plan.kernels != "builtin",
                warmup=plan.options.warmup, runs=plan.options.runs,
            )  # fmt: skip
            operators = operators_report(TfliteFile.read(path), run, threads=threads)
        else:
            operators = profile_operators(
                path, threads=threads, kernels=plan.kernels, method=plan.operators, options=plan.options
            )
        peaks = measure_peaks(threads=threads, kernels=plan.kernels)
    except (MissingExtraError, ModelError) as error:  # an engine without a graph reader; control flow
        if plan.operators != "auto" or plan.benchmark_model:
            raise
        notes.append(f"No times by operator: {error}.")
        return None, None
    if operators.note:
        notes.append(operators.note)
    return operators, peaks


def _measure_energy(path: Path, plan: ProfilePlan, *, threads: int, notes: list[str]) -> EnergyReport | None:
    from edge_deeplab.profiling.energy import find_meter, measure_energy, why_no_meter
    from edge_deeplab.profiling.engine import random_inputs
    from edge_deeplab.runtime.interpreter import Engine

    meter = find_meter()
    if meter is None:
        notes.append(why_no_meter())
        return None
    _say(f"energy ({meter.source})")
    with Engine(path, threads=threads, kernels=plan.kernels, is_known_good=True) as engine:
        inputs = random_inputs(engine.inputs)
        engine.run(*inputs)
        try:
            return measure_energy(lambda: engine.run(*inputs), meter)
        except (OSError, ValueError) as error:
            notes.append(f"Energy: {meter.source} stopped answering ({error}).")
            return None


def _check_means(plan: ProfilePlan) -> None:
    """Before minutes of measuring: is there what the operators are to be timed with? Raises what using it would."""
    if plan.benchmark_model:
        from edge_deeplab.profiling.benchmark_model import check_tool

        check_tool(plan.benchmark_model)
    elif plan.operators == "profiler":
        from edge_deeplab.runtime.native_profiler import find_profiler

        find_profiler(plan.kernels)


def _measure_frame(
    path: Path, made: tuple[list[np.ndarray], str], size_wh: tuple[int, int], plan: ProfilePlan, *, threads: int
) -> FrameProfile:
    """made: frames and the name of what they show, as moving_frames gives them."""
    import cv2

    from edge_deeplab.cli.frame_program import FrameProgram
    from edge_deeplab.kernels import in_words
    from edge_deeplab.profiling.report import FrameProfile
    from edge_deeplab.profiling.stages import profile_stages

    frames, shows = made
    with FrameProgram(path, frames, threads=threads, kernels=plan.kernels) as program:
        stages = profile_stages(program.step, options=plan.options)
        return FrameProfile(
            size_wh=size_wh,
            threads=threads,
            opencv_threads=cv2.getNumThreads(),
            pixel_kernels=in_words(),
            result=program.result,
            shows=shows,
            stages=stages,
        )


def _say(what: str) -> None:
    click.echo(f"measuring {what}", err=True)
