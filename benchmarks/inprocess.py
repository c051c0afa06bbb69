"""The ceiling: the chosen engine plus processing in a plain loop, every instance in a thread of its own, no server.

    python benchmarks/inprocess.py REPOSITORY MODEL PHOTO SECONDS

Prints one JSON object.
"""

import json
import sys
import threading
import time
from pathlib import Path

from portside.app.plugins import engines
from portside.processing.classify import classify
from portside.processing.image import tensor
from portside.repository.local import LocalRepository
from portside.serving.fit import load_sessions


def main(repository: str, model: str, photo: str, seconds: float) -> None:
    """Counts pictures answered in ``seconds``."""
    store = LocalRepository(Path(repository))
    version = store.state(model).current
    manifest = store.manifest(model, version)
    sessions = load_sessions(manifest, store.folder(model, version), engines())
    declared, data = manifest.processing, Path(photo).read_bytes()
    counts = [0] * len(sessions)

    def loop(index: int, until: float) -> None:
        session = sessions[index]
        while time.perf_counter() < until:
            outputs = session.run({declared.image.input: tensor([data], declared.image)})
            classify(outputs, declared.classification)
            counts[index] += 1

    loop_once = [threading.Thread(target=loop, args=(i, time.perf_counter() + 0.5)) for i in range(len(sessions))]
    for warm in loop_once:
        warm.start()
    for warm in loop_once:
        warm.join()
    counts[:] = [0] * len(sessions)
    began = time.perf_counter()
    threads = [threading.Thread(target=loop, args=(i, began + seconds)) for i in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    print(json.dumps({"requests_s": sum(counts) / took, "config": str(manifest.config)}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]))
