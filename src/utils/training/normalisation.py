"""Units of the objectives, so that losses of any size meet in one Chebyshev problem."""

from __future__ import annotations

from collections.abc import Sequence

from src.utils.errors import UserError
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.engine import Trainer
from src.utils.training.parameters import TrainingParameters


def check_normalisation(parameters: TrainingParameters) -> None:
    """Refuse a range without its end.

    Raises:
        UserError: naming the parameter.
    """
    if parameters.uses_reference and parameters.normalisation == "range" and not parameters.nadir:
        raise UserError(
            "nadir is none; allowed with normalisation 'range' here: a number per objective above a, or normalisation "
            "'initial'; a command finds ideal and nadir by itself"
        )


def set_units(trainer: Trainer) -> None:
    """Give the method the units that the parameters ask for, from the network before its training.

    .. math:: c_i = k_i \\Bigl[ \\frac{f_i - a_i}{s_i} + \\epsilon \\sum_j \\frac{f_j - a_j}{s_j} \\Bigr]

    with :math:`s_i` = nadir - a (range) or the distance from a of the network as it is now (initial), losses in
    evaluation mode over all training data. A run that goes on finds the same: its network still has its first weights.

    Raises:
        UserError: if an objective is not above its reference point at the start.
    """
    method, parameters = trainer.method, trainer.parameters
    if not isinstance(method, ChebyshevMethod) or parameters.normalisation == "none":
        return
    if parameters.normalisation == "range":
        worst = list(parameters.nadir)
    else:
        worst = [float(method.sparsity_objective().detach()), *trainer.evaluate(trainer.splits.train).losses]
    units = [value - a for value, a in zip(worst, parameters.a, strict=True)]
    if not parameters.with_sparsity and units[0] <= 0:
        units[0] = 1.0  # no layer may become sparse
    if min(units) <= 0:
        raise UserError(
            f"normalisation is {parameters.normalisation!r}; allowed where all objectives are above a at the start: "
            f"they are {worst}, a is {list(parameters.a)}"
        )
    method.measure_in(units)


def units_of(trainer: Trainer) -> Sequence[float]:
    """The units of all objectives, m + 1 numbers."""
    method = trainer.method
    units: list[float] = method.units.tolist() if isinstance(method, ChebyshevMethod) else [1.0] * len(method.k)
    return units
