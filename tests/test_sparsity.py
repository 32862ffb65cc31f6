"""Rows of a layer: what they are, how they are capped, clustered, shared and counted."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import AffinityPropagation
from torch import Tensor

from src.utils.sparsity import sharing
from src.utils.sparsity.metrics import RowCounts, count_layers, count_rows, total, zero_row_rate
from src.utils.sparsity.rows import cap_zero_rows, from_rows, to_rows, zero_rows
from src.utils.sparsity.sharing import RowPattern, cluster_rows, similarity
from tests import twins

PROPERTY = settings(max_examples=80, deadline=None)


def randn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


# Rows


@st.composite
def weights(draw: st.DrawFn) -> Tensor:
    """Weights of linear layers and of convolutions, in both memory formats."""
    shape = [draw(st.integers(1, 5)), draw(st.integers(1, 5))]
    convolution = draw(st.booleans())
    if convolution:
        shape += [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    weight = randn(*shape, seed=draw(st.integers(0, 2**31)))
    if convolution and draw(st.booleans()):
        weight = weight.contiguous(memory_format=torch.channels_last)
    return weight


@PROPERTY
@given(weights())
def test_rows_collect_all_weights_of_an_input(weight: Tensor) -> None:
    assert to_rows(weight).tolist() == twins.to_rows(weight)


@PROPERTY
@given(weights())
def test_to_rows_and_back_is_the_identity(weight: Tensor) -> None:
    restored = from_rows(to_rows(weight), weight.shape)
    assert restored.shape == weight.shape
    assert torch.equal(restored, weight)


@PROPERTY
@given(weights())
def test_rows_written_back_in_place_change_nothing_else(weight: Tensor) -> None:
    """The way the training rules use them: ``weight.copy_(from_rows(...))``, whatever the memory format."""
    rows = to_rows(weight).clone()
    rows[-1] = 7.0
    expected = weight.clone()
    expected[:, -1] = 7.0
    weight.copy_(from_rows(rows, weight.shape))
    assert torch.equal(weight, expected)


@PROPERTY
@given(weights(), st.data())
def test_a_planted_zero_input_gives_exactly_that_zero_row(weight: Tensor, data: st.DataObject) -> None:
    planted = data.draw(st.integers(0, weight.shape[1] - 1))
    weight[:, planted] = 0
    expected = torch.arange(weight.shape[1]) == planted
    assert torch.equal(zero_rows(to_rows(weight)), expected)


def test_a_zero_output_gives_no_zero_row() -> None:
    weight = randn(4, 3, 5, 5)
    weight[1] = 0
    assert not zero_rows(to_rows(weight)).any()


def test_a_row_whose_entries_cancel_is_not_zero() -> None:
    rows = torch.tensor([[1.0, -1.0], [0.0, 0.0], [0.0, 1e-30], [-0.0, 0.0]])
    assert zero_rows(rows).tolist() == [False, True, False, True]


# The cap on zero rows


@dataclass(frozen=True)
class CapCase:
    before: Tensor
    after: Tensor
    cap: Fraction


@st.composite
def cap_cases(draw: st.DrawFn) -> CapCase:
    """Rows of small whole numbers, so that equal norms are common; none of them zero before."""
    n, d = draw(st.integers(1, 12)), draw(st.integers(1, 3))
    entry = st.sampled_from([-2.0, -1.0, 1.0, 2.0])
    before = torch.tensor(draw(st.lists(st.lists(entry, min_size=d, max_size=d), min_size=n, max_size=n)))
    kept = torch.tensor(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    return CapCase(before, torch.where(kept.unsqueeze(1), before / 2, 0), Fraction(draw(st.integers(0, n)), n))


@PROPERTY
@given(cap_cases())
def test_cap_zero_rows_equals_giving_back_the_largest_first(case: CapCase) -> None:
    """Equal norms in the order of their index: the twin takes the first of the largest."""
    capped = cap_zero_rows(case.before, case.after, float(case.cap))
    assert capped.tolist() == twins.cap_zero_rows(case.before.tolist(), case.after.tolist(), case.cap)


@PROPERTY
@given(cap_cases())
def test_at_most_the_capped_share_of_rows_is_zero_and_no_more_are_given_back_than_needed(case: CapCase) -> None:
    zeros = int(zero_rows(cap_zero_rows(case.before, case.after, float(case.cap))).sum())
    assert zeros == min(int(zero_rows(case.after).sum()), int(case.cap * len(case.before)))


@PROPERTY
@given(cap_cases())
def test_rows_given_back_have_their_old_values_and_are_the_largest(case: CapCase) -> None:
    capped = cap_zero_rows(case.before, case.after, float(case.cap))
    zeroed, still_zero = zero_rows(case.after), zero_rows(capped)
    returned = zeroed & ~still_zero
    assert torch.equal(capped[returned], case.before[returned])
    assert torch.equal(capped[~zeroed], case.after[~zeroed])
    norms = case.before.norm(dim=1)
    if returned.any() and still_zero.any():
        assert norms[returned].min() >= norms[still_zero].max()


@PROPERTY
@given(cap_cases())
def test_rows_that_were_zero_before_are_given_back_last(case: CapCase) -> None:
    before = case.before.clone()
    before[::3] = 0
    after = torch.where(zero_rows(before).unsqueeze(1), 0, case.after)
    zeros = int(zero_rows(cap_zero_rows(before, after, float(case.cap))).sum())
    allowed = max(int(case.cap * len(before)), int(zero_rows(before).sum()))
    assert zeros == min(int(zero_rows(after).sum()), allowed)


@pytest.mark.parametrize("n", [10, 49, 100])
def test_shares_that_are_no_exact_floating_point_numbers_are_not_rounded_down(n: int) -> None:
    """1 / 49 * 49 and 0.29 * 100 are a little less than 1 and 29."""
    before, after = torch.ones(n, 1), torch.zeros(n, 1)
    found = [int(zero_rows(cap_zero_rows(before, after, zeros / n)).sum()) for zeros in range(n + 1)]
    assert found == list(range(n + 1))


def test_equal_norms_are_given_back_in_the_order_of_their_index() -> None:
    before, after = torch.ones(1000, 2), torch.zeros(1000, 2)
    capped = cap_zero_rows(before, after, 0.3)
    assert torch.equal(zero_rows(capped), torch.arange(1000) >= 700)


# Similarity


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(1, 6), st.integers(0, 2**31))
def test_similarity_is_symmetric_at_most_one_and_equals_its_formula(n: int, d: int, seed: int) -> None:
    rows = randn(n, d, seed=seed, dtype=torch.float64)
    rows[n // 2 :] *= 3
    s = similarity(rows)
    torch.testing.assert_close(s, s.T, rtol=0, atol=1e-14)
    assert s.max() <= 1 + 1e-14
    for i in range(n):
        for j in range(n):
            inner = sum(a * b for a, b in zip(rows[i].tolist(), rows[j].tolist(), strict=True))
            largest = max(sum(a * a for a in rows[k].tolist()) for k in (i, j))
            assert s[i, j].item() == pytest.approx(inner / largest, rel=1e-12, abs=1e-12)


def test_similarity_of_equal_opposite_scaled_and_zero_rows() -> None:
    rows = torch.tensor([[3.0, 4.0], [3.0, 4.0], [-3.0, -4.0], [6.0, 8.0], [4.0, -3.0], [0.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([1.0, 1.0, -1.0, 0.5, 0.0, 0.0, 0.0])
    torch.testing.assert_close(similarity(rows)[0], expected)
    assert similarity(rows)[5, 6] == 1
    assert torch.equal(similarity(rows).diagonal(), torch.ones(7))


# Clusters


@dataclass(frozen=True)
class Planted:
    rows: Tensor
    clusters: list[int]


@st.composite
def planted(draw: st.DrawFn) -> Planted:
    """Orthogonal directions of different length, each with several slightly different copies, shuffled."""
    centres = torch.linalg.qr(randn(24, 24, seed=draw(st.integers(0, 2**31)), dtype=torch.float64)).Q
    sizes = draw(st.lists(st.integers(1, 5), min_size=2, max_size=5))
    clusters = draw(st.permutations([label for label, size in enumerate(sizes) for _ in range(size)]))
    lengths = torch.tensor([0.1, 1.0, 30.0, 2.0, 0.5], dtype=torch.float64)[clusters].unsqueeze(1)
    noise = randn(len(clusters), 24, seed=draw(st.integers(0, 2**31)), dtype=torch.float64)
    return Planted(lengths * (centres[clusters] + 0.01 * noise), list(clusters))


def partition(labels: list[int]) -> set[frozenset[int]]:
    return {frozenset(i for i, other in enumerate(labels) if other == label) for label in set(labels)}


@settings(max_examples=40, deadline=None)
@given(planted(), st.sampled_from([0.5, 0.7, 0.8]))
def test_planted_clusters_are_found(case: Planted, sim_preference: float) -> None:
    labels = cluster_rows(case.rows, sim_preference)
    assert labels.dtype == torch.int64
    assert partition(labels.tolist()) == partition(case.clusters)
    assert sorted(set(labels.tolist())) == list(range(len(set(case.clusters))))


def patient_affinity_propagation(rows: Tensor, preference: float) -> list[int]:
    """scikit-learn's, on all rows at once, run until nothing can change any more."""
    model = AffinityPropagation(
        affinity="precomputed", preference=preference, damping=0.8, max_iter=5000, convergence_iter=500, random_state=1
    )
    labels: list[int] = model.fit_predict(similarity(rows.double()).numpy()).tolist()
    return labels


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.75])
@pytest.mark.parametrize("seed", range(4))
def test_clusters_agree_with_affinity_propagation_on_all_rows_at_once(cosine: float, seed: int) -> None:
    """Also where rows of different clusters resemble each other more than the preference."""
    directions = torch.linalg.qr(randn(24, 24, seed=seed, dtype=torch.float64)).Q
    centres = cosine**0.5 * directions[:1] + (1 - cosine) ** 0.5 * directions[1:5]
    planted_labels = [0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]
    rows = centres[planted_labels] + 0.01 * randn(15, 24, seed=seed + 100, dtype=torch.float64)
    found = partition(cluster_rows(rows, 0.7).tolist())
    assert found == partition(patient_affinity_propagation(rows, 0.7)) == partition(planted_labels)


def test_affinity_propagation_is_not_stopped_before_it_has_settled() -> None:
    """Two exemplars have the larger sum of similarities; the messages stand still for a while before they get there."""
    rows = torch.tensor([[0.9, 0.4], [1.7, -0.6], [1.4, -0.1], [1.1, 0.6]])
    assert partition(patient_affinity_propagation(rows, 0.7)) == partition([0, 1, 0, 0])
    assert partition(cluster_rows(rows, 0.7).tolist()) == partition([0, 1, 0, 0])


@settings(max_examples=20, deadline=None)
@given(planted(), st.lists(st.integers(0, 30), min_size=1, max_size=4))
def test_zero_rows_belong_to_no_cluster_and_change_no_other(case: Planted, places: list[int]) -> None:
    rows, clusters = case.rows, list(case.clusters)
    for place in places:
        i = place % (len(clusters) + 1)
        rows = torch.cat([rows[:i], torch.zeros(1, 24, dtype=torch.float64), rows[i:]])
        clusters.insert(i, -1)
    labels = cluster_rows(rows, 0.7).tolist()
    assert [label == -1 for label in labels] == [cluster == -1 for cluster in clusters]
    assert partition(labels) == partition(clusters)


def test_clusters_do_not_depend_on_the_number_type_or_a_common_scale() -> None:
    rows = torch.eye(6, dtype=torch.float64).repeat_interleave(3, 0) + 0.01 * randn(18, 6, dtype=torch.float64)
    expected = cluster_rows(rows, 0.7)
    assert expected.max() == 5
    for other in (rows.float(), rows * 1e-100, (rows * 1e-30).float(), (rows * 1e30).float()):
        assert torch.equal(cluster_rows(other, 0.7), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 30), st.floats(-1, 0.99), st.integers(0, 2**31))
def test_all_equal_rows_become_one_cluster(n: int, d: int, sim_preference: float, seed: int) -> None:
    rows = randn(1, d, seed=seed).repeat(n, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = cluster_rows(torch.cat([rows, torch.zeros(1, d)]), sim_preference)
    assert labels.tolist() == [0] * n + [-1]


def test_rows_equally_unlike_each_other_stay_on_their_own() -> None:
    assert cluster_rows(torch.eye(7), 0.7).tolist() == list(range(7))


def test_only_zero_rows_or_one_row_or_none() -> None:
    assert cluster_rows(torch.zeros(3, 2), 0.7).tolist() == [-1, -1, -1]
    assert cluster_rows(torch.tensor([[0.0, 0.0], [1.0, -1.0]]), 0.7).tolist() == [-1, 0]
    assert cluster_rows(torch.zeros(0, 2), 0.7).tolist() == []


def test_pattern_of_equal_rows_is_that_of_the_clusters_it_was_made_with() -> None:
    labels = torch.tensor([0, -1, 1, 0, 2, 1, -1, 3])
    rows = RowPattern(labels).project(randn(8, 5))
    found = RowPattern.of_equal(rows)
    assert partition(found.labels.tolist()) == partition(labels.tolist())
    assert torch.equal(found.labels < 0, labels < 0)
    assert torch.equal(found.project(rows), rows)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_rows_that_are_not_finite_are_refused_by_their_numbers(value: float) -> None:
    rows = torch.ones(9, 3)
    rows[[2, 5], [0, 2]] = value
    with pytest.raises(ValueError, match=r"2 of 9 rows have a number that is not finite: 2, 5 \(counted from 0\)"):
        cluster_rows(rows, 0.7)
    with pytest.raises(ValueError, match=r"9 of 9 rows .*: 0, 1, 2, 3, 4, \.\.\."):
        cluster_rows(rows * torch.nan, 0.7)


def test_clustering_is_deterministic_and_leaves_rows_and_random_state_alone() -> None:
    rows = torch.eye(5).repeat_interleave(4, 0) + 0.2 * randn(20, 5)
    copy, state = rows.clone(), np.random.get_state()[1].tolist()  # type: ignore[index,union-attr]
    assert torch.equal(cluster_rows(rows, 0.5), cluster_rows(rows, 0.5))
    assert torch.equal(rows, copy)
    assert np.random.get_state()[1].tolist() == state  # type: ignore[index,union-attr]


def four_clusters() -> Tensor:
    """Clusters of 3, 3, 3 and 4 rows, and a zero row."""
    rows = torch.eye(4, dtype=torch.float64)[[0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]]
    return torch.cat([rows + 0.1 * randn(13, 4, dtype=torch.float64), torch.zeros(1, 4)])


@pytest.mark.parametrize("iterations", [3, 45])
def test_without_convergence_rows_stay_on_their_own_and_one_runtime_warning_says_so(
    monkeypatch: pytest.MonkeyPatch, iterations: int
) -> None:
    """Stopped early, there are no exemplars yet; stopped later, they may not be final."""
    monkeypatch.setattr(sharing, "MAX_ITERATIONS", iterations)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        labels = cluster_rows(four_clusters(), 0.7)
    assert [warning.category for warning in caught] == [RuntimeWarning]
    assert "did not converge on 13 of 13 rows" in str(caught[0].message)
    assert labels.tolist() == [*range(13), -1]


def test_rows_that_do_not_converge_leave_the_other_clusters_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    original = sharing._affinity_propagation

    def restless(affinity: np.ndarray, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the cluster of four never settle."""
        chosen, settled = original(affinity, *arguments)
        return chosen, settled & (np.bincount(chosen, minlength=len(chosen))[chosen] < 4)

    monkeypatch.setattr(sharing, "_affinity_propagation", restless)
    with pytest.warns(RuntimeWarning, match="did not converge on 4 of 13 rows"):
        labels = cluster_rows(four_clusters(), 0.7)
    assert partition(labels.tolist()[:13]) == partition([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 4, 5, 6])
    assert labels[13] == -1


# Shared rows


@dataclass(frozen=True)
class Pattern:
    rows: Tensor
    labels: Tensor


@st.composite
def patterns(draw: st.DrawFn) -> Pattern:
    """Labels with gaps, single members, -1, and clusters of up to a dozen rows."""
    n, d = draw(st.integers(1, 12)), draw(st.integers(1, 5))
    labels = draw(st.lists(st.sampled_from([-1, 0, 1, 2, 5]), min_size=n, max_size=n))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    return Pattern(randn(n, d, seed=draw(st.integers(0, 2**31)), dtype=dtype), torch.tensor(labels))


def ulps(dtype: torch.dtype) -> float:
    return 16 * torch.finfo(dtype).eps


@PROPERTY
@given(patterns())
def test_projection_equals_the_mean_per_cluster(case: Pattern) -> None:
    projected = RowPattern(case.labels).project(case.rows)
    expected = torch.tensor(twins.share(case.rows.tolist(), case.labels.tolist()), dtype=case.rows.dtype)
    torch.testing.assert_close(projected, expected, rtol=0, atol=ulps(case.rows.dtype))


@PROPERTY
@given(patterns())
def test_projected_zeros_are_exact_and_rows_of_a_cluster_equal_to_the_bit(case: Pattern) -> None:
    projected = RowPattern(case.labels).project(case.rows)
    assert not projected[case.labels == -1].any()
    for label in set(case.labels.tolist()) - {-1}:
        members = projected[case.labels == label]
        assert torch.equal(members, members[:1].expand_as(members))


@PROPERTY
@given(patterns())
def test_projecting_twice_is_projecting_once(case: Pattern) -> None:
    """Up to the last bits of the means; rows that are alone or zero do not change at all."""
    pattern = RowPattern(case.labels)
    once = pattern.project(case.rows)
    twice = pattern.project(once)
    torch.testing.assert_close(twice, once, rtol=0, atol=ulps(case.rows.dtype))
    sizes = torch.tensor([(case.labels == label).sum() for label in case.labels])
    free = (sizes == 1) | (case.labels == -1)
    assert torch.equal(twice[free], once[free])
    assert torch.equal(once[free & (case.labels >= 0)], case.rows[free & (case.labels >= 0)])


@PROPERTY
@given(patterns(), st.integers(0, 2**31))
def test_projection_is_the_nearest_point_with_the_pattern(case: Pattern, seed: int) -> None:
    """What it takes away is orthogonal to everything that has the pattern."""
    rows = case.rows.double()
    pattern = RowPattern(case.labels)
    other = pattern.project(randn(*rows.shape, seed=seed, dtype=torch.float64))
    assert ((rows - pattern.project(rows)) * other).sum().abs() <= 1e-12


@PROPERTY
@given(patterns())
def test_projection_leaves_its_argument_alone_and_removes_even_infinite_rows(case: Pattern) -> None:
    rows = case.rows.clone()
    rows[case.labels == -1] = torch.inf
    copy = rows.clone()
    assert RowPattern(case.labels).project(rows).isfinite().all()
    assert torch.equal(rows, copy)


@PROPERTY
@given(weights(), st.data())
def test_the_pattern_of_zeros_keeps_zero_rows_and_ties_none(weight: Tensor, data: st.DataObject) -> None:
    n = weight.shape[1]
    zero = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    weight[:, zero] = 0
    pattern = RowPattern.of_zeros(to_rows(weight))
    moved = to_rows(weight) + 1.0
    moved[:] = moved[:1].clone()  # all rows equal now: none may be changed for that
    projected = pattern.project(moved)
    assert torch.equal(zero_rows(projected), zero)
    assert torch.equal(projected[~zero], moved[~zero])


def test_projection_of_clustered_convolution_rows_keeps_zero_channels_and_ties_similar_ones() -> None:
    weight = randn(6, 5, 3, 3).contiguous(memory_format=torch.channels_last)
    weight[:, 1] = 0
    weight[:, 4] = weight[:, 2] + 0.001 * randn(6, 3, 3, seed=1)
    rows = to_rows(weight)
    weight.copy_(from_rows(RowPattern(cluster_rows(rows, 0.7)).project(rows), weight.shape))
    assert torch.equal(weight[:, 2], weight[:, 4])
    assert count_rows(weight) == RowCounts(rows=5, nonzero=4, unique=3, free=2)


# Counts and rates

SMALL = st.sampled_from([0.0, 1.0, -1.0])


@st.composite
def small_weights(draw: st.DrawFn) -> Tensor:
    """Few different entries: zero rows and equal rows are common."""
    out, inputs = draw(st.integers(1, 2)), draw(st.integers(1, 10))
    kernel = draw(st.sampled_from([(), (1, 2), (2, 1)]))
    size = out * inputs * int(np.prod(kernel))
    return torch.tensor(draw(st.lists(SMALL, min_size=size, max_size=size))).reshape(out, inputs, *kernel)


@PROPERTY
@given(small_weights())
def test_counts_equal_counting_by_hand(weight: Tensor) -> None:
    counts = count_rows(weight)
    assert (counts.rows, counts.nonzero, counts.unique, counts.free) == twins.count_rows(twins.to_rows(weight))


@PROPERTY
@given(st.lists(small_weights(), max_size=4))
def test_counts_of_layers_add_up_and_rates_are_made_from_the_sums(layers: list[Tensor]) -> None:
    named = {f"layer{i}": weight for i, weight in enumerate(layers)}
    by_layer = count_layers(named)
    assert list(by_layer) == list(named)
    by_hand = [twins.count_rows(twins.to_rows(weight)) for weight in layers]
    rows, nonzero, unique, free = (sum(counted[place] for counted in by_hand) for place in range(4))
    counts = total(by_layer.values())
    assert counts == RowCounts(rows, nonzero, unique, free)
    if rows:
        assert counts.sparsity_rate == pytest.approx(100 * (rows - nonzero) / rows)
        assert zero_row_rate(named) == pytest.approx(counts.sparsity_rate)
    if unique:
        assert counts.compression_rate == pytest.approx(rows / unique)
        assert counts.parameter_sharing == pytest.approx(nonzero / unique)


def test_planted_rows_give_the_rates_of_their_definitions() -> None:
    weight = torch.tensor([[1.0, 1.0, 0.0, 2.0, 1.0], [-1.0, -1.0, 0.0, 0.0, -1.0]])  # columns are the rows
    counts = count_rows(weight)
    assert counts == RowCounts(rows=5, nonzero=4, unique=2, free=1)
    assert counts.summary() == {
        "rows": 5,
        "nonzero": 4,
        "unique": 2,
        "free": 1,
        "sparsity_rate": 20.0,
        "compression_rate": 2.5,
        "parameter_sharing": 2.0,
    }


def test_a_row_whose_entries_cancel_counts_as_nonzero() -> None:
    weight = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert count_rows(weight).sparsity_rate == 50
    assert zero_row_rate({"layer": weight}) == 50


def test_compression_is_infinite_when_no_row_is_left() -> None:
    counts = count_rows(torch.zeros(3, 4, 2, 2))
    assert counts == RowCounts(rows=4, nonzero=0, unique=0, free=0)
    assert counts.sparsity_rate == 100
    assert counts.compression_rate == float("inf")
    assert counts.parameter_sharing == 1


def test_no_layers_have_no_sparsity() -> None:
    assert total([]) == RowCounts(0, 0, 0, 0)
    assert total([]).sparsity_rate == 0
    assert zero_row_rate({}) == 0


def test_rows_that_differ_in_the_last_bit_are_different() -> None:
    weight = torch.ones(3, 2)
    weight[2, 1] = torch.nextafter(torch.tensor(1.0), torch.tensor(2.0))
    assert count_rows(weight) == RowCounts(rows=2, nonzero=2, unique=2, free=2)
