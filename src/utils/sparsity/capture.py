"""What a network computes in evaluation mode, followed step by step with torch.fx."""

from __future__ import annotations

import copy
import operator
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from src.models.image_linear import ImageLinear
from src.utils.errors import UserError
from src.utils.program import INPUT
from src.utils.sparsity.graph import Graph
from src.utils.sparsity.tracing import Other, Tracer

_ADD = {operator.add, operator.iadd, torch.add, "add", "add_", "__add__", "__radd__"}
_SUB = {operator.sub, operator.isub, torch.sub, "sub", "sub_", "__sub__"}
_MUL = {operator.mul, operator.imul, torch.mul, "mul", "mul_", "__mul__", "__rmul__"}
_DIV = {operator.truediv, torch.div, "div", "__truediv__"}
_CAT = {torch.cat, torch.concat}
_FLATTEN = {torch.flatten, torch.reshape, "flatten", "reshape", "view"}
_POINTWISE: dict[Any, str] = {
    **dict.fromkeys((nn.ReLU, torch.relu, torch.relu_, functional.relu, "relu", "relu_"), "relu"),
    **dict.fromkeys((nn.Sigmoid, torch.sigmoid, functional.sigmoid, "sigmoid"), "sigmoid"),
    **dict.fromkeys((nn.Tanh, torch.tanh, functional.tanh, "tanh"), "tanh"),
}
_NOTHING = (nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)  # in evaluation mode
UNSUPPORTED = "of a kind that is not supported"
GROUPS = "a convolution with groups"
REUSED = "used more than once"


def capture(network: nn.Module, example: Tensor) -> Graph:
    """The steps of a network in evaluation mode, with copies of its tensors in float64.

    A layer that no step stands for becomes a "module" step; what is computed from it is followed again.

    Args:
        network: left untouched.
        example: at least one image, shape (N, C, H, W).

    Raises:
        UserError: if the network cannot be followed or its outputs are no tensors.
    """
    clone = copy.deepcopy(network).eval()
    tracer = Tracer()
    try:
        with torch.no_grad():
            nodes = list(tracer.trace(clone).nodes)
            return _Capture(clone, nodes, example[[0, 0]]).run()
    except (fx.proxy.TraceError, TypeError, AttributeError, RuntimeError, ValueError, LookupError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"the steps of {type(network).__name__} cannot be followed: {reason}") from error


class _Capture:
    """Runs the nodes on an example, so that all shapes are known, and writes a step for each."""

    def __init__(self, network: nn.Module, nodes: list[fx.Node], example: Tensor) -> None:
        self.network, self.nodes = network, nodes
        self.graph = Graph(tuple(example.shape[1:]))
        self.values: dict[str, Any] = {}  # of each node, on the example
        self.names: dict[str, str] = {}  # of the step that makes a node's value
        self.fixed: dict[str, Any] = {}  # what does not depend on the images
        self.example = example
        calls = Counter(node.target for node in nodes if node.op == "call_module")
        self.reused = {target for target, times in calls.items() if times > 1 and _has_tensors(self._module(target))}

    def run(self) -> Graph:
        for node in self.nodes:
            if node.op == "placeholder":
                if self.names:
                    raise UserError(f"{type(self.network).__name__} reads more than the images: it is not supported")
                self.values[node.name], self.names[node.name] = self.example, INPUT
            elif node.op == "output":
                self._finish(node.args[0])
            elif node.op == "get_attr":
                self.fixed[node.name] = self.values[node.name] = operator.attrgetter(str(node.target))(self.network)
            else:
                self._call(node)
        return self.graph

    def _finish(self, outputs: Any) -> None:
        outputs = outputs if isinstance(outputs, list | tuple) else [outputs]
        if not all(isinstance(node, fx.Node) and isinstance(self.values[node.name], Tensor) for node in outputs):
            raise UserError(f"the outputs of {type(self.network).__name__} are no list of tensors")
        self.graph.outputs = [self.names[node.name] for node in outputs]

    def _module(self, target: Any) -> nn.Module:
        return self.network.get_submodule(str(target))

    def _call(self, node: fx.Node) -> None:
        target = self._module(node.target) if node.op == "call_module" else node.target
        other = Other(node, target, self.fixed)
        value = other(*(self.values[name] for name in other.names))
        self.values[node.name] = value
        if not other.names:
            self.fixed[node.name] = value
            return
        source = str(node.target) if node.op == "call_module" else node.name
        name = self._step(node, target) if self._shape(value) and node.target not in self.reused else None
        if name is None:
            name = self._add(node, "module", *other.names)
            self.graph.modules[name] = other
            if isinstance(value, Tensor):
                self.graph.left[source] = REUSED if node.target in self.reused else UNSUPPORTED
        self.names[node.name] = name
        self.graph.sources[name] = source

    def _shape(self, value: Any) -> tuple[int, ...]:
        """Of one image; empty for what has no images in it."""
        good = isinstance(value, Tensor) and value.ndim in (2, 4) and len(value) == len(self.example)
        return tuple(value.shape[1:]) if good and value.is_floating_point() else ()

    def _add(self, node: fx.Node, op: str, *inputs: str, **options: Any) -> str:
        tensors = {key: value for key, value in options.items() if isinstance(value, Tensor)}
        plain = {key: value for key, value in options.items() if key not in tensors}
        read = tuple(self.names[name] for name in inputs)
        doubles = {key: tensor.detach().double() for key, tensor in tensors.items()}
        return self.graph.add(node.name, op, read, self._shape(self.values[node.name]), doubles, **plain)

    def _step(self, node: fx.Node, target: Any) -> str | None:
        """Name of the value of a node that a step stands for; None if none does."""
        if target in _CAT:
            return self._cat(node)
        if target in _ADD | _SUB | _MUL | _DIV:
            return self._arithmetic(node, target)
        x = node.args[0].name if node.args and isinstance(node.args[0], fx.Node) else ""
        if x not in self.names or not self._shape(self.values[x]):
            return None
        kind = type(target) if isinstance(target, nn.Module) else target
        if kind in _NOTHING:
            return self.names[x]
        if kind in _POINTWISE:
            return self._add(node, _POINTWISE[kind], x)
        if kind in _FLATTEN or kind is nn.Flatten:
            return self._flatten(node, x)
        if isinstance(target, nn.Module):
            return self._layer(node, target, x)
        return self._pool_function(node, target, x)

    def _flatten(self, node: fx.Node, x: str) -> str | None:
        before, after = self.values[x], self.values[node.name]
        if after.shape == before.shape:
            return self.names[x]
        same = after.ndim == 2 and after.numel() == before.numel()
        return self._add(node, "flatten", x, channels_last=False) if same else None

    def _layer(self, node: fx.Node, layer: nn.Module, x: str) -> str | None:
        if type(layer) is ImageLinear:
            return self._image_linear(node, layer, x)
        if type(layer) is nn.Linear:
            if self.values[x].ndim != 2:
                return None
            return self._add(node, "linear", x, weight=layer.weight, **_bias(layer))
        if type(layer) is nn.Conv2d:
            return self._convolution(node, layer, x)
        if type(layer) in (nn.BatchNorm1d, nn.BatchNorm2d):
            return self._batch_norm(node, layer, x)  # type: ignore[arg-type]
        if type(layer) is nn.MaxPool2d and not layer.return_indices:
            return self._add(node, "max_pool2d", x, **_pool(layer), dilation=_plain(layer.dilation))
        if type(layer) is nn.AvgPool2d and layer.divisor_override is None:
            return self._add(node, "avg_pool2d", x, **_pool(layer), count_include_pad=layer.count_include_pad)
        return None

    def _image_linear(self, node: fx.Node, layer: ImageLinear, x: str) -> str:
        flat, sizes = f"{node.name}_flat", (layer.in_features,)
        self.names[flat] = self.graph.add(flat, "flatten", (self.names[x],), sizes, channels_last=False)
        return self._add(node, "linear", flat, weight=layer.weight, **_bias(layer))

    def _convolution(self, node: fx.Node, layer: nn.Conv2d, x: str) -> str | None:
        if layer.padding_mode != "zeros" or layer.padding == "same":
            return None
        padding = (0, 0) if layer.padding == "valid" else tuple(layer.padding)
        if layer.groups != 1:
            self.graph.left[str(node.target)] = GROUPS
        sizes = {"stride": layer.stride, "padding": padding, "dilation": layer.dilation, "groups": layer.groups}
        return self._add(node, "conv2d", x, weight=layer.weight, **_bias(layer), **sizes)

    def _batch_norm(self, node: fx.Node, layer: nn.BatchNorm1d | nn.BatchNorm2d, x: str) -> str | None:
        if layer.running_mean is None or layer.running_var is None:
            return None
        mean, variance = layer.running_mean.double(), layer.running_var.double()
        scale = (variance + layer.eps).rsqrt() * (1.0 if layer.weight is None else layer.weight.double())
        shift = -mean * scale + (0.0 if layer.bias is None else layer.bias.double())
        return self._add(node, "affine", x, scale=scale, shift=shift)

    def _pool_function(self, node: fx.Node, target: Any, x: str) -> str | None:
        makers: dict[Any, Callable[..., nn.Module]] = {
            functional.max_pool2d: nn.MaxPool2d,
            functional.avg_pool2d: nn.AvgPool2d,
        }
        if target not in makers or any(isinstance(value, fx.Node) for value in node.args[1:]):
            return None
        return self._layer(node, makers[target](*node.args[1:], **node.kwargs), x)

    def _cat(self, node: fx.Node) -> str | None:
        parts = node.args[0]
        names = [part.name for part in parts if isinstance(part, fx.Node)] if isinstance(parts, list | tuple) else []
        same = len(names) == len(parts) and all(self._shape(self.values[name]) for name in names)  # type: ignore[arg-type]
        if not same or self.values[node.name].shape[1] != sum(self.values[name].shape[1] for name in names):
            return None
        return self._add(node, "cat", *names)

    def _arithmetic(self, node: fx.Node, target: Any) -> str | None:
        """Sums, differences, products and quotients of two values, or of a value and numbers (one, or per channel)."""
        if node.kwargs or len(node.args) != 2:
            return None
        a, b = (arg.name if isinstance(arg, fx.Node) and arg.name in self.names else "" for arg in node.args)
        if a and b:
            shapes = {self._shape(self.values[name]) for name in (a, b)}
            if target in _DIV or shapes != {self._shape(self.values[node.name])}:
                return None
            return self._add(node, "mul", a, b) if target in _MUL else self._sum(node, a, b, target)
        x, other = (a, node.args[1]) if a else (b, node.args[0])
        number = self._number(other, self.values[x])
        if number is None or (target in _DIV and (x == b or not number.all())):
            return None
        if target in _MUL | _DIV:
            factor = number if target in _MUL else 1 / number
            if number.numel() == 1:
                return self._add(node, "scale", x, factor=float(factor))
            return self._add(node, "affine", x, scale=factor, shift=torch.zeros_like(factor))
        channels = self.graph.channels(self.names[x])
        shift = number.expand(channels) * (-1 if target in _SUB and x == a else 1)
        scale = torch.full((channels,), -1.0 if target in _SUB and x == b else 1.0)
        return self._add(node, "affine", x, scale=scale, shift=shift)

    def _sum(self, node: fx.Node, a: str, b: str, target: Any) -> str:
        return self._add(node, "add", a, b, factor=-1.0 if target in _SUB else 1.0)

    def _number(self, value: Any, x: Tensor) -> Tensor | None:
        """A number, or one per channel, shape (1,) or (C,), in float64; None for what varies otherwise."""
        if isinstance(value, fx.Node):
            value = self.fixed.get(value.name)
        if isinstance(value, bool) or not isinstance(value, int | float | Tensor) or not self._shape(x):
            return None
        number = torch.as_tensor(value).detach().double()
        if number.numel() == 1:
            return number.reshape(1)
        wanted = (x.shape[1], *(1 for _ in x.shape[2:]))
        return number.reshape(-1) if tuple(number.shape) in (wanted, (1, *wanted)) else None


def _has_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters())


def _bias(layer: nn.Linear | nn.Conv2d) -> dict[str, Tensor]:
    return {} if layer.bias is None else {"bias": layer.bias}


def _plain(size: Any) -> Any:
    return tuple(size) if isinstance(size, list | tuple) else size


def _pool(layer: nn.MaxPool2d | nn.AvgPool2d) -> dict[str, Any]:
    sizes = {name: _plain(getattr(layer, name)) for name in ("kernel_size", "stride", "padding")}
    return {**sizes, "ceil_mode": layer.ceil_mode}
