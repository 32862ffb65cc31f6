"""Pictures of searches and repetitions, from their files alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from src.utils.report.style import MARKERS, SPARSITY_COLOUR, keep_copies, save, task_colour
from src.utils.study.repeat import statistics_of
from src.utils.study.sweep import Outcome


def draw_search(outcome: Outcome) -> list[Path]:
    """A line of dots per candidate: validation accuracy per task and their mean, zero rows; the best one marked."""
    places, order = _order(outcome)
    results, names = [outcome.results[place] for place in places], outcome.results[0].task_names
    figure = Figure(figsize=(9, 1.7 + 0.28 * len(places)), layout="constrained")
    sparse = any(found.sparsity_rate for found in results)
    axis, *right = figure.subplots(1, 1 + sparse, sharey=True, squeeze=False, width_ratios=(4, 1)[: 1 + sparse])[0]
    lines = range(len(places))
    for task, name in enumerate(names):
        style = {"color": task_colour(task), "marker": MARKERS[task % len(MARKERS)], "label": name}
        axis.scatter([found.validation_accuracy[task] for found in results], lines, s=32, zorder=2, **style)
    means = [found.mean_accuracy for found in results]
    axis.scatter(means, lines, s=110, marker="|", color="black", linewidths=2, label="mean", zorder=3)
    for panel in right:
        panel.scatter([found.sparsity_rate for found in results], lines, s=28, color=SPARSITY_COLOUR)
        panel.set_xlabel("zero rows (%)")
        panel.set_xlim(-4, 104)
    best = places.index(outcome.best)
    for panel in (axis, *right):
        panel.axhspan(best - 0.45, best + 0.45, color="#dddddd", lw=0, label="best", zorder=0)
        panel.grid(alpha=0.3)
    axis.set_yticks(lines, [outcome.points[place].label for place in places], fontsize=9)
    axis.get_yticklabels()[best].set_fontweight("bold")
    axis.set_ylim(len(places) - 0.4, -0.6)
    axis.set_xlabel("validation accuracy (%)")
    axis.set_ylabel(order)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside upper center", ncols=len(names) + 2, fontsize=9)
    return _saved(figure, outcome, "accuracies")


def _order(outcome: Outcome) -> tuple[list[int], str]:
    """The places of the candidates from top to bottom, and what that order is, if it is one."""
    vectors = [point.candidate.get("w", ()) for point in outcome.points]
    places = list(range(len(vectors)))
    one_family = all(set(p.candidate) == {"w"} for p in outcome.points) and {len(k) for k in vectors} == {3}
    if one_family and len({k[0] for k in vectors}) == 1:
        return sorted(places, key=lambda place: float(vectors[place][1])), "ordered by $k_1$"
    return places, ""


def draw_repetitions(outcome: Outcome) -> list[Path]:
    """Test accuracies of all repetitions, tasks and their mean, each a dot, with mean and standard deviation."""
    found = statistics_of(outcome)
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
    return _saved(figure, outcome, "repetitions")


def _saved(figure: Figure, outcome: Outcome, what: str) -> list[Path]:
    pictures = save(figure, outcome.picture(what))
    return [*pictures, *keep_copies(pictures, outcome.picture_copies)]
