"""Occlusion and ablation: what the score loses when features are replaced by a baseline."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.edits.edits import Boxes, Groups, Notes, effects
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Baselines, Tensors, as_baselines, as_tuple, moved
from attrib.engine.layers.at_layer import Layer
from attrib.engine.model.parameters import Model
from attrib.engine.target import TargetLike
from attrib.functional.explanation import Explanation, finish, method

Size = int | Sequence[int] | Mapping[int, int]
Sizes = Size | tuple[Size, ...]


@method(
    "Occlusion",
    axioms=("implementation_invariance", "linearity"),
    cost="1 forward per window, or what it changes",
    units="output",
    reference="arXiv:1311.2901",
    baselines="point",
    edits=True,
)
def occlusion(
    f: Model,
    x: Tensors,
    *,
    window: Sizes = 1,
    stride: Sizes = 1,
    baselines: Baselines = 0.0,
    only: int | None = None,
    path: str = "auto",
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Explanation:
    """What the score loses when a window is covered, averaged over the windows that cover a feature.

    ``a_i = mean over windows w containing i of f(x) - f(x with the baseline in w)``

    Parameters
    ----------
    {f}
    {x}
    window : int, sequence of int, mapping, or tuple of these (one per input), default 1
        Size of the window: one number for all dims (at most the dim), one per dim after the batch, or sizes by dim
        (numbers, 0 being the batch), where a dim that is not named is covered in full.
    stride : the same, default 1
        From one window to the next; dims that are not named have 1. The last window of a dim is cut off at its end.
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        What is put in the window: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function of the
        inputs.
    {edits}

    Returns
    -------
    {returns_edits}

    Raises
    ------
    {raises_edits}
        Also for windows larger than the input, and strides that leave features uncovered.

    Notes
    -----
    As many edits per sample as there are windows. Satisfies linearity and implementation invariance; complete
    for windows without overlap and models without interactions between them only. Equal to captum's `Occlusion`.
    Memory: `batch_size` rows of the model and the scores of all windows.

    References
    ----------
    Zeiler, Fergus (2014), Visualizing and understanding convolutional networks. arXiv:1311.2901

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import occlusion
    >>> occlusion(lambda x: x.sum(1), torch.tensor([[1.0, 2.0, 3.0]]), window=2)
    tensor([[3., 4., 5.]])
    """
    xs = as_tuple(x, integers=True)
    x0s = as_baselines(baselines, xs)
    chosen = edited_inputs(xs, only)
    windows, strides = per_input(window, xs, "window"), per_input(stride, xs, "stride")
    grids = {
        j: grid(windows[j], strides[j], tuple(xs[j].shape[1:]), which=f"x[{j}]" if len(xs) > 1 else "x")
        for j in chosen
    }

    def one(passes: Passes, j: int, score: Tensor) -> tuple[Tensor, Tensor, Notes]:
        g: Grid = grids[j]
        edits = Boxes(len(xs[j]), *g.boxes(), g.axes, x0s[j])
        values, notes = effects(passes, xs, j, edits, score, path)
        return g.spread(-values.view(*score.shape, *g.counts)), torch.ones_like(xs[j]), notes

    with Passes(
        f, xs, len(xs[0]), more=True, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        return each_input(passes, xs, chosen, one)


@method(
    "Feature ablation",
    axioms=("dummy", "implementation_invariance", "linearity"),
    cost="1 forward per feature or group, or what it changes",
    units="output",
    reference="arXiv:2009.07896",
    baselines="point",
    edits=True,
)
def feature_ablation(
    f: Model,
    x: Tensors,
    *,
    groups: Any = None,
    baselines: Baselines = 0.0,
    only: int | None = None,
    path: str = "auto",
    layer: Layer | None = None,
    output: int | None = None,
    call: int | None = None,
    target: TargetLike = None,
    targets: Sequence | str | None = None,
    classes: Sequence[str] | None = None,
    additional_forward_args: Any = (),
    batch_size: BatchSize = "auto",
    device: torch.device | str | None = None,
    progress: Progress = False,
) -> Explanation:
    """What the score loses when a feature, or a group of features, is replaced by its baseline.

    ``a_i = f(x) - f(x with the baseline in the group of i)``

    Parameters
    ----------
    {f}
    {x}
    groups : Tensor of int, tuple of these (one per input; None: each feature alone), or None
        The group of each feature, shaped like a sample, or (1, ...), or so that it broadcasts to a sample; or (N, ...),
        groups for each sample. Equal numbers in several inputs are one group, replaced in all of them at once. Features
        with a negative number are in no group.
    baselines : float, Tensor, tuple of these, or callable, default 0.0
        What is put there: a number, a tensor shaped like a sample, (1, ...) or (N, ...), or a function of the inputs.
    {edits_at_layer}

    Returns
    -------
    {returns_edits}

    Raises
    ------
    {raises_edits}
        Also for groups that are no ints or do not fit the input.

    Notes
    -----
    One edit per sample and group; features without groups are replaced one input at a time. Satisfies dummy, linearity
    and implementation invariance. Equal to captum's `FeatureAblation` (0.9). Groups of more than one feature take the
    dense path. Memory: `batch_size` rows of the model and the scores of all groups.

    References
    ----------
    Kokhlikyan et al. (2020), Captum: a unified and generic model interpretability library for PyTorch. arXiv:2009.07896

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import feature_ablation
    >>> x, groups = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([0, 0, 1])
    >>> feature_ablation(lambda x: x[:, 0] * x[:, 1] + x[:, 2], x, groups=groups)
    tensor([[2., 2., 3.]])
    """
    xs = as_tuple(x, integers=True)
    x0s = as_baselines(baselines, xs)
    chosen = edited_inputs(xs, only)
    each = groups if isinstance(groups, tuple | list) else (groups,) * len(xs)
    if len(each) != len(xs):
        raise ValueError(f"`groups` has {len(each)} entries for {len(xs)} inputs; pass one per input")
    members = {j: group_numbers(each[j], xs[j]) for j in chosen if each[j] is not None}
    numbers = {j: g[g >= 0].unique() for j, g in members.items()}
    if len(members) == len(chosen) and not any(map(len, numbers.values())):
        raise ValueError(
            "`groups` has negative numbers only: no feature belongs to a group; number the groups from 0"
        )
    joint = _joint(members, numbers)
    if joint and path not in ("auto", "dense"):
        raise ValueError(
            f'`path` is {path!r}, but groups for each sample, and groups over several inputs, take "dense"; pass that or "auto"'
        )
    losses: list[tuple[Tensor, Tensor, Tensor]] = []

    def one(passes: Passes, j: int, score: Tensor) -> tuple[Tensor, Tensor, Notes]:
        if j not in members:
            return _singly(passes, xs, x0s[j], j, score, path)
        g, shape, notes = members[j], xs[j].shape[1:], Notes()
        covered = (g >= 0).expand(-1, *shape)
        if not len(numbers[j]):
            return score.new_zeros(*score.shape, *shape), covered, notes
        if j in joint:
            if not losses:
                losses.append(_losses(passes, xs, x0s, {k: members[k] for k in joint}, score))
                edits = int(losses[0][0].bincount().max())
                notes = {
                    "path": "dense",
                    "path_reason": "groups of several inputs or samples",
                    "edits": edits,
                }
            attribution = _of_features(g, len(xs[0]), *losses[0])
        else:
            values, notes = effects(passes, xs, j, Groups(len(xs[j]), g[0], numbers[j], x0s[j]), score, path)
            at = torch.searchsorted(numbers[j], g.clamp(min=int(numbers[j][0])).contiguous())
            attribution = -values.view(*score.shape, -1)[:, :, at[0].to(values.device)]
        attribution = attribution.expand(*score.shape, *shape)
        return torch.where(covered.to(attribution.device), attribution, 0.0), covered, notes

    with Passes(
        f, xs, len(xs[0]), more=True, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        return each_input(passes, xs, chosen, one)


def _singly(
    passes: Passes, xs: tuple[Tensor, ...], x0: Tensor, j: int, score: Tensor, path: str
) -> tuple[Tensor, Tensor, Notes]:
    """Every feature by itself: windows of one."""
    g = grid(1, 1, tuple(xs[j].shape[1:]))
    values, notes = effects(passes, xs, j, Boxes(len(xs[j]), *g.boxes(), g.axes, x0), score, path)
    return -values.view(*score.shape, *xs[j].shape[1:]), torch.ones_like(xs[j]), notes


def _joint(members: dict[int, Tensor], numbers: dict[int, Tensor]) -> list[int]:
    """The inputs whose groups are replaced together: some are groups of two inputs, or they differ between samples."""
    named = torch.cat(list(numbers.values())) if numbers else torch.zeros(0)
    if len(named.unique()) == len(named) and all(len(g) == 1 for g in members.values()):
        return []
    return list(members)


def _losses(
    passes: Passes, xs: tuple[Tensor, ...], x0s: tuple[Tensor, ...], members: dict[int, Tensor], score: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """What the score loses with each group of each sample, in all inputs at once.

    Returns
    -------
    samples, numbers : Tensor (R,)
        Sample and group, in ascending order.
    losses : Tensor (T, R)
    """
    pairs = [
        torch.stack([torch.full_like(ids, i), ids])
        for i in range(len(xs[0]))
        for ids in [torch.cat([_of_sample(g, i).flatten() for g in members.values()]).unique()]
    ]
    samples, numbers = torch.cat(pairs, 1)
    samples, numbers = samples[numbers >= 0], numbers[numbers >= 0]
    total = score.new_zeros(len(score), len(samples))

    def work(start: int, stop: int) -> tuple[int, Tensor]:
        i, k = samples[start:stop], numbers[start:stop]
        rows = [moved(t[moved(i, t.device)], passes.device) for t in xs]
        for j, g in members.items():
            inside = (g if len(g) == 1 else g[i]) == k.view(-1, *[1] * (g.ndim - 1))
            baseline = x0s[j] if len(x0s[j]) == 1 else x0s[j][moved(i, x0s[j].device)]
            rows[j] = torch.where(inside.to(passes.device), baseline.to(rows[j]), rows[j])
        return start, passes.score(passes.function(*rows, samples=i), moved(i, passes.device))

    passes.batches.expect(len(samples))
    for start, part in passes.batches.run(len(samples), work):
        total[:, start : start + part.shape[1]] = part
    passes.engine = "dense"
    return samples, numbers, score.index_select(1, samples.to(score.device)) - total


def _of_sample(groups: Tensor, i: int) -> Tensor:
    return groups[0 if len(groups) == 1 else i]


def _of_features(groups: Tensor, n: int, samples: Tensor, numbers: Tensor, losses: Tensor) -> Tensor:
    """Losses (T, R) of the groups of samples, for the features (N, ...) whose groups they are: (T, N, ...)."""
    compact = numbers.unique()
    keys = samples * len(compact) + torch.searchsorted(compact, numbers)
    ranks = torch.searchsorted(compact, groups.clamp(min=int(compact[0])).contiguous())
    wanted = torch.arange(n).view(-1, *[1] * (groups.ndim - 1)) * len(compact) + ranks
    at = torch.searchsorted(keys, wanted.contiguous()).clamp(max=len(keys) - 1)
    return losses[:, at.to(losses.device)]


def group_numbers(groups: Any, x: Tensor) -> Tensor:
    """The group of each feature, on the CPU: (1, ...) for all samples or (N, ...)."""
    if not isinstance(groups, Tensor) or groups.is_floating_point() or groups.dtype == torch.bool:
        got = groups.dtype if isinstance(groups, Tensor) else type(groups).__name__
        raise TypeError(f"`groups` is {got}, expected a tensor of ints: the group of each feature")
    g = groups.detach().cpu().long()
    g = g if g.ndim == x.ndim and len(g) in (1, len(x)) else g[None]
    shape = tuple(x.shape[1:])
    sizes = tuple(g.shape[1:])
    fits = len(sizes) <= len(shape) and all(
        a in (1, b) for a, b in zip(sizes[::-1], shape[::-1], strict=False)
    )
    if not fits:
        raise ValueError(
            f"`groups` has shape {tuple(groups.shape)}, expected {shape} or one that broadcasts to it, or ({len(x)}, ...) "
            "with groups for each sample"
        )
    return g.view(len(g), *[1] * (len(shape) - len(sizes)), *sizes)


class Grid(NamedTuple):
    """Windows at equal distances along every dim; the last ones are cut off at the end.

    Attributes
    ----------
    shape : tuple of int
        A sample's shape.
    window, stride : tuple of int
        Per dim.
    """

    shape: tuple[int, ...]
    window: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Windows along each dim."""
        return tuple(
            -(-(n - w) // s) + 1 for n, w, s in zip(self.shape, self.window, self.stride, strict=True)
        )

    @property
    def axes(self) -> tuple[int, ...]:
        """The dims of the input, batch included, along which windows do not cover everything."""
        return tuple(d + 1 for d, (n, w) in enumerate(zip(self.shape, self.window, strict=True)) if w < n)

    def boxes(self) -> tuple[Tensor, Tensor]:
        """First and last but one position (windows, k) along `axes`, the last dim fastest."""
        lines = [torch.tensor(self._line(axis - 1)) for axis in self.axes]
        if not lines:
            return torch.zeros(1, 0, dtype=torch.long), torch.zeros(1, 0, dtype=torch.long)
        lo = torch.cartesian_prod(*lines).view(-1, len(lines))
        sizes = torch.tensor([self.window[axis - 1] for axis in self.axes])
        return lo, (lo + sizes).minimum(torch.tensor([self.shape[axis - 1] for axis in self.axes]))

    def _line(self, d: int) -> list[int]:
        """Starts of the windows along one dim."""
        return [k * self.stride[d] for k in range(self.counts[d])]

    def spread(self, values: Tensor) -> Tensor:
        """Values of windows (T, N, *counts) to features (T, N, *shape): the mean over the windows that cover each."""
        for d, n in enumerate(self.shape):
            total = values.new_zeros(*values.shape[: d + 2], n, *values.shape[d + 3 :])
            cover = torch.zeros(n, dtype=values.dtype, device=values.device)
            for k, lo in enumerate(self._line(d)):
                hi = min(lo + self.window[d], n)
                total.narrow(d + 2, lo, hi - lo).add_(values.narrow(d + 2, k, 1))
                cover[lo:hi] += 1
            values = total / cover.view(-1, *[1] * (len(self.shape) - d - 1))
        return values


def per_input(sizes: Any, xs: Sequence[Any], name: str) -> tuple[Any, ...]:
    """Sizes for each input: the caller gave a tuple of them, or one for all."""
    if len(xs) > 1 and isinstance(sizes, tuple | list):
        if len(sizes) != len(xs):
            raise ValueError(f"`{name}` has {len(sizes)} entries for {len(xs)} inputs; pass one per input")
        return tuple(sizes)
    return (sizes,) * len(xs)


def grid(
    window: Any,
    stride: Any,
    shape: tuple[int, ...],
    names: Sequence[Hashable] | None = None,
    which: str = "x",
) -> Grid:
    """The grid of windows over a sample; errors call its dims by `names`, or by number, and the input `which`.

    Raises
    ------
    ValueError, TypeError
        For sizes that are no positive ints, windows larger than the sample, strides that leave features uncovered.
    """
    sizes = _per_dim(window, shape, "window", shape)
    strides = _per_dim(stride, shape, "stride", (1,) * len(shape))
    if isinstance(window, int):
        sizes = tuple(map(min, sizes, shape))
    called = [f"dim {d + 1}" for d in range(len(shape))] if names is None else [repr(d) for d in names]
    for dim, n, w, s in zip(called, shape, sizes, strides, strict=True):
        if w > n:
            raise ValueError(
                f"`window` has size {w} along {dim}, but `{which}` has {n} there; pass at most {n}"
            )
        if w < n and s > w:
            raise ValueError(
                f"`stride` is {s} and `window` {w} along {dim}: features between windows would never be "
                "covered; pass a stride of at most the window"
            )
    return Grid(shape, sizes, strides)


def _per_dim(sizes: Any, shape: tuple[int, ...], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """One size for each dim of a sample."""
    if isinstance(sizes, Mapping):
        wrong = [d for d in sizes if d not in range(1, len(shape) + 1)]
        if wrong:
            raise ValueError(
                f"`{name}` names the dims {wrong}, expected some of 1 to {len(shape)} (0 is the batch)"
            )
        each = tuple(sizes.get(d + 1, default[d]) for d in range(len(shape)))
    elif isinstance(sizes, Sequence) and not isinstance(sizes, str):
        each = tuple(sizes)
    else:
        each = (sizes,) * len(shape)
    if len(each) != len(shape):
        raise ValueError(
            f"`{name}` has {len(each)} sizes, expected one for each of the {len(shape)} dims of a sample"
        )
    if any(isinstance(s, bool) or not isinstance(s, int) for s in each):
        raise TypeError(f"`{name}` is {sizes!r}, expected ints")
    if any(s < 1 for s in each):
        raise ValueError(f"`{name}` is {sizes!r}, expected positive ints")
    return each


# ------------------------------------------------------------------ several inputs

OneInput = Callable[[Passes, int, Tensor], tuple[Tensor, Tensor, Notes]]


def edited_inputs(xs: Sequence[Tensor], only: int | None) -> list[int]:
    """The numbers of the inputs to edit.

    Raises
    ------
    TypeError, ValueError
        If `only` is no number of an input.
    """
    if only is None:
        return list(range(len(xs)))
    if isinstance(only, bool) or not isinstance(only, int):
        raise TypeError(f"`only` is {only!r}, expected the number of an input: 0 to {len(xs) - 1}")
    if not 0 <= only < len(xs):
        raise ValueError(f"`only` is {only}, expected the number of an input: 0 to {len(xs) - 1}")
    return [only]


def each_input(passes: Passes, xs: tuple[Tensor, ...], chosen: list[int], of_input: OneInput) -> Explanation:
    """The attribution of every chosen input, NaN for the others.

    Parameters
    ----------
    passes : Passes
        Entered.
    xs : tuple of Tensor
        The inputs.
    chosen : list of int
        Inputs to edit.
    of_input : callable
        (passes, number of the input, scores (T, N)) to its attribution (T, N, ...), which features of (N, ...) it says
        something about, and notes.
    """
    score = passes.scores(xs)
    effects = [score.new_zeros(len(score), *t.shape) for t in xs]
    covered = [torch.zeros(1, dtype=torch.bool) for _ in xs]
    notes: list[Notes] = []
    for j in chosen:
        effects[j], seen, more = of_input(passes, j, score)
        covered[j] = seen.bool()
        notes.append(more)
    explanation = finish(passes, xs, tuple(effects), score, notes=_joined(notes))
    attribution = explanation.attribution
    parts = attribution if isinstance(attribution, tuple) else (attribution,)
    masked = tuple(torch.where(k.to(p.device), p, torch.nan) for p, k in zip(parts, covered, strict=True))
    return explanation._replace(attribution=_like(attribution, masked))


def _like(attribution: Tensors, parts: tuple[Tensor, ...]) -> Tensors:
    return parts if isinstance(attribution, tuple) else parts[0]


def _joined(notes: list[Notes]) -> Notes:
    """Notes of several inputs: numbers are summed, differing words listed."""
    if len(notes) == 1:
        return notes[0]
    joined: Notes = {}
    for name in dict.fromkeys(k for n in notes for k in n):
        values = [n[name] for n in notes if name in n]
        numbers = [v for v in values if not isinstance(v, str)]
        joined[name] = (
            sum(numbers) if len(numbers) == len(values) else "; ".join(dict.fromkeys(map(str, values)))
        )
    return joined
