/* Frame of the test programs: each is a list of named cases that print what system calls returned.
 *
 * The output must be the same on Linux and in a sandbox, so cases never print pids, addresses or times. Every case runs
 * in a child of its own under an alarm; a crash or a hang is printed and ends that case only. `PROGRAM CASE` runs one
 * case without fork, `PROGRAM -l` lists them. */
#ifndef SHOW_H
#define SHOW_H

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CASE_SECONDS 60

/* An address that is never mapped, hidden from the compiler's warnings. */
static void *volatile bad_address = (void *)8;

struct test_case {
    const char *name;
    void (*run)(void);
};

static const char *errno_name(int number)
{
    static const struct { int number; const char *name; } names[] = {
#define E(x) {x, #x}
        E(EPERM), E(ENOENT), E(ESRCH), E(EINTR), E(EIO), E(ENXIO), E(E2BIG), E(ENOEXEC), E(EBADF), E(ECHILD), E(EAGAIN),
        E(ENOMEM), E(EACCES), E(EFAULT), E(ENOTBLK), E(EBUSY), E(EEXIST), E(EXDEV), E(ENODEV), E(ENOTDIR), E(EISDIR),
        E(EINVAL), E(ENFILE), E(EMFILE), E(ENOTTY), E(ETXTBSY), E(EFBIG), E(ENOSPC), E(ESPIPE), E(EROFS), E(EMLINK),
        E(EPIPE), E(EDOM), E(ERANGE), E(EDEADLK), E(ENAMETOOLONG), E(ENOLCK), E(ENOSYS), E(ENOTEMPTY), E(ELOOP),
        E(ENODATA), E(ETIME), E(EOVERFLOW), E(ENOTSOCK), E(EDESTADDRREQ), E(EMSGSIZE), E(EPROTOTYPE), E(ENOPROTOOPT),
        E(EPROTONOSUPPORT), E(ESOCKTNOSUPPORT), E(EOPNOTSUPP), E(EAFNOSUPPORT), E(EADDRINUSE), E(EADDRNOTAVAIL),
        E(ECONNRESET), E(ENOBUFS), E(EISCONN), E(ENOTCONN), E(ETIMEDOUT), E(ECONNREFUSED), E(EALREADY), E(EINPROGRESS),
        E(ENETUNREACH), E(EHOSTUNREACH), E(ECONNABORTED), E(EOWNERDEAD), E(EDQUOT), E(ENOKEY), E(EKEYEXPIRED), E(EKEYREVOKED), E(EKEYREJECTED), E(ENOTRECOVERABLE), E(ECANCELED),
#undef E
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == number)
            return names[i].name;
    return "E?";
}

/* Prints a call and its result, and returns the result. */
static long show_result(const char *call, long result)
{
    int error = errno;
    if (result == -1)
        printf("  %s = -1 %s\n", call, errno_name(error));
    else
        printf("  %s = %ld\n", call, result);
    fflush(stdout);
    errno = error;
    return result;
}
#define SHOW(call) (errno = 0, show_result(#call, (long)(call)))

/* Prints only whether the call worked, for results that differ from run to run. */
#define WORKS(call) (errno = 0, show_result("works: " #call, (long)(call) == -1 ? -1 : 1))

/* Prints whether something that must hold does. */
#define HOLDS(condition) (printf("  %s: %s\n", #condition, (condition) ? "yes" : "NO"), fflush(stdout))

/* Prints a number or a text under a name. */
#define NUMBER(value) (printf("  %s: %ld\n", #value, (long)(value)), fflush(stdout))
#define TEXT(value) (printf("  %s: \"%s\"\n", #value, (value)), fflush(stdout))

static void show_status(const char *who, int status)
{
    if (WIFEXITED(status))
        printf("  %s: exited %d\n", who, WEXITSTATUS(status));
    else if (WIFSIGNALED(status))
        printf("  %s: killed by signal %d\n", who, WTERMSIG(status));
    else if (WIFSTOPPED(status))
        printf("  %s: stopped by signal %d\n", who, WSTOPSIG(status));
    else if (WIFCONTINUED(status))
        printf("  %s: continued\n", who);
    else
        printf("  %s: odd status\n", who);
    fflush(stdout);
}

/* Runs `body` in a child and prints how it ended. */
#define IN_CHILD(who, ...) do { \
        fflush(stdout); \
        pid_t child_ = fork(); \
        if (child_ == 0) { __VA_ARGS__; fflush(stdout); _exit(0); } \
        int status_ = 0; \
        if (child_ < 0) printf("  fork: %s\n", errno_name(errno)); \
        else if (waitpid(child_, &status_, 0) != child_) printf("  waitpid: %s\n", errno_name(errno)); \
        else show_status(who, status_); \
    } while (0)

static inline void sleep_ms(long ms)
{
    struct timespec rest = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&rest, &rest) == -1 && errno == EINTR)
        ;
}

static inline long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* A fresh directory that becomes the working directory; the case's files go there. */
static inline void enter_scratch(void)
{
    char path[] = "/tmp/case.XXXXXX";
    if (!mkdtemp(path) || chdir(path) != 0)
        printf("  no scratch directory: %s\n", errno_name(errno));
}

static int run_cases(int argc, char **argv, const struct test_case *cases, int count)
{
    if (argc > 1 && strcmp(argv[1], "-l") == 0) {
        for (int i = 0; i < count; i++)
            puts(cases[i].name);
        return 0;
    }
    for (int i = 0; i < count; i++) {
        if (argc > 1) {
            if (strcmp(argv[1], cases[i].name) == 0)
                return cases[i].run(), fflush(stdout), 0;
            continue;
        }
        printf("%s\n", cases[i].name);
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            setpgid(0, 0);
            alarm(CASE_SECONDS);
            cases[i].run();
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        if (child < 0 || waitpid(child, &status, 0) != child)
            printf("  case could not run: %s\n", errno_name(errno));
        else if (status != 0)
            show_status("case", status);
        kill(-child, SIGKILL);
    }
    if (argc > 1) {
        fprintf(stderr, "no case %s\n", argv[1]);
        return 2;
    }
    return 0;
}
#define RUN_CASES(argc, argv, cases) run_cases(argc, argv, cases, (int)(sizeof(cases) / sizeof *(cases)))

#endif
