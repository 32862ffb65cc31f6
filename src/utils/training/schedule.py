"""The learning rate in the course of a phase."""

from __future__ import annotations

from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Phase


def learning_rate(parameters: TrainingParameters, phase: Phase, epochs: float) -> float:
    """Learning rate of the next step of a phase, after e epochs of its E.

    .. math::
        \\eta(e) = \\eta_0\\, q^{\\lfloor e / n \\rfloor} \\quad\\text{(reference)}, \\qquad
        \\eta(e) = \\eta_0\\, (1 - e / E) \\quad\\text{(fast)}

    The fast one falls with every step, to zero, so that no epoch is spent at a rate at which nothing moves any more.
    In the search for a sparse model it stays as it is: the proximal operator needs steps to bring rows to zero, and
    the phase that follows makes up for the noise. Without ``LR_scheduler`` the rate is :math:`\\eta_0` throughout.

    Args:
        parameters: with :math:`\\eta_0` = ``lr``, q = ``lr_sched_coef``, n = ``num_epochs``, which one: ``schedule``.
        phase: of E = ``iterations`` times n epochs.
        epochs: e; a part of an epoch counts as a part.

    Source: Defazio et al., Optimal linear decay learning rate schedules and further refinements (2023), for the
    linear fall.
    """
    rate, n = parameters.lr, parameters.num_epochs
    if not parameters.LR_scheduler:
        return rate
    if parameters.schedule == "reference":
        return rate * parameters.lr_sched_coef ** int(epochs // n)
    return rate if phase.sparsity else rate * (1 - epochs / (phase.iterations * n))
