"""Fixtures of the tests and of the examples in docstrings. Here, because pytest looks above both."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest

# What is compiled is kept, whatever the environment says: the tests start hundreds of processes, and the test command
# installs packages that are not compiled yet.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# Two processes of tests share the cores: threads that spin while they wait take them from each other.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Nothing in the tests may reach for weights on the network, whoever runs them.
os.environ["FEATUREKIT_OFFLINE"] = "1"
# Converted networks are kept for the session, out of the user's own cache; processes of tests share them. CI names a
# folder in which one session leaves them for the next.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _CACHE = tempfile.TemporaryDirectory(prefix="featurekit-tests-")
    os.environ["FEATUREKIT_CACHE"] = os.environ.get("FEATUREKIT_TESTS_CACHE", _CACHE.name)
    os.makedirs(os.environ["FEATUREKIT_CACHE"], exist_ok=True)


# The marks of the tests that use a fixture.
_MARKS = {"bucket": "s3", "browser": "browser"}

# Slow tests that cannot carry a mark: examples in docstrings, and checks that scikit-learn parametrizes.
_SLOW = (
    "featurekit.advisor.growth.growth",
    "featurekit.advisor.run.advise",
    "featurekit.advisor.similarity.similarity",
    "featurekit.heads.batches.FitsInBatches.fit_batches",
    "featurekit.onnx_export.run.export_onnx",
    "featurekit.store.joined.JoinedStores",
    "PicturedClassifier()-check_classifier",
    "PicturedClassifier()-check_estimators_dtypes",
    "PicturedClassifier()-check_methods_subset_invariance",
    "PicturedRegressor()-",
    # The heads whose fits take longest; those of the others, and a few checks of them, stay.
    "AutoHead()-check_c",
    "AutoHead()-check_sample_weight",
    "AutoHead()-check_supervised",
    "SVMPath()-",  # and those of LinearSVMPath
    "SVMRegressionPath()-",
)


def pytest_configure(config):
    """Give each of several test processes one thread: with two threads each, the same work took 1.5 times as long."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items):
    """Mark the tests by the fixtures that they use, and those of `_SLOW`."""
    for item in items:
        for fixture, mark in _MARKS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(mark)
        if any(name in item.nodeid for name in _SLOW):
            item.add_marker("slow")


def pytest_runtest_setup(item):
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(scope="session")
def shared_by_workers(tmp_path_factory):
    """Makes something once for all processes of tests: ``shared_by_workers(name, make)`` calls `make(folder)`."""
    home = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        home = home.parent

    def shared(name, make):
        from filelock import FileLock

        folder = home / f"shared-{name}"
        with FileLock(home / f"shared-{name}.lock"):
            if not folder.exists():
                # Under another name until it is complete: a `make` that fails is tried again by the next process.
                begun = home / f"shared-{name}.{os.getpid()}"
                begun.mkdir()
                make(begun)
                begun.rename(folder)
        return folder

    return shared


@pytest.fixture(scope="session")
def digits_folder(shared_by_workers):
    """60 of scikit-learn's digits as PNG files: 20 of each of the classes 0, 1 and 2."""

    def make(folder):
        import numpy as np
        from PIL import Image
        from sklearn.datasets import load_digits

        digits = load_digits()
        for label in (0, 1, 2):
            (folder / str(label)).mkdir()
            for number, index in enumerate(np.flatnonzero(digits.target == label)[:20]):
                pixels = (digits.images[index] * 15).astype(np.uint8)
                Image.fromarray(pixels).save(folder / str(label) / f"{number:03d}.png")

    return shared_by_workers("digits", make)


@pytest.fixture(scope="session")
def digits_store_path(digits_folder, shared_by_workers):
    """Path of the store of `digits_folder`: written once, not to be changed."""
    return _digits_store(digits_folder, shared_by_workers, "store", "digits.h5")


@pytest.fixture(scope="session")
def digits_folder_store_path(digits_folder, shared_by_workers):
    """Path of a folder store of the same rows: written once, not to be changed."""
    return _digits_store(digits_folder, shared_by_workers, "folder-store", "digits")


@pytest.fixture(scope="session")
def small_store_path(digits_folder, shared_by_workers):
    """Path of the store of `digits_folder` by `small.extract`: written once, not to be changed."""
    from small import SIDE

    return _digits_store(digits_folder, shared_by_workers, "small-store", "digits.h5", image_size=SIDE)


@pytest.fixture(scope="session")
def small_folder_store_path(digits_folder, shared_by_workers):
    """Path of a folder store of the same rows: written once, not to be changed."""
    from small import SIDE

    return _digits_store(digits_folder, shared_by_workers, "small-folder-store", "digits", image_size=SIDE)


def _digits_store(digits_folder, shared_by_workers, shared, name, **options):
    """Extract a store of `digits_folder` once for all processes of tests, and return its path."""

    def make(folder):
        from featurekit import extract

        extract(digits_folder, output=folder / name, **options).close()

    return shared_by_workers(shared, make) / name


@pytest.fixture
def small_store(small_store_path):
    """The store of `digits_folder` by `small.extract`."""
    from featurekit import FeatureStore

    with FeatureStore(small_store_path) as store:
        yield store


@pytest.fixture
def digits_store(digits_store_path):
    """The store of `digits_folder`."""
    from featurekit import FeatureStore

    with FeatureStore(digits_store_path) as store:
        yield store


@pytest.fixture
def scipy_array_api():
    """Skips where scikit-learn may not dispatch; tests/heads/test_on_device.py runs a process where it may."""
    if os.environ.get("SCIPY_ARRAY_API") != "1":
        pytest.skip("needs SCIPY_ARRAY_API=1 before SciPy is imported")


@pytest.fixture
def forwards(monkeypatch):
    """Counts the images that the network runs over, in this process."""
    from calls import lengths

    from featurekit.runtime.openvino_runtime import OpenVinoRuntime

    return lengths(monkeypatch, OpenVinoRuntime, "submit", argument=1)


@pytest.fixture(scope="session")
def photos():
    """Eight different crops of the two photographs that scikit-learn ships, as PIL images."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    pictures = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    boxes = [(0, 0, 400, 300), (100, 50, 640, 427), (50, 20, 250, 420), (200, 200, 456, 424)]
    return [picture.crop(box) for picture in pictures for box in boxes]


@pytest.fixture(scope="session")
def shared_data():
    """The real photos beside the checkout; a test that needs them is skipped where they are absent."""
    folder = Path(__file__).parent.parent / "shared" / "data"
    if not (folder / "clothing").is_dir():
        pytest.skip(f"needs the photos in {folder}")
    return folder
