/* The micro-benchmark program that runs inside every runtime: `micro` prints one line `name nanoseconds` per operation,
 * the median over batches of at least a few milliseconds. Static, so that it runs in any image. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

static const struct { const char *name; void (*operation)(void); double divisor; } operations[] = {
    {"integer loop, per step", loop, 1000},
    {"getpid", getpid_, 1},
    {"read 1 B of /dev/zero", read_zero, 1},
    {"pipe ping-pong, 2 processes", ping_pong, 1},
    {"fork + exit + wait", fork_exit, 1},
    {"vfork + exec + wait", exec_, 1},
    {"mmap 4 MiB, touch, munmap", map_touch_unmap, 1},
    {"open + fstat + stat + close", open_stat_close, 1},
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "exit") == 0)
        return 0;
    zero = open("/dev/zero", O_RDONLY);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
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
