/* Asynchronous I/O: io_setup, io_submit, io_getevents and their kin, without libaio. */
#include "show.h"
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/time.h>
#include <sys/uio.h>

/* As <linux/aio_abi.h> has them. */
struct request {
    uint64_t data;
    uint32_t key, rw_flags;
    uint16_t opcode;
    int16_t priority;
    int32_t fd;
    uint64_t buffer, len;
    int64_t offset;
    uint64_t reserved;
    uint32_t flags, eventfd;
};
struct event { uint64_t data, object; int64_t result, more; };
enum { PREAD, PWRITE, FSYNC, FDSYNC, POLL = 5, NOOP, PREADV, PWRITEV };

static unsigned long context;
static char buffer[8192];
static struct event events[16];

static long setup(unsigned count, unsigned long *at) { return syscall(SYS_io_setup, count, at); }
static long destroy(unsigned long which) { return syscall(SYS_io_destroy, which); }

static long fetch(long least, long most, struct timespec *timeout)
{
    memset(events, 0, sizeof events);
    return syscall(SYS_io_getevents, context, least, most, events, timeout);
}

static long submit_one(struct request *request)
{
    struct request *list[1] = {request};
    return syscall(SYS_io_submit, context, 1L, list);
}

static struct request make(int opcode, int fd, void *at, size_t len, off_t offset)
{
    return (struct request){.data = 77, .opcode = opcode, .fd = fd, .buffer = (uintptr_t)at, .len = len, .offset = offset};
}

static int new_file(void)
{
    int file = open("/tmp/aio", O_RDWR | O_CREAT | O_TRUNC, 0600);
    unlink("/tmp/aio");
    return file;
}

static void contexts(void)
{
    unsigned long other = 0, wrong = 1;
    SHOW(setup(0, &other));
    SHOW(setup(8, &wrong));
    SHOW(setup(8, (void *)-1));
    SHOW(setup(8, NULL));
    SHOW(setup(-1, &other));
    SHOW(setup(0x10000000, &other));
    SHOW(setup(70000, &other));
    SHOW(setup(1, &other));
    HOLDS(other != 0);
    SHOW(destroy(other));
    SHOW(destroy(other));
    SHOW(destroy(0));
    SHOW(destroy(-1));
    const unsigned long *readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    SHOW(setup(8, (unsigned long *)readonly));
}

static void requests(void)
{
    int file = new_file();
    SHOW(setup(16, &context));
    memset(buffer, 'a', sizeof buffer);
    struct request write_one = make(PWRITE, file, buffer, 5000, 0);
    SHOW(submit_one(&write_one));
    SHOW(fetch(1, 16, NULL));
    HOLDS(events[0].data == 77 && events[0].object == (uintptr_t)&write_one && events[0].result == 5000 && events[0].more == 0);
    struct request read_one = make(PREAD, file, buffer, 8192, 4000);
    SHOW(submit_one(&read_one));
    SHOW(fetch(0, 1, NULL));
    NUMBER(events[0].result);
    SHOW(lseek(file, 0, SEEK_CUR));
    struct iovec pieces[2] = {{buffer, 10}, {buffer + 100, 20}};
    struct request vector = make(PREADV, file, pieces, 2, 4980), vector_out = make(PWRITEV, file, pieces, 2, 100);
    struct request sync = make(FSYNC, file, NULL, 0, 0), data_sync = make(FDSYNC, file, NULL, 0, 0);
    struct request past = make(PREAD, file, buffer, 10, 100000);
    struct request *list[] = {&vector, &vector_out, &sync, &data_sync, &past};
    SHOW(syscall(SYS_io_submit, context, 5L, list));
    SHOW(fetch(5, 16, NULL));
    long sum = 0;
    for (int i = 0; i < 5; i++)
        sum += events[i].result;
    NUMBER(sum);
    struct timespec soon = {0, 50000000}, none = {0, 0};
    SHOW(fetch(1, 16, &soon));
    SHOW(fetch(1, 16, &none));
    SHOW(fetch(0, 16, NULL));
    SHOW(fetch(0, 0, NULL));
    SHOW(destroy(context));
    SHOW(fetch(0, 1, &none));
    close(file);
}

static void refused(void)
{
    int file = new_file(), ends[2], readonly = open("/proc/self/exe", O_RDONLY), path = open("/tmp", O_PATH), dir = open("/tmp", O_RDONLY);
    context = 0;
    pipe(ends);
    SHOW(setup(4, &context));
    struct request request, *list[2] = {&request, (void *)-1};
#define TRY(...) do { request = make(__VA_ARGS__); SHOW(submit_one(&request)); } while (0)
    TRY(PREAD, -1, buffer, 10, 0);
    TRY(PREAD, path, buffer, 10, 0);
    TRY(PREAD, dir, buffer, 10, 0);
    TRY(PREAD, ends[1], buffer, 10, 0);
    TRY(PWRITE, readonly, buffer, 10, 0);
    TRY(PREAD, file, buffer, 10, -1);
    TRY(PREAD, file, buffer, -1, 0);
    TRY(PREAD, file, (void *)-1, 10, 0);
    TRY(PREADV, file, (void *)-1, 2, 0);
    TRY(PREADV, file, buffer, 5000, 0);
    TRY(NOOP, file, buffer, 10, 0);
    TRY(4, file, buffer, 10, 0);
    TRY(1000, file, buffer, 10, 0);
    TRY(FSYNC, file, buffer, 0, 0);
    TRY(FSYNC, file, NULL, 0, 1);
    TRY(FSYNC, ends[0], NULL, 0, 0);
    request = make(PREAD, file, buffer, 10, 0);
    request.reserved = 1;
    SHOW(submit_one(&request));
    request.reserved = 0, request.rw_flags = 0x8000;
    SHOW(submit_one(&request));
    request.rw_flags = 0, request.flags = 1, request.eventfd = -1;
    SHOW(submit_one(&request));
    request.eventfd = file;
    SHOW(submit_one(&request));
    request.flags = 0;
    SHOW(submit_one((void *)-1));
    SHOW(submit_one(NULL));
    SHOW(syscall(SYS_io_submit, context, 1L, -1L));
    SHOW(syscall(SYS_io_submit, context, -1L, list));
    SHOW(syscall(SYS_io_submit, context, 0L, list));
    SHOW(syscall(SYS_io_submit, context, 0L, NULL));
    SHOW(syscall(SYS_io_submit, 0L, 1L, list));
    SHOW(syscall(SYS_io_submit, context, 2L, list));
    /* A page that is not there is met while the request is carried out. */
    char *gone = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(gone, 8192);
    write(file, "0123456789", 10);
    struct timespec none = {0, 0};
    fetch(0, 16, &none);
    request = make(PREAD, file, gone, 10, 0);
    SHOW(submit_one(&request));
    SHOW(fetch(1, 1, NULL));
    NUMBER(events[0].result);
    SHOW(fetch(-1, 1, NULL));
    SHOW(fetch(2, 1, NULL));
    SHOW(fetch(0, -1, NULL));
    SHOW(syscall(SYS_io_getevents, context, 0L, 1L, events, -1L));
    SHOW(syscall(SYS_io_getevents, 1L, 0L, 1L, events, NULL));
    request = make(PREAD, file, buffer, 10, 0);
    SHOW(submit_one(&request));
    SHOW(syscall(SYS_io_getevents, context, 1L, 1L, -1L, NULL));
    SHOW(fetch(1, 1, NULL));
    SHOW(syscall(SYS_io_cancel, context, &request, events));
    SHOW(syscall(SYS_io_cancel, context, -1L, events));
    SHOW(syscall(SYS_io_cancel, 0L, &request, events));
    SHOW(syscall(SYS_io_cancel, context, NULL, NULL));
    destroy(context);
}

static void told_by_eventfd(void)
{
    int file = new_file(), counter = eventfd(0, EFD_NONBLOCK), ends[2];
    uint64_t count = 0;
    context = 0;
    pipe(ends);
    SHOW(setup(4, &context));
    struct request one = make(PWRITE, file, buffer, 100, 0), two = make(PWRITE, ends[1], buffer, 10, 12345);
    one.flags = two.flags = 1, one.eventfd = two.eventfd = counter;
    struct request *list[] = {&one, &two};
    SHOW(read(counter, &count, 8));
    SHOW(syscall(SYS_io_submit, context, 2L, list));
    struct pollfd ready = {counter, POLLIN, 0};
    SHOW(poll(&ready, 1, 5000));
    SHOW(read(counter, &count, 8));
    NUMBER(count);
    SHOW(fetch(2, 4, NULL));
    NUMBER(events[0].result);
    NUMBER(events[1].result);
    SHOW(read(ends[0], buffer, 100));
    destroy(context);
}

static void on_alarm(int number) { (void)number; }

static void *submits_later(void *arg)
{
    sleep_ms(100);
    submit_one(arg);
    return NULL;
}

static void *destroys_later(void *arg)
{
    (void)arg;
    sleep_ms(100);
    destroy(context);
    return NULL;
}

static void waiting(void)
{
    int file = new_file();
    pthread_t thread;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval in_a_moment = {.it_value = {0, 100000}};
    context = 0;
    SHOW(setup(4, &context));
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &in_a_moment, NULL);
    SHOW(fetch(1, 1, NULL));
    sigset_t mask;
    sigemptyset(&mask);
    struct { sigset_t *mask; size_t size; } with_mask = {&mask, 8};
    sigset_t alarm_blocked;
    sigemptyset(&alarm_blocked);
    sigaddset(&alarm_blocked, SIGALRM);
    sigprocmask(SIG_BLOCK, &alarm_blocked, NULL);
    setitimer(ITIMER_REAL, &in_a_moment, NULL);
    SHOW(syscall(SYS_io_pgetevents, context, 1L, 1L, events, NULL, &with_mask));
    with_mask.size = 4;
    SHOW(syscall(SYS_io_pgetevents, context, 0L, 1L, events, NULL, &with_mask));
    SHOW(syscall(SYS_io_pgetevents, context, 0L, 1L, events, NULL, -1L));
    SHOW(syscall(SYS_io_pgetevents, context, 0L, 1L, events, NULL, NULL));
    struct request request = make(PWRITE, file, buffer, 100, 0);
    pthread_create(&thread, NULL, submits_later, &request);
    SHOW(fetch(1, 1, NULL));
    pthread_join(thread, NULL);
    pthread_create(&thread, NULL, destroys_later, NULL);
    SHOW(fetch(1, 1, NULL));
    pthread_join(thread, NULL);
}

static void inherited(void)
{
    struct timespec none = {0, 0};
    context = 0;
    SHOW(setup(4, &context));
    IN_CHILD("child", _exit(fetch(0, 1, &none) == -1 && errno == EINVAL ? 7 : 8));
    SHOW(fetch(0, 1, &none));
    destroy(context);
}

static const struct test_case cases[] = {
    {"contexts", contexts}, {"requests", requests}, {"refused", refused}, {"told_by_eventfd", told_by_eventfd},
    {"waiting", waiting}, {"inherited", inherited},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
