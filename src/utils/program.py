"""What a compressed network computes, as plain data: a list of steps, each a known operation on earlier values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from src.utils.errors import UserError

PROGRAM_VERSION = 1
INPUT = "x"  # name of the images


@dataclass(frozen=True)
class Step:
    """One operation.

    Attributes:
        name: of the value it makes; its tensors are ``<name>.weight``, ``<name>.bias``, ...
        op: name of the operation.
        inputs: names of the values it reads.
        options: sizes and numbers of the operation.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """Steps in the order in which they run; the first reads :data:`INPUT`.

    Attributes:
        input_shape: of one image, (C, H, W), or (features,).
        steps: each reads the input and values of steps before it.
        outputs: names of the values that are the outputs of the tasks.
    """

    input_shape: tuple[int, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str, ...]

    def as_plain(self) -> dict[str, Any]:
        """Mappings, lists, texts and numbers, for a weights-only file."""
        steps = [
            {"name": step.name, "op": step.op, "inputs": list(step.inputs), "options": _plain(step.options)}
            for step in self.steps
        ]
        return {
            "version": PROGRAM_VERSION,
            "input_shape": list(self.input_shape),
            "steps": steps,
            "outputs": list(self.outputs),
        }

    @staticmethod
    def from_plain(content: Any) -> Program:
        """Inverse of :meth:`as_plain`.

        Raises:
            UserError: for anything else.
        """
        if not isinstance(content, Mapping) or content.get("version") != PROGRAM_VERSION:
            raise UserError(f"the program of the compressed network is not of version {PROGRAM_VERSION}")
        try:
            steps = tuple(
                Step(str(step["name"]), str(step["op"]), _names(step["inputs"]), dict(step["options"]))
                for step in content["steps"]
            )
            program = Program(tuple(map(int, content["input_shape"])), steps, _names(content["outputs"]))
        except (TypeError, ValueError, LookupError) as error:
            raise UserError("the program of the compressed network is damaged: compress the network again") from error
        program.check_names()
        return program

    def check_names(self) -> None:
        """Refuse a program that reads a value before it is made, makes one twice, or has no output.

        Raises:
            UserError: naming the value.
        """
        known = {INPUT}
        for step in self.steps:
            missing = [name for name in step.inputs if name not in known]
            if missing or step.name in known:
                problem = f"reads {missing[0]}, which no step before it makes" if missing else "is there twice"
                raise UserError(f"step {step.name} of the program {problem}")
            known.add(step.name)
        if not self.outputs or not known.issuperset(self.outputs):
            raise UserError(f"the program has the outputs {list(self.outputs)}; allowed: names of steps, at least one")


def _names(values: Any) -> tuple[str, ...]:
    if isinstance(values, str) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r} is no list of names")
    return tuple(values)


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
