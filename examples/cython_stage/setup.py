"""Builds the stage: ``python setup.py build_ext --inplace``."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import tcpao_fast

setup(
    name="stage",
    ext_modules=cythonize(
        [Extension("stage", ["stage.pyx"], include_dirs=[tcpao_fast.get_include()])],
        include_path=[str(Path(tcpao_fast.__file__).parent.parent)],  # of an editable install too
    ),
)
