"""The three images of the demo, and the chart values that select them.

The demo builds the images (`LOCAL`), or the user names them in IMAGE_ADMIN, IMAGE_OPERATOR and IMAGE_GATEWAY.
"""

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
    """References of the three images."""

    admin: str
    operator: str
    gateway: str

    def operator_values(self) -> list[str]:
        """Arguments of helm that set the images of helm/operator."""
        return _values("image", self.operator)

    def gateway_values(self) -> list[str]:
        """Arguments of helm that set the images of helm/gateway."""
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
    """The tag, the Dockerfile and the context of one image build."""

    tag: str
    dockerfile: Path
    context: Path


SOURCES = (
    Source(LOCAL.admin, ROOT / "api" / "Dockerfile", ROOT),
    Source(LOCAL.operator, ROOT / "operator" / "Dockerfile", ROOT),
    Source(LOCAL.gateway, ROOT / "tests/cluster/gateway_image/Dockerfile", ROOT / "tests/cluster/gateway_image"),
)

HOW_TO_MAKE = """\
The demo needs three images that the nodes of this cluster have or can pull. Build them:

    docker build -t {example.admin} -f api/Dockerfile .
    docker build -t {example.operator} -f operator/Dockerfile .
    docker build -t {example.gateway} tests/cluster/gateway_image

make them available on the cluster in one of these ways:

    kind load docker-image --name NAME {example.admin} {example.operator} {example.gateway}
    minikube -p NAME image load IMAGE        # each of the three
    docker push IMAGE                        # to a registry from which the cluster can pull

and set:

    export IMAGE_ADMIN={example.admin}
    export IMAGE_OPERATOR={example.operator}
    export IMAGE_GATEWAY={example.gateway}"""

_EXAMPLE = Images(
    admin=f"gateway-admin-api:{VERSION}",
    operator=f"gateway-backup-operator:{VERSION}",
    gateway=f"secure-mcp-gateway:{GATEWAY_VERSION}",
)


class MissingImagesError(Exception):
    """The demo has no images for the cluster. The message explains how to build them."""


def any_configured() -> bool:
    """Whether an IMAGE_ variable is set. Then the demo builds no images."""
    return any(os.environ.get(f"IMAGE_{field.name.upper()}") for field in fields(Images))


def from_environment() -> Images:
    """The images of the IMAGE_ variables; MissingImagesError if one is missing or has no fixed version."""
    named = {field.name: os.environ.get(f"IMAGE_{field.name.upper()}", "") for field in fields(Images)}
    if missing := [f"IMAGE_{name.upper()}" for name, reference in named.items() if not reference]:
        how = HOW_TO_MAKE.format(example=_EXAMPLE)
        raise MissingImagesError(f"{how}\n\nNot set: {', '.join(missing)}.")
    for name, reference in named.items():
        _, tag, digest = split(reference)
        if not digest and tag in ("", "latest"):
            raise MissingImagesError(
                f"IMAGE_{name.upper()}={reference} has no fixed version: the charts need a tag other than latest"
            )
    return Images(**named)


def split(reference: str) -> tuple[str, str, str]:
    """Repository, tag and digest of an image reference. The port of a registry is not taken for a tag."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        return reference, "", ""
    return match["repository"], match["tag"] or "", match["digest"] or ""


def _values(path: str, reference: str) -> list[str]:
    repository, tag, digest = split(reference)
    values = ["--set-string", f"{path}.repository={repository}"]
    for name, value in (("tag", tag), ("digest", digest)):
        if value:
            values += ["--set-string", f"{path}.{name}={value}"]
    return values
