"""The flags that commands have beside those of a run: checked dataclasses, like the training parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from src.utils.checked import CHECKED, Checked


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class DrawOptions(Checked):
    """Of all commands that draw."""

    figure_format: Literal["png", "pdf"] = Field(default="png", description="pdf: every picture as PDF, too")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class CompareOptions(DrawOptions):
    """Of a comparison."""

    reference: tuple[float, ...] = Field(
        default=(), description="reference point of the losses' hypervolumes, one per task; default: beyond all points"
    )


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class ModelsOptions(DrawOptions):
    """Of the list of saved models."""

    max_bytes: int | None = Field(default=None, ge=1, description="of the weights")
    max_ms: float | None = Field(default=None, gt=0, description="for one image, on one thread of the CPU")
    max_multiply_adds: int | None = Field(default=None, ge=1, description="for one image")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class RunOptions(DrawOptions):
    """Of all trainings."""

    resume: str | None = Field(default=None, description="go on with the interrupted run in this folder")
    worker: bool = Field(default=False, description="for the processes of a sweep")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class TrainOptions(RunOptions):
    """Of a training on its own."""

    fresh: bool = Field(default=False, description="start anew where an interrupted run of the same could go on")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class SweepOptions(RunOptions):
    """Of many trainings."""

    jobs: int = Field(default=1, ge=1, description="trainings side by side")
    dask: str | None = Field(default=None, description="train on the Dask cluster of this scheduler instead")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class RepeatOptions(SweepOptions):
    """Of repetitions."""

    repetitions: int = Field(default=10, ge=1, description="trainings, each from its own seed")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class SearchOptions(SweepOptions):
    """Of a search over preference vectors."""

    k0: float = Field(default=1e-3, ge=0, lt=1, description="preference of the sparsity objective")
    resolution: int | None = Field(
        default=None, ge=1, description="train a lattice of this resolution over the tasks instead"
    )


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class SizesOptions(SweepOptions):
    """Of a study of accuracy and size."""

    k0s: tuple[float, ...] = Field(
        default=(1e-3, 1e-2), strict=False, description="preferences of the sparsity objective"
    )
    caps: tuple[float, ...] = Field(
        default=(0.2, 0.4, 0.6, 0.8, 0.9, 0.95), strict=False, description="values of max_layerSRate, for each k0"
    )


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class SearchedOptions(SweepOptions):
    """Of a search over parameters that comes before a training."""

    search_max_iter: int = Field(default=2, ge=1, description="iterations of a search training")
    search_train_share: float = Field(default=0.2, gt=0, le=1, description="share of the images in it")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class TaughtOptions(SearchedOptions):
    """Of a search whose trainings learn from teachers."""

    teacher_max_iter: int | None = Field(default=None, ge=1, description="iterations of the teachers")


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class StudyOptions(SweepOptions):
    """Of a Pareto-front study."""

    k0: tuple[float, ...] = Field(
        default=(), strict=False, description="study the best models of each of these k0 together"
    )
    resolution: int | None = Field(
        default=None, ge=1, description="a lattice of this resolution over the tasks as vectors"
    )
    box: float = Field(default=1e-2, gt=0, description="epsilon-dominance: side of the boxes, loss")
    box_origin: float = Field(default=0.0, description="epsilon-dominance: a corner of the boxes")
    batched: bool = Field(
        default=False,
        description="train all vectors at a time as one stacked network (for a GPU), without --jobs",
    )
