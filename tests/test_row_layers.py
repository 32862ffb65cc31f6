"""What may become sparse in a user's network, and what the user is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from Data_loaders.loaders import Splits, TaskData
from src.models.hps import HPS
from src.models.row_layers import Projection, layers_with_rows, sparse_plan
from src.utils.errors import UserError
from src.utils.sparsity.rows import to_rows, zero_rows
from src.utils.training.parameters import TrainingParameters
from src.utils.training.records import Observer
from Train_and_Test import train_and_test


class Words(nn.Module):
    """Embeds words, lets them attend to each other, and reads them by convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.apart = nn.Conv1d(16, 16, 3, padding=1, groups=4)
        self.convolution = nn.Conv1d(16, 24, 3, padding=1)
        self.last = nn.Linear(24, 16)

    def forward(self, x: Tensor) -> Tensor:
        embedded = self.embedding(x)  # (N, words, 16)
        attended, _ = self.attention(embedded, embedded, embedded, need_weights=False)
        channels = self.apart((embedded + attended).transpose(1, 2)).relu()  # (N, 16, words)
        read: Tensor = self.last(self.convolution(channels).relu().mean(2)).relu()
        return read


def words_network(seed: int = 0) -> HPS:
    torch.manual_seed(seed)
    return HPS(Words(), [nn.Linear(16, 2), nn.Linear(16, 3)])


def words_data() -> Splits:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 20, (240, 7), generator=generator)
    y = torch.stack([(x[:, 0] > 9).long(), x[:, 1] % 3], dim=1)
    train, validation, test = (TaskData(x[cut], y[cut]) for cut in (slice(160), slice(160, 200), slice(200, 240)))
    return Splits(train, validation, test)


def test_rows_are_those_of_layers_and_of_the_projections_of_attention() -> None:
    layers = layers_with_rows(words_network())
    sizes = {name: tuple(to_rows(layer.weight).shape) for name, layer in layers.items()}
    assert sizes == {
        "trunk.attention.in_proj": (16, 48),  # a row leaves an input to queries, keys and values
        "trunk.attention.out_proj": (16, 16),
        "trunk.convolution": (16, 72),
        "trunk.last": (24, 16),
        "heads.0": (16, 2),
        "heads.1": (16, 3),
    }
    other = layers_with_rows(nn.MultiheadAttention(8, 2, kdim=5, vdim=6))
    assert {name: layer.weight.shape[1] for name, layer in other.items()} == {
        "q_proj": 8, "k_proj": 5, "v_proj": 6, "out_proj": 8,
    }  # fmt: skip


def test_an_input_without_a_row_is_not_read() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    projection = layers_with_rows(attention)["in_proj"]
    assert isinstance(projection, Projection)
    x = torch.randn(2, 5, 8)
    changed = x.clone()
    changed[..., 3] += 1
    with torch.no_grad():
        assert not torch.equal(attention(x, x, x)[0], attention(changed, changed, changed)[0])
        to_rows(projection.weight)[3] = 0
        assert torch.equal(attention(x, x, x)[0], attention(changed, changed, changed)[0])
    assert int(zero_rows(to_rows(attention.in_proj_weight)).sum()) == 1


def test_the_plan_says_what_is_left_out_and_why() -> None:
    network = words_network()
    plan = sparse_plan(network, network.sparse_parts, 24)
    assert plan.rows == {"trunk.attention.in_proj": 16, "trunk.attention.out_proj": 16, "trunk.convolution": 16}
    assert plan.left == {
        "trunk.embedding": "an embedding, whose rows are no inputs",
        "trunk.apart": "a convolution with groups, where an output does not read all inputs",
        "trunk.last": "skip_layer: it has 24 inputs",
        "heads.0": "outside of the parts that may become sparse, as heads are",
        "heads.1": "outside of the parts that may become sparse, as heads are",
    }
    named = sparse_plan(network, network.sparse_parts, "trunk.convolution, trunk.last")
    assert list(named.rows) == ["trunk.attention.in_proj", "trunk.attention.out_proj"]
    assert list(network.growl_layers("trunk.convolution, trunk.last")) == list(named.rows)
    assert "stays as it is: heads.0, heads.1: outside" in "\n".join(plan.lines())
    recurrent = nn.LSTM(3, 4)
    assert sparse_plan(recurrent, [recurrent], 1).left == {"LSTM": "rows of a LSTM are not supported"}


class Notes(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []
        self.before: int | None = None

    def message(self, text: str) -> None:
        self.notes.append(text)

    def phase_starts(self, name: str, epochs: int, done: int) -> None:
        self.before = len(self.notes) if self.before is None else self.before


def parameters_for(**values: Any) -> TrainingParameters:
    return TrainingParameters(
        w=(0.3, 0.35, 0.35), batch_size=40, max_iter_search=3, max_iter_retrain=1, num_epochs=3, lr=1e-2, **values
    )


def test_attention_and_one_dimensional_convolutions_become_sparse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.utils.report.run.draw_run", lambda folder: [])
    notes, network = Notes(), words_network()
    results = train_and_test(
        network, words_data(), parameters_for(skip_layer="trunk.last"), observer=notes, output_dir=str(tmp_path)
    )
    layers = ["trunk.attention.in_proj", "trunk.attention.out_proj", "trunk.convolution"]
    assert list(results.layers) == layers
    assert all(results.layers[name].sparsity_rate > 0 for name in layers)
    rows = to_rows(network.trunk.attention.in_proj_weight)  # type: ignore[union-attr, arg-type]
    assert int(zero_rows(rows).sum()) == results.layers[layers[0]].rows - results.layers[layers[0]].nonzero
    said = "\n".join(notes.notes[: notes.before])
    assert "may become sparse, 48 rows in all: trunk.attention.in_proj (16 rows)" in said
    assert "stays as it is: trunk.last: skip_layer names it" in said


def test_a_layer_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"skip_layer is 'trunk.first'; allowed for this network: .*trunk.convolution"):
        train_and_test(
            words_network(), words_data(), parameters_for(skip_layer="trunk.first"), output_dir=str(tmp_path)
        )
    assert not any(tmp_path.iterdir())
