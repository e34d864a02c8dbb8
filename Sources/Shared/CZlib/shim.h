// zlib's initialiser is a macro, which Swift cannot see.
#pragma once
#include <zlib.h>

/// Prepares a stream that writes the gzip format (RFC 1952) with the default memory level.
static inline int iii_deflate_init_gzip(z_streamp stream, int level) {
    return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}

/// Prepares a stream that reads the gzip format.
static inline int iii_inflate_init_gzip(z_streamp stream) { return inflateInit2(stream, 15 + 16); }
