"""The page that answers "how good is it?" is that of the committed results."""

import pytest

pytest.importorskip("scipy")

from benchmarks import how_good


def test_the_page_is_that_of_the_results():
    text = (how_good.RESULTS / "how_good.md").read_text(encoding="utf-8")
    assert text == how_good.page()


def test_cells_of_a_page():
    cells = how_good.cells_of("digits_losses", "symmetric", "40%")
    assert cells["CE"] == how_good.Cell(89.5, 1.3, 94.0, 3)
    # 4.30 is the quantile of two degrees of freedom.
    assert str(cells["CE"]) == f"89.5 ± {4.303 * 1.3 / 3**0.5:.1f}"
    cells = how_good.cells_of("divide_mix", "symmetric", "60%")
    assert cells["DivideMix"].seeds == cells["SSR"].seeds == 2
    assert cells["DivideMix, weight 0"].seeds == 1
    cells = how_good.cells_of("robust_losses_mnist", "Last epoch", "symmetric 80%")
    assert cells["CE"] == how_good.Cell(74.7, 1.7, 85.2, 3)


def test_gains_are_differences_of_regrets():
    regret = {"cross-entropy, last epoch": 9.0, "always GCE": 2.5}
    lines = [{"data": "a", "regret": regret}, {"data": "a", "regret": regret}]
    gains = how_good.gains(lines, "always GCE")
    assert [*gains] == [6.5, 6.5]
    assert how_good.spread(lines, gains) == "+6.5 ± 0.0"
    assert how_good.spread(lines[:1], gains[:1]) == "+6.5"
    assert how_good.extremes([1.0, 3.0]) == "+2.0 (+1.0 to +3.0)"
