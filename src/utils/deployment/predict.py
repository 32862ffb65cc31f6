"""A trained network asked what pictures show, whatever file it is in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from src.models.exported import RawImages
from src.models.registry import load_model
from src.utils.deployment.inputs import Inputs
from src.utils.deployment.onnx import SUFFIX, OnnxNetwork


@dataclass(frozen=True)
class Answer:
    """What a network says of one picture.

    Attributes:
        image: file of the picture.
        classes: the most probable class of each task.
        probabilities: of these classes, by the softmax of the logits.
    """

    image: Path
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict(model: Path, images: Sequence[Path]) -> tuple[Inputs, list[Answer]]:
    """The most probable class of every task for pictures.

    Args:
        model: a model file, compressed or not, or one in the format ONNX.
        images: files of pictures of any size.

    Returns:
        What the network takes and how its tasks are called, and an answer per picture.

    Raises:
        UserError: if the model or a picture cannot be read.
    """
    if model.suffix == SUFFIX:
        exported = OnnxNetwork.read(model)
        inputs = exported.inputs
        logits = exported(np.stack([inputs.read(path) for path in images]))
    else:
        saved = load_model(model)
        inputs = Inputs.of_results(model, saved.results)
        network = RawImages(saved.network, inputs.mean, inputs.std)
        with torch.inference_mode():
            batch = torch.from_numpy(np.stack([inputs.read(path) for path in images]))
            logits = [output.numpy() for output in network(batch)]
    return inputs, [_answer(path, inputs, [task[number] for task in logits]) for number, path in enumerate(images)]


def _answer(path: Path, inputs: Inputs, logits: Sequence[NDArray[np.float32]]) -> Answer:
    classes, probabilities = [], []
    for names, values in zip(inputs.class_names, logits, strict=True):
        weights = np.exp(values.astype(np.float64) - values.max())
        best = int(weights.argmax())
        classes.append(names[best])
        probabilities.append(float(weights[best] / weights.sum()))
    return Answer(path, tuple(classes), tuple(probabilities))
