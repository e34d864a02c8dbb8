// Linux calls that Swift's Glibc import lacks: variadic ones, and headers it does not know.
#pragma once

#include <sys/prctl.h>
#include <sys/timerfd.h>

// 0: other processes of the same user cannot look into this one (memory, environment, descriptors), and it leaves no core dump.
static inline int iii_set_dumpable(int value) { return prctl(PR_SET_DUMPABLE, value, 0, 0, 0); }
