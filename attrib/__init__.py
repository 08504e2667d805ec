"""attrib: what did the network look at?"""
