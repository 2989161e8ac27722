/* ptrace: who may, stops, registers, memory, events, group stops. */
#include "show.h"

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#ifndef PTRACE_SEIZE
#define PTRACE_SEIZE 0x4206
#define PTRACE_INTERRUPT 0x4207
#define PTRACE_LISTEN 0x4208
#endif
#define GET_SYSCALL_INFO 0x420e
#define O_SYSGOOD 1
#define O_FORK 2
#define O_VFORK 4
#define O_CLONE 8
#define O_TRACEEXEC 16
#define O_VFORKDONE 32
#define O_EXIT 64
#define O_EXITKILL (1 << 20)

static long trace(long request, pid_t pid, long address, long data) { return syscall(SYS_ptrace, request, pid, address, data); }

static void show_stop(const char *who, int status)
{
    if (WIFSTOPPED(status))
        printf("  %s: stop %d%s event %d\n", who, WSTOPSIG(status) & 0x7f, WSTOPSIG(status) & 0x80 ? " (call)" : "", status >> 16);
    else
        show_status(who, status);
    fflush(stdout);
}

/* Waits for the child and shows what happened; returns the status. */
static int await(const char *who, pid_t pid)
{
    int status = 0;
    pid_t got = waitpid(pid, &status, __WALL);
    if (got != pid && pid != -1)
        printf("  %s: waitpid %s\n", who, got < 0 ? errno_name(errno) : "another");
    else
        show_stop(who, status);
    return status;
}

#define CHILD(...) ({ fflush(stdout); pid_t pid_ = fork(); if (pid_ == 0) { __VA_ARGS__; fflush(stdout); _exit(0); } pid_; })

static void refusals(void)
{
    SHOW(trace(PTRACE_ATTACH, getpid(), 0, 0));
    SHOW(trace(PTRACE_ATTACH, 4000000, 0, 0));
    SHOW(trace(PTRACE_ATTACH, -1, 0, 0));
    SHOW(trace(9999, 4000000, 0, 0));
    pid_t child = CHILD(for (;;) pause());
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    SHOW(trace(PTRACE_PEEKDATA, child, 0, 0));
    SHOW(trace(PTRACE_KILL, child, 0, 0));
    SHOW(trace(PTRACE_SEIZE, child, 1, 0));
    SHOW(trace(PTRACE_SEIZE, child, 0, 1 << 15));
    SHOW(trace(PTRACE_SEIZE, child, 0, 0));
    SHOW(trace(PTRACE_SEIZE, child, 0, 0));
    SHOW(trace(PTRACE_ATTACH, child, 0, 0));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    SHOW(trace(PTRACE_DETACH, child, 0, 0));
    SHOW(trace(PTRACE_LISTEN, child, 0, 0));
    kill(child, SIGKILL);
    await("child", child);
    child = CHILD(SHOW(trace(PTRACE_TRACEME, 0, 0, 0)); SHOW(trace(PTRACE_TRACEME, 0, 0, 0)));
    await("child", child);
    child = CHILD(for (;;) pause());
    IN_CHILD("other user", syscall(SYS_setresuid, 1234, 1234, 1234); SHOW(trace(PTRACE_ATTACH, child, 0, 0)));
    kill(child, SIGKILL);
    await("child", child);
}

static void stops_by_signals(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); raise(SIGUSR1); raise(SIGUSR2); raise(SIGCHLD); raise(SIGTERM));
    siginfo_t info;
    await("first", child);
    SHOW(trace(9999, child, 0, 0));
    SHOW(trace(PTRACE_CONT, child, 0, 65));
    SHOW(trace(PTRACE_GETSIGINFO, child, 0, (long)&info));
    NUMBER(info.si_signo);
    NUMBER(info.si_code);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("swallows", child);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("next", child);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("ignored ones too", child);
    SHOW(trace(PTRACE_CONT, child, 0, SIGCHLD));
    await("last", child);
    SHOW(trace(PTRACE_CONT, child, 0, SIGUSR2));
    await("another", child);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGUSR1));
    siginfo_t waited = {0};
    SHOW(waitid(P_PID, child, &waited, WEXITED | WSTOPPED | WNOWAIT));
    NUMBER(waited.si_code);
    NUMBER(waited.si_status);
    SHOW(waitid(P_PID, child, &waited, WEXITED | WSTOPPED));
    SHOW(waitid(P_PID, child, &waited, WEXITED | WSTOPPED | WNOHANG));
    SHOW(trace(PTRACE_KILL, child, 0, 0));
    await("killed", child);
}

static void calls(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); syscall(SYS_getppid); syscall(SYS_close, -1); _exit(3));
    struct user_regs_struct regs;
    await("first", child);
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, 1 << 15));
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, O_SYSGOOD));
    /* To getppid: what the library does before is its own affair. */
    for (int i = 0; i < 50; i++) {
        trace(PTRACE_SYSCALL, child, 0, 0);
        int status;
        waitpid(child, &status, 0);
        trace(PTRACE_GETREGS, child, 0, (long)&regs);
        if (regs.orig_rax == SYS_getppid)
            break;
    }
    NUMBER(regs.orig_rax);
    NUMBER((long)regs.rax);
    NUMBER(trace(PTRACE_PEEKUSER, child, offsetof(struct user, regs.orig_rax), (long)&regs.orig_rax));
    char info[128];
    memset(info, 0, sizeof info);
    NUMBER(trace(GET_SYSCALL_INFO, child, sizeof info, (long)info));
    NUMBER(info[0]);
    HOLDS(*(uint32_t *)(info + 4) == 0xc000003e);
    NUMBER(*(uint64_t *)(info + 24));
    trace(PTRACE_SYSCALL, child, 0, 0);
    await("exit", child);
    NUMBER(trace(GET_SYSCALL_INFO, child, sizeof info, (long)info));
    NUMBER(info[0]);
    HOLDS(*(uint64_t *)(info + 24) == (uint64_t)getpid());
    trace(PTRACE_SYSCALL, child, 0, 0);
    await("entry of close", child);
    trace(PTRACE_GETREGS, child, 0, (long)&regs);
    NUMBER(regs.orig_rax);
    NUMBER((int)regs.rdi);
    regs.orig_rax = SYS_exit_group;
    regs.rdi = 42;
    SHOW(trace(PTRACE_SETREGS, child, 0, (long)&regs));
    SHOW(trace(PTRACE_SYSCALL, child, 0, 0));
    await("another call made", child);
}

static void call_skipped(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); long got = syscall(SYS_getppid); _exit((int)got));
    struct user_regs_struct regs = {0};
    await("first", child);
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, O_SYSGOOD));
    for (int i = 0; i < 50 && regs.orig_rax != SYS_getppid; i++) {
        trace(PTRACE_SYSCALL, child, 0, 0);
        int status;
        waitpid(child, &status, 0);
        trace(PTRACE_GETREGS, child, 0, (long)&regs);
    }
    regs.orig_rax = -1;
    regs.rax = 77;
    SHOW(trace(PTRACE_SETREGS, child, 0, (long)&regs));
    SHOW(trace(PTRACE_SYSCALL, child, 0, 0));
    await("exit", child);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("end", child);
}

static volatile long shared_word = 5;

static void memory(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); _exit(shared_word));
    long word = 0;
    await("first", child);
    SHOW(trace(PTRACE_PEEKDATA, child, (long)&shared_word, (long)&word));
    NUMBER(word);
    SHOW(trace(PTRACE_PEEKDATA, child, 8, (long)&word));
    SHOW(trace(PTRACE_PEEKTEXT, child, (long)&shared_word, (long)bad_address));
    SHOW(trace(PTRACE_POKEDATA, child, 8, 1));
    SHOW(trace(PTRACE_POKEDATA, child, (long)&shared_word, 9));
    SHOW(trace(PTRACE_PEEKTEXT, child, (long)memory, (long)&word));
    HOLDS(word == *(long *)memory);
    SHOW(trace(PTRACE_POKETEXT, child, (long)memory, 0x1234));
    SHOW(trace(PTRACE_PEEKTEXT, child, (long)memory, (long)&word));
    NUMBER(word);
    HOLDS(*(long *)memory != 0x1234);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("end", child);
    NUMBER(shared_word);
}

static void registers(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); for (;;) pause());
    struct user_regs_struct regs, again;
    await("first", child);
    SHOW(trace(PTRACE_GETREGS, child, 0, (long)&regs));
    struct iovec vector = {&again, sizeof again};
    SHOW(trace(PTRACE_GETREGSET, child, 1, (long)&vector));
    NUMBER(vector.iov_len);
    HOLDS(memcmp(&regs, &again, sizeof regs) == 0);
    vector.iov_len = 7;
    SHOW(trace(PTRACE_GETREGSET, child, 1, (long)&vector));
    vector.iov_len = 8;
    SHOW(trace(PTRACE_GETREGSET, child, 1, (long)&vector));
    NUMBER(vector.iov_len);
    vector.iov_len = sizeof again;
    SHOW(trace(PTRACE_GETREGSET, child, 12345, (long)&vector));
    HOLDS((regs.cs & 3) == 3 && regs.cs == 0x33 && regs.ss == 0x2b);
    regs.r12 = 0x1122334455667788;
    regs.eflags |= 1 << 9 | 1 << 12 | 1;
    SHOW(trace(PTRACE_SETREGS, child, 0, (long)&regs));
    SHOW(trace(PTRACE_GETREGS, child, 0, (long)&again));
    HOLDS(again.r12 == 0x1122334455667788);
    NUMBER(again.eflags & (1 << 12 | 1));
    regs.fs_base = 1ul << 63;
    SHOW(trace(PTRACE_SETREGS, child, 0, (long)&regs));
    SHOW(trace(PTRACE_SETREGS, child, 0, (long)bad_address));
    SHOW(trace(PTRACE_GETREGS, child, 0, (long)bad_address));
    SHOW(trace(PTRACE_PEEKUSER, child, 4, (long)&regs));
    SHOW(trace(PTRACE_PEEKUSER, child, 928, (long)&regs));
    SHOW(trace(PTRACE_PEEKUSER, child, -8, (long)&regs));
    SHOW(trace(PTRACE_POKEUSER, child, 8, 5));
    SHOW(trace(PTRACE_POKEUSER, child, 224, 5));
    SHOW(trace(PTRACE_POKEUSER, child, 17 * 8, 0));
    struct user_fpregs_struct fp;
    SHOW(trace(PTRACE_GETFPREGS, child, 0, (long)&fp));
    NUMBER(fp.cwd);
    NUMBER(fp.mxcsr);
    fp.xmm_space[0] = 0x12345678;
    SHOW(trace(PTRACE_SETFPREGS, child, 0, (long)&fp));
    memset(&fp, 0, sizeof fp);
    SHOW(trace(PTRACE_GETFPREGS, child, 0, (long)&fp));
    NUMBER(fp.xmm_space[0]);
    uint64_t mask = 0;
    SHOW(trace(0x420b, child, 8, (long)&(uint64_t){1 << (SIGUSR1 - 1)}));
    SHOW(trace(0x420a, child, 8, (long)&mask));
    NUMBER(mask);
    SHOW(trace(0x420a, child, 4, (long)&mask));
    kill(child, SIGKILL);
    await("killed", child);
}

__attribute__((noinline)) static int stepped(int a) { return a + 1; }

static void single_steps(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); _exit(stepped(6)));
    int status = 0, steps = 0, seen = 0;
    await("first", child);
    while (steps < 20000) {
        struct user_regs_struct regs;
        trace(PTRACE_SINGLESTEP, child, 0, 0);
        waitpid(child, &status, 0);
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
            break;
        trace(PTRACE_GETREGS, child, 0, (long)&regs);
        seen |= regs.rip == (unsigned long)stepped;
        steps++;
    }
    HOLDS(steps > 5);
    HOLDS(seen);
    show_stop("end", status);
}

static void breakpoint(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); _exit(stepped(6)));
    struct user_regs_struct regs;
    siginfo_t info;
    long word;
    await("first", child);
    trace(PTRACE_PEEKTEXT, child, (long)stepped, (long)&word);
    SHOW(trace(PTRACE_POKETEXT, child, (long)stepped, (word & ~0xffl) | 0xcc));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("breakpoint", child);
    SHOW(trace(PTRACE_GETSIGINFO, child, 0, (long)&info));
    NUMBER(info.si_code);
    trace(PTRACE_GETREGS, child, 0, (long)&regs);
    HOLDS(regs.rip == (unsigned long)stepped + 1);
    SHOW(trace(PTRACE_POKETEXT, child, (long)stepped, word));
    regs.rip--;
    SHOW(trace(PTRACE_SETREGS, child, 0, (long)&regs));
    SHOW(trace(PTRACE_SINGLESTEP, child, 0, 0));
    await("step", child);
    SHOW(trace(PTRACE_DETACH, child, 0, 0));
    await("end", child);
}

static void execs(void)
{
    char *list[] = {"x", "-l", NULL}, *none[] = {NULL};
    (void)none;
    pid_t child = CHILD(close(1); trace(PTRACE_TRACEME, 0, 0, 0); execv("/proc/self/exe", list); _exit(9));
    siginfo_t info;
    await("exec", child);
    SHOW(trace(PTRACE_GETSIGINFO, child, 0, (long)&info));
    NUMBER(info.si_code);
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, O_TRACEEXEC | O_EXIT));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("exit event", child);
    unsigned long message = 0;
    SHOW(trace(PTRACE_GETEVENTMSG, child, 0, (long)&message));
    NUMBER(message);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("end", child);
    child = CHILD(close(1); trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); execv("/proc/self/exe", list); _exit(9));
    await("first", child);
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, O_TRACEEXEC));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("exec event", child);
    SHOW(trace(PTRACE_GETEVENTMSG, child, 0, (long)&message));
    HOLDS(message == (unsigned long)child);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("end", child);
}

static void forks(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); pid_t grandchild = fork(); if (grandchild == 0) _exit(7);
        int status; waitpid(grandchild, &status, 0); _exit(WEXITSTATUS(status)));
    unsigned long message = 0;
    await("first", child);
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, O_FORK));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("fork event", child);
    SHOW(trace(PTRACE_GETEVENTMSG, child, 0, (long)&message));
    HOLDS(message > 0);
    pid_t grandchild = message;
    await("grandchild starts", grandchild);
    SHOW(trace(PTRACE_CONT, grandchild, 0, 0));
    await("grandchild ends", grandchild);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("hears of it", child);
    SHOW(trace(PTRACE_CONT, child, 0, SIGCHLD));
    await("end", child);
}

static void vforks(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); signal(SIGCHLD, SIG_DFL); pid_t grandchild = vfork();
        if (grandchild == 0) _exit(7); int status; waitpid(grandchild, &status, 0); _exit(WEXITSTATUS(status)));
    await("first", child);
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, O_VFORKDONE));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    int status = await("next", child);
    while (WIFSTOPPED(status)) {
        int signal = status >> 16 ? 0 : WSTOPSIG(status);
        trace(PTRACE_CONT, child, 0, signal);
        status = await("next", child);
    }
}

static void *thread_body(void *arg) { return arg; }

static void threads(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); pthread_t thread; pthread_create(&thread, NULL, thread_body, NULL);
        pthread_join(thread, NULL); sleep_ms(100); _exit(4));
    unsigned long message = 0;
    await("first", child);
    SHOW(trace(PTRACE_SETOPTIONS, child, 0, O_CLONE));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("clone event", child);
    SHOW(trace(PTRACE_GETEVENTMSG, child, 0, (long)&message));
    pid_t thread = message;
    await("thread starts", thread);
    SHOW(trace(PTRACE_CONT, thread, 0, 0));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("thread ends", thread);
    await("end", child);
}

static void attached(void)
{
    pid_t child = CHILD(for (;;) pause());
    sleep_ms(50);
    SHOW(trace(PTRACE_ATTACH, child, 0, 0));
    await("stops", child);
    SHOW(trace(PTRACE_DETACH, child, 0, 0));
    kill(child, SIGTERM);
    await("goes on alone", child);
    child = CHILD(for (;;) pause());
    SHOW(trace(PTRACE_SEIZE, child, 0, 0));
    SHOW(trace(PTRACE_INTERRUPT, child, 0, 0));
    await("interrupted", child);
    siginfo_t info;
    SHOW(trace(PTRACE_GETSIGINFO, child, 0, (long)&info));
    NUMBER(info.si_code);
    SHOW(trace(PTRACE_LISTEN, child, 0, 0));
    SHOW(trace(PTRACE_INTERRUPT, child, 0, 0));
    await("interrupted again", child);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    kill(child, SIGSTOP);
    await("signal", child);
    SHOW(trace(PTRACE_CONT, child, 0, SIGSTOP));
    await("group stop", child);
    SHOW(trace(PTRACE_GETSIGINFO, child, 0, (long)&info));
    NUMBER(info.si_signo);
    SHOW(trace(PTRACE_LISTEN, child, 0, 0));
    sleep_ms(20);
    kill(child, SIGCONT);
    await("continued", child);
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("signal", child);
    SHOW(trace(PTRACE_CONT, child, 0, SIGCONT));
    kill(child, SIGKILL);
    await("end", child);
}

static void group_stop(void)
{
    pid_t child = CHILD(trace(PTRACE_TRACEME, 0, 0, 0); raise(SIGSTOP); _exit(0));
    siginfo_t info;
    await("signal", child);
    SHOW(trace(PTRACE_CONT, child, 0, SIGSTOP));
    await("group stop", child);
    SHOW(trace(PTRACE_GETSIGINFO, child, 0, (long)&info));
    SHOW(trace(PTRACE_CONT, child, 0, 0));
    await("end", child);
}

static void end_of_tracer(void)
{
    int ends[2];
    char byte;
    pipe(ends);
    pid_t child = CHILD(for (;;) pause());
    IN_CHILD("tracer", SHOW(trace(PTRACE_SEIZE, child, 0, 0)));
    SHOW(kill(child, 0));
    IN_CHILD("tracer", SHOW(trace(PTRACE_SEIZE, child, 0, O_EXITKILL)));
    await("killed", child);
    (void)byte;
}

static void traced_by_another(void)
{
    int go[2], gone[2];
    char byte;
    pipe(go);
    pipe(gone);
    pid_t child = CHILD(read(go[0], &byte, 1); _exit(6));
    pid_t tracer = CHILD(trace(PTRACE_SEIZE, child, 0, 0); write(go[1], "x", 1); sleep_ms(100); write(gone[1], "x", 1); sleep_ms(300);
        await("tracer sees", child));
    read(gone[0], &byte, 1);
    int status;
    SHOW(waitpid(child, &status, WNOHANG));
    await("tracer", tracer);
    await("parent sees", child);
}

static const struct test_case cases[] = {
    {"refusals", refusals}, {"stops_by_signals", stops_by_signals}, {"calls", calls}, {"call_skipped", call_skipped},
    {"memory", memory}, {"registers", registers}, {"single_steps", single_steps}, {"breakpoint", breakpoint}, {"execs", execs},
    {"forks", forks}, {"vforks", vforks}, {"threads", threads}, {"attached", attached}, {"group_stop", group_stop},
    {"end_of_tracer", end_of_tracer}, {"traced_by_another", traced_by_another},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
