"""Two-phase training: search for a sparse model, then retrain it with its zeros and shared rows held."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.multi_task import MultiTaskNetwork
from src.utils.objectives.chebyshev import chebyshev_value
from src.utils.objectives.growl import growl_prox
from src.utils.sparsity.rows import cap_zero_rows, from_rows, to_rows
from src.utils.sparsity.sharing import RowPattern, cluster_rows
from src.utils.training.engine import EpochRecord, Phase, Snapshot, Trainer
from src.utils.training.method import growl_thetas
from src.utils.training.parameters import Mode, TrainingParameters

SEARCH, RETRAIN, TRAIN = "search", "retrain", "train"


class FreeRows:
    """No rule: training without sparsity."""

    def after_step(self) -> None:
        """Nothing."""

    def after_epoch(self, progress: float, sparsity_weight: float) -> None:
        """Nothing."""


class SearchRule:
    """Phase 1: after each epoch the proximal operator of GrOWL, at most a growing share of a layer zero.

    Args:
        model: whose GrOWL layers are treated.
        parameters: the GrOWL weights and ``max_layerSRate``, which the cap reaches linearly at the end.
    """

    def __init__(self, model: MultiTaskNetwork, parameters: TrainingParameters) -> None:
        layers = model.growl_layers(parameters.skip_layer).values()
        self._weights = [layer.weight for layer in layers]
        self._thetas = growl_thetas(model, parameters, self._weights[0].device)
        self._max_rate = parameters.max_layerSRate

    def after_step(self) -> None:
        """Nothing: the proximal step follows the epoch."""

    @torch.no_grad()
    def after_epoch(self, progress: float, sparsity_weight: float) -> None:
        """One proximal step on every layer."""
        for weight, theta in zip(self._weights, self._thetas, strict=True):
            rows = to_rows(weight)
            sparse = cap_zero_rows(rows, growl_prox(rows, theta, sparsity_weight), self._max_rate * progress)
            weight.copy_(from_rows(sparse, weight.shape))


class PatternRule:
    """Phase 2: zero rows stay zero and the rows of a cluster equal, after every step.

    Args:
        weights: of the sparse layers, by name.
        patterns: one per layer.
    """

    def __init__(self, weights: Mapping[str, Tensor], patterns: Mapping[str, RowPattern]) -> None:
        self._pairs = [(weight, patterns[name]) for name, weight in weights.items()]
        self.after_step()

    @torch.no_grad()
    def after_step(self) -> None:
        """Project every layer onto its pattern."""
        for weight, pattern in self._pairs:
            weight.copy_(from_rows(pattern.project(to_rows(weight)), weight.shape))

    def after_epoch(self, progress: float, sparsity_weight: float) -> None:
        """Nothing: the pattern holds after every step."""


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training ends with; the trained model is in the trainer's network.

    Attributes:
        best: the model kept, and its epoch.
        found: what phase 1 kept, None without phase 1.
        reached_min_sparsRate: whether the model kept is as sparse as asked for, None without sparsity.
    """

    best: Snapshot
    found: Snapshot | None
    reached_min_sparsRate: bool | None


def train(trainer: Trainer) -> TrainingOutcome:
    """Train as the parameters say and leave the best model in ``trainer.model``.

    :class:`~src.utils.training.parameters.Mode` lists what there is.

    The search ends with its last model: k_0 and ``max_layerSRate`` decide how sparse it is, not the chances of an
    epoch's accuracy, which retraining makes up for. The other phases keep the most accurate model on the validation
    data, in a Pareto study the one with the best :func:`trade_off`.

    The sparsity objective is in play in the search only: afterwards the zero rows are fixed, and the tasks use
    what is left as they can.
    """
    parameters = trainer.parameters
    if parameters.mode is Mode.DENSE:
        best = trainer.run(Phase(TRAIN, parameters.max_iter, sparsity=False, rule=FreeRows()))
        trainer.model.load_state_dict(best.model)
        return TrainingOutcome(best, None, None)
    found = _search(trainer) if parameters.mode is Mode.SPARSE else None
    best = trainer.run(_retrain_phase(trainer))
    trainer.model.load_state_dict(best.model)
    reached = best.record.sparsity_rate >= parameters.min_sparsRate if parameters.with_sparsity else None
    return TrainingOutcome(best, found, reached)


def _search(trainer: Trainer) -> Snapshot:
    parameters = trainer.parameters
    rule = SearchRule(trainer.model, parameters)
    last = lambda record: record.epoch  # noqa: E731
    found = trainer.run(Phase(SEARCH, parameters.max_iter_search, sparsity=True, rule=rule, merit=last))
    if found.record.sparsity_rate < parameters.min_sparsRate:
        trainer.observer.message(
            f"phase 1 did not reach min_sparsRate = {parameters.min_sparsRate:g} %: its model, with "
            f"{found.record.sparsity_rate:.1f} % zero rows, is retrained; raise k_0, max_layerSRate or max_iter_search"
        )
    trainer.model.load_state_dict(found.model)
    return found


def _retrain_phase(trainer: Trainer) -> Phase:
    parameters, weights = trainer.parameters, trainer.sparse_weights
    rule = PatternRule(weights, {name: _pattern(trainer, weight) for name, weight in weights.items()})
    if parameters.mode is not Mode.STUDY:
        return Phase(RETRAIN, parameters.max_iter_retrain, sparsity=False, rule=rule)
    merit = lambda record: trade_off(record, parameters)  # noqa: E731
    return Phase(RETRAIN, parameters.max_iter, sparsity=False, rule=rule, merit=merit)


def trade_off(record: EpochRecord, parameters: TrainingParameters) -> float:
    """Minus the weighted Chebyshev value of an epoch's validation losses: how well it is what k asks for.

    The most accurate epoch of a vector far from the middle would be one from before the multipliers moved.
    """
    losses, k, a = (torch.tensor(v) for v in (record.validation_losses, parameters.w[1:], parameters.a[1:]))
    return -float(chebyshev_value(losses, k, a, parameters.epsilon))


def _pattern(trainer: Trainer, weight: Tensor) -> RowPattern:
    rows = to_rows(weight.detach())
    if trainer.parameters.mode is Mode.STUDY:
        return RowPattern.of_zeros(rows)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        labels = cluster_rows(rows, trainer.parameters.sim_preference)
    for warning in caught:
        trainer.observer.message(str(warning.message))
    return RowPattern(labels)
