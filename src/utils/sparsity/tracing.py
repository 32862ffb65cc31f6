"""How torch.fx goes through a network of which parts cannot be followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from src.models.image_linear import ImageLinear


class Tracer(fx.Tracer):
    """Parameters stay tensors, so that a network may index them; a layer that cannot be followed is one step."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, ImageLinear) or super().is_leaf_module(m, module_qualified_name)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        before = list(self.graph.nodes)
        try:
            return super().call_module(m, forward, args, kwargs)
        except (fx.proxy.TraceError, TypeError, AttributeError, RuntimeError, ValueError):
            for node in [node for node in reversed(self.graph.nodes) if node not in before]:
                self.graph.erase_node(node)
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)


class Other(nn.Module):
    """Anything torch.fx can call, as a layer that reads the values of the nodes among its arguments."""

    def __init__(self, node: fx.Node, target: Any, tensors: dict[str, Any]) -> None:
        super().__init__()
        self.target = target  # a module, a function, or the name of a method
        self.names = [read.name for read in node.all_input_nodes if read.name not in tensors]
        constant = fx.node.map_arg((node.args, node.kwargs), lambda read: tensors.get(read.name, _Read(read.name)))
        self.args, self.kwargs = constant

    def forward(self, *values: Any) -> Any:
        known = dict(zip(self.names, values, strict=True))
        fill = lambda item: known[item.name] if isinstance(item, _Read) else item  # noqa: E731
        args = fx.node.map_aggregate(self.args, fill)
        kwargs = fx.node.map_aggregate(self.kwargs, fill)
        if isinstance(self.target, str):
            return getattr(args[0], self.target)(*args[1:], **kwargs)
        return self.target(*args, **kwargs)


class _Read:
    """Stands for the value of a node."""

    def __init__(self, name: str) -> None:
        self.name = name
