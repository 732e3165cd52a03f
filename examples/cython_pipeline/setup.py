"""Build in place: python setup.py build_ext --inplace."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

import tcpao_fast

package = Path(tcpao_fast.__file__).parent
setup(
    ext_modules=cythonize(
        [
            Extension(
                "count_options",
                ["count_options.pyx"],
                include_dirs=[str(package / "core" / "mac")],  # kernels/kernels.h
            )
        ],
        include_path=[str(package.parent)],  # the .pxd files, also of an editable install
    )
)
