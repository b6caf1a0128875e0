"""The figures that plots return. Needs Matplotlib."""

import io

import matplotlib.figure


class Figure(matplotlib.figure.Figure):
    """A figure that a notebook shows even where pyplot has not been used."""

    def to_png(self, dpi: float = 100) -> bytes:
        """Return the picture as the content of a PNG file."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=dpi)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        """Return what IPython shows."""
        return self.to_png()
