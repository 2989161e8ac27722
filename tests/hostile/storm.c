/* storm SEED SECONDS [KIND...]: does to the kernel what no sane program does, for a while.
 *
 * Kinds: calls (random system calls with random arguments), faults (bad pointers, undefined and privileged
 * instructions, broken stacks), overflow (endless recursion), bomb (forks until refused), threads (threads until
 * refused), files (random file operations by many at once), outrun (a group that forks without end is killed from beside). All of them in turn when none is named. The same seed does
 * the same things. Each round runs in children with a time limit; the last line is "storm: survived N rounds".
 *
 * It harms whatever it runs on, so it refuses to run unless uname names Chitin or STORM_ANYWHERE is set. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ROUND_SECONDS 4
/* For those that say by their status whether they went well. */
#define OUTRUN_SECONDS 30

static uint64_t state;

static uint64_t random_bits(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * 0x2545f4914f6cdd1dULL;
}

static uint64_t below(uint64_t limit) { return (random_bits() >> 11) % limit; }

static char *good, *edge, *readonly;

static void make_targets(void)
{
    good = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    edge = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(edge + 4096, 4096);
    readonly = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 1 << 17; i++)
        ((uint64_t *)good)[i] = below(4) ? below(64) : random_bits();
    strcpy(good + 512, "/tmp/storm");
    strcpy(good + 1024, "/proc/self/mem");
    strcpy(good + 1536, "..//./dev/null");
}

static uint64_t argument(void)
{
    static const uint64_t odd[] = {0, 1, 2, 3, 4, 8, 16, 64, 255, 256, 4095, 4096, 4097, 65536, 0x7fffffff, 0x80000000,
        0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000, 0x7ffffffff000, 0xffff800000000000, 0xffffffff80000000,
        0x7fffffffffffffff, 0x8000000000000000, (uint64_t)-1, (uint64_t)-2, (uint64_t)-4096, (uint64_t)-100};
    switch (below(9)) {
    case 0: return below(16);
    case 1: return odd[below(sizeof odd / sizeof *odd)];
    case 2: return random_bits();
    case 3: return (uint64_t)good + below(1 << 20);
    case 4: return (uint64_t)good + below(256) * 512;
    case 5: return (uint64_t)edge + 4096 - below(64);
    case 6: return (uint64_t)readonly + below(4096);
    case 7: return 1ULL << below(64);
    default: return below(1 << 16);
    }
}

static void calls(void)
{
    make_targets();
    for (int i = 0; i < 3000; i++) {
        uint64_t number = below(50) ? below(462) : random_bits();
        /* Those that would only end or block the round at once. */
        if (number == SYS_exit || number == SYS_exit_group || number == SYS_pause || number == SYS_rt_sigsuspend ||
            number == SYS_vfork || number == SYS_rt_sigreturn || number == SYS_fork || number == SYS_clone)
            if (below(200))
                continue;
        uint64_t a = argument(), b = argument(), c = argument(), d = argument(), e = argument(), f = argument();
        if (number == SYS_munmap || number == SYS_mremap || number == SYS_mprotect)
            if (below(20))
                a = (uint64_t)good + (a & 0xff000);
        syscall((long)number, a, b, c, d, e, f);
        alarm(ROUND_SECONDS);
    }
}

static void fault_once(int kind)
{
    switch (kind) {
    case 0: *(volatile char *)below(1 << 20) = 1; break;
    case 1: *(volatile char *)random_bits() = 1; break;
    case 2: (void)*(volatile char *)(0xffff800000000000 + below(1ULL << 46)); break;
    case 3: ((void (*)(void))random_bits())(); break;
    case 4: __asm__ volatile("ud2"); break;
    case 5: __asm__ volatile("hlt"); break;
    case 6: __asm__ volatile("cli"); break;
    case 7: __asm__ volatile("in $0x60, %%al" ::: "al"); break;
    case 8: __asm__ volatile("mov %%rax, %%cr0" ::: "memory"); break;
    case 9: __asm__ volatile("mov %%rax, %%cr3" ::: "memory"); break;
    case 10: __asm__ volatile("wrmsr" :: "a"(random_bits()), "d"(random_bits()), "c"(0xc0000080 + below(8))); break;
    case 11: __asm__ volatile("rdmsr" :: "c"(below(0x1000)) : "rax", "rdx"); break;
    case 12: __asm__ volatile("lgdt (%0)" :: "r"(good)); break;
    case 13: __asm__ volatile("ltr %%ax" :: "a"(0x40)); break;
    case 14: __asm__ volatile("mov %%ax, %%ds; mov %%ax, %%es" :: "a"(below(65536))); break;
    case 15: __asm__ volatile("mov %%ax, %%ss" :: "a"(below(65536))); break;
    case 16: __asm__ volatile("pushf; orq $0x100, (%%rsp); popf; nop; nop" ::: "memory", "cc"); break; /* single step */
    case 17: __asm__ volatile("pushf; orq $0x40000, (%%rsp); popf; mov %%rsp, %%rax; inc %%rax; movl (%%rax), %%eax"
                              ::: "rax", "memory", "cc"); break; /* alignment check */
    case 18: __asm__ volatile("pushf; orq $0x7000, (%%rsp); popf" ::: "memory", "cc"); break; /* I/O privilege, nested */
    case 19: __asm__ volatile("mov %0, %%rsp; push %%rax" :: "r"(random_bits()) : "memory"); break;
    case 20: __asm__ volatile("mov %0, %%rsp; syscall" :: "r"(random_bits()), "a"(39) : "rcx", "r11", "memory"); break;
    case 21: __asm__ volatile("int $0x80" :: "a"(below(400)), "b"(1) : "memory"); break;
    case 22: __asm__ volatile("int $0xd"); break;
    case 23: __asm__ volatile("sysenter" ::: "memory"); break;
    case 24: __asm__ volatile("wrfsbase %0; mov %%fs:0, %%rax" :: "r"(random_bits()) : "rax"); break;
    case 25: __asm__ volatile("wrgsbase %0; swapgs" :: "r"(random_bits())); break;
    case 26: __asm__ volatile("pushq %0; pushq %1; lretq" :: "r"(below(65536)), "r"(random_bits()) : "memory"); break;
    case 27: __asm__ volatile("push %0; push %1; pushf; push %2; push %3; iretq"
                              :: "r"(below(65536)), "r"(random_bits()), "r"(below(65536)), "r"(random_bits()) : "memory"); break;
    case 28: __asm__ volatile("vmcall"); break;
    case 29: __asm__ volatile("vmmcall"); break;
    case 30: __asm__ volatile("xsetbv" :: "a"(-1), "d"(-1), "c"(0)); break;
    case 31: __asm__ volatile("mwait" :: "a"(0), "c"(0)); break;
    case 32: __asm__ volatile("vmrun" :: "a"(good)); break;
    case 33: __asm__ volatile("xor %%ecx, %%ecx; div %%ecx" ::: "rax", "rcx", "rdx"); break;
    case 34: __asm__ volatile("fldcw (%0); fld1; fldz; fdivrp; fwait" :: "r"("\0\0\0\0")); break;
    case 35: __asm__ volatile("ldmxcsr (%0); divps %%xmm0, %%xmm1" :: "r"("\0\0\0\0\0\0\0\0") : "xmm0", "xmm1"); break;
    case 36: __asm__ volatile("ldmxcsr (%0)" :: "r"("\377\377\377\377")); break;
    case 37: __asm__ volatile("syscall" :: "a"(15), "D"(0) : "rcx", "r11", "memory"); break; /* rt_sigreturn from nowhere */
    case 38: __asm__ volatile(".byte 0xf1"); break;
    case 39: __asm__ volatile("clts"); break;
    }
}
#define FAULT_KINDS 40

static void fault_handler(int number) { (void)number; fault_once((int)below(FAULT_KINDS)); }

static void faults(void)
{
    make_targets();
    if (below(4) == 0) {
        /* Faults inside handlers, on a stack that may be bad itself. */
        stack_t stack = {.ss_sp = below(2) ? good : (char *)(random_bits() & ~15ULL), .ss_size = 65536};
        sigaltstack(&stack, NULL);
        struct sigaction action = {.sa_handler = fault_handler, .sa_flags = SA_ONSTACK | SA_NODEFER};
        for (int number = 1; number < 32; number++)
            sigaction(number, &action, NULL);
    }
    for (int i = 0; i < 100; i++) {
        alarm(1);
        fault_once((int)below(FAULT_KINDS));
    }
}

static int recurse(volatile char *above)
{
    volatile char frame[512];
    frame[0] = above[0];
    return recurse(frame) + frame[0];
}

static void overflow(void)
{
    volatile char top = 1;
    recurse(&top);
}

static void bomb(void)
{
    for (int i = 0; i < 3000; i++)
        if (fork() < 0 && below(4) == 0)
            break;
    sched_yield();
}

/* A group whose members fork as fast as they can is killed by one signal, and none of them gets away. */
static void outrun(void)
{
    alarm(OUTRUN_SECONDS);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t group = fork();
    if (group == 0) {
        setpgid(0, 0);
        for (;;)
            fork();
    }
    struct timespec rest = {0, 300000000};
    nanosleep(&rest, NULL);
    if (group < 0 || kill(-group, SIGKILL) != 0)
        _exit(1);
    int status, reaped = 0;
    while (waitpid(-group, &status, 0) > 0)
        reaped++;
    if (kill(-group, 0) == 0 || errno != ESRCH) {
        printf("storm: members of a killed group are left\n");
        fflush(stdout);
        _exit(1);
    }
    printf("storm: %d forks were killed\n", reaped);
    fflush(stdout);
}

static void *idle(void *argument)
{
    for (int i = 0; i < 100; i++)
        sched_yield();
    pause();
    return argument;
}

static void threads(void)
{
    pthread_attr_t kind;
    pthread_attr_init(&kind);
    pthread_attr_setstacksize(&kind, 16384);
    for (int i = 0; i < 5000; i++) {
        pthread_t one;
        if (pthread_create(&one, &kind, idle, NULL) != 0)
            break;
    }
    if (below(2))
        *(volatile char *)1 = 1;
}

static void files(void)
{
    mkdir("/tmp/storm", 0777);
    if (chdir("/tmp/storm") != 0)
        return;
    for (int i = 0; i < 3; i++)
        fork();
    state += (uint64_t)getpid();
    char one[32], two[32], bytes[5000] = {0};
    for (int i = 0; i < 600; i++) {
        snprintf(one, sizeof one, "%s%d", below(3) ? "" : "d/", (int)below(8));
        snprintf(two, sizeof two, "%s%d", below(3) ? "" : "d/", (int)below(8));
        int file;
        switch (below(10)) {
        case 0: rename(one, two); break;
        case 1: link(one, two); break;
        case 2: symlink(one, two); break;
        case 3: unlink(one); break;
        case 4: mkdir(below(2) ? "d" : one, 0777); break;
        case 5: rmdir(below(2) ? "d" : one); break;
        case 6: (void)!truncate(one, (off_t)below(100000)); break;
        default:
            file = open(one, O_RDWR | O_CREAT | (below(2) ? O_APPEND : 0), 0666);
            if (file < 0)
                break;
            (void)!pwrite(file, bytes, below(sizeof bytes), (off_t)below(100000));
            (void)!pread(file, bytes, below(sizeof bytes), (off_t)below(100000));
            char *map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
            if (below(2))
                (void)!ftruncate(file, 8192);
            if (map != MAP_FAILED) {
                map[below(8192)] = 1; /* SIGBUS when short: part of the game */
                munmap(map, 8192);
            }
            close(file);
        }
    }
}

static const struct { const char *name; void (*run)(void); } kinds[] = {
    {"calls", calls}, {"faults", faults}, {"overflow", overflow}, {"bomb", bomb}, {"threads", threads}, {"files", files}, {"outrun", outrun},
};
#define KINDS (sizeof kinds / sizeof *kinds)

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static int failures;

/* One round in a child group that is killed when its time is over; 0 when no child could be had. */
static int round_of(int kind, uint64_t seed)
{
    pid_t child = fork();
    if (child < 0)
        return 0;
    if (child == 0) {
        setpgid(0, 0);
        state = seed | 1;
        alarm(ROUND_SECONDS);
        kinds[kind].run();
        _exit(0);
    }
    setpgid(child, child);
    int tells = strcmp(kinds[kind].name, "outrun") == 0, status = 1;
    double end = now() + (tells ? OUTRUN_SECONDS : ROUND_SECONDS) + 1;
    while (waitpid(child, &status, WNOHANG) == 0 && now() < end)
        usleep(2000);
    if (tells && status != 0)
        failures++;
    kill(-child, SIGKILL);
    kill(child, SIGKILL);
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    return 1;
}

int main(int argc, char **argv)
{
    struct utsname name;
    uname(&name);
    if (!strstr(name.version, "Chitin") && !strstr(name.release, "chitin") && !getenv("STORM_ANYWHERE")) {
        fprintf(stderr, "storm: this is not a Chitin sandbox\n");
        return 2;
    }
    if (argc < 3) {
        fprintf(stderr, "usage: storm SEED SECONDS [KIND...]\n");
        return 2;
    }
    signal(SIGTERM, SIG_IGN);
    uint64_t seed = strtoull(argv[1], NULL, 0) * 0x9e3779b97f4a7c15ULL + 1;
    double end = now() + atof(argv[2]), report = now();
    long rounds = 0, refused = 0;
    for (uint64_t i = 0; now() < end; i++) {
        int kind = (int)(i % KINDS);
        if (argc > 3) {
            const char *wanted = argv[3 + i % (argc - 3)];
            for (kind = 0; kind < (int)KINDS && strcmp(kinds[kind].name, wanted) != 0; kind++)
                ;
            if (kind == (int)KINDS) {
                fprintf(stderr, "storm: no kind %s\n", wanted);
                return 2;
            }
        }
        if (now() >= report) {
            printf("storm: round %ld %s\n", rounds, kinds[kind].name);
            fflush(stdout);
            report = now() + 10;
        }
        if (round_of(kind, seed + i * 0x6c62272e07bb0142ULL))
            rounds++;
        else {
            refused++;
            usleep(10000);
        }
    }
    if (failures) {
        printf("storm: %d rounds failed\n", failures);
        return 1;
    }
    printf("storm: survived %ld rounds, %ld refused\n", rounds, refused);
    return 0;
}
