"""Steps of long work: a killed run continues after the last that was finished."""

import contextlib

import numpy as np

from keras_noisy import _keras
from keras_noisy._data import npz
from keras_noisy._data.run_folder import RunFolder

_FORM = "keras_noisy.find_wrong_labels/1"


class Steps:
    """Arrays that are computed once, in a folder where there is one.

    Args:
        owner: Name of the public function, for errors.
        storage: The folder, or None.
        identity: What the results depend on, ready for JSON; called where needed.
        form: What the files are: a name, a slash and a version.
    """

    def __init__(self, owner, storage, identity, form=_FORM):
        self._folder, self._done, self._identity = None, [], identity
        if storage is not None:
            self._folder = RunFolder(
                owner, storage, form, "run.json", r"[a-z_\d]+\.np[yz]"
            )

    @contextlib.contextmanager
    def opened(self):
        """Continue the run in the folder, or begin one, and keep others out of it."""
        if self._folder is None:
            with _keras.fresh_models():
                yield
            return
        try:
            state = self._folder.open(("done",), **self._identity())
            if state is None:
                self._folder.write(done=self._done)
            else:
                self._done = state["done"]
            with _keras.fresh_models():
                yield
        finally:
            self._folder.release()

    def folder(self, name):
        """Return a folder for what a step keeps while it lasts, or None."""
        return None if self._folder is None else self._folder.file(name)

    def get(self, name, make):
        """Return the array `name`, made by `make` where it is not there yet."""
        if self._folder is None:
            return make()
        if name not in self._done:
            self._keep(name, f"{name}.npy", lambda file: np.save(file, make()))
        with self._folder.reading(f"{name}.npy") as path:
            return np.load(path, mmap_mode="r")

    def get_all(self, name, make):
        """Return a dict of arrays, made by `make` where it is not there yet."""
        if self._folder is None:
            return make()
        if name not in self._done:
            self._keep(name, f"{name}.npz", lambda file: np.savez(file, **make()))
        with self._folder.reading(f"{name}.npz") as path, open(path, "rb") as file:
            archive = npz.Npz(file)
            return {key: archive[key] for key in archive.names}

    def _keep(self, name, file_name, write):
        with self._folder.writer(file_name) as file:
            write(file)
        self._done.append(name)
        self._folder.write(done=self._done)
