"""A GPU that is none: tensors that say they are on cuda:0 and are computed on the CPU, for machines without one.

It has of a GPU what code can get wrong: operands on two devices are refused, and so is what CUDA does not have, or not
in deterministic mode, and a tensor that its memory has no room for; autocast casts as CUDA's does; and what would make
the host wait for the device is noted, with the line of trivium that asked for it. Values are the CPU's. Kernels, speed
and the memory of all tensors together are those of no GPU.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from torch.optim.optimizer import _foreach_supported_types
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

GPU = torch.device("cuda", 0)
# Bytes that the driver takes at once, from any memory (CUDA Runtime API, "API synchronization behavior").
STAGED = 64 << 10
INDEXING = ("index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index")
# Of what may be met here. Not for integers on CUDA:
PRODUCTS = ("mm", "bmm", "addmm", "baddbmm", "addbmm", "mv", "addmv", "dot")
# Refused under torch.use_deterministic_algorithms, whose page lists all of them:
NOT_DETERMINISTIC = ("kthvalue", "median", "histc", "bincount", "put", "put_", "_ctc_loss", "_embedding_bag")
# Cast by CUDA's autocast, as the page of torch.amp lists it ("normalize" divides by a norm):
_NARROWER = """linear matmul __matmul__ __rmatmul__ mm bmm addmm baddbmm addbmm mv addmv einsum prelu lstm gru
    scaled_dot_product_attention"""
_FLOAT32 = """exp expm1 log log10 log1p log2 reciprocal rsqrt pow __pow__ __rpow__ softmax log_softmax softmin softplus
    layer_norm group_norm norm vector_norm normalize cosine_similarity cross_entropy nll_loss mse_loss l1_loss kl_div
    cdist cumsum cumprod sum prod dist sinh cosh tan acos asin"""
NARROWER, FLOAT32 = set(_NARROWER.split()), set(_FLOAT32.split())


class OnGpu(Tensor):
    """Its values are in `there`, a CPU tensor. To torch's C++ it is a "meta" tensor, whose autograd asks no driver."""

    there: Tensor
    # Bytes of the GPU, which no tensor may be larger than; what all of them take together is not counted.
    memory = 1 << 40
    device = property(lambda self: GPU)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)  # type: ignore[assignment]
    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def of(cls, there: Tensor) -> OnGpu:
        if there.nbytes > cls.memory:
            raise torch.OutOfMemoryError(f"pretended: {there.nbytes} bytes, of {cls.memory}")
        with _disable_current_modes():
            shell = torch.empty_strided(there.shape, there.stride(), dtype=there.dtype, device="meta")
            out: OnGpu = Tensor._make_subclass(cls, shell)
        out.there = there
        return out

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func}: the pretended GPU is switched off")

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.there.__reduce_ex__(protocol)  # checkpoints are read on the CPU


class _Calls(TorchFunctionMode):
    """What has to be met before C++ sees it."""

    def __init__(self, wait: Callable[[str], None]) -> None:
        super().__init__()
        self.wait = wait

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        args = [_numbered(one) for one in args]
        kwargs = {key: _numbered(value) for key, value in (kwargs or {}).items()}
        if func is Tensor.tolist and isinstance(args[0], OnGpu):
            self.wait(name)
            return args[0].there.tolist()
        if func is Tensor.new_tensor and isinstance(args[0], OnGpu):
            return torch.tensor(*args[1:], **{"dtype": args[0].dtype, **kwargs}).to(GPU)
        if kwargs.pop("pin_memory", False):  # C++ asks the driver for such memory
            out = func(*args, **kwargs)
            out.pinned = True
            return out
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs.pop("device")
            return func(*args, **kwargs).to(device)
        if torch.device(kwargs.get("device") or "cpu").type == "meta":
            with _disable_current_modes():  # nn.utils.skip_init's; C++ makes its own for this GPU
                return func(*args, **kwargs)
        if torch.is_autocast_enabled("cuda") and name in NARROWER | FLOAT32:
            dtype = torch.get_autocast_dtype("cuda") if name in NARROWER else torch.float32
            args = [_each(lambda one: _cast(one, dtype), one) for one in args]
            kwargs = {key: _each(lambda one: _cast(one, dtype), value) for key, value in kwargs.items()}
        if name in ("lstm", "gru") and isinstance(args[0], OnGpu):
            values, first, weights, *settings = args
            first = [first] if isinstance(first, Tensor) else first
            return _Recurrent.apply(func, len(first), settings, values, *first, *weights)
        return func(*args, **kwargs)


def _numbered(one: Any) -> Any:
    """cuda is cuda:0; C++ would ask the driver."""
    return GPU if isinstance(one, str | torch.device) and str(one) == "cuda" else one


def _each(change: Callable[[Tensor], Any], found: Any) -> Any:
    """`found` with its tensors changed, those in lists and tuples too (torch's tree_map takes four times as long)."""
    if isinstance(found, Tensor):
        return change(found)
    if isinstance(found, list | tuple) and type(found) in (list, tuple):
        return type(found)(_each(change, one) for one in found)
    return found


def _cast(one: Tensor, dtype: torch.dtype) -> Tensor:
    mine = isinstance(one, OnGpu) and one.is_floating_point() and one.dtype != torch.float64
    return one.to(dtype) if mine else one


class _Recurrent(torch.autograd.Function):
    """All steps in one call, as cuDNN takes them."""

    @staticmethod
    def forward(ctx: Any, func: Any, states: int, settings: Any, *inputs: OnGpu) -> tuple[Tensor, ...]:
        ctx.how = (func, states, settings)
        ctx.save_for_backward(*inputs)
        return tuple(OnGpu.of(one.clone()) for one in _recurrent(ctx.how, [one.there for one in inputs]))

    @staticmethod
    def backward(ctx: Any, *gradients: OnGpu) -> tuple[Any, ...]:
        inputs = [one.there.detach().requires_grad_() for one in ctx.saved_tensors]
        with torch.enable_grad():
            outputs = _recurrent(ctx.how, inputs)
        found = torch.autograd.grad(outputs, inputs, [one.there for one in gradients])
        return None, None, None, *map(OnGpu.of, found)


def _recurrent(how: Any, inputs: list[Tensor]) -> Any:
    func, states, settings = how
    values, first, weights = inputs[0], inputs[1 : 1 + states], inputs[1 + states :]
    with _disable_current_modes():
        return func(values, first if states > 1 else first[0], weights, *settings)


class _Kernels(TorchDispatchMode):
    """Runs each operation on the CPU, if a GPU would."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # a wrapper around every operation, for torch.compile

    def __init__(self, wait: Callable[[str], None]) -> None:
        super().__init__()
        self.wait = wait

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func.overloadpacket.__name__
        tensors: list[Tensor] = []
        _each(tensors.append, (args, *kwargs.values()))
        mine = {id(one.there): one for one in tensors if isinstance(one, OnGpu)}
        there = bool(mine)  # whether the result is on the GPU
        if kwargs.get("device") is not None:
            there = torch.device(kwargs["device"]).type in ("cuda", "meta")
            kwargs["device"] = torch.device("cpu")
        if name in ("_to_copy", "copy_"):
            self._copy(name, args, kwargs, there)
        elif mine:
            self._check(func, name, args, kwargs, tensors)
        if there and kwargs.get("generator") is not None:
            raise RuntimeError(f"{name}: expected a generator of cuda, found one of the CPU")
        out = func(*_each(_values, args), **{key: _each(_values, value) for key, value in kwargs.items()})
        if name == "copy_":
            return args[0]
        return _each(lambda one: _placed(one, mine), out) if there else out

    def _copy(self, name: str, args: Any, kwargs: Any, there: bool) -> None:
        source, target = (args[1], isinstance(args[0], OnGpu)) if name == "copy_" else (args[0], there)
        at_once = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
        # More than that is copied into the driver's memory first, unless it is pinned, and the host waits for it.
        at_once = at_once and (source.nbytes <= STAGED or getattr(source, "pinned", False))
        if isinstance(source, OnGpu) != target and not (target and at_once):
            self.wait("copy to the GPU" if target else "copy to the host")

    def _check(self, func: Any, name: str, args: Any, kwargs: Any, tensors: list[Tensor]) -> None:
        others = [one for one in tensors if not isinstance(one, OnGpu) and one.dim()]
        if others and name in INDEXING and isinstance(args[0], OnGpu):
            self.wait(f"{name}: copy of its index")
        elif others and not name.startswith("_foreach"):  # an optimiser counts its steps on the CPU
            raise RuntimeError(f"{name}: expected all tensors on one device, found {tuple(others[0].shape)} on the CPU")
        if self._reads_values(func, name, args, kwargs):
            self.wait(name)
        if name in NOT_DETERMINISTIC or (name.startswith("cumsum") and args[0].is_floating_point()):
            raise RuntimeError(f"{name}: has no deterministic implementation on CUDA")
        if name in PRODUCTS and not all(one.is_floating_point() for one in tensors):
            raise RuntimeError(f"{name}: not implemented on CUDA for integers")

    def _reads_values(self, func: Any, name: str, args: Any, kwargs: Any) -> bool:
        if name in INDEXING:
            return any(isinstance(one, Tensor) and one.dtype in (torch.bool, torch.uint8) for one in args[1])
        if name == "repeat_interleave":
            return kwargs.get("output_size") is None
        return not {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}.isdisjoint(func.tags)


def _values(one: Tensor) -> Tensor:
    return one.there if isinstance(one, OnGpu) else one


def _placed(one: Tensor, known: dict[int, OnGpu]) -> OnGpu:
    return known[id(one)] if id(one) in known else OnGpu.of(one)


@contextlib.contextmanager
def pretended_gpu(memory: int = 1 << 40) -> Iterator[list[str]]:
    """Inside, cuda:0 is there, with so many bytes of memory.

    Gives the list of what made the host wait, "operation at file:line", as it grows.
    """
    waits: list[str] = []

    def wait(what: str) -> None:
        ours = [frame for frame in traceback.extract_stack() if "/src/trivium/" in frame.filename]
        waits.append(f"{what} at {ours[-1].filename.split('/src/trivium/')[1]}:{ours[-1].lineno}" if ours else what)

    with contextlib.ExitStack() as stack:
        for name, value in {
            "torch.cuda._lazy_init": lambda: None,
            "torch.cuda.mem_get_info": lambda device=None: (memory, memory),
            "torch.cuda.get_device_name": lambda device: "pretended",
            "torch.cuda.amp.common.amp_definitely_not_available": lambda: False,
            "torch.cuda.is_bf16_supported": lambda: True,
            "torch.backends.cudnn.is_acceptable": lambda tensor: False,  # it would warn
        }.items():
            stack.enter_context(mock.patch(name, value))
        stack.enter_context(mock.patch.object(OnGpu, "memory", memory))
        _foreach_supported_types.append(OnGpu)  # else optimisers take one parameter after another
        stack.callback(_foreach_supported_types.remove, OnGpu)
        stack.enter_context(_Kernels(wait))
        stack.enter_context(_Calls(wait))
        yield waits
