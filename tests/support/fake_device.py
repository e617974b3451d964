"""A device that isn't there: its tensors say that they lie on it, its operations run on the CPU, and it refuses what a real one refuses.

    with FakeDevice("mps") as device:
        result = work(picture.to(device))

What a back end refuses is looked up in torch's own sources and in its threads, see docs/devices.md. Tensors of the device and of the
CPU can't be mixed, as on a real one. Code sees a device of the type that torch keeps for others' (`privateuseone`, under which
DirectML goes too).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

_setup_privateuseone_for_python_backend()
DEVICE = torch.device("privateuseone", 0)


def no_multiple(args: tuple) -> bool:
    """Of adaptive pooling: some cells would be larger than others."""
    return any(have % want and want % have for have, want in zip(args[0].shape[-2:], args[1]))


@dataclass(frozen=True)
class BackEnd:
    """dtypes: that no tensor can have. operations: that are missing. conditions: of operations' arguments that are refused."""

    dtypes: set[torch.dtype]
    operations: set[str] = field(default_factory=set)
    conditions: dict[str, Callable[[tuple], bool]] = field(default_factory=dict)


# Operations that torch 2.6, the oldest that is looked at, has for the CPU and not for Apple's devices; what training needs is left out.
MISSING_ON_MPS = """
_adaptive_avg_pool3d _cdist_forward _cummax_helper _cummin_helper _embedding_bag _linalg_det _linalg_eigh _linalg_slogdet
_linalg_solve_ex _linalg_svd _logcumsumexp _masked_softmax _pdist_forward _segment_reduce _unique _upsample_bicubic2d_aa
_upsample_bilinear2d_aa _upsample_nearest_exact3d adaptive_max_pool3d angle avg_pool3d channel_shuffle cholesky_inverse col2im erfc
fractional_max_pool2d frexp gcd grid_sampler_3d hardshrink heaviside igamma index_copy index_reduce isin kthvalue lcm
linalg_cholesky_ex linalg_eig linalg_householder_product linalg_lstsq linalg_lu linalg_matrix_exp linalg_qr logit logspace lu_unpack
max_pool3d_with_indices max_unpool2d mode nanmedian nonzero_static poisson put segment_reduce sinc special_bessel_j0 special_bessel_j1
special_i0e special_i1e special_zeta take unique_dim upsample_nearest3d upsample_trilinear3d vdot
"""
BACK_ENDS = {
    "mps": BackEnd(
        {torch.float64, torch.complex128},
        set(MISSING_ON_MPS.split()),
        {"_adaptive_avg_pool2d": no_multiple, "adaptive_avg_pool2d": no_multiple},
    ),
    "directml": BackEnd({torch.float64, torch.complex32, torch.complex64, torch.complex128}),
    "xpu": BackEnd({torch.float64, torch.complex128}),  # Arc; larger ones have float64
}

MAY_MIX = {"copy", "_to_copy", "index", "index_put", "_index_put_impl", "_unsafe_index"}


class OnDevice(Tensor):
    """A tensor on the fake device. inner: where its values really are."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor):
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=DEVICE,
        )
        made.inner = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    def tolist(self):
        return self.cpu().tolist()

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        raise RuntimeError(f"{operation} on a fake device that has been left")


class FakeDevice(TorchDispatchMode):
    """One of the `BACK_ENDS`. seen: names of all operations that ran on it."""

    def __init__(self, name: str):
        super().__init__()
        self.name, self.refused, self.seen, self.depth = name, BACK_ENDS[name], set[str](), 0

    def __enter__(self) -> torch.device:  # type: ignore[override]
        self.depth += 1
        # torch.tensor(..., device=...) then copies from the CPU where this mode sees it.
        torch._C._set_only_lift_cpu_tensors(True)  # type: ignore[attr-defined]
        super().__enter__()
        return DEVICE

    def __exit__(self, *error) -> None:
        super().__exit__(*error)
        self.depth -= 1
        torch._C._set_only_lift_cpu_tensors(self.depth > 0)  # type: ignore[attr-defined]

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None) -> Any:
        kwargs = dict(kwargs or {})
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        here = any(isinstance(tensor, OnDevice) for tensor in tensors)
        wanted = next((leaf for leaf in leaves if isinstance(leaf, torch.device)), None)
        result_here = here if wanted is None else wanted.type == DEVICE.type
        if not here and not result_here:
            return operation(*args, **kwargs)
        if torch._C._dispatch_has_kernel_for_dispatch_key(operation.name(), "CompositeImplicitAutograd"):
            with self:  # its parts pass here too
                return operation.decompose(*args, **kwargs)

        name = operation.name().removeprefix("aten::").partition(".")[0].removesuffix("_")
        self.seen.add(name)
        if name not in MAY_MIX:
            for tensor in tensors:
                if here and not isinstance(tensor, OnDevice) and tensor.ndim:
                    raise RuntimeError(
                        f"{name}: expected all tensors to be on the same device, found {DEVICE} and {tensor.device}"
                    )
        if name in self.refused.operations:
            raise NotImplementedError(f"{self.name}: the operator 'aten::{name}' is not implemented for this device")
        if name in self.refused.conditions and self.refused.conditions[name](args):
            raise RuntimeError(f"{self.name}: {name} does not take these sizes")

        if "device" in kwargs:
            kwargs["device"] = torch.device("cpu")
        plain_args, plain = tree_map(lambda x: x.inner if isinstance(x, OnDevice) else x, (args, kwargs))
        result = operation(*plain_args, **plain)
        known = {id(tensor.inner): tensor for tensor in tensors if isinstance(tensor, OnDevice)}
        for tensor in [*plain_args, *tree_leaves(result)]:
            if isinstance(tensor, Tensor) and tensor.dtype in self.refused.dtypes and (result_here or name != "_to_copy"):
                raise TypeError(f"{self.name}: {name} with {tensor.dtype}, which this device doesn't have")
        if not result_here:
            return result
        return tree_map(lambda x: known[id(x)] if id(x) in known else OnDevice(x) if isinstance(x, Tensor) else x, result)
