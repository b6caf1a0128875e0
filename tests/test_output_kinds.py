"""Every public loss with every kind of output, and what has no meaning for one.

A row is a loss class, a column a kind of output. In each place the loss of that kind
is that of a softmax's logits that say the same, or the loss refuses the kind.
"""

import inspect

import keras
import numpy as np
import pytest
from keras import ops

from keras_noisy import losses

from . import test_contract as contract
from .losses import reference as ref

pytestmark = [
    pytest.mark.dealt,
    pytest.mark.filterwarnings("ignore:ProSelfLC is being trained"),
    pytest.mark.filterwarnings("ignore:You are using a softmax:UserWarning"),
]

# Rows that the contract's table has not.
OTHERS = {
    "DeterminantMutualInformation": losses.DeterminantMutualInformation,
    "EarlyLearningRegularization": losses.EarlyLearningRegularization,
}
LOSSES = sorted({*contract.CLASSES, *OTHERS})
each_loss = pytest.mark.parametrize("name", LOSSES)
# Without their callback these raise when a gradient is taken; the tests of the
# callback take it.
WITHOUT_GRADIENT = {"EarlyLearningRegularization"}


def make(name, is_binary=False, **kwargs):
    """Return a loss of a row, of logits unless told otherwise."""
    kwargs = {"from_logits": True, **kwargs}
    if name in OTHERS:
        return OTHERS[name](**kwargs)
    case = contract.CLASSES[name]
    two = {
        key: contract.OF_TWO_CLASSES[key]
        for key in case.arguments.keys() & contract.OF_TWO_CLASSES.keys()
    }
    return case.make(getattr(losses, name), **(two if is_binary else {}), **kwargs)


def multi_label(**kwargs):
    return losses.MultiLabel(make("GeneralizedCrossEntropy", is_binary=True), **kwargs)


def logits_of(name):
    """Return logits of the classes, with an output more for a loss that abstains."""
    return contract.CLASSES[name].logits if name in contract.CLASSES else ref.LOGITS


def probabilities(logits):
    return ref.softmax(logits).astype("float32")


# One sigmoid output, and the same as two logits.
Z = ref.LOGITS[:12, 0] / 2
TWO = np.stack([np.zeros_like(Z), Z], axis=-1)
P = probabilities(TWO)[:, 1]
Y = np.arange(12) % 5 % 2
# Of each row of three labels one is missing.
IS_KNOWN = np.arange(12) % 3 != 1
LABELS = np.where(IS_KNOWN, Y, -1).reshape(4, 3)
IS_KEPT = np.arange(16) % 4 != 1


def of_probabilities(name):
    logits = logits_of(name)
    y_pred = probabilities(logits)
    return make(name, from_logits=False), ref.IDS, y_pred, make(name), ref.IDS, logits


def of_logits(name):
    logits = logits_of(name)
    return make(name), ref.ONE_HOT, logits, make(name), ref.IDS, logits


def of_binary(name):
    loss = make(name, is_binary=True, from_logits=False)
    return loss, Y[:, None], P[:, None], make(name, is_binary=True), Y, TWO


def of_binary_logits(name):
    return make(name, is_binary=True), Y, Z, make(name, is_binary=True), Y, TWO


def of_multi_label(name, from_logits=False):
    loss = losses.MultiLabel(make(name, is_binary=True), from_logits=from_logits)
    y_pred = (Z if from_logits else P).reshape(4, 3)
    known = make(name, is_binary=True)
    return loss, LABELS, y_pred, known, Y[IS_KNOWN], TWO[IS_KNOWN]


def of_multi_label_logits(name):
    return of_multi_label(name, from_logits=True)


def of_ignore_class(name):
    logits = logits_of(name)
    ids = np.where(IS_KEPT, ref.IDS, 255)
    loss = make(name, ignore_class=255)
    return loss, ids, logits, make(name), ref.IDS[IS_KEPT], logits[IS_KEPT]


KINDS = {
    "probabilities": of_probabilities,
    "logits": of_logits,
    "binary": of_binary,
    "binary logits": of_binary_logits,
    "multi-label": of_multi_label,
    "multi-label logits": of_multi_label_logits,
    "ignore_class": of_ignore_class,
}
REFUSED = {
    **{
        (name, kind): "`loss` must be a loss object of keras_noisy.losses that is one"
        for name in (
            *contract.NOT_OF_LABELS,
            "DeterminantMutualInformation",
            "EarlyLearningRegularization",
        )
        for kind in ("multi-label", "multi-label logits")
    },
    ("DeepAbstention", "binary"): "leaves none to abstain with: give a binary",
    ("DeepAbstention", "binary logits"): "leaves none to abstain with: give a binary",
}


def test_no_public_loss_escapes():
    public = {
        name
        for name in losses.__all__
        if inspect.isclass(getattr(losses, name))
        and issubclass(getattr(losses, name), keras.losses.Loss)
    }
    assert public - contract.BASES == {*LOSSES, "MultiLabel"}
    assert {name for name, _ in REFUSED} <= {*LOSSES}


@pytest.mark.parametrize("kind", KINDS)
@each_loss
def test_output_kinds(name, kind):
    if (name, kind) in REFUSED:
        with pytest.raises((TypeError, ValueError), match=REFUSED[name, kind]):
            # A loss of labels is refused when it is made.
            loss, y_true, y_pred, *_ = KINDS[kind](name)
            loss(y_true, y_pred)
        return
    loss, y_true, y_pred, same, ids, logits = KINDS[kind](name)
    expected = float(same(ids, logits))
    assert float(loss(y_true, y_pred)) == pytest.approx(expected, rel=1e-4)
    if name not in WITHOUT_GRADIENT:
        slope = ref.gradient(lambda y: loss(y_true, y), y_pred)
        assert slope.shape == y_pred.shape and np.isfinite(slope).all() and slope.any()


def test_kinds_that_are_not_of_many_outputs():
    """The two columns of `MultiLabel` are above; ids and an ignored class are not."""
    loss = multi_label(from_logits=True)
    with pytest.raises(ValueError, match="that of y_pred: a label for each output"):
        loss(ref.IDS, ref.LOGITS)
    with pytest.raises(
        ValueError, match=r"`y_pred.shape` must be of shape \(batch, ..."
    ):
        loss(Y, Z)
    with pytest.raises(ValueError, match="`ignore_class` must be None"):
        multi_label(ignore_class=255)
    with pytest.raises(TypeError, match="`loss` must be a loss object"):
        losses.MultiLabel(loss)
    # One output for each example is one label.
    one = make("GeneralizedCrossEntropy")(Y, Z)
    assert float(loss(Y[:, None], Z[:, None])) == pytest.approx(float(one), rel=1e-6)


# --- bad input

TWO_ONES = (np.arange(5) == ref.IDS[:, None]) | (
    np.arange(5) == (ref.IDS[:, None] + 1) % 5
)
one_output = pytest.mark.parametrize("name", sorted({*LOSSES} - {"DeepAbstention"}))


@one_output
def test_labels_outside_of_one_output(name):
    loss = make(name, is_binary=True)
    for labels in (Y + 1, 2 * Y - 1, Y * np.nan, 255 * Y):
        for y_true, y_pred in ((labels, Z), (labels[:, None], Z[:, None])):
            with pytest.raises(ValueError, match="`y_true` must hold labels 0 and 1, "):
                loss(y_true, y_pred)


@pytest.mark.parametrize("labels", [Y + 1, 2 * Y - 3, 255 * Y])
def test_labels_outside_of_many_outputs(labels):
    with pytest.raises(ValueError, match="`y_true` must be labels 0 and 1, or numbers"):
        multi_label(from_logits=True)(labels.reshape(4, 3), Z.reshape(4, 3))


@one_output
def test_softmax_of_one_output(name):
    p = keras.activations.softmax(ops.convert_to_tensor(Z[:, None]))
    loss = make(name, is_binary=True, from_logits=False)
    with pytest.raises(ValueError, match="a softmax of one output, which is always 1"):
        loss(Y, p)


@one_output
def test_logits_of_one_output_without_the_flag(name):
    loss = make(name, is_binary=True, from_logits=False)
    for y_pred in (Z, 1 + abs(Z), Z[:, None]):
        with pytest.raises(ValueError, match=r"probabilities\. .*from_logits=True if"):
            loss(Y, y_pred)


@each_loss
def test_logits_of_classes_without_the_flag(name):
    with pytest.raises(ValueError, match=r"probabilities\. .*from_logits=True if"):
        make(name, from_logits=False)(ref.IDS, logits_of(name))


def test_logits_of_many_outputs_without_the_flag():
    with pytest.raises(ValueError, match=r"probabilities\. .*from_logits=True if"):
        multi_label()(LABELS, Z.reshape(4, 3))


@each_loss
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_multi_hot_rows_for_a_softmax(name, dtype):
    with pytest.raises(ValueError, match=r"rows that sum to 1.*`losses\.MultiLabel`"):
        make(name)(TWO_ONES.astype(dtype), logits_of(name))


@pytest.mark.parametrize("name", sorted({*contract.CLASSES} - contract.NOT_OF_LABELS))
def test_all_labels_missing(name):
    loss = losses.MultiLabel(make(name, is_binary=True), from_logits=True)
    labels, logits = np.full((4, 3), -1), Z.reshape(4, 3)
    assert float(loss(labels, logits)) == 0
    np.testing.assert_array_equal(
        ref.gradient(lambda z: loss(labels, z), logits), np.zeros_like(logits)
    )


@each_loss
@pytest.mark.parametrize("ignored", [255, -1, 2**31 - 1])
def test_ignored_class_outside_of_the_ids(name, ignored):
    """It ignores nothing, as in Keras."""
    logits = logits_of(name)
    expected = float(make(name)(ref.IDS, logits))
    loss = make(name, ignore_class=ignored)
    for dtype in ("uint8", "int64", "float32"):
        value = float(loss(ref.IDS.astype(dtype), logits))
        assert value == pytest.approx(expected, rel=1e-6)


@each_loss
def test_class_that_is_ignored_everywhere(name):
    ids, logits = np.full(16, 3), logits_of(name)
    loss = make(name, ignore_class=3)
    assert float(loss(ids, logits)) == 0
    if name not in WITHOUT_GRADIENT:
        slope = ref.gradient(lambda z: loss(ids, z), logits)
        np.testing.assert_array_equal(slope, np.zeros_like(logits))


# --- in compiled code, which cannot raise

X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")
JIT = [False] if ref.BACKEND == "torch" else [False, True]
GCE = losses.GeneralizedCrossEntropy


def trained(outputs, loss, labels, **compile_args):
    """Return losses of the epochs, and kernels before and after."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(outputs)])
    before = model.get_weights()[0]
    model.compile(keras.optimizers.Adam(0.1), loss, **compile_args)
    history = model.fit(X, labels, batch_size=4, shuffle=False, verbose=0).history
    return history["loss"][0], before, model.get_weights()[0]


NOTHING_KNOWN = {
    "many outputs": (
        3,
        losses.MultiLabel(GCE(), from_logits=True),
        np.full((8, 3), -1),
    ),
    "ignored class": (4, GCE(ignore_class=2, from_logits=True), np.full(8, 2)),
    "one output": (1, GCE(ignore_class=255, from_logits=True), np.full(8, 255)),
}


@pytest.mark.parametrize("kind", NOTHING_KNOWN)
@pytest.mark.parametrize("jit_compile", JIT)
def test_fit_where_nothing_is_known(kind, jit_compile):
    outputs, loss, labels = NOTHING_KNOWN[kind]
    value, before, after = trained(outputs, loss, labels, jit_compile=jit_compile)
    assert value == 0
    np.testing.assert_array_equal(after, before)
    # A batch of which nothing is known, and then one of labels.
    labels = labels.copy()
    labels[4:] = 1
    value, before, after = trained(outputs, loss, labels, jit_compile=jit_compile)
    assert np.isfinite(value) and value > 0
    assert np.isfinite(after).all() and (after != before).any()


BAD_IN_FIT = {
    "one output": (1, GCE(from_logits=True), Y[:8] + 1),
    "many outputs": (
        3, losses.MultiLabel(GCE(), from_logits=True), np.full((8, 3), 2)
    ),
    "multi-hot rows": (5, GCE(from_logits=True), TWO_ONES[:8].astype("float32")),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_IN_FIT)
@pytest.mark.parametrize("jit_compile", JIT)
def test_fit_on_bad_labels(kind, jit_compile):
    """The loss is NaN and the weights stay finite; eager steps see labels and raise."""
    outputs, loss, labels = BAD_IN_FIT[kind]
    if ref.BACKEND != "tensorflow" and not jit_compile:
        with pytest.raises(ValueError, match="`y_true` must"):
            trained(outputs, loss, labels, jit_compile=jit_compile)
        return
    value, _, after = trained(outputs, loss, labels, jit_compile=jit_compile)
    assert np.isnan(value)
    assert np.isfinite(after).all()
