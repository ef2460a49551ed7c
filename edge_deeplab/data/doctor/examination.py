"""The doctor's round: every pair of every split examined in worker threads, then judged.

    diagnosis = diagnose([open_data("camvid@train"), open_data("camvid@val")], on_progress=print)
    diagnosis.errors, diagnosis.findings, diagnosis.censuses

OpenCV lets go of the interpreter lock while it decodes, so threads are enough. Only small facts are kept of a pair.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from edge_deeplab.data.catalogue import OpenedData
from edge_deeplab.data.doctor.census import Census
from edge_deeplab.data.doctor.examine import Facts, examine
from edge_deeplab.data.doctor.findings import Context, Finding, find, find_missing, infer_classes
from edge_deeplab.data.pairs import Pair, spread
from edge_deeplab.errors import DataError
from edge_deeplab.labels import PORTRAIT

MOST_WORKERS = 8  # a picture of 100 megapixels takes 300 MB while it is decoded, in each of them
IN_FLIGHT = 4  # pairs a worker may be ahead


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that was found.

    Attributes:
        data: what was examined, one entry a split.
        labels: of the classes, made up as numbers where a set does not say.
        censuses: split -> what it is made of.
        findings: errors first.
    """

    data: tuple[OpenedData, ...]
    labels: tuple[str, ...]
    censuses: dict[str, Census]
    findings: tuple[Finding, ...]
    facts: tuple[Facts, ...] = field(repr=False)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those that would break a training."""
        return tuple(finding for finding in self.findings if finding.level == "error")

    @property
    def weighed(self) -> tuple[str, Census]:
        """The split that class weights are counted on, the first one, and its census."""
        name = self.data[0].name
        return name, self.censuses[name]

    def to_dict(self) -> dict[str, Any]:
        """All of it but pictures, for JSON."""
        return {
            "data_set": self.data[0].data_set.name,
            "classes": list(self.labels),
            "splits": {name: self._split(census) for name, census in self.censuses.items()},
            "class_weights": {
                "split": self.weighed[0],
                "median_frequency": [round(float(one), 4) for one in self.weighed[1].median_frequency()],
                "enet": [round(float(one), 4) for one in self.weighed[1].enet()],
            },
            "findings": [
                {
                    "level": finding.level, "code": finding.code, "title": finding.title, "detail": finding.detail,
                    "next_step": finding.next_step,
                    "pairs": list(finding.names) or [f"{one.split}: {one.name}" for one in finding.samples],
                }
                for finding in self.findings
            ],
        }  # fmt: skip

    def _split(self, census: Census) -> dict[str, Any]:
        return {
            "pairs": census.pairs,
            "sizes": {"{1}x{0}".format(*size): count for size, count in census.sizes.most_common()},
            "ignored_share": census.void_share,
            "pixels": dict(zip(self.labels, census.pixels.tolist(), strict=True)),
            "pictures": dict(zip(self.labels, census.pictures.tolist(), strict=True)),
        }


def default_workers() -> int:
    """A thread for each processor, and no more than the memory of large pictures allows."""
    return max(1, min(MOST_WORKERS, os.cpu_count() or 1))


def diagnose(
    data: Sequence[OpenedData], *, classes: int | None = None, limit: int | None = None, workers: int | None = None,
    on_progress: Callable[[int], None] = lambda done: None, on_total: Callable[[int], None] = lambda total: None,
) -> Diagnosis:  # fmt: skip
    """Examines splits together.

    Args:
        data: splits of one set, or folders of the same classes; the first is the one that is learnt from.
        classes: of masks that do not say; None infers them.
        limit: pairs of each split, evenly spread.
        on_progress, on_total: told how many pairs are done, and of how many.
    Raises: DataError for splits of one name, for sets of different classes, and where there is nothing.
    """
    names = [one.name for one in data]
    if len(set(names)) < len(names):
        raise DataError("two splits of one name", came=", ".join(names), next_step="name folders that differ")
    if len({one.labels for one in data}) > 1:
        raise DataError(
            "sets of different classes", came=", ".join(f"{one.name}: {one.data_set.name}" for one in data),
            next_step="examine them one by one",
        )  # fmt: skip
    listings = {one.name: one.listing for one in data}
    chosen = {name: spread(listing.pairs, limit) for name, listing in listings.items()}
    missing = tuple(find_missing(listings))
    if not any(chosen.values()) and not missing:
        raise DataError(f"{', '.join(str(one.root) for one in data)}: holds no pairs", allowed=data[0].data_set.layout)
    on_total(sum(map(len, chosen.values())))
    tasks = ((pair, name) for name, pairs in chosen.items() for pair in pairs)
    facts = []
    for one in _examined(tasks, workers or default_workers()):
        facts.append(one)
        on_progress(len(facts))
    labels = data[0].labels
    count = len(labels) or classes or infer_classes(facts)
    labels = labels or (PORTRAIT if count == 2 else tuple(map(str, range(count))))
    by_split = {name: [one for one in facts if one.split == name] for name in names}
    censuses = {name: Census.of(found, classes=count) for name, found in by_split.items()}
    context = Context(
        classes=count, labels=labels, censuses=censuses, is_plain=not data[0].labels,
        training=tuple(one.name for one in data if one.split.startswith(one.data_set.train)) if data[0].labels else (),
    )  # fmt: skip
    return Diagnosis(
        data=tuple(data), labels=labels, censuses=censuses, findings=(*missing, *find(facts, context)),
        facts=tuple(facts),
    )  # fmt: skip


def _examined(tasks: Iterable[tuple[Pair, str]], workers: int) -> Iterator[Facts]:
    """Facts in the order of the tasks, a bounded number of pairs ahead."""
    waiting: deque[Future[Facts]] = deque()
    remaining = iter(tasks)
    with ThreadPoolExecutor(workers, thread_name_prefix="doctor") as pool:
        try:
            for pair, split in itertools.islice(remaining, workers * IN_FLIGHT):
                waiting.append(pool.submit(examine, pair, split=split))
            while waiting:
                facts = waiting.popleft().result()
                for pair, split in itertools.islice(remaining, 1):
                    waiting.append(pool.submit(examine, pair, split=split))
                yield facts
        finally:
            for future in waiting:
                future.cancel()
