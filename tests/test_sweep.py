"""Many trainings: continued, side by side, with failures and killed processes, and what is built on them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from Data_loaders.datasets import MultiTaskDataset
from src.models.registry import load_model
from src.utils.errors import CheckpointError, InUseError, UserError
from src.utils.files import read_torch, write_torch
from src.utils.runs.config import Run, RunConfig
from src.utils.runs.history import read_history
from src.utils.runs.results import Results, read_results
from src.utils.runs.run import start_or_go_on, train_run
from src.utils.study.preference_vectors import preference_family, two_task_family
from src.utils.study.repeat import repeat, statistics_of
from src.utils.study.search import keep_best, search
from src.utils.study.sweep import Basis, Outcome, Point, SweepObserver, read_outcome, run_sweep
from src.utils.study.teachers import train_teachers
from src.utils.study.trials import Candidate, DataFacts, Trial, fingerprint, trials_of
from src.utils.study.worker import STOP
from src.utils.study.workers import Failure, Workers
from src.utils.training.engine import Trainer
from src.utils.training.records import EpochRecord, Observer
from tests.conftest import one_line, short
from tests.processes import (
    FIRST,
    SECOND,
    SECONDS,
    be_killed,
    break_down,
    script_that,
    train_in_this_process,
    wait_for_another_process,
    wait_for_go,
    wait_until,
)
from tests.test_scripts import run as run_script

ONE, TWO = Workers(), Workers(jobs=2)
TINY = short(w=(0.0, 0.4, 0.6), num_batchEpoch=3, max_iter=2, num_epochs=1)
VECTORS: list[Candidate] = [{"w": (0.0, 0.25, 0.75)}, {"w": (0.0, 0.5, 0.5)}]


class Listener(SweepObserver):
    """Writes everything down."""

    def __init__(self) -> None:
        self.epochs: list[int] = []
        self.total = 0
        self.ended: list[str] = []
        self.messages: list[str] = []

    def progress(self, epochs: int, total: int) -> None:
        self.epochs.append(epochs)
        self.total = total

    def trial_ends(self, number: int, trials: int, name: str, results: Results) -> None:
        self.ended.append(name)

    def message(self, text: str) -> None:
        self.messages.append(text)


class CtrlC(Listener):
    """Interrupts the sweep, once, when so many epochs are done."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self.left = epochs
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it

    def progress(self, epochs: int, total: int) -> None:
        super().progress(epochs, total)
        if epochs == self.left:
            self.left = -1
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)


class Stop(Observer):
    """Interrupts a training after its first epoch."""

    def epoch_ends(self, record: EpochRecord) -> None:
        raise KeyboardInterrupt


def config_in(folder: Path, **values: Any) -> RunConfig:
    return RunConfig(
        **{"script": "sweep", "architecture": "HPS", "dataset": "MultiDigits", "output_dir": str(folder), **values}
    )


def basis_in(
    folder: Path, data: DataFacts, workers: Workers = ONE, observer: SweepObserver | None = None, **values: Any
) -> Basis:
    return Basis(config_in(folder, **values), TINY, data, workers, observer or SweepObserver())


def sweep(basis: Basis, count: int = 2) -> Outcome:
    """A search over the first of the vectors above."""
    return search(basis, VECTORS[:count])


def folder_of(basis: Basis, count: int = 2) -> Path:
    """Where that search puts its files."""
    return basis.config.logs / f"search_HPS_MultiDigits_{fingerprint(basis.trials(VECTORS[:count]), basis.data)}"


def figures(results: Results) -> Results:
    """Results without what may differ: times, the folder they are in, and the script."""
    return replace(results, folder=Path(), script="", seconds={})


def all_figures(outcome: Outcome) -> dict[str, Results]:
    return {results.folder.name: figures(results) for results in outcome.results}


def times(folder: Path) -> list[float]:
    """Seconds of all epochs of a run: no two trainings have the same."""
    return [record.seconds for record in read_history(folder / "history.csv")]


def interrupt_first(trial: Trial, folder: Path) -> Run:
    """Leave a trial of a sweep as an interruption after its first epoch leaves it."""
    run = Run.among_many(trial.config, trial.parameters, folder / trial.name)
    with pytest.raises(KeyboardInterrupt):
        train_run(run, Stop())
    assert (run.folder / "checkpoint.pt").exists()
    return run


def nobody_trains(folder: Path) -> bool:
    """Whether every run of the sweep can be had at once."""
    for lock in folder.glob("*/.lock"):
        with FileLock(lock, timeout=0):
            pass
    return True


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Results]:
    """Figures of the trials, trained in this process with one thread."""
    folder = tmp_path_factory.mktemp("undisturbed")
    runs = [
        Run.among_many(trial.config, trial.parameters, folder / trial.name)
        for trial in trials_of(config_in(folder), TINY, VECTORS)
    ]
    assert torch.get_num_threads() == 1
    return {run.name: figures(train_run(run, Observer())) for run in runs}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, digits: MultiTaskDataset) -> tuple[Basis, Outcome, Listener]:
    """A sweep of two processes side by side, each of which could have four threads."""
    listener = Listener()
    basis = basis_in(tmp_path_factory.mktemp("swept"), digits, TWO, listener)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "4")
        return basis, sweep(basis), listener


def test_processes_side_by_side_give_the_figures_of_one_with_one_thread(
    swept: tuple[Basis, Outcome, Listener], undisturbed: dict[str, Results]
) -> None:
    _, outcome, listener = swept
    assert list(all_figures(outcome).items()) == list(undisturbed.items())
    assert undisturbed[FIRST].validation_losses != undisturbed[SECOND].validation_losses
    assert outcome.failures == ()
    assert sorted(listener.ended) == [FIRST, SECOND]
    assert listener.epochs[-1] == listener.total == 4
    assert listener.epochs == sorted(listener.epochs)
    assert listener.messages == [f"2 trainings start in {outcome.folder}"]


def test_trials_draw_nothing_and_leave_nothing_half_done(swept: tuple[Basis, Outcome, Listener]) -> None:
    _, outcome, _ = swept
    for results in outcome.results:
        left = {path.name for path in results.folder.iterdir()}
        assert left == {"run.json", "history.csv", "results.json", "model.pth", "output.txt"}
        assert (results.folder / "output.txt").read_text() == ""


def test_what_is_finished_is_not_trained_again(swept: tuple[Basis, Outcome, Listener]) -> None:
    basis, outcome, _ = swept
    stamps = {path: path.stat().st_mtime_ns for path in outcome.folder.glob("*/*")}
    listener = Listener()
    again = sweep(replace(basis, workers=Workers(script=Path("nowhere.py")), observer=listener))
    assert again == outcome == read_outcome(outcome.folder)
    assert stamps == {path: path.stat().st_mtime_ns for path in outcome.folder.glob("*/*")}
    assert listener.messages == [f"going on in {outcome.folder}: 2 of 2 trainings are done"]


def test_a_sweep_with_other_parameters_says_why_it_starts_anew(
    tmp_path: Path, swept: tuple[Basis, Outcome, Listener]
) -> None:
    basis, outcome, _ = swept
    shutil.copytree(outcome.folder, tmp_path / "logs" / outcome.folder.name)
    listener = Listener()
    other = replace(
        basis_in(tmp_path, basis.data, Workers(script=Path("nowhere.py")), listener), parameters=TINY.changed(lr=0.1)
    )
    with pytest.raises(UserError, match=r"none of 2 trainings could be finished: .*nowhere.py"):
        sweep(other)
    assert listener.messages[0] == (
        f"2 trainings start in {folder_of(other)}, since parameters, data or models differ from those of "
        f"{outcome.folder.name}"
    )


def test_a_damaged_results_file_is_named(tmp_path: Path, swept: tuple[Basis, Outcome, Listener]) -> None:
    basis, outcome, _ = swept
    moved = basis_in(tmp_path, basis.data)
    folder = folder_of(moved)
    shutil.copytree(outcome.folder, folder)
    (folder / SECOND / "results.json").write_text("{")
    for read in (lambda: read_outcome(folder), lambda: sweep(moved)):
        with pytest.raises(UserError, match=rf"{SECOND}/results.json is damaged .*: delete .*{SECOND} and start again"):
            read()
    with pytest.raises(UserError, match=r"holds no sweep of this version \(no readable sweep.json\)"):
        read_outcome(tmp_path)


def test_an_interrupted_trial_goes_on_from_its_last_epoch_in_another_place(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results]
) -> None:
    old, new = basis_in(tmp_path / "old", digits), basis_in(tmp_path / "new", digits, data_dir=str(tmp_path / "data"))
    (trial,) = old.trials(VECTORS[:1])
    (first,) = times(interrupt_first(trial, folder_of(old, 1)).folder)
    (tmp_path / "old").rename(tmp_path / "new")
    outcome = sweep(new, 1)
    assert all_figures(outcome) == {FIRST: undisturbed[FIRST]}
    assert times(outcome.results[0].folder)[0] == first
    assert outcome.results[0].folder == tmp_path / "new" / "logs" / outcome.folder.name / FIRST
    assert not (tmp_path / "old").exists()


def damage(checkpoint: Path) -> None:
    checkpoint.write_bytes(b"half a checkpoint")


def change_network(checkpoint: Path) -> None:
    content = read_torch(checkpoint)
    content["members"][0]["model"] = {"another": torch.zeros(1)}
    write_torch(checkpoint, content)


def change_method(checkpoint: Path) -> None:
    content = read_torch(checkpoint)
    content["members"][0]["method"] = {"another": torch.zeros(1)}
    write_torch(checkpoint, content)


@pytest.mark.parametrize("spoil", [damage, change_network, change_method])
def test_a_trial_whose_checkpoint_cannot_be_read_is_started_anew(
    spoil: Callable[[Path], None], tmp_path: Path, undisturbed: dict[str, Results]
) -> None:
    (trial,) = trials_of(config_in(tmp_path), TINY, VECTORS[:1])
    run = interrupt_first(trial, tmp_path)
    spoil(run.folder / "checkpoint.pt")
    with pytest.raises(CheckpointError):
        train_run(run, Observer())
    assert figures(train_run(run, Observer(), among_many=True)) == undisturbed[FIRST]
    assert [record.epoch for record in read_history(run.folder / "history.csv")] == [1, 2]


def test_a_trial_that_fails_concerns_no_other_and_is_tried_by_the_next_command(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results]
) -> None:
    basis = basis_in(tmp_path, digits, replace(TWO, script=script_that(tmp_path, break_down)))
    outcome = sweep(basis)
    assert all_figures(outcome) == {SECOND: undisturbed[SECOND]}
    output = outcome.folder / FIRST / "output.txt"
    assert outcome.failures == (Failure(FIRST, f"RuntimeError: odd (see {output})"),)
    assert "Traceback" in output.read_text()
    assert read_outcome(outcome.folder) == outcome
    listener = Listener()
    again = sweep(replace(basis, workers=TWO, observer=listener))
    assert listener.messages == [f"going on in {outcome.folder}: 1 of 2 trainings are done"]
    assert all_figures(again) == undisturbed
    assert again.failures == ()


def test_a_trial_whose_process_is_killed_is_tried_once_more(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results]
) -> None:
    listener = Listener()
    outcome = sweep(basis_in(tmp_path, digits, replace(TWO, script=script_that(tmp_path, be_killed)), listener))
    assert all_figures(outcome) == {FIRST: undisturbed[FIRST]}
    assert outcome.failures == (Failure(SECOND, "its process was killed by signal 9, 2 times"),)
    assert [len(list((outcome.folder / name).glob("trained*"))) for name in undisturbed] == [2, 2]
    retried = [text for text in listener.messages if "tried again" in text]
    assert sorted(retried) == [f"{name}: its process was killed by signal 9; tried again" for name in (FIRST, SECOND)]


def test_an_interrupted_sweep_ends_its_processes_and_goes_on(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results]
) -> None:
    ctrl_c = CtrlC(epochs=2)
    basis = basis_in(tmp_path, digits, replace(TWO, script=script_that(tmp_path, wait_for_go)), ctrl_c)
    folder = folder_of(basis)
    with pytest.raises(KeyboardInterrupt):
        sweep(basis)
    assert ctrl_c.messages[-1] == "interrupted; the same command goes on from here"
    assert nobody_trains(folder)
    assert (folder / STOP).exists()
    assert not list(folder.glob("*/results.json"))
    before = {checkpoint.parent: times(checkpoint.parent) for checkpoint in folder.glob("*/checkpoint.pt")}
    assert [len(epochs) for epochs in before.values()] == [1, 1]
    outcome = sweep(replace(basis, workers=TWO, observer=SweepObserver()))
    assert all_figures(outcome) == undisturbed
    assert all(times(run)[:1] == epochs for run, epochs in before.items())


def test_processes_end_with_the_command_that_started_them_however_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"architecture": "HPS", "dataset": "MultiDigits", "k0": 0, "resolution": 3, "jobs": 2}
    training = {name: getattr(TINY, name) for name in ("num_batchEpoch", "max_iter", "num_epochs", "batch_size")}
    given = {**options, **training, "output_dir": tmp_path}
    flags = ["search", *(part for name, value in given.items() for part in (f"--{name}", str(value)))]
    script = script_that(tmp_path, wait_for_go)
    started = subprocess.Popen([sys.executable, str(script), *flags], stdout=subprocess.DEVNULL)
    wait_until(lambda: len(list(tmp_path.glob("logs/search_*/*/history.csv"))) == 2)
    started.kill()
    started.wait()
    (folder,) = tmp_path.glob("logs/search_*")
    locks = list(folder.glob("*/.lock"))
    assert len(locks) == 2
    for lock in locks:
        with FileLock(lock, timeout=SECONDS):  # no process has the run in hand any more
            assert not (lock.parent / "results.json").exists()
    before = {lock.parent: times(lock.parent) for lock in locks}
    assert run_script(monkeypatch, "Train_and_Test.py", *flags) == 0
    outcome = read_outcome(folder)
    assert [results.k for results in outcome.results] == preference_family(0.0, 2, 3)
    for results in outcome.results:
        assert times(results.folder)[:1] == before[results.folder]
        parameters = Run.read(results.folder).parameters
        alone = Run.among_many(config_in(tmp_path), parameters, tmp_path / "alone" / results.folder.name)
        assert figures(train_run(alone, Observer())) == figures(results)


def ignore_interruptions() -> None:
    """As a shell does for what it starts in the background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def test_a_process_of_a_sweep_ends_when_its_standard_input_does(tmp_path: Path) -> None:
    (trial,) = trials_of(config_in(tmp_path), TINY, VECTORS[:1])
    run = Run.among_many(trial.config, trial.parameters, tmp_path / "sweep" / trial.name)
    run.save()
    command = [sys.executable, str(script_that(tmp_path, wait_for_go)), "--resume", str(run.folder), "--worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, preexec_fn=ignore_interruptions) as process:
        assert process.stdin is not None
        wait_until((run.folder / "history.csv").exists)
        assert process.poll() is None
        process.stdin.close()
        try:
            assert process.wait(SECONDS / 6) == 130
        finally:
            process.kill()
    assert (run.folder / "checkpoint.pt").exists()
    assert not run.finished


def test_two_commands_on_one_sweep_share_the_work(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results]
) -> None:
    basis = basis_in(tmp_path, digits, replace(ONE, script=script_that(tmp_path, wait_for_another_process)))
    with ThreadPoolExecutor(2) as both:
        outcomes = list(both.map(sweep, [basis, basis], [1, 1]))
    for outcome in outcomes:
        assert all_figures(outcome) == {FIRST: undisturbed[FIRST]}
        assert outcome.failures == ()
    folder = outcomes[0].folder / FIRST
    assert len(list(folder.glob("started*"))) == 2
    assert len(list(folder.glob("trained*"))) == 1


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A Dask cluster of two worker processes on this machine."""
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local:
        yield local


def test_a_dask_cluster_gives_the_same_figures_in_processes_of_their_own(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results], cluster: Any
) -> None:
    workers = Workers(dask=cluster.scheduler_address, script=script_that(tmp_path, be_killed))
    listener = Listener()
    outcome = sweep(basis_in(tmp_path, digits, workers, listener), 1)
    assert all_figures(outcome) == {FIRST: undisturbed[FIRST]}
    assert listener.messages[1:] == [f"{FIRST}: its process was killed by signal 9; tried again"]
    marks = [path.name.removeprefix("trained").split("by") for path in outcome.folder.glob("*/trained*")]
    trained, starters = {int(process) for process, _ in marks}, {int(starter) for _, starter in marks}
    dask_workers = {nanny.pid for nanny in cluster.workers.values()}
    assert len(trained) == 2
    assert starters <= dask_workers
    assert not trained & {*dask_workers, os.getpid()}


@pytest.mark.slow
def test_a_training_in_the_hands_of_a_killed_dask_worker_is_given_to_another(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results], cluster: Any
) -> None:
    workers = Workers(dask=cluster.scheduler_address, script=script_that(tmp_path, wait_for_go))
    basis = basis_in(tmp_path, digits, workers)
    run = folder_of(basis, 1) / FIRST

    def kill_worker() -> None:
        wait_until((run / "history.csv").exists)
        (mark,) = run.glob("trained*")
        os.kill(int(mark.name.rpartition("by")[2]), signal.SIGKILL)
        wait_until(lambda: len(list(run.glob("started*"))) == 2)
        (run.parent / "go").touch()

    with ThreadPoolExecutor(1) as other:
        killed = other.submit(kill_worker)
        outcome = sweep(basis, 1)
        killed.result()
    assert all_figures(outcome) == {FIRST: undisturbed[FIRST]}


@pytest.mark.slow
def test_a_lost_dask_scheduler_is_named_and_no_training_is_lost(
    tmp_path: Path, digits: MultiTaskDataset, undisturbed: dict[str, Results], cluster: Any
) -> None:
    workers = Workers(dask=cluster.scheduler_address, script=script_that(tmp_path, wait_for_go))
    basis = basis_in(tmp_path, digits, workers)
    run = folder_of(basis, 1) / FIRST

    def close_cluster() -> None:
        wait_until((run / "history.csv").exists)
        cluster.close()

    with ThreadPoolExecutor(1) as other:
        closed = other.submit(close_cluster)
        with pytest.raises(UserError, match=r"the scheduler .* was lost; the same command goes on from here"):
            sweep(basis, 1)
        closed.result()
    (run.parent / "go").touch()
    assert all_figures(sweep(replace(basis, workers=ONE), 1)) == {FIRST: undisturbed[FIRST]}


def test_a_run_in_the_hands_of_another_is_refused_and_not_disturbed(
    tmp_path: Path, undisturbed: dict[str, Results]
) -> None:
    (trial,) = trials_of(config_in(tmp_path), TINY, VECTORS[:1])
    run = Run.among_many(trial.config, trial.parameters, tmp_path / trial.name)

    class Another(Observer):
        """Wants the same run after the first epoch."""

        refused = ""

        def epoch_ends(self, record: EpochRecord) -> None:
            if not self.refused:
                with pytest.raises(InUseError) as error:
                    train_run(run, Observer())
                self.refused = one_line(error)

    another = Another()
    assert figures(train_run(run, another)) == undisturbed[FIRST]
    assert another.refused == f"the run in {run.folder} is in the hands of another process"
    results = read_results(run.folder)
    assert train_run(run, Stop()) == results  # finished: nothing is trained


def test_the_same_command_goes_on_with_an_interrupted_run(tmp_path: Path) -> None:
    whole = train_run(Run.new(config_in(tmp_path / "whole"), TINY), Observer())
    config, folders = config_in(tmp_path / "parts"), tmp_path / "parts" / "logs" / "sweep"
    with pytest.raises(KeyboardInterrupt):
        start_or_go_on(config, TINY, Stop())
    assert not list(folders.glob("*/results.json"))
    parts = start_or_go_on(config, TINY, Observer())
    assert figures(parts) == figures(whole)
    assert len(list(folders.iterdir())) == 1
    with pytest.raises(KeyboardInterrupt):
        start_or_go_on(config, TINY, Stop())
    start_or_go_on(config, TINY.changed(lr=1e-3), Observer())  # of other parameters: a run of its own
    assert len(list(folders.glob("*/results.json"))) == 2
    (checkpoint,) = folders.glob("*/checkpoint.pt")
    with FileLock(checkpoint.with_name(".lock")):  # another process has it in hand
        start_or_go_on(config, TINY, Observer())
    assert len(list(folders.iterdir())) == 4
    checkpoint.write_bytes(b"half a checkpoint")
    start_or_go_on(config, TINY, Observer())
    assert len(list(folders.glob("*/results.json"))) == 4
    assert len(list(folders.iterdir())) == 5


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        ({"jobs": 0}, "jobs is 0; allowed: 1 or more"),
        ({"dask": "nowhere"}, "dask is 'nowhere'; allowed: the address of a scheduler"),
    ],
)
def test_bad_workers_are_refused(workers: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Workers(**workers)


def write_model(path: Path, value: float, seconds: float) -> str:
    """A model file of one weight, with a time beside it."""
    write_torch(path, {"architecture": {"name": "HPS"}, "state_dict": {"w": torch.tensor([value])}, "seconds": seconds})
    return str(path)


def test_fingerprint_changes_with_all_that_results_depend_on_but_not_with_places(
    tmp_path: Path, digits: MultiTaskDataset
) -> None:
    model = write_model(tmp_path / "model.pth", 1.0, seconds=3.0)
    config = config_in(tmp_path, model=model, teachers=(model,))

    def checksum(config: RunConfig = config, data: MultiTaskDataset = digits, **values: Any) -> str:
        return fingerprint(trials_of(config, TINY.changed(**values), VECTORS), data)

    same = checksum()
    copy = write_model(tmp_path / "copy.pth", 1.0, seconds=4.0)
    other = write_model(tmp_path / "other.pth", 2.0, seconds=3.0)
    places: dict[str, Any] = {
        "script": "s",
        "output_dir": "o",
        "data_dir": "d",
        "main_dir": "m",
        "mod_logdir": "l",
        "device": "cpu",
    }
    assert checksum(replace(config, **places)) == same
    assert checksum(replace(config, model=copy)) == same
    assert checksum(replace(config, teachers=(copy,))) == same
    assert checksum(num_model=3) == same
    different = [
        checksum(lr=0.1),
        checksum(replace(config, seed=1)),
        checksum(replace(config, data_seed=1)),
        checksum(replace(config, architecture="MDMTN")),
        checksum(replace(config, model=other)),
        checksum(replace(config, teachers=(other,))),
        checksum(data=replace(digits, y_test=digits.y_test[:, ::-1])),
        fingerprint(trials_of(config, TINY, VECTORS[:1]), digits),
        fingerprint(trials_of(config, TINY, VECTORS[::-1]), digits),
    ]
    assert len({same, *different}) == 1 + len(different)
    with pytest.raises(UserError, match=r"no such file: .*missing\.pth"):
        checksum(replace(config, model="missing.pth"))


@pytest.mark.parametrize(
    ("candidate", "name", "label"),
    [
        ({"w": (1e-7, 0.1, 0.8999999)}, "k1e-07_0.1_0.8999999", "k = (1e-07, 0.1, 0.8999999)"),
        ({"lr": 0.01, "seed": 3}, "lr0.01_seed3", "lr = 0.01, seed = 3"),
        ({"distillation": (0.01, 0.04)}, "distillation0.01_0.04", "distillation = (0.01, 0.04)"),
    ],
)
def test_a_trial_is_named_by_what_sets_it_apart(
    candidate: Mapping[str, Any], name: str, label: str, undisturbed: dict[str, Results], tmp_path: Path
) -> None:
    (trial,) = trials_of(config_in(tmp_path, seed=7), TINY, [candidate])
    assert trial.name == name
    assert Point(candidate, undisturbed[FIRST]).label == label
    changed = {**vars(trial.config), **vars(trial.parameters)}
    assert {**changed, **candidate} == changed
    assert ("seed" in candidate) == (trial.config.seed != 7)


def test_vectors_that_differ_in_the_eighth_digit_have_names_of_their_own(
    tmp_path: Path, digits: MultiTaskDataset
) -> None:
    basis = basis_in(tmp_path, digits)
    trials = basis.trials([{"w": k} for k in two_task_family(1e-7)])
    assert len({trial.name for trial in trials}) == len(trials) == 18
    assert len({Run.new(trial.config, trial.parameters).model_copy for trial in trials}) == 18
    with pytest.raises(ValueError, match="names are not unique"):
        run_sweep("search", "sweep", basis, [trials[0], trials[0]])
    assert not any(tmp_path.iterdir())


def test_repetition_r_depends_on_its_seed_only_and_more_of_them_take_over_what_there_is(
    tmp_path: Path, digits: MultiTaskDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_this_process(monkeypatch)
    first = repeat(basis_in(tmp_path, digits), 1)
    stamp = (first.results[0].folder / "results.json").stat().st_mtime_ns
    both = repeat(basis_in(tmp_path, digits), 2)
    assert both.folder == first.folder
    assert (first.results[0].folder / "results.json").stat().st_mtime_ns == stamp
    alone = Run.among_many(config_in(tmp_path, seed=1), TINY, tmp_path / "alone")
    assert figures(both.results[1]) == figures(train_run(alone, Observer()))
    found = statistics_of(both)
    accuracies = torch.tensor([results.test_accuracy for results in both.results], dtype=torch.float64)
    assert found.mean[:2] == pytest.approx(accuracies.mean(0).tolist())
    assert found.std[:2] == pytest.approx(accuracies.std(0).tolist())
    assert found.mean[2] == pytest.approx(float(accuracies.mean()))
    assert found.names == ("left digit", "right digit", "mean")
    assert statistics_of(first).std == [0, 0, 0]
    table = (both.folder / "repetitions.csv").read_text().splitlines()
    assert table[0] == "seed,left digit,right digit,mean"
    assert [line.split(",")[0] for line in table[1:]] == ["0", "1"]
    with pytest.raises(UserError, match="repetitions is 0; allowed: 1 or more"):
        repeat(basis_in(tmp_path, digits), 0)


def test_search_leaves_a_table_and_the_model_of_the_best(swept: tuple[Basis, Outcome, Listener]) -> None:
    basis, outcome, _ = swept
    assert [point.candidate for point in outcome.points] == VECTORS
    assert outcome.points[outcome.best].results.merit == max(results.merit for results in outcome.results)
    header, *rows = (outcome.folder / "search.csv").read_text().splitlines()
    assert header.startswith("k_0,k_1,k_2,validation_accuracy_1,validation_accuracy_2,test_accuracy_1,")
    assert [row.split(",")[:3] for row in rows] == [["0.0", "0.25", "0.75"], ["0.0", "0.5", "0.5"]]
    kept = load_model(keep_best(basis, outcome))
    assert kept.results["validation_accuracy"] == list(outcome.results[outcome.best].validation_accuracy)


def test_a_device_without_memory_is_a_matter_of_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(Trainer, "_train_epoch", full)
    wanted = f"not enough memory for this network: lower batch_size, {TINY.batch_size} now"
    with pytest.raises(UserError, match=wanted) as error:
        train_run(Run.new(config_in(tmp_path), TINY), Observer())
    one_line(error)


def test_search_says_why_no_candidate_could_be_trained(
    tmp_path: Path, digits: MultiTaskDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_in_this_process(monkeypatch)
    reason = r"training diverged in epoch 1, .*: lower lr, 1e\+30 in this epoch, for instance with --lr 5e\+29"
    with pytest.raises(UserError, match=f"^none of 1 trainings could be finished: {reason}$") as error:
        search(basis_in(tmp_path, digits), [{"lr": 1e30}])
    one_line(error)


@pytest.mark.parametrize(
    ("candidates", "message"),
    [
        ([{"lr": -1.0}], "lr is -1.0; allowed: a finite number > 0"),
        ([{"w": (0.0, 1.0), "a": (), "num_tasks": 2}], "allowed for MultiDigits: 3, for sparsity and its tasks"),
        ([{"method": "KDMTL", "distillation": (1.0, 1.0)}], "there are 0 teachers; allowed for method KDMTL: 2"),
        ([{"Sparsity_study": False}], "name its file with --model"),
        ([{"speed": 1.0}], "unknown parameter speed"),
        ([{"model": "missing.pth", "Sparsity_study": False}], "no such file: .*missing.pth"),
    ],
)
def test_candidates_that_cannot_be_trained_are_refused_before_any_work(
    candidates: list[Candidate], message: str, tmp_path: Path, digits: MultiTaskDataset
) -> None:
    with pytest.raises(UserError, match=message) as error:
        search(basis_in(tmp_path, digits), [{"lr": 0.1}, *candidates])
    one_line(error)
    assert not any(tmp_path.iterdir())


def test_teachers_are_trained_once(tmp_path: Path, digits: MultiTaskDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    train_in_this_process(monkeypatch)
    listener = Listener()
    basis = replace(basis_in(tmp_path, digits, TWO, listener), parameters=TINY.changed(w=(0.0, 1.0), a=(), num_tasks=2))
    first = train_teachers(basis)
    stamps = [Path(path).stat().st_mtime_ns for path in first]
    assert train_teachers(basis) == first
    assert [Path(path).stat().st_mtime_ns for path in first] == stamps
    assert [text.split()[:2] for text in listener.messages] == [["2", "trainings"], ["going", "on"]]
    for task, path in enumerate(first):
        assert load_model(Path(path)).results["task"] == task
    wrong = config_in(tmp_path, teachers=(first[1], first[0]))
    student = TINY.changed(method="KDMTL", distillation=(0.1, 0.1))
    with pytest.raises(UserError, match=r"task1.*was trained on MultiDigits, task 1; allowed in this place: .*task 0"):
        train_run(Run.new(wrong, student), Observer())
