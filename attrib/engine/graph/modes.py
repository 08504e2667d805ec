"""How a callable is run while it is recorded: unfused, and with nothing but plain tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._C._functorch import get_unwrapped, is_batchedtensor, is_functorch_wrapped_tensor, maybe_get_bdim
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_ATTENTION = {F.scaled_dot_product_attention, F.multi_head_attention_forward}
_RECURRENT = {torch.lstm, torch.gru, torch.rnn_tanh, torch.rnn_relu}


_MEMORY = {  # what hands out the memory itself, to which others can write unseen
    *(Tensor.numpy, Tensor.__array__, Tensor.__dlpack__, Tensor.data_ptr, Tensor.untyped_storage),
    *(Tensor.storage, Tensor.share_memory_),
}


class Unfused(TorchFunctionMode):
    """Attention and recurrent layers take the path made of plain ops.

    The kernels are chosen around each such call, so that no global setting is changed while the model's own code runs.
    The mode's mere presence keeps torch's transformer layers off their fused path.

    Attributes
    ----------
    exposed : bool
        Whether the memory of a tensor was handed to something that is not torch.
    """

    def __init__(self) -> None:
        super().__init__()
        self.exposed = False

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.exposed = self.exposed or func in _MEMORY
        if func in _ATTENTION:
            with sdpa_kernel(SDPBackend.MATH):
                return func(*args, **kwargs)
        if func in _RECURRENT:
            with _without_fused_rnn():
                return func(*args, **kwargs)
        return func(*args, **kwargs)


@contextlib.contextmanager
def _without_fused_rnn() -> Iterator[None]:
    mkldnn, cudnn = torch._C._get_mkldnn_enabled(), torch._C._get_cudnn_enabled()
    torch._C._set_mkldnn_enabled(False)  # torch.backends.mkldnn.flags sets more, and warns
    torch._C._set_cudnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(mkldnn)
        torch._C._set_cudnn_enabled(cudnn)


class Lifted(TorchFunctionMode):
    """Stands in plain tensors for those that a `torch.func` transform around us is working on.

    A recorder sees plain tensors only, so such a tensor that the callable closes over (a parameter being
    differentiated) would pass for a constant and lose its derivative.

    Attributes
    ----------
    register : callable
        Is told each stand-in.
    pairs : dict
        The originals and their stand-ins, by the id of the original.
    """

    def __init__(self) -> None:
        super().__init__()
        self.register: Callable[[Tensor], Any] = lambda stand_in: None
        self.pairs: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if not transformed():  # else it is a transform of the callable's own
            args, kwargs = tree_map(self.stand_in, (args, kwargs))
        return func(*args, **kwargs)

    def stand_in(self, value: Any) -> Any:
        """A plain tensor for one that is being transformed; anything else as it is."""
        if not isinstance(value, Tensor) or not is_functorch_wrapped_tensor(value):
            return value
        if id(value) not in self.pairs:
            self.pairs[id(value)] = (value, plain(value).clone())
            self.register(self.pairs[id(value)][1])
        return self.pairs[id(value)][1]


def plain(tensor: Tensor) -> Tensor:
    """The tensor under all `torch.func` wrappers; of a vmapped one, its first example."""
    while is_functorch_wrapped_tensor(tensor):
        inner = get_unwrapped(tensor)
        tensor = inner.select(maybe_get_bdim(tensor), 0) if is_batchedtensor(tensor) else inner
    return tensor.detach()


def transformed() -> bool:
    """Whether a `torch.func` transform is going on around us."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def untracked() -> contextlib.AbstractContextManager[None]:
    """No derivatives of what is computed, unless a `torch.func` transform around us asks for them."""
    return contextlib.nullcontext() if transformed() else torch.no_grad()


@contextlib.contextmanager
def outside_transforms() -> Iterator[Lifted]:
    """Suspends the `torch.func` transforms around us, and derivatives."""
    lifted = Lifted()
    around = transformed()
    with (
        temporarily_clear_interpreter_stack(),
        torch.no_grad(),
        lifted if around else contextlib.nullcontext(),
    ):
        yield lifted
