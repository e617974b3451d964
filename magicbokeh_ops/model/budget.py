"""How much is worked on at once, and less of it when memory runs out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeVar

SMALLEST_TILE = 32  # latents


@dataclass(frozen=True)
class Budget:
    """How much the fast preset works on at once.

    tile, codec_tile: largest sides in latents, of the prediction's tiles (a few more than the 64 of training make fewer of them)
    and of the VAE's. batch: tiles per prediction. nano's are larger in proportion, and one at a time (`Method.tiles`).
    """

    tile: int = 72
    codec_tile: int = 256
    batch: int = 1

    def halved(self) -> "Budget":
        if self.batch > 1:
            return replace(self, batch=self.batch // 2)
        return replace(self, tile=max(self.tile // 2, SMALLEST_TILE), codec_tile=max(self.codec_tile // 2, SMALLEST_TILE))


class Halvable(Protocol):
    """What says how much is worked on at once; `halved` gives an equal one where there is no less."""

    def halved(self) -> Any: ...


T = TypeVar("T")
B = TypeVar("B", bound=Halvable)


def smaller_until_it_fits(
    work: Callable[[B], T], budget: B, out_of_memory: Callable[[Exception], bool], free: Callable[[], None]
) -> T:
    """work(budget), retried with half the budget after each exception that `out_of_memory` recognises, down to the smallest."""
    while True:
        try:
            return work(budget)
        except Exception as error:
            if budget == budget.halved() or not out_of_memory(error):
                raise
        # Outside of the handler, since the exception holds on to what filled the memory.
        free()
        budget = budget.halved()
