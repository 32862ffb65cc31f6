"""The pages for readers: links lead somewhere, commands exist, the example of an own network is run and is sparse."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.utils.runs.config import ROOT
from tests.test_scripts import run

README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "src").glob("**/*.md")])


def anchors(page: Path) -> set[str]:
    """Names of the headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def dead_links(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", link):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    assert dead_links(page) == []


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A title\n\n[here](#a-title) [gone](#another) [lost](other.md) [web](https://example.org)\n")
    assert dead_links(page) == ["#another", "other.md"]


def test_the_readme_is_short_and_links_every_page() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 200
    assert [page.name for page in (ROOT / "docs").glob("*.md") if f"](docs/{page.name})" not in text] == []


def named_tests(page: Path) -> list[tuple[str, str]]:
    """File and name of every test that a page names; without a file it is that of the one before."""
    found, file = [], ""
    for place, name in re.findall(r"`(test_\w+\.py)?::(test_\w+)`", page.read_text()):
        file = place or file
        found.append((file, name))
    return found


def test_behind_every_promise_there_is_a_test() -> None:
    rows = [line for line in (ROOT / "docs" / "promises.md").read_text().splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise |", "| what happens |"))]
    assert len(promises) > 20
    assert [row for row in promises if "`test_" not in row] == []
    named = named_tests(ROOT / "docs" / "promises.md")
    assert len(named) >= len(promises)
    assert [test for test in named if f"def {test[1]}(" not in (ROOT / "tests" / test[0]).read_text()] == []


def commands(pages: list[Path]) -> list[list[str]]:
    """The words of every python command in the pages' shell blocks."""
    blocks = [block for page in pages for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("python ")]


@pytest.mark.parametrize("words", commands(PAGES), ids=" ".join)
def test_commands_and_their_flags_exist(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[0] == "-m":
        assert importlib.util.find_spec(words[1]) is not None
        return
    command = words[1:2] if len(words) > 1 and re.fullmatch("[a-z]+", words[1]) else []
    monkeypatch.setenv("COLUMNS", "250")
    assert run(monkeypatch, words[0], *command, "--help") == 0
    shown = re.findall(r"--[\w-]+", capsys.readouterr().out)
    assert {word for word in words if word.startswith("--")} <= set(shown)


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
