"""One of several processes that train together: ``python -m featurekit.finetune.worker FOLDER KIND THREADS``.

Started by :func:`featurekit.finetune.devices.train_together`.
"""

from __future__ import annotations

import json
import os
import pickle
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .._optional import require
from ..store.atomic import replace_file
from .devices import Team
from .job import train


def main(folder: Path, kind: str, threads: int) -> None:
    """Train, and leave the result or the error in the folder."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    messages = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else prints does not print messages
    rank = int(os.environ["RANK"])

    def tell(message: Any) -> None:
        if rank == 0:
            print(json.dumps(message), file=messages, flush=True)

    try:
        torch.set_num_threads(threads)
        accelerate = require("accelerate", extra="devices", purpose="training on several devices")
        accelerator = accelerate.Accelerator(cpu=kind == "cpu")
        job = pickle.loads((folder / ".job.tmp").read_bytes())  # noqa: S301 (written by the process that started this)
        job = replace(job, workers=job.workers or threads)
        result = train(job, folder, accelerator.device, Team(accelerator), tell, tell)
        if rank == 0:
            replace_file(folder / ".result.tmp", pickle.dumps(result))
        accelerator.end_training()
    except Exception as error:
        replace_file(folder / f".{rank}.error.tmp", pickle.dumps(error))
        raise


def _end_with_parent() -> None:
    """The other end of standard input is closed when the process that started this one ends, however it does."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
