"""What every loss class shares: a function, and fields to call it with.

A loss class says which function it calls and which fields it has, a default each:

    class GeneralizedCrossEntropy(_loss.NoisyLabelLoss):
        function = staticmethod(generalized_cross_entropy)
        q: float = 0.7

Constructor and configuration follow from the fields. What a field may be is said where
the function is, by `arguments`, and holds for both.
"""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar

import keras
import numpy as np
from keras import ops

from keras_noisy import _keras
from keras_noisy._checks import errors
from keras_noisy._checks.numbers import Check, Interval
from keras_noisy._typing import DType, Self, Tensor, TensorLike
from keras_noisy.losses import _formula, _labels, _prediction
from keras_noisy.losses._tensors import HALF_PRECISION, as_tensor

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import dataclass_transform
    else:
        from typing_extensions import dataclass_transform

    @dataclass_transform(kw_only_default=True)
    class KerasLoss:
        """What is used of `keras.losses.Loss`, which has no types of its own.

        Below a class without types mypy would take any argument.
        """

        def __init__(
            self, name: str | None, reduction: str | None, dtype: DType
        ) -> None: ...

        def __call__(
            self, y_true: Any, y_pred: Any, sample_weight: Any = None
        ) -> Tensor: ...

        def get_config(self) -> dict[str, Any]: ...

else:
    KerasLoss = keras.losses.Loss

P = ParamSpec("P")
R = TypeVar("R")

# Arguments that every loss class has besides its own.
SHARED = ("from_logits", "ignore_class", "reduction", "name", "dtype")


def arguments(**checks: Check) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that checks the keyword arguments of a loss.

    Args:
        **checks: A check for each argument, by its name.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for name in kwargs.keys() & checks.keys():
                kwargs[name] = checks[name](function.__name__, name, kwargs[name])
            return function(*args, **kwargs)

        checked.checks = checks  # type: ignore[attr-defined]
        return checked

    return decorate


def unless_tensor(check: Check) -> Check:
    """Return a check that lets tensors through, which compiled code cannot look at."""
    return lambda owner, argument, value: (
        value if ops.is_tensor(value) else check(owner, argument, value)
    )


WEIGHT = Interval(0, 1)


class NoisyLabelLoss(KerasLoss):
    """Base of the loss classes: a pure function and the fields to call it with.

    A subclass sets `function`, and declares each of its own arguments as a field, with
    a default or without. Or it sets `hyperparameters`, and stores each of them as an
    attribute of that name in a constructor of its own.

    Attributes:
        function: The pure function, called with the hyperparameters.
        hyperparameters: Names of the arguments that are the method's own.
        checks: What fields may be that are no arguments of `function`, by name.
        presets: The values of the method's authors, by data set; its card says which.
        renamed_presets: The new name of each preset that had another one; the old name
            warns.
        companion: Full name of the callback that the loss works with in `fit`, None
            where it needs none.
        is_multi_label: Whether each output is that of a label of its own.

    Args:
        from_logits: Whether `y_pred` holds logits instead of probabilities.
        ignore_class: The id of a class whose labels do not count, such as 255 for
            pixels that nobody has labelled; it need not be one of the classes. As in
            `keras.losses.SparseCategoricalCrossentropy`: their loss is zero, and means
            are over the others alone. Labels must be class ids then.
        reduction: As in `keras.losses.Loss`.
        name: Name of the loss; by default that of the function.
        dtype: As in `keras.losses.Loss`. With float16 or bfloat16 the loss is
            nevertheless computed, and reduced, in float32: class ids and sums
            over a batch do not fit into half precision.
    """

    function: ClassVar[Callable[..., Tensor]]
    hyperparameters: ClassVar[tuple[str, ...]] = ()
    checks: ClassVar[Mapping[str, Check]] = MappingProxyType({})
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = MappingProxyType({})
    renamed_presets: ClassVar[Mapping[str, str]] = MappingProxyType({})
    companion: ClassVar[str | None] = None
    is_multi_label: ClassVar[bool] = False

    if TYPE_CHECKING:
        # For type checkers alone: as attributes these would hide Keras's own.
        from_logits: bool = False
        ignore_class: int | None = None
        reduction: str | None = "sum_over_batch_size"
        name: str | None = None
        dtype: DType = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Take note of the fields of a class."""
        super().__init_subclass__(**kwargs)
        if "hyperparameters" not in vars(cls):
            fields = [
                name
                for name, kind in inspect.get_annotations(cls).items()
                if not name.startswith("_") and not str(kind).startswith("ClassVar")
            ]
            cls.hyperparameters = tuple(dict.fromkeys([*cls.hyperparameters, *fields]))
        if "__init__" not in vars(cls):
            cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]

    def __init__(
        self,
        *,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: DType = None,
        **fields: Any,
    ) -> None:
        owner = type(self).__name__
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        is_half = policy.compute_dtype in HALF_PRECISION
        super().__init__(
            name=name or type(self).function.__name__,
            reduction=reduction,
            dtype="float32" if is_half else policy,
        )
        self.from_logits = errors.check_bool(owner, "from_logits", from_logits)
        self.ignore_class = _check_ignored(owner, ignore_class)
        self._requested_dtype = dtype
        checks = {**getattr(type(self).function, "checks", {}), **type(self).checks}
        for field, value in _bound(type(self), fields).items():
            if field in checks:
                value = checks[field](owner, field, value)
            setattr(self, field, value)

    @classmethod
    def from_preset(cls, preset: str, **kwargs: Any) -> Self:
        """Return the loss with the values that its paper gives for a data set.

        Args:
            preset: A key of the class's `presets`; one of `renamed_presets` works
                too, with a warning.
            **kwargs: Other arguments; they go before the preset's.

        Raises:
            ValueError: If there is no such preset.
        """
        if preset in cls.renamed_presets:
            new = cls.renamed_presets[preset]
            warnings.warn(
                f"{cls.__name__}: the preset {preset!r} is now called {new!r}, and the "
                "old name will be an error in version 0.3. Write "
                f"{cls.__name__}.from_preset({new!r}).",
                DeprecationWarning,
                stacklevel=2,
            )
            preset = new
        if preset not in cls.presets:
            names = ", ".join(repr(name) for name in sorted(cls.presets))
            raise ValueError(
                errors.message(
                    cls.__name__,
                    "preset",
                    f"one of {names}" if names else "left away: there are none",
                    preset,
                )
            )
        return cls(**{**cls.presets[preset], **kwargs})

    def __call__(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        sample_weight: TensorLike | None = None,
    ) -> Tensor:
        """Return the reduced loss, as `keras.losses.Loss` does."""
        # Keras casts too. It would drop the softmax's logits, and under mixed
        # precision a saturated output would then look like a clipped one.
        y_pred = _keras.cast_with_logits(as_tensor(y_pred), self.dtype)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: TensorLike, y_pred: TensorLike) -> Tensor:
        """Return one loss per example."""
        y_true, is_kept = self._split_ignored(y_true, y_pred)
        loss = self.of_kept(y_true, y_pred, is_kept, from_logits=self.from_logits)
        return self._without_ignored(loss, is_kept)

    def of_kept(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        is_kept: Tensor | None,
        *,
        from_logits: bool,
    ) -> Tensor:
        """Return one loss per example, those of the others having no meaning.

        Args:
            y_true: Labels; of examples that do not count any.
            y_pred: Predictions.
            is_kept: Which examples count, booleans `(...)`, or None for all.
            from_logits: Whether `y_pred` holds logits.
        """
        return self.without_reduction(y_true, y_pred, from_logits=from_logits)

    def _split_ignored(self, y_true, y_pred):
        """Return labels that all count, and which of them do, or None for all."""
        if self.ignore_class is None:
            return y_true, None
        owner = type(self).__name__
        y_pred = as_tensor(y_pred, owner)
        shape = _prediction.distribution_shape(owner, y_pred)
        return _labels.without_class(owner, y_true, shape, self.ignore_class)

    def _without_ignored(self, loss, is_kept):
        if is_kept is None:
            return loss
        loss = ops.where(is_kept, loss, ops.zeros_like(loss))
        return _keras.with_mask(loss, is_kept)

    def without_reduction(
        self, y_true: TensorLike, y_pred: TensorLike, *, from_logits: bool
    ) -> Tensor:
        """Return one loss per example of predictions of either kind."""
        return type(self).function(
            y_true, y_pred, from_logits=from_logits, **self._own_config()
        )

    def _own_config(self):
        return {name: getattr(self, name) for name in self.hyperparameters}

    def get_config(self) -> dict[str, Any]:
        """Return the constructor arguments, in a form that JSON holds."""
        dtype = self._requested_dtype
        if isinstance(dtype, keras.DTypePolicy):
            dtype = keras.dtype_policies.serialize(dtype)
        elif dtype is not None and not isinstance(dtype, (str, dict)):
            # Such as `np.float32`, which JSON cannot hold.
            dtype = keras.backend.standardize_dtype(dtype)
        own = {name: _to_config(value) for name, value in self._own_config().items()}
        shared = {
            "from_logits": self.from_logits,
            "ignore_class": self.ignore_class,
            "dtype": dtype,
        }
        return {**super().get_config(), **shared, **own}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the loss that `get_config` describes."""
        own = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in cls.hyperparameters
            if isinstance(config.get(name), dict)
        }
        return cls(**{**config, **own})


def _check_ignored(owner, ignore_class):
    """Return `ignore_class` as an int or None, or raise."""
    number = errors.as_integer(ignore_class)
    if ignore_class is not None and (number is None or not -(2**31) <= number < 2**31):
        expected = "None, or an integer of 32 bits, the id of a class"
        raise ValueError(errors.message(owner, "ignore_class", expected, ignore_class))
    return number


def _signature(cls):
    """Return the signature of a constructor: own fields, then the shared ones."""
    empty = inspect.Parameter.empty
    kinds = {
        name: kind
        for base in reversed(cls.__mro__)
        for name, kind in inspect.get_annotations(base).items()
    }
    own = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(cls, name, empty),
            annotation=kinds.get(name, empty),
        )
        for name in cls.hyperparameters
    ]
    base = inspect.signature(NoisyLabelLoss.__init__).parameters
    return inspect.Signature([*own, *(base[name] for name in SHARED)])


def _bound(cls, fields):
    """Return a value for each field of a class, or raise on another set of names."""
    if "__init__" in vars(cls) and not fields:
        # It stores its arguments itself.
        return {}
    try:
        bound = _signature(cls).bind(**fields)
    except TypeError as error:
        known = ", ".join(cls.hyperparameters) or "none"
        shared = ", ".join(SHARED)
        raise TypeError(
            f"{cls.__name__}: {error}. Its own arguments are: {known}; {shared} are "
            "those of every loss."
        ) from None
    bound.apply_defaults()
    return {name: bound.arguments[name] for name in cls.hyperparameters}


def _to_config(value):
    if isinstance(value, np.ndarray):
        return value.tolist()
    return keras.saving.serialize_keras_object(value) if callable(value) else value


def when_differentiated(loss, tell):
    """Return `loss`, which calls `tell()` when a gradient is taken through it.

    Keras traces a loss before any callback exists, and evaluates it without one; only
    training takes its gradient, on every backend.
    """

    @ops.custom_gradient
    def watched(loss):
        def gradient(*args, upstream=None):
            tell()
            return args[0] if upstream is None else upstream

        # A copy: torch wants an output that is not the input itself.
        return loss * 1.0, gradient

    return watched(loss)


class EpsilonLoss(NoisyLabelLoss):
    """Base of the losses whose one field is a weight in [0, 1].

    Args:
        epsilon: The weight; each loss says of what.
    """

    epsilon: float


class LossInBatch(NoisyLabelLoss):
    """Base of the losses of examples that depend on the others of their batch."""

    def of_kept(
        self,
        y_true: TensorLike,
        y_pred: TensorLike,
        is_kept: Tensor | None,
        *,
        from_logits: bool,
    ) -> Tensor:
        """Return one loss per example, the others being no part of the batch."""
        return _formula.per_example(
            type(self).__name__, y_true, y_pred, from_logits, self._formula(is_kept)
        )

    def _formula(self, is_kept: Tensor | None) -> Callable[..., Tensor]:
        """Return the loss as a function of labels and `Prediction`.

        Args:
            is_kept: Which examples count, booleans `(...)`, or None for all.
        """
        raise NotImplementedError


class ScheduledLoss(NoisyLabelLoss):
    """Base of the losses whose field `alpha` a callback moves.

    Attributes:
        alpha: Its value as long as no callback does.
    """

    alpha: float = 1.0
    _find_alpha: Any = None

    def without_reduction(
        self, y_true: TensorLike, y_pred: TensorLike, *, from_logits: bool
    ) -> Tensor:
        """Return one loss per example of predictions of either kind."""
        alpha = self._find_alpha and self._find_alpha()
        return type(self).function(
            y_true,
            y_pred,
            alpha=self.alpha if alpha is None else alpha.value,
            from_logits=from_logits,
        )

    def follow(self, find_alpha: Callable[[], Any]) -> None:
        """Take `alpha` from the variable that `find_alpha()` returns, while it does."""
        self._find_alpha = find_alpha
