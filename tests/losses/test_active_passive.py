"""Active-passive pairs: `alpha active + beta passive`."""

import math

import numpy as np
import pytest

from keras_noisy import losses

from . import reference as ref
from .test_mean_absolute_error import oracle as absolute
from .test_normalized_cross_entropy import oracle as normalized

PAIR = dict(active=losses.NormalizedCrossEntropy(), passive=losses.MeanAbsoluteError())


def test_values_by_hand():
    # 2 log .75 / (log .25 + log .75) + 3 * 2 * .25
    loss = losses.active_passive([1], [[0.25, 0.75]], **PAIR, alpha=2, beta=3)
    np.testing.assert_allclose(loss, [2 * 0.2876821 / 1.6739764 + 1.5], rtol=1e-6)


# The authors' formulas, whose mean absolute error is `1 - p_y` and whose reverse
# cross-entropy clips labels at 1e-4, at p_y = 0.75 of two classes.
NCE = math.log(0.75) / (math.log(0.25) + math.log(0.75))
NFL = 0.25**0.5 * math.log(0.75)
NFL /= NFL + 0.75**0.5 * math.log(0.25)
MAE, RCE = 0.25, -0.25 * math.log(1e-4)
PRESETS = {
    "nce+mae, cifar10": NCE + MAE,
    "nce+mae, cifar100": 10 * NCE + MAE,
    "nce+rce, mnist": NCE + 10 * RCE,
    "nce+rce, webvision": 50 * NCE + 0.1 * RCE,
    "nfl+mae, mnist": NFL + 10 * MAE,
    "nfl+rce, cifar100": 10 * NFL + 0.1 * RCE,
    "nce+agce, cifar10": NCE + 4 * (7**1.5 - 6.75**1.5) / 1.5,
    "nce+agce, cifar100": 10 * NCE + 0.1 * (2.8**3 - 2.55**3) / 3,
    "nce+agce, webvision": 50 * NCE + 0.1 * (3.5**3 - 3.25**3) / 3,
    "nce+aul, cifar10": NCE + 4 * (5.55**1.5 - 5.3**1.5) / 1.5,
    "nce+aul, cifar100": 10 * NCE + 0.015 * (5.25**3 - 5**3) / 3,
    "nce+ael, cifar10": NCE + 4 * math.exp(-0.75 / 5),
    "nce+ael, cifar100": 10 * NCE + 0.1 * math.exp(-0.75 / 1.5),
}


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_the_authors_losses(preset):
    loss = losses.ActivePassive.from_preset(preset)
    np.testing.assert_allclose(loss([1], [[0.25, 0.75]]), PRESETS[preset], rtol=1e-5)


@pytest.mark.parametrize("dtype", ref.FLOATS)
@pytest.mark.parametrize("labels", ["hard", "soft"])
def test_oracle(labels, dtype):
    ref.check(
        lambda q, z: losses.active_passive(
            q, z, **PAIR, alpha=0.3, beta=2, from_logits=True
        ),
        lambda q, z: 0.3 * normalized(q, z) + 2 * absolute(q, z),
        labels,
        dtype,
    )


def test_arguments_of_the_two_losses_count_and_their_reduction_does_not():
    kwargs = dict(alpha=1.0, beta=1.0, from_logits=True)
    pair = dict(
        active=losses.NormalizedFocal(gamma=2.0, reduction="sum"),
        passive=losses.ReverseCrossEntropy(log_zero=-7.0, from_logits=True),
    )
    loss = losses.ActivePassive(**pair, **kwargs, reduction=None)
    focal = losses.normalized_focal(ref.IDS, ref.LOGITS, gamma=2, from_logits=True)
    reverse = losses.reverse_cross_entropy(
        ref.IDS, ref.LOGITS, log_zero=-7, from_logits=True
    )
    expected = ref.to_numpy(focal) + ref.to_numpy(reverse)
    ref.assert_close(loss(ref.IDS, ref.LOGITS), expected)


def test_losses_that_need_a_callback_are_refused():
    with pytest.raises(TypeError, match="needs no callback"):
        losses.ActivePassive(
            active=losses.ProSelfLC(), passive=PAIR["passive"], alpha=1.0, beta=1.0
        )
