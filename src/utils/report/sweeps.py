"""Pictures of searches and repetitions, from their files alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from src.utils.report.style import draw_zero_rows, save, task_colour
from src.utils.study.repeat import statistics_of
from src.utils.study.sweep import Outcome


def draw_search(outcome: Outcome) -> list[Path]:
    """Validation accuracy per task and zero rows over the candidates, the best one marked."""
    path, points, labels = outcome.pictures.with_suffix(".png"), outcome.results, [p.label for p in outcome.points]
    task_names = points[0].task_names
    figure = Figure(figsize=(max(7.0, 0.5 * len(points) + 3), 5.5), layout="constrained")
    axis = figure.subplots()
    places = range(len(points))
    for task, name in enumerate(task_names):
        values = [point.validation_accuracy[task] for point in points]
        axis.plot(places, values, "o-", color=task_colour(task), label=name)
    axis.plot(places, [point.mean_accuracy for point in points], "k--", label="mean")
    axis.axvline(outcome.best, color="#bbbbbb", lw=8, alpha=0.5, zorder=0, label="best")
    axis.set_ylabel("validation accuracy (%)")
    axis.set_xticks(places, labels, rotation=60, ha="right")
    axis.grid(alpha=0.3)
    rates = [point.sparsity_rate for point in points]
    if any(rates):
        draw_zero_rows(axis, places, rates)
    figure.legend(loc="outside upper center", ncols=len(task_names) + 3, fontsize=9)
    save(figure, path)
    return [path]


def draw_repetitions(outcome: Outcome) -> list[Path]:
    """Test accuracies of all repetitions, tasks and their mean, each a dot, with mean and standard deviation."""
    path, found = outcome.picture("repetitions"), statistics_of(outcome)
    names = found.names
    figure = Figure(figsize=(1.5 * len(names) + 2.5, 4.5), layout="constrained")
    axis = figure.subplots()
    for place, name in enumerate(names):
        values, mean, deviation = found.accuracies[:, place], found.mean[place], found.std[place]
        colour = "black" if name == "mean" else task_colour(place)
        axis.plot(np.full(len(values), place), values, "o", color=colour, alpha=0.4)
        axis.errorbar(place + 0.15, mean, deviation, fmt="s", color=colour, capsize=5)
        axis.annotate(f"{mean:.2f} ± {deviation:.2f}", (place + 0.22, mean), va="center", fontsize=9)
    axis.set_xticks(range(len(names)), names)
    axis.set_xlim(-0.4, len(names) - 0.2)
    axis.set_ylabel("test accuracy (%)")
    axis.grid(alpha=0.3, axis="y")
    title = f"{outcome.results[0].script}: test accuracy of {len(outcome.points)} repetitions"
    axis.set_title(title, fontsize=10)
    save(figure, path)
    return [path]
