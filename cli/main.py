"""The ``featurekit`` command: parse, call one verb, turn errors into messages and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 more bad images than ``--max-failed`` allows, 130
interrupted.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

from featurekit import FeaturekitError, __version__

from . import _common, advise, compare, demo, evaluate, export, extract, finetune, fit, models, predict, store

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
    arguments = build_parser().parse_args(argv)
    logging.basicConfig(format="featurekit: %(message)s", level=logging.WARNING)
    if not getattr(arguments, "quiet", False):
        logging.getLogger("featurekit").setLevel(logging.INFO)  # such as what takes seconds, once
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A file name need not be valid text; print it rather than fail on it.
            stream.reconfigure(errors="backslashreplace")
    terminate = None
    if threading.current_thread() is threading.main_thread():  # others may not set signals
        terminate = signal.signal(signal.SIGTERM, _stop)
    try:
        with warnings.catch_warnings():
            # catch_warnings gives showwarning back on leaving: a caller from Python keeps its own.
            warnings.showwarning = _show_warning
            code: int = arguments.run(arguments)
        sys.stdout.flush()
    except (FeaturekitError, FileNotFoundError) as error:
        print(f"featurekit: error: {_printable(str(error))}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has gone (such as `head`): nothing more to say, not even at shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # such as a name that is too long, or a folder that may not be entered
        where = f": {error.filename}" if error.filename else ""
        print(f"featurekit: error: {error.strerror or error}{where}", file=sys.stderr)
        return 1
    except MemoryError:
        print("featurekit: error: not enough memory. Nothing that was complete is lost.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("featurekit: interrupted. What was complete is kept: run the same command again.", file=sys.stderr)
        return 130
    finally:
        if terminate is not None:
            signal.signal(signal.SIGTERM, terminate)
    return code


def run() -> NoReturn:
    """Run the command and end the process: what the installed script calls."""
    _open_closed_streams()
    # Read when PyTorch loads. Its threads wait for each other by spinning, otherwise: beside other work on the same
    # cores, training took a third longer for it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    code = main()
    # The collector need not look at torch's objects once more: that takes 1.5 seconds of the 1.8 that ending takes.
    gc.freeze()
    sys.exit(code)


def _open_closed_streams() -> None:
    """Where the caller closed standard streams, as some daemons do, nothing else may get their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115


def _printable(text: str) -> str:
    """Names from files may hold what moves a terminal's cursor or changes its colours."""
    return "".join(c if c == "\n" or c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _stop(*_: object) -> None:
    """To be terminated is to be interrupted: what is half done is tidied up, as for Ctrl-C."""
    raise KeyboardInterrupt


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    print(f"featurekit: warning: {message}", file=sys.stderr)
