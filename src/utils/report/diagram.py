"""The Monitored Deep Multi-Task Network as a diagram."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from src.utils.report.style import save, task_colour


def draw_diagram(path: Path, num_outs: Sequence[int], task_names: Sequence[str]) -> None:
    """The Monitored Deep Multi-Task Network: how data flow from the image to the tasks."""
    tasks = len(num_outs)
    figure = Figure(figsize=(10, 1.9 * (tasks + 1)), layout="constrained")
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set_xlim(0, 10)
    axis.set_ylim(-0.6, tasks + 0.6)
    middle = tasks / 2
    heights = [tasks - 0.0 - task * (tasks / max(tasks - 1, 1)) if tasks > 1 else 0.3 for task in range(tasks)]
    _box(axis, 0.8, middle, "image", "#eeeeee")
    _box(axis, 3.3, middle, "trunk (shared)", "#ffe5b4")
    _arrow(axis, (1.45, middle), (2.35, middle))
    for task, (height, name) in enumerate(zip(heights, task_names, strict=True)):
        colour = task_colour(task)
        _box(axis, 3.3, height, f"monitor {task + 1}", colour, alpha=0.25)
        _box(axis, 6.1, height, "+", "#ffffff", width=0.7)
        _box(axis, 8.1, height, f"head {task + 1}: {name}\n{num_outs[task]} classes", colour, alpha=0.25, width=2.5)
        _arrow(axis, (1.45, middle), (2.35, height))
        _arrow(axis, (4.25, height), (5.75, height), f"$\\alpha_{{{task + 1},1}}$")
        _arrow(axis, (4.25, middle), (5.75, height), f"$\\alpha_{{{task + 1},0}}$")
        _arrow(axis, (6.45, height), (6.85, height))
    axis.set_title("Monitored Deep Multi-Task Network (MDMTN)", fontsize=12)
    save(figure, path)


def _box(axis: Axes, x: float, y: float, text: str, colour: str, *, alpha: float = 1.0, width: float = 1.9) -> None:
    width = 1.3 if text == "image" else width
    box = FancyBboxPatch(
        (x - width / 2, y - 0.22), width, 0.44, boxstyle="round,pad=0.02,rounding_size=0.08", fc=colour, ec="none"
    )
    box.set_alpha(alpha)
    axis.add_patch(box)
    outline = FancyBboxPatch(
        (x - width / 2, y - 0.22), width, 0.44, boxstyle="round,pad=0.02,rounding_size=0.08", fc="none", ec="#333333"
    )
    axis.add_patch(outline)
    axis.text(x, y, text, ha="center", va="center", fontsize=10)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "") -> None:
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=12, color="#333333", lw=1))
    if text:
        x, y = 0.45 * start[0] + 0.55 * end[0], 0.45 * start[1] + 0.55 * end[1]
        axis.text(x, y, text, ha="center", va="center", fontsize=11, bbox={"fc": "white", "ec": "none", "pad": 1})
