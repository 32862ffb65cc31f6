"""What images a trained network takes, and what its answers are called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from src.utils.errors import UserError
from src.utils.files import finite
from src.utils.runs.schema import part_of_results


@dataclass(frozen=True)
class Inputs:
    """Images as files hold them, and the names of tasks and classes.

    Attributes:
        shape: of an image, (H, W) for grey or (H, W, 3) for coloured ones, uint8.
        mean, std: per channel, of pixels in [0, 1], for the normalisation.
        task_names: one per task.
        class_names: of every task, in the order of the class numbers.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    task_names: tuple[str, ...]
    class_names: tuple[tuple[str, ...], ...]

    @staticmethod
    def of_results(path: Path, results: Mapping[str, Any]) -> Inputs:
        """From the results beside a model in a file.

        Raises:
            UserError: if they do not say it, as those of a user's own tensors.
        """
        try:
            found = part_of_results(finite(results), "images", "task_names")
        except ValueError as error:
            raise UserError(f"{path} does not say what images it takes: train the model again") from error
        if not found["images"]:
            raise UserError(f"{path} does not say what images it takes: train the model on a data set by its name")
        return _inputs({**found["images"], "task_names": found["task_names"]})

    def as_text(self) -> str:
        """For the metadata of a file."""
        return json.dumps(asdict(self))

    @staticmethod
    def of_text(path: Path, text: str) -> Inputs:
        """Inverse of :meth:`as_text`.

        Raises:
            UserError: naming the file, for anything else.
        """
        try:
            return _inputs(json.loads(text))
        except (ValueError, TypeError, LookupError) as error:
            raise UserError(f"{path} does not say what images it takes: export the model again") from error

    def read(self, path: Path) -> NDArray[np.uint8]:
        """A picture as the network takes it: made grey or coloured, and resized, bilinear with anti-aliasing.

        Raises:
            UserError: if it cannot be read.
        """
        try:
            with Image.open(path) as image:
                fitting = image.convert("L" if len(self.shape) == 2 else "RGB")
                size = (self.shape[1], self.shape[0])
                if fitting.size != size:
                    fitting = fitting.resize(size, Image.Resampling.BILINEAR)
                return np.asarray(fitting)
        except FileNotFoundError as error:
            raise UserError(f"no such file: {path}") from error
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise UserError(f"{path} cannot be read; allowed: a picture, as PNG or JPEG") from error


def _inputs(content: Mapping[str, Any]) -> Inputs:
    return Inputs(
        tuple(map(int, content["shape"])),
        tuple(map(float, content["mean"])),
        tuple(map(float, content["std"])),
        tuple(map(str, content["task_names"])),
        tuple(tuple(map(str, names)) for names in content["class_names"]),
    )
