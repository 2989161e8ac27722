/* /proc/PID/fdinfo: what it says of each kind of descriptor. */
#include "show.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

/* The lines that begin with one of `names`. */
static void show_lines(int fd, const char *const *names)
{
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("  %s\n", errno_name(errno));
        return;
    }
    while (fgets(line, sizeof line, file))
        for (int i = 0; names[i]; i++)
            if (strncmp(line, names[i], strlen(names[i])) == 0)
                printf("  %s", line);
    fclose(file);
    fflush(stdout);
}
#define LINES(fd, ...) show_lines(fd, (const char *const[]){__VA_ARGS__, NULL})

static long value(int fd, const char *name)
{
    char path[64], line[512];
    long found = -1;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, name, strlen(name)) == 0)
            found = strtol(line + strlen(name), NULL, 10);
    if (file)
        fclose(file);
    return found;
}

static void files(void)
{
    enter_scratch();
    int fd = open("file", O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0600);
    struct stat info;
    fstat(fd, &info);
    write(fd, "12345", 5);
    LINES(fd, "pos:", "flags:");
    HOLDS(value(fd, "ino:") == (long)info.st_ino);
    HOLDS(value(fd, "mnt_id:") > 0);
    int place = open(".", O_PATH);
    LINES(place, "pos:", "flags:");
    HOLDS(value(place, "mnt_id:") == value(fd, "mnt_id:"));
    SHOW(open("/proc/self/fdinfo/99", O_RDONLY));
    SHOW(open("/proc/self/fdinfo/x", O_RDONLY));
    SHOW(open("/proc/self/fdinfo/03", O_RDONLY));
    HOLDS(open("/proc/self/fdinfo/0", O_WRONLY) == -1 || geteuid() == 0);
}

static void locks(void)
{
    enter_scratch();
    int fd = open("file", O_RDWR | O_CREAT, 0600);
    struct stat info;
    fstat(fd, &info);
    SHOW(flock(fd, LOCK_EX));
    struct flock own = {.l_type = F_WRLCK, .l_start = 10, .l_len = 5}, description = {.l_type = F_RDLCK, .l_start = 100};
    SHOW(fcntl(fd, F_SETLK, &own));
    SHOW(fcntl(fd, F_OFD_SETLK, &description));
    char path[64], line[512], kind[16], advice[16], mode[16], device[64], last[32];
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    int number, pid;
    long start;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "lock: %d: %15s %15s %15s %d %63s %ld %31s", &number, kind, advice, mode, &pid, device, &start, last) == 8)
            printf("  %d %s %s %s mine %d file %d from %ld to %s\n", number, kind, advice, mode, pid == getpid(), strtoul(strrchr(device, ':') + 1, NULL, 10) == info.st_ino, start, last);
    fclose(file);
}

static void counters(void)
{
    int fd = eventfd(0x1234, EFD_NONBLOCK | EFD_CLOEXEC);
    LINES(fd, "pos:", "flags:", "eventfd-count:");
    eventfd_write(fd, 1);
    LINES(fd, "eventfd-count:");
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, 40);
    fd = signalfd(-1, &set, 0);
    LINES(fd, "flags:", "sigmask:");
    sigaddset(&set, 64);
    signalfd(fd, &set, 0);
    LINES(fd, "sigmask:");
}

static void timers(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    LINES(fd, "flags:", "clockid:", "ticks:", "settime flags:", "it_value:", "it_interval:");
    struct itimerspec setting = {{3, 5}, {1000, 7}};
    timerfd_settime(fd, 0, &setting, NULL);
    LINES(fd, "it_interval:");
    HOLDS(value(fd, "it_value: (") == 999);
    setting.it_value.tv_sec = 0;
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &setting, NULL);
    sleep_ms(20);
    LINES(fd, "clockid:", "settime flags:", "it_interval:");
    HOLDS(value(fd, "ticks:") >= 1);
    LINES(timerfd_create(CLOCK_REALTIME, 0), "clockid:");
}

static void epolls(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC), counter = eventfd(0, 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0x55};
    epoll_ctl(fd, EPOLL_CTL_ADD, counter, &event);
    char path[64], line[256];
    int number;
    unsigned events;
    unsigned long long data;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "tfd: %d events: %x data: %llx", &number, &events, &data) == 3)
            printf("  watches counter: %d events %x data %llx pos %d\n", number == counter, events, data, strstr(line, " pos:0 ino:") != NULL);
    fclose(file);
    event.events = EPOLLIN | EPOLLONESHOT;
    epoll_ctl(fd, EPOLL_CTL_MOD, counter, &event);
    eventfd_write(counter, 1);
    SHOW(epoll_wait(fd, &event, 1, 0));
    file = fopen(path, "r");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "tfd: %d events: %x", &number, &events) == 2)
            printf("  after the shot: events %x\n", events);
    fclose(file);
}

static void watches(void)
{
    enter_scratch();
    mkdir("dir", 0755);
    struct stat info;
    stat("dir", &info);
    int fd = inotify_init1(0);
    SHOW(inotify_add_watch(fd, "dir", IN_CREATE | IN_DELETE));
    SHOW(inotify_add_watch(fd, ".", IN_OPEN));
    char path[64], line[512];
    int number;
    unsigned long ino;
    unsigned dev, mask;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "r");
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "inotify wd:%x ino:%lx sdev:%x mask:%x", (unsigned *)&number, &ino, &dev, &mask) == 4)
            printf("  wd %d is dir %d mask %x\n", number, ino == info.st_ino, mask);
    fclose(file);
}

static void processes(void)
{
    int own = syscall(SYS_pidfd_open, getpid(), 0);
    HOLDS(value(own, "Pid:") == getpid());
    HOLDS(value(own, "NSpid:") == getpid());
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    int fd = syscall(SYS_pidfd_open, child, 0);
    HOLDS(value(fd, "Pid:") == child);
    waitpid(child, NULL, 0);
    LINES(fd, "Pid:", "NSpid:");
}

static const struct test_case cases[] = {
    {"files", files}, {"locks", locks}, {"counters", counters}, {"timers", timers}, {"epolls", epolls}, {"watches", watches}, {"processes", processes},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
