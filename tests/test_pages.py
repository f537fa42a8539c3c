"""What people read: every picture and link leads somewhere, and nothing is left out."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "web" / "docs"
HELP = sorted(DOCS.glob("*.md"))
CHINESE = sorted(DOCS.glob("*/zh.md"))
TRANSLATED = ROOT / "locales" / "zh" / "nodeDefs.json"
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "demo/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *HELP,
]
# One idea has one word in Chinese too: the term, and the other words for it that were in use beside it.
CHINESE_TERMS = {
    "阶段 1": "第[一二]阶段|第 ?[^，。；：]{0,8}阶段",
    "潜空间": "潜变量|隐空间|潜在空间",
    "物体": "事物",
    "提醒": "警告|注意事项",
    "份额": "占比|注意力比例",
    "结论": "(结果|形式|为止时)的判断|给出判断",
    "参考实现": "参考做法",
    "权重改动": "权重的?(变化|改变)",
    "块": "模块",
    "总图": "画面|一页",
    "遮罩": "蒙版|掩码|掩膜",
    "热力图": "热图",
    "词元": "令牌",
    "本节点包": "本包",
    "图像": "图片",
    "平均": "(?<!平)均值",
    "猜测": "推测",
    "工作流": "流程",
    "显存": "GPU 内存",
    "分段": "分块的?边界",
}
# Turns of phrase that are another language's, in English words; each of them stood in what users read.
STILTED = re.compile(
    r"\b(anew|shall|at hand|broken off|breaks? off|looked at together|otherwise than|worth its while|of nobody's"
    r"|it is said|is told of|are told of|goes on with|whole or not at all|so many (?:steps|launches|waits|maps))\b"
)
NUMBER = r"(?<![\w.])\d[\d.,x]*(?:e-\d+)?(?<![.,x])"
LARGEST = 250_000  # bytes of a picture


def targets(page: Path) -> list[Path]:
    """Return the files that a page links to or shows.

    Host contract (front end 1.49, `fetchCustomNodeHelp` and `renderMarkdownToHtml`): the editor shows
    `docs/<node id>/<language>.md` where there is one, else `docs/<node id>.md`; pictures of both lie below `docs`.
    """
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8"))
    base = DOCS if page in CHINESE else page.parent
    return [base / link for link in links if "://" not in link]


@pytest.mark.parametrize("page", PAGES, ids=[page.relative_to(ROOT).with_suffix("").as_posix() for page in PAGES])
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


@pytest.mark.parametrize("page", HELP, ids=[page.stem for page in HELP])
def test_every_help_page_has_its_chinese_one(page: Path):
    """Oracle: the English page: as many headings, rows and points, the same pictures, and every name that is typed."""
    english, chinese = page.read_text("utf-8"), (DOCS / page.stem / "zh.md").read_text("utf-8")
    for mark in ("# ", "## ", "| ", "- ", "1. ", "2. ", "!["):
        assert english.count(f"\n{mark}") == chinese.count(f"\n{mark}"), mark
    inputs = json.loads(TRANSLATED.read_text("utf-8"))[page.stem].get("inputs", {})
    for pattern in (r"images/[\w.]+", r"`[^`\n]+`", r"\*\*(\w[\w ]*)\*\*"):
        names, ours = (set(re.findall(pattern, text)) for text in (english, chinese))
        bold = pattern.startswith(r"\*")  # other bold words are emphasis, and translated
        assert {name for name in names if not bold or name in inputs or name.isupper()} <= ours, pattern
    assert set(re.findall(NUMBER, english)) - set(re.findall(NUMBER, chinese)) == set()
    assert re.search(r"[\u4e00-\u9fff]{4}", chinese)


def test_every_chinese_page_is_of_a_node_and_its_pictures_are_there():
    """Oracle: the English pages and the files; the editor takes a picture's address from `docs`, not from the page."""
    assert [page.parent.name for page in CHINESE] == [page.stem for page in HELP]
    assert [target for page in CHINESE for target in targets(page) if not target.is_file()] == []


def read_by_users(file: Path) -> str:
    """Return a page or an example whole, and of a script the texts in quotes, without docstrings and comments."""
    if file.suffix not in (".md", ".json", ".py", ".js"):
        return ""
    text = file.read_text("utf-8")
    if file.suffix == ".js":
        code = re.sub(r"^\s*//.*", "", re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL), flags=re.MULTILINE)
        return "\n".join(re.findall(r'"[^"\n]*"|`[^`]*`', code))
    if file.suffix != ".py":
        return text
    nodes = list(ast.walk(ast.parse(text)))
    lone = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in lone]
    return "\n".join(node.value for node in texts if isinstance(node.value, str))


def test_what_users_read_is_free_of_stilted_turns():
    """Oracle: the list of turns, over pages, nodes, messages, panels, examples and the options of commands."""
    folders = (
        "nodes",
        "host",
        "scenescope",
        "diffusers_adapter",
        "devtools",
        "web/js",
        "example_workflows",
        "subgraphs",
    )
    files = [*PAGES, *(path for name in folders for path in (ROOT / name).rglob("*") if path.is_file())]
    found = [
        f"{file.relative_to(ROOT).as_posix()}: {match.group()}"
        for file in files
        for match in STILTED.finditer(read_by_users(file))
    ]
    assert found == []
    assert "not in the prompt" in read_by_users(ROOT / "scenescope" / "attention" / "words" / "find.py")
    assert "Find a word" in read_by_users(ROOT / "web" / "js" / "viewer" / "viewer.js")
    assert STILTED.search("it is painted anew")


def test_one_idea_has_one_chinese_term():
    """Oracle: the list of terms, each of which is in use, and of the words that stood beside it."""
    files = [*CHINESE, *TRANSLATED.parent.glob("*.json"), *(ROOT / "web" / "js").glob("*/zh.js")]
    texts = {file.relative_to(ROOT).as_posix(): file.read_text("utf-8") for file in files}
    assert [term for term in CHINESE_TERMS if not any(term in text for text in texts.values())] == []
    found = [
        f"{file}: {match.group()} instead of {term}"
        for file, text in texts.items()
        for term, others in CHINESE_TERMS.items()
        for match in re.finditer(others, text)
    ]
    assert found == []


def test_the_readme_names_every_help_page_and_every_example_workflow():
    """Oracle: the files that there are."""
    named = {target.name for target in targets(ROOT / "README.md")}
    workflows = {file.name for file in (ROOT / "example_workflows").glob("*.json")}
    assert {page.name for page in HELP} | workflows <= named


def test_the_readme_takes_five_minutes_and_leads_to_every_page():
    """Oracle: 180 lines, and the pages that there are; what is deeper has a page of its own."""
    readme = ROOT / "README.md"
    assert len(readme.read_text("utf-8").splitlines()) <= 180
    assert set((ROOT / "docs").glob("*.md")) <= {target.resolve() for target in targets(readme)}


def test_every_picture_beside_a_workflow_is_light():
    """Oracle: 250 kB; the editor's template browser fetches all of them."""
    files = (ROOT / "example_workflows").glob("*.jpg")
    assert [file.name for file in files if file.stat().st_size > LARGEST] == []
