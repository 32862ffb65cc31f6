"""Preference vectors to try: the families of two tasks, and the simplex lattice of any number."""

from __future__ import annotations

from itertools import combinations

from src.utils.errors import UserError

PreferenceVector = tuple[float, ...]


def two_task_family(k0: float) -> list[PreferenceVector]:
    """Vectors (k0, k1, 1 - k0 - k1) over a grid of about 0.1, by increasing k1.

    The grid has every k1, and every k2, that is a multiple of 0.1. Where both give the same vectors (k0 a multiple of
    0.1) the multiples of 0.05 are added. That makes 19 vectors for k0 = 0, 17 for 0.1, and 18 for 0.01, 0.001, 0.0001.

    Args:
        k0: preference of the sparsity objective, at least 0, below 0.9.

    Raises:
        UserError: for another k0.
    """
    if not 0 <= k0 < 0.9:
        raise UserError(f"k0 is {k0}; allowed: at least 0, below 0.9")
    rest = round(1 - k0, 10)
    tenths = [round(0.1 * number, 10) for number in range(1, 10)]
    chosen = {value for value in tenths if value < rest} | {round(rest - value, 10) for value in tenths if value < rest}
    if len(chosen) < len(tenths) + 1:
        chosen |= {round(value - 0.05, 10) for value in [*tenths, 1.0] if value - 0.05 < rest}
    return [(k0, k1, round(rest - k1, 10)) for k1 in sorted(chosen)]


def simplex_lattice(objectives: int, resolution: int) -> list[PreferenceVector]:
    """All vectors of multiples of 1 / resolution that sum to 1, zero entries included.

    Args:
        objectives: length of the vectors.
        resolution: number of steps along an edge; there are C(resolution + objectives - 1, objectives - 1) vectors.

    Source: Das and Dennis, Normal-boundary intersection (1998).
    """
    if objectives < 1 or resolution < 1:
        raise UserError(f"objectives and resolution are {objectives} and {resolution}; allowed: 1 or more")
    vectors = []
    for bars in combinations(range(resolution + objectives - 1), objectives - 1):
        edges = (-1, *bars, resolution + objectives - 1)
        vectors.append(tuple((edges[i + 1] - edges[i] - 1) / resolution for i in range(objectives)))
    return vectors


def preference_family(k0: float, tasks: int, resolution: int | None) -> list[PreferenceVector]:
    """Vectors with sparsity preference k0: :func:`two_task_family`, or for ``resolution`` a lattice over the tasks.

    Args:
        k0: preference of the sparsity objective, at least 0, below 1.
        tasks: number of tasks.
        resolution: of the lattice of the tasks' shares of 1 - k0, interior points only; required unless there are
            two tasks.
    """
    if resolution is None:
        if tasks != 2:
            raise UserError(f"resolution is None; allowed for {tasks} tasks: a whole number, {tasks} or more")
        return two_task_family(k0)
    if not 0 <= k0 < 1 or resolution < tasks:
        raise UserError(
            f"k0 is {k0} and resolution {resolution}; allowed: k0 from 0 to below 1, resolution {tasks} or more"
        )
    interior = [vector for vector in simplex_lattice(tasks, resolution) if min(vector) > 0]
    return [(k0, *(round((1 - k0) * share, 10) for share in vector)) for vector in interior]
