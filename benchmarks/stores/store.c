// The bare C library doing what a store does: rows of 256 bytes, `batch` per transaction, synced before the next.
// usage: store FILE full|normal ROWS BATCH → rows per second
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void check(int result, sqlite3 *db)
{
    if (result == SQLITE_OK || result == SQLITE_DONE || result == SQLITE_ROW) return;
    fprintf(stderr, "%s\n", sqlite3_errmsg(db));
    exit(1);
}

int main(int count, char **words)
{
    if (count != 5) return 2;
    sqlite3 *db;
    char payload[256];
    memset(payload, 'x', sizeof payload);
    check(sqlite3_open_v2(words[1], &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL), db);
    check(sqlite3_exec(db, "PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL; PRAGMA cache_size=-16384; PRAGMA wal_autocheckpoint=4000",
                       NULL, NULL, NULL), db);
    check(sqlite3_exec(db, strcmp(words[2], "full") ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL", NULL, NULL, NULL), db);
    check(sqlite3_exec(db, "CREATE TABLE messages(id INTEGER PRIMARY KEY, queue TEXT NOT NULL, payload BLOB NOT NULL)", NULL, NULL, NULL), db);
    sqlite3_stmt *begin, *commit, *insert;
    check(sqlite3_prepare_v3(db, "BEGIN IMMEDIATE", -1, SQLITE_PREPARE_PERSISTENT, &begin, NULL), db);
    check(sqlite3_prepare_v3(db, "COMMIT", -1, SQLITE_PREPARE_PERSISTENT, &commit, NULL), db);
    check(sqlite3_prepare_v3(db, "INSERT INTO messages(queue, payload) VALUES(?, ?)", -1, SQLITE_PREPARE_PERSISTENT, &insert, NULL), db);
    int rows = atoi(words[3]), batch = atoi(words[4]);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int left = rows; left > 0; left -= batch) {
        check(sqlite3_step(begin), db);
        sqlite3_reset(begin);
        for (int i = 0; i < batch && i < left; i++) {
            sqlite3_bind_text(insert, 1, "default", 7, SQLITE_TRANSIENT);
            sqlite3_bind_blob(insert, 2, payload, sizeof payload, SQLITE_TRANSIENT);
            check(sqlite3_step(insert), db);
            sqlite3_reset(insert);
        }
        check(sqlite3_step(commit), db);
        sqlite3_reset(commit);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    printf("%.0f\n", rows / (to.tv_sec - from.tv_sec + (to.tv_nsec - from.tv_nsec) * 1e-9));
    return 0;
}
