"""The fixture of the verbs' tests."""

from __future__ import annotations

import pytest
from featurekit_cli.main import main


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Calls the command in an empty folder; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run
