"""Training methods by name; a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import torch
from torch import nn

from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.tasks import Task
from src.utils.training.chebyshev_maximum import ChebyshevMaximum
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.kdmtl import KDMTL
from src.utils.training.method import Method
from src.utils.training.mgda import MGDA
from src.utils.training.parameters import TrainingParameters
from src.utils.training.smooth_chebyshev import SmoothChebyshev
from src.utils.training.weighted_sum import WeightedSum

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        "Chebyshev": ChebyshevMethod,
        "SmoothChebyshev": SmoothChebyshev,
        "ChebyshevMaximum": ChebyshevMaximum,
        "WeightedSum": WeightedSum,
        "MGDA": MGDA,
        "KDMTL": KDMTL,
    }
)


def check_method(parameters: TrainingParameters, teachers: int) -> None:
    """Refuse an unknown method, and parameters or a number of teachers that are not for it.

    Raises:
        UserError: naming the known ones, or the parameter.
    """
    if parameters.method not in METHODS:
        raise UserError(f"method is {parameters.method!r}; allowed: {', '.join(METHODS)}")
    METHODS[parameters.method].check(parameters, teachers)


def make_method(
    model: MultiTaskNetwork,
    parameters: TrainingParameters,
    device: torch.device,
    teachers: Sequence[nn.Module] = (),
    tasks: Sequence[Task] = (),
) -> Method:
    """The method that ``parameters.method`` names, for this network and these tasks; :func:`check_method` has passed.

    Raises:
        UserError: if the network or the teachers are not for it.
    """
    return METHODS[parameters.method](model, parameters, device, teachers, tasks)
