"""Rows of several layers: the whole network, or layers joined by a plus sign."""

from __future__ import annotations

import json

import numpy as np
import pytest

from featurekit import FeatureExtractor, FeatureStore, TransferClassifier, extract, load_model
from featurekit.backbones import anatomy, describe, find
from featurekit.errors import BackboneError, FeatureSpaceError
from featurekit.fingerprint import FeatureSpace

LITE0 = ["bn1", *(f"blocks.{stage}" for stage in range(7))]


@pytest.fixture(scope="module")
def paths(digits_folder):
    return [str(path) for path in sorted(digits_folder.glob("*/*.png"))[::10]]


@pytest.fixture(scope="module", params=["torch", pytest.param("openvino", marks=pytest.mark.slow)])
def stores(request, paths, tmp_path_factory):
    """The layers one by one, and the whole network, in two runs."""
    folder = tmp_path_factory.mktemp("whole")
    layers, options = [*LITE0, "penultimate"], {"image_size": 64, "runtime": request.param}
    single = extract(paths, output=folder / "{layer}.h5", layer=layers, **options)
    whole = extract(paths, output=folder / "whole.h5", layer="stages+penultimate", **options)
    yield dict(zip(layers, single, strict=True)), whole
    for store in (*single, whole):
        store.close()


def test_the_dimension_is_known_before_anything_runs():
    assert find("efficientnet_lite0", layer="stages").space.dim == 816
    space = find("efficientnet_lite0", layer="stages").space
    assert space.blocks[0] == ("bn1", 32)
    assert space.columns["blocks.6"] == slice(496, 816)
    assert find("efficientnet_lite0", layer="stages+penultimate").space.dim == 816 + 1280


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("+".join(LITE0), "stages"),
        ("stages+penultimate", "stages+penultimate"),
        ("+".join([*LITE0, "penultimate"]), "stages+penultimate"),
        ("blocks.5+blocks.2", "blocks.5+blocks.2"),
        ("penultimate+stages", "+".join(["penultimate", *LITE0])),
    ],
)
def test_a_list_of_layers_has_one_name(written, name):
    assert find("efficientnet_lite0", layer=written).space.layer == name


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ("stages+blocks.2", "has blocks.2 in it more than once"),
        ("blocks.2+blocks.2", "more than once"),
        ("stages+output", "'output' cannot be joined"),
        ("blocks.2+nothing", "no layer of efficientnet_lite0 called 'nothing'"),
        ("blocks.2+", "called ''"),
    ],
)
def test_layers_that_cannot_be_joined_are_refused(layer, reason):
    with pytest.raises(BackboneError, match=reason.replace("+", r"\+")):
        find("efficientnet_lite0", layer=layer)


def test_the_row_is_that_of_the_single_layers_bit_for_bit(stores):
    single, whole = stores
    for name, columns in whole.space.columns.items():
        np.testing.assert_array_equal(whole.X[:, columns], single[name].X[...])
    assert sum(columns.stop - columns.start for columns in whole.space.columns.values()) == whole.X.shape[1]


@pytest.mark.parametrize("pooling", ["gem", pytest.param("grid2", marks=pytest.mark.slow)])
def test_each_layer_is_pooled_as_if_it_were_alone(pooling, paths, tmp_path):
    layers = ["blocks.2", "blocks.5"]
    single = extract(
        paths[:2], output=tmp_path / "{layer}.h5", layer=layers, pooling=pooling, image_size=64, runtime="torch"
    )
    with extract(
        paths[:2], output=tmp_path / "a.h5", layer="blocks.2+blocks.5", pooling=pooling, image_size=64, runtime="torch"
    ) as both:
        np.testing.assert_array_equal(np.hstack([store.X[...] for store in single]), both.X[...])
    for store in single:
        store.close()


def test_a_vector_beside_maps_is_not_pooled(paths):
    space = find("efficientnet_lite0", layer="blocks.2+penultimate", pooling="gem").space
    assert space.blocks == (("blocks.2", 40), ("penultimate", 1280))
    with pytest.raises(BackboneError, match="for pooling 'gem'|each is one vector"):
        find("efficientnet_lite0", layer="penultimate", pooling="gem")


@pytest.mark.slow
def test_the_whole_row_has_the_length_1(paths):
    options = {"layer": "blocks.2+blocks.5", "image_size": 64, "runtime": "torch"}
    plain = FeatureExtractor(**options).fit_transform(paths[:2])
    unit = FeatureExtractor(l2=True, **options).fit_transform(paths[:2])
    np.testing.assert_allclose(unit, plain / np.linalg.norm(plain, axis=1, keepdims=True), rtol=1e-5)


def test_the_space_is_read_back_with_its_blocks(stores):
    _, whole = stores
    with FeatureStore(whole.path) as again:
        assert again.space == whole.space
        assert list(again.space.columns) == [*LITE0, "penultimate"]
        assert again.space.widths == (32, 16, 24, 40, 80, 112, 192, 320, 1280)


def test_a_space_of_one_layer_is_written_as_before():
    space = find("efficientnet_lite0").space
    assert "blocks" not in json.loads(space.to_json())
    assert space.widths == (1280,)
    assert space.columns == {"penultimate": slice(0, 1280)}


@pytest.mark.parametrize(
    "blocks",
    [
        [["a", 1]],
        [["a", 816], ["b", 0]],
        [["a", 400], ["a", 416]],
        [["a"]],
        3,
        [["a", -1]],
        [["a", 1e999]],
        [["a", 816.0]],
        [[["a"], 816]],
        [["a", True]],
    ],
)
def test_blocks_that_cannot_be_are_refused(blocks):
    data = json.loads(find("efficientnet_lite0", layer="stages").space.to_json()) | {"blocks": blocks}
    with pytest.raises(ValueError, match="not a feature space|blocks that cannot be"):
        FeatureSpace.from_json(json.dumps(data))


def test_a_model_of_the_whole_network_is_saved_and_read_back(stores, paths, tmp_path):
    _, whole = stores
    y = np.array([path.split("/")[-2] for path in paths])
    model = TransferClassifier(head="auto", **whole.space.options).fit(whole, y)
    assert model.head_.blocks == whole.space.widths
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    np.testing.assert_array_equal(again.predict_proba(whole), model.predict_proba(whole))
    assert again.head_.name_ == model.head_.name_
    with pytest.raises(FeatureSpaceError, match="layer"):
        again.predict(stores[0]["blocks.2"])


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("resnet18", "maxpool"),
        pytest.param("efficientnet_b0", None, marks=pytest.mark.slow),  # its first stage is the stem
        ("timm/vit_tiny_patch16_224", "norm_pre"),
        ("timm/convnext_atto", "stem"),
    ],
)
def test_the_stem_is_what_the_first_stage_reads(name, stem):
    found = anatomy(describe(name))
    assert (found.stem.name if found.stem else None) == stem


def test_stages_of_a_network_of_ones_own(paths):
    torch = pytest.importorskip("torch")
    nn = torch.nn

    def block(a, b):
        return nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU())

    torch.manual_seed(0)
    network = nn.Sequential(
        block(3, 4), block(4, 8), block(8, 16), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)
    ).eval()
    extractor = FeatureExtractor(network, layer="stages", image_size=32, runtime="torch")
    rows = extractor.fit_transform(paths[:2])
    assert rows.shape == (2, 28)
    assert list(extractor.space_.columns) == ["0", "1", "2"]
    names = extractor.get_feature_names_out()
    assert names[4].endswith("1.0"), names[:6]


def test_a_space_that_an_earlier_version_pickled_has_no_blocks():
    import copyreg
    import pickle

    space = find("efficientnet_lite0").space
    state = [getattr(space, name) for name in ("backbone", "weights", "layer", "pooling", "precision", "dim")]
    state += [space.preprocessing, space.flip, space.l2]
    earlier = copyreg.__newobj__(FeatureSpace)
    earlier.__setstate__(state)
    assert earlier == space
    assert earlier.fingerprint == space.fingerprint
    assert pickle.loads(pickle.dumps(space)) == space
