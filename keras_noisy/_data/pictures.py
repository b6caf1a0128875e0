"""Image files of any kind as 8-bit RGB, so that nothing of them is lost in silence."""

import numpy as np

_GREY = (128, 128, 128, 255)


def as_rgb(picture):
    """Return an opened Pillow image as RGB, as a person sees it.

    It is turned as its EXIF says. What is transparent becomes grey, on which black and
    white can be seen. Pillow would cut numbers of 16 bits, and floats, at 255: they are
    stretched from the least to the greatest of the picture instead.
    """
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(picture)
    if picture.mode[0] in "IF":
        return Image.fromarray(_stretched(np.asarray(picture))).convert("RGB")
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        paper = Image.new("RGBA", picture.size, _GREY)
        picture = Image.alpha_composite(paper, picture)
    return picture.convert("RGB")


def _stretched(values):
    values = np.nan_to_num(values.astype("float64"), posinf=0, neginf=0)
    low, high = values.min(), values.max()
    return np.rint(255 * (values - low) / max(high - low, 1e-300)).astype("uint8")
