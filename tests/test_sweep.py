"""Many trainings: continued, side by side, with failures and dead workers, and what is built on them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from Data_loaders.datasets import MultiTaskDataset
from src.models.registry import load_model
from src.utils.errors import UserError
from src.utils.files import write_torch
from src.utils.study.preference_vectors import two_task_family
from src.utils.study.repeat import repeat
from src.utils.study.search import search
from src.utils.study.sweep import Point, SweepObserver, SweepOutcome, Trial, Workers, fingerprint, read_point, run_sweep
from src.utils.study.teachers import train_teachers
from src.utils.training.engine import Observer
from src.utils.training.run import RunConfig, run_name, start_or_go_on, start_run
from tests.conftest import short

IN_TURN, TWO = Workers(), Workers(jobs=2)
TINY = short(w=(0.0, 0.4, 0.6), num_batchEpoch=3, max_iter=2, num_epochs=1)


class Listener(SweepObserver):
    """Writes everything down."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.ended: list[str] = []
        self.messages: list[str] = []

    def progress(self, epochs: int, total: int) -> None:
        self.epochs.append(epochs)
        self.total = total

    def trial_ends(self, number: int, trials: int, trial: Trial, point: Point) -> None:
        self.ended.append(trial.name)

    def message(self, text: str) -> None:
        self.messages.append(text)


def config_in(folder: Path, **values: object) -> RunConfig:
    return RunConfig(
        **{"script": "sweep", "architecture": "HPS", "dataset": "MultiDigits", "output_dir": str(folder), **values}  # type: ignore[arg-type]
    )


def trials_in(folder: Path, count: int = 3) -> list[Trial]:
    shares = [round((number + 1) / (count + 1), 3) for number in range(count)]
    return [Trial(f"k{s:g}", config_in(folder), TINY.changed(w=(0.0, s, round(1 - s, 3)))) for s in shares]


def figures(outcome: SweepOutcome) -> dict[str, Point]:
    """Points without the folder they are in."""
    return {name: replace(point, folder=Path()) for name, point in outcome.points.items()}


def test_side_by_side_gives_the_figures_of_one_after_the_other(tmp_path: Path) -> None:
    first, second = Listener(), Listener()
    in_turn = run_sweep(tmp_path / "one", trials_in(tmp_path), IN_TURN, first)
    together = run_sweep(tmp_path / "two", trials_in(tmp_path), TWO, second)
    assert figures(in_turn) == figures(together)
    assert len(set(figures(in_turn).values())) == 3
    for listener in (first, second):
        assert sorted(listener.ended) == ["k0.25", "k0.5", "k0.75"]
        assert listener.epochs[-1] == listener.total == 6
        assert listener.epochs == sorted(listener.epochs)


def test_figures_do_not_depend_on_the_threads_of_this_process(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        two = run_sweep(tmp_path / "two", trials_in(tmp_path, 1), IN_TURN, SweepObserver())
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert figures(two) == figures(run_sweep(tmp_path / "one", trials_in(tmp_path, 1), IN_TURN, SweepObserver()))


def test_what_is_finished_is_not_trained_again(tmp_path: Path) -> None:
    trials = trials_in(tmp_path)
    run_sweep(tmp_path / "sweep", trials[:2], IN_TURN, SweepObserver())
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("results.json")}
    outcome = run_sweep(tmp_path / "sweep", trials, IN_TURN, SweepObserver())
    assert len(outcome.points) == 3
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())


class _Stop(Observer):
    """Interrupts after the first epoch."""

    def epoch_ends(self, record: object) -> None:
        raise KeyboardInterrupt


def test_an_interrupted_trial_goes_on_from_its_last_epoch(tmp_path: Path) -> None:
    (trial,) = trials_in(tmp_path, 1)
    whole = run_sweep(tmp_path / "whole", [trial], IN_TURN, SweepObserver())
    files = trial.files(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        start_run(trial.config, trial.parameters, _Stop(), files=files)
    assert files.checkpoint.exists()
    parts = run_sweep(tmp_path / "parts", [trial], IN_TURN, SweepObserver())
    assert figures(whole) == figures(parts)
    files.results.unlink()
    files.checkpoint.write_bytes(b"of another version")
    assert figures(whole) == figures(run_sweep(tmp_path / "parts", [trial], IN_TURN, SweepObserver()))


@pytest.mark.parametrize("workers", [IN_TURN, TWO], ids=["in turn", "two jobs"])
def test_a_trial_that_fails_takes_no_other_down(workers: Workers, tmp_path: Path) -> None:
    good = trials_in(tmp_path, 2)
    bad = Trial("bad", good[0].config, good[0].parameters.changed(lr=1e30))
    odd = Trial("odd", replace(good[0].config, model=str(tmp_path)), good[0].parameters.changed(Sparsity_study=False))
    outcome = run_sweep(tmp_path / "sweep", [bad, good[0], odd, good[1]], workers, SweepObserver())
    assert list(outcome.points) == [trial.name for trial in good]
    reasons = {failure.trial.name: failure.reason for failure in outcome.failures}
    assert "training diverged" in reasons["bad"]
    assert str(tmp_path) in reasons["odd"]


@dataclass(frozen=True, kw_only=True)
class Deadly(RunConfig):
    """Kills its process the first times it is asked for a device."""

    deaths: int = 1

    def torch_device(self) -> torch.device:
        marks = Path(self.output_dir or "") / "marks"
        marks.mkdir(exist_ok=True)
        if len(list(marks.iterdir())) < self.deaths:
            (marks / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return torch.device("cpu")

    def __reduce__(self) -> tuple[object, ...]:
        return _deadly, (self.output_dir, self.deaths)


def _deadly(output_dir: str, deaths: int) -> Deadly:
    return Deadly(script="sweep", architecture="HPS", dataset="MultiDigits", output_dir=output_dir, deaths=deaths)


@pytest.mark.parametrize("deaths", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_trial_whose_worker_dies_is_tried_once_more(deaths: int, tmp_path: Path) -> None:
    trials = trials_in(tmp_path)
    deadly = Trial("deadly", _deadly(str(tmp_path), deaths), TINY)
    listener = Listener()
    outcome = run_sweep(tmp_path / "sweep", [trials[0], deadly, *trials[1:]], TWO, listener)
    assert any("a worker died; tried again" in text and "deadly" in text for text in listener.messages)
    assert {trial.name for trial in trials} <= set(outcome.points)
    assert ("deadly" in outcome.points) == (deaths == 1)
    assert [failure.trial.name for failure in outcome.failures] == (["deadly"] if deaths == 2 else [])
    assert deaths == 1 or "died 2 times" in outcome.failures[0].reason


@pytest.fixture
def cluster() -> Iterator[str]:
    """Address of a Dask cluster of two worker processes on this machine."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local.scheduler_address


@dataclass(frozen=True, kw_only=True)
class Traced(RunConfig):
    """Notes the process that asks for a device."""

    def torch_device(self) -> torch.device:
        (Path(self.output_dir or "") / f"process{os.getpid()}").touch()
        return torch.device("cpu")


def test_a_dask_cluster_does_the_work_and_gives_the_same_figures(tmp_path: Path, cluster: str) -> None:
    trials = [replace(trial, config=Traced(**asdict(trial.config))) for trial in trials_in(tmp_path)]
    dask = run_sweep(tmp_path / "dask", trials, Workers(dask=cluster), SweepObserver())
    processes = {path.name for path in tmp_path.glob("process*")}
    assert len(processes) == 2
    assert f"process{os.getpid()}" not in processes
    assert figures(dask) == figures(run_sweep(tmp_path / "one", trials_in(tmp_path), IN_TURN, SweepObserver()))


def test_a_trial_that_kills_every_dask_worker_takes_no_other_down(tmp_path: Path, cluster: str) -> None:
    trials = trials_in(tmp_path, 2)
    deadly = Trial("deadly", _deadly(str(tmp_path), deaths=9), TINY)
    outcome = run_sweep(tmp_path / "sweep", [trials[0], deadly, trials[1]], Workers(dask=cluster), SweepObserver())
    assert list(outcome.points) == [trial.name for trial in trials]
    assert [(failure.trial.name, failure.reason) for failure in outcome.failures] == [
        ("deadly", "its worker died 2 times")
    ]


def test_the_same_command_goes_on_with_an_interrupted_run(tmp_path: Path) -> None:
    whole = start_run(config_in(tmp_path / "whole"), TINY, Observer())
    config, folders = config_in(tmp_path / "parts"), tmp_path / "parts" / "logs" / "sweep"
    with pytest.raises(KeyboardInterrupt):
        start_or_go_on(config, TINY, _Stop())
    assert not list(folders.glob("*/results.json"))
    parts = start_or_go_on(config, TINY, Observer())
    assert parts.results.validation_losses == whole.results.validation_losses
    assert len(list(folders.iterdir())) == 1
    with pytest.raises(KeyboardInterrupt):
        start_or_go_on(config, TINY, _Stop())
    (checkpoint,) = folders.glob("*/checkpoint.pt")
    with FileLock(checkpoint.with_name(".lock")):  # another process has it in hand
        start_or_go_on(config, TINY, Observer())
    assert len(list(folders.iterdir())) == 3
    checkpoint.write_bytes(b"half a checkpoint")
    start_or_go_on(config, TINY, Observer())
    assert len(list(folders.glob("*/results.json"))) == 3
    assert len(list(folders.iterdir())) == 4


def test_an_interrupted_trial_goes_on_in_another_place(tmp_path: Path) -> None:
    (trial,) = trials_in(tmp_path / "old", 1)
    whole = run_sweep(tmp_path / "whole", [trial], IN_TURN, SweepObserver())
    with pytest.raises(KeyboardInterrupt):
        start_run(trial.config, trial.parameters, _Stop(), files=trial.files(tmp_path / "sweep"))
    (tmp_path / "sweep").rename(tmp_path / "moved")
    moved = replace(trial, config=replace(trial.config, data_dir=str(tmp_path / "data"), output_dir=str(tmp_path)))
    outcome = run_sweep(tmp_path / "moved", [moved], IN_TURN, SweepObserver())
    assert figures(whole) == figures(outcome)
    assert not (tmp_path / "sweep").exists()
    assert (tmp_path / "moved" / trial.name / "model.pth").exists()


def test_bad_workers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="jobs is 0; allowed: 1 or more"):
        Workers(jobs=0)
    with pytest.raises(UserError, match="dask is 'nowhere'; allowed: the address of a scheduler"):
        Workers(dask="nowhere")


def test_a_damaged_results_file_is_named(tmp_path: Path) -> None:
    (trial,) = trials_in(tmp_path, 1)
    run_sweep(tmp_path / "sweep", [trial], IN_TURN, SweepObserver())
    trial.files(tmp_path / "sweep").results.write_text("{")
    with pytest.raises(UserError, match=r"results.json is damaged: delete .*k0.5"):
        read_point(trial.files(tmp_path / "sweep").folder)


def write_model(path: Path, value: float, seconds: float) -> None:
    """A model file of one weight, with a time beside it."""
    write_torch(path, {"architecture": {"name": "HPS"}, "state_dict": {"w": torch.tensor([value])}, "seconds": seconds})


def test_fingerprint_changes_with_parameters_and_models_but_not_with_places(
    tmp_path: Path, digits: MultiTaskDataset
) -> None:
    model = tmp_path / "model.pth"
    write_model(model, 1.0, seconds=3.0)
    config = config_in(tmp_path, model=str(model))
    same = fingerprint(config, TINY, digits)
    assert same == fingerprint(replace(config, output_dir="elsewhere"), TINY.changed(w=(0.1, 0.2, 0.7)), digits)
    assert same != fingerprint(config, TINY.changed(lr=0.1), digits)
    assert same != fingerprint(replace(config, seed=1), TINY, digits)
    write_model(tmp_path / "copy.pth", 1.0, seconds=4.0)
    assert same == fingerprint(replace(config, model=str(tmp_path / "copy.pth")), TINY, digits)
    other = replace(digits, y_test=digits.y_test[:, ::-1])
    assert same != fingerprint(config, TINY, other)
    write_model(model, 2.0, seconds=3.0)
    assert same != fingerprint(config, TINY, digits)


def test_repetition_r_depends_on_its_seed_only(tmp_path: Path, digits: MultiTaskDataset) -> None:
    many = repeat(config_in(tmp_path), TINY, 3, digits, IN_TURN, SweepObserver())
    later = repeat(config_in(tmp_path / "b", seed=2), TINY, 1, digits, IN_TURN, SweepObserver())
    assert replace(many.points[2], folder=Path()) == replace(later.points[2], folder=Path())
    accuracies = torch.tensor([point.test_accuracy for point in many.points.values()], dtype=torch.float64)
    assert many.mean[:2] == pytest.approx(accuracies.mean(0).tolist())
    assert many.std[:2] == pytest.approx(accuracies.std(0).tolist())
    assert many.mean[2] == pytest.approx(accuracies.mean())
    assert all(path.is_file() for path in many.files)
    assert later.std == [0, 0, 0]
    with pytest.raises(UserError, match="repetitions is 0; allowed: 1 or more"):
        repeat(config_in(tmp_path), TINY, 0, digits, IN_TURN, SweepObserver())


def test_search_takes_any_parameters_and_reports_what_failed(tmp_path: Path, digits: MultiTaskDataset) -> None:
    candidates = [{"lr": 1e-3}, {"lr": 1e30}, {"lr": 1e-2, "w": (0.0, 0.5, 0.5)}]
    outcome = search(config_in(tmp_path), TINY, candidates, digits, IN_TURN, SweepObserver())
    assert [candidate for candidate, _ in outcome.candidates] == [candidates[0], candidates[2]]
    assert outcome.candidates[outcome.best][1].merit == max(point.merit for _, point in outcome.candidates)
    assert [failure.trial.name for failure in outcome.failures] == ["lr1e+30"]
    assert all(path.is_file() for path in outcome.files)
    first = [{"lr": 1e-3}]
    search(config_in(tmp_path), TINY, first, digits, IN_TURN, SweepObserver())
    other = search(config_in(tmp_path), TINY.changed(w=(0.0, 0.1, 0.9)), first, digits, IN_TURN, SweepObserver())
    assert other.candidates[0][1].k == (0.0, 0.1, 0.9)
    with pytest.raises(UserError, match="none of 1 candidates could be trained: training diverged"):
        search(config_in(tmp_path), TINY, [{"lr": 1e30}], digits, IN_TURN, SweepObserver())


def test_vectors_that_differ_in_the_eighth_digit_have_folders_of_their_own(tmp_path: Path) -> None:
    parameters = [TINY.changed(w=k) for k in two_task_family(1e-7)]
    names = {run_name(config_in(tmp_path), run) for run in parameters}
    assert len(names) == len(parameters) == 18
    same = [Trial("k", config_in(tmp_path), TINY)] * 2
    with pytest.raises(ValueError, match="names are not unique"):
        run_sweep(tmp_path, same, IN_TURN, SweepObserver())


def test_teachers_are_trained_once(tmp_path: Path, digits: MultiTaskDataset) -> None:
    parameters = TINY.changed(w=(0.0, 1.0), a=(0.0, 0.0), num_tasks=2)
    listener = Listener()
    first = train_teachers(config_in(tmp_path), parameters, digits, IN_TURN, listener)
    stamps = [Path(path).stat().st_mtime_ns for path in first]
    again = train_teachers(config_in(tmp_path), parameters, digits, IN_TURN, listener)
    assert again == first
    assert [Path(path).stat().st_mtime_ns for path in again] == stamps
    assert len(listener.messages) == 1
    for task, path in enumerate(first):
        assert load_model(Path(path)).results["task"] == task
    wrong = replace(config_in(tmp_path), teachers=(first[1], first[0]))
    student = TINY.changed(method="KDMTL", distillation=(0.1, 0.1))
    with pytest.raises(UserError, match=r"task1.*was trained on MultiDigits, task 1; allowed in this place: .*task 0"):
        start_run(wrong, student, Observer())
