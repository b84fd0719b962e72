"""Extraction on a real cluster of two raylets, with a node lost and with the driver killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from caches import own_caches
from servers import s3_server

from featurekit import FeatureStore, extract

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.ray]
CLUSTER = Path(__file__).with_name("cluster.py")
ENOUGH = 240  # seconds in which something must happen, on however slow a machine


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """160 pictures in two classes, some equal, two of them broken."""
    from PIL import Image

    rng = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("photos")
    for number in range(160):
        place = folder / str(number % 2)
        place.mkdir(exist_ok=True)
        pixels = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((320, 240)).save(place / f"{number:04d}.png")
    (folder / "0" / "9998.png").write_bytes((folder / "1" / "0001.png").read_bytes())
    (folder / "1" / "0003.png").write_bytes(b"no picture")
    (folder / "0" / "0100.png").write_bytes((folder / "0" / "0100.png").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def here(photos, tmp_path_factory):
    """What a run on this machine makes of them."""
    return extract(photos, output=tmp_path_factory.mktemp("here") / "here.h5")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A running cluster, with its address, and the file in which its processes look for what AWS's need to know."""
    pipe, none = subprocess.PIPE, subprocess.DEVNULL
    start = [sys.executable, str(CLUSTER)]
    aws = tmp_path_factory.mktemp("aws") / "config"
    env = os.environ | {"AWS_CONFIG_FILE": str(aws)}
    with subprocess.Popen(start, stdin=pipe, stdout=pipe, stderr=none, text=True, env=env) as process:
        process.aws = aws
        try:
            process.address = next(line.strip() for line in process.stdout if ":" in line)
            yield process
        finally:
            process.stdin.close()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()


def command(photos, target, address):
    extract_photos = ["extract", str(photos), "-o", str(target), "--json", "-q"]
    return [sys.executable, "-m", "featurekit_cli", *extract_photos, "--engine", "ray", "--address", address]


def ran(command):
    return subprocess.run(command, capture_output=True, text=True, timeout=ENOUGH)


def assert_equal(store, here):
    assert store.paths == here.paths
    assert np.array_equal(store.columns.sha256, here.columns.sha256)
    assert np.array_equal(store.X[:], here.X[:])
    assert store.columns.label.tolist() == here.columns.label.tolist()
    assert [(e.path, e.status, e.reason) for e in store.ledger] == [(e.path, e.status, e.reason) for e in here.ledger]


def wait_for_shards(folder, number):
    deadline = time.monotonic() + ENOUGH
    while len(list(folder.glob("rows-*.h5"))) < number:
        assert time.monotonic() < deadline, "no rows were written"
        time.sleep(0.05)


@pytest.mark.s3
def test_from_one_bucket_into_another(photos, here, cluster, tmp_path, monkeypatch):
    """As of machines that have no folder in common."""
    own_caches(monkeypatch, tmp_path / "caches")
    with s3_server(monkeypatch) as client:
        cluster.aws.write_text(
            "[default]\naws_access_key_id = test\naws_secret_access_key = test\nregion = us-east-1\n"
            f"endpoint_url = {os.environ['AWS_ENDPOINT_URL']}\n"
        )
        client.create_bucket(Bucket="cluster")
        for path in photos.glob("*/*.png"):
            client.put_object(Bucket="cluster", Key=f"in/{path.parent.name}/{path.name}", Body=path.read_bytes())
        done = ran(command("s3://cluster/in", "s3://cluster/out", cluster.address))
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["computed"], said["failed"], said["reused"]) == (here.summary.computed, 2, 0)
        assert_equal(FeatureStore("s3://cluster/out"), here)
        with extract("s3://cluster/in", output="s3://cluster/out") as again:  # on this machine
            assert (again.summary.computed, again.summary.reused) == (0, here.summary.computed)


def test_a_driver_that_was_killed_goes_on(photos, here, cluster, tmp_path):
    target = tmp_path / "far.h5"
    with subprocess.Popen(
        command(photos, target, cluster.address), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as run:
        wait_for_shards(tmp_path / "far.h5.parts", 2)
        os.kill(run.pid, signal.SIGKILL)
    assert not target.exists()
    done = ran(command(photos, target, cluster.address))
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["reused"] >= 60  # Two shards of 32, one of them with a photo that cannot be read.
    assert said["computed"] + said["reused"] == here.summary.computed
    assert_equal(FeatureStore(target), here)
    assert [path.name for path in tmp_path.iterdir()] == ["far.h5"]
    (photos / "0").rename(photos / "zero")  # known by their content, not by their names
    try:
        again = ran([*command(photos, target, cluster.address), "--replace"])
    finally:
        (photos / "zero").rename(photos / "0")
    assert json.loads(again.stdout)["computed"] == 0, again.stderr


def test_a_node_that_is_lost_loses_nothing(photos, here, cluster, tmp_path):  # the last that uses the cluster
    target = tmp_path / "far"
    with subprocess.Popen(
        command(photos, target, cluster.address), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        wait_for_shards(target, 2)
        cluster.stdin.write("kill\n")
        cluster.stdin.flush()
        _, errors = run.communicate(timeout=ENOUGH)
    assert run.returncode == 0, errors
    assert_equal(FeatureStore(target), here)


def test_a_cluster_that_cannot_be_reached_is_named(photos, tmp_path):
    done = subprocess.run(
        command(photos, tmp_path / "b.h5", "127.0.0.1:1"), capture_output=True, text=True, timeout=ENOUGH
    )
    assert done.returncode == 1
    assert "no Ray cluster could be reached (127.0.0.1:1)" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_ray_the_extra_is_named(photos, tmp_path):
    script = "import sys; sys.modules['ray'] = None; from featurekit_cli.main import run; run()"
    done = ran([sys.executable, "-c", script, *command(photos, tmp_path / "a.h5", "auto")[3:]])
    assert done.returncode == 1
    assert "pip install ray (featurekit's extra 'ray')" in done.stderr
