"""Random numbers that follow from a seed and the epoch.

Keras saves no generators with a model. With these a training that is continued at the
begin of an epoch draws what it would have drawn without the break.
"""

import random

import keras
import numpy as np
from keras import ops

from keras_noisy._checks import errors


def check_seed(owner, seed):
    """Return `seed`, an integer of 32 bits or None, or raise."""
    return None if seed is None else errors.check_seed(owner, seed)


def own_seed(seed):
    """Return `seed`; for None one that follows from `keras.utils.set_random_seed`."""
    # Python's generator is the one that Keras draws its own seeds from.
    return random.randrange(2**31) if seed is None else seed


def derive_seed(*words):
    """Return a seed for Keras that belongs to these integers."""
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def begin_epoch(generator, seed, epoch):
    """Set a `keras.random.SeedGenerator` to where an epoch begins."""
    words = np.random.SeedSequence([seed, epoch]).generate_state(2)
    state = generator.state
    state.assign(ops.cast(words.astype("int64"), state.dtype))


def begin_epoch_of_layers(model, seed, epoch):
    """Set the random state of all layers to where an epoch begins.

    `variables` has the states of dropout and augmentation besides the weights.
    """
    weights = {id(weight) for weight in model.weights}
    states = [each for each in model.variables if id(each) not in weights]
    for number, state in enumerate(states):
        words = np.random.SeedSequence([seed, epoch, number]).generate_state(2)
        state.assign(ops.cast(words.astype("int64"), state.dtype))
    if keras.backend.backend() == "torch":
        # Its dropout draws from a global state.
        keras.utils.set_random_seed(derive_seed(seed, epoch))
