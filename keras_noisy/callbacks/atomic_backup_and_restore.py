"""A backup of a training that is whole whenever the process is killed."""

from __future__ import annotations

import os
from typing import Any, Literal

import h5py
import keras

from keras_noisy import _keras
from keras_noisy._checks import errors
from keras_noisy._data import files
from keras_noisy._typing import FilePath, Logs

_OWNER = "AtomicBackupAndRestore"
_LATEST, _PREVIOUS = "latest.weights.h5", "previous.weights.h5"
_FILES = r"(latest|previous)\.weights\.h5"
# What Keras asks of the name of such a file, finished or not.
_SUFFIX = ".weights.h5"
_EPOCH = "keras_noisy_epoch"


class AtomicBackupAndRestore(keras.callbacks.Callback):
    """`keras.callbacks.BackupAndRestore` whose backup can be read after any kill.

    Keras's callback writes its file in place, and the number of the epoch into a second
    file: a process that is killed meanwhile leaves a file that cannot be read, or new
    weights with an old epoch. This one writes a new file beside the old one, the epoch
    in it, and renames it when it is on the disk.

    After a restart, `fit` continues with the epoch after the last backup; with a
    `save_freq` in batches it repeats the epoch of the last backup with the weights from
    there, as Keras does. Put it last in the list of callbacks, so that the others have
    done their part of an epoch before it counts.

    Args:
        backup_dir: Folder of the backup on a file system of this machine, made if it is
            missing. Files of others in it stay.
        save_freq: `"epoch"`, or a number of batches.
        double_checkpoint: Whether to keep the backup before the latest too, for a disk
            that loses what was written.
        delete_checkpoint: Whether to delete the backup when `fit` has ended.

    Raises:
        TypeError: If `backup_dir` is no path.
        ValueError: If an argument is wrong; in `fit` if the model is not built, or if
            the folder holds a backup that another callback made.

    Example:
        >>> from keras_noisy import callbacks
        >>> backup = callbacks.AtomicBackupAndRestore("backup", save_freq=100)

    Note:
        Several processes of one training may share the folder: each writes a file of
        its own, and the last one to rename it wins. A backup is as large as
        `model.save_weights` with the optimizer; twice as much while it is written.
    """

    def __init__(
        self,
        backup_dir: FilePath,
        save_freq: int | Literal["epoch"] = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        self.backup_dir = _check_folder(backup_dir)
        self.save_freq = save_freq
        if not isinstance(save_freq, str) or save_freq != "epoch":
            self.save_freq = errors.check_count(
                _OWNER, "save_freq", save_freq, mend="Or pass 'epoch'."
            )
        self.double_checkpoint = errors.check_bool(
            _OWNER, "double_checkpoint", double_checkpoint
        )
        self.delete_checkpoint = errors.check_bool(
            _OWNER, "delete_checkpoint", delete_checkpoint
        )
        self._epoch = 0
        # Batches since the last backup, and the last one of this epoch.
        self._since, self._batch = 0, -1

    def _path(self, name):
        return os.path.join(self.backup_dir, name)

    def on_train_begin(self, logs: Logs = None) -> None:
        """Restore the backup, if there is one."""
        model: Any = self.model
        if not model.built:
            raise ValueError(
                f"{_OWNER}: the model must be built before `fit`. Received a model "
                "without variables. Call it on a batch of data first."
            )
        self._since = 0
        if not os.path.isdir(self.backup_dir):
            return
        files.remove_leftovers(self.backup_dir, _FILES, _SUFFIX)
        paths = [self._path(name) for name in (_LATEST, _PREVIOUS)]
        paths = [path for path in paths if os.path.exists(path)]
        for path in paths:
            try:
                return self._restore(model, path)
            except OSError:
                # The disk has lost a part of it.
                if path == paths[-1]:
                    raise

    def _restore(self, model, path):
        with h5py.File(path, "r") as file:
            epoch = file.attrs.get(_EPOCH)
        if epoch is None:
            mend = f"Another callback wrote its {os.path.basename(path)!r}."
            expected = "a folder without other backups"
            raise ValueError(
                errors.message(_OWNER, "backup_dir", expected, self.backup_dir, mend)
            )
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        model.load_weights(path)
        _keras.begin_at(model, int(epoch))

    def on_epoch_begin(self, epoch: int, logs: Logs = None) -> None:
        """Take note of the epoch."""
        self._epoch, self._batch = epoch, -1

    def on_train_batch_end(self, batch: int, logs: Logs = None) -> None:
        """Write a backup where `save_freq` is a number of batches."""
        # Several at once with `steps_per_execution`.
        self._since += batch - self._batch
        self._batch = batch
        if self.save_freq != "epoch" and self._since >= self.save_freq:
            self._since = 0
            self._save(self._epoch)

    def on_epoch_end(self, epoch: int, logs: Logs = None) -> None:
        """Write a backup, unless `save_freq` is a number of batches."""
        if self.save_freq == "epoch":
            self._save(epoch + 1)

    def _save(self, epoch):
        os.makedirs(self.backup_dir, exist_ok=True)
        latest = self._path(_LATEST)
        with files.atomic_path(latest, _SUFFIX) as path:
            self.model.save_weights(path)
            with h5py.File(path, "r+") as file:
                file.attrs[_EPOCH] = epoch
            with open(path, "rb+") as file:
                files.sync(file)
            if self.double_checkpoint and os.path.exists(latest):
                os.replace(latest, self._path(_PREVIOUS))

    def on_train_end(self, logs: Logs = None) -> None:
        """Delete the backup."""
        if self.delete_checkpoint:
            delete(self.backup_dir)


def delete(folder: FilePath) -> None:
    """Delete the backup in a folder, and the folder if that leaves it empty."""
    files.remove_run(folder, _FILES, _SUFFIX)


def _check_folder(path):
    """Return a path of this machine's file system as a string, or raise."""
    folder = errors.check_path(_OWNER, "backup_dir", path, "the path of a folder")
    if "://" in folder:
        expected = "the path of a folder on a file system of this machine"
        mend = "Renaming is what makes it whole, and remote stores have none."
        raise ValueError(errors.message(_OWNER, "backup_dir", expected, path, mend))
    return folder
