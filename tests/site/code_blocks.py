"""What stands in the code blocks of a page, and how a test runs it in a few steps."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

from gankit.cli import main

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n)((?: {4}\S.*\n)(?: {4}.*\n|\n(?= {4}\S))*)")
# Networks of convolutions are made small, and no run has more than a few steps.
SMALL = {"dcgan": ["--set", "generator.width=4", "--set", "discriminator.width=4"]}
FEW, MORE = "2", "4"


class Block(NamedTuple):
    """A code block: "shell", or the language of its fence."""

    language: str
    text: str
    line: int


def blocks(page: str) -> list[Block]:
    """The code blocks of a page in Markdown, in their order."""
    found = [(m.start(), Block(m[1], m[2], _line(page, m.start()))) for m in FENCE.finditer(page)]
    # Their places are those of the page: what is fenced becomes as many other characters.
    prose = FENCE.sub(lambda m: re.sub(r"[^\n]", "-", m[0]), page)
    found += [
        (m.start(), Block("shell", m[1], _line(page, m.start()))) for m in INDENTED.finditer(prose)
    ]
    return [block for _, block in sorted(found, key=lambda each: each[0])]


def _line(page: str, place: int) -> int:
    return page.count("\n", 0, place) + 1


def commands(block: Block, program: str = "") -> list[list[str]]:
    """The commands of a shell block, without comments, as lists of words; or those of a program."""
    text = block.text.replace("\\\n", " ")
    lines = (line for line in text.splitlines() if line.lstrip().startswith(program))
    split = (shlex.split(line, comments=True) for line in lines)
    return [words for words in split if words]


def shortened(words: list[str]) -> list[str]:
    """A command of gankit with a few steps, on the CPU, with small networks."""
    if words[0] == "evaluate":
        return [*words, "--n", "100"]
    if words[0] != "train":
        return words
    kept, waiting = [], iter(words)
    for word in waiting:
        if word in ("--steps", "--epochs"):
            next(waiting)
        else:
            kept.append(word)
    resumed = "--resume" in words
    small = [] if resumed else SMALL.get(words[1], [])
    place = [] if resumed else ["--device", "cpu"]
    return [*kept, *small, *place, "--steps", MORE if resumed else FEW, "--quiet"]


def with_few_steps(code: str) -> str:
    """Python with ``steps=N`` of two digits or more made a few, more of them where N is larger."""
    return re.sub(r"\bsteps=(\d{2,})\b", lambda m: f"steps={max(2, int(m[1]) // 150)}", code)


def run(words: list[str]) -> None:
    """Runs a command of gankit; of others, which change the machine, asserts what they name."""
    program, *rest = words
    if program == "gankit":
        assert main(shortened(rest)) == 0, words
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(rest) <= set(targets), words
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\.\[([\w,]+)\]", words[2])
        names = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
        assert words[2].startswith("."), words
        assert all(set(extra.split(",")) <= set(names) for extra in extras), words
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), words
    else:
        raise AssertionError(f"no rule says how to run {words}")


def run_page(page: str) -> int:
    """Runs the blocks of a page in their order, Python in one namespace; how many there were."""
    names: dict[str, Any] = {}
    found = blocks(page)
    for block in found:
        if block.language == "python":
            code = compile("\n" * block.line + with_few_steps(block.text), "<page>", "exec")
            exec(code, names)
        elif block.language == "shell":
            for words in commands(block):
                run(words)
    return len(found)
