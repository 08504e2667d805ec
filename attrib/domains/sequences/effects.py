"""What variants do to predictions and attributions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib.domains.sequences.alphabet import NUCLEOTIDES, codes, fault
from attrib.domains.sequences.evaluation import Function, Outputs, Rows, Subject
from attrib.domains.sequences.fasta import PROBLEM_COLUMNS
from attrib.domains.sequences.tables import Edit, finder


class VariantEffects(NamedTuple):
    """What variants do, and which could not be asked.

    Attributes
    ----------
    effects : Dataset
        `before` (reference), `after` (alternative) and `difference`, dims variant and those of the outputs.
    problems : DataFrame
        A row per variant that was left out: `record`, `line` (its row, counted from 1), `problem` in words, `kept`.
    """

    effects: xr.Dataset
    problems: pd.DataFrame


def variant_effect(
    f: Function,
    x: xr.DataArray,
    variants: pd.DataFrame,
    *,
    batch_size: int = 1024,
    progress: bool = False,
) -> VariantEffects:
    """What substitutions do: the sequence with the alternative allele, compared with the sequence as it is.

    ``difference[v] = f(x_n with the alternative of v) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions; see `marginalize`. With attributions the difference is
        the change of the map.
    x : DataArray
        One-hot sequences, dims sample, nucleotide, position.
    variants : DataFrame
        A row per variant, `ref` and `alt` (letters, of equal number), and where: `chrom` and `pos` (counted from 1, as
        `read_vcf` gives them) for sequences that `read_bed` has read, or `sample` (its name) and `position` (its label).
        A variant that several sequences cover is asked in each of them; on a - strand its complement is.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    VariantEffects
        `effects` has the coords `ref`, `alt` (as read in the sequence), `at` (the number of the position), the sample, and
        its own coords. Left out, with the reason in `problems`: variants that no sequence covers, whose reference is not
        what the sequence says, and insertions and deletions, which change the length: `read_alleles` reads both alleles
        with their surroundings.

    Raises
    ------
    ValueError
        If columns are missing, no variant is left, `x` is not one-hot, or `f` does not give an output for each sequence.

    Notes
    -----
    One evaluation of `f` per variant and sequence, and one for each sequence with a variant.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> table = pd.DataFrame({"sample": ["a", "a"], "position": [1, 1], "ref": ["C", "G"], "alt": ["T", "T"]})
    >>> t_content = lambda x: x.sel(nucleotide="T").mean("position")
    >>> found = variant_effect(t_content, one_hot({"a": "ACGA"}), table)
    >>> found.effects.difference.values.tolist()
    [0.25]
    >>> found.problems.problem.tolist()
    ["the sequence a has C at position 1, not 'G'"]
    """
    subject = Subject(f, x, batch_size, progress)
    edits, problems = _edits(subject, variants)
    if not edits:
        why = "; ".join(problems["problem"].head(3))
        raise ValueError(f"`variants` has none of {len(variants)} that can be asked: {why or 'it is empty'}")
    used, of = np.unique([e.sample for e in edits], return_inverse=True)
    outputs = subject.outputs(_rows(subject, edits, used), len(used) + len(edits))
    before, after = outputs.values[: len(used)][of], outputs.values[len(used) :]
    return VariantEffects(_dressed(subject, edits, before, after, outputs), problems)


def _rows(subject: Subject, edits: list[Edit], used: np.ndarray) -> Iterator[Rows]:
    yield used, subject.codes[used]
    for e in edits:
        line = subject.codes[e.sample].copy()
        line[e.place : e.place + len(e.alt)] = codes(e.alt)
        yield np.array([e.sample]), line[None]


def _dressed(
    subject: Subject, edits: list[Edit], before: np.ndarray, after: np.ndarray, outputs: Outputs
) -> xr.Dataset:
    dims = ("variant", *outputs.dims)
    own = subject.x.isel({subject.sample: xr.DataArray([e.sample for e in edits], dims="variant")}).coords
    coords: dict[Any, Any] = {k: c for k, c in own.items() if set(c.dims) <= set(dims)}
    coords |= outputs.coords
    coords |= {k: ("variant", np.array([getattr(e, k) for e in edits])) for k in ("ref", "alt")}
    coords |= {"variant": np.array([e.name for e in edits]), "at": ("variant", [e.place for e in edits])}
    values = {"before": before, "after": after, "difference": after - before}
    found = {k: (dims, v) for k, v in values.items()}
    return xr.Dataset(found, coords, {"experiment": "variant_effect"})


def _edits(subject: Subject, variants: pd.DataFrame) -> tuple[list[Edit], pd.DataFrame]:
    """Each variant in each sequence that covers it; the others with what is wrong."""
    find = finder(subject, variants)
    found: list[Edit] = []
    problems: list[tuple[str, int, str, bool]] = []
    for number, (label, row) in enumerate(zip(variants.index, variants.to_dict("records"), strict=True), 1):
        name = str(label) if variants.index.name == "variant" else _name(row)
        try:
            here = find(name, row, *_alleles(row))
        except ValueError as error:
            problems.append((name, number, str(error), False))
            continue
        wrong = [_mismatch(subject, e) for e in here]
        problems += [(name, number, w, False) for w in wrong if w]
        found += [e for e, w in zip(here, wrong, strict=True) if not w]
    return found, pd.DataFrame(problems, columns=PROBLEM_COLUMNS)


def _name(row: dict) -> str:
    where = (row["chrom"], row["pos"]) if "pos" in row else (row["sample"], row["position"])
    return f"{where[0]}:{where[1]}:{row['ref']}>{row['alt']}"


def _alleles(row: dict) -> tuple[str, str]:
    """Reference and alternative in capitals, U as T."""
    alleles = []
    for name in ("ref", "alt"):
        text = row[name].strip().upper().replace("U", "T") if isinstance(row[name], str) else ""
        if fault(text) or "N" in text:
            raise ValueError(f"its {name} is {row[name]!r}, expected letters A, C, G, T")
        alleles.append(text)
    ref, alt = alleles
    if len(ref) != len(alt):
        raise ValueError(
            f"{ref}>{alt} is an insertion or deletion, which changes the length; "
            "read both alleles with their surroundings by read_alleles, and call `f` on each"
        )
    if ref == alt:
        raise ValueError(f"its ref and alt are both {ref}")
    return ref, alt


def _mismatch(subject: Subject, e: Edit) -> str:
    """How the sequence differs from the reference, in words; empty if it does not."""
    there = subject.codes[e.sample, e.place : e.place + len(e.ref)]
    if np.array_equal(there, codes(e.ref)):
        return ""
    letters = "".join(f"{NUCLEOTIDES}N"[c] for c in there)
    label = subject.x[subject.sample].values[e.sample] if subject.sample in subject.x.coords else e.sample
    return f"the sequence {label} has {letters} at position {e.place}, not {e.ref!r}"
