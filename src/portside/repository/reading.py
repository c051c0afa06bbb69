"""The reading half of a store in a folder: takes no lock, trusts nothing that it finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from portside.errors import CorruptArtifact, InvalidRequest, ModelNotFound, VersionNotFound
from portside.model.manifest import Manifest
from portside.model.ref import check_name
from portside.repository import layout
from portside.repository.base import ModelState
from portside.repository.disk import storing
from portside.repository.records import Manifests, read_names

_LOOKS = 20
_END_OF_VERSIONS = 10**18


class Reader:
    """Finds models and versions below a root. Safe to use from any thread.

    Foreign folders, half-written ones and links that leave the root are passed over.

    Args:
        root: the folder, absolute.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._manifests = Manifests()

    def model_names(self) -> Sequence[str]:
        """Names of the folders that may hold a model, sorted. Raises RepositoryFailed."""
        with storing("list the models"):
            return sorted(name for name in entries(self._root) if self._may_be_model(name))

    def models(self) -> Sequence[str]:
        """Names of the models with at least one version, sorted. Raises RepositoryFailed."""
        with storing("list the models"):
            return [name for name in self.model_names() if any(self._found(self._root / name))]

    def state(self, name: str) -> ModelState:
        """One consistent look at a model; without versions if all were deleted.

        Raises:
            ModelNotFound: nothing was ever published there.
            InvalidRequest, RepositoryFailed: as everywhere.
        """
        folder = self.model_folder(name)
        with storing(f"read the model {name!r}"):
            for _ in range(_LOOKS):
                names, versions = read_names(folder), self._versions(folder)
                # The same before and behind the listing: then this is how they were at its time.
                if read_names(folder) == names:
                    break
            emptied = not versions and any(map(layout.is_retired, entries(folder)))
        if not versions and not emptied:
            raise no_model(name)
        return ModelState(name, versions, names.aliases, names.pin)

    def stored(self, name: str) -> Sequence[int]:
        """Numbers of the versions in a model's folder, ascending; those that are damaged, and so not listed, too.

        Raises:
            ModelNotFound, InvalidRequest, RepositoryFailed: as everywhere.
        """
        folder = self.model_folder(name)
        with storing(f"read the model {name!r}"):
            found = (version for entry in entries(folder) if (version := layout.version_of(entry)) is not None)
            return sorted(v for v in found if self._has_record(folder / str(v)))

    def manifest(self, name: str, version: int) -> Manifest:
        """One version's record. Raises ModelNotFound, VersionNotFound, CorruptArtifact, RepositoryFailed."""
        folder = self.version_folder(name, version)
        with storing(f"read {name}:{version}"):
            try:
                return self._manifests.read(folder)
            except FileNotFoundError:
                raise no_version(name, version) from None

    def model_folder(self, name: str) -> Path:
        """The folder of a model, which need not have a version. Raises ModelNotFound, InvalidRequest."""
        check_name(name)
        with storing(f"read the model {name!r}"):
            folder = self._root / name
            if not self.stays_inside(folder):
                self._root.stat()
                raise no_model(name)
            return folder

    def version_folder(self, name: str, version: int) -> Path:
        """The folder of a version, whose record may be damaged. Raises ModelNotFound, VersionNotFound."""
        model = self.model_folder(name)
        with storing(f"read {name}:{version}"):
            if 0 < version < _END_OF_VERSIONS:
                folder = model / str(version)
                if self._has_record(folder):
                    return folder
            self.state(name)
            raise no_version(name, version)

    def stays_inside(self, folder: Path) -> bool:
        """Whether this is a folder, and not a link that leaves the root. Raises OSError."""
        if folder.is_symlink() and not folder.resolve().is_relative_to(self._root.resolve()):
            return False
        return folder.is_dir()

    def _may_be_model(self, name: str) -> bool:
        try:
            check_name(name)
        except InvalidRequest:
            return False
        return self.stays_inside(self._root / name)

    def _versions(self, folder: Path) -> tuple[int, ...]:
        return tuple(sorted(self._found(folder)))

    def _found(self, folder: Path) -> Iterator[int]:
        for entry in entries(folder):
            version = layout.version_of(entry)
            if version is not None and self._is_version(folder / entry):
                yield version

    def _has_record(self, folder: Path) -> bool:
        # it may be deleted between the two looks
        with suppress(FileNotFoundError):
            return self.stays_inside(folder) and layout.MANIFEST in entries(folder)
        return False

    def _is_version(self, folder: Path) -> bool:
        try:
            self._manifests.read(folder)
        except (CorruptArtifact, FileNotFoundError, NotADirectoryError):
            return False
        return self.stays_inside(folder)


def entries(folder: Path) -> list[str]:
    """The names in a folder, in no order. Raises OSError."""
    return [path.name for path in folder.iterdir()]


def no_model(name: str) -> ModelNotFound:
    """The error for a name without a version."""
    return ModelNotFound(f"there is no model {name!r} in the repository: list the models to see their names")


def no_version(name: str, version: int) -> VersionNotFound:
    """The error for a version that a model does not have."""
    return VersionNotFound(f"the model {name!r} has no version {version}: list the model's versions to see them")
