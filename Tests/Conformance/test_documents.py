"""Every command that a document shows is run: the lines of shell blocks here, against a fleet with everything that this build has;
what cannot be run here by the test or target that is named for it. Commands named in passing exist, with their options."""

import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
from processes import everything
from wire import BIN, ROOT, Fleet, free_port, wait_for

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
TESTS = "\n".join(path.read_text() for path in sorted((ROOT / "Tests/Conformance").glob("*.py")) if path.name != "test_documents.py")

# A line of a shell block → where it is run instead, and why not here.
ELSEWHERE = {
    "make up": "Tests/Conformance/test_readme.py",
    "curl 'http://127.0.0.1:3111/hello?name=you'": "Tests/Conformance/test_readme.py",
    ".build/release/iii-core ps -c examples/hello/config.yaml": "Tests/Conformance/test_readme.py",
    """kill -9 "$(.build/release/iii-core ps -c examples/hello/config.yaml | awk '$1 == "iii-http" {print $2}')\"""": "Tests/Conformance/test_readme.py",
    "python3 -m venv .venv && .venv/bin/pip install iii-sdk==0.11.6": "scripts/install-packages",
    ".venv/bin/python examples/python/echo.py &": "Tests/Conformance/test_readme.py",
    """curl -X POST http://127.0.0.1:3111/echo -H 'content-type: application/json' -d '{"text":"hi"}'""": "Tests/Conformance/test_readme.py",
    "swift build -c release --package-path examples/ticker": "scripts/test",
    "iii-core up --config examples/ticker/config.yaml": "Tests/Conformance/test_ticker.py",
    "iii-core trigger ticker::last": "Tests/Conformance/test_ticker.py",
    "iii-core trigger cron::get id=report": "Tests/Conformance/test_cron.py",
    "iii-core trigger cron::run key=report": "Tests/Conformance/test_cron.py",
    "iii-core trigger cron::pause id=report": "Tests/Conformance/test_cron.py",
    "iii-core trigger cron::resume id=report": "Tests/Conformance/test_cron.py",
    "cp -r .build/release /tmp/before": "Tests/Conformance/test_benchmarks.py",
    ".cache/venv/bin/python benchmarks/run.py --against /tmp/before --short": "Tests/Conformance/test_benchmarks.py",
}


def lines() -> list[tuple[str, str]]:
    """The commands of all shell blocks, comments cut off: page, command."""
    found = []
    for page in PAGES:
        for block in re.findall(r"(?ms)^ *```(?:sh|bash|console)\n(.*?)^ *```", page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                line = re.sub(r"\s{2,}#.*", "", line).strip()
                if line and not line.startswith("#"):
                    found.append((str(page.relative_to(ROOT)), line))
    return found


def here() -> list:
    return [pytest.param(page, line, id=f"{page}: {line}"[:120]) for page, line in lines() if line not in ELSEWHERE]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with everything(tmp_path_factory.mktemp("documents")) as it:
        yield it


@pytest.mark.parametrize(("page", "line"), here())
def test_a_line_of_a_shell_block_does_what_it_says(fleet, page, line):
    environment = {**fleet.env, "PATH": f"{BIN}:{os.environ['PATH']}"}
    command = line.replace(".build/release/", f"{BIN}/")
    # The documents speak of the usual port.
    command = re.sub(r"\biii-core trigger\b", f"iii-core trigger --port {fleet.port}", command)
    command = re.sub(r"\biii-core (ps|status|logs|reload|restart|stop|start|reset|store|config|metrics)\b(.*)", rf"iii-core \1\2 -c {fleet.config}", command)
    command = command.replace("127.0.0.1:3111", f"127.0.0.1:{fleet.http_port}")
    done = subprocess.run(["bash", "-c", command], cwd=fleet.directory, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{page}: {line}\n{done.stdout}{done.stderr}"


def test_lines_that_are_run_elsewhere_are_still_shown_and_run():
    shown = {line for _, line in lines()}
    assert not ELSEWHERE.keys() - shown, f"no document shows these any more: {ELSEWHERE.keys() - shown}"
    for line, where in ELSEWHERE.items():
        assert (ROOT / where).is_file(), f"{line}: there is no {where}"


def named() -> list[tuple[str, str]]:
    """`iii-core …` in running text: page, words."""
    return [(page.name, words) for page in PAGES for words in re.findall(r"`(?:\.build/release/)?iii-core ([^`\n]+)`", page.read_text())]


def help_of(*words: str) -> str:
    return subprocess.run([BIN / "iii-core", *words, "--help"], capture_output=True, text=True, check=True, timeout=30).stdout


def test_commands_named_in_passing_exist_and_are_run_by_a_test():
    commands = set(re.findall(r"(?m)^  ([a-z-]+)", help_of().partition("SUBCOMMANDS:")[2]))
    parts = {name: set(re.findall(r"(?m)^  ([a-z-]+)", help_of(name).partition("SUBCOMMANDS:")[2])) for name in commands}
    wrong = []
    for page, text in named():
        words = text.replace("\\|", "|").split()
        for name in words[0].split("|"):
            if name not in commands:
                wrong.append(f"{page}: `iii-core {text}`: there is no command '{name}'")
                continue
            path = [name]
            if parts[name] and len(words) > 1 and not words[1].startswith(("[", "-")):
                for part in words[1].split("|"):
                    if part not in parts[name]:
                        wrong.append(f"{page}: `iii-core {text}`: '{name}' has no part '{part}'")
                path.append(words[1].split("|")[0])
            if path[-1] not in {*commands, *parts[name]}:
                continue
            known = help_of(*path)
            for option in re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", text):
                if not re.search(rf"(?<![\w-]){re.escape(option)}\b", known):
                    wrong.append(f"{page}: `iii-core {text}`: '{' '.join(path)}' has no option {option}")
                elif not re.search(rf"[\"']{re.escape(option)}\b", TESTS):
                    wrong.append(f"{page}: `iii-core {text}`: no test uses {option}")
            if not all(re.search(rf"[\"']{re.escape(word)}[\"']", TESTS) for word in path):
                wrong.append(f"{page}: `iii-core {text}`: no test runs it")
    assert not wrong, "\n" + "\n".join(sorted(set(wrong)))


def test_scripts_named_in_passing_have_the_options_that_documents_give_them():
    wrong = []
    for page in PAGES:
        for script, rest in re.findall(r"(benchmarks/\w+\.py)([^`\n]*)", page.read_text()):
            options = re.findall(r"(?<![\w-])(--[a-z][a-z-]*)", rest)
            if not options:
                continue
            known = subprocess.run([sys.executable, ROOT / script, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
            wrong += [f"{page.name}: {script} has no option {option}" for option in options if not re.search(rf"{option}\b", known)]
    assert not wrong, "\n" + "\n".join(wrong)


# The units of deploy/


UNITS = sorted((ROOT / "deploy").glob("*.service"))


def command_of(unit) -> list[str]:
    words = shlex.split(re.search(r"(?m)^ExecStart=(.*)$", unit.read_text())[1])
    return [str(BIN / words[0].rpartition("/")[2]), *words[1:]]


@pytest.mark.parametrize("unit", [unit for unit in UNITS if " up " in unit.read_text()], ids=lambda unit: unit.stem)
def test_the_command_of_a_unit_of_the_core_starts_it(tmp_path, unit):
    fleet = Fleet(tmp_path, http={}, env=token(tmp_path))
    words = [str(fleet.config) if word == "/etc/iii/config.yaml" else word for word in command_of(unit)]
    process = subprocess.Popen(words, cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: fleet.cli("ps", check=False).returncode == 0, f"{unit.name}: the core answers")
        assert fleet.rows()["iii-http"]["state"] in (("disabled",) if "--except" in words else ("waiting", "starting", "ready"))
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()


@pytest.mark.parametrize("unit", [unit for unit in UNITS if " up " not in unit.read_text()], ids=lambda unit: unit.stem)
def test_the_command_of_a_unit_of_a_built_in_serves_its_entry(tmp_path, unit):
    words = command_of(unit)
    assert words[words.index("--engine") + 1] == "ws://127.0.0.1:49134"
    name = words[words.index("--name") + 1]
    config = {"host": "127.0.0.1", "port": free_port()} if name in ("iii-http", "iii-stream") else {}
    fleet = Fleet(tmp_path, workers=[{"name": name, "config": config}], args=["--except", name], env=token(tmp_path)).up()
    words[words.index("--engine") + 1] = fleet.url
    with open(tmp_path / "unit.log", "wb") as log:
        process = subprocess.Popen(words, cwd=tmp_path, env=fleet.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        caller = fleet.connect()

        def is_there():
            assert process.poll() is None, (tmp_path / "unit.log").read_text()
            return any(row["name"] == name for row in caller.call("engine::workers::list", {})["workers"])

        wait_for(is_there, f"{unit.name}: {name} is connected")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, (tmp_path / "unit.log").read_text()
        caller.close()
    finally:
        process.kill()
        fleet.stop()
        fleet.kill()


def token(directory) -> dict[str, str]:
    """What `LoadCredential=` and `Environment=` of the units amount to."""
    (directory / "token").write_text("0123456789abcdef" * 4 + "\n")
    (directory / "token").chmod(0o600)
    return {"III_BUILTIN_TOKEN_FILE": str(directory / "token")}
