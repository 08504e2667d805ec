"""A cohort in a process of its own, which a test kills: python -m tests.scale.killed DATA OUTPUT [WORKERS]."""

import sys

import attrib

if __name__ == "__main__":
    data, output, *workers = sys.argv[1:]
    attrib.cohort(
        "integrated_gradients", "tests.scale.models:Slow", data, output, block=4, target=1, n_steps=5,
        reductions=("mean", "var", "count", "quantiles", "top:2"), by="tissue",
        cluster=int(workers[0]) if workers else None,
    )  # fmt: skip
