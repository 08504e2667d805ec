"""JAX models, arrays and programs; JAX itself is loaded when the first of these functions is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attrib.interop.jax.model import JaxModel

__all__ = ["from_jax"]


def from_jax(fn: Callable[..., Any], params: Any = None) -> JaxModel:
    """A JAX function as a model.

    Parameters
    ----------
    fn : callable
        Takes arrays with samples on dim 0, returns (N,), (N, C), (N, C, ...) or an object with `.logits`. Jitted or not, but
        such that `jax.jit` takes it. With `params` it is called ``fn(params, *xs)``, as flax's ``model.apply`` is.
    params : pytree, optional
        Weights. They are handed to the compiled programs and never copied; leaves that are no arrays stay as they are, so
        that an equinox module can be given here.

    Returns
    -------
    JaxModel
        A `torch.nn.Module` that takes and returns tensors, for every method, and for use in other torch code.

    Raises
    ------
    ImportError
        Without JAX: ``pip install 'attrib[jax]'``.
    TypeError, ValueError
        For what is no function, and for weights that are traced, deleted, or spread over several devices.
    """
    _require()
    from attrib.interop.jax.model import JaxModel

    if not callable(fn):
        raise TypeError(
            f"`fn` must be callable, got {type(fn).__name__}; with flax pass model.apply, and params="
        )
    return JaxModel(fn, params)


def _require() -> None:
    try:
        import jax  # noqa: F401
    except ImportError as error:
        raise ImportError("JAX is needed for this; install it: pip install 'attrib[jax]'") from error
