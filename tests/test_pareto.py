"""Fronts: against the definitions by brute force, and on examples worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from random import Random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from src.utils.study.pareto import (
    Points,
    epsilon_non_dominated,
    extent,
    front_of,
    hypervolume,
    non_dominated,
    reference_point,
    spread,
)

DIMENSIONS = (1, 2, 3, 4)
PROPERTY = settings(max_examples=100, deadline=None)


def point_sets(*dimensions: int, least: int = 0, most: int = 12) -> st.SearchStrategy[Points]:
    """Points on a coarse grid (ties and equal points) or anywhere in the unit cube."""
    values = st.one_of(st.integers(0, 4).map(float), st.floats(0, 1, allow_subnormal=False))
    shapes = st.tuples(st.integers(least, most), st.sampled_from(dimensions))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=values))


def random_sets(dimension: int, count: int, most: int) -> Iterator[Points]:
    """Coarse grids, points without ties, and points near a front."""
    rng = np.random.default_rng(dimension)
    for number in range(count):
        shape = (int(rng.integers(0, most + 1)), dimension)
        if number % 3 == 0:
            yield rng.integers(0, 6, shape).astype(float)
        elif number % 3 == 1:
            yield rng.normal(size=shape)
        else:
            directions = np.abs(rng.normal(size=shape)) + 1e-9
            lengths = rng.uniform(0.9, 1, (shape[0], 1))
            yield 1 - lengths * directions / np.linalg.norm(directions, axis=1, keepdims=True)


def dominates(p: Points, q: Points) -> bool:
    return all(a <= b for a, b in zip(p, q, strict=True)) and any(a < b for a, b in zip(p, q, strict=True))


def front_by_definition(points: Points) -> list[bool]:
    """Dominated by no point, and equal to none before it: every pair is looked at."""
    return [
        not any(dominates(q, p) for q in points) and not any((q == p).all() for q in points[:number])
        for number, p in enumerate(points)
    ]


def volume_by_cells(points: Points, corner: Points) -> float:
    """The coordinates of points and corner cut space into cells; those above a point count. Exact up to rounding."""
    dimension = len(corner)
    edges = [np.unique(np.append(points[points[:, i] < corner[i], i], corner[i])) for i in range(dimension)]
    low = np.stack(np.meshgrid(*(edge[:-1] for edge in edges), indexing="ij"), axis=-1).reshape(-1, dimension)
    sides = np.stack(np.meshgrid(*(np.diff(edge) for edge in edges), indexing="ij"), axis=-1).reshape(-1, dimension)
    dominated = (points[:, None] <= low).all(axis=2).any(axis=0)
    return float(sides.prod(axis=1)[dominated].sum())


def volume_by_inclusion_and_exclusion(points: Points, corner: Points) -> Fraction:
    """Boxes from the points to the corner, minus the overlaps of two, plus those of three, ...; exact."""
    exact = [[Fraction(value) for value in point] for point in points.tolist()]
    end = [Fraction(value) for value in corner.tolist()]
    volume = Fraction(0)
    for size in range(1, len(exact) + 1):
        for chosen in combinations(exact, size):
            overlap = Fraction((-1) ** (size + 1))
            for i, limit in enumerate(end):
                overlap *= max(Fraction(0), limit - max(point[i] for point in chosen))
            volume += overlap
    return volume


# The front


@PROPERTY
@given(point_sets(*DIMENSIONS))
def test_front_is_what_the_definition_says(points: Points) -> None:
    assert non_dominated(points).tolist() == front_by_definition(points)


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_front_of_many_points_is_what_the_definition_says(dimension: int) -> None:
    for points in random_sets(dimension, count=60, most=40):
        assert non_dominated(points).tolist() == front_by_definition(points)


@PROPERTY
@given(point_sets(*DIMENSIONS), st.randoms(use_true_random=False))
def test_front_does_not_depend_on_the_order_of_different_points(points: Points, random: Random) -> None:
    points = np.unique(points, axis=0)
    order = list(range(len(points)))
    random.shuffle(order)
    assert (non_dominated(points[order]) == non_dominated(points)[order]).all()


def test_of_equal_points_the_first_stays_and_ties_are_dominated() -> None:
    points = [[1, 1], [0, 2], [1, 1], [0, 3], [2, 0], [2, 1]]
    assert non_dominated(points).tolist() == [True, True, False, False, True, False]
    assert non_dominated([[-0.0, 0.0], [0.0, -0.0]]).tolist() == [True, False]
    assert non_dominated([[2], [1], [1], [3]]).tolist() == [False, True, False, False]


# The thinned front


@PROPERTY
@given(point_sets(*DIMENSIONS), st.floats(0.05, 3), st.floats(-1, 1))
def test_thinned_front_is_what_the_definition_says(points: Points, side: float, origin: float) -> None:
    boxes = [tuple(np.floor((p - origin) / side)) for p in points]
    inner = [float((((p - origin) / side - box) ** 2).sum()) for p, box in zip(points, boxes, strict=True)]
    kept = epsilon_non_dominated(points, side, origin)
    assert not (kept & ~non_dominated(points)).any()
    assert {boxes[i] for i in np.flatnonzero(kept)} == {
        box for box in boxes if not any(dominates(np.array(other), np.array(box)) for other in boxes)
    }
    assert len({boxes[i] for i in np.flatnonzero(kept)}) == kept.sum()
    for i in np.flatnonzero(kept):
        assert inner[i] == pytest.approx(min(d for d, box in zip(inner, boxes, strict=True) if box == boxes[i]))


@PROPERTY
@given(point_sets(*DIMENSIONS, least=1), st.floats(0.05, 3))
def test_every_point_is_covered_within_a_box(points: Points, side: float) -> None:
    kept = points[epsilon_non_dominated(points, side)]
    covered = np.all(kept[None] < points[:, None] + side + 1e-9, axis=2)  # (all points, kept points)
    assert np.any(covered, axis=1).all()


@PROPERTY
@given(arrays(np.float64, st.tuples(st.integers(0, 12), st.integers(1, 4)), elements=st.integers(0, 4).map(float)))
def test_small_boxes_give_the_front(points: Points) -> None:
    for side in (0.9, 0.3, 1e-6):
        assert epsilon_non_dominated(points, side, 0.0).tolist() == non_dominated(points).tolist()


def test_boxes_of_a_known_example() -> None:
    points = [[0.1, 2.6], [0.6, 2.1], [0.5, 2.5], [1.2, 1.8], [1.9, 1.1], [2.5, 1.4], [2.1, 0.95], [3.5, 0.5]]
    # Boxes of side 1: (0,2) holds 0, 1, 2; (1,1) holds 3, 4; (2,1) is dominated; (2,0) holds 6 and dominates (3,0).
    assert np.flatnonzero(epsilon_non_dominated(points, 1.0, 0.0)).tolist() == [1, 3, 6]
    # From (0.5, 0.5): (-1,2) holds 0; (0,1) holds 1, 3 and dominates (0,2); (1,0) holds 4, 6 and dominates the rest.
    assert np.flatnonzero(epsilon_non_dominated(points, 1.0, 0.5)).tolist() == [0, 1, 4]
    assert np.flatnonzero(epsilon_non_dominated(points, [10.0, 0.7], [0.0, 0.1])).tolist() == [7]


# Hypervolume


def test_hypervolume_of_known_fronts() -> None:
    assert hypervolume([[1, 3], [2, 2], [3, 1], [3, 3], [0, 5], [4, 0]], [4, 4]) == 6
    assert hypervolume([[1, 1, 1]], [2, 3, 4]) == 6
    assert hypervolume([[0, 1, 1], [1, 0, 1], [1, 1, 0]], 2.0) == 8 - 1 - 3
    assert hypervolume(np.empty((0, 3)), 1.0) == 0
    assert hypervolume([[1, 0]], [1, 1]) == 0


@PROPERTY
@given(point_sets(*DIMENSIONS, most=10), st.sampled_from([3.5, 1.0, 0.25]))
def test_hypervolume_counts_the_cells_that_are_dominated(points: Points, reference: float) -> None:
    corner = np.full(points.shape[1], reference)
    assert hypervolume(points, corner) == pytest.approx(volume_by_cells(points, corner), rel=1e-9, abs=1e-12)
    assert hypervolume(points, reference) == hypervolume(points, corner)


@settings(max_examples=60, deadline=None)
@given(point_sets(*DIMENSIONS, most=6), st.sampled_from([3.5, 0.5]))
def test_hypervolume_is_that_of_boxes_less_their_overlaps(points: Points, reference: float) -> None:
    corner = np.array([reference - 0.125 * number for number in range(points.shape[1])])
    expected = float(volume_by_inclusion_and_exclusion(points, corner))
    assert hypervolume(points, corner) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("dimension", "most"), [(1, 40), (2, 40), (3, 25), (4, 10)])
def test_hypervolume_of_many_points_counts_the_cells_that_are_dominated(dimension: int, most: int) -> None:
    for points in random_sets(dimension, count=45, most=most):
        corner = np.full(dimension, 0.97 if len(points) % 2 else 4.5)
        assert hypervolume(points, corner) == pytest.approx(volume_by_cells(points, corner), rel=1e-9, abs=1e-12)


@PROPERTY
@given(point_sets(*DIMENSIONS, least=2))
def test_hypervolume_grows_with_points_and_depends_on_the_front_only(points: Points) -> None:
    corner = np.full(points.shape[1], 3.5)
    whole = hypervolume(points, corner)
    assert hypervolume(points[:-1], corner) <= whole * (1 + 1e-12)
    assert hypervolume(points[non_dominated(points)], corner) == pytest.approx(whole)
    assert hypervolume(points[::-1], corner) == pytest.approx(whole)
    assert hypervolume(points - 0.25, corner) >= whole
    assert hypervolume(points, corner + 1) >= whole


@PROPERTY
@given(point_sets(*DIMENSIONS, least=1))
def test_a_flat_objective_multiplies_the_volume(points: Points) -> None:
    flat = np.column_stack([points, np.full(len(points), 0.5)])
    corner = [3.5] * points.shape[1]
    assert hypervolume(flat, [*corner, 2.5]) == pytest.approx(2 * hypervolume(points, corner))


def test_reference_point_is_shared_by_all_fronts() -> None:
    fronts = [np.array([[0.0, 4.0], [1.0, 2.0]]), np.array([[2.0, 0.0]]), np.empty((0, 2))]
    assert reference_point(fronts).tolist() == pytest.approx([2.2, 4.4])
    assert reference_point(fronts, margin=0).tolist() == [2, 4]
    assert all(hypervolume(front, reference_point(fronts)) > 0 for front in fronts[:2])


# Front, volume and spread together


@PROPERTY
@given(point_sets(*DIMENSIONS, least=1))
def test_a_front_is_made_of_its_parts(points: Points) -> None:
    front = front_of(points.tolist())
    assert front.values.tolist() == points.tolist()
    assert front.mask.tolist() == front_by_definition(points)
    assert front.count == sum(front_by_definition(points))
    assert front.reference.tolist() == reference_point([points]).tolist()
    assert front.volume == pytest.approx(volume_by_cells(points, front.reference), rel=1e-9, abs=1e-12)
    assert front.spread == pytest.approx(spread(points[front.mask]), nan_ok=True)


def test_fronts_of_one_reference_point_can_be_compared() -> None:
    points = [[1.0, 3.0], [3.0, 1.0], [3.0, 3.0]]
    front = front_of(points, 4.0)
    assert (front.reference.tolist(), front.volume, front.count) == ([4, 4], 5, 2)
    assert front_of(points[:1], [4.0, 4.0]).volume == 3
    with pytest.raises(ValueError, match=r"reference is \[4.0, 4.0, 4.0\]; allowed: a finite number or 2 of them"):
        front_of(points, [4.0, 4.0, 4.0])
    with pytest.raises(ValueError, match="not finite"):
        front_of([[0.0, np.nan]])
    with pytest.raises(ValueError, match="hold no points"):
        front_of(np.empty((0, 2)))


# Extent and spread


def test_extent_is_the_range() -> None:
    assert extent([[1, 5], [3, 2]]).tolist() == [2, 3]
    assert extent([[1, 5]]).tolist() == extent(np.empty((0, 2))).tolist() == [0, 0]


def test_spread_of_known_fronts() -> None:
    even = np.array([[i, 4 - i] for i in range(5)], dtype=float)
    assert spread(even) == pytest.approx(0)
    assert spread(even * [1, 100]) == pytest.approx(0)
    assert spread([[0, 4], [1, 3], [4, 0]]) == pytest.approx(0.5)  # gaps 1 and 3
    assert spread([[0, 4], [0, 4], [0, 4], [4, 0]]) == pytest.approx(4 / 3)  # gaps 0, 0 and 1
    assert spread(np.eye(3)) == pytest.approx(0)
    narrow = np.array([[0, 4], [1, 3], [4, 0]]) * np.spacing(1.0)
    assert spread(1 + narrow) == pytest.approx(0.5)  # not lost in rounding
    for few in (np.empty((0, 2)), [[0, 1]], [[0, 1], [1, 0]], [[1, 1]] * 4):
        assert np.isnan(spread(few))


@PROPERTY
@given(point_sets(2, 3, 4, least=3))
def test_gaps_are_those_between_neighbours_and_the_edges_of_the_tree(points: Points) -> None:
    front = points[non_dominated(points)]
    assume(len(front) >= 3)
    scaled = (front - front.min(axis=0)) / np.where(extent(front) > 0, extent(front), 1)
    if front.shape[1] == 2:
        ordered = scaled[np.argsort(scaled[:, 0])]
        gaps = np.linalg.norm(np.diff(ordered, axis=0), axis=1)
    else:
        shifted = cdist(scaled, scaled) + 1  # the same tree; distances of 0 would count as no edges
        gaps = minimum_spanning_tree(shifted).data - 1
    expected = np.abs(gaps - gaps.mean()).sum() / (len(front) - 1) / gaps.mean()
    assert 0 <= spread(front) < 2
    assert spread(front) == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert spread(front[::-1]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


# What is refused


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_points_that_are_not_finite_are_named(bad: float) -> None:
    points = [[0.0, 1.0], [bad, 0.5]]
    for measure in (non_dominated, extent, spread):
        with pytest.raises(ValueError, match=r"1 of 2 points are not finite: 1: \("):
            measure(points)
    with pytest.raises(ValueError, match="not finite"):
        epsilon_non_dominated(points, 0.1, 0.0)
    with pytest.raises(ValueError, match="not finite"):
        hypervolume(points, 2.0)
    with pytest.raises(ValueError, match="not finite"):
        reference_point([points])


def test_impossible_arguments_are_refused() -> None:
    points = [[0.0, 1.0], [1.0, 0.0]]
    for side in (0.0, -1.0, [0.1, 0.0]):
        with pytest.raises(ValueError, match=r"box is .*; allowed: above 0"):
            epsilon_non_dominated(points, side, 0.0)
    for side in (np.nan, [0.1, 0.1, 0.1]):
        with pytest.raises(ValueError, match=r"box is .*; allowed: a finite number or 2 of them"):
            epsilon_non_dominated(points, side, 0.0)
    with pytest.raises(ValueError, match=r"box is .*: too small for points this far from box_origin"):
        epsilon_non_dominated(points, 1e-320, 0.0)
    with pytest.raises(ValueError, match="box_origin is"):
        epsilon_non_dominated(points, 0.1, np.inf)
    with pytest.raises(ValueError, match="reference is"):
        hypervolume(points, [1.0, 1.0, 1.0])
    for shapeless in ([1.0, 2.0], np.empty((2, 0)), 3.0):
        with pytest.raises(ValueError, match=r"allowed: \(n, d\) with d of 1 or more"):
            non_dominated(shapeless)
    with pytest.raises(ValueError, match="hold no points"):
        reference_point([np.empty((0, 2))])
    with pytest.raises(ValueError, match="margin is"):
        reference_point([points], margin=-0.1)


def test_a_front_is_shown_at_the_points_that_other_data_choose() -> None:
    validation = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]])
    test = np.array([[2.0, 3.0], [3.0, 2.0], [1.0, 1.0]])  # the third is the best on the test data, by chance
    front = front_of(test, [4.0, 4.0], chosen_by=validation)
    assert front.mask.tolist() == [True, True, False]
    assert front.volume == pytest.approx(hypervolume(test[:2], [4.0, 4.0]))
    assert front.volume < front_of(test, [4.0, 4.0]).volume
