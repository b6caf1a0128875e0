"""New models, one after the other, are traced without TensorFlow's warning."""

import logging

from keras_noisy import _keras


def test_only_that_warning_is_left_out(caplog):
    logger = logging.getLogger("tensorflow")
    caplog.set_level(logging.WARNING, logger="tensorflow")
    retracing = "5 out of the last 13 calls to f triggered tf.function retracing."
    logger.propagate, before = True, logger.propagate
    try:
        with _keras.fresh_models():
            logger.warning(retracing)
            logger.warning("another")
        logger.warning(retracing)
    finally:
        logger.propagate = before
    assert caplog.messages == ["another", retracing]
