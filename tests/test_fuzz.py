"""Files from others are data, never code: whatever is in them, a command says in a line that they cannot be used."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import resource
import shutil
import signal
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import Train_and_Test
from Data_loaders.MultiMnist import load_multimnist
from Data_loaders.sources import load_cifar10
from src.utils.command_line.parser import exit_code
from src.utils.files import read_npz, read_torch
from src.utils.report import style
from src.utils.training.checkpoints import CheckpointFile
from tests.conftest import write_idx
from tests.test_export import MISSING

FLAGS = (
    *("--demo", "--num_epochs", "1", "--max_iter_search", "1", "--max_iter_retrain", "1", "--num_batchEpoch", "2"),
    *("--min_sparsRate", "0", "--sim_preference", "0.99", "--quiet"),
)
SECONDS = 60
"""The longest that a command may take, with what else the machine does; without a change they take 1 or 2."""


@dataclass(frozen=True)
class Place:
    """A file that may come from others, and a command that reads it.

    Attributes:
        file: the file.
        read: reads it; raises SystemExit as commands do.
        restore: puts everything else back after a command that went on to work with the file.
    """

    file: Path
    read: Callable[[], None]
    restore: Callable[[], None] = lambda: None


def command(*words: str) -> Callable[[], None]:
    """A command as a user gives it, in this process."""
    return lambda: Train_and_Test.main(words)


def script(*words: str) -> int:
    """The MDMTN script, in this process."""

    def work() -> None:
        Train_and_Test.run_example(
            "Example_HPS_MM_withSparsity.py", "HPS", "MultiMnist", [1e-3, 0.4, 0.6], description=None
        )

    before, sys.argv = sys.argv, ["Example_HPS_MM_withSparsity.py", *words]
    try:
        with pytest.raises(SystemExit) as left:
            work()
    finally:
        sys.argv = before
    return int(left.value.code or 0)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished run, an interrupted one, a search, data and an exported network, all small, and small pictures."""
    folder = tmp_path_factory.mktemp("house")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style, "DPI", 20)
        assert script(*FLAGS, "--output-dir", str(folder / "finished")) == 0
        interrupted = folder / "interrupted"

        def ending(self: CheckpointFile, checkpoint: Any) -> None:
            original(self, checkpoint)
            raise KeyboardInterrupt

        original = CheckpointFile.write
        with pytest.MonkeyPatch.context() as end:
            end.setattr(CheckpointFile, "write", ending)
            assert script(*FLAGS, "--output-dir", str(interrupted)) == 130
        search = ("search", "--architecture", "HPS", "--k0", "0.001", "--resolution", "2")
        assert outcome(command(*search, *FLAGS, "--output-dir", str(folder / "search")))[0] == 0
        rng = np.random.default_rng(0)
        raw = folder / "data" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for split, count in (("train", 40), ("t10k", 20)):
            write_idx(raw / f"{split}-images-idx3-ubyte", rng.integers(256, size=(count, 28, 28)))
            write_idx(raw / f"{split}-labels-idx1-ubyte", rng.integers(10, size=count))
        parts = {
            f"x_{s}": rng.integers(256, size=(n, 32, 32, 3)).astype(np.uint8) for s, n in (("train", 9), ("test", 5))
        }
        labels = {f"y_{s}": rng.integers(10, size=n) for s, n in (("train", 9), ("test", 5))}
        np.savez(folder / "data" / "cifar10.npz", **parts, **labels)  # type: ignore[arg-type]
        load_multimnist(folder / "data", 0, print)
        Image.fromarray(rng.integers(256, size=(28, 28)).astype(np.uint8)).save(folder / "digit.png")
        if not MISSING:
            assert outcome(command("export", str(only(folder, "finished/logs/*/*/model.pth"))))[0] == 0
        yield folder


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def outcome(work: Callable[[], None]) -> tuple[int, str]:
    """Exit code and errors of a command."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            code = exit_code(work)
        except SystemExit as left:
            code = int(left.code or 0)
    return code, errors.getvalue()


def places(house: Path, kind: str, working: Path) -> Place:
    """The place of a kind, in a copy of the house that may be spoilt."""
    shutil.copytree(house, working, dirs_exist_ok=True)
    run = only(working, "finished/logs/*/*")
    picture, folder = str(working / "digit.png"), str(run)
    found: dict[str, Callable[[], Place]] = {
        "model": lambda: Place(run / "model.pth", command("predict", f"{folder}/model.pth", picture)),
        "tested model": lambda: Place(run / "model.pth", command("test", f"{folder}/model.pth")),
        "drawn model": lambda: Place(run / "model.pth", command("draw", folder)),
        "compressed model": lambda: Place(
            run / "model_compressed.pth", command("predict", f"{folder}/model_compressed.pth", picture)
        ),
        "results": lambda: Place(run / "results.json", command("draw", folder)),
        "compared results": lambda: Place(
            run / "results.json", command("compare", folder, "--output-dir", str(working / "compared"))
        ),
        "history": lambda: Place(run / "history.csv", command("draw", folder)),
        "samples": lambda: Place(run / "samples.npz", command("draw", folder)),
        "start": lambda: Place(run / "run.json", command("draw", folder)),
        "onnx": lambda: Place(run / "model.onnx", command("predict", f"{folder}/model.onnx", picture)),
        "picture": lambda: Place(working / "digit.png", command("predict", f"{folder}/model.pth", picture)),
        "sweep": lambda: Place(
            only(working, "search/logs/*/sweep.json"), command("draw", str(only(working, "search/logs/*")))
        ),
        "checkpoint": lambda: interrupted(working),
        "idx": lambda: Place(working / "data/MNIST/raw/train-images-idx3-ubyte", data(working, load_multimnist)),
        "idx labels": lambda: Place(working / "data/MNIST/raw/t10k-labels-idx1-ubyte", data(working, load_multimnist)),
        "npz": lambda: Place(working / "data/cifar10.npz", lambda: void(load_cifar10(working / "data"))),
        "cache": lambda: Place(
            working / "data/MultiMnist/multimnist_seed0.npz",
            data(working, load_multimnist),
        ),
    }
    return found[kind]()


def interrupted(working: Path) -> Place:
    """An interrupted run; where it could go on it is put back to what it was."""
    folder = only(working, "interrupted/logs/*/*")
    kept = working / "kept"
    shutil.copytree(folder, kept)

    def restore() -> None:
        if (folder / "results.json").exists() or not (folder / "run.json").exists():
            shutil.rmtree(folder)
            shutil.copytree(kept, folder)

    return Place(folder / "checkpoint.pt", command("--resume", str(folder), "--quiet"), restore)


def data(working: Path, load: Callable[..., object]) -> Callable[[], None]:
    return lambda: void(load(working / "data", 0, lambda text: None))


def void(value: object) -> None:
    """A work has no value."""


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Bytes with bits turned, cut off, repeated, moved, or sizes made huge."""
    changed = bytearray(content)
    place = int(rng.integers(len(changed)))
    length = int(rng.integers(1, 200))
    kind = rng.integers(7)
    if kind == 0:
        for _ in range(int(rng.integers(1, 9))):
            changed[int(rng.integers(len(changed)))] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        del changed[place:]
    elif kind == 2:
        changed[place : place + length] = bytes(length)
    elif kind == 3:
        changed[place:place] = rng.bytes(length)
    elif kind == 4:
        del changed[place : place + length]
    elif kind == 5:
        changed[place : place + 4] = b"\xff\xff\xff\x7f"
    else:
        changed[place:place] = changed[: int(rng.integers(len(changed)))]
    return bytes(changed)


STRANGE: tuple[Any, ...] = (
    *(None, -1, 0, 10**30, 1e308, float("nan"), True, "", "$\\frac", "../../x", "\x00", "x" * 20_000, [], {}, [[]]),
    *([None] * 3, {"a": 1}, [1e40, -1e40], "0" * 6),
)


def altered(value: Any, rng: np.random.Generator) -> Any:
    """Plain values with one of them, anywhere, made another one, left out or given twice."""
    strange = STRANGE[int(rng.integers(len(STRANGE)))]
    if isinstance(value, Mapping) and value:
        name = list(value)[int(rng.integers(len(value)))]
        kind = rng.integers(10)
        if kind == 0:
            return {key: item for key, item in value.items() if key != name}
        return {**value, name: strange if kind < 3 else altered(value[name], rng)}
    if isinstance(value, list) and value:
        place, kind = int(rng.integers(len(value))), rng.integers(10)
        if kind == 0:
            return value[:place] + value[place + 1 :]
        if kind == 1:
            return [*value, value[place]]
        return [*value[:place], strange if kind < 3 else altered(value[place], rng), *value[place + 1 :]]
    if isinstance(value, torch.Tensor):
        return altered_tensor(value, rng)
    return strange


def altered_tensor(value: torch.Tensor, rng: np.random.Generator) -> Any:
    """A tensor of another shape, type or with other numbers; one that would fill all memory if it were copied."""
    made: tuple[Callable[[], Any], ...] = (
        lambda: value.double(),
        lambda: value.to(torch.int64),
        lambda: value.flatten()[:-1],
        lambda: value.new_full(value.shape, float("nan") if value.is_floating_point() else 0),
        lambda: torch.zeros(1).expand(2**40),
        lambda: value.unsqueeze(0),
        lambda: torch.zeros(0),
        lambda: value.to_sparse() if value.is_floating_point() and value.ndim else value,
        lambda: value.to(torch.complex64),
        lambda: [1.0],
    )
    return made[int(rng.integers(len(made)))]()


def altered_file(content: bytes, file: Path, rng: np.random.Generator) -> bytes | None:
    """A whole file of its format with other values in it; None for formats without such."""
    buffer = io.BytesIO()
    if file.suffix == ".json":
        return json.dumps(altered(json.loads(content), rng)).encode()
    if file.suffix in (".pth", ".pt"):
        torch.save(altered(torch.load(io.BytesIO(content), weights_only=True), rng), buffer)
        return buffer.getvalue()
    if file.suffix == ".csv":
        cells = [line.split(",") for line in content.decode().splitlines()]
        line = cells[int(rng.integers(len(cells)))]
        line[int(rng.integers(len(line)))] = str(STRANGE[int(rng.integers(len(STRANGE)))])[:50]
        return "\n".join(map(",".join, cells)).encode()
    if file.suffix == ".npz":
        with np.load(io.BytesIO(content)) as arrays:
            found = dict(arrays)
        name = list(found)[int(rng.integers(len(found)))]
        other: Any = (
            *(found[name].astype(np.float64) if found[name].dtype.kind in "iu" else found[name][()],),
            *(found[name][..., None], found[name].ravel()[:0], np.array("x" * 9), np.zeros((2, 2, 2), np.uint8)),
        )
        found[name] = np.asarray(other[int(rng.integers(len(other)))])
        np.savez(buffer, **found)  # type: ignore[arg-type]
        return buffer.getvalue()
    return None


COUNTS = {
    "model": 250,
    "tested model": 30,
    "drawn model": 60,
    "compressed model": 200,
    "results": 250,
    "compared results": 100,
    "history": 150,
    "samples": 100,
    "start": 150,
    "onnx": 150,
    "picture": 60,
    "sweep": 100,
    "checkpoint": 150,
    "idx": 80,
    "idx labels": 40,
    "npz": 70,
    "cache": 60,
}
assert sum(COUNTS.values()) == 2000


def peak() -> int:
    """Largest memory of this process so far, bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def too_long(number: int, frame: object) -> None:
    pytest.fail(f"a command took more than {SECONDS} s")


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_2000_altered_files_end_in_a_line_each(kind: str, house: Path, tmp_path: Path) -> None:
    if kind == "onnx" and MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)} (requirements-export.txt)")
    place, rng = places(house, kind, tmp_path / "house"), np.random.default_rng(sum(map(ord, kind)))
    content = place.file.read_bytes()
    assert outcome(place.read)[0] == 0  # as it is it can be used
    place.restore()
    normal, refused = peak(), 0
    before = signal.signal(signal.SIGALRM, too_long)
    try:
        for number in range(COUNTS[kind]):
            new = altered_file(content, place.file, rng) if number % 2 else None
            place.file.write_bytes(damaged(content, rng) if new is None else new)
            signal.alarm(SECONDS)
            code, said = outcome(place.read)
            signal.alarm(0)
            assert code in (0, 2), (number, said)
            assert code == 0 or len([line for line in said.splitlines() if line.startswith("error: ")]) == 1, said
            assert "Traceback" not in said
            refused += code == 2
            place.file.write_bytes(content)
            place.restore()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert refused > COUNTS[kind] // 4 or kind in ("cache", "picture", "idx", "idx labels")
    assert peak() < 2 * normal


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._mark}",)


def malicious_files(mark: Path) -> dict[str, bytes]:
    """A pickle that runs a command, alone and in all kinds of files."""
    bad = Malicious(mark)
    saved, array, zipped = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"format_version": 1, "state_dict": bad}, saved)
    np.savez(array, x_train=np.array([bad], dtype=object), recipe=np.array([bad], dtype=object))
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("data.pkl", pickle.dumps(bad))
        archive.writestr("x_train.npy", pickle.dumps(bad))
    legacy = io.BytesIO()
    torch.save({"state_dict": bad}, legacy, _use_new_zipfile_serialization=False)
    return {
        "pickle": pickle.dumps(bad),
        "torch": saved.getvalue(),
        "old torch": legacy.getvalue(),
        "npz": array.getvalue(),
        "zip": zipped.getvalue(),
    }


def test_the_malicious_files_would_work(tmp_path: Path) -> None:
    content = malicious_files(tmp_path / "mark")
    pickle.loads(content["pickle"])
    assert (tmp_path / "mark").exists()
    (tmp_path / "mark").unlink()
    torch.load(io.BytesIO(content["torch"]), weights_only=False)
    assert (tmp_path / "mark").exists()


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_a_malicious_pickle_is_refused_and_not_executed(kind: str, house: Path, tmp_path: Path) -> None:
    if kind == "onnx" and MISSING:
        pytest.skip(f"not installed: {', '.join(MISSING)} (requirements-export.txt)")
    place, mark = places(house, kind, tmp_path / "house"), tmp_path / "mark"
    for content in malicious_files(mark).values():
        place.file.write_bytes(content)
        code, said = outcome(place.read)
        assert code == (0 if kind == "cache" else 2), said  # a damaged cache is made anew
        assert not mark.exists()


@pytest.mark.parametrize("size", [2**20, 2**24])
def test_archives_that_unpack_to_much_more_are_refused_before_they_are(size: int, tmp_path: Path) -> None:
    packed = tmp_path / "packed.npz"
    np.savez_compressed(packed, x=np.zeros(size, np.uint8))
    with pytest.raises(Exception, match="damaged or no"):
        read_npz(packed)
    many = tmp_path / "many.pth"
    torch.save({"x": torch.zeros(1).expand(size)}, many)
    assert many.stat().st_size < size
    with pytest.raises(Exception, match="larger than the file"):
        read_torch(many)
    claimed = io.BytesIO()
    np.lib.format.write_array_header_1_0(claimed, {"descr": "|u1", "fortran_order": False, "shape": (2**50,)})
    with zipfile.ZipFile(tmp_path / "claimed.npz", "w") as archive:
        archive.writestr("x.npy", claimed.getvalue())
    with pytest.raises(Exception, match="damaged or no"):
        read_npz(tmp_path / "claimed.npz")


def test_a_turned_bit_is_seen_though_torch_does_not_look(tmp_path: Path) -> None:
    file = tmp_path / "weights.pt"
    torch.save({"x": torch.arange(1000.0)}, file)
    content = bytearray(file.read_bytes())
    with zipfile.ZipFile(file) as archive:
        (part,) = (item for item in archive.infolist() if item.filename.endswith("data/0"))
    content[part.header_offset + 500] ^= 1
    file.write_bytes(content)
    assert not torch.equal(torch.load(file, weights_only=True)["x"], torch.arange(1000.0))
    start = time.perf_counter()
    with pytest.raises(Exception, match="damaged"):
        read_torch(file)
    assert time.perf_counter() - start < SECONDS
