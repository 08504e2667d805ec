"""All results of a study of sequences, also by output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import xarray as xr

from attrib.workflows.sequence.discovery import Discovered
from attrib.workflows.sequence.parts import Attributed
from attrib.workflows.sequence.records import Problem
from attrib.workflows.sequence.variation import Variation


class Findings(NamedTuple):
    """All results of a study.

    Attributes
    ----------
    attributed : Attributed
    lead : str
        The method that the seqlets are taken from.
    contribution : DataArray
        Its attribution of each position.
    discovered : Discovered
    experiments : DataFrame
    database : mapping of str to DataArray or None
    problems : list of dict
    variation : Variation or None
        Effects of variants, if there are any.
    spacing, evolution : DataFrame
        Of `spaced` and `evolved`; without rows where none was asked for.
    """

    attributed: Attributed
    lead: str
    contribution: xr.DataArray
    discovered: Discovered
    experiments: pd.DataFrame
    database: Mapping[str, xr.DataArray] | None
    problems: list[Problem]
    variation: Variation | None
    spacing: pd.DataFrame
    evolution: pd.DataFrame

    @property
    def output(self) -> Any:
        """The output's label, if this is one of several."""
        at = self.contribution.coords.get("target")
        return at.item() if at is not None and at.ndim == 0 else None

    @property
    def seqlets(self) -> pd.DataFrame:
        """The table of seqlets."""
        return self.discovered.clusters.seqlets

    def by_output(self) -> list[Findings]:
        """The results of each output separately."""
        outputs = self.attributed.outputs
        return [self._of(output) for output in outputs] if outputs else [self]

    def _of(self, output: Any) -> Findings:
        clusters = self.discovered.clusters
        of_output = clusters._replace(seqlets=clusters.seqlets[clusters.seqlets.target == output])
        return self._replace(
            attributed=self.attributed.of(output),
            contribution=self.contribution.sel(target=output),
            discovered=self.discovered._replace(clusters=of_output),
        )
