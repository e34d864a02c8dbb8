"""The graph of modules in ARCHITECTURE.md is that of Package.swift."""

import subprocess

from documents import ROOT, text


def test_the_graph_in_the_architecture_document_is_drawn_from_the_package():
    drawn = subprocess.run([ROOT / "scripts/module-graph"], check=True, capture_output=True, text=True, timeout=100).stdout
    page = text("ARCHITECTURE.md")
    shown = page.partition("<!-- modules -->\n")[2].partition("<!-- /modules -->")[0]
    assert shown == drawn, f"`scripts/module-graph --write` puts the right one there:\n{drawn}"


def test_every_module_below_sources_has_its_row():
    page = text("ARCHITECTURE.md")
    table = page.partition("<!-- /modules -->")[2].partition("\n## ")[0]
    drawn = page.partition("<!-- modules -->\n")[2].partition("<!-- /modules -->")[0]
    names = {line.split()[0] for line in drawn.splitlines() if line and not line.startswith(("`", " "))}
    lacking = [name for name in sorted(names) if f"`{name}`" not in table and f"/{name}`" not in table]
    assert not lacking, f"the table of modules in ARCHITECTURE.md lacks {lacking}"
