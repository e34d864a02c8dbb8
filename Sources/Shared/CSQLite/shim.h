#pragma once
#include <sqlite3.h>

// A macro with a cast, which Swift cannot see: the library copies the bytes before the call returns.
static inline sqlite3_destructor_type iii_sqlite_transient(void) { return SQLITE_TRANSIENT; }
