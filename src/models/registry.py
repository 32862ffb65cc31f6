"""Networks by name, and their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from src.models.backbones import BACKBONES, Backbone
from src.models.mdmtn import MDMTN
from src.models.multi_task import MultiTaskNetwork
from src.utils.errors import UserError
from src.utils.files import read_torch, write_torch

ARCHITECTURES: Mapping[str, Callable[[Backbone, Sequence[int]], MultiTaskNetwork]] = MappingProxyType({"MDMTN": MDMTN})

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Architecture:
    """What a network is built from.

    Attributes:
        name: key of :data:`ARCHITECTURES`.
        backbone: key of :data:`src.models.backbones.BACKBONES`.
        num_outs: number of classes per task.
    """

    name: str
    backbone: str
    num_outs: tuple[int, ...]

    def build(self) -> MultiTaskNetwork:
        """A new network with PyTorch's own initial weights.

        Raises:
            UserError: for an unknown architecture or backbone.
        """
        for value, known, kind in ((self.name, ARCHITECTURES, "architecture"), (self.backbone, BACKBONES, "backbone")):
            if value not in known:
                raise UserError(f"{kind} is {value!r}; allowed: {', '.join(known)}")
        return ARCHITECTURES[self.name](BACKBONES[self.backbone], self.num_outs)


@dataclass(frozen=True)
class SavedModel:
    """A network read from a file, with what was recorded beside it."""

    network: MultiTaskNetwork
    architecture: Architecture
    parameters: dict[str, Any]
    results: dict[str, Any]


def save_model(
    path: Path,
    network: MultiTaskNetwork,
    architecture: Architecture,
    parameters: Mapping[str, Any],
    results: Mapping[str, Any],
) -> None:
    """Write state dict, architecture, training parameters and results into one file."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content = {
        "format_version": FORMAT_VERSION,
        "architecture": asdict(architecture),
        "parameters": dict(parameters),
        "results": dict(results),
        "state_dict": state,
    }
    write_torch(path, content)


def load_model(path: Path, expected: Architecture | None = None) -> SavedModel:
    """Read a file of :func:`save_model`; no code in it is run.

    Args:
        path: the file.
        expected: refuse any other architecture.

    Raises:
        UserError: if the file is missing, damaged, of another version or of another architecture.
    """
    content = read_torch(path)
    missing = {"format_version", "architecture", "parameters", "results", "state_dict"} - set(content)
    if missing or content["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path} is no model file of format version {FORMAT_VERSION}: train the model again")
    found = Architecture(**{**content["architecture"], "num_outs": tuple(content["architecture"]["num_outs"])})
    if expected is not None and found != expected:
        raise UserError(f"{path} holds {_described(found)}; wanted: {_described(expected)}")
    network = found.build()
    try:
        network.load_state_dict(content["state_dict"])
    except RuntimeError as error:
        raise UserError(f"{path} does not fit {_described(found)}: train the model again") from error
    return SavedModel(network, found, content["parameters"], content["results"])


def _described(architecture: Architecture) -> str:
    return f"{architecture.name} on {architecture.backbone} with {list(architecture.num_outs)} classes"
