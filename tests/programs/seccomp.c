/* Filters of system calls, restartable sequences. */
#include "show.h"

#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <ucontext.h>

/* What linux/filter.h, linux/seccomp.h and linux/audit.h say; musl's compiler does not find them. */
struct sock_filter { uint16_t code; uint8_t jt, jf; uint32_t k; };
struct sock_fprog { unsigned short len; struct sock_filter *filter; };
struct seccomp_data { int nr; uint32_t arch; uint64_t instruction_pointer, args[6]; };
enum { BPF_LD = 0, BPF_LDX = 1, BPF_ST = 2, BPF_ALU = 4, BPF_JMP = 5, BPF_RET = 6, BPF_W = 0, BPF_H = 8, BPF_IMM = 0,
    BPF_ABS = 0x20, BPF_MEM = 0x60, BPF_DIV = 0x30, BPF_MOD = 0x90, BPF_LSH = 0x60, BPF_JA = 0, BPF_JEQ = 0x10, BPF_JGT = 0x20,
    BPF_K = 0, BPF_X = 8 };
#define BPF_STMT(code, k) {code, 0, 0, k}
#define BPF_JUMP(code, k, jt, jf) {code, jt, jf, k}
#define SECCOMP_RET_KILL_PROCESS 0x80000000u
#define SECCOMP_RET_KILL_THREAD 0u
#define SECCOMP_RET_TRAP 0x00030000u
#define SECCOMP_RET_ERRNO 0x00050000u
#define SECCOMP_RET_TRACE 0x7ff00000u
#define SECCOMP_RET_LOG 0x7ffc0000u
#define SECCOMP_RET_ALLOW 0x7fff0000u
enum { SECCOMP_SET_MODE_STRICT, SECCOMP_SET_MODE_FILTER, SECCOMP_GET_ACTION_AVAIL };
enum { SECCOMP_FILTER_FLAG_TSYNC = 1, SECCOMP_FILTER_FLAG_LOG = 2, SECCOMP_FILTER_FLAG_TSYNC_ESRCH = 16 };
#define SECCOMP_MODE_STRICT 1
#define AUDIT_ARCH_X86_64 0xc000003eu

static long seccomp(unsigned op, unsigned flags, void *arguments) { return syscall(SYS_seccomp, op, flags, arguments); }
static long filter(struct sock_filter *code, int len, unsigned flags)
{
    struct sock_fprog program = {len, code};
    return seccomp(SECCOMP_SET_MODE_FILTER, flags, &program);
}
#define FILTER(flags, ...) ({ struct sock_filter code_[] = {__VA_ARGS__}; filter(code_, sizeof code_ / sizeof *code_, flags); })
#define ON_CALL(call, action) \
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1), \
    BPF_STMT(BPF_RET | BPF_K, action), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define NO_NEW_PRIVS() prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)

static void validation(void)
{
    SHOW(seccomp(99, 0, NULL));
    SHOW(seccomp(SECCOMP_SET_MODE_STRICT, 1, NULL));
    SHOW(seccomp(SECCOMP_SET_MODE_STRICT, 0, bad_address));
    SHOW(seccomp(SECCOMP_SET_MODE_FILTER, 0, NULL));
    SHOW(seccomp(SECCOMP_SET_MODE_FILTER, 0, bad_address));
    SHOW(seccomp(SECCOMP_SET_MODE_FILTER, 1 << 10, NULL));
    SHOW(filter(NULL, 0, 0));
    SHOW(filter(NULL, 5000, 0));
    SHOW(filter(NULL, 4, 0));
    SHOW(filter(bad_address, 4, 0));
    SHOW(FILTER(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0)));
    SHOW(FILTER(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 64), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 3), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_LD | BPF_MEM, 2), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_ST, 16), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_RET | BPF_X, 0)));
    SHOW(FILTER(SECCOMP_FILTER_FLAG_LOG, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(prctl(PR_GET_SECCOMP));
    SHOW(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT));
    SHOW(seccomp(SECCOMP_SET_MODE_STRICT, 0, NULL));
    unsigned actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
        SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW, 0x12345678, 1};
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++)
        SHOW(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]));
    SHOW(seccomp(SECCOMP_GET_ACTION_AVAIL, 1, &actions[0]));
    SHOW(seccomp(SECCOMP_GET_ACTION_AVAIL, 0, bad_address));
}

static void unprivileged(void)
{
    SHOW(syscall(SYS_setresuid, 1234, 1234, 1234));
    SHOW(FILTER(0, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(FILTER(0, BPF_STMT(BPF_RET | BPF_X, 0)));
    SHOW(NO_NEW_PRIVS());
    SHOW(FILTER(0, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
}

static void errors(void)
{
    SHOW(NO_NEW_PRIVS());
    SHOW(FILTER(0, ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | ENOTTY)));
    SHOW(syscall(SYS_getppid));
    SHOW(FILTER(0, ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV)));
    SHOW(syscall(SYS_getppid));
    SHOW(FILTER(0, ON_CALL(SYS_sched_yield, SECCOMP_RET_ERRNO | 0)));
    SHOW(syscall(SYS_sched_yield));
    SHOW(FILTER(0, ON_CALL(SYS_getuid, SECCOMP_RET_ERRNO | 0xffff)));
    NUMBER(syscall(SYS_getuid));
    SHOW(FILTER(0, ON_CALL(SYS_getgid, SECCOMP_RET_TRACE | 3)));
    SHOW(syscall(SYS_getgid));
    SHOW(FILTER(0, ON_CALL(9999, SECCOMP_RET_ERRNO | EDOM)));
    SHOW(syscall(9999));
    SHOW(syscall(9998));
    SHOW(prctl(PR_GET_SECCOMP));
    IN_CHILD("inherits", SHOW(syscall(SYS_getppid)));
}

static void by_argument(void)
{
    SHOW(NO_NEW_PRIVS());
    SHOW(FILTER(0, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpriority, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 1000, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOLCK),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(syscall(SYS_getpriority, 0, 0));
    SHOW(syscall(SYS_getpriority, 0, 4000000));
}

static void on_trap(int number, siginfo_t *info, void *context)
{
    ucontext_t *at = context;
    printf("  signal %d code %d errno %d call %d arch ok %d rax is call %d\n", number, info->si_code, info->si_errno,
        info->si_syscall, info->si_arch == AUDIT_ARCH_X86_64, at->uc_mcontext.gregs[REG_RAX] == info->si_syscall);
    at->uc_mcontext.gregs[REG_RAX] = 77;
}

static void traps(void)
{
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &action, NULL);
    SHOW(NO_NEW_PRIVS());
    SHOW(FILTER(0, ON_CALL(SYS_getppid, SECCOMP_RET_TRAP | 9)));
    SHOW(syscall(SYS_getppid));
    IN_CHILD("without handler", signal(SIGSYS, SIG_DFL); syscall(SYS_getppid));
}

static void *calls(void *arg) { (void)arg; syscall(SYS_getppid); return NULL; }

static void kills(void)
{
    SHOW(NO_NEW_PRIVS());
    IN_CHILD("process", FILTER(0, ON_CALL(SYS_getppid, SECCOMP_RET_KILL_PROCESS)); syscall(SYS_getppid));
    IN_CHILD("only thread", FILTER(0, ON_CALL(SYS_getppid, SECCOMP_RET_KILL_THREAD)); syscall(SYS_getppid));
    IN_CHILD("unknown action", FILTER(0, ON_CALL(SYS_getppid, 0x00010000)); syscall(SYS_getppid));
    IN_CHILD("other thread", FILTER(0, ON_CALL(SYS_getppid, SECCOMP_RET_KILL_THREAD)); pthread_t thread;
        pthread_create(&thread, NULL, calls, NULL); sleep_ms(300); puts("  survived"));
    IN_CHILD("other thread kills process", FILTER(0, ON_CALL(SYS_getppid, SECCOMP_RET_KILL_PROCESS)); pthread_t thread;
        pthread_create(&thread, NULL, calls, NULL); sleep_ms(300); puts("  survived"));
    IN_CHILD("strict", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); syscall(SYS_exit, 5));
    IN_CHILD("strict breaks", prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); syscall(SYS_getpid));
    IN_CHILD("divides by zero", FILTER(0, BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_LDX | BPF_IMM, 0),
        BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)); syscall(SYS_getppid));
}

static int done_pipe[2], go_pipe[2];
static void *waits(void *arg)
{
    char byte;
    (void)arg;
    write(done_pipe[1], "x", 1);
    read(go_pipe[0], &byte, 1);
    SHOW(syscall(SYS_getppid) == -1 ? -1 : 0);
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    return NULL;
}

static void all_threads(void)
{
    char byte;
    pthread_t thread;
    pipe(done_pipe);
    pipe(go_pipe);
    pthread_create(&thread, NULL, waits, NULL);
    read(done_pipe[0], &byte, 1);
    SHOW(NO_NEW_PRIVS());
    SHOW(FILTER(SECCOMP_FILTER_FLAG_TSYNC, ON_CALL(SYS_getppid, SECCOMP_RET_ERRNO | EPIPE)));
    write(go_pipe[1], "x", 1);
    pthread_join(thread, NULL);
}

static void *own_filter(void *arg)
{
    char byte;
    (void)arg;
    FILTER(0, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
    write(done_pipe[1], "x", 1);
    read(go_pipe[0], &byte, 1);
    return NULL;
}

static void threads_apart(void)
{
    char byte;
    pthread_t thread;
    pipe(done_pipe);
    pipe(go_pipe);
    SHOW(NO_NEW_PRIVS());
    pthread_create(&thread, NULL, own_filter, NULL);
    read(done_pipe[0], &byte, 1);
    HOLDS(FILTER(SECCOMP_FILTER_FLAG_TSYNC, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)) > 1);
    SHOW(FILTER(SECCOMP_FILTER_FLAG_TSYNC | SECCOMP_FILTER_FLAG_TSYNC_ESRCH, BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)));
    SHOW(prctl(PR_GET_SECCOMP));
    write(go_pipe[1], "x", 1);
    pthread_join(thread, NULL);
}

static void many_filters(void)
{
    static struct sock_filter code[4096];
    for (int i = 0; i < 4096; i++)
        code[i] = (struct sock_filter) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    SHOW(NO_NEW_PRIVS());
    int count = 0;
    while (filter(code, 4096, 0) == 0)
        count++;
    NUMBER(count);
    SHOW(filter(code, 4096, 0));
}

struct sequence { uint32_t cpu_start, cpu; uint64_t cs; uint32_t flags, pad[3]; } __attribute__((aligned(32)));
static struct sequence mine, other;

/* A fresh thread made by hand has no structure registered, whatever the C library does. */
static void sequences(void)
{
    /* The child of vfork-like clone with CLONE_VM starts without a registration. */
    static char stack[65536];
    (void)stack;
    long first = syscall(SYS_rseq, &mine, 32, 0, 0x53053053);
    if (first == -1) {
        /* The C library was here first: only what can be told then. */
        printf("  registered by the library\n");
        return;
    }
    NUMBER(first);
    HOLDS(mine.cpu < 1024 && mine.cpu == mine.cpu_start);
    SHOW(syscall(SYS_rseq, &mine, 32, 0, 0x53053053));
    SHOW(syscall(SYS_rseq, &mine, 32, 0, 1));
    SHOW(syscall(SYS_rseq, &other, 32, 0, 0x53053053));
    SHOW(syscall(SYS_rseq, &mine, 31, 0, 0x53053053));
    SHOW(syscall(SYS_rseq, &mine, 32, 2, 0x53053053));
    SHOW(syscall(SYS_rseq, &mine, 32, 1, 1));
    SHOW(syscall(SYS_rseq, &other, 32, 1, 0x53053053));
    SHOW(syscall(SYS_rseq, &mine, 31, 1, 0x53053053));
    IN_CHILD("inherits", SHOW(syscall(SYS_rseq, &mine, 32, 0, 0x53053053)));
    SHOW(syscall(SYS_rseq, &mine, 32, 1, 0x53053053));
    NUMBER((int)mine.cpu);
    SHOW(syscall(SYS_rseq, &mine, 32, 1, 0x53053053));
    SHOW(syscall(SYS_rseq, (char *)&mine + 4, 32, 0, 0));
    SHOW(syscall(SYS_rseq, (void *)0xffffffffffffffe0, 32, 0, 0));
    SHOW(syscall(SYS_rseq, &mine, 32, 0, 0x53053053));
    mine.cs = 1;
    sleep_ms(20);
    printf("  going on\n");
    fflush(stdout);
    for (volatile int i = 0; i < 200000000; i++)
        ;
    printf("  not reached\n");
}

static void nothing(int number) { (void)number; }

/* Runs in a sequence until something interrupts it. */
static void aborted_sequence(void)
{
    if (syscall(SYS_rseq, &mine, 32, 0, 0x53053053) == -1) {
        printf("  registered by the library\n");
        return;
    }
    int aborted = 0;
    struct { uint32_t version, flags; uint64_t start, len, abort; } __attribute__((aligned(32))) cs = {0};
    signal(SIGUSR1, nothing);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child == 0) {
        /* A signal's delivery interrupts a sequence wherever it runs. */
        while (getppid() == parent) {
            sleep_ms(20);
            kill(parent, SIGUSR1);
        }
        _exit(0);
    }
    __asm__ volatile(
        "leaq 1f(%%rip), %%rax\n\tmovq %%rax, 8(%[cs])\n\t"
        "leaq 2f(%%rip), %%rcx\n\tsubq %%rax, %%rcx\n\tmovq %%rcx, 16(%[cs])\n\t"
        "leaq 4f(%%rip), %%rax\n\tmovq %%rax, 24(%[cs])\n\t"
        "movq %[cs], %[slot]\n"
        "1:\n\tjmp 1b\n\tnop\n"
        "2:\n\tjmp 5f\n\t.long 0x53053053\n"
        "4:\n\tmovl $1, %[aborted]\n"
        "5:\n"
        : [slot] "=m"(mine.cs), [aborted] "+m"(aborted)
        : [cs] "r"(&cs)
        : "rax", "rcx", "memory");
    NUMBER(aborted);
    HOLDS(mine.cs == 0);
    kill(child, SIGKILL);
}

static const struct test_case cases[] = {
    {"validation", validation}, {"unprivileged", unprivileged}, {"errors", errors}, {"by_argument", by_argument},
    {"traps", traps}, {"kills", kills}, {"all_threads", all_threads}, {"threads_apart", threads_apart},
    {"many_filters", many_filters}, {"sequences", sequences}, {"aborted_sequence", aborted_sequence},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
