"""Parameter sharing: rows that resemble each other are found by affinity propagation and set equal."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.cluster import AffinityPropagation
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from src.utils.sparsity.rows import zero_rows

MAX_ITERATIONS = 2000
CONVERGENCE_ITERATIONS = 100  # messages may stand still for a while before they settle
DAMPINGS = (0.9, 0.98)  # trained rows that oscillate at one settle at the next


def similarity(rows: Tensor) -> Tensor:
    """Pairwise similarity of rows.

    .. math:: S_{ij} = \\frac{\\langle w_i, w_j \\rangle}{\\max(\\|w_i\\|^2, \\|w_j\\|^2)}

    1 for equal rows, below 1 otherwise, negative for rows that point apart. Two zero rows have similarity 1,
    a zero row and another one 0.

    Args:
        rows: shape (n, d). Returns shape (n, n), symmetric.

    Source: Zhang et al., Learning to share (2018), equation 10.
    """
    products = rows @ rows.T
    squares = rows.square().sum(1)
    largest = torch.maximum(squares.unsqueeze(1), squares.unsqueeze(0))
    result = torch.where(largest > 0, products / largest, 1.0)
    return result.fill_diagonal_(1.0)


def cluster_rows(rows: Tensor, sim_preference: float) -> Tensor:
    """Cluster the nonzero rows by affinity propagation on :func:`similarity`.

    Zero rows belong to no cluster. Rows on which the algorithm does not converge stay on their own and a
    ``RuntimeWarning`` says so. Rows that are all equally similar form one cluster if that similarity exceeds the
    preference, else none.

    Args:
        rows: shape (n, d).
        sim_preference: preference of every row to be an exemplar; a larger one gives more, smaller clusters.

    Returns:
        Labels, shape (n,), int64 on the device of ``rows``: 0, 1, ... for clusters, -1 for zero rows.

    Source: Frey and Dueck, Clustering by passing messages between data points (2007).
    """
    nonzero = ~zero_rows(rows)
    labels = torch.full((len(rows),), -1, dtype=torch.long, device=rows.device)
    kept = rows.detach()[nonzero].double().cpu()
    if len(kept):
        found = _cluster_similar(similarity(kept).numpy(), sim_preference)
        labels[nonzero] = torch.from_numpy(found).to(rows.device)
    return labels


class RowPattern:
    """Which rows of a layer are zero and which are equal, and the projection onto all weights of that kind.

    Args:
        labels: shape (n,), from :func:`cluster_rows`: equal numbers for rows that share their weights, -1 for
            zero rows.
    """

    def __init__(self, labels: Tensor) -> None:
        self.labels = labels
        self._kept = (labels >= 0).unsqueeze(1)  # (n, 1)
        sizes = torch.bincount(labels.clamp(min=0))
        self._tied = ((sizes[labels.clamp(min=0)] > 1) & (labels >= 0)).nonzero().flatten()  # (r,)
        _, self._cluster, counts = torch.unique(labels[self._tied], return_inverse=True, return_counts=True)
        self._counts = counts.unsqueeze(1)  # (clusters, 1)

    @staticmethod
    def of_zeros(rows: Tensor) -> RowPattern:
        """The pattern that keeps the zero rows of ``rows`` and ties none."""
        labels = torch.arange(len(rows), device=rows.device)
        return RowPattern(labels.masked_fill(zero_rows(rows), -1))

    def project(self, rows: Tensor) -> Tensor:
        """Nearest rows with this pattern: zero rows zero, the rows of a cluster equal to the bit to their mean.

        Args:
            rows: shape (n, d); left as they are.
        """
        projected = torch.where(self._kept, rows, 0)
        if len(self._tied):
            sums = rows.new_zeros(len(self._counts), rows.shape[1])  # (clusters, d)
            means = sums.index_add_(0, self._cluster, rows[self._tied]) / self._counts
            projected[self._tied] = means[self._cluster]
        return projected


def _cluster_similar(affinity: np.ndarray, preference: float) -> np.ndarray:
    """Labels (n,) by affinity propagation in each connected component of the graph of similarities > preference.

    Affinity propagation maximises the similarities to the exemplars plus one preference per exemplar, so a row
    is never better off with an exemplar it resembles less than the preference: components do not touch each
    other, and the many rows that resemble none need no messages at all.
    """
    _, component = connected_components(affinity > preference, directed=False)
    labels = np.empty(len(affinity), dtype=np.int64)
    used, unconverged = 0, 0
    for number in np.flatnonzero(np.bincount(component)):
        members = np.flatnonzero(component == number)
        found = _affinity_propagation(affinity[np.ix_(members, members)], preference)
        unconverged += len(members) if found is None else 0
        labels[members] = used + (np.arange(len(members)) if found is None else found)
        used = labels[members].max() + 1
    if unconverged:
        warnings.warn(
            f"affinity propagation did not converge on {unconverged} of {len(affinity)} rows: they stay unshared; "
            "try another sim_preference",
            RuntimeWarning,
            stacklevel=3,
        )
    return labels


def _affinity_propagation(affinity: np.ndarray, preference: float) -> np.ndarray | None:
    """Labels (n,) of rows with the given (n, n) similarities, None without convergence."""
    off_diagonal = affinity[~np.eye(len(affinity), dtype=bool)]
    if not len(off_diagonal) or np.allclose(off_diagonal, off_diagonal[0], rtol=0, atol=1e-12):
        # Messages cannot break a tie among equal similarities; in one component they exceed the preference.
        return np.zeros(len(affinity), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for damping in DAMPINGS:
            model = AffinityPropagation(
                affinity="precomputed",
                preference=preference,
                damping=damping,
                max_iter=MAX_ITERATIONS,
                convergence_iter=CONVERGENCE_ITERATIONS,
                random_state=0,
            ).fit(affinity)
            if model.n_iter_ < MAX_ITERATIONS and (model.labels_ >= 0).all():
                return np.asarray(model.labels_, dtype=np.int64)
    return None
