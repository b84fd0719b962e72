"""Data set objects of other libraries."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from small import SIDE, extract
from torch.utils.data import Dataset, IterableDataset, Subset
from torchvision.datasets import FakeData, ImageFolder
from torchvision.transforms import ToTensor

from featurekit import FeatureExtractor
from featurekit.errors import SourceError
from featurekit.images import items_from, open_origin


class Pairs(Dataset):
    """(image, label) of a folder, drawn when asked."""

    def __init__(self, paths, as_array=False):
        self.paths, self.as_array, self.asked = paths, as_array, 0

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        self.asked += 1
        image = Image.open(self.paths[index]).convert("RGB")
        return (np.asarray(image) if self.as_array else image), int(self.paths[index].parent.name)


@pytest.fixture(scope="module")
def paths(digits_folder):
    return sorted(digits_folder.glob("*/*.png"))[::6]


def test_a_folder_of_torchvision_is_read_as_files(digits_folder, small_store, tmp_path):
    store = extract(ImageFolder(digits_folder), output=tmp_path / "s.h5")
    assert store.paths == small_store.paths
    assert store.columns.label.tolist() == small_store.columns.label.tolist()
    assert np.array_equal(store.X[:], small_store.X[:])
    part = Subset(ImageFolder(digits_folder), [40, 3])
    assert [item.label for item in items_from(part)] == ["2", "0"]


@pytest.mark.parametrize("as_array", [False, True])
def test_a_data_set_of_torch_is_read(paths, as_array, tmp_path):
    dataset = Pairs(paths, as_array)
    store = extract(dataset, output=tmp_path / "s.h5")
    assert store.columns.label.tolist() == [path.parent.name.encode() for path in paths]
    assert np.allclose(store.X[:], FeatureExtractor(image_size=SIDE).fit_transform(paths), atol=1e-4)
    assert extract(dataset, output=tmp_path / "s.h5").summary.computed == 0
    given = items_from(dataset, labels=["a"] * len(paths))
    assert {item.label for item in given} == {"a"}


def test_images_are_drawn_when_they_are_looked_at(paths):
    dataset = Pairs(paths)
    dataset.targets = [0] * len(paths)
    items = items_from(dataset)
    assert dataset.asked == 1
    assert open_origin(items[3].origin).size == (8, 8)


def test_tensors_and_streams_are_refused_as_data_sets():
    with pytest.raises(SourceError, match="gives Tensor objects; .* without a transform"):
        items_from(FakeData(4, transform=ToTensor()))

    class Stream(IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(SourceError, match="Stream can only be gone through"):
        items_from(Stream())


def test_a_data_set_that_fails_is_a_line_of_the_ledger(paths, tmp_path):
    class Failing(Pairs):
        def __getitem__(self, index):
            if index == 2:
                raise RuntimeError("worn out")
            return super().__getitem__(index)

    dataset = Failing(paths)
    dataset.targets = [0] * len(paths)
    store = extract(dataset, output=tmp_path / "s.h5")
    (failed,) = store.ledger.where("failed")
    assert failed.reason == "the data set gives no image: RuntimeError: worn out"
    assert len(store) == len(paths) - 1


def test_a_data_set_of_hugging_face_is_read(paths, tmp_path):
    datasets = pytest.importorskip("datasets")
    columns = {
        "photo": [str(path) for path in paths],
        "kind": [int(path.parent.name) for path in paths],
        "more": [0.5] * len(paths),
    }
    features = datasets.Features(
        {
            "photo": datasets.Image(),
            "kind": datasets.ClassLabel(names=["zero", "one", "two"]),
            "more": datasets.Value("float32"),
        }
    )
    dataset = datasets.Dataset.from_dict(columns, features=features)
    store = extract(dataset, output=tmp_path / "s.h5")
    names = ("zero", "one", "two")
    assert store.columns.label.tolist() == [names[int(path.parent.name)].encode() for path in paths]
    assert np.array_equal(store.X[:], FeatureExtractor(image_size=SIDE).fit_transform([str(path) for path in paths]))
    # With the bytes inside, as from a parquet file.
    cells = [{"bytes": path.read_bytes(), "path": None} for path in paths]
    inside = datasets.Dataset.from_dict(columns | {"photo": cells}, features=features)
    again = extract(inside, output=tmp_path / "t.h5")
    assert np.array_equal(again.X[:], store.X[:])
    with pytest.raises(SourceError, match="choose one of train"):
        items_from(datasets.DatasetDict({"train": dataset}))
    with pytest.raises(SourceError, match="can only be gone through"):
        items_from(dataset.to_iterable_dataset())
    with pytest.raises(SourceError, match=r"none of the columns more holds images"):
        items_from(dataset.select_columns(["more"]))
