"""Several networks trained as one: their weights side by side, one step for all of them.

The loop is that of :class:`~src.utils.training.engine.Trainer`, the mathematics that of the networks' own method,
mapped over the networks by ``torch.vmap``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from Data_loaders.batches import Inputs, Labels
from src.utils.sparsity.rows import from_rows, to_rows, with_rows
from src.utils.sparsity.sharing import RowPattern
from src.utils.training.engine import Trainer, make_optimizer
from src.utils.training.evaluation import Evaluation, evaluate_each, evaluation_batch
from src.utils.training.records import Observer, Phase, RowRule


class StackTrainer(Trainer):
    """Trains the networks of several preference vectors at a time, each as it would be trained alone.

    A step has the same batch, augmentation and random numbers for all networks, and the gradient of the sum of what
    they minimise: that of each network is its own. Adam, AdamW and SGD work number by number, so one optimizer over
    all weights is one per network. Averages, multipliers, t and mu are those of the members' methods, whose tensors,
    like those of their networks, are from now on parts of larger ones.

    Args:
        members: one trainer per preference vector, alike but for the numbers in it; they keep the records.
        observer: told of the progress; the members' own are told of their epochs.
        checkpoint, checkpoint_batches: as of a single trainer; a checkpoint holds all members.

    Attributes:
        networks: weights and buffers of all networks by name, (members, ...).

    Raises:
        ValueError: if the members do not train the same tasks.
    """

    def __init__(
        self,
        members: Sequence[Trainer],
        *,
        observer: Observer | None = None,
        checkpoint: Path | None = None,
        checkpoint_batches: int | None = None,
    ) -> None:
        first = members[0]
        if len({tuple(value > 0 for value in member.parameters.w[1:]) for member in members}) > 1:
            raise ValueError("the members do not train the same tasks: some preferences are 0, others not")
        super().__init__(
            first.model,
            first.method,
            first.splits,
            first.parameters,
            seed=first.seed,
            observer=observer,
            checkpoint=checkpoint,
            checkpoint_batches=checkpoint_batches,
        )
        self.members = members
        self.networks = side_by_side([member.model for member in members])
        self._methods = side_by_side([member.method for member in members])
        names = {id(parameter): name for name, parameter in first.model.named_parameters()}
        self._sparse = [(names[id(layer.parameter)], layer.positions) for layer in first.method.sparse_layers]

    def run_each(self, phases: Sequence[Phase], rule: RowRule) -> None:
        """Train a phase, of the same name and length for all members; what is best is in ``finished`` of each.

        Args:
            phases: one per member, whose rules do not count.
            rule: for the rows of all.

        Raises:
            UserError: if all trainings diverge. If some do, ``failure`` of these members says so.
        """
        self._run(phases, rule)

    def make_optimizer(self) -> torch.optim.Optimizer:
        """One optimizer over the weights of all networks and methods."""
        groups = [{"params": _trained(tensors)} for tensors in (self.networks, self._methods)]
        return make_optimizer(self.parameters, [group for group in groups if group["params"]], self.device)

    @property
    def stacked_weights(self) -> list[Tensor]:
        """Weights of the GrOWL layers of all networks, (members, out, in, ...): rows along the third axis."""
        found = [(self.networks[name].detach(), positions) for name, positions in self._sparse]
        return [w if positions == 1 else w.unflatten(2, (-1, positions)) for w, positions in found]

    def _zeros(self) -> Tensor:
        return torch.zeros_like(self._methods["k"])

    def _backward(self, images: Inputs, labels: Labels) -> Tensor:
        return self.gradients(images, labels)

    def gradients(self, images: Inputs, labels: Labels) -> Tensor:
        """Gradients of all networks on one batch; returns their objectives, shape (members, m + 1)."""

        def one(network: dict[str, Tensor], method: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            with self.method.reduced():
                outputs = functional_call(self.model, network, (images,))
            weights = [with_rows(network[name], positions) for name, positions in self._sparse]
            batch = functional_call(self.method, method, (outputs, labels, weights))
            return batch.objectives, batch.minimised

        f, minimised = torch.vmap(one, randomness="same")(self.networks, self._methods)
        minimised.sum().backward()
        return f.detach()  # type: ignore[no-any-return]

    def validation_losses(self) -> list[list[float]]:
        """Of every network, per task."""
        return [found.losses for found in self._validate()]

    def _validate(self) -> list[Evaluation]:
        """All networks on the validation data, a batch at a time."""

        def outputs(images: Inputs) -> list[list[Tensor]]:
            found = torch.vmap(lambda network: functional_call(self.model, network, (images,)), randomness="same")(
                self.networks
            )
            return [list(task_outputs) for task_outputs in zip(*found, strict=True)]

        modules = [member.model for member in self.members]
        parameters, data = self.parameters, self.splits.validation
        batch_size = evaluation_batch(parameters.batch_size)
        return evaluate_each(modules, outputs, data, self.method.tasks, parameters.criterion, batch_size)


class StackedPatterns(RowRule):
    """Holds zero rows at zero and the rows of a cluster equal in all networks, each with its own patterns.

    Args:
        weights: of the sparse layers of all networks, see :attr:`StackTrainer.stacked_weights`.
        patterns: for every layer one per network.
    """

    def __init__(self, weights: Sequence[Tensor], patterns: Sequence[Sequence[RowPattern]]) -> None:
        self._pairs = [(w, RowPattern.joined(found)) for w, found in zip(weights, patterns, strict=True)]
        self.after_step()

    @torch.no_grad()
    def after_step(self) -> None:
        """Project every layer of every network onto its pattern."""
        for weight, pattern in self._pairs:
            rows = torch.vmap(to_rows)(weight)  # (members, n, d)
            projected = pattern.project(rows.flatten(0, 1)).view_as(rows)
            weight.copy_(torch.vmap(lambda part, shape=weight.shape[1:]: from_rows(part, shape))(projected))


def side_by_side(modules: Sequence[nn.Module]) -> dict[str, Tensor]:
    """One tensor for each parameter and buffer of modules that are alike, shape (modules, ...), by its name.

    The tensors of the modules themselves become parts of these: whoever changes one changes the other.
    """
    together: dict[str, Tensor] = {}
    for name, first in tensors_of(modules[0]).items():
        parts = [tensors_of(module)[name] for module in modules]
        whole = torch.stack([part.detach() for part in parts])
        for part, own in zip(parts, whole, strict=True):
            part.data = own
        together[name] = whole.requires_grad_(first.requires_grad)
    return together


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def _trained(tensors: Mapping[str, Tensor]) -> list[Tensor]:
    return [tensor for tensor in tensors.values() if tensor.requires_grad]
