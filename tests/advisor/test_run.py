"""The whole procedure, on images that leave no doubt."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

import featurekit
from featurekit.errors import HeadError, SourceError

# A conversion for OpenVINO takes longer than PyTorch takes for these few images.
advise = partial(featurekit.advise, image_size=64, runtime="torch")


def colours(each, classes=3, noise=30, seed=0):
    """Classes that differ in colour: frozen features tell them apart."""
    rng = np.random.default_rng(seed)
    hues = np.array([[220, 40, 40], [40, 40, 220], [40, 220, 40], [200, 200, 40], [40, 200, 200]])[:classes]
    y = np.repeat(np.arange(classes), each)
    shade = rng.normal(0, noise, (len(y), 40, 40, 3))
    return [np.clip(hues[label] + grain, 0, 255).astype(np.uint8) for label, grain in zip(y, shade, strict=True)], [
        f"c{label}" for label in y
    ]


def noise(number, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (number, 40, 40, 3), dtype=np.uint8))


@pytest.mark.slow
def test_solved_classes_are_advised_to_stay_frozen(tmp_path):
    images, labels = colours(60)
    said = []
    found = advise(images, labels=labels, output=tmp_path, budget=60, say=said.append)
    assert (found.verdict, found.do, found.sure) == ("transfer", "transfer", "clear")
    assert found.evidence.pilot is None
    assert found.evidence.growth is None
    assert any("next to nothing is left to gain" in reason for reason in found.reasons)
    assert found.options["head"] == "logreg"  # all are as good
    assert found.command == ""  # images in memory have no name
    json.dumps(found.to_dict())
    assert said


@pytest.mark.slow
def test_shuffled_labels_give_nothing_to_learn(tmp_path):
    images, labels = colours(40)
    shuffled = np.random.default_rng(0).permutation(labels)
    found = advise(images, labels=shuffled.tolist(), output=tmp_path, budget=60)
    assert (found.verdict, found.sure) == ("nothing to learn", "likely")
    assert not found.evidence.beats_chance
    assert any("Look at the labels" in reason for reason in found.reasons)


@pytest.mark.slow
def test_two_images_of_each_class_ask_for_more_labels(tmp_path):
    found = advise(noise(6), labels=list("aabbcc"), output=tmp_path, budget=60)
    assert (found.verdict, found.do, found.sure) == ("more labels", "transfer", "clear")
    assert any("of 6 images each is 17 points" in reason for reason in found.reasons)


@pytest.mark.slow
def test_a_score_that_may_be_chance_asks_for_more_labels(tmp_path):
    found = advise(noise(36), labels=list("abcdef" * 6), output=tmp_path, budget=60)
    assert (found.verdict, found.evidence.pilot) == ("more labels", None)
    assert any("may be chance" in reason for reason in found.reasons)


@pytest.mark.parametrize("case", ["one class", "one image each", "all the same"])
def test_images_that_cannot_be_compared_ask_for_more_labels(case, tmp_path):
    images, labels = {
        "one class": (noise(8), ["a"] * 8),
        "one image each": (noise(8), list("abcdefgh")),
        "all the same": ([noise(1)[0]] * 8, list("aaaabbbb")),
    }[case]
    found = advise(images, labels=labels, output=tmp_path, budget=60)
    assert (found.verdict, found.do, found.command) == ("more labels", "", "")
    assert any(each.startswith("nothing can be compared: ") for each in found.reasons)
    assert found.evidence.size.images == 8
    json.dumps(found.to_dict())


def test_unreadable_images_are_named(tmp_path):
    for name in "ab":
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "photos" / name / f"{i}.jpg").write_bytes(b"broken")
    with pytest.raises(SourceError, match=r"a/0\.jpg"):
        advise(tmp_path / "photos", output=tmp_path / "advice", budget=60)


@pytest.mark.slow
def test_a_pilot_where_the_answer_is_open(tmp_path, digits_folder):
    """Digits are far from photographs: training gains, if anything is left to gain."""
    rng = np.random.default_rng(0)
    for path in sorted(digits_folder.glob("*/*.png"))[::2]:
        pixels = np.asarray(Image.open(path)).astype(int)
        target = tmp_path / "digits" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        grain = rng.normal(0, 60, pixels.shape)
        Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8)).save(target)
    found = advise(tmp_path / "digits", output=tmp_path / "advice", budget=900)
    e = found.evidence
    assert e.pilot is not None, e.untested
    assert e.pilot.scored == 6 * e.pilot.folds
    assert e.pilot.learned == 24
    assert e.growth is not None
    assert e.similarity.nearer_than is not None
    assert set(e.scores) == {"logme", "h_score", "leep"}
    assert e.alternatives[0].name == "efficientnet_lite0, layer penultimate"
    assert found.do in {"transfer", "fine-tune"}
    verb = "finetune" if found.do == "fine-tune" else "fit"
    assert found.command.startswith(f"featurekit {verb} {tmp_path / 'digits'}")
    assert found.minutes["fine-tune"] > found.minutes["transfer"] > 0
    assert e.gain.low < e.gain.expected < e.gain.high


@pytest.mark.slow
def test_a_small_budget_samples_the_images(tmp_path):
    images, labels = colours(400, classes=2, noise=80)
    found = advise(images, labels=labels, output=tmp_path, budget=2)
    assert found.evidence.size.sampled_from == 800
    assert 250 <= found.evidence.size.images <= 400
    assert any("a sample that the budget allows" in reason for reason in found.reasons)
    assert found.evidence.pilot is None


@pytest.mark.slow
def test_a_small_budget_samples_the_classes(tmp_path):
    found = advise(noise(900), labels=[f"c{i // 3}" for i in range(900)], output=tmp_path, budget=3)
    size = found.evidence.size
    assert size.sampled_from == 900
    assert size.images == 3 * size.classes
    assert 80 < size.classes < 150


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"budget": 0}, ValueError, "budget must be a number of seconds"),
        ({"budget": True}, ValueError, "budget must be a number of seconds"),
        ({"budget": "60s"}, ValueError, "budget must be a number of seconds"),
        ({"budget": None}, ValueError, "budget must be a number of seconds"),
        ({"margin": 1}, ValueError, "margin must be a share"),
        ({"margin": "1"}, ValueError, "margin must be a share"),
        ({"seed": "a"}, ValueError, "seed must be a whole number"),
        ({"backbone": "resnet18"}, TypeError, r"write backbones=\[\.\.\.\]"),
        ({"output": None}, SourceError, "output is missing"),
        ({"labels": None}, HeadError, "no image has a label"),
    ],
)
def test_wrong_options_are_refused(options, error, message, tmp_path):
    given = {"labels": list("aabb"), "output": tmp_path} | options
    with pytest.raises(error, match=message):
        advise(noise(4), **given)


@pytest.mark.slow
def test_labels_that_contradict_each_other_are_named(tmp_path):
    images, labels = colours(30)
    again = images[:20]
    found = advise(images + again, labels=labels + ["c2"] * 20, output=tmp_path, budget=20)
    assert found.evidence.size.contradicting == 40
    assert (found.verdict, found.do) == ("cannot tell", "transfer")
    assert any("40 images are there under more than one label" in reason for reason in found.reasons)
    assert any("mend the labels" in reason for reason in found.reasons)


@pytest.mark.slow
def test_a_class_that_is_called_nan_is_asked_about(tmp_path):
    images, labels = colours(20)
    named = ["nan" if label == "c1" else label for label in labels]
    found = advise(images, labels=named, output=tmp_path, budget=3)
    assert "a class is called 'nan': is that a missing label?" in found.reasons


@pytest.mark.slow
def test_a_folder_that_has_grown_is_sampled_as_a_new_one(tmp_path):
    images, labels = colours(200)
    few = [*images[:20], *images[200:220], *images[400:420]]
    first = advise(few, labels=["a"] * 20 + ["b"] * 20 + ["c"] * 20, output=tmp_path, budget=2)
    assert first.evidence.size.images == 60
    found = advise(images, labels=labels, output=tmp_path, budget=2)
    assert found.evidence.size.sampled_from == 600
    assert found.evidence.size.images < 500
