#define _GNU_SOURCE
#include "CSupervision.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static volatile int signal_descriptor = -1;

// A handler and a pipe instead of signalfd: signalfd needs the signal blocked in every thread, and most threads of this
// process belong to libraries.
static void forward_signal(int number) {
    int saved = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t ignored = write(signal_descriptor, &byte, 1);
    (void)ignored;
    errno = saved;
}

int csup_install_signals(int descriptor, const int *signals, size_t count) {
    signal_descriptor = descriptor;
    signal(SIGPIPE, SIG_IGN);
    for (size_t i = 0; i < count; i++) {
        struct sigaction action;
        memset(&action, 0, sizeof action);
        action.sa_handler = forward_signal;
        action.sa_flags = SA_RESTART;
        sigfillset(&action.sa_mask);
        if (sigaction(signals[i], &action, NULL) != 0) return errno;
    }
    return 0;
}

int csup_signal_is_ignored(int number) {
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void csup_restore_signals(const int *signals, size_t count) {
    for (size_t i = 0; i < count; i++) signal(signals[i], SIG_DFL);
    signal_descriptor = -1;
}

int csup_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int csup_pipe(int descriptors[2], int nonblocking) { return pipe2(descriptors, O_CLOEXEC | (nonblocking ? O_NONBLOCK : 0)); }

int csup_memory_file(void) { return memfd_create("iii", MFD_CLOEXEC); }

int csup_set_nonblocking(int descriptor) {
    int flags = fcntl(descriptor, F_GETFL);
    return flags < 0 ? -1 : fcntl(descriptor, F_SETFL, flags | O_NONBLOCK);
}

int csup_set_cloexec(int descriptor) { return fcntl(descriptor, F_SETFD, FD_CLOEXEC); }

int csup_epoll_create(void) { return epoll_create1(EPOLL_CLOEXEC); }

static struct epoll_event make_event(int interest, uint64_t tag) {
    struct epoll_event event;
    memset(&event, 0, sizeof event);
    if (interest & CSUP_READ) event.events |= EPOLLIN;
    if (interest & CSUP_WRITE) event.events |= EPOLLOUT;
    event.data.u64 = tag;
    return event;
}

int csup_epoll_add(int epoll, int descriptor, int interest, uint64_t tag) {
    struct epoll_event event = make_event(interest, tag);
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

int csup_epoll_modify(int epoll, int descriptor, int interest, uint64_t tag) {
    struct epoll_event event = make_event(interest, tag);
    return epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
}

void csup_epoll_remove(int epoll, int descriptor) { epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, NULL); }

int csup_epoll_wait(int epoll, csup_event *events, int maximum, int timeout_milliseconds) {
    struct epoll_event raw[64];
    if (maximum > 64) maximum = 64;
    int count = epoll_wait(epoll, raw, maximum, timeout_milliseconds);
    for (int i = 0; i < count; i++) {
        events[i].tag = raw[i].data.u64;
        events[i].events = 0;
        if (raw[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)) events[i].events |= CSUP_READ;
        if (raw[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) events[i].events |= CSUP_WRITE;
    }
    return count;
}

int csup_inotify_create(void) { return inotify_init1(IN_CLOEXEC | IN_NONBLOCK); }

static const uint32_t names_mask =
    IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_MASK_ADD;

int csup_inotify_watch_names(int inotify, const char *path) { return inotify_add_watch(inotify, path, names_mask); }

int csup_inotify_watch_entries(int inotify, const char *path) {
    return inotify_add_watch(inotify, path, names_mask | IN_CLOSE_WRITE);
}

int csup_inotify_watch_file(int inotify, const char *path) {
    uint32_t mask = IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_MASK_ADD;
    return inotify_add_watch(inotify, path, mask);
}

void csup_inotify_unwatch(int inotify, int watch) { inotify_rm_watch(inotify, watch); }

int csup_inotify_next(const char *buffer, size_t size, size_t *offset, csup_file_event *event) {
    struct inotify_event header;
    if (*offset + sizeof header > size) return 0;
    memcpy(&header, buffer + *offset, sizeof header);
    event->watch = header.wd;
    event->is_directory = (header.mask & IN_ISDIR) != 0;
    event->is_new = (header.mask & (IN_CREATE | IN_MOVED_TO)) != 0;
    event->is_overflow = (header.mask & IN_Q_OVERFLOW) != 0;
    event->is_ignored = (header.mask & IN_IGNORED) != 0;
    event->is_modified = (header.mask & IN_MODIFY) != 0;
    event->is_closed = (header.mask & IN_CLOSE_WRITE) != 0;
    event->is_attribute = (header.mask & IN_ATTRIB) != 0;
    event->name = header.len > 0 ? buffer + *offset + sizeof header : "";
    *offset += sizeof header + header.len;
    return 1;
}

int csup_accept(int listener) { return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK); }
