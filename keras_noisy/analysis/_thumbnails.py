"""Small pictures of examples, as the addresses that a page of one file can hold."""

import base64
import io
import os

import numpy as np

from keras_noisy._checks.errors import Described, message
from keras_noisy._data import pictures

# An example of another size has the range of pixels of these.
_SAMPLE = 64
# Up to this size a PNG is as small as a JPEG, and exact.
_EXACT_SIDE = 48


class Thumbnails:
    """Pictures of the examples of a sequence, each of which is read when it is shown.

    Args:
        owner: Name of the public function that was called.
        images: Pixels `(n, height, width)` or with channels, a sequence of such arrays
            of any sizes, or of `os.PathLike` objects of image files.
        size: How many there must be.
        first: Positions of those that will be shown first, whose pixels say which
            range the values have.
    """

    def __init__(self, owner, images, size, first):
        try:
            from PIL import Image
        except ImportError as error:
            raise ImportError(
                f"{owner}: `images` needs Pillow. Install it with `pip install pillow`."
            ) from error
        self._image = Image
        self._owner = owner
        is_sequence = hasattr(images, "__getitem__") and hasattr(images, "__len__")
        if isinstance(images, (str, bytes)) or not is_sequence or len(images) != size:
            shape = getattr(images, "shape", None)
            received = Described(f"{type(images).__name__} of {_length(images)}")
            received = received if shape is None else Described(f"shape {shape}")
            raise ValueError(message(owner, "images", self._expected(size), received))
        self._images = images
        self._size = size
        self._low, self._high = self._range(first[:_SAMPLE])

    def address(self, position, side):
        """Return a `data:` address of one picture, or None where a file is broken.

        Args:
            position: Position of the example.
            side: Length of the longer side at most, in pixels.
        """
        picture = self._picture(position, side)
        if picture is None:
            return None
        picture.thumbnail((side, side))
        exact = max(picture.size) <= _EXACT_SIDE
        buffer = io.BytesIO()
        if exact:
            picture.save(buffer, "PNG", optimize=True)
        else:
            picture.convert("RGB").save(buffer, "JPEG", quality=80)
        kind = "png" if exact else "jpeg"
        return (
            f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
        )

    def _picture(self, position, side):
        entry = self._images[position]
        if not isinstance(entry, os.PathLike):
            return self._image.fromarray(self._pixels(position))
        try:
            with self._image.open(entry) as file:
                file.draft("RGB", (side, side))  # JPEGs are then read in a fraction.
                file.thumbnail((2 * side, 2 * side))
                return pictures.as_rgb(file)
        except (OSError, SyntaxError, ValueError, self._image.DecompressionBombError):
            return None

    def _array(self, position):
        array = np.asarray(self._images[position])
        if array.ndim == 3 and array.shape[-1] == 1:
            array = array[..., 0]
        is_flat = array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (3, 4))
        if not is_flat or not array.size or array.dtype.kind not in "buif":
            received = Described(f"one of shape {array.shape} and dtype {array.dtype}")
            expected = self._expected(self._size)
            raise ValueError(message(self._owner, "images", expected, received))
        return array

    def _pixels(self, position):
        array = self._array(position)
        if array.dtype != np.uint8:
            scaled = (array.astype("float64") - self._low) / (self._high - self._low)
            array = (255 * np.nan_to_num(scaled)).clip(0, 255).round().astype("uint8")
        return np.ascontiguousarray(array)

    def _range(self, positions):
        """Return the values that are shown as black and as white."""
        arrays = [
            self._array(position)
            for position in positions
            if not isinstance(self._images[position], os.PathLike)
        ]
        values = [array[np.isfinite(array)] for array in arrays]
        low = min((float(each.min()) for each in values if each.size), default=0.0)
        high = max((float(each.max()) for each in values if each.size), default=1.0)
        if low >= 0 and high <= 1:
            return 0.0, 1.0
        return low, high if high > low else low + 1

    @staticmethod
    def _expected(size):
        return (
            f"{size} images, (n, height, width) or with one, three or four channels, "
            "or paths of image files"
        )


def _length(values):
    return len(values) if hasattr(values, "__len__") else "no length"
