"""What is wrong or odd about a data set, each finding with the pairs it is about and what to do.

    for finding in find(facts, listings, context): print(finding.level, finding.title, finding.next_step)

ERROR would stop a training or teach it nonsense; WARNING would mislead it or its figures; NOTE is worth knowing. Each
rule is one function of RULES; none opens a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from edge_deeplab.data.doctor.census import Census
from edge_deeplab.data.doctor.duplicates import near_duplicates
from edge_deeplab.data.doctor.examine import Facts
from edge_deeplab.data.labelling import FOREGROUND, NO_MEANING, PlainLabelling
from edge_deeplab.data.pairs import Listing
from edge_deeplab.labels import IGNORE

Level = Literal["error", "warning", "note"]
SHOWN = 5
RARE_SHARE, MUCH_VOID, SMALLEST_SIDE_PX = 0.001, 0.3, 32
SOFT_NEAR, SOFT_SHARE = 16, 0.8  # a soft mask: most pixels this near to 0 or 255, others between


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing found.

    Attributes:
        code: short and stable, for programs.
        title: what is wrong, with how many.
        detail: which, in words.
        next_step: what to do.
        samples: pairs to look at; for duplicates, those of a group follow each other.
        names: of pairs that cannot be shown, such as missing ones.
    """

    level: Level
    code: str
    title: str
    next_step: str
    detail: str = ""
    samples: tuple[Facts, ...] = field(default=(), repr=False)
    names: tuple[str, ...] = ()

    def examples(self, count: int = SHOWN) -> str:
        """Some of the pairs by split and name."""
        names = self.names or tuple(f"{one.split}: {one.name}" for one in self.samples)
        return ", ".join(names[:count]) + (f" and {len(names) - count} more" if len(names) > count else "")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What findings are judged by.

    Attributes:
        classes: how many labels there are.
        labels: their names.
        censuses: split -> what it is made of.
        training: the splits learnt from; empty where that is not known.
        is_plain: whether the set is a folder of one's own, whose masks alone say what they hold.
    """

    classes: int
    labels: tuple[str, ...]
    censuses: Mapping[str, Census]
    training: tuple[str, ...]
    is_plain: bool


Rule = Callable[[Sequence[Facts], Context], Iterator[Finding]]


def infer_classes(facts: Sequence[Facts]) -> int:
    """The number of classes of masks that do not say: 2 where no mask holds more than 0, 1 and 255, else the highest
    label and one."""
    highest = 1
    for one in facts:
        if one.stored is None or _is_soft(one):
            continue
        values = one.stored.values[one.stored.values != IGNORE]
        highest = max(highest, int(values[-1]) if values.size else 0)
    return highest + 1


def find_missing(listings: Mapping[str, Listing]) -> Iterator[Finding]:
    """Files that lists or names ask for and that are not there."""
    for code, word, step in (
        ("missing-mask", "without a mask", "add the masks, under the pictures' names, or take the pictures away"),
        ("missing-picture", "without a picture", "add the pictures, or take the names off the list or the masks away"),
    ):
        names = tuple(
            f"{split}: {name}"
            for split, listing in listings.items()
            for name in (listing.without_mask if code == "missing-mask" else listing.without_picture)
        )
        if names:
            yield Finding(level="error", code=code, title=f"{_count(names)} {word}", next_step=step, names=names)


def find(facts: Sequence[Facts], context: Context) -> list[Finding]:
    """Every rule's findings, errors first."""
    found = [finding for rule in RULES for finding in rule(facts, context)]
    order = ("error", "warning", "note")
    return sorted(found, key=lambda finding: order.index(finding.level))


def _count(things: Sequence[object], word: str = "pair") -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"


def _broken(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    pictures = tuple(one for one in facts if one.image_error)
    if pictures:
        yield Finding(
            level="error", code="broken-picture", title=f"{_count(pictures, 'picture')} cannot be read",
            detail=pictures[0].image_error or "", next_step="copy them again from their source, or take the pairs away",
            samples=pictures,
        )  # fmt: skip
    masks = tuple(one for one in facts if one.mask_error and not one.colours)
    if masks:
        yield Finding(
            level="error", code="broken-mask", title=f"{_count(masks, 'mask')} cannot be read",
            detail=masks[0].mask_error or "", next_step="copy them again from their source, or take the pairs away",
            samples=masks,
        )  # fmt: skip


def _coloured(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    found = tuple(one for one in facts if one.colours)
    if found:
        most = max(one.colours for one in found)
        is_photo = most > 256
        yield Finding(
            level="error", code="colour-mask", title=f"{_count(found, 'mask')} hold colours, not one label a pixel",
            detail=f"up to {most} colours in a mask"
            + (": too many for classes; a photo, an overlay or a JPEG" if is_photo else ""),
            next_step="look whether pictures and masks were swapped" if is_photo else "save masks as index PNGs: give "
            "each colour its class number, 0 to classes-1, and void 255; a palette PNG of those indices is right, too",
            samples=found,
        )  # fmt: skip


def _sizes(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    found = tuple(one for one in facts if one.size_hw and one.stored and one.size_hw != one.stored.size_hw)
    if not found:
        return
    turned = tuple(one for one in found if one.stored and one.size_hw == one.stored.size_hw[::-1])
    first = found[0]
    assert first.size_hw is not None and first.stored is not None
    yield Finding(
        level="error", code="size-mismatch", title=f"{_count(found, 'mask')} of another size than the picture",
        detail="{}: picture {}x{}, mask {}x{}".format(first.name, *first.size_hw[::-1], *first.stored.size_hw[::-1]),
        next_step="the masks were drawn before the camera's rotation (EXIF) was applied: turn them, or strip the tag"
        if len(turned) == len(found)
        else "resize masks to their pictures without interpolation (nearest), or export them again",
        samples=found,
    )  # fmt: skip


def _is_soft(one: Facts) -> bool:
    """Whether a mask is a two-class mask with grey edges: mostly near 0 and 255, with many values between."""
    if one.stored is None or not isinstance(one.labelling, PlainLabelling):
        return False
    values, counts = one.stored.values, one.stored.counts
    is_end = (values <= SOFT_NEAR) | (values >= FOREGROUND - SOFT_NEAR)
    return bool((~is_end).sum() >= 4 and counts[is_end].sum() >= SOFT_SHARE * counts.sum() and values[-1] > 200)


def _soft(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    found = tuple(one for one in facts if _is_soft(one))
    if found:
        yield Finding(
            level="error", code="grey-edges", title=f"{_count(found, 'mask')} with grey levels between 0 and 255",
            detail="saved with anti-aliasing, scaled with interpolation, or once stored as JPEG",
            next_step="make them 0 and 255 again: above 127 is 255", samples=found,
        )  # fmt: skip


def _jpeg(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    found = tuple(one for one in facts if one.has_jpeg_mask)
    if found:
        yield Finding(
            level="error", code="jpeg-mask", title=f"{_count(found, 'mask')} saved as JPEG, whatever the name says",
            detail="JPEG changes values near every border, and a label that changes is another class",
            next_step="export the masks again as PNG; what was lost cannot be brought back", samples=found,
        )  # fmt: skip


def _out_of_range(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    wrong: Counter[str] = Counter()
    found = []
    for one in facts:
        if one.stored is None or _is_soft(one):
            continue
        unknown = one.stored.values[one.labels(context.classes) == NO_MEANING]
        if unknown.size:
            found.append(one)
            wrong.update(one.labelling.word(int(value)) for value in unknown)
    if not found:
        return
    plain = {int(value) for one in facts if one.stored is not None for value in one.stored.values}
    starts_at_one = context.is_plain and 0 not in plain and set(wrong) == {str(context.classes)}
    shown = ", ".join(f"{value} in {_count(range(times), 'mask')}" for value, times in wrong.most_common(SHOWN))
    yield Finding(
        level="error", code="off-by-one" if starts_at_one else "label-out-of-range",
        title=f"labels begin with 1 in {_count(found, 'mask')}" if starts_at_one
        else f"{_count(found, 'mask')} with values that are no class",
        detail=shown, next_step=f"subtract 1: labels are 0..{context.classes - 1}" if starts_at_one
        else f"labels are 0..{context.classes - 1} and 255 for what is ignored; give --classes N where there are more",
        samples=tuple(found),
    )  # fmt: skip


def _gaps(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    """Grey levels such as 0, 64, 128 in place of 0, 1, 2; and sets that never use label 0."""
    if not context.is_plain:
        return
    counted = [one for one in facts if one.stored is not None and not _is_soft(one)]
    seen = sorted({int(value) for one in counted if one.stored for value in one.stored.values} - {IGNORE})
    if not seen:
        return
    if 3 * len(seen) <= seen[-1] < context.classes:  # what is beyond the classes is said already
        yield Finding(
            level="error", code="grey-levels", title=f"{_count(seen, 'distinct value')} as high as {seen[-1]}",
            detail="values " + ", ".join(map(str, seen[:10])), samples=tuple(counted[:24]),
            next_step="these look like grey levels: number the classes 0, 1, 2 ... without gaps",
        )  # fmt: skip
    elif 0 not in seen and context.classes > 2:
        yield Finding(
            level="warning", code="no-zero", title="label 0 never occurs",
            detail=f"values run from {seen[0]} to {seen[-1]}", samples=tuple(counted[:24]),
            next_step="if they begin with 1, subtract 1; else class 0 is never learnt",
        )  # fmt: skip


def _mixed_coding(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    """Of two classes, 255 is the foreground in masks of 0 and 255, and ignored in others: both in one set is a trap."""
    if not context.is_plain or context.classes != 2:
        return
    sets = [(one, set(one.stored.values.tolist())) for one in facts if one.stored is not None]
    with_one = [one for one, values in sets if 1 in values]
    with_255 = [one for one, values in sets if FOREGROUND in values and values <= {0, FOREGROUND}]
    if with_one and with_255:
        fewer = min(with_one, with_255, key=len)
        yield Finding(
            level="warning", code="mixed-coding",
            title=f"two ways to mark class 1: {_count(with_255, 'mask')} with 255, {_count(with_one, 'mask')} with 1",
            detail="255 is read as class 1 in a mask of 0 and 255 alone, and as ignored beside 1",
            next_step="save all masks the same way", samples=tuple(fewer),
        )  # fmt: skip


def _uniform(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    void, constant = [], []
    for one in facts:
        if one.stored is None:
            continue
        labels = {int(label) for label in one.labels(context.classes)}
        if labels == {IGNORE}:
            void.append(one)
        elif len(labels) == 1:
            constant.append(one)
    if void:
        yield Finding(
            level="warning", code="all-void", title=f"{_count(void, 'mask')} of void alone",
            next_step="nothing is learnt from them: take them away", samples=tuple(void),
        )  # fmt: skip
    if constant:
        of = Counter(_name(int(one.labels(context.classes)[0]), context) for one in constant)
        detail = ", ".join(f"{times} {name}" for name, times in of.most_common(SHOWN))
        yield Finding(
            level="warning", code="constant-mask", title=f"{_count(constant, 'mask')} of one class alone",
            detail=detail,
            next_step="look whether these pictures really show nothing else", samples=tuple(constant),
        )  # fmt: skip


def _name(label: int, context: Context) -> str:
    return context.labels[label] if 0 <= label < len(context.labels) else str(label)


def _classes(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    for split, census in context.censuses.items():
        if census.pairs == 0:
            continue
        absent = [_name(at, context) for at in range(context.classes) if census.pixels[at] == 0]
        rare = [
            f"{_name(at, context)} {share:.2%} in {_count(range(int(census.pictures[at])), 'picture')}"
            for at, share in enumerate(census.shares)
            if 0 < share < RARE_SHARE
        ]
        is_training = split in context.training or not context.training
        if absent:
            yield Finding(
                level="warning" if is_training else "note", code="absent-class",
                title=f"{split}: {len(absent)} of {context.classes} classes never occur", detail=", ".join(absent[:20]),
                next_step="they cannot be learnt; add pictures of them, or leave the classes out" if is_training
                else "their IoU is not measured by this split",
            )  # fmt: skip
        if rare and is_training:
            yield Finding(
                level="note", code="rare-class",
                title=f"{split}: {len(rare)} classes on less than {RARE_SHARE:.1%} of the pixels",
                detail=", ".join(rare[:20]), next_step="weigh them with loss.class_weights, and watch their IoU alone",
            )  # fmt: skip
        if census.void_share > MUCH_VOID:
            yield Finding(
                level="warning", code="much-void", title=f"{split}: {census.void_share:.0%} of the pixels are ignored",
                next_step="look whether 255 (or the set's void) really means void in these masks",
            )  # fmt: skip


def _small(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    found = tuple(one for one in facts if one.size_hw and min(one.size_hw) < SMALLEST_SIDE_PX)
    if found:
        yield Finding(
            level="warning", code="tiny-picture",
            title=f"{_count(found, 'picture')} with a side below {SMALLEST_SIDE_PX} pixels",
            next_step="there is little to learn from a thumbnail: take larger originals", samples=found,
        )  # fmt: skip


def _duplicates(facts: Sequence[Facts], context: Context) -> Iterator[Finding]:
    groups = [[facts[index] for index in group] for group in near_duplicates([one.look for one in facts])]
    across = [group for group in groups if len({one.split for one in group}) > 1]
    within = [group for group in groups if len({one.split for one in group}) == 1]
    for code, found, where, step in (
        ("leak", across, "in more than one split", "take them out of the training split: figures on the other are "
         "too good by them"),
        ("duplicate", within, "within a split", "keep one of each group; of a video, take frames further apart"),
    ):  # fmt: skip
        if found:
            pictures = tuple(one for group in found for one in group)
            yield Finding(
                level="warning", code=code,
                title=f"{len(pictures)} near-duplicate pictures {where}, in {_count(found, 'group')}",
                detail="; ".join(" = ".join(f"{one.split}: {one.name}" for one in group[:3]) for group in found[:3]),
                next_step=step, samples=pictures,
            )  # fmt: skip


RULES: tuple[Rule, ...] = (
    _broken, _coloured, _jpeg, _sizes, _soft, _out_of_range, _gaps, _mixed_coding, _uniform, _classes, _small,
    _duplicates,
)  # fmt: skip
