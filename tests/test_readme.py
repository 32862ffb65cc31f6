"""The README's example of an own network is run as it stands there, and shows sparsity."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

README = Path(__file__).resolve().parent.parent / "README.md"


def example_data(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Twelve inputs, of which five decide the classes of three tasks with 2, 5 and 3 classes."""
    x = torch.randn(count, 12, generator=generator)
    second = (1.5 * x[:, 2] + 2).clamp(0, 4).long()
    third = (x[:, 3] - x[:, 4]).clamp(-1, 1).round().long() + 1
    return x, torch.stack([(x[:, 0] + x[:, 1] > 0).long(), second, third], dim=1)


def test_the_own_network_of_the_readme_becomes_sparse(tmp_path: Path) -> None:
    (block,) = re.findall(r"```python\n(from torch import nn\n.*?)```", README.read_text(), re.DOTALL)
    generator = torch.Generator().manual_seed(0)
    names: dict[str, Any] = {}
    for part, count in (("train", 4000), ("val", 500), ("test", 500)):
        names[f"x_{part}"], names[f"y_{part}"] = example_data(count, generator)
    torch.manual_seed(0)
    exec(block.replace('name="mine"', f'name="mine", output_dir={str(tmp_path)!r}'), names)
    results = names["results"]
    assert results.sparsity_rate > results.parameters["min_sparsRate"]
    assert results.sparsity_advice is None
    assert results.mean_test_accuracy > 80
