"""Recurrent layers: LSTM, GRU and RNN, each layer and direction as one op.

The fused kernel gives the hidden states of both inputs. All gates of all steps follow in one product; only the cell state of
an LSTM is a loop. The factors of the way back depend on these values alone and are computed for all steps at once, so that the
loop back has a few small ops a step. The algebra is that of the ops of a step: secants of the gates, means in products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload

from attrib.engine.graph import transformed
from attrib.engine.secant.bilinear import linear_changes
from attrib.engine.secant.elementwise import kinked_slope, smooth_slope
from attrib.engine.secant.pair import Arguments, NoRule, Pair, has_pair, rule

aten = torch.ops.aten

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class Weights(NamedTuple):
    """Of one layer in one direction; `project` is an LSTM's, None without one."""

    inputs: Tensor
    hidden: Tensor
    biases: tuple[Tensor, ...]
    project: Tensor | None


class Steps(NamedTuple):
    """What the way back needs of a layer in one direction, all steps at once: (L, N, ...)."""

    back: Callable[..., tuple[Tensor, ...]]
    needed: tuple[Tensor, ...]


class Order(NamedTuple):
    """How the op lays out its sequences; the layers see (L, N, features), padded behind the end.

    Attributes
    ----------
    padded : callable
        Data of the op to (L, N, features).
    packed : callable
        The way back.
    reversed : callable
        Every sequence (L, N, features) from its end to its start.
    last : callable
        Its last step (N, features).
    ends : Tensor (L, N) or None
        Where sequences end before the last step.
    """

    padded: Callable[[Tensor], Tensor]
    packed: Callable[[Tensor], Tensor]
    reversed: Callable[[Tensor], Tensor]
    last: Callable[[Tensor], Tensor]
    ends: Tensor | None = None


def _plain_order(batch_first: bool) -> Order:
    swapped = (lambda t: t.transpose(0, 1)) if batch_first else (lambda t: t)
    return Order(swapped, swapped, lambda t: t.flip(0), lambda t: t[-1])


def _packed_order(sizes: Tensor, device: torch.device) -> Order:
    """Of a packed sequence, whose steps have `sizes` rows, fewer and fewer."""
    sizes = sizes.cpu()
    length, rows = len(sizes), int(sizes[0])
    inside = torch.arange(rows)[None] < sizes[:, None]  # (L, N)
    lengths = inside.sum(0)
    place = (torch.cumsum(inside.flatten(), 0) - 1).view(length, rows).clamp(min=0)
    t = torch.arange(length)[:, None]
    back = torch.where(inside, lengths - 1 - t, t)
    inside, place, back, lengths = (v.to(device) for v in (inside, place, back, lengths))
    row = torch.arange(rows, device=device)
    at = inside.flatten().nonzero()[:, 0]
    return Order(
        lambda data: data[place] * inside[..., None].to(data.dtype),
        lambda padded: padded.flatten(0, 1)[at],
        lambda padded: padded[back, row],
        lambda padded: padded[lengths - 1, row],
        (lengths - 1)[None] == torch.arange(length, device=device)[:, None],
    )


@rule(aten.lstm, aten.gru, aten.rnn_tanh, aten.rnn_relu)
def recurrent(op: OpOverload, args: Sequence[Any], kwargs: dict[str, Any]) -> list[Pair]:
    """The rules of a step's ops, composed over the steps, directions and layers."""
    kind = op._schema.name.split("::")[1]
    packed = op._overloadname == "data"
    if packed:
        data, sizes, states, flat, biased, layers, _, _, both = args
        device = data.v1.device if isinstance(data, Pair) else data.device
        order = _packed_order(sizes, device)
    else:
        data, states, flat, biased, layers, _, _, both, batch_first = args
        order = _plain_order(batch_first)
    if has_pair(flat) or kwargs:
        raise NoRule("its weights depend on the inputs")
    states = list(states) if kind == "lstm" else [states]
    weights = _weights(
        flat, biased, len(states) == 2 and _at(states[0], 0).shape[2] != _at(states[1], 0).shape[2]
    )
    x = _each(order.padded, data)
    last: list[list[Pair]] = [[] for _ in states]
    for layer in range(layers):
        outputs = []
        for direction in range(1 + both):
            number = layer * (1 + both) + direction
            start = [_each(partial(torch.select, dim=0, index=number), state) for state in states]
            turned = _each(order.reversed, x) if direction else x
            out, *cell = _layer(kind, turned, start, weights[number], order)
            for ends, end in zip(last, [_each(order.last, out), *cell], strict=True):
                ends.append(end)
            outputs.append(_each(order.reversed, out) if direction else out)
        x = outputs[0] if len(outputs) == 1 else _joined(lambda parts: torch.cat(parts, -1), outputs)
    results = [_each(order.packed, x), *(_joined(torch.stack, ends) for ends in last)]
    if type(args) is Arguments:  # the values at the input, as the model itself has them
        results = [Pair(r.v0, y1, r.dv) for r, y1 in zip(results, args.result, strict=True)]
    return results


def _weights(flat: Sequence[Tensor], biased: bool, projected: bool) -> list[Weights]:
    """By layers, and in these by directions."""
    count = 2 + 2 * biased + projected
    groups = [flat[k : k + count] for k in range(0, len(flat), count)]
    return [Weights(g[0], g[1], tuple(g[2 : 2 + 2 * biased]), g[-1] if projected else None) for g in groups]


def _at(value: Any, end: int) -> Tensor:
    """A value at the baseline (0) or at the input (1)."""
    return (value.v1 if end else value.v0) if isinstance(value, Pair) else value


def _each(linear: Callable[[Tensor], Tensor], value: Any) -> Any:
    """A linear function of a pair or of a constant."""
    if not isinstance(value, Pair):
        return linear(value)
    return Pair(linear(value.v0), linear(value.v1), linear(value.dv))


def _joined(join: Callable[[list[Tensor]], Tensor], pairs: Sequence[Pair]) -> Pair:
    return Pair(*(join([getattr(p, name) for p in pairs]) for name in ("v0", "v1", "dv")))


def _layer(kind: str, x: Any, start: list[Any], weights: Weights, order: Order) -> list[Pair]:
    """The outputs (L, N, ...) of a layer in one direction, and of an LSTM the cell state behind the last step."""
    both = lambda value, dim: torch.cat([_at(value, 0), _at(value, 1)], dim)
    rows, first = both(x, 1), [both(s, 0) for s in start]
    hidden = _hidden_states(kind, rows, first, weights)
    before = torch.cat([first[0][None], hidden[:-1]])
    of_inputs, of_hidden = rows @ weights.inputs.mT, before @ weights.hidden.mT
    if weights.biases:
        of_inputs, of_hidden = of_inputs + weights.biases[0], of_hidden + weights.biases[1]
    outputs = [hidden]
    if kind == "lstm":
        cells = _cells(of_inputs + of_hidden, first[1])
        steps = _lstm(of_inputs + of_hidden, cells, first[1], weights, order.ends)
        outputs.append(order.last(cells) if order.ends is None else _last_of_both(order, cells))
    elif kind == "gru":
        steps = _gru(of_inputs, of_hidden, before, weights)
    else:
        steps = _rnn(kind, of_inputs + of_hidden, weights)
    halves = [o.chunk(2, 1 if k == 0 else 0) for k, o in enumerate(outputs)]
    active = [isinstance(v, Pair) for v in (x, *start)]
    changes = linear_changes(
        tuple(v.dv for v in (x, *start) if isinstance(v, Pair)),
        tuple(v1 - v0 for v0, v1 in halves),
        partial(_active, active, steps.back),
        *steps.needed,
    )
    return [Pair(v0, v1, dv) for (v0, v1), dv in zip(halves, changes, strict=True)]


def _last_of_both(order: Order, cells: Tensor) -> Tensor:
    return torch.cat([order.last(half) for half in cells.chunk(2, 1)])


def _active(
    active: Sequence[bool], back: Callable[..., tuple[Tensor, ...]], *tensors: Tensor
) -> tuple[Tensor, ...]:
    """The multipliers of the arguments that depend on the inputs."""
    return tuple(m for m, depends in zip(back(*tensors), active, strict=True) if depends)


# ---------------------------------------------------------------------- the values


def _hidden_states(kind: str, rows: Tensor, start: list[Tensor], weights: Weights) -> Tensor:
    """Hidden states (L, rows, ...) behind each step, by the fused kernel where there is one."""
    if transformed():  # which the fused kernels do not support
        return _stepwise(kind, rows, start, weights)
    flat = [weights.inputs, weights.hidden, *weights.biases]
    flat += [] if weights.project is None else [weights.project]
    one_layer = [s[None] for s in start]
    states = one_layer if kind == "lstm" else one_layer[0]
    with torch.no_grad():
        op = getattr(torch, kind)
        return op(rows.contiguous(), states, flat, bool(weights.biases), 1, 0.0, False, False, False)[0]


def _stepwise(kind: str, rows: Tensor, start: list[Tensor], weights: Weights) -> Tensor:
    hidden, *cell = start
    of_inputs = rows @ weights.inputs.mT
    if weights.biases:
        of_inputs = of_inputs + weights.biases[0]
    outputs = []
    for a in of_inputs.unbind(0):
        b = hidden @ weights.hidden.mT
        b = b + weights.biases[1] if weights.biases else b
        if kind == "lstm":
            i, f, g, o = (a + b).chunk(4, 1)
            cell = [f.sigmoid() * cell[0] + i.sigmoid() * g.tanh()]
            hidden = o.sigmoid() * cell[0].tanh()
            hidden = hidden if weights.project is None else hidden @ weights.project.mT
        elif kind == "gru":
            (ar, az, an), (br, bz, bn) = a.chunk(3, 1), b.chunk(3, 1)
            new = (an + (ar + br).sigmoid() * bn).tanh()
            hidden = (hidden - new) * (az + bz).sigmoid() + new
        else:
            hidden = (a + b).tanh() if kind == "rnn_tanh" else (a + b).relu()
        outputs.append(hidden)
    return torch.stack(outputs)


def _cells(gates: Tensor, start: Tensor) -> Tensor:
    """Cell states (L, rows, H) behind each step."""
    i, f, g, _ = gates.chunk(4, 2)
    added, cell, cells = (i.sigmoid() * g.tanh()).unbind(0), start, []
    for new, keep in zip(added, f.sigmoid().unbind(0), strict=True):
        cell = torch.addcmul(new, keep, cell)
        cells.append(cell)
    return torch.stack(cells)


# ---------------------------------------------------------------------- the factors of the way back, and that way


def _mean(value: Tensor) -> Tensor:
    """The mean (L, N, ...) of both ends of values (L, 2N, ...)."""
    at_baseline, at_input = value.chunk(2, 1)
    return torch.lerp(at_baseline, at_input, 0.5)


def _slope(op: OpOverload, x: Tensor, y: Tensor) -> Tensor:
    """The secant of a function of one number, from arguments and values (L, 2N, ...) at both ends."""
    (x0, x1), (y0, y1) = x.chunk(2, 1), y.chunk(2, 1)
    of_kind = kinked_slope if op is aten.relu.default else smooth_slope
    return of_kind(op, Pair(x0, x1, None), y1 - y0)


def _lstm(gates: Tensor, cells: Tensor, start: Tensor, weights: Weights, ends: Tensor | None) -> Steps:
    """d c = mean(f) dc + mean(c) df + mean(i) dg + mean(g) di; d h = mean(o) d tanh(c) + mean(tanh(c)) do."""
    sigmoid, tanh = aten.sigmoid.default, aten.tanh.default
    ai, af, ag, ao = gates.chunk(4, 2)
    i, f, g, o, squashed = ai.sigmoid(), af.sigmoid(), ag.tanh(), ao.sigmoid(), cells.tanh()
    before = torch.cat([start[None], cells[:-1]])
    factors = torch.cat(
        [
            _mean(g) * _slope(sigmoid, ai, i),
            _mean(before) * _slope(sigmoid, af, f),
            _mean(i) * _slope(tanh, ag, g),
            _mean(squashed) * _slope(sigmoid, ao, o),
        ],
        2,
    )
    to_cell = _mean(o) * _slope(tanh, cells, squashed)
    needed = [factors, to_cell, _mean(f), weights.inputs, weights.hidden]
    needed += [] if weights.project is None else [weights.project]
    needed += [] if ends is None else [ends[..., None].to(gates.dtype)]
    return Steps(partial(_lstm_back, weights.project is not None, ends is not None), tuple(needed))


def _lstm_back(
    projected: bool,
    ragged: bool,
    of_outputs: Tensor,
    of_cell: Tensor,
    factors: Tensor,
    to_cell: Tensor,
    keep: Tensor,
    of_inputs: Tensor,
    of_hidden: Tensor,
    *more: Tensor,
) -> tuple[Tensor, ...]:
    project = more[0] if projected else None
    cell = torch.zeros_like(of_cell) if ragged else of_cell
    ends = (more[-1] * of_cell).unbind(0) if ragged else ()
    arriving = of_outputs.unbind(0)
    steps = list(zip(factors.unbind(0), to_cell.unbind(0), keep.unbind(0), strict=True))
    hidden, rows = arriving[-1], []
    for t in range(len(steps) - 1, -1, -1):
        gates, to, decay = steps[t]
        out = hidden if project is None else hidden @ project
        cell = torch.addcmul(cell + ends[t] if ragged else cell, out, to)
        row = torch.cat([cell, cell, cell, out], 1) * gates
        rows.append(row)
        hidden = torch.addmm(arriving[t - 1], row, of_hidden) if t else row @ of_hidden
        cell = cell * decay
    return torch.stack(rows[::-1]) @ of_inputs, hidden, cell


def _gru(of_inputs: Tensor, of_hidden: Tensor, before: Tensor, weights: Weights) -> Steps:
    """h' = (h - n) z + n: d h' = dn + mean(z) (dh - dn) + mean(h - n) dz, and n = tanh(a + r b) with a product r b."""
    sigmoid, tanh = aten.sigmoid.default, aten.tanh.default
    (ir, iz, a), (hr, hz, b) = of_inputs.chunk(3, 2), of_hidden.chunk(3, 2)
    r, z = (ir + hr).sigmoid(), (iz + hz).sigmoid()
    n = (a + r * b).tanh()
    keep = _mean(z)
    to_new = (1 - keep) * _slope(tanh, a + r * b, n)
    to_reset = to_new * _mean(b) * _slope(sigmoid, ir + hr, r)
    to_update = _mean(before - n) * _slope(sigmoid, iz + hz, z)
    at_inputs = torch.cat([to_reset, to_update, to_new], 2)
    at_hidden = torch.cat([to_reset, to_update, to_new * _mean(r)], 2)
    return Steps(_gru_back, (at_inputs, at_hidden, keep, weights.inputs, weights.hidden))


def _gru_back(
    of_outputs: Tensor,
    at_inputs: Tensor,
    at_hidden: Tensor,
    keep: Tensor,
    of_inputs: Tensor,
    of_hidden: Tensor,
) -> tuple[Tensor, ...]:
    arriving = of_outputs.unbind(0)
    steps = list(zip(at_hidden.unbind(0), keep.unbind(0), strict=True))
    hidden, states = arriving[-1], []
    for t in range(len(steps) - 1, -1, -1):
        gates, decay = steps[t]
        states.append(hidden)
        row = torch.cat([hidden, hidden, hidden], 1) * gates
        direct = torch.addcmul(arriving[t - 1], hidden, decay) if t else hidden * decay
        hidden = torch.addmm(direct, row, of_hidden)
    rows = torch.stack(states[::-1])
    return (torch.cat([rows, rows, rows], 2) * at_inputs) @ of_inputs, hidden


def _rnn(kind: str, gates: Tensor, weights: Weights) -> Steps:
    """d h = secant (W dx + U dh); of h from these gates, not of the kernel's, whose rounding may be another."""
    op = aten.tanh.default if kind == "rnn_tanh" else aten.relu.default
    return Steps(_rnn_back, (_slope(op, gates, op(gates)), weights.inputs, weights.hidden))


def _rnn_back(of_outputs: Tensor, slopes: Tensor, of_inputs: Tensor, of_hidden: Tensor) -> tuple[Tensor, ...]:
    arriving, steps = of_outputs.unbind(0), slopes.unbind(0)
    hidden, rows = arriving[-1], []
    for t in range(len(steps) - 1, -1, -1):
        row = hidden * steps[t]
        rows.append(row)
        hidden = torch.addmm(arriving[t - 1], row, of_hidden) if t else row @ of_hidden
    return torch.stack(rows[::-1]) @ of_inputs, hidden
