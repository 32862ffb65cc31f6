"""A network as a diagram: its parts, the sizes of their layers, and how many of their rows are zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from src.utils.report.style import save, task_colour
from src.utils.sparsity.metrics import RowCounts

_TITLES = {
    "MDMTN": "Monitored Deep Multi-Task Network (MDMTN)",
    "MTAN": "Multi-Task Attention Network (MTAN)",
    "HPS": "Hard parameter sharing (HPS)",
    "STL": "Single-task learning (STL)",
}
_MOST = 8  # layers of a part that are listed
_LINE, _GAP, _WIDTH = 0.19, 0.3, 2.6  # inches: height of a line of text, between boxes, width of a box


@dataclass(frozen=True)
class _Box:
    """A box at its place, inches."""

    x: float
    y: float
    width: float

    @property
    def left(self) -> tuple[float, float]:
        return self.x - self.width / 2, self.y

    @property
    def right(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y


def kind_of(state: Mapping[str, Tensor], tasks: int) -> str | None:
    """The architecture that a network of so many tasks with this state dict has; None for one that is not drawn."""
    parts = {name.split(".")[0] for name in state}
    if any(name.startswith("heads") and len(name.split(".")) < 2 for name in state) or _count(state, "heads") != tasks:
        return None
    if "alphas" in parts and state["alphas"].shape != (tasks, 2):
        return None
    if "heads" not in parts or not parts & {"trunk", "stages"}:
        return None
    if "stages" in parts:
        return "MTAN" if "attention" in parts else None
    return "MDMTN" if {"alphas", "monitors"} <= parts else "HPS" if _count(state, "heads") > 1 else "STL"


def draw_diagram(
    path: Path, state: Mapping[str, Tensor], task_names: Sequence[str], layers: Mapping[str, RowCounts], title: str
) -> list[Path]:
    """How data flow from the image to the tasks, with layers as inputs x outputs, kernel.

    Args:
        path: of the picture.
        state: state dict of a network that has a :func:`kind_of`.
        task_names: one per task.
        layers: row counts of the layers that may become sparse, by name.
        title: what was trained.
    """
    kind, tasks = kind_of(state, len(task_names)) or "HPS", range(len(task_names))
    shared = _lines(state, "stages" if kind == "MTAN" else "trunk", layers)
    own_part = {"MDMTN": "monitors", "MTAN": "attention"}.get(kind)
    own = [_lines(state, f"{own_part}.{task}", layers) if own_part else [] for task in tasks]
    heads = [_lines(state, f"heads.{task}", layers) for task in tasks]
    rows = [_height(max(first, second, key=len)) for first, second in zip(own, heads, strict=True)]
    above = _height(shared) + _GAP if kind == "MDMTN" else 0.0  # the trunk stands above the monitors
    height = max(above + sum(rows) + _GAP * (len(rows) - 1), _height(shared))
    middles = [height - above - sum(rows[:task]) - _GAP * task - rows[task] / 2 for task in tasks]
    extra = (height - above - sum(rows) - _GAP * (len(rows) - 1)) / 2  # heads are centred beside a tall trunk
    middles = [middle - extra for middle in middles]
    columns = {"MDMTN": (3.1, 7.2, 9.5), "MTAN": (3.1, 6.5, 9.9)}.get(kind, (3.1, 0.0, 6.9))
    figure = Figure(figsize=(columns[2] + _WIDTH / 2 + 0.2, height + 0.9), layout="constrained")
    axis = figure.subplots()
    axis.set_axis_off()
    axis.set(xlim=(0, columns[2] + _WIDTH / 2 + 0.1), ylim=(-0.1, height + 0.1))
    image = _box(axis, 0.7, height / 2, "input", [_input(state)], "#eeeeee", width=1.1)
    trunk_height = height - _height(shared) / 2 if above else height / 2
    trunk = _box(axis, columns[0], trunk_height, "shared part" if own_part == "attention" else "trunk (shared)",
                 shared, "#ffe5b4")  # fmt: skip
    _arrow(axis, image.right, trunk.left)
    for task, y in zip(tasks, middles, strict=True):
        colour = task_colour(task)
        head = _box(axis, columns[2], y, f"head {task + 1}: {task_names[task]}", heads[task], colour)
        if kind == "MDMTN":
            monitor = _box(axis, columns[0], y, f"monitor {task + 1}", own[task], colour)
            mixture = _box(axis, columns[1], y, "+", [], "#ffffff", width=0.5)
            alphas = [
                f"$\\alpha_{{{task + 1},{which}}}$ = {float(state['alphas'][task, which]):.3g}" for which in (0, 1)
            ]
            _arrow(axis, image.right, monitor.left)
            _arrow(axis, trunk.right, mixture.left, alphas[0], 0.72)
            _arrow(axis, monitor.right, mixture.left, alphas[1], 0.22)
            _arrow(axis, mixture.right, head.left)
        elif kind == "MTAN":
            attention = _box(axis, columns[1], y, f"attention {task + 1}", own[task], colour)
            _arrow(axis, trunk.right, attention.left)
            _arrow(axis, attention.right, head.left)
        else:
            _arrow(axis, trunk.right, head.left)
    figure.suptitle(f"{_TITLES[kind]}\n{title}", fontsize=11)
    return save(figure, path)


def _count(state: Mapping[str, Tensor], part: str) -> int:
    return len({name.split(".")[1] for name in state if name.startswith(f"{part}.")})


def _weights(state: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    """Weights of the linear layers and convolutions of a part, by the layers' names."""
    found = {name: value for name, value in state.items() if name.startswith(f"{part}.") and value.dim() > 1}
    return {name.removesuffix(".weight"): value for name, value in found.items() if name.endswith(".weight")}


def _lines(state: Mapping[str, Tensor], part: str, layers: Mapping[str, RowCounts]) -> list[str]:
    """A line for the size of each layer, and one for its zero rows where it may have some."""
    weights = list(_weights(state, part).items())
    lines = []
    for place, (name, weight) in enumerate(weights):
        if len(weights) > _MOST and _MOST // 2 <= place < len(weights) - _MOST // 2 + 1:
            lines += [f"... {len(weights) - _MOST + 1} more layers ..."] * (place == _MOST // 2)
            continue
        outputs, inputs, *kernel = weight.shape
        size = f"{inputs} × {outputs}"
        lines.append(f"convolution {size}, {'×'.join(map(str, kernel))}" if kernel else f"linear {size}")
        if name in layers:
            zero, counts = layers[name].rows - layers[name].nonzero, layers[name]
            lines.append(f"zero rows: {zero} of {counts.rows} ({counts.sparsity_rate:.1f} %)")
    return lines


def _input(state: Mapping[str, Tensor]) -> str:
    part = "stages" if "stages" in {name.split(".")[0] for name in state} else "trunk"
    weight = next(iter(_weights(state, part).values()), None)
    if weight is None:
        return ""
    what = "channel" if weight.dim() > 2 else "number"
    return f"{weight.shape[1]} {what}{'s' * (weight.shape[1] > 1)}"


def _height(lines: Sequence[str]) -> float:
    return _LINE * (len(lines) + 1) + 0.16


def _box(
    axis: Axes, x: float, y: float, head: str, lines: Sequence[str], colour: str, *, width: float = _WIDTH
) -> _Box:
    height, pale = _height(lines), 1.0 if colour in ("#eeeeee", "#ffe5b4", "#ffffff") else 0.25
    for style in ({"fc": colour, "ec": "none", "alpha": pale}, {"fc": "none", "ec": "#333333"}):
        shape = "round,pad=0,rounding_size=0.08"
        axis.add_patch(FancyBboxPatch((x - width / 2, y - height / 2), width, height, boxstyle=shape, **style))
    top = y + _LINE * len(lines) / 2
    for number, text in enumerate((head, *lines)):
        weight = "normal" if number else "bold"
        axis.text(x, top - number * _LINE, text, ha="center", va="center", fontsize=8.5, fontweight=weight)
    return _Box(x, y, width)


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], text: str = "", at: float = 0.5) -> None:
    """An arrow, with a text at that share of its length."""
    axis.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=11, color="#333333", lw=1, shrinkA=0,
                                   shrinkB=0))  # fmt: skip
    if text:
        x, y = ((1 - at) * first + at * last for first, last in zip(start, end, strict=True))
        axis.text(x, y, text, ha="center", va="center", fontsize=9.5, bbox={"fc": "white", "ec": "none", "pad": 1})
