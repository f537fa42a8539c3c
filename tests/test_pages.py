"""What people read: every picture and link leads somewhere, and nothing is left out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
HELP = sorted((ROOT / "web" / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *HELP]
LARGEST = 250_000  # bytes of a picture


def targets(page: Path) -> list[Path]:
    """Return the files that a page links to or shows."""
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    return [page.parent / link for link in links if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_every_link_of_a_page_leads_to_a_file(page: Path):
    """Oracle: the files that there are."""
    assert [target for target in targets(page) if not target.is_file()] == []


@pytest.mark.parametrize("page", HELP, ids=[page.stem for page in HELP])
def test_every_help_page_shows_a_picture(page: Path):
    """Oracle: the picture opens, and is light enough to be fetched by a browser."""
    pictures = [target for target in targets(page) if target.parent.name == "images"]
    assert pictures
    for picture in pictures:
        with Image.open(picture) as image:
            image.verify()
        assert picture.stat().st_size <= LARGEST, picture.name


def test_the_readme_names_every_help_page_and_every_example_workflow():
    """Oracle: the files that there are."""
    named = {target.name for target in targets(ROOT / "README.md")}
    workflows = {file.name for file in (ROOT / "example_workflows").glob("*.json")}
    assert {page.name for page in HELP} | workflows <= named


def test_every_picture_beside_a_workflow_is_light():
    """Oracle: 250 kB; the editor's template browser fetches all of them."""
    files = (ROOT / "example_workflows").glob("*.jpg")
    assert [file.name for file in files if file.stat().st_size > LARGEST] == []
