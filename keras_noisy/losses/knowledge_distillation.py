"""Knowledge distillation."""

from __future__ import annotations

from keras import ops

from keras_noisy._checks.numbers import Interval
from keras_noisy._typing import Tensor, TensorLike
from keras_noisy.losses import _formula, _loss, _prediction, _tensors


@_loss.arguments(
    epsilon=_loss.WEIGHT,
    # Beyond these bounds float32 cannot hold the loss.
    temperature=Interval(1e-6, 1e6, mend="Try 2.0."),
)
def knowledge_distillation(
    y_true: TensorLike,
    y_pred: TensorLike,
    *,
    teacher_pred: TensorLike,
    epsilon: float,
    temperature: float = 1.0,
    from_logits: bool = False,
) -> Tensor:
    """Cross-entropy to labels mixed with the prediction of a teacher.

    With `s` the temperature and `p^s` the softmax of the logits divided by `s`:

        loss = (1 - epsilon) H(q, p) + epsilon s^2 H(p_teacher^s, p^s)

    which at `s = 1` is cross-entropy to `(1 - epsilon) q + epsilon p_teacher`.
    The teacher is a constant.

    Args:
        y_true: Class ids `(...)` or `(..., 1)` of any integer dtype, or
            distributions `(..., num_classes)`.
        y_pred: Probabilities, or logits with `from_logits=True`, of shape
            `(..., num_classes)`.
        teacher_pred: The teacher's prediction, of the shape and the kind
            (probabilities or logits) of `y_pred`.
        epsilon: Weight of the teacher, in [0, 1].
        temperature: `s`, in [1e-6, 1e6]. The factor `s^2` keeps the size of the
            teacher's gradient.
        from_logits: Whether `y_pred` and `teacher_pred` hold logits.

    Returns:
        One loss per example, shape `y_pred.shape[:-1]`.

    Raises:
        ValueError: If `epsilon` is outside [0, 1], `temperature` outside [1e-6, 1e6],
            shapes do not fit, `y_true` holds ids out of range or rows that are no
            distributions (inside compiled code: NaN for that example), or `y_pred`
            holds negative probabilities.

    Example:
        >>> from keras_noisy import losses
        >>> loss = losses.knowledge_distillation(
        ...     [1], [[0.25, 0.75]], teacher_pred=[[0.5, 0.5]], epsilon=0.2
        ... )
        >>> round(float(loss[0]), 4)
        0.3975

    Reference:
        Hinton et al., "Distilling the Knowledge in a Neural Network", 2015; as in
        Eq. 6 and Proposition 2 of Wang et al., "ProSelfLC", CVPR 2021.
    """
    owner = "knowledge_distillation"
    y_pred = _tensors.as_tensor(y_pred, owner)
    teacher_pred = _tensors.as_tensor(teacher_pred, owner, "teacher_pred")
    _prediction.check_shape(owner, y_pred)
    _tensors.check_shape_is(owner, "teacher_pred", teacher_pred, tuple(y_pred.shape))
    logits = _prediction.to_logits(owner, teacher_pred, from_logits, "teacher_pred")
    teacher = _prediction.Prediction(logits / temperature).probabilities

    def formula(q, p):
        student = _prediction.Prediction(p.shifted / temperature)
        teacher_loss = student.cross_entropy(ops.stop_gradient(teacher))
        label_loss = p.cross_entropy(q)
        return (1 - epsilon) * label_loss + epsilon * temperature**2 * teacher_loss

    return _formula.per_example(owner, y_true, y_pred, from_logits, formula)
