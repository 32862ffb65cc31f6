"""Counts of zero, shared and free rows, and the three rates made from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from src.utils.sparsity.rows import to_rows, zero_rows


@dataclass(frozen=True)
class RowCounts:
    """Rows of one layer, or of several added up.

    Attributes:
        rows: all rows.
        nonzero: rows with an entry other than zero.
        unique: different nonzero rows; rows are equal if all their entries are exactly equal.
        free: nonzero rows equal to no other row.
    """

    rows: int
    nonzero: int
    unique: int
    free: int

    @property
    def sparsity_rate(self) -> float:
        """100 * zero rows / all rows, percent."""
        return 100 * (self.rows - self.nonzero) / self.rows if self.rows else 0.0

    @property
    def compression_rate(self) -> float:
        """All rows / unique rows; infinite if no row is left."""
        return self.rows / self.unique if self.unique else float("inf")

    @property
    def parameter_sharing(self) -> float:
        """Nonzero rows / unique rows; 1 if no row is left."""
        return self.nonzero / self.unique if self.unique else 1.0

    def __add__(self, other: RowCounts) -> RowCounts:
        return RowCounts(
            self.rows + other.rows,
            self.nonzero + other.nonzero,
            self.unique + other.unique,
            self.free + other.free,
        )

    def summary(self) -> dict[str, float]:
        """Counts and rates under the names of the results file."""
        return {
            **asdict(self),
            "sparsity_rate": self.sparsity_rate,
            "compression_rate": self.compression_rate,
            "parameter_sharing": self.parameter_sharing,
        }


def count_rows(weight: Tensor) -> RowCounts:
    """Count the rows of a layer's weight, (out, in) or (out, in, kh, kw)."""
    rows = to_rows(weight.detach())
    nonzero = rows[~zero_rows(rows)]
    if not len(nonzero):
        return RowCounts(len(rows), 0, 0, 0)
    _, sizes = torch.unique(nonzero, dim=0, return_counts=True)
    return RowCounts(len(rows), len(nonzero), len(sizes), int((sizes == 1).sum()))


def count_layers(weights: Mapping[str, Tensor]) -> dict[str, RowCounts]:
    """:func:`count_rows` per layer."""
    return {name: count_rows(weight) for name, weight in weights.items()}


def total(counts: Iterable[RowCounts]) -> RowCounts:
    """Sum of the counts of several layers."""
    return sum(counts, RowCounts(0, 0, 0, 0))


def zero_row_rate(weights: Mapping[str, Tensor]) -> float:
    """Share of zero rows over several layers, percent, without counting unique ones."""
    zero = [zero_rows(to_rows(weight.detach())) for weight in weights.values()]
    return 100 * float(torch.cat(zero).double().mean()) if zero else 0.0
