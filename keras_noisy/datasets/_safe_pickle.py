"""Published label files that are pickles, read without running what they say.

A pickle is a program: loading one from the internet can do anything. CIFAR-N's labels
are such files (`.npy` with an object array, `.pt` of `torch.save`). The unpickler here
knows plain containers, numbers and NumPy arrays, and refuses every other name before
anything is called. What it knows are functions of this file, not NumPy's, which rebuild
arrays from what a file says without much checking.
"""

import io
import math
import pickle
import pickletools
import re
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
    content = _load(file)
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
        if _load(file) != _TORCH_MAGIC:
            raise ValueError("it is not a file of torch.save")
        _load(file)  # The version of the format,
        _load(file)  # and byte order and sizes of the writing machine.
        return _load(file)
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
        return _load(io.BytesIO(archive.read(pickles[0])), archive, folder)


def _load(file, archive=None, folder=""):
    """Return what the pickle in a file holds, its arrays as NumPy's."""
    start = file.tell()
    _check_memo(file)
    file.seek(start)
    return _plain(_Unpickler(file, archive, folder).load())


def _check_memo(file):
    """Raise if a pickle is not whole, or would reserve memory that it does not fill.

    Python keeps a table up to the greatest number that a pickle puts something under,
    which four bytes of it can make as large as the machine's memory.
    """
    for opcode, argument, position in pickletools.genops(file):
        if opcode.name.startswith("EXT"):
            raise Refused(opcode.name)
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument > position:
            raise ValueError("it numbers more objects than it has")


def _plain(content):
    """Return `content` with arrays in place of what stands for them."""
    if isinstance(content, _Array):
        content = content.value
    if isinstance(content, dict):
        return {_plain(key): _plain(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_plain(value) for value in content]
    if isinstance(content, np.ndarray) and content.dtype.hasobject:
        values = np.empty(content.size, object)
        values[:] = [_plain(value) for value in content.reshape(-1)]
        return values.reshape(content.shape)
    return content


class _DType:
    """Stands for a dtype while a file is read."""

    def __init__(self, code, *_):
        if not re.fullmatch(r"[iufSU]\d+|b1|O8?", code):
            raise Refused(f"numpy.dtype({code!r})")
        self.value = np.dtype(code)

    def __setstate__(self, state):
        self.value = self.value.newbyteorder(state[1])


class _Array:
    """Stands for an array while a file is read.

    Args:
        data: Bytes; of objects, a list.
        dtype: A `_DType`.
        shape: Shape of the array.
        order: "C" or "F".
    """

    value = None

    def __init__(self, data=None, dtype=None, shape=None, order="C"):
        if dtype is not None:
            self.__setstate__((1, shape, dtype, order == "F", data))

    def __setstate__(self, state):
        _, shape, dtype, is_fortran, data = state
        if dtype.value.hasobject:
            array = np.empty(len(data), object)
            array[:] = data
        else:
            # Python 2 wrote bytes as text.
            data = data.encode("latin1") if isinstance(data, str) else data
            array = np.frombuffer(data, dtype.value) if data else np.zeros(0, int)
        self.value = array.reshape(shape, order="F" if is_fortran else "C")


def _scalar(dtype, data):
    """Return a NumPy scalar."""
    return np.frombuffer(data, dtype.value)[0]


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

_FUNCTIONS = {
    ("_codecs", "encode"): _encode,
    ("collections", "OrderedDict"): dict,
    ("numpy", "dtype"): _DType,
    ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy.core.numeric", "_frombuffer"): _Array,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
}


class _Callable:
    """A function that a pickle can call, and not change."""

    __slots__ = ("_function",)

    def __init__(self, function):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __setstate__(self, state):
        raise Refused("a change of what it may call")


class _Unpickler(pickle.Unpickler):
    """Loads plain containers, numbers, NumPy arrays and, from a zip file, tensors."""

    def __init__(self, file, archive=None, folder=""):
        # NumPy's pickles of Python 2 hold bytes in strings.
        super().__init__(file, encoding="latin1")
        self._archive, self._folder = archive, folder

    def find_class(self, module, name):
        """Return what a name that is known to be harmless stands for."""
        # NumPy 2 moved its functions.
        key = module.replace("numpy._core", "numpy.core"), name
        if key in _FUNCTIONS:
            return _Callable(_FUNCTIONS[key])
        if key == ("numpy", "ndarray"):
            return name
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise Refused(f"{module}.{name}")

    def persistent_load(self, key):
        """Return the storage of a tensor."""
        if self._archive is None:
            raise ValueError("it holds tensors in the format before torch 1.6")
        kind, dtype, name, _, count = key
        if kind != "storage" or dtype not in _STORAGES.values():
            raise Refused(f"persistent {kind!r}")
        content = self._archive.read(f"{self._folder}data/{name}")
        return np.frombuffer(content, dtype, count=count)
