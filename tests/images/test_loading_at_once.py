"""Pictures of Pillow that several threads load at once."""

from __future__ import annotations

import io
import threading

from odd_files import encoded, picture
from PIL import Image

from featurekit.images import read_origin


class Slow(io.BytesIO):
    """A file that gives its pixels only when it is told to."""

    def __init__(self, data):
        super().__init__(data)
        self.reading, self.go = threading.Event(), threading.Event()
        self.opened = False

    def read(self, size=-1):
        if self.opened:
            self.reading.set()
            self.go.wait(60)
        return super().read(size)


def test_a_picture_that_loads_slowly_holds_no_others_up():
    data = encoded(picture(0), "PNG")
    file = Slow(data)
    images = [Image.open(file), *(Image.open(io.BytesIO(data)) for _ in range(24))]
    file.opened = True
    threads = [threading.Thread(target=read_origin, args=(image,), daemon=True) for image in images]
    threads[0].start()
    assert file.reading.wait(60)
    try:
        for thread in threads[1:]:
            thread.start()
        for thread in threads[1:]:
            thread.join(1)
        assert sum(thread.is_alive() for thread in threads[1:]) <= 4  # those that happen to share its lock
    finally:
        file.go.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)


def test_one_picture_is_loaded_once_by_several_threads():
    image = Image.open(io.BytesIO(encoded(picture(0), "PNG")))
    found = []
    threads = [threading.Thread(target=lambda: found.append(read_origin(image)[0].tobytes())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [picture(0).convert("RGB").tobytes()] * 8
