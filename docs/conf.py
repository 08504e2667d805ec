"""Sphinx configuration: Markdown pages, and a reference made from the docstrings."""

from __future__ import annotations

import importlib
import os
import re
from importlib.metadata import version as installed
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

project = "attrib"
author = "the attrib authors"
project_copyright = "the attrib authors"
version = release = installed("attrib")

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
exclude_patterns = ["_build"]
# notebooks are executed in the build, in a folder of their own each; one that fails, fails the build
nb_execution_mode = os.environ.get("ATTRIB_NOTEBOOKS", "force")
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
suppress_warnings = ["myst-nb.lexer"]  # of notebooks that were not executed
templates_path = ["_templates"]
default_role = "literal"

html_theme = "furo"
html_title = "attrib"
html_show_sphinx = False
html_math_renderer = "mathml"  # drawn by the browser itself, so that formulas need no network

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings give type, shape and unit
numpydoc_show_class_members = False
# what no docstring lacks: itself, its first line, an example, the parameters in their order, what it returns
numpydoc_validation_checks = {"GL08", "SS01", "EX01", "PR01", "PR02", "PR03", "RT01"}
# records have Attributes instead, which tests/test_docs.py checks
numpydoc_validation_exclude = {
    r"\.(Explanation|About|OpShare|Specimen|Violation|AxiomError|LegibilityError|Curve|Randomized|MotifReading)$",
    r"\.Results(\.\w+)?$",  # one example for all, on docs/results.md
    r"\.(Reading|Variants|VariantEffects|Alleles|FilterMotifs|Clusters)$",
    r"^attrib\.workflows\..*\.[A-Z]\w*$",  # records, which tests/test_docs.py checks
}

PUBLIC = ("attrib", "attrib.functional", "attrib.testing")


def refer_to_every_public_name(app: Sphinx, env: BuildEnvironment) -> None:
    """Warn, and so fail the build, about a public name that the reference leaves out."""
    known = env.domains.python_domain.objects
    for module in PUBLIC:
        for name in importlib.import_module(module).__all__:
            if f"{module}.{name}" not in known:
                logging.getLogger(__name__).warning("%s.%s is public but not in docs/reference", module, name)


def link_references(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A paragraph for each of a docstring's references, and a link on its DOI or arXiv number; (N, *shape) is a shape."""
    made = []
    for line in (re.sub(r"(?<=, )\*(?=\w+[,)])", r"\*", line) for line in lines):
        linked = re.sub(r"\bdoi:(10\.\S+\w)", r"`doi:\1 <https://doi.org/\1>`__", line)
        linked = re.sub(r"\barXiv:(\d{4}\.\d{4,5})", r"`arXiv:\1 <https://arxiv.org/abs/\1>`__", linked)
        made += [linked, ""] if linked != line and linked.endswith("__") else [linked]
    lines[:] = made


def write_mathml(writer: Any, formula: nodes.math | nodes.math_block) -> None:
    """A formula as MathML; one that docutils cannot translate fails the build."""
    block = isinstance(formula, nodes.math_block)
    try:
        written = latex2mathml.tex2mathml(formula.astext(), as_block=block)
    except MathError as error:
        logging.getLogger(__name__).warning("%s: %s", formula.astext(), error, location=formula)
        written = writer.encode(formula.astext())
    tag = "div" if block else "span"
    writer.body.append(f'<{tag} class="math">{written}</{tag}>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> None:
    """Register the checks, the links and the formulas."""
    app.add_html_math_renderer("mathml", (write_mathml, None), (write_mathml, None))
    app.connect("env-check-consistency", refer_to_every_public_name)
    app.connect("autodoc-process-docstring", link_references, priority=900)
