"""What is run, on what, and where its files are; nothing here needs torch."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass as plain_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from src.utils.checked import CHECKED, Checked, from_plain, to_plain
from src.utils.errors import UserError
from src.utils.files import read_json, read_torch, write_json
from src.utils.training.parameters import TrainingParameters

ROOT = Path(__file__).resolve().parents[3]
START, CHECKPOINT, HISTORY = "run.json", "checkpoint.pt", "history.csv"
MODEL, SAMPLES, RESULTS = "model.pth", "samples.npz", "results.json"
"""Files of a run: how it was started, its state after the last epoch (while it is unfinished), a row per epoch; the
trained model, the first training images, and, once it is finished, what it reached."""
OUTPUT = "output.txt"
"""Of one run among many: what its process printed; of one that could not be finished the last line says why."""
_NO_MATTER = frozenset(
    {"data_dir", "output_dir", "main_dir", "mod_logdir", "device", "script", "model", "teachers", "checkpoint_batches"}
)  # for results: where files and processors are, who asked, and how often is written down what is reached


@dataclass(frozen=True, kw_only=True, config=CHECKED)
class RunConfig(Checked):
    """What is run, on what and where its files go; the training itself is in :class:`TrainingParameters`.

    Attributes:
        script: name of the script, which names the run's folder.
        architecture: key of ``src.models.registry.ARCHITECTURES``, or OWN.
        dataset: key of ``Data_loaders.registry.DATASETS``, or the name of a user's own data.

    Raises:
        UserError: naming the field, its value and what is allowed.
    """

    script: str
    architecture: str
    dataset: str
    task: int | None = Field(default=None, description="train this task only, from 0 (STL); none: all")
    seed: int = Field(default=0, ge=0, lt=2**32, description="of the initial weights and the order of the batches")
    data_seed: int = Field(
        default=0, ge=0, lt=2**32, description="of the random partners that the images are composed of"
    )
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where to compute")
    data_dir: str | None = Field(default=None, description="folder of the data sets; default: $MDMTN_DATA, else Data/")
    output_dir: str | None = Field(
        default=None, description="folder under which everything is written; default: the project"
    )
    main_dir: str = Field(default="logs", description="folder of the training results, under the output folder")
    mod_logdir: str = Field(
        default="src/Sparse_models", description="folder of the saved models, under the output folder"
    )
    model: str | None = Field(
        default=None, description="file of the model to start from, with --is_search no or --Sparsity_study no"
    )
    teachers: tuple[str, ...] = Field(
        default=(), strict=False, description="KDMTL: files of single-task models to learn from, one per task"
    )

    checkpoint_batches: int | None = Field(
        default=None,
        ge=1,
        description="write a checkpoint after so many batches, too, for long epochs; none: after each epoch",
    )

    def __post_init__(self) -> None:
        for name in ("data_dir", "output_dir", "model"):  # a run is continued from any folder, by any process
            if getattr(self, name):
                object.__setattr__(self, name, os.path.abspath(getattr(self, name)))
        object.__setattr__(self, "teachers", tuple(os.path.abspath(path) for path in self.teachers))
        for name in ("script", "dataset"):
            if Path(getattr(self, name)).name != getattr(self, name):
                raise UserError(f"{name} is {getattr(self, name)!r}; allowed: a name without folders")

    @property
    def root(self) -> Path:
        """Root of all that is written."""
        return Path(self.output_dir) if self.output_dir else ROOT

    @property
    def logs(self) -> Path:
        """Where the folders of runs and sweeps are."""
        return self.root / self.main_dir

    @property
    def images(self) -> Path:
        """Folder of the pictures of this data set."""
        return self.root / "Images" / self.dataset


@plain_dataclass(frozen=True)
class Run:
    """A training and where its files are.

    Attributes:
        config, parameters: what is run.
        folder: of its files, which have the names above, and its pictures.
        fingerprint: of what is run, in the names of the copies that are kept beside those of other runs; None for one
            run among many, which has no copies.
    """

    config: RunConfig
    parameters: TrainingParameters
    folder: Path
    fingerprint: str | None = None

    @classmethod
    def new(cls, config: RunConfig, parameters: TrainingParameters) -> Run:
        """A run in a folder of its own, with copies of its model and pictures beside those of other runs.

        Raises:
            UserError: if a model it starts or learns from cannot be read.
        """
        moment = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
        folder = config.logs / config.script / f"{_name(config, parameters)}_{moment}"
        return cls(config, parameters, folder, run_fingerprint(config, parameters))

    @classmethod
    def among_many(cls, config: RunConfig, parameters: TrainingParameters, folder: Path) -> Run:
        """A run with all its files in one folder."""
        return cls(config, parameters, folder)

    @classmethod
    def read(cls, folder: Path) -> Run:
        """The run in a folder, as it was started.

        Raises:
            UserError: if there is none.
        """
        try:
            content = read_json(folder / START)
            config = from_plain(RunConfig, content["config"])
            parameters = from_plain(TrainingParameters, content["parameters"])
            fingerprint = content["fingerprint"]
            if fingerprint is not None and not re.fullmatch("[0-9a-f]{6}", fingerprint):
                raise ValueError(f"{fingerprint!r} is no fingerprint")  # it is in names of files
            return cls(config, parameters, folder, fingerprint)
        except (OSError, ValueError, KeyError, TypeError, UserError) as error:
            raise UserError(f"{folder} holds no run of this version (no readable {START})") from error

    def save(self) -> None:
        """Write down how the run is started."""
        content = {"config": to_plain(self.config), "parameters": to_plain(self.parameters)}
        write_json(self.folder / START, {**content, "fingerprint": self.fingerprint})

    @property
    def name(self) -> str:
        """Name of its folder."""
        return self.folder.name

    @property
    def finished(self) -> bool:
        """Whether its results are there."""
        return (self.folder / RESULTS).exists()

    @property
    def written(self) -> list[Path]:
        """The files it has left, without pictures."""
        files = [self.folder / name for name in (RESULTS, HISTORY, MODEL, SAMPLES)]
        places = [*files, compressed_file(self.folder / MODEL), self.model_copy]
        return [path for path in places if path and path.exists()]

    @property
    def model_copy(self) -> Path | None:
        """Where the model is kept beside those of other runs."""
        return model_file(self.config, self.parameters, self.fingerprint) if self.fingerprint else None

    @property
    def picture_copies(self) -> Path | None:
        """Folder and beginning of the names of the pictures that are kept beside those of other runs."""
        return self.config.images / f"{self.config.script}_{self.fingerprint}" if self.fingerprint else None

    def picture(self, kind: str) -> Path:
        """File of a picture."""
        return self.folder / f"{kind}.png"


def compressed_file(model: Path) -> Path:
    """Where the compressed network of a model file is kept: beside it."""
    return model.with_name(f"{model.stem}_compressed.pth")


def model_checksum(path: str) -> str:
    """Of a model file's architecture and weights; not of the times and versions beside them."""
    content = read_torch(Path(path))
    return weights_checksum(content.get("architecture"), content.get("state_dict", {}))


def weights_checksum(architecture: Any, state: Mapping[str, Any]) -> str:
    """Of an architecture, as plain values, and a state dict."""
    digest = hashlib.sha256(json.dumps(architecture, sort_keys=True).encode())
    for name, tensor in state.items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def identity(
    config: RunConfig, parameters: TrainingParameters, checksum: Callable[[str], str] = model_checksum
) -> list[Any]:
    """All that the results of a run depend on, as plain values: not where files are, but what they hold.

    Args:
        config, parameters: what is run.
        checksum: of a model file; one that remembers saves reading it for every run.

    Raises:
        UserError: if a model that it starts or learns from cannot be read.
    """
    models = [*([config.model] if config.model else []), *config.teachers]
    what = {name: value for name, value in to_plain(config).items() if name not in _NO_MATTER}
    return [what, to_plain(parameters), [checksum(path) for path in models]]


def run_fingerprint(config: RunConfig, parameters: TrainingParameters) -> str:
    """Six hexadecimal digits of a checksum of :func:`identity`."""
    return hashlib.sha256(json.dumps(identity(config, parameters), sort_keys=True).encode()).hexdigest()[:6]


def model_file(config: RunConfig, parameters: TrainingParameters, fingerprint: str) -> Path:
    """Where the model of a run with this :func:`run_fingerprint` is kept beside those of other runs."""
    task = "" if config.task is None else f"_task{config.task}"
    method = "" if parameters.method == "Chebyshev" else f"_{parameters.method}"
    model = f"{config.architecture}{method}_{config.dataset}{task}_{_name(config, parameters)}"
    return config.root / config.mod_logdir / f"{model}_{fingerprint}_model{parameters.num_model}.pth"


def _name(config: RunConfig, parameters: TrainingParameters) -> str:
    """Preference vector and seed, as they appear in names of files."""
    return f"k{'_'.join(f'{value:.10g}' for value in parameters.w)}_seed{config.seed}"
