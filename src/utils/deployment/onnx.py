"""Networks in the format ONNX: written, checked against torch, and run by ONNX Runtime.

The packages of requirements-export.txt are imported where they are needed: the rest works without them.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
import tempfile
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from Data_loaders.datasets import MultiTaskDataset
from Data_loaders.loaders import normalise
from src.models.exported import RawImages
from src.models.multi_task import MultiTaskNetwork
from src.utils.deployment.inputs import Inputs
from src.utils.errors import UserError
from src.utils.files import write_bytes
from src.utils.sparsity.figures import BATCH_SIZES, SECONDS, latency_ms

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
SUFFIX, INPUT, KEY, SEAL = ".onnx", "images", "mdmtn", b"mdmtn_sha256"
TOLERANCE = 1e-4  # of the largest logit
CHUNK = 500
ROUNDED = ("MatMul", "Gather")

Logits = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Export:
    """What became of a network.

    Attributes:
        path: the file.
        bytes: its size.
        images: number of test images that it was checked on.
        max_difference: largest absolute difference of a logit from torch's.
        other_classes: answers, of all tasks, that differ from torch's.
        accuracy: on the test images, percent per task.
        accuracy_before: that of torch.
        latency_ms: median time of a batch in ONNX Runtime on one thread of the CPU, by batch size.
    """

    path: Path
    bytes: int
    images: int
    max_difference: float
    other_classes: int
    accuracy: tuple[float, ...]
    accuracy_before: tuple[float, ...]
    latency_ms: dict[int, float]


class OnnxNetwork:
    """A network in the format ONNX, run on one thread of the CPU.

    Args:
        content: of the file.
        path: its name, for messages.

    Raises:
        UserError: if it cannot be run or was not written by this program.
    """

    def __init__(self, content: bytes, path: Path) -> None:
        runtime = _needed("onnxruntime")
        if not _is_sealed(content):
            raise UserError(f"{path} cannot be read: it is damaged, or no network that this program has exported")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except (*_broken(runtime), RuntimeError) as error:
            raise UserError(f"{path} cannot be read: it is damaged, or no network in the format ONNX") from error
        self.inputs = Inputs.of_text(path, self._session.get_modelmeta().custom_metadata_map.get(KEY, ""))
        self._path, self._broken = path, _broken(runtime)

    @staticmethod
    def read(path: Path) -> OnnxNetwork:
        """The network in a file.

        Raises:
            UserError: if it is missing or cannot be run.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        return OnnxNetwork(content, path)

    def __call__(self, images: NDArray[np.uint8]) -> Logits:
        """Logits per task, (N, classes), for images (N, H, W) or (N, H, W, 3).

        Raises:
            UserError: if the network does not take the images that its file says, or has other classes.
        """
        try:
            logits = list(self._session.run(None, {INPUT: images}))
        except (*self._broken, RuntimeError, ValueError) as error:
            raise UserError(f"{self._path} does not take the images that it says: export the model again") from error
        wanted = [(len(images), len(names)) for names in self.inputs.class_names]
        if [getattr(task, "shape", None) for task in logits] != wanted:
            raise UserError(f"{self._path} has other classes than it says: export the model again")
        return logits


def export(network: MultiTaskNetwork, inputs: Inputs, data: MultiTaskDataset, path: Path, *, int8: bool) -> Export:
    """Write a network that takes raw images, in batches of any size, after it has answered as torch does.

    :func:`check_packages` has passed.

    Args:
        network: on normalised images.
        inputs: what images it takes; kept in the file.
        data: whose test images it is checked on.
        path: the file.
        int8: round the linear layers to 8 bits, by ONNX Runtime's dynamic quantisation; any difference is allowed then.

    Raises:
        UserError: if the network cannot be written, or answers otherwise; no file is left then.
    """
    content = _written(network, inputs)
    content = _sealed(_rounded(content) if int8 else content)
    exported = OnnxNetwork(content, path)
    before, after = _torch(network, inputs, data.x_test), _in_chunks(exported, data.x_test)
    difference = max(float(np.abs(a - b).max()) for a, b in zip(before, after, strict=True))
    largest = max(float(np.abs(logits).max()) for logits in before)
    if not int8 and not difference <= TOLERANCE * largest:
        raise UserError(f"{path} is not written: its logits of up to {largest:.3g} are {difference:.1e} from torch's")
    other = sum(int((a.argmax(1) != b.argmax(1)).sum()) for a, b in zip(before, after, strict=True))
    write_bytes(path, content)
    return Export(
        path,
        len(content),
        len(data.x_test),
        difference,
        other,
        _accuracy(after, data.y_test),
        _accuracy(before, data.y_test),
        {size: latency_ms([exported], _batch(data.x_test, size), SECONDS)[0] for size in BATCH_SIZES},
    )


def check_packages() -> None:
    """Refuse an export without the packages it needs.

    Raises:
        UserError: naming the first that is not installed.
    """
    for package in PACKAGES:
        _needed(package)


def _needed(package: str) -> Any:
    """A package of the export, imported.

    Raises:
        UserError: if it is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UserError(f"{package} is not installed: pip install -r requirements-export.txt") from error


def _broken(runtime: Any) -> Any:
    """What ONNX Runtime raises."""
    found = vars(runtime.capi.onnxruntime_pybind11_state).values()
    return tuple(error for error in found if isinstance(error, type) and issubclass(error, Exception))


def _sealed(content: bytes) -> bytes:
    """A model with a checksum of it at its end, as one more entry of its metadata.

    A message of protocol buffers may be continued by a further entry of a repeated field, here ``metadata_props``,
    number 14, of key and value: other programs read it as an entry like any other.
    """
    digest = hashlib.sha256(content).hexdigest().encode()
    entry = b"".join(bytes([tag, len(text)]) + text for tag, text in ((0x0A, SEAL), (0x12, digest)))
    return content + bytes([0x72, len(entry)]) + entry


def _is_sealed(content: bytes) -> bool:
    """Whether it ends in its checksum."""
    body = content[: len(content) - len(_sealed(b""))]
    return _sealed(body) == content


def _written(network: MultiTaskNetwork, inputs: Inputs) -> bytes:
    raw = RawImages(network.cpu(), inputs.mean, inputs.std)
    example = torch.zeros((3, *inputs.shape), dtype=torch.uint8)
    names = [name.replace(" ", "_") for name in inputs.task_names]
    shapes = ({0: torch.export.Dim("batch")},)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            raw, (example,), dynamo=True, dynamic_shapes=shapes, input_names=[INPUT], output_names=names, verbose=False
        )
    assert program is not None
    model = program.model_proto
    for part in (model.graph, *model.graph.node, *model.graph.input, *model.graph.output, *model.graph.value_info):
        del part.metadata_props[:]  # where in which source file a step comes from
        part.doc_string = ""
    for function in model.functions:
        del function.metadata_props[:]
    del model.metadata_props[:]
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, inputs.as_text()
    return bytes(model.SerializeToString())


def _rounded(content: bytes) -> bytes:
    """The model with linear layers of 8 bits; convolutions, a few numbers that take most of the time, stay as they are.

    The weights of a compressed layer, which are picked from a table, become numbers again when the file is loaded;
    other layers round what they read, too, batch by batch.
    """
    onnx, quantization = _needed("onnx"), _needed("onnxruntime.quantization")
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / f"model{SUFFIX}"
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it recommends a step that torch's exporter has taken
        try:
            options = {"per_channel": True, "op_types_to_quantize": list(ROUNDED)}
            quantization.quantize_dynamic(onnx.load_from_string(content), small, **options)
        finally:
            logging.disable(level)
        return small.read_bytes()


def _torch(network: MultiTaskNetwork, inputs: Inputs, images: NDArray[np.uint8]) -> Logits:
    cpu = torch.device("cpu")

    def answer(chunk: NDArray[np.uint8]) -> Logits:
        with torch.inference_mode():
            return [output.numpy() for output in network(normalise(chunk, inputs.mean, inputs.std, cpu))]

    network.eval()
    return _in_chunks(answer, images)


def _in_chunks(answer: Any, images: NDArray[np.uint8]) -> Logits:
    parts = [answer(images[start : start + CHUNK]) for start in range(0, len(images), CHUNK)]
    return [np.concatenate(task) for task in zip(*parts, strict=True)]


def _accuracy(logits: Logits, labels: NDArray[Any]) -> tuple[float, ...]:
    return tuple(100 * float((task.argmax(1) == labels[:, i]).mean()) for i, task in enumerate(logits))


def _batch(images: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    return images[np.arange(size) % len(images)]
