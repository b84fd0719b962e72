"""The ``featurekit`` command: parse, call one verb, turn errors into messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 more bad images than ``--max-failed`` allows, 130
interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from featurekit import FeaturekitError, __version__
from featurekit.errors import FeaturekitWarning

from . import _common, advise, compare, demo, evaluate, export, extract, finetune, fit, models, predict, store
from ._terminal import safe_streams, say
from .start import INTERRUPTED, MESSAGE
from .start import run as run  # installed scripts of earlier versions call it here

_VERBS = (extract, fit, finetune, predict, evaluate, compare, advise, export, models, store, demo)

_EPILOG = """\
examples:
  featurekit demo                                    the whole tour, nothing to download
  featurekit extract photos/ -o photos.h5            features of a folder of class folders
  featurekit fit photos.h5 -o model/                 a classifier from stored features, in seconds
  featurekit finetune photos/ -o tuned/              train the network's upper stages as well
  featurekit evaluate photos.h5 --head svm           another head on a held-out part
  featurekit compare photos.h5 --head logreg,svm     heads on the same folds, with intervals
  featurekit advise photos/                          frozen features, fine-tuning, or more labels?
  featurekit predict new/ --model model/ > new.csv   labels and probabilities
  featurekit export model/ -o model.onnx             one file for ONNX Runtime and the like

exit codes: 0 done, 1 failed, 2 wrong usage, 3 more bad images than --max-failed allows, 130 interrupted
"""


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command."""
    parser = _common.Parser(
        prog="featurekit",
        description="Image classification by transfer learning: frozen CNN features, cached in HDF5, "
        "and scikit-learn heads.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"featurekit {__version__}")
    verbs = parser.add_subparsers(metavar="VERB", required=True, title="verbs", parser_class=_common.Parser)
    for verb in _VERBS:
        verb.add_parser(verbs)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name. Default: those of this process.

    Returns
    -------
    int
        The exit code.
    """
    with safe_streams():
        arguments = build_parser().parse_args(argv)
        with _telling(arguments):
            return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except (FeaturekitError, FileNotFoundError) as error:
        say(f"error: {_told(arguments, error)}")
        return 1
    except BrokenPipeError:
        # The reader of our output has gone (such as `head`): nothing more to say, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # such as a name that is too long, or a folder that may not be entered
        where = f": {error.filename}" if error.filename else ""
        say(f"error: {error.strerror or error}{where}")
        return 1
    except MemoryError:
        say("error: not enough memory. Nothing that was complete is lost.")
        return 1
    except KeyboardInterrupt:
        with suppress(OSError):  # a terminal that was closed
            print(MESSAGE, file=sys.stderr)
        return INTERRUPTED
    return code


def _told(arguments: argparse.Namespace, said: Exception | str) -> str:
    """A message of the library with the options that this command has."""
    if not isinstance(said, FeaturekitError | FeaturekitWarning):
        return str(said)
    return said.told(lambda remedy: arguments.parser.spelled(remedy, arguments.keywords))


@contextmanager
def _telling(arguments: argparse.Namespace) -> Iterator[None]:
    """Show warnings and log records as lines of this command on standard error; a caller from Python keeps its own."""
    library = logging.getLogger("featurekit")
    level = library.level
    if not getattr(arguments, "quiet", False):
        library.setLevel(logging.INFO)  # Conversions and other steps of some seconds are told.
    handler = _Handler()
    handler.addFilter(lambda record: record.levelno >= logging.WARNING or record.name.startswith("featurekit"))
    with warnings.catch_warnings():
        # catch_warnings gives showwarning back on leaving.
        warnings.showwarning = lambda message, *_, **__: say(f"warning: {_told(arguments, message)}")
        logging.getLogger().addHandler(handler)
        try:
            yield
        finally:
            logging.getLogger().removeHandler(handler)
            library.setLevel(level)


class _Handler(logging.Handler):
    """Writes to what is standard error when a record comes."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))
