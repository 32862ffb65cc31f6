"""Training parameters: names, defaults, one line of help each, and what is allowed."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import Field
from pydantic.dataclasses import dataclass

from src.utils.checked import CHECKED, Checked, allowed, fields_of
from src.utils.errors import UserError

SMALLEST_MU, LARGEST_MU = 1e-10, 1e4
"""Beyond the largest mu, lambda + mu c has too few of float32's digits left for weights that sum to 1."""


class Mode(Enum):
    """What a training does, as ``is_search``, ``Sparsity_study`` and k_0 say."""

    DENSE = "one phase without sparsity, of max_iter iterations"
    SPARSE = "a search for a sparse model, of max_iter_search iterations, then a retraining"
    RETRAIN = "a given model's rows clustered and retrained, max_iter_retrain iterations"
    STUDY = "Pareto study: a given model's zero rows kept, max_iter iterations"

    @property
    def from_model(self) -> bool:
        """Whether it starts from a given model."""
        return self in (Mode.RETRAIN, Mode.STUDY)


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class TrainingParameters(Checked):
    """Everything that decides how a network is trained; checked when it is made.

    Raises:
        UserError: naming the parameter, its value and what is allowed.
    """

    method: str = Field(default="Chebyshev", description="training method, by its name in methods.py")
    w: tuple[float, ...] = Field(
        default=(1e-3, 0.5, 0.499),
        strict=False,
        title="w (the preference vector k)",
        description="preference vector k: sparsity, task 1, ..., task m",
    )
    a: tuple[float, ...] = Field(
        default=(),
        strict=False,
        description="reference point, a lower bound of each objective; none: zeros; "
        "ideal: losses of single-task networks, trained first",
    )
    normalisation: Literal["none", "initial", "range"] = Field(
        default="none",
        description="what distances from a are divided by: none; initial: those before the training; "
        "range: those of nadir",
    )
    nadir: tuple[float, ...] = Field(
        default=(),
        strict=False,
        description="for normalisation range, worst value of each objective; none: a and this are ideal and nadir "
        "of trainings with one task each, trained first",
    )
    epsilon: float = Field(
        default=1e-4, ge=0, le=1, description="coefficient of the augmentation term of the Chebyshev scalarization"
    )
    num_tasks: int | None = Field(
        default=None, ge=2, description="number of objectives: sparsity and the tasks; none: as many as k has numbers"
    )
    max_iter: int = Field(
        default=12, ge=1, description="iterations of a training without sparsity, or of each training of a Pareto study"
    )
    max_iter_search: int = Field(default=3, ge=1, description="iterations of phase 1, the search for a sparse model")
    max_iter_retrain: int = Field(
        default=10, ge=1, description="iterations of phase 2, the retraining of the sparse model"
    )
    num_epochs: int = Field(default=3, ge=1, description="epochs per iteration")
    tol_epochs: int | None = Field(
        default=None,
        ge=1,
        description="end a training or phase 2 after so many epochs without a better model; none: never",
    )
    num_batchEpoch: int | None = Field(default=None, ge=1, description="batches per epoch; none: all")
    train_share: float = Field(default=1.0, gt=0, le=1, description="share of the training images that is used")
    schedule: Literal["reference", "fast"] = Field(
        default="reference",
        description="reference: the paper's epochs, the learning rate falls from iteration to iteration; fast: few "
        "epochs, smaller batches, a rate that falls to zero within the phase; sets other defaults, too",
    )
    batch_size: int = Field(default=256, ge=1, description="images per training batch")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32",
        description="of the network's forward pass in training; bf16 is faster where the processor has it; all else is "
        "computed in fp32; as a flag, auto: bf16 where it saves a fifth of forward and backward pass, measured once",
    )
    base_optimizer: Literal["Adam", "AdamW", "SGD"] = Field(default="Adam", description="optimizer")
    lr: float = Field(default=2.5e-3, gt=0, description="learning rate at the start of each phase")
    momentum: float = Field(default=0.9, ge=0, lt=1, description="momentum of SGD")
    LR_scheduler: bool = Field(
        default=True, description="let the learning rate fall, as the schedule says; no: it stays lr"
    )
    lr_sched_coef: float = Field(
        default=0.5, gt=0, le=1, description="factor on the learning rate after each iteration"
    )
    criterion: Literal["cross_entropy", "multi_margin_loss"] = Field(
        default="cross_entropy", description="loss of a classification that has none of its own"
    )
    mu: float = Field(
        default=10.0,
        ge=SMALLEST_MU,
        le=LARGEST_MU,
        description="penalty coefficient of the augmented Lagrangian at the start, over the largest term",
    )
    rho: float = Field(
        default=1.0, ge=1, description=f"factor on mu after each iteration, up to a mu of {LARGEST_MU:g}"
    )
    lambda_memory: float = Field(
        default=0.5,
        gt=0,
        description="epochs at the initial learning rate that the multipliers remember; more damps their swing from "
        "task to task, less lets them follow faster",
    )
    t_update: Literal["exact", "optimizer"] = Field(
        default="exact", description="how t is found: exact (closed form) or optimizer (trained like a weight)"
    )
    gradient_normalisation: Literal["none", "l2", "loss", "loss+"] = Field(
        default="none", description="MGDA: what task gradients are divided by"
    )
    mgda_ub: bool = Field(
        default=False, description="MGDA: gradients at the shared representation (MGDA-UB), not at the weights"
    )
    distillation: tuple[float, ...] = Field(
        default=(), strict=False, description="KDMTL: weights of the distillation losses, one per task"
    )
    growl_type: Literal["spike", "linear", "Dejiao"] = Field(default="spike", description="GrOWL weights")
    beta1: float = Field(default=0.8, ge=0, description="first GrOWL coefficient")
    beta2: float = Field(default=0.2, ge=0, description="second GrOWL coefficient")
    skip_layer: Annotated[int, Ge(0)] | str = Field(
        default=1,
        description="layers with this number of inputs, or of these names (a comma between them), are left out of "
        "GrOWL (the input layers)",
    )
    row_groups: Literal["neuron", "channel"] = Field(
        default="neuron",
        description="rows of a layer behind a flatten: one per neuron, or one per channel with all its positions",
    )
    min_sparsRate: float = Field(
        default=20.0, ge=0, le=100, description="least sparsity rate, percent, that phase 1 should reach"
    )
    max_layerSRate: float = Field(default=0.8, ge=0, le=1, description="largest share of zero rows in a layer")
    sim_preference: float = Field(
        default=0.7, ge=-1, le=1, description="preference of affinity propagation: larger means less sharing"
    )
    is_search: bool = Field(
        default=True, description="phase 1, then phase 2; no: phase 2 only, from a given sparse model"
    )
    Sparsity_study: bool = Field(
        default=True, description="yes: sparsity study; no: Pareto study, keeps a given model's zero rows"
    )
    num_model: int = Field(default=0, ge=0, description="number in the saved model's name, to keep several apart")

    def __post_init__(self) -> None:
        k = list(self.w)
        if any(value < 0 for value in k) or not any(k):
            raise UserError(f"w (the preference vector k) is {k}; allowed: numbers >= 0, not all zero")
        if not any(k[1:]):
            raise UserError(f"w (the preference vector k) is {k}; allowed: at least one task with a preference above 0")
        if self.num_tasks not in (None, len(k)):
            raise UserError(f"num_tasks is {self.num_tasks}; allowed: {len(k)}, as k has {len(k)} numbers")
        if self.a and len(self.a) != len(k):
            raise UserError(f"a has {len(self.a)} numbers {list(self.a)}; allowed: {len(k)}, as k has, or none")
        if isinstance(self.skip_layer, str) and self.skip_layer.lstrip("-").isdigit():  # of a command line
            object.__setattr__(self, "skip_layer", _number_of_inputs(int(self.skip_layer)))
        if self.nadir and len(self.nadir) != len(k):
            raise UserError(f"nadir has {len(self.nadir)} numbers {list(self.nadir)}; allowed: {len(k)}, or none")
        best = self.a or (0.0,) * len(k)
        if self.nadir and any(high <= low for high, low in zip(self.nadir, best, strict=True)):
            raise UserError(f"nadir is {list(self.nadir)}; allowed: above a, {list(best)}, in every number")
        if any(value < 0 for value in self.distillation):
            raise UserError(f"distillation is {list(self.distillation)}; allowed: numbers >= 0")
        object.__setattr__(self, "num_tasks", len(k))
        object.__setattr__(self, "a", self.a or (0.0,) * len(k))

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return len(self.w) - 1

    @property
    def with_sparsity(self) -> bool:
        """Whether the sparsity objective takes part: k_0 > 0."""
        return self.w[0] > 0

    @property
    def uses_reference(self) -> bool:
        """Whether the method measures objectives from the reference point a."""
        return "Chebyshev" in self.method

    @property
    def mode(self) -> Mode:
        """What the training does."""
        if not self.Sparsity_study:
            return Mode.STUDY
        if not self.is_search:
            return Mode.RETRAIN
        return Mode.SPARSE if self.with_sparsity else Mode.DENSE

    @property
    def epochs(self) -> int:
        """The most epochs a training may take."""
        iterations = {
            Mode.DENSE: self.max_iter,
            Mode.SPARSE: self.max_iter_search + self.max_iter_retrain,
            Mode.RETRAIN: self.max_iter_retrain,
            Mode.STUDY: self.max_iter,
        }
        return iterations[self.mode] * self.num_epochs

    def changed(self, **values: Any) -> TrainingParameters:
        """A copy with other values, checked like a new one."""
        unknown = set(values) - set(fields_of(TrainingParameters))
        if unknown:
            known = ", ".join(fields_of(TrainingParameters))
            raise UserError(f"unknown parameter {', '.join(sorted(unknown))}; known: {known}")
        return replace(self, **values)


def _number_of_inputs(value: int) -> int:
    if value < 0:
        raise UserError(f"skip_layer is {value}; allowed: {allowed(fields_of(TrainingParameters)['skip_layer'])}")
    return value
