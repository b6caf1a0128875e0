"""A program with types that uses the package; mypy checks it, nobody runs it.

A line that must be refused says so by `type: ignore`: mypy complains about one that
is of no use.
"""

from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from keras_noisy import (
    RobustClassifier,
    advise,
    analysis,
    callbacks,
    find_wrong_labels,
    losses,
    noise,
    training,
)


def build_model() -> keras.Model:
    model = keras.Sequential([keras.layers.Dense(3)])
    model.compile("adam", loss=losses.ProSelfLC(from_logits=True))
    return model


def half(q: Any, p: Any) -> Any:
    return 0.5 * q + p.local_trust() * p.uniform() - 0.1 * p.argmax()


def in_time(q: Any, p: Any, progress: Any) -> Any:
    return (1 - progress) * q + progress * p


x: npt.NDArray[np.float32] = np.zeros((4, 2), "float32")
y: npt.NDArray[np.int64] = np.array([0, 1, 2, 0])

# Losses: their own arguments, and those that all of them have.
equal_loss = losses.EqualLoss(epsilon=0.4, from_logits=True, reduction=None)
relaxation: float = equal_loss.epsilon
preset: losses.GeneralizedCrossEntropy = losses.GeneralizedCrossEntropy.from_preset(
    "paper", from_logits=True
)
pair = losses.ActivePassive(
    active=losses.NormalizedCrossEntropy(),
    passive=losses.MeanAbsoluteError(),
    alpha=1.0,
    beta=1.0,
    dtype="float32",
)
own = losses.TargetModification(target=half, name="half")
timed = losses.TargetModification(target=in_time)
alone = losses.ProSelfLC(trust="local", from_logits=True)
losses.ProSelfLC(trust="fixed")  # type: ignore[arg-type]
targets = alone.modified_targets(y, x)
each = losses.equal_loss(y, x, epsilon=0.4)
each = losses.proselflc([0], [[0.5, 0.5]], global_trust=losses.global_trust(0.3))
losses.EqualLoss(epsilon="0.4")  # type: ignore[arg-type]
losses.EqualLoss()  # type: ignore[call-arg]
losses.EqualLoss(0.4)  # type: ignore  # By place or by type, as mypy comes to it.
losses.EqualLoss(epsilon=0.4, from_logit=True)  # type: ignore[call-arg]
losses.EqualLoss(epsilon=0.4, from_logits="yes")  # type: ignore[arg-type]
losses.equal_loss(y, x, 0.4)  # type: ignore[call-arg]
losses.TargetModification(target=lambda q: q)  # type: ignore[arg-type, misc]
losses.ActivePassive(active="nce", passive=pair, alpha=1, beta=1)  # type: ignore[arg-type]

# Noise.
matrix = noise.asymmetric(3, {0: 1}, 0.4)
result = noise.corrupt_labels(y, matrix, seed=0)
rate: float = result.rate
text: str = result.digest
changed: npt.NDArray[np.bool_] = result.is_corrupted
again = noise.NoisyLabels.load("labels.npz")
layer = noise.LabelNoise(noise.symmetric(3, 0.4), seed=0)
noise.within_groups([0, 0, 1, 1], 0.4, kind="triples")  # type: ignore[arg-type]
noise.symmetric("3", 0.4)  # type: ignore[arg-type]
noise.corrupt_labels(y, matrix, seed="0")  # type: ignore[arg-type]

# Callbacks and training.
clock = callbacks.GlobalTrust(total_iterations=100)
seal = callbacks.SEAL(x, storage="folder")
epochs: int = seal.epochs_seen
dynamics = callbacks.LearningDynamics(x, result.noisy, result.clean, every=2)
callbacks.GlobalTrust(total_iterations="100")  # type: ignore[arg-type]
schedule = callbacks.DimensionalitySchedule(x, warmup_epochs=5)
turning_epoch: int | None = schedule.turning_epoch
wave = callbacks.LabelWave(x, window=3)
stopping = callbacks.SmoothedEarlyStopping("val_loss", mode="min")
callbacks.SmoothedEarlyStopping(mode="up")  # type: ignore[arg-type]
callbacks.SEAL(x, batch_size=0.5)  # type: ignore[arg-type]
evolution = training.SelfEvolution(build_model, rounds=2, warm_start="best")
evolution = evolution.fit(x, y, epochs=3, callbacks=lambda round: [clock])
shape: tuple[int, ...] = evolution.soft_labels.shape
accuracy: list[float] = evolution.histories[0]["accuracy"]
training.SelfEvolution(build_model, collect="everything")  # type: ignore[arg-type]
training.SelfEvolution(build_model())  # Keras ships no types: a model may be called.
training.SelfEvolution(build_model, rounds="3")  # type: ignore[arg-type]
pair = training.CoTeaching(build_model(), build_model(), forget_rate=0.4)
pair.set_epoch(3)
taught = training.Distillation(build_model(), build_model(), epsilon=0.3)
taught = training.self_distillation(build_model, x, y, epochs=2)
training.Distillation(build_model())  # type: ignore[call-arg]
adapted = training.NoiseAdaptation(build_model(), transition_matrix=matrix)
learnt: tuple[int, ...] = adapted.transition_matrix.shape
masked = training.Masking(build_model(), structure=matrix > 0, transition_matrix=matrix)
learnt = masked.transition_matrix.shape
training.Masking(build_model(), transition_matrix=matrix)  # type: ignore[call-arg]
divided = training.DivideMix(build_model(), build_model(), warmup_epochs=3, seed=1)
divided = training.DivideMix.from_preset("clothing1m", build_model(), build_model())
training.DivideMix(build_model(), warmup_epochs=3)  # type: ignore[call-arg]
selected = training.SSR(build_model(), warmup_epochs=3, num_neighbors=50).selected
training.SSR(build_model(), num_neighbors="many")  # type: ignore[arg-type]
dynamic = training.DynamicBootstrapping(build_model(), bootstrap="soft", seed=1)
dynamic.set_epoch(2)
training.DynamicBootstrapping(build_model(), mixup="off")  # type: ignore[arg-type]
joint = callbacks.JointOptimizationLabels(100, warmup_epochs=7, kind="hard")
soft: tuple[int, ...] = joint.soft_labels.shape
callbacks.JointOptimizationLabels(100, kind="both")  # type: ignore[arg-type]
training.CoTeaching(build_model(), build_model(), forget_rate="0.4")  # type: ignore[arg-type]
labels = training.generate_instance_dependent_noise(
    build_model, x, y, rate=0.4, epochs=1
)
rate = labels.rate
labels, mean_predictions = training.generate_instance_dependent_noise(
    build_model, x, y, rate=0.4, epochs=1, return_mean_predictions=True
)

# Analysis.
suspects = analysis.find_suspects(y, evolution.soft_labels)
suspects.top(10).to_csv("suspects.csv")
number: int = len(suspects)
votes = analysis.neighbor_votes(x, y, num_neighbors=3, metric="euclidean")
hidden = analysis.features(keras.Sequential(), x, layer="hidden")
analysis.find_suspects(y, features=[x, hidden], groups=["a", "b"])
how_many = analysis.noise_rate(y, features=x)
estimate: float | None = how_many.estimate
analysis.propose_checks(y, features=x, count=20).tolist()
noise.estimate_from_neighbors(y, x).round(2)
recall: float = suspects.precision_and_recall(changed)["recall"]
error: float = analysis.calibration(x, y).error
wrong = analysis.beta_mixture([0.1, 0.2, 3.0]).wrong_label_probability(x)
wrong_share: float = float(wrong.mean())
confidence, proposed = analysis.correction_candidates(x, y)
test = analysis.class_conditional_test(
    matrix, [1, 0, 0], error=0.1, num_validation=9, num_verified=[5, 0, 0]
)
verdict: bool = test.rejects(0.01)
diagnosis = find_wrong_labels(x, ["ant", "bee"], epochs=3, verbose=0)
verdict_text: str = diagnosis.verdict
rate_or_none: float | None = diagnosis.noise_rate.estimate
count: int = diagnosis.suspects.named(class_names=["ant", "bee"]).top(3).__len__()
kept: npt.NDArray[np.bool_] = diagnosis.keep_mask()
find_wrong_labels(x, epochs="3")  # type: ignore[arg-type]
classifier = RobustClassifier(epochs=3, budget=2).fit(x, ["ant", "bee"], groups=[0, 1])
names_of_classes: npt.NDArray[Any] = classifier.predict(x)
accuracy_of_all: float = classifier.score(x, ["ant", "bee"])
advised: list[str] = advise(diagnosis).candidates
RobustClassifier(epochs="3")  # type: ignore[arg-type]
RobustClassifier(rate=3)  # type: ignore[call-arg]
find_wrong_labels(x, label=y)  # type: ignore[call-arg]
curve = analysis.gradient_density(equal_loss, y, x)
analysis.plot_losses({"Equal Loss": equal_loss}).savefig("losses.png")
path: object = analysis.write_report("report.html", y, suspects=suspects)
analysis.write_report("report.html", y, suspects=suspects, texts=["a"], names=[1])
analysis.write_report("report.html", y, suspects=suspects, findings=3)  # type: ignore[arg-type]
analysis.plot_suspects(x, suspects, class_names=3)  # type: ignore[arg-type]
analysis.find_suspects(y, soft_label=x)  # type: ignore[call-arg]
