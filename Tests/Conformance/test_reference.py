"""docs/reference has a section for every function and trigger type of a running fleet with all built-ins, and for nothing else."""

import re

import pytest
from processes import everything
from wire import ROOT, Wire

SECRET = "0123456789abcdef" * 4
@pytest.fixture(scope="module")
def privileged(tmp_path_factory):
    """A connection that sees the private functions too."""
    directory = tmp_path_factory.mktemp("reference")
    (directory / "secret").write_text(SECRET + "\n")
    (directory / "secret").chmod(0o600)
    with everything(directory, example=False, env={"III_BUILTIN_TOKEN_FILE": str(directory / "secret")}) as fleet:
        wire = Wire(fleet.port, additional_headers={"x-iii-builtin-token": SECRET, "x-iii-builtin-name": "reference"}).hello()
        yield wire
        wire.close()


def documented() -> dict[str, str]:
    """The headings that name an id of the engine or of a built-in → the page."""
    found = {}
    for page in sorted((ROOT / "docs/reference").glob("*.md")):
        # These have sections for codes and keys.
        if page.stem in ("errors", "log", "configuration"):
            continue
        for name in re.findall(r"(?m)^#+ `([^`]+)`$", page.read_text()):
            assert name not in found, f"{name} has a section in {page.name} and in {found[name]}"
            found[name] = page.name
    return found


def shown(function_id: str) -> str:
    """Each core worker has its own `builtin::<name>::drain`; one section is about all of them."""
    return re.sub(r"^builtin::[^:]+::", "builtin::<name>::", function_id)


def test_every_function_has_its_section_and_every_section_its_function(privileged):
    def served():
        rows = privileged.call("engine::functions::list", {"include_internal": True})["functions"]
        return {shown(row["function_id"]) for row in rows}

    types = {row["id"] for row in privileged.call("engine::trigger-types::list", {"include_internal": True})["trigger_types"]}
    sections, functions = documented(), served()
    assert any(name.startswith("core::") for name in functions), "the private functions are not in the list"
    lacking = sorted(functions - sections.keys())
    assert not lacking, f"docs/reference has no section (a heading with the id in backticks) for {lacking}"
    stale = sorted(f"{page}: {name}" for name, page in sections.items() if name not in functions | types)
    assert not stale, f"docs/reference has sections for what the running fleet does not serve: {stale}"


def test_every_trigger_type_is_named(privileged):
    types = {row["id"] for row in privileged.call("engine::trigger-types::list", {"include_internal": True})["trigger_types"]}
    pages = "\n".join(page.read_text() for page in (ROOT / "docs/reference").glob("*.md"))
    assert "http" in types
    lacking = [name for name in sorted(types) if f"`{name}`" not in pages]
    assert not lacking, f"docs/reference does not name the trigger types {lacking}"


def test_every_function_of_the_engine_describes_itself(privileged):
    rows = privileged.call("engine::functions::list", {"include_internal": True})["functions"]
    silent = sorted(row["function_id"] for row in rows if not row["description"] and not row["function_id"].startswith("builtin::"))
    assert not silent, f"no description: {silent}"
