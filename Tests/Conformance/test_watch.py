"""`watch` of `iii-exec`: what is seen, and what happens when a pipeline writes what it watches."""

import re
import shutil

import pytest
from processes import answering, entries_of, running, save, settle
from wire import alive, wait_for


def entry(*commands, watch, **config) -> dict:
    return {"name": "iii-exec", "config": {"exec": list(commands), "watch": watch, **config}}


SERVE = "echo run >> runs; exec sleep 1000"


def runs(directory) -> int:
    return (directory / "runs").read_text().count("run") if (directory / "runs").exists() else 0


def runs_again(directory, expected: int):
    wait_for(lambda: runs(directory) == expected, f"{expected} runs (now {runs(directory)})")


def starts(fleet) -> int:
    return fleet.output().count("→ starting (watched files have changed")


def serving(fleet):
    """Long enough after the last start that a change is nobody's own doing."""
    wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "ready")
    settle(2.1)


@pytest.mark.parametrize("pattern", ["src", "src/", "./src", "src/**", "src/**/*.ts"])
def test_a_directory_that_comes_later_is_watched(tmp_path, pattern):
    with running(tmp_path, workers=[entry(SERVE, watch=[pattern])]) as fleet:
        runs_again(tmp_path, 1)
        assert "'src' does not exist; it is watched from when it does" in fleet.output()
        (tmp_path / "src" / "deep").mkdir(parents=True)
        (tmp_path / "src" / "deep" / "a.ts").write_text("1")
        runs_again(tmp_path, 2)
        wait_for(lambda: re.search(r"watched files have changed: src/deep/a\.ts", fleet.output()), "the file is named")


def test_a_directory_that_is_made_anew_is_watched(tmp_path):
    (tmp_path / "app" / "src").mkdir(parents=True)
    (tmp_path / "app" / "src" / "a.ts").write_text("1")
    with running(tmp_path, workers=[entry(SERVE, watch=["app/src/**/*.ts"])]) as fleet:
        runs_again(tmp_path, 1)
        serving(fleet)
        # As `git checkout` of another branch, or a code generator, does it.
        shutil.rmtree(tmp_path / "app")
        runs_again(tmp_path, 2)
        serving(fleet)
        (tmp_path / "app" / "src").mkdir(parents=True)
        (tmp_path / "app" / "src" / "a.ts").write_text("2")
        runs_again(tmp_path, 3)
        serving(fleet)
        (tmp_path / "app" / "src" / "a.ts").write_text("3")
        runs_again(tmp_path, 4)


def test_symlinked_directories_are_watched(tmp_path):
    (tmp_path / "shared" / "lib").mkdir(parents=True)
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "lib").symlink_to("../shared/lib")
    (tmp_path / "src" / "self").symlink_to(".")
    with running(tmp_path, workers=[entry(SERVE, watch=["src/**/*.ts"])]) as fleet:
        runs_again(tmp_path, 1)
        serving(fleet)
        (tmp_path / "shared" / "lib" / "a.ts").write_text("1")
        runs_again(tmp_path, 2)


def test_a_build_that_writes_what_is_watched_does_not_run_for_ever(tmp_path):
    (tmp_path / "src").mkdir()
    build = "echo build >> builds; date +%N > src/generated.ts"
    with running(tmp_path, workers=[entry(build, SERVE, watch=["src"])]) as fleet:
        wait_for(lambda: "code=watch_loop" in fleet.output(), "said")
        line = next(line for line in fleet.output().splitlines() if "watch_loop" in line)
        assert "src/generated.ts" in line and "`ignore`" in line
        assert starts(fleet) == 3, "before it is braked"
        wait_for(lambda: fleet.rows()["iii-exec"]["ready"], "in spite of all it serves")
        settle(6)
        assert starts(fleet) <= 6
        assert fleet.cli("status").returncode == 0
        # The cure that the line names.
        entries = entries_of(fleet)
        entries[1]["config"]["ignore"] = ["generated.ts"]
        save(fleet, entries)
        wait_for(lambda: "reload: success" in fleet.output(), "reloaded")
        serving(fleet)
        before, ran = starts(fleet), runs(tmp_path)
        (tmp_path / "src" / "mine.ts").write_text("1")
        runs_again(tmp_path, ran + 1)
        settle(1)
        assert starts(fleet) == before + 1


def test_a_change_during_a_build_begins_it_anew(tmp_path):
    (tmp_path / "src").mkdir()
    build = "echo build >> builds; if [ $(wc -l < builds) = 1 ]; then touch began; exec sleep 1000; fi"
    with answering(tmp_path, workers=[entry(build, SERVE, watch=["src"])]) as fleet:
        wait_for((tmp_path / "began").exists, "the first build hangs")
        (tmp_path / "src" / "a").write_text("1")
        runs_again(tmp_path, 1)
        assert fleet.rows()["iii-exec"]["restarts"] == 1


def test_files_of_an_entry_that_is_being_removed_start_nothing(tmp_path):
    stubborn = "echo run >> runs; trap 'touch asked' TERM; while [ ! -e end ]; do sleep 0.05; done"
    (tmp_path / "src").mkdir()
    with running(tmp_path, workers=[entry(stubborn, watch=["src"]) | {"stop_timeout_ms": 20_000}]) as fleet:
        runs_again(tmp_path, 1)
        pid = fleet.pid_of("iii-exec")
        save(fleet, entries_of(fleet)[:1])
        assert fleet.cli("reload").returncode == 0
        wait_for((tmp_path / "asked").exists, "asked to end")
        (tmp_path / "src" / "a").write_text("1")
        settle(0.5)
        (tmp_path / "end").touch()
        wait_for(lambda: "iii-exec" not in fleet.rows(), "it is gone")
        assert not alive(pid) and runs(tmp_path) == 1


def test_patterns_that_can_match_nothing_are_named(tmp_path):
    with running(tmp_path, workers=[entry(SERVE, watch=["target/**/*.rs", "src"])]) as fleet:
        wait_for(lambda: "'target/**/*.rs' matches nothing, because 'target' is in `ignore`" in fleet.output(), "named")
