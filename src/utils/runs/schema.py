"""What a results file must look like before anybody draws or prints what is in it: it may come from others."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

Count = Annotated[int, Field(ge=0, lt=2**63)]
Number = Annotated[float, Field(ge=-1e30, le=1e30)]
Known = Number | None
"""A number, or what was no number when it was written."""
Text = Annotated[str, Field(max_length=10_000)]


class _Checked(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


class _Rows(_Checked):
    rows: Count
    nonzero: Count
    unique: Count
    free: Count

    @model_validator(mode="after")
    def _in_order(self) -> _Rows:
        if not self.free <= self.unique <= self.nonzero <= self.rows:
            raise ValueError("free, unique, nonzero and all rows are not in this order")
        return self


class _Figures(_Checked):
    parameters: Count
    bytes: Count
    multiply_adds: Count
    latency_ms: dict[Annotated[str, Field(pattern="^[0-9]{1,9}$")], Number]


class _Compression(_Checked):
    dense: _Figures
    compressed: _Figures
    max_difference: Known
    same_predictions: bool

    @model_validator(mode="after")
    def _same_batches(self) -> _Compression:
        if self.dense.latency_ms.keys() != self.compressed.latency_ms.keys():
            raise ValueError("times are of other batches")
        return self


class _Images(_Checked):
    shape: Annotated[list[Annotated[int, Field(ge=1, le=2**16)]], Field(min_length=2, max_length=3)]
    mean: list[Number]
    std: list[Annotated[float, Field(gt=0, le=1e30)]]
    class_names: list[list[Text]]

    @model_validator(mode="after")
    def _one_per_channel(self) -> _Images:
        channels = self.shape[2] if len(self.shape) == 3 else 1
        if not len(self.mean) == len(self.std) == channels or (len(self.shape) == 3 and channels != 3):
            raise ValueError("mean and std are of other channels")
        return self


class _Seconds(_Checked):
    total: Number
    epoch: Number
    phases: dict[Text, Number]


class _Parameters(_Checked):
    all: Count
    nonzero: Count


class _Found(_Checked):
    epoch: Count
    sparsity_rate: Number
    validation_accuracy: list[Known]


class _Results(_Checked):
    __pydantic_extra__: dict[str, Known] = Field(init=False)  # rates, and details of the method
    script: Text
    architecture: Text
    dataset: Text
    task: Count | None
    task_names: Annotated[list[Text], Field(min_length=1)]
    k: list[Annotated[float, Field(ge=0, le=1e30)]]
    test_accuracy: list[Known]
    validation_accuracy: list[Known]
    validation_losses: list[Known]
    objectives: list[Known]
    weighted_objectives: list[Known]
    lam: Annotated[list[Known], Field(alias="lambda")]
    layers: dict[Text, _Rows]
    sparsity_rate: Number
    sparsity_rate_all_layers: Number
    compression_rate_all_layers: Known
    parameter_sharing_all_layers: Known
    reached_min_sparsRate: bool | None
    sparsity_binds: bool | None
    sparsity_advice: Text | None
    found_in_search: _Found | None
    best_epoch: Count
    parameter_count: _Parameters
    seconds: _Seconds
    compression: _Compression | None
    images: _Images | None
    parameters: dict[Text, Any]
    seed: Count
    data_seed: Count
    device: Text
    versions: dict[Text, Text]
    tasks: list[dict[Text, Any]] | None = None
    validation_scores: dict[Text, dict[Text, Known]] | None = None
    test_scores: dict[Text, dict[Text, Known]] | None = None

    @model_validator(mode="after")
    def _one_per_task(self) -> _Results:
        tasks = len(self.task_names)
        of_tasks = (self.test_accuracy, self.validation_accuracy, self.validation_losses)
        of_objectives = (self.k, self.objectives, self.weighted_objectives, self.lam)
        sizes = {*(len(values) - tasks for values in of_tasks), *(len(values) - tasks - 1 for values in of_objectives)}
        if sizes != {0}:
            raise ValueError("there is not one value per task or objective")
        if self.images and len(self.images.class_names) != tasks:
            raise ValueError("there are classes of other tasks")
        if any("/" in text or "\\" in text for text in (self.script, self.dataset)):
            raise ValueError("script or dataset is no name without folders")
        return self


def check_results(content: Mapping[str, Any]) -> None:
    """Refuse the content of a results file that lacks something, or has something of another kind or size.

    Args:
        content: plain values, None for what is no number.

    Raises:
        ValueError: saying where.
    """
    _Results.model_validate(dict(content))


def part_of_results(content: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """Some of what a results file holds, checked apart from the rest.

    Raises:
        ValueError: if one is missing, or of another kind or size.
    """
    return _part(names).model_validate({name: content[name] for name in names if name in content}).model_dump()


@cache
def _part(names: tuple[str, ...]) -> type[BaseModel]:
    fields: dict[str, Any] = {name: (_Results.model_fields[name].annotation, ...) for name in names}
    return create_model("Part", __base__=_Checked, **fields)
