"""`edge-deeplab report` at work: stages, calibrators and layers scored on the same pictures, with a line of progress.

scorer = Scorer(opened.pairs, score=None, data=opened)
report = run_stages(line, skipped=(), scorer=scorer)
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING

from edge_deeplab.cli.progress_line import ProgressLine

if TYPE_CHECKING:
    from edge_deeplab.cli.predictors import Predictor
    from edge_deeplab.cli.report_layers import LayerFindings
    from edge_deeplab.cli.report_stages import StageLine
    from edge_deeplab.data.catalogue import OpenedData
    from edge_deeplab.data.pairs import LabelledPicture
    from edge_deeplab.evaluation.runner import ClassReport, EvaluationReport
    from edge_deeplab.evaluation.stages import Stage, StageReport


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block SIGTERM ends the program as an exception does, so that temporary folders go away."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Scorer:
    """Scores predictors on the same pairs, with a line of progress.

    Args:
        score: PERSON or CLASSES; None takes what the first predictor and the data allow.
        data: what the pairs are from.
    """

    def __init__(self, pairs: tuple[LabelledPicture, ...], score: str | None, data: OpenedData) -> None:
        self.pairs, self.score, self.data = pairs, score, data
        self.line = ProgressLine()

    def __call__(self, name: str, predictor: Predictor) -> EvaluationReport | ClassReport:
        """The figures of one predictor."""
        from edge_deeplab.cli.evaluate_command import choose_score, score_pairs
        from edge_deeplab.evaluation.inference import Look

        self.score = choose_score(self.score, [predictor], None, self.data)
        total, started_s = len(self.pairs), time.monotonic()

        def show(done: int) -> None:
            left_s = round((time.monotonic() - started_s) / done * (total - done))
            left = "{}:{:02d} left".format(*divmod(left_s, 60))
            self.line.show(f"{name}: {done}/{total} pictures, {left}", is_final=done == total)

        return score_pairs(predictor, self.pairs, self.score, Look(), on_progress=show)

    def say(self, text: str) -> None:
        """Shows what else is being done."""
        self.line.show(text, is_final=False)


def run_stages(line: StageLine, skipped: tuple[str, ...], scorer: Scorer) -> StageReport:
    """Opens and scores every stage. Raises what keeps the float network itself from being scored."""
    from edge_deeplab.cli.report_stages import StageLeftOutError
    from edge_deeplab.errors import ConversionError, ModelError
    from edge_deeplab.evaluation.stages import Stage, StageReport

    stages: list[Stage] = []
    for planned in line.stages(skipped):
        scorer.say(f"{planned.name}: getting ready")
        try:
            predictor, facts = planned.open()
        except StageLeftOutError as reason:
            stages.append(Stage(name=planned.name, gate=planned.gate, missing=str(reason)))
            continue
        except (ConversionError, ModelError) as error:
            if not stages:
                raise
            stages.append(Stage(name=planned.name, gate=planned.gate, missing=str(error), is_failed=True))
            continue
        with contextlib.closing(predictor):
            figures = scorer(planned.name, predictor)
        stages.append(
            Stage(name=planned.name, kind=predictor.kind, gate=planned.gate, report=figures, facts=facts)
        )  # fmt: skip
    return StageReport(stages=tuple(stages))


def run_calibrators(line: StageLine, report: StageReport, scorer: Scorer) -> StageReport:
    """The int8 file of every calibrator, against the same float figures."""
    from edge_deeplab.cli.report_calibrators import compare_calibrators
    from edge_deeplab.evaluation.stages import StageReport

    return StageReport(stages=(report.stages[0], *compare_calibrators(line, scorer)))


def run_layers(
    line: StageLine, pairs: tuple[LabelledPicture, ...], scorer: Scorer, *, worst: int
) -> LayerFindings | str:
    """Where the fake-quantized network loses; or why there is none."""
    from edge_deeplab.cli.report_layers import measure_layers, network_images
    from edge_deeplab.cli.report_stages import StageLeftOutError
    from edge_deeplab.errors import ConversionError

    try:
        source = line.quantized
    except (StageLeftOutError, ConversionError) as reason:
        return str(reason)
    return measure_layers(
        source, network_images(source, pairs), worst=worst, folder=line.folder, score=scorer, on_progress=scorer.say
    )
