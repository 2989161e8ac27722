/* Pipes and waiting: pipes, FIFOs, poll, select, epoll, eventfd, timerfd, signalfd, pidfd, splice, terminals. */
#include "show.h"
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <termios.h>

static void pipes(void)
{
    int ends[2];
    char bytes[64] = "";
    SHOW(pipe(ends));
    SHOW(write(ends[1], "hello", 5));
    SHOW(write(ends[1], " again", 6));
    SHOW(read(ends[0], bytes, 3));
    SHOW(read(ends[0], bytes + 3, 60));
    TEXT(bytes);
    SHOW(read(ends[1], bytes, 1));
    SHOW(write(ends[0], bytes, 1));
    SHOW(lseek(ends[0], 0, SEEK_CUR));
    SHOW(pread(ends[0], bytes, 1, 0));
    int count = 0;
    write(ends[1], "1234", 4);
    SHOW(ioctl(ends[0], FIONREAD, &count));
    NUMBER(count);
    SHOW(close(ends[1]));
    SHOW(read(ends[0], bytes, 64));
    SHOW(read(ends[0], bytes, 64));
    SHOW(pipe2(ends, O_NONBLOCK | O_CLOEXEC));
    SHOW(fcntl(ends[0], F_GETFD));
    SHOW(read(ends[0], bytes, 1));
    SHOW(fcntl(ends[1], F_GETPIPE_SZ));
    static char block[65536];
    SHOW(write(ends[1], block, 65536));
    SHOW(write(ends[1], block, 1));
    SHOW(read(ends[0], block, 4095));
    SHOW(write(ends[1], block, 4096));
    SHOW(read(ends[0], block, 1));
    SHOW(write(ends[1], block, 4096));
    SHOW(write(ends[1], block, 5000));
    SHOW(pipe2(ends, 0x1));
    SHOW(read(ends[0], block, 0));
    struct stat info;
    fstat(ends[0], &info);
    HOLDS(S_ISFIFO(info.st_mode));
}

static void megabytes_through_a_pipe(void)
{
    int ends[2];
    pipe(ends);
    fflush(stdout);
    pid_t child = fork();
    static unsigned char block[10000];
    if (child == 0) {
        close(ends[0]);
        for (int i = 0; i < 400; i++) {
            for (int j = 0; j < 10000; j++)
                block[j] = (unsigned char)(i * 31 + j);
            if (write(ends[1], block, 10000) != 10000)
                _exit(1);
        }
        _exit(0);
    }
    close(ends[1]);
    long total = 0, wrong = 0;
    ssize_t got;
    while ((got = read(ends[0], block, 7777)) > 0)
        for (ssize_t j = 0; j < got; j++, total++)
            wrong += block[j] != (unsigned char)(total / 10000 * 31 + total % 10000);
    NUMBER(total);
    NUMBER(wrong);
    int status;
    waitpid(child, &status, 0);
    show_status("writer", status);
}

static void atomic_writes(void)
{
    /* Writes of at most PIPE_BUF bytes from several processes never mix. */
    int ends[2];
    pipe(ends);
    for (int i = 0; i < 4; i++)
        if (fork() == 0) {
            char line[1000];
            memset(line, 'a' + i, sizeof line);
            for (int j = 0; j < 100; j++)
                write(ends[1], line, sizeof line);
            _exit(0);
        }
    close(ends[1]);
    char line[1000];
    int lines = 0, mixed = 0, filled = 0;
    ssize_t got;
    while ((got = read(ends[0], line + filled, sizeof line - filled)) > 0) {
        filled += got;
        if (filled < (int)sizeof line)
            continue;
        filled = 0;
        lines++;
        for (int j = 1; j < (int)sizeof line; j++)
            if (line[j] != line[0]) {
                mixed++;
                break;
            }
    }
    NUMBER(lines);
    NUMBER(mixed);
    while (wait(NULL) > 0)
        ;
}

static void show_poll(const char *when, int fd, short wanted)
{
    struct pollfd one = {fd, wanted, 0};
    int result = poll(&one, 1, 0);
    printf("  %s: poll %d events %x\n", when, result, one.revents);
    fflush(stdout);
}

static void poll_events(void)
{
    int ends[2];
    char byte;
    pipe(ends);
    show_poll("empty reader", ends[0], POLLIN);
    show_poll("writer", ends[1], POLLOUT);
    write(ends[1], "x", 1);
    show_poll("full reader", ends[0], POLLIN | POLLRDNORM);
    close(ends[1]);
    show_poll("data and hang-up", ends[0], POLLIN);
    read(ends[0], &byte, 1);
    show_poll("hang-up", ends[0], POLLIN);
    show_poll("hang-up, nothing asked", ends[0], 0);
    pipe(ends);
    close(ends[0]);
    show_poll("no reader", ends[1], POLLOUT);
    show_poll("closed", 99, POLLIN);
    show_poll("negative", -1, POLLIN);
    show_poll("file", open("/etc/passwd", O_RDONLY), POLLIN | POLLOUT);
    show_poll("/dev/null", open("/dev/null", O_RDWR), POLLIN | POLLOUT);
    long long start = now_ns();
    SHOW(poll(NULL, 0, 50));
    HOLDS(now_ns() - start >= 50000000);
    pipe(ends);
    start = now_ns();
    struct pollfd two[2] = {{ends[0], POLLIN, 0}, {ends[0], POLLIN, 0}};
    SHOW(poll(two, 2, 50));
    HOLDS(now_ns() - start >= 50000000);
    if (fork() == 0) {
        sleep_ms(50);
        write(ends[1], "x", 1);
        _exit(0);
    }
    SHOW(poll(two, 2, 10000));
    NUMBER(two[0].revents + 100 * two[1].revents);
    SHOW(poll(bad_address, 1, 0));
    SHOW(syscall(SYS_poll, two, 1 << 30, 0));
    wait(NULL);
}

static volatile int alarms;
static void count_alarm(int number) { (void)number; alarms++; }

static void poll_and_signals(void)
{
    signal(SIGUSR1, count_alarm);
    sigset_t blocked, none;
    sigemptyset(&none);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    raise(SIGUSR1);
    struct timespec brief = {0, 30000000};
    SHOW(ppoll(NULL, 0, &brief, NULL));
    NUMBER(alarms);
    SHOW(ppoll(NULL, 0, &brief, &none));
    NUMBER(alarms);
    raise(SIGUSR1);
    SHOW(pselect(0, NULL, NULL, NULL, &brief, &none));
    NUMBER(alarms);
    raise(SIGUSR1);
    int epoll = epoll_create1(0);
    struct epoll_event event;
    SHOW(epoll_pwait(epoll, &event, 1, 1000, &none));
    NUMBER(alarms);
}

static void select_sets(void)
{
    int one[2], two[2];
    pipe(one);
    pipe(two);
    write(two[1], "x", 1);
    fd_set readable, writable;
    FD_ZERO(&readable);
    FD_ZERO(&writable);
    FD_SET(one[0], &readable);
    FD_SET(two[0], &readable);
    FD_SET(one[1], &writable);
    SHOW(select(two[1] + 1, &readable, &writable, NULL, NULL));
    HOLDS(!FD_ISSET(one[0], &readable) && FD_ISSET(two[0], &readable) && FD_ISSET(one[1], &writable));
    FD_ZERO(&readable);
    FD_SET(one[0], &readable);
    struct timeval brief = {0, 20000};
    SHOW(select(one[0] + 1, &readable, NULL, NULL, &brief));
    HOLDS(!FD_ISSET(one[0], &readable));
    FD_SET(99, &readable);
    SHOW(select(100, &readable, NULL, NULL, &brief));
    SHOW(select(-1, NULL, NULL, NULL, &brief));
}

static void epoll_modes(void)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC), ends[2];
    char byte;
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x123456789abcdef0}, got[4];
    pipe(ends);
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[1], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[1], NULL));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, 99, &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, epoll, &event));
    SHOW(epoll_ctl(epoll, 9, ends[0], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, open("/etc/passwd", O_RDONLY), &event));
    SHOW(epoll_ctl(ends[0], EPOLL_CTL_ADD, ends[1], &event));
    SHOW(epoll_wait(epoll, got, 4, 0));
    write(ends[1], "ab", 2);
    SHOW(epoll_wait(epoll, got, 4, 1000));
    HOLDS(got[0].events == EPOLLIN && got[0].data.u64 == 0x123456789abcdef0);
    SHOW(epoll_wait(epoll, got, 4, 0));
    event.events = EPOLLIN | EPOLLET;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    SHOW(epoll_wait(epoll, got, 4, 0));
    SHOW(epoll_wait(epoll, got, 4, 0));
    write(ends[1], "c", 1);
    SHOW(epoll_wait(epoll, got, 4, 0));
    read(ends[0], &byte, 1);
    SHOW(epoll_wait(epoll, got, 4, 0));
    event.events = EPOLLIN | EPOLLONESHOT;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    SHOW(epoll_wait(epoll, got, 4, 0));
    write(ends[1], "d", 1);
    SHOW(epoll_wait(epoll, got, 4, 0));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    SHOW(epoll_wait(epoll, got, 4, 0));
    event.events = 0;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    close(ends[1]);
    SHOW(epoll_wait(epoll, got, 4, 0));
    NUMBER(got[0].events);
    SHOW(close(ends[0]));
    SHOW(epoll_wait(epoll, got, 4, 0));
    SHOW(epoll_wait(epoll, got, 0, 0));
    SHOW(epoll_wait(0, got, 1, 0));
    SHOW(epoll_wait(epoll, got, 1, 30));
    int outer = epoll_create1(0), inner = epoll_create1(0);
    event.events = EPOLLIN;
    SHOW(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event));
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, outer, &event));
    pipe(ends);
    SHOW(epoll_ctl(inner, EPOLL_CTL_ADD, ends[0], &event));
    write(ends[1], "x", 1);
    SHOW(epoll_wait(outer, got, 4, 1000));
    show_poll("epoll itself", outer, POLLIN);
}

static void epoll_many(void)
{
    int epoll = epoll_create1(0), pipes_[50][2];
    for (int i = 0; i < 50; i++) {
        pipe(pipes_[i]);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, pipes_[i][0], &event);
    }
    if (fork() == 0) {
        for (int i = 0; i < 50; i++)
            write(pipes_[i * 7 % 50][1], "x", 1);
        _exit(0);
    }
    int seen = 0, sum = 0;
    while (seen < 50) {
        struct epoll_event got[8];
        int count = epoll_wait(epoll, got, 8, 5000);
        if (count <= 0)
            break;
        for (int i = 0; i < count; i++) {
            char byte;
            read(pipes_[got[i].data.u32][0], &byte, 1);
            sum += got[i].data.u32;
            seen++;
        }
    }
    NUMBER(seen);
    NUMBER(sum);
    wait(NULL);
}

static void eventfds(void)
{
    uint64_t value = 3;
    int counter = eventfd(2, EFD_NONBLOCK);
    SHOW(write(counter, &value, 8));
    SHOW(read(counter, &value, 8));
    NUMBER(value);
    SHOW(read(counter, &value, 8));
    show_poll("zero", counter, POLLIN | POLLOUT);
    value = -2;
    SHOW(write(counter, &value, 8));
    show_poll("full", counter, POLLIN | POLLOUT);
    value = 1;
    SHOW(write(counter, &value, 8));
    value = -1;
    SHOW(write(counter, &value, 8));
    SHOW(write(counter, &value, 4));
    SHOW(read(counter, &value, 4));
    int semaphore = eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK);
    SHOW(read(semaphore, &value, 8));
    NUMBER(value);
    SHOW(read(semaphore, &value, 8));
    SHOW(read(semaphore, &value, 8));
    int blocking = eventfd(0, 0);
    if (fork() == 0) {
        sleep_ms(30);
        value = 5;
        write(blocking, &value, 8);
        _exit(0);
    }
    SHOW(read(blocking, &value, 8));
    NUMBER(value);
    SHOW(eventfd(0, 12345));
    wait(NULL);
}

static void timerfds(void)
{
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    uint64_t fired = 0;
    struct itimerspec once = {{0, 0}, {0, 20000000}}, now;
    SHOW(read(timer, &fired, 8));
    SHOW(timerfd_settime(timer, 0, &once, NULL));
    SHOW(read(timer, &fired, 8));
    SHOW(timerfd_gettime(timer, &now));
    HOLDS(now.it_value.tv_nsec > 0 && now.it_value.tv_nsec <= 20000000);
    struct pollfd ready = {timer, POLLIN, 0};
    SHOW(poll(&ready, 1, 5000));
    SHOW(read(timer, &fired, 8));
    NUMBER(fired);
    struct itimerspec often = {{0, 10000000}, {0, 10000000}};
    SHOW(timerfd_settime(timer, 0, &often, NULL));
    sleep_ms(105);
    SHOW(read(timer, &fired, 8));
    HOLDS(fired >= 10);
    SHOW(timerfd_settime(timer, 0, &(struct itimerspec){0}, NULL));
    SHOW(read(timer, &fired, 8));
    once.it_value.tv_nsec = 2000000000;
    SHOW(timerfd_settime(timer, 0, &once, NULL));
    SHOW(timerfd_create(99, 0));
    SHOW(timerfd_settime(0, 0, &often, NULL));
    clock_gettime(CLOCK_MONOTONIC, &once.it_value);
    once.it_value.tv_nsec /= 2; /* In the past, also when the clock has just begun. */
    SHOW(timerfd_settime(timer, TFD_TIMER_ABSTIME, &once, NULL));
    SHOW(poll(&ready, 1, 1000));
    SHOW(read(timer, &fired, 8));
}

static void signalfds(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int fd = signalfd(-1, &set, SFD_NONBLOCK);
    struct signalfd_siginfo info;
    SHOW(read(fd, &info, sizeof info));
    sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 5});
    show_poll("pending", fd, POLLIN);
    SHOW(read(fd, &info, sizeof info));
    NUMBER(info.ssi_signo);
    NUMBER(info.ssi_int);
    HOLDS((pid_t)info.ssi_pid == getpid());
    SHOW(read(fd, &info, 10));
    SHOW(read(fd, &info, sizeof info));
}

static void pidfds(void)
{
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(50);
        _exit(4);
    }
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    HOLDS(fd >= 0);
    show_poll("alive", fd, POLLIN);
    SHOW(syscall(SYS_pidfd_send_signal, fd, 0, NULL, 0));
    struct pollfd ready = {fd, POLLIN, 0};
    SHOW(poll(&ready, 1, 5000));
    siginfo_t info;
    SHOW(waitid(3 /* P_PIDFD */, fd, &info, WEXITED));
    NUMBER(info.si_status);
    SHOW(syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0));
    SHOW(syscall(SYS_pidfd_open, 1 << 22, 0));
    SHOW(syscall(SYS_pidfd_open, -1, 0));
}

/* The directory of a process in proc stands for it too. */
static void pidfds_of_proc(void)
{
    char path[64];
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    snprintf(path, sizeof path, "/proc/%d", child);
    int dir = open(path, O_RDONLY | O_DIRECTORY), named = open(path, O_PATH), other = open("/proc", O_RDONLY);
    int own = open("/proc/self", O_RDONLY), thread = open("/proc/thread-self", O_RDONLY);
    SHOW(syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_send_signal, own, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_send_signal, named, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_send_signal, other, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_send_signal, thread, 0, NULL, 0));
    SHOW(syscall(SYS_pidfd_send_signal, dir, 65, NULL, 0));
    SHOW(syscall(SYS_pidfd_send_signal, dir, SIGKILL, NULL, 0));
    int status = 0;
    waitpid(child, &status, 0);
    HOLDS(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    SHOW(syscall(SYS_pidfd_send_signal, dir, 0, NULL, 0));
}

static void splicing(void)
{
    enter_scratch();
    int ends[2], second[2];
    char bytes[64] = "";
    pipe(ends);
    pipe(second);
    write(ends[1], "spliced data", 12);
    SHOW(tee(ends[0], second[1], 100, 0));
    SHOW(read(second[0], bytes, 64));
    TEXT(bytes);
    int file = open("f", O_CREAT | O_RDWR, 0644);
    SHOW(splice(ends[0], NULL, file, NULL, 100, 0));
    SHOW(pread(file, bytes, 64, 0));
    loff_t offset = 3;
    SHOW(splice(file, &offset, ends[1], NULL, 5, 0));
    memset(bytes, 0, sizeof bytes);
    SHOW(read(ends[0], bytes, 64));
    TEXT(bytes);
    SHOW(splice(file, NULL, file, NULL, 5, 0));
}

static void fifos(void)
{
    enter_scratch();
    char bytes[16] = "";
    mkfifo("f", 0600);
    if (fork() == 0) {
        int writer = open("f", O_WRONLY);
        write(writer, "over", 4);
        _exit(0);
    }
    int reader = open("f", O_RDONLY);
    SHOW(read(reader, bytes, 16));
    TEXT(bytes);
    SHOW(read(reader, bytes, 16));
    wait(NULL);
    int both = open("f", O_RDWR);
    SHOW(write(both, "x", 1));
    SHOW(read(reader, bytes, 16));
}

static void terminals(void)
{
    int master = open("/dev/ptmx", O_RDWR | O_NOCTTY), number = -1, zero = 0;
    HOLDS(master >= 0);
    SHOW(ioctl(master, TIOCSPTLCK, &zero));
    SHOW(ioctl(master, TIOCGPTN, &number));
    char name[32], bytes[64] = "";
    snprintf(name, sizeof name, "/dev/pts/%d", number);
    int slave = open(name, O_RDWR | O_NOCTTY);
    HOLDS(slave >= 0);
    SHOW(isatty(slave));
    SHOW(write(slave, "line\n", 5));
    sleep_ms(20); /* Linux may hand the output on in parts. */
    SHOW(read(master, bytes, 64));
    HOLDS(memcmp(bytes, "line\r\n", 6) == 0);
    SHOW(write(master, "ab\177c\n", 5));
    memset(bytes, 0, sizeof bytes);
    SHOW(read(slave, bytes, 64));
    TEXT(bytes);
    struct winsize size = {24, 80, 0, 0};
    SHOW(ioctl(master, TIOCSWINSZ, &size));
    size.ws_row = 0;
    SHOW(ioctl(slave, TIOCGWINSZ, &size));
    NUMBER(size.ws_row * 1000 + size.ws_col);
    struct termios mode;
    SHOW(tcgetattr(slave, &mode));
    HOLDS((mode.c_lflag & (ICANON | ECHO | ISIG)) == (ICANON | ECHO | ISIG));
    mode.c_lflag &= ~(ICANON | ECHO | ISIG);
    mode.c_cc[VMIN] = 1;
    SHOW(tcsetattr(slave, TCSANOW, &mode));
    SHOW(write(master, "x\3", 2));
    SHOW(read(slave, bytes, 64));
    mode.c_lflag |= ISIG;
    tcsetattr(slave, TCSANOW, &mode);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        setsid();
        ioctl(slave, TIOCSCTTY, 0);
        signal(SIGINT, SIG_DFL);
        write(slave, "r", 1);
        for (;;)
            pause();
    }
    while (read(master, bytes, 64) > 0 && !memchr(bytes, 'r', 64))
        ;
    SHOW(write(master, "\3", 1));
    int status;
    waitpid(child, &status, 0);
    show_status("foreground", status);
    close(slave);
    SHOW(read(master, bytes, 64) == -1 && errno == EIO);
}

static void epoll_as_many_as_asked(void)
{
    enum { FILES = 1500 };
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int epoll = epoll_create1(0), made = 0;
    for (; made < FILES; made++) {
        int file = eventfd(1, 0);
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)made};
        if (file < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) != 0)
            break;
    }
    NUMBER(made);
    static struct epoll_event got[FILES];
    SHOW(epoll_wait(epoll, got, FILES + 100, 0));
    static char seen[FILES];
    int distinct = 0;
    for (int i = 0; i < FILES; i++)
        if (got[i].data.u32 < FILES && !seen[got[i].data.u32]++)
            distinct++;
    NUMBER(distinct);
    SHOW(epoll_wait(epoll, got, 1200, 0));
    SHOW(epoll_wait(epoll, got, INT_MAX, 0));
    SHOW(epoll_wait(epoll, got, (int)(INT_MAX / sizeof *got), 0));
    SHOW(epoll_wait(epoll, got, (int)(INT_MAX / sizeof *got) + 1, 0));
    SHOW(epoll_wait(epoll, got, -1, 0));
    SHOW(epoll_wait(epoll, (void *)-4096, 1, 0));
    SHOW(epoll_wait(epoll, NULL, 1, 0));
    SHOW(epoll_wait(epoll, bad_address, 1, 0));
    /* Two events fit before the page that is not there. */
    char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(page + 4096, 4096);
    SHOW(epoll_wait(epoll, (void *)(page + 4096 - 30), 4, 0));
    SHOW(epoll_wait(epoll, (void *)(page + 4096 - 6), 4, 0));
    SHOW(epoll_wait(epoll, got, FILES, 0));
    /* One shot: an event that could not be told is not lost. */
    int once = epoll_create1(0), file = eventfd(1, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT};
    epoll_ctl(once, EPOLL_CTL_ADD, file, &event);
    SHOW(epoll_wait(once, (void *)(page + 4096), 4, 0));
    SHOW(epoll_wait(once, got, 4, 0));
    SHOW(epoll_wait(once, got, 4, 0));
    struct timespec rest = {0, 0}, wrong = {0, 1000000000};
    SHOW(syscall(441, epoll, got, 1300, &rest, NULL, 0));
    SHOW(syscall(441, once, got, 1300, &rest, NULL, 0));
    SHOW(syscall(441, epoll, got, 1, &wrong, NULL, 0));
    SHOW(syscall(441, epoll, got, 1, bad_address, NULL, 0));
}

static const struct test_case cases[] = {
    {"pipes", pipes}, {"megabytes_through_a_pipe", megabytes_through_a_pipe}, {"atomic_writes", atomic_writes},
    {"poll_events", poll_events}, {"poll_and_signals", poll_and_signals}, {"select_sets", select_sets},
    {"epoll_modes", epoll_modes}, {"epoll_many", epoll_many}, {"epoll_as_many_as_asked", epoll_as_many_as_asked}, {"eventfds", eventfds}, {"timerfds", timerfds},
    {"signalfds", signalfds}, {"pidfds", pidfds}, {"pidfds_of_proc", pidfds_of_proc}, {"splicing", splicing}, {"fifos", fifos}, {"terminals", terminals},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
