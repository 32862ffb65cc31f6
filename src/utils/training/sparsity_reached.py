"""What decided how sparse a network became in phase 1, and what to change for more zero rows."""

from __future__ import annotations

from src.utils.sparsity.metrics import zero_row_rate
from src.utils.sparsity.rows import to_rows, zero_rows
from src.utils.training.engine import Trainer
from src.utils.training.parameters import Mode, TrainingParameters
from src.utils.training.records import EpochRecord

SLACK = 0.1
"""A term that is smaller than the largest one by more than this share belongs to a slack constraint."""


def _too_few(rate: float, parameters: TrainingParameters) -> bool:
    """Whether a share of zero rows, percent, is none or less than asked for."""
    return rate == 0 or rate < parameters.min_sparsRate


def _share(rate: float) -> str:
    return f"{rate:.1f} % zero rows" if rate else "no zero rows"


def advice_on_found(record: EpochRecord, trainer: Trainer) -> str | None:
    """What to change where phase 1, ending with this record, is not as sparse as asked for; its end is said too."""
    rate, least = record.sparsity_rate, trainer.parameters.min_sparsRate
    reason, change = _what_decided(record, trainer)
    missed = f", less than min_sparsRate = {least:g} %" if rate < least else ""
    end = f"phase 1 ends with {_share(rate)}{missed}; {reason}"
    advice = f"{end}: {change}" if _too_few(rate, trainer.parameters) else None
    trainer.observer.message(advice or end)
    return advice


def advice_on_given(trainer: Trainer) -> str | None:
    """What to change where a given model is not as sparse as asked for, also said: no phase makes it sparser."""
    parameters, rate = trainer.parameters, zero_row_rate(trainer.sparse_weights)
    if not parameters.with_sparsity or (rate > 0 if parameters.mode is Mode.STUDY else not _too_few(rate, parameters)):
        return None
    advice = (
        f"the given model has {_share(rate)}; these are held and none are added, whatever k_0 is: start from a "
        "sparser one, trained with a larger k_0 or longer iterations"
    )
    trainer.observer.message(advice)
    return advice


def sparsity_binds(record: EpochRecord, parameters: TrainingParameters) -> bool | None:
    """Whether the sparsity term has a multiplier and is among the largest: its constraint is not slack.

    None where the method has no constraints.
    """
    if not parameters.uses_reference:
        return None
    terms = record.weighted_objectives
    return record.lam[0] > 0 and terms[0] >= (1 - SLACK) * max(terms)


def binding_k0(record: EpochRecord, k0: float) -> float:
    """The k_0 from which on the sparsity constraint would bind, :math:`k_0 \\max_{i > 0} c_i / c_0`.

    Its term grows with k_0, the others do not: below this number k_0 asks for nothing, whatever it is, as long as
    losses and rows are those of the record. Infinite for a network without weights left.

    Args:
        record: of an epoch.
        k0: of its training, above 0.
    """
    sparsity, *tasks = record.weighted_objectives
    return k0 * max(tasks) / sparsity if sparsity > 0 else float("inf")


def _what_decided(record: EpochRecord, trainer: Trainer) -> tuple[str, str]:
    """What decided how sparse the network is, and what to change for more zero rows."""
    parameters, cap = trainer.parameters, trainer.parameters.max_layerSRate
    k0, length = f"k_0, {parameters.w[0]:g} now", f"num_epochs, {parameters.num_epochs} now"
    capped = all(
        int(zero_rows(to_rows(weight)).sum()) >= int(cap * weight.shape[1] + 1e-9)
        for weight in trainer.sparse_weights.values()
    )
    if capped:
        reason = f"max_layerSRate = {cap:g} is reached in every layer and decides how sparse the network is"
        return reason, "raise max_layerSRate"
    binds = sparsity_binds(record, parameters)
    if binds:
        reason = "the sparsity constraint still binds, more epochs before the learning rate falls would give more"
        return reason, f"raise {length}, or {k0}"
    reason = "k_0 decides how sparse the network is"
    if binds is False:
        least = binding_k0(record, parameters.w[0])
        reason = f"the sparsity constraint is slack, here for any k_0 below {least:.2g}; {reason}"
    return reason, f"raise {k0}, or {length}"
