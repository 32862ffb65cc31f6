"""The runs whose figures are in the README and in ``docs/results.md``."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from Data_loaders.registry import dataset_entry
from src.utils.training.defaults import WITH_TEACHERS, default_parameters
from src.utils.training.parameters import TrainingParameters


@dataclass(frozen=True)
class Case:
    """A setting that is trained from several seeds.

    Attributes:
        script: that trains it; its k is taken unless ``k`` says otherwise.
        architecture, dataset: what it trains.
        flags: as tables show them, beside the script.
        values: training parameters that these flags set.
        method: of the training.
        task: of a single-task network.
        k: preference vector, where the script has none of its own.
        data_seed: the data are composed from.
    """

    script: str
    architecture: str
    dataset: str
    flags: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    method: str = "Chebyshev"
    task: int | None = None
    k: tuple[float, ...] | None = None
    data_seed: int = 0

    @property
    def teacher(self) -> Case | None:
        """The single-task training whose networks, one per task, this one learns from."""
        if self.method not in WITH_TEACHERS:
            return None
        return replace(self, architecture="STL", method="Chebyshev", k=(0.0, 1.0))

    @property
    def command(self) -> str:
        """How a user trains it."""
        return " ".join(filter(None, (f"{self.script}.py", self.flags)))

    def parameters(self, *, demo: bool = False) -> TrainingParameters:
        """The parameters that this command trains with."""
        k = self.k or tuple(importlib.import_module(self.script).k)
        backbone = dataset_entry(self.dataset).backbone
        defaults = default_parameters(
            backbone,
            self.architecture,
            method=self.method,
            sparsity=k[0] > 0,
            demo=demo,
            schedule=self.values.get("schedule", "reference"),
        )
        return TrainingParameters(**{**defaults, "method": self.method, "w": k, **self.values})


_EQUAL = (0.0, 0.5, 0.5)


def _with(case: Case, **values: str | float) -> Case:
    """The same with further flags."""
    flags = " ".join([case.flags, *(f"--{name} {value}" for name, value in values.items())]).strip()
    return replace(case, flags=flags, values={**case.values, **values})


def _strong(**values: str | float) -> Case:
    """MDMTN on Cifar10Mnist with three times the script's preference for sparsity."""
    case = Case("Example_MDMTN_CM_withSparsity", "MDMTN", "Cifar10Mnist", "--k 0.01 0.15 0.84", k=(0.01, 0.15, 0.84))
    return _with(case, **values)


_CASES: Mapping[str, Case] = {
    "MDMTN_MM_sparse": Case("Example_MDMTN_MM_withSparsity", "MDMTN", "MultiMnist"),
    "MDMTN_MM_channel": Case(
        "Example_MDMTN_MM_withSparsity", "MDMTN", "MultiMnist", "--row_groups channel", {"row_groups": "channel"}
    ),
    "MDMTN_MM_dense": Case("Example_MDMTN_MM_noSparsity", "MDMTN", "MultiMnist"),
    "HPS_MM_sparse": Case("Example_HPS_MM_withSparsity", "HPS", "MultiMnist"),
    "HPS_MM_dense": Case("Example_HPS_MM_noSparsity", "HPS", "MultiMnist"),
    "STL_MM_left": Case("Example_STL_MM_noSparsity", "STL", "MultiMnist", "--task 0", task=0),
    "STL_MM_right": Case("Example_STL_MM_noSparsity", "STL", "MultiMnist", "--task 1", task=1),
    "HPS_MM_equal": Case(
        "Example_HPS_MGDA_MM", "HPS", "MultiMnist", "--method WeightedSum", method="WeightedSum", k=_EQUAL
    ),
    "HPS_MM_MGDA": Case("Example_HPS_MGDA_MM", "HPS", "MultiMnist", method="MGDA", k=_EQUAL),
    "HPS_MM_KDMTL": Case(
        "Train_and_Test",
        "HPS",
        "MultiMnist",
        "--architecture HPS --method KDMTL --k 0 1 1 --teachers FILE FILE",
        method="KDMTL",
        k=(0.0, 1.0, 1.0),
    ),
    "MTAN_MM_equal": Case(
        "Train_and_Test",
        "MTAN",
        "MultiMnist",
        "--architecture MTAN --method WeightedSum",
        method="WeightedSum",
        k=_EQUAL,
    ),
    "MDMTN_MM_MGDA": Case("Example_MDMTN_MGDA_MM", "MDMTN", "MultiMnist", method="MGDA", k=_EQUAL),
    "MDMTN_CM_sparse": Case("Example_MDMTN_CM_withSparsity", "MDMTN", "Cifar10Mnist"),
    "MDMTN_CM_sparser": _with(
        Case("Example_MDMTN_CM_withSparsity", "MDMTN", "Cifar10Mnist"), min_sparsRate=60, max_layerSRate=0.87
    ),
    "MDMTN_CM_sparse_strong": _strong(max_layerSRate=0.3),
    "MDMTN_CM_sparser_strong": _strong(min_sparsRate=60, max_layerSRate=0.8),
    "MDMTN_CM_channel": _strong(row_groups="channel", max_layerSRate=0.3),
    "MDMTN_CM_channel_sparser": _strong(row_groups="channel", min_sparsRate=60, max_layerSRate=0.8),
    "MDMTN_CM_dense": Case("Example_MDMTN_CM_noSparsity", "MDMTN", "Cifar10Mnist"),
    "HPS_CM_sparse": Case("Example_HPS_CM_withSparsity", "HPS", "Cifar10Mnist"),
    "HPS_CM_dense": Case("Example_HPS_CM_noSparsity", "HPS", "Cifar10Mnist"),
    "STL_CM_photograph": Case("Example_STL_CM_noSparsity", "STL", "Cifar10Mnist", "--task 0", task=0),
    "STL_CM_digit": Case("Example_STL_CM_noSparsity", "STL", "Cifar10Mnist", "--task 1", task=1),
}

COMPARED = ("MDMTN_CM_sparse_strong", "MDMTN_CM_sparser_strong")
"""Cases that show what another k does to what is there with the script's, and are no offer of their own."""
_ALSO_FAST = (
    *("MDMTN_MM_sparse", "MDMTN_MM_dense", "HPS_MM_sparse", "HPS_MM_dense", "STL_MM_left", "STL_MM_right"),
    *("HPS_MM_equal", "HPS_MM_MGDA", "HPS_MM_KDMTL", "MTAN_MM_equal", "MDMTN_MM_MGDA"),
    *("MDMTN_CM_dense", "STL_CM_photograph", "STL_CM_digit"),
)
_CAPS = (0.2, 0.4, 0.6, 0.9, 0.95)
"""Beside 0.8, the default of these; for MDMTN and HPS."""
_OTHER_PARTNERS = ("MDMTN_MM_sparse_fast", "HPS_MM_dense_fast")
_ALSO_FAST_BF16 = ("MDMTN_MM_sparse", "MDMTN_CM_sparser")


FASTER: Mapping[str, Mapping[str, str]] = {
    "_fast": {"schedule": "fast"},
    "_fast_bf16": {"schedule": "fast", "precision": "bf16"},
}
"""What the ends of the names of cases say of them."""
_KNOWN: Mapping[str, Case] = {
    **_CASES,
    **{f"{name}_fast": _with(_CASES[name], **FASTER["_fast"]) for name in _ALSO_FAST},
    **{f"{name}_fast_bf16": _with(_CASES[name], **FASTER["_fast_bf16"]) for name in _ALSO_FAST_BF16},
}
CAPPED: Mapping[str, Mapping[float, str]] = {
    name: {0.0: dense, **{cap: f"{sparse}_cap{100 * cap:.0f}" for cap in _CAPS}, 0.8: sparse}
    for name, dense, sparse in (
        ("MDMTN", "MDMTN_MM_dense_fast", "MDMTN_MM_sparse_fast"),
        ("HPS", "HPS_MM_dense_fast", "HPS_MM_sparse_fast"),
    )
}
"""Cases from dense to nearly empty by architecture and cap."""
CASES: Mapping[str, Case] = {
    **_KNOWN,
    **{
        f"{name}_data1": replace(_KNOWN[name], flags=f"{_KNOWN[name].flags} --data_seed 1".strip(), data_seed=1)
        for name in _OTHER_PARTNERS
    },
    **{cases[cap]: _with(_KNOWN[cases[0.8]], max_layerSRate=cap) for cases in CAPPED.values() for cap in _CAPS},
}


def is_usual(name: str) -> bool:
    """Whether a case has its script's schedule, and is no other k to compare with."""
    return CASES[name].values.get("schedule") != "fast" and name not in COMPARED
