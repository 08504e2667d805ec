"""Import the package before pytest imports one of its files.

In `attrib.functional` a method and its file have the same name. Where pytest is the first to import the file, it puts the
module in place of the function.
"""

import attrib  # noqa: F401
