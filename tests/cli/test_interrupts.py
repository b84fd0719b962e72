"""Ctrl-C and other signals: the process ends soon, with the exit code 130 and no traceback, and keeps its rows."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from odd_files import picture
from servers import serving

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends POSIX signals")

COMMAND = [sys.executable, "-m", "featurekit_cli"]
_SOON = 20  # seconds; a busy machine needs several for what takes two at most on a quiet one


class _Slow(http.server.BaseHTTPRequestHandler):
    """Answers no request for an image before the test is over."""

    asked = threading.Event()

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()

    def do_GET(self):
        self.asked.set()
        self.server.stop.wait(120)

    def log_message(self, *_):
        pass


@pytest.fixture
def slow_server():
    """The address of a server on which every image takes two minutes."""
    _Slow.asked.clear()
    with serving(_Slow) as (url, _):
        yield url


def heed_hang_ups():
    """Undo what nohup does to the processes of tests: a command started by it rightly ignores SIGHUP."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def start(*arguments, **settings):
    settings.setdefault("preexec_fn", heed_hang_ups)
    return subprocess.Popen(
        [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **settings
    )


def end(process, number):
    """Send a signal; the exit code and what was said."""
    process.send_signal(number)
    try:
        _, said = process.communicate(timeout=_SOON)
    finally:
        process.kill()
    return process.returncode, said


def code(*lines):
    """A process that does this as the command line does its work, once it is ready."""
    script = "\n".join(
        (
            "import sys, time",
            "from featurekit_cli.start import supervise",
            "def command():",
            *(f"    {line}" for line in lines),
            "supervise(command)",
        )
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0
    )
    assert process.stdout.readline() == "ready\n"
    return process


_SLOW_DELAYS = [pytest.param(delay, marks=pytest.mark.slow) for delay in (0.1, 0.6)]


@pytest.mark.parametrize("delay", [0.3, 1.0, *_SLOW_DELAYS])
def test_ctrl_c_during_start_up_is_no_import_error(delay, digits_store_path):
    arguments = ["featurekit", "evaluate", str(digits_store_path), "--head", "svm"]
    script = (
        f"import sys\nsys.argv = {arguments!r}\nfrom featurekit_cli.start import run\nprint('ready', flush=True)\nrun()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=0
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(delay)
    returned, said = end(process, signal.SIGINT)
    if returned != 0:
        assert returned == 130
        assert said.splitlines()[-1].startswith("featurekit: interrupted.")
        assert "Traceback" not in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_a_run_whose_decoding_threads_are_busy(number, slow_server, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"path\n{slow_server}/a.png\n{slow_server}/b.png\n")
    process = start("extract", manifest, "-o", tmp_path / "s.h5")
    assert _Slow.asked.wait(120)
    returned, said = end(process, number)
    assert returned == 130
    assert "featurekit: interrupted." in said
    assert "Traceback" not in said
    assert not (tmp_path / "s.h5.lock").exists()


@pytest.mark.slow
def test_rows_computed_before_a_hang_up_are_kept(slow_server, tmp_path, digits_store_path):
    assert digits_store_path.exists()  # The network is converted by then, which would be told otherwise.
    for i in range(64):
        picture(i).save(tmp_path / f"{i:03d}.png")
    names = [f"{i:03d}.png" for i in range(64)]
    manifest = tmp_path / "list.csv"
    manifest.write_text("\n".join(["path", *names, f"{slow_server}/a.png", ""]))
    process = start("extract", manifest, "-o", tmp_path / "s.h5")
    assert _Slow.asked.wait(120)
    time.sleep(15)  # enough for the rows of the others
    assert end(process, signal.SIGHUP) == (130, INTERRUPTED)
    manifest.write_text("\n".join(["path", *names, ""]))
    arguments = ["extract", str(manifest), "-o", str(tmp_path / "s.h5"), "--json"]
    again = json.loads(subprocess.run([*COMMAND, *arguments], capture_output=True, check=True).stdout)
    assert again["reused"] >= 32
    assert again["rows"] == 64


def test_a_main_thread_in_c_code_is_ended():
    process = code(
        "import numpy as np",
        "table = np.zeros((9000, 9000))",
        "print('ready', flush=True)",
        "table @ table @ table @ table @ table @ table",
        "return 0",
    )
    assert end(process, signal.SIGINT) == (130, INTERRUPTED)


def test_a_main_thread_that_waits_for_a_busy_thread_is_ended():
    process = code(
        "from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor(1) as pool:",
        "    pool.submit(time.sleep, 100)",
        "    print('ready', flush=True)",
        "return 0",
    )
    assert end(process, signal.SIGINT) == (130, INTERRUPTED)


def test_an_interrupt_during_an_import_that_hides_it_still_ends_the_process(tmp_path):
    (tmp_path / "hiding.py").write_text("import time\nprint('ready', flush=True)\ntime.sleep(100)\n")
    hidden = "try: import hiding", "except BaseException: pass", "return 0"
    process = code(f"sys.path.insert(0, {str(tmp_path)!r})", *hidden)
    assert end(process, signal.SIGTERM) == (130, INTERRUPTED)


def test_what_takes_time_to_save_is_saved(tmp_path):
    process = code(
        "try:",
        "    print('ready', flush=True)",
        "    time.sleep(100)",
        "finally:",
        "    time.sleep(0.7)",
        f"    open({str(tmp_path / 'saved')!r}, 'w').close()",
        "return 0",
    )
    assert end(process, signal.SIGINT) == (130, INTERRUPTED)
    assert (tmp_path / "saved").exists()


def test_what_is_saved_by_another_thread_is_saved(tmp_path):
    process = code(
        "import threading",
        "try:",
        "    print('ready', flush=True)",
        "    time.sleep(100)",
        "finally:",
        "    saver = threading.Thread(target=time.sleep, args=(0.7,))",
        "    saver.start()",
        "    saver.join()",
        f"    open({str(tmp_path / 'saved')!r}, 'w').close()",
        "return 0",
    )
    assert end(process, signal.SIGINT) == (130, INTERRUPTED)
    assert (tmp_path / "saved").exists()


def test_a_signal_to_a_forked_child_ends_the_child_only():
    process = code(
        "import os",
        "print('ready', flush=True)",
        "child = os.fork()",
        "if not child:",
        "    print(os.getpid(), flush=True)",
        "    time.sleep(100)",
        "status = os.waitpid(child, 0)[1]",
        "time.sleep(3)",
        "return os.WTERMSIG(status)",
    )
    os.kill(int(process.stdout.readline()), signal.SIGTERM)
    _, said = process.communicate(timeout=_SOON)
    assert (process.returncode, said) == (signal.SIGTERM, "")


def test_a_signal_after_the_command_is_done_leaves_its_exit_code():
    process = code(
        "import atexit, hashlib",
        "atexit.register(hashlib.pbkdf2_hmac, 'sha256', b'', b'', 100_000_000)  # a minute in C code",
        "atexit.register(print, 'ready', flush=True)",
        "return 3",
    )
    assert end(process, signal.SIGTERM) == (3, "")


def test_a_second_ctrl_c_ends_at_once():
    process = code(
        "from featurekit_cli import start",
        "start._SAVING_SECONDS = 100",
        "try:",
        "    print('ready', flush=True)",
        "    time.sleep(100)",
        "finally:",
        "    print('tidying', flush=True)",
        "    time.sleep(100)",
        "return 0",
    )
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "tidying\n"
    time.sleep(0.5)
    assert end(process, signal.SIGINT) == (130, INTERRUPTED)


def test_a_hang_up_that_the_caller_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; processes that are started inherit it
    try:
        process = code("print('ready', flush=True)", "time.sleep(2)", "return 0")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert end(process, signal.SIGHUP) == (0, "")


INTERRUPTED = "featurekit: interrupted. What was complete is kept: run the same command again.\n"
