/* The micro-benchmark program that runs inside every runtime: `micro GROUP` prints one line `name nanoseconds` per operation
 * of a group (syscall, proc, fs; all when none is named), the median over batches of at least a few milliseconds. Static, so that it runs in any image. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BATCHES 7
#define BATCH_NS 20000000LL
#define OPERATION_NS 3000000000LL

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static volatile uint64_t sink;
static void loop(void)
{
    for (int i = 0; i < 1000; i++)
        sink += (uint64_t)i;
}

static void getpid_(void) { syscall(SYS_getpid); }

static int zero;
static void read_zero(void)
{
    char byte;
    if (read(zero, &byte, 1) != 1)
        fail("read /dev/zero");
}

static int there[2], back[2];
static void ping_pong(void)
{
    char byte = 0;
    if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
        fail("ping-pong");
}

static void start_partner(void)
{
    if (pipe(there) != 0 || pipe(back) != 0)
        fail("pipe");
    if (fork() == 0) {
        char byte;
        close(there[1]);
        while (read(there[0], &byte, 1) == 1)
            if (write(back[1], &byte, 1) != 1)
                break;
        _exit(0);
    }
}

static void fork_exit(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    if (child < 0 || waitpid(child, NULL, 0) != child)
        fail("fork");
}

static void exec_(void)
{
    pid_t child = vfork();
    if (child == 0) {
        execl("/proc/self/exe", "micro", "exit", NULL);
        _exit(1);
    }
    int status;
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        fail("exec");
}

static void map_touch_unmap(void)
{
    char *map = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED)
        fail("mmap");
    for (int i = 0; i < 4 << 20; i += 4096)
        map[i] = 1;
    munmap(map, 4 << 20);
}

static void open_stat_close(void)
{
    struct stat info;
    int file = open("/etc/passwd", O_RDONLY);
    if (file < 0 || fstat(file, &info) != 0 || stat("/etc/passwd", &info) != 0)
        fail("/etc/passwd");
    close(file);
}

static void clock_get(void) { sink += (uint64_t)now_ns(); }
static void seek(void) { syscall(SYS_lseek, zero, 0L, SEEK_CUR); }

static int own[2];
static void pipe_self(void)
{
    char byte = 0;
    if (write(own[1], &byte, 1) != 1 || read(own[0], &byte, 1) != 1)
        fail("pipe");
}

static int set;
static void epoll_ready(void)
{
    struct epoll_event event;
    if (epoll_wait(set, &event, 1, 0) != 1)
        fail("epoll_wait");
}

static uint32_t word;
static void futex_wake(void) { syscall(SYS_futex, &word, 1 | 128 /* FUTEX_WAKE_PRIVATE */, 1, NULL, NULL, 0); }

static void on_signal(int number) { sink += (uint64_t)number; }
static void signal_self(void) { syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), SIGUSR1); }

static void *ends(void *arg) { return arg; }
static void thread_join(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, ends, NULL) != 0 || pthread_join(thread, NULL) != 0)
        fail("thread");
}

static char block[65536];
static int data;
static void read_page(void)
{
    if (pread(data, block, 4096, 8192) != 4096)
        fail("pread");
}

static void write_page(void)
{
    if (pwrite(data, block, 4096, 8192) != 4096)
        fail("pwrite");
}

static void read_large(void)
{
    if (pread(data, block, sizeof block, 0) != sizeof block)
        fail("pread");
}

static void create_unlink(void)
{
    int file = open("/bench-new", O_CREAT | O_EXCL | O_WRONLY, 0600);
    if (file < 0 || write(file, block, 4096) != 4096 || close(file) != 0 || unlink("/bench-new") != 0)
        fail("/bench-new");
}

static void rename_(void)
{
    if (rename("/bench-data", "/bench-other") != 0 || rename("/bench-other", "/bench-data") != 0)
        fail("rename");
}

static void mkdir_rmdir(void)
{
    if (mkdir("/bench-dir", 0700) != 0 || rmdir("/bench-dir") != 0)
        fail("/bench-dir");
}

static void list(void)
{
    DIR *dir = opendir("/bench-many");
    int count = 0;
    while (dir != NULL && readdir(dir) != NULL)
        count++;
    if (count != 102 || closedir(dir) != 0)
        fail("/bench-many");
}

static void missing(void)
{
    if (access("/bench-many/missing", F_OK) == 0)
        fail("/bench-many/missing");
}

static void prepare(void)
{
    struct epoll_event event = {.events = EPOLLIN};
    char path[64];
    signal(SIGUSR1, on_signal);
    zero = open("/dev/zero", O_RDONLY);
    set = epoll_create1(0);
    if (pipe(own) != 0 || write(own[1], block, 1) != 1 || epoll_ctl(set, EPOLL_CTL_ADD, own[0], &event) != 0)
        fail("pipe");
    data = open("/bench-data", O_CREAT | O_RDWR | O_TRUNC, 0600);
    if (data < 0 || write(data, block, sizeof block) != sizeof block || (mkdir("/bench-many", 0700) != 0 && errno != EEXIST))
        fail("/bench-data");
    for (int i = 0; i < 100; i++) {
        snprintf(path, sizeof path, "/bench-many/file-%d", i);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
}

static int compare(const void *left, const void *right)
{
    double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median_ns(void (*operation)(void))
{
    double results[BATCHES];
    long count = 1;
    long long spent = 0;
    int batch = 0;
    operation();
    while (batch < BATCHES) {
        long long start = now_ns();
        for (long i = 0; i < count; i++)
            operation();
        long long took = now_ns() - start;
        spent += took;
        if (took < BATCH_NS && batch == 0) {
            count *= 2;
            continue;
        }
        results[batch++] = (double)took / (double)count;
        if (spent > OPERATION_NS)
            break;
    }
    qsort(results, batch, sizeof *results, compare);
    return results[batch / 2];
}

/* The groups that an operation is in, its name, and how many there are of it in a call. */
static const struct { const char *groups, *name; void (*operation)(void); double divisor; } operations[] = {
    {"syscall", "integer loop, per step", loop, 1000},
    {"syscall", "getpid", getpid_, 1},
    {"syscall", "clock_gettime", clock_get, 1},
    {"syscall", "read 1 B of /dev/zero", read_zero, 1},
    {"syscall", "lseek", seek, 1},
    {"syscall", "write + read 1 B of a pipe", pipe_self, 1},
    {"syscall", "epoll_wait, 1 ready", epoll_ready, 1},
    {"syscall", "futex wake of nobody", futex_wake, 1},
    {"syscall proc", "pipe ping-pong, 2 processes", ping_pong, 1},
    {"syscall proc", "fork + exit + wait", fork_exit, 1},
    {"syscall proc", "vfork + exec + wait", exec_, 1},
    {"proc", "thread + join", thread_join, 1},
    {"proc", "signal to itself", signal_self, 1},
    {"syscall proc", "mmap 4 MiB, touch, munmap", map_touch_unmap, 1},
    {"syscall fs", "open + fstat + stat + close", open_stat_close, 1},
    {"fs", "access of a missing file", missing, 1},
    {"fs", "read 4 KiB", read_page, 1},
    {"fs", "read 64 KiB", read_large, 1},
    {"fs", "write 4 KiB", write_page, 1},
    {"fs", "create + write 4 KiB + unlink", create_unlink, 1},
    {"fs", "2 renames", rename_, 1},
    {"fs", "mkdir + rmdir", mkdir_rmdir, 1},
    {"fs", "list 100 files", list, 1},
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 0;
    prepare();
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
        if (argc > 1 && strstr(operations[i].groups, argv[1]) == NULL)
            continue;
        if (operations[i].operation == ping_pong)
            start_partner();
        printf("%s\t%.1f\n", operations[i].name, median_ns(operations[i].operation) / operations[i].divisor);
        fflush(stdout);
        if (operations[i].operation == ping_pong) {
            close(there[1]);
            wait(NULL);
        }
    }
    return 0;
}
