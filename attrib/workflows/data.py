"""The user's own data as methods take them, their baselines, and which outputs are explained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import xarray as xr

from attrib._arguments import near, refuse_unnamed, text_in
from attrib.domains.draws import drawn_evenly, label_among
from attrib.io import read
from attrib.labels import labelled_inputs
from attrib.workflows.study import Result

if TYPE_CHECKING:
    from torch import Tensor


PROFILE = "profile"

T = TypeVar("T")


def floating(x: Result, say: Callable[[str], None] = lambda line: None) -> Result:
    """Whole numbers and flags as float32, with a message; text is refused.

    Raises
    ------
    ValueError
        For data that are not numbers, with the name of the variable.
    """
    arrays = {x.name: x} if isinstance(x, xr.DataArray) else dict(x.data_vars)
    for name, a in arrays.items():
        if a.dtype.kind not in "fiub":
            raise ValueError(f"`data`: {name} holds {a.dtype}, expected numbers")
        if not a.size:
            raise ValueError(f"`data`: {name} has shape {a.shape}, expected at least one sample")
    if any(a.dtype.kind != "f" for a in arrays.values()):
        say("The data are whole numbers; they are explained as float32.")
    return x.map(_float) if isinstance(x, xr.Dataset) else _float(x)


def _float(a: xr.DataArray) -> xr.DataArray:
    return a if a.dtype.kind == "f" else a.astype(np.float32)


def drawn(x: Result, most: int, seed: int, say: Callable[[str], None] = lambda line: None) -> list[int]:
    """Places of at most so many samples along the first sample dim, drawn evenly over a coord `label` or `class`, else over all.

    Raises
    ------
    ValueError
        For less than one sample.
    """
    if most < 1:
        raise ValueError(f"`max_samples` is {most}, expected at least 1")
    dim = labelled_inputs(x).sample_dims[0]
    count = x.sizes[dim]
    by = label_among(name for name, c in x.coords.items() if c.dims == (dim,))
    if most < count:
        say(f"{most} of {count} samples, drawn evenly over {by or 'all'} with seed {seed}.")
    return drawn_evenly([""] * count if by is None else x[by].values.tolist(), most, seed)


def baselines_of(baselines: str | None, x: Result, say: Callable[[str], None]) -> float | Result | None:
    """A number, or an array; an array with another number of samples than `x` is a distribution."""
    if baselines is None:
        return None
    try:
        return float(baselines)
    except ValueError:
        if "." not in baselines and not Path(baselines).exists():
            raise ValueError(f"`baselines` is {baselines!r}, expected a number or a file") from None
    try:
        baseline = floating(_read_like(baselines, x))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"`baselines`: {error}") from error
    sample = labelled_inputs(x).sample_dims[0]
    first = x if isinstance(x, xr.DataArray) else next(iter(x.data_vars.values()))
    if sample in baseline.dims and baseline.sizes[sample] != first.sizes[sample]:
        say(f"{baseline.sizes[sample]} baselines: methods that take one get their mean.")
        baseline = baseline.drop_vars([c for c in baseline.coords if sample in baseline[c].dims]).rename(
            {sample: "baseline"}
        )
    return baseline


def _read_like(file: str, x: Result) -> Result:
    """Baselines from a file, with the input's dims, or those of one sample."""
    if Path(file).suffix not in (".npy", ".npz") or isinstance(x, xr.Dataset):
        return read(file, variables=list(map(str, x.data_vars)) if isinstance(x, xr.Dataset) else None)
    names = list(map(str, x.dims))
    return read(file, dims=names[1:] if len(read(file).dims) == x.ndim - 1 else names)


def targets(target: str | None, classes: Sequence[str] | None) -> dict[str, Any]:
    """`target` or `targets` of a method for the text of an option.

    Raises
    ------
    ValueError
        For a name without `classes` or not among them.
    """
    if target is None or target == "predicted":
        return {"target": target}
    if target == "all":
        return {"targets": "all"}
    if classes is not None and target in classes:
        return {"target": target}
    chosen = [_target(part.strip(), classes) for part in target.split(",")]
    return {"target": chosen[0]} if len(chosen) == 1 else {"targets": chosen}


def _target(text: str, classes: Sequence[str] | None) -> int | str:
    if classes is not None and text in classes:
        return text
    if text.isdecimal():
        is_named = classes is not None and int(text) < len(classes)
        return classes[int(text)] if is_named else int(text)  # type: ignore[index]
    if classes is None:
        raise ValueError(
            f"`target` is {text!r}: to name a class, give `classes`; else a number, predicted or all; of a model with several "
            "heads HEAD:OUTPUT, such as 1:0, or 0:profile for the score of a profile"
        )
    raise ValueError(
        f"`target` is {text!r}, which is not among the classes {', '.join(classes[:12])}{near(text, classes)}"
    )


def heads_of(target: str | None, classes: Sequence[str] | None) -> list[str]:
    """Parts of a target that name heads: `HEAD:OUTPUT`, `HEAD:profile` or `profile`; none if no part does.

    Raises
    ------
    ValueError
        If only some parts do.
    """
    if target is None or target in (classes or ()):
        return []
    parts = [part.strip() for part in target.split(",")]
    named = [p for p in parts if (":" in p or p == PROFILE) and p not in (classes or ())]
    if named and len(named) < len(parts):
        other = next(p for p in parts if p not in named)
        raise ValueError(
            f"`target` is {target!r}: {named[0]} names a head, {other} does not; name all of them HEAD:OUTPUT"
        )
    return named


class Heads:
    """Numbers of a model's heads as outputs (N, parts).

    Parameters
    ----------
    f : callable
        The model.
    parts : sequence of str
        Of `heads_of`.
    classes : sequence of str, optional
        Names of a head's outputs.
    """

    def __init__(
        self, f: Callable[..., Any], parts: Sequence[str], classes: Sequence[str] | None = None
    ) -> None:
        self.model, self.parts, self.classes = f, tuple(parts), classes
        self.__wrapped__ = getattr(f, "forward", f)  # names of the inputs

    def __call__(self, *x: Any, **named: Any) -> Tensor:
        """One number per row and part."""
        import torch

        y = self.model(*x, **named)
        return torch.stack([self._one(y, part) for part in self.parts], 1)

    def _one(self, y: Any, part: str) -> Tensor:
        from attrib.functional.heads import profile_score, taken

        name, _, output = part.rpartition(":")
        try:
            of_head = taken(y, (int(name) if name.isdecimal() else name,) if name else ())
        except ValueError as error:
            raise ValueError(f"`target` is {part!r}: {str(error).partition(', but ')[2]}") from None
        if output == PROFILE:
            return profile_score(of_head)
        if output in (self.classes or ()):
            of_head = of_head[:, (self.classes or []).index(output)]  # type: ignore[union-attr]
        elif output.isdecimal() and of_head.ndim > 1 and int(output) < of_head.shape[1]:
            of_head = of_head[:, int(output)]
        if of_head.ndim != 1:
            raise ValueError(
                f"`target` is {part!r}: that is an output {tuple(of_head.shape)}, expected one number per row; name one by "
                f"HEAD:NUMBER, or the score of a profile by HEAD:{PROFILE}"
            )
        return of_head


def headed(target: str | None, classes: Sequence[str] | None) -> tuple[str | None, Sequence[str] | None]:
    """Target and classes for a model that gives the heads named in `target` as its outputs (`Heads`)."""
    parts = heads_of(target, classes)
    return (target, classes) if not parts else (parts[0] if len(parts) == 1 else "all", parts)


def with_heads(
    f: Callable[..., Any], target: str | None, classes: Sequence[str] | None
) -> Callable[..., Any]:
    """The model, or its heads as outputs where `target` names some."""
    parts = heads_of(target, classes)
    return Heads(f, parts, classes) if parts else f


def places_of(names: Sequence[str], samples: Sequence[str] | None) -> list[int]:
    """Places of the samples that are named, in the order of all names; of all samples where none is named.

    Raises
    ------
    ValueError
        For names that there are not, with the nearest one.
    """
    if samples is None:
        return list(range(len(names)))
    wanted = [samples] if isinstance(samples, str) else [str(s) for s in samples]
    refuse_unnamed("samples", wanted, names)
    return [k for k, name in enumerate(names) if name in set(wanted)]


def checkpoint_in(model: Any) -> Path | None:
    """The path of a checkpoint that stands for a model; None for code, and for a model that is there.

    Raises
    ------
    ValueError
        For a text that is neither code nor a path.
    """
    if isinstance(model, Path):
        return model
    if not isinstance(model, str) or model.endswith(".pt2"):
        return None
    if Path(model).exists():
        return Path(model)
    if ":" not in model:
        raise ValueError(
            f"`model` is {model!r}, expected package.module:factory, or a checkpoint; there is no such path"
        )
    return None


def refuse_beside(what: str, **arguments: Any) -> None:
    """Refuse arguments that belong to another form of `model`."""
    for name, value in arguments.items():
        if value is not None:
            raise ValueError(f"`{name}`: {what}; leave it out")


def loaded(model: Any, kind: type[T], load: Callable[..., T], **arguments: Any) -> T:
    """What a study explains: a `model` of its `kind` that is there, a checkpoint's by its path, or one of code.

    Raises
    ------
    ValueError
        For arguments beside a model that is there, and as `load`, which gets the path, or `model`, and the arguments.
    """
    if isinstance(model, kind):
        refuse_beside(f"`model` is a {kind.__name__}, which is loaded already", **arguments)
        return model
    checkpoint = checkpoint_in(model)
    return load(model=model, **arguments) if checkpoint is None else load(checkpoint, **arguments)


def class_names(classes: str | Sequence[str] | None) -> list[str] | None:
    """Names from a sequence, from a list with commas, or from a file with one per line."""
    if classes is None:
        return None
    if not isinstance(classes, str):
        return _different([str(c) for c in classes])
    file = Path(classes)
    if "," not in classes and file.suffix and not file.is_file():
        raise FileNotFoundError(f"`classes`: there is no file {classes} with the names; or list them: a,b,c")
    text = text_in("classes", file).splitlines() if file.is_file() else classes.split(",")
    return _different([n.strip() for n in text if n.strip()])


def _different(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise ValueError(f"`classes` has {twice!r} twice; targets could not be told apart")
    return names
