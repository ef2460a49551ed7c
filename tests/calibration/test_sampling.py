from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from edge_deeplab.calibration.descriptors import NEAR_DUPLICATE
from edge_deeplab.calibration.recipe import SamplingRecipe
from edge_deeplab.calibration.sampling import Picture, choose_samples
from edge_deeplab.errors import DataError, RecipeError

SIZE_HW = (32, 48)


def picture(index: int, *, source: str = "set", seed: int = 0) -> Picture:
    """A blurry picture of its own; the same index gives the same picture."""
    rng = np.random.default_rng((seed, index))
    coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Picture(source=source, name=f"{index:03}.png", image=np.kron(coarse, np.ones((10, 10, 1), np.uint8)))


def pictures(count: int, **more: object) -> Iterator[Picture]:
    return (picture(index, **more) for index in range(count))  # type: ignore[arg-type]


def recipe(**changes: object) -> SamplingRecipe:
    return SamplingRecipe(**{"count": 10, "size_hw": SIZE_HW, **changes})  # type: ignore[arg-type]


def names(choice: object) -> list[str]:
    return [sample.name for sample in choice.samples]  # type: ignore[attr-defined]


@pytest.mark.parametrize("coverage", [0.0, 0.5, 1.0])
def test_as_many_as_asked_at_the_size_asked_and_none_twice(coverage: float) -> None:
    choice = choose_samples(pictures(120), recipe(coverage=coverage))
    assert len(names(choice)) == len(set(names(choice))) == 10
    assert names(choice) == sorted(names(choice))  # in the order of the source
    assert sum(sample.why == "coverage" for sample in choice.samples) == round(10 * coverage)
    assert {sample.image.shape for sample in choice.samples} == {(*SIZE_HW, 3)}
    assert {sample.original_hw for sample in choice.samples} == {(60, 80)}
    assert choice.seen == {"set": 120}
    assert choice.near_duplicates == 0


def test_the_seed_decides_and_nothing_else() -> None:
    first = choose_samples(pictures(80), recipe())
    assert names(choose_samples(pictures(80), recipe())) == names(first)
    assert names(choose_samples(pictures(80), recipe(seed=1))) != names(first)


def test_coverage_lies_closer_to_everything_than_chance_does() -> None:
    pool = [picture(index) for index in range(60)]
    pool += [Picture(source="set", name=f"dark{index}", image=p.image // 8) for index, p in enumerate(pool[:2])]
    spread = {share: choose_samples(pool, recipe(coverage=share, count=6)).radius for share in (0.0, 1.0)}
    assert spread[1.0] < spread[0.0]
    chosen = choose_samples(pool, recipe(coverage=1.0, count=6))
    assert any(name.startswith("dark") for name in names(chosen))  # the rare ones are not missed


def test_near_duplicates_are_rejected_and_counted() -> None:
    def stream() -> Iterator[Picture]:
        for index in range(6):
            yield picture(index)
            for copy in range(3):
                twin = picture(index)
                noise = np.random.default_rng(copy).integers(0, 3, twin.image.shape).astype(np.uint8)
                yield Picture(source="set", name=f"{index}twin{copy}", image=np.minimum(twin.image, 250) + noise)

    choice = choose_samples(stream(), recipe())
    assert names(choice) == [f"{index:03}.png" for index in range(6)]
    assert choice.near_duplicates == 18
    assert choice.seen == {"set": 24}


def test_memory_does_not_grow_with_the_stream_and_far_pictures_stay() -> None:
    alive = 0

    class Counted(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def stream() -> Iterator[Picture]:
        nonlocal alive
        for index in range(300):
            alive += 1
            yield Picture(source="set", name=f"{index}", image=picture(index).image.view(Counted))
            assert alive < 60

    choice = choose_samples(stream(), recipe(count=5, coverage=1.0))
    assert len(choice.samples) == 5
    vectors = np.stack([sample.look.vector for sample in choice.samples])
    gaps = np.linalg.norm(vectors[:, None] - vectors[None], axis=2)[np.triu_indices(5, 1)]
    assert gaps.min() > 10 * NEAR_DUPLICATE


def test_sources_are_counted_apart() -> None:
    def both() -> Iterator[Picture]:
        yield from pictures(5, source="a", seed=1)
        yield from pictures(7, source="b", seed=2)

    choice = choose_samples(both(), recipe(count=50))
    assert choice.seen == {"a": 5, "b": 7}
    assert len(choice.samples) == 12


def test_progress_counts_every_picture() -> None:
    seen: list[int] = []
    choose_samples(pictures(4), recipe(), on_progress=seen.append)
    assert seen == [1, 2, 3, 4]


def test_the_sample_is_a_copy_where_the_size_is_right_already() -> None:
    one = picture(0)
    choice = choose_samples([one], recipe(size_hw=(60, 80)))
    np.testing.assert_array_equal(choice.samples[0].image, one.image)
    one.image[:] = 0
    assert choice.samples[0].image.any()


def test_nothing_and_nonsense_are_refused() -> None:
    with pytest.raises(DataError, match="no picture to calibrate on"):
        choose_samples([], recipe())
    with pytest.raises(RecipeError, match="count: out of range; came 0"):
        recipe(count=0)
    with pytest.raises(RecipeError, match="coverage: out of range"):
        recipe(coverage=1.5)
