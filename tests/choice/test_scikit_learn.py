"""The classifier in scikit-learn and cleanlab, where these are installed."""

import importlib.util
import warnings

import keras
import numpy as np
import pytest

import keras_noisy

HAS_SKLEARN = importlib.util.find_spec("sklearn") is not None
HAS_CLEANLAB = importlib.util.find_spec("cleanlab") is not None
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*choice is luck"),
    pytest.mark.skipif(not HAS_SKLEARN, reason="needs scikit-learn"),
]
FAST = {"candidates": ["cross_entropy"], "epochs": 1, "verbose": 0}
# What scikit-learn checks and this classifier does otherwise, and why.
OTHERWISE = {
    "check_classifier_data_not_an_array": "inputs are NumPy's, or have `shape`",
    "check_classifiers_classes": "-1 marks an example without a label, and is no class",
    "check_classifiers_regression_target": "the error says it in other words",
    "check_complex_data": "the error says it in other words",
    "check_dtype_object": "arrays of objects are no numbers, as in find_wrong_labels",
    "check_estimators_empty_data_messages": "the error says it in other words",
    "check_estimator_sparse_array": "some sparse formats are refused in other words",
    "check_estimator_sparse_matrix": "some sparse formats are refused in other words",
    "check_fit2d_1sample": "the error says it in other words",
    "check_requires_y_none": "the error says it in other words",
    "check_supervised_y_2d": "a column of labels is taken without a warning",
    "check_supervised_y_no_nan": "NaN marks an example without a label",
}


def checks():
    """Return the checks of scikit-learn that apply, by their names."""
    if not HAS_SKLEARN:
        return []
    from sklearn.utils import estimator_checks

    if not hasattr(estimator_checks, "estimator_checks_generator"):
        return []
    found = {}
    with warnings.catch_warnings():
        # It is no `BaseEstimator`, because scikit-learn need not be there.
        warnings.filterwarnings("ignore", ".*does not inherit from")
        every = [*estimator_checks.estimator_checks_generator(classifier())]
    for _, check in every:
        name = check.func.__name__
        if name not in OTHERWISE:
            # Some checks come with several arguments.
            number = sum(key.startswith(f"{name} ") for key in found)
            found[f"{name} {number}"] = check
    return [pytest.param(check, id=name) for name, check in found.items()]


def classifier(**arguments):
    """Return a classifier of one candidate and one epoch."""
    return keras_noisy.RobustClassifier(**{**FAST, **arguments})


@pytest.mark.dealt
@pytest.mark.parametrize("check", checks())
def test_checks_of_scikit_learn(check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Weights averaged over one epoch hold its first steps, and some checks ask for
        # accuracy.
        check(classifier(epochs=5))


def build_model():
    """Return a network of one layer."""
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])


def data():
    """Return two classes far from each other."""
    y = np.arange(60) % 2
    x = np.random.default_rng(0).normal(size=(60, 4)) + 9 * y[:, None]
    return x.astype("float32"), np.array(["cat", "dog"])[y]


def test_cross_validation_and_search():
    from sklearn.base import clone, is_classifier
    from sklearn.model_selection import GridSearchCV, cross_val_score

    model = classifier(build_model=build_model)
    assert is_classifier(model) and clone(model).get_params() == model.get_params()
    x, y = data()
    scores = cross_val_score(model, x, y, cv=2)
    assert scores.shape == (2,) and (scores >= 0).all()
    search = GridSearchCV(model, {"validation": [0.2]}, cv=2).fit(x, y)
    assert search.best_params_ == {"validation": 0.2}
    assert search.predict_proba(x).shape == (60, 2)


@pytest.mark.skipif(not HAS_CLEANLAB, reason="needs cleanlab")
def test_cleanlab_trains_it():
    from cleanlab.classification import CleanLearning

    x, names = data()
    y = (names == "dog").astype(int)
    cleaning = CleanLearning(classifier(build_model=build_model), cv_n_folds=2)
    assert len(cleaning.find_label_issues(x, y)) == 60
