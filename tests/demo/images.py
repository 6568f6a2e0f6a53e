"""The three images of the demo, as values for the charts."""

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.1.0"
GATEWAY_VERSION = "2.2.4"
_REFERENCE = re.compile(r"(?P<repository>.+?)(?::(?P<tag>[\w][\w.-]*))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")


@dataclass(frozen=True)
class Images:
    """Where the images are found."""

    admin: str
    operator: str
    gateway: str

    def operator_values(self) -> list[str]:
        """Values of helm/operator."""
        return _values("image", self.operator)

    def gateway_values(self) -> list[str]:
        """Values of helm/gateway."""
        return [
            *_values("admin.image", self.admin),
            *_values("operator.image", self.operator),
            *_values("gateway.image", self.gateway),
        ]


LOCAL = Images(
    admin=f"localhost/gateway-admin-api:{VERSION}",
    operator=f"localhost/gateway-backup-operator:{VERSION}",
    gateway=f"localhost/secure-mcp-gateway:{GATEWAY_VERSION}",
)


@dataclass(frozen=True)
class Source:
    """What an image is built from."""

    tag: str
    dockerfile: Path
    context: Path


SOURCES = (
    Source(LOCAL.admin, ROOT / "api" / "Dockerfile", ROOT),
    Source(LOCAL.operator, ROOT / "operator" / "Dockerfile", ROOT),
    Source(LOCAL.gateway, ROOT / "tests/cluster/gateway_image/Dockerfile", ROOT / "tests/cluster/gateway_image"),
)

HOW_TO_MAKE = """\
On this cluster the demo installs three images, which its nodes must have or be able to pull. Build them:

    docker build -t {example.admin} -f api/Dockerfile .
    docker build -t {example.operator} -f operator/Dockerfile .
    docker build -t {example.gateway} tests/cluster/gateway_image

give them to the cluster, one of these:

    kind load docker-image --name NAME {example.admin} {example.operator} {example.gateway}
    minikube -p NAME image load IMAGE        # each of the three
    docker push IMAGE                        # named after a registry that the cluster can pull from

and name them:

    export IMAGE_ADMIN={example.admin}
    export IMAGE_OPERATOR={example.operator}
    export IMAGE_GATEWAY={example.gateway}"""

_EXAMPLE = Images(
    admin=f"gateway-admin-api:{VERSION}",
    operator=f"gateway-backup-operator:{VERSION}",
    gateway=f"secure-mcp-gateway:{GATEWAY_VERSION}",
)


class MissingImagesError(Exception):
    """The demo has no images for the cluster; the message explains how to make them."""


def any_configured() -> bool:
    """Whether the person names images: then the demo builds none."""
    return any(os.environ.get(f"IMAGE_{field.name.upper()}") for field in fields(Images))


def from_environment() -> Images:
    """The images that the person names, each with a tag or a digest that is not `latest`."""
    named = {field.name: os.environ.get(f"IMAGE_{field.name.upper()}", "") for field in fields(Images)}
    if missing := [f"IMAGE_{name.upper()}" for name, reference in named.items() if not reference]:
        how = HOW_TO_MAKE.format(example=_EXAMPLE)
        raise MissingImagesError(f"{how}\n\nNot set: {', '.join(missing)}.")
    for name, reference in named.items():
        _, tag, digest = split(reference)
        if not digest and tag in ("", "latest"):
            raise MissingImagesError(
                f"IMAGE_{name.upper()}={reference} names no version: the charts want a tag, not latest"
            )
    return Images(**named)


def split(reference: str) -> tuple[str, str, str]:
    """Repository, tag and digest of an image's name; a port in the registry's name is no tag."""
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        return reference, "", ""
    return found["repository"], found["tag"] or "", found["digest"] or ""


def _values(path: str, reference: str) -> list[str]:
    repository, tag, digest = split(reference)
    values = ["--set-string", f"{path}.repository={repository}"]
    for name, value in (("tag", tag), ("digest", digest)):
        if value:
            values += ["--set-string", f"{path}.{name}={value}"]
    return values
