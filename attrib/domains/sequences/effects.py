"""Effects of variants on predictions and attributions: each is located in the sequences that cover it, and put in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from attrib._public import public
from attrib.domains.sequences.edits import Function, Outputs, Rows, Subject
from attrib.domains.sequences.encoding import NUCLEOTIDES, UNKNOWN, codes, fault, other_strand
from attrib.domains.sequences.tables import PROBLEM_COLUMNS
from attrib.domains.sequences.variants import in_lines, position_of


class VariantEffects(NamedTuple):
    """Effects of variants, and the variants that were left out.

    Attributes
    ----------
    effects : Dataset
        `before` (reference), `after` (alternative) and `difference`: dims variant, and those of the outputs.
    problems : DataFrame
        A row per variant that was left out: `record`, `line` (of the file as `variants` has it, else its row, counted from 1), `problem` in words, `kept`.
    """

    effects: xr.Dataset
    problems: pd.DataFrame


@public
def variant_effect(
    f: Function,
    x: xr.DataArray,
    variants: pd.DataFrame,
    *,
    together: str | None = None,
    batch_size: int = 1024,
    progress: bool = False,
) -> VariantEffects:
    """Effects of variants: the output with the alternative allele minus the output of the sequence as it is.

    ``difference[v] = f(x_n with the alternative of v) - f(x_n)``

    Parameters
    ----------
    f : callable
        From a DataArray like `x` to predictions or attributions; see `marginalize`. With attributions the difference is
        the change of the attribution.
    x : DataArray
        One-hot sequences, dims sample, nucleotide, position.
    variants : DataFrame
        A row per variant: `ref` and `alt`, and its position. This is `chrom` and `pos` (counted from
        1, as `read_vcf` returns them) for sequences from `read_bed`, or `sample` (its name) and `position` (its label). A
        variant that several sequences cover is put into each of them, as its complement on the - strand.
    together : str, optional
        A column of `variants`, such as a haplotype: variants with the same value are put into a sequence together, and their
        joint effect is one row with that name. Default: each by itself.
    batch_size : int, default 1024
        Sequences per call of `f`.
    progress : bool, default False
        True shows a bar.

    Returns
    -------
    VariantEffects
        `effects` has the coords `ref`, `alt` (as read in the sequence), `at` (the number of the position), the sample, and
        the sample's coords. After an insertion the sequence's end is cut off, after a deletion it ends with N, so that the
        length stays; `read_alleles` reads the letters that follow from a genome instead. Left out, with the reason in
        `problems`, are variants that no sequence covers, variants whose reference differs from the sequence, and variants of
        one group that overlap.

    Raises
    ------
    ValueError
        If columns are missing, all variants are left out, `x` is not one-hot, or `f` does not return an output for each
        sequence.

    Notes
    -----
    One evaluation of `f` per variant and sequence, and one for each sequence with a variant.

    Examples
    --------
    >>> from attrib.domains.sequences import one_hot
    >>> table = pd.DataFrame({"sample": ["a", "a"], "position": [1, 1], "ref": ["C", "G"], "alt": ["T", "T"]})
    >>> t_content = lambda x: x.sel(nucleotide="T").mean("position")
    >>> result = variant_effect(t_content, one_hot({"a": "ACGA"}), table)
    >>> result.effects.difference.values.tolist()
    [0.25]
    >>> result.problems.problem.tolist()
    ["the sequence a has C at position 1, not 'G'"]
    """
    subject = Subject(f, x, batch_size, progress)
    edits, problems = _edits(subject, variants)
    if together is not None:
        edits, problems = _joined(edits, problems, variants, together)
    if not edits:
        why = "; ".join(problems["problem"].head(3))
        raise ValueError(f"`variants` has none of {len(variants)} that can be put in: {why or 'it is empty'}")
    used, of = np.unique([e.sample for e in edits], return_inverse=True)
    outputs = subject.outputs(_rows(subject, edits, used), len(used) + len(edits))
    before, after = outputs.values[: len(used)][of], outputs.values[len(used) :]
    return VariantEffects(
        _labelled_effects(subject, edits, before, after, outputs), in_lines(problems, variants)
    )


def _rows(subject: Subject, edits: list[Edit], used: np.ndarray) -> Iterator[Rows]:
    yield used, subject.codes[used]
    for e in edits:
        yield np.array([e.sample]), _edited(subject.codes[e.sample], e)[None]


def _edited(line: np.ndarray, e: Edit) -> np.ndarray:
    """A sequence with one edit or several, of its own length: cut off, or with N at the end."""
    length = len(line)
    for position, ref, alt in sorted(
        zip(e.positions, e.refs, e.alts, strict=True), reverse=True
    ):  # from the end: places stay
        line = np.concatenate([line[:position], codes(alt), line[position + len(ref) :]])
    return np.concatenate([line, np.full(max(0, length - len(line)), UNKNOWN, line.dtype)])[:length]


def _labelled_effects(
    subject: Subject, edits: list[Edit], before: np.ndarray, after: np.ndarray, outputs: Outputs
) -> xr.Dataset:
    dims = ("variant", *outputs.dims)
    sample_coords = subject.x.isel(
        {subject.sample: xr.DataArray([e.sample for e in edits], dims="variant")}
    ).coords
    coords: dict[Any, Any] = {k: c for k, c in sample_coords.items() if set(c.dims) <= set(dims)}
    coords |= outputs.coords
    coords |= {k: ("variant", np.array([getattr(e, k) for e in edits])) for k in ("ref", "alt")}
    coords |= {"variant": np.array([e.name for e in edits]), "at": ("variant", [e.position for e in edits])}
    values = {"before": before, "after": after, "difference": after - before}
    variables = {k: (dims, v) for k, v in values.items()}
    return xr.Dataset(variables, coords, {"experiment": "variant_effect"})


def _edits(subject: Subject, variants: pd.DataFrame) -> tuple[list[Edit], pd.DataFrame]:
    """Each variant in each sequence that covers it, and a table of those that were left out."""
    locate = _locator(subject, variants)
    edits: list[Edit] = []
    problems: list[tuple[str, int, str, bool]] = []
    for number, (label, row) in enumerate(zip(variants.index, variants.to_dict("records"), strict=True), 1):
        name = str(label) if variants.index.name == "variant" else _name(row)
        try:
            located = locate(name, row, *_alleles(row))
        except ValueError as error:
            problems.append((name, number, str(error), False))
            continue
        wrong = [_mismatch(subject, e) for e in located]
        problems += [(name, number, w, False) for w in wrong if w]
        edits += [e._replace(row=number - 1) for e, w in zip(located, wrong, strict=True) if not w]
    return edits, pd.DataFrame(problems, columns=PROBLEM_COLUMNS)


def _joined(
    edits: list[Edit], problems: pd.DataFrame, variants: pd.DataFrame, together: str
) -> tuple[list[Edit], pd.DataFrame]:
    """The variants of each group and sequence as one edit; groups whose variants overlap become problems.

    Raises
    ------
    ValueError
        If `variants` lacks the column.
    """
    if together not in variants:
        raise ValueError(f"`together` is {together!r}, but `variants` has the columns {list(variants)}")
    groups: dict[tuple[Any, int], list[Edit]] = {}
    for e in edits:
        groups.setdefault((variants[together].iloc[e.row], e.sample), []).append(e)
    joined, overlapping = [], []
    for (name, sample), some in groups.items():
        some = sorted(some, key=lambda e: e.position)
        near = [(a, b) for a, b in pairwise(some) if a.position + len(a.ref) > b.position]
        if near:
            a, b = near[0]
            overlapping.append((str(name), b.row + 1, f"{a.name} and {b.name} overlap, so they cannot be put in together", False))  # fmt: skip
            continue
        positions = tuple(p for e in some for p in e.positions)
        refs, alts = tuple(r for e in some for r in e.refs), tuple(a for e in some for a in e.alts)
        joined.append(Edit(str(name), sample, positions, refs, alts, some[0].row))
    more = pd.DataFrame(overlapping, columns=PROBLEM_COLUMNS)
    return joined, pd.concat([problems, more], ignore_index=True) if overlapping else problems


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
    if ref == alt:
        raise ValueError(f"its ref and alt are both {ref}")
    return ref, alt


def _mismatch(subject: Subject, e: Edit) -> str:
    """How the sequence differs from the reference, in words; empty if it does not."""
    present = subject.codes[e.sample, e.position : e.position + len(e.ref)]
    if np.array_equal(present, codes(e.ref)):
        return ""
    letters = "".join(f"{NUCLEOTIDES}N"[c] for c in present)
    label = subject.x[subject.sample].values[e.sample] if subject.sample in subject.x.coords else e.sample
    return f"the sequence {label} has {letters} at position {e.position}, not {e.ref!r}"


class Edit(NamedTuple):
    """A variant, or several together, in one of the sequences, as they are read there.

    Attributes
    ----------
    name : str
    sample : int
        Number of the sequence.
    positions : tuple of int
        Numbers of the positions at which the variants begin.
    refs, alts : tuple of str
        Alleles on the sequence's strand.
    row : int
        The variant's row in the table, counted from 0.
    """

    name: str
    sample: int
    positions: tuple[int, ...]
    refs: tuple[str, ...]
    alts: tuple[str, ...]
    row: int = -1

    @property
    def position(self) -> int:
        """Where the first variant begins."""
        return min(self.positions)

    @property
    def ref(self) -> str:
        """The references, in the order of the table."""
        return ",".join(self.refs)

    @property
    def alt(self) -> str:
        """The alternatives, in the order of the table."""
        return ",".join(self.alts)


Locator = Callable[[str, dict, str, str], list[Edit]]


def _locator(subject: Subject, variants: pd.DataFrame) -> Locator:
    """How to locate a variant: by chromosome, or by sample."""
    missing = [c for c in ("ref", "alt") if c not in variants]
    by_chrom, by_sample = ({*pair} <= set(variants) for pair in (("chrom", "pos"), ("sample", "position")))
    if missing or not (by_chrom or by_sample):
        raise ValueError(
            f"`variants` has the columns {list(variants)}, expected ref and alt, "
            "and chrom and pos, or sample and position"
        )
    if by_sample:
        return _BySample(subject)
    lacking = [c for c in ("chrom", "locus") if c not in subject.x.coords]
    if lacking:
        raise ValueError(
            f"`x` lacks the coords {lacking}, which one_hot(read_bed(...).sequences) has; "
            "or give variants by sample and position"
        )
    return _ByChromosome(subject)


class _BySample:
    """Locates variants by the sample's name and the position's label."""

    def __init__(self, subject: Subject) -> None:
        x, d = subject.x, subject.sample
        self._samples = x.indexes[d] if d in x.indexes else pd.RangeIndex(subject.count)
        self._positions = x.indexes.get("position", pd.RangeIndex(x.sizes["position"]))
        self._mask = subject.mask

    def __call__(self, name: str, row: dict, ref: str, alt: str) -> list[Edit]:
        sample, position = row["sample"], row["position"]
        if sample not in self._samples:
            raise ValueError(
                f"there is no sample {sample!r} among the {len(self._samples)} that are explained"
            )
        if position not in self._positions:
            raise ValueError(f"sample {sample!r} has no position {position!r}")
        k, p = self._samples.get_loc(sample), self._positions.get_loc(position)
        if not isinstance(k, int) or not isinstance(p, int):
            raise ValueError(f"sample {sample!r} or position {position!r} occurs more than once")
        if not self._mask[k, p : p + len(ref)].all() or p + len(ref) > self._mask.shape[1]:
            raise ValueError(f"sample {sample!r} ends before the end of {ref}")
        return [Edit(name, k, (p,), (ref,), (alt,))]


class _ByChromosome:
    """Locates variants by chromosome and position, in all sequences that cover them."""

    def __init__(self, subject: Subject) -> None:
        x = subject.x.transpose(subject.sample, "nucleotide", "position")
        self._locus = np.where(subject.mask, x["locus"].values, -1)
        rows, last = np.arange(subject.count), self._locus.shape[1] - 1 - subject.mask[:, ::-1].argmax(1)
        ends = self._locus[rows, subject.mask.argmax(1)], self._locus[rows, last]
        single = (x["strand"].values == "-") if "strand" in x.coords else False
        self._minus = np.where(ends[0] == ends[1], single, ends[0] > ends[1])
        low = np.where(self._locus < 0, np.iinfo(np.int64).max, self._locus).min(1)
        table = pd.DataFrame({"chrom": x["chrom"].values.astype(str), "low": low, "high": self._locus.max(1)})
        self._chroms = {c: t.sort_values("low") for c, t in table.groupby("chrom")}
        self._width = self._locus.shape[1]

    def __call__(self, name: str, row: dict, ref: str, alt: str) -> list[Edit]:
        begin = position_of(row) - 1
        table = self._chroms.get(str(row["chrom"]))
        near = [] if table is None else self._near(table, begin, begin + len(ref))
        edits = [e for k in near if (e := self._edit(k, begin, name, ref, alt)) is not None]
        if not edits:
            chroms = ", ".join(map(str, list(self._chroms)[:3])) + ", ..." * (len(self._chroms) > 3)
            where = f"; the sequences lie on {chroms}" if table is None else ""
            raise ValueError(
                f"no sequence covers {row['chrom']}:{row['pos']} and its {len(ref)} letters{where}"
            )
        return edits

    def _near(self, table: pd.DataFrame, begin: int, end: int) -> list[int]:
        """Numbers of the samples that may cover `begin` to `end`, in their order."""
        low = table["low"].to_numpy()
        nearby = table.iloc[np.searchsorted(low, begin - self._width) : np.searchsorted(low, begin, "right")]
        return sorted(nearby.index[(nearby["high"] >= end - 1).to_numpy()].tolist())

    def _edit(self, k: int, begin: int, name: str, ref: str, alt: str) -> Edit | None:
        """The variant as sample `k` reads it, if the sample covers all of it."""
        if self._minus[k]:
            ref, alt = other_strand(ref), other_strand(alt)
        wanted = begin + np.arange(len(ref))[:: -1 if self._minus[k] else 1]
        position = int(np.argmax(self._locus[k] == wanted[0]))
        covered = self._locus[k, position : position + len(ref)]
        return Edit(name, k, (position,), (ref,), (alt,)) if np.array_equal(covered, wanted) else None
