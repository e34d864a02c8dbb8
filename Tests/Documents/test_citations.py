"""Comments and documents cite what is in this repository: a page and a section that exist, or a public standard."""

import os
import re

from documents import ROOT, anchors, pages, place, text, tracked, without_code

# A section of a public standard may be cited by its number.
STANDARD = re.compile(r"(?:RFC \d+|W3C [A-Za-z ]+?|POSIX|ISO \d+) (?:§§? ?[\d.]+(?:[,–-] ?§?[\d.]+)*)")
OUTSIDE = {
    "a section sign without a public standard before it": re.compile(r"§"),
    "a specification that is not here": re.compile(r"\b(?:spec|protocol|http|design|telemetry) (?:§|section |part )|\b(?:see|in|by|of) the spec\b|\breference spec\b", re.I),
    "a list of decisions that is not here": re.compile(r"\bdecisions? (?:row )?\d+\b|\bdecisions\.md\b|\brow \d+ of (?:the )?decisions\b", re.I),
    "a list of cases that is not here": re.compile(r"\bchecklist (?:item )?\d+|\bitems? \d+(?:[-–]\d+)? of\b|\bcases/\w+", re.I),
    "a folder that is not here": re.compile(r"\bshared/(?:spec|cases|references|design)\b"),
}
SELF = "Tests/Documents/test_citations.py"


def readable() -> list[str]:
    """Files with comments or prose of ours."""
    ends = (".swift", ".py", ".c", ".h", ".md", ".sh", ".yaml", ".yml", ".service", ".socket", ".txt", ".toml")
    bare = ("Makefile", ".ci/run", "Dockerfile")
    return [
        path for path in tracked()
        if path != SELF and (path.endswith(ends) or path.startswith(("scripts/", "deploy/")) or path in bare or os.access(ROOT / path, os.X_OK))
    ]


def exists(page: str, near: str) -> str | None:
    """The path of a cited page, named from the root or from the citing file."""
    for base in ("", os.path.dirname(near)):
        path = os.path.normpath(os.path.join(base, page))
        if (ROOT / path).is_file():
            return path
    return None


def test_every_cited_page_and_section_exists():
    dead = []
    for path in readable():
        # Python may write a path in pieces.
        written = text(path).replace('" / "', "/")
        # A link's own text may name the page alone; where it leads, also in text that makes a page, is the next test's.
        for match in re.finditer(r"(?<![\w./:*}-])(?<!\]\()((?:[\w.-]+/)*[\w-]+\.md)\b(?!\]\()(?:#([\w-]+))?", written):
            page, section = match.groups()
            target = exists(page, path)
            if not target:
                dead.append(f"{place(path, match.start())} cites {page}: there is no such page in this repository")
            elif section and section not in anchors(target):
                dead.append(f"{place(path, match.start())} cites {page}#{section}: the page has no such section")
    assert not dead, "\n" + "\n".join(dead)


def test_links_between_pages_lead_somewhere():
    dead = []
    for path in pages():
        for match in re.finditer(r"\]\(([^)\s#]*)(?:#([^)\s]+))?\)", without_code(text(path))):
            page, section = match.groups()
            if "://" in page or page.startswith("mailto:"):
                continue
            target = os.path.normpath(os.path.join(os.path.dirname(path), page)) if page else path
            if not (ROOT / target).exists():
                dead.append(f"{path} links to {page}: there is no such file")
            elif section and section not in anchors(target):
                dead.append(f"{path} links to {page}#{section}: the page has no such section")
    assert not dead, "\n" + "\n".join(dead)


def test_nothing_cites_a_text_that_is_not_here():
    found = []
    for path in readable():
        known = STANDARD.sub(lambda match: "_" * len(match[0]), text(path))
        for what, pattern in OUTSIDE.items():
            for match in pattern.finditer(known):
                line = known[known.rfind("\n", 0, match.start()) + 1:known.find("\n", match.end())].strip()
                found.append(f"{place(path, match.start())} cites {what}; state the rule, or cite a section of docs/reference: {line[:160]}")
    assert not found, "\n" + "\n".join(sorted(found))


def test_every_page_of_the_reference_is_reachable():
    """From README.md, directly or through other pages."""
    seen, waiting = set(), ["README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in re.findall(r"\]\(([^)\s#]+\.md)", text(page)):
            waiting.append(os.path.normpath(os.path.join(os.path.dirname(page), target)))
    lost = [page for page in pages() if page.startswith("docs/") and page not in seen]
    assert not lost, f"no page that README.md leads to links to {lost}"
