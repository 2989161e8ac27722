/* Calls of newer kernels: sealed memory, the second generation of futexes, memory given back early, where pages are, what is
 * cached of a file, quotas that no file system has, security modules, and mounts by their unique ids. The kernel of the machine
 * that compares may be too old for them: tests/programs/recorded has what Linux 6.18 printed. */
#include "show.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/statfs.h>

enum { MOVE_PAGES = 279, QUOTACTL = 179, QUOTACTL_FD = 443, MRELEASE = 448, HOME_NODE = 450, CACHESTAT = 451, FUTEX_WAKE2 = 454,
       FUTEX_WAIT2, FUTEX_REQUEUE2, STATMOUNT, LISTMOUNT, LSM_GET, LSM_SET, LSM_LIST, MSEAL };

/* What a container has. */
static void drop_capabilities(void)
{
    struct { uint32_t version; int pid; } head = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } data[2] = {{0, 0, 0}, {0, 0, 0}};
    syscall(SYS_capget, &head, data);
    data[0].effective = data[0].permitted &= 0xa80425fb;
    data[1].effective = data[1].permitted = 0;
    syscall(SYS_capset, &head, data);
}

static char *pages_of(int count, int protection, int flags)
{
    return mmap(NULL, (size_t)count * 4096, protection, flags | MAP_ANONYMOUS, -1, 0);
}

static void seal_arguments(void)
{
    char *at = pages_of(4, PROT_READ, MAP_PRIVATE);
    munmap(at + 3 * 4096, 4096);
    SHOW(syscall(MSEAL, at, 4096, 1));
    SHOW(syscall(MSEAL, at + 1, 4096, 0));
    SHOW(syscall(MSEAL, at + 1, 0, 0));
    SHOW(syscall(MSEAL, at, 0, 0));
    SHOW(syscall(MSEAL, at, -1L, 0));
    SHOW(syscall(MSEAL, at, -4096L, 0));
    SHOW(syscall(MSEAL, at, 4 * 4096, 0));
    SHOW(syscall(MSEAL, at + 3 * 4096, 4096, 0));
    SHOW(syscall(MSEAL, at + 3 * 4096, 0, 0));
    SHOW(syscall(MSEAL, NULL, 4096, 0));
    SHOW(syscall(MSEAL, at, 1, 0));
    SHOW(syscall(MSEAL, at, 4096, 0));
    SHOW(munmap(at + 4096, 4096));
    SHOW(munmap(at, 4096));
}

static void seal_keeps(void)
{
    char *at = pages_of(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    memset(at, 7, 8 * 4096);
    SHOW(syscall(MSEAL, at + 2 * 4096, 4 * 4096, 0));
    SHOW(munmap(at, 8 * 4096));
    SHOW(munmap(at + 4096, 2 * 4096));
    SHOW(munmap(at + 5 * 4096, 2 * 4096));
    SHOW(mprotect(at, 8 * 4096, PROT_READ));
    HOLDS(at[0] == 7);
    SHOW(mprotect(at + 2 * 4096, 4096, PROT_READ | PROT_WRITE));
    SHOW(mprotect(at, 4096, PROT_READ | PROT_WRITE));
    SHOW(mprotect(at + 3 * 4096, 4096, PROT_NONE));
    WORKS((long)mmap(at + 3 * 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    WORKS((long)mmap(at, 3 * 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SHOW((long)mmap(at + 3 * 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    WORKS((long)mremap(at + 3 * 4096, 4096, 2 * 4096, MREMAP_MAYMOVE));
    WORKS((long)mremap(at + 3 * 4096, 4096, 4096, 0));
    WORKS((long)mremap(at + 2 * 4096, 3 * 4096, 4096, 0));
    WORKS((long)mremap(at + 2 * 4096, 2 * 4096, 2 * 4096, MREMAP_MAYMOVE | 4));
    char *other = pages_of(1, PROT_READ, MAP_PRIVATE);
    WORKS((long)mremap(other, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, at + 3 * 4096));
    WORKS((long)mremap(at + 3 * 4096, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, other));
    SHOW(mlock(at + 2 * 4096, 4096));
    SHOW(munlock(at + 2 * 4096, 4096));
    SHOW(msync(at + 2 * 4096, 4096, MS_SYNC));
    HOLDS(at[3 * 4096] == 7);
    at[3 * 4096] = 8;
    HOLDS(at[3 * 4096] == 8);
    SHOW(syscall(MSEAL, at, 8 * 4096, 0));
    SHOW(munmap(at, 4096));
    IN_CHILD("child", SHOW(munmap(at, 4096)); SHOW(mprotect(at + 7 * 4096, 4096, PROT_NONE)));
}

static void advise_all(char *at)
{
    SHOW(madvise(at, 4096, MADV_DONTNEED));
    SHOW(madvise(at, 4096, MADV_FREE));
    SHOW(madvise(at, 4096, MADV_REMOVE));
    SHOW(madvise(at, 4096, MADV_DONTFORK));
    SHOW(madvise(at, 4096, MADV_DOFORK));
    SHOW(madvise(at, 4096, MADV_WIPEONFORK));
    SHOW(madvise(at, 4096, MADV_KEEPONFORK));
    SHOW(madvise(at, 4096, MADV_RANDOM));
    SHOW(madvise(at, 4096, MADV_NORMAL));
    SHOW(madvise(at, 4096, MADV_WILLNEED));
    SHOW(madvise(at, 4096, MADV_DONTDUMP));
}

static void seal_advice(void)
{
    char *at = pages_of(1, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    SHOW(syscall(MSEAL, at, 4096, 0));
    puts("  private, writable");
    advise_all(at);
    at = pages_of(1, PROT_READ, MAP_PRIVATE);
    syscall(MSEAL, at, 4096, 0);
    puts("  private, read-only");
    advise_all(at);
    at = pages_of(1, PROT_READ, MAP_SHARED);
    syscall(MSEAL, at, 4096, 0);
    puts("  shared, read-only");
    advise_all(at);
    enter_scratch();
    int fd = open("f", O_CREAT | O_RDWR, 0600);
    ftruncate(fd, 4096);
    at = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
    syscall(MSEAL, at, 4096, 0);
    puts("  file, private, read-only");
    advise_all(at);
    long heap = (syscall(SYS_brk, 0) + 4095) & ~4095L;
    HOLDS(syscall(SYS_brk, heap + 3 * 4096) == heap + 3 * 4096);
    SHOW(syscall(MSEAL, heap + 4096, 4096, 0));
    HOLDS(syscall(SYS_brk, heap) == heap + 3 * 4096);
    HOLDS(syscall(SYS_brk, heap + 4096) == heap + 3 * 4096);
    HOLDS(syscall(SYS_brk, heap + 2 * 4096) == heap + 2 * 4096);
    HOLDS(syscall(SYS_brk, heap + 4 * 4096) == heap + 4 * 4096);
}

static uint32_t *words;

static void *wait_word(void *result)
{
    *(long *)result = syscall(FUTEX_WAIT2, &words[0], 0UL, 3UL, 2 | 128, NULL, 0);
    return NULL;
}

static void futexes(void)
{
    words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct timespec soon, bad = {0, 1000000000}, negative = {-1, 0};
    clock_gettime(CLOCK_MONOTONIC, &soon);
    SHOW(syscall(FUTEX_WAIT2, words, 1UL, 1UL, 2, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 2, &soon, CLOCK_MONOTONIC));
    clock_gettime(CLOCK_REALTIME, &soon);
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 2 | 128, &soon, CLOCK_REALTIME));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 2, &soon, CLOCK_BOOTTIME));
    SHOW(syscall(FUTEX_WAIT2, words, 1UL, 1UL, 2, NULL, 99));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 2, &bad, CLOCK_MONOTONIC));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 2, &negative, CLOCK_MONOTONIC));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 2, bad_address, CLOCK_MONOTONIC));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 0UL, 2, &soon, CLOCK_REALTIME));
    SHOW(syscall(FUTEX_WAIT2, words, 1UL << 32, 1UL, 2, NULL, 0));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL << 32, 2, NULL, 0));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 0, NULL, 0));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 1, NULL, 0));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 3, NULL, 0));
    SHOW(syscall(FUTEX_WAIT2, words, 0UL, 1UL, 2 | 64, NULL, 0));
    SHOW(syscall(FUTEX_WAIT2, (char *)words + 2, 0UL, 1UL, 2, NULL, 0));
    SHOW(syscall(FUTEX_WAIT2, bad_address, 0UL, 1UL, 2, NULL, 0));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL, 1, 2));
    SHOW(syscall(FUTEX_WAKE2, words, 0UL, 1, 2));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL << 32, 1, 2));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL, 1, 0));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL, 1, 3));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL, 1, 2 | 32));
    SHOW(syscall(FUTEX_WAKE2, (char *)words + 1, 1UL, 0, 2));
    SHOW(syscall(FUTEX_WAKE2, -4096L, 1UL, 1, 2));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL, 0, 2));
}

static void futexes_wake(void)
{
    words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    long results[3] = {9, 9, 9};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, wait_word, &results[i]);
    sleep_ms(300);
    SHOW(syscall(FUTEX_WAKE2, words, 4UL, 5, 2 | 128));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL, 0, 2 | 128));
    struct { uint64_t value, address; uint32_t flags, reserved; } both[2] = {
        {0, (uintptr_t)&words[0], 2 | 128, 0}, {0, (uintptr_t)&words[1], 2 | 128, 0}};
    both[0].value = 1;
    SHOW(syscall(FUTEX_REQUEUE2, both, 0, 1, 1));
    both[0].value = 0;
    SHOW(syscall(FUTEX_REQUEUE2, both, 1, 1, 1));
    SHOW(syscall(FUTEX_REQUEUE2, NULL, 0, 1, 1));
    SHOW(syscall(FUTEX_REQUEUE2, bad_address, 0, 1, 1));
    SHOW(syscall(FUTEX_REQUEUE2, both, 0, -1, 1));
    SHOW(syscall(FUTEX_REQUEUE2, both, 0, 1, -1));
    both[1].flags = 3;
    SHOW(syscall(FUTEX_REQUEUE2, both, 0, 1, 1));
    both[1].flags = 2 | 128;
    both[1].reserved = 1;
    SHOW(syscall(FUTEX_REQUEUE2, both, 0, 1, 1));
    both[1].reserved = 0;
    both[1].address += 2;
    SHOW(syscall(FUTEX_REQUEUE2, both, 0, 1, 1));
    both[1].address -= 2;
    SHOW(syscall(FUTEX_REQUEUE2, both, 0, 1, 1));
    SHOW(syscall(FUTEX_WAKE2, words, 1UL, 5, 2 | 128));
    SHOW(syscall(FUTEX_WAKE2, &words[1], 1UL, -7, 2 | 128));
    SHOW(syscall(FUTEX_WAKE2, words, 2UL, 1, 2 | 128));
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        NUMBER(results[i]);
    }
}

static void release(void)
{
    int self = syscall(SYS_pidfd_open, getpid(), 0);
    SHOW(syscall(MRELEASE, -1, 0));
    SHOW(syscall(MRELEASE, 0, 0));
    SHOW(syscall(MRELEASE, self, 1));
    SHOW(syscall(MRELEASE, self, 0));
    int ready[2];
    pipe(ready);
    pid_t child = fork();
    if (child == 0) {
        char *at = pages_of(2048, PROT_READ | PROT_WRITE, MAP_PRIVATE);
        memset(at, 1, 2048 * 4096);
        write(ready[1], "", 1);
        pause();
        _exit(0);
    }
    char byte;
    read(ready[0], &byte, 1);
    int fd = syscall(SYS_pidfd_open, child, 0);
    SHOW(syscall(MRELEASE, fd, 0));
    kill(child, SIGKILL);
    long result = syscall(MRELEASE, fd, 0);
    HOLDS(result == 0 || (result == -1 && errno == ESRCH));
    int status;
    waitpid(child, &status, 0);
    show_status("child", status);
    SHOW(syscall(MRELEASE, fd, 0));
}

static void home_node(void)
{
    char *at = pages_of(4, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    unsigned long first = 1;
    SHOW(syscall(HOME_NODE, at, 4096, 0, 0));
    SHOW(syscall(HOME_NODE, at + 1, 4096, 0, 0));
    SHOW(syscall(HOME_NODE, at, 4096, 0, 1));
    SHOW(syscall(HOME_NODE, at, 4096, 99, 0));
    SHOW(syscall(HOME_NODE, at, 4096, 100000, 0));
    SHOW(syscall(HOME_NODE, at, 0, 0, 0));
    SHOW(syscall(HOME_NODE, at, -4096L, 0, 0));
    SHOW(syscall(HOME_NODE, at, -1L, 0, 0));
    SHOW(syscall(SYS_mbind, at, 4096, 2, &first, 8, 0));
    SHOW(syscall(HOME_NODE, at, 4096, 0, 0));
    SHOW(syscall(HOME_NODE, at, 2 * 4096, 0, 0));
    SHOW(syscall(HOME_NODE, at + 4096, 4096, 0, 0));
    SHOW(syscall(SYS_mbind, at + 4096, 4096, 3, &first, 8, 0));
    SHOW(syscall(HOME_NODE, at, 2 * 4096, 0, 0));
}

static void move(void)
{
    char *at = pages_of(8, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    at[0] = at[3 * 4096] = 1;
    munmap(at + 5 * 4096, 4096);
    void *pages[6] = {at, at + 4096, at + 3 * 4096 + 5, at + 5 * 4096, (void *)8, NULL};
    volatile char seen = at[4096 * 2];
    pages[5] = at + 2 * 4096;
    int status[6], nodes[6] = {0, 0, 0, 0, 0, 0};
    (void)seen;
    for (int moves = 0; moves < 2; moves++) {
        memset(status, 1, sizeof status);
        SHOW(syscall(MOVE_PAGES, 0, 6, pages, moves ? nodes : NULL, status, moves ? 2 : 0));
        for (int i = 0; i < 6; i++)
            printf("  %d: %s\n", i, status[i] < 0 ? errno_name(-status[i]) : status[i] ? "?" : "node 0");
    }
    SHOW(syscall(MOVE_PAGES, getpid(), 1, pages, NULL, status, 2));
    SHOW(syscall(MOVE_PAGES, 0, 1, pages, NULL, status, 1));
    SHOW(syscall(MOVE_PAGES, 0, 1, pages, NULL, status, 8));
    SHOW(syscall(MOVE_PAGES, 0, 1, pages, NULL, status, 4));
    SHOW(syscall(MOVE_PAGES, 9999999, 1, pages, NULL, status, 2));
    SHOW(syscall(MOVE_PAGES, 0, 0, NULL, NULL, NULL, 2));
    SHOW(syscall(MOVE_PAGES, 0, 1, bad_address, NULL, status, 2));
    SHOW(syscall(MOVE_PAGES, 0, 1, pages, NULL, bad_address, 2));
    SHOW(syscall(MOVE_PAGES, 0, 1, pages, bad_address, status, 2));
    SHOW(syscall(MOVE_PAGES, 0, 1, pages, nodes, bad_address, 2));
    nodes[1] = 5000;
    SHOW(syscall(MOVE_PAGES, 0, 2, pages, nodes, status, 2));
    nodes[1] = -1;
    SHOW(syscall(MOVE_PAGES, 0, 2, pages, nodes, status, 2));
    nodes[1] = 7;
    SHOW(syscall(MOVE_PAGES, 0, 2, pages, nodes, status, 2));
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    IN_CHILD("other user", setresuid(77, 77, 77); SHOW(syscall(MOVE_PAGES, child, 1, pages, NULL, status, 2)));
    SHOW(syscall(MOVE_PAGES, child, 1, pages, NULL, status, 2));
    NUMBER(status[0]);
    kill(child, SIGKILL);
    waitid(P_PID, child, NULL, WEXITED | WNOWAIT);
    SHOW(syscall(MOVE_PAGES, child, 1, pages, NULL, status, 2));
}

struct cached { uint64_t cached, dirty, writing, evicted, recently; };

static void cache(void)
{
    struct { uint64_t offset, length; } range = {0, 0};
    struct cached counts = {9, 9, 9, 9, 9};
    int fd = syscall(SYS_memfd_create, "m", 0);
    ftruncate(fd, 8 * 4096);
    pwrite(fd, "x", 1, 0);
    pwrite(fd, "x", 1, 2 * 4096);
    pwrite(fd, "x", 1, 7 * 4096);
    SHOW(syscall(CACHESTAT, fd, &range, &counts, 0));
    NUMBER(counts.cached);
    NUMBER(counts.dirty);
    NUMBER(counts.writing);
    NUMBER(counts.evicted);
    NUMBER(counts.recently);
    range.offset = 4096 + 5;
    range.length = 4096;
    SHOW(syscall(CACHESTAT, fd, &range, &counts, 0));
    NUMBER(counts.cached);
    range.length = 4091;
    SHOW(syscall(CACHESTAT, fd, &range, &counts, 0));
    NUMBER(counts.cached);
    range.offset = 3 * 4096;
    range.length = -1UL;
    SHOW(syscall(CACHESTAT, fd, &range, &counts, 0));
    range.length = 0;
    SHOW(syscall(CACHESTAT, fd, &range, &counts, 0));
    NUMBER(counts.cached);
    SHOW(syscall(CACHESTAT, fd, &range, &counts, 1));
    SHOW(syscall(CACHESTAT, fd, bad_address, &counts, 1));
    SHOW(syscall(CACHESTAT, fd, &range, bad_address, 0));
    SHOW(syscall(CACHESTAT, -1, bad_address, &counts, 0));
    int both[2];
    pipe(both);
    SHOW(syscall(CACHESTAT, both[0], &range, &counts, 0));
    NUMBER(counts.cached);
    enter_scratch();
    chmod(".", 0755);
    int directory = open(".", O_RDONLY), path = open(".", O_PATH);
    SHOW(syscall(CACHESTAT, directory, &range, &counts, 0));
    SHOW(syscall(CACHESTAT, path, &range, &counts, 0));
    int file = open("f", O_CREAT | O_RDWR, 0644);
    write(file, "some", 4);
    range.offset = 0;
    SHOW(syscall(CACHESTAT, file, &range, &counts, 0));
    NUMBER(counts.cached);
    HOLDS(counts.dirty <= 1);
    IN_CHILD("other user", setresuid(77, 77, 77); SHOW(syscall(CACHESTAT, file, &range, &counts, 0)); int again = open("f", O_RDONLY);
             SHOW(syscall(CACHESTAT, again, &range, &counts, 1)));
}

static void quotas(void)
{
    enum { USER_SYNC = (int)0x80000100, USER_ON = (int)0x80000200, USER_GET = (int)0x80000700, USER_INFO = (int)0x80000500 };
    char room[256];
    SHOW(syscall(QUOTACTL, USER_SYNC, NULL, 0, NULL));
    SHOW(syscall(QUOTACTL, USER_SYNC | 1, NULL, 0, NULL));
    SHOW(syscall(QUOTACTL, USER_SYNC | 3, NULL, 0, NULL));
    SHOW(syscall(QUOTACTL, USER_GET, NULL, 0, room));
    SHOW(syscall(QUOTACTL, USER_GET, bad_address, 0, room));
    SHOW(syscall(QUOTACTL, USER_GET, "/nothing", 0, room));
    SHOW(syscall(QUOTACTL, USER_GET, "/proc", 0, room));
    SHOW(syscall(QUOTACTL, USER_GET, "/dev/null", 0, room));
    SHOW(syscall(QUOTACTL, USER_GET | 9, "/dev/null", 0, room));
    SHOW(syscall(QUOTACTL, USER_ON, "/dev/null", 0, "/nothing"));
    int fd = open("/proc", O_RDONLY);
    SHOW(syscall(QUOTACTL_FD, fd, USER_INFO, 0, room));
    SHOW(syscall(QUOTACTL_FD, fd, USER_SYNC, 0, NULL));
    SHOW(syscall(QUOTACTL_FD, fd, USER_INFO | 3, 0, room));
    SHOW(syscall(QUOTACTL_FD, -1, USER_INFO | 3, 0, room));
    SHOW(syscall(QUOTACTL_FD, open("/proc", O_PATH), USER_INFO, 0, room));
}

static void modules(void)
{
    uint64_t ids[16] = {0}, context[8] = {0};
    uint32_t size = 0;
    SHOW(syscall(LSM_LIST, ids, &size, 0));
    HOLDS(size >= 8 && size % 8 == 0);
    SHOW(syscall(LSM_LIST, ids, NULL, 0));
    SHOW(syscall(LSM_LIST, ids, &size, 1));
    SHOW(syscall(LSM_LIST, bad_address, &size, 0));
    size = sizeof ids;
    long count = syscall(LSM_LIST, ids, &size, 0);
    HOLDS(count == size / 8);
    int found = 0;
    for (int i = 0; i < count; i++)
        found += ids[i] == 100;
    NUMBER(found);
    size = 8;
    for (int attribute = 0; attribute < 7; attribute++) {
        size = sizeof context;
        SHOW(syscall(LSM_GET, attribute, context, &size, 0));
        NUMBER(size);
    }
    SHOW(syscall(LSM_GET, 100, NULL, NULL, 0));
    SHOW(syscall(LSM_GET, 100, NULL, bad_address, 0));
    size = sizeof context;
    SHOW(syscall(LSM_GET, 100, context, &size, 2));
    SHOW(syscall(LSM_GET, 100, NULL, &size, 1));
    SHOW(syscall(LSM_GET, 100, bad_address, &size, 1));
    SHOW(syscall(LSM_GET, 100, context, &size, 1));
    context[0] = 100;
    SHOW(syscall(LSM_GET, 100, context, &size, 1));
    context[2] = 32;
    SHOW(syscall(LSM_SET, 100, context, 32, 0));
    SHOW(syscall(LSM_SET, 100, context, 31, 0));
    SHOW(syscall(LSM_SET, 100, context, 4097, 0));
    SHOW(syscall(LSM_SET, 100, context, 32, 1));
    SHOW(syscall(LSM_SET, 100, bad_address, 32, 0));
    context[2] = 33;
    SHOW(syscall(LSM_SET, 100, context, 32, 0));
    context[2] = 32;
    context[3] = 1;
    SHOW(syscall(LSM_SET, 100, context, 32, 0));
    context[3] = -1;
    SHOW(syscall(LSM_SET, 100, context, 64, 0));
}

struct request { uint32_t size, spare; uint64_t id, parameter, space; };
struct mount_answer {
    uint32_t size, options;
    uint64_t mask;
    uint32_t major, minor;
    uint64_t magic;
    uint32_t flags, type;
    uint64_t id, parent;
    uint32_t old_id, old_parent;
    uint64_t attributes, propagation, peers, master, from;
    uint32_t root, point;
    uint64_t space;
    uint32_t subtype, source;
    uint64_t rest[48];
    char text[512];
};

static uint64_t mount_of(const char *path, unsigned asked, unsigned *got)
{
    uint64_t x[32] = {0};
    syscall(SYS_statx, AT_FDCWD, path, 0, asked, x);
    *got = x[0] & 0x5000;
    return x[18];
}

static void list_mounts(void)
{
    unsigned got;
    uint64_t old = mount_of("/proc", 0x1000, &got);
    printf("  mask %x\n", got);
    uint64_t id = mount_of("/proc", 0x4000, &got);
    printf("  mask %x\n", got);
    mount_of("/proc", 0x5000, &got);
    printf("  mask %x\n", got);
    uint64_t root = mount_of("/", 0x4000, &got);
    HOLDS(id > 1UL << 31 && root > 1UL << 31 && id != root);
    HOLDS(old < 1UL << 31);
    static uint64_t ids[4096], again[4096];
    struct request ask = {24, 0, -1UL, 0, 0};
    long count = syscall(LISTMOUNT, &ask, ids, 4096, 0);
    HOLDS(count > 1);
    int rising = 1, seen = 0;
    for (int i = 0; i < count; i++) {
        rising &= i == 0 || ids[i] > ids[i - 1];
        seen += (ids[i] == id) + (ids[i] == root);
    }
    NUMBER(rising);
    NUMBER(seen);
    HOLDS(syscall(LISTMOUNT, &ask, again, 4096, 1) == count);
    HOLDS(again[0] == ids[count - 1] && again[count - 1] == ids[0]);
    ask.parameter = ids[0];
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    HOLDS(again[0] == ids[1]);
    ask.parameter = ids[1];
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 1));
    HOLDS(again[0] == ids[0]);
    ask.parameter = ids[count - 1];
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.parameter = 0;
    SHOW(syscall(LISTMOUNT, &ask, again, 0, 0));
    ask.id = root;
    HOLDS(syscall(LISTMOUNT, &ask, again, 4096, 0) <= count);
    ask.id = 1UL << 40;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.id = 1UL << 31;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.id = -1UL;
    ask.parameter = 5;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.parameter = 0;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 2));
    SHOW(syscall(LISTMOUNT, &ask, again, 1000001, 0));
    SHOW(syscall(LISTMOUNT, &ask, bad_address, 1, 0));
    SHOW(syscall(LISTMOUNT, bad_address, again, 1, 0));
    ask.size = 23;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.size = 4097;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.size = 32;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.space = 12345;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.size = 24;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    ask.space = 0;
    ask.spare = 1;
    ask.id = 1;
    SHOW(syscall(LISTMOUNT, &ask, again, 1, 0));
    char large[64] = {40};
    memset(large + 8, 0xff, 8);
    SHOW(syscall(LISTMOUNT, large, again, 1, 0));
    large[39] = 1;
    SHOW(syscall(LISTMOUNT, large, again, 1, 0));
}

static void stat_mounts(void)
{
    unsigned got;
    static struct mount_answer answer;
    struct request ask = {24, 0, mount_of("/proc", 0x4000, &got), 0, 0};
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    NUMBER(answer.size);
    NUMBER(answer.mask);
    ask.parameter = 3;
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    NUMBER(answer.size);
    NUMBER(answer.mask);
    HOLDS(answer.id == ask.id);
    HOLDS(answer.old_id == mount_of("/proc", 0x1000, &got));
    HOLDS(answer.parent == mount_of("/", 0x4000, &got));
    HOLDS(answer.old_parent == mount_of("/", 0x1000, &got));
    printf("  magic %lx major %u\n", answer.magic, answer.major);
    struct statfs is;
    statfs("/proc", &is);
    HOLDS((answer.attributes & 15) == (unsigned long)(is.f_flags & 15));
    ask.parameter = 0x20;
    SHOW(syscall(STATMOUNT, &ask, &answer, sizeof answer, 0));
    NUMBER(answer.size);
    NUMBER(answer.mask);
    NUMBER(answer.type);
    TEXT(answer.text + answer.type);
    ask.parameter = 0x38;
    SHOW(syscall(STATMOUNT, &ask, &answer, sizeof answer, 0));
    NUMBER(answer.size);
    NUMBER(answer.mask);
    TEXT(answer.text + answer.type);
    TEXT(answer.text + answer.root);
    TEXT(answer.text + answer.point);
    ask.parameter = 0x120;
    SHOW(syscall(STATMOUNT, &ask, &answer, sizeof answer, 0));
    NUMBER(answer.size);
    NUMBER(answer.mask);
    NUMBER(answer.subtype);
    SHOW(syscall(STATMOUNT, &ask, &answer, 512 + 5, 0));
    SHOW(syscall(STATMOUNT, &ask, &answer, 512 + 6, 0));
    NUMBER(answer.size);
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    SHOW(syscall(STATMOUNT, &ask, &answer, 100, 0));
    ask.parameter = 2;
    SHOW(syscall(STATMOUNT, &ask, &answer, 16, 0));
    NUMBER(answer.size);
    SHOW(syscall(STATMOUNT, &ask, NULL, 0, 0));
    ask.parameter = 1UL << 40 | 0x40;
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    NUMBER(answer.mask);
    HOLDS(answer.space != 0);
    uint64_t space = answer.space;
    ask.size = 32;
    ask.space = space;
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    ask.space = space + 1234567;
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    ask.space = 0;
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 1));
    SHOW(syscall(STATMOUNT, &ask, bad_address, 512, 0));
    SHOW(syscall(STATMOUNT, bad_address, &answer, 512, 0));
    ask.id = 1UL << 40;
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    ask.id = 7;
    SHOW(syscall(STATMOUNT, &ask, &answer, 512, 0));
    ask.id = mount_of("/", 0x4000, &got);
    ask.parameter = 0x10;
    SHOW(syscall(STATMOUNT, &ask, &answer, sizeof answer, 0));
    TEXT(answer.text + answer.point);
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"seal_arguments", seal_arguments},
        {"seal_keeps", seal_keeps},
        {"seal_advice", seal_advice},
        {"futexes", futexes},
        {"futexes_wake", futexes_wake},
        {"release", release},
        {"home_node", home_node},
        {"move", move},
        {"cache", cache},
        {"quotas", quotas},
        {"modules", modules},
        {"list_mounts", list_mounts},
        {"stat_mounts", stat_mounts},
    };
    drop_capabilities();
    return RUN_CASES(argc, argv, cases);
}
