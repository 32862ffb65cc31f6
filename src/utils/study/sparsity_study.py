"""The trade-off between accuracy and size: networks from dense to nearly empty, by k_0 and by the cap on a layer."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from Data_loaders.loaders import normalise
from src.models.registry import load_model
from src.utils.checked import to_plain
from src.utils.errors import UserError
from src.utils.files import write_csv
from src.utils.runs.compression import compress_trained
from src.utils.runs.config import MODEL
from src.utils.sparsity.figures import SECONDS
from src.utils.study.preference_vectors import PreferenceVector
from src.utils.study.sweep import Basis, Outcome, Point, run_sweep
from src.utils.study.trials import Candidate
from src.utils.training.arithmetic import run_arithmetic

IMAGES = 64
TABLE = "sparsity_study.csv"


@dataclass(frozen=True)
class Size:
    """A training of the study, and what its network costs once it is compressed.

    Attributes:
        k0, cap: preference of the sparsity objective and largest share of zero rows in a layer; 0 for the dense one.
        validation_accuracy, test_accuracy: mean of the tasks, percent.
        sparsity_rate: zero rows, percent.
        parameters, kilobytes, multiply_adds: of the compressed network; multiply-adds for one image.
    """

    k0: float
    cap: float
    validation_accuracy: float
    test_accuracy: float
    sparsity_rate: float
    parameters: int
    kilobytes: float
    multiply_adds: int


def sparsity_candidates(k: PreferenceVector, k0s: Sequence[float], caps: Sequence[float]) -> list[Candidate]:
    """The dense network, then one per k_0 and cap; the tasks share 1 - k_0 as they do in k.

    Args:
        k: preference vector, whose first number does not count.
        k0s: each above 0 and below 1.
        caps: values of ``max_layerSRate``, each above 0 and at most 1.

    Raises:
        UserError: if a number is not allowed, or there is none.
    """
    for name, values, allowed in (("k0", k0s, "numbers above 0, below 1"), ("caps", caps, "numbers above 0, up to 1")):
        if not values or any(not 0 < value <= 1 or (name == "k0" and value == 1) for value in values):
            raise UserError(f"{name} is {list(values)}; allowed: {allowed}")
    shares = [value / sum(k[1:]) for value in k[1:]]

    def vector(k0: float) -> PreferenceVector:
        return (k0, *((1 - k0) * share for share in shares))

    sparse = [{"w": vector(k0), "max_layerSRate": cap} for k0 in sorted(set(k0s)) for cap in sorted(set(caps))]
    return [{"w": vector(0.0)}, *sparse]


def sparsity_study(basis: Basis, candidates: Sequence[Candidate]) -> Outcome:
    """Train every candidate, compress what it became, and leave the table ``sparsity_study.csv``.

    Raises:
        UserError: if a candidate cannot be trained as asked for, or none could be.
    """
    outcome = run_sweep("sparsity_study", basis.label("sparsity_study"), basis, basis.trials(candidates))
    write_csv(outcome.folder / TABLE, [to_plain(_size(point)) for point in outcome.points])
    return outcome


@run_arithmetic()
def _size(point: Point) -> Size:
    results = point.results
    network = load_model(results.folder / MODEL).network
    assert results.images is not None  # only data sets of the registry are studied
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, *results.images["shape"]), dtype=np.uint8)
    mean, std = (tuple(results.images[name]) for name in ("mean", "std"))
    images = normalise(pixels, mean, std, torch.device("cpu"))
    small = compress_trained(network, images, SECONDS / 100)[2].compressed
    return Size(
        k0=results.k[0],
        cap=float(point.candidate.get("max_layerSRate", 0.0)),
        validation_accuracy=results.mean_accuracy,
        test_accuracy=results.mean_test_accuracy,
        sparsity_rate=results.sparsity_rate,
        parameters=small.parameters,
        kilobytes=small.bytes / 1000,
        multiply_adds=small.multiply_adds,
    )


def read_sizes(folder: Path) -> list[Size]:
    """The table of a study, from its folder.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    kinds = {item.name: int if item.name in ("parameters", "multiply_adds") else float for item in fields(Size)}
    try:
        with (folder / TABLE).open(newline="", encoding="utf-8") as file:
            return [Size(**{name: kind(row[name]) for name, kind in kinds.items()}) for row in csv.DictReader(file)]  # type: ignore[arg-type]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder / TABLE} is missing or damaged: the same command makes it again") from error
