"""The Korean pages say what the English ones do: headings, commands, code, pictures and numbers."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.site.code_blocks import FENCE, INDENTED, ROOT, Block, blocks, commands

PAIRS = {
    "README.md": "README.ko.md",
    "docs/quickstart.md": "docs/ko/quickstart.md",
    "docs/tutorial.md": "docs/ko/tutorial.md",
    "docs/gallery.md": "docs/ko/gallery.md",
    "docs/glossary.md": "docs/ko/glossary.md",
}
# 해요체 and plain endings, where the pages keep to 합니다체.
OTHER_STYLE = re.compile(r"(해요|예요|에요|어요|아요|이다|한다|된다|였다|았다|었다)\.(\s|$)")


def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """A page without its code and links."""
    bare = INDENTED.sub("", FENCE.sub("", page))
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", " ", bare)


def sections(page: str) -> list[str]:
    return re.split(r"^#+ ", prose(page), flags=re.MULTILINE)


def numbers(words: str) -> list[str]:
    """The numbers of two characters or more in a text, in their order of size."""
    return sorted(re.findall(r"\d[\d.,]*\d", words))


def code(block: Block) -> object:
    """What a block does: without comments, which are translated."""
    if block.language == "shell":
        return list(commands(block))
    if block.language == "python":
        tokens = tokenize.generate_tokens(io.StringIO(block.text).readline)
        left_out = (tokenize.COMMENT, tokenize.NL)
        return [token.string for token in tokens if token.type not in left_out]
    return block.text


@pytest.mark.parametrize(("english", "korean"), PAIRS.items())
def test_a_page_has_the_same_code_and_pictures(english: str, korean: str) -> None:
    ours, theirs = text(english), text(korean)
    assert [code(b) for b in blocks(ours)] == [code(b) for b in blocks(theirs)]
    shown = [re.findall(r"!\[[^]]*\]\(([^)]*)\)", page) for page in (ours, theirs)]
    assert [Path(each).name for each in shown[0]] == [Path(each).name for each in shown[1]]


@pytest.mark.parametrize(("english", "korean"), PAIRS.items())
def test_a_page_has_the_same_sections_and_numbers(english: str, korean: str) -> None:
    levels = [
        re.findall(r"^#+(?= )", FENCE.sub("", text(p)), re.MULTILINE) for p in (english, korean)
    ]
    assert levels[0] == levels[1]
    pairs = zip(sections(text(english)), sections(text(korean)), strict=True)
    for ours, theirs in pairs:
        if not ours.startswith("Recipes"):  # a list in English alone
            assert numbers(ours) == numbers(theirs), theirs.splitlines()[0]


@pytest.mark.parametrize("korean", PAIRS.values())
def test_a_page_keeps_one_style(korean: str) -> None:
    found = OTHER_STYLE.search(prose(text(korean)))
    assert found is None, found and found[0]


def test_what_differs_is_found() -> None:
    ours, theirs = "# A\n\nIt takes 1,442 of 60.\n", "# 가\n\n60개 가운데 1,443개입니다.\n"
    assert numbers(prose(ours)) != numbers(prose(theirs))
    assert numbers(prose(ours)) == numbers(prose(theirs.replace("1,443", "1,442")))
    one, other = (blocks(f"A\n\n    gankit train {name}   # x\n\nB\n")[0] for name in ("a", "b"))
    assert code(one) != code(other)
    assert code(one) == code(Block("shell", "    gankit train a\n", 1))
    assert OTHER_STYLE.search("이것은 그림이다. ")
