"""Requests to end wait until it suits, and nothing is lost by them: not a batch, not the checkpoint before the last."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from Data_loaders.loaders import Splits
from Data_loaders.streams import AnySplits, as_splits
from src.models.mdmtn import MDMTN
from src.utils.command_line.parser import Terminated, exit_code
from src.utils.errors import TERMINATED, UserError
from src.utils.files import file_before, read_torch
from src.utils.interruptions import held_back
from src.utils.runs import config as run_config
from src.utils.runs.config import ROOT
from src.utils.training.chebyshev_method import ChebyshevMethod
from src.utils.training.checkpoints import CheckpointFile
from src.utils.training.engine import Trainer
from src.utils.training.methods import make_method
from src.utils.training.records import Observer
from src.utils.training.two_phase import train
from tests.conftest import CPU, equal_states, make_network, one_line, short
from tests.test_command_line import SHORT, only, results_of, run
from tests.test_training import Messages, untimed


@pytest.fixture(autouse=True)
def deaf_to_nothing() -> Iterator[None]:
    """A shell starts background work deaf to SIGINT; what is tested here is what is not deaf."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_request_waits_for_the_end_of_the_block() -> None:
    done = []
    with pytest.raises(KeyboardInterrupt), held_back() as requests:
        signal.raise_signal(signal.SIGINT)
        assert requests.pending
        done.append("the rest")
    assert done == ["the rest"]


def test_a_request_is_delivered_when_it_suits_and_only_once() -> None:
    done = []
    with held_back() as requests:
        requests.deliver()
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            requests.deliver()
        assert not requests.pending
        requests.deliver()
        done.append("the rest")
    assert done == ["the rest"]


def test_a_second_request_is_not_held() -> None:
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        pytest.fail("it was held")


def test_sigterm_keeps_its_exit_code() -> None:
    def work() -> None:
        with held_back() as requests:
            signal.raise_signal(signal.SIGTERM)
            requests.deliver()

    assert exit_code(work) == TERMINATED


def test_a_request_explains_what_broke_after_it() -> None:
    with pytest.raises(KeyboardInterrupt), held_back():
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("a process that loads data was asked to end, too")


def test_an_ignored_signal_stays_ignored_and_handlers_are_put_back() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_back() as requests:
            signal.raise_signal(signal.SIGINT)
            assert not requests.pending
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    with held_back():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_nothing_is_held() -> None:
    found = []

    def work() -> None:
        with held_back() as requests:
            found.append(requests.pending)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


class EndAt(Observer):
    """Asks for an end, or ends, after so many batches."""

    def __init__(self, batch: int, end: Callable[[], Any]) -> None:
        self.left, self.end = batch, end

    def batch_ends(self, share: float) -> None:
        self.left -= 1
        if not self.left:
            self.end()


def interrupt() -> None:
    signal.raise_signal(signal.SIGINT)


def break_off() -> None:
    raise KeyboardInterrupt


BATCHES = 6  # of an epoch: 300 training images


def make_trainer(
    splits: AnySplits, images: Splits, observer: Observer | None = None, every: int | None = None, **values: Any
) -> Trainer:
    """A training with something random in the network and a trained t."""
    network = make_network(images)
    assert isinstance(network, MDMTN)
    network.trunk = nn.Sequential(network.trunk, nn.Dropout(0.2))
    parameters = short(t_update="optimizer", num_epochs=1, schedule="fast")  # whose rate changes with every batch
    method = ChebyshevMethod(network, parameters, CPU)
    return Trainer(
        *(network, method, splits, parameters), seed=0, observer=observer, checkpoint_batches=every, **values
    )


def streams(splits: Splits) -> AnySplits:
    """The same data from loaders, the training data in an order and with changes that are drawn."""

    def noisy(batch: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = (torch.stack(part) for part in zip(*batch, strict=True))
        return images + 0.1 * torch.randn_like(images), labels

    parts = [TensorDataset(part.images, part.labels) for part in (splits.train, splits.validation, splits.test)]
    loaders = [DataLoader(part, batch_size=50, shuffle=not number, collate_fn=None if number else noisy)
               for number, part in enumerate(parts)]  # fmt: skip
    return as_splits(loaders, CPU)


@pytest.fixture(scope="module")
def undisturbed(splits: Splits) -> Trainer:
    """A training from tensors that nothing has ended."""
    trainer = make_trainer(splits, splits)
    train(trainer)
    return trainer


@pytest.fixture(scope="module")
def undisturbed_streams(splits: Splits) -> Trainer:
    """The same from loaders."""
    trainer = make_trainer(streams(splits), splits)
    train(trainer)
    return trainer


def assert_same(first: Trainer, second: Trainer) -> None:
    assert untimed(first.history) == untimed(second.history)
    assert equal_states(first.model.state_dict(), second.model.state_dict())
    assert equal_states(first.method.state_dict(), second.method.state_dict())


@pytest.mark.parametrize("source", ["tensors", "streams"])
@pytest.mark.parametrize("batch", [1, BATCHES, 3 * BATCHES + 2])
def test_interrupted_after_any_batch_a_run_goes_on_from_there_to_the_bit(
    batch: int, source: str, splits: Splits, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = splits if source == "tensors" else streams(splits)
    whole = request.getfixturevalue("undisturbed" if source == "tensors" else "undisturbed_streams")
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(data, splits, EndAt(batch, interrupt), checkpoint=file))
    torch.manual_seed(1234)  # what another process has drawn before
    messages = Messages()
    continued = make_trainer(data, splits, messages, checkpoint=file)
    continued.resume()
    epoch, within = divmod(batch - 1, BATCHES)
    assert messages.texts == [f"going on after epoch {epoch} and {within + 1} batches of the next"]
    train(continued)
    assert_same(continued, whole)


@pytest.mark.parametrize("values", [{"mgda_ub": False}, {"mgda_ub": True}], ids=str)
def test_sums_over_an_epoch_go_on_where_it_was_left(values: dict[str, bool], splits: Splits, tmp_path: Path) -> None:
    def trainer(observer: Observer | None = None, checkpoint: Path | None = None) -> Trainer:
        parameters, network = short(method="MGDA", w=(0.0, 1.0, 1.0), num_epochs=1, **values), make_network(splits)
        method = make_method(network, parameters, CPU)
        return Trainer(network, method, splits, parameters, observer=observer, checkpoint=checkpoint)

    whole, file = trainer(), tmp_path / "checkpoint.pt"
    train(whole)
    assert all(record.details["direction_norm"] > 0 for record in whole.history)
    with pytest.raises(KeyboardInterrupt):
        train(trainer(EndAt(BATCHES + 4, interrupt), file))
    continued = trainer(checkpoint=file)
    continued.resume()
    train(continued)
    assert_same(continued, whole)


@pytest.mark.parametrize(("batch", "kept"), [(2, None), (5, 4), (BATCHES + 3, BATCHES + 2), (BATCHES + 1, BATCHES)])
def test_checkpoints_within_an_epoch_are_gone_on_from_to_the_bit(
    batch: int, kept: int | None, splits: Splits, tmp_path: Path, undisturbed: Trainer
) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):  # without a checkpoint of the last batch, as when it is killed
        train(make_trainer(splits, splits, EndAt(batch, break_off), every=2, checkpoint=file))
    continued = make_trainer(splits, splits, checkpoint=file)
    continued.resume()
    assert file.exists() == (kept is not None)
    if kept is not None:
        content = read_torch(file)
        inside = content["inside"]["batch"] if content["inside"] else 0
        assert content["epochs_done"] * BATCHES + inside == kept
    train(continued)
    assert_same(continued, undisturbed)


def test_a_checkpoint_within_an_epoch_keeps_the_time_it_took(splits: Splits, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(splits, splits, EndAt(2, interrupt), checkpoint=file))
    content = read_torch(file)
    assert content["inside"]["seconds"] > 0
    content["inside"]["seconds"] = 1000.0
    torch.save(content, file)
    continued = make_trainer(splits, splits, checkpoint=file)
    continued.resume()
    assert continued.seconds == 1000
    train(continued)
    assert continued.history[0].seconds > 1000
    assert continued.history[1].seconds < 1000


def damage(file: Path) -> None:
    """Cut a file in half, as another file: the one before may be a link to it."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


def test_a_damaged_checkpoint_does_not_replace_the_good_one_before_it(
    splits: Splits, tmp_path: Path, undisturbed: Trainer
) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(splits, splits, EndAt(2 * BATCHES + 1, break_off), checkpoint=file))
    damage(file)
    continued = make_trainer(splits, splits, checkpoint=file)
    continued.resume()
    continued.observer = EndAt(BATCHES, break_off)  # killed once more, before it has written anything
    with pytest.raises(KeyboardInterrupt):
        train(continued)
    once_more = make_trainer(splits, splits, checkpoint=file)
    once_more.resume()
    assert len(once_more.history) == 1
    once_more.observer = EndAt(BATCHES + 1, break_off)  # and after it has
    with pytest.raises(KeyboardInterrupt):
        train(once_more)
    assert len(read_torch(file_before(file))["members"][0]["history"]) == 1
    damage(file)
    last = make_trainer(splits, splits, checkpoint=file)
    last.resume()
    train(last)
    assert_same(last, undisturbed)


def test_without_the_checkpoint_the_one_before_it_is_used(splits: Splits, tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(splits, splits, EndAt(2 * BATCHES + 1, break_off), checkpoint=file))
    file.unlink()
    continued = make_trainer(splits, splits, checkpoint=file)
    continued.resume()
    assert len(continued.history) == 1


MOMENTS = {
    "before the one before is linked": ("link", 1),
    "before that link takes its place": ("replace", 2),
    "before it is flushed": ("fsync", 3),
    "before its folder is flushed": ("fsync", 4),
    "before it takes its place": ("replace", 3),
}
"""Calls in the writing of the second checkpoint; each checkpoint is flushed, put in place, and its folder flushed."""


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_moment_of_writing_a_checkpoint_the_run_goes_on(
    moment: str, splits: Splits, tmp_path: Path, undisturbed: Trainer
) -> None:
    call, count = MOMENTS[moment]
    code = f"""
import os, signal, sys
from pathlib import Path
import tests.test_interruptions as here
from Data_loaders.loaders import make_splits
from Data_loaders.MultiMnist import load_multidigits
from tests.conftest import CPU, first_images

left, original = [{count}], os.{call}

def last(*arguments, **options):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

os.{call} = last
splits = make_splits(first_images(load_multidigits(Path("nowhere"), 0, print), 360, 100), CPU)
here.train(here.make_trainer(splits, splits, checkpoint=Path(sys.argv[1])))
"""
    file = tmp_path / "checkpoint.pt"
    killed = subprocess.run([sys.executable, "-c", code, str(file)], cwd=ROOT, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    continued = make_trainer(splits, splits, checkpoint=file)
    continued.resume()
    assert len(continued.history) in (1, 2)
    train(continued)
    assert_same(continued, undisturbed)


def test_a_folder_renamed_during_a_run_is_no_second_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def renaming(self: CheckpointFile, checkpoint: Any) -> None:
        if checkpoint.epochs_done == 2:
            self.path.parent.rename(tmp_path / "renamed")
        original(self, checkpoint)

    original = CheckpointFile.write
    words = ("--demo", "--output-dir", str(tmp_path / "out"), "--quiet", *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFile, "write", renaming)
        assert run(patch, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is gone: it was renamed or removed while this run wrote to it" in line
    assert list((tmp_path / "out" / "logs").glob("*/*")) == []
    assert run(monkeypatch, "--resume", str(tmp_path / "renamed"), "--quiet") == 0
    assert (tmp_path / "renamed" / "results.json").exists()


def test_a_fall_back_is_said_where_a_user_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ending(self: CheckpointFile, checkpoint: Any) -> None:
        original(self, checkpoint)
        if checkpoint.epochs_done == 2:
            raise KeyboardInterrupt

    original = CheckpointFile.write
    words = ("--demo", "--output-dir", str(tmp_path), *SHORT)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFile, "write", ending)
        assert run(patch, *words) == 130
    damage(only(tmp_path, "logs/*/*/checkpoint.pt"))
    capsys.readouterr()
    assert run(monkeypatch, *words) == 0
    said = "".join(capsys.readouterr())
    assert "going on from the checkpoint before it" in said
    assert "going on after epoch 1\n" in said


@pytest.mark.slow
def test_a_clock_that_jumps_changes_nothing_but_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Jumping(datetime.datetime):
        """Every look at the clock is a day before the last one."""

        looks = 0

        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Jumping:
            cls.looks += 1
            return cls(2030, 1, 1) - datetime.timedelta(days=cls.looks)

    words = ("--quiet", *SHORT)
    assert run(monkeypatch, "--demo", "--output-dir", str(tmp_path / "steady"), *words) == 0
    with monkeypatch.context() as patch:
        patch.setattr(run_config, "datetime", Jumping)
        patch.setattr(time, "time", lambda: -1e9 * Jumping.looks)
        assert run(patch, "--demo", "--output-dir", str(tmp_path / "jumping"), *words) == 0
    assert Jumping.looks > 0
    assert results_of(tmp_path / "jumping") == results_of(tmp_path / "steady")


@pytest.mark.slow
def test_without_display_terminal_and_standard_streams_a_run_leaves_all_its_files(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"DISPLAY", "TERM", "HOME"}}
    flags = ["--demo", "--output-dir", str(tmp_path), *SHORT]
    done = subprocess.run(
        [sys.executable, "Example_MDMTN_MM_withSparsity.py", *flags],
        cwd=ROOT,
        env={**environment, "MPLBACKEND": "QtAgg"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert done.returncode == 0
    assert len(list(tmp_path.glob("logs/*/*/*.png"))) >= 4


def test_sigterm_ends_after_the_batch_with_all_of_it_kept(splits: Splits, tmp_path: Path) -> None:
    def work() -> None:
        train(make_trainer(splits, splits, EndAt(3, lambda: signal.raise_signal(signal.SIGTERM)), checkpoint=file))

    file = tmp_path / "checkpoint.pt"
    assert exit_code(work) == TERMINATED
    assert read_torch(file)["inside"]["batch"] == 3
    assert issubclass(Terminated, KeyboardInterrupt)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.update(epochs_done=-1),
        lambda content: content.update(phase=3),
        lambda content: content.pop("inside"),
        lambda content: content["optimizer"]["param_groups"].pop(),
        lambda content: content["optimizer"]["state"][0].pop("exp_avg"),
        lambda content: content["optimizer"]["state"][0].update(exp_avg=torch.zeros(3)),
        lambda content: content["members"][0]["history"][0].update(lr="fast"),
        lambda content: content["members"][0]["best"]["model"].pop("alphas"),
        lambda content: next(iter(content["members"][0]["model"].values())).fill_(float("nan")),
        lambda content: content["members"].append(content["members"][0]),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_before_any_work(
    change: Callable[[Any], Any], splits: Splits, tmp_path: Path
) -> None:
    file = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        train(make_trainer(splits, splits, EndAt(BATCHES + 1, break_off), checkpoint=file))
    content = read_torch(file)
    change(content)
    torch.save(content, file)
    trainer = make_trainer(splits, splits, checkpoint=file)
    with pytest.raises(UserError, match="of another version, network or method: start anew") as error:
        trainer.resume()
    one_line(error)
    assert trainer.history == []
