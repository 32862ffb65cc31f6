"""Sources, composed data sets, their cache, batches, and files that are whole or not there."""

from __future__ import annotations

import csv
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any
from urllib.error import URLError

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.datasets import mnist

from Data_loaders import MultiMnist
from Data_loaders.datasets import MultiTaskDataset, cached_arrays
from Data_loaders.loaders import Splits, TaskData, make_splits, normalise, rotate, training_batches
from Data_loaders.MultiMnist import compose, load_multidigits, load_multimnist, overlay
from Data_loaders.registry import dataset_entry
from Data_loaders.sources import DATA_VARIABLE, data_folder, load_digits_source, load_mnist, make_source
from src.utils import files
from src.utils.errors import UserError
from src.utils.files import read_npz, read_torch, write_csv, write_json, write_npz, write_text, write_torch
from tests import twins
from tests.conftest import CPU, one_line, quiet, same_data, write_idx

PROPERTY = settings(max_examples=40, deadline=None)


def random_digits(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=(n, 28, 28), dtype=np.uint8)


def make_dataset(n: int = 60, max_rotation: float = 0.0, validation_size: int | None = None) -> MultiTaskDataset:
    """Image i is filled with the grey level i, its labels are i % 10 and i // 10 % 10; 10 test images."""

    def part(count: int) -> tuple[np.ndarray, np.ndarray]:
        number = np.arange(count)
        images = np.repeat(number.astype(np.uint8), 12 * 12).reshape(count, 12, 12)
        return images, np.stack([number % 10, number // 10 % 10], axis=1)

    names = tuple(str(digit) for digit in range(10))
    return MultiTaskDataset(
        "toy",
        ("ones", "tens"),
        (names, names),
        *part(n),
        *part(10),
        mean=(0.5,),
        std=(0.25,),
        max_rotation=max_rotation,
        validation_size=validation_size,
    )


def numbers(images: Tensor) -> list[int]:
    """Which images of :func:`make_dataset` a batch holds."""
    return ((images[:, 0, 6, 6] * 0.25 + 0.5) * 255).round().long().tolist()


# Composition


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(["noise", "white", "sparse", "black"]))
def test_overlay_equals_pil_up_to_one_grey_level(seed: int, n: int, kind: str) -> None:
    left, right = random_digits(n, seed), random_digits(n, seed + 1)
    if kind == "white":
        left[:] = 255
    elif kind == "black":
        right[:] = 0
    elif kind == "sparse":
        left[left < 200] = 0
        right[right < 200] = 0
    composed = overlay(left, right)
    assert composed.shape == (n, 28, 28)
    assert composed.dtype == np.uint8
    for i in range(n):
        assert np.abs(composed[i].astype(int) - twins.overlay(left[i], right[i])).max() <= 1


def test_overlay_puts_the_left_digit_at_the_top_and_leaves_its_arguments_alone() -> None:
    left, right = np.full((1, 28, 28), 200, np.uint8), np.full((1, 28, 28), 100, np.uint8)
    composed = overlay(left, right)[0]
    assert composed[0, 0] == composed[13, 13] == 200  # the brighter one where they overlap
    assert composed[25, 25] == 100
    assert composed[0, 27] == composed[27, 0] == composed[27, 27] == 0  # the right digit ends 2 pixels before the edge
    assert (left == 200).all()
    assert (right == 100).all()


def test_compose_pairs_every_digit_as_left_one_and_labels_both() -> None:
    """Digit of class c is filled with grey 20 c + 10: two pixels of the result say who was composed."""
    y = np.arange(12) % 10
    x = np.broadcast_to((20 * y + 10).astype(np.uint8)[:, None, None], (12, 28, 28)).copy()
    images, labels = compose(x, y, np.random.default_rng(3), partners=2)
    assert images.shape == (24, 28, 28)
    assert labels.shape == (24, 2)
    assert labels[:, 0].tolist() == [*y, *y]
    assert ((images[:, 0, 0].astype(int) - 10) / 20).tolist() == labels[:, 0].tolist()
    assert ((images[:, 25, 25].astype(int) - 10) / 20).tolist() == labels[:, 1].tolist()
    assert len(set(labels[:, 1].tolist())) > 3


# MNIST files


def write_mnist(folder: Path, n_train: int = 12, n_test: int = 12) -> Path:
    """A tiny MNIST whose test digits are its first training digits; returns the folder of its files."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", n_train), ("t10k", n_test)):
        write_idx(raw / f"{split}-images-idx3-ubyte", random_digits(max(n_train, n_test))[:count])
        write_idx(raw / f"{split}-labels-idx1-ubyte", np.arange(count) % 10)
    return raw


MNIST_FILES = [f"{split}-{kind}-ubyte" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


def test_mnist_is_read_from_its_files(tmp_path: Path) -> None:
    write_mnist(tmp_path, 12, 5)
    source = load_mnist(tmp_path)
    assert np.array_equal(source.x_train, random_digits(12))
    assert np.array_equal(source.x_test, random_digits(12)[:5])
    assert source.y_train.tolist() == [*range(10), 0, 1]
    assert source.x_train.dtype == np.uint8
    assert source.y_train.dtype == np.int64
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.zeros(12))
    assert load_mnist(tmp_path).checksum != source.checksum


@pytest.mark.parametrize("failure", [URLError("no route to host"), RuntimeError("checksum\nwrong"), TimeoutError()])
def test_missing_mnist_without_network_is_a_user_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(mnist, "download_and_extract_archive", fail)
    with pytest.raises(UserError) as error:
        load_mnist(tmp_path)
    text = one_line(error)
    assert str(tmp_path) in text
    assert "--data-dir" in text


def test_an_unwritable_data_folder_is_a_user_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        load_mnist(tmp_path / "file" / "data")
    one_line(error)


@pytest.fixture(scope="module")
def mnist_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mnist")


Damage = Callable[[bytes], bytes]


def cut_at(end: int) -> Damage:
    """Leaves so many bytes, fewer than there are."""
    return lambda content: content[: min(end, len(content) - 1)]


def cut_share(share: float) -> Damage:
    return lambda content: content[: int(share * len(content))]


def flip(place: int, value: int) -> Damage:
    """Another byte in one place."""
    return lambda content: content[:place] + bytes([content[place] ^ value]) + content[place + 1 :]


DAMAGES: dict[str, st.SearchStrategy[Damage]] = {
    "cut off": st.floats(0, 1, exclude_max=True).map(cut_share),
    "cut off in the header": st.integers(0, 20).map(cut_at),
    "another header": st.builds(flip, st.integers(0, 7), st.integers(1, 255)),
    "floats instead of bytes": st.just(flip(2, 8 ^ 13)),
    "a type that does not exist": st.just(flip(2, 8 ^ 10)),
}


@settings(max_examples=40, deadline=None)
@given(name=st.sampled_from(MNIST_FILES), data=st.data())
@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_mnist_files_are_a_user_error(mnist_folder: Path, kind: str, name: str, data: st.DataObject) -> None:
    path = write_mnist(mnist_folder) / name
    path.write_bytes(data.draw(DAMAGES[kind])(path.read_bytes()))
    with pytest.raises(UserError) as error:
        load_mnist(mnist_folder)
    assert str(path.parent) in one_line(error)


OTHER_DIGITS: dict[str, tuple[str, np.ndarray, str]] = {
    "smaller images": ("train-images-idx3-ubyte", np.ones((12, 20, 20)), "allowed: uint8, (N, 28, 28)"),
    "images of one column": ("t10k-images-idx3-ubyte", np.ones((12, 28, 1)), "allowed: uint8, (N, 28, 28)"),
    "fewer labels": ("train-labels-idx1-ubyte", np.arange(7), "12 training images but 7 labels"),
    "fewer images": ("t10k-images-idx3-ubyte", np.ones((5, 28, 28)), "5 test images but 12 labels"),
}


@pytest.mark.parametrize("case", OTHER_DIGITS)
def test_mnist_files_that_hold_something_else_are_a_user_error(tmp_path: Path, case: str) -> None:
    name, content, text = OTHER_DIGITS[case]
    write_idx(write_mnist(tmp_path) / name, content)
    with pytest.raises(UserError) as error:
        load_mnist(tmp_path)
    assert text in one_line(error)


def test_a_source_without_images_is_a_user_error() -> None:
    empty = np.zeros((0, 28, 28), np.uint8)
    with pytest.raises(UserError, match="0 test images") as error:
        make_source("empty", random_digits(2), np.zeros(2, np.int64), empty, np.zeros(0, np.int64))
    one_line(error)


def test_the_data_folder_is_the_argument_else_the_variable_else_in_the_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, "/from/variable")
    assert data_folder("/from/argument") == Path("/from/argument")
    assert data_folder(None) == Path("/from/variable")
    monkeypatch.delenv(DATA_VARIABLE)
    assert data_folder(None) == Path(MultiMnist.__file__).resolve().parent.parent / "Data"


# Data sets


def test_multimnist_has_the_same_bytes_for_the_same_seed_and_others_for_another(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_mnist(folder)
    first = load_multimnist(tmp_path / "a", 0, quiet)
    assert same_data(first, load_multimnist(tmp_path / "b", 0, quiet))  # composed anew
    assert same_data(first, load_multimnist(tmp_path / "a", 0, quiet))  # from the cache
    other = load_multimnist(tmp_path / "a", 1, quiet)
    assert not np.array_equal(first.x_train, other.x_train)
    assert not np.array_equal(first.x_test, other.x_test)
    assert np.array_equal(first.y_train[:, 0], other.y_train[:, 0])
    assert same_data(first, load_multimnist(tmp_path / "a", 0, quiet))  # not overwritten by the other seed


def test_multimnist_is_composed_once_per_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(tmp_path)
    first, second = (load_multimnist(tmp_path, seed, quiet) for seed in (0, 1))

    def fail(*_: object) -> None:
        raise AssertionError("composed again")

    monkeypatch.setattr(MultiMnist, "overlay", fail)
    assert same_data(first, load_multimnist(tmp_path, 0, quiet))
    assert same_data(second, load_multimnist(tmp_path, 1, quiet))


def test_multimnist_is_composed_anew_from_other_digits(tmp_path: Path) -> None:
    raw = write_mnist(tmp_path)
    load_multimnist(tmp_path, 0, quiet)
    write_idx(raw / "train-images-idx3-ubyte", random_digits(12, seed=9))
    after = load_multimnist(tmp_path, 0, quiet)
    expected, _ = compose(random_digits(12, seed=9), np.arange(12) % 10, np.random.default_rng([0, 0]))
    assert np.array_equal(after.x_train, expected)


def test_test_partners_are_drawn_from_another_stream_than_training_partners(tmp_path: Path) -> None:
    """Training and test digits are the same here, so equal streams would give equal pairs."""
    write_mnist(tmp_path, 12, 12)
    data = load_multimnist(tmp_path, 0, quiet)
    assert np.array_equal(data.y_train[:, 0], data.y_test[:, 0])
    assert not np.array_equal(data.y_train[:, 1], data.y_test[:, 1])


def test_multimnist_labels_say_what_was_composed(tmp_path: Path) -> None:
    write_mnist(tmp_path, 10, 10)  # one digit per class: the label names the image
    data, digits = load_multimnist(tmp_path, 5, quiet), random_digits(10)
    assert np.array_equal(data.x_train, overlay(digits[data.y_train[:, 0]], digits[data.y_train[:, 1]]))
    assert np.array_equal(data.x_test, overlay(digits[data.y_test[:, 0]], digits[data.y_test[:, 1]]))
    assert data.num_outs == [10, 10]


def test_bundled_digits_are_the_same_at_every_load_and_need_no_folder(tmp_path: Path) -> None:
    first = load_multidigits(tmp_path, 0, quiet)
    assert same_data(first, load_multidigits(Path("/nonexistent"), 0, quiet))
    assert not same_data(first, load_multidigits(tmp_path, 1, quiet))
    assert list(tmp_path.iterdir()) == []
    assert first.x_train.shape == (5600, 28, 28)
    assert first.x_test.shape == (397, 28, 28)
    assert set(first.y_train.ravel().tolist()) == set(range(10))


def test_bundled_digits_for_training_and_test_do_not_overlap() -> None:
    source = load_digits_source()
    train = {image.tobytes() for image in source.x_train}
    assert (len(source.x_train), len(source.x_test)) == (1400, 397)
    assert not train & {image.tobytes() for image in source.x_test}


def test_the_registry_loads_data_sets_by_name(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    wanted = {"MultiMnist": load_multimnist(tmp_path, 3, quiet), "MultiDigits": load_multidigits(tmp_path, 3, quiet)}
    for name, expected in wanted.items():
        entry = dataset_entry(name)
        found = entry.load(tmp_path, 3, quiet)
        assert found.name == name
        assert same_data(found, expected)
        assert entry.tasks == len(found.task_names)
        assert (entry.backbone, entry.demo) == ("MultiMnist", "MultiDigits")
    with pytest.raises(UserError, match=r"dataset is 'MNIST'; allowed: MultiMnist, MultiDigits, Cifar10Mnist") as error:
        dataset_entry("MNIST")
    one_line(error)


@pytest.mark.parametrize(
    "labels",
    [np.zeros(4), np.zeros((4, 3)), np.zeros((3, 2)), np.zeros((4, 2, 1))],
    ids=lambda labels: str(labels.shape),
)
def test_a_data_set_refuses_labels_of_the_wrong_shape(labels: np.ndarray) -> None:
    x, y = random_digits(4), np.zeros((4, 2), np.int64)
    names = ("a", "b"), ("a", "b", "c")
    for train, test in ((labels.astype(np.int64), y), (y, labels.astype(np.int64))):
        with pytest.raises(UserError) as error:
            MultiTaskDataset("toy", ("one", "two"), names, x, train, x, test, (0.5,), (0.5,))
        assert "(4, 2)" in one_line(error)


@pytest.mark.parametrize(("label", "task"), [(-1, 0), (2, 0), (3, 1), (255, 1)])
def test_a_data_set_refuses_classes_out_of_range(label: int, task: int) -> None:
    x, y = random_digits(4), np.zeros((4, 2), np.int64)
    names = ("a", "b"), ("a", "b", "c")
    y[:, 1] = 2
    MultiTaskDataset("toy", ("one", "two"), names, x, y, x, y, (0.5,), (0.5,))
    wrong = y.copy()
    wrong[3, task] = label
    for train, test in ((wrong, y), (y, wrong)):
        with pytest.raises(UserError) as error:
            MultiTaskDataset("toy", ("one", "two"), names, x, train, x, test, (0.5,), (0.5,))
        assert f"task {task + 1}" in one_line(error)


# Cache


class Composer:
    """Counts how often it is asked to compose."""

    def __init__(self, level: int = 0) -> None:
        self.calls = 0
        self.arrays: dict[str, np.ndarray] = {"x": np.full((3, 2), level, np.uint8), "y": np.arange(3)}

    def __call__(self) -> dict[str, np.ndarray]:
        self.calls += 1
        return dict(self.arrays)


def same_arrays(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == expected[name].dtype and np.array_equal(found[name], expected[name]) for name in expected
    )


def test_a_cache_is_written_once_and_used_again(tmp_path: Path) -> None:
    composer, path = Composer(), tmp_path / "deep" / "cache.npz"
    for _ in range(3):
        assert same_arrays(cached_arrays(path, {"seed": 1, "name": "x"}, composer, quiet), composer.arrays)
        assert same_arrays(cached_arrays(path, {"name": "x", "seed": 1}, composer, quiet), composer.arrays)
    assert composer.calls == 1
    assert [file.name for file in path.parent.iterdir()] == ["cache.npz"]


def test_a_cache_of_another_recipe_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "cache.npz"
    cached_arrays(path, {"seed": 1}, Composer(1), quiet)
    for recipe in ({"seed": 2}, {"seed": 2, "partners": 1}, {"seed": "2"}):
        composer = Composer(2)
        assert same_arrays(cached_arrays(path, recipe, composer, quiet), composer.arrays)
        assert composer.calls == 1
        assert same_arrays(cached_arrays(path, recipe, composer, quiet), composer.arrays)
        assert composer.calls == 1


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("kind", ["cut off", "a changed byte"])
@settings(max_examples=80, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255))
def test_a_damaged_cache_gives_the_right_arrays_all_the_same(
    cache_folder: Path, kind: str, share: float, value: int
) -> None:
    path = cache_folder / "cache.npz"
    path.unlink(missing_ok=True)
    cached_arrays(path, {"seed": 1}, Composer(), quiet)
    content = path.read_bytes()
    damage = cut_share(share) if kind == "cut off" else flip(int(share * len(content)), value)
    path.write_bytes(damage(content))
    composer = Composer()
    assert same_arrays(cached_arrays(path, {"seed": 1}, composer, quiet), composer.arrays)
    if kind == "cut off":
        assert composer.calls == 1
        assert path.read_bytes() == content


OTHER_FILES: dict[str, Callable[[IO[bytes]], object]] = {
    "an array": lambda file: np.save(file, np.arange(3)),
    "a pickle": lambda file: pickle.dump([1, 2], file),
    "a text": lambda file: file.write(b"not a cache"),
    "arrays without a recipe": lambda file: np.savez(file, x=np.arange(3)),
}


@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_of_another_kind_in_the_place_of_the_cache_is_replaced(tmp_path: Path, kind: str) -> None:
    path, composer = tmp_path / "cache.npz", Composer()
    with path.open("wb") as file:
        OTHER_FILES[kind](file)
    assert same_arrays(cached_arrays(path, {"seed": 1}, composer, quiet), composer.arrays)
    assert "recipe" in read_npz(path)


def no_folder(path: Path, _: pytest.MonkeyPatch) -> None:
    path.parent.write_text("a file where the folder should be")


def full_disk(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: IO[bytes], **_: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)


@pytest.mark.parametrize(("obstacle", "text"), [(no_folder, "choose another folder"), (full_disk, "No space left")])
def test_a_cache_that_cannot_be_written_is_a_warning_and_leaves_no_file(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    obstacle: Callable[[Path, pytest.MonkeyPatch], None],
    text: str,
) -> None:
    path, composer = tmp_path / "cache" / "cache.npz", Composer()
    messages: list[str] = []
    obstacle(path, monkeypatch)
    assert same_arrays(cached_arrays(path, {"seed": 1}, composer, messages.append), composer.arrays)
    (message,) = messages
    assert "not cached" in message
    assert text in message
    assert "\n" not in message
    assert [file.name for file in tmp_path.rglob("*")] == ["cache"]


# Splits and batches


def test_normalise_follows_its_formula_and_puts_channels_first() -> None:
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (2, 4, 5), np.uint8), rng.integers(0, 256, (2, 4, 5, 3), np.uint8)
    mean, std = (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)
    one, three = normalise(grey, (0.1307,), (0.3081,), CPU), normalise(colour, mean, std, CPU)
    assert one.shape == (2, 1, 4, 5)
    assert three.shape == (2, 3, 4, 5)
    for n in range(2):
        for y in range(4):
            for x in range(5):
                assert one[n, 0, y, x].item() == pytest.approx((grey[n, y, x] / 255 - 0.1307) / 0.3081, abs=1e-5)
                for c in range(3):
                    expected = (colour[n, y, x, c] / 255 - mean[c]) / std[c]
                    assert three[n, c, y, x].item() == pytest.approx(expected, abs=1e-5)


@PROPERTY
@given(st.integers(2, 200), st.one_of(st.none(), st.floats(0, 1, exclude_max=True)))
def test_validation_images_are_set_aside_and_training_has_all_others(n: int, share: float | None) -> None:
    size = None if share is None else int(share * n)
    splits = make_splits(make_dataset(n, validation_size=size), CPU)
    train, validation = numbers(splits.train.images), numbers(splits.validation.images)
    assert len(validation) == (round(n / 6) if size is None else size)
    assert sorted(train + validation) == list(range(n))
    for part in (splits.train, splits.validation, splits.test):
        assert part.labels.tolist() == [[i % 10, i // 10 % 10] for i in numbers(part.images)]


@pytest.mark.parametrize("size", [-1, 60, 61])
def test_more_validation_images_than_there_are_are_refused(size: int) -> None:
    with pytest.raises(UserError, match="allowed: 0 to 59") as error:
        make_dataset(60, validation_size=size)
    one_line(error)


def test_the_validation_split_is_fixed_and_does_not_depend_on_random_state() -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    first = make_splits(make_dataset(), CPU)
    np.random.seed(2)
    torch.manual_seed(2)
    second = make_splits(make_dataset(), CPU)
    for name in ("train", "validation", "test"):
        assert torch.equal(getattr(first, name).images, getattr(second, name).images)
        assert torch.equal(getattr(first, name).labels, getattr(second, name).labels)
    assert numbers(first.validation.images) != list(range(10))


def test_two_passes_over_the_validation_data_are_identical_whatever_is_done_to_training_images() -> None:
    splits = make_splits(make_dataset(max_rotation=20.0), CPU)
    untouched = make_splits(make_dataset(), CPU)

    def one_pass(data: TaskData) -> list[tuple[Tensor, Tensor]]:
        return [(images.clone(), labels.clone()) for images, labels in data.batches(4)]

    first = one_pass(splits.validation)
    for _ in training_batches(splits, 7, seed=0):
        pass
    for other in (one_pass(splits.validation), one_pass(untouched.validation)):
        assert len(first) == len(other) == 3
        for (images, labels), (other_images, other_labels) in zip(first, other, strict=True):
            assert torch.equal(images, other_images)
            assert torch.equal(labels, other_labels)


@PROPERTY
@given(st.integers(2, 200), st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_an_epoch_covers_every_training_image_exactly_once_with_its_labels(n: int, batch_size: int, seed: int) -> None:
    splits = make_splits(make_dataset(n, validation_size=0), CPU)
    seen: list[int] = []
    for images, labels in training_batches(splits, batch_size, seed):
        assert 1 <= len(images) <= batch_size
        assert labels.tolist() == [[i % 10, i // 10 % 10] for i in numbers(images)]
        seen += numbers(images)
    assert sorted(seen) == list(range(n))


@PROPERTY
@given(st.integers(1, 30), st.integers(0, 12), st.integers(0, 100))
def test_num_batches_takes_the_first_batches_of_the_same_epoch(batch_size: int, num_batches: int, seed: int) -> None:
    splits = make_splits(make_dataset(60), CPU)
    everything = [numbers(images) for images, _ in training_batches(splits, batch_size, seed)]
    some = [numbers(images) for images, _ in training_batches(splits, batch_size, seed, num_batches)]
    assert some == everything[:num_batches]


def epoch(splits: Splits, seed: int) -> Tensor:
    return torch.cat([images for images, _ in training_batches(splits, 16, seed)])


@pytest.mark.parametrize("max_rotation", [0.0, 20.0])
def test_training_batches_differ_from_epoch_to_epoch_and_repeat_with_the_same_seed(max_rotation: float) -> None:
    splits = make_splits(make_dataset(max_rotation=max_rotation), CPU)
    before = splits.train.images.clone()
    state = torch.get_rng_state()
    assert torch.equal(epoch(splits, 0), epoch(splits, 0))
    assert numbers(epoch(splits, 0)) != numbers(epoch(splits, 1))
    assert torch.equal(splits.train.images, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_training_images_are_rotated_each_by_its_own_new_angle_at_most_the_largest() -> None:
    """A bar through the centre: its far end moves by its length times the sine of the angle."""
    image = np.zeros((41, 41), np.uint8)
    image[20, 20:] = 255
    x, y = np.repeat(image[None], 50, axis=0), np.zeros((50, 1), np.int64)
    data = MultiTaskDataset("bar", ("task",), (("class",),), x, y, x[:1], y[:1], (0.0,), (1.0,), 20.0)
    splits = make_splits(data, CPU)
    height = torch.arange(41.0).flip(0) - 20  # upwards
    angles = []
    for seed in (0, 1):
        ends = epoch(splits, seed)[:, 0, :, 35]  # 15 pixels right of the centre
        angles.append(torch.atan2((ends * height).sum(1) / ends.sum(1), torch.tensor(15.0)).rad2deg())
    assert torch.cat(angles).abs().max() <= 21
    assert torch.cat(angles).max() > 12
    assert torch.cat(angles).min() < -12
    assert len({round(angle, 2) for angle in angles[0].tolist()}) > 25
    assert not torch.allclose(angles[0].sort().values, angles[1].sort().values, atol=0.1)
    assert torch.equal(splits.test.images[0, 0], torch.from_numpy(image).float() / 255)


def test_rotate_by_multiples_of_a_right_angle_is_exact_and_counter_clockwise() -> None:
    images = torch.rand(4, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    turned = rotate(images, torch.tensor([0.0, 90.0, 180.0, -90.0]))
    for image, result, quarters in zip(images, turned, (0, 1, 2, 3), strict=True):
        torch.testing.assert_close(result, image.rot90(quarters, dims=(1, 2)), rtol=0, atol=1e-5)


@PROPERTY
@given(st.floats(-180, 180), st.floats(-3, 3), st.integers(0, 2**31))
def test_rotation_goes_on_with_the_fill_around_the_picture(degrees: float, fill: float, seed: int) -> None:
    """Turning is as cutting the picture out of a larger turned one that has the fill around it."""
    picture = torch.rand(1, 1, 9, 9, generator=torch.Generator().manual_seed(seed))
    canvas = torch.full((1, 1, 29, 29), fill)
    canvas[:, :, 10:19, 10:19] = picture
    angle = torch.tensor([degrees])
    expected = rotate(canvas, angle, fill)[:, :, 10:19, 10:19]
    torch.testing.assert_close(rotate(picture, angle, fill), expected, rtol=0, atol=1e-4)


def test_corners_of_turned_training_images_are_black_in_every_channel() -> None:
    """All images are white here: turned, they hold white, black and what lies between."""
    white, y = np.full((30, 9, 9, 3), 255, np.uint8), np.zeros((30, 1), np.int64)
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.4)
    data = MultiTaskDataset("white", ("task",), (("class",),), white, y, white, y, mean, std, max_rotation=45.0)
    images = epoch(make_splits(data, CPU), 0)
    for c in range(3):
        assert images[:, c].min().item() == pytest.approx((0 - mean[c]) / std[c], abs=0.5)
        assert images[:, c].min().item() >= (0 - mean[c]) / std[c] - 1e-4
        assert images[:, c].max().item() == pytest.approx((1 - mean[c]) / std[c], abs=1e-4)


def test_batches_of_unequal_images_and_labels_are_refused() -> None:
    with pytest.raises(UserError, match="allowed"):
        TaskData(torch.zeros(3, 1, 2, 2), torch.zeros(4, 2))
    with pytest.raises(UserError, match="allowed"):
        TaskData(torch.zeros(3, 1, 2, 2), torch.zeros(3))


# Files


def half_then_fail(file: IO[bytes], *_: object, **__: object) -> None:
    file.write(b"half")
    raise RuntimeError("interrupted")


WRITERS: dict[str, Callable[[Path], None]] = {
    "write_npz": lambda path: write_npz(path, {"x": np.arange(3)}),
    "write_torch": lambda path: write_torch(path, {"x": torch.arange(3)}),
    "write_picture": lambda path: files.write_picture(path, half_then_fail),
}


@pytest.mark.parametrize("writer", list(WRITERS))
@pytest.mark.parametrize("old", [None, b"the old content"])
def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, old: bytes | None
) -> None:
    path = tmp_path / "results"
    if old is not None:
        path.write_bytes(old)
    monkeypatch.setattr(np, "savez", half_then_fail)
    monkeypatch.setattr(torch, "save", lambda _, file: half_then_fail(file))
    with pytest.raises(RuntimeError, match="interrupted"):
        WRITERS[writer](path)
    assert [file.name for file in tmp_path.iterdir()] == ([] if old is None else ["results"])
    assert old is None or path.read_bytes() == old


def test_a_full_disk_is_a_user_error_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: str | int, __: str | int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "notes.txt"
    write_text(path, "old")
    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(UserError) as error:
        write_text(path, "new")
    assert "No space left" in one_line(error)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_files_are_replaced_whole_and_folders_made(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "notes.txt"
    write_text(path, "a long first version, with µ\n")
    write_text(path, "short\n")
    assert path.read_bytes() == b"short\n"
    assert [file.name for file in path.parent.iterdir()] == ["notes.txt"]


def test_a_folder_that_cannot_be_made_is_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as error:
        write_text(tmp_path / "file" / "notes.txt", "text")
    assert str(tmp_path / "file" / "notes.txt") in one_line(error)


def test_json_has_null_for_what_json_does_not_have(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"rate": float("inf"), "list": [1, (float("nan"), 0.5)], "deep": {"text": "ä", "flag": True}})

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    content = json.loads(path.read_text(), parse_constant=refuse)
    assert content == {"rate": None, "list": [1, [None, 0.5]], "deep": {"text": "ä", "flag": True}}


def test_csv_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    write_csv(path, [{"epoch": 1, "note": 'a, "b"'}, {"epoch": 2, "note": "two\nlines"}])
    with path.open(newline="") as file:
        assert list(csv.DictReader(file)) == [
            {"epoch": "1", "note": 'a, "b"'},
            {"epoch": "2", "note": "two\nlines"},
        ]


def test_tensors_and_arrays_come_back_to_the_bit(tmp_path: Path) -> None:
    content = {"x": torch.randn(3, 2), "nested": {"list": [1, 2.5, None, "text"]}}
    write_torch(tmp_path / "model.pt", content)
    found = read_torch(tmp_path / "model.pt")
    assert torch.equal(found["x"], content["x"])  # type: ignore[arg-type]
    assert found["nested"] == content["nested"]
    arrays = {"x": random_digits(2), "y": np.array("text")}
    write_npz(tmp_path / "data.npz", arrays)
    assert same_arrays(read_npz(tmp_path / "data.npz"), arrays)


class Intruder:
    """Unpickled, it makes a folder: a file that runs code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def save_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.arange(3))


def save_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.arange(3))


def intrude_in_arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, x=np.array([Intruder(path.with_name("intruded"))], dtype=object))


def bytes_of(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


UNREADABLE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "nothing": bytes_of(b""),
    "a text": bytes_of(b"epoch,accuracy\n1,97.1\n"),
    "json": bytes_of(b'{"format_version": 1}\n'),
    "a page": bytes_of(b"<!DOCTYPE html><html><body>403 Forbidden</body></html>"),
    "a picture": bytes_of(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01"),
    "a gzip": bytes_of(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x4c"),
    "a zip": bytes_of(b"PK\x03\x04 that ends too early"),
    "a lone point": bytes_of(b"."),
    "a pop from nothing": bytes_of(b"\x85\xf3"),
    "an unfinished number": bytes_of(b"j\x87j@"),
    "the header of an array": bytes_of(b"\x93NUMPY\x01\x00v\x00"),
    "an array": save_array,
    "a list of tensors": lambda path: torch.save([torch.arange(3)], path),
    "a pickle with code": lambda path: path.write_bytes(pickle.dumps({"x": Intruder(path.with_name("intruded"))})),
    "tensors with code": lambda path: torch.save({"x": Intruder(path.with_name("intruded"))}, path),
    "arrays with code": intrude_in_arrays,
}
READERS: dict[str, tuple[Callable[[Path], object], dict[str, Callable[[Path], object]]]] = {
    "tensors": (read_torch, {**UNREADABLE, "arrays": save_arrays}),
    "arrays": (read_npz, {**UNREADABLE, "tensors": lambda path: torch.save({"x": torch.arange(3)}, path)}),
}


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize(("reader", "kind"), [(reader, kind) for reader in READERS for kind in READERS[reader][1]])
def test_what_is_no_such_file_is_a_user_error_and_no_code_in_it_is_run(tmp_path: Path, reader: str, kind: str) -> None:
    read, kinds = READERS[reader]
    path = tmp_path / "file"
    kinds[kind](path)
    with pytest.raises(UserError) as error:
        read(path)
    assert str(path) in one_line(error)
    assert ("no such file" in str(error.value)) == (kind == "missing")
    assert not (tmp_path / "intruded").exists()


@pytest.fixture(scope="module")
def tensor_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "model.pt"
    write_torch(path, {"x": torch.arange(3), "text": "text"})
    return path


@PROPERTY
@given(share=st.floats(0, 1, exclude_max=True))
def test_tensor_files_that_are_cut_off_are_a_user_error(tensor_file: Path, share: float) -> None:
    cut = tensor_file.with_name("cut.pt")
    cut.write_bytes(cut_share(share)(tensor_file.read_bytes()))
    with pytest.raises(UserError) as error:
        read_torch(cut)
    one_line(error)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=40))
def test_random_bytes_are_a_user_error(tensor_file: Path, content: bytes) -> None:
    path = tensor_file.with_name("random.pt")
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        read_torch(path)
    one_line(error)
