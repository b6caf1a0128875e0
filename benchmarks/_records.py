"""One line of JSON per finished run."""

import contextlib
import hashlib
import json
import os

try:
    import fcntl
except ImportError:  # Windows: no two processes on the same runs there.
    fcntl = None


def digest(settings):
    """Return 16 hexadecimal digits that identify what a run depends on."""
    text = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def append(path, *records):
    """Add records to the file, each as a whole line or not at all.

    It is one write to the end of the file, which other processes may write to as
    well. After a line that a killed process cut off, it begins a new one.
    """
    lines = "".join(json.dumps(record, sort_keys=True) + "\n" for record in records)
    with open(path, "ab") as file, _locked(file):
        if _is_cut_off(path):
            lines = "\n" + lines
        os.write(file.fileno(), lines.encode())
        os.fsync(file.fileno())


def _is_cut_off(path):
    with open(path, "rb") as file:
        if not file.seek(0, os.SEEK_END):
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def read(path):
    """Return the records of a file, without a line that was cut off."""
    records = []
    if not os.path.exists(path):
        return records
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                records.append(json.loads(line))
            except json.JSONDecodeError:
                print(f"{path}: left out line {number}, which was cut off")
    return records


@contextlib.contextmanager
def _locked(file):
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
    yield  # Closing the file unlocks it.
