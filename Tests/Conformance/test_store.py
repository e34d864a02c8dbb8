"""`iii-core store`: backup, restore and check of an entry's store, by real files and the real command."""

import fcntl
import os
import sqlite3

import pytest
from processes import run_core

APPLICATION = 0x69696931


def make_store(directory, rows):
    directory.mkdir(parents=True, exist_ok=True)
    with sqlite3.connect(directory / "store.db", isolation_level=None) as database:
        database.execute(f"PRAGMA application_id = {APPLICATION}")
        database.execute("PRAGMA user_version = 3")
        database.execute("CREATE TABLE items(id INTEGER PRIMARY KEY, body TEXT)")
        database.executemany("INSERT INTO items(body) VALUES(?)", [("x" * 500,)] * rows)
    database.close()


def rows(path):
    database = sqlite3.connect(path)
    try:
        return database.execute("SELECT count(*) FROM items").fetchone()[0]
    finally:
        database.close()


@pytest.fixture
def configured(tmp_path):
    (tmp_path / "config.yaml").write_text(
        "workers:\n  - name: iii-queue\n    config:\n      adapter: {name: builtin, config: {store_method: file_based, file_path: ./here}}\n"
    )
    make_store(tmp_path / "here", 50)
    return tmp_path


def test_a_store_is_checked_backed_up_and_restored_by_the_name_of_its_entry(configured):
    checked = run_core("store", "check", "iii-queue", cwd=configured)
    assert checked.returncode == 0, checked.stderr
    assert "schema version  3" in checked.stdout and "in use by       nobody" in checked.stdout and "integrity       ok" in checked.stdout
    assert run_core("store", "backup", "iii-queue", "copy.db", cwd=configured).returncode == 0
    assert rows(configured / "copy.db") == 50
    again = run_core("store", "backup", "iii-queue", "copy.db", cwd=configured)
    assert again.returncode == 1 and "exists already" in again.stderr
    (configured / "here" / "store.db").unlink()
    restored = run_core("store", "restore", "iii-queue", "copy.db", cwd=configured)
    assert restored.returncode == 0, restored.stderr
    assert rows(configured / "here" / "store.db") == 50


def test_a_store_in_use_is_backed_up_and_not_restored(configured):
    with open(configured / "here" / "store.lock", "w+") as lock:
        lock.write(f"process {os.getpid()}\n".ljust(1024))
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        database = sqlite3.connect(configured / "here" / "store.db", isolation_level=None)
        assert database.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
        database.execute("INSERT INTO items(body) VALUES('in the log')")
        assert run_core("store", "backup", "iii-queue", "copy.db", cwd=configured).returncode == 0
        assert rows(configured / "copy.db") == 51
        refused = run_core("store", "restore", "iii-queue", "copy.db", cwd=configured)
        assert refused.returncode == 1 and f"in use by process {os.getpid()}" in refused.stderr
        assert f"process {os.getpid()}" in run_core("store", "check", "iii-queue", cwd=configured).stdout
        database.close()


def test_damage_is_told_and_never_copied(configured):
    path = configured / "here" / "store.db"
    content = bytearray(path.read_bytes())
    content[4096 * 2 : 4096 * 2 + 8] = b"\xff" * 8
    path.write_bytes(content)
    checked = run_core("store", "check", "iii-queue", cwd=configured)
    assert checked.returncode == 1 and "DAMAGED" in checked.stdout
    assert run_core("store", "backup", "iii-queue", "copy.db", cwd=configured).returncode == 1
    assert not (configured / "copy.db").exists()


def test_names_that_have_no_store_are_told_what_there_is(configured):
    unknown = run_core("store", "check", "iii-que", cwd=configured)
    assert unknown.returncode == 1 and "it has" in unknown.stderr and "iii-queue" in unknown.stderr
    nowhere = run_core("store", "check", "x", "--directory", "nowhere", cwd=configured)
    assert nowhere.returncode == 1 and "there is no store in 'nowhere'" in nowhere.stderr
    assert not (configured / "nowhere").exists()
