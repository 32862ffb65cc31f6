"""Frozen dataclasses that check their values: pydantic's, with errors in one line that say what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo

from src.utils.errors import UserError

T = TypeVar("T")

CHECKED = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
"""Configuration of every checked dataclass: no silent conversions, no further values, finite numbers."""


class Checked:
    """Base of the checked dataclasses: a value that is not allowed raises :class:`UserError`, in one line."""

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_one_line(cls, values: Any, check: Callable[[Any], Any]) -> Any:
        try:
            return check(values)
        except ValidationError as error:
            raise _one_line(cls, error) from error


def fields_of(cls: type) -> dict[str, FieldInfo]:
    """The fields of a checked dataclass, by name."""
    found: dict[str, FieldInfo] = cls.__pydantic_fields__  # type: ignore[attr-defined]
    return found


def from_plain(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance from plain values: lists for tuples, and texts, as of a command line, for numbers and yes or no.

    Raises:
        UserError: naming the field, its value and what is allowed.
    """
    return TypeAdapter(cls).validate_python(dict(values), strict=False)


def to_plain(instance: Any) -> dict[str, Any]:
    """Values of a dataclass for JSON and weights-only files: lists for tuples, nested dataclasses as mappings."""
    return {name: _plain(value) for name, value in asdict(instance).items()}


def shown(default: Any) -> str:
    """A default value as the page of parameters and ``--help`` write it."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple | list):
        return ", ".join(map(shown, default)) or "none"
    return "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


def allowed(field: FieldInfo) -> str:
    """What a field may be, in a few words."""
    return _allowed(field.annotation, field.metadata)


def _allowed(kind: Any, limits: list[Any]) -> str:
    options = [option for option in get_args(kind) if option is not type(None)]
    if get_origin(kind) is Literal:
        return ", ".join(map(str, options))
    if get_origin(kind) is tuple:
        return "texts" if options[0] is str else "finite numbers"
    if get_origin(kind) is Annotated:
        return _allowed(options[0], options[1:])
    if len(options) > 1:
        return ", or ".join(_allowed(option, limits) for option in options)
    if len(options) < len(get_args(kind)):
        return f"{_allowed(options[0], limits)}, or none"
    words = {float: "a finite number", int: "a whole number", bool: "yes or no (True or False)", str: "a text"}
    return f"{words[kind]} {_range(limits)}".rstrip()


def _range(limits: list[Any]) -> str:
    bounds = {
        name: getattr(limit, name) for limit in limits for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)
    }
    if {"ge", "le"} <= bounds.keys():
        return f"from {bounds['ge']:.12g} to {bounds['le']:.12g}"
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return " and ".join(f"{signs[name]} {bound:.12g}" for name, bound in bounds.items())


def _one_line(cls: type, error: ValidationError) -> UserError:
    first = error.errors()[0]
    name = str(first["loc"][0])
    if name not in fields_of(cls):
        return UserError(f"unknown parameter {name}; known: {', '.join(fields_of(cls))}")
    field = fields_of(cls)[name]
    if first["type"] == "missing":
        return UserError(f"{field.title or name} is missing; allowed: {allowed(field)}")
    return UserError(f"{field.title or name} is {_shown(first['input'])}; allowed: {allowed(field)}")


def _shown(value: Any) -> str:
    return str(value) if isinstance(value, float) else repr(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
