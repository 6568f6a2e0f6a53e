"""The helm commands in the docs work with the charts, and the examples that the docs name exist."""

import re
import shlex
from pathlib import Path

import pytest

from tests.unit.charts.render import CHARTS, PUBLIC_PEM, ROOT, helm

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_INSTALL = re.compile(r"helm install (?P<release>[\w-]+) helm/(?P<chart>\w+)(?P<rest>(?:[^\n`\\]|\\\n)*)")
INSTALLS = [
    (page.name, match["release"], match["chart"], match["rest"].replace("\\\n", " "))
    for page in PAGES
    for match in _INSTALL.finditer(page.read_text())
]


def test_docs_install_both_charts() -> None:
    assert {chart for _, _, chart, _ in INSTALLS} == CHARTS.keys()


@pytest.mark.parametrize(("page", "release", "chart", "rest"), INSTALLS)
def test_each_install_command_in_the_docs_renders(
    page: str, release: str, chart: str, rest: str, tmp_path: Path
) -> None:
    # Files that the commands on some pages read.
    (tmp_path / "values.yaml").write_text("managementApi: {enabled: true}\n")
    (tmp_path / "public-key.pem").write_text(PUBLIC_PEM)
    arguments = [argument for argument in shlex.split(rest) if argument != "--wait"]
    result = helm("template", release, str(CHARTS[chart]), "--kube-version", "1.30.0", *arguments, folder=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_named_in_the_docs_exist(page: str) -> None:
    for path in re.findall(r"\bexamples/[\w.-]+\.yaml", (ROOT / page).read_text()):
        assert (ROOT / path).exists(), path
