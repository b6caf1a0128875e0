"""Types: every public name has them, they resolve, and mypy finds what is wrong."""

import importlib.util
import inspect
import os
import pathlib
import subprocess
import sys
import typing

import pytest

import keras_noisy

from .helpers import PUBLIC

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGE = pathlib.Path(keras_noisy.__file__).parent


def public_functions():
    """Yield a name and a function for all functions and methods that are public."""
    for package in PUBLIC:
        module = importlib.import_module(f"keras_noisy.{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isfunction(value):
                yield f"{package}.{name}", value
            elif inspect.isclass(value):
                for method, function in methods(value):
                    yield f"{package}.{name}.{method}", function


def methods(cls):
    """Yield the public methods of a class that this package defines."""
    for name in dir(cls):
        value = inspect.getattr_static(cls, name)
        value = getattr(value, "fget", None) or getattr(value, "func", None) or value
        function = getattr(value, "__func__", value)
        is_ours = str(getattr(function, "__module__", "")).startswith("keras_noisy")
        is_public = not name.startswith("_") or name in ("__init__", "__call__")
        # What a dataclass writes is typed by its fields.
        is_written = hasattr(function, "__code__") and os.path.exists(
            function.__code__.co_filename
        )
        if is_ours and is_public and is_written and inspect.isfunction(function):
            yield name, function


@pytest.mark.parametrize(
    "function",
    [pytest.param(function, id=name) for name, function in public_functions()],
)
def test_every_argument_and_result_has_a_type(function):
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        if name not in ("self", "cls"):
            assert parameter.annotation is not parameter.empty, name
    assert signature.return_annotation is not signature.empty
    # Matplotlib is imported only where it is needed.
    typing.get_type_hints(function, localns={"Figure": object})


def test_py_typed_is_there():
    assert (PACKAGE / "py.typed").exists()


def test_mypy(tmp_path):
    if importlib.util.find_spec("mypy") is None:
        pytest.skip("needs mypy")
    if not (ROOT / "keras_noisy").exists():
        pytest.skip("mypy is set up for a checkout")
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
