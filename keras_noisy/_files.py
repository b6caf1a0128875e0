"""Files that are either whole or not there, whenever the process is killed."""

import contextlib
import json
import os
import uuid


@contextlib.contextmanager
def atomic_writer(path):
    """Open a binary file that appears under `path` when the block has succeeded.

    A killed process leaves at most a file with the suffix `.tmp`, which
    `remove_leftovers` deletes.
    """
    path = os.fspath(path)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    try:
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)
        raise
    sync_folder(os.path.dirname(path))


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


def read_json(path):
    """Return what `write_json` wrote, or None where there is no such file."""
    try:
        with open(path, "rb") as file:
            return json.loads(file.read())
    except FileNotFoundError:
        return None


def remove_leftovers(folder):
    """Delete the unfinished files of a killed process."""
    for name in os.listdir(folder):
        if name.endswith(".tmp"):
            os.remove(os.path.join(folder, name))
