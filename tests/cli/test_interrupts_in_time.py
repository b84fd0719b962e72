"""Ctrl-C ends every command within two seconds, also where saving or a thread takes longer."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler

import pytest
from servers import serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")

IN_TIME = 6  # seconds, for a busy machine; it was ten on a quiet one
SAVING = """
import time
from featurekit_cli.start import supervise

def command():
    try:
        print("ready", flush=True)
        time.sleep(100)
    finally:
        time.sleep(100)

supervise(command)
"""


def end(process):
    process.send_signal(signal.SIGINT)
    try:
        _, said = process.communicate(timeout=IN_TIME)
    finally:
        process.kill()
    return process.returncode, said.splitlines()[-1].partition(". ")[0]


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0
    )


def test_saving_that_takes_longer_is_ended():
    process = start("-c", SAVING)
    assert process.stdout.readline() == "ready\n"
    assert end(process) == (130, "featurekit: interrupted")


@pytest.fixture
def images_that_never_come(tmp_path):
    """A manifest of images whose server does not answer, and what is set when it was asked."""
    asked = threading.Event()

    class Silent(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.set()
            self.server.stop.wait(120)

        def log_message(self, *_):
            pass

    with serving(Silent) as (url, _):
        manifest = tmp_path / "list.csv"
        manifest.write_text("path,label\n" + "".join(f"{url}/{i}.png,{'ab'[i % 2]}\n" for i in range(6)))
        yield manifest, asked


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["extract", "fit", "evaluate", "compare", "advise", "finetune", "predict"])
def test_a_verb_whose_thread_waits_for_a_server_is_ended(verb, images_that_never_come, tmp_path, digits_store_path):
    manifest, asked = images_that_never_come
    output, model = tmp_path / "out", tmp_path / "model"
    more = {
        "extract": ["-o", tmp_path / "s.h5"],
        "fit": ["-o", output],
        "evaluate": ["--head", "logreg"],
        "compare": ["--output", output],
        "advise": [],
        "finetune": ["-o", output],
        "predict": ["--model", model],
    }[verb]
    if verb == "predict":
        fit = [sys.executable, "-m", "featurekit_cli", "fit", digits_store_path, "--head", "centroid", "-o", model]
        subprocess.run(fit, check=True, capture_output=True)
    process = start("-m", "featurekit_cli", verb, manifest, *more)
    assert asked.wait(120)
    assert end(process) == (130, "featurekit: interrupted")
