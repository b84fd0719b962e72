"""Several images as the sources of `predict`."""

from __future__ import annotations

import csv
import io

from featurekit_cli.main import main


def test_an_image_of_a_format_that_cannot_be_read_gets_a_line_with_its_reason(
    digits_store_path, digits_folder, tmp_path, capsys
):
    model = str(tmp_path / "model")
    assert main(["fit", str(digits_store_path), "-o", model, "--head", "centroid", "--cv", "0"]) == 0
    photo = tmp_path / "a.heic"
    photo.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    capsys.readouterr()
    code = main(["predict", str(photo), str(digits_folder / "0/000.png"), "-m", model])
    said = capsys.readouterr()
    assert code != 2
    first, second = list(csv.DictReader(io.StringIO(said.out)))
    assert (first["path"], first["label"]) == (str(photo), "")
    assert (second["path"], second["label"]) == (str(digits_folder / "0/000.png"), "0")
    assert "HEIC" in said.err
