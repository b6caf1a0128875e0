"""The folder that a killed run continues from: one run's, one process's, and whole."""

import contextlib
import errno
import json
import os
import re
import weakref
import zipfile

import filelock

from keras_noisy._checks.errors import message
from keras_noisy._data import files

_LOCK = ".lock"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
# Which run of this process has a folder. One that was interrupted may live on in a
# traceback; the next takes its lock over, and it may write no more.
_holders: weakref.WeakValueDictionary = weakref.WeakValueDictionary()


class InUseError(ValueError):
    """Another process works in the folder."""


class RunFolder:
    """Files of a run, of which one says how far it is and what the others hold.

    This state is written after the others and holds their digests and its own, so
    that what is missing, damaged or another run's is an error that names the file.

    Args:
        owner: Public name, for errors.
        path: The folder.
        form: What the files are: a name, a slash and a version.
        state: Name of the state's file.
        names: Regular expression for the names of the others.
        argument: Name of the argument that `path` came as.
        begin_again: What a user does to give the run up.

    Attributes:
        path: The folder, whatever becomes of the working directory.
    """

    def __init__(
        self,
        owner,
        path,
        form,
        state,
        names,
        *,
        argument="storage",
        begin_again="delete this one",
    ):
        self.owner, self.argument, self.begin_again = owner, argument, begin_again
        self.path = os.path.abspath(path)
        self._form, self._state, self._names = form, state, names
        self._key = os.path.realpath(self.path)
        self._identity, self._digests = {"format": form}, {}
        # The digest of the state as this run left it.
        self._lock = self._known = None

    def file(self, name):
        """Return the path of a file."""
        return os.path.join(self.path, name)

    def error(self, expected, mend):
        """Return the error that the folder is not what it must be."""
        text = message(self.owner, self.argument, expected, self.path, mend)
        return ValueError(text)

    def damaged(self, name, what):
        """Return the error that a file is not what the run wrote."""
        mend = f"Its {name!r} {what}. Restore it from a copy, choose another folder, or"
        return self.error("a whole folder of this run", f"{mend} {self.begin_again}.")

    # --- one process

    def acquire(self):
        """Keep other processes out until `release`, or the end of this one.

        Raises:
            InUseError: If one is in.
        """
        holder = _holders.get(self._key)
        if holder is self:
            return
        if holder is not None:
            self._lock, holder._lock = holder._lock, None
        else:
            self._lock = self._new_lock()
        _holders[self._key] = self
        if self._known and (self.read() or {}).get("digest") != self._known:
            raise self.damaged(self._state, "was changed by another run")

    def _new_lock(self):
        try:
            os.makedirs(self.path, exist_ok=True)
            lock = filelock.FileLock(self.file(_LOCK), timeout=0, thread_local=False)
            lock.acquire()
        except filelock.Timeout:
            expected = "a folder that no other process uses"
            mend = "One does: let it end, or choose another folder."
            raise InUseError(str(self.error(expected, mend))) from None
        except OSError as error:
            if error.errno in _READ_ONLY and os.path.isdir(self.path):
                # A finished run can be read there.
                return None
            raise
        return lock

    def release(self):
        """Let other processes in."""
        if _holders.get(self._key) is self:
            del _holders[self._key]
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @contextlib.contextmanager
    def held(self):
        """Keep other processes out of a block, and longer only if they were before."""
        was_held = _holders.get(self._key) is self
        self.acquire()
        try:
            yield
        finally:
            if not was_held:
                self.release()

    # --- one run

    def open(self, keys, check=True, lock=True, **identity):
        """Return the state of the run in the folder; None where the run is a new one.

        Args:
            keys: What the state must have.
            check: Whether it must be whole and of this run.
            lock: Whether to keep other processes out from here on.
            **identity: What identifies the run, ready for JSON.
        """
        self._identity.update(identity)
        try:
            if lock:
                # Not even a lock comes into a folder that is somebody's.
                self.read()
                self.acquire()
                names = f"{re.escape(self._state)}|{self._names}"
                files.remove_leftovers(self.path, names)
            state = self.read()
            if state is not None and check:
                self._check(state, keys)
        except BaseException:
            self.release()
            raise
        return state

    def read(self):
        """Return the state, None in a new folder, or raise if it is no run's."""
        try:
            with open(self.file(self._state), "rb") as file:
                state = json.loads(file.read())
        except FileNotFoundError:
            return self._check_empty()
        except (ValueError, RecursionError):
            state = None
        found = str(_identity_of(state).get("format"))
        if found.split("/")[0] != self._form.split("/")[0]:
            what = "is damaged, or another program's"
            raise self._strange(f"Its {self._state!r} {what}")
        return state

    def _check_empty(self):
        names = os.listdir(self.path) if os.path.isdir(self.path) else []
        # Hidden ones and unfinished ones may be there.
        others = [n for n in names if not (n.startswith(".") or n.endswith(".tmp"))]
        if others:
            raise self._strange(f"It holds {min(others)!r} and no {self._state!r}")

    def _strange(self, what):
        expected = f"empty or of a run of {self.owner}"
        mend = f"{what}. Choose another folder, or delete this one."
        return self.error(expected, mend)

    def _check(self, state, keys):
        """Raise unless a state is this run's and whole; 0.1 wrote no digests."""
        for key, expected in self._identity.items():
            self.check_same(key, _identity_of(state).get(key), expected)
        self._known = state.get("digest")
        missing = [key for key in keys if key not in state]
        if missing or self._known not in (None, _digest_of_state(state)):
            raise self.damaged(self._state, "is damaged")
        self._digests = state.get("digests", {})

    def check_same(self, key, found, expected):
        """Raise unless something about the run in the folder is as expected."""
        if found != expected:
            mend = (
                f"Its {key} is {found!r}, and that of this run {expected!r}. Choose "
                f"another folder, or {self.begin_again}."
            )
            raise self.error("a folder of this run", mend)

    # --- whole files

    def write(self, **state):
        """Write how far the run is, and what its files hold."""
        if _holders.get(self._key) is not self:
            mend = "A later run took this folder."
            raise self.error("a folder of one run at a time", mend)
        state = {"identity": self._identity, "digests": self._digests, **state}
        state["digest"] = self._known = _digest_of_state(state)
        with self.explained():
            files.write_json(self.file(self._state), state)

    @contextlib.contextmanager
    def writer(self, name):
        """Open a file to write; it is there when the block has succeeded."""
        with self.explained(), files.atomic_writer(self.file(name)) as file:
            yield file
        self.note(name)

    def note(self, name, digest=None):
        """Take note of the digest of a finished file."""
        self._digests[name] = digest or files.digest(self.file(name))

    def remove(self, name):
        """Delete a file, if it is there."""
        self._digests.pop(name, None)
        files.remove(self.file(name))

    @contextlib.contextmanager
    def reading(self, name):
        """Yield the path of a file that is as the run wrote it, or raise.

        An error in the block says that it is damaged, which 0.1 had no digests to see.
        """
        path = self.file(name)
        if not os.path.exists(path):
            raise self.damaged(name, "is missing")
        if self._digests.get(name) not in (None, files.digest(path)):
            raise self.damaged(name, "is damaged, or another run's")
        try:
            yield path
        except (ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile) as error:
            raise self.damaged(name, f"is damaged ({error})") from error

    @contextlib.contextmanager
    def explained(self, size=None):
        """Say what a full disk means for the run, which needs `size` bytes."""
        try:
            yield
        except OSError as error:
            if error.errno not in _FULL:
                raise
            room = "free space" if size is None else f"{size / 1e9:.3g} GB free"
            mend = (
                f"({os.strerror(error.errno)}.) What was kept before is whole: make "
                "room, or copy the folder to a larger disk, and start the same "
                "command again."
            )
            text = str(self.error(f"on a disk with {room}", mend))
            raise OSError(error.errno, text) from error

    def clear(self):
        """Delete the run's files, but the state."""
        files.remove_leftovers(self.path, self._names)
        files.remove_matching(self.path, self._names)

    def delete(self):
        """Delete the run's files, damaged or not, and the folder if that empties it."""
        if not os.path.isdir(self.path):
            return
        self.acquire()
        self.clear()
        files.remove_leftovers(self.path, re.escape(self._state))
        for name in (_LOCK, self._state):
            files.remove(self.file(name))
        self.release()
        # Files of others keep it, and so does a link to it.
        with contextlib.suppress(OSError):
            os.rmdir(self.path)


def _identity_of(state):
    identity = state.get("identity") if isinstance(state, dict) else None
    return identity if isinstance(identity, dict) else {}


def _digest_of_state(state):
    rest = {key: value for key, value in state.items() if key != "digest"}
    digest = files.new_digest()
    digest.update(json.dumps(rest, sort_keys=True).encode())
    return digest.hexdigest()
