"""Zip files of arrays from elsewhere: sizes are checked before memory is taken.

`numpy.load` believes what a header claims, and `zipfile` unpacks whatever there is.
"""

import io
import math
import os
import zipfile

import numpy as np

# What any file may unpack to; a larger one up to a hundred times its size.
FREE_BYTES = 1 << 28
_USUAL_RATIO = 100
# Deflate cannot do better.
_GREATEST_RATIO = 1032
# NumPy reads no longer ones.
_MAX_HEADER = 10_000
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_header(head):
    """Return shape, dtype and end of the header that an `.npy` file begins with.

    Args:
        head: The first bytes of the file.

    Raises:
        ValueError: If it is none.
    """
    head = io.BytesIO(head[: _MAX_HEADER + 12])
    read = _HEADERS.get(np.lib.format.read_magic(head))
    if read is None:
        raise ValueError("it has a newer format than that of plain arrays")
    try:
        shape, _, dtype = read(head)
    # Python's parser raises them for expressions that are nested deeply.
    except (MemoryError, RecursionError) as error:
        raise ValueError("its header is not that of an array") from error
    return shape, dtype, head.tell()


def check_room(shape, dtype, room):
    """Raise unless an array fits in the `room` bytes that there are for it."""
    count = math.prod(shape)
    is_empty_type = count > 0 and dtype.itemsize == 0
    if min(shape, default=0) < 0 or is_empty_type or count * dtype.itemsize > room:
        raise ValueError(f"its header claims more than the {room} bytes of the array")


def open_zip(file):
    """Return the zip file in an open file, or raise if it unpacks to too much."""
    archive = zipfile.ZipFile(file)
    members = archive.infolist()
    # The others decompress without a limit.
    known = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    if any(member.compress_type not in known for member in members):
        raise ValueError("it is compressed in a way that NumPy and torch do not use")
    size = os.fstat(file.fileno()).st_size
    limit = min(max(FREE_BYTES, _USUAL_RATIO * size), _GREATEST_RATIO * size)
    total = sum(member.file_size for member in members)
    if total > limit:
        raise ValueError(
            f"its {size} bytes claim to unpack to {total}, more than the limit {limit}"
        )
    names = [_short(member.filename) for member in members]
    if len(set(names)) < len(names):
        raise ValueError("it holds two files of one name")
    return archive


def read_member(archive, name, size=None):
    """Return the bytes of a file in a zip file, or the first `size`."""
    # With a number: without one `zipfile` unpacks first and looks at the size then.
    size = archive.getinfo(name).file_size if size is None else size
    with archive.open(name) as member:
        return member.read(size)


class Npz:
    """The arrays of an `.npz` file, in the place of `numpy.load`.

    Args:
        file: The open file.

    Attributes:
        names: Their names.
    """

    def __init__(self, file):
        self._archive = open_zip(file)
        self._members = {_short(name): name for name in self._archive.namelist()}
        self.names = tuple(self._members)

    def header(self, name):
        """Return shape and dtype of an array, or None for what is not one."""
        member = self._members[name]
        head = read_member(self._archive, member, _MAX_HEADER + 12)
        if not head.startswith(np.lib.format.MAGIC_PREFIX):
            return None
        shape, dtype, start = read_header(head)
        if not dtype.hasobject:
            check_room(shape, dtype, self._archive.getinfo(member).file_size - start)
        return shape, dtype

    def __getitem__(self, name):
        """Return an array; pickles, and what is no array, are a `ValueError`."""
        if self.header(name) is None:
            raise ValueError(f"its {name!r} is not an array")
        with self._archive.open(self._members[name]) as member:
            return np.lib.format.read_array(member, allow_pickle=False)


def _short(name):
    return name.removesuffix(".npy")
