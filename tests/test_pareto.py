"""Fronts: against the definitions by brute force, against moocore, and on examples worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import moocore
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
    hypervolume,
    non_dominated,
    reference_point,
    spread,
)

SETS = 1500
PROPERTY = settings(max_examples=100, deadline=None)


def point_sets(*dimensions: int, least: int = 0) -> st.SearchStrategy[Points]:
    """Up to 12 points, on a coarse grid (ties and equal points) or anywhere in the unit cube."""
    values = st.one_of(st.integers(0, 4).map(float), st.floats(0, 1, allow_subnormal=False))
    shapes = st.tuples(st.integers(least, 12), st.sampled_from(dimensions))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=values))


def random_sets(dimension: int, seed: int) -> Iterator[Points]:
    """Coarse grids, points without ties, and points near a front, of 0 to 40 points."""
    rng = np.random.default_rng(seed)
    for number in range(SETS):
        shape = (int(rng.integers(0, 41)), dimension)
        if number % 3 == 0:
            yield rng.integers(0, 6, shape).astype(float)
        elif number % 3 == 1:
            yield rng.normal(size=shape)
        else:
            directions = np.abs(rng.normal(size=shape)) + 1e-9
            yield 1 - directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.uniform(
                0.9, 1, (shape[0], 1)
            )


def dominates(p: Points, q: Points) -> bool:
    return all(a <= b for a, b in zip(p, q, strict=True)) and any(a < b for a, b in zip(p, q, strict=True))


# The front


@PROPERTY
@given(point_sets(1, 2, 3, 4))
def test_front_is_what_the_definition_says(points: Points) -> None:
    expected = [
        not any(dominates(q, p) for q in points) and not any((q == p).all() for q in points[:number])
        for number, p in enumerate(points)
    ]
    assert non_dominated(points).tolist() == expected


@pytest.mark.parametrize("dimension", [2, 3])
def test_front_and_hypervolume_agree_with_moocore(dimension: int) -> None:
    for points in random_sets(dimension, seed=dimension):
        reference = np.full(dimension, 0.97) if len(points) % 2 else np.full(dimension, 4.5)
        if not len(points):
            assert hypervolume(points, reference) == 0
            continue
        assert non_dominated(points).tolist() == moocore.is_nondominated(points).tolist()
        assert hypervolume(points, reference) == pytest.approx(moocore.hypervolume(points, ref=reference), rel=1e-9)


def test_of_equal_points_the_first_stays_and_ties_are_dominated() -> None:
    points = [[1, 1], [0, 2], [1, 1], [0, 3], [2, 0], [2, 1]]
    assert non_dominated(points).tolist() == [True, True, False, False, True, False]
    assert non_dominated([[-0.0, 0.0], [0.0, -0.0]]).tolist() == [True, False]


# The thinned front


@PROPERTY
@given(point_sets(1, 2, 3), st.floats(0.05, 3), st.floats(-1, 1))
def test_thinned_front_is_what_the_definition_says(points: Points, epsilon: float, start: float) -> None:
    boxes = [tuple(np.floor((p - start) / epsilon)) for p in points]
    inner = [float((((p - start) / epsilon - box) ** 2).sum()) for p, box in zip(points, boxes, strict=True)]
    kept = epsilon_non_dominated(points, epsilon, start)
    assert not (kept & ~non_dominated(points)).any()
    assert {boxes[i] for i in np.flatnonzero(kept)} == {
        box for box in boxes if not any(dominates(np.array(other), np.array(box)) for other in boxes)
    }
    assert len({boxes[i] for i in np.flatnonzero(kept)}) == kept.sum()
    for i in np.flatnonzero(kept):
        assert inner[i] == pytest.approx(min(d for d, box in zip(inner, boxes, strict=True) if box == boxes[i]))


@PROPERTY
@given(point_sets(2, 3, least=1), st.floats(0.05, 3))
def test_every_point_is_covered_within_epsilon(points: Points, epsilon: float) -> None:
    kept = points[epsilon_non_dominated(points, epsilon, 0.0)]
    assert (kept[None] < points[:, None] + epsilon + 1e-9).all(axis=2).any(axis=1).all()


@PROPERTY
@given(arrays(np.float64, st.tuples(st.integers(0, 12), st.integers(1, 4)), elements=st.integers(0, 4).map(float)))
def test_small_epsilon_gives_the_front(points: Points) -> None:
    for epsilon in (0.9, 0.3, 1e-6):
        assert epsilon_non_dominated(points, epsilon, 0.0).tolist() == non_dominated(points).tolist()


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
@given(point_sets(2, 3, least=1))
def test_hypervolume_counts_the_cells_that_are_dominated(points: Points) -> None:
    corner = np.full(points.shape[1], 3.5)
    edges = [np.unique(np.append(points[points[:, i] < c, i], c)) for i, c in enumerate(corner)]
    volume = 0.0
    for cell in product(*(range(len(edge) - 1) for edge in edges)):
        low = np.array([edge[i] for edge, i in zip(edges, cell, strict=True)])
        high = np.array([edge[i + 1] for edge, i in zip(edges, cell, strict=True)])
        if (points <= low).all(axis=1).any():
            volume += float((high - low).prod())
    assert hypervolume(points, corner) == pytest.approx(volume)


@PROPERTY
@given(point_sets(2, 3, least=2))
def test_hypervolume_grows_with_points_and_depends_on_the_front_only(points: Points) -> None:
    corner = np.full(points.shape[1], 3.5)
    whole = hypervolume(points, corner)
    assert hypervolume(points[:-1], corner) <= whole * (1 + 1e-12)
    assert hypervolume(points[non_dominated(points)], corner) == pytest.approx(whole)
    assert hypervolume(points[::-1], corner) == pytest.approx(whole)
    assert hypervolume(points - 0.25, corner) >= whole
    assert hypervolume(points, corner + 1) >= whole


@PROPERTY
@given(point_sets(2, least=1))
def test_flat_third_objective_multiplies_the_area(points: Points) -> None:
    flat = np.column_stack([points, np.full(len(points), 0.5)])
    assert hypervolume(flat, [3.5, 3.5, 2.5]) == pytest.approx(2 * hypervolume(points, 3.5))


def test_reference_point_is_shared_by_all_fronts() -> None:
    fronts = [np.array([[0.0, 4.0], [1.0, 2.0]]), np.array([[2.0, 0.0]]), np.empty((0, 2))]
    assert reference_point(fronts).tolist() == pytest.approx([2.2, 4.4])
    assert reference_point(fronts, margin=0).tolist() == [2, 4]
    assert all(hypervolume(front, reference_point(fronts)) > 0 for front in fronts[:2])


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
@given(point_sets(2, 3, least=3))
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
    for epsilon in (0.0, -1.0, [0.1, 0.0]):
        with pytest.raises(ValueError, match=r"epsilon is .*; allowed: above 0"):
            epsilon_non_dominated(points, epsilon, 0.0)
    for epsilon in (np.nan, [0.1, 0.1, 0.1]):
        with pytest.raises(ValueError, match="allowed: a finite number or 2 of them"):
            epsilon_non_dominated(points, epsilon, 0.0)
    with pytest.raises(ValueError, match="too small"):
        epsilon_non_dominated(points, 1e-320, 0.0)
    with pytest.raises(ValueError, match="start is"):
        epsilon_non_dominated(points, 0.1, np.inf)
    for dimension in (1, 4):
        with pytest.raises(ValueError, match="allowed: 2 or 3"):
            hypervolume(np.zeros((2, dimension)), 1.0)
    with pytest.raises(ValueError, match="reference is"):
        hypervolume(points, [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match=r"allowed: \(n, d\)"):
        non_dominated([1.0, 2.0])
    with pytest.raises(ValueError, match="hold no points"):
        reference_point([np.empty((0, 2))])
    with pytest.raises(ValueError, match="margin is"):
        reference_point([points], margin=-0.1)
