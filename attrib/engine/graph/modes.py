"""How a callable runs: while it is recorded, without fused kernels and on plain tensors only; recurrent layers, without cuDNN."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor, maybe_get_bdim
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_ATTENTION = {F.scaled_dot_product_attention, F.multi_head_attention_forward}
RECURRENT = {  # with the op of sequences, and that of packed ones
    getattr(torch, name): (getattr(torch.ops.aten, name).input, getattr(torch.ops.aten, name).data)
    for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")
}
_MEMORY = {  # functions that hand out memory, to which other code can write unseen
    *(Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.data_ptr, Tensor.untyped_storage),
    *(Tensor.storage, Tensor.share_memory_),
}

NO_GRADIENT = (
    "`model` turns tensors into NumPy or JAX arrays, which have no gradient; pass attrib.from_jax(f) where it is a function of JAX. "
    "Methods that compare outputs take it as it is: occlusion, feature_ablation, shapley_values, in_silico_mutagenesis, predict"
)


class Unfused(TorchFunctionMode):
    """Runs attention, recurrent layers and one-hot encodings (torch's reads the indices in Python, to check them) by plain ops.

    Parameters
    ----------
    single : callable, optional
        `single(op)` says whether a recurrent layer is one op for the modes inside; the default says no.

    Notes
    -----
    The setting changes around each such call only, so the model's code runs under the user's global settings. torch's
    transformer layers leave their fused path as soon as any such mode is active.

    Attributes
    ----------
    exposed : bool
        Whether the memory of a tensor was handed to code outside torch.
    """

    def __init__(self, single: Callable[[Any], bool] = lambda op: False) -> None:
        super().__init__()
        self.single, self.exposed = single, False

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.exposed = self.exposed or func in _MEMORY
        if func in _ATTENTION:
            with sdpa_kernel(SDPBackend.MATH):
                return func(*args, **kwargs)
        if func is F.one_hot and (classes := kwargs.get("num_classes", (*args, -1)[1])) > 0:
            index = args[0] if args else kwargs["tensor"]
            return (index.unsqueeze(-1) == torch.arange(classes, device=index.device)).long()
        if func is torch._nested_tensor_from_mask_left_aligned:
            return False  # whether an encoder with a mask of padding may take its nested path
        if func in RECURRENT:
            op = RECURRENT[func][_is_packed(func, args)]
            if self.single(op) and not kwargs and not _drops_out(args):
                with torch._C._AutoDispatchBelowAutograd():  # above it, torch takes the layer apart
                    return op(*args)
            with switched_off("cudnn", "mkldnn"):
                return func(*args, **kwargs)
        return func(*args, **kwargs)


def _is_packed(func: Callable, args: tuple) -> bool:
    """Whether a recurrent function is called with the sizes of packed steps: then its weights come one later."""
    return len(args) > 2 and isinstance(args[1 if func is torch.lstm else 2], Tensor)


def _drops_out(args: tuple) -> bool:
    """Whether a recurrent layer draws random numbers: its arguments have the dropout and then the mode."""
    after_weights = [
        a for a in args if isinstance(a, (bool, int, float))
    ]  # biases, layers, dropout, training, ...
    return bool(after_weights[2] and after_weights[3])


class switched_off:
    """A context in which torch uses its own kernels in place of a library's. (`torch.backends` sets more, and warns.)

    The switches are the whole process's. So the first thread that comes turns them off, and the last that leaves puts them back: each
    for itself, one would turn a library on while another needs it off, or leave it off for good.

    Parameters
    ----------
    *libraries : {"cudnn", "mkldnn"}
    """

    _lock = threading.Lock()
    _inside: ClassVar[Counter[str]] = Counter()
    _before: ClassVar[dict[str, bool]] = {}

    def __init__(self, *libraries: str) -> None:
        self.libraries = libraries

    def __enter__(self) -> None:
        """Begin."""
        with self._lock:
            for name in self.libraries:
                if not self._inside[name]:
                    self._before[name] = getattr(torch._C, f"_get_{name}_enabled")()
                    getattr(torch._C, f"_set_{name}_enabled")(False)
                self._inside[name] += 1

    def __exit__(self, *error: object) -> None:
        """End."""
        with self._lock:
            for name in self.libraries:
                self._inside[name] -= 1
                if not self._inside[name]:
                    getattr(torch._C, f"_set_{name}_enabled")(self._before[name])


# ---------------------------------------------------------------------- on a GPU: cuDNN refuses a backward pass in evaluation mode

_NAMES = {"LSTM", "GRU", "RNN"}


class PlainRecurrence(TorchFunctionMode):
    """Runs recurrent layers without cuDNN, and everything else with it.

    Notes
    -----
    torch's own kernels take a few times as long, and have a backward pass in every mode (pytorch#15788, captum#564).
    """

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        with switched_off("cudnn") if func in RECURRENT else contextlib.nullcontext():
            return func(*args, **(kwargs or {}))


def differentiable(modules: Sequence[nn.Module]) -> Callable[[], contextlib.AbstractContextManager[Any]]:
    """What a model of these modules is called in, so that a backward pass goes through it.

    Without recurrent layers: nothing. In a script a single layer cannot be told apart, so all of it runs without cuDNN.
    """
    if any(isinstance(m, torch.jit.ScriptModule) and m.original_name in _NAMES for m in modules):
        return partial(switched_off, "cudnn")
    return PlainRecurrence if any(isinstance(m, nn.RNNBase) for m in modules) else contextlib.nullcontext


class Lifted(TorchFunctionMode):
    """Replaces tensors that an enclosing `torch.func` transform works on by plain tensors.

    A recorder sees plain tensors only. A tensor that the callable closes over and that is being differentiated, such as
    a parameter, would otherwise be recorded as a constant and lose its derivative.

    Attributes
    ----------
    register : callable
        Called with each stand-in.
    pairs : dict
        Each original and its stand-in, by the id of the original.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register: Callable[[Tensor], Any] = lambda stand_in: None
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not transformed():  # else the transform is the callable's own
            args, kwargs = tree_map(self.stand_in, (args, kwargs))
        return func(*args, **kwargs)

    def stand_in(self, value: Any) -> Any:
        """A plain tensor for one that is being transformed; any other value unchanged."""
        if not isinstance(value, Tensor) or not is_functorch_wrapped_tensor(value):
            return value
        if id(value) not in self.pairs:
            self.pairs[id(value)] = (value, plain(value).clone())
            self.register(self.pairs[id(value)][1])
        return self.pairs[id(value)][1]


def plain(tensor: Tensor) -> Tensor:
    """The tensor under all `torch.func` wrappers; for a vmapped tensor, its first example."""
    while is_functorch_wrapped_tensor(tensor):
        inner = get_unwrapped(tensor)
        tensor = inner.select(maybe_get_bdim(tensor), 0) if is_batchedtensor(tensor) else inner
    return tensor.detach()


# The innermost `torch.func` transform that encloses this call; None outside of all. Asked for often, so not wrapped.
transformed: Callable[[], object] = torch._C._functorch.peek_interpreter_stack


@contextlib.contextmanager
def outside_transforms() -> Iterator[Lifted]:
    """A context that suspends the enclosing `torch.func` transforms, and derivatives."""
    lifted = Lifted()
    lifting = lifted if transformed() else contextlib.nullcontext()
    with temporarily_clear_interpreter_stack(), torch.no_grad(), lifting:
        yield lifted
