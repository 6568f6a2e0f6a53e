"""Inputs of an image build: the files that determine the image, and the machine's pip settings.

pip settings (another index, a proxy's certificate, a folder of wheels) do not affect the image's hash. They are mounted
during the build, and no layer contains them; a layer may only contain the empty file at the mount point.
"""

import configparser
import hashlib
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

Action = Callable[[], None]

_CERTIFICATES = Path("/etc/ssl/certs")
_BUNDLE = _CERTIFICATES / "ca-certificates.crt"
_PIP_SETTINGS = ("index-url", "extra-index-url", "find-links", "trusted-host", "no-index", "proxy", "timeout", "cert")
_PIP_CONFIGS = ("/etc/pip.conf", "~/.pip/pip.conf", "~/.config/pip/pip.conf")


def hash_of(dockerfile: Path, context: Path, arguments: Mapping[str, str]) -> str:
    """Hash of the arguments, the Dockerfile and all copied files. Pinned downloads are not part of it."""
    digest = hashlib.sha256(repr(sorted(arguments.items())).encode())
    digest.update(dockerfile.read_bytes())
    for path in sorted(set(_copied(dockerfile, context))):
        digest.update(f"\0{path.relative_to(context)}\0{path.stat().st_mode & 0o111}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _copied(dockerfile: Path, context: Path) -> Iterator[Path]:
    """Files of the context that COPY and ADD instructions of the Dockerfile use."""
    for line in dockerfile.read_text().replace("\\\n", " ").splitlines():
        parts = shlex.split(line, comments=True)
        if not parts or parts[0].upper() not in ("COPY", "ADD") or any(part.startswith("--from") for part in parts):
            continue
        for source in [part for part in parts[1:] if not part.startswith("--")][:-1]:
            for match in context.glob(source.lstrip("/")) if source not in (".", "./") else [context]:
                yield from _files(match)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    # Git's ignore rules exclude files that tools left behind.
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard", "."], cwd=path, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0:
        yield from (file for name in listed.stdout.split("\0") if name and (file := path / name).is_file())
    else:
        yield from (file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)


def pip_options(scratch: Path) -> list[str]:
    """Options of `buildah bud` that give pip in the build the same indexes and certificates as on this machine."""
    settings = _pip_settings()
    options = []
    if _BUNDLE.exists():
        options += ["--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"]
    bundle = Path(settings.get("cert", _BUNDLE))
    if bundle.is_file():
        settings["cert"] = str(bundle)
        if _CERTIFICATES not in bundle.parents:
            options += ["--volume", f"{bundle}:{bundle}:ro"]
    for folder in settings.get("find-links", "").split():
        if folder.startswith("/") and Path(folder).is_dir():
            options += ["--volume", f"{folder}:{folder}:ro"]
        elif folder.startswith("/"):
            del settings["find-links"]
            break
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (scratch / "pip.conf").write_text("[global]\n" + "\n".join(lines) + "\n")
    return [*options, "--volume", f"{scratch / 'pip.conf'}:/etc/pip.conf:ro"]


def _pip_settings() -> dict[str, str]:
    """pip settings of this machine, from its configuration files and the environment, which takes precedence."""
    found: dict[str, str] = {}
    files = [*_PIP_CONFIGS, os.environ.get("PIP_CONFIG_FILE", os.devnull)]
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(Path(file).expanduser())
        for section in ("global", "install"):
            if parser.has_section(section):
                found |= {name: " ".join(value.split()) for name, value in parser.items(section)}
    for name in _PIP_SETTINGS:
        variable = os.environ.get("PIP_" + name.upper().replace("-", "_"))
        if variable is not None:
            found[name] = variable
    return {name: value for name, value in found.items() if name in _PIP_SETTINGS}
