"""What the API's pages need of docstrings, as an extension of Griffe."""

import re

import griffe


class RunnableExamples(griffe.Extension):
    """Calls the section `Example` of a docstring `Examples`, whose code is shown as such.

    Of the one Griffe knows, `>>>` begins code; in the other it is quoted text.
    """

    def on_object(self, *, obj, **_):
        """Rename the section of one function, class or attribute."""
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )
