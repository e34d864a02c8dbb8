"""Every code that a caller, a client, a shell or a log can see has its place in docs/reference, and nothing there is without a code."""

import re

import pytest

from documents import section, swift, text

ERRORS = "docs/reference/errors.md"
LOG = "docs/reference/log.md"
AGAIN = re.compile(r"yes|no|only |as ")


def cases(path: str, enum: str) -> set[str]:
    """The raw values of a Swift enum."""
    source = text(path)
    start = re.search(rf"\benum {enum}: (\w+)", source)
    assert start, f"{path} has no enum {enum}"
    depth, end = 0, len(source)
    for match in re.finditer(r"[{}]", source[start.end():]):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            end = start.end() + match.end()
            break
    found = set()
    for names in re.findall(r"(?m)^\s*case ((?:\w+(?: = [^,\n]+)?(?:, )?)+)$", source[start.end():end]):
        for name, value in re.findall(r"(\w+)(?: = ([^,\n]+))?", names):
            found.add((value or name).strip('"'))
    return found


def rows(heading: str) -> dict[str, list[str]]:
    """The rows of the tables of one section of the page of errors: the code in the first column → the other cells."""
    table = {}
    for line in section(ERRORS, heading).splitlines():
        if line.startswith("|") and not re.match(r"\|[-| ]+\|$|\| Code ", line):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            code = re.sub(r'<a id="[^"]*"></a>|`', "", cells[0])
            assert code not in table, f"{ERRORS}, {heading}: two rows for {code}"
            table[code] = cells[1:]
    assert table, f"{ERRORS}, {heading}: no table"
    return table


def same(documented: set[str], known: set[str], page: str, source: str):
    assert not known - documented, f"{page} lacks {sorted(known - documented)}, which {source} has"
    assert not documented - known, f"{page} has {sorted(documented - known)}, which {source} has not"


def gateway_codes() -> set[str]:
    """The gateway's own codes, and those of functions that it passes on under a status of its own."""
    source = text("Sources/iii-http/Gateway/Mapping/GatewayError.swift")
    wire = dict(re.findall(r'case (\w+) = "(\w+)"', text("Sources/Shared/Protocol/InvocationError.swift")))
    passed_on = re.findall(r"(?m)^\s*case \.\w+: ErrorCode\.(\w+)\.rawValue$", source)
    return set(re.findall(r'"([A-Z][A-Z_]+)"', source)) | {wire[name] for name in passed_on}


@pytest.mark.parametrize(
    ("heading", "known", "source"),
    [
        ("Wire codes", lambda: cases("Sources/Shared/Protocol/InvocationError.swift", "ErrorCode"), "ErrorCode"),
        ("Fleet codes", lambda: cases("Sources/iii-core/Supervision/Control/FleetRequest.swift", "Code"), "FleetError.Code"),
        ("HTTP answers", gateway_codes, "GatewayError"),
        ("Exit codes", lambda: cases("Sources/Shared/Protocol/ExitStatus.swift", "ExitStatus"), "ExitStatus"),
    ],
    ids=["wire", "fleet", "http", "exit"])
def test_every_code_has_one_row_with_cause_fault_cure_and_whether_to_try_again(heading, known, source):
    table = rows(heading)
    # Two rows stand for what is no constant: the code of somebody's function, the number of a signal.
    same({code for code in table if " " not in code}, known(), f"{ERRORS}, {heading}", source)
    columns = re.search(r"(?m)^\| Code \|(.*)\|$", section(ERRORS, heading))[1].split("|")
    names = [name.strip() for name in columns]
    assert names[-4:] == ["What happened", "Who can act", "Cure", "Again"], f"{ERRORS}, {heading}: columns are {names}"
    for code, cells in table.items():
        assert len(cells) == len(names) and all(cells), f"{ERRORS}, {heading}: the row of {code} has an empty cell"
        assert AGAIN.match(cells[-1]), f"{ERRORS}, {heading}: {code} does not say whether trying again is safe: '{cells[-1]}'"


def log_codes() -> dict[str, str]:
    found = {}
    for level, code in re.findall(r"(?m)^(#+) `([a-z_]+)`$", section(LOG, "Codes")):
        found[code] = section(LOG, f"`{code}`")
    return found


def test_every_log_code_has_its_section_with_cause_fault_and_cure():
    documented = log_codes()
    same(set(documented), cases("Sources/Shared/Protocol/DiagnosticCode.swift", "DiagnosticCode"), LOG, "DiagnosticCode")
    for code, body in documented.items():
        cause = body.split("*Who can act:*")[0].strip()
        assert cause and re.search(r"\*Who can act:\* \S.*\*Cure:\* \S", body, re.S), f"{LOG}: `{code}` needs a cause, 'Who can act' and 'Cure'"


def test_every_log_code_is_written_somewhere():
    source = text("Sources/Shared/Protocol/DiagnosticCode.swift")
    everything = "\n".join(text(path) for path in swift() if not path.endswith("/DiagnosticCode.swift"))
    unused = [name for name in re.findall(r"case (\w+) =", source) if not re.search(rf"\.{name}\b", everything)]
    assert not unused, f"no line of the log has these codes: {unused}"


def call(source: str, start: int) -> str:
    """The arguments of a call that opens at `start`, up to its first comma or its end."""
    depth = 0
    for place in range(start, len(source)):
        if source[place] in "([{":
            depth += 1
        elif source[place] in ")]}":
            depth -= 1
        if depth == 0 or (depth == 1 and source[place] == ","):
            return source[start + 1:place].strip()
    return ""


def test_every_warning_and_error_of_ours_has_a_code():
    names = set(re.findall(r"case (\w+) =", text("Sources/Shared/Protocol/DiagnosticCode.swift")))
    bare = []
    for path in swift():
        source = text(path)
        # Every receiver that can only be a log: `logger`, `core.logger`, `Logger(label:)`, the supervisor's `logs`.
        for match in re.finditer(r"(?:\b[lL]ogger|\bLogger\([^)]*\)|\blogs)\.(warning|error|critical|log)\(", source):
            first = call(source, match.end() - 1)
            if match[1] == "log" and not re.match(r"level: \.?(warning|error|critical)|[0-4]$|priority: [0-4]$", first):
                continue
            if match[1] == "critical" or first.lstrip(".") not in names or not first.startswith("."):
                bare.append(f"{path}:{source.count(chr(10), 0, match.start()) + 1} .{match[1]}({first[:80]}: its first argument is to be a DiagnosticCode")
    assert not bare, "\n" + "\n".join(bare)
