"""``sweep.json``, what the trainings of a sweep are and which of them failed, as it must look before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from src.utils.checked import fields_of
from src.utils.errors import UserError
from src.utils.files import read_json
from src.utils.runs.config import RunConfig
from src.utils.training.parameters import TrainingParameters

RECORD = "sweep.json"

Name = Annotated[str, Field(pattern=r"^[^/\\\x00]+$", max_length=255)]
"""Of a folder in the folder of a sweep."""


class _Trial(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
    name: Name
    candidate: dict[str, bool | int | float | str | list[float] | None]

    @field_validator("candidate")
    @classmethod
    def _values_of_parameters(cls, candidate: dict[str, Any]) -> dict[str, Any]:
        known = {**fields_of(TrainingParameters), **fields_of(RunConfig)}
        for name, value in candidate.items():
            if name not in known:
                raise ValueError(f"{name} is no parameter")
            TypeAdapter(known[name].annotation or Any).validate_python(value)
        return candidate


class _Failure(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    name: Name
    reason: str


class Record(BaseModel):
    """What a sweep writes down at its start and its end."""

    model_config = ConfigDict(strict=True, extra="forbid")
    kind: str
    picture_copies: str
    trials: list[_Trial]
    settings: dict[str, Any]
    failures: list[_Failure]


def read_record(folder: Path) -> Record:
    """The record of the sweep in a folder.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    try:
        return Record.model_validate(read_json(folder / RECORD))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds no sweep of this version (no readable {RECORD})") from error
