"""What is kept of single runs and studies, beside the lines of all runs, so that their pictures can be drawn anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from Data_loaders.datasets import MultiTaskDataset
from src.models.registry import read_model_file
from src.utils.files import copy_file, read_json, write_json
from src.utils.report.fronts import draw_comparison
from src.utils.report.run import draw_course
from src.utils.report.study_report import draw_study_fronts
from src.utils.runs.config import HISTORY, MODEL, RESULTS, SAMPLES
from src.utils.runs.history import read_history
from src.utils.runs.results import Results, read_results
from src.utils.runs.samples import read_samples, samples_of, write_samples
from src.utils.study.compare import compare
from src.utils.study.pareto_study import study_of
from src.utils.study.record import RECORD, read_record
from src.utils.study.sweep import read_outcome

SHOWN_RUNS = {"MDMTN_MM_sparse_fast": "MultiMnist", "MDMTN_CM_sparse": "Cifar10Mnist"}
"""Cases whose curves, rows and samples are drawn, and what the names of these pictures begin with."""
SHOWN_STUDIES = {"HPS": "pareto_HPS_MultiMnist", "MDMTN": "pareto_MDMTN_MultiMnist"}
"""Networks whose fronts are compared, and what their studies are called; that of the first is drawn by itself."""
NETWORK = "network.json"
"""Shapes of a network's tensors, and its mixing factors."""


def shown_folder(results: Path, name: str) -> Path:
    """Folder of what is kept of a case or study."""
    return results / "shown" / name


def keep_run(results: Path, case: str, run: Results, data: MultiTaskDataset) -> None:
    """Keep results, history, samples and the network's shapes of a run, if it is the one that is shown of its case."""
    if run.seed or case not in SHOWN_RUNS:
        return
    folder = shown_folder(results, case)
    for file in (RESULTS, HISTORY):
        copy_file(run.folder / file, folder / file)
    write_samples(folder / SAMPLES, samples_of(data))
    state = read_model_file(run.folder / MODEL).state_dict
    shapes = {name: list(tensor.shape) for name, tensor in state.items()}
    write_json(folder / NETWORK, {"shapes": shapes, "alphas": state["alphas"].tolist() if "alphas" in state else None})


def keep_study(results: Path, folder: Path) -> bool:
    """Keep the results of the study in a folder, if it is one that is shown; returns whether it is."""
    record = read_record(folder)
    if record.kind != "study":
        return False
    outcome = read_outcome(folder)
    names = {f"pareto_{found.architecture}_{found.dataset}" for found in outcome.results}
    if not names & set(SHOWN_STUDIES.values()):
        return False
    place = shown_folder(results, names.pop())
    write_json(place / RECORD, {**record.model_dump(mode="json"), "picture_copies": ""})  # a path of this machine
    for found in outcome.results:
        copy_file(found.folder / RESULTS, place / found.folder.name / RESULTS)
    return True


def draw_shown(folder: Path, results: Path) -> list[Path]:
    """Draw what is kept of runs and studies."""
    runs = {name: shown_folder(results, case) for case, name in SHOWN_RUNS.items()}
    files = [file for name, run in runs.items() if run.exists() for file in _draw_run(folder, run, name)]
    studies = list(studies_in(results).values())
    if studies:
        files += draw_study_fronts(study_of(read_outcome(studies[0])), lambda kind: folder / f"pareto_{kind}.png")
    if len(studies) > 1:
        files += draw_comparison(folder / "comparison", compare(studies))
    return files


def studies_in(results: Path) -> dict[str, Path]:
    """Folders of the studies that are there, by network."""
    folders = {network: shown_folder(results, name) for network, name in SHOWN_STUDIES.items()}
    return {network: folder for network, folder in folders.items() if folder.exists()}


def _draw_run(folder: Path, run: Path, name: str) -> list[Path]:
    """Training curves, rows per layer, samples of the data and, of a network that was kept and has one, the diagram."""
    history, samples = read_history(run / HISTORY), read_samples(run / SAMPLES)
    state = _state(read_json(run / NETWORK)) if (run / NETWORK).exists() else None
    return draw_course(read_results(run), history, lambda kind: folder / f"{name}_{kind}.png", samples, state)


def _state(network: dict[str, Any]) -> dict[str, torch.Tensor]:
    """A state dict without values but those of the mixing factors."""
    state = {name: torch.empty(shape, device="meta") for name, shape in network["shapes"].items()}
    return state | ({"alphas": torch.tensor(network["alphas"])} if network["alphas"] else {})
