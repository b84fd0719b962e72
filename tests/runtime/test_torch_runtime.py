from __future__ import annotations

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from featurekit.runtime import tf32 as tf32_module
from featurekit.runtime.tf32 import tf32
from featurekit.runtime.torch_runtime import halving


def test_batches_are_halved_where_memory_does_not_suffice():
    batch = np.arange(100, dtype=np.uint8).reshape(100, 1, 1, 1)
    sizes = []

    def run(part):
        sizes.append(len(part))
        if len(part) > 20:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return part.reshape(-1, 1).astype(np.float32)

    rows, most = halving(run, batch, None)
    assert rows[:, 0].tolist() == list(range(100))  # not one is lost, none is there twice
    assert most == 13
    assert sizes[:4] == [100, 50, 25, 13]
    sizes.clear()
    rows, most = halving(run, batch, most)  # what was found out is kept
    assert set(sizes) == {13, 9}


def test_memory_for_a_single_image_must_suffice():
    def run(part):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.cuda.OutOfMemoryError):
        halving(run, np.zeros((4, 1, 1, 1), dtype=np.uint8), None)


def test_tf32_is_as_the_caller_had_it_afterwards():
    before = tf32_module._get()
    with tf32(True):
        allowed = tf32_module._get()
        with tf32(True):
            pass
        assert tf32_module._get() == allowed  # another thread's end changes nothing
    assert tf32_module._get() == before
    with tf32(False):
        forbidden = tf32_module._get()
    assert allowed != forbidden
    assert tf32_module._get() == before


def test_threads_that_want_the_other_tf32_wait():
    order = []
    inside, leave = threading.Event(), threading.Event()

    def exact():
        with tf32(False):
            inside.set()
            leave.wait()
            order.append("exact")

    def fast():
        with tf32(True):
            order.append("fast")

    first, second = threading.Thread(target=exact), threading.Thread(target=fast)
    first.start()
    inside.wait()
    second.start()
    second.join(0.2)
    assert second.is_alive()
    leave.set()
    first.join()
    second.join()
    assert order == ["exact", "fast"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
@pytest.mark.parametrize(("variable", "called"), [(None, True), ("MALLOC_ARENA_MAX", False)])
def test_the_allocator_is_left_alone_where_the_user_set_it(variable, called):
    code = (
        "import ctypes\n"
        "from featurekit.runtime.allocator import keep_freed_memory\n"
        "calls = []\n"
        "class Libc:\n"
        "    def __init__(self, name): pass\n"
        "    def mallopt(self, *args): calls.append(args)\n"
        "ctypes.CDLL = Libc\n"
        "keep_freed_memory(); print(bool(calls))"
    )
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    if variable:
        environment[variable] = "2"
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(called)
