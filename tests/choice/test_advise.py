"""What is advised on a diagnosis."""

import types

import numpy as np
import pytest

import keras_noisy
from keras_noisy import choice
from keras_noisy.choice._candidates import CANDIDATES
from keras_noisy.diagnosis import Diagnosis

SYMMETRIC = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
PAIR = 0.7 * np.eye(3) + 0.3 * np.roll(np.eye(3), 1, axis=1)


def diagnosis(verdict, high=0.5, matrix=None, size=100):
    """Return a diagnosis with this noise rate and so many labels."""
    suspects = types.SimpleNamespace(given_label=np.zeros(size, int))
    rate = types.SimpleNamespace(verdict=verdict, high=high, transition_matrix=matrix)
    return Diagnosis(rate, suspects, None, 0, 1)


def test_the_default_is_always_the_first():
    assert choice.advise is keras_noisy.advise
    for verdict in ("class-conditional", "cannot tell", "checked"):
        for matrix in (None, SYMMETRIC, PAIR):
            found = choice.advise(diagnosis(verdict, matrix=matrix))
            assert found.candidates[0] == "early_learning_regularization"
            assert set(found.candidates) <= set(CANDIDATES)
            # It can be passed on.
            keras_noisy.RobustClassifier(candidates=found.candidates)


def test_it_follows_the_noise():
    found = choice.advise(diagnosis("class-conditional", matrix=PAIR))
    assert found.candidates[1] == "forward_correction"
    found = choice.advise(diagnosis("class-conditional", matrix=SYMMETRIC))
    assert "forward_correction" not in found.candidates
    found = choice.advise(diagnosis("class-conditional", high=0.02))
    assert found.candidates[1] == "cross_entropy"
    found = choice.advise(diagnosis("cannot tell"))
    assert "do not choose by them alone" in found.sentence


def test_it_says_what_a_hold_out_can_tell():
    few = choice.advise(diagnosis("class-conditional"))
    assert "A tenth of 100 labels is too few" in few.sentence
    many = choice.advise(diagnosis("class-conditional", size=6000))
    assert "A tenth of 6000 labels, held out, tells" in many.sentence
    assert str(many).splitlines()[0] == many.sentence
    assert "1. early_learning_regularization: early-learning" in str(many)


def test_no_diagnosis():
    with pytest.raises(TypeError, match="`diagnosis` must be a `Diagnosis`"):
        choice.advise(None)
