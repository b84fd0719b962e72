from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import joblib
import numpy as np
import pandas
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featurekit import FeatureExtractor, FeatureStore, TransferClassifier, evaluate, extract, load_model
from featurekit.errors import BundleError, FeatureSpaceError, HeadError
from featurekit.heads import HEADS


@pytest.fixture(scope="module")
def paths(digits_folder):
    return [str(path) for path in sorted(digits_folder.glob("*/*.png"))]


@pytest.fixture(scope="module")
def labels(paths):
    return [path.split("/")[-2] for path in paths]


@pytest.fixture(scope="module")
def fitted(digits_store_path):
    return TransferClassifier(cache=digits_store_path).fit(FeatureStore(digits_store_path))


def test_images_and_store_give_the_same(paths, labels, digits_store_path, fitted, digits_store):
    by_paths = TransferClassifier(cache=digits_store_path).fit(paths, labels)
    assert by_paths.classes_.tolist() == ["0", "1", "2"]
    assert (by_paths.predict(paths) == fitted.predict(digits_store)).all()
    assert np.array_equal(by_paths.predict_proba(paths), fitted.predict_proba(digits_store))
    assert by_paths.score(paths, labels) == evaluate(fitted, digits_store).accuracy


@pytest.mark.parametrize("make", [list, np.array, pandas.Series, lambda y: np.array(y, dtype=object)])
def test_labels_in_every_container(paths, labels, digits_store_path, make):
    clf = TransferClassifier(cache=digits_store_path, head="lda").fit(paths, make(labels))
    assert clf.classes_.tolist() == ["0", "1", "2"]
    assert clf.predict(paths[:1]).tolist() == ["0"]


def test_numbers_as_labels_stay_numbers(paths, labels, digits_store_path):
    clf = TransferClassifier(cache=digits_store_path, head="lda").fit(paths, [int(y) for y in labels])
    assert clf.predict(paths[-1:]).tolist() == [2]


@pytest.mark.slow
def test_searches_and_clones(paths, labels, digits_store_path):
    clf = TransferClassifier(cache=digits_store_path)
    heads = ["lda", "knn", make_pipeline(StandardScaler(), SGDClassifier(random_state=0))]
    search = GridSearchCV(clf, {"head": heads}, cv=3).fit(paths, labels)
    assert search.best_score_ > 0.9
    assert cross_val_score(clone(clf), paths, labels, cv=3).mean() > 0.9
    assert "extractor_" not in vars(clone(search.best_estimator_))


def test_any_classifier_is_a_head(digits_store):
    head = make_pipeline(StandardScaler(), RandomForestClassifier(n_estimators=10, random_state=0))
    clf = TransferClassifier(head=head).fit(digits_store)
    assert evaluate(clf, digits_store).accuracy > 0.9
    assert not hasattr(head, "classes_")  # a clone was fitted


def test_methods_are_there_only_where_the_head_has_them(digits_store):
    clf = TransferClassifier(head=SGDClassifier(max_iter=20, tol=None)).fit(digits_store)
    assert not hasattr(clf, "predict_proba")
    assert clf.decision_function(digits_store).shape == (60, 3)
    assert not hasattr(TransferClassifier(head=KNeighborsClassifier()).fit(digits_store), "decision_function")


def test_wrong_labels_are_refused(paths, digits_store_path, fitted):
    clf = TransferClassifier(cache=digits_store_path)
    with pytest.raises(ValueError, match="y is missing"):
        clf.fit(paths)
    with pytest.raises(ValueError, match="60 images but 2 labels"):
        clf.fit(paths, ["a", "b"])
    with pytest.raises(HeadError, match="at least two classes"):
        clf.fit(paths, ["a"] * 60)
    with pytest.raises(ValueError, match="continuous"):
        clf.fit(paths, np.linspace(0, 1, 60))
    with pytest.raises(ValueError, match="y is missing"):
        evaluate(fitted, paths[:2])


def test_rows_without_a_label_are_left_out(digits_folder, tmp_path):
    lines = [
        f"{p.relative_to(digits_folder)},{p.parent.name if i % 2 else ''}"
        for i, p in enumerate(sorted(digits_folder.glob("*/*.png")))
    ]
    (tmp_path / "m.csv").write_text("\n".join(["path,label", *lines]))
    store = extract(tmp_path / "m.csv", root=digits_folder, output=tmp_path / "s.h5")
    clf = TransferClassifier(head="lda").fit(store)
    assert clf.head_.n_features_in_ == 816
    assert clf.predict(store).shape == (60,)
    assert evaluate(clf, store).n == 30


# --- bundles -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", list(HEADS))
def test_every_head_is_saved_and_loaded(head, digits_store, tmp_path):
    clf = TransferClassifier(head=head).fit(digits_store)
    clf.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    assert again.classes_.tolist() == ["0", "1", "2"]
    assert np.array_equal(again.predict_proba(digits_store), clf.predict_proba(digits_store))
    files = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert files == ["README.md", "head.skops", "model.json"]
    assert b"pickle" not in (tmp_path / "model" / "head.skops").read_bytes()


def test_a_model_predicts_in_another_process(fitted, paths, tmp_path, digits_store):
    fitted.save(tmp_path / "model")
    code = (
        f"from featurekit import load_model\nprint(*load_model({str(tmp_path / 'model')!r}).predict({paths[::20]!r}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["0", "1", "2"]


@pytest.mark.slow
def test_fitting_and_loading_need_no_torch(digits_store_path, tmp_path):
    code = (
        "import sys; from featurekit import FeatureStore, TransferClassifier, load_model\n"
        f"store = FeatureStore({str(digits_store_path)!r})\n"
        f"TransferClassifier(head='svm').fit(store).save({str(tmp_path / 'm')!r})\n"
        f"load_model({str(tmp_path / 'm')!r}).predict_proba(store)\n"
        "assert not {'torch', 'torchvision', 'timm'} & set(sys.modules)\n"
        "import torch; torch.zeros(1)"  # and it can still be imported afterwards
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_saving_replaces_a_model_and_nothing_else(fitted, tmp_path):
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")
    (tmp_path / "mine").mkdir()
    fitted.save(tmp_path / "mine")  # an empty folder is fine
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("precious")
    with pytest.raises(BundleError, match="is not a saved model. Nothing was changed"):
        fitted.save(tmp_path / "other")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(BundleError, match="is not a saved model"):
        fitted.save(tmp_path / "file")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "mine", "model", "other"]


def test_a_pickle_is_refused(fitted, tmp_path):
    joblib.dump(fitted, tmp_path / "model.joblib")
    with pytest.raises(BundleError, match=r"A pickle can run any code"):
        load_model(tmp_path / "model.joblib")
    assert joblib.load(tmp_path / "model.joblib").classes_.tolist() == ["0", "1", "2"]


class Mine(SGDClassifier):
    pass


def test_unknown_types_are_refused_unless_trusted(digits_store, tmp_path):
    with pytest.warns(UserWarning, match="are not loaded without being named: .*Mine"):
        TransferClassifier(head=Mine(max_iter=20, tol=None)).fit(digits_store).save(tmp_path / "m")
    name = f"{Mine.__module__}.Mine"
    with pytest.raises(BundleError, match=rf"do(es)? not know: {name}.*Nothing was loaded"):
        load_model(tmp_path / "m")
    assert isinstance(load_model(tmp_path / "m", trusted=[name]).head_, Mine)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: (m / "model.json").unlink(), "no saved model"),
        (lambda m: (m / "head.skops").unlink(), "no saved model"),
        (lambda m: (m / "model.json").write_text("{"), "cannot read"),
        (lambda m: (m / "model.json").write_text("[]"), "not the description"),
        (lambda m: (m / "head.skops").write_bytes(b"PK\3\4 nonsense"), "cannot read"),
        (lambda m: edit(m, version=2), "has version 2"),
        (lambda m: edit(m, format="x"), "not the description"),
        (lambda m: edit(m, space={}), "damaged"),
        (lambda m: edit(m, fingerprint="0"), "fingerprint"),
        (lambda m: edit(m, settings=None), "damaged"),
    ],
)
def test_damaged_models(fitted, tmp_path, spoil, message):
    model = fitted.save(tmp_path / "model")
    spoil(model)
    with pytest.raises(BundleError, match=message):
        load_model(model)


def edit(model, **changes):
    data = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(data | changes))


@pytest.mark.slow
def test_a_model_knows_its_feature_space(fitted, digits_folder, tmp_path, paths):
    import torch
    import torchvision

    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "w.pth")
    other = extract(digits_folder, output=tmp_path / "r.h5", backbone="resnet18", weights=tmp_path / "w.pth")
    with pytest.raises(FeatureSpaceError, match="another feature space"):
        fitted.predict(other)
    clf = TransferClassifier("resnet18", "lda", weights=tmp_path / "w.pth").fit(
        paths[::4], [p.split("/")[-2] for p in paths[::4]]
    )
    clf.save(tmp_path / "model")
    (tmp_path / "w.pth").rename(tmp_path / "moved.pth")
    with pytest.raises(Exception, match="no such weight file"):
        load_model(tmp_path / "model").predict(paths[:1])
    moved = load_model(tmp_path / "model", weights=tmp_path / "moved.pth")
    assert (
        moved.predict(paths[:1]).tolist() == clf.set_params(weights=tmp_path / "moved.pth").predict(paths[:1]).tolist()
    )


def test_extractor_and_classifier_take_the_same_settings():
    common = set(FeatureExtractor().get_params())
    assert set(TransferClassifier().get_params()) == common | {"head"}


def test_labels_that_the_classifier_has_never_seen(fitted, digits_store, paths):
    with pytest.raises(HeadError, match="the classifier knows none of these labels: x. It knows: 0, 1, 2"):
        evaluate(fitted, paths, ["x"] * len(paths))
    with pytest.warns(UserWarning, match="has never seen x: it is wrong wherever"):
        evaluate(fitted, paths, ["x", *digits_store.y[1:]])


def test_a_failed_replacement_keeps_the_old_model(fitted, tmp_path, monkeypatch):
    fitted.save(tmp_path / "m")
    original, calls = Path.rename, []

    def rename(self, target):
        calls.append(self)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        fitted.save(tmp_path / "m")
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]
    assert load_model(tmp_path / "m").classes_.tolist() == ["0", "1", "2"]


def test_a_zip_bomb_in_a_model_is_not_unpacked(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    with zipfile.ZipFile(tmp_path / "m" / "head.skops", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.npy", bytes(50_000_000))
    with pytest.raises(BundleError, match="would unpack to 50 MB"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize("classes", [["a", "b", "c"], None, "012", ["0", "0", "1"], ["0", "1"]])
def test_classes_that_are_not_the_heads(fitted, tmp_path, classes):
    fitted.save(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"classes": classes}))
    with pytest.raises(BundleError, match="is damaged: .*classes"):
        load_model(tmp_path / "m")


def test_deeply_nested_json_is_refused(fitted, tmp_path):
    fitted.save(tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text("[" * 200_000)
    with pytest.raises(BundleError, match="cannot read"):
        load_model(tmp_path / "m")
