"""What the benchmarks share: images, fair timing, and tables as Markdown and JSON.

Every number is the median of several rounds, in each of which all ways are timed one after the other: the machine is
seldom alone, and what it does meanwhile hits all of them alike. Compare ratios, not seconds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SHARED = next(  # beside the checkout, or in it
    (found for root in Path(__file__).parents[2:4] if (found := root / "shared" / "data").is_dir()), Path("shared/data")
)
CACHE = Path(os.environ.get("FEATUREKIT_BENCHMARKS", "~/.cache/featurekit-benchmarks")).expanduser()


def parser(description: str | None, *, images: int, repeats: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--images", type=int, default=images, help="how many (default: %(default)s)")
    made.add_argument("--repeats", type=int, default=repeats, help="rounds, of which the median counts")
    made.add_argument("--device", default="auto", help="as for featurekit extract")
    made.add_argument("--out", type=Path, default=Path("benchmark-results"), help="folder for the tables")
    return made


def photos(n: int) -> list[Path]:
    """Photographs of clothes, about 400 x 533 pixels; where they are absent, crops of scikit-learn's two photos."""
    found = sorted((SHARED / "clothing" / "train").glob("*/*.jpg"))
    if not found:
        return _written("crops", n, lambda i: _jpeg(_crop(i, (400, 533)), 90), "jpg")
    if n > len(found):  # decoders ignore what follows the image, and it makes equal photographs different files
        return _written("photos", n, lambda i: found[i % len(found)].read_bytes() + i.to_bytes(8, "big"), "jpg")
    return found[:: len(found) // n][:n]


def thumbnails(n: int) -> list[Path]:
    """32 x 32 PNG files."""
    return _written("thumbnails", n, lambda i: _png(_crop(i, (32, 32))), "png")


def large(n: int) -> list[Path]:
    """JPEG files of 24 megapixels, a quarter of them turned as a telephone turns them."""
    return _written("large", n, _large, "jpg")


def _large(i: int) -> bytes:
    small = _crop(i, (600, 400))
    pixels = np.asarray(small.resize((6000, 4000), Image.Resampling.LANCZOS)).astype(np.int16)
    pixels += np.random.default_rng(i).normal(0, 2, (4000, 6000, 1)).astype(np.int16)  # the grain of a sensor
    return _jpeg(Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)), 85, orientation=6 if i % 4 == 3 else 1)


def _crop(i: int, size: tuple[int, int]) -> Image.Image:
    from sklearn.datasets import load_sample_images

    photo = Image.fromarray(load_sample_images().images[i % 2])
    rng = np.random.default_rng(i)
    scale = rng.uniform(0.5, 1) * min(photo.width / size[0], photo.height / size[1])
    width, height = max(1, int(size[0] * scale)), max(1, int(size[1] * scale))
    left, top = int(rng.integers(0, photo.width - width + 1)), int(rng.integers(0, photo.height - height + 1))
    return photo.resize(size, Image.Resampling.BICUBIC, box=(left, top, left + width, top + height))


def _jpeg(image: Image.Image, quality: int, orientation: int = 1) -> bytes:
    buffer, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    image.save(buffer, "JPEG", quality=quality, exif=exif)
    return buffer.getvalue()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _written(kind: str, n: int, make: Callable[[int], bytes], ending: str) -> list[Path]:
    folder = CACHE / kind
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i:06d}.{ending}" for i in range(n)]
    for i, path in enumerate(paths):
        if not path.exists():
            path.write_bytes(make(i))
    return paths


def weights_of(name: str) -> Path | None:
    """A weight file for a backbone whose weights cannot be downloaded: random ones, which take as long."""
    from featurekit.backbones import describe, find_local

    if find_local(describe(name)):
        return None
    path = CACHE / f"{name}-random.pth"
    if not path.exists():
        import torch
        import torchvision

        torch.manual_seed(0)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(torchvision.models.get_model(name).state_dict(), path)
    return path


def precisions(device: str) -> list[str]:
    """Those that the device has arithmetic for; others are emulated, or refused."""
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda"):
        return ["fp32", "tf32", "bf16", "fp16"]
    from featurekit.fingerprint import PRECISIONS
    from featurekit.runtime.openvino_runtime import computes_in

    return [short for short in ("fp32", "bf16") if computes_in(PRECISIONS[short])]


def seconds(ways: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each way, timed in turn."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in taken.items()}


@dataclass
class Report:
    """Tables of one benchmark, printed as they come and written at the end."""

    name: str
    tables: list[dict[str, Any]] = field(default_factory=list)

    def table(self, title: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add a table; its columns are the keys of the first row."""
        self.tables.append({"title": title, "rows": [dict(row) for row in rows]})
        print(f"\n{_markdown(title, rows)}", flush=True)

    def write(self, folder: Path) -> None:
        """Write ``NAME.json`` and ``NAME.md``."""
        folder.mkdir(parents=True, exist_ok=True)
        data = {"benchmark": self.name, "machine": machine(), "tables": self.tables}
        (folder / f"{self.name}.json").write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
        parts = [f"# {self.name}", "; ".join(f"{key}: {value}" for key, value in machine().items())]
        parts += [_markdown(table["title"], table["rows"]) for table in self.tables]
        (folder / f"{self.name}.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _markdown(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(rows[0])
    lines = [f"**{title}**", "", "| " + " | ".join(names) + " |", "| " + " | ".join("---" for _ in names) + " |"]
    lines += ["| " + " | ".join(_text(row[name]) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
    return str(value)


def machine() -> dict[str, str]:
    """What ran it."""
    processor = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), processor)
    packages = ("torch", "torchvision", "timm", "openvino", "pillow", "simplejpeg", "cykooz-resizer", "h5py", "numpy")
    versions = ", ".join(f"{name} {_version(name)}" for name in packages)
    return {"processor": f"{os.cpu_count()} x {processor}", "python": platform.python_version(), "packages": versions}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"
