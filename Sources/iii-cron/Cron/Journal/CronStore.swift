import IIIStorage

/// The embedded store of `iii-cron`: claims, what was said by hand, what jobs must be remembered for, and the history of runs.
enum CronStore {
    static let migrations = [
        Migration(
            sql: """
                CREATE TABLE claims(
                    identity TEXT NOT NULL, ordinal INTEGER NOT NULL, tick INTEGER NOT NULL, owner TEXT NOT NULL, open INTEGER NOT NULL,
                    attempt INTEGER NOT NULL, fence INTEGER NOT NULL, expires INTEGER NOT NULL,
                    PRIMARY KEY(identity, ordinal, tick)) STRICT;
                CREATE INDEX claims_expires ON claims(expires);
                CREATE INDEX claims_open ON claims(tick) WHERE open = 1;
                CREATE TABLE run_counts(identity TEXT NOT NULL, ordinal INTEGER NOT NULL, runs INTEGER NOT NULL,
                    PRIMARY KEY(identity, ordinal)) STRICT, WITHOUT ROWID;
                CREATE TABLE pauses(identity TEXT PRIMARY KEY, paused INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                CREATE TABLE counters(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
                INSERT INTO counters VALUES('fence', 0);
                CREATE TABLE facts(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
                CREATE TABLE memories(identity TEXT PRIMARY KEY, signature TEXT NOT NULL, since INTEGER NOT NULL, through INTEGER NOT NULL,
                    crc INTEGER NOT NULL) STRICT;
                CREATE TABLE runs(
                    id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL UNIQUE, trigger_id TEXT NOT NULL, identity TEXT NOT NULL,
                    function_id TEXT NOT NULL, kind TEXT NOT NULL, tick INTEGER NOT NULL, attempt INTEGER NOT NULL,
                    started INTEGER NOT NULL, ended INTEGER, status TEXT NOT NULL, error TEXT, crc INTEGER NOT NULL) STRICT;
                CREATE INDEX runs_trigger ON runs(trigger_id, id);
                CREATE INDEX runs_open ON runs(id) WHERE ended IS NULL;
                """),
        // When a job that `max_runs` limits was last asked about: counts of jobs that are long gone are thrown out.
        Migration(
            sql: """
                ALTER TABLE run_counts ADD COLUMN asked INTEGER NOT NULL DEFAULT 0;
                UPDATE run_counts SET asked = CAST(strftime('%s', 'now') AS INTEGER) * 1000;
                CREATE INDEX run_counts_asked ON run_counts(asked);
                """),
    ]
}
