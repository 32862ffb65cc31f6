"""--help: what matters first, flags without effect apart, values as types, defaults as docs/parameters.md."""

from __future__ import annotations

import re

import pytest

from src.utils.command_line.without_effect import idle_flags
from src.utils.training.parameters import TrainingParameters
from tests.test_scripts import run


def groups_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], script: str, *flags: str
) -> dict[str, list[str]]:
    """The lines of each group of a script's help, by its title, in order."""
    monkeypatch.setenv("COLUMNS", "250")
    assert run(monkeypatch, script, *flags, "--help") == 0
    found: dict[str, list[str]] = {}
    for line in capsys.readouterr().out.splitlines():
        if re.fullmatch(r"\w.*:", line):
            found[line[:-1]] = []
        elif found and line.startswith("  -"):
            found[list(found)[-1]].append(line.strip())
        elif found and line.strip():  # the text of a long flag is in the next line
            found[list(found)[-1]][-1] += f"  {line.strip()}"
    return found


def flags_in(lines: list[str]) -> set[str]:
    return {name for line in lines for name in re.findall(r"--([\w-]+)", line.split("  ")[0])}


@pytest.mark.parametrize(
    ("script", "first", "own", "others"),
    [
        ("Example_MDMTN_MM_withSparsity.py", {"k", "demo", "seed", "data-dir"}, {"mu", "min_sparsRate"}, {"mgda_ub"}),
        ("Example_STL_MM_noSparsity.py", {"k", "task"}, {"momentum", "max_iter"}, {"min_sparsRate", "distillation"}),
        ("Example_HPS_MGDA_MM.py", {"k", "repetitions", "jobs"}, {"mgda_ub", "max_iter"}, {"mu", "a", "beta1"}),
        ("Example_KDMTL_MM.py", {"k", "teacher_max_iter"}, {"teachers"}, {"mu", "mgda_ub"}),
        ("Pareto_front_study_HPS_MM.py", {"k0", "box", "jobs"}, {"mu", "max_iter"}, {"momentum", "mgda_ub"}),
    ],
)
def test_what_matters_comes_first_and_what_does_nothing_apart(
    script: str,
    first: set[str],
    own: set[str],
    others: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    groups = groups_of(monkeypatch, capsys, script)
    titles = list(groups)
    assert titles[0] == "what matters most"
    idle = [title.startswith("without effect here (") for title in titles]
    assert idle == sorted(idle)
    apart = flags_in([line for title in titles if title.startswith("without") for line in groups[title]])
    used = flags_in([line for title in titles if not title.startswith("without") for line in groups[title]])
    assert first <= flags_in(groups[titles[0]])
    assert own <= used - flags_in(groups[titles[0]])
    assert others <= apart
    assert not apart & used


def test_another_method_moves_its_flags(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    groups = groups_of(monkeypatch, capsys, "Example_HPS_MM_noSparsity.py", "--method", "MGDA")
    assert "mgda_ub" in flags_in(groups["training"])
    assert "mu" in flags_in(groups["without effect here (only the Chebyshev methods use it)"])
    assert "mu" in idle_flags(TrainingParameters(w=(0.0, 0.5, 0.5), method="MGDA"))


def test_values_are_types_and_defaults_those_of_the_readme(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = groups_of(monkeypatch, capsys, "Example_MDMTN_MM_withSparsity.py")
    lines = {line.split()[0].strip(",-"): line for part in groups.values() for line in part}
    for name, value, default in (
        ("k", "FLOAT [FLOAT ...]", "[0.001, 0.5, 0.499]"),
        ("lr", "FLOAT", "[0.0025]"),
        ("mu", "FLOAT", "[10]"),
        ("epsilon", "0-1", "[0.0001]"),
        ("min_sparsRate", "0-100", "[20]"),
        ("LR_scheduler", "yes/no", "[yes]"),
        ("mgda_ub", "yes/no", "[no]"),
        ("tol_epochs", "INT|none", "[none]"),
        ("a", "FLOAT [FLOAT ...]", "[none]"),
        ("data-dir", "FOLDER", "else Data/"),
        ("model", "FILE", ""),
    ):
        flag, text = lines[name].split("  ", 1)
        assert flag.endswith(f" {value}")
        assert text.endswith(default)
    assert not any("VALUE" in line or "NUMBER" in line for line in lines.values())
