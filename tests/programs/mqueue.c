/* POSIX message queues. */
#include "show.h"
#include <mqueue.h>
#include <poll.h>
#include <sys/resource.h>

#define NAME "/case-queue"

static void queues(void)
{
    struct mq_attr attr = {.mq_maxmsg = 3, .mq_msgsize = 16}, got;
    char text[64] = "";
    unsigned priority = 99;
    mq_unlink(NAME);
    SHOW(mq_open(NAME, O_RDWR));
    mqd_t queue = mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    HOLDS(queue >= 0);
    SHOW(mq_open(NAME, O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
    SHOW(fcntl(queue, F_GETFD));
    SHOW(mq_getattr(queue, &got));
    NUMBER(got.mq_maxmsg);
    NUMBER(got.mq_msgsize);
    NUMBER(got.mq_curmsgs);
    NUMBER(got.mq_flags);
    SHOW(mq_send(queue, "low", 4, 1));
    SHOW(mq_send(queue, "high", 5, 9));
    SHOW(mq_send(queue, "low again", 10, 1));
    SHOW(mq_send(queue, "0123456789abcdefg", 17, 1));
    SHOW(mq_send(queue, "x", 1, 32768));
    struct timespec past = {0, 0}, wrong = {0, 1000000000};
    SHOW(mq_timedsend(queue, "x", 1, 1, &past));
    SHOW(mq_timedsend(queue, "x", 1, 1, &wrong));
    got.mq_flags = O_NONBLOCK;
    SHOW(mq_setattr(queue, &got, NULL));
    SHOW(mq_send(queue, "x", 1, 1));
    SHOW(mq_receive(queue, text, 15, &priority));
    SHOW(mq_receive(queue, text, 16, &priority));
    TEXT(text);
    NUMBER(priority);
    SHOW(mq_receive(queue, text, 64, NULL));
    TEXT(text);
    SHOW(mq_receive(queue, text, 64, &priority));
    TEXT(text);
    SHOW(mq_receive(queue, text, 64, &priority));
    SHOW(mq_send(queue, "", 0, 0));
    SHOW(mq_receive(queue, text, 64, &priority));
    SHOW(mq_send(queue, bad_address, 5, 0));
    SHOW(mq_getattr(queue, &got));
    NUMBER(got.mq_flags);
    got.mq_flags = 1;
    SHOW(syscall(SYS_mq_getsetattr, queue, &got, NULL));
    struct pollfd ready = {queue, POLLIN | POLLOUT, 0};
    SHOW(poll(&ready, 1, 0));
    NUMBER(ready.revents);
    mq_send(queue, "x", 1, 1);
    SHOW(poll(&ready, 1, 0));
    NUMBER(ready.revents);
    mqd_t reader = mq_open(NAME, O_RDONLY | O_NONBLOCK), writer = mq_open(NAME, O_WRONLY);
    SHOW(mq_send(reader, "x", 1, 1));
    SHOW(mq_receive(writer, text, 64, NULL));
    SHOW(mq_send(0, "x", 1, 1));
    SHOW(mq_receive(-1, text, 64, NULL));
    struct stat info;
    SHOW(fstat(queue, &info));
    NUMBER(info.st_mode);
    NUMBER(info.st_size);
    SHOW(mq_unlink(NAME));
    SHOW(mq_unlink(NAME));
    SHOW(mq_receive(reader, text, 64, NULL));
    SHOW(mq_close(queue));
    SHOW(mq_close(queue));
}

static void names(void)
{
    struct mq_attr attr = {.mq_maxmsg = 0, .mq_msgsize = 16};
    static char longest[300];
    memset(longest, 'n', 257);
    longest[0] = '/';
    SHOW(mq_open(longest, O_RDWR | O_CREAT, 0600, NULL));
    SHOW(syscall(SYS_mq_open, "", O_RDWR | O_CREAT, 0600, NULL));
    SHOW(syscall(SYS_mq_open, "a/b", O_RDWR | O_CREAT, 0600, NULL));
    SHOW(syscall(SYS_mq_open, ".", O_RDWR | O_CREAT, 0600, NULL));
    SHOW(syscall(SYS_mq_open, bad_address, O_RDWR | O_CREAT, 0600, NULL));
    SHOW(syscall(SYS_mq_open, "case-attr", O_RDWR | O_CREAT, 0600, bad_address));
    SHOW(mq_open(NAME, O_RDWR | O_CREAT, 0600, &attr));
    attr.mq_maxmsg = 65537;
    SHOW(mq_open(NAME, O_RDWR | O_CREAT, 0600, &attr));
    attr.mq_maxmsg = -1;
    SHOW(mq_open(NAME, O_RDWR | O_CREAT, 0600, &attr));
    attr = (struct mq_attr){.mq_maxmsg = 10, .mq_msgsize = (16 << 20) + 1};
    SHOW(mq_open(NAME, O_RDWR | O_CREAT, 0600, &attr));
    SHOW(mq_unlink("/none"));
    IN_CHILD("a stranger", mq_open(NAME, O_RDWR | O_CREAT, 0600, NULL); setresgid(2000, 2000, 2000); setresuid(2000, 2000, 2000);
        SHOW(mq_open(NAME, O_RDONLY)); SHOW(syscall(SYS_mq_unlink, NAME + 1)); attr = (struct mq_attr){.mq_maxmsg = 11, .mq_msgsize = 10};
        SHOW(mq_open("/other", O_RDWR | O_CREAT, 0600, &attr)); attr = (struct mq_attr){.mq_maxmsg = 10, .mq_msgsize = 8193};
        SHOW(mq_open("/other", O_RDWR | O_CREAT, 0600, &attr)));
    mqd_t queue = mq_open(NAME, O_RDWR);
    mq_getattr(queue, &attr);
    NUMBER(attr.mq_maxmsg);
    NUMBER(attr.mq_msgsize);
    mq_unlink(NAME);
}

static volatile int signals;
static volatile int value;
static volatile int code;
static void notified(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    signals++;
    value = info->si_value.sival_int;
    code = info->si_code;
}

static void notification(void)
{
    mq_unlink(NAME);
    mqd_t queue = mq_open(NAME, O_RDWR | O_CREAT, 0600, NULL);
    struct sigaction action = {.sa_sigaction = notified, .sa_flags = SA_SIGINFO | SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 42};
    SHOW(mq_notify(queue, &event));
    SHOW(mq_notify(queue, &event));
    IN_CHILD("busy", SHOW(mq_notify(queue, &event)), mq_send(queue, "x", 1, 0));
    NUMBER(signals);
    NUMBER(value);
    NUMBER(code);
    SHOW(mq_notify(queue, &event));
    mq_send(queue, "y", 1, 0);
    NUMBER(signals);
    SHOW(mq_notify(queue, NULL));
    SHOW(mq_notify(queue, NULL));
    event.sigev_signo = 65;
    SHOW(mq_notify(queue, &event));
    event.sigev_notify = 77;
    SHOW(mq_notify(queue, &event));
    SHOW(mq_notify(0, NULL));
    event = (struct sigevent){.sigev_notify = SIGEV_NONE};
    IN_CHILD("dies with it", SHOW(mq_notify(queue, &event)));
    SHOW(mq_notify(queue, &event));
    mqd_t other = mq_open(NAME, O_RDONLY);
    close(other);
    SHOW(mq_notify(queue, &event));
    mq_unlink(NAME);
}

static void waiting(void)
{
    mq_unlink(NAME);
    struct mq_attr attr = {.mq_maxmsg = 1, .mq_msgsize = 8};
    mqd_t queue = mq_open(NAME, O_RDWR | O_CREAT, 0600, &attr);
    char text[8] = "";
    fflush(stdout);
    if (fork() == 0) {
        sleep_ms(30);
        for (int i = 0; i < 5; i++)
            mq_send(queue, (char[]){(char)('a' + i), 0}, 2, 0);
        _exit(0);
    }
    for (int i = 0; i < 5; i++) {
        SHOW(mq_receive(queue, text, 8, NULL));
        TEXT(text);
    }
    wait(NULL);
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 30000000;
    if (soon.tv_nsec >= 1000000000)
        soon.tv_nsec -= 1000000000, soon.tv_sec++;
    SHOW(mq_timedreceive(queue, text, 8, NULL, &soon));
    mq_unlink(NAME);
}

static void limits(void)
{
    /* Of a user who has no queues, and no power to go beyond limits. */
    setresuid(4321, 4321, 4321);
    struct rlimit limit = {30000, 30000};
    setrlimit(RLIMIT_MSGQUEUE, &limit);
    struct mq_attr attr = {.mq_maxmsg = 10, .mq_msgsize = 1024};
    mq_unlink("/case-one");
    mq_unlink("/case-two");
    mqd_t one = mq_open("/case-one", O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    HOLDS(one >= 0);
    mqd_t two = mq_open("/case-two", O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
    HOLDS(two >= 0);
    SHOW(mq_open("/case-three", O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
    SHOW(mq_open("/case-three", O_RDWR | O_CREAT | O_EXCL, 0600, NULL));
    mq_unlink("/case-one");
    /* It is there for as long as somebody has it open. */
    SHOW(mq_open("/case-three", O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
    mq_close(one);
    sleep_ms(50);
    WORKS(mq_open("/case-three", O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
    SHOW(mq_unlink("/case-two"));
    SHOW(mq_unlink("/case-three"));
    attr.mq_maxmsg = 11;
    SHOW(mq_open("/case-four", O_RDWR | O_CREAT | O_EXCL, 0600, &attr));
}

static const struct test_case cases[] = {
    {"queues", queues}, {"limits", limits}, {"names", names}, {"notification", notification}, {"waiting", waiting},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
