/* Scheduling policies, nice values, affinity, I/O priorities, resource limits, prctl, personality. */
#include "show.h"

#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/utsname.h>

#ifndef SCHED_BATCH
#define SCHED_BATCH 3
#define SCHED_IDLE 5
#endif
#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#define RESET_ON_FORK 0x40000000

struct kernel_attr {
    uint32_t size, policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
    uint32_t util_min, util_max;
};

static long setscheduler(int pid, int policy, int *priority) { return syscall(SYS_sched_setscheduler, pid, policy, priority); }
static long getscheduler(int pid) { return syscall(SYS_sched_getscheduler, pid); }
static long setparam(int pid, int *priority) { return syscall(SYS_sched_setparam, pid, priority); }
static long getparam(int pid, int *priority) { return syscall(SYS_sched_getparam, pid, priority); }
static long setattr(int pid, void *attr, int flags) { return syscall(SYS_sched_setattr, pid, attr, flags); }
static long getattr(int pid, void *attr, unsigned size, int flags) { return syscall(SYS_sched_getattr, pid, attr, size, flags); }
static long raw_getpriority(int which, int who) { return syscall(SYS_getpriority, which, who); }
static long ioprio_set(int which, int who, int value) { return syscall(SYS_ioprio_set, which, who, value); }
static long ioprio_get(int which, int who) { return syscall(SYS_ioprio_get, which, who); }

static void become_user(int uid)
{
    SHOW(syscall(SYS_setresgid, uid, uid, uid));
    SHOW(syscall(SYS_setresuid, uid, uid, uid));
}

static void policies(void)
{
    int none = 0, one = 1, ninety_nine = 99, hundred = 100, negative = -1, got = -1;
    SHOW(getscheduler(0));
    SHOW(getscheduler(-1));
    SHOW(getscheduler(4000000));
    SHOW(setscheduler(0, SCHED_OTHER, NULL));
    SHOW(setscheduler(-1, SCHED_OTHER, &none));
    SHOW(setscheduler(0, -1, &none));
    SHOW(setscheduler(0, 4, &none));
    SHOW(setscheduler(0, 77, &none));
    SHOW(setscheduler(4000000, 77, &none));
    SHOW(setscheduler(0, SCHED_OTHER, bad_address));
    SHOW(setscheduler(0, SCHED_OTHER, &one));
    SHOW(setscheduler(0, SCHED_FIFO, &none));
    SHOW(setscheduler(0, SCHED_FIFO, &hundred));
    SHOW(setscheduler(0, SCHED_FIFO, &negative));
    SHOW(setscheduler(0, SCHED_BATCH, &none));
    SHOW(getscheduler(0));
    SHOW(setscheduler(0, SCHED_IDLE, &none));
    SHOW(getscheduler(0));
    SHOW(setscheduler(0, SCHED_OTHER, &none));
    SHOW(setparam(0, &none));
    SHOW(setparam(0, &one));
    SHOW(setparam(0, NULL));
    SHOW(setparam(0, bad_address));
    SHOW(getparam(0, &got));
    NUMBER(got);
    SHOW(getparam(-1, &got));
    SHOW(getparam(0, NULL));
    SHOW(getparam(0, bad_address));
    SHOW(getparam(4000000, &got));
    SHOW(setscheduler(0, SCHED_OTHER | RESET_ON_FORK, &none));
    SHOW(getscheduler(0));
    (void)ninety_nine;
    for (int policy = -1; policy < 7; policy++) {
        NUMBER(policy);
        SHOW(syscall(SYS_sched_get_priority_max, policy));
        SHOW(syscall(SYS_sched_get_priority_min, policy));
    }
}

static void attributes(void)
{
    struct kernel_attr attr = {0};
    char room[128];
    SHOW(getattr(0, &attr, sizeof attr, 0));
    NUMBER(attr.size);
    NUMBER(attr.policy);
    NUMBER(attr.flags);
    SHOW(getattr(0, &attr, 48, 0));
    NUMBER(attr.size);
    SHOW(getattr(0, &attr, 47, 0));
    SHOW(getattr(0, room, 128, 0));
    SHOW(getattr(0, &attr, 5000, 0));
    SHOW(getattr(0, &attr, 48, 1));
    SHOW(getattr(-1, &attr, 48, 0));
    SHOW(getattr(0, NULL, 48, 0));
    SHOW(getattr(0, bad_address, 48, 0));
    SHOW(getattr(4000000, &attr, 48, 0));
    memset(&attr, 0, sizeof attr);
    SHOW(setattr(0, &attr, 1));
    SHOW(setattr(0, NULL, 0));
    SHOW(setattr(-1, &attr, 0));
    SHOW(setattr(4000000, &attr, 0));
    SHOW(setattr(0, bad_address, 0));
    SHOW(setattr(0, &attr, 0));
    attr.size = 47;
    SHOW(setattr(0, &attr, 0));
    NUMBER(attr.size);
    attr.size = 5000;
    SHOW(setattr(0, &attr, 0));
    memset(room, 1, sizeof room);
    memset(room, 0, 56);
    *(uint32_t *)room = 100;
    SHOW(setattr(0, room, 0));
    attr.size = 48;
    attr.policy = 9;
    SHOW(setattr(0, &attr, 0));
    attr.policy = -1;
    SHOW(setattr(0, &attr, 0));
    attr.policy = SCHED_OTHER;
    attr.flags = 0x100;
    SHOW(setattr(0, &attr, 0));
    attr.flags = 0;
    attr.priority = 1;
    SHOW(setattr(0, &attr, 0));
    attr.priority = 0;
    attr.nice = 7;
    SHOW(setattr(0, &attr, 0));
    SHOW(raw_getpriority(PRIO_PROCESS, 0));
    attr.nice = 100;
    attr.flags = 1;
    SHOW(setattr(0, &attr, 0));
    SHOW(raw_getpriority(PRIO_PROCESS, 0));
    SHOW(getattr(0, &attr, sizeof attr, 0));
    NUMBER(attr.nice);
    NUMBER(attr.flags);
    attr.policy = SCHED_DEADLINE;
    attr.size = 48;
    attr.flags = 0;
    attr.nice = 0;
    attr.runtime = 10;
    SHOW(setattr(0, &attr, 0));
    attr.runtime = 10000000;
    attr.deadline = 5000000;
    SHOW(setattr(0, &attr, 0));
}

static void nice_values(void)
{
    SHOW(raw_getpriority(-1, 0));
    SHOW(raw_getpriority(3, -1));
    SHOW(raw_getpriority(PRIO_PROCESS, -1));
    SHOW(raw_getpriority(PRIO_PGRP, 4000000));
    SHOW(raw_getpriority(PRIO_USER, -1));
    SHOW(setpriority(5, 0, 0));
    SHOW(setpriority(PRIO_PROCESS, 4000000, 0));
    SHOW(setpriority(PRIO_PROCESS, 0, 5));
    SHOW(raw_getpriority(PRIO_PROCESS, 0));
    SHOW(setpriority(PRIO_PROCESS, 0, 50));
    SHOW(raw_getpriority(PRIO_PROCESS, 0));
    IN_CHILD("inherits", SHOW(raw_getpriority(PRIO_PROCESS, 0)));
    become_user(1234);
    SHOW(setpriority(PRIO_PROCESS, 0, 18));
    SHOW(setpriority(PRIO_PROCESS, getppid(), 1));
    SHOW(setpriority(PRIO_PROCESS, 0, 19));
    int none = 0, one = 1;
    SHOW(setscheduler(0, SCHED_FIFO, &one));
    SHOW(setscheduler(0, SCHED_BATCH, &none));
    SHOW(setscheduler(0, SCHED_IDLE, &none));
    SHOW(setscheduler(0, SCHED_OTHER, &none));
    SHOW(setscheduler(0, SCHED_IDLE | RESET_ON_FORK, &none));
    SHOW(setscheduler(0, SCHED_IDLE, &none));
    SHOW(getscheduler(0));
    SHOW(setscheduler(getppid(), SCHED_OTHER, &none));
}

static void affinity(void)
{
    unsigned long mask[128] = {0}, all[128] = {0};
    int size = syscall(SYS_sched_getaffinity, 0, sizeof all, all);
    HOLDS(size > 0 && size % 8 == 0);
    HOLDS(all[0] & 1);
    SHOW(syscall(SYS_sched_getaffinity, 0, 7, mask));
    SHOW(syscall(SYS_sched_getaffinity, 0, 0, mask));
    SHOW(syscall(SYS_sched_getaffinity, 0, 9, mask));
    SHOW(syscall(SYS_sched_getaffinity, -1, sizeof mask, mask));
    SHOW(syscall(SYS_sched_getaffinity, 4000000, sizeof mask, mask));
    SHOW(syscall(SYS_sched_getaffinity, 0, sizeof mask, bad_address));
    mask[0] = 1;
    SHOW(syscall(SYS_sched_setaffinity, 0, sizeof mask, mask));
    unsigned long now = 0;
    WORKS(syscall(SYS_sched_getaffinity, 0, 8, &now));
    NUMBER(now);
    IN_CHILD("inherits", unsigned long own = 0; WORKS(syscall(SYS_sched_getaffinity, 0, 8, &own)); NUMBER(own));
    mask[0] = 0;
    SHOW(syscall(SYS_sched_setaffinity, 0, sizeof mask, mask));
    SHOW(syscall(SYS_sched_setaffinity, 0, 0, mask));
    mask[0] = ~0ul;
    SHOW(syscall(SYS_sched_setaffinity, -1, sizeof mask, mask));
    SHOW(syscall(SYS_sched_setaffinity, 4000000, sizeof mask, mask));
    SHOW(syscall(SYS_sched_setaffinity, 4000000, sizeof mask, bad_address));
    SHOW(syscall(SYS_sched_setaffinity, 0, sizeof mask, mask));
    now = 0;
    WORKS(syscall(SYS_sched_getaffinity, 0, 8, &now));
    HOLDS(now == all[0]);
    become_user(1234);
    SHOW(syscall(SYS_sched_setaffinity, getppid(), sizeof mask, mask));
}

static void io_priority(void)
{
    int best = 2 << 13, idle = 3 << 13;
    SHOW(ioprio_get(1, 0));
    SHOW(ioprio_get(0, 0));
    SHOW(ioprio_get(4, 0));
    SHOW(ioprio_get(1, 4000000));
    SHOW(ioprio_set(1, 0, best | 3));
    SHOW(ioprio_get(1, 0));
    SHOW(ioprio_get(2, 0));
    SHOW(ioprio_set(1, 0, 1));
    SHOW(ioprio_set(1, 0, idle));
    SHOW(ioprio_get(1, 0));
    SHOW(ioprio_set(1, 0, 5 << 13));
    SHOW(ioprio_set(0, 0, best));
    SHOW(ioprio_set(9, 0, best));
    SHOW(ioprio_set(9, 0, 9 << 13 | 1));
    SHOW(ioprio_set(1, 4000000, best));
    SHOW(ioprio_set(2, 4000000, best));
    SHOW(ioprio_set(1, 0, 0));
    SHOW(ioprio_get(1, 0));
    become_user(1234);
    SHOW(ioprio_set(1, 0, 1 << 13 | 2));
    SHOW(ioprio_set(1, getppid(), best));
}

static volatile int signals;
static void count(int number) { (void)number; signals++; }

static void cpu_limit(void)
{
    struct rlimit limit = {1, 3};
    SHOW(setrlimit(RLIMIT_CPU, &limit));
    IN_CHILD("soft limit", for (;;) ;);
    IN_CHILD("hard limit", signal(SIGXCPU, count); for (;;) ;);
    limit.rlim_cur = 0;
    SHOW(setrlimit(RLIMIT_CPU, &limit));
    SHOW(getrlimit(RLIMIT_CPU, &limit));
    NUMBER(limit.rlim_cur);
}

static void process_limit(void)
{
    struct rlimit limit = {1, 1};
    become_user(54321);
    SHOW(setrlimit(RLIMIT_NPROC, &limit));
    SHOW(fork());
    SHOW(syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, NULL, NULL, NULL, 0));
    limit.rlim_cur = 0;
    SHOW(setrlimit(RLIMIT_NPROC, &limit));
    SHOW(execl("/proc/self/exe", "x", "-l", NULL) == 0 ? 0 : -1);
}

static void process_limit_and_exec(void)
{
    struct rlimit limit = {0, 0};
    SHOW(setrlimit(RLIMIT_NPROC, &limit));
    SHOW(syscall(SYS_setresgid, 54322, 54322, 54322));
    SHOW(syscall(SYS_setresuid, 54322, 54322, 54322));
    char *list[] = {"x", "-l", NULL};
    SHOW(execve("/proc/self/exe", list, list));
}

static void personalities(void)
{
    struct utsname names;
    NUMBER(personality(0xffffffff));
    NUMBER(personality(PER_LINUX32));
    uname(&names);
    TEXT(names.machine);
    IN_CHILD("inherits", NUMBER(personality(0xffffffff)));
    NUMBER(personality(PER_LINUX | ADDR_NO_RANDOMIZE));
    uname(&names);
    TEXT(names.machine);
    NUMBER(personality(UNAME26));
    uname(&names);
    HOLDS(strncmp(names.release, "2.6.", 4) == 0);
    NUMBER(personality(0));
}

static void controls(void)
{
    int word = 0;
    SHOW(prctl(9999, 0, 0, 0, 0));
    SHOW(prctl(PR_GET_TIMING, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_TIMING, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_TIMING, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_TSC, &word, 0, 0, 0));
    NUMBER(word);
    SHOW(prctl(PR_SET_TSC, 99, 0, 0, 0));
    SHOW(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0));
    SHOW(prctl(PR_MCE_KILL_GET, 1, 0, 0, 0));
    SHOW(prctl(PR_MCE_KILL, 0, 0, 0, 0));
    SHOW(prctl(PR_MCE_KILL, 0, 1, 0, 0));
    SHOW(prctl(PR_MCE_KILL, 1, 3, 0, 0));
    SHOW(prctl(PR_MCE_KILL, 2, 0, 0, 0));
    SHOW(prctl(PR_SET_THP_DISABLE, 0, 0, 1, 0));
    SHOW(prctl(PR_GET_THP_DISABLE, 1, 0, 0, 0));
    SHOW(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0));
    IN_CHILD("inherits", SHOW(prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0)));
    SHOW(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_KEEPCAPS, 2, 0, 0, 0));
    SHOW(prctl(PR_SET_DUMPABLE, 2, 0, 0, 0));
    SHOW(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
    SHOW(prctl(PR_SET_PDEATHSIG, 65, 0, 0, 0));
    SHOW(prctl(PR_GET_PDEATHSIG, bad_address, 0, 0, 0));
    SHOW(prctl(PR_SET_NAME, bad_address, 0, 0, 0));
    SHOW(prctl(PR_GET_NAME, bad_address, 0, 0, 0));
    SHOW(prctl(PR_CAPBSET_READ, 99, 0, 0, 0));
    SHOW(prctl(PR_CAPBSET_DROP, 99, 0, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, 9, 0, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 99, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, 0, 1, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, 0, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 1, 0, 0));
    SHOW(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
    SHOW(prctl(PR_SET_TIMERSLACK, 123, 0, 0, 0));
    SHOW(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0));
    SHOW(prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_SECUREBITS, 0x1000, 0, 0, 0));
    SHOW(prctl(PR_GET_CHILD_SUBREAPER, bad_address, 0, 0, 0));
    SHOW(prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_SECCOMP, 0, 0, 0, 0));
    SHOW(prctl(PR_SET_SECCOMP, 3, 0, 0, 0));
    SHOW(prctl(PR_GET_UNALIGN, &word, 0, 0, 0));
    SHOW(prctl(PR_GET_FPEMU, &word, 0, 0, 0));
    SHOW(prctl(PR_GET_ENDIAN, &word, 0, 0, 0));
}

static void own_state(void)
{
    char line[512];
    FILE *file = fopen("/proc/self/stat", "r");
    char state = '?';
    if (file && fscanf(file, "%*d (%*[^)]) %c", &state) == 1)
        printf("  state %c\n", state);
    if (file)
        fclose(file);
    file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "State:", 6) == 0 || strncmp(line, "Seccomp", 7) == 0)
            printf("  %s", line);
    if (file)
        fclose(file);
    IN_CHILD("exits", setpriority(PRIO_PROCESS, 0, 3); int priority = 0, nice = 0; FILE *stat = fopen("/proc/self/stat", "r");
        if (stat && fscanf(stat, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %d %d", &priority, &nice) == 2)
            printf("  priority %d nice %d\n", priority, nice));
}

static void barriers(void)
{
    HOLDS((syscall(SYS_membarrier, 0, 0, 0) & 0x1ff) == 0x1ff);
    SHOW(syscall(SYS_membarrier, 0, 1, 0));
    SHOW(syscall(SYS_membarrier, 1 << 20, 0, 0));
    SHOW(syscall(SYS_membarrier, 3, 0, 0));
    SHOW(syscall(SYS_membarrier, 1, 0, 0));
    SHOW(syscall(SYS_membarrier, 2, 0, 0));
    SHOW(syscall(SYS_membarrier, 8, 0, 0));
    SHOW(syscall(SYS_membarrier, 16, 1, 0));
    SHOW(syscall(SYS_membarrier, 16, 0, 0));
    SHOW(syscall(SYS_membarrier, 8, 0, 0));
    SHOW(syscall(SYS_membarrier, 32, 0, 0));
    SHOW(syscall(SYS_membarrier, 64, 0, 0));
    SHOW(syscall(SYS_membarrier, 32, 0, 0));
    SHOW(syscall(SYS_membarrier, 128, 0, 0));
    SHOW(syscall(SYS_membarrier, 256, 0, 0));
    SHOW(syscall(SYS_membarrier, 128, 0, 0));
    SHOW(syscall(SYS_membarrier, 128, 1, 0));
    SHOW(syscall(SYS_membarrier, 128, 2, 0));
    SHOW(syscall(SYS_membarrier, 4, 0, 0));
}

static void *runs(void *arg)
{
    volatile int *stop = arg;
    while (!*stop)
        ;
    return NULL;
}

static void barriers_with_threads(void)
{
    volatile int stop = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, runs, (void *)&stop);
    SHOW(syscall(SYS_membarrier, 16, 0, 0));
    int bad = 0;
    for (int i = 0; i < 200; i++)
        bad += syscall(SYS_membarrier, 8, 0, 0) != 0;
    NUMBER(bad);
    stop = 1;
    pthread_join(thread, NULL);
}

static unsigned long all_cpus(void)
{
    unsigned long mask[16] = {0};
    syscall(SYS_sched_getaffinity, 0, sizeof mask, mask);
    return mask[0];
}

static unsigned long lowest(unsigned long mask) { return mask & -mask; }
static unsigned long highest(unsigned long mask) { return 1ul << (63 - __builtin_clzl(mask)); }
static int bind_to(pid_t pid, unsigned long mask) { return syscall(SYS_sched_setaffinity, pid, sizeof mask, &mask); }

static unsigned long cpu_now(void)
{
    unsigned cpu = 99;
    syscall(SYS_getcpu, &cpu, NULL, NULL);
    return 1ul << cpu;
}

#define SHARE_MS 1500

/* Two children spin on the same CPU at the same time, each as `prepare` makes it; `used` gets their CPU times in ns. */
static void share_cpu(void (*prepare)(int), long long used[2])
{
    unsigned long cpu = lowest(all_cpus());
    long long begin = now_ns() + 300000000, end = begin + SHARE_MS * 1000000LL;
    pid_t children[2];
    for (int i = 0; i < 2; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            bind_to(0, cpu);
            prepare(i);
            while (now_ns() < begin)
                sleep_ms(1);
            while (now_ns() < end)
                ;
            _exit(0);
        }
    }
    for (int i = 0; i < 2; i++) {
        struct rusage usage;
        int status;
        if (wait4(children[i], &status, 0, &usage) != children[i] || status != 0)
            printf("  a child failed\n");
        used[i] = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000LL +
                  (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000LL;
    }
}

static void alike(int number) { (void)number; }
static void nicer(int number) { setpriority(PRIO_PROCESS, 0, number ? 10 : 0); }
static void idler(int number) { int none = 0; setscheduler(0, number ? SCHED_IDLE : SCHED_OTHER, &none); }

/* Times waiting for the CPU are nobody's CPU time, and equals share it equally. */
static void equal_shares(void)
{
    long long used[2];
    share_cpu(alike, used);
    long long sum = used[0] + used[1], wall = SHARE_MS * 1000000LL;
    int fits = sum < wall + wall / 5 && sum > wall / 8;
    HOLDS(fits);
    HOLDS(used[0] * 100 > sum * 35 && used[1] * 100 > sum * 35);
    if (!fits || used[0] * 100 <= sum * 35 || used[1] * 100 <= sum * 35)
        printf("  %lld %lld\n", used[0], used[1]);
}

static void nice_shares(void)
{
    long long used[2];
    share_cpu(nicer, used);
    int fits = used[0] > used[1] * 4 && used[0] < used[1] * 25;
    HOLDS(fits);
    if (!fits)
        printf("  %lld %lld\n", used[0], used[1]);
    share_cpu(idler, used);
    fits = used[0] > used[1] * 20;
    HOLDS(fits);
    if (!fits)
        printf("  %lld %lld\n", used[0], used[1]);
}

static void bound_to_a_cpu(void)
{
    unsigned long all = all_cpus(), low = lowest(all), high = highest(all);
    SHOW(bind_to(0, high));
    HOLDS(cpu_now() == high);
    SHOW(bind_to(0, low));
    HOLDS(cpu_now() == low);
    IN_CHILD("inherits", HOLDS(cpu_now() == low));
    SHOW(bind_to(0, all));
    volatile unsigned long *seen = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0)
        for (;;)
            *seen = cpu_now();
    int moved = 0;
    for (int i = 0; i < 20; i++) {
        unsigned long wanted = i % 2 ? low : high;
        bind_to(child, wanted);
        for (int wait = 0; wait < 2000 && *seen != wanted; wait++)
            sleep_ms(1);
        moved += *seen == wanted;
        sleep_ms(5);
        moved += *seen == wanted;
    }
    NUMBER(moved);
    /* One that sleeps wakes where it is to. */
    int ends[2];
    WORKS(pipe(ends));
    pid_t sleeper = fork();
    if (sleeper == 0) {
        char byte;
        (void)!read(ends[0], &byte, 1);
        _exit(cpu_now() == high ? 0 : 1);
    }
    sleep_ms(50);
    SHOW(bind_to(sleeper, high));
    SHOW(bind_to(0, low));
    SHOW(write(ends[1], "x", 1));
    int status;
    waitpid(sleeper, &status, 0);
    show_status("sleeper", status);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static const struct test_case cases[] = {
    {"equal_shares", equal_shares}, {"nice_shares", nice_shares}, {"bound_to_a_cpu", bound_to_a_cpu},
    {"policies", policies}, {"attributes", attributes}, {"nice_values", nice_values}, {"affinity", affinity},
    {"io_priority", io_priority}, {"cpu_limit", cpu_limit}, {"process_limit", process_limit},
    {"process_limit_and_exec", process_limit_and_exec}, {"personalities", personalities}, {"controls", controls},
    {"own_state", own_state}, {"barriers", barriers}, {"barriers_with_threads", barriers_with_threads},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
