"""Fronts of points in objective space: which points are on them, and how good, wide and even they are.

Every objective is minimised; to maximise one, change its sign. p dominates q where p_i <= q_i for all i and p != q.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.hierarchy import linkage

Points = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Front:
    """Points in objective space, all objectives minimised, and what they are worth.

    Attributes:
        values: the points, shape (n, d).
        mask: those on the front, shape (n,): no other one dominates them, in these values or in those they are chosen
            by.
        reference: reference point of the volume, shape (d,).
        volume: :func:`hypervolume` of the points on the front.
    """

    values: Points
    mask: Mask
    reference: Points
    volume: float

    @property
    def count(self) -> int:
        """How many points are not dominated."""
        return int(self.mask.sum())

    @property
    def outside(self) -> int:
        """How many points are beyond the reference point and add nothing to the volume."""
        return int((self.values > self.reference).any(axis=1).sum())

    @property
    def spread(self) -> float:
        """:func:`spread` of the non-dominated points."""
        return spread(self.values[self.mask])


def front_of(points: ArrayLike, reference: ArrayLike | None = None, *, chosen_by: ArrayLike | None = None) -> Front:
    """The front of points, measured from a reference point.

    Args:
        points: (n, d), finite.
        reference: shape (d,); None takes :func:`reference_point` of the points.
        chosen_by: the same points on other data, (n, e): the front is theirs, so that test errors are shown of the
            points that validation errors choose. None takes the points.

    Raises:
        ValueError: for points that are not finite.
    """
    values = _matrix(points)
    mask = non_dominated(values if chosen_by is None else chosen_by)
    corner = reference_point([values]) if reference is None else _vector("reference", reference, values.shape[1])
    return Front(values, mask, corner, hypervolume(values[mask], corner))


def non_dominated(points: ArrayLike) -> Mask:
    """The points that no other one dominates; of equal points the first.

    Args:
        points: (n, d), finite.

    Returns:
        Mask (n,), true on the front.
    """
    values = _matrix(points)
    first = np.zeros(len(values), dtype=np.bool_)
    first[np.unique(values, axis=0, return_index=True)[1]] = True
    mask: Mask = moocore.is_nondominated(values, keep_weakly=True) & first
    return mask


def epsilon_non_dominated(points: ArrayLike, box: ArrayLike, box_origin: ArrayLike = 0.0) -> Mask:
    """A thinned front: at most one point per box, none in a box dominated by another point's box.

    A point f is in the box with the number floor((f_i - box_origin_i) / box_i), i = 1, ..., d. A box is kept if no
    other point's box dominates it; in a kept box the point nearest to the box's lower corner stays, distances in units
    of the sides, of equally near ones the first. Every point f is then covered by a kept point p: p_i < f_i + box_i
    for all i. For small enough boxes the kept points are :func:`non_dominated`.

    Args:
        points: (n, d), finite.
        box: sides of the boxes (the epsilon of epsilon-dominance), one for all objectives or (d,), above 0.
        box_origin: a corner of the boxes, one for all objectives or (d,).

    Returns:
        Mask (n,), true on the thinned front.

    Source: Laumanns et al., Combining convergence and diversity in evolutionary multiobjective optimization (2002);
    the point nearest to the corner: Deb, Mohan and Mishra, A fast multi-objective evolutionary algorithm for finding
    well-spread Pareto-optimal solutions (2003).
    """
    values = _matrix(points)
    sides, corner = _vector("box", box, values.shape[1]), _vector("box_origin", box_origin, values.shape[1])
    if (sides <= 0).any():
        raise ValueError(f"box is {sides.tolist()}; allowed: above 0")
    front = np.flatnonzero(non_dominated(values))  # the rest is out in any case: rounding must not let it win a tie
    with np.errstate(over="ignore"):
        places = (values[front] - corner) / sides
    if not np.isfinite(places).all():
        raise ValueError(f"box is {sides.tolist()}: too small for points this far from box_origin")
    boxes = np.floor(places)
    distances = ((places - boxes) ** 2).sum(axis=1)
    nearest = np.argsort(distances, kind="stable")
    mask = np.zeros(len(values), dtype=np.bool_)
    mask[front[nearest[non_dominated(boxes[nearest])]]] = True  # of equal boxes the first, the nearest point's
    return mask


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Volume of what the points dominate within the reference point: { z : p <= z <= r for some point p }.

    Exact; a point that is not below r in every objective adds nothing. Larger is better, and no set has a larger one
    than the whole front.

    Args:
        points: (n, d), finite.
        reference: r, one for all objectives or (d,); see :func:`reference_point`. Volumes are comparable only for the
            same r.

    Source: Zitzler and Thiele, Multiobjective evolutionary algorithms: a comparative case study and the strength
    Pareto approach (1999); computed by moocore.
    """
    values = _matrix(points)
    return float(moocore.hypervolume(values, ref=_vector("reference", reference, values.shape[1])))


def reference_point(fronts: Iterable[ArrayLike], margin: float = 0.1) -> Points:
    """One reference point for the hypervolumes of several fronts: r_i = max_i + margin * (max_i - min_i).

    Maximum and minimum go over all points of all fronts. Where all agree in an objective, r_i is their value and
    every hypervolume is 0.

    Args:
        fronts: arrays (n_j, d), at least one point in all.
        margin: at least 0; above 0 lets the end points of the fronts count.

    Returns:
        r (d,).
    """
    if not margin >= 0:
        raise ValueError(f"margin is {margin}; allowed: 0 or more")
    matrices = [_matrix(front) for front in fronts]
    if not any(len(matrix) for matrix in matrices):
        raise ValueError("the fronts hold no points; a reference point needs one")
    values = np.vstack(matrices)
    worst = values.max(axis=0)
    reference: Points = worst + margin * (worst - values.min(axis=0))
    return reference


def extent(points: ArrayLike) -> Points:
    """Range of each objective: max_i - min_i, (d,); 0 for fewer than two points.

    Args:
        points: (n, d), finite.
    """
    values = _matrix(points)
    return np.ptp(values, axis=0) if len(values) else np.zeros(values.shape[1])


def spread(points: ArrayLike) -> float:
    """Unevenness of a front: sum |g_j - mean g| / ((N - 1) mean g) over the N - 1 gaps; 0 is even, below 2.

    The gaps are the edges of the minimum spanning tree, with every objective scaled by its :func:`extent`. On a front
    of two objectives these are the distances between neighbours, and the formula is Deb's Delta without the distances
    to the known ends; the tree carries it over to more objectives, where points have no order. It says nothing of how
    much of the front is covered: that is what :func:`extent` and :func:`hypervolume` are for.

    Args:
        points: (N, d), finite, none dominating another; see :func:`non_dominated`.

    Returns:
        The unevenness; NaN for fewer than 3 points, or where all are equal: there are no gaps to compare.

    Source: Deb et al., A fast and elitist multiobjective genetic algorithm: NSGA-II (2002); single linkage joins
    clusters along the minimum spanning tree: Gower and Ross, Minimum spanning trees and single linkage cluster
    analysis (1969).
    """
    values = _matrix(points)
    ranges = extent(values)
    if len(values) < 3 or not ranges.any():
        return float("nan")
    scaled = (values - values.min(axis=0)) / np.where(ranges > 0, ranges, 1.0)
    gaps = linkage(scaled, method="single")[:, 2]  # the heights of the links are the tree's edges
    return float(np.abs(gaps - gaps.mean()).mean() / gaps.mean())


def _matrix(points: ArrayLike) -> Points:
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ValueError(f"the points have shape {values.shape}; allowed: (n, d) with d of 1 or more")
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        shown = ", ".join(f"{number}: {tuple(values[number].tolist())}" for number in bad[:5])
        raise ValueError(f"{len(bad)} of {len(values)} points are not finite: {shown}{', ...' * (len(bad) > 5)}")
    return values


def _vector(name: str, values: ArrayLike, size: int) -> Points:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape not in ((), (size,)) or not np.isfinite(vector).all():
        raise ValueError(f"{name} is {vector.tolist()}; allowed: a finite number or {size} of them")
    return np.broadcast_to(vector, (size,))
