from __future__ import annotations

import multiprocessing
import os
import shutil

import joblib
import numpy as np
import pandas
import pytest
from odd_files import write_bad
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from small import SIDE, extract

from featurekit import FeatureExtractor
from featurekit.errors import FeatureSpaceError, ImageError, SourceError


@pytest.fixture
def paths(digits_folder):
    return [str(path) for path in sorted(digits_folder.glob("*/*.png"))]


@pytest.fixture
def labels(paths):
    return [os.path.basename(os.path.dirname(path)) for path in paths]


def test_rows_equal_those_of_extract(paths, digits_store):
    assert np.array_equal(FeatureExtractor().fit_transform(paths), digits_store.X[...])


def test_a_search_runs_the_network_once_for_each_image(paths, labels, tmp_path, forwards):
    """Must show 5: paths in, folds and candidates inside, one forward for each image in total."""
    pipe = make_pipeline(FeatureExtractor(image_size=SIDE, cache=tmp_path / "cache"), StandardScaler(), SVC())
    search = GridSearchCV(pipe, {"svc__C": [0.1, 1, 10]}, cv=5).fit(paths, labels)
    assert search.best_score_ > 0.5  # an RBF kernel on 48 standardised rows of 1,280; chance is 0.33
    assert sum(forwards) == len(paths) == 60
    cross_val_score(clone(pipe), paths, labels, cv=3)
    assert sum(forwards) == 60


@pytest.mark.slow
def test_a_search_with_several_processes_does_as_well(paths, labels, tmp_path):
    """Which process computes is chance; that every image is computed once is in the shards: no hash is there twice."""
    from featurekit import FeatureStore

    pipe = make_pipeline(FeatureExtractor(cache=tmp_path / "cache"), StandardScaler(), SVC())
    GridSearchCV(pipe, {"svc__C": [0.1, 1]}, cv=3, n_jobs=2).fit(paths, labels)
    (folder,) = (tmp_path / "cache").iterdir()
    hashes = [bytes(h) for shard in folder.glob("rows-*.h5") for h in FeatureStore(shard).columns.sha256]
    assert len(hashes) == len(set(hashes)) == 60


@pytest.mark.slow
def test_feature_spaces_share_a_cache_folder(paths, tmp_path, forwards):
    import torch
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    for _ in range(2):
        lite = FeatureExtractor(cache=tmp_path / "cache").fit_transform(paths[:4])
        options = {"weights": tmp_path / "w.pth", "runtime": "torch", "cache": tmp_path / "cache"}
        resnet = FeatureExtractor("resnet18", **options).fit_transform(paths[:4])
    assert (lite.shape, resnet.shape) == ((4, 816), (4, 1024))
    assert sum(forwards) == 4  # those of lite0; PyTorch's are not counted


def test_a_store_is_a_cache_that_is_never_changed(paths, digits_store_path, digits_folder, tmp_path, photos, forwards):
    store = tmp_path / "s.h5"
    shutil.copy(digits_store_path, store)
    before = store.read_bytes()
    extractor = FeatureExtractor(cache=store).fit(paths)
    extractor.transform(paths)
    assert not forwards
    assert os.listdir(tmp_path) == ["s.h5"]
    extractor.transform(photos)
    extractor.transform(photos)
    assert sum(forwards) == 8
    assert store.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["s.h5", "s.h5.parts"]


def test_a_cache_file_need_not_be_there_yet(paths, tmp_path, digits_folder, forwards):
    FeatureExtractor(image_size=SIDE, cache=tmp_path / "s.h5").fit_transform(paths)
    assert extract(digits_folder, output=tmp_path / "s.h5").summary.reused == 60
    assert sum(forwards) == 60


def test_a_cache_without_write_permission_still_gives_what_it_has(paths, digits_store_path, tmp_path):
    store = tmp_path / "s.h5"
    shutil.copy(digits_store_path, store)
    tmp_path.chmod(0o500)
    try:
        assert FeatureExtractor(cache=store).fit_transform(paths).shape == (60, 816)
    finally:
        tmp_path.chmod(0o700)


def test_a_file_that_is_not_a_store_is_refused_as_cache(paths, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="cache must be a folder, or a store"):
        FeatureExtractor(cache=tmp_path / "file").fit_transform(paths[:1])


def test_bad_images_raise_and_the_others_are_kept(paths, tmp_path, forwards):
    bad = tmp_path / "bad"
    bad.mkdir()
    names = [str(bad / name) for name in write_bad(bad)]
    extractor = FeatureExtractor(cache=tmp_path / "cache").fit(paths)
    with pytest.raises(ImageError, match=rf"{len(names)} of {len(names) + 4} images could not be read") as caught:
        extractor.transform([*paths[:2], *names, *paths[2:4]])
    assert [index for index, _, _ in caught.value.failures] == list(range(2, 2 + len(names)))
    assert sum(forwards) == 4
    extractor.transform(paths[:4])
    assert sum(forwards) == 4


@pytest.mark.slow
def test_errors_keep_their_failures_across_processes(tmp_path):
    with pytest.raises(ImageError) as caught:
        joblib.Parallel(n_jobs=2)(
            joblib.delayed(FeatureExtractor().fit_transform)([str(tmp_path / f"{i}.jpg")]) for i in range(2)
        )
    assert len(caught.value.failures) == 1


def test_paths_arrays_images_and_series_give_the_same_rows(photos, tmp_path):
    extractor = FeatureExtractor().fit(None)
    expected = extractor.transform(photos[:2])
    for i, photo in enumerate(photos[:2]):
        photo.save(tmp_path / f"{i}.png")
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    arrays = [np.asarray(photo) for photo in photos[:2]]
    for images in (files, [str(f) for f in files], arrays, pandas.Series(files), np.array([str(f) for f in files])):
        assert np.array_equal(extractor.transform(images), expected)
    frame = pandas.DataFrame({"photo": [str(f) for f in files], "price": [1.0, 2.0]})
    for column in ("photo", ["photo"]):
        rows = make_column_transformer((FeatureExtractor(), column), ("passthrough", ["price"])).fit_transform(frame)
        assert np.array_equal(np.asarray(rows)[:, :816].astype(np.float32), expected)


def test_scikit_learns_conventions(paths, digits_store):
    extractor = FeatureExtractor(batch_size=8)
    with pytest.raises(NotFittedError):
        extractor.transform(paths)
    assert clone(extractor).get_params() == extractor.get_params()
    assert "space_" not in vars(extractor)
    names = extractor.fit(paths).get_feature_names_out()
    assert names[0] == "efficientnet_lite0.bn1.0"
    assert len(names) == 816
    frame = extractor.set_output(transform="pandas").transform(paths[:2])
    assert list(frame.columns) == list(names)
    again = joblib.load(_dumped(extractor))
    assert again.space_ == extractor.space_
    assert np.array_equal(FeatureExtractor().fit(digits_store).transform(digits_store), digits_store.X[...])


def _dumped(thing):
    import io

    buffer = io.BytesIO()
    joblib.dump(thing, buffer)
    buffer.seek(0)
    return buffer


@pytest.mark.slow
def test_changed_weights_are_noticed(paths, tmp_path):
    import torch
    import torchvision

    options = {"weights": tmp_path / "w.pth", "runtime": "torch", "image_size": SIDE, "cache": tmp_path / "cache"}
    extractor = FeatureExtractor("resnet18", **options)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    first = extractor.fit_transform(paths[:2])
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    with pytest.raises(FeatureSpaceError, match="weights: .*Fit it again"):
        extractor.transform(paths[:2])
    assert not np.allclose(extractor.fit_transform(paths[:2]), first)


def test_a_store_of_another_backbone(digits_store):
    with pytest.raises(FeatureSpaceError, match="'efficientnet_lite0', not of 'resnet18'"):
        FeatureExtractor("resnet18").fit(digits_store)


def test_an_empty_list_of_images_is_refused():
    with pytest.raises(SourceError, match="at least one image"):
        FeatureExtractor().fit_transform([])


def _transform(arguments):
    paths, cache = arguments
    return FeatureExtractor(cache=cache).fit_transform(paths)


@pytest.mark.slow
def test_two_processes_share_a_cache(paths, tmp_path):
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        first, second = pool.map(_transform, [(paths, tmp_path / "c"), (paths[::-1], tmp_path / "c")], chunksize=1)
    assert np.array_equal(first, second[::-1])
    (folder,) = (tmp_path / "c").iterdir()
    assert not (folder / "lock").exists()
