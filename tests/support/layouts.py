"""The same values in other places: tensors as they lie in memory after a rotation, a crop, a repeat. And tensors to begin with.

Code that flattens what it then writes to, or takes strides for granted, gives other results for them.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1]))


def photo(frames: int = 2, height: int = 40, width: int = 36) -> Tensor:
    return random(frames, 3, height, width)


def plane(frames: int = 2, height: int = 40, width: int = 36) -> Tensor:
    """A soft step with noise, so that there are edges and slopes."""
    step = torch.linspace(-4, 4, width).sigmoid() * torch.linspace(0.6, 1, height)[:, None]
    return (0.9 * step + 0.1 * random(frames, 1, height, width)).contiguous()


def moved(x: Tensor, source: int, target: int) -> Tensor:
    """Of the same shape and values; in memory the axis `source` lies where `target` should."""
    return x.movedim(source, target).contiguous().movedim(target, source)


def sliced(x: Tensor) -> Tensor:
    """Every other row and column of a larger tensor, from the second on; what lies between would be noticed."""
    axes = range(max(x.ndim - 2, 0), x.ndim)
    large = x.new_ones([2 * n + 1 if i in axes else n for i, n in enumerate(x.shape)]) * 7
    view = large[tuple(slice(1, None, 2) if i in axes else slice(None) for i in range(x.ndim))]
    return view.copy_(x)


def repeated(x: Tensor, axis: int) -> Tensor:
    """The first of an axis for all of it: one place in memory for several elements."""
    return x.narrow(axis, 0, 1).expand_as(x)


SAME_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "height and width swapped": lambda x: x.transpose(-1, -2).contiguous().transpose(-1, -2) if x.ndim > 1 else x,
    "channels last": lambda x: moved(x, 1, -1) if x.ndim > 2 else x,
    "frames last": lambda x: moved(x, 0, -1) if x.ndim > 1 else x,
    "sliced": sliced,
}
FEWER_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "one frame for all": lambda x: repeated(x, 0),
    "one channel for all": lambda x: repeated(x, 1) if x.ndim > 2 else x,
    "one row for all": lambda x: repeated(x, -2) if x.ndim > 1 else x,
}


def memory(x: Tensor) -> Tensor:
    """All that the tensor is a view of."""
    return torch.empty(0, dtype=x.dtype).set_(x.untyped_storage())


def values_in(result: Any) -> list[Tensor | float]:
    """Tensors and numbers of a nested result, in order."""
    if result is None or isinstance(result, str):
        return []
    if isinstance(result, Tensor | float | int):
        return [result]
    return [found for one in (result.values() if isinstance(result, dict) else result) for found in values_in(one)]


def check_layouts(call: Callable[..., Any], inputs: list[Tensor], rounding: float = 1e-6) -> None:
    """That call(*inputs) gives the same in plain memory and in every layout, and writes to no input."""
    expected = values_in(call(*(x.clone() for x in inputs)))
    for name, layout in (SAME_VALUES | FEWER_VALUES).items():
        views = [layout(x) for x in inputs]
        if all(view.is_contiguous() for view in views):
            continue
        before = [memory(view).clone() for view in views]
        if name in FEWER_VALUES:
            expected = values_in(call(*(view.contiguous() for view in views)))
        found = values_in(call(*views))
        for view, values in zip(views, before):
            assert torch.equal(memory(view), values), f"{name}: an input was written to"
        assert len(found) == len(expected)
        for one, other in zip(found, expected):
            if isinstance(one, Tensor):
                torch.testing.assert_close(
                    one, other, atol=rounding, rtol=10 * rounding, msg=lambda text, name=name: f"{name}: {text}"
                )
            else:
                assert math.isclose(one, other, rel_tol=1e-6), name
