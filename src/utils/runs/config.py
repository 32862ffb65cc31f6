"""What is run, on what, and where its files are; nothing here needs torch."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass as plain_dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from src.utils.checked import CHECKED, Checked, from_plain, to_plain
from src.utils.errors import UserError
from src.utils.files import write_json
from src.utils.training.parameters import TrainingParameters

ROOT = Path(__file__).resolve().parents[3]
OWN = "own"
"""Architecture of a network that the user built."""


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
        default=(), description="KDMTL: files of single-task models to learn from, one per task"
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
class RunFiles:
    """Where a run's files are.

    Attributes:
        folder: of the run, with its configuration, checkpoint, history, results and model.
        model_copy: where the model is kept beside those of other runs; None for one run among many.
        pictures: folder and beginning of the name of its pictures.
    """

    folder: Path
    model_copy: Path | None
    pictures: Path

    @property
    def config(self) -> Path:
        """The run's configuration and parameters."""
        return self.folder / "run.json"

    @property
    def checkpoint(self) -> Path:
        """State after the last epoch, there while the run is unfinished."""
        return self.folder / "checkpoint.pt"

    @property
    def history(self) -> Path:
        """A row per epoch, written anew after each."""
        return self.folder / "history.csv"

    @property
    def model(self) -> Path:
        """The trained model."""
        return self.folder / "model.pth"

    @property
    def samples(self) -> Path:
        """The first training images, for a picture; not of one run among many."""
        return self.folder / "samples.npz"

    @property
    def results(self) -> Path:
        """The results file, there once the run is finished."""
        return self.folder / "results.json"

    def picture(self, what: str) -> Path:
        """File of a picture."""
        return self.pictures.with_name(f"{self.pictures.name}_{what}.png")


@plain_dataclass(frozen=True)
class Started:
    """How a run was started: what its ``run.json`` holds."""

    config: RunConfig
    parameters: TrainingParameters
    files: RunFiles


def write_start(start: Started) -> None:
    """Write ``run.json``."""
    files = start.files
    places = {"model_copy": str(files.model_copy) if files.model_copy else None, "pictures": str(files.pictures)}
    content = {"config": to_plain(start.config), "parameters": to_plain(start.parameters), "files": places}
    write_json(files.config, content)


def read_start(folder: Path) -> Started:
    """How the run in a folder was started.

    Raises:
        UserError: if there is none.
    """
    try:
        content = json.loads((folder / "run.json").read_text())
        copy, pictures = content["files"]["model_copy"], Path(content["files"]["pictures"])
        return Started(
            from_plain(RunConfig, content["config"]),
            from_plain(TrainingParameters, content["parameters"]),
            RunFiles(folder, Path(copy) if copy else None, pictures),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} holds no run of this version (no readable run.json)") from error


def run_name(config: RunConfig, parameters: TrainingParameters) -> str:
    """Preference vector and seed, as they appear in names of files."""
    return f"k{'_'.join(f'{value:.10g}' for value in parameters.w)}_seed{config.seed}"


def model_file(config: RunConfig, parameters: TrainingParameters) -> Path:
    """Where a run's model is kept beside those of other runs."""
    task = "" if config.task is None else f"_task{config.task}"
    method = "" if parameters.method == "Chebyshev" else f"_{parameters.method}"
    what = f"{config.architecture}{method}_{config.dataset}{task}"
    return config.root / config.mod_logdir / f"{what}_{run_name(config, parameters)}_model{parameters.num_model}.pth"


def new_files(config: RunConfig, parameters: TrainingParameters) -> RunFiles:
    """Name the files of a new run."""
    moment = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    folder = config.logs / config.script / f"{run_name(config, parameters)}_{moment}"
    return RunFiles(folder, model_file(config, parameters), config.images / config.script)


def files_among_many(folder: Path) -> RunFiles:
    """The files of one run among many: all are in its folder."""
    return RunFiles(folder, None, folder / "run")
