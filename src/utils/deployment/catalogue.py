"""All saved models with what they reach and what they cost, and the best one for a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from src.models.backbones import BACKBONES
from src.models.compact import CompactNetwork
from src.models.registry import SavedModel, load_model
from src.utils.errors import UserError
from src.utils.files import finite
from src.utils.runs.config import RESULTS, RunConfig, weights_checksum
from src.utils.runs.results import Accuracies, numbers
from src.utils.runs.schema import part_of_results
from src.utils.sparsity.figures import Figures, figures

SECONDS = 0.05  # of measuring the latency of a model at a batch size


@dataclass(frozen=True)
class Entry(Accuracies):
    """A saved model.

    Attributes:
        path: its file.
        architecture: what was trained.
        compressed: whether it is a compressed network.
        dataset, task_names, k, seed: what it was trained on and for.
        validation_accuracy, test_accuracy: percent per task.
        sparsity_rate: zero rows of the network that was trained, percent.
        figures: size and speed, measured now.
        score_name: what accuracies are called, score where not all tasks are classifications.
    """

    path: Path
    architecture: str
    compressed: bool
    dataset: str
    task_names: tuple[str, ...]
    k: tuple[float, ...]
    seed: int
    validation_accuracy: tuple[float, ...]
    test_accuracy: tuple[float, ...]
    sparsity_rate: float
    figures: Figures
    score_name: str = "accuracy"

    @property
    def training(self) -> tuple[Any, ...]:
        """What tells trainings apart: a model and its compressed form have the same."""
        return self.dataset, self.task_names, self.architecture, self.k, self.seed, self.validation_accuracy


@dataclass(frozen=True)
class Budget:
    """What a model may cost; None is any.

    Attributes:
        max_bytes: of its weights.
        max_ms: for one image, on one thread of this machine's CPU.
        max_multiply_adds: for one image.
    """

    max_bytes: int | None = None
    max_ms: float | None = None
    max_multiply_adds: int | None = None

    def allows(self, found: Figures) -> bool:
        """Whether a model is within it."""
        limits = (self.max_bytes, self.max_ms, self.max_multiply_adds)
        costs = (found.bytes, found.latency_ms[1], found.multiply_adds)
        return all(limit is None or cost <= limit for limit, cost in zip(limits, costs, strict=True))


def find_models(config: RunConfig, message: Callable[[str], None]) -> list[Entry]:
    """The models in ``mod_logdir``, then those of finished runs that are no copies of them.

    Args:
        config: where they are.
        message: told of files that cannot be read.
    """
    entries, seen = [], set()
    for path in _files(config):
        try:
            saved = load_model(path)
            weights = weights_checksum(asdict(saved.architecture), saved.network.state_dict())
            if weights not in seen:
                entries.append(_entry(path, saved))
                seen.add(weights)
        except UserError as error:
            message(f"left out: {error}")
    return entries


def choose(entries: Sequence[Entry], budget: Budget) -> dict[tuple[str, tuple[str, ...]], list[Entry]]:
    """The models within a budget by their data set and tasks, the most accurate on the validation data first.

    Of equally accurate ones the one with fewer bytes comes first.

    Raises:
        UserError: if there is none.
    """
    if not entries:
        raise UserError("there is no saved model yet: train one")
    allowed = [entry for entry in entries if budget.allows(entry.figures)]
    if not allowed:
        costs = [entry.figures for entry in entries]
        least = (
            f"{min(cost.bytes for cost in costs):,} bytes, {min(cost.latency_ms[1] for cost in costs):.3f} ms, "
            f"{min(cost.multiply_adds for cost in costs):,} multiply-adds"
        )
        raise UserError(f"none of {len(entries)} models is within the budget; the least that models here need: {least}")
    chosen: dict[tuple[str, tuple[str, ...]], list[Entry]] = {}
    for entry in sorted(allowed, key=lambda entry: (-entry.mean_accuracy, entry.figures.bytes)):
        chosen.setdefault((entry.dataset, entry.task_names), []).append(entry)
    return dict(sorted(chosen.items()))


def _files(config: RunConfig) -> Iterator[Path]:
    yield from sorted((config.root / config.mod_logdir).glob("*.pth"))
    for path in sorted(config.logs.glob("*/*/*.pth")):
        if path.with_name(RESULTS).exists():
            yield path


def _entry(path: Path, saved: SavedModel) -> Entry:
    texts, lists = ("architecture", "dataset"), ("task_names", "k", "validation_accuracy", "test_accuracy")
    try:
        found = part_of_results(finite(saved.results), *texts, *lists, "seed", "sparsity_rate")
    except ValueError as error:
        raise UserError(f"{path} does not say what it reached: train the model again") from error
    if len({len(found[name]) for name in lists if name != "k"} | {len(found["k"]) - 1}) > 1:
        raise UserError(f"{path} does not say what each of its tasks reached: train the model again")
    return Entry(
        path=path,
        compressed=isinstance(saved.network, CompactNetwork),
        **{name: found[name] for name in (*texts, "seed", "sparsity_rate")},
        task_names=tuple(found["task_names"]),
        k=tuple(found["k"]),
        validation_accuracy=numbers(found["validation_accuracy"]),
        test_accuracy=numbers(found["test_accuracy"]),
        figures=figures(saved.network, torch.zeros(1, *_input_shape(saved)), SECONDS),
        score_name="score" if "test_scores" in saved.results else "accuracy",
    )


def _input_shape(saved: SavedModel) -> tuple[int, ...]:
    if isinstance(saved.network, CompactNetwork):
        return saved.network.program.input_shape
    return BACKBONES[saved.architecture.backbone].input_shape
