"""What a callable does, as a graph of ATen ops.

`record` runs a callable once and writes down every op that its inputs reach; `Graph.run` plays the record back, with
any reading of each op that the caller likes. DeepLIFT reads an op as a secant, mutagenesis as a window that changes.
"""

from attrib.engine.graph.modes import transformed
from attrib.engine.graph.nodes import Graph, Node, Ref, Source
from attrib.engine.graph.recorder import Recorder, evaluate, record

__all__ = ["Graph", "Node", "Recorder", "Ref", "Source", "evaluate", "record", "transformed"]
