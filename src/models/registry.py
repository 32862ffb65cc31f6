"""Networks by name, and their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from src.models.backbones import BACKBONES, Backbone
from src.models.compact import CompactNetwork
from src.models.hps import HPS
from src.models.mdmtn import MDMTN
from src.models.mtan import MTAN
from src.models.multi_task import MultiTaskNetwork
from src.models.names import COMPRESSED, OWN, check_architecture
from src.utils.errors import UserError
from src.utils.files import read_torch, write_torch
from src.utils.program import Program


def _mdmtn(backbone: Backbone, num_outs: Sequence[int]) -> MultiTaskNetwork:
    return MDMTN(backbone.trunk(), [backbone.monitor() for _ in num_outs], backbone.heads(num_outs))


def _hps(backbone: Backbone, num_outs: Sequence[int]) -> MultiTaskNetwork:
    return HPS(backbone.trunk(), backbone.heads(num_outs))


def _mtan(backbone: Backbone, num_outs: Sequence[int]) -> MultiTaskNetwork:
    # What leads from a stage to the next in the shared network does so for the attended features, too.
    return MTAN(backbone.stages()[:-1], [backbone.stages()[1:] for _ in num_outs], backbone.heads(num_outs))


ARCHITECTURES: Mapping[str, Callable[[Backbone, Sequence[int]], MultiTaskNetwork]] = MappingProxyType(
    {"MDMTN": _mdmtn, "HPS": _hps, "STL": _hps, "MTAN": _mtan}
)

FORMAT_VERSION = 1
MOST_OUTPUTS = 100_000


@dataclass(frozen=True)
class Architecture:
    """What a network is built from.

    Attributes:
        name: key of :data:`ARCHITECTURES`, or :data:`~src.models.names.COMPRESSED`.
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
        check_architecture(self.name)
        if self.backbone not in BACKBONES:
            raise UserError(f"backbone is {self.backbone!r}; allowed: {', '.join(BACKBONES)}")
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
    """Write state dict, architecture, training parameters and results into one file.

    A compressed network is stored under the architecture ``compressed``, with its program beside the state dict.

    Raises:
        UserError: for a compressed network with layers of a kind that a program cannot describe.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    content: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "architecture": asdict(architecture),
        "parameters": dict(parameters),
        "results": dict(results),
        "state_dict": state,
    }
    if isinstance(network, CompactNetwork):
        if network.others:
            raise UserError(f"{path} cannot hold layers of other kinds: {', '.join(network.others)}")
        content["architecture"]["name"] = COMPRESSED
        content["program"] = network.program.as_plain()
    write_torch(path, content)


@dataclass(frozen=True)
class ModelFile:
    """What a file of :func:`save_model` holds, without the network.

    Attributes:
        architecture: what the network is built from.
        parameters, results: of its training.
        state_dict: its weights and buffers, all finite, by name.
        program: of a compressed network.
    """

    architecture: Architecture
    parameters: dict[str, Any]
    results: dict[str, Any]
    state_dict: dict[str, Tensor]
    program: Any


def read_model_file(path: Path) -> ModelFile:
    """Read a file of :func:`save_model`; no code in it is run.

    Raises:
        UserError: if the file is missing, damaged or of another version, or its numbers are not finite.
    """
    content = read_torch(path)
    missing = {"format_version", "architecture", "parameters", "results", "state_dict"} - set(content)
    if missing or content["format_version"] != FORMAT_VERSION:
        raise UserError(f"{path} is no model file of format version {FORMAT_VERSION}: train the model again")
    for name in ("parameters", "results", "state_dict"):
        if not isinstance(content[name], dict) or not all(isinstance(key, str) for key in content[name]):
            raise UserError(f"{path} is damaged, its {name} are none: train the model again")
    state = content["state_dict"]
    bad = [key for key, value in state.items() if not isinstance(value, Tensor) or not bool(value.isfinite().all())]
    if bad:
        raise UserError(f"{path} is damaged, {bad[0]} is no tensor of finite numbers: train the model again")
    return ModelFile(
        _architecture(path, content["architecture"]),
        content["parameters"],
        content["results"],
        state,
        content.get("program"),
    )


def _architecture(path: Path, content: Any) -> Architecture:
    try:
        found = Architecture(**{**content, "num_outs": tuple(content["num_outs"])})
    except (TypeError, LookupError) as error:
        raise UserError(f"{path} does not say what its network is built from: train the model again") from error
    outs = all(isinstance(count, int) and 1 <= count <= MOST_OUTPUTS for count in found.num_outs)
    if not outs or not all(isinstance(value, str) for value in (found.name, found.backbone)):
        raise UserError(f"{path} does not say what its network is built from: train the model again")
    if not 1 <= len(found.num_outs) <= MOST_OUTPUTS:
        raise UserError(f"{path} is of {len(found.num_outs)} tasks; allowed: 1 to {MOST_OUTPUTS}")
    return found


def load_model(path: Path, expected: Architecture | None = None, network: MultiTaskNetwork | None = None) -> SavedModel:
    """Read a file of :func:`save_model`; no code in it is run. The network is in evaluation mode.

    Args:
        path: the file.
        expected: refuse any other architecture.
        network: put the weights into this one, which a network of the user's own needs; None builds it by its name, or
            from its program.

    Raises:
        UserError: if the file is missing, damaged, of another version or of another architecture.
    """
    file = read_model_file(path)
    found = file.architecture
    if expected is not None and found != expected:
        raise UserError(f"{path} holds {_described(found)}; wanted: {_described(expected)}")
    if found.name == OWN and network is None:
        raise UserError(f"{path} holds a network of one's own: build it and pass it as network")
    if found.name == COMPRESSED:
        return SavedModel(_compact(path, file), found, file.parameters, file.results)
    network = network or found.build()
    try:
        network.load_state_dict(file.state_dict)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{path} does not fit {_described(found)}: train the model again") from error
    return SavedModel(network.eval(), found, file.parameters, file.results)


def _compact(path: Path, file: ModelFile) -> CompactNetwork:
    state = {name.removeprefix("tensors."): tensor for name, tensor in file.state_dict.items()}
    try:
        return CompactNetwork(Program.from_plain(file.program), state)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _described(architecture: Architecture) -> str:
    return f"{architecture.name} on {architecture.backbone} with {list(architecture.num_outs)} classes"
