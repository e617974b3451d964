"""What is kept of a clip's frames between two passes over it: on disk, since memory follows the frame and not the clip."""

import tempfile
from collections.abc import Hashable

import numpy as np
import torch
from torch import Tensor


class Store:
    """Float32 tensors by any keys, in a temporary file. Closing it, or the end of the process, removes the file."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile(prefix="magicbokeh", buffering=0)
        self.places: dict[Hashable, tuple[int, torch.Size]] = {}

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_error: object) -> None:
        self.file.close()

    def __contains__(self, key: Hashable) -> bool:
        return key in self.places

    def __setitem__(self, key: Hashable, values: Tensor) -> None:
        """Raises OSError if the disk is full."""
        content = values.float().cpu().contiguous().numpy().tobytes()
        place = self.file.seek(0, 2)
        try:
            written = self.file.write(content)
        except OSError:
            written = 0
        if written < len(content):
            raise OSError(
                f"{tempfile.gettempdir()} has no room for what is kept of the clip's frames; set TMPDIR to a folder with more."
            )
        self.places[key] = place, values.shape

    def __getitem__(self, key: Hashable) -> Tensor:
        place, shape = self.places[key]
        self.file.seek(place)
        return torch.from_numpy(np.fromfile(self.file, np.float32, shape.numel())).view(shape)
