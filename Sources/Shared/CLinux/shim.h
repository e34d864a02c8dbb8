// Linux calls that Swift's Glibc import lacks because they are variadic.
#pragma once

#include <sys/prctl.h>

// 0: other processes of the same user cannot look into this one (memory, environment, descriptors), and it leaves no core dump.
static inline int iii_set_dumpable(int value) { return prctl(PR_SET_DUMPABLE, value, 0, 0, 0); }
