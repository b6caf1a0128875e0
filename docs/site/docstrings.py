"""What the API's pages need of docstrings, as an extension of Griffe."""

import re

import griffe


class RunnableExamples(griffe.Extension):
    """Calls the section `Example` of a docstring `Examples`.

    Griffe shows what follows `>>>` in the latter as code, and in the former as a
    quotation.
    """

    def on_object(self, *, obj, **_):
        """Rename the section of one function, class or attribute."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
