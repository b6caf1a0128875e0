"""Instance-dependent label noise from one training run."""

from __future__ import annotations

from typing import Any, Literal, overload

from keras_noisy import noise
from keras_noisy._checks.errors import check_bool
from keras_noisy._checks.labels import check_labels
from keras_noisy._checks.numbers import Interval
from keras_noisy._data import arrays
from keras_noisy._typing import (
    ArrayLike,
    BuildModel,
    Collect,
    Data,
    FilePath,
    FloatArray,
)
from keras_noisy.noise import NoisyLabels
from keras_noisy.training.self_evolution import SelfEvolution


@overload
def generate_instance_dependent_noise(
    build_model: BuildModel,
    x: Data,
    labels: ArrayLike,
    *,
    rate: float,
    epochs: int,
    batch_size: int = ...,
    storage: FilePath | None = ...,
    collect: Collect = ...,
    seed: int = ...,
    from_logits: bool | None = ...,
    recompute_statistics: bool = ...,
    return_mean_predictions: Literal[False] = ...,
    **fit_arguments: Any,
) -> NoisyLabels: ...


@overload
def generate_instance_dependent_noise(
    build_model: BuildModel,
    x: Data,
    labels: ArrayLike,
    *,
    rate: float,
    epochs: int,
    batch_size: int = ...,
    storage: FilePath | None = ...,
    collect: Collect = ...,
    seed: int = ...,
    from_logits: bool | None = ...,
    recompute_statistics: bool = ...,
    return_mean_predictions: Literal[True],
    **fit_arguments: Any,
) -> tuple[NoisyLabels, FloatArray]: ...


def generate_instance_dependent_noise(
    build_model: BuildModel,
    x: Data,
    labels: ArrayLike,
    *,
    rate: float,
    epochs: int,
    batch_size: int = 32,
    storage: FilePath | None = None,
    collect: Collect = "pass",
    seed: int = 0,
    from_logits: bool | None = None,
    recompute_statistics: bool = False,
    return_mean_predictions: bool = False,
    **fit_arguments: Any,
) -> NoisyLabels | tuple[NoisyLabels, FloatArray]:
    """Train on clean labels, and mislabel what the network finds hard.

    Trains a network of `build_model` with its own loss (the paper: cross-entropy) for
    `epochs` epochs, averages its predictions on the training examples over them, and
    applies `noise.instance_dependent` to the average. The average serves every other
    rate: keep it with `return_mean_predictions=True`, or find it as
    `soft_labels-0.npy` in `storage`.

    Args:
        build_model: Function that returns a compiled model, as for `SelfEvolution`.
        x: Inputs of `n` examples.
        labels: Labels believed to be right, class ids `(n,)`.
        rate: Share of labels to flip, in [0, 1].
        epochs: Epochs of the training.
        batch_size: Batch size of the training.
        storage: Folder of the run; with it, a run that was killed continues.
        collect: `"pass"` or `"on_the_fly"`, as for `SelfEvolution`.
        seed: Integer that initial weights and the order of examples follow from.
        from_logits: Whether outputs are logits. By default the model's loss says so.
        recompute_statistics: As for `SelfEvolution`.
        return_mean_predictions: Whether to return the average as well.
        **fit_arguments: Passed to `SelfEvolution.fit`.

    Returns:
        `NoisyLabels`; with `return_mean_predictions` a pair of it and of the average
        predictions, float32 `(n, num_classes)`.

    Raises:
        ValueError: If an argument has a wrong value, if the data does not fit, or if
            `storage` holds another run, is damaged, or is in use by another process.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> from keras_noisy import training
        >>> x, labels = np.eye(4), np.array([0, 0, 1, 1])
        >>> def build_model():
        ...     model = keras.Sequential([keras.layers.Dense(2, activation="softmax")])
        ...     model.compile("sgd", "categorical_crossentropy")
        ...     return model
        >>> result = training.generate_instance_dependent_noise(
        ...     build_model, x, labels, rate=0.25, epochs=2, verbose=0
        ... )
        >>> result.rate
        0.25

    Reference:
        Algorithm 1 of Chen et al., "Beyond Class-Conditional Assumption: A Primary
        Attempt to Combat Instance-Dependent Label Noise", AAAI 2021.
    """
    owner = "generate_instance_dependent_noise"
    rate = Interval(0, 1)(owner, "rate", rate)
    size = arrays.length(owner, "x", x) if arrays.is_arrays(x) else None
    labels = check_labels(owner, "labels", labels, size=size)
    check_bool(owner, "return_mean_predictions", return_mean_predictions)
    evolution = SelfEvolution(
        build_model,
        rounds=1,
        storage=storage,
        collect=collect,
        seed=seed,
        from_logits=from_logits,
        recompute_statistics=recompute_statistics,
    )
    evolution.fit(x, labels, epochs=epochs, batch_size=batch_size, **fit_arguments)
    result = noise.instance_dependent(evolution.soft_labels, labels, rate)
    if return_mean_predictions:
        return result, evolution.soft_labels
    return result
