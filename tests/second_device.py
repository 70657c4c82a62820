"A second device that every machine has: its tensors compute like the processor's, and complain of tensors that lie elsewhere, as a graphics card's do"
import contextlib
import traceback
from pathlib import Path
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")           # the label; no other device of torch can be had everywhere
aten = torch.ops.aten
COPIES = {aten._to_copy.default, aten.copy_.default}
WAITS = {aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default}
BY_PLACES = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}      # places of the processor will do


class Far(torch.Tensor):
    "A tensor of that device: `near` holds its numbers"
    @staticmethod
    def __new__(cls, near):
        made = torch.Tensor._make_wrapper_subclass(cls, near.shape, strides=near.stride(), storage_offset=near.storage_offset(),
                                                   dtype=near.dtype, device=DEVICE)
        made.near = near
        return made

    def __repr__(self, **_): return f"Far({self.near!r})"
    def __format__(self, spec): return format(self.near.detach(), spec)
    def tolist(self): return self.near.tolist()
    def untyped_storage(self): return self.near.untyped_storage()      # where the numbers lie: what is tied shares it
    def numpy(self, **_): raise TypeError(f"can't convert a tensor of {DEVICE} to numpy. Use Tensor.cpu() first.")
    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return compute(func, args, kwargs or {})


def compute(func, args, kwargs):
    given = tree_flatten((args, kwargs))[0]
    tensors = [value for value in given if isinstance(value, torch.Tensor)]
    far = [value for value in tensors if isinstance(value, Far)]
    strangers = [value for value in tensors if not isinstance(value, Far) and value.ndim]        # a lone number may come along
    target = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    dice = next((value for value in given if isinstance(value, torch.Generator)), None)
    there = target == DEVICE or target is None and bool(far)
    if func is aten.copy_.default: there = isinstance(args[0], Far)
    elif far and strangers and func not in COPIES and not (func in BY_PLACES and isinstance(args[0], Far)):
        raise RuntimeError(f"{func}: expected all tensors on the same device, found {DEVICE} and cpu, {list(strangers[0].shape)}")
    if there and dice is not None: raise RuntimeError(f"{func}: expected a generator of {DEVICE}, found one of the cpu")
    if target is not None and target == DEVICE: kwargs = {**kwargs, "device": torch.device("cpu")}
    out = func(*tree_map(near, args), **tree_map(near, kwargs))
    if torch.Tag.inplace_view in func.tags:            # x.transpose_(0, 1) changes the label's shape, too
        with no_dispatch(): func(*args, **kwargs)
    written = [value for value, argument in zip(args, func._schema.arguments) if argument.alias_info is not None and argument.alias_info.is_write]
    if written and isinstance(written[0], torch.Tensor) and isinstance(out, torch.Tensor): return written[0]
    return tree_map(lambda value: Far(value) if isinstance(value, torch.Tensor) else value, out) if there else out


def near(value): return value.near if isinstance(value, Far) else value


class _Operators(TorchDispatchMode):
    "What is made without a tensor at hand: torch.zeros(3, device=…)"
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return compute(func, args, kwargs or {})


class _Lists(TorchFunctionMode):
    "torch.tensor([1, 2], device=…) asks no operator for a tensor of that device"
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device")
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and device is not None and torch.device(device) == DEVICE:
            return func(*args, **{**kwargs, "device": None}).to(DEVICE)
        if func is torch.Tensor.new_tensor and isinstance(args[0], Far): return args[0].near.new_tensor(*args[1:], **kwargs).to(DEVICE)
        return func(*args, **kwargs)


class Crossings(TorchDispatchMode):
    "Inside the block: `found`, what copies between the two devices or waits for a number. A card cannot record that"
    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        device = kwargs.get("device") or args[0].device if func in COPIES else None
        if func in COPIES and (torch.device(device) == DEVICE) != isinstance(args[func is aten.copy_.default], Far): self.found.append(_line())
        if func in WAITS and isinstance(args[0], Far): self.found.append(_line())
        return func(*args, **kwargs)


def _line():
    "The line of the package that is being carried out"
    return next((f"{Path(frame.filename).name}: {frame.line}" for frame in reversed(traceback.extract_stack()) if "genesis_course" in frame.filename), "?")


@contextlib.contextmanager
def second_device():
    "Inside the block there is a device that can be named by what this gives"
    before = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)          # network.to(device) keeps the parameters that an optimiser holds
    try:
        with _Operators(), _Lists(): yield DEVICE
    finally: torch.__future__.set_swap_module_params_on_conversion(before)
