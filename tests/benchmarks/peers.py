"""featurekit beside what people use today, on the same photographs and the same network, in one run.

    python tests/benchmarks/peers.py [--timm-script CHECKOUT/inference.py]

loop         the DataLoader loop that people write: timm's network and transform, 2 workers, batches of 64
timm         ``inference.py`` of a checkout of timm (it is not in timm's package), 2 workers, batches of 64
embetter     its TimmEncoder, in its own environment
thingsvision its extractor and DataLoader, in its own environment (it needs torch 2.0)
img2vec      its Img2Vec, in its own environment; it knows ResNet-18 and no Lite0, so that featurekit and the loop
             run on ResNet-18 beside it

Environments are made at first use, in ``~/.cache/featurekit-benchmarks`` (``FEATUREKIT_BENCHMARKS``): about 6 GB each.
Peers that would download weights get random ones, which take as long. featurekit's converted network is on the
disk already, as it is on every machine after the first run; what else it does (hashing, storing, publishing) counts.

"after imports" is from the end of the imports to the last row, the network's loading included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bench

ENVIRONMENTS = {"embetter": "embetter[vision]", "thingsvision": "thingsvision", "img2vec": "img2vec_pytorch"}

FEATUREKIT = """
from featurekit import extract
begin()
store = extract(
    paths, output=out + "/store.h5", backbone=network, layer="penultimate", weights=weights, **options
)
rows = store.X[...]
"""

LOOP = """
import numpy, timm, torch, torchvision
from PIL import Image
begin()
if network == "resnet18":
    model = torchvision.models.resnet18()
    model.fc = torch.nn.Identity()
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
else:
    model = timm.create_model("tf_" + network, pretrained=False, num_classes=0)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
model.eval().to(options["device"])
class Photos(torch.utils.data.Dataset):
    def __len__(self):
        return len(paths)
    def __getitem__(self, i):
        return transform(Image.open(paths[i]).convert("RGB"))
found = []
on = options["device"]
with torch.no_grad(), torch.autocast(on.split(":")[0], torch.bfloat16, enabled=options["precision"] == "bf16"):
    for batch in torch.utils.data.DataLoader(Photos(), batch_size=64, num_workers=2):
        found.append(model(batch.to(on)).float().cpu().numpy())
rows = numpy.concatenate(found)
numpy.save(out + "/rows.npy", rows)
"""

TIMM = """
import logging, numpy, pandas, PIL, runpy, timm, torch, torchvision
model = timm.create_model("tf_" + network, pretrained=False, num_classes=0)
torch.save(model.state_dict(), out + "/weights.pth")
begin()
sys.argv = ["inference.py", "--data-dir", folder, "--model", "tf_" + network, "--checkpoint", out + "/weights.pth",
    "--num-classes", "0", "--topk", "0", "--output-type", "logit", "--device", options["device"], "-j", "2",
    "-b", "64", "--results-dir", out, "--results-format", "parquet", "--results-file", "rows", "--no-console-results"]
sys.argv[1:1] = ["--amp", "--amp-dtype", "bfloat16"] if options["precision"] == "bf16" else []
logging.disable(logging.CRITICAL)
runpy.run_path(script, run_name="__main__")
rows = pandas.read_parquet(out + "/rows.parquet")
"""

EMBETTER = """
import timm
original = timm.create_model
timm.create_model = lambda name, pretrained=False, **more: original(name, pretrained=False, **more)
from embetter.vision import ImageLoader, TimmEncoder
from sklearn.pipeline import make_pipeline
begin()
rows = make_pipeline(ImageLoader(), TimmEncoder(name="tf_" + network)).fit_transform(paths)
"""

THINGSVISION = """
from thingsvision import get_extractor
from thingsvision.utils.data import DataLoader, ImageDataset
begin()
extractor = get_extractor(model_name="tf_" + network, source="timm", device=options["device"], pretrained=False)
data = ImageDataset(root=folder, out_path=out, backend=extractor.get_backend(),
    transforms=extractor.get_transformations(resize_dim=256, crop_dim=224))
batches = DataLoader(dataset=data, batch_size=64, backend=extractor.get_backend())
rows = extractor.extract_features(batches=batches, module_name="global_pool", flatten_acts=True, output_type="ndarray")
"""

IMG2VEC = """
from img2vec_pytorch import Img2Vec
from PIL import Image
begin()
encoder = Img2Vec(cuda=options["device"].startswith("cuda"), model=network)
rows = []
for start in range(0, len(paths), 64):
    rows.extend(encoder.get_vec([Image.open(path).convert("RGB") for path in paths[start : start + 64]]))
"""

FRAME = """
import json, sys, time
paths, folder, out, network, weights, script, options = json.loads(sys.argv[1])
times = []
begin = lambda: times.append(time.perf_counter())
{code}
assert len(rows) == len(paths), (len(rows), len(paths))
print(json.dumps(["seconds", time.perf_counter() - times[0]]))
"""


def python_of(peer: str) -> str:
    """The interpreter that has this peer; its environment is made if it is not there."""
    if peer not in ENVIRONMENTS:
        return sys.executable
    home = bench.CACHE / "envs" / peer
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        print(f"Making an environment for {peer} in {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", ENVIRONMENTS[peer]], check=True)
        (home / "ready").touch()
    return str(python)


def run(peer: str, code: str, settings: list[object]) -> tuple[float, float]:
    """Seconds of the whole process, and after its imports."""
    with tempfile.TemporaryDirectory(prefix="featurekit-peers-") as out:
        settings = [*settings[:2], out, *settings[2:]]
        torch_home = bench.CACHE / "torch"  # where img2vec looks for weights
        environment = os.environ | {"TORCH_HOME": str(torch_home), "HF_HUB_OFFLINE": "1"}
        started = time.perf_counter()
        done = subprocess.run(
            [python_of(peer), "-c", FRAME.format(code=code), json.dumps(settings)],
            env=environment,
            capture_output=True,
            text=True,
        )
        seconds = time.perf_counter() - started
    for line in done.stdout.splitlines():
        if line.startswith('["seconds"'):
            return seconds, json.loads(line)[1]
    raise RuntimeError(f"{peer}: {done.stderr[-2000:]}")


def main() -> None:
    """Measure and print."""
    parser = bench.parser(__doc__, images=512, repeats=3)
    parser.add_argument("--timm-script", type=Path, help="inference.py of a checkout of timm")
    parser.add_argument("--only", default="", help="peers, with commas")
    arguments = parser.parse_args()
    device = "cpu" if arguments.device == "auto" else arguments.device
    photos = bench.photos(arguments.images)
    folder = bench.CACHE / f"peers-{len(photos)}"
    for i, path in enumerate(photos):
        copy = folder / "all" / f"{i:06d}.jpg"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes() + i.to_bytes(8, "big"))  # equal files would be computed once
    paths = [str(path) for path in sorted((folder / "all").iterdir())]

    lite0, resnet18 = "efficientnet_lite0", "resnet18"
    hub = bench.CACHE / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    random = bench.weights_of(resnet18)
    if random is not None and not hub.exists():
        hub.parent.mkdir(parents=True, exist_ok=True)
        hub.write_bytes(random.read_bytes())
    plan = []
    for precision in bench.precisions(device):
        if precision in {"fp32", "bf16"}:
            plan += [(lite0, precision, peer) for peer in ("loop", "featurekit", "timm")]
    plan += [(lite0, "fp32", "embetter"), (lite0, "fp32", "thingsvision")]
    plan += [(resnet18, "fp32", peer) for peer in ("loop", "featurekit", "img2vec")]
    code = {
        "featurekit": FEATUREKIT,
        "loop": LOOP,
        "timm": TIMM,
        "embetter": EMBETTER,
        "thingsvision": THINGSVISION,
        "img2vec": IMG2VEC,
    }
    if arguments.timm_script is None:
        print("no --timm-script: timm's own inference script is left out")
        plan = [each for each in plan if each[2] != "timm"]
    if arguments.only:
        plan = [each for each in plan if each[2] in arguments.only.split(",")]
    taken: dict[tuple[str, str, str], list[tuple[float, float]]] = {each: [] for each in plan}
    for repeat in range(arguments.repeats + 1):  # the first fills caches, and is not counted
        for network, precision, peer in plan:
            options = {"device": device, "precision": precision}
            weights = str(random) if network == resnet18 and random else None
            settings = [paths, str(folder), network, weights, str(arguments.timm_script), options]
            found = run(peer, code[peer], settings)
            print(f"{network} {precision} {peer}: {found[0]:.1f} s, {found[1]:.1f} s after imports", flush=True)
            if repeat:
                taken[network, precision, peer].append(found)
    rows = []
    for network, precision, peer in plan:
        whole, after = (statistics.median(v) for v in zip(*taken[network, precision, peer], strict=True))
        base = [statistics.median(v) for v in zip(*taken.get((network, "fp32", "loop"), [(1, 1)]), strict=True)]
        rows.append(
            {
                "network": network,
                "precision": precision,
                "by": peer,
                "whole process, images/s": len(paths) / whole,
                "times the loop in fp32": f"{base[0] / whole:.2f}",
                "after imports, images/s": len(paths) / after,
                "times the loop": f"{base[1] / after:.2f}",
            }
        )
    report = bench.Report("peers")
    report.table(f"{len(paths)} photographs, medians of {arguments.repeats} rounds", rows)
    report.write(arguments.out)


if __name__ == "__main__":
    main()
