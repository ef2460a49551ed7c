"""What in a .tflite is slow or risky on devices: findings with their cost or source, and what to do.

    report = inspect_model(path)
    for finding in lint_model(TfliteFile.read(path), report):
        print(finding.severity, finding.rule, finding.what)

The rules stand in lint_rules.py, what other devices take in device_profiles.py, and what each fault costs in
lint_costs.json, which benchmarks/lint_costs.py measures. How findings are printed is for the command.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from edge_deeplab.converters.inspect import REQUANTIZERS, ModelReport, layer_name
from edge_deeplab.converters.linting.device_profiles import PROFILES
from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord, TfliteFile

SEVERITIES = ("info", "warning", "error")
"""info: good to know. warning: slower, or refused on some devices. error: does not load, or computes wrong numbers."""
DEVICES = ("xnnpack", *PROFILES)
MEASURED_SAME = 0.02  # a ratio whose interval comes this near to 1 is called no difference
COSTS_FILE = "lint_costs.json"
DEVICE_RULE = "device-operators"  # its sources are those of the device asked for

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
RESIZES = ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
BATCH_MOVES = ("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND")
INDEX_OPERATORS = ("ARG_MAX", "ARG_MIN")

XNNPACK_PAGE = (
    "https://github.com/google-ai-edge/LiteRT/blob/main/tflite/delegates/xnnpack/README.md"
    " (Limitations and supported operators)"
)
QUANTIZATION_PAGE = "https://www.tensorflow.org/lite/performance/quantization_spec"
QUANTIZING_PAGE = "https://www.tensorflow.org/lite/performance/post_training_quantization"
ISSUE = "https://github.com/tensorflow/tensorflow/issues/"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the file a rule found something.

    Attributes:
        index: of the operator; None for the file as a whole.
        operator: its name in the schema, or the name of a tensor.
        layer: the layer it was made of.
        detail: what is special here; "" where the rule has said all.
        severity: where it is not the rule's own.
    """

    index: int | None = None
    operator: str = ""
    layer: str = ""
    detail: str = ""
    severity: str | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One rule's findings in one file.

    Attributes:
        rule: its id.
        severity: one of SEVERITIES, the gravest of its places.
        what: what is there, one sentence.
        why: what it does to speed, accuracy or portability.
        cost: what it was measured to cost; None where it is no matter of time.
        sources: where that can be read.
        fix: what to do.
    """

    rule: str
    severity: str
    what: str
    why: str
    cost: str | None
    sources: tuple[str, ...]
    fix: str
    places: tuple[Place, ...]

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)


class Subject:
    """A file under the linter, with what several rules want to know of it.

    Attributes:
        model: its graph.
        report: what inspect found.
        device: one of DEVICES.
    """

    def __init__(self, model: TfliteFile, report: ModelReport, device: str) -> None:
        self.model = model
        self.report = report
        self.device = device

    @cached_property
    def readers(self) -> dict[int, list[OperatorRecord]]:
        """The operators that read a tensor, by its index."""
        found: dict[int, list[OperatorRecord]] = {}
        for operator in self.model.operators:
            for index in {tensor.index for tensor in operator.inputs if tensor is not None}:
                found.setdefault(index, []).append(operator)
        return found

    @cached_property
    def makers(self) -> dict[int, OperatorRecord]:
        """The operator that makes a tensor, by its index."""
        return {tensor.index: operator for operator in self.model.operators for tensor in operator.outputs}

    @cached_property
    def reasons(self) -> dict[int, str]:
        """Why the delegate leaves an operator, by its index; empty where it takes all or the file did not load."""
        return {row.index: row.reason or "" for row in self.report.undelegated}

    @cached_property
    def end_indices(self) -> set[int]:
        """Operators that are an allowed QUANTIZE or DEQUANTIZE at an end."""
        left_over = {entry.index for entry in self.report.left_overs}
        return {entry.index for entry in self.report.requantizers} - left_over

    @cached_property
    def is_quantized(self) -> bool:
        """Whether its convolutions compute in integers."""
        made = Counter(one.outputs[0].dtype for one in self.model.operators if one.name in CONVOLUTIONS)
        return made["int8"] + made["uint8"] + made["int16"] > made["float32"]

    @cached_property
    def resizes(self) -> list[OperatorRecord]:
        """The resizes that interpolate: from one pixel, or to the same size, every rule gives the same."""
        return [
            operator
            for operator in self.named(*RESIZES)
            if (taken := operator.inputs[0]) is not None
            and taken.shape[1:3] not in (operator.outputs[0].shape[1:3], (1, 1))
        ]

    @cached_property
    def logits(self) -> set[int]:
        """The outputs, and what they were before they were enlarged, requantized or turned into probabilities."""
        passing = (*RESIZES, *REQUANTIZERS, *INDEX_OPERATORS, "SOFTMAX", "LOGISTIC", "RESHAPE")
        found, open_ones = set(), [tensor.index for tensor in self.model.outputs]
        while open_ones:
            found.add(open_ones[-1])
            maker = self.makers.get(open_ones.pop())
            if maker is not None and maker.name in passing and maker.inputs[0] is not None:
                open_ones.append(maker.inputs[0].index)
        return found

    def named(self, *names: str) -> Iterator[OperatorRecord]:
        """The operators of these names, in file order."""
        return (operator for operator in self.model.operators if operator.name in names)


def kernel_of(operator: OperatorRecord) -> TensorRecord | None:
    """The weights of a convolution; None where they are computed or left out."""
    if operator.name not in CONVOLUTIONS or len(operator.inputs) < 2:
        return None
    kernel = operator.inputs[1]
    return kernel if kernel is not None and kernel.is_constant else None


def at(operator: OperatorRecord, detail: str = "", *, severity: str | None = None) -> Place:
    """The place of an operator."""
    return Place(
        index=operator.index, operator=operator.name, layer=layer_name(operator), detail=detail, severity=severity
    )


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing to look for.

    Attributes:
        id: short and stable: people put it into scripts.
        severity: of a place that does not say otherwise.
        what, why, fix: as Finding's.
        sources: documentation or issue threads; a rule without a measured cost needs one.
        look: subject -> places; empty when all is well.
    """

    id: str
    severity: str
    what: str
    why: str
    fix: str
    look: Callable[[Subject], Iterable[Place]]
    sources: tuple[str, ...] = ()


@cache
def measured_costs() -> dict[str, Any]:
    """What benchmarks/lint_costs.py measured: the host, the engine, and a ratio with its interval by case."""
    return dict(json.loads(files("edge_deeplab.converters.linting").joinpath(COSTS_FILE).read_text()))


def cost_of(rule_id: str) -> str | None:
    """The measured cost of a rule's fault as a phrase; None where none was measured."""
    document = measured_costs()
    case = document["costs"].get(rule_id)
    if case is None:
        return None
    ratio, alone, with_it = case["ratio"], case["clean_ms"], case["fault_ms"]
    where = f"{case['case']} ({document['host']}, 1 thread)"
    if case["low"] - MEASURED_SAME <= 1 <= case["high"] + MEASURED_SAME:
        return f"no time of its own: {where}"
    return f"{ratio:.{2 if ratio < 10 else 0}f} times, {with_it:.2f} against {alone:.2f} ms: {where}"


def lint_model(model: TfliteFile, report: ModelReport, *, device: str = "xnnpack") -> tuple[Finding, ...]:
    """Every rule over one file, the gravest findings first.

    model, report: of the same file. device: one of DEVICES; xnnpack is the interpreter in use, asked itself, the others
        are judged by what their documentation says.
    Raises: UsageError for another device.
    """
    from edge_deeplab.converters.linting.lint_rules import RULES  # the rules stand on this module

    if device not in DEVICES:
        raise UsageError("unknown device", came=device, allowed=nearest(device, DEVICES))
    subject = Subject(model, report, device)
    found = [_finding(rule, places, device) for rule in RULES if (places := tuple(rule.look(subject)))]
    return tuple(sorted(found, key=lambda finding: -SEVERITIES.index(finding.severity)))


def _finding(rule: Rule, places: tuple[Place, ...], device: str) -> Finding:
    gravest = max((place.severity or rule.severity for place in places), key=SEVERITIES.index)
    return Finding(
        rule=rule.id, severity=gravest, what=rule.what, why=rule.why, cost=cost_of(rule.id),
        sources=PROFILES[device].sources if rule.id == DEVICE_RULE else rule.sources, fix=rule.fix, places=places,
    )  # fmt: skip


def at_or_above(findings: Sequence[Finding], severity: str) -> tuple[Finding, ...]:
    """The findings that are at least that grave."""
    return tuple(one for one in findings if SEVERITIES.index(one.severity) >= SEVERITIES.index(severity))
