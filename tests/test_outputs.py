from __future__ import annotations

import os
import subprocess
import sys

import pytest

from cli.main import main
from featurekit import TransferClassifier
from featurekit.errors import FeaturekitError
from featurekit.outputs import check_output, write_output

MARK = b"a,b,"


def test_own_output_is_replaced_and_nothing_else(tmp_path):
    path = tmp_path / "t.csv"
    for text in (b"a,b,\n1,2,\n", b"a,b,\n3,4,\n"):
        assert write_output(path, text, MARK).read_bytes() == text
    path.write_bytes(b"path,label\n")
    with pytest.raises(FeaturekitError, match="is no earlier output of this kind"):
        write_output(path, b"a,b,\n", MARK)
    assert path.read_bytes() == b"path,label\n"
    path.write_bytes(b"")  # made by mktemp
    assert write_output(path, b"a,b,\n", MARK).read_bytes() == b"a,b,\n"


def test_where_nothing_can_be_written(tmp_path):
    with pytest.raises(FeaturekitError, match="it is a folder"):
        check_output(tmp_path, MARK)
    with pytest.raises(FeaturekitError, match="there is no folder"):
        check_output(tmp_path / "none" / "t.csv", MARK)


@pytest.mark.parametrize(
    "line",
    [
        "fit STORE -o URL",
        "evaluate STORE --head knn --png URL.png",
        "predict STORE --model URL",
        "predict STORE --model MODEL -o URL.csv",
        "store export STORE -o URL.npz",
        "compare STORE --head knn -o URL",
        "compare STORE --head knn --report URL",
        "advise PHOTOS --report URL",
        "advise PHOTOS -o URL",
        "finetune PHOTOS -o URL",
        "export MODEL -o URL.onnx",
        "models show efficientnet_lite0 --png URL.png",
        "demo -o URL",
    ],
)
def test_outputs_that_are_no_stores_lie_on_this_machine(
    line, digits_store, digits_folder, tmp_path, capsys, monkeypatch
):
    """They went to a folder called s3: here, and the exit code was 0."""
    monkeypatch.chdir(tmp_path)
    model = TransferClassifier(head="centroid").fit(digits_store).save(tmp_path / "model")
    places = {"STORE": digits_store.path, "PHOTOS": digits_folder, "MODEL": model, "URL": "s3://bucket/new"}
    words = line.split()
    for name, place in places.items():
        words = [word.replace(name, str(place)) for word in words]
    there = set(os.listdir())
    assert main(words) == 1
    assert "a s3:// URL cannot be used here: only images and stores of features" in capsys.readouterr().err
    assert not [name for name in set(os.listdir()) - there if name.startswith("s3")]


def test_a_link_is_followed_and_a_pipe_is_written_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    write_output(tmp_path / "link", b"a,b,\n", MARK)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"a,b,\n"
    code = "from featurekit.outputs import write_output; write_output('/dev/stdout', b'a,b,', b'a,b,')"
    out = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    assert out.stdout == b"a,b,"


def test_a_full_disk_leaves_the_old_table(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,b,old\n")
    code = (
        "import resource, signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "from featurekit.outputs import write_output\n"
        f"write_output({str(path)!r}, b'a,b,' * 1000, b'a,b,')\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "FeaturekitError: cannot write" in out.stderr
    assert path.read_bytes() == b"a,b,old\n"
    assert os.listdir(tmp_path) == ["t.csv"]
