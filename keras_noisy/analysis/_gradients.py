"""Gradients in the inputs of a function, on the backend that Keras uses."""

import keras


def compiled_gradient(function):
    """Return a function of `x` that gives `function(x)` and its summed gradient.

    Args:
        function: Maps a tensor `x` to a tuple `(values, outputs)`; `values` are
            summed and differentiated.

    Returns:
        A function that maps `x` to `(outputs, d sum(values) / dx)`, compiled on
        TensorFlow and JAX.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        return _tensorflow(function)
    if backend == "jax":
        return _jax(function)
    return _torch(function)


def _tensorflow(function):
    import tensorflow as tf

    # Without autograph errors come through as they were raised.
    @tf.function(reduce_retracing=True, autograph=False)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            values, outputs = function(x)
            total = tf.reduce_sum(values)
        return outputs, tape.gradient(total, x)

    return gradient


def _jax(function):
    import jax

    def total(x):
        values, outputs = function(x)
        return values.sum(), outputs

    def gradient(x):
        (_, outputs), slope = jax.value_and_grad(total, has_aux=True)(x)
        return outputs, slope

    return jax.jit(gradient)


def _torch(function):
    import torch

    def gradient(x):
        x = x.detach().requires_grad_(True)
        with torch.enable_grad():
            values, outputs = function(x)
            (slope,) = torch.autograd.grad(values.sum(), x)
        return outputs.detach(), slope

    return gradient
