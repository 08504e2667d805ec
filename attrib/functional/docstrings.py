"""Passages that the docstrings of all methods share, written once, and their form for labelled arrays.

`{name}` on a line of its own in a method's docstring stands for the passage of that name.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attrib.functional.explanation import About

TARGETS = """\
target : int, str, tuple, sequence, callable or None
    Which score is explained: an output's index, its name (with `classes`), a tuple of indices for outputs
    (N, C, ...), a list with one of these per sample, a function of the output that returns (N,),
    `"predicted"` (each sample's largest output), or None where the output is one number. A function of two
    arguments gets the output and the number of each row's sample.
targets : list of targets or "all", optional
    Several at once, from one forward pass: the result gains a leading dim.
classes : sequence of str, or mapping, optional
    Names of the outputs; or a mapping between their numbers and names, such as the `id2label` of transformers."""

BESIDE = """\
additional_forward_args : tuple or mapping, default ()
    What the model takes beside x and nobody explains: masks, ids, covariates, lengths; a tuple goes behind the
    inputs, a mapping by name. Tensors with a row for each sample travel with their samples, also to baselines; all
    else goes as it is (`shared` says so of a tensor that happens to have as many rows)."""

CHUNKS = f"""\
{BESIDE}
batch_size : int or "auto", default "auto"
    Rows per model call; bounds the memory. `"auto"` derives it from the activations of the first rows. A
    chunk that runs out of GPU memory is done again in halves.
device : torch.device or str, optional
    Where to run; default: where the model's parameters are. Inputs are moved there chunk by chunk.
progress : bool or callable, default False
    True shows a bar; a callable gets (rows done, rows in all)."""

AT_LAYER = """\
layer : str or torch.nn.Module, optional
    Explain the output of this layer (a dotted name, or the module) in place of x, which may then be of whole
    numbers: tokens. The attribution has the shape of that output; baselines are inputs still, noise is added at x.
output : int, optional
    With `layer`: which of the values that it returns, if it returns a tuple or a dict.
call : int, optional
    With `layer`: which of its calls, counted from 0, if the model calls it several times."""

PASSAGES = {
    "layer": AT_LAYER,
    "f": """\
f : callable
    The model: takes input(s) batched on dim 0, returns (N,), (N, C), (N, C, ...) or an object with
    `.logits`. A `torch.nn.Module`, a function, a `torch.export` module. It is left as it was.""",
    "x": """\
x : Tensor or tuple of Tensor
    Input(s), samples on dim 0, floating point.""",
    "noise": """\
n_samples : int, default 25
    Noisy copies per sample.
stdevs : float or tuple of float, optional
    Standard deviation of the noise in input units; per input if a tuple.
stdev_spread : float, default 0.15
    Where `stdevs` is None: standard deviation as a fraction of each sample's range, max(x) - min(x).
reduce : {"mean", "square", "variance"}
    Mean, mean square, or variance over the copies.""",
    "seed": """\
seed : int, default 0
    Seed of the draws. A sample's draws depend on it and on the sample's own values alone: not on its place in
    the batch, on other samples, on `batch_size`, or on the device.""",
    "chunks": CHUNKS,
    "passes": f"{TARGETS}\n{CHUNKS}",
    "shared": f"""\
{TARGETS}
{CHUNKS}
engine : {{"auto", "func", "autograd"}}
    `"auto"` traces the model with torch.func and uses plain autograd where that is not possible.""",
    "edits": f"""\
only : int, optional
    With several inputs: the number of the one to edit, the others held as they are; default: each in its turn.
    What is not edited is NaN in the result.
path : {{"auto", "window", "dense"}}
    How edits are computed. `"dense"`: a row of the model for each. `"window"`: only the values that an edit
    changes, if the model's ops allow it. `"auto"`: whichever needs fewer operations, counted on the model's
    graph. Both give the same numbers up to rounding. `"dense"` with `batch_size=1` is the deterministic mode: equal
    bits whatever the other samples and edits; see the page on mutagenesis.
{TARGETS}
{CHUNKS}""",
    "edits_at_layer": f"""\
only : int, optional
    With several inputs: the number of the one to edit, the others held as they are; default: each in its turn.
    What is not edited is NaN in the result.
path : {{"auto", "window", "dense"}}
    How edits are computed. `"dense"`: a row of the model for each. `"window"`: only the values that an edit
    changes, if the model's ops allow it. `"auto"`: whichever needs fewer operations, counted on the model's
    graph. Both give the same numbers up to rounding. `"dense"` with `batch_size=1` is the deterministic mode: equal
    bits whatever the other samples and edits; see the page on mutagenesis.
{AT_LAYER}
{TARGETS}
{CHUNKS}""",
    "map": """\
layer : str, torch.nn.Module, or list of these, default "auto"
    Where: a dotted name (``"stages.3"``), the module itself, or `"auto"`: the last layer whose positions are the
    input's and count for the output. A list gives a dim of layers. Layers with channels on the last dim (ConvNeXt,
    Swin) and sequences of tokens (ViT, with or without a class token) are put in image form, in which a change at one
    place of the input moves the layer there.
call : int or "all", optional
    Which call, from 0, of a layer that the model calls several times; `"all"` gives a dim of calls.
relu : bool, default True
    Whether to drop what speaks against the score; False keeps the sign.
upsample : bool, default True
    On the input's own grid (linear between the centres of the layer's positions), or at the layer's resolution.
normalize : {None, "minmax"}
    None leaves the values as they are, so that samples compare. `"minmax"` takes each map to [0, 1], before
    and after resizing, as pytorch-grad-cam does.
reshape : callable, optional
    Your own image form: a function of the layer's output, and of the gradient there, that moves values to
    (N, C, *spatial) and does nothing else to them.
onto : int, default 0
    With several inputs: the number of the one whose grid the map lies on.""",
    "returns_gradient": """\
Tensor or tuple of Tensor
    Shaped like the input(s), with a leading dim for `targets`. Unit: output units per input unit.
    ``.explain(...)`` with the same arguments returns an `Explanation`: prediction, engine, and more.""",
    "returns_output": """\
Tensor or tuple of Tensor
    Shaped like the input(s), with a leading dim for `targets`. Unit: output units.
    ``.explain(...)`` with the same arguments returns an `Explanation`: prediction, delta, and more.""",
    "returns_edits": """\
Tensor or tuple of Tensor
    Shaped like the input(s), with a leading dim for `targets`. Unit: output units. NaN where nothing was edited.
    ``.explain(...)`` with the same arguments returns an `Explanation`: prediction, notes on the path, and more.""",
    "returns_map": """\
Tensor
    (N, *spatial): no channels. With `targets` a leading dim of targets, with a list of layers or all calls one of
    these after it. Unit: output units, unless normalised. ``.explain(...)`` with the same arguments returns an
    `Explanation`: prediction, names of the layers, notes on the choice and on maps of zeros, and more.""",
    "raises": """\
TypeError
    For inputs that are no float tensors, names that are no arguments, and targets of a wrong type.
ValueError
    For targets out of range, a model in training mode (batch norm, dropout) or one that draws random numbers,
    a gradient that is cut (no_grad, detach), NaN or infinite values (the samples are named).""",
    "raises_edits": """\
TypeError
    For inputs that are no float tensors, names that are no arguments, and targets of a wrong type.
ValueError
    For targets out of range, a model in training mode (batch norm, dropout) or one that draws random numbers,
    NaN or infinite values (the samples are named), and `path="window"` where the model does not allow it.""",
    "raises_map": """\
TypeError
    For inputs that are no float tensors, names that are no arguments, and targets and layers of a wrong type.
ValueError
    For a layer that does not exist, that the model does not call, calls several times (without `call`), that returns
    a tuple, whose positions are not the input's, or that no gradient reaches: the message lists layers that can be
    explained. Also for targets out of range, a model in training mode, NaN or infinite values (the samples are named).""",
}

# Parameters as the labelled functions have them, by name; baselines by their kind.
LABELLED = {
    "axis": """\
axis : str or int, default "nucleotide"
    The dim of the letters; without a dim of the default's name, the first dim of the model.""",
    "position": """\
position : str or int, default "position"
    The dim of the positions; without a dim of the default's name, the second dim of the model.""",
    "positions": """\
positions : sequence, DataArray or slice, optional
    Where to edit, by the labels of that dim (a slice with both ends, as in ``.sel``); without labels, counted from 0.
    Default: everywhere.""",
    "only": """\
only : str or int, optional
    With several inputs: the name or number of the one to edit, the others held as they are; default: each in its
    turn. What is not edited is NaN in the result.""",
    "onto": """\
onto : str or int, default 0
    With several inputs: the name or number of the one whose grid, and coords, the map gets.""",
    "window": """\
window : int, mapping, sequence of int, or tuple of these (one per input), default 1
    Size of the window: one number for all dims (at most the dim), or sizes by name of dim, where a dim that is not
    named is covered in full; or one per dim after the samples'.""",
    "groups": """\
groups : str, DataArray, array-like, mapping or tuple of these (one per input), optional
    The group of each feature: the name of a coord (a pathway, a brain region), or labels along some of the input's
    dims, along those of the samples too: a Series by feature, a DataFrame by sample and feature. Equal labels in several
    inputs are one group, replaced in all of them at once. Features whose label is missing (NaN, None, ""), or a negative
    number in an array without labels, are in no group. Default: each feature alone.""",
    "additional_forward_args": """\
additional_forward_args : tuple or mapping, default ()
    What the model takes beside x and nobody explains: masks, ids, covariates, lengths; a tuple goes behind the
    inputs, a mapping by name. DataArrays with sample dims, DataFrames and Series are matched to the samples by their
    labels, arrays with a row for each sample travel with them in their order, also to baselines; all else goes as it
    is (`shared` says so of an array that happens to have as many rows).""",
    "point": """\
baselines : float, DataArray, Dataset, mapping, array-like, tuple or callable, default 0.0
    {purpose}: a number; a DataArray, matched by the names of its dims and the labels of its coords, with or without
    the sample dims; an array without labels, laid out like a sample or like the input; by name or as a tuple where
    there are several inputs; or a function of the input(s) that returns one of these.""",
    "any": """\
baselines : float, DataArray, Dataset, mapping, array-like, tuple or callable, default 0.0
    {purpose}: a number; a DataArray, matched by the names of its dims and the labels of its coords, with or without
    the sample dims, and with the dim `"baseline"` where it is a distribution, which is averaged; an array without labels,
    laid out like a sample or like the input (a distribution: (1, B, ...)); by name or as a tuple where there are several
    inputs; or a function of the input(s) that returns one of these.""",
    "distribution": """\
baselines : DataArray, Dataset, mapping, array-like, tuple, float or callable
    {purpose}: a DataArray with the dim `"baseline"` and those of a sample, and with the sample dims where each sample
    has baselines of its own; an array (B, ...) without labels; by name or as a tuple where there are several inputs,
    whose baselines of equal number belong together; or a function of the input(s) that returns one of these.""",
}

INPUTS = """\
x : DataArray, Dataset, mapping, tuple or array-like
    Input(s): a DataArray; a tensor, NumPy or JAX array, DataFrame; several as a Dataset or mapping by name, in the
    model's argument order, or as a tuple. Backed by Dask, the result is lazy."""

LABELS = """\
sample_dims : str or sequence of str, optional
    The dims of the batch, stacked for the model; default `"sample"` if there, else the first dim.
dims : sequence of str, optional
    Names of the dims of arrays without labels; one sequence per input if there are several.
coords : mapping, optional
    Coords of arrays without labels."""

RESULT = """\
DataArray, tuple of DataArray, or Dataset
    In the form of the input(s), called `attribution`: their dims and coords, with a leading `target` dim for `targets`.
    Coords along the sample dims: `prediction`, `target` where it varies, and for methods that have them `delta`,
    `n_steps`, `standard_error`. Attrs: `method`, `params` (JSON), `units`, `references`, versions."""

RESULT_OF_MAPS = """\
DataArray
    Called `attribution`: the input's dims in their order, without channels; with `targets` a leading `target` dim, with
    a list of layers a `layer` dim after it, with all calls of a layer a `call` dim. Coords: the input's own; at the layer's resolution the
    centres of its positions in the input's coords. Along the samples `prediction`, and `target` where it varies. Attrs
    as for every method, and `layer`: its name, or a JSON list of names where layers were listed."""


def fill(doc: str | None, passages: Mapping[str, str] = PASSAGES) -> str | None:
    """A docstring with its passages in place."""
    if doc is None:
        return None

    def passage(match: re.Match[str]) -> str:
        text = passages.get(match[2])
        return match[0] if text is None else textwrap.indent(textwrap.dedent(text).strip(), match[1])

    return re.sub(r"^([ ]*)\{(\w+)\}$", passage, doc, flags=re.MULTILINE)


def labelled_doc(doc: str | None, about: About, examples: str) -> str:
    """The docstring of a method as that of its labelled form: parameters, result and examples with labels.

    Parameters
    ----------
    doc : str
        Of the method, its passages filled in.
    about : About
        The method.
    examples : str
        What stands under Examples.
    """
    title, *parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.cleandoc(doc or ""), flags=re.MULTILINE)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    sections["Parameters"] = _labelled_parameters(sections["Parameters"], about)
    sections["Returns"] = RESULT_OF_MAPS if about.result == "layer map" else RESULT
    sections["Raises"] = (
        sections["Raises"].rstrip().replace("no float tensors", "no arrays of numbers")
        + "\n    Also for dims, labels and sizes that do not fit each other."
    )
    sections["Examples"] = textwrap.dedent(examples)
    written = "\n\n".join(f"{name}\n{'-' * len(name)}\n{text.strip()}" for name, text in sections.items())
    return f"{title.strip()}\n\n{written}\n"


def _labelled_parameters(section: str, about: About) -> str:
    """The Parameters of a method as those of its labelled form, and what says how arrays are labelled."""
    section = (
        section.replace(PASSAGES["x"], INPUTS)
        .replace("A function of `attrib.functional`", "A method of `attrib` or of `attrib.functional`")
        .replace(
            "target : int, str, tuple, sequence, callable",
            "target : int, str, tuple, sequence, DataArray, callable",
        )
        .replace("a list with one of these per sample", "a list or DataArray with one of these per sample")
        .replace("in `per_sample` of the explanation", "coords of the result")
        .replace("`n_steps` of the explanation", "the coord `n_steps`")
        .replace("is in its notes", "is in the attrs")
    )
    entries = re.split(r"^(?=\w)", section.strip(), flags=re.MULTILINE)[1:]
    labelled = []
    for entry in entries:
        head, _, text = entry.partition("\n")
        name = head.partition(" :")[0]
        if name == "baselines" and about.baselines is not None:
            purpose = text.partition(":")[0].strip()
            labelled.append(LABELLED[about.baselines].format(purpose=purpose))
        else:
            labelled.append(LABELLED.get(name, entry).rstrip())
    return "\n".join([*labelled, LABELS])
