/* Signals: handlers, masks, queues, delivery points, restart, faults, stacks. */
#include "show.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/time.h>
#include <ucontext.h>

static volatile sig_atomic_t calls, last_number, last_code, last_value;
static volatile uintptr_t last_address;
static volatile pid_t last_sender;

static void note(int number, siginfo_t *info, void *context)
{
    (void)context;
    calls++;
    last_number = number;
    last_code = info->si_code;
    last_address = (uintptr_t)info->si_addr;
    last_sender = info->si_pid;
    last_value = info->si_value.sival_int;
}

static void handle(int number, int flags)
{
    struct sigaction action = {.sa_sigaction = note, .sa_flags = SA_SIGINFO | flags};
    sigemptyset(&action.sa_mask);
    if (sigaction(number, &action, NULL) != 0)
        printf("  sigaction %d: %s\n", number, errno_name(errno));
}

static sigset_t set_of(int number)
{
    sigset_t set;
    sigemptyset(&set);
    if (number)
        sigaddset(&set, number);
    return set;
}

static void handler_information(void)
{
    handle(SIGUSR1, 0);
    SHOW(kill(getpid(), SIGUSR1));
    NUMBER(calls);
    NUMBER(last_number);
    HOLDS(last_code == SI_USER && last_sender == getpid());
    SHOW(syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1));
    HOLDS(last_code == SI_TKILL);
    SHOW(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 77}));
    HOLDS(last_code == SI_QUEUE);
    NUMBER(last_value);
    SHOW(raise(SIGUSR1));
    NUMBER(calls);
}

static void action_errors(void)
{
    struct sigaction action = {.sa_handler = SIG_IGN};
    SHOW(sigaction(SIGKILL, &action, NULL));
    SHOW(sigaction(SIGSTOP, &action, NULL));
    SHOW(sigaction(0, &action, NULL));
    SHOW(sigaction(65, &action, NULL));
    SHOW(sigaction(SIGKILL, NULL, &action));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, bad_address, NULL, 8));
    SHOW(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4));
    SHOW(syscall(SYS_rt_sigprocmask, 9, &action, NULL, 8));
    SHOW(syscall(SYS_rt_sigprocmask, SIG_SETMASK, bad_address, NULL, 8));
    SHOW(syscall(SYS_tgkill, getpid(), getpid(), 0));
    SHOW(syscall(SYS_tgkill, getpid(), 1 << 22, SIGUSR1));
    SHOW(syscall(SYS_tgkill, -1, getpid(), SIGUSR1));
}

static void masks(void)
{
    handle(SIGUSR1, 0);
    handle(SIGUSR2, 0);
    sigset_t set = set_of(SIGUSR1), old, pending;
    SHOW(sigprocmask(SIG_BLOCK, &set, &old));
    HOLDS(!sigismember(&old, SIGUSR1));
    raise(SIGUSR1);
    raise(SIGUSR1);
    NUMBER(calls);
    SHOW(sigpending(&pending));
    HOLDS(sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGUSR2));
    SHOW(sigprocmask(SIG_UNBLOCK, &set, NULL));
    NUMBER(calls);
    set = set_of(SIGKILL);
    sigaddset(&set, SIGSTOP);
    SHOW(sigprocmask(SIG_BLOCK, &set, NULL));
    sigprocmask(SIG_BLOCK, NULL, &old);
    HOLDS(!sigismember(&old, SIGKILL) && !sigismember(&old, SIGSTOP));
    set = set_of(SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    raise(SIGUSR1);
    set = set_of(0);
    calls = 0;
    SHOW(sigsuspend(&set));
    NUMBER(calls);
    sigprocmask(SIG_BLOCK, NULL, &old);
    HOLDS(sigismember(&old, SIGUSR1));
    raise(SIGUSR1);
    IN_CHILD("child", sigpending(&pending); HOLDS(!sigismember(&pending, SIGUSR1));
             sigprocmask(SIG_BLOCK, NULL, &old); HOLDS(sigismember(&old, SIGUSR1)));
    signal(SIGUSR1, SIG_IGN);
    sigpending(&pending);
    HOLDS(!sigismember(&pending, SIGUSR1));
}

static int order[16], order_count;
static void note_order(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (order_count < 16)
        order[order_count++] = number >= SIGRTMIN ? (number - SIGRTMIN + 1) * 100 + info->si_value.sival_int : number;
}

static void realtime_order(void)
{
    struct sigaction action = {.sa_sigaction = note_order, .sa_flags = SA_SIGINFO};
    sigfillset(&action.sa_mask);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    for (int i = 0; i < 3; i++)
        sigaction(SIGRTMIN + i, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    for (int value = 1; value <= 2; value++)
        for (int i = 2; i >= 0; i--)
            sigqueue(getpid(), SIGRTMIN + i, (union sigval){.sival_int = value});
    raise(SIGUSR2);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    for (int i = 0; i < order_count; i++)
        printf("  delivered %d\n", order[i]);
}

static volatile int depth, deepest, nested;
static void nest(int number)
{
    if (++depth > deepest)
        deepest = depth;
    if (++nested < 3)
        raise(number);
    depth--;
}

static void handler_flags(void)
{
    struct sigaction action = {.sa_handler = nest};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    NUMBER(deepest);
    NUMBER(nested);
    deepest = nested = 0;
    action.sa_flags = SA_NODEFER;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    NUMBER(deepest);
    handle(SIGUSR2, SA_RESETHAND);
    raise(SIGUSR2);
    struct sigaction now;
    sigaction(SIGUSR2, NULL, &now);
    HOLDS(now.sa_handler == SIG_DFL);
    IN_CHILD("second time", raise(SIGUSR2));
}

static void *send_later(void *argument)
{
    sleep_ms(100);
    pthread_kill(*(pthread_t *)argument, SIGUSR1);
    sleep_ms(200);
    return NULL;
}

static void interrupted_calls(void)
{
    int ends[2];
    char byte;
    pipe(ends);
    pthread_t self = pthread_self(), sender;
    handle(SIGUSR1, 0);
    pthread_create(&sender, NULL, send_later, &self);
    SHOW(read(ends[0], &byte, 1));
    pthread_join(sender, NULL);
    pthread_create(&sender, NULL, send_later, &self);
    struct timespec rest = {5, 0}, left = {0, 0};
    SHOW(nanosleep(&rest, &left));
    HOLDS(left.tv_sec == 4);
    pthread_join(sender, NULL);
    pthread_create(&sender, NULL, send_later, &self);
    SHOW(pause());
    pthread_join(sender, NULL);
    pthread_create(&sender, NULL, send_later, &self);
    SHOW(wait(NULL) == -1 && errno == ECHILD);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    SHOW(waitpid(child, NULL, 0));
    pthread_join(sender, NULL);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    NUMBER(calls);
}

static int restart_end;
static void *send_then_write(void *argument)
{
    sleep_ms(100);
    pthread_kill(*(pthread_t *)argument, SIGUSR1);
    sleep_ms(100);
    write(restart_end, "x", 1);
    return NULL;
}

static void restarted_calls(void)
{
    int ends[2];
    char byte;
    pipe(ends);
    restart_end = ends[1];
    pthread_t self = pthread_self(), sender;
    handle(SIGUSR1, SA_RESTART);
    pthread_create(&sender, NULL, send_then_write, &self);
    SHOW(read(ends[0], &byte, 1));
    pthread_join(sender, NULL);
    NUMBER(calls);
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(300);
        _exit(5);
    }
    pthread_create(&sender, NULL, send_later, &self);
    int status;
    HOLDS(waitpid(child, &status, 0) == child);
    show_status("child", status);
    pthread_join(sender, NULL);
    NUMBER(calls);
    /* An ignored signal does not interrupt at all. */
    signal(SIGUSR1, SIG_IGN);
    pthread_create(&sender, NULL, send_later, &self);
    struct timespec rest = {0, 300000000};
    SHOW(nanosleep(&rest, NULL));
    pthread_join(sender, NULL);
}

static void stop_does_not_interrupt(void)
{
    int ends[2];
    pipe(ends);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        _exit(read(ends[0], &byte, 1) == 1 ? 8 : 9);
    }
    int status;
    sleep_ms(50);
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    kill(child, SIGCONT);
    sleep_ms(50);
    write(ends[1], "x", 1);
    waitpid(child, &status, 0);
    show_status("reader", status);
}

static sigjmp_buf back;
static volatile uintptr_t fault_address;
static volatile int fault_number, fault_code;
static void escape(int number, siginfo_t *info, void *context)
{
    (void)context;
    fault_number = number;
    fault_code = info->si_code;
    fault_address = (uintptr_t)info->si_addr;
    siglongjmp(back, 1);
}

#define FAULT(action) do { \
        if (sigsetjmp(back, 1) == 0) { action; printf("  %s: no fault\n", #action); } \
        else printf("  %s: signal %d code %d\n", #action, fault_number, fault_code); \
        fflush(stdout); \
    } while (0)

static void faults(void)
{
    struct sigaction action = {.sa_sigaction = escape, .sa_flags = SA_SIGINFO};
    int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        sigaction(numbers[i], &action, NULL);
    volatile char *none = bad_address;
    FAULT(*none = 1);
    HOLDS(fault_address == 8);
    FAULT((void)*none);
    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    FAULT(page[100] = 1);
    HOLDS(fault_address == (uintptr_t)page + 100);
    FAULT(((void (*)(void))page)());
    FAULT(*(volatile char *)0x800000000000 = 1);
    FAULT(*(volatile char *)0xffff800000000000 = 1);
    FAULT(__asm__ volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx" ::: "rax", "rcx", "rdx"));
    FAULT(__asm__ volatile("ud2"));
    FAULT(__asm__ volatile("int3"));
    FAULT(__asm__ volatile("hlt"));
    FAULT(__asm__ volatile("cli"));
    FAULT(__asm__ volatile("outb %al, $0x80"));
    FAULT(__asm__ volatile("mov %%cr3, %%rax" ::: "rax"));
    FAULT(__asm__ volatile("wrmsr" :: "a"(0), "d"(0), "c"(0xc0000080)));
    FAULT(__asm__ volatile("int $0x40"));
    FAULT(__asm__ volatile("lidt (%0)" :: "r"(page)));
    FAULT(__asm__ volatile("invlpg (%0)" :: "r"(page)));
    enter_scratch();
    int file = open("short", O_CREAT | O_RDWR, 0644);
    ftruncate(file, 4096);
    volatile char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    FAULT(map[0] = 1);
    FAULT((void)map[4096]);
    ftruncate(file, 0);
    FAULT((void)map[0]);
    HOLDS(fault_address == (uintptr_t)map);
}

static void fatal_faults(void)
{
    IN_CHILD("null", *(volatile char *)bad_address = 1);
    IN_CHILD("ud2", __asm__ volatile("ud2"));
    IN_CHILD("division", __asm__ volatile("xor %%ecx, %%ecx; xor %%edx, %%edx; div %%ecx" ::: "rax", "rcx", "rdx"));
    IN_CHILD("breakpoint", __asm__ volatile("int3"));
    IN_CHILD("blocked fault", {
        sigset_t set = set_of(SIGSEGV);
        handle(SIGSEGV, 0);
        sigprocmask(SIG_BLOCK, &set, NULL);
        *(volatile char *)bad_address = 1;
    });
    IN_CHILD("ignored fault", signal(SIGSEGV, SIG_IGN); *(volatile char *)bad_address = 1);
    IN_CHILD("no stack for a handler", {
        handle(SIGUSR1, 0);
        long self = getpid();
        __asm__ volatile("mov $16, %%rsp; syscall" :: "a"(SYS_kill), "D"(self), "S"(SIGUSR1) : "rcx", "r11", "memory");
    });
}

static char alternate[65536];
static volatile int on_alternate;
static void check_stack(int number)
{
    (void)number;
    char here;
    on_alternate = &here >= alternate && &here < alternate + sizeof alternate;
}

static int overflow(volatile char *above)
{
    volatile char frame[1024];
    frame[0] = above[0];
    return overflow(frame) + frame[0];
}

static void alternate_stack(void)
{
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate}, old;
    SHOW(sigaltstack(NULL, &old));
    HOLDS(old.ss_flags == SS_DISABLE);
    SHOW(sigaltstack(&stack, NULL));
    struct sigaction action = {.sa_handler = check_stack, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    NUMBER(on_alternate);
    action.sa_flags = 0;
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    NUMBER(on_alternate);
    stack.ss_size = 10;
    SHOW(syscall(SYS_sigaltstack, &stack, NULL));
    stack.ss_flags = 99;
    SHOW(syscall(SYS_sigaltstack, &stack, NULL));
    struct sigaction fault = {.sa_sigaction = escape, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGSEGV, &fault, NULL);
    volatile char top = 1;
    FAULT(overflow(&top));
    FAULT(overflow(&top));
    signal(SIGSEGV, SIG_DFL);
    IN_CHILD("stack overflow", overflow(&top));
}

static void registers_survive(void)
{
    /* The kernel must restore every register, the SSE and AVX state and the red zone around a handler. */
    handle(SIGALRM, SA_RESTART);
    struct itimerval often = {{0, 2000}, {0, 2000}};
    setitimer(ITIMER_REAL, &often, NULL);
    int wrong = 0;
    long long end = now_ns() + 300000000;
    while (now_ns() < end || calls <= 5) {
        long out[4];
        double real;
        __asm__ volatile(
            "mov $0x1111, %%rbx; mov $0x2222, %%r12; mov $0x3333, %%r13; mov $0x5555555, %%rcx; cvtsi2sd %%rcx, %%xmm9;"
            "movq $0x7777, -64(%%rsp); mov $20000, %%rcx; 1: dec %%rcx; jnz 1b;"
            "mov %%rbx, %0; mov %%r12, %1; mov %%r13, %2; mov -64(%%rsp), %3; movsd %%xmm9, %4"
            : "=&r"(out[0]), "=&r"(out[1]), "=&r"(out[2]), "=&r"(out[3]), "=m"(real)
            :: "rbx", "r12", "r13", "rcx", "xmm9", "memory");
        if (out[0] != 0x1111 || out[1] != 0x2222 || out[2] != 0x3333 || out[3] != 0x7777 || real != 0x5555555)
            wrong++;
    }
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
    HOLDS(calls > 5);
    NUMBER(wrong);
}

static void change_context(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)info;
    ucontext_t *user = context;
    user->uc_mcontext.gregs[REG_RIP] += 2; /* over the ud2 */
    user->uc_mcontext.gregs[REG_RAX] = 4321;
}

static void handler_changes_context(void)
{
    struct sigaction action = {.sa_sigaction = change_context, .sa_flags = SA_SIGINFO};
    sigaction(SIGILL, &action, NULL);
    long result;
    __asm__ volatile("mov $1, %%eax; ud2" : "=a"(result));
    NUMBER(result);
}

static void waiting_for_signals(void)
{
    sigset_t set = set_of(SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    siginfo_t info;
    struct timespec brief = {0, 20000000};
    SHOW(sigtimedwait(&set, &info, &brief));
    sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 9});
    SHOW(sigtimedwait(&set, &info, &brief));
    NUMBER(info.si_value.sival_int);
    raise(SIGUSR1);
    SHOW(sigwaitinfo(&set, &info));
    int number = 0;
    raise(SIGUSR2);
    SHOW(sigwait(&set, &number));
    NUMBER(number);
    struct timespec wrong = {0, 2000000000};
    SHOW(sigtimedwait(&set, &info, &wrong));
}

/* A signal that would end the process is sent while it is waited for, and once more after that. */
static void awaited_signals(void)
{
    sigset_t set = set_of(SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, NULL);
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (child == 0) {
            sleep_ms(30);
            if (i == 1) /* to the thread */
                syscall(SYS_tgkill, getppid(), getppid(), SIGUSR1);
            else
                kill(getppid(), SIGUSR1);
            _exit(0);
        }
        int number = 0;
        SHOW(sigwait(&set, &number));
        NUMBER(number);
        waitpid(child, NULL, 0);
        sigset_t pending;
        sigpending(&pending);
        NUMBER(sigismember(&pending, SIGUSR1));
    }
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), SIGUSR1);
    printf("not reached\n");
}

static void child_signal(void)
{
    handle(SIGCHLD, 0);
    pid_t child = fork();
    if (child == 0)
        _exit(21);
    while (!calls)
        sleep_ms(1);
    HOLDS(last_code == CLD_EXITED && last_sender == child);
    int status;
    waitpid(child, &status, 0);
    child = fork();
    if (child == 0)
        for (;;)
            pause();
    calls = 0;
    kill(child, SIGKILL);
    while (!calls)
        sleep_ms(1);
    HOLDS(last_code == CLD_KILLED);
    waitpid(child, &status, 0);
    /* Children of a parent that ignores SIGCHLD vanish by themselves. */
    signal(SIGCHLD, SIG_IGN);
    child = fork();
    if (child == 0)
        _exit(0);
    SHOW(waitpid(child, &status, 0));
}

static void broken_pipe(void)
{
    int ends[2];
    pipe(ends);
    close(ends[0]);
    IN_CHILD("writer", write(ends[1], "x", 1));
    signal(SIGPIPE, SIG_IGN);
    SHOW(write(ends[1], "x", 1));
    handle(SIGPIPE, 0);
    SHOW(write(ends[1], "x", 1));
    NUMBER(calls);
}

static void group_signals(void)
{
    fflush(stdout);
    int ready[2];
    pipe(ready);
    pid_t first = fork();
    if (first == 0) {
        setpgid(0, 0);
        fork();
        write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    char byte;
    read(ready[0], &byte, 1);
    read(ready[0], &byte, 1);
    SHOW(kill(-first, SIGTERM));
    int status;
    waitpid(first, &status, 0);
    show_status("leader", status);
    sleep_ms(50);
    SHOW(kill(-first, 0) == 0 || errno == ESRCH);
}

static void timers(void)
{
    handle(SIGALRM, 0);
    HOLDS(alarm(100) > 0); /* the frame's own */
    SHOW(alarm(0));
    struct itimerval once = {{0, 0}, {0, 30000}}, old;
    SHOW(setitimer(ITIMER_REAL, &once, NULL));
    while (!calls)
        pause();
    SHOW(getitimer(ITIMER_REAL, &old));
    HOLDS(old.it_value.tv_sec == 0 && old.it_value.tv_usec == 0);
    SHOW(setitimer(9, &once, NULL));
    calls = 0;
    handle(SIGVTALRM, 0);
    SHOW(setitimer(ITIMER_VIRTUAL, &once, NULL));
    long long end = now_ns() + 5000000000LL;
    while (!calls && now_ns() < end)
        ;
    NUMBER(last_number);
}

static const struct test_case cases[] = {
    {"handler_information", handler_information}, {"action_errors", action_errors}, {"masks", masks},
    {"realtime_order", realtime_order}, {"handler_flags", handler_flags}, {"interrupted_calls", interrupted_calls},
    {"restarted_calls", restarted_calls}, {"stop_does_not_interrupt", stop_does_not_interrupt}, {"faults", faults},
    {"fatal_faults", fatal_faults}, {"alternate_stack", alternate_stack}, {"registers_survive", registers_survive},
    {"handler_changes_context", handler_changes_context}, {"waiting_for_signals", waiting_for_signals},
    {"awaited_signals", awaited_signals},
    {"child_signal", child_signal}, {"broken_pipe", broken_pipe}, {"group_signals", group_signals}, {"timers", timers},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
