from __future__ import annotations

import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from featurekit import FeatureExtractor, FineTuneClassifier, TransferClassifier, evaluate, extract, load_model
from featurekit.bundle import NETWORK
from featurekit.errors import BackboneError, BundleError, HeadError, ImageError, SourceError, TrainingError

# A conversion for OpenVINO takes longer than PyTorch takes for these few images.
LITE0 = {"image_size": 64, "runtime": "torch"}
FROZEN = {"head": "logreg", "layer": "penultimate"}


@pytest.fixture(scope="module")
def tuned(paths, labels, tmp_path_factory):
    """Lite0, two stages, three epochs."""
    said = []
    options = {"image_size": 96, "runtime": "torch", "say": said.append}
    model = FineTuneClassifier(unfreeze=2, epochs=3, **options).fit(paths, labels)
    model.said = said
    return model


@pytest.fixture
def small(small_weights):
    """A quick network whose features know nothing, on small images."""
    options = {"weights": small_weights, "runtime": "torch", "epochs": 2, "learning_rate": 2e-5, "image_size": 96}
    return FineTuneClassifier("mobilenet_v3_small", **options)


def digest(model):
    return hashlib.sha256(model.network_).hexdigest()


@pytest.mark.slow
def test_history_and_messages_of_a_training(tuned):
    assert [record["epoch"] for record in tuned.history_] == [0, 1, 2, 3]
    assert tuned.history_[0]["loss"] is None
    assert list(tuned.history_[1]["rates"]) == ["head", "blocks.6", "blocks.5"]
    best = tuned.history_[tuned.best_epoch_]
    assert best["accuracy"] == max(record["accuracy"] for record in tuned.history_)
    assert tuned.comparison_["accuracy"] == best["accuracy"]
    assert tuned.comparison_["frozen_accuracy"] == tuned.history_[0]["accuracy"]
    assert tuned.comparison_["n"] == 12
    assert "trunk cache: 48 images x 2 views x 8 kB = 1 MB" in tuned.said[0]
    assert tuned.said[1].startswith("before the first step: validation accuracy")
    assert all(name.startswith(("blocks.5", "blocks.6", "conv_head", "bn2")) for name in tuned.trained_)


@pytest.mark.slow
def test_it_is_a_classifier_like_the_frozen_one(tuned, paths, labels, tmp_path):
    assert tuned.classes_.tolist() == ["0", "1", "2"]
    probabilities = tuned.predict_proba(paths)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(60), abs=1e-5)
    assert (tuned.predict(paths) == tuned.classes_[probabilities.argmax(axis=1)]).all()
    assert tuned.score(paths, labels) > 0.95
    assert evaluate(tuned, paths, labels).accuracy > 0.95
    assert not hasattr(clone(tuned), "classes_")
    again = pickle.loads(pickle.dumps(tuned))
    assert np.array_equal(again.predict_proba(paths[:5]), tuned.predict_proba(paths[:5]))


@pytest.mark.slow
def test_saved_loaded_and_saved_again(small, paths, labels, tmp_path):
    options = {"pretrained": False, "augment": "none", "epochs": 4, "batch_size": 8, "learning_rate": 1e-3}
    model = small.set_params(**options)
    model.fit(paths, labels)
    assert model.best_epoch_ > 0
    expected = model.predict_proba(paths[:9])
    for target in ("a", "b"):
        model.save(tmp_path / target)
        model = load_model(tmp_path / target)
        assert type(model) is TransferClassifier
        assert model.predict_proba(paths[:9]) == pytest.approx(expected, abs=1e-4)  # by OpenVINO
        assert json.loads((tmp_path / target / "model.json").read_text())["training"]["best_epoch"] > 0
    shutil.rmtree(tmp_path / "a")
    assert load_model(tmp_path / "b").predict_proba(paths[:9]) == pytest.approx(expected, abs=1e-4)
    # The network is a backbone: any head goes on top.
    rows = FeatureExtractor(str(tmp_path / "b"), runtime="torch").fit_transform(paths[:9])
    assert model.head_.predict_proba(rows) == pytest.approx(expected, abs=1e-6)
    with extract(paths[:9], output=tmp_path / "s.h5", backbone=str(tmp_path / "b"), runtime="torch") as store:
        assert np.array_equal(store.X[...], rows)
    network = tmp_path / "b" / NETWORK
    data = bytearray(network.read_bytes())
    data[-5] ^= 1
    network.write_bytes(data)
    with pytest.raises(BundleError, match="is not the network that was saved"):
        load_model(tmp_path / "b")


@pytest.mark.slow
def test_it_starts_at_the_frozen_classifier(paths, labels, tmp_path):
    """With its temperature and scaling folded in, the linear layer says what the head says."""
    train, kept = np.arange(0, 60, 2), np.arange(1, 60, 2)
    frozen = TransferClassifier(cache=tmp_path, **FROZEN, **LITE0).fit(np.array(paths)[train], labels[train])
    said = frozen.predict_proba(np.array(paths)[kept])
    expected = -np.log(said[np.arange(30), np.searchsorted(frozen.classes_, labels[kept])]).mean()
    for cache in ("on", "off"):
        model = FineTuneClassifier.from_transfer(frozen, epochs=1, unfreeze=1, trunk_cache=cache, learning_rate=1e-9)
        model.fit(np.array(paths)[train], labels[train], validation=(np.array(paths)[kept], labels[kept]))
        assert model.history_[0]["log_loss"] == pytest.approx(expected, rel=1e-3)
        assert model.history_[0]["accuracy"] == (frozen.predict(np.array(paths)[kept]) == labels[kept]).mean()
    assert clone(model).start is model.start  # a fitted classifier is no estimator to be cloned


@pytest.mark.slow
def test_nothing_gained_is_the_frozen_classifier_on_all_images(paths, labels, tmp_path):
    options = LITE0 | {"cache": tmp_path}
    model = FineTuneClassifier(epochs=1, unfreeze=1, learning_rate=10.0, **options).fit(paths, labels)
    assert model.best_epoch_ == 0
    frozen = TransferClassifier(**FROZEN, **options).fit(paths, labels)
    assert model.predict_proba(paths) == pytest.approx(frozen.predict_proba(paths), abs=1e-6)
    assert model.space_ == frozen.space_
    assert model.comparison_["difference"] == 0
    assert model.comparison_["tried"]["accuracy"] == max(record["accuracy"] for record in model.history_)


@pytest.mark.slow
def test_the_fitted_layer_is_damped_after_it_was_scored(paths, labels, tmp_path):
    options = LITE0 | {"epochs": 1, "learning_rate": 1e-12, "average": None, "cache": tmp_path}
    for damp in (0.125, 1.0):
        model = FineTuneClassifier(unfreeze=1, damp=damp, **options).fit(paths, labels)
        before, after = model.history_
        assert after["accuracy"] == before["accuracy"]
        assert (after["log_loss"] == pytest.approx(before["log_loss"], abs=1e-3)) == (damp == 1)


@pytest.mark.slow
def test_a_gain_that_may_be_chance_keeps_the_frozen_network(paths, labels):
    """The same classes, a little more surely: the best epoch, and no image won."""
    options = {"epochs": 1, "learning_rate": 1e-5, "average": None, "label_smoothing": 0.0, "damp": 1.0}
    options |= {"runtime": "torch"}
    model = FineTuneClassifier(unfreeze=1, **options).fit(paths, labels)
    assert model.history_[1]["log_loss"] < model.history_[0]["log_loss"]
    assert (model.comparison_["tried"]["epoch"], model.comparison_["tried"]["won"]) == (1, 0)
    assert model.best_epoch_ == 0
    assert model.network_ == b""


@pytest.mark.slow
def test_patience_is_for_what_training_gains(paths, labels):
    """Each epoch better than that before it, and none as good as the start."""
    options = {"epochs": 4, "patience": 1, "learning_rate": 1e-5, "damp": 0.001, "average": None}
    options |= {"runtime": "torch"}
    model = FineTuneClassifier(unfreeze=0, **options).fit(paths, labels)
    losses = [record["log_loss"] for record in model.history_]
    assert losses[1:] == sorted(losses[1:], reverse=True)
    assert min(losses) == losses[0]
    assert len(losses) == 5
    assert model.best_epoch_ == 0


@pytest.mark.slow
def test_divergence_keeps_the_best_state(small, paths, labels):
    said = []
    model = small.set_params(unfreeze="all", learning_rate=1e6, clip=1e30, warm_up=0.0, say=said.append)
    model.fit(paths, labels)
    assert "diverged in epoch 1" in model.stopped_
    assert model.stopped_ in said
    assert model.best_epoch_ == 0
    assert np.isfinite(model.predict_proba(paths)).all()


@pytest.mark.slow
def test_the_trunk_cache_changes_nothing(small, paths, labels):
    runs = {}
    for cache in ("on", "off"):
        model = clone(small).set_params(unfreeze=3, trunk_cache=cache, average=None, image_size=None)
        runs[cache] = model.fit(paths, labels).history_
    for key in ("loss", "log_loss"):
        assert [r[key] for r in runs["on"][1:]] == pytest.approx([r[key] for r in runs["off"][1:]], rel=5e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"augment": "light"},
        {"augment": "trivial", "mix": "mixup"},
        {"augment": "rand", "mix": "cutmix"},
        {"balance": "weights", "average": "mean"},
        {"balance": "sampling", "average": None, "accumulate": 2},
        {"gradual": 1, "label_smoothing": 0.0},
        {"precision": "bf16"},
        {"unfreeze": 0},
        {"pretrained": False, "epochs": 1, "augment": "none"},
    ],
    ids=str,
)
@pytest.mark.slow
def test_every_option_trains(small, paths, labels, options):
    paths, labels = paths[::2], labels[::2]
    model = small.set_params(image_size=64, **options).fit(paths, labels)
    losses = [record["loss"] for record in model.history_[1:]]
    assert all(np.isfinite(losses))
    assert len(losses) == model.history_[-1]["epoch"] >= 1
    assert model.predict(paths).shape == (30,)
    if "mix" in options:  # the same seed, the same training, random as it is
        again = clone(model).fit(paths, labels)
        assert [record["loss"] for record in again.history_[1:]] == losses


@pytest.mark.slow
def test_an_interrupted_training_resumes_to_the_same_weights(small, paths, labels, tmp_path):
    """At every epoch's end: the weights are those of a training that nothing interrupted."""
    options = {"unfreeze": 2, "epochs": 3, "balance": "sampling"}
    small.set_params(**options)
    paths, labels = paths[::2], labels[::2]
    whole = clone(small).fit(paths, labels)
    for stop in (1, 2):
        work = tmp_path / str(stop)

        def interrupt(text, stop=stop):
            if text.startswith(f"epoch {stop + 1}/"):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            clone(small).set_params(checkpoint=work, say=interrupt).fit(paths, labels)
        said = []
        resumed = clone(small).set_params(checkpoint=work, say=said.append).fit(paths, labels)
        assert any(f"going on after epoch {stop}" in text for text in said)
        assert digest(resumed) == digest(whole)
        assert np.array_equal(resumed.head_.coef_, whole.head_.coef_)
        losses = [[record["loss"] for record in model.history_] for model in (resumed, whole)]
        assert losses[0] == losses[1]
        (own,) = work.iterdir()
        assert [path.name for path in own.iterdir()] == ["checkpoint.safetensors"]
    # Another training in the same folder disturbs nobody; a checkpoint that was moved is noticed.
    clone(small).set_params(checkpoint=work, epochs=1).fit(paths, labels)
    (other,) = set(work.iterdir()) - {own}
    (other / "checkpoint.safetensors").replace(own / "checkpoint.safetensors")
    with pytest.raises(TrainingError, match="is of another training"):
        clone(small).set_params(checkpoint=work).fit(paths, labels)
    assert resumed.work_ == str(own)
    (work / "mine.txt").touch()
    with pytest.raises(TrainingError, match="cannot make the folder"):
        clone(small).set_params(checkpoint=work / "mine.txt").fit(paths, labels)


@pytest.mark.slow
def test_starting_at_what_was_tuned_already(small, paths, labels, tmp_path):
    """The network goes along with the head: the first state is the tuned model."""
    options = {"pretrained": False, "augment": "none", "epochs": 6, "batch_size": 8, "learning_rate": 1e-3}
    small.set_params(**options)
    kept = np.arange(0, 60, 4)
    train = np.setdiff1d(np.arange(60), kept)
    parts = [(np.array(paths)[part].tolist(), labels[part]) for part in (train, kept)]
    first = clone(small).fit(*parts[0], validation=parts[1])
    assert first.best_epoch_ > 0
    first.save(tmp_path / "first")
    said = first.predict_proba(parts[1][0])
    expected = -np.log(said[np.arange(15), np.searchsorted(first.classes_, labels[kept])]).mean()
    for start in (first, tmp_path / "first"):
        again = FineTuneClassifier.from_transfer(start, epochs=1, runtime="torch", learning_rate=1e-9)
        again.fit(*parts[0], validation=parts[1])
        assert again.history_[0]["log_loss"] == pytest.approx(expected, rel=1e-3)
    with pytest.raises(TrainingError, match="has other weights"):
        clone(small).set_params(pretrained=True, start=tmp_path / "first").fit(*parts[0], validation=parts[1])
    with pytest.raises(TrainingError, match="is a saved model of mobilenet_v3_small"):
        FineTuneClassifier(str(tmp_path / "first")).fit(*parts[0])


@pytest.mark.slow
def test_images_in_training_and_validation_are_warned_of(small, paths, labels):
    with pytest.warns(UserWarning, match="6 of 6 validation images are training images, too"):
        small.set_params(epochs=1).fit(paths, labels, validation=(paths[::10], labels[::10]))


def test_unreadable_images_are_refused_before_training(small, paths, labels, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    (tmp_path / "empty.png").touch()
    bad = [str(tmp_path / "bad.png"), str(tmp_path / "empty.png")]
    with pytest.raises(ImageError, match=r"2 images cannot be read: .*bad.png: .*empty.png: "):
        clone(small).set_params(pretrained=False).fit(bad + paths[2:], labels)
    with pytest.raises(ImageError, match=r"1 image cannot be read: .*gone.png: no such file"):
        clone(small).set_params(pretrained=False).fit([str(tmp_path / "gone.png"), *paths[1:]], labels)


def test_options_may_be_numbers_of_numpy(small, paths, labels):
    numbers = {"epochs": np.int64(1), "seed": np.int32(3), "learning_rate": np.float32(1e-4), "unfreeze": np.int64(1)}
    model = small.set_params(**numbers, devices=np.int64(1), validation=np.float64(0.25)).fit(paths, labels)
    assert [record["epoch"] for record in model.history_] == [0, 1]


@pytest.mark.slow
def test_damaged_checkpoints_are_refused(small, paths, labels, tmp_path):
    from featurekit.finetune.checkpoint import read_checkpoint, write_checkpoint

    paths, labels = paths[::4], labels[::4]
    small.set_params(checkpoint=tmp_path, epochs=1).fit(paths, labels)
    path = next(tmp_path.glob("*/checkpoint.safetensors"))
    whole = read_checkpoint(path)
    for wrong in ({"done": -5}, {"optimizer": None}, {"best_epoch": 77}, {"now": {}}, {"history": "x"}):
        write_checkpoint(path, whole | wrong)
        with pytest.raises(TrainingError, match="is damaged: .* Delete it to begin anew"):
            clone(small).fit(paths, labels)


@pytest.mark.slow
def test_a_grid_search_over_stages(small, paths, labels, tmp_path):
    search = GridSearchCV(small.set_params(epochs=1, cache=tmp_path), {"unfreeze": [0, 1]}, cv=2)
    assert set(search.fit(paths, labels).best_params_) == {"unfreeze"}


def test_equal_images_are_on_one_side_of_the_validation_split(small, photos):
    copies = [np.asarray(photo) for photo in photos for _ in range(2)]
    model = small.set_params(epochs=1, validation=0.4)
    seen, original = {}, model._split

    def split(*arguments):
        seen["train"], seen["kept"] = original(*arguments)
        return seen["train"], seen["kept"]

    model._split = split
    model.fit(copies, np.arange(16) // 2 % 2)
    assert len(seen["kept"]) > 2
    assert not set(seen["train"] // 2) & set(seen["kept"] // 2)


@pytest.mark.slow
def test_wrong_options_are_refused(small, paths, labels, digits_store, tmp_path):
    with pytest.raises(SourceError, match="needs the images themselves"):
        small.fit(digits_store)
    with pytest.raises(ValueError, match="y is missing"):
        small.fit(paths)
    with pytest.raises(ValueError, match="60 images but 59 labels"):
        small.fit(paths, labels[1:])
    with pytest.raises(HeadError, match="at least two classes"):
        small.fit(paths, ["a"] * 60)
    with pytest.raises(HeadError, match="one class for each image"):
        small.fit(paths, np.eye(60)[:, :2].astype(int))
    with pytest.raises(HeadError, match="classes that no training image has: 'x'"):
        small.fit(paths, labels, validation=(paths[:1], ["x"]))
    with pytest.raises(HeadError, match="has: '0', '1', '2'; those of training are 0, 1, 2"):
        small.fit(paths, labels.astype(int), validation=(paths, labels))
    with pytest.raises(TrainingError, match="must be a pair of images and labels, got 0.3"):
        small.fit(paths, labels, validation=0.3)
    with pytest.raises(SourceError, match="there are no images"):
        small.fit(paths, labels, validation=([], []))
    with pytest.raises(ValueError, match="one entry for each image"):
        clone(small).fit(paths, labels, groups=np.ones((60, 2)))
    with pytest.raises(BackboneError, match="cannot unfreeze 99"):
        clone(small).set_params(unfreeze=99).fit(paths, labels)
    with pytest.raises(BackboneError, match="no backbone called 'resnet'"):
        clone(small).set_params(backbone="resnet").fit(paths, labels)
    for share in (1.5, "0.2", None):
        with pytest.raises(TrainingError, match="validation must be a share"):
            clone(small).set_params(validation=share).fit(paths, labels)
    with pytest.raises(TrainingError, match="trunk_cache is 'on', and there can be none: no stage is frozen"):
        clone(small).set_params(unfreeze="all", trunk_cache="on").fit(paths, labels)
    logreg = TransferClassifier(head="logreg").fit(digits_store)
    with pytest.raises(TrainingError, match="exclude each other"):
        FineTuneClassifier.from_transfer(logreg, pretrained=False).fit(paths, labels)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"head": "logreg"}, "reads features of layer stages, and the last layer those of layer penultimate"),
        ({"head": "lda", "layer": "penultimate"}, "has a head other than logistic regression"),
    ],
)
def test_a_head_that_cannot_be_the_last_layer_is_replaced(paths, labels, small, options, why):
    start = TransferClassifier(small.backbone, weights=small.weights, image_size=64, runtime="torch", **options)
    start.fit(paths[::4], labels[::4])
    said = []
    tuned = FineTuneClassifier.from_transfer(start, epochs=1, unfreeze=0, say=said.append).fit(paths[::4], labels[::4])
    assert f"note: the classifier to start at {why}: its network is taken, with a new last layer" in said
    assert tuned.space_.layer == "penultimate"
