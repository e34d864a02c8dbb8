#pragma once
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

// A macro with a cast, which Swift cannot see: the library copies the bytes before the call returns.
static inline sqlite3_destructor_type iii_sqlite_transient(void) { return SQLITE_TRANSIENT; }

// Variadic in SQLite: closing the last connection leaves the write-ahead log as it is.
static inline int iii_sqlite_keep_log_on_close(sqlite3 *connection)
{
    return sqlite3_db_config(connection, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
}

// CRC-32C (Castagnoli), eight bytes per instruction where the processor has one for it. `sum` is the running value, complemented.
#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static inline uint32_t iii_crc32c_by_processor(uint32_t sum, const unsigned char *bytes, size_t count)
{
    uint64_t wide = sum;
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        wide = __builtin_ia32_crc32di(wide, word);
    }
    sum = (uint32_t)wide;
    for (; count > 0; bytes++, count--) sum = __builtin_ia32_crc32qi(sum, *bytes);
    return sum;
}
static inline int iii_crc32c_has_processor(void) { return __builtin_cpu_supports("sse4.2"); }
#else
static inline uint32_t iii_crc32c_by_processor(uint32_t sum, const unsigned char *bytes, size_t count)
{
    (void)bytes;
    (void)count;
    return sum;
}
static inline int iii_crc32c_has_processor(void) { return 0; }
#endif
