"""Pictures of fronts and curves: readable files for few, many, equal and three-objective points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from src.utils.study import plots
from src.utils.study.pareto import hypervolume, non_dominated, reference_point
from src.utils.study.plots import draw_curves, draw_front, draw_front_3d, draw_fronts
from src.utils.study.sweep import Point

TASKS = ("left", "right")


def made_up(count: int, tasks: int = 2) -> list[Point]:
    """Points near a convex front, some of them dominated."""
    rng = np.random.default_rng(count)
    points = []
    for shares in rng.dirichlet(np.ones(tasks), count):
        losses = 0.05 + 0.5 * (1 - shares) ** 2 + rng.choice([0.0, 0.1])
        accuracies = tuple((97 - 20 * losses).tolist())
        k0 = float(rng.choice([0.0, 0.001, 0.1]))
        k = (k0, *((1 - k0) * shares).tolist())
        omega = float(rng.uniform(0, 40))
        points.append(Point(k, tuple(losses.tolist()), accuracies, accuracies, omega, 12.5, True, Path()))
    return points


def losses_of(points: list[Point]) -> np.ndarray:
    return np.array([point.validation_losses for point in points])


def assert_picture(path: Path) -> None:
    pixels = imread(path)
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., :3].std() > 0.01


@pytest.mark.parametrize("better", ["smaller", "larger"])
@pytest.mark.parametrize("points", [made_up(1), made_up(2), made_up(18), made_up(3, tasks=3), made_up(1) * 4])
def test_front_is_drawn(tmp_path: Path, points: list[Point], better: str) -> None:
    larger = better == "larger"
    values = np.array([point.test_accuracy for point in points]) if larger else losses_of(points)
    front = non_dominated(-values if larger else values)
    path = tmp_path / "front.png"
    draw_front(path, points, values, front, points[-1], TASKS, "title", larger_is_better=larger)
    assert_picture(path)


@pytest.mark.parametrize("larger", [False, True])
def test_front_shows_the_points_the_best_one_and_the_edge_of_what_they_dominate(
    larger: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: drawn.append(figure))
    points, sign = made_up(5), -1 if larger else 1
    values = sign * np.array([[1, 4], [2, 2], [4, 1], [3, 3], [5, 5]], dtype=float)
    front = np.array([True, True, True, False, False])
    draw_front(tmp_path / "front.png", points, values, front, points[1], TASKS, "title", larger_is_better=larger)
    axis = drawn[0].axes[0]
    pale, dark, ring = (np.asarray(collection.get_offsets()) for collection in axis.collections[:3])
    np.testing.assert_allclose(pale, values[~front])
    np.testing.assert_allclose(dark, values[front])
    np.testing.assert_allclose(ring, values[1:2])
    assert (axis.get_xlabel(), axis.get_ylabel()) == TASKS
    corners = axis.lines[0].get_path().interpolated(1).vertices
    assert all((sign * (point - values[front]) >= 0).all(axis=1).any() for point in np.asarray(corners))
    steps = {tuple(corner) for corner in np.abs(np.asarray(corners)).tolist()}
    assert {(1, 4), (2, 4), (2, 2), (4, 2), (4, 1)} <= steps


@pytest.mark.parametrize("points", [made_up(1), made_up(2), made_up(18), made_up(18, tasks=3), made_up(1) * 4])
def test_front_of_three_objectives_is_drawn(tmp_path: Path, points: list[Point]) -> None:
    values = np.array([(*point.validation_losses, point.omega) for point in points])
    front = non_dominated(values)
    draw_front_3d(tmp_path / "front_3d.png", points, front, TASKS, "title")
    draw_front(tmp_path / "pair.png", points, values, front, points[0], TASKS, "title")
    assert_picture(tmp_path / "front_3d.png")
    assert_picture(tmp_path / "pair.png")


@pytest.mark.parametrize("count", [1, 2, 7, 18])
def test_curves_are_drawn(tmp_path: Path, count: int) -> None:
    accuracies = np.array([[51.0, 60.0], [52.0, 60.0], [53.0, 60.0]])  # (epochs, tasks)
    labels = [f"k = (0.001, {number / 20:g}, {0.999 - number / 20:g})" for number in range(count)]
    draw_curves(tmp_path / "curves.png", [accuracies] * count, labels, TASKS, "title")
    assert_picture(tmp_path / "curves.png")


@pytest.mark.parametrize("larger", [False, True])
def test_fronts_of_several_studies_are_drawn(tmp_path: Path, larger: bool) -> None:
    sets = {"all": made_up(18), "few": made_up(2), "one": made_up(1), "equal": made_up(1) * 3}
    fronts = {name: losses_of(points) * (-1 if larger else 1) for name, points in sets.items()}
    minimised = {name: losses_of(points) for name, points in sets.items()}
    corner = reference_point(minimised.values())
    volumes = {name: hypervolume(values, corner) for name, values in minimised.items()}
    draw_fronts(tmp_path / "fronts.png", fronts, TASKS, volumes, "title", larger_is_better=larger)
    assert_picture(tmp_path / "fronts.png")
