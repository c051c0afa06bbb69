"""The Python API: ``portside.build``, ``portside.load``, ``portside.serve``.

Example::

    import portside

    version = portside.build("net.onnx", name="net", samples="rows.npz")
    net = portside.load("net")
    answer = net(x=rows)
    with portside.serve(port=0) as server:
        print(server.url)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from portside.app.cli_models import resolve
from portside.app.console import TerminalProgress, stderr_console
from portside.app.line import run_build
from portside.app.plugins import engines
from portside.app.settings import DEFAULT_HOST, DEFAULT_REPOSITORY
from portside.app.wiring import Wanted, start_server
from portside.building.recipe import Recipe
from portside.engine.base import Session
from portside.errors import InvalidRequest, InvalidTensor
from portside.model.inference import Prediction
from portside.model.manifest import Manifest
from portside.model.processing import Processing
from portside.model.ref import ModelRef
from portside.model.source import Source
from portside.model.tensors import Array
from portside.observe.null import NullProgress
from portside.repository.local import LocalRepository
from portside.server.background import ServerHandle
from portside.serving.execution import Execution
from portside.serving.fit import load_sessions

Picture = bytes | str | Path
"""Encoded picture bytes, or the path of a picture file."""


def build(
    source: str | Path | Source,
    name: str,
    *,
    samples: str | Path | None = None,
    processing: Processing | None = None,
    repository: str | Path = DEFAULT_REPOSITORY,
    show_progress: bool = False,
    **recipe: Any,  # noqa: ANN401 -- further fields of Recipe
) -> Manifest:
    """Converts, verifies, tunes and publishes a model.

    Args:
        source: a file, a folder, ``package.module:callable``, or a full :class:`Source`.
        name: the model is published under this name.
        samples: a folder of pictures, an ``.npz`` by input name, or a ``.npy``.
        processing: what happens before and after the graph.
        repository: folder that holds the published versions.
        show_progress: draw progress bars on standard error.
        recipe: further fields of :class:`portside.building.recipe.Recipe` (``goal``, ``force``, ``fuse``, ``seed`` …).

    Returns:
        the manifest of the new version.

    Raises:
        PortsideError: of the class that says what went wrong; see :mod:`portside.errors`.
    """
    wanted = Recipe(
        name=name,
        source=source if isinstance(source, Source) else Source(str(source)),
        samples=None if samples is None else str(samples),
        processing=processing or Processing(),
        **recipe,
    )
    with TerminalProgress(stderr_console()) if show_progress else nullcontext(NullProgress()) as shown:
        return run_build(wanted, Path(repository), shown).manifest


class Model:
    """A published version, loaded into this process. Not safe for several threads at once; load one each."""

    def __init__(self, manifest: Manifest, session: Session) -> None:
        self.manifest = manifest
        self._session = session
        self._execution = Execution(manifest.signature, manifest.processing)

    def __repr__(self) -> str:
        inputs = ", ".join(str(s) for s in self.manifest.signature.inputs)
        return f"<Model {self.manifest.name}:{self.manifest.version} ({inputs}) on {self.manifest.config}>"

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors in, tensors out, checked against the signature.

        Raises:
            InvalidTensor: wrong names, dtypes or shapes.
            EngineFailed: the engine broke.
        """
        return self._execution.run(self._session, inputs, self.manifest.signature.check(inputs))

    def __call__(self, /, **inputs: Any) -> dict[str, Array]:  # noqa: ANN401 -- anything numpy makes an array of
        """Like :meth:`run`; anything numpy can turn into an array of the declared type is taken."""
        arrays = {}
        for name, value in inputs.items():
            spec = self.manifest.signature.input(name)
            try:
                arrays[name] = np.asarray(value, spec.dtype.numpy)
            except (TypeError, ValueError, OverflowError) as e:
                raise InvalidTensor(f"input '{name}' cannot be made {spec}: {e}") from e
        return self.run(arrays)

    def predict(self, pictures: Picture | Sequence[Picture], top_k: int | None = None) -> list[Prediction]:
        """Pictures in, answers out, through the declared processing; one answer a picture, in order.

        Raises:
            InvalidRequest: the version does not declare image processing, or a file cannot be read.
            InvalidImage: not a usable picture.
        """
        many = [pictures] if isinstance(pictures, bytes | str | Path) else list(pictures)
        return self._execution.predict(self._session, [_bytes_of(p) for p in many], top_k, math.inf)


def load(model: str, repository: str | Path = DEFAULT_REPOSITORY) -> Model:
    """Loads ``name``, ``name:version`` or ``name:alias`` for in-process inference, without a server.

    Raises:
        ModelNotFound, VersionNotFound, AliasNotFound: nothing is published there.
        EngineFailed: it cannot be loaded.
    """
    store = LocalRepository(Path(repository))
    name, version = resolve(store, ModelRef.parse(model))
    manifest = store.manifest(name, version)
    return Model(manifest, load_sessions(manifest, store.folder(name, version), engines(), instances=1)[0])


def serve(
    repository: str | Path = DEFAULT_REPOSITORY,
    *,
    host: str = DEFAULT_HOST,
    port: int = 0,
    only: Sequence[str] = (),
) -> ServerHandle:
    """Serves a repository from a background thread until the handle is stopped (it is a context manager).

    Args:
        repository: folder that holds the published versions; new ones are picked up while it serves.
        host: address to listen on.
        port: 0 takes any free one; the handle's ``url`` says which.
        only: names of the models to serve; all if empty.
    """
    return start_server(Wanted(Path(repository), host, port, only=tuple(only)))


def _bytes_of(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    try:
        return Path(picture).read_bytes()
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) else e
        raise InvalidRequest(f"{Path(picture).name!r} cannot be read: {why}") from e
