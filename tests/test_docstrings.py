"""Public names are documented in numpydoc: each parameter, and what comes back."""

import dataclasses
import inspect

import pytest

import tcpao_fast as ao

validate = pytest.importorskip(
    "numpydoc.validate", reason="numpydoc is not here: pip install '.[lint]'"
)
#: No docstring; a parameter that is not documented, or is unknown; no Returns, no Yields.
CHECKED = {"GL08", "PR01", "PR02", "RT01", "YD01"}


def public_names():
    for name in ao.__all__:
        value = getattr(ao, name)
        if name.startswith("__") or not callable(value):
            continue
        yield f"tcpao_fast.{name}"
        if not inspect.isclass(value):
            continue
        for attribute, member in vars(value).items():
            if attribute.startswith("_"):
                continue
            if isinstance(member, (staticmethod, classmethod)) or inspect.isroutine(member):
                yield f"tcpao_fast.{name}.{attribute}"


@pytest.mark.parametrize("name", sorted(public_names()))
def test_numpydoc(name):
    found = validate.validate(name)["errors"]
    value = ao
    for part in name.split(".")[1:]:
        value = getattr(value, part)
    # what a class documents are attributes; its constructor's parameters only where it has its own
    own = not inspect.isclass(value) or inspect.isfunction(vars(value).get("__init__"))
    made = dataclasses.is_dataclass(value) or not own or issubclass_of(value, Exception)
    checked = {"GL08"} if made else CHECKED
    assert not [error for error in found if error[0] in checked]


def issubclass_of(value, kind):
    return inspect.isclass(value) and issubclass(value, kind)
