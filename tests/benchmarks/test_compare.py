"""Comparisons seed by seed: which runs are pairs, and what is said of them."""

import json

import pytest

from benchmarks import compare


def record(last, *, method="CE", seed=0, precision="float32", digest="d", rate=0.4):
    return {
        "recipe": "digits/losses",
        "method": method,
        "noise": {"name": "symmetric", "rate": rate, "digest": digest},
        "seed": seed,
        "last": last,
        "command": f"run --precision {precision}",
        "settings": {"method": {"name": method}, "precision": precision},
    }


def write(path, records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return str(path)


FIRST = [record(0.90), record(0.94, seed=1), record(0.50, method="MAE")]
SECOND = [
    record(0.91, precision="half"),
    record(0.97, seed=1, precision="half"),
    record(0.48, method="MAE", precision="half"),
]


def test_differences_by_hand(tmp_path, capsys):
    paths = [write(tmp_path / "a.jsonl", FIRST), write(tmp_path / "b.jsonl", SECOND)]
    compare.main(paths)
    text = capsys.readouterr().out
    # +1 and +3 points: their mean, and sqrt(2) / sqrt(2).
    assert "| CE | +2.00 ± 1.00 |" in text
    assert "| MAE | -2.00 |" in text
    assert "**All 3 pairs: +0.67 ± 1.45.**" in text
    assert "are 2.00 apart (median), two seeds of the first kind 4.00." in text
    assert "| first | float32 |\n| second | half |" in text
    assert text.count("run --precision half") == 1
    compare.main([*paths, "--out", str(tmp_path / "new" / "page.md")])
    assert (tmp_path / "new" / "page.md").read_text() == text


def test_only_the_same_labels_and_seeds_are_pairs(tmp_path):
    others = [
        record(0.9, seed=2),
        record(0.9, digest="other"),
        record(0.9, rate=0.2),
        record(0.9, method="LS(0.1)"),
    ]
    assert compare.pairs_of(FIRST, others) == []
    with pytest.raises(SystemExit, match="no run of one file has its like"):
        compare.main([write(tmp_path / n, r) for n, r in (("a", FIRST), ("b", others))])
    with pytest.raises(SystemExit, match="there is no file"):
        compare.main([str(tmp_path / "a"), str(tmp_path / "missing")])
