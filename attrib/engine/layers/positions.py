"""Whose positions are the input's: a change at one place of the input must move a layer's output at that place.

The input is changed at six places that differ along every dim. Along a dim of a layer's grid, and for each of its
positions, the places have shares of all the change that reaches the position. If that dim follows a dim of the input, the
largest share is that of the place which the position lies on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from attrib.engine.gradient.differentiate import Rows
from attrib.engine.gradient.passes import Passes
from attrib.engine.layers.at_layer import See, Site, samples_first, tapped
from attrib.engine.layers.image_form import (
    UNEVEN,
    Form,
    convolution_gave,
    form_by_types,
    layouts,
    order_by_types,
)

PLACES = 6
REFUSED = "the model takes no changed input"  # why positions could not be tested
UNMOVED = "it does not depend on the input"
DIFFUSE = "every position answers to changes anywhere in the input"
ELSEWHERE = "its positions do not follow the input's: a change at one place does not move it there"
REACHES = (
    0.08,
    0.15,
)  # parts of the input's length that positions see: deviations of bells, for boxes and for wider ones
LOCAL = 0.5  # share of the change at a position that one place has, from which on it belongs to that place
FOLLOWS = {
    2: 0.83,
    3: 0.66,
    4: 0.57,
}  # correlation of shares with places from which on a dim of so many positions follows
FOLLOWS_LONG = 0.5  # the same of more positions; chance gives as much once in a hundred dims, or less
LEAK = 1e-8  # share of the squared change that rounding may leave elsewhere
FEW = 4  # positions too few to tell which of them a change moved
SHORT = 0.9  # the correlation of dims too short for all places that is believed where nothing else speaks for them
SURELY = 0.75  # the same of grids that are unlikely by their sizes, and of dims that are reversed or in another order
_ORDERS = (
    (0, 1, 2, 3, 4, 5),
    (1, 3, 5, 2, 0, 4),
    (1, 5, 3, 0, 4, 2),
    (2, 5, 0, 4, 1, 3),
)  # hardly correlated
_REFUSALS = (RuntimeError, ValueError, TypeError, AssertionError, IndexError)

Key = tuple[str, int]  # name of a layer and number of its call


class Moves(NamedTuple):
    """A sample, and the sample changed at each of the places.

    Attributes
    ----------
    dims : tuple of int
        The dims of a sample along which the places differ.
    spans : Tensor (PLACES, dims, 2)
        Where each place begins and ends, as fractions of the dims.
    rows : Tensor (1 + PLACES, ...)
        The sample as it is, then changed.
    """

    dims: tuple[int, ...]
    spans: Tensor
    rows: Tensor


class Response(NamedTuple):
    """How a layer's output changed with each change of the input.

    Attributes
    ----------
    shape : tuple of int
        Of the output for one row, (1, ...).
    first, last : Tensor (PLACES, ...)
        Squared changes less what all positions have in common, summed over dim 1 and over the last dim.
    """

    shape: tuple[int, ...]
    first: Tensor
    last: Tensor

    @property
    def moves(self) -> bool:
        """Whether any change reaches the layer; what has one channel, or one position, shows it in one of the two sums."""
        return bool((self.first > 0).any() or (self.last > 0).any())

    @property
    def local(self) -> bool:
        """Whether most of what moves a position comes from one place."""
        shares = _shares(self.last.flatten(1))
        return float(shares.amax(0).mean()) > LOCAL

    def at(self, form: Form) -> Tensor:
        """The squared changes (PLACES, *grid) in a form."""
        if form.order == "first":
            return self.first
        return self.last if form.order == "last" else self.last[:, form.prefix :].unflatten(1, form.grid)


def moved(x: Tensor, dims: tuple[int, ...] | None = None) -> Moves:
    """A sample (1, ...) and its changes in boxes along some dims, to other values or to other ids that it holds."""
    sizes = x.shape[1:]
    dims = _position_dims(sizes) if dims is None else dims
    sample, changed = x[0].detach(), _changed(x[0].detach())
    rows, spans = [sample], torch.zeros(PLACES, len(dims), 2, dtype=torch.float64)
    for place in range(PLACES):
        box = [slice(None)] * len(sizes)
        for k, d in enumerate(dims):
            nth = _ORDERS[k % len(_ORDERS)][place]
            start, stop = nth * sizes[d] // PLACES, math.ceil((nth + 1) * sizes[d] / PLACES)
            box[d] = slice(start, stop)
            spans[place, k] = torch.tensor([start, stop], dtype=torch.float64) / sizes[d]
        row = sample.clone()
        row[tuple(box)] = changed[tuple(box)]
        rows.append(row)
    return Moves(dims, spans, torch.stack(rows))


def _changed(sample: Tensor) -> Tensor:
    """A sample with other values everywhere; whole numbers and booleans become the next higher that it holds.

    Changes are noise, so that layers that see edges answer in all of a box, and are positive on average, so that layers
    that take means do.
    """
    if not sample.is_floating_point():
        ids, at = sample.unique(return_inverse=True)
        return ids[(at + 1) % len(ids)]
    noise = torch.rand(sample.shape, generator=torch.Generator().manual_seed(0)).to(sample)
    return sample + _spread(sample) * (3 * noise - 0.75)


def _spread(sample: Tensor) -> float:
    """The standard deviation of a sample's values, or 1."""
    values = sample.float()
    deviation = float(values.std(correction=0))
    varies = bool((values != values.flatten()[:1]).any())  # of equal values the deviation may be rounding
    return deviation if varies and 0 < deviation < math.inf else 1.0


def _position_dims(sizes: torch.Size) -> tuple[int, ...]:
    """The dims of a sample that may hold positions: all but a first or a last one that is too short for places, or the second of a film."""
    dims = [d for d, size in enumerate(sizes) if size > 1]
    short = [d for d in (0, len(sizes) - 1) if sizes[d] < PLACES] if len(sizes) > 1 else []
    if not short and len(sizes) == 4 and sizes[1] < PLACES:  # (frames, channels, y, x)
        short = [1]
    return tuple(d for d in dims if len(short) != 1 or d != short[0])


class Placement(NamedTuple):
    """How a layer's positions lie on the input.

    Attributes
    ----------
    form : Form, optional
        None where it has no image form.
    tested : bool
        Whether changes of the input were seen to move it so.
    reason : str
        Why there is no form, or why it was not tested.
    """

    form: Form | None
    tested: bool
    reason: str = ""


class Trial:
    """One sample and its changes, run through the model with an eye on some layers.

    Attributes
    ----------
    moves : Moves
    calls : dict
        How often each layer was called.
    turned : set
        Layers whose samples are their second dim.
    """

    def __init__(self, passes: Passes, rows: Rows, onto: int, moves: Moves, size: int) -> None:
        self.moves = moves
        self.calls: dict[str, int] = {}
        self.turned: set[str] = set()
        self._function, self._rows, self._onto, self._size = passes.function, rows, onto, size
        self._responses: dict[Key, Response] = {}
        self._y: Tensor | None = None

    def run(self, parts: Mapping[str, nn.Module], see: See) -> Tensor:
        """The model's output for all rows, while `see` is shown the layers' outputs."""
        outputs = []
        for batch in self.moves.rows.split(self._size):
            self.calls = dict.fromkeys(parts, 0)
            beside = [t[:1].expand(len(batch), *t.shape[1:]) for t in self._rows]
            beside[self._onto] = batch
            with torch.no_grad(), tapped(parts, samples_first(see, len(batch), turned=self.turned)):
                first = torch.zeros(1, dtype=torch.long)
                outputs.append(self._function.output(*(t.clone() for t in beside), samples=first))
        return torch.cat(outputs)

    def learn(self, parts: Mapping[str, nn.Module]) -> None:
        """Learn how the outputs of some layers respond."""
        unchanged: dict[Key, Tensor] = {}
        sums: dict[Key, list[tuple[Tensor, Tensor]]] = {}

        def see(name: str, output: Any) -> None:
            key = name, self.calls[name]
            self.calls[name] += 1
            if not isinstance(output, Tensor) or not output.is_floating_point() or output.ndim < 3:
                return
            unchanged.setdefault(key, output[:1].detach().clone())
            change = output.detach() - unchanged[key]
            change = change.float() if change.itemsize < 4 else change
            first = change - change.mean(tuple(range(2, change.ndim)), keepdim=True)
            last = change - change.mean(tuple(range(1, change.ndim - 1)), keepdim=True)
            sums.setdefault(key, []).append((first.square().sum(1), last.square().sum(-1)))

        self._y = self.run(parts, see)
        for key, pairs in sums.items():
            first, last = (torch.cat(each).cpu().double() for each in zip(*pairs, strict=True))
            if len(first) == 1 + PLACES:  # else its first dim is not that of the rows
                self._responses[key] = Response(tuple(unchanged[key].shape), first[1:], last[1:])

    def placement(self, key: Key, module: nn.Module, inputs: tuple[int, ...]) -> Placement | None:
        """How the positions of a call of a layer lie on inputs (N, ...); None where it gave no tensor with positions."""
        response = self._responses.get(key)
        return None if response is None else placed_by_moves(response, self.moves, module, inputs)

    def like_others(
        self, key: Key, layers: Mapping[str, nn.Module], inputs: tuple[int, ...]
    ) -> Placement | None:
        """The placement of another layer, whose output has the same shape and positions that follow the input's."""
        shape = self._responses[key].shape
        for (name, call), response in reversed(self._responses.items()):
            if response.shape == shape and name in layers:
                other = self.placement((name, call), layers[name], inputs)
                if other is not None and other.form is not None and other.tested and not other.form.reversed:
                    return Placement(other.form, False, f"{DIFFUSE}, so it is read like {name}")
        return None

    def moved(self, key: Key) -> bool:
        """Whether any change of the input reaches a call of a layer; a layer that was not tried counts as reached."""
        response = self._responses.get(key)
        return response is None or response.moves

    @property
    def still(self) -> bool:
        """Whether the model's output is the same, whatever changes."""
        return self._y is not None and bool((self._y == self._y[:1]).all())

    def part(self, site: Site, output: Tensor) -> float:
        """How much the model's change is another where a layer's output (1, ...) is held, as a part of the change."""
        assert self._y is not None

        def hold(name: str, current: Any) -> Tensor | None:
            call = self.calls[name]
            self.calls[name] += 1
            return output.expand_as(current).clone() if call == (site.call or 0) else None

        held = self.run({site.name: site.module}, hold)
        change = self._y - self._y[:1]
        return float((self._y - held).norm() / change.norm().clamp(min=1e-30))


def responses(passes: Passes, parts: Mapping[str, nn.Module], rows: Rows, onto: int) -> Trial | None:
    """A trial of some layers with changes of the first row of input `onto`; None where the model refuses these.

    Its calls are plain ones, beside those that a method counts.
    """
    moves = moved(rows[onto][:1])
    alone = passes.batches.rows == 1 or passes.function.knowledge.sizes_fixed
    for size in [1] if alone else [min(1 + PLACES, passes.batches.chunk()), 1]:
        trial = Trial(passes, rows, onto, moves, size)
        try:
            trial.learn(parts)
            return trial
        except _REFUSALS:
            continue
    return None


def placed_by_moves(
    response: Response, moves: Moves, module: nn.Module, inputs: tuple[int, ...]
) -> Placement:
    """The form of a layer's output for inputs (N, ...).

    A form is believed where changes of the input move it so. Types and sizes decide where no change reaches the layer; of
    convolutions, whose positions may all see the whole input; and of a few positions of one channel, as many as the input
    has: what each differs by from their mean is spread over all of them.
    """
    likely = form_by_types(response.shape, module, inputs)
    if not response.moves:
        return Placement(likely, False, UNMOVED if likely else _no_form(response.shape, inputs))
    form = _best(response, moves, module, inputs[1:])
    if form is not None:
        return Placement(form, True)
    few = (
        likely is not None
        and response.shape[1] == 1
        and likely.grid == inputs[2:]
        and math.prod(likely.grid) <= FEW
    )
    if (
        likely is not None
        and likely.order == "first"
        and (few or convolution_gave(module, response.shape[1]))
    ):
        return Placement(likely, False, DIFFUSE)
    if likely is None:
        return Placement(None, False, _no_form(response.shape, inputs))
    return Placement(None, False, ELSEWHERE if response.local else DIFFUSE)


def _no_form(shape: tuple[int, ...], inputs: tuple[int, ...]) -> str:
    return f"its output {tuple(shape)} has no image form for inputs {tuple(inputs)}"


def _best(response: Response, moves: Moves, module: nn.Module, sample: tuple[int, ...]) -> Form | None:
    """The form whose grid follows the input best; on a tie in the order in which `layouts` has them."""
    order, convolution = order_by_types(module), convolution_gave(module, response.shape[1])
    best: tuple[tuple[int, float], Form] | None = None
    for form in layouts(response.shape, sample, moves.dims):
        grid_dims = sum(g > 1 for g in form.grid)
        if grid_dims == 0 or (
            grid_dims < min(len(form.grid), len(moves.dims)) and not (convolution and form.order == "first")
        ):  # a grid of fewer dims than the input's can be a sequence in which only whole rows follow
            continue
        placed = _followed(form, follows(response.at(form), moves.spans), moves.dims, len(sample))
        if placed is None or (len(sample) == 2 and _is_sequence(form, response.at(form), moves.spans)):
            continue
        form, score = placed
        agrees = (form.order == "first") == (order == "first") if order else False
        strides = [sample[d] / g for d, g in zip(form.axes or (), form.grid, strict=True) if g > 1]
        if (
            max(strides) > UNEVEN * min(strides)
            and not (convolution and form.order == "first")
            and (score < SURELY or (len(sample) == 2 and min(form.grid) <= FEW))
        ):
            continue
        rank = grid_dims, round(score + 0.05 * agrees, 2)
        if best is None or rank > best[0]:
            best = rank, form
    return None if best is None else best[1]


def _followed(
    form: Form, table: tuple[Tensor, Tensor], dims: tuple[int, ...], ndim: int
) -> tuple[Form, float] | None:
    """A form with the dims of the input that those of its grid follow, and how well the least of them does."""
    forward, backward = table
    axes: dict[int, int] = {}
    reversed_dims, scores = [], []
    for k, size in enumerate(form.grid):
        if size < 2:
            continue
        j = int(torch.maximum(forward[k], backward[k]).argmax())
        score = max(float(forward[k, j]), float(backward[k, j]))
        if score < FOLLOWS.get(size, FOLLOWS_LONG) or dims[j] in axes.values():
            return None
        axes[k] = dims[j]
        scores.append(score)
        if backward[k, j] > forward[k, j]:
            reversed_dims.append(k)
    free = [d for d in range(ndim) if d not in axes.values()]
    single = [k for k in range(len(form.grid)) if k not in axes]
    axes |= dict(zip(single, free[len(free) - len(single) :], strict=True))
    return (
        form._replace(axes=tuple(axes[k] for k in range(len(form.grid))), reversed=tuple(reversed_dims)),
        min(scores),
    )


def _is_sequence(form: Form, changes: Tensor, spans: Tensor) -> bool:
    """Whether tokens that may be a grid of two dims follow one dim of the input better, as words with features do."""
    if form.order != "tokens" or len(form.grid) < 2:
        return False
    shares = _shares(changes.flatten(1))
    every = range(spans.shape[1])
    lines = [_fit(shares, (shares.shape[1],), spans[:, [j]]) for j in every]
    return max(lines) > max(_fit(shares, form.grid, spans[:, [j, k]]) for j in every for k in every if j != k)


def _fit(shares: Tensor, grid: tuple[int, ...], spans: Tensor) -> float:
    """Correlation of the places' shares (PLACES, positions) with bells around the places on a grid, all dims at once."""
    squared = torch.zeros(len(spans), *[1] * len(grid), dtype=torch.float64)
    for k, size in enumerate(grid):
        centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        away = (centres - spans[:, k].mean(1, keepdim=True)).square()
        squared = squared + away.view(len(spans), *[size if j == k else 1 for j in range(len(grid))])
    return max(_correlation(shares, torch.exp(-squared.flatten(1) / (2 * reach**2))) for reach in REACHES)


def pushed(x: Tensor) -> Moves:
    """A sample (1, ...) with boxes along all of its dims pushed up, and then down, so far that kinks are crossed."""
    dims = tuple(d for d, size in enumerate(x.shape[1:]) if size > 1)
    moves = moved(x, dims)
    if not x.is_floating_point():
        return moves
    sample = moves.rows[:1]
    push = _spread(sample) * (
        1 + 3 * torch.rand(sample.shape, generator=torch.Generator().manual_seed(1)).to(sample)
    )
    inside = moves.rows[1:] != sample
    rows = [sample + sign * torch.where(inside, push + sample.abs(), 0.0) for sign in (1, -1)]
    return Moves(dims, moves.spans, torch.cat([sample, *rows]))


def dims_followed(h: Tensor, moves: Moves) -> dict[int, int]:
    """Which dims of a layer's activation are dims of the input: what changes at one place there changes it at that place.

    Parameters
    ----------
    h : Tensor (rows, ...)
        The activation for the rows of `moves`.
    moves : Moves
        Of `pushed`.

    Returns
    -------
    dict of int to int
        Dims of the activation of one sample, and of the input's sample. A dim of the same size is the input's if a change
        leaves all but its own entries as they are. If changes spread, as through convolutions and attention, the places have
        to have the largest shares of what moves the entries near them, in activations of two dims or more, and in one of a
        single dim more surely so, as a dense layer may be as wide as its input.
    """
    change = (h[1:] - h[:1]).double().square().unflatten(0, (-1, PLACES)).sum(0)
    forward, _ = follows(change, moves.spans)
    scores: dict[tuple[int, int], float] = {}
    for k, size in enumerate(h.shape[1:]):
        profile = change.movedim(1 + k, 1).flatten(2).sum(2) if change.ndim > 2 else change
        for j, d in enumerate(moves.dims):
            count = moves.rows.shape[1 + d]
            needed = SHORT if size < PLACES else SURELY if h.ndim == 2 else FOLLOWS_LONG
            if size > 1 and size == count and _stays(profile, moves.spans[:, j]):
                scores[k, j] = 2.0
            elif 2 < size <= count >= PLACES and (h.ndim > 2 or size == count):
                score = float(forward[k, j])
                scores |= {(k, j): score} if score >= needed else {}
    matches: dict[int, int] = {}
    for k, j in sorted(scores, key=lambda pair: -scores[pair]):
        if k not in matches and moves.dims[j] not in matches.values():
            matches[k] = moves.dims[j]
    return matches


def _stays(profile: Tensor, spans: Tensor) -> bool:
    """Whether changes (PLACES, entries) lie in their places' own entries, of which two or more moved."""
    size = profile.shape[1]
    entries = torch.arange(size, dtype=torch.float64) + 0.5
    inside = (entries > size * spans[:, :1]) & (entries < size * spans[:, 1:])
    total, inner = profile.sum(1), (profile.cpu() * inside).sum(1).to(profile.device)
    moving = total > 0
    places = {tuple(s) for s in spans[moving.cpu()].tolist()}
    return len(places) > 1 and bool((total - inner <= LEAK * total).all())


def follows(changes: Tensor, spans: Tensor) -> tuple[Tensor, Tensor]:
    """How each dim of a grid follows each dim of the input, and how it does backwards.

    Parameters
    ----------
    changes : Tensor (PLACES, *grid)
        Squared changes.
    spans : Tensor (PLACES, dims, 2)
        As in `Moves`.

    Returns
    -------
    forward, backward : Tensor (grid dims, dims)
        Correlations of the places' shares of the change at a position with bells around the places.
    """
    forward = torch.zeros(changes.ndim - 1, spans.shape[1], dtype=torch.float64)
    backward = forward.clone()
    for k, size in enumerate(changes.shape[1:]):
        profile = changes.movedim(1 + k, 1).flatten(2).sum(2) if changes.ndim > 2 else changes
        shares = _shares(profile)
        centres = (torch.arange(size, dtype=torch.float64) + 0.5) / size
        for j in range(spans.shape[1]):
            distances = centres - spans[:, j].mean(1, keepdim=True)
            bells = [torch.exp(-((distances / reach) ** 2) / 2) for reach in REACHES]
            forward[k, j] = max(_correlation(shares, near) for near in bells)
            backward[k, j] = max(_correlation(shares, near.flip(1)) for near in bells)
    return forward, backward


def _shares(changes: Tensor) -> Tensor:
    """The places' shares of the change at each position (PLACES, positions), each place's changes being 1 in all."""
    tiny = torch.finfo(changes.dtype).tiny
    changes = changes / changes.sum(1, keepdim=True).clamp(min=tiny)
    return changes / changes.sum(0).clamp(min=tiny)


def _correlation(a: Tensor, b: Tensor) -> float:
    """Of two tables, less the means of their rows and columns; 0 where one of them is flat."""
    a, b = (t - t.mean(0) - t.mean(1, keepdim=True) + t.mean() for t in (a, b))
    norm = float(a.norm() * b.norm())
    return float((a * b).sum()) / norm if norm > 1e-12 and math.isfinite(norm) else 0.0
