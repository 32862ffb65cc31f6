"""Accuracy against size of all models of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from src.utils.deployment.catalogue import Entry
from src.utils.report.style import BEST_COLOUR, FRONT_COLOUR, PALE_COLOUR, save


def draw_models(path: Path, entries: Sequence[Entry], best: Entry) -> list[Path]:
    """A mark per model, hollow for dense and full for compressed ones; a line joins the two forms of a training."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axis = figure.subplots()
    for training in dict.fromkeys(entry.training for entry in entries):
        forms = [entry for entry in entries if entry.training == training]
        sizes = [entry.figures.bytes / 1000 for entry in forms]
        axis.plot(sizes, [entry.mean_test_accuracy for entry in forms], color=PALE_COLOUR, lw=1, zorder=1)
    for compressed, label, fill in ((False, "dense", "none"), (True, "compressed", FRONT_COLOUR)):
        kind = [entry for entry in entries if entry.compressed == compressed]
        if kind:
            sizes, accuracies = [e.figures.bytes / 1000 for e in kind], [e.mean_test_accuracy for e in kind]
            axis.scatter(sizes, accuracies, s=36, facecolors=fill, edgecolors=FRONT_COLOUR, label=label, zorder=2)
    place = (best.figures.bytes / 1000, best.mean_test_accuracy)
    axis.scatter(*place, s=160, facecolors="none", edgecolors=BEST_COLOUR, label="best on validation", zorder=3)
    axis.set_xscale("log")
    axis.set_xlabel("size of the weights (kB)")
    axis.set_ylabel(f"mean test {best.score_name} (%)")
    axis.set_title(f"{best.dataset}: {', '.join(best.task_names)}", fontsize=10)
    axis.grid(alpha=0.3, which="both")
    axis.legend(fontsize=9)
    return save(figure, path)
