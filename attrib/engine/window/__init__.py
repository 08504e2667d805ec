"""Edits of an input computed by the values that they change, and no others.

The model is recorded as a graph of ATen ops. A value is *local* if an edit changes it only inside a box, and only if a
rule says so. An *aggregation* is an op over all positions whose result can be updated from the box alone. All other ops
are the *suffix*, which is computed in full for every edit.
"""

from attrib.engine.window.plan import Plan, learn_layout, plan
from attrib.engine.window.program import Costly, Program, Unsuited, program
from attrib.engine.window.propagate import Windows

__all__ = ["Costly", "Plan", "Program", "Unsuited", "Windows", "learn_layout", "plan", "program"]
