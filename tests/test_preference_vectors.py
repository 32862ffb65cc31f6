"""Families of preference vectors and the simplex lattice."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.utils.errors import UserError
from src.utils.study.preference_vectors import preference_family, simplex_lattice, two_task_family


@pytest.mark.parametrize(("k0", "count"), [(0.0, 19), (0.1, 17), (0.01, 18), (0.001, 18), (0.0001, 18)])
def test_families_have_the_papers_sizes_and_grid(k0: float, count: int) -> None:
    family = two_task_family(k0)
    assert len(family) == len(set(family)) == count
    for k in family:
        assert k[0] == k0
        assert min(k[1:]) > 0
        assert sum(k) == pytest.approx(1)
        on_grid = [abs(10 * value - round(10 * value)) < 1e-6 for value in k[1:]]
        assert any(on_grid) or abs(20 * k[1] - round(20 * k[1])) < 1e-6
    assert [k[1] for k in family] == sorted(k[1] for k in family)


def test_families_have_the_best_vectors_of_the_paper() -> None:
    assert (0.001, 0.2, 0.799) in two_task_family(0.001)
    assert (0.01, 0.8, 0.19) in two_task_family(0.01)
    assert {(0.0, 0.35, 0.65), (0.0, 0.55, 0.45)} <= set(two_task_family(0.0))


@given(st.integers(1, 5), st.integers(1, 8))
def test_lattice_is_complete_and_on_the_simplex(objectives: int, resolution: int) -> None:
    vectors = simplex_lattice(objectives, resolution)
    assert len(set(vectors)) == len(vectors) == comb(resolution + objectives - 1, objectives - 1)
    for vector in vectors:
        assert min(vector) >= 0
        assert sum(vector) == pytest.approx(1)


@given(st.floats(0, 0.5), st.integers(3, 4), st.integers(4, 8))
def test_family_of_many_tasks_has_positive_entries_that_sum_to_one(k0: float, tasks: int, resolution: int) -> None:
    for k in preference_family(k0, tasks, resolution):
        assert len(k) == tasks + 1
        assert k[0] == k0
        assert min(k[1:]) > 0
        assert sum(k) == pytest.approx(1, abs=1e-8)


@pytest.mark.parametrize("k0", [-0.1, 0.95, 1.0])
def test_impossible_k0_is_refused(k0: float) -> None:
    with pytest.raises(UserError, match="k0 is"):
        two_task_family(k0)


def test_many_tasks_need_a_resolution() -> None:
    with pytest.raises(UserError, match="allowed for 3 tasks"):
        preference_family(0.1, 3, None)
