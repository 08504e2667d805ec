"""Edits of an input by what they change: the window of values around an edit, and nothing else.

The model is recorded as a graph of ATen ops. A value is *local* if an edit changes it inside a box only, and only where a
rule says so; a *bridge* is an op that gathers all positions, whose result can be updated from the box alone; anything
else, and what follows it, is computed for every edit as the model would.
"""

from attrib.engine.window.plan import Plan, learn, plan
from attrib.engine.window.program import Program, Unsuited, program
from attrib.engine.window.schedule import Windows

__all__ = ["Plan", "Program", "Unsuited", "Windows", "learn", "plan", "program"]
