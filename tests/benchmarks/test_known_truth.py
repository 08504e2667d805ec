"""The benchmark on known truths: a line per method, for a problem that trains in a second."""

from __future__ import annotations

from benchmarks import faithfulness
from benchmarks.known_truth import genes


def test_a_section() -> None:
    problem = genes(3)
    assert problem.accuracy > 0.6  # two of three
    text = faithfulness.section(problem)
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(lines) == len(faithfulness.METHODS) - 2  # no maps of layers
    assert "By chance 20.0% lie inside" in text
    inside = {line.split("`")[1]: int(line.split("|")[2].strip(" %")) for line in lines}
    assert inside["integrated_gradients"] > 50
    assert inside["shapley_values"] > 50
    assert "attrib" in faithfulness.head(3)
