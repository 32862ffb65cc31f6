"""Pictures and report of a Pareto-front study, from its files alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from src.utils.files import write_text
from src.utils.report.fronts import draw_curves, draw_front, draw_front_3d
from src.utils.report.style import PLURAL, keep_copies
from src.utils.runs.config import HISTORY
from src.utils.runs.history import read_history
from src.utils.study.pareto import Front
from src.utils.study.pareto_study import Study
from src.utils.study.start_models import StartModel


def report_study(study: Study) -> list[Path]:
    """Draw all pictures of a study and write its report; returns their files."""
    report = study.outcome.folder / "report.md"
    write_text(report, _report(study))
    pictures = _draw(study)
    return [report, *pictures, *keep_copies(pictures, study.outcome.picture_copies)]


def draw_study_fronts(study: Study, picture: Callable[[str], Path]) -> list[Path]:
    """The fronts of the validation losses and of the test accuracies.

    Args:
        study: what was found.
        picture: the file of a picture, by its kind.
    """
    points, best, names = study.outcome.results, study.outcome.best, study.task_names
    score = points[best].score_name
    losses = draw_front(
        picture("losses"), points, study.losses.values, study.losses.mask, best,
        [f"validation loss, {name}" for name in names], f"{study.title}: losses",
    )  # fmt: skip
    accuracies = draw_front(
        picture("accuracies"), points, 100 - study.errors.values, study.errors.mask, best,
        [f"test {score}, {name} (%)" for name in names], f"{study.title}: {PLURAL[score]}", larger_is_better=True,
    )  # fmt: skip
    return [*losses, *accuracies]


def _draw(study: Study) -> list[Path]:
    outcome, points, names = study.outcome, study.outcome.results, study.task_names
    pictures = draw_study_fronts(study, outcome.picture)
    histories = [read_history(results.folder / HISTORY) for results in points]
    courses = [np.array([record.validation_accuracy for record in history]) for history in histories]
    pictures += draw_curves(
        outcome.picture("curves"),
        courses,
        [point.label for point in study.points],
        names,
        study.title,
        points[0].score_name,
    )
    if len(study.starts) > 1:
        pictures += draw_front_3d(outcome.picture("3d"), points, study.with_omega.mask, names, f"{study.title}: losses")
    return pictures


def _report(study: Study) -> str:
    """The study in words, for a reader who has nothing else."""
    names, failures = study.task_names, study.outcome.failures
    score = study.best.results.score_name
    scores = [f"test {score}, {name}" for name in names]
    lines = [
        f"# Pareto-front study: {study.title}",
        "",
        f"For each preference vector k = (sparsity, {', '.join(names)}) a network was trained from",
        "",
        *(_start(start) for start in study.starts),
        "",
        _training(study),
        "",
        "## Result",
        "",
        *_findings(study),
        "",
        "## Vectors",
        "",
        f"| k | {' | '.join(f'validation loss, {name}' for name in names)} | "
        f"{' | '.join(scores)} | Omega | zero rows | front |",
        "|" + "---|" * (2 * len(names) + 4),
        *(_row(study, place) for place in range(len(study.points))),
        "",
        "front: L not dominated in the validation losses, E also with epsilon-dominance, A not dominated in the "
        f"validation {PLURAL[score]}, O not dominated in the validation losses and Omega together.",
    ]
    if failures:
        lines += ["", "## Failed", "", *(f"- {failure.name}: {failure.reason}" for failure in failures)]
    return "\n".join(lines) + "\n"


def _start(start: StartModel) -> str:
    return (
        f"- `{start.path.name}`, trained with k0 = {start.k0:g}: {start.sparsity_rate:.1f} % zero rows, "
        f"{start.validation_accuracy:.2f} % mean validation accuracy"
    )


def _fall(used: Mapping[str, Any]) -> str:
    """How the learning rate falls."""
    if not used["LR_scheduler"]:
        return "constant"
    if used["schedule"] == "fast":
        return "falling linearly to zero"
    return f"x {used['lr_sched_coef']:g} per iteration"


def _training(study: Study) -> str:
    results = study.best.results
    used = results.parameters
    return (
        f"with its zero rows held, iterations x epochs = {used['max_iter']} x {used['num_epochs']} at most, by "
        f"{used['base_optimizer']} with learning rate {used['lr']:g} ({_fall(used)}), "
        f"method {used['method']} with mu {used['mu']:g} (x {used['rho']:g}), seed {results.seed}, on "
        f"{results.device} with torch {results.versions['torch']}; the epoch whose validation losses have the best "
        "weighted Chebyshev value counts. All parameters are in `study.json`."
    )


def _findings(study: Study) -> list[str]:
    losses, errors, omega, boxes = study.losses, study.errors, study.with_omega, study.boxes
    best = study.best.results
    uneven = f"{losses.spread:.3f} (0 is even)" if np.isfinite(losses.spread) else "not defined for fewer than 3 points"
    lines = [
        f"- {len(study.points)} vectors trained, {len(study.outcome.failures)} failed.",
        f"- {losses.count} of them are not dominated in the validation losses, {int(study.on_epsilon_front.sum())} "
        f"with epsilon-dominance (boxes of {boxes.box:g} from {boxes.box_origin:g}); {errors.count} are not dominated "
        f"in the validation {PLURAL[best.score_name]}.",
        f"- Best mean validation {best.score_name}: {study.best.label}, test {best.score_name} "
        f"{_numbers(best.test_accuracy, '.2f')} % (mean {best.mean_test_accuracy:.2f} %).",
        f"- Hypervolume of the validation losses: {_volume(losses)}; of the test errors in percent, at the points that "
        f"the validation {PLURAL[best.score_name]} choose: {_volume(errors)}.",
    ]
    if len(study.starts) > 1:  # networks of several k0: of interest is what Omega costs
        lines.append(
            f"- With Omega as another objective {omega.count} vectors are not dominated: hypervolume {_volume(omega)}."
        )
    return [*lines, f"- Unevenness of the front of the losses: {uneven}."]


def _volume(front: Front) -> str:
    return f"{front.volume:.5g}, with reference point ({_numbers(front.reference, '.4g')})"


def _row(study: Study, place: int) -> str:
    results = study.points[place].results
    losses = " | ".join(f"{value:.4f}" for value in results.validation_losses)
    accuracies = " | ".join(f"{value:.2f}" for value in results.test_accuracy)
    masks = {
        "L": study.losses.mask,
        "E": study.on_epsilon_front,
        "A": study.errors.mask,
        "O": study.with_omega.mask,
    }
    marks = " ".join(letter for letter, mask in masks.items() if mask[place])
    numbers = f"{losses} | {accuracies} | {results.omega:.4g} | {results.sparsity_rate:.1f} %"
    return f"| {_numbers(results.k, 'g')} | {numbers} | {marks} |"


def _numbers(values: Iterable[float], style: str) -> str:
    return ", ".join(f"{value:{style}}" for value in values)
