"""Data set objects of Hugging Face, torch and torchvision as items. Neither library is imported here."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import SourceError
from .decode import read_file
from .items import Drawn, Item, as_label


def is_dataset(images: object) -> bool:
    """Whether this is a data set object: of Hugging Face, or of torch's (image, label)."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(images).__mro__}
    return bool(kinds & {"datasets.Dataset", "datasets.IterableDataset", "datasets.DatasetDict", "torch.Dataset"})


def items_of_dataset(dataset: Any) -> list[Item]:
    """Items of a data set object; images are drawn when they are looked at, labels now.

    Parameters
    ----------
    dataset : datasets.Dataset or torch.utils.data.Dataset
        Of Hugging Face: its first column of images, and its first column of class labels, or that which is called
        ``label`` or ``labels``. Of torch: pairs of an image (a PIL image, a uint8 array, a path, bytes) and a label;
        torchvision's folders are read as files, and their transforms are left out.

    Raises
    ------
    SourceError
        If it holds no images, or can only be gone through.
    """
    if type(dataset).__module__.partition(".")[0] == "datasets":
        return _of_hugging_face(dataset)
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise SourceError(f"{type(dataset).__name__} can only be gone through; give a data set with a length")
    if hasattr(dataset, "indices") and hasattr(dataset, "dataset"):  # torch.utils.data.Subset
        whole = items_of_dataset(dataset.dataset)
        return [whole[int(index)] for index in dataset.indices]
    if hasattr(dataset, "samples") and hasattr(dataset, "root"):  # torchvision's folders
        names = _names(dataset)
        root = os.fspath(dataset.root)
        return [Item(os.path.relpath(path, root), path, names(label)) for path, label in dataset.samples]
    return _of_torch(dataset)


def _of_torch(dataset: Any) -> list[Item]:
    names = _names(dataset)
    labels = getattr(dataset, "targets", None)
    if labels is None or len(labels) != len(dataset):
        labels = [_pair(dataset, index)[1] for index in range(len(dataset))]
    if len(dataset):
        _drawn_of_torch(dataset, 0)  # what it gives is seen now, and not in a ledger
    return [Item(_name(i), Drawn(dataset, i, _drawn_of_torch), names(label)) for i, label in enumerate(labels)]


def _pair(dataset: Any, index: int) -> tuple[Any, Any]:
    drawn = dataset[index]
    if isinstance(drawn, tuple | list) and len(drawn) >= 2:
        return drawn[0], drawn[1]
    return drawn, None


def _drawn_of_torch(dataset: Any, index: int) -> bytes | Image.Image | NDArray[np.uint8]:
    image = _pair(dataset, index)[0]
    if isinstance(image, str | os.PathLike):
        return read_file(image)[0]
    if isinstance(image, bytes | Image.Image) or (isinstance(image, np.ndarray) and image.dtype == np.uint8):
        return image
    raise SourceError(
        f"{type(dataset).__name__} gives {type(image).__name__} objects; expected PIL images or uint8 arrays. Make it "
        "without a transform: images are prepared as the network's weights were trained"
    )


def _of_hugging_face(dataset: Any) -> list[Item]:
    kind = type(dataset).__name__
    if isinstance(dataset, dict):
        raise SourceError(f"a {kind} holds several data sets; choose one of {', '.join(map(str, dataset))}")
    if not hasattr(dataset, "__len__") or not hasattr(dataset, "features") or dataset.features is None:
        raise SourceError(
            f"a {kind} of Hugging Face can only be gone through; give one split, downloaded: load_dataset(..., "
            "split='train')"
        )
    features = dataset.features
    images = [name for name, feature in features.items() if getattr(feature, "_type", "") == "Image"]
    if not images:
        raise SourceError(f"none of the columns {', '.join(features)} holds images (datasets.Image)")
    classes = [name for name, feature in features.items() if getattr(feature, "_type", "") == "ClassLabel"]
    label = next(iter([*classes, *(name for name in ("label", "labels") if name in features)]), None)
    values: list[Any] = [None] * len(dataset) if label is None else list(dataset.with_format(None)[label])
    if label is not None and label in classes:
        to_name = features[label].int2str
        values = [None if value is None or value < 0 else to_name(value) for value in values]
    image_type = type(features[images[0]])
    bare = dataset.with_format(None).select_columns(images[:1]).cast_column(images[0], image_type(decode=False))
    return [Item(_name(i), Drawn(bare, i, _drawn_of_hugging_face), as_label(value)) for i, value in enumerate(values)]


def _drawn_of_hugging_face(dataset: Any, index: int) -> bytes:
    (cell,) = dataset[index].values()
    if cell is None:
        raise SourceError("the data set has no image in this row")
    if cell.get("bytes") is not None:
        return bytes(cell["bytes"])
    return read_file(cell["path"])[0]


def _names(dataset: Any) -> Any:
    """What turns a label of a data set into text: the name of its class, if it has one."""
    classes = getattr(dataset, "classes", None)

    def name(label: Any) -> str:
        if hasattr(label, "item"):
            if getattr(label, "size", 1) not in {1} and np.size(label) != 1:
                raise SourceError("the data set has more than one label for an image; give them as labels=...")
            label = label.item()
        if isinstance(label, int) and not isinstance(label, bool) and classes and 0 <= label < len(classes):
            return as_label(classes[label])
        return as_label(label)

    return name


def _name(index: int) -> str:
    return f"image-{index:07d}"
