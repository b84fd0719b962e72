"""Files that no store is: each refused with its own message, before anything of it is used."""

from __future__ import annotations

import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from made_stores import OTHER, write, write_folder

from featurekit.errors import StoreFormatError
from featurekit.store import FeatureStore

OUTSIDE = "/etc/hostname"


def spoil(path, change):
    with h5py.File(path, "r+") as file:
        change(file)


def replace_dataset(name, **options):
    def change(file):
        values = file[name][...]
        del file[name]
        file.create_dataset(name, data=options.pop("data", values), **options)

    return change


def external_link(file):
    del file["label"]
    file["label"] = h5py.ExternalLink(OUTSIDE, "/x")


def soft_link(file):
    del file["label"]
    file["label"] = h5py.SoftLink("/path")


def virtual(file):
    layout = h5py.VirtualLayout((20, 16), "f4")
    layout[...] = h5py.VirtualSource(OUTSIDE, "x", (20, 16))
    del file["X"]
    file.create_virtual_dataset("X", layout)


def external_storage(file):
    del file["X"]
    file.create_dataset("X", (20, 16), "f4", external=[(OUTSIDE, 0, 20 * 16 * 4)])


def huge(file):
    del file["X"]
    file.create_dataset("X", (10**12, 16), "f4", chunks=(100, 16), fletcher32=True)


def references(file):
    del file["size"]
    file.create_dataset("size", (20,), h5py.ref_dtype, chunks=(20,), fletcher32=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external_link, "ExternalLink"),
        (soft_link, "SoftLink"),
        (virtual, "virtually"),
        (external_storage, "outside the file"),
        (huge, "declares"),
        (references, "has the type object"),
        (replace_dataset("X", chunks=(5, 16)), "other filters"),
        (replace_dataset("X", chunks=(5, 16), fletcher32=True, compression="lzf"), "other filters"),
        (replace_dataset("X", chunks=(5, 16), fletcher32=True, data=np.zeros((20, 16))), "has the type float64"),
        (replace_dataset("X", chunks=(5, 8), fletcher32=True, data=np.zeros((20, 8), "f4")), "has the shape"),
        (replace_dataset("size", chunks=(5,), fletcher32=True, data=np.zeros(19, "i8")), "has 19 rows"),
        (replace_dataset("ledger/row", chunks=(3,), fletcher32=True, data=np.zeros(3, "i8")), "differ in length"),
        (lambda f: f.create_group("more"), "unexpected: ['more']"),
        (lambda f: f.__delitem__("group"), "missing: ['group']"),
        (lambda f: f["ledger"].create_group("deep"), "unexpected: ['deep']"),
        (lambda f: f.attrs.modify("version", 4), "update featurekit"),
        (lambda f: f.attrs.modify("version", 0), "reads the versions 1, 2, 3"),
        (lambda f: f.attrs.__delitem__("space"), "no attribute 'space'"),
        (lambda f: f.attrs.__setitem__("space", np.bytes_(b"{}")), "not a feature space"),
        (lambda f: f.attrs.__setitem__("fingerprint", np.bytes_(b"0")), "not that of the feature space"),
        (lambda f: f.attrs.__setitem__("provenance", np.zeros(9)), "'provenance' is of the kind"),
        (lambda f: f.attrs.__setitem__("provenance", np.bytes_(b"[1]")), "not a JSON object"),
        (lambda f: f.attrs.__setitem__("format", np.bytes_(b"other")), "its format is"),
    ],
)
def test_hdf5_files_that_no_store_writes_are_refused(tmp_path, change, message):
    path = tmp_path / "s.h5"
    write(path, 20)
    spoil(path, change)
    with pytest.raises(StoreFormatError) as caught:
        FeatureStore(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_foreign_files(tmp_path):
    path = tmp_path / "s.h5"
    with pytest.raises(FileNotFoundError, match="no such store"):
        FeatureStore(path)
    for content in (b"", b"text", b"\x89HDF\r\n\x1a\n" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(StoreFormatError, match="not an HDF5 file"):
            FeatureStore(path)
    with pytest.raises(StoreFormatError, match="a folder without index"):
        FeatureStore(tmp_path)
    write(path, 20)
    data = path.read_bytes()
    for cut in (len(data) // 3, len(data) - 10):
        path.write_bytes(data[:cut])
        with pytest.raises((StoreFormatError, OSError)):
            FeatureStore(path).X[...]


def huge_text(file):
    values = np.array([b""] * 20, dtype="S1").astype(h5py.string_dtype("utf-8", 10**6))
    del file["group"]
    file.create_dataset(
        "group", (20,), values.dtype, chunks=(1,), fletcher32=True, compression="gzip", data=values[:1].repeat(20)
    )


def huge_chunk(file):
    del file["mtime_ns"]
    file.create_dataset("mtime_ns", (20,), "i8", chunks=(10**8,), maxshape=(None,), fletcher32=True)


def deep(file):
    group = file["ledger"]
    del file["ledger/row"]
    for _ in range(2000):
        group = group.create_group("row")


def other_filter(file):
    values = file["X"][...]
    del file["X"]
    file.create_dataset("X", data=values, chunks=(5, 16), scaleoffset=2)


def loop(file):
    del file["ledger/path"]
    file["ledger/path"] = file["ledger"]  # a hard link to the group it lies in


def compound(file):
    del file["X"]
    file.create_dataset("X", (20,), np.dtype([("a", "f4", 16)]), chunks=(5,), fletcher32=True)


def object_text(file):
    del file["path"]
    file.create_dataset("path", (20,), h5py.string_dtype(), chunks=(5,))


def deep_json(file):
    file.attrs["space"] = np.bytes_(b"[" * 60_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (huge_chunk, "has chunks of"),
        (huge_text, "'group' is not a group"),
        (deep, "'ledger/row' is not a dataset"),
        (other_filter, "other filters"),
        (loop, "missing: ['data', 'end']"),
        (compound, "has the type"),
        (object_text, "'path' is not a group"),
        (deep_json, "recursion"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_datasets_that_would_exhaust_memory_are_refused(tmp_path, change, message):
    path = tmp_path / "s.h5"
    write(path, 20)
    spoil(path, change)
    with pytest.raises(StoreFormatError) as caught:
        FeatureStore(path)
    assert message in str(caught.value)


def texts(file, name, values):
    """Write texts as version 3 does."""
    del file[name]
    data = np.frombuffer(b"".join(values), dtype=np.uint8)
    options = {"chunks": (100,), "maxshape": (None,), "fletcher32": True}
    file.create_dataset(f"{name}/data", data=data, **options)
    file.create_dataset(f"{name}/end", data=np.cumsum([len(value) for value in values]), **options)


def change_index(**changes):
    def change(path):
        with h5py.File(path / "index.h5", "r+") as file:
            for name, values in changes.items():
                if name == "shards":
                    texts(file, name, values)
                    continue
                old = file[name]
                options = {
                    "chunks": old.chunks,
                    "maxshape": (None,),
                    "fletcher32": True,
                    "compression": old.compression,
                }
                del file[name]
                file.create_dataset(name, data=values, **options)

    return change


def link_a_shard(path):
    shard = next(path.glob("rows-*.h5"))
    shard.rename(path.parent / "elsewhere.h5")
    shard.symlink_to(path.parent / "elsewhere.h5")


def index_as_shard(path):
    shard = next(path.glob("rows-*.h5"))
    shard.write_bytes((path / "index.h5").read_bytes())


def other_space(path):
    shard = next(path.glob("rows-*.h5"))
    write(path.parent / "o.h5", 20, space=OTHER)
    shard.write_bytes((path.parent / "o.h5").read_bytes())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_index(shards=[b"../../etc/passwd"]), "names the shard '../../etc/passwd'"),
        (change_index(shards=[b"/dev/zero"]), "names the shard '/dev/zero'"),
        (change_index(shard=np.full(20, 7, "i4")), "rows that lie in no shard"),
        (change_index(row=np.full(20, -1, "i4")), "rows that lie in no shard"),
        (change_index(row=np.full(20, 10**6, "i4")), "has 20 rows; row 1000000 was expected"),
        (change_index(row=np.arange(19, dtype="i4")), "'row' has 19 rows"),
        (link_a_shard, "names the shard"),
        (index_as_shard, "another feature space"),
        (other_space, "another feature space"),
        (lambda path: next(path.glob("rows-*.h5")).unlink(), "is missing"),
        (lambda path: (path / "index.h5").unlink(), "none was completed"),
    ],
)
def test_a_hostile_folder_is_refused(tmp_path, change, message):
    path = tmp_path / "s"
    write_folder(path, 20)
    change(path)
    with pytest.raises(StoreFormatError) as caught:
        FeatureStore(path).X[...]
    assert message in str(caught.value)


def test_an_index_file_is_not_a_store(tmp_path):
    write_folder(tmp_path / "s", 20)
    with pytest.raises(StoreFormatError, match="open the folder"):
        FeatureStore(tmp_path / "s" / "index.h5")


OPEN = """
import sys
from featurekit.store import FeatureStore, verify
for read in (FeatureStore, verify):
    try: read(sys.argv[1])
    except Exception as error: print(type(error).__name__)
"""


@pytest.mark.skipif(not shutil.which("strace"), reason="watches the system's calls with strace")
@pytest.mark.parametrize("change", [external_link, external_storage, virtual])
def test_no_byte_outside_is_read(tmp_path, change, monkeypatch):
    """A file that external storage, links and virtual datasets point at is never even opened."""
    secret, path, trace = tmp_path / "secret", tmp_path / "s.h5", tmp_path / "trace"
    secret.write_bytes(b"secret" * 1000)
    monkeypatch.setattr(sys.modules[__name__], "OUTSIDE", str(secret))
    write(path, 20)
    spoil(path, change)
    command = ["strace", "-f", "-e", "trace=open,openat,stat,newfstatat", "-o", trace, sys.executable, "-c", OPEN, path]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["StoreFormatError"] * 2
    assert str(path) in trace.read_text()
    assert str(secret) not in trace.read_text()
