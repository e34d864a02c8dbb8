// Linux process primitives that Swift's Glibc import lacks or that must not run Swift code (between fork and exec).
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

// What to start. All strings outlive the call; argv and envp end with NULL.
typedef struct {
    const char *path;            // absolute, or relative to the caller's directory
    char *const *argv;
    char *const *envp;
    const char *directory;       // NULL: the caller's
    int standard_input;          // descriptor that becomes 0; 0: /dev/null
    int standard_output;         // descriptors that become 1 and 2
    int standard_error;
    const int *passed;           // become 3, 4, …
    size_t passed_count;
    int guarded;                 // 1: a guard in the group kills it at the end of the last passed descriptor (the lifeline)
    char *pid_placeholder;       // inside one envp string: spaces that the child overwrites with its pid; may be NULL
    size_t pid_placeholder_size;
    int parent_death_signal;     // 0: none
    long open_files;             // 0: raise the soft limit to the hard one
    long core_bytes;
    int niceness;
} csup_spawn_request;

typedef struct {
    pid_t pid;
    int pidfd;                   // close-on-exec
    int error;                   // 0, else errno
    int stage;                   // where it failed: 0 none, 1 pipe, 2 fork, 3 pidfd, 4 descriptors, 5 chdir, 6 limits, 7 exec
} csup_spawn_result;

// Forks and executes in a new session with default signals and no descriptors but 0-2 and the passed ones.
// Waits until exec has happened or failed. Call it from a thread that lives as long as the process.
csup_spawn_result csup_spawn(const csup_spawn_request *request);

// 1: exited, *code and *is_signal are set; 0: still running; -1: errno. With `keep` the process stays a zombie.
int csup_wait(int pidfd, int keep, int *code, int *is_signal);
// A descriptor for some living process, -1 when there is none; the caller closes it.
int csup_pidfd_open(pid_t pid);
// Signals the very process the descriptor was opened for.
int csup_pidfd_signal(int pidfd, int number);
// Pid of some exited child without reaping it; 0: none.
pid_t csup_peek_any(void);
// Reaps exactly this child if it has exited.
void csup_reap(pid_t pid);
int csup_become_subreaper(void);

// Installs handlers that write the signal's number as one byte to `descriptor` (non-blocking). Ignores SIGPIPE.
int csup_install_signals(int descriptor, const int *signals, size_t count);
void csup_restore_signals(const int *signals, size_t count);
int csup_signal_is_ignored(int number);

int csup_eventfd(void);
// A close-on-exec descriptor from which `secret` can be read once, to its end; -1: errno.
int csup_secret(const void *secret, size_t size);
// An empty file in memory, close-on-exec; -1: errno.
int csup_memory_file(void);
int csup_pipe(int descriptors[2], int nonblocking);
int csup_set_nonblocking(int descriptor);
int csup_set_cloexec(int descriptor);

// epoll with a plain 64-bit tag per descriptor.
typedef struct {
    uint64_t tag;
    uint32_t events;
} csup_event;
enum { CSUP_READ = 1, CSUP_WRITE = 2 };
int csup_epoll_create(void);
int csup_epoll_add(int epoll, int descriptor, int interest, uint64_t tag);
int csup_epoll_modify(int epoll, int descriptor, int interest, uint64_t tag);
void csup_epoll_remove(int epoll, int descriptor);
int csup_epoll_wait(int epoll, csup_event *events, int maximum, int timeout_milliseconds);

// inotify. Watching the same file or directory again returns the same number and adds to what it reports.
int csup_inotify_create(void);
// A directory: entries that appear, vanish or are renamed.
int csup_inotify_watch_names(int inotify, const char *path);
// A directory: that, and entries that somebody has finished writing.
int csup_inotify_watch_entries(int inotify, const char *path);
// One file: every write, and the end of writing.
int csup_inotify_watch_file(int inotify, const char *path);
void csup_inotify_unwatch(int inotify, int watch);
typedef struct {
    int watch;
    int is_directory;
    int is_new;                  // created or moved in
    int is_overflow;             // events were lost
    int is_ignored;              // the watch has ended
    int is_modified;             // written, or cut
    int is_closed;               // by somebody who had it open for writing
    int is_attribute;            // only metadata changed
    const char *name;            // inside the buffer; "" when the event is about the watched thing itself
} csup_file_event;
// Decodes the event at *offset of a buffer read from inotify and advances; 0 at the end.
int csup_inotify_next(const char *buffer, size_t size, size_t *offset, csup_file_event *event);

// A non-blocking, close-on-exec connection, or -1.
int csup_accept(int listener);
