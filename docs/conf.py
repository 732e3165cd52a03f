"""Sphinx: ``sphinx-build -W -b html docs docs/_build`` (``pip install '.[docs]'``)."""

from tcpao_fast.version import __version__

project = "tcpao_fast"
author = "The tcpao_fast developers"
copyright = f"2026, {author}"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"tcpao_fast {release}"
myst_heading_anchors = 3
napoleon_google_docstring = False
napoleon_use_ivar = True  # attributes are dataclass fields too: not described twice
napoleon_use_rtype = False
autodoc_typehints = "none"  # the docstrings say more: shapes, units, byte order
autodoc_member_order = "bysource"
autodoc_class_signature = "separated"
default_role = "code"
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository, as README has them
nitpicky = False
