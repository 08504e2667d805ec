"""Attribution at a layer inside a model: the model up to it, the model from it on, and methods between the two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from attrib._public import public
from attrib.engine.gradient.differentiate import graph_of
from attrib.engine.inputs import as_baselines, as_distribution, as_pool, as_tuple
from attrib.engine.layers.at_layer import Layer, OffPath, check_output, find_layer, not_in_the_model, tapped
from attrib.engine.layers.image_form import order_by_types
from attrib.engine.layers.positions import dims_followed, pushed
from attrib.engine.model.companions import Beside, Companions
from attrib.engine.model.function import WITHOUT_CHECKPOINT, in_reentrant_checkpoint, inside_checkpoint, once
from attrib.engine.model.parameters import Model
from attrib.functional.heads import predict

if TYPE_CHECKING:
    from attrib.functional.explanation import About, Explanation


CHECKPOINTED = (
    "`layer` is given, and `model` calls torch.utils.checkpoint: a block that is run again for the gradient is run without what stands "
    f"in for the layer; {WITHOUT_CHECKPOINT}"
)


class UpTo:
    """A model's activation at a layer, as a function of its inputs. Made by `up_to`."""

    def __init__(self, f: Model, layer: Layer, output: int | None, call: int | None) -> None:
        self.model, self._output, self._call = f, output, call
        self.name, self.module = _layer_of(f, layer)

    def __call__(self, *x: Any, **named: Any) -> Tensor:
        """The activation (N, ...)."""
        tap = _Tap(self.name, self._output, self._call, len(x[0]))
        try:
            with tapped({self.name: self.module}, tap.see, compared=True):
                self.model(*x, **named)
        except _Reached:
            assert tap.activation is not None
        activation = tap.checked()
        tap.follows(activation, x)
        return activation


class FromLayer:
    """A model as a function of the activation at a layer and of its own inputs. Made by `from_layer`."""

    def __init__(self, f: Model, layer: Layer, output: int | None, call: int | None) -> None:
        self.model, self._output, self._call = f, output, call
        self.name, self.module = _layer_of(f, layer)

    def __call__(self, h: Tensor, *x: Any, **named: Any) -> Any:
        """What the model returns when the layer gives `h` (N, ...)."""
        try:
            with once(CHECKPOINTED):
                return self._run(h, x, named)
        except RuntimeError as error:
            followed = any(isinstance(v, Tensor) and v.requires_grad for v in (*x, *named.values()))
            if CHECKPOINTED not in str(error) or followed or not torch.is_grad_enabled():
                raise
        with torch.no_grad():  # up to the layer, so that what holds it is not run again
            return self._run(h, x, named, recorded=True)

    def _run(self, h: Tensor, x: tuple[Any, ...], named: dict[str, Any], recorded: bool = False) -> Any:
        tap = _Tap(self.name, self._output, self._call, len(h), h, recorded)
        with tapped({self.name: self.module}, tap.see, compared=True):
            y = self.model(*x, **named)
        tap.checked()
        tap.follows(y, (h, *x))
        return y


class _Reached(BaseException):
    """The layer has given its activation: the rest of the model need not run."""


class _Tap:
    """Looks at a layer's calls in one pass of a model: takes its activation, or puts another in its place."""

    def __init__(
        self,
        name: str,
        output: int | None,
        call: int | None,
        rows: int,
        h: Tensor | None = None,
        recorded: bool = False,
    ) -> None:
        self._name, self._output, self._call, self._rows, self._h = name, output, call, rows, h
        self._apart = False
        self._calls, self._grad, self._recorded = 0, torch.is_grad_enabled(), recorded
        self.activation: Tensor | None = None

    def see(self, name: str, output: Any) -> Any:
        """Called by the hook on the layer."""
        self._calls += 1
        if self._calls - 1 != (self._call or 0):
            return None
        activation = self._picked(output)
        check_output(self._name, activation, self._rows)
        self.activation = activation
        self._apart = torch.is_grad_enabled() < (self._grad or self._recorded) and in_reentrant_checkpoint()
        if self._recorded:
            torch.set_grad_enabled(True)
        if self._h is None:
            if self._call is not None:
                raise _Reached
            return None
        return self._h if self._output is None else _with_item(output, self._output, self._h)

    def _picked(self, output: Any) -> Any:
        if self._output is None:
            return output
        items = list(output.values()) if isinstance(output, Mapping) else output
        if not isinstance(items, tuple | list) or not -len(items) <= self._output < len(items):
            count = len(items) if isinstance(items, tuple | list) else "no"
            raise OffPath(
                self._name, f"`output` is {self._output}, but it returns {count} values to pick from"
            )
        return items[self._output]

    def follows(self, y: Any, values: Iterable[Any]) -> None:
        """Raise where a gradient is asked for at some of these values, and a checkpoint around the layer cuts it."""
        wanted = [v for v in values if isinstance(v, Tensor) and v.requires_grad] if self._apart else []
        y = getattr(y, "logits", y)
        nodes = (
            graph_of(y.grad_fn, through_flat=True) if isinstance(y, Tensor) and y.grad_fn is not None else ()
        )
        if wanted and not any(
            n is v.grad_fn or getattr(n, "variable", None) is v for n in nodes for v in wanted
        ):
            raise inside_checkpoint(self._name)

    def checked(self) -> Tensor:
        """The activation, if the layer was called as it had to be."""
        if self._calls == 0:
            raise OffPath(
                self._name,
                "the model does not call it (compiled and exported models run without their modules)",
            )
        if self._call is None and self._calls > 1:
            raise OffPath(
                self._name, f"the model calls it {self._calls} times; pass `call`, 0 for the first of them"
            )
        if self.activation is None:
            raise OffPath(self._name, f"`call` is {self._call}, but the model calls it {self._calls} times")
        return self.activation


def _with_item(output: Any, number: int, item: Tensor) -> Any:
    """A layer's several outputs with one of them exchanged, in the form that the model expects."""
    if isinstance(output, Mapping):
        key = list(output)[number]
        changed = dict(output) | {key: item}
        kind: Any = type(output)
        return kind(**changed) if hasattr(output, "to_tuple") else kind(changed)
    items = [*output]
    items[number] = item
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


def _layer_of(f: Model, layer: Layer) -> tuple[str, torch.nn.Module]:
    named = find_layer(f, layer)
    if named is None:
        raise ValueError(not_in_the_model(f, layer))
    return named


@public
def up_to(f: Model, layer: Layer, *, output: int | None = None, call: int | None = None) -> UpTo:
    """The model up to a layer: ``x -> activation``.

    Explain a neuron with ``target=(channel, y, x)``.

    Parameters
    ----------
    f : callable
        The model.
    layer : str or torch.nn.Module
        A dotted name, or the module itself.
    output : int, optional
        Which of the values that the layer returns, if it returns a tuple or a dict.
    call : int, optional
        Which of the layer's calls, counted from 0, if the model calls it several times.

    Returns
    -------
    callable
        Takes what the model takes, gives (N, ...). It goes into any method.

    Raises
    ------
    TypeError, ValueError
        If there is no such layer; when called, if the model does not call it, or calls it several times.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import saliency, up_to
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), torch.nn.ReLU(), torch.nn.Linear(2, 1))
    >>> a = saliency(up_to(net, "0"), torch.ones(1, 2), target=1, absolute=False)
    >>> torch.equal(a[0], net[0].weight[1].detach())
    True
    """
    return UpTo(f, layer, output, call)


@public
def from_layer(f: Model, layer: Layer, *, output: int | None = None, call: int | None = None) -> FromLayer:
    """The model from a layer on: ``(h, *x) -> output`` with the layer's output replaced by `h`.

    Parameters
    ----------
    f : callable
        The model.
    layer : str or torch.nn.Module
        A dotted name, or the module itself.
    output : int, optional
        Which of the values that the layer returns, if it returns a tuple or a dict.
    call : int, optional
        Which of the layer's calls, counted from 0, if the model calls it several times.

    Returns
    -------
    callable
        Explain it with ``method(from_layer(f, layer), h, additional_forward_args=(x,))``.

    Raises
    ------
    TypeError, ValueError
        As `up_to`.

    Notes
    -----
    The whole model runs, its part before the layer without a gradient.

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import from_layer, saliency
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1, bias=False))
    >>> h, x = torch.zeros(1, 2), torch.ones(1, 2)
    >>> a = saliency(from_layer(net, "0"), h, absolute=False, additional_forward_args=(x,))
    >>> torch.equal(a, net[1].weight.detach())
    True
    """
    return FromLayer(f, layer, output, call)


def dims_at_layer(
    f: Model,
    x: tuple[Tensor, ...],
    shape: tuple[int, ...],
    layer: Layer,
    output: int | None = None,
    call: int | None = None,
    additional_forward_args: Any = (),
    device: Any = None,
) -> list[dict[int, int]]:
    """For each input, which dims of a layer's activation of one sample are dims of the input's sample.

    Tested by changes of the first sample, which must move the activation where they are; positions of convolutions are
    believed where no change tells otherwise. Costs 13 passes of that sample up to the layer.

    Parameters
    ----------
    f : callable
        The model.
    x : tuple of Tensor
        Inputs (N, ...).
    shape : tuple of int
        Of the activation of a sample.
    layer, output, call
        As in `up_to`.
    additional_forward_args, device
        As for every method.

    Returns
    -------
    list of dict
        Dims of the activation of one sample to dims of the input's, counted from 0; empty where nothing proves one.
    """
    before = up_to(f, layer, output=output, call=call or 0)
    first = Companions(additional_forward_args, len(x[0])).of_samples(torch.zeros(1, dtype=torch.long))
    matches: list[dict[int, int]] = []
    for j, t in enumerate(x):
        sizes = tuple(t.shape[1:])
        if len(shape) < 2 and not set(shape) & set(sizes):
            matches.append({})
            continue
        moves = pushed(t[:1])
        rows = tuple(
            moves.rows if k == j else other[:1].expand(len(moves.rows), *other.shape[1:])
            for k, other in enumerate(x)
        )
        beside = Companions(first, 1).of_samples(torch.zeros(len(moves.rows), dtype=torch.long))
        try:
            h = predict(
                before, rows if len(rows) > 1 else rows[0], additional_forward_args=beside, device=device
            )
        except (
            ValueError,
            TypeError,
            RuntimeError,
            IndexError,
            NotImplementedError,
        ):  # it takes no other values
            matches.append({})
            continue
        dims = dims_followed(h, moves)
        in_place = dict(zip(range(1, len(shape)), range(1, len(sizes)), strict=False))
        if (
            len(shape) == len(sizes) > 1
            and order_by_types(before.module) == "first"
            and all(shape[k] <= sizes[k] and dims.get(k, k) == k for k in in_place)
            and dims.get(0, 0) == 0
            and (j == 0 or dims)
        ):
            dims |= in_place
        matches.append(dims)
    return matches


def at_layer(
    explain: Callable[..., Explanation],
    about: About,
    f: Model,
    x: Any,
    layer: Layer,
    output: int | None,
    call: int | None,
    options: dict[str, Any],
) -> Explanation:
    """A method's explanation of the layer's activation in place of the input.

    Parameters
    ----------
    explain, about : callable, About
        The method.
    f, x : callable, Tensor or tuple of Tensor
        Model and input(s); whole numbers are inputs here.
    layer, output, call
        As in `up_to`.
    options : dict
        The method's other arguments. Baselines are inputs, and run up to the layer.
    """
    xs = as_tuple(x, integers=True)
    if about.name == "gradient_shap" and options.get("stdevs"):
        raise ValueError(
            "`stdevs` is noise at `x`, but with `layer` gradient_shap draws at the layer; leave it at 0, or take "
            "noise_tunnel(partial(gradient_shap, layer=...), f, x)"
        )
    beside = Companions(options.pop("additional_forward_args", ()), len(xs[0]))
    everyone = torch.arange(len(xs[0]))
    before, behind = up_to(f, layer, output=output, call=call), from_layer(f, layer, output=output, call=call)
    run = {name: options[name] for name in ("batch_size", "device") if name in options}

    def activations(points: tuple[Tensor, ...], samples: Tensor) -> Tensor:
        points = tuple(p.expand(len(samples), *p.shape[1:]) for p in points)
        return predict(
            before,
            points if len(points) > 1 else points[0],
            additional_forward_args=beside.of_samples(samples),
            **run,
        )

    h = activations(xs, everyone)
    if about.baselines == "point":
        starts = as_baselines(options.pop("baselines", 0.0), xs)
        shared = all(len(b) == 1 for b in starts) and not beside.per_sample
        starts = tuple(b.expand(-1, *t.shape[1:]) for b, t in zip(starts, xs, strict=True))
        options["baselines"] = activations(starts, everyone[:1] if shared else everyone)
    elif about.baselines is not None:
        distribution = as_distribution if about.baselines == "distribution" else as_pool
        pool = distribution(options.pop("baselines", 0.0), xs)
        count = pool[0].shape[1]
        shared = all(len(b) == 1 for b in pool) and not beside.per_sample
        samples = (everyone[:1] if shared else everyone).repeat_interleave(count)
        flat = tuple(
            b.expand(1 if shared else len(t), -1, *t.shape[1:]).flatten(0, 1)
            for b, t in zip(pool, xs, strict=True)
        )
        at_baselines = activations(flat, samples)
        each = at_baselines.unflatten(0, (-1, count))
        options["baselines"] = at_baselines if shared and about.baselines == "distribution" else each
    behind_all = beside.of_samples(everyone)
    named = dict(behind_all.named) if behind_all else {}
    extra = behind_all.positional if behind_all else ()
    return explain(behind, h, additional_forward_args=Beside((*xs, *extra), named), **options)
