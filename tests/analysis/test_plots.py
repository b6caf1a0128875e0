"""Pictures show what they are given, with axes that say what they show."""

import sys

import keras
import numpy as np
import pytest

from keras_noisy import analysis, losses, noise

pytest.importorskip("matplotlib")

GENERATOR = np.random.default_rng(0)
CLEAN = GENERATOR.integers(0, 4, 60)
NOISY = np.where(np.arange(60) < 24, (CLEAN + 1) % 4, CLEAN)
SOFT = GENERATOR.dirichlet(np.ones(4), 60)
HISTORY = {
    "val_accuracy": [0.5, 0.7, 0.8],
    "wrong_label_fit": [0.1, np.nan, 0.3],
    "entropy_clean": [0.9, 0.5, 0.2],
    "something_else": [1, 2, 3],
}


def check(figure, tmp_path, count):
    """Check that a figure has `count` labelled panels and can be written."""
    panels = [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]
    assert len(panels) == count
    for axis in panels:
        assert not axis.axison or (axis.get_xlabel() and axis.get_ylabel())
    figure.savefig(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 2000
    return panels


def test_learning_dynamics(tmp_path):
    histories = {"cross-entropy": HISTORY, "Equal Loss": HISTORY}
    figure = analysis.plot_learning_dynamics(histories, title="two runs")
    panels = check(figure, tmp_path, 3)
    line = panels[1].get_lines()[0]
    assert panels[1].get_ylabel() == "share of wrong labels fitted"
    # The epoch that was not measured leaves no gap in the line.
    assert line.get_xdata().tolist() == [1, 3]
    assert line.get_ydata().tolist() == [0.1, 0.3]
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["cross-entropy", "Equal Loss"]
    assert len({line.get_color() for line in panels[0].get_lines()}) == 2


def test_learning_dynamics_of_one_run(tmp_path):
    history = keras.callbacks.History()
    history.history = HISTORY
    for one in (HISTORY, history, {"run": history}):
        check(analysis.plot_learning_dynamics(one), tmp_path, 3)
    figure = analysis.plot_learning_dynamics(HISTORY, quantities=["something_else"])
    assert check(figure, tmp_path, 1)[0].get_ylabel() == "something_else"
    with pytest.raises(ValueError, match="`histories` must be histories that hold"):
        analysis.plot_learning_dynamics({"loss_of_another_name": [1, 2]})


def test_learning_dynamics_of_rounds(tmp_path):
    rounds = [{"loss": [3.0, 2.0], "val_accuracy": [0.5, 0.6]}, {"loss": [1.0]}]
    named = {"one after the other": rounds, "one": {"loss": [4.0, 4.0, 4.0]}}
    panels = check(analysis.plot_learning_dynamics(named), tmp_path, 2)
    accuracy, loss = (panel.get_lines() for panel in panels)
    assert loss[0].get_ydata().tolist() == [3.0, 2.0, 1.0]
    assert loss[1].get_ydata().tolist() == [4.0] * 3
    # The second round begins after the second epoch, and logs no accuracy.
    assert [line.get_xdata() for line in loss[2:]] == [[2.5, 2.5]]
    assert accuracy[0].get_ydata().tolist() == [0.5, 0.6]
    check(analysis.plot_learning_dynamics(rounds), tmp_path, 2)
    with pytest.raises(TypeError, match="`histories` must be a history of `fit`, a"):
        analysis.plot_learning_dynamics([])


def test_a_notebook_shows_figures_without_pyplot():
    figure = analysis.plot_learning_dynamics(HISTORY)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert len(figure.to_png(dpi=50)) < len(figure.to_png(dpi=150))


def test_softmax_trajectories(tmp_path):
    p = GENERATOR.dirichlet(np.ones(4), (5, 2))
    figure = analysis.plot_softmax_trajectories(
        p, [0, 1], [2, 3], class_names=["cat", "dog", "ship", "truck"]
    )
    panels = check(figure, tmp_path, 2)
    given, true = panels[1].get_lines()
    np.testing.assert_array_equal(given.get_ydata(), p[:, 1, 1])
    np.testing.assert_array_equal(true.get_ydata(), p[:, 1, 3])
    assert panels[1].get_title() == "given dog, true truck"
    with pytest.raises(ValueError, match=r"`trajectories\.shape` must be"):
        analysis.plot_softmax_trajectories(p[0], [0, 1], [2, 3])
    with pytest.raises(ValueError, match="`clean` must be class ids of shape"):
        analysis.plot_softmax_trajectories(p, [0, 1], [2])


def test_label_distance(tmp_path):
    figure = analysis.plot_label_distance([SOFT, SOFT], NOISY, CLEAN, bins=10)
    panels = check(figure, tmp_path, 2)
    heights = [bar.get_height() for bar in panels[0].patches]
    distance = analysis.label_distance(SOFT, NOISY, CLEAN)
    counts, _ = np.histogram(distance[~np.isnan(distance)], 10, (0, 1))
    np.testing.assert_allclose(heights, counts / 24)
    check(analysis.plot_label_distance(SOFT, NOISY, CLEAN), tmp_path, 1)
    with pytest.raises(ValueError, match="some differ from `clean`"):
        analysis.plot_label_distance(SOFT, CLEAN, CLEAN)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3)])
def test_suspects(tmp_path, shape):
    images = GENERATOR.uniform(size=(60, *shape))
    suspects = analysis.find_suspects(NOISY, SOFT)
    figure = analysis.plot_suspects(images, suspects, count=12)
    panels = check(figure, tmp_path, 12)
    first = suspects.sample_id[0]
    shown = np.asarray(panels[0].images[0].get_array())
    np.testing.assert_allclose(shown, np.squeeze(images[first]))
    assert panels[0].get_title() == f"{NOISY[first]}\n→ {suspects.proposed_label[0]}"
    with pytest.raises(ValueError, match="`images` must be 60 images"):
        analysis.plot_suspects(images[1:], suspects)


def test_suspects_further_down(tmp_path):
    images = GENERATOR.uniform(size=(60, 8, 8))
    suspects = analysis.find_suspects(NOISY, SOFT).named(class_names=list("abcd"))
    figure = analysis.plot_suspects(images, suspects, start=56, count=12)
    panels = check(figure, tmp_path, 4)
    row = suspects.sample_id[56]
    np.testing.assert_allclose(np.asarray(panels[0].images[0].get_array()), images[row])
    assert panels[0].get_title().startswith("abcd"[NOISY[row]] + "\n→ ")
    with pytest.raises(ValueError, match="`start` must be an integer of at most 59"):
        analysis.plot_suspects(images, suspects, start=60)


def test_images(tmp_path):
    images = [GENERATOR.uniform(size=shape) for shape in ((8, 8), (5, 9, 3), (4, 4, 1))]
    figure = analysis.plot_images(images, ["a", "b", "c"], is_marked=[0, 1, 0])
    panels = check(figure, tmp_path, 3)
    assert [panel.get_title() for panel in panels] == ["a", "b", "c"]
    colours = [panel.title.get_color() for panel in panels]
    assert colours[0] == colours[2] != colours[1]
    shown = np.asarray(panels[1].images[0].get_array())
    np.testing.assert_allclose(shown, images[1])
    narrow = analysis.plot_images(np.zeros((5, 8, 8)), columns=2)
    wide = analysis.plot_images(np.zeros((5, 8, 8)), columns=9)
    assert narrow.get_figheight() == 3 * wide.get_figheight()
    with pytest.raises(ValueError, match="`titles` must be 3 texts"):
        analysis.plot_images(images, ["a"])
    with pytest.raises(ValueError, match=r"`is_marked` must be a mask of shape \(3,\)"):
        analysis.plot_images(images, is_marked=[1])
    with pytest.raises(ValueError, match="`images` must be one image or more"):
        analysis.plot_images([])


def test_losses(tmp_path):
    named = {
        "cross-entropy": keras.losses.CategoricalCrossentropy(),
        "Equal Loss": losses.EqualLoss(epsilon=0.4, from_logits=True),
    }
    panels = check(analysis.plot_losses(named), tmp_path, 2)
    for axis, functions in (
        (panels[0], [lambda p: -np.log(p), lambda p: -1.4 * np.log((p + 0.4) / 1.4)]),
        (
            panels[1],
            [lambda p: 2 * (1 - p), lambda p: 2 * (1 - p) * 1.4 * p / (p + 0.4)],
        ),
    ):
        for line, function in zip(axis.get_lines(), functions, strict=True):
            expected = function(line.get_xdata())
            np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-3, atol=1e-4)


def test_gradient_density(tmp_path):
    named = {"Equal Loss": losses.EqualLoss(epsilon=0.4)}
    figure = analysis.plot_gradient_density(named, NOISY, SOFT, clean=CLEAN, bins=8)
    panels = check(figure, tmp_path, 2)
    assert [line.get_label() for line in panels[0].get_lines()] == [
        "right labels",
        "wrong labels",
    ]
    curve = analysis.gradient_density(named["Equal Loss"], NOISY, SOFT, bins=8)
    (line,) = panels[1].get_lines()
    np.testing.assert_allclose(line.get_ydata(), curve.gradient_density)
    check(analysis.plot_gradient_density(named, CLEAN, SOFT), tmp_path, 2)


def test_transition_matrix(tmp_path):
    matrix = noise.symmetric(4, 0.4)
    names = np.array([*"abcd"])  # As `numpy.unique` returns them.
    figure = analysis.plot_transition_matrix(matrix, class_names=names)
    (axis,) = check(figure, tmp_path, 1)
    assert [text.get_text() for text in axis.get_xticklabels()] == [*"abcd"]
    np.testing.assert_allclose(np.asarray(axis.images[0].get_array()), matrix)
    assert sorted({text.get_text() for text in axis.texts}) == ["0.13", "0.60"]
    figure = analysis.plot_transition_matrix(noise.symmetric(21, 0.4))
    (axis,) = check(figure, tmp_path, 1)
    assert all(tick == int(tick) for tick in axis.get_yticks())
    with pytest.raises(ValueError, match="`transition_matrix` must be of shape"):
        analysis.plot_transition_matrix(matrix[:2])


def test_several_transition_matrices(tmp_path):
    named = {"few": noise.symmetric(3, 0.3), "many": noise.pair_flip(10, 0.4)}
    few, many = check(analysis.plot_transition_matrix(named), tmp_path, 2)
    assert (few.get_title(), many.get_title()) == ("few", "many")
    assert {text.get_text() for text in few.texts} == {"0.15", "0.70"}
    assert not many.texts
    with pytest.raises(ValueError, match="a dict of matrices by their titles"):
        analysis.plot_transition_matrix({})


def test_reliability(tmp_path):
    panels = check(analysis.plot_reliability(SOFT, CLEAN, bins=5), tmp_path, 2)
    result = analysis.calibration(SOFT, CLEAN, bins=5)
    np.testing.assert_array_equal(panels[0].get_lines()[1].get_ydata(), result.accuracy)
    assert f"{result.error:.3f}" in panels[0].get_legend().get_texts()[1].get_text()


def test_figures_open_no_window():
    import matplotlib.pyplot as plt

    analysis.plot_reliability(SOFT, CLEAN)
    assert not plt.get_fignums()


def test_missing_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "keras_noisy.analysis._figure", raising=False)
    with pytest.raises(ImportError, match=r"keras-noisy\[examples\]"):
        analysis.plot_reliability(SOFT, CLEAN)
