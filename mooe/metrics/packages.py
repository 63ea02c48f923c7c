"""Files that the judges read out of optional packages, without importing those packages."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path

from mooe.errors import DependencyError


def package_file(module: str, path: str, *, sha256: str, install: str) -> Path:
    """A data file of an installed package, checked.

    The packages of the judges ask for TensorFlow or a face detector only to be imported; their weights need
    neither.

    Args:
        module: top-level module of the package.
        path: the file inside it.
        sha256: checksum of the tested file.
        install: the command that installs the package.

    Raises:
        DependencyError: the package is not installed or holds another file.
    """
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise DependencyError(f"The judge needs the package {module}: install it with '{install}'.")
    file = Path(next(iter(spec.submodule_search_locations))) / path
    if not file.is_file():
        raise DependencyError(f"The package {module} lacks {path}: reinstall it with '{install}'.")
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise DependencyError(f"{path} of the package {module} is not the tested one: run '{install}'.")
    return file
