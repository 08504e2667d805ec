"""What a callable does, as a graph of ATen ops.

`record` runs a callable once and records every op that depends on its inputs; `Graph.run` replays the ops, each by a
rule that the caller chooses. DeepLIFT replays an op as a secant, mutagenesis as a window that changes.
"""

from attrib.engine.graph.modes import RECURRENT, transformed
from attrib.engine.graph.nodes import Graph, Node, Ref, Source
from attrib.engine.graph.recorder import Recorder, composite, evaluate, record

__all__ = [
    "RECURRENT",
    "Graph",
    "Node",
    "Recorder",
    "Ref",
    "Source",
    "composite",
    "evaluate",
    "record",
    "transformed",
]
