"""JAX models, arrays and programs; JAX itself is loaded when the first of these functions is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from attrib.interop.jax.model import JaxModel

__all__ = ["callback", "from_jax", "to_jax"]


def from_jax(fn: Callable[..., Any], params: Any = None, *, channels_last: bool = False) -> JaxModel:
    """A JAX function as a model.

    Parameters
    ----------
    fn : callable
        Takes arrays with samples on dim 0, returns (N,), (N, C), (N, C, ...) or an object with `.logits`. Jitted or not, but
        such that `jax.jit` takes it. With `params` it is called ``fn(params, *xs)``, as flax's ``model.apply`` is.
    params : pytree, optional
        Weights. They are handed to the compiled programs and never copied; leaves that are no arrays stay as they are, so
        that an equinox module can be given here.
    channels_last : bool, default False
        Whether the function has the channels of images on the last dim, as flax has. The model then has them on dim 1, where
        class activation maps look for them: inputs and outputs of three dims and more are turned on their way.

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

    Examples
    --------
    >>> import attrib, jax.numpy as jnp, numpy as np
    >>> model = attrib.from_jax(lambda w, x: jnp.tanh(x) @ w, np.array([1.0, -2.0], "float32"))
    >>> attrib.saliency(model, np.zeros((1, 2), "float32"), absolute=False).values
    array([[ 1., -2.]], dtype=float32)
    """
    _require()
    from attrib.interop.jax.model import JaxModel

    if not callable(fn):
        raise TypeError(
            f"`fn` must be callable, got {type(fn).__name__}; with flax pass model.apply, and params="
        )
    return JaxModel(fn, params, channels_last)


def to_jax(result: Any) -> Any:
    """A result whose data are JAX arrays.

    Parameters
    ----------
    result : DataArray, Dataset, tensor, array, or tuple or mapping of these
        What a method returned, or any array.

    Returns
    -------
    DataArray, Dataset, jax.Array, tuple or dict
        In the same form. A DataArray keeps its labels, and its `.data` is a `jax.Array`; coords stay in NumPy.

    Raises
    ------
    ImportError
        Without JAX: ``pip install 'attrib[jax]'``.
    TypeError
        For float64, and for integers beyond 32 bits, while JAX's x64 is off: JAX would round them.

    Examples
    --------
    >>> import attrib, numpy as np
    >>> from attrib.interop.jax import to_jax
    >>> a = attrib.saliency(lambda x: x.sum(1), np.ones((1, 2), "float32"))
    >>> to_jax(a).data
    Array([[1., 1.]], dtype=float32)
    """
    _require()
    from attrib.interop.jax.exchange import in_jax

    return in_jax(result)


def callback(method: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
    """A method as a JAX function, for use inside `jax.jit`, `jax.vmap` and `jax.grad`.

    Parameters
    ----------
    method : callable
        One of `attrib.functional` whose results are shaped like the inputs; options by `functools.partial`.
    f : callable
        A JAX function of rows, or a model from `from_jax`, whose weights are then fixed.

    Returns
    -------
    callable
        Takes the inputs as JAX arrays, returns the attribution: an array, or a tuple for several inputs.

    Raises
    ------
    ImportError
        Without JAX: ``pip install 'attrib[jax]'``.
    TypeError
        For other functions than the methods.

    Notes
    -----
    The program stops, the method runs outside of it on the host's memory, and the program goes on; on a GPU that is two
    copies. `jax.grad` differentiates the attribution once, with respect to the inputs; random draws stay as they are.
    `jax.vmap` calls the method once for each example: give it rows instead where you can.

    Examples
    --------
    >>> from functools import partial
    >>> import jax, jax.numpy as jnp
    >>> from attrib.functional import input_x_gradient
    >>> from attrib.interop.jax import callback
    >>> attribution = callback(partial(input_x_gradient, target=0), lambda x: jnp.sin(x))
    >>> jax.jit(attribution)(jnp.array([[0.0], [1.0]]))
    Array([[0.        ],
           [0.54030...]], dtype=float32)
    """
    _require()
    from attrib.interop.jax.called import called_back

    return called_back(method, f)


def _require() -> None:
    try:
        import jax  # noqa: F401
    except ImportError as error:
        raise ImportError("JAX is needed for this; install it: pip install 'attrib[jax]'") from error
