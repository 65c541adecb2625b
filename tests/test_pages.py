"""The pages: what they link to and the files that they name are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FOLDERS = "bench|cli|common|docs|examples|firmware|flow|gen|golden|jobs|rtl|sim|spikeloom|tests"


def anchors(page):
    """The anchors that a page's headings get, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), f"{page.relative_to(ROOT)} links to {target}"
        assert not anchor or anchor in anchors(path), f"{page.relative_to(ROOT)} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_are_there(page):
    for name in re.findall(rf"`((?:{FOLDERS})/[\w/.\-]*\.(?:py|md|yaml|cpp|json|svg|safetensors))\b", page.read_text()):
        assert (ROOT / name).exists(), f"{page.relative_to(ROOT)} names {name}"


def test_every_page_is_in_the_index():
    index = (ROOT / "docs" / "README.md").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "README.md" or f"({page.name})" in index, f"docs/README.md does not list {page.name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_text_is_no_wider_than_a_terminal(page):
    code = False
    for number, line in enumerate(page.read_text().splitlines(), start=1):
        code ^= line.lstrip().startswith("```")
        wide = len(line) > 118 and not code and not line.startswith(("|", "    ", "!["))
        assert not wide, f"{page.relative_to(ROOT)}:{number} has {len(line)} columns"
