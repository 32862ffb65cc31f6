"""Cifar10Mnist and its demonstration: sources, composition, seeds, cache, rotation, the command that creates it."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
import sklearn.datasets
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.datasets import CIFAR10
from torchvision.datasets import cifar as torchvision_cifar
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from Data_loaders import Create_Cifar10Mnist_dataset as create
from Data_loaders.Create_Cifar10Mnist_dataset import (
    ALIGNED,
    ALL,
    aligned_pairs,
    cache_file,
    compose,
    load_cifar10mnist,
    load_colour_digits,
    paste,
    training_pairs,
)
from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import Splits, TaskData, make_splits, rotate, training_batches
from Data_loaders.registry import dataset_entry
from Data_loaders.sources import CIFAR10_CLASSES, load_cifar10, load_digits_source, load_photographs_source
from src.utils.command_line.create_dataset import _Display, main
from src.utils.errors import UserError
from tests.conftest import CPU, first_images, one_line, quiet, same_data, write_idx

ROOT = Path(__file__).resolve().parent.parent
PICTURES, DIGITS, TEST_PICTURES, TEST_DIGITS = 30, 40, 25, 20


def random_images(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def random_digits(seed: int, n: int) -> np.ndarray:
    """Noise with a black margin and black holes."""
    digits = random_images(seed, n, 28, 28)
    digits[:, :4] = digits[:, 24:] = 0
    digits[digits < 100] = 0
    return digits


def cifar10_arrays(seed: int = 0) -> dict[str, np.ndarray]:
    return {
        "x_train": random_images(seed, PICTURES, 32, 32, 3),
        "y_train": np.arange(PICTURES, dtype=np.uint8) % 10,
        "x_test": random_images(seed + 1, TEST_PICTURES, 32, 32, 3),
        "y_test": np.arange(TEST_PICTURES, dtype=np.uint8) % 10,
    }


def write_npz(folder: Path, arrays: dict[str, np.ndarray], save: Any = np.savez) -> None:
    save(folder / "cifar10.npz", **arrays)


def write_data(folder: Path, seed: int = 0) -> Path:
    """A tiny cifar10.npz and tiny IDX files of MNIST; digit i is of the class 9 - i % 10."""
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True, exist_ok=True)
    for stream, (split, count) in enumerate((("train", DIGITS), ("t10k", TEST_DIGITS))):
        write_idx(raw / f"{split}-images-idx3-ubyte", random_digits(seed + 10 + stream, count))
        write_idx(raw / f"{split}-labels-idx1-ubyte", 9 - np.arange(count) % 10)
    write_npz(folder, cifar10_arrays(seed))
    return folder


# Composition


def paste_twin(picture: np.ndarray, digit: np.ndarray) -> np.ndarray:
    """Pillow's paste of one digit, through a mask of opacity 128 where the resized digit is not black."""
    large = Image.fromarray(digit).resize((32, 32), Image.Resampling.BILINEAR)
    mask = large.point([0] + [128] * 255)
    result = Image.fromarray(picture)
    result.paste(large.convert("RGB"), (0, 0), mask)
    return np.asarray(result)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 4), st.sampled_from(["noise", "strokes", "faint", "white", "black"]))
def test_paste_equals_pillow(seed: int, n: int, kind: str) -> None:
    pictures, digits = random_images(seed, n, 32, 32, 3), random_images(seed + 1, n, 28, 28)
    if kind == "strokes":
        digits = random_digits(seed, n)
    elif kind == "faint":
        digits %= 3  # what the interpolation rounds to black decides where the picture shows
    elif kind in ("white", "black"):
        digits[:] = 255 if kind == "white" else 0
    composed = paste(pictures, digits)
    assert composed.shape == pictures.shape
    assert composed.dtype == np.uint8
    expected = np.stack([paste_twin(picture, digit) for picture, digit in zip(pictures, digits, strict=True)])
    assert np.abs(composed.astype(int) - expected).max() <= 1
    assert kind != "black" or np.array_equal(composed, pictures)


def test_paste_rounds_every_mixture_to_the_nearest_grey_level() -> None:
    """All 255 * 256 mixtures of a digit's grey level and a picture's one."""
    digits = np.repeat(np.arange(1, 256, dtype=np.uint8), 28 * 28).reshape(255, 28, 28)
    pictures = np.broadcast_to(np.arange(256, dtype=np.uint8).repeat(12).reshape(1, 32, 32, 3), (255, 32, 32, 3))
    exact = (127 * pictures.astype(float) + 128 * np.arange(1, 256)[:, None, None, None]) / 255
    assert np.abs(paste(pictures, digits) - exact).max() <= 0.5


def test_paste_leaves_its_arguments_alone() -> None:
    pictures, digits = random_images(0, 2, 32, 32, 3), random_digits(1, 2)
    before = pictures.copy(), digits.copy()
    paste(pictures, digits)[:] = 0
    assert np.array_equal(pictures, before[0])
    assert np.array_equal(digits, before[1])


@pytest.mark.parametrize("n", [0, 1, 3, 7])
def test_compose_in_chunks_pastes_every_pair_and_tells_how_many(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(create, "CHUNK", 3)
    pictures, digits = random_images(0, 5, 32, 32, 3), random_digits(1, 6)
    pairs = np.stack([np.arange(n) % 5, np.arange(n)[::-1] % 6], axis=1)
    done: list[int] = []
    composed = compose(pictures, digits, pairs, done.append)
    assert len(composed) == n
    for image, (picture, digit) in zip(composed, pairs, strict=True):
        assert np.array_equal(image, paste(pictures[[picture]], digits[[digit]])[0])
    assert done == {0: [], 1: [1], 3: [3], 7: [3, 6, 7]}[n]


def test_aligned_pairs_stop_where_pictures_or_digits_end() -> None:
    for pictures, digits in ((4, 3), (3, 4), (3, 3)):
        assert aligned_pairs(pictures, digits).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_variant_of_50000_pairs_the_first_digits_with_all_pictures() -> None:
    pairs = training_pairs(50_000, 60_000, ALIGNED, seed=0)
    assert np.array_equal(pairs, aligned_pairs(50_000, 50_000))
    assert np.array_equal(pairs, training_pairs(50_000, 60_000, ALIGNED, seed=1))


def test_variant_of_60000_pairs_the_last_digits_with_random_pictures_of_a_seed() -> None:
    pairs = training_pairs(50_000, 60_000, ALL, seed=123)
    assert pairs.shape == (60_000, 2)
    assert np.array_equal(pairs[:50_000], training_pairs(50_000, 60_000, ALIGNED, seed=123))
    assert np.array_equal(pairs[:, 1], np.arange(60_000))
    random = pairs[50_000:, 0]
    assert 0 <= random.min() < 100
    assert 49_900 < random.max() < 50_000
    assert len(np.unique(random)) > 8_000
    assert np.array_equal(pairs, training_pairs(50_000, 60_000, ALL, seed=123))
    assert not np.array_equal(random, training_pairs(50_000, 60_000, ALL, seed=124)[50_000:, 0])


# CIFAR-10 from an .npz file


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cifar10_is_read_from_its_npz_file(tmp_path: Path, save: Any) -> None:
    arrays = cifar10_arrays()
    write_npz(tmp_path, arrays, save)
    source = load_cifar10(tmp_path)
    for name, array in arrays.items():
        assert np.array_equal(getattr(source, name), array)
    assert source.x_train.dtype == np.uint8
    assert source.y_train.dtype == source.y_test.dtype == np.int64


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
def test_cifar10_labels_may_be_of_any_whole_type_and_a_column(
    tmp_path: Path, kind: type[np.integer[Any]], shape: tuple[int, ...]
) -> None:
    arrays = cifar10_arrays()
    write_npz(tmp_path, arrays)
    expected = load_cifar10(tmp_path)
    for name in ("y_train", "y_test"):
        arrays[name] = arrays[name].astype(kind).reshape(shape)
    write_npz(tmp_path, arrays)
    assert load_cifar10(tmp_path).checksum == expected.checksum


def changed(name: str, change: Any) -> dict[str, np.ndarray]:
    arrays = cifar10_arrays()
    return {**arrays, name: change(arrays[name])}


WRONG_ARRAYS = {
    "images missing": ({"y_train": np.zeros(3)}, "no array x_train"),
    "labels missing": ({key: value for key, value in cifar10_arrays().items() if key != "y_test"}, "no array y_test"),
    "images of floats": (changed("x_train", lambda x: x / 255), "x_train is float64"),
    "channels first": (changed("x_test", lambda x: x.transpose(0, 3, 1, 2)), "shape (25, 3, 32, 32)"),
    "one image": (changed("x_train", lambda x: x[0]), "shape (32, 32, 3)"),
    "no dimension": (changed("x_train", lambda x: np.uint8(3)), "shape ()"),
    "labels of floats": (changed("y_train", lambda y: y.astype(float)), "y_train is float64"),
    "labels of text": (changed("y_train", lambda y: y.astype(str)), "allowed: whole numbers"),
    "labels one-hot": (changed("y_train", lambda y: np.eye(10, dtype=int)[y]), "shape (30, 10)"),
    "fewer labels": (changed("y_test", lambda y: y[1:]), "shape (24,)"),
    "class 10": (changed("y_train", lambda y: y + 1), "from 1 to 10; allowed: 0 to 9"),
    "class -1": (changed("y_test", lambda y: y.astype(int) - 1), "from -1 to 8; allowed: 0 to 9"),
    "nothing": (changed("x_train", lambda x: x[:0]) | {"y_train": np.zeros(0, int)}, "0 training images"),
}


@pytest.mark.parametrize("case", WRONG_ARRAYS)
def test_wrong_arrays_are_a_user_error_of_one_line(tmp_path: Path, case: str) -> None:
    arrays, text = WRONG_ARRAYS[case]
    write_npz(tmp_path, arrays)
    with pytest.raises(UserError) as error:
        load_cifar10(tmp_path)
    assert text in one_line(error)
    assert str(tmp_path / "cifar10.npz") in str(error.value)


def npz_bytes(save: Any) -> bytes:
    arrays = {name: array[:2] for name, array in cifar10_arrays().items()}
    arrays["x_train"][:, 8:] = 0  # something to compress
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


@pytest.fixture(scope="module")
def npz_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("npz")


@settings(max_examples=30, deadline=None)
@given(share=st.floats(0, 1, exclude_max=True), compressed=st.booleans())
@example(share=0.0, compressed=False)
def test_a_truncated_npz_file_is_a_user_error(npz_folder: Path, share: float, compressed: bool) -> None:
    content = npz_bytes(np.savez_compressed if compressed else np.savez)
    (npz_folder / "cifar10.npz").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError) as error:
        load_cifar10(npz_folder)
    assert "cifar10.npz" in one_line(error)


@settings(max_examples=60, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255), compressed=st.booleans())
@example(place=0.5, value=123, compressed=False)  # in the header of an array
def test_an_npz_file_with_a_changed_byte_is_a_user_error_or_right(
    npz_folder: Path, place: float, value: int, compressed: bool
) -> None:
    content = bytearray(npz_bytes(np.savez_compressed if compressed else np.savez))
    content[int(place * len(content))] ^= value
    (npz_folder / "cifar10.npz").write_bytes(content)
    try:
        source = load_cifar10(npz_folder)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert np.array_equal(source.x_test, cifar10_arrays()["x_test"][:2])


def test_no_code_in_an_npz_file_is_run(tmp_path: Path) -> None:
    class Intruder:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "intruded"),)

    write_npz(tmp_path, changed("y_test", lambda _: np.array([Intruder()], dtype=object)))
    with pytest.raises(UserError) as error:
        load_cifar10(tmp_path)
    one_line(error)
    assert not (tmp_path / "intruded").exists()


# CIFAR-10 from torchvision's files


def write_torchvision_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Files as torchvision unpacks them, with checksums of their own; returns their folder."""
    files = folder / str(CIFAR10.base_folder)
    files.mkdir()
    arrays = cifar10_arrays()
    checksums = {}
    for split, name in (("train", "data_batch_1"), ("test", "test_batch")):
        rows = arrays[f"x_{split}"].transpose(0, 3, 1, 2).reshape(-1, 3072)
        content = pickle.dumps({"data": rows, "labels": arrays[f"y_{split}"].tolist()})
        (files / name).write_bytes(content)
        checksums[split] = [[name, hashlib.md5(content).hexdigest()]]
    content = pickle.dumps({"label_names": list(CIFAR10_CLASSES)})
    (files / "batches.meta").write_bytes(content)
    meta = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(content).hexdigest()}
    monkeypatch.setattr(CIFAR10, "train_list", checksums["train"])
    monkeypatch.setattr(CIFAR10, "test_list", checksums["test"])
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return files


def refuse_download(monkeypatch: pytest.MonkeyPatch, failure: Exception) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(torchvision_cifar, "download_and_extract_archive", fail)


def test_cifar10_is_read_from_the_files_of_torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_torchvision_cifar10(tmp_path, monkeypatch)
    refuse_download(monkeypatch, AssertionError("downloaded"))
    source = load_cifar10(tmp_path)
    for name, array in cifar10_arrays().items():
        assert np.array_equal(getattr(source, name), array)
    write_npz(tmp_path, cifar10_arrays())
    assert load_cifar10(tmp_path).checksum == source.checksum


def test_missing_cifar10_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*_: object, **__: object) -> None:
        write_torchvision_cifar10(tmp_path / "new", monkeypatch)

    monkeypatch.setattr(torchvision_cifar, "download_and_extract_archive", download)
    assert np.array_equal(load_cifar10(tmp_path / "new").x_test, cifar10_arrays()["x_test"])


@pytest.mark.parametrize("failure", [URLError("no route to host"), RuntimeError("checksum\nwrong"), TimeoutError()])
def test_missing_cifar10_without_network_is_a_user_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    refuse_download(monkeypatch, failure)
    with pytest.raises(UserError) as error:
        load_cifar10(tmp_path)
    text = one_line(error)
    assert "CIFAR-10 is not in" in text
    assert str(tmp_path) in text
    assert "--data-dir" in text


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_damaged_files_of_torchvision_are_a_user_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    files = write_torchvision_cifar10(tmp_path, monkeypatch)
    batch = files / "test_batch"
    if damage == "missing":
        batch.unlink()
    else:
        batch.write_bytes(batch.read_bytes()[:-9])
    with pytest.raises(UserError) as error:
        load_cifar10(tmp_path)
    assert str(files) in one_line(error)
    assert "damaged" in str(error.value)


# The data set


def test_cifar10mnist_is_what_its_labels_say(tmp_path: Path) -> None:
    data = load_cifar10mnist(write_data(tmp_path), 0, quiet)
    assert (len(data.x_train), len(data.x_test)) == (PICTURES, TEST_DIGITS)  # as many as there are pairs of
    for split, seed, n in (("train", 0, PICTURES), ("test", 1, TEST_DIGITS)):
        pictures, digits = cifar10_arrays()[f"x_{split}"][:n], random_digits(10 + seed, n)
        assert np.array_equal(getattr(data, f"x_{split}"), paste(pictures, digits))
        assert getattr(data, f"y_{split}").tolist() == [[i % 10, 9 - i % 10] for i in range(n)]
    assert data.name == "Cifar10Mnist"
    assert data.task_names == ("CIFAR-10 class", "MNIST digit")
    assert data.class_names == (CIFAR10_CLASSES, tuple("0123456789"))
    assert data.mean == (0.4914, 0.4822, 0.4465)
    assert data.std == (0.2023, 0.1994, 0.2010)
    assert data.max_rotation == 20


def test_variant_with_all_digits_has_the_same_bytes_for_the_same_seed_and_others_for_another(tmp_path: Path) -> None:
    for folder in (tmp_path / "a", tmp_path / "b"):
        write_data(folder)
    first = load_cifar10mnist(tmp_path / "a", 123, quiet, ALL)
    assert len(first.x_train) == DIGITS
    assert same_data(first, load_cifar10mnist(tmp_path / "b", 123, quiet, ALL))  # composed anew
    assert same_data(first, load_cifar10mnist(tmp_path / "a", 123, quiet, ALL))  # from the cache
    other = load_cifar10mnist(tmp_path / "a", 124, quiet, ALL)
    assert np.array_equal(first.x_train[:PICTURES], other.x_train[:PICTURES])
    assert not np.array_equal(first.x_train[PICTURES:], other.x_train[PICTURES:])
    assert np.array_equal(first.y_train[:, 1], other.y_train[:, 1])
    assert same_data(first, load_cifar10mnist(tmp_path / "a", 123, quiet, ALL))  # not overwritten by the other seed


def test_variant_without_random_pairs_is_one_data_set_whatever_the_seed(tmp_path: Path) -> None:
    write_data(tmp_path)
    assert same_data(load_cifar10mnist(tmp_path, 0, quiet), load_cifar10mnist(tmp_path, 1, quiet))
    assert [path.name for path in (tmp_path / "Cifar10Mnist").iterdir()] == ["cifar10mnist_50000.npz"]


def test_cifar10mnist_is_composed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data(tmp_path)
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))

    first = load_cifar10mnist(tmp_path, 0, quiet, progress=progress)
    total = PICTURES + TEST_DIGITS
    assert told == [(PICTURES, total), (total, total)]

    def fail(*_: object) -> None:
        raise AssertionError("composed again")

    monkeypatch.setattr(create, "paste", fail)
    assert same_data(first, load_cifar10mnist(tmp_path, 0, quiet, progress=fail))
    assert cache_file(tmp_path, 0, ALIGNED).is_file()


@pytest.mark.parametrize("changed_source", ["pictures", "digits"])
def test_cifar10mnist_is_composed_anew_from_other_sources(tmp_path: Path, changed_source: str) -> None:
    first = load_cifar10mnist(write_data(tmp_path), 0, quiet)
    if changed_source == "pictures":
        write_npz(tmp_path, cifar10_arrays(seed=5))
    else:
        write_idx(tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte", random_digits(5, DIGITS))
    assert not np.array_equal(first.x_train, load_cifar10mnist(tmp_path, 0, quiet).x_train)


def test_a_damaged_cache_is_made_anew(tmp_path: Path) -> None:
    first = load_cifar10mnist(write_data(tmp_path), 0, quiet)
    path = cache_file(tmp_path, 0, ALIGNED)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert same_data(first, load_cifar10mnist(tmp_path, 0, quiet))
    assert path.read_bytes() == content


def test_a_cache_that_cannot_be_written_is_a_warning(tmp_path: Path) -> None:
    (write_data(tmp_path) / "Cifar10Mnist").write_text("a file where the folder should be")
    messages: list[str] = []
    assert len(load_cifar10mnist(tmp_path, 0, messages.append).x_train) == PICTURES
    assert len(messages) == 1
    assert "not cached" in messages[0]


@pytest.mark.parametrize("variant", [0, 40, 59_999])
def test_other_variants_are_refused(tmp_path: Path, variant: int) -> None:
    with pytest.raises(UserError, match="allowed: 50000, 60000") as error:
        load_cifar10mnist(tmp_path, 0, quiet, variant)
    one_line(error)


@pytest.mark.parametrize(("n", "expected"), [(50_000, 10_000), (60_000, 10_000), (30, 6), (2, 0)])
def test_validation_has_10000_images_of_the_whole_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n: int, expected: int
) -> None:
    arrays = {
        "x_train": np.zeros((n, 1, 1, 3), np.uint8),
        "y_train": np.zeros((n, 2), np.int64),
        "x_test": np.zeros((1, 1, 1, 3), np.uint8),
        "y_test": np.zeros((1, 2), np.int64),
    }
    monkeypatch.setattr(create, "cached_arrays", lambda *_: arrays)
    splits = make_splits(load_cifar10mnist(write_data(tmp_path), 0, quiet), CPU)
    assert (len(splits.train), len(splits.validation)) == (n - expected, expected)


def shared(dataset: MultiTaskDataset) -> set[int]:
    """Origins of images in training and in validation; every image is marked by its number."""
    assert dataset.origins is not None
    numbers = np.arange(len(dataset.x_train))
    marked = np.zeros((len(numbers), 1, 1), np.uint8)
    labels = np.stack([numbers] * len(dataset.task_names), axis=1)
    names = (tuple(map(str, numbers)),) * len(dataset.task_names)
    splits = make_splits(
        replace(dataset, x_train=marked, y_train=labels, class_names=names, mean=(0.0,), std=(1.0,)), CPU
    )
    train, validation = (part.labels[:, 0].numpy() for part in (splits.train, splits.validation))
    assert sorted([*train, *validation]) == list(numbers)
    return set(dataset.origins[train]) & set(dataset.origins[validation])


def test_no_photograph_or_digit_is_in_training_and_in_validation(
    tmp_path: Path, colour_digits: MultiTaskDataset
) -> None:
    write_data(tmp_path)
    dataset = load_cifar10mnist(tmp_path, 3, quiet, ALL)
    assert dataset.origins is not None
    assert len(set(dataset.origins)) < len(dataset.origins)
    assert load_cifar10mnist(tmp_path, 3, quiet).origins is None
    for each in (dataset, colour_digits):
        assert shared(each) == set()


def test_origins_of_another_number_are_refused(colour_digits: MultiTaskDataset) -> None:
    with pytest.raises(UserError, match=r"ColourDigits: origins has shape \(7,\); allowed: \(\d+,\)"):
        replace(colour_digits, origins=np.arange(7))


def test_the_registry_loads_both_variants_and_the_demonstration(
    tmp_path: Path, colour_digits: MultiTaskDataset
) -> None:
    write_data(tmp_path)
    wanted = {
        "Cifar10Mnist": load_cifar10mnist(tmp_path, 3, quiet),
        "Cifar10Mnist60k": load_cifar10mnist(tmp_path, 3, quiet, ALL),
        "ColourDigits": colour_digits,
    }
    for name, expected in wanted.items():
        entry = dataset_entry(name)
        found = entry.load(tmp_path, 0 if name == "ColourDigits" else 3, quiet)
        assert found.name == name
        assert same_data(found, expected)
        assert entry.tasks == len(found.task_names)
        assert (entry.backbone, entry.demo) == ("Cifar10Mnist", "ColourDigits")


# The demonstration


@pytest.fixture(scope="module")
def colour_digits() -> MultiTaskDataset:
    return load_colour_digits(Path("nowhere"), 0, quiet)


def test_the_demonstration_needs_no_folder_and_follows_its_seed(
    colour_digits: MultiTaskDataset, tmp_path: Path
) -> None:
    assert same_data(colour_digits, load_colour_digits(tmp_path, 0, quiet))
    other = load_colour_digits(tmp_path, 1, quiet)
    assert not np.array_equal(colour_digits.x_train, other.x_train)
    assert not np.array_equal(colour_digits.x_test, other.x_test)
    assert list(tmp_path.iterdir()) == []


def test_the_demonstration_has_the_form_of_the_data_set(colour_digits: MultiTaskDataset) -> None:
    assert colour_digits.name == "ColourDigits"
    assert colour_digits.x_train.shape == (5600, 32, 32, 3)
    assert colour_digits.x_test.shape == (397, 32, 32, 3)
    assert colour_digits.x_train.dtype == np.uint8
    assert colour_digits.num_outs == [2, 10]
    assert colour_digits.max_rotation == 20
    assert 0.45 < colour_digits.y_train[:, 0].mean() < 0.55
    assert len(make_splits(colour_digits, CPU).validation) == 932  # a sixth, all four copies of a digit or none


def test_the_demonstration_is_composed_like_the_data_set(colour_digits: MultiTaskDataset) -> None:
    """Every digit is on four different crops."""
    crops, digits = load_photographs_source(5600, 397, seed=0), load_digits_source()
    for copy in range(4):
        part = slice(1400 * copy, 1400 * (copy + 1))
        assert np.array_equal(colour_digits.x_train[part], paste(crops.x_train[part], digits.x_train))
        assert np.array_equal(colour_digits.y_train[part], np.stack([crops.y_train[part], digits.y_train], axis=1))
    assert np.array_equal(colour_digits.x_test, paste(crops.x_test, digits.x_test))


def test_crops_for_training_and_test_are_of_disjoint_stripes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pixel tells its row, column and photograph: (row // 2, column // 4, the remainders and the photograph)."""
    row, column = np.mgrid[:427, :640]

    def photograph(number: int) -> np.ndarray:
        code = 100 * number + 10 * (row % 2) + column % 4
        return np.stack([row // 2, column // 4, code], axis=2).astype(np.uint8)

    class Bunch:
        images = (photograph(0), photograph(1))

    monkeypatch.setattr(sklearn.datasets, "load_sample_images", Bunch)
    source = load_photographs_source(3000, 500, seed=3)
    for x, y, stripes in (
        (source.x_train, source.y_train, {0, 1, 3, 4, 5, 6, 8, 9}),
        (source.x_test, source.y_test, {2, 7}),
    ):
        half, quarter, code = np.moveaxis(x.astype(int), 3, 0)
        rows, columns = 2 * half + code // 10 % 10, 4 * quarter + code % 10
        assert np.array_equal(code[:, 0, 0] // 100, y)
        side = np.arange(32)
        assert np.array_equal(rows, np.broadcast_to(rows[:, :1, :1] + side[:, None], rows.shape))
        assert np.array_equal(columns, np.broadcast_to(columns[:, :1, :1] + side, columns.shape))
        assert set(np.unique(columns // 64).tolist()) == stripes
        assert np.array_equal(columns[:, 0, 0] // 64, columns[:, 0, -1] // 64)  # inside one stripe
        assert rows.min() < 20
        assert rows.max() > 406


# Rotation


@pytest.fixture(scope="module")
def splits(colour_digits: MultiTaskDataset) -> Splits:
    return make_splits(replace(first_images(colour_digits, 100, 20), validation_size=20), CPU)


@pytest.fixture
def black(splits: Splits) -> Tensor:
    assert isinstance(splits.black, Tensor)
    return splits.black


def test_black_is_what_a_black_pixel_becomes(black: Tensor) -> None:
    expected = [-mean / std for mean, std in zip(create.MEAN, create.STD, strict=True)]
    assert black.shape == (3, 1, 1)
    assert black.flatten().tolist() == pytest.approx(expected, rel=1e-6)


def rotate_twin(image: Tensor, degrees: float, fill: list[float]) -> Tensor:
    """torchvision's rotation of one image.

    The image gets a margin of the fill first and loses it afterwards: at the very edge of its input torchvision
    weighs the image twice, so that a white edge on black comes out darker than the interpolation makes it.
    """
    margin, (height, width) = 20, image.shape[1:]
    canvas = torch.tensor(fill).view(-1, 1, 1).expand(-1, height + 2 * margin, width + 2 * margin).clone()
    canvas[:, margin:-margin, margin:-margin] = image
    turned: Tensor = transforms.rotate(canvas, degrees, InterpolationMode.BILINEAR, fill=fill)
    return turned[:, margin:-margin, margin:-margin]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-180, 180), min_size=1, max_size=8))
def test_rotate_equals_torchvision_image_by_image(splits: Splits, angles: list[float]) -> None:
    images = splits.train.images[: len(angles)]
    fill = [(0 - mean) / std for mean, std in zip(create.MEAN, create.STD, strict=True)]
    turned = rotate(images, torch.tensor(angles), splits.black)
    expected = torch.stack([rotate_twin(image, angle, fill) for image, angle in zip(images, angles, strict=True)])
    torch.testing.assert_close(turned, expected, rtol=0, atol=2e-4)


def test_rotate_fills_corners_with_black_and_keeps_channels_last(splits: Splits, black: Tensor) -> None:
    turned = rotate(splits.train.images[:5], torch.full((5,), 45.0), black)
    for y, x in ((0, 0), (0, 31), (31, 0), (31, 31)):
        torch.testing.assert_close(turned[:, :, y, x], black.flatten().expand(5, 3), rtol=0, atol=1e-5)
    assert turned.is_contiguous(memory_format=torch.channels_last)


def test_rotate_by_nothing_is_the_identity(splits: Splits) -> None:
    images = splits.train.images
    torch.testing.assert_close(rotate(images, torch.zeros(len(images)), splits.black), images, rtol=0, atol=2e-5)


def one_pass(data: TaskData) -> Tensor:
    return torch.cat([images for images, _ in data.batches(7)])


def test_two_passes_over_the_validation_images_are_identical_and_none_is_turned(
    splits: Splits, colour_digits: MultiTaskDataset
) -> None:
    first, tested = one_pass(splits.validation).clone(), one_pass(splits.test).clone()
    for _ in training_batches(splits, 16, seed=0):
        pass
    assert torch.equal(one_pass(splits.validation), first)
    assert torch.equal(one_pass(splits.test), tested)
    mean, std = torch.tensor(colour_digits.mean), torch.tensor(colour_digits.std)
    restored = (tested.permute(0, 2, 3, 1) * std + mean) * 255
    assert np.array_equal(restored.round().byte().numpy(), colour_digits.x_test[:20])


def test_training_images_are_turned_anew_in_every_epoch(splits: Splits) -> None:
    """One batch per epoch, put back into the order of the data by the order of the same seed."""

    def epoch(seed: int) -> Tensor:
        images: Tensor
        ((images, labels),) = training_batches(splits, len(splits.train), seed)
        order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(seed))
        assert torch.equal(labels, splits.train.labels[order])
        return images[order.argsort()]

    first, second = epoch(0), epoch(1)
    assert torch.equal(first, epoch(0))
    for i in range(len(splits.train)):
        assert not torch.allclose(first[i], second[i], atol=1e-3)
        assert not torch.allclose(first[i], splits.train.images[i], atol=1e-3)


# The command


def run(*arguments: str, folder: Path, output: Path) -> int:
    return main(create.__doc__, ["--data-dir", str(folder), "--output-dir", str(output), *arguments])


def test_the_command_run_as_a_file_writes_the_cache_and_a_picture(tmp_path: Path) -> None:
    folder, output = write_data(tmp_path / "data"), tmp_path / "out"
    done = subprocess.run(
        [
            *(sys.executable, "Data_loaders/Create_Cifar10Mnist_dataset.py", "--variant", "60000", "--seed", "7"),
            *("--data-dir", str(folder), "--output-dir", str(output)),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    picture, cache = output / "Images" / "Cifar10Mnist60k" / "samples.png", cache_file(folder, 7, ALL)
    assert done.stdout.splitlines() == [
        "composed 60 of 60 images",
        "Cifar10Mnist60k: 40 training and 20 test images; written:",
        f"  {cache}",
        f"  {picture}",
    ]
    with Image.open(picture) as image:
        image.verify()
    assert [path for path in output.rglob("*") if path.is_file()] == [picture]

    def fail(*_: object) -> None:
        raise AssertionError("composed again")

    assert len(load_cifar10mnist(folder, 7, quiet, ALL, fail).x_train) == DIGITS


def test_the_command_uses_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, output = write_data(tmp_path / "data"), tmp_path / "out"
    assert run(folder=folder, output=output) == 0
    assert "composed 50 of 50 images" in capsys.readouterr().out
    assert run(folder=folder, output=output) == 0
    screen = capsys.readouterr().out
    assert "composed" not in screen
    assert f"{cache_file(folder, 0, ALIGNED)} (was there before)" in screen


def test_a_terminal_gets_a_progress_bar_and_others_a_line_per_10000_images(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def show() -> Any:
        display = _Display()
        for done in range(4_000, 28_001, 4_000):
            display(done, 28_000)
        return capsys.readouterr()

    screen = show()
    assert [line.split()[1] for line in screen.out.splitlines()] == ["12,000", "20,000", "28,000"]
    assert screen.err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    screen = show()
    assert screen.out == ""
    assert "composing: 100%" in screen.err
    assert "28000/28000" in screen.err


BAD = {
    "other variant": (["--variant", "40000"], "invalid choice: 40000"),
    "no number": (["--seed", "many"], "--seed"),
    "negative seed": (["--seed", "-1"], "seed is -1; allowed: 0 to 2**32 - 1"),
    "large seed": (["--seed", str(2**32)], "allowed: 0 to 2**32 - 1"),
    "unknown flag": (["--size", "3"], "--size"),
    "unknown word": (["now"], "now"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_one_line_and_exit_code_2(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments, text = BAD[case]
    assert run(*arguments, folder=tmp_path / "data", output=tmp_path / "out") == 2
    screen = capsys.readouterr()
    assert screen.err.startswith("error: ")
    assert screen.err.count("\n") == 1
    assert text in screen.err
    assert screen.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("obstacle", ["no network", "damaged", "cache", "picture"])
def test_obstacles_are_one_line_and_exit_code_2(
    obstacle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, output = write_data(tmp_path / "data"), tmp_path / "out"
    if obstacle == "no network":
        (folder / "cifar10.npz").unlink()
        refuse_download(monkeypatch, URLError("no route to host"))
    elif obstacle == "damaged":
        (folder / "cifar10.npz").write_bytes(b"half a download")
    elif obstacle == "cache":
        (folder / "Cifar10Mnist").write_text("a file where the folder should be")
    else:
        output.write_text("a file where the folder should be")
    assert run(folder=folder, output=output) == 2
    screen = capsys.readouterr()
    assert screen.err.startswith("error: ")
    assert screen.err.count("\n") == 1


def test_an_interrupted_command_leaves_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(create, "paste", interrupt)
    folder = write_data(tmp_path / "data")
    assert run(folder=folder, output=tmp_path / "out") == 130
    assert not (folder / "Cifar10Mnist").exists()
    assert not (tmp_path / "out").exists()


def test_help_explains_the_flags(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(create.__doc__, ["--help"])
    assert left.value.code == 0
    screen = capsys.readouterr().out
    assert "half transparent MNIST digit" in screen
    for flag in ("--data-dir", "--variant", "--seed", "--output-dir", "50000", "60000", "[0]"):
        assert flag in screen
