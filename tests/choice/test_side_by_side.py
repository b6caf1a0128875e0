"""Networks side by side: each is trained as it would be alone."""

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, losses
from keras_noisy.choice._candidates import CANDIDATES, Moment
from keras_noisy.choice._side_by_side import SideBySide

SIZE, CLASSES, EPOCHS = 24, 3, 3
ELR = "early_learning_regularization"


def data():
    generator = np.random.default_rng(0)
    labels = np.arange(SIZE) % CLASSES
    x = 2 * np.eye(CLASSES, 4)[labels] + generator.normal(size=(SIZE, 4))
    labels[::5] = 0
    return x.astype("float32"), labels


def network(seed, rate=0.0):
    keras.utils.set_random_seed(seed)
    inner = [keras.layers.Dense(5, "relu"), keras.layers.Dropout(rate)]
    return keras.Sequential([keras.Input((4,)), *inner, keras.layers.Dense(CLASSES)])


def side_by_side(networks, names, matrix=None, *, size, num_steps, seeds):
    """Return a `SideBySide` that is not compiled."""
    return SideBySide(
        "RobustClassifier",
        networks,
        [CANDIDATES[name] for name in names],
        matrix,
        from_logits=True,
        num_examples=size,
        num_classes=CLASSES,
        num_steps=num_steps,
        seeds=seeds,
    )


def train(networks, names, matrix=None, seed=7):
    """Return a trained `SideBySide`."""
    x, labels = data()
    seeds = [seed + len(name) for name in names]
    steps = EPOCHS * 3
    model = side_by_side(
        networks, names, matrix, size=SIZE, num_steps=steps, seeds=seeds
    )
    model.compile(keras.optimizers.Adam(0.05))
    numbered = np.stack([labels, np.arange(SIZE)], axis=1).astype("int32")
    model.fit(x, numbered, batch_size=8, shuffle=False, epochs=EPOCHS, verbose=0)
    return model


@pytest.fixture(scope="module")
def together():
    """Return networks of all methods that were trained as one program."""
    names = [*CANDIDATES]
    matrix = np.full((CLASSES, CLASSES), 0.1) + 0.7 * np.eye(CLASSES)
    networks = [network(number) for number in range(len(names))]
    return train(networks, names, matrix), matrix


# What each method is where a user takes it.
PUBLIC = {
    "cross_entropy": keras.losses.SparseCategoricalCrossentropy,
    "generalized_cross_entropy": losses.GeneralizedCrossEntropy,
    "symmetric_cross_entropy": lambda **kw: losses.SymmetricCrossEntropy(
        alpha=0.1, beta=1.0, **kw
    ),
    "equal_loss": lambda **kw: losses.EqualLoss(epsilon=0.3, **kw),
    "label_smoothing": lambda **kw: losses.LabelSmoothing(epsilon=0.1, **kw),
    "bootstrap_hard": lambda **kw: losses.BootstrapHard(epsilon=0.2, **kw),
    "proselflc": losses.ProSelfLC,
    ELR: lambda **kw: losses.EarlyLearningRegularization(
        weight=3.0, momentum=0.7, **kw
    ),
}


@pytest.mark.dealt
@pytest.mark.parametrize("name", [*PUBLIC, "forward_correction"])
def test_each_is_trained_as_by_its_public_loss(together, name):
    model, matrix = together
    x, labels = data()
    number = [*CANDIDATES].index(name)
    alone = network(number)
    make = PUBLIC.get(name)
    if make is None:
        loss = losses.ForwardCorrection(transition_matrix=matrix, from_logits=True)
    else:
        loss = make(from_logits=True)
    alone.compile(keras.optimizers.Adam(0.05), loss)
    watch, arguments = [], {"x": x, "y": labels, "batch_size": 8}
    if name == "proselflc":
        watch = [callbacks.GlobalTrust()]
    if name == ELR:
        watch = [callbacks.EarlyLearningTargets(SIZE)]
        batches = watch[0].pipeline(alone, x, labels, batch_size=8, shuffle=False)
        arguments = {"x": batches}
    alone.fit(**arguments, shuffle=False, epochs=EPOCHS, verbose=0, callbacks=watch)
    found = model.networks[number].get_weights()
    for weight, expected in zip(found, alone.get_weights(), strict=False):
        np.testing.assert_allclose(weight, expected, atol=2e-4)
    if name == ELR:
        table = model.averages[number]
        averages = table.read(table.averages)[:-1]
        np.testing.assert_allclose(averages, watch[0].targets, atol=1e-4)


def test_mixed_inputs_by_hand():
    """One step: the gradient is that of the mixed batch, the target is mixed too."""
    x, labels = data()
    x, labels = x[:8], labels[:8]
    name = "early_learning_regularization_mixup"
    model = side_by_side([network(3)], [name], size=8, num_steps=1, seeds=[5])
    model.compile(keras.optimizers.SGD(0.1))
    plain = network(3)
    p = keras.ops.convert_to_numpy(keras.ops.softmax(plain(x)))
    share = keras.random.uniform((1,), seed=keras.random.SeedGenerator(5))
    share = float(keras.ops.convert_to_numpy(share)[0])

    def mixed(values):
        return share * values + (1 - share) * np.roll(values, 1, axis=0)

    target, q = mixed(0.3 * p), mixed(np.eye(CLASSES)[labels])
    z = keras.ops.convert_to_numpy(plain(mixed(x))).astype("float64")
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    agreement = (target * np.exp(log_p)).sum(axis=1)
    loss = -(q * log_p).sum(axis=1) + 3 * np.log(1 - agreement)
    numbered = np.stack([labels, np.arange(8)], axis=1).astype("int32")
    history = model.fit(x, numbered, batch_size=8, shuffle=False, verbose=0).history
    assert history["loss"][0] == pytest.approx(loss.mean(), abs=1e-4)
    table = model.averages[0]
    np.testing.assert_allclose(table.read(table.averages)[:-1], 0.3 * p, atol=1e-5)


def test_forward_early_learning_is_the_sum_of_its_parts():
    generator = np.random.default_rng(1)
    z = generator.normal(size=(5, CLASSES)).astype("float32")
    q = np.eye(CLASSES, dtype="float32")[[0, 1, 2, 0, 1]]
    target = generator.dirichlet(np.ones(CLASSES), 5).astype("float32")
    matrix = np.array([[0.7, 0.3, 0], [0, 0.8, 0.2], [0.1, 0, 0.9]])
    p = np.exp(z.astype("float64"))
    p /= p.sum(axis=1, keepdims=True)
    noisy = np.take_along_axis(p @ matrix, q.argmax(axis=1)[:, None], 1)[:, 0]
    expected = -np.log(noisy) + 3 * np.log(1 - (p * target).sum(axis=1))
    at = Moment(True, 0.5, matrix, target)
    found = CANDIDATES["forward_early_learning_mixup"].loss(q, z, at)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4)


def test_what_layers_add_to_the_loss_counts():
    x, labels = data()
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(CLASSES, kernel_regularizer=keras.regularizers.L2(0.5))
    net = keras.Sequential([keras.Input((4,)), layer])
    kernel = np.array(net.get_weights()[0])
    z = keras.ops.convert_to_numpy(net(x[:8])).astype("float64")
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    expected = -log_p[np.arange(8), labels[:8]].mean() + 0.5 * (kernel**2).sum()
    model = side_by_side([net], ["cross_entropy"], size=8, num_steps=1, seeds=[0])
    model.compile(keras.optimizers.SGD(0.1))
    numbered = np.stack([labels[:8], np.arange(8)], axis=1).astype("int32")
    history = model.fit(x[:8], numbered, batch_size=8, verbose=0).history
    assert history["loss"][0] == pytest.approx(expected, rel=1e-4)
