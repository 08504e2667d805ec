"""`a.attrib`: what can be done with a result, on the result itself; and what a notebook shows of it.

xarray is not imported here, and nothing else that takes long: `install` waits for whoever imports it.
"""

from attrib.accessor.registration import install, shown
from attrib.accessor.results import Results

__all__ = ["Results", "install", "shown"]
