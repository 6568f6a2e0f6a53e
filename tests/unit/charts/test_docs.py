"""The commands that the docs tell people to paste are commands that work."""

import re
import shlex
from pathlib import Path

import pytest

from tests.unit.charts.render import CHARTS, PUBLIC_PEM, ROOT, helm

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_INSTALL = re.compile(r"helm install (?P<release>[\w-]+) helm/(?P<chart>\w+)(?P<rest>(?:[^\n`\\]|\\\n)*)")
INSTALLS = [
    (page.name, found["release"], found["chart"], found["rest"].replace("\\\n", " "))
    for page in PAGES
    for found in _INSTALL.finditer(page.read_text())
]


def test_the_docs_install_both_charts() -> None:
    assert {chart for _, _, chart, _ in INSTALLS} == CHARTS.keys()


@pytest.mark.parametrize(("page", "release", "chart", "rest"), INSTALLS)
def test_an_install_in_the_docs_is_one_that_the_chart_takes(
    page: str, release: str, chart: str, rest: str, tmp_path: Path
) -> None:
    # Files that a page tells to keep.
    (tmp_path / "values.yaml").write_text("managementApi: {enabled: true}\n")
    (tmp_path / "public-key.pem").write_text(PUBLIC_PEM)
    words = [word for word in shlex.split(rest) if word != "--wait"]
    done = helm("template", release, str(CHARTS[chart]), "--kube-version", "1.30.0", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_an_example_that_the_docs_name_exists(page: str) -> None:
    for path in re.findall(r"\bexamples/[\w.-]+\.yaml", (ROOT / page).read_text()):
        assert (ROOT / path).exists(), path
