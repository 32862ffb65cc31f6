"""Slow twins: the formulas of the paper as plain loops, for the fast versions to be compared with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from PIL import Image
from torch import Tensor

Vector = Sequence[float]
Rows = list[list[float]]


def chebyshev_terms(f: Vector, k: Vector, a: Vector, epsilon: float) -> list[float]:
    """c_i = k_i * [(f_i - a_i) + epsilon * sum_j (f_j - a_j)]."""
    terms = []
    for i in range(len(f)):
        augmentation = 0.0
        for j in range(len(f)):
            augmentation += f[j] - a[j]
        terms.append(k[i] * ((f[i] - a[i]) + epsilon * augmentation))
    return terms


def augmented_lagrangian(t: float, g: Vector, lam: Vector, mu: float) -> float:
    """t + 1 / (2 mu) * sum_i (max(0, lambda_i + mu g_i)^2 - lambda_i^2)."""
    value = t
    for g_i, lam_i in zip(g, lam, strict=True):
        value += (max(0.0, lam_i + mu * g_i) ** 2 - lam_i**2) / (2 * mu)
    return value


def project_simplex(v: Vector) -> list[float]:
    """x_i = max(0, v_i - tau) with sum_i x_i = 1; tau by bisection."""
    low, high = min(v) - 1.0, max(v)  # the sum is at least 1 at `low` and 0 at `high`
    for _ in range(200):
        tau = (low + high) / 2
        if sum(max(0.0, v_i - tau) for v_i in v) > 1:
            low = tau
        else:
            high = tau
    return [max(0.0, v_i - high) for v_i in v]


def running_mean(vectors: Sequence[Vector], beta: float) -> tuple[list[float], list[float]]:
    """Mean of the vectors weighted by beta^age, and its standard error sqrt(v sum(w^2)) / sum(w).

    v is the mean, with the same weights, of half the squared difference of a vector and the one before it; the first
    has none.
    """
    mean, error = [], []
    for component in zip(*vectors, strict=True):
        weights = [beta**age for age in reversed(range(len(component)))]
        total = math.fsum(weights)
        halves = [0.0] + [(new - old) ** 2 / 2 for old, new in itertools.pairwise(component)]
        variance = math.fsum(w * h for w, h in zip(weights, halves, strict=True)) / total
        mean.append(math.fsum(w * c for w, c in zip(weights, component, strict=True)) / total)
        error.append(math.sqrt(variance * math.fsum(w * w for w in weights)) / total)
    return mean, error


def owl_weights(n: int, weight_type: str, beta1: float, beta2: float) -> list[float]:
    """theta_1, ..., theta_n, with i from 1 as in the paper."""
    theta = []
    p = n // 2
    for i in range(1, n + 1):
        if weight_type == "spike":
            theta.append(beta1 + beta2 if i == 1 else beta2)
        elif weight_type == "linear":
            theta.append(beta1 + beta2 * (n - i) / n)
        elif weight_type == "Dejiao":
            theta.append(beta1 + beta2 * (p - i + 1) if i <= p else beta2)
        else:
            raise ValueError(weight_type)
    return theta


def owl_value(x: Vector, theta: Vector) -> float:
    """The largest sum_i theta_i |x_pi(i)| over all permutations pi: n! of them."""
    return max(
        math.fsum(theta_i * abs(x_i) for theta_i, x_i in zip(theta, order, strict=True))
        for order in itertools.permutations(x)
    )


def owl_prox(x: Vector, theta: Vector, step: float) -> list[float]:
    """Proximal operator of step times the OWL norm, exact in rational arithmetic: 2^n cases.

    The solution has the signs of x and the order of its magnitudes z, so that it minimises |v - (z - step theta)|^2
    over v_1 >= ... >= v_n >= 0. Whichever of these inequalities hold with equality cut v into blocks, each at its
    mean, the last one perhaps at zero: every way of cutting is tried, the best v that obeys the inequalities wins.
    """
    n = len(x)
    order = sorted(range(n), key=lambda i: -abs(x[i]))
    target = [abs(Fraction(x[i])) - Fraction(step) * Fraction(theta_i) for i, theta_i in zip(order, theta, strict=True)]
    best: tuple[Fraction, list[Fraction]] | None = None
    for cuts in itertools.product((False, True), repeat=n - 1):
        bounds = [0, *(i + 1 for i, cut in enumerate(cuts) if cut), n]
        means = [sum(target[i:j], Fraction(0)) / (j - i) for i, j in itertools.pairwise(bounds)]
        for levels in (means, [*means[:-1], Fraction(0)]):
            if any(b > a for a, b in itertools.pairwise(levels)) or levels[-1] < 0:
                continue
            v = [level for level, (i, j) in zip(levels, itertools.pairwise(bounds), strict=True) for _ in range(i, j)]
            distance = sum(((a - b) ** 2 for a, b in zip(v, target, strict=True)), Fraction(0))
            if best is None or distance < best[0]:
                best = distance, v
    assert best is not None
    result = [0.0] * n
    for i, v_i in zip(order, best[1], strict=True):
        result[i] = math.copysign(float(v_i), x[i])
    return result


def growl_prox(rows: np.ndarray, theta: Vector, step: float) -> np.ndarray:
    """Proximal operator of step times the GrOWL norm, as a convex programme that knows nothing of sorting or blocks.

    sum_i theta_i ||w_[i]|| = sum_i (theta_i - theta_(i+1)) * (sum of the i largest norms), with theta_(n+1) = 0.
    """
    import cvxpy

    v = cvxpy.Variable(rows.shape)
    # What cvxpy imports by * has no type.
    norms = cvxpy.norm(v, 2, axis=1)  # type: ignore[attr-defined]
    steps = np.array(theta) - np.array([*theta[1:], 0.0])
    largest = cvxpy.sum_largest  # type: ignore[attr-defined]
    penalty = sum(weight * largest(norms, i + 1) for i, weight in enumerate(steps))
    distance = cvxpy.sum_squares(v - rows)  # type: ignore[attr-defined]
    cvxpy.Problem(cvxpy.Minimize(0.5 * distance + step * penalty)).solve(
        solver=cvxpy.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11
    )
    assert v.value is not None
    return np.asarray(v.value)


def solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction] | None:
    """Gauss-Jordan elimination in rational arithmetic; None for a singular matrix."""
    n = len(right)
    rows = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    for column in range(n):
        pivot = next((i for i in range(column, n) if rows[i][column] != 0), None)
        if pivot is None:
            return None
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [value / rows[column][column] for value in rows[column]]
        for i in range(n):
            factor = rows[i][column]
            if i != column and factor != 0:
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[column], strict=True)]
    return [row[n] for row in rows]


def min_norm_vertices(gram: Rows) -> tuple[Fraction, list[list[Fraction]]]:
    """The least alpha^T K alpha on the simplex and the vertices of the set of optimal alpha, exact: 2^m - 1 faces.

    Every such vertex is the affine minimum over a face whose gradients are affinely independent, that is, whose
    bordered matrix is regular. One vertex means that the optimum is unique.
    """
    m = len(gram)
    exact = [[Fraction(value) for value in row] for row in gram]
    best = exact[0][0]
    vertices: list[list[Fraction]] = []
    for size in range(1, m + 1):
        for face in itertools.combinations(range(m), size):
            system = [[*(exact[i][j] for j in face), Fraction(1)] for i in face]
            system.append([*(Fraction(1) for _ in face), Fraction(0)])
            solution = solve(system, [*(Fraction(0) for _ in face), Fraction(1)])
            if solution is None or min(solution[:-1]) < 0:
                continue
            alpha = [Fraction(0)] * m
            for i, weight in zip(face, solution, strict=False):
                alpha[i] = weight
            value = -solution[-1]  # K alpha + nu = 0 on the face, so that alpha^T K alpha = -nu
            if value < best:
                best, vertices = value, []
            if value == best and alpha not in vertices:
                vertices.append(alpha)
    return best, vertices


def to_rows(weight: Tensor) -> Rows:
    """Row i holds every weight that leaves input i; weight is (out, in) or (out, in, kh, kw)."""
    rows: Rows = []
    for i in range(weight.shape[1]):
        row = []
        for o in range(weight.shape[0]):
            if weight.ndim == 2:
                row.append(weight[o, i].item())
                continue
            for y in range(weight.shape[2]):
                for x in range(weight.shape[3]):
                    row.append(weight[o, i, y, x].item())
        rows.append(row)
    return rows


def cap_zero_rows(before: Rows, after: Rows, max_rate: Fraction) -> Rows:
    """Give zeroed rows back, the largest first, the first of equals first, until the cap holds."""
    result = [list(row) for row in after]
    while sum(not any(row) for row in result) > max_rate * len(result):
        largest, chosen = -1.0, -1
        for i, row in enumerate(result):
            square = sum(value * value for value in before[i])
            if not any(row) and square > largest:
                largest, chosen = square, i
        result[chosen] = list(before[chosen])
    return result


def share(rows: Rows, labels: Sequence[int]) -> Rows:
    """Rows labelled -1 become zero, every other one the mean of all rows with its label."""
    shared: Rows = []
    for label in labels:
        mean = [0.0] * len(rows[0])
        members = [row for row, other in zip(rows, labels, strict=True) if other == label]
        if label >= 0:
            for column in range(len(mean)):
                mean[column] = math.fsum(row[column] for row in members) / len(members)
        shared.append(mean)
    return shared


def count_rows(rows: Rows) -> tuple[int, int, int, int]:
    """All rows, nonzero ones, different nonzero ones, nonzero ones equal to no other."""
    nonzero = [row for row in rows if any(value != 0 for value in row)]
    unique: Rows = []
    for row in nonzero:
        if row not in unique:
            unique.append(row)
    return len(rows), len(nonzero), len(unique), sum(nonzero.count(row) == 1 for row in nonzero)


def overlay(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Two 28x28 digits on a 36x36 canvas, at (0, 0) and (6, 6), the brighter pixel wins, resized to 28x28."""
    canvas = np.zeros((36, 36), dtype=np.uint8)
    for y in range(28):
        for x in range(28):
            canvas[y, x] = left[y, x]
    for y in range(28):
        for x in range(28):
            canvas[y + 6, x + 6] = max(canvas[y + 6, x + 6], right[y, x])
    return np.asarray(Image.fromarray(canvas).resize((28, 28), Image.Resampling.BILINEAR))
