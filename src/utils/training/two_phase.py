"""Two-phase training: search for a sparse model, then retrain it with its zeros and shared rows held."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.models.multi_task import MultiTaskNetwork
from src.utils.objectives.chebyshev import chebyshev_value
from src.utils.objectives.growl import growl_prox
from src.utils.sparsity.rows import cap_zero_rows, from_rows, to_rows, with_rows, zero_rows
from src.utils.sparsity.sharing import RowPattern, cluster_rows
from src.utils.training.engine import Trainer
from src.utils.training.normalisation import set_units, units_of
from src.utils.training.parameters import Mode, TrainingParameters
from src.utils.training.records import EpochRecord, Phase, RowRule, Snapshot
from src.utils.training.sparse_layers import growl_thetas, sparse_layers
from src.utils.training.sparsity_reached import advice_on_found, advice_on_given, sparsity_binds

SEARCH, RETRAIN, TRAIN = "search", "retrain", "train"
HORIZON = 1000
"""Optimizer steps in which Omega's pull alone must bring a row to zero; Adam's second moments remember as many."""
CAP_ITERATIONS = 3
"""Iterations in which the cap on a layer's zero rows grows; the learning rate falls with each, and rows with it."""


class SearchRule(RowRule):
    """Phase 1: rows that Omega would bring to zero are set to zero and stay there; a growing share of a layer at most.

    Omega is part of the Lagrangian :math:`L = F + s\\,\\Omega` and acts on the rows that are not zero by its gradient,
    in every step. No gradient step ends at exactly zero, or stays there; that is what the proximal operator is for. In
    the metric of the optimizer, whose step on a gradient g is :math:`\\eta\\,g / d`, elementwise, n proximal steps on
    Omega alone are

    .. math:: \\arg\\min_V \\tfrac12 \\|V - d \\circ W\\|^2 + n\\,\\eta\\,s\\,\\Omega(V)

    in the variables :math:`V = d \\circ W`. After each epoch the rows that it makes zero become zero, with n =
    ``HORIZON``, s the weight of Omega in the Lagrangian, and d of Adam the root of its second moments: a row goes if
    its norm times the size of its gradients is below its share of Omega's pull. The other rows are left as they are,
    since they have had their steps. So the training can only come to rest where the gradient of L vanishes in all
    rows that are left.

    Args:
        model: whose GrOWL layers are treated.
        parameters: the GrOWL weights and ``max_layerSRate``, which the cap reaches linearly, at the end of a phase of
            ``CAP_ITERATIONS`` iterations or fewer. It does not grow more slowly in a longer phase: a longer phase
            begins as a shorter one does, and goes on from where that one ends.

    Source: Yun, Lozano, Yang, Adaptive proximal gradient methods for structured neural networks (2021), for the
    proximal operator in the metric of the optimizer; Chen et al., Only train once (2021), for rows that stay zero.
    """

    def __init__(self, model: MultiTaskNetwork, parameters: TrainingParameters) -> None:
        self._layers = list(sparse_layers(model, parameters).values())
        self._thetas = growl_thetas(model, parameters, self._layers[0].parameter.device)
        self._max_rate = parameters.max_layerSRate
        self._cap_epochs = min(parameters.max_iter_search, CAP_ITERATIONS) * parameters.num_epochs
        self.start_epoch()

    @torch.no_grad()
    def start_epoch(self) -> None:
        """The rows that are zero now are held."""
        weights = [layer.weight for layer in self._layers]
        self._kept = [_per_row(weight, ~zero_rows(to_rows(weight))) for weight in weights]

    @torch.no_grad()
    def after_step(self) -> None:
        """Hold the rows that were zero when the epoch began."""
        for layer, kept in zip(self._layers, self._kept, strict=True):
            layer.weight.mul_(kept)

    @torch.no_grad()
    def after_epoch(self, epochs: int, sparsity_weight: float, optimizer: torch.optim.Optimizer) -> None:
        """Set the rows to zero that the proximal operator zeroes, as far as the cap allows."""
        step = HORIZON * float(optimizer.param_groups[0]["lr"]) * sparsity_weight
        cap = self._max_rate * min(epochs / self._cap_epochs, 1)
        for layer, theta in zip(self._layers, self._thetas, strict=True):
            parameter, weight = layer.parameter, layer.weight
            scaled = to_rows(with_rows(parameter * preconditioner(optimizer, parameter), layer.positions))  # (n, d)
            sparse = cap_zero_rows(scaled, growl_prox(scaled, theta, step), cap)
            weight.mul_(_per_row(weight, ~zero_rows(sparse)))


def preconditioner(optimizer: torch.optim.Optimizer, weight: Tensor) -> Tensor:
    """The numbers d by which an optimizer's step on a steady gradient g is :math:`\\eta\\,g / d`; broadcasts to weight.

    Of Adam and AdamW the root of the second moments without their bias, of SGD 1 less the momentum.
    """
    options, state = optimizer.param_groups[0], optimizer.state[weight]
    if "exp_avg_sq" not in state:
        return weight.new_tensor(1 - options.get("momentum", 0.0))
    bias = 1 - options["betas"][1] ** state["step"]
    root: Tensor = (state["exp_avg_sq"] / bias).sqrt() + options["eps"]
    return root


def _per_row(weight: Tensor, values: Tensor) -> Tensor:
    """Numbers, one a row, shape (in,), as a tensor that broadcasts to a weight (out, in, ...)."""
    return values.view(1, -1, *(1 for _ in weight.shape[2:]))


class PatternRule(RowRule):
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


@dataclass(frozen=True)
class TrainingOutcome:
    """What a training ends with; the trained model is in the trainer's network.

    Attributes:
        best: the model kept, and its epoch.
        found: what phase 1 kept, None without phase 1.
        reached_min_sparsRate: whether the model kept is as sparse as asked for, None without sparsity.
        sparsity_binds: whether the sparsity constraint still held at the end of phase 1, so that longer iterations
            would zero more rows, as far as ``max_layerSRate`` allows; None without phase 1, or where the method has
            no constraints. See :func:`~src.utils.training.sparsity_reached.sparsity_binds`.
        sparsity_advice: what to change where k_0 is above 0 and there are fewer zero rows than asked for, or none.
    """

    best: Snapshot
    found: Snapshot | None
    reached_min_sparsRate: bool | None
    sparsity_binds: bool | None = None
    sparsity_advice: str | None = None


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
    set_units(trainer)
    if parameters.mode is Mode.DENSE:
        best = trainer.run(Phase(TRAIN, parameters.max_iter, sparsity=False, rule=RowRule()))
        _keep(trainer, best)
        return TrainingOutcome(best, None, None)
    if parameters.mode is Mode.SPARSE:
        found, advice = _search(trainer)
    else:
        found, advice = None, advice_on_given(trainer)
    best = trainer.run(retrain_phase(trainer, PatternRule(trainer.sparse_weights, row_patterns(trainer))))
    return retrained(trainer, best, found, advice)


def retrained(trainer: Trainer, best: Snapshot, found: Snapshot | None, advice: str | None) -> TrainingOutcome:
    """The outcome of a training that ends with phase 2; its best model is put into the network."""
    _keep(trainer, best)
    parameters = trainer.parameters
    reached = best.record.sparsity_rate >= parameters.min_sparsRate if parameters.with_sparsity else None
    binds = None if found is None else sparsity_binds(found.record, parameters)
    return TrainingOutcome(best, found, reached, binds, advice)


def _keep(trainer: Trainer, best: Snapshot) -> None:
    """Model and method as they were at the end of the epoch that is kept."""
    trainer.model.load_state_dict(best.model)
    trainer.method.load_state_dict(best.method)


def _search(trainer: Trainer) -> tuple[Snapshot, str | None]:
    """The end of phase 1, and what to change if it is not as sparse as asked for."""
    parameters = trainer.parameters
    rule = SearchRule(trainer.model, parameters)
    last = lambda record: record.epoch  # noqa: E731
    found = trainer.run(Phase(SEARCH, parameters.max_iter_search, sparsity=True, rule=rule, merit=last))
    advice = advice_on_found(found.record, trainer)
    trainer.model.load_state_dict(found.model)
    blocked = [name for name, weight in trainer.sparse_weights.items() if bool(zero_rows(to_rows(weight)).all())]
    if blocked:
        trainer.observer.message(
            f"all rows of {', '.join(blocked)} are zero: nothing of the input passes there any more; lower k_0, "
            f"{parameters.w[0]:g} now, or max_layerSRate, {parameters.max_layerSRate:g} now"
        )
    return found, advice


def retrain_phase(trainer: Trainer, rule: RowRule) -> Phase:
    """Phase 2, or the only one of a Pareto study."""
    parameters = trainer.parameters
    if parameters.mode is not Mode.STUDY:
        return Phase(RETRAIN, parameters.max_iter_retrain, sparsity=False, rule=rule)
    merit = lambda record: trade_off(record, parameters, units_of(trainer))  # noqa: E731
    return Phase(RETRAIN, parameters.max_iter, sparsity=False, rule=rule, merit=merit)


def trade_off(record: EpochRecord, parameters: TrainingParameters, units: Sequence[float]) -> float:
    """Minus the weighted Chebyshev value of an epoch's validation losses: how well it is what k asks for.

    The most accurate epoch of a vector far from the middle would be one from before the multipliers moved.
    """
    values = (record.validation_losses, parameters.w[1:], parameters.a[1:], units[1:])
    losses, k, a, s = (torch.tensor(v) for v in values)
    return -float(chebyshev_value(losses / s, k, a / s, parameters.epsilon))


def row_patterns(trainer: Trainer) -> dict[str, RowPattern]:
    """What is held of the rows of each sparse layer from now on."""
    return {name: _pattern(trainer, weight) for name, weight in trainer.sparse_weights.items()}


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
