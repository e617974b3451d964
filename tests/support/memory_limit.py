"""A card that is too small, for tests on a CPU."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class MemoryLimit(TorchDispatchMode):
    """Inside, torch runs out of memory wherever a single tensor takes more than `limit` bytes. largest: of those that were made."""

    def __init__(self, limit: float = float("inf")):
        super().__init__()
        self.limit, self.largest = limit, 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **(kwargs or {}))
        given = {one.untyped_storage().data_ptr() for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in given:  # views take nothing
                size = tensor.untyped_storage().nbytes()
                if size > self.limit:
                    raise torch.OutOfMemoryError(f"pretended, {size} bytes in {operation}")
                self.largest = max(self.largest, size)
        return made


def limited(work, limit):
    """A function that has `limit()` bytes for every tensor inside of `work`."""

    def within(*args, **options):
        with MemoryLimit(limit()):
            return work(*args, **options)

    return within
