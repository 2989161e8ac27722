/* Time: clocks, sleeping, timers, times of processes, and that all of them agree. */
#include "show.h"
#include <pthread.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/times.h>

static long long ns(struct timespec time) { return time.tv_sec * 1000000000LL + time.tv_nsec; }
static long long clock_ns(clockid_t clock)
{
    struct timespec now = {0, 0};
    clock_gettime(clock, &now);
    return ns(now);
}

static void clocks(void)
{
    clockid_t known[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID,
                         CLOCK_MONOTONIC_RAW, CLOCK_REALTIME_COARSE, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct timespec now, unit;
        SHOW(clock_gettime(known[i], &now));
        HOLDS(now.tv_nsec >= 0 && now.tv_nsec < 1000000000 && ns(now) > 0);
        SHOW(clock_getres(known[i], &unit));
        HOLDS(ns(unit) >= 1 && ns(unit) <= 10000000);
    }
    struct timespec now;
    SHOW(clock_gettime(99, &now));
    SHOW(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
    HOLDS(llabs(ns(now) - clock_ns(CLOCK_MONOTONIC)) < 1000000000);
    struct timeval day;
    SHOW(gettimeofday(&day, NULL));
    HOLDS(labs(day.tv_sec - time(NULL)) <= 1);
    HOLDS(labs(day.tv_sec - clock_ns(CLOCK_REALTIME) / 1000000000) <= 1);
    HOLDS(time(NULL) > 1700000000);
    HOLDS(llabs(clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_REALTIME_COARSE)) < 100000000);
    HOLDS(clock_ns(CLOCK_BOOTTIME) >= clock_ns(CLOCK_MONOTONIC) - 100000000);
}

static void *watch_backwards(void *argument)
{
    long long last = 0;
    long backwards = 0;
    for (int i = 0; i < 200000; i++) {
        long long now = clock_ns(CLOCK_MONOTONIC);
        backwards += now < last;
        last = now;
    }
    *(long *)argument = backwards;
    return NULL;
}

static volatile long long newest;
static void *watch_others(void *argument)
{
    long backwards = 0;
    for (int i = 0; i < 100000; i++) {
        long long seen = __atomic_load_n(&newest, __ATOMIC_SEQ_CST), now = clock_ns(CLOCK_MONOTONIC);
        backwards += now < seen;
        __atomic_store_n(&newest, now, __ATOMIC_SEQ_CST);
    }
    *(long *)argument = backwards;
    return NULL;
}

static void monotonic(void)
{
    pthread_t threads[4];
    long backwards[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, i < 2 ? watch_backwards : watch_others, &backwards[i]);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    NUMBER(backwards[0] + backwards[1]);
    NUMBER(backwards[2] + backwards[3]);
}

static void sleeping(void)
{
    long long lengths[] = {0, 1, 1000000, 20000000, 100000000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        struct timespec rest = {0, lengths[i]};
        long long start = now_ns();
        SHOW(nanosleep(&rest, NULL));
        long long slept = now_ns() - start;
        HOLDS(slept >= lengths[i]);
        HOLDS(slept < lengths[i] + 1000000000);
    }
    struct timespec wrong = {0, 1000000000}, negative = {-1, 0}, absolute;
    SHOW(nanosleep(&wrong, NULL));
    SHOW(nanosleep(&negative, NULL));
    SHOW(nanosleep(bad_address, NULL));
    clock_gettime(CLOCK_MONOTONIC, &absolute);
    SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &absolute, NULL));
    absolute.tv_nsec += 30000000;
    if (absolute.tv_nsec >= 1000000000) {
        absolute.tv_sec++;
        absolute.tv_nsec -= 1000000000;
    }
    SHOW(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &absolute, NULL));
    HOLDS(clock_ns(CLOCK_MONOTONIC) >= ns(absolute));
    HOLDS(clock_nanosleep(99, 0, &absolute, NULL) == EINVAL);
    HOLDS(clock_nanosleep(CLOCK_THREAD_CPUTIME_ID, 0, &absolute, NULL) == EINVAL);
}

static void many_sleepers(void)
{
    long long start = now_ns();
    for (int i = 0; i < 20; i++)
        if (fork() == 0) {
            sleep_ms(10 * (i % 5) + 50);
            _exit(i);
        }
    int status, sum = 0;
    while (wait(&status) > 0)
        sum += WEXITSTATUS(status);
    NUMBER(sum);
    HOLDS(now_ns() - start >= 90000000);
    HOLDS(now_ns() - start < 3000000000);
}

static volatile int fired, fired_value;
static void note(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    fired++;
    fired_value = info->si_value.sival_int;
}

static void posix_timers(void)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO};
    sigaction(SIGUSR1, &action, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 55};
    timer_t timer;
    SHOW(timer_create(CLOCK_MONOTONIC, &event, &timer));
    struct itimerspec once = {{0, 0}, {0, 20000000}}, often = {{0, 5000000}, {0, 5000000}}, now;
    SHOW(timer_settime(timer, 0, &once, NULL));
    SHOW(timer_gettime(timer, &now));
    HOLDS(now.it_value.tv_nsec > 0);
    while (!fired)
        sleep_ms(1);
    NUMBER(fired);
    NUMBER(fired_value);
    fired = 0;
    SHOW(timer_settime(timer, 0, &often, NULL));
    while (fired < 5)
        pause();
    HOLDS(fired >= 5);
    SHOW(timer_delete(timer));
    SHOW(timer_create(99, &event, &timer));
    once.it_value.tv_nsec = -1;
    timer_create(CLOCK_REALTIME, &event, &timer);
    SHOW(timer_settime(timer, 0, &once, NULL));
    SHOW(timer_getoverrun(timer));
}

static void cpu_times(void)
{
    long long process = clock_ns(CLOCK_PROCESS_CPUTIME_ID), thread = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    long long start = now_ns();
    while (now_ns() - start < 100000000)
        ;
    HOLDS(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process > 10000000);
    HOLDS(clock_ns(CLOCK_THREAD_CPUTIME_ID) - thread > 10000000);
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    HOLDS(before.ru_utime.tv_sec * 1000000 + before.ru_utime.tv_usec + before.ru_stime.tv_usec > 10000);
    process = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    sleep_ms(100);
    HOLDS(clock_ns(CLOCK_PROCESS_CPUTIME_ID) - process < 50000000);
    pid_t child = fork();
    if (child == 0) {
        start = now_ns();
        while (now_ns() - start < 100000000)
            ;
        _exit(0);
    }
    waitpid(child, NULL, 0);
    getrusage(RUSAGE_CHILDREN, &after);
    HOLDS(after.ru_utime.tv_usec + after.ru_stime.tv_usec + after.ru_utime.tv_sec * 1000000 > 10000);
    struct tms all;
    HOLDS(times(&all) > 0 && all.tms_cutime + all.tms_cstime > 0);
}

static void setting(void)
{
    struct timespec past = {0, -5};
    SHOW(syscall(SYS_clock_settime, CLOCK_MONOTONIC, &past));
    SHOW(syscall(SYS_clock_settime, CLOCK_REALTIME, &past));
}

static const struct test_case cases[] = {
    {"clocks", clocks}, {"monotonic", monotonic}, {"sleeping", sleeping}, {"many_sleepers", many_sleepers},
    {"posix_timers", posix_timers}, {"cpu_times", cpu_times}, {"setting", setting},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
