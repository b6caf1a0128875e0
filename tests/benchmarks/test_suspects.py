"""The comparison of suspects: its page, and its tables of made lines."""

import json
import pathlib

from benchmarks import suspects

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_the_page_holds_the_tables_of_its_lines():
    lines = (RESULTS / "suspects" / "runs.jsonl").read_text().splitlines()
    page = (RESULTS / "suspects.md").read_text(encoding="utf-8")
    parts = "\n".join(suspects.tables(map(json.loads, lines))).split("\n\n")
    assert len(parts) == 5
    assert [part for part in parts if part.strip() not in page] == []


def test_tables_by_hand():
    rate = {"true": 0.2, "estimate": 0.23, "low": 0.2, "high": 0.28, "verdict": "x"}
    unknown = {**rate, "estimate": None, "low": 0.0, "high": 1.0}
    names = [*suspects.SINGLE, *suspects.SHOWN, "cleanlab, features"]
    first = dict(zip(names, (0.5, 0.6, 0.7, 0.8, 0.4, 0.3, 0.9), strict=True))
    second = dict(zip(names, (0.9, 0.6, 0.7, 0.8, 0.4, 0.3, 0.6), strict=True))
    lines = [
        {
            "data": "mnist",
            "noise": "symmetric",
            "rate": 0.2,
            "thinned": False,
            "noise_rate": found,
            "sources": {k: {"average_precision": v} for k, v in each.items()},
        }
        for each, found in ((first, rate), (second, unknown))
    ]
    lines += [{**line, "data": "digits"} for line in lines]
    (held_out,) = (row for row in suspects.in_short(lines) if "held out" in row)
    cells = ("held out", "2", "0.800", "0.400", "0.300", "0.800", "0.750")
    assert held_out == suspects.row(*cells, "+0.050 (2 runs)", "1", "1, 0.100")
    rates = [*suspects.rates_in_short(lines)]
    cells = ("digits, MNIST", "symmetric, pair flips", "4", "2", "3.0", "2", "4.0")
    assert rates[2:] == [suspects.row(*cells)]
