"""In-silico mutagenesis: every letter at every position."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from attrib.engine.batching import BatchSize, Progress
from attrib.engine.edits.edits import Letters, Notes, effects
from attrib.engine.gradient.passes import Passes
from attrib.engine.inputs import Tensors, as_tuple
from attrib.engine.model.parameters import Model
from attrib.engine.target import TargetLike
from attrib.functional.explanation import Explanation, method
from attrib.functional.occlusion import each_input, edited_inputs


@method(
    "In-silico mutagenesis",
    axioms=("implementation_invariance", "linearity"),
    cost="letters x positions forward, or the windows they change",
    units="output",
    reference="doi:10.1038/nmeth.3547",
    edits=True,
)
def in_silico_mutagenesis(
    f: Model,
    x: Tensors,
    *,
    axis: int = 1,
    position: int = 2,
    positions: Sequence[int] | Tensor | slice | None = None,
    center: bool = False,
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
    """What every letter at every position would do to the score.

    ``a[n, letter, position] = f(x_n with that letter there) - f(x_n)``: 0 at the letter that is there.

    Parameters
    ----------
    {f}
    {x}
        Sequences (N, letters, positions). Columns are one-hot; one of zeros (an unknown base) or of other values is
        replaced by every letter in turn.
    axis : int, default 1
        The dim of the letters.
    position : int, default 2
        The dim of the positions.
    positions : sequence of int or slice, optional
        Where to edit, counted from 0 (negative ones from the end); default everywhere.
    center : bool, default False
        Subtract each position's mean over the letters, so that a column's entries sum to 0.
    {edits}

    Returns
    -------
    {returns_edits}

    Raises
    ------
    {raises_edits}
        Also for inputs of zeros and ones alone with more than one 1 in a column: the letters are on another dim than
        `axis` says.

    Notes
    -----
    (letters - 1) x positions edits per sample. Satisfies linearity and implementation invariance; not complete.
    Exact: equal to one row of the model per edit up to rounding, on either path. Memory: `batch_size` rows of the model
    and the scores of all edits; outputs are reduced to scores chunk by chunk.

    References
    ----------
    Zhou, Troyanskaya (2015), Predicting effects of noncoding variants with deep learning-based sequence model.
    doi:10.1038/nmeth.3547

    Examples
    --------
    >>> import torch
    >>> from attrib.functional import in_silico_mutagenesis
    >>> weights = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 5.0], [4.0, 0.0]])
    >>> x = torch.tensor([[[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])  # A, G
    >>> in_silico_mutagenesis(lambda x: (x * weights).sum((1, 2)), x)
    tensor([[[ 0., -5.],
             [ 1., -5.],
             [ 2.,  0.],
             [ 3., -5.]]])
    """
    xs = as_tuple(x, integers=True)
    chosen = edited_inputs(xs, only)
    wanted = {j: _sites(xs[j], axis, position, positions, f"x[{j}]" if len(xs) > 1 else "x") for j in chosen}

    def one(passes: Passes, j: int, score: Tensor) -> tuple[Tensor, Tensor, Notes]:
        edits = Letters(xs[j], axis % 3, position % 3, wanted[j])
        values, notes = effects(passes, xs, j, edits, score, path)
        attribution, covered = values.new_zeros(len(score), *xs[j].shape), torch.zeros_like(xs[j])
        columns = attribution.movedim((axis % 3 + 1, position % 3 + 1), (2, 3))
        columns[:, edits.samples, edits.letters, edits.positions] = values
        if center:
            columns -= columns.mean(2, keepdim=True)
        covered.movedim(position, 0)[wanted[j]] = 1
        return attribution, covered, notes

    with Passes(
        f, xs, len(xs[0]), more=True, target=target, targets=targets, classes=classes,
        additional_forward_args=additional_forward_args,
        batch_size=batch_size, device=device, progress=progress,
    ) as passes:  # fmt: skip
        return each_input(passes, xs, chosen, one)


def _sites(
    x: Tensor, axis: int, position: int, positions: Sequence[int] | Tensor | slice | None, which: str
) -> Tensor:
    """The positions to edit, ascending.

    Raises
    ------
    ValueError
        If `x` is no sequence, the dims are not its two, or a position is not there.
    """
    if x.ndim != 3:
        raise ValueError(
            f"`{which}` has shape {tuple(x.shape)}, expected sequences (N, letters, positions); "
            "hold inputs that are no sequences with `only`, or use occlusion"
        )
    if any(isinstance(d, bool) or not isinstance(d, int) for d in (axis, position)):
        raise TypeError(f"`axis` and `position` are {axis!r} and {position!r}, expected dims' numbers")
    if {axis % 3, position % 3} != {1, 2}:
        raise ValueError(
            f"`axis` and `position` are {axis} and {position}, expected dims 1 and 2 of `{which}`"
        )
    refuse_several_letters(x, axis, position, which)
    every = torch.arange(x.shape[position])
    if positions is None:
        return every
    try:
        numbers = torch.as_tensor(every.tolist()[positions] if isinstance(positions, slice) else positions)
    except (TypeError, ValueError) as error:
        raise TypeError(f"`positions` is {positions!r}, expected ints or a slice") from error
    if numbers.numel() == 0:
        raise ValueError(f"`positions` is {positions!r}, which picks none of {len(every)}")
    if numbers.is_floating_point() or numbers.dtype == torch.bool:
        raise TypeError(
            f"`positions` has dtype {numbers.dtype}, expected ints; for a mask pass mask.nonzero()"
        )
    wrong = numbers[(numbers < -len(every)) | (numbers >= len(every))]
    if len(wrong):
        raise ValueError(
            f"`positions` has {wrong.tolist()[:5]}, but `{which}` has positions 0 to {len(every) - 1}"
        )
    return numbers.long().remainder(len(every)).unique()


def refuse_several_letters(
    x: Tensor, axis: int, position: int, which: str = "x", names: Sequence[Hashable] | None = None
) -> None:
    """See that columns along `axis` hold one 1 at most, if there are zeros and ones only.

    Parameters
    ----------
    x : Tensor (N, ..., ...)
        Sequences.
    axis, position : int
        The dims of letters and positions.
    which : str, default "x"
        What the error calls it.
    names : sequence of hashable, optional
        What the error calls its dims, those behind the samples'; default their numbers.

    Raises
    ------
    ValueError
        Where they hold more: the letters then lie along another dim.
    """
    most = int(x.sum(axis).max()) if x.numel() and bool(((x == 0) | (x == 1)).all()) else 0
    if most <= 1:
        return
    letters, along = (names[d % 3 - 1] if names is not None else d % 3 for d in (axis, position))
    exchanged = f"`axis`={along!r} and `position`={letters!r}"
    other = bool((x.sum(position) <= 1).all())
    raise ValueError(
        f"`{which}` has columns with {most} ones along {letters!r}, the dim of the letters (`axis`), and no values but 0 "
        f"and 1; expected one-hot columns, or zeros for an unknown letter; "
        + (
            f"along {along!r} they are: pass {exchanged}"
            if other
            else f"for letters along {along!r} pass {exchanged}"
        )
    )
