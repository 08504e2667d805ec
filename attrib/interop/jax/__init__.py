"""JAX models, arrays and programs; JAX is imported by the first call of one of these functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrib._install import install_hint
from attrib._public import public

if TYPE_CHECKING:
    from attrib.interop.jax.model import JaxModel

__all__ = ["callback", "from_jax", "to_jax"]


@public
def from_jax(fn: Callable[..., Any], params: Any = None, *, channels_last: bool = False) -> JaxModel:
    """A JAX function as a model.

    Parameters
    ----------
    fn : callable
        Takes arrays with samples on dim 0, returns (N,), (N, C), (N, C, ...) or an object with `.logits`. It may be jitted,
        and `jax.jit` must accept it. With `params` it is called as ``fn(params, *xs)``, like flax's ``model.apply``.
    params : pytree, optional
        Weights. They are arguments of the compiled programs and are never copied. Leaves that are not arrays stay as they
        are, so this may be an equinox module.
    channels_last : bool, default False
        Whether the function has channels on the last dim, as flax does. The model then has them on dim 1, as class activation
        maps require: inputs and outputs of three or more dims are transposed.

    Returns
    -------
    JaxModel
        A `torch.nn.Module` that takes and returns tensors, for every method and for other torch code.

    Raises
    ------
    ImportError
        If JAX is not installed: ``pip install -e '.[jax]'``.
    TypeError, ValueError
        If `fn` is not callable, or if weights are traced, deleted, or on several devices.

    Examples
    --------
    >>> import attrib, jax.numpy as jnp, numpy as np
    >>> model = attrib.from_jax(lambda w, x: jnp.tanh(x) @ w, np.array([1.0, -2.0], "float32"))
    >>> attrib.saliency(model, np.zeros((1, 2), "float32"), absolute=False).values
    array([[ 1., -2.]], dtype=float32)
    """
    _require()
    from attrib.interop.jax.model import JaxModel
    from attrib.interop.jax.recognised import kind_of_module

    if not callable(fn):
        raise TypeError(
            f"`fn` must be callable, got {type(fn).__name__}; with flax pass model.apply, and params="
        )
    if kind_of_module(fn) == "linen" and getattr(fn, "scope", None) is None:
        raise TypeError(
            "`fn` is a module of flax.linen without weights; pass fn.apply, and its variables as `params`"
        )
    return JaxModel(fn, params, channels_last)


@public
def to_jax(result: Any) -> Any:
    """A result with JAX arrays as data.

    Parameters
    ----------
    result : DataArray, Dataset, tensor, array, or tuple or mapping of these
        The result of a method, or any array.

    Returns
    -------
    DataArray, Dataset, jax.Array, tuple or dict
        The same structure. A DataArray keeps its labels, and its `.data` is a `jax.Array`; coords stay in NumPy.

    Raises
    ------
    ImportError
        If JAX is not installed: ``pip install -e '.[jax]'``.
    TypeError
        For float64, and for integers beyond 32 bits, while JAX's x64 is off, as JAX would round them.

    Examples
    --------
    >>> import attrib, numpy as np
    >>> from attrib.interop.jax import to_jax
    >>> a = attrib.saliency(lambda x: x.sum(1), np.ones((1, 2), "float32"))
    >>> to_jax(a).data
    Array([[1., 1.]], dtype=float32)
    """
    _require()
    from attrib.interop.jax.function import result_to_jax

    return result_to_jax(result)


@public
def callback(method: Callable[..., Any], f: Callable[..., Any]) -> Callable[..., Any]:
    """A method as a JAX function, for use inside `jax.jit`, `jax.vmap` and `jax.grad`.

    Parameters
    ----------
    method : callable
        A method of `attrib.functional` whose results are shaped like the inputs; pass options by `functools.partial`.
    f : callable
        A JAX function of rows, or a model from `from_jax`; its weights are fixed.

    Returns
    -------
    callable
        Takes the inputs as JAX arrays, returns the attribution: an array, or a tuple for several inputs.

    Raises
    ------
    ImportError
        If JAX is not installed: ``pip install -e '.[jax]'``.
    TypeError
        If `method` is not such a method.

    Notes
    -----
    The program waits while the method runs outside it, in the host's memory; on a GPU that takes two copies. `jax.grad`
    differentiates the attribution once, with respect to the inputs; random draws stay the same. `jax.vmap` calls the method
    once for each example, so pass rows instead where possible.

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
    from attrib.interop.jax.model import as_callback

    return as_callback(method, f)


def _require() -> None:
    try:
        import jax  # noqa: F401
    except ImportError as error:
        raise ImportError(f"JAX is needed for this; install it: {install_hint('jax')}") from error
