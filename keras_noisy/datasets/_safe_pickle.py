"""Published label files that are pickles, read without running what they say.

A pickle is a program: loading one from the internet can do anything. CIFAR-N's labels
are such files (`.npy` with an object array, `.pt` of `torch.save`). The unpickler here
knows plain containers, numbers and NumPy arrays, and refuses every other name before
anything is called.
"""

import collections
import math
import pickle
import zipfile

import numpy as np

_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


class Refused(pickle.UnpicklingError):
    """A pickle names something that is not a plain array."""


def read_npy(file):
    """Return the array, or the object in the object array, of a `.npy` file.

    Args:
        file: A binary file, open at its beginning.

    Raises:
        Refused: If it names anything but plain arrays.
        Exception: Of half a dozen types, if the file is damaged.
    """
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        header = np.lib.format.read_array_header_1_0(file)
    else:
        header = np.lib.format.read_array_header_2_0(file)
    if not header[2].hasobject:
        file.seek(0)
        return np.load(file, allow_pickle=False)
    content = _Unpickler(file).load()
    is_scalar = isinstance(content, np.ndarray) and content.shape == ()
    return content.item() if is_scalar else content


def read_torch(file):
    """Return what `torch.save` wrote, with NumPy arrays in place of tensors.

    Both of torch's formats are read, without torch; tensors in the newer one only,
    which is that of torch 1.6 and later.

    Args:
        file: A binary file, open at its beginning.

    Raises:
        Refused: If it names anything but plain arrays and tensors.
        Exception: Of half a dozen types, if the file is damaged.
    """
    if not zipfile.is_zipfile(file):
        file.seek(0)
        if _Unpickler(file).load() != _TORCH_MAGIC:
            raise ValueError("it is not a file of torch.save")
        _Unpickler(file).load()  # The version of the format,
        _Unpickler(file).load()  # and byte order and sizes of the writing machine.
        return _Unpickler(file).load()
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError("it is not a file of torch.save")
        folder = pickles[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != (
            b"little"
        ):
            raise ValueError("it was written by a big-endian machine")
        with archive.open(pickles[0]) as content:
            return _Unpickler(content, archive, folder).load()


def _encode(text, encoding):
    """Return the bytes of `text`, as old pickles spell them."""
    if encoding != "latin1":
        raise Refused(f"_codecs.encode to {encoding!r}")
    return text.encode(encoding)


def _rebuild_tensor(storage, offset, size, stride, *_):
    """Return a tensor as an array; its hooks and its gradient flag are left out."""
    if math.prod(size) == 0:
        return np.zeros(size, storage.dtype)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    # Unchecked, a file could read memory that is not its own.
    if offset < 0 or min(stride, default=0) < 0 or last >= len(storage):
        raise ValueError("it holds a tensor that is larger than its storage")
    steps = [step * storage.itemsize for step in stride]
    view = np.lib.stride_tricks.as_strided(storage[offset:], size, steps)
    return view.copy()


_STORAGES = {
    "ByteStorage": "u1",
    "CharStorage": "i1",
    "ShortStorage": "<i2",
    "IntStorage": "<i4",
    "LongStorage": "<i8",
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
}

# NumPy moved the functions that rebuild arrays; asking an array for its own finds them
# in every version.
_RECONSTRUCT = np.zeros(1, np.int64).__reduce__()[0]
_SCALAR = np.int64(0).__reduce__()[0]
_FROM_BUFFER = np.zeros(1, np.int64).__reduce_ex__(5)[0]

_KNOWN = {
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("numpy", "dtype"): np.dtype,
    ("numpy", "ndarray"): np.ndarray,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _RECONSTRUCT),
            ("multiarray", "scalar", _SCALAR),
            ("numeric", "_frombuffer", _FROM_BUFFER),
        )
    },
    **{("torch", name): np.dtype(code) for name, code in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Loads plain containers, numbers, NumPy arrays and, from a zip file, tensors."""

    def __init__(self, file, archive=None, folder=""):
        # NumPy's pickles of Python 2 hold bytes in strings.
        super().__init__(file, encoding="latin1")
        self._archive, self._folder = archive, folder

    def find_class(self, module, name):
        """Return a name that is known to be harmless."""
        if (module, name) not in _KNOWN:
            raise Refused(f"{module}.{name}")
        return _KNOWN[module, name]

    def persistent_load(self, key):
        """Return the storage of a tensor."""
        if self._archive is None:
            raise ValueError("it holds tensors in the format before torch 1.6")
        kind, dtype, name, _, count = key
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise Refused(f"persistent {kind!r}")
        content = self._archive.read(f"{self._folder}data/{name}")
        return np.frombuffer(content, dtype, count=count)
