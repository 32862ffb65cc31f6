"""Train a sparse network on a problem of one's own: three tasks on the Palmer penguins, from table to small network.

The species is one of three classes, the sex a yes or no, the body mass a number; 11 sexes and 2 masses are missing.
Edit the preference vector k below: how much sparsity and each task matter. The same script searches, repeats, studies:

    python Example_own_problem.py
    python Example_own_problem.py --resume logs/Example_own_problem/RUN
    python Example_own_problem.py search --k0 0.1 --resolution 5
    python Example_own_problem.py repeat --repetitions 3
    python Example_own_problem.py study --resolution 5
    python Example_own_problem.py test src/Sparse_models/MODEL.pth
    python Example_own_problem.py compress src/Sparse_models/MODEL.pth

Data: the package palmerpenguins (pip install -r requirements-examples.txt), 344 penguins.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution

import torch
from torch import Tensor, nn

from src import HPS, OwnProblem, Splits, Task, TaskData, run_own_problem
from src.utils.errors import UserError

k = [0.1, 0.28, 0.28, 0.34]  # sparsity, species, sex, body mass

SPECIES, ISLANDS, SEXES = ("Adelie", "Chinstrap", "Gentoo"), ("Biscoe", "Dream", "Torgersen"), ("female", "male")
MEASURED = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm")
INPUTS = len(MEASURED) + len(ISLANDS)
TYPICAL_MASS = 4.2
TASKS = (
    Task("species", "classification", len(SPECIES)),
    Task("sex", "binary", 1),
    Task("body mass", "regression", 1),  # in kg
)
SCHEDULE = {  # k0 asks for zero rows from the first epochs on, and phase 1 is long enough for them to fall
    "skip_layer": INPUTS,  # the layer that reads the table stays as it is
    "normalisation": "initial",  # a squared error and two cross entropies, each from 1 on
    "batch_size": 32,
    "lr": 1e-2,
    "lr_sched_coef": 0.7,
    "num_epochs": 5,
    "max_iter": 14,  # without sparsity: as many epochs as with it
    "max_iter_search": 6,
    "max_iter_retrain": 8,
}


def penguins(tasks: Sequence[Task] = TASKS) -> OwnProblem:
    """The table as tensors, a split of 206, 69 and 69 penguins, and the network."""
    table = read_table()
    labels = {
        "species": torch.tensor([SPECIES.index(row["species"]) for row in table]),
        "sex": torch.tensor([float(SEXES.index(row["sex"])) if row["sex"] in SEXES else torch.nan for row in table]),
        "body mass": numbers(table, "body_mass_g") / 1000,
    }
    x = torch.cat([measurements(table), islands(table)], dim=1)  # (344, INPUTS)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    test, validation, train = order.split([69, 69, len(x) - 138])

    def part(index: Tensor) -> TaskData:
        return TaskData(x[index], tuple(labels[task.name][index] for task in tasks))

    return OwnProblem(tuple(tasks), Splits(part(train), part(validation), part(test)), lambda: network(tasks))


def network(tasks: Sequence[Task]) -> HPS:
    """A trunk that all tasks share, and a linear head for each; masses start from a typical one."""
    trunk = nn.Sequential(nn.Linear(INPUTS, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU())
    heads = [nn.Linear(32, task.outputs) for task in tasks]
    for task, head in zip(tasks, heads, strict=True):
        if task.kind == "regression":
            nn.init.constant_(head.bias, TYPICAL_MASS)
    return HPS(trunk, heads)


def read_table() -> list[dict[str, str]]:
    """A row per penguin; what is not known is NA."""
    try:
        path = distribution("palmerpenguins").locate_file("palmerpenguins/data/penguins.csv")
    except PackageNotFoundError as error:
        raise UserError("palmerpenguins is not installed: pip install -r requirements-examples.txt") from error
    with open(str(path), newline="") as file:
        return list(csv.DictReader(file))


def numbers(table: list[dict[str, str]], column: str) -> Tensor:
    """A column, NaN where it is not known; shape (N,)."""
    return torch.tensor([float("nan" if row[column] == "NA" else row[column]) for row in table])


def measurements(table: list[dict[str, str]]) -> Tensor:
    """Lengths with mean 0 and variance 1, the mean where they are not known; (N, 3)."""
    lengths = torch.stack([numbers(table, name) for name in MEASURED], dim=1)
    known = lengths[~lengths.isnan().any(dim=1)]
    return ((lengths - known.mean(0)) / known.std(0)).nan_to_num(0.0)


def islands(table: list[dict[str, str]]) -> Tensor:
    """A 1 for the island of the penguin; (N, 3)."""
    return torch.tensor([[float(row["island"] == name) for name in ISLANDS] for row in table])


if __name__ == "__main__":
    run_own_problem(__file__, "penguins", penguins, k=k, description=__doc__, **SCHEDULE)
