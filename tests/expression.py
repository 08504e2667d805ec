"""Made expression: labels with planted markers, up and down, from donors who give samples of several labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from attrib.workflows import expression as module

MARKERS = 20  # per label; every fourth is down


class Made(NamedTuple):
    """TPM (samples by genes), the sample table, and the sign of each marker (labels by genes), 0 for others."""

    tpm: pd.DataFrame
    samples: pd.DataFrame
    sign: pd.DataFrame


def made(labels: int = 12, genes: int = 400, each: int = 30, seed: int = 0, shuffled: bool = False) -> Made:
    rng = np.random.default_rng(seed)
    names = [f"tissue_{k:02}" for k in range(labels)]
    markers = min(MARKERS, genes // labels)
    ids = [f"ENSG{k:011d}" for k in rng.permutation(10**6)[:genes]]
    sign = np.zeros((labels, genes), int)
    own = rng.permutation(genes)[: labels * markers].reshape(labels, markers)
    for k in range(labels):
        sign[k, own[k]] = [-1 if m % 4 == 3 else 1 for m in range(markers)]
    label = np.repeat(np.arange(labels), each)
    base = rng.uniform(1.5, 4.0, genes)
    logs = base + rng.normal(0, 0.5, (len(label), genes)) + 1.5 * sign[label]
    donors = np.concatenate([rng.permutation(each) for _ in range(labels)])
    logs += rng.normal(0, 0.15, (each, genes))[donors]
    index = [f"S-{d:03}-{k:04}" for k, d in enumerate(donors)]
    tpm = pd.DataFrame(
        np.expm1(np.maximum(logs, 0)).round(3),
        index=index,
        columns=[f"{i}.{k % 9 + 1}" for k, i in enumerate(ids)],
    )
    true = rng.permutation(label) if shuffled else label
    samples = pd.DataFrame(
        {"id": index, "tissue": [names[k] for k in true], "donor": [f"D{d:03}" for d in donors]}
    )
    return Made(tpm, samples, pd.DataFrame(sign, index=names, columns=ids))


def flat(function: Callable[..., Any], **groups: type) -> Callable[..., Any]:
    """A function whose grouped options are called by their own names."""

    def called(*given: Any, **options: Any) -> Any:
        for name, group in groups.items():
            options[name] = group(**{k: options.pop(k) for k in group._fields if k in options})  # type: ignore[attr-defined]
        return function(*given, **options)

    return called


expression = flat(module.expression, report=module.Report)
train = flat(module.train, balance=module.Balance, layers=module.Layers)


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary that a study wrote."""
    return json.loads((folder / "summary.json").read_text())
