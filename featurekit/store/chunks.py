"""Places of the chunks of a store's datasets: a small file must not unfold into a large one."""

from __future__ import annotations

import h5py
import numpy as np

_SLACK = 64  # bytes that compression and checksum may add to a chunk, beside a hundredth


class Chunks:
    """The chunks of all datasets of a file: no two compressed chunks overlap, and all together fit into the file.

    The second rule bounds what is read of a dataset that is not compressed, since it declares no more bytes than it
    stores. Only compressed chunks, which grow when they are read, are looked at one by one: of the others there may be
    hundreds of thousands.

    Parameters
    ----------
    file : h5py.File
    """

    def __init__(self, file: h5py.File) -> None:
        self._size = int(file.id.get_filesize())
        self._stored = 0
        self._places: list[tuple[int, int]] = []

    def add(self, name: str, dataset: h5py.Dataset, stored: int, *, compressed: bool) -> None:
        """Note the chunks of a dataset, which store so many bytes.

        Raises
        ------
        ValueError
            If one is larger than compression makes it.
        """
        self._stored += stored
        if not compressed:
            return
        raw = dataset.dtype.itemsize * int(np.prod(dataset.chunks))
        for chunk in _chunks_of(dataset):
            if chunk.size > raw + raw // 100 + _SLACK:
                raise ValueError(f"'{name}' has a chunk of {chunk.size} bytes for {raw}")
            self._places.append((chunk.byte_offset, chunk.size))

    def check(self) -> None:
        """Check them together.

        Raises
        ------
        ValueError
            If they overlap, or store more bytes than the file has.
        """
        if self._stored > self._size:
            raise ValueError(f"its datasets store {self._stored} bytes, and the file has {self._size}: chunks overlap")
        begin, sizes = np.array(sorted(self._places), dtype=np.uint64).reshape(-1, 2).T
        end = begin + sizes
        if (end < begin).any() or (end > self._size).any() or (begin[1:] < end[:-1]).any():
            raise ValueError("chunks of its datasets overlap, or lie outside the file")


def _chunks_of(dataset: h5py.Dataset) -> list[h5py.h5d.StoreInfo]:
    low = dataset.id
    if not hasattr(low, "chunk_iter"):  # HDF5 before 1.12.3
        return [low.get_chunk_info(i) for i in range(low.get_num_chunks())]
    found: list[h5py.h5d.StoreInfo] = []
    low.chunk_iter(found.append)
    return found
