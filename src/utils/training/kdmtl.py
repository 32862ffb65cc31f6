"""Knowledge distillation for multi-task learning: the shared representation follows single-task teachers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from Data_loaders.batches import Inputs, Labels
from src.models.multi_task import MultiTaskNetwork, TrunkNetwork
from src.utils.errors import UserError
from src.utils.training.method import Method, MethodState, at_least_fp32
from src.utils.training.parameters import TrainingParameters

ADAPTOR_WEIGHT_DECAY = 5e-4


class KDMTL(Method):
    """Minimises the task losses and the distance of the shared representation from the teachers' ones.

    .. math::
        \\sum_{i=1}^m k_i f_i + \\sum_{i=1}^m \\lambda_i d_i, \\qquad d_i = \\frac{1}{N} \\sum_{n=1}^N \\biggl\\|
        \\frac{A_i(s(x_n))}{\\|A_i(s(x_n))\\|} - \\frac{s_i(x_n)}{\\|s_i(x_n)\\|} \\biggr\\|^2

    with the student's trunk :math:`s`, the frozen trunk :math:`s_i` of ``teachers[i - 1]``, an adaptor :math:`A_i`
    (linear layer and ReLU) per task that is trained with the network, and :math:`\\lambda` =
    ``parameters.distillation``. The gradient of :math:`d_i` reaches the student's trunk and the adaptor, nothing else.

    The paper weighs every task loss by 1, which is :math:`k = (0, 1, ..., 1)`. Equal :math:`k_i = 1/m` are the same
    up to the constant factor m where :math:`\\lambda_i` is divided by m, too.

    The arguments are those of :class:`~src.utils.training.method.Method`.

    Raises:
        UserError: also if the network or a teacher has no single trunk, or there is not one number in
            ``parameters.distillation`` per task.

    Source: Li and Bilen, Knowledge distillation for multi-task learning (2020), section 3.
    """

    distillation: Tensor
    distillation_sum: Tensor
    images: Tensor
    uses_teachers = True

    def _set_up(self, model: MultiTaskNetwork, teachers: Sequence[nn.Module]) -> None:
        student = _with_trunk(model, "network")
        own = [_with_trunk(teacher, f"teacher of task {task}") for task, teacher in enumerate(teachers)]
        self._teachers = tuple(teacher.eval() for teacher in own)  # a tuple is not registered: no part of checkpoints
        self.adaptors = nn.ModuleList(
            nn.Sequential(nn.Linear(student.features, teacher.features), nn.ReLU()) for teacher in own
        ).to(self.k.device)
        self.register_buffer("distillation", self.k.new_tensor(self._settings.distillation))
        self.register_buffer("distillation_sum", torch.zeros_like(self.k[0]))
        self.register_buffer("images", torch.zeros_like(self.k[0]))

    @classmethod
    def check(cls, parameters: TrainingParameters, teachers: int) -> None:
        """Refuse also anything but one weight of the distillation per task."""
        super().check(parameters, teachers)
        if len(parameters.distillation) != parameters.tasks:
            raise UserError(
                f"distillation is {list(parameters.distillation)}; allowed for method {parameters.method}: "
                f"{parameters.tasks} numbers, one per task"
            )

    def start_epoch(self, steps: int, rate: float) -> None:
        """Start the mean of the epoch anew."""
        self.distillation_sum.zero_()
        self.images.zero_()

    def backward(self, model: MultiTaskNetwork, images: Inputs, labels: Labels) -> Tensor:
        """Gradients of the loss on one batch; returns the objectives, shape (m + 1,)."""
        assert isinstance(model, TrunkNetwork)
        with self.reduced():
            shared = model.trunk(images)  # (N, features)
            outputs = model.predict(images, shared)
        f, shared = self.objectives(outputs, labels), at_least_fp32(shared)
        d = self.distillation_losses(images, shared)
        ((self.k * f).sum() + (self.distillation * d).sum()).backward()
        self.distillation_sum += d.detach().sum() * len(shared)
        self.images += len(shared)
        return f.detach()

    def distillation_losses(self, images: Inputs, shared: Tensor) -> Tensor:
        """:math:`d_1, ..., d_m`, shape (m,), for images (N, C, H, W) and the student's representation (N, features)."""
        with torch.no_grad():
            wanted = [functional.normalize(teacher.trunk(images)) for teacher in self._teachers]
        found = [functional.normalize(adaptor(shared)) for adaptor in self.adaptors]
        return torch.stack([(a - b).square().sum(dim=1).mean() for a, b in zip(found, wanted, strict=True)])

    def state(self, f: Tensor) -> MethodState:
        """Weights, weighted task losses, and the epoch's mean of :math:`\\sum_i d_i`."""
        distillation = float(self.distillation_sum / self.images.clamp(min=1))
        return MethodState((self.k * f).tolist(), self.k.tolist(), {"distillation": distillation})

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The adaptors, with a weight decay that the network does not have."""
        return [{"params": list(self.parameters()), "weight_decay": ADAPTOR_WEIGHT_DECAY}]


def _with_trunk(network: nn.Module, role: str) -> TrunkNetwork:
    if not isinstance(network, TrunkNetwork):
        raise UserError(
            f"{role} is {type(network).__name__}; allowed for method KDMTL: a network with a single trunk, "
            "such as HPS, MDMTN or STL"
        )
    return network
