"""Builds the one extension; everything else of the package stands in pyproject.toml."""

from setuptools import Extension, setup

setup(
    py_modules=[],
    ext_modules=[
        Extension("okome_native", ["okome_native.pyx"], extra_compile_args=["-O2", "-g0"])
    ],
)
