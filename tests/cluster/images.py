"""Builds images without a registry, from Debian packages and the project's Dockerfiles, and loads them into nodes.

Each image is cached as an OCI archive. Its name contains a hash of all inputs, so unchanged inputs need no build.
"""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import build_inputs
from tests.cluster.locks import locked
from tests.cluster.output import Log, run, timed, to_stderr
from tests.cluster.paths import HERE, ClusterError, cache_dir

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

GATEWAY_TAG = "localhost/secure-mcp-gateway:2.2.4"
_BASE_PACKAGES = "python3,python3-venv,ca-certificates"
_BASE_SUITE = "bookworm"
# Documentation and translations are a third of the packages' size, and no program needs them.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")
_PAUSE = """\
FROM scratch
COPY busybox /bin/busybox
ENTRYPOINT ["/bin/busybox", "sleep", "2147483647"]
"""


@dataclass(frozen=True)
class Image:
    """The tag of a built image, and the path of its OCI archive."""

    tag: str
    archive: Path

    @property
    def size(self) -> int:
        """Size of the archive in bytes, with compressed layers as in a registry."""
        return self.archive.stat().st_size


def build(
    dockerfile: Path,
    context: Path,
    tag: str,
    build_args: Mapping[str, str] | None = None,
    log: Log = to_stderr,
) -> Image:
    """Build an image from a Dockerfile. The default of its argument BASE is the image of `base_image`.

    There is no build if the Dockerfile, the copied files, the base and the arguments are unchanged.
    """
    arguments = dict(build_args or {})
    if "BASE" not in arguments and re.search(r"^ARG BASE\b", dockerfile.read_text(), re.M):
        arguments["BASE"] = base_image(log).tag
    key = build_inputs.hash_of(dockerfile, context, arguments)

    def bud() -> None:
        with tempfile.TemporaryDirectory() as scratch:
            command = ["bud", "--isolation", "chroot", "--network", "host", "--layers", "--format", "oci"]
            command += build_inputs.pip_options(Path(scratch))
            for name, value in arguments.items():
                command += ["--build-arg", f"{name}={value}"]
            _buildah(*command, "--file", str(dockerfile), "--tag", tag, str(context), timeout=1800)

    return _cached(tag, key, bud, log)


def base_image(log: Log = to_stderr) -> Image:
    """A base for Python images without a registry: Debian with Python, built from Debian packages."""
    recipe = "|".join((_BASE_SUITE, _BASE_PACKAGES, *_LEFT_OUT))
    key = hashlib.sha256(recipe.encode()).hexdigest()
    tag = f"localhost/gateway-test-base:{key[:12]}"

    def bootstrap() -> None:
        for abandoned in cache_dir().glob("base-*"):  # of a killed run: this process holds the tag's lock
            shutil.rmtree(abandoned)
        scratch = Path(tempfile.mkdtemp(dir=cache_dir(), prefix="base-"))
        try:
            root = scratch / "root"
            command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_BASE_PACKAGES}"]
            command += [f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT]
            run([*command, _BASE_SUITE, str(root)], timeout=600)
            container = _buildah("from", "scratch").strip()
            _buildah("add", "--quiet", container, str(root), "/")
            _buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin", container)
            _buildah("commit", "--quiet", "--rm", "--format", "oci", container, tag, timeout=300)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    return _cached(tag, key, bootstrap, log)


def pause_image() -> Path:
    """OCI archive of the pause image, which keeps the namespaces of a pod open."""
    from tests.cluster.runtime import PAUSE_TAG

    busybox = Path("/bin/busybox")
    key = hashlib.sha256(_PAUSE.encode() + busybox.read_bytes()).hexdigest()

    def bud() -> None:
        with tempfile.TemporaryDirectory() as context:
            shutil.copy(busybox, Path(context) / "busybox")
            (Path(context) / "Dockerfile").write_text(_PAUSE)
            _buildah("bud", "--isolation", "chroot", "--format", "oci", "--tag", PAUSE_TAG, context)

    return _cached(PAUSE_TAG, key, bud, lambda line: None).archive


def gateway_image(log: Log = to_stderr) -> Image:
    """The image of the real Secure MCP Gateway, from the Python package index."""
    folder = HERE / "gateway_image"
    return build(folder / "Dockerfile", folder, GATEWAY_TAG, log=log)


def load(cluster: "Cluster", tag: str) -> None:
    """Load a built image into a cluster's node, unless the node already has it."""
    note = _images() / f"{_file_name(tag)}.json"
    if not note.exists():
        raise ClusterError(f"no image {tag} has been built")
    cluster.load_image(_images() / json.loads(note.read_text())["archive"], tag)


def _cached(tag: str, key: str, make: "build_inputs.Action", log: Log) -> Image:
    """The cached image with this tag and key; if there is none, `make` builds it in buildah's storage."""
    name = f"{_file_name(tag)}-{key[:16]}.tar"
    archive, note = _images() / name, _images() / f"{_file_name(tag)}.json"
    with locked(_images() / f"{_file_name(tag)}.lock"):
        if not archive.exists():
            with timed(log, f"built the image {tag}"):
                make()
                partial = archive.with_suffix(".partial")
                partial.unlink(missing_ok=True)
                _buildah("push", "--quiet", tag, f"oci-archive:{partial}:{tag}", timeout=600)
                # Older archives go first, then the new one gets its name: a reader never finds a partial archive.
                for older in _images().glob(f"{_file_name(tag)}-*.tar"):
                    older.unlink()
                partial.rename(archive)
        note.write_text(json.dumps({"archive": name}))
    return Image(tag, archive)


def _images() -> Path:
    folder = cache_dir() / "images"
    folder.mkdir(exist_ok=True)
    return folder


def _file_name(tag: str) -> str:
    return re.sub(r"[^a-zA-Z0-9.]+", "_", tag.removeprefix("localhost/"))


def _buildah(*arguments: str, timeout: float = 120) -> str:
    """Run buildah with a storage in the cache, separate from the machine's own."""
    storage = cache_dir() / "buildah"
    storage.mkdir(exist_ok=True)
    kind = run(["stat", "-f", "-c", "%T", str(storage)]).stdout.strip()
    driver = "vfs" if kind == "overlayfs" else "overlay"
    policy = storage / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    command = ["buildah", "--root", str(storage / "storage"), "--runroot", str(storage / "run")]
    command += ["--storage-driver", driver]
    if arguments[0] in ("bud", "from", "commit", "push"):
        arguments = (arguments[0], "--signature-policy", str(policy), *arguments[1:])
    return run([*command, *arguments], timeout=timeout).stdout
