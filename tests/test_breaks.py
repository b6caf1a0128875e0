"""The breaks on purpose can still be made, each in the one place that it names."""

import importlib.util
import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = ROOT / ".ci" / "breaks.py"

pytestmark = pytest.mark.skipif(not COMMAND.exists(), reason="only a checkout has it")


def test_every_break_has_its_place():
    spec = importlib.util.spec_from_file_location("breaks", COMMAND)
    breaks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(breaks)
    assert len(breaks.BREAKS) >= 10
    for what, file, (old, new), tests in breaks.BREAKS:
        text = (ROOT / breaks.PACKAGE / file).read_text(encoding="utf-8")
        assert text.count(old) == 1 and old != new, what
        assert all((ROOT / path).exists() for path in tests.split()), what
