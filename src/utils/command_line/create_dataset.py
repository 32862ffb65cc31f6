"""Compose Cifar10Mnist, keep it in the data folder and draw ten samples of it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from Data_loaders.Create_Cifar10Mnist_dataset import ALIGNED, ALL, NAMES, VARIANTS, cache_file, load_cifar10mnist
from Data_loaders.sources import data_folder
from src.utils.command_line.parser import Parser, exit_code
from src.utils.errors import UserError
from src.utils.files import check_writable
from src.utils.report.run import draw_samples
from src.utils.report.style import pictures_as
from src.utils.runs.config import ROOT
from src.utils.runs.samples import samples_of


def main(description: str | None, arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    return exit_code(lambda: _create(description, arguments))


def _create(description: str | None, arguments: Sequence[str] | None) -> None:
    chosen = _parse(description, arguments)
    folder, display = data_folder(chosen.data_dir), _Display()
    images = Path(chosen.output_dir or ROOT) / "Images" / NAMES[chosen.variant]
    cache = cache_file(folder, chosen.seed, chosen.variant)
    for place in (images, *([] if cache.exists() else [cache.parent])):
        check_writable(place)
    dataset = load_cifar10mnist(folder, chosen.seed, _refuse, chosen.variant, display)
    picture = images / "samples.png"
    with pictures_as(chosen.figure_format):
        pictures = draw_samples(picture, samples_of(dataset), f"{dataset.name}: {', '.join(dataset.task_names)}")
    print(f"{dataset.name}: {len(dataset.x_train):,} training and {len(dataset.x_test):,} test images; written:")
    print(f"  {cache}{'' if display.done else ' (was there before)'}")
    for path in pictures:
        print(f"  {path}")


def _parse(description: str | None, arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=description)
    parser.add_argument("--data-dir", "--data_dir", help="folder of the data sets; default: $MDMTN_DATA, else Data/")
    parser.add_argument("--variant", type=int, default=ALIGNED, choices=VARIANTS, help="training images [%(default)s]")
    parser.add_argument(
        "--seed", type=int, default=0, help=f"of the random pictures of the variant of {ALL} [%(default)s]"
    )
    parser.add_argument("--output-dir", "--output_dir", help="folder under which Images/ is; default: the project")
    parser.add_argument("--figure_format", default="png", choices=("png", "pdf"), help="pdf: the picture as PDF, too")
    chosen = parser.parse_args(arguments)
    if not 0 <= chosen.seed < 2**32:
        raise UserError(f"seed is {chosen.seed}; allowed: 0 to 2**32 - 1")
    return chosen


def _refuse(text: str) -> None:
    """For a command whose purpose is to write the cache, what is a warning to others is an error."""
    raise UserError(text)


class _Display:
    """A progress bar on a terminal, a line per 10,000 images elsewhere."""

    def __init__(self) -> None:
        self.done = 0
        self._bar: tqdm[NoReturn] | None = None

    def __call__(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._bar = self._bar or tqdm(total=total, desc="composing", unit="image", file=sys.stderr)
            self._bar.update(done - self.done)
            if done == total:
                self._bar.close()
        elif done == total or done // 10_000 > self.done // 10_000:
            print(f"composed {done:,} of {total:,} images", flush=True)
        self.done = done
