"""Callbacks, procedures and analyses on a network of one sigmoid output.

The learning rate is zero, so that predictions are known at every step.
"""

import keras
import numpy as np
import pytest
from keras import ops

import keras_noisy
from keras_noisy import analysis, callbacks, losses, training

rng = np.random.default_rng(0)
N = 24
X = rng.normal(size=(N, 3)).astype("float32")
CLEAN = (X[:, 0] > 0).astype("int32")
NOISY = np.where(np.arange(N) % 5 == 0, 1 - CLEAN, CLEAN)
KERNEL = np.array([[1.0], [-0.5], [0.25]], "float32")
P = 1 / (1 + np.exp(-X.astype("float64") @ KERNEL[:, 0]))
BOTH = np.stack([1 - P, P], axis=-1)
OF_LABEL = BOTH[np.arange(N), NOISY]
ARRAYS = {"shuffle": False, "verbose": 0}

# Whether it is a logit, and of shape `(batch,)` instead of `(batch, 1)`.
FORMS = {"probability": (False, False), "vector of logits": (True, True)}
forms = pytest.mark.parametrize("form", FORMS)


def network(form):
    is_logit, is_vector = FORMS[form]
    layers = [keras.Input((3,)), keras.layers.Dense(1, use_bias=False)]
    if not is_logit:
        layers.append(keras.layers.Activation("sigmoid"))
    if is_vector:
        layers.append(keras.layers.Reshape(()))
    model = keras.Sequential(layers)
    model.set_weights([KERNEL])
    return model


def compiled(model, form, loss=None):
    loss = keras.losses.BinaryCrossentropy if loss is None else loss
    model.compile(keras.optimizers.SGD(0.0), loss(from_logits=FORMS[form][0]))
    return model


def is_logit(form):
    return FORMS[form][0]


@forms
@pytest.mark.parametrize("on_the_fly", [False, True])
def test_seal(form, on_the_fly):
    model = compiled(network(form), form)
    kwargs = {"from_logits": is_logit(form)}
    if on_the_fly:
        seal = callbacks.SEALOnTheFly(N, **kwargs)
        data = {"x": seal.pipeline(model, X, NOISY)}
    else:
        seal, data = callbacks.SEAL(X, **kwargs), {"x": X, "y": NOISY}
    wave = callbacks.LabelWave(seal, window=1, patience=1)
    model.fit(**data, epochs=3, callbacks=[seal, wave], **ARRAYS)
    np.testing.assert_allclose(seal.soft_labels, BOTH, atol=1e-6)
    assert wave.best == 0


@forms
def test_early_learning_targets(form):
    model = compiled(network(form), form, losses.EarlyLearningRegularization)
    targets = callbacks.EarlyLearningTargets(N)
    data = targets.pipeline(model, X, NOISY)
    loss = model.fit(data, epochs=2, callbacks=[targets], **ARRAYS).history["loss"]
    average = (0.3 + 0.7 * 0.3) * BOTH
    np.testing.assert_allclose(targets.targets, average, atol=1e-6)
    term = 3 * np.log(1 - (average * BOTH).sum(axis=-1))
    assert loss[-1] == pytest.approx((term - np.log(OF_LABEL)).mean(), rel=1e-4)


@forms
def test_joint_optimization_labels(form):
    model = compiled(network(form), form, losses.JointOptimization)
    labels = callbacks.JointOptimizationLabels(N, warmup_epochs=1)
    data = labels.pipeline(model, X, NOISY)
    model.fit(data, epochs=2, callbacks=[labels], **ARRAYS)
    np.testing.assert_allclose(labels.soft_labels, BOTH, atol=1e-6)


@forms
@pytest.mark.parametrize("loss", [None, losses.BootstrapSoft])
def test_learning_dynamics(form, loss):
    model = compiled(network(form), form, loss and (lambda **kw: loss(epsilon=0, **kw)))
    dynamics = callbacks.LearningDynamics(X, NOISY, CLEAN, from_logits=is_logit(form))
    logs = model.fit(X, NOISY, callbacks=[dynamics], **ARRAYS).history
    wrong, predicted = NOISY != CLEAN, P > 0.5
    expected = (predicted[wrong] == NOISY[wrong]).mean()
    assert logs["wrong_label_fit"][0] == pytest.approx(expected)
    for part, rows in (("clean", ~wrong), ("corrupted", wrong)):
        expected = -np.log(OF_LABEL[rows]).mean()
        assert logs[f"loss_{part}"][0] == pytest.approx(expected, rel=1e-4)


@forms
def test_label_wave_reads_one_output(form):
    wave = callbacks.LabelWave(X, window=1, patience=1)
    model = compiled(network(form), form)
    seen = []
    watch = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.append(wave._classes.copy())
    )
    model.fit(X, NOISY, epochs=3, callbacks=[wave, watch], **ARRAYS)
    np.testing.assert_array_equal(seen[0], P > 0.5)


@forms
@pytest.mark.parametrize("loss", [None, losses.GeneralizedCrossEntropy])
def test_co_teaching(form, loss):
    peer = network(form)
    peer.set_weights([-KERNEL])
    model = training.CoTeaching(network(form), peer, forget_rate=0.5, num_gradual=1)
    compiled(model, form, loss)
    found = model.fit(X, NOISY, epochs=2, batch_size=N, **ARRAYS).history["loss"]
    values = [OF_LABEL, 1 - OF_LABEL]
    first, second = ((1 - p**0.7) / 0.7 if loss else -np.log(p) for p in values)
    assert found[0] == pytest.approx(first.mean() + second.mean(), rel=1e-4)
    few = N // 2
    expected = first[np.argsort(second)[:few]].mean()
    expected += second[np.argsort(first)[:few]].mean()
    assert found[1] == pytest.approx(expected, rel=1e-4)


@forms
def test_dynamic_bootstrapping(form):
    model = training.DynamicBootstrapping(
        network(form), warmup_epochs=1, mixup="none", prior_weight=0.0
    )
    compiled(model, form)
    logs = model.fit(X, NOISY, epochs=2, batch_size=N, **ARRAYS).history
    assert logs["loss"][0] == pytest.approx(-np.log(OF_LABEL).mean(), rel=1e-4)
    assert 0 < logs["wrong_label_share"][1] < 1


@forms
@pytest.mark.parametrize("masked", [False, True])
def test_noise_adaptation(form, masked):
    matrix = np.array([[0.8, 0.2], [0.3, 0.7]])
    made = {"transition_matrix": matrix, "from_logits": is_logit(form)}
    if masked:
        settings = {"structure": np.ones((2, 2)), "structure_weight": 0.0, "seed": 0}
        model = training.Masking(network(form), **settings, **made)
    else:
        model = training.NoiseAdaptation(network(form), **made)
    compiled(model, form)
    loss = model.fit(X, NOISY, batch_size=N, **ARRAYS).history["loss"][0]
    expected = -np.log((BOTH @ matrix)[np.arange(N), NOISY]).mean()
    assert loss == pytest.approx(expected, rel=0.02 if masked else 1e-4)
    assert model.predict(X, verbose=0).shape[0] == N


@forms
def test_self_evolution(form):
    evolution = training.SelfEvolution(
        lambda: compiled(network(form), form), rounds=2, from_logits=is_logit(form)
    )
    evolution.fit(X, NOISY, epochs=1, verbose=0)
    np.testing.assert_allclose(evolution.soft_labels, BOTH, atol=1e-6)
    first, second = (history["loss"][0] for history in evolution.histories)
    assert first == pytest.approx(-np.log(OF_LABEL).mean(), rel=1e-4)
    entropy = -(BOTH * np.log(BOTH)).sum(axis=-1)
    assert second == pytest.approx(entropy.mean(), rel=1e-4)


@forms
def test_distillation(form):
    model = training.Distillation(
        network(form), network(form), from_logits=is_logit(form), epsilon=0.25
    )
    compiled(model, form)
    loss = model.fit(X, NOISY, batch_size=N, **ARRAYS).history["loss"][0]
    entropy = -(BOTH * np.log(BOTH)).sum(axis=-1)
    expected = (0.25 * entropy - 0.75 * np.log(OF_LABEL)).mean()
    assert loss == pytest.approx(expected, rel=1e-4)


@forms
def test_critical_sample_ratio(form):
    # The boundary is a plane: how far it is in the largest coordinate is known.
    distance = np.abs(X @ KERNEL[:, 0]) / np.abs(KERNEL).sum()
    model = compiled(network(form), form)
    settings = {"radius": 0.3, "noise_scale": 0.0}
    ratio = analysis.critical_sample_ratio(model, X, **settings)
    assert ratio == (distance < 0.3).mean()
    told = {"from_logits": is_logit(form)}
    assert analysis.critical_sample_ratio(network(form), X, **settings, **told) == ratio


def test_critical_sample_ratio_does_not_guess():
    with pytest.raises(ValueError, match="`from_logits` must be True or False for one"):
        analysis.critical_sample_ratio(network("vector of logits"), X, radius=0.3)


@forms
def test_hold_out_test(form):
    found = analysis.hold_out_class_conditional_test(
        lambda: compiled(network(form), form),
        X,
        NOISY,
        transition_matrix=[[0.8, 0.2], [0.2, 0.8]],
        class_weights=[0.5, 0.5],
        hold_out=0.5,
        verbose=0,
    )
    assert 0 <= found.error <= 1


@forms
@pytest.mark.filterwarnings("ignore:find_wrong_labels")
def test_find_wrong_labels(form):
    found = keras_noisy.find_wrong_labels(
        X, NOISY, build_model=lambda: compiled(network(form), form), epochs=1, verbose=0
    )
    assert len(found.keep_mask()) == N


def test_one_column_is_two_in_analyses():
    column = P[:, None]
    one = analysis.find_suspects(NOISY, column)
    two = analysis.find_suspects(NOISY, BOTH)
    np.testing.assert_array_equal(one.is_suspect, two.is_suspect)
    np.testing.assert_allclose(
        analysis.normalized_entropy(column), analysis.normalized_entropy(BOTH)
    )
    assert analysis.calibration(column, NOISY).error == pytest.approx(
        analysis.calibration(BOTH, NOISY).error
    )
    loss = keras.losses.BinaryCrossentropy()
    curve = analysis.gradient_density(loss, NOISY, column, bins=4)
    expected = analysis.gradient_density(
        keras.losses.CategoricalCrossentropy(), NOISY, BOTH, bins=4
    )
    np.testing.assert_allclose(curve.gradient_norm, expected.gradient_norm, rtol=1e-4)


@keras.saving.register_keras_serializable(package="tests")
class Both(keras.layers.Layer):
    """The two outputs that one stands for: `[0, z]`, or `[1 - p, p]`."""

    def __init__(self, is_logit, **kwargs):
        super().__init__(**kwargs)
        self.is_logit = is_logit

    def call(self, x):
        first = ops.zeros_like(x) if self.is_logit else 1 - x
        return ops.concatenate([first, x], axis=-1)


def network_of_both(form):
    """Return the network of a form with two outputs, of the same one kernel."""
    layers = [keras.Input((3,)), keras.layers.Dense(1, use_bias=False)]
    if not is_logit(form):
        layers.append(keras.layers.Activation("sigmoid"))
    model = keras.Sequential([*layers, Both(is_logit(form))])
    model.set_weights([KERNEL])
    return model


LABELS_OF_ONE = {
    "ids": NOISY,
    "column": NOISY[:, None],
    "soft": np.stack([0.9 - 0.8 * NOISY, 0.1 + 0.8 * NOISY], axis=-1),
}


def fitted(make, networks, loss, y):
    model = make(*networks)
    # Keras's "accuracy" takes no vector of outputs.
    metrics = ["accuracy"] * (len(networks[0].output_shape) > 1)
    model.compile(keras.optimizers.SGD(0.3), loss, metrics=metrics)
    logs = model.fit(X, y, epochs=4, batch_size=8, verbose=0).history
    return model, logs


@forms
@pytest.mark.parametrize("labels", LABELS_OF_ONE)
@pytest.mark.parametrize("procedure", ["DivideMix", "SSR"])
@pytest.mark.filterwarnings("ignore:(DivideMix|SSR)")
def test_procedures_train_one_output_as_two(procedure, labels, form):
    def make(*networks):
        if procedure == "SSR":
            # The inputs say who is a neighbour; of one output no layer is before it.
            settings = {"num_neighbors": 3, "relabel_threshold": 0.8}
            return training.SSR(networks[0], warmup_epochs=2, seed=0, **settings)
        networks[1].set_weights([-0.5 * KERNEL])
        settings = {"temperature": 0.7, "unlabeled_weight": 2.0, "ramp_epochs": 1}
        return training.DivideMix(*networks, warmup_epochs=2, seed=0, **settings)

    y, soft = LABELS_OF_ONE[labels], {"from_logits": is_logit(form)}
    if labels == "soft" and procedure == "SSR":
        two_classes = keras.losses.CategoricalCrossentropy(**soft)
    else:
        two_classes = losses.LabelSmoothing(epsilon=0.0, **soft)
    if labels != "soft" and procedure == "SSR":
        two_classes = keras.losses.SparseCategoricalCrossentropy(**soft)
    one, logs = fitted(
        make, [network(form), network(form)], keras.losses.BinaryCrossentropy(**soft), y
    )
    two, expected = fitted(
        make, [network_of_both(form), network_of_both(form)], two_classes, y
    )
    np.testing.assert_allclose(logs["loss"], expected["loss"], rtol=1e-3)
    for name in {"clean_share", "selected_share", "relabeled_share"} & logs.keys():
        np.testing.assert_allclose(logs[name], expected[name])
        assert np.isfinite(logs[name][2:]).all()
    for kernel, other in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(kernel, other, rtol=1e-3, atol=1e-5)
    predicted = one.predict(X, verbose=0).reshape(N)
    both = two.predict(X, verbose=0)
    second = both[:, 1] - both[:, 0] if is_logit(form) else both[:, 1]
    np.testing.assert_allclose(predicted, second, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("procedure", ["DivideMix", "SSR"])
def test_categorical_cross_entropy_is_not_that_of_one_output(procedure):
    form = "vector of logits"
    peer = network(form)
    peer.set_weights([-KERNEL])
    networks = [network(form), peer] if procedure == "DivideMix" else [network(form)]
    model = getattr(training, procedure)(*networks, warmup_epochs=1)
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True))
    expected = f"{procedure}: `loss` must be binary cross-entropy, as the network has"
    with pytest.raises(ValueError, match=expected):
        model.fit(X, NOISY, verbose=0)


def test_binary_cross_entropy_is_not_that_of_two_outputs():
    model = training.SSR(network_of_both("probability"), warmup_epochs=1)
    model.compile("sgd", "binary_crossentropy")
    with pytest.raises(ValueError, match="SSR: `loss` must be categorical cross-ent"):
        model.fit(X, NOISY, verbose=0)
