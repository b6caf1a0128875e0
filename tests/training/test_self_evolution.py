"""SEAL's rounds: against rounds by hand, reports, storage, and every kind of crash."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest

from keras_noisy import callbacks, losses
from keras_noisy._data import arrays, mean_predictions
from keras_noisy.training import SelfEvolution, _checkpoint, _random, _run
from keras_noisy.training._soft_labels import sharpened
from tests.helpers import softmax

ROOT = pathlib.Path(__file__).resolve().parents[2]
N, FEATURES, CLASSES, BATCH, EPOCHS, ROUNDS = 45, 6, 4, 8, 3, 2

rng = np.random.default_rng(0)
X = rng.normal(size=(N, FEATURES)).astype("float32")
CLEAN = (X @ rng.normal(size=(FEATURES, CLASSES))).argmax(axis=1)
Y = np.where(rng.random(N) < 0.3, rng.integers(0, CLASSES, N), CLEAN)


def build_model(loss=None, dropout=0.3, learning_rate=0.3, units=8):
    """Return a small network; tracing it would take longer than training it."""
    model = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            keras.layers.Dense(units, "relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(CLASSES),
        ]
    )
    model.compile(
        keras.optimizers.SGD(learning_rate, momentum=0.9),
        loss or keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def evolve(storage=None, build=build_model, fit=None, x=X, y=Y, **kwargs):
    settings = {"rounds": ROUNDS, "seed": 3, "from_logits": True, "storage": storage}
    evolution = SelfEvolution(build, **{**settings, **kwargs})
    fit = {"epochs": EPOCHS, "batch_size": BATCH, "verbose": 0, **(fit or {})}
    return evolution.fit(x, y, **fit)


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """Leave out what only a power failure needs: it is most of the time here."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


BOTH = pytest.mark.parametrize("collect", ["pass", "on_the_fly"])


# --- what a round does


@pytest.mark.every_backend
def test_rounds_by_hand():
    """The targets of each round are the mean predictions of the one before."""
    seen, models, predictions = [], [], []

    def build():
        model = build_model(dropout=0.0)
        models.append(model)
        predictions.append([])
        return model

    class Note(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            z = self.model.predict(X, verbose=0).astype("float64")
            predictions[-1].append(softmax(z))

    evolution = evolve(
        build=build, rounds=3, fit={"callbacks": lambda r: [Note(), seen.append(r)][:1]}
    )
    assert seen == [0, 1, 2]
    means = [np.mean(p, axis=0) for p in predictions]
    np.testing.assert_allclose(evolution.soft_labels, means[2], atol=1e-6)
    # Train the third round again, by hand, on the mean of the second.
    batches = arrays.Batches(
        X, means[1].astype("float32"), batch_size=BATCH, seed=[3, 2]
    )
    keras.utils.set_random_seed(_random.derive_seed(3, 2))
    model = build_model(dropout=0.0)
    for epoch in range(EPOCHS):
        batches.set_epoch(epoch)
        for k in range(len(batches)):
            model.train_on_batch(*batches[k])
    for actual, expected in zip(
        evolution.model.get_weights(), model.get_weights(), strict=True
    ):
        np.testing.assert_allclose(actual, expected, atol=1e-5)
    assert evolution.model is models[2]
    assert len({id(m) for m in models}) == 3


@BOTH
def test_results(collect):
    fit = {"clean_labels": CLEAN}
    evolution = evolve(collect=collect, fit=fit)
    assert evolution.soft_labels.shape == (N, CLASSES)
    np.testing.assert_allclose(evolution.soft_labels.sum(axis=1), 1, atol=1e-6)
    assert [sorted(h) for h in evolution.histories] == [["accuracy", "loss"]] * ROUNDS
    assert {len(v) for h in evolution.histories for v in h.values()} == {EPOCHS}
    report, classes = evolution.reports[-1], evolution.soft_labels.argmax(axis=1)
    assert report["changed_from_given"] == (classes != Y).sum()
    assert report["label_accuracy"] == pytest.approx((classes == CLEAN).mean())
    wrong = Y != CLEAN
    truth = evolution.soft_labels[wrong, CLEAN[wrong]]
    assert report["label_distance"] == pytest.approx(1 - truth.mean(), abs=1e-6)


def test_changed_labels_are_counted_from_the_round_before(tmp_path):
    evolution = evolve(tmp_path, rounds=3)
    soft = [np.load(tmp_path / f"soft_labels-{r}.npy").argmax(axis=1) for r in range(3)]
    before = [Y, soft[0], soft[1]]
    assert [r["changed_labels"] for r in evolution.reports] == [
        (a != b).sum() for a, b in zip(soft, before, strict=True)
    ]
    assert [r["changed_from_given"] for r in evolution.reports] == [
        (a != Y).sum() for a in soft
    ]


def test_same_seed_same_result():
    first, second, other = evolve(), evolve(), evolve(seed=4)
    assert "label_accuracy" not in first.reports[0]
    np.testing.assert_array_equal(first.soft_labels, second.soft_labels)
    assert np.abs(first.soft_labels - other.soft_labels).max() > 0.01


def test_given_distributions_are_as_good_as_ids():
    one_hot = np.eye(CLASSES)[Y]
    expected = evolve(rounds=1).soft_labels
    for y in (one_hot, Y[:, None]):
        np.testing.assert_array_equal(evolve(y=y, rounds=1).soft_labels, expected)


def test_several_inputs():
    def build():
        inputs = {"a": keras.Input((2,), name="a"), "b": keras.Input((4,), name="b")}
        x = keras.layers.Concatenate()([inputs["a"], inputs["b"]])
        model = keras.Model(inputs, keras.layers.Dense(CLASSES, "softmax")(x))
        model.compile("sgd", "categorical_crossentropy")
        return model

    for collect in ("pass", "on_the_fly"):
        x = {"a": X[:, :2], "b": X[:, 2:]}
        evolution = evolve(build=build, x=x, collect=collect, from_logits=None)
        assert evolution.soft_labels.shape == (N, CLASSES)


def test_first_round_with_another_loss():
    built = []

    def first():
        built.append("first")
        return build_model(losses.ProSelfLC(exp_base=8.0, from_logits=True))

    def later():
        built.append("later")
        return build_model()

    def clock(round_index):
        return [callbacks.GlobalTrust()] if round_index == 0 else []

    evolution = evolve(
        build=later, first_build_model=first, rounds=3, fit={"callbacks": clock}
    )
    assert built == ["first", "later", "later"]
    assert "global_trust" in evolution.histories[0]
    assert "global_trust" not in evolution.histories[1]


@pytest.mark.parametrize("on_disk", [False, True])
def test_warm_start(tmp_path, on_disk):
    starts, ends, bests = [], [], []

    class Note(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            starts.append(self.model.get_weights())
            self.values = []

        def on_epoch_end(self, epoch, logs=None):
            self.values.append((logs["val_loss"], epoch, self.model.get_weights()))

        def on_train_end(self, logs=None):
            ends.append(self.model.get_weights())
            bests.append(min(self.values, key=lambda v: v[:2])[2])

    def run(**kwargs):
        for notes in (starts, ends, bests):
            notes.clear()
        validation = (X[:20], np.eye(CLASSES)[CLEAN[:20]])
        storage = tmp_path / kwargs["warm_start"] if on_disk else None
        fit = {"callbacks": [Note()], "validation_data": validation}
        evolve(storage, fit=fit, rounds=3, **kwargs)

    def assert_same(first, second):
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)

    run(warm_start="last")
    assert_same(starts[1], ends[0])
    assert_same(starts[2], ends[1])
    run(warm_start="best", monitor="val_loss")
    assert_same(starts[1], bests[0])
    assert_same(starts[2], bests[1])


def test_temperature():
    build = lambda: build_model(dropout=0.0)  # noqa: E731
    plain, sharp = evolve(build=build), evolve(build=build, temperature=0.5)
    np.testing.assert_array_equal(
        plain.histories[0]["loss"], sharp.histories[0]["loss"]
    )
    assert plain.histories[1]["loss"] != sharp.histories[1]["loss"]
    p = np.array([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], "float32")
    squares = p**2 / (p**2).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(sharpened(p, 0.5), squares, atol=1e-6)
    np.testing.assert_allclose(p, [[0.5, 0.25, 0.25], [1, 0, 0]])


def test_sample_weights_reach_the_fit():
    weights = np.zeros(N, "float32")
    evolution = evolve(rounds=1, fit={"sample_weight": weights})
    assert evolution.histories[0]["loss"] == [0.0] * EPOCHS


def test_progress_is_shown(capsys):
    evolve(fit={"verbose": 2, "clean_labels": CLEAN})
    text = capsys.readouterr().out
    assert "Round 1/2" in text and "Round 2/2" in text and "Epoch 3/3" in text
    assert f"of {N} labels changed; 0." in text
    evolve(rounds=1)
    assert capsys.readouterr().out == ""


@pytest.mark.tensorflow_only
@BOTH
def test_two_replicas(strategy, collect):
    def build():
        with strategy.scope():
            return build_model(dropout=0.0)

    # 48 examples: replicas share every batch evenly.
    x, y = np.concatenate([X, X[:3]]), np.concatenate([Y, Y[:3]])
    expected = evolve(build=lambda: build_model(dropout=0.0), x=x, y=y, collect=collect)
    evolution = evolve(build=build, x=x, y=y, collect=collect)
    np.testing.assert_allclose(
        evolution.soft_labels, expected.soft_labels, rtol=0, atol=1e-4
    )


# --- storage


@BOTH
def test_storage_holds_the_same(tmp_path, collect):
    memory, files = evolve(collect=collect), evolve(tmp_path, collect=collect)
    np.testing.assert_array_equal(memory.soft_labels, files.soft_labels)
    assert memory.histories == files.histories
    assert memory.reports == files.reports
    assert isinstance(files.soft_labels, np.memmap)
    assert all_files(tmp_path) == [
        f"checkpoint-{ROUNDS - 1}-{EPOCHS}.npz", "run.json", "soft_labels-0.npy",
        "soft_labels-1.npy",
    ]  # fmt: skip


def test_finished_run_is_loaded(tmp_path):
    first = evolve(tmp_path)
    again = evolve(tmp_path, build=lambda: build_model())
    np.testing.assert_array_equal(again.soft_labels, first.soft_labels)
    assert (again.histories, again.reports) == (first.histories, first.reports)
    for a, b in zip(again.model.get_weights(), first.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("warm_start", [False, "last", "best"])
def test_more_rounds_continue_a_finished_run(tmp_path, warm_start):
    fit = {"validation_data": (X, np.eye(CLASSES)[CLEAN])}
    arguments = {"warm_start": warm_start, "fit": fit}
    evolve(tmp_path / "a", rounds=1, **arguments)
    continued = evolve(tmp_path / "a", rounds=3, **arguments)
    whole = evolve(tmp_path / "b", rounds=3, **arguments)
    np.testing.assert_array_equal(continued.soft_labels, whole.soft_labels)
    assert continued.histories == whole.histories
    with pytest.raises(ValueError, match=r"`rounds` must be at least 3"):
        evolve(tmp_path / "a", rounds=2, **arguments)


def test_resume_false_begins_again(tmp_path):
    first = evolve(tmp_path)
    again = evolve(tmp_path, seed=5, fit={"resume": False})
    assert np.abs(first.soft_labels - again.soft_labels).max() > 0.01
    np.testing.assert_array_equal(again.soft_labels, evolve(seed=5).soft_labels)


@pytest.fixture(scope="module")
def one_round(tmp_path_factory):
    """The folder of a run that has done its first round."""
    folder = tmp_path_factory.mktemp("run")
    keras.utils.set_random_seed(0)
    evolve(folder, rounds=1)
    return folder


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"x": X + 1}, "x"),
        ({"y": CLEAN}, "y"),
        ({"seed": 4}, "seed"),
        ({"temperature": 0.5}, "temperature"),
        ({"collect": "on_the_fly"}, "collect"),
        ({"warm_start": "last"}, "warm_start"),
        ({"fit": {"epochs": 4}}, "epochs"),
        ({"fit": {"batch_size": 9}}, "batch_size"),
        ({"fit": {"shuffle": False}}, "shuffle"),
        ({"fit": {"sample_weight": np.ones(N)}}, "sample_weight"),
        ({"build": lambda: build_model(units=9)}, "model of `build_model`"),
        ({"build": lambda: build_model(dropout=0.4)}, "model of `build_model`"),
        ({"build": lambda: build_model(learning_rate=0.1)}, "model of `build_model`"),
        (
            {
                "build": lambda: build_model(
                    keras.losses.CategoricalCrossentropy(True, label_smoothing=0.1)
                )
            },
            "model of `build_model`",
        ),
    ],
)
def test_storage_of_another_run_is_refused(tmp_path, one_round, change, key):
    shutil.copytree(one_round, tmp_path, dirs_exist_ok=True)
    before = (tmp_path / "run.json").read_bytes()
    expected = rf"SelfEvolution: `storage` must be a folder of this run.*Its {key} is"
    with pytest.raises(ValueError, match=expected):
        evolve(tmp_path, **change)
    assert (tmp_path / "run.json").read_bytes() == before


def test_folder_with_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"`storage` must be empty or of a run"):
        evolve(tmp_path)
    with pytest.raises(ValueError, match=r"`storage` must be empty or of a run"):
        evolve(tmp_path, fit={"resume": False})
    assert os.listdir(tmp_path) == ["thesis.tex"]


OF_THE_USER = (
    "notes.tmp",
    "draft.tmp",
    f"notes.{'0a' * 16}.tmp",
    "round-mine/notes.txt",
    "round-1-copy/state.json",
    "round-00/state.json",
    "round-7/state.json",
    "round-0/notes.tmp",
    "checkpoint-mine.npz",
    "checkpoint-0-1.npz.bak",
    "best-model.keras",
    "best-0-mine.npz",
    "soft_labels-old.npy",
    "run.json.bak",
)


def put(folder, names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def all_files(folder):
    """Return the files of a folder but the locks, which stay there."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name != ".lock"]
    return sorted(str(p.relative_to(folder)) for p in paths)


def test_files_of_the_user_stay(tmp_path, one_round):
    shutil.copytree(one_round, tmp_path, dirs_exist_ok=True)
    put(tmp_path, OF_THE_USER)
    unfinished = [f"run.json.{'0a' * 16}.tmp", f"soft_labels-0.npy.{'0a' * 16}.tmp"]
    put(tmp_path, unfinished)
    evolve(tmp_path, rounds=2)
    own = [f"checkpoint-1-{EPOCHS}.npz", "run.json"]
    own += ["soft_labels-0.npy", "soft_labels-1.npy"]
    assert all_files(tmp_path) == sorted([*OF_THE_USER, *own])
    evolve(tmp_path, rounds=1, fit={"resume": False})
    own = [f"checkpoint-0-{EPOCHS}.npz", "run.json", "soft_labels-0.npy"]
    assert all_files(tmp_path) == sorted([*OF_THE_USER, *own])
    _run.delete(tmp_path)
    assert all_files(tmp_path) == sorted(OF_THE_USER)
    assert all((tmp_path / name).read_text() == name for name in OF_THE_USER)


@pytest.mark.parametrize("content", ["my settings", '{"rounds": 2}', "[]", "null"])
@pytest.mark.parametrize("resume", [True, False])
def test_another_run_file_is_refused_and_stays(tmp_path, content, resume):
    put(tmp_path, ["round-0/state.json", "checkpoint-0-1.npz"])
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"`storage` must be empty or of a run"):
        evolve(tmp_path, fit={"resume": resume})
    files = ["checkpoint-0-1.npz", "round-0/state.json", "run.json"]
    assert all_files(tmp_path) == files
    assert (tmp_path / "run.json").read_text() == content


def test_a_deletion_that_is_killed_is_never_continued_as_a_run(tmp_path, monkeypatch):
    """Averages of fewer epochs would be the consequence, without a word."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    whole = tmp_path / "whole"
    with pytest.raises(KeyboardInterrupt):
        evolve(whole, fit={"callbacks": [Stop()]})
    reference = evolve(tmp_path / "reference", rounds=1)
    count = len(all_files(whole))
    for moment in range(count):
        folder = tmp_path / f"killed-{moment}"
        shutil.copytree(whole, folder)
        left = [moment]
        remove = os.remove

        def killed(path, left=left, remove=remove):
            if not left[0]:
                raise KeyboardInterrupt
            left[0] -= 1
            remove(path)

        with monkeypatch.context() as context:
            context.setattr(os, "remove", killed)
            with pytest.raises(KeyboardInterrupt):
                _run.delete(folder)
        with pytest.raises(ValueError, match=r"pass resume=False to delete that run"):
            evolve(folder, rounds=1)
    # One is enough to see that the way out works.
    again = evolve(tmp_path / "killed-1", rounds=1, fit={"resume": False})
    np.testing.assert_array_equal(again.soft_labels, reference.soft_labels)


def test_models_that_share_a_loss_are_the_same_model():
    """Its configuration holds the time once it was trained; that is no setting."""
    loss = losses.ProSelfLC(from_logits=True)
    before = _checkpoint.describe(build_model(loss))
    fit = {"epochs": 1, "callbacks": lambda round_index: [callbacks.GlobalTrust()]}
    evolve(build=lambda: build_model(loss), rounds=1, fit=fit)
    assert loss.get_config()["saved_time"] == [6, 6]
    assert _checkpoint.describe(build_model(loss)) == before
    assert type(loss).from_config(loss.get_config()).get_config() == loss.get_config()


# --- crashes


@pytest.mark.parametrize(
    "arguments",
    [
        {"collect": "pass"},
        {"collect": "on_the_fly"},
        {"warm_start": "best", "monitor": "val_loss"},
    ],
    ids=["pass", "on the fly", "warm start"],
)
def test_every_moment_can_be_continued_from(tmp_path, monkeypatch, arguments):
    """A copy of the folder at each write is what SIGKILL there would leave."""
    folder, copies = tmp_path / "run", []

    def copy():
        copies.append(tmp_path / f"copy-{len(copies)}")
        shutil.copytree(folder, copies[-1])

    def watch(owner, name, before=False):
        function = getattr(owner, name)

        def watched(*args, **kwargs):
            if before:
                copy()
            result = function(*args, **kwargs)
            copy()
            return result

        monkeypatch.setattr(owner, name, watched)

    fit = {"validation_data": (X, np.eye(CLASSES)[CLEAN])}
    with monkeypatch.context():
        watch(os, "replace", before=True)
        watch(os, "remove")
        watch(os, "rmdir")
        watch(mean_predictions.RowsOfFile, "__setitem__")
        reference = evolve(folder, fit=fit, **arguments)
        monkeypatch.undo()
    assert len(copies) > 50
    # Folders with one state.json and run.json differ in leftovers only.
    rest = {}
    for path in copies:
        key = [file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()]
        rest.setdefault(str((len(key), hash(tuple(key)))), path)
    chosen = list(rest.values())
    for path in chosen[:: max(1, len(chosen) // 6)]:
        evolution = evolve(path, fit=fit, **arguments)
        np.testing.assert_array_equal(evolution.soft_labels, reference.soft_labels)
        assert evolution.histories == reference.histories
        assert evolution.reports == reference.reports
        for a, b in zip(
            evolution.model.get_weights(), reference.model.get_weights(), strict=True
        ):
            np.testing.assert_array_equal(a, b)
        assert not [n for n in path.rglob("*") if n.name.endswith(".tmp")]


class Interrupt(keras.callbacks.Callback):
    """Interrupts the run in its second round, after two of three epochs."""

    def __init__(self, round_index):
        super().__init__()
        self.round_index = round_index

    def on_epoch_begin(self, epoch, logs=None):
        if (self.round_index, epoch) == (1, 2):
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """The folder of a run that was interrupted in its second round."""
    folder = tmp_path_factory.mktemp("interrupted")
    with pytest.raises(KeyboardInterrupt):
        evolve(folder, fit={"callbacks": lambda r: [Interrupt(r)]})
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


RUN_FILES = [
    "run.json",
    "checkpoint-1-2.npz",
    "soft_labels-0.npy",
    "round-1/state.json",
    "round-1/means-1.f32",
    "round-1/counts-1.i64",
]


@pytest.mark.parametrize("name", RUN_FILES)
@pytest.mark.parametrize("how", [os.remove, empty, flip], ids=["gone", "empty", "bit"])
def test_a_damaged_file_of_a_run_is_named(tmp_path, interrupted, name, how):
    folder = tmp_path / "run"
    shutil.copytree(interrupted, folder)
    how(folder / name)
    file = pathlib.Path(name).name
    with pytest.raises(ValueError, match=rf"^SelfEvolution: `storage` must.*'{file}'"):
        evolve(folder)
    # One way to damage a file is enough to see that the run can begin again.
    if name != "run.json" and how is empty:
        again = evolve(folder, fit={"resume": False, "epochs": 1})
        assert len(again.histories) == ROUNDS


@pytest.mark.parametrize("name", [*RUN_FILES[1:3], "round-1"])
def test_what_another_run_wrote_is_refused(tmp_path, interrupted, name):
    """The same program, started another time: nothing but the run tells them apart."""
    folder, other = tmp_path / "run", tmp_path / "other"
    shutil.copytree(interrupted, folder)
    with pytest.raises(KeyboardInterrupt):
        evolve(other, seed=4, fit={"callbacks": lambda r: [Interrupt(r)]})
    if name == "round-1":
        shutil.rmtree(folder / name)
        shutil.copytree(other / name, folder / name)
    else:
        shutil.copy(other / name, folder / name)
    with pytest.raises(ValueError, match=rf"`storage` must be .*{name}"):
        evolve(folder)


def test_averages_that_are_gone_are_missed(tmp_path, interrupted):
    """The mean would cover the epochs that are left."""
    folder = tmp_path / "run"
    shutil.copytree(interrupted, folder)
    shutil.rmtree(folder / "round-1")
    text = r"Its 'round-1' holds averages of 0 epochs, and the run is at 2\..*resume"
    with pytest.raises(ValueError, match=text):
        evolve(folder)


def test_a_run_that_was_interrupted_continues_in_the_same_process(
    tmp_path, interrupted, monkeypatch
):
    shutil.copytree(interrupted, tmp_path / "run")
    monkeypatch.chdir(tmp_path)

    class Away(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            os.chdir("/")

    again = evolve("run", fit={"callbacks": [Away()]})
    np.testing.assert_array_equal(again.soft_labels, evolve().soft_labels)


def test_two_processes_in_one_folder(tmp_path):
    """One trains, and the other one says that it does."""
    program = f"""
import sys, time
import keras
from tests.training import test_self_evolution as t

class Slow(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("trains", flush=True)
        sys.stdin.read()

t.evolve({str(tmp_path)!r}, fit={{"callbacks": [Slow()]}})
"""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT),
        "KERAS_BACKEND": keras.backend.backend(), "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"trains\n"
    text = r"SelfEvolution: `storage` must be a folder that no other process uses\. Rec"
    with pytest.raises(ValueError, match=text):
        evolve(tmp_path)
    process.communicate()
    assert process.returncode == 0
    again, reference = evolve(tmp_path), evolve()
    np.testing.assert_array_equal(again.soft_labels, reference.soft_labels)


class Stop(keras.callbacks.Callback):
    """Ends a round early."""

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = epoch == 1


def test_stopped_round_stays_stopped(tmp_path):
    fit = {"callbacks": [Stop()]}
    reference = evolve(tmp_path / "a", fit=fit)
    assert [len(h["loss"]) for h in reference.histories] == [2, 2]

    def crash(*args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mean_predictions, "write_rows", crash)
        with pytest.raises(KeyboardInterrupt):
            evolve(tmp_path / "b", fit=fit)
    state = json.loads((tmp_path / "b" / "run.json").read_text())
    assert (state["epoch"], state["stopped"]) == (2, True)
    again = evolve(tmp_path / "b", fit=fit)
    np.testing.assert_array_equal(again.soft_labels, reference.soft_labels)
    # The model of a finished run is that of its last epoch.
    loaded = evolve(tmp_path / "b", fit=fit)
    np.testing.assert_array_equal(
        loaded.model.get_weights()[0], reference.model.get_weights()[0]
    )


KILLED = """
import os, signal, sys
import keras
from keras_noisy import training
from keras_noisy._data import mean_predictions
from tests.training import test_self_evolution as t

where, storage = sys.argv[1:]
calls = 0

def kill_at(number):
    global calls
    calls += 1
    if calls == number:
        os.kill(os.getpid(), signal.SIGKILL)

class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if where == "step":
            kill_at(9)  # In the middle of the second epoch, in the second round.

def write(self, rows, values, own=mean_predictions.RowsOfFile.__setitem__):
    own(self, slice(rows.start, rows.start + 1), values[:1])
    if where == "write":
        kill_at(2)
    own(self, rows, values)

mean_predictions.RowsOfFile.__setitem__ = write
own_rows = mean_predictions.write_rows

def write_rows(*args):
    own_rows(*args)
    if where == "round":
        kill_at(1)

mean_predictions.write_rows = write_rows
t.evolve(storage, fit={"callbacks": [Kill()]})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_sigkill(tmp_path):
    """The real thing, at three places one after the other in the same run."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT),
        "KERAS_BACKEND": keras.backend.backend(), "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    storage = tmp_path / "run"
    for where in ("round", "step", "write"):
        command = [sys.executable, "-c", KILLED, where, str(storage)]
        process = subprocess.run(command, env=environment, capture_output=True)
        assert process.returncode == -signal.SIGKILL, process.stderr.decode()[-2000:]
        state = json.loads((storage / "run.json").read_text())
        assert state["round"] < ROUNDS
    again, reference = evolve(storage), evolve()
    np.testing.assert_array_equal(again.soft_labels, reference.soft_labels)
    assert again.histories == reference.histories


# --- bad input


@pytest.mark.parametrize(
    ("argument", "values", "error"),
    [
        ("build_model", [None, 3, build_model()], TypeError),
        ("first_build_model", [3, "model"], TypeError),
        ("rounds", [0, -1], ValueError),
        ("rounds", [1.5, "3", True, None], ValueError),
        ("seed", [-1], ValueError),
        ("seed", [None, 0.5], TypeError),
        ("collect", ["never"], ValueError),
        ("collect", [None, 3], ValueError),
        ("warm_start", ["worst"], ValueError),
        ("warm_start", [True, None], ValueError),
        ("temperature", [0, -1, float("nan"), float("inf")], ValueError),
        ("temperature", ["1", None, True], TypeError),
    ],
)
def test_bad_arguments(argument, values, error):
    for value in values:
        arguments = {"build_model": build_model, argument: value}
        with pytest.raises(error, match=rf"^SelfEvolution: `{argument}` must be"):
            SelfEvolution(**arguments)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"y": Y[1:]}, ValueError, r"`y` must be class ids of shape \(45,\)"),
        ({"y": Y.astype("float32")}, TypeError, "`y` must be class ids of an integer"),
        ({"y": Y + 1}, ValueError, "`y` must be labels of the 4 classes"),
        ({"y": Y - 1}, ValueError, r"`y` must be .*-1 is no class"),
        ({"y": np.ones((N, 3)) / 3}, ValueError, "`y` must be labels of the 4"),
        ({"y": Y[:, None, None]}, ValueError, r"`y` must be class ids of shape"),
        ({"x": (X, X[1:])}, ValueError, "`x` must be arrays of one length"),
        ({"x": iter([X])}, TypeError, "`x` must be an array"),
        ({"fit": {"epochs": 0}}, ValueError, "`epochs` must be"),
        ({"fit": {"batch_size": 0}}, ValueError, "`batch_size` must be"),
        ({"fit": {"sample_weight": Y[1:]}}, ValueError, r"`len\(sample_weight\)` must"),
        (
            {"fit": {"clean_labels": Y[1:]}},
            ValueError,
            r"`clean_labels` must be class ids of shape",
        ),
        ({"fit": {"clean_labels": Y + 1}}, ValueError, "`clean_labels` must be labels"),
        ({"fit": {"initial_epoch": 1}}, TypeError, "`initial_epoch` cannot be passed"),
        ({"fit": {"steps_per_epoch": 1}}, TypeError, "`steps_per_epoch` cannot be"),
        ({"fit": {"validation_split": 0.1}}, TypeError, "`validation_split` cannot"),
        ({"fit": {"class_weight": {}}}, TypeError, "`class_weight` cannot be passed"),
        ({"warm_start": "best"}, ValueError, "`monitor` must be one of the logs"),
        ({"build": lambda: None}, TypeError, "`build_model` must be a function that"),
        (
            {"build": lambda: build_model("sparse_categorical_crossentropy")},
            ValueError,
            "`build_model` must be a function whose model has a loss for distributions",
        ),
    ],
)
def test_bad_input(change, error, text):
    with pytest.raises(error, match=rf"^SelfEvolution: {text}"):
        evolve(**change)


def test_outputs_that_are_not_distributions_are_refused():
    with pytest.raises(ValueError, match=r"predictions at .* must be distributions"):
        evolve(from_logits=False)


def test_model_with_several_outputs_is_refused():
    def build():
        inputs = keras.Input((FEATURES,))
        heads = [keras.layers.Dense(CLASSES, "softmax")(inputs) for _ in range(2)]
        model = keras.Model(inputs, heads)
        model.compile("sgd", ["categorical_crossentropy"] * 2)
        return model

    with pytest.raises(
        ValueError, match=r"SelfEvolution: `model` must be a classifier"
    ):
        evolve(build=build)


# --- checkpoints


def test_checkpoint_holds_model_and_optimizer(tmp_path):
    model = build_model(dropout=0.0)
    model.fit(X, np.eye(CLASSES)[Y], epochs=2, verbose=0)
    with open(tmp_path / "c.npz", "wb") as file:
        _checkpoint.save(file, model)
    other = build_model(dropout=0.0)
    other.optimizer.build(other.trainable_variables)
    _checkpoint.restore(other, _checkpoint.load(tmp_path / "c.npz"))
    for network in (model, other):
        network.fit(X, np.eye(CLASSES)[Y], epochs=1, shuffle=False, verbose=0)
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_description_tells_models_apart():
    base = _checkpoint.describe(build_model())
    assert _checkpoint.describe(build_model()) == base
    for change in ({"units": 9}, {"dropout": 0.4}, {"learning_rate": 0.1}):
        assert _checkpoint.describe(build_model(**change)) != base
