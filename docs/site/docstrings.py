"""What the API's pages need of docstrings, as an extension of Griffe."""

import re
import textwrap

import griffe

EXAMPLE = re.compile(
    r"^Example:\n(.*?)(?=\n\n[A-Z]\w*:\n|\Z)", re.DOTALL | re.MULTILINE
)


class RunnableExamples(griffe.Extension):
    """Calls the section `Example` of a docstring `Examples`.

    Griffe shows what follows `>>>` in the latter as code, and in the former as a
    quotation.
    """

    def on_object(self, *, obj, **_):
        """Rename the section of one function, class or attribute."""
        if obj.docstring:
            obj.docstring.value = EXAMPLE.sub(renamed, obj.docstring.value)


def renamed(section):
    """Return the section under its new name, indented where it was not."""
    text = textwrap.dedent(section[1])
    return "Examples:\n" + textwrap.indent(text, "    ")
