"""The command `keras-noisy`."""

from __future__ import annotations

import argparse
import io
import pathlib
import sys
from collections.abc import Sequence

from keras_noisy.version import __version__

_LEFT_OUT = "left out of what the network sees; may be given several times"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command, and return its exit code: 2 where the input is bad.

    Args:
        arguments: Those of the command line by default.
    """
    options = _parser().parse_args(arguments)
    try:
        # Here and not above: `--help` and mistakes should not wait for Keras.
        from keras_noisy.diagnosis import command

        _never_fail_to_print()
        return command.check(options)
    except KeyboardInterrupt:
        again = "The same command goes on from there."
        mend = again if options.storage else "With --storage a run can be continued."
        print(f"keras-noisy: stopped. {mend}", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, ImportError) as error:
        text = " ".join(str(error).split()).removeprefix("keras-noisy: ")
        print(f"keras-noisy: {text}", file=sys.stderr)
        return 2


def _never_fail_to_print():
    """Print what a terminal has no character for as an escape."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser():
    parser = argparse.ArgumentParser(
        prog="keras-noisy", description="Find wrong labels in a data set."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    check = commands.add_parser(
        "check",
        help="say which labels are wrong, and how many",
        description=(
            "Print a verdict on the labels of a data set, and write a report and the "
            "suspects as CSV."
        ),
    )
    check.add_argument(
        "path",
        type=pathlib.Path,
        help="a CSV file, a folder of images with a sub folder for each class, or an "
        ".npz file with arrays `x` (or `features`) and `labels` (or `y`)",
    )
    check.add_argument("--label", help="column of the labels, or array in an .npz file")
    check.add_argument("--text", help="column of texts, the only one to look at")
    check.add_argument("--ids", help="column of names of the rows")
    check.add_argument("--groups", help="column of groups of rows that belong together")
    check.add_argument(
        "--drop", action="append", default=[], help=f"column that is {_LEFT_OUT}"
    )
    check.add_argument("--encoding", help="of a CSV file that is not UTF-8")
    check.add_argument("--reviewed", help="CSV file of suspects that somebody reviewed")
    check.add_argument("--output", help="folder for the files; by default this one")
    check.add_argument("--storage", help="folder that a killed run continues from")
    check.add_argument("--epochs", type=int, help="epochs of each training")
    check.add_argument("--seed", type=int, default=0)
    check.add_argument(
        "--skip-broken", action="store_true", help="leave out broken images"
    )
    check.add_argument("--quiet", action="store_true", help="print the verdict alone")
    return parser


if __name__ == "__main__":
    sys.exit(main())
