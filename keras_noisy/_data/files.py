"""Files that are either whole or not there, whenever the process is killed."""

import contextlib
import errno
import hashlib
import json
import os
import re
import uuid

# What stands between the name of a file and `.tmp` while it is written.
_UNFINISHED = r"\.[0-9a-f]{32}\.tmp"
_PIECE = 1 << 20


@contextlib.contextmanager
def atomic_path(path, suffix=""):
    """Yield a path to write to; the file appears under `path` when the block succeeds.

    A killed process leaves at most a file that `remove_leftovers` deletes.

    Args:
        path: Where the file will be.
        suffix: How the path to write to must end.

    Raises:
        FileNotFoundError: If the folder is missing.
    """
    path = os.fspath(path)
    folder = os.path.dirname(path)
    if not os.path.isdir(folder or "."):
        # Opening the file would name a path that nobody has given.
        raise FileNotFoundError(errno.ENOENT, "There is no such folder", folder)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp{suffix}"
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        remove(temporary)
        raise
    sync_folder(folder)


@contextlib.contextmanager
def atomic_writer(path):
    """Open a binary file that appears under `path` when the block has succeeded."""
    with atomic_path(path) as temporary, open(temporary, "xb") as file:
        yield file
        sync(file)


def sync(file):
    """Make what was written to an open file durable."""
    file.flush()
    os.fsync(file.fileno())


def claim_room(file, size):
    """Take the room of `size` bytes for an open file: a full disk shows here.

    Not in the middle of long work, that is; where the system lets one.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, max(size, 1))


def sync_folder(folder):
    """Make renames in `folder` durable, where the system lets one."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path, content):
    """Write `content` to `path`, atomically."""
    with atomic_writer(path) as file:
        file.write(json.dumps(content, indent=1, sort_keys=True).encode())


def new_digest():
    """Return the beginning of a digest, to `update`."""
    return hashlib.blake2b(digest_size=16)


def digest(path):
    """Return 32 hexadecimal digits that identify what a file holds."""
    state = new_digest()
    with open(path, "rb") as file:
        while piece := file.read(_PIECE):
            state.update(piece)
    return state.hexdigest()


def remove(path):
    """Delete a file, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)


def remove_leftovers(folder, names, suffix=""):
    """Delete the unfinished files of a killed process, and nothing else.

    Args:
        folder: Where they are.
        names: Regular expression for the whole names of the finished files.
        suffix: As of `atomic_path`.
    """
    remove_matching(folder, f"({names}){_UNFINISHED}{re.escape(suffix)}")


def remove_run(folder, names, suffix=""):
    """Delete the files of a run, whole or not, and the folder if that empties it.

    Arguments are those of `remove_leftovers`.
    """
    # Another process of the same run may be faster.
    with contextlib.suppress(FileNotFoundError):
        remove_leftovers(folder, names, suffix)
        remove_matching(folder, names)
    # Files of others keep it, and so does a link to it.
    with contextlib.suppress(OSError):
        os.rmdir(folder)


def remove_matching(folder, pattern):
    """Delete the files whose whole names match a regular expression."""
    for name in os.listdir(folder):
        if re.fullmatch(pattern, name):
            remove(os.path.join(folder, name))
