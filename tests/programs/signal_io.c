/* Signals of open files: F_SETOWN, F_SETSIG, O_ASYNC; and what else fcntl says. */
#include "show.h"
#include <sys/ioctl.h>
#include <sys/socket.h>

static volatile int count, code, fd, band, last;
static void ready(int number, siginfo_t *info, void *context)
{
    (void)context;
    count++;
    last = number;
    code = info->si_code;
    fd = info->si_fd;
    band = (int)info->si_band;
}

static void report(const char *what, int file)
{
    printf("  %s: %d signals, last %d, code %d", what, count, last, code);
    if (code != SI_KERNEL)
        printf(" band %x, fd %s", band, fd == file ? "right" : "wrong");
    printf("\n");
    fflush(stdout);
    count = last = code = 0;
}

static void owners(void)
{
    int ends[2];
    pipe(ends);
    struct { int type, pid; } owner = {-1, -1};
    SHOW(fcntl(ends[0], F_GETOWN));
    SHOW(fcntl(ends[0], 16 /* F_GETOWN_EX */, &owner));
    NUMBER(owner.type);
    NUMBER(owner.pid);
    SHOW(fcntl(ends[0], F_SETOWN, getpid()));
    HOLDS(fcntl(ends[0], F_GETOWN) == getpid());
    SHOW(fcntl(ends[0], 16, &owner));
    NUMBER(owner.type);
    SHOW(fcntl(ends[0], F_SETOWN, 1 << 22));
    SHOW(fcntl(ends[0], F_SETOWN, INT_MIN));
    SHOW(fcntl(ends[0], F_SETOWN, -getpgrp()));
    HOLDS(syscall(SYS_fcntl, ends[0], F_GETOWN) == -getpgrp());
    SHOW(fcntl(ends[0], 16, &owner));
    NUMBER(owner.type);
    HOLDS(owner.pid == getpgrp());
    owner.type = 0;
    owner.pid = (int)syscall(SYS_gettid);
    SHOW(fcntl(ends[0], 15 /* F_SETOWN_EX */, &owner));
    owner.type = 7;
    SHOW(fcntl(ends[0], 15, &owner));
    owner.type = 1;
    owner.pid = 1 << 22;
    SHOW(fcntl(ends[0], 15, &owner));
    SHOW(fcntl(ends[0], 15, bad_address));
    SHOW(fcntl(ends[0], F_SETOWN, 0));
    SHOW(fcntl(ends[0], F_GETOWN));
    SHOW(fcntl(ends[0], 10 /* F_SETSIG */, 65));
    SHOW(fcntl(ends[0], 10, SIGUSR1));
    SHOW(fcntl(ends[0], 11));
    SHOW(fcntl(ends[0], 9999));
    SHOW(fcntl(99, F_GETOWN));
}

static void signals(void)
{
    struct sigaction action = {.sa_sigaction = ready, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGIO, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    int ends[2], pair[2];
    char byte;
    pipe(ends);
    SHOW(fcntl(ends[0], F_SETFL, O_ASYNC));
    write(ends[1], "x", 1);
    report("without an owner", ends[0]);
    fcntl(ends[0], F_SETOWN, getpid());
    write(ends[1], "x", 1);
    report("SIGIO", ends[0]);
    fcntl(ends[0], 10, SIGUSR1);
    write(ends[1], "x", 1);
    report("another signal", ends[0]);
    SHOW(fcntl(ends[0], F_GETFL) & O_ASYNC);
    SHOW(fcntl(ends[0], F_SETFL, 0));
    write(ends[1], "x", 1);
    report("switched off", ends[0]);
    int on = 1;
    SHOW(ioctl(ends[0], FIOASYNC, &on));
    write(ends[1], "x", 1);
    report("by ioctl", ends[0]);
    SHOW(ioctl(open("/dev/null", O_RDONLY), FIOASYNC, &on));
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    fcntl(pair[0], F_SETOWN, getpid());
    fcntl(pair[0], 10, SIGUSR1);
    fcntl(pair[0], F_SETFL, O_ASYNC | O_NONBLOCK);
    write(pair[1], "x", 1);
    report("socket", pair[0]);
    read(pair[0], &byte, 1);
    close(ends[1]);
    fcntl(ends[0], F_SETFL, 0);
}

static void allocations(void)
{
    enter_scratch();
    int file = open("f", O_CREAT | O_RDWR, 0644), ends[2];
    pipe(ends);
    SHOW(fallocate(file, 0, 0, 10000));
    struct stat info;
    fstat(file, &info);
    NUMBER(info.st_size);
    SHOW(fallocate(file, 1, 0, 20000));
    fstat(file, &info);
    NUMBER(info.st_size);
    SHOW(fallocate(file, 0, -1, 10));
    SHOW(fallocate(file, 0, 0, 0));
    SHOW(fallocate(file, 0, 0, -1));
    SHOW(fallocate(file, 2, 0, 10));
    SHOW(fallocate(file, 0x80, 0, 10));
    SHOW(fallocate(file, 3, 0, 4096));
    SHOW(fallocate(file, 0, INT64_MAX - 10, 100));
    SHOW(fallocate(ends[1], 0, 0, 10));
    SHOW(fallocate(open("f", O_RDONLY), 0, 0, 10));
    SHOW(fallocate(open(".", O_RDONLY), 0, 0, 10));
    SHOW(fallocate(99, 0, 0, 10));
    SHOW(fallocate(open("/dev/null", O_WRONLY), 0, 0, 10));
    SHOW(fallocate(socket(AF_UNIX, SOCK_STREAM, 0), 0, 0, 10));
}

static const struct test_case cases[] = {{"owners", owners}, {"signals", signals}, {"allocations", allocations}};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
