"""Sample ids: which examples a training step sees."""

import keras

from keras_noisy._checks.errors import message


def check_ids(owner, ids):
    """Raise unless there are ids, of an integer dtype, one for each example."""
    if ids is None:
        raise ValueError(
            f"{owner}: the data of `fit` must carry sample ids, as inputs "
            '{"x": x, "sample_id": ids}. Received data without them. Pass what '
            f"`pipeline(model, ...)` of the {owner} returns to `fit`; "
            "`callbacks.with_sample_ids` numbers a tf.data.Dataset."
        )
    dtype = keras.backend.standardize_dtype(ids.dtype)
    if "int" not in dtype:
        raise TypeError(
            message(
                owner, "sample_id", "of an integer dtype", dtype, "Cast it to int64."
            )
        )
    if not len(ids.shape):
        mend = (
            "Batch a data set of single examples; number one of batches by "
            "`with_sample_ids(dataset, batched=True)`."
        )
        raise ValueError(message(owner, "sample_id.shape", "(batch,)", (), mend))
