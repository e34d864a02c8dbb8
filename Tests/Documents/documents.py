"""The repository as text: tracked files, pages with their anchors, and what cites them."""

import functools
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


@functools.cache
def tracked() -> tuple[str, ...]:
    """Paths of all files of this repository, new ones that nobody has added yet included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return tuple(sorted(path for path in set(listed) if (ROOT / path).is_file()))


@functools.cache
def text(path: str) -> str:
    """Empty for what is no text."""
    try:
        return (ROOT / path).read_text()
    except UnicodeDecodeError:
        return ""


def pages() -> list[str]:
    """The documents that people read: everything in docs, and the pages beside it."""
    return [path for path in tracked() if path.endswith(".md") and (path.startswith("docs/") or "/" not in path)]


def swift(folder: str = "Sources/") -> list[str]:
    return [path for path in tracked() if path.startswith(folder) and path.endswith(".swift")]


def anchor(heading: str) -> str:
    """A heading as GitHub makes an anchor of it."""
    return "".join("-" if c == " " else c for c in heading.lower() if c.isalnum() or c in "_- ")


def without_code(page: str) -> str:
    """Fenced blocks hold no headings and no links."""
    return re.sub(r"(?ms)^ *```.*?^ *```", "", page)


@functools.cache
def anchors(path: str) -> frozenset[str]:
    page = without_code(text(path))
    headings = [anchor(heading) for heading in re.findall(r"(?m)^#+ (.+)$", page)]
    # A heading that comes again gets a number on GitHub.
    numbered = [f"{name}-{headings[:place].count(name)}" if name in headings[:place] else name for place, name in enumerate(headings)]
    return frozenset(numbered) | frozenset(re.findall(r'<a id="([^"]+)">', page))


def section(path: str, heading: str) -> str:
    """What stands below a heading, to the next one of its level or above."""
    page = text(path)
    match = re.search(rf"(?m)^(#+) {re.escape(heading)}$", page)
    assert match, f"{path} has no section '{heading}'"
    rest = page[match.end():]
    end = re.search(rf"(?m)^#{{1,{len(match[1])}}} ", rest)
    return rest[: end.start()] if end else rest


def place(path: str, offset: int) -> str:
    return f"{path}:{text(path).count(chr(10), 0, offset) + 1}"
