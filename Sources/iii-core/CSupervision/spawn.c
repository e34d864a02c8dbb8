#define _GNU_SOURCE
#include "CSupervision.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)
#endif

typedef struct {
    int error;
    int stage;
} failure;

static void fail(int report, int stage) {
    failure message = {errno, stage};
    ssize_t ignored = write(report, &message, sizeof message);
    (void)ignored;
    _exit(127);
}

// Writes the decimal pid over the placeholder; what remains of it is cut off.
static void write_pid(char *place, size_t size) {
    char digits[24];
    size_t count = 0;
    pid_t pid = getpid();
    do {
        digits[count++] = (char)('0' + pid % 10);
        pid /= 10;
    } while (pid > 0 && count < sizeof digits);
    if (count > size) return;
    for (size_t i = 0; i < count; i++) place[i] = digits[count - 1 - i];
    place[count] = 0;
}

static void set_limits(const csup_spawn_request *request) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        if (request->open_files > 0) {
            limit.rlim_cur = (rlim_t)request->open_files;
            if (limit.rlim_cur > limit.rlim_max) limit.rlim_max = limit.rlim_cur;
        }
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0 && request->open_files > 0) {
            // Without the privilege to raise the hard limit: as high as allowed.
            getrlimit(RLIMIT_NOFILE, &limit);
            limit.rlim_cur = limit.rlim_max;
            setrlimit(RLIMIT_NOFILE, &limit);
        }
    }
    struct rlimit core = {(rlim_t)request->core_bytes, (rlim_t)request->core_bytes};
    setrlimit(RLIMIT_CORE, &core);
    if (request->niceness != 0) setpriority(PRIO_PROCESS, 0, request->niceness);
}

// User commands do not watch the lifeline, so a process of ours in their group does: when the core is gone, so is the group.
// It lives until the sweep of the group. clone instead of fork: no library handlers run, nothing is allocated.
static void start_guard(int lifeline, int report) {
    long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
    if (pid < 0) fail(report, 2);
    if (pid > 0) return;
    prctl(PR_SET_NAME, "iii-guard");
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    // Everything else must go, above all the core's write end of the very pipe and the pipes of the child's output.
    dup2(lifeline, 0);
    syscall(SYS_close_range, 1U, ~0U, 0);
    char byte;
    ssize_t count;
    do {
        count = read(0, &byte, 1);
    } while (count > 0 || (count < 0 && errno == EINTR));
    kill(0, SIGKILL);
    _exit(0);
}

// Closes every descriptor from 3 on that is not among `kept`, whose order it changes.
static void close_all_but(int *kept, size_t count) {
    for (size_t i = 1; i < count; i++) {
        int value = kept[i];
        size_t at = i;
        for (; at > 0 && kept[at - 1] > value; at--) kept[at] = kept[at - 1];
        kept[at] = value;
    }
    unsigned from = 3;
    for (size_t i = 0; i < count; i++) {
        if (kept[i] < (int)from) continue;
        if ((unsigned)kept[i] > from) syscall(SYS_close_range, from, (unsigned)kept[i] - 1, 0);
        from = (unsigned)kept[i] + 1;
    }
    syscall(SYS_close_range, from, ~0U, 0);
}

// Only async-signal-safe calls from here to exec: other threads may have held any lock at fork.
static void run_child(const csup_spawn_request *request, int report, pid_t parent) {
    for (int number = 1; number < NSIG; number++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = SIG_DFL;
        sigaction(number, &action, NULL);
    }
    setsid();

    int lifted[64];
    if (request->passed_count > sizeof lifted / sizeof lifted[0]) {
        errno = E2BIG;
        fail(report, 4);
    }
    // What the core has open is no use here, and may have used up the table.
    int kept[4 + sizeof lifted / sizeof lifted[0]] = {request->standard_input, request->standard_output, request->standard_error, report};
    for (size_t i = 0; i < request->passed_count; i++) kept[4 + i] = request->passed[i];
    close_all_but(kept, 4 + request->passed_count);

    // Lift everything above the target range, so that no target overwrites a source.
    int floor = 3 + (int)request->passed_count + 1;
    int input = request->standard_input ? fcntl(request->standard_input, F_DUPFD_CLOEXEC, floor) : open("/dev/null", O_RDONLY | O_CLOEXEC);
    int output = fcntl(request->standard_output, F_DUPFD_CLOEXEC, floor);
    int errors = fcntl(request->standard_error, F_DUPFD_CLOEXEC, floor);
    int channel = fcntl(report, F_DUPFD_CLOEXEC, floor);
    if (output < 0 || errors < 0 || channel < 0) fail(report, 4);
    for (size_t i = 0; i < request->passed_count; i++) {
        lifted[i] = fcntl(request->passed[i], F_DUPFD_CLOEXEC, floor);
        if (lifted[i] < 0) fail(channel, 4);
    }
    if (input < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(errors, 2) < 0) fail(channel, 4);
    for (size_t i = 0; i < request->passed_count; i++) {
        if (dup2(lifted[i], 3 + (int)i) < 0) fail(channel, 4);
    }
    // The report channel must live until exec, so the rest is marked instead of closed.
    syscall(SYS_close_range, 3U + (unsigned)request->passed_count, ~0U, CLOSE_RANGE_CLOEXEC);

    if (request->directory && chdir(request->directory) != 0) fail(channel, 5);
    set_limits(request);
    if (request->parent_death_signal) {
        prctl(PR_SET_PDEATHSIG, request->parent_death_signal);
        if (getppid() != parent) _exit(125);
    }
    if (request->pid_placeholder) write_pid(request->pid_placeholder, request->pid_placeholder_size);
    if (request->guarded && request->passed_count > 0) start_guard(2 + (int)request->passed_count, channel);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(request->path, request->argv, request->envp);
    fail(channel, 7);
}

csup_spawn_result csup_spawn(const csup_spawn_request *request) {
    csup_spawn_result result = {-1, -1, 0, 0};
    int report[2];
    if (pipe2(report, O_CLOEXEC) != 0) {
        result.error = errno;
        result.stage = 1;
        return result;
    }
    // No handler of the parent may run in the child before its dispositions are reset.
    sigset_t all, previous;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &previous);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) run_child(request, report[1], parent);
    int fork_error = errno;
    pthread_sigmask(SIG_SETMASK, &previous, NULL);
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        result.error = fork_error;
        result.stage = 2;
        return result;
    }
    failure message;
    ssize_t count;
    do {
        count = read(report[0], &message, sizeof message);
    } while (count < 0 && errno == EINTR);
    close(report[0]);
    if (count == (ssize_t)sizeof message) {
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        result.error = message.error;
        result.stage = message.stage;
        return result;
    }
    result.pid = pid;
    result.pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (result.pidfd < 0) {
        result.error = errno;
        result.stage = 3;
        kill(-pid, SIGKILL);
        kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {}
        result.pid = -1;
    } else {
        fcntl(result.pidfd, F_SETFD, FD_CLOEXEC);
    }
    return result;
}

int csup_wait(int pidfd, int keep, int *code, int *is_signal) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid((idtype_t)3 /* P_PIDFD */, (id_t)pidfd, &info, WEXITED | WNOHANG | (keep ? WNOWAIT : 0)) != 0) return -1;
    if (info.si_pid == 0) return 0;
    *code = info.si_status;
    *is_signal = info.si_code != CLD_EXITED;
    return 1;
}

int csup_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int csup_pidfd_signal(int pidfd, int number) { return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0); }

pid_t csup_peek_any(void) {
    siginfo_t info;
    memset(&info, 0, sizeof info);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0) return 0;
    return info.si_pid;
}

void csup_reap(pid_t pid) {
    waitpid(pid, NULL, WNOHANG);
}

// A socket: unlike a pipe, nobody can open it a second time through /proc/PID/fd.
int csup_secret(const void *secret, size_t size) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    ssize_t written = send(ends[0], secret, size, MSG_NOSIGNAL);
    int cause = written < 0 ? errno : EIO;
    close(ends[0]);
    if (written == (ssize_t)size) return ends[1];
    close(ends[1]);
    errno = cause;
    return -1;
}

int csup_become_subreaper(void) {
    return prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}
