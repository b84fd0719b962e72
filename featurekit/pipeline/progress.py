"""The progress bar."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm


@contextmanager
def progress_bar(total: int, show: bool) -> Iterator[Callable[..., object]]:
    """A progress bar with images/s and time left on standard error.

    Yields the function that advances it, by 1 or by the number that it is given.
    """
    # The size is asked for here: tqdm shows nothing on a terminal that says it has 0 rows and columns.
    columns, rows = shutil.get_terminal_size()
    with tqdm(total=total, unit=" images", disable=not show, ncols=columns, nrows=rows, smoothing=0.1) as bar:
        yield bar.update
