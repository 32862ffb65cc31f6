"""The vectors of a Pareto study trained at a time, as :func:`~src.utils.training.two_phase.train` trains one."""

from __future__ import annotations

from src.utils.training.normalisation import set_units
from src.utils.training.sparsity_reached import advice_on_given
from src.utils.training.stack import StackedPatterns, StackTrainer
from src.utils.training.two_phase import TrainingOutcome, retrain_phase, retrained, row_patterns


def train_together(stack: StackTrainer) -> list[TrainingOutcome | None]:
    """Train all members from the model they start from and leave the best model of each in its network.

    Returns:
        An outcome per member; None where ``failure`` of the member says why there is none.

    Raises:
        UserError: if all trainings diverge.
    """
    for member in stack.members:
        set_units(member)
    advice = [advice_on_given(member) for member in stack.members]
    found = [row_patterns(member) for member in stack.members]
    rule = StackedPatterns(stack.stacked_weights, [[patterns[name] for patterns in found] for name in found[0]])
    phases = [retrain_phase(member, rule) for member in stack.members]
    stack.run_each(phases, rule)
    return [
        None if member.failure else retrained(member, member.finished[phase.name], None, said)
        for member, phase, said in zip(stack.members, phases, advice, strict=True)
    ]
