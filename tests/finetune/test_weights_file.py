from __future__ import annotations

from featurekit.finetune.weights import weights_file


def test_damage_of_the_same_length_is_mended(monkeypatch, tmp_path):
    monkeypatch.setenv("FEATUREKIT_CACHE", str(tmp_path))
    path = weights_file(b"a network" * 100)
    assert path.parent == tmp_path / "trained"
    path.write_bytes(b"A network" * 100)
    assert weights_file(b"a network" * 100) == path
    assert path.read_bytes() == b"a network" * 100
