"""The parser of each verb: it knows how the arguments of the library are called there."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from featurekit.errors import Remedy


class Parser(argparse.ArgumentParser):
    """A parser that takes options by their whole name only: an abbreviation would break when one is added."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings, allow_abbrev=False)
        self.color = False  # Python 3.14 would write escape sequences
        self.set_defaults(parser=self, keywords={}, labels_matter=True)

    def spelled(self, remedy: Remedy, keywords: dict[str, str]) -> str:
        """The option by which a user of this command does what a remedy says; empty if it has none.

        Parameters
        ----------
        remedy : Remedy
        keywords : dict of str to str
            Names that arguments of the library have in this command, where they differ.
        """
        wanted = keywords.get(remedy.keyword, remedy.keyword)
        for action in self._actions:
            if action.dest == wanted and action.option_strings:
                value = action.metavar or wanted.upper() if remedy.value is ... else remedy.value
                return action.option_strings[-1] + ("" if action.nargs == 0 else f" {value}")
        return ""

    def error(self, message: str) -> NoReturn:
        """Exit, with the reason first and where to find the options."""
        self.exit(2, f"featurekit: error: {message}\nSee: {self.prog} --help\n")
