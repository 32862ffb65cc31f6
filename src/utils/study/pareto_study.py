"""The Pareto-front study: from one sparse network to a front of trade-offs between the tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from Data_loaders.datasets import MultiTaskDataset
from src.models.registry import SavedModel, load_model
from src.utils.errors import UserError
from src.utils.files import check_writable, copy_file, write_csv, write_json, write_text
from src.utils.study import plots
from src.utils.study.pareto import (
    epsilon_non_dominated,
    hypervolume_if_defined,
    non_dominated,
    reference_point,
    spread,
)
from src.utils.study.preference_vectors import PreferenceVector, preference_family
from src.utils.study.search import label
from src.utils.study.sweep import (
    Failure,
    Point,
    SweepObserver,
    Trial,
    Workers,
    check_trials,
    checksum,
    fingerprint,
    run_sweep,
)
from src.utils.training.parameters import TrainingParameters
from src.utils.training.results import read_history
from src.utils.training.run import RunConfig, run_name


@dataclass(frozen=True)
class StartModel:
    """The sparse network a study starts from.

    Attributes:
        path: its file.
        k0: preference of the sparsity objective it was trained with.
        skip_layer: training parameter of the same name it was trained with.
        validation_accuracy: mean over the tasks, percent.
        sparsity_rate: percent.
        reached_min_sparsRate: whether it is as sparse as was asked for.
    """

    path: Path
    k0: float
    skip_layer: int
    validation_accuracy: float
    sparsity_rate: float
    reached_min_sparsRate: bool | None

    @property
    def merit(self) -> tuple[bool, float]:
        """Sparse enough first, then validation accuracy."""
        return self.reached_min_sparsRate is not False, self.validation_accuracy


@dataclass(frozen=True)
class Front:
    """What the points of a study are, all in the order of the points.

    Attributes:
        losses: validation losses, shape (n, m).
        accuracies: test accuracies, percent, shape (n, m).
        on_front: not dominated in the validation losses.
        on_epsilon_front: not epsilon-dominated in the validation losses.
        on_accuracy_front: not dominated in the test accuracies.
        reference: reference point of the hypervolume of the losses.
        volume: hypervolume of the losses, None for other than two or three tasks.
        accuracy_reference, accuracy_volume: the same of the errors, 100 - accuracy.
        on_omega_front: not dominated in the validation losses and Omega together.
        omega_reference, omega_volume: reference point and hypervolume of these.
        spread: of the non-dominated losses, 0 where they are evenly spaced.
    """

    losses: np.ndarray
    accuracies: np.ndarray
    on_front: np.ndarray
    on_epsilon_front: np.ndarray
    on_accuracy_front: np.ndarray
    reference: list[float]
    volume: float | None
    accuracy_reference: list[float]
    accuracy_volume: float | None
    spread: float
    on_omega_front: np.ndarray
    omega_reference: list[float]
    omega_volume: float | None


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        config, parameters: of its runs, but for k and the network to start from.
        starts: networks it started from.
        task_names: one per task.
        folder: of its files.
        points: one per finished vector.
        front: what the points are.
        best: place of the point with the highest mean validation accuracy.
        epsilon, start: of the epsilon-dominance.
        failures: vectors that could not be trained.
    """

    config: RunConfig
    parameters: TrainingParameters
    starts: Sequence[StartModel]
    task_names: Sequence[str]
    folder: Path
    points: list[Point]
    front: Front
    best: int
    epsilon: float
    start: float
    failures: list[Failure]

    def picture(self, what: str) -> Path:
        """File of a picture."""
        return self.config.root / "Images" / self.config.dataset / f"{self.config.script}_{what}.png"

    @property
    def title(self) -> str:
        """Of the pictures."""
        return f"{self.config.architecture} on {self.config.dataset}, method {self.parameters.method}"


@dataclass(frozen=True)
class StudyOutcome:
    """A study and the files written."""

    study: Study
    files: list[Path]


def find_start_model(config: RunConfig, script: str, k0: float | None, observer: SweepObserver) -> StartModel:
    """The most accurate sparse network of ``mod_logdir``, on the recorded validation accuracy.

    Args:
        config: whose architecture and data set it must have.
        script: that makes such a network, for the message.
        k0: it must have been trained with; None takes any.
        observer: told of files that cannot be read.

    Raises:
        UserError: if there is none.
    """
    folder = config.root / config.mod_logdir
    found = []
    for path in sorted(folder.glob("*.pth")):
        try:
            saved = load_model(path)
        except UserError as error:
            observer.message(f"left out: {error}")
            continue
        if _fits(saved, config) and saved.results["sparsity_rate"] > 0:
            found.append(_start_model(path, saved))
    found = [start for start in found if k0 is None or start.k0 == k0]
    if not found:
        with_k0 = "" if k0 is None else f" trained with k0 = {k0:g}"
        raise UserError(
            f"no sparse {config.architecture} for {config.dataset}{with_k0} in {folder}: make one with {script}"
            + ("" if k0 is None else f" --k {k0:g} ...")
        )
    return max(found, key=lambda start: start.merit)


def read_start_model(path: Path, config: RunConfig) -> StartModel:
    """The network in a file that the user names.

    Raises:
        UserError: if it is of another architecture or data set.
    """
    saved = load_model(path)
    if not _fits(saved, config):
        raise UserError(
            f"{path} holds {saved.architecture.name} for {saved.results.get('dataset')}; "
            f"wanted: {config.architecture} for {config.dataset}"
        )
    return _start_model(path, saved)


def pareto_study(
    config: RunConfig,
    parameters: TrainingParameters,
    starts: Sequence[StartModel],
    data: MultiTaskDataset,
    workers: Workers,
    observer: SweepObserver,
    *,
    resolution: int | None = None,
    epsilon: float = 1e-2,
    start: float = 0.0,
) -> StudyOutcome:
    """Train from each network for every preference vector of its k0, its zero rows held, and analyse the points.

    A study is continued where it stopped. Its folder's name holds a checksum of parameters and models, so that others
    make a new study.

    Args:
        config: of the runs.
        parameters: of the runs; ``w`` is replaced by each vector.
        starts: networks to start from, one per k0.
        data: that ``config`` names.
        workers: who trains.
        observer: told of the progress.
        resolution: of a lattice over the tasks; None takes the family of two tasks.
        epsilon, start: sides and origin of the boxes of epsilon-dominance, in units of loss.

    Raises:
        UserError: if no vector could be trained.
    """
    check_boxes(epsilon, start)
    families = [preference_family(model.k0, len(data.task_names), resolution) for model in starts]
    folder = study_folder(config, parameters, data, starts, families)
    trials = [
        trial
        for model, vectors in zip(starts, families, strict=True)
        for trial in _trials(config, parameters, model, folder / f"start_k{model.k0:g}.pth", vectors)
    ]
    check_trials(trials, data)
    for place in (folder, config.root / "Images"):
        check_writable(place)
    _announce(folder, trials, observer)
    for model in starts:
        copy_file(model.path, folder / f"start_k{model.k0:g}.pth")
    outcome = run_sweep(folder, trials, workers, observer)
    points = list(outcome.points.values())
    if not points:
        raise UserError(f"none of {len(trials)} vectors could be trained: {outcome.failures[0].reason}")
    best = max(range(len(points)), key=lambda place: points[place].mean_accuracy)
    try:
        front = analyse(points, epsilon, start)
    except ValueError as error:
        raise UserError(f"the points cannot be analysed: {error}") from error
    study = Study(
        config,
        trials[0].parameters,
        starts,
        data.task_names,
        folder,
        points,
        front,
        best,
        epsilon,
        start,
        outcome.failures,
    )
    return StudyOutcome(study, [*_write(study), *_draw(study)])


def check_boxes(epsilon: float, start: float) -> None:
    """Refuse what epsilon-dominance has no meaning for; arguments as in :func:`pareto_study`.

    Raises:
        UserError: naming side and start of the boxes.
    """
    if not (np.isfinite(epsilon) and epsilon > 0 and np.isfinite(start)):
        raise UserError(f"the boxes have side {epsilon} and start {start}; allowed: a number > 0 and any finite number")


def study_folder(
    config: RunConfig,
    parameters: TrainingParameters,
    data: MultiTaskDataset,
    starts: Sequence[StartModel],
    families: Sequence[Sequence[PreferenceVector]],
) -> Path:
    """The folder of a study, named by all that its runs depend on."""
    models = [checksum(model.path) for model in starts]
    name = f"pareto_{config.architecture}_{config.dataset}_{fingerprint(config, parameters, data, models, families)}"
    return config.root / config.main_dir / name


def analyse(points: Sequence[Point], epsilon: float, start: float) -> Front:
    """Fronts, hypervolumes and spread of points; arguments as in :func:`pareto_study`."""
    losses = np.array([point.validation_losses for point in points])
    accuracies = np.array([point.test_accuracy for point in points])
    with_omega = np.column_stack([losses, [point.omega for point in points]])
    on_front, omega_reference = non_dominated(losses), reference_point([with_omega])
    reference, accuracy_reference = reference_point([losses]), reference_point([100 - accuracies])
    return Front(
        losses=losses,
        accuracies=accuracies,
        on_front=on_front,
        on_epsilon_front=epsilon_non_dominated(losses, epsilon, start),
        on_accuracy_front=non_dominated(-accuracies),
        reference=reference.tolist(),
        volume=hypervolume_if_defined(losses, reference),
        accuracy_reference=accuracy_reference.tolist(),
        accuracy_volume=hypervolume_if_defined(100 - accuracies, accuracy_reference),
        spread=spread(losses[on_front]),
        on_omega_front=non_dominated(with_omega),
        omega_reference=omega_reference.tolist(),
        omega_volume=hypervolume_if_defined(with_omega, omega_reference),
    )


def _trials(
    config: RunConfig,
    parameters: TrainingParameters,
    model: StartModel,
    path: Path,
    vectors: Sequence[PreferenceVector],
) -> list[Trial]:
    """A training from the model, of which there is a copy at ``path``, for every preference vector."""
    config = replace(config, model=str(path))
    runs = [parameters.changed(w=k, Sparsity_study=False, skip_layer=model.skip_layer) for k in vectors]
    return [Trial(run_name(config, run), config, run) for run in runs]


def _fits(saved: SavedModel, config: RunConfig) -> bool:
    wanted = (config.architecture, config.dataset, config.task)
    return (saved.architecture.name, saved.results.get("dataset"), saved.results.get("task")) == wanted


def _start_model(path: Path, saved: SavedModel) -> StartModel:
    return StartModel(
        path,
        float(saved.parameters["w"][0]),
        int(saved.parameters["skip_layer"]),
        float(np.mean(saved.results["validation_accuracy"])),
        float(saved.results["sparsity_rate"]),
        saved.results["reached_min_sparsRate"],
    )


def _announce(folder: Path, trials: Sequence[Trial], observer: SweepObserver) -> None:
    if folder.exists():
        done = sum(trial.files(folder).results.exists() for trial in trials)
        observer.message(f"going on with the study in {folder}: {done} of {len(trials)} vectors are done")
        return
    others = sorted(folder.parent.glob(f"{folder.name.rsplit('_', 1)[0]}_*"), key=lambda path: path.stat().st_mtime)
    why = f", since parameters or model differ from those of {others[-1].name}" if others else ""
    observer.message(f"a new study of {len(trials)} vectors starts in {folder}{why}")


def _draw(study: Study) -> list[Path]:
    """All pictures of a study."""
    points, front, names = study.points, study.front, study.task_names
    losses, accuracies, curves = (study.picture(what) for what in ("losses", "accuracies", "curves"))
    best = points[study.best]
    axes = [f"validation loss, {name}" for name in names]
    plots.draw_front(losses, points, front.losses, front.on_front, best, axes, f"{study.title}: losses")
    axes = [f"test accuracy, {name} (%)" for name in names]
    plots.draw_front(accuracies, points, front.accuracies, front.on_accuracy_front, best, axes,
                     f"{study.title}: accuracies", larger_is_better=True)  # fmt: skip
    labels = [label({"w": point.k}) for point in points]
    plots.draw_curves(curves, [read_accuracies(point.folder) for point in points], labels, names, study.title)
    pictures = [losses, accuracies, curves]
    if len(study.starts) > 1:
        pictures.append(study.picture("3d"))
        plots.draw_front_3d(pictures[-1], points, front.on_omega_front, names, f"{study.title}: losses")
    return pictures


def read_accuracies(folder: Path) -> np.ndarray:
    """Validation accuracies of a run's history, shape (epochs, m), percent."""
    rows = read_history(folder / "history.csv")
    columns = [name for name in rows[0] if name.startswith("validation_accuracy_")]
    return np.array([[row[name] for name in columns] for row in rows])


def _write(study: Study) -> list[Path]:
    """Table, summary and report."""
    table, summary, report = (study.folder / name for name in ("front.csv", "study.json", "report.md"))
    write_csv(table, [_row(study, place) for place in range(len(study.points))])
    write_json(summary, _summary(study))
    write_text(report, _report(study))
    return [table, summary, report]


def _row(study: Study, place: int) -> dict[str, Any]:
    point, front = study.points[place], study.front
    row: dict[str, Any] = {f"k_{number}": value for number, value in enumerate(point.k)}
    for name in ("validation_losses", "validation_accuracy", "test_accuracy"):
        row |= {f"{name}_{task}": value for task, value in enumerate(getattr(point, name), start=1)}
    row |= {"omega": point.omega, "sparsity_rate": point.sparsity_rate}
    masks = ("on_front", "on_epsilon_front", "on_accuracy_front", "on_omega_front")
    return row | {name: bool(getattr(front, name)[place]) for name in masks}


def _summary(study: Study) -> dict[str, Any]:
    front = study.front
    return {
        "script": study.config.script,
        "architecture": study.config.architecture,
        "dataset": study.config.dataset,
        "method": study.parameters.method,
        "task_names": list(study.task_names),
        "starts": [{**asdict(start), "path": start.path.name} for start in study.starts],
        "points": [
            {"k": p.k, "validation_losses": p.validation_losses, "test_accuracy": p.test_accuracy, "omega": p.omega}
            for p in study.points
        ],
        "best": study.points[study.best].k,
        "hypervolume": {"losses": front.volume, "reference": front.reference},
        "hypervolume_of_errors": {"errors": front.accuracy_volume, "reference": front.accuracy_reference},
        "hypervolume_with_omega": {"losses_and_omega": front.omega_volume, "reference": front.omega_reference},
        "spread": front.spread,
        "epsilon": study.epsilon,
        "start": study.start,
        "failures": [{"name": failure.trial.name, "reason": failure.reason} for failure in study.failures],
        "parameters": {name: value for name, value in asdict(study.parameters).items() if name != "w"},
        "seed": study.config.seed,
    }


def _report(study: Study) -> str:
    """The study in words, for a reader who has nothing else."""
    front, best, parameters = study.front, study.points[study.best], study.parameters
    starts = "\n".join(
        f"- `{start.path.name}`, trained with k0 = {start.k0:g}: {start.sparsity_rate:.1f} % zero rows, "
        f"{start.validation_accuracy:.2f} % mean validation accuracy"
        for start in study.starts
    )
    lines = [
        f"# Pareto-front study: {study.title}",
        "",
        f"For each preference vector k = (sparsity, {', '.join(study.task_names)}) a network was trained from",
        "",
        starts,
        "",
        f"with its zero rows held, iterations x epochs = {parameters.max_iter} x {parameters.num_epochs} at most, by "
        f"{parameters.base_optimizer} with learning rate {parameters.lr:g} (x {parameters.lr_sched_coef:g} per "
        f"iteration), method {parameters.method} with mu {parameters.mu:g} (x {parameters.rho:g}), seed "
        f"{study.config.seed}, on {study.config.torch_device().type} with torch {torch.__version__}; the epoch whose "
        "validation losses have the best weighted Chebyshev value counts. All parameters are in `study.json`.",
        "",
        "## Result",
        "",
        f"- {len(study.points)} vectors trained, {len(study.failures)} failed.",
        f"- {int(front.on_front.sum())} of them are not dominated in the validation losses, "
        f"{int(front.on_epsilon_front.sum())} with epsilon-dominance (boxes of {study.epsilon:g} from "
        f"{study.start:g}); {int(front.on_accuracy_front.sum())} are not dominated in the test accuracies.",
        f"- Best mean validation accuracy: {label({'w': best.k})}, test accuracy "
        f"{_numbers(best.test_accuracy, '.2f')} % (mean {np.mean(best.test_accuracy):.2f} %).",
        *_volumes(front),
        *_omega(study),
        "- Unevenness of the front of the losses: "
        + (f"{front.spread:.3f} (0 is even)." if np.isfinite(front.spread) else "not defined for fewer than 3 points."),
        "",
        "## Vectors",
        "",
        f"| k | {' | '.join(f'validation loss, {name}' for name in study.task_names)} | "
        f"{' | '.join(f'test accuracy, {name}' for name in study.task_names)} | Omega | zero rows | front |",
        "|" + "---|" * (2 * len(study.task_names) + 4),
        *(_report_row(study, place) for place in range(len(study.points))),
        "",
        "front: L not dominated in the validation losses, E also with epsilon-dominance, A not dominated in the test "
        "accuracies, O not dominated in the validation losses and Omega together.",
    ]
    if study.failures:
        lines += ["", "## Failed", "", *(f"- {failure.trial.name}: {failure.reason}" for failure in study.failures)]
    return "\n".join(lines) + "\n"


def _volumes(front: Front) -> list[str]:
    if front.volume is None or front.accuracy_volume is None:
        return []
    return [
        f"- Hypervolume of the validation losses: {front.volume:.5g}, with reference point "
        f"({_numbers(front.reference, '.4g')}); of the test errors in percent: {front.accuracy_volume:.5g}, with "
        f"({_numbers(front.accuracy_reference, '.4g')})."
    ]


def _omega(study: Study) -> list[str]:
    """The front of losses and Omega, which is of interest where networks of several k0 were started from."""
    front = study.front
    if len(study.starts) < 2:
        return []
    volume = "" if front.omega_volume is None else f": hypervolume {front.omega_volume:.5g}"
    return [
        f"- With Omega as another objective {int(front.on_omega_front.sum())} vectors are not dominated{volume}, "
        f"reference point ({_numbers(front.omega_reference, '.4g')})."
    ]


def _report_row(study: Study, place: int) -> str:
    point, front = study.points[place], study.front
    losses = " | ".join(f"{value:.4f}" for value in point.validation_losses)
    accuracies = " | ".join(f"{value:.2f}" for value in point.test_accuracy)
    masks = {"L": front.on_front, "E": front.on_epsilon_front, "A": front.on_accuracy_front, "O": front.on_omega_front}
    marks = " ".join(letter for letter, mask in masks.items() if mask[place])
    numbers = f"{losses} | {accuracies} | {point.omega:.4g} | {point.sparsity_rate:.1f} %"
    return f"| {_numbers(point.k, 'g')} | {numbers} | {marks} |"


def _numbers(values: Sequence[float], style: str) -> str:
    return ", ".join(f"{value:{style}}" for value in values)
