"""The comparison of suspects: its page, and its tables of made lines."""

import json
import pathlib

from benchmarks import suspects

RESULTS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "results"


def test_the_page_holds_the_tables_of_its_lines():
    lines = (RESULTS / "suspects" / "runs.jsonl").read_text().splitlines()
    page = (RESULTS / "suspects.md").read_text(encoding="utf-8")
    last = {suspects.key_of(line): line for line in map(json.loads, lines)}
    parts = "\n".join(suspects.tables(last.values())).split("\n\n")
    assert len(parts) == 7
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
    claims = [*suspects.claims(lines)]
    assert [row.split(" | ")[1] for row in claims[2:5]] == ["true"] * 3
    assert "+0.050 ± 0.000 in 2 settings" in claims[3]
    # Student's t with one degree of freedom is 12.706 at 97.5 %.
    cells = ("2", "neighbours", "+0.100 ± 2.541", "cleanlab, features")
    expected = suspects.row("mnist, symmetric 20%", *cells, "+0.050 ± 1.906")
    assert expected in claims
    rates = [*suspects.rates_in_short(lines)]
    cells = ("digits, MNIST", "symmetric, pair flips", "4", "2", "3.0", "2", "4.0")
    assert rates[2:] == [suspects.row(*cells)]


def test_claims_that_do_not_hold():
    """Three seeds behind by a tenth each, but for a thousandth."""
    lines = [
        {
            "data": "digits",
            "noise": "symmetric",
            "rate": 0.2,
            "thinned": False,
            "sources": {
                **{name: {"average_precision": 0.8} for name in suspects.SINGLE},
                "default": {"average_precision": 0.7 + 0.001 * seed},
                "cleanlab, features": {"average_precision": 0.8},
            },
        }
        for seed in range(3)
    ]
    lines += [{**line, "data": "mnist"} for line in lines]
    claims = [*suspects.claims(lines)]
    assert [row.split(" | ")[1] for row in claims[2:5]] == ["false"] * 3
    assert "not in 2 of 2: digits, symmetric 20% (-0.099)" in claims[2]
    assert claims[2].split(" | ")[2] == claims[4].split(" | ")[2]
