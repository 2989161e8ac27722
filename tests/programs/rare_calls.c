/* Calls that few programs make: credentials one by one, capabilities, the newest futex and pidfd calls, memory policies, and the
 * machine's administration, which is refused. */
#include "show.h"
#include <grp.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#define VERSION_1 0x19980330
#define VERSION_3 0x20080522
#define CAP_CHOWN 0

struct capability_head { uint32_t version; int pid; };
struct capability_data { uint32_t effective, permitted, inheritable; };

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

static void show_ids(void)
{
    uid_t r, e, s;
    gid_t gr, ge, gs;
    syscall(SYS_getresuid, &r, &e, &s);
    syscall(SYS_getresgid, &gr, &ge, &gs);
    printf("  uids %u %u %u fs %d, gids %u %u %u fs %d\n", r, e, s, setfsuid(-1), gr, ge, gs, setfsgid(-1));
}

static void ids(void)
{
    IN_CHILD("setreuid", SHOW(syscall(SYS_setreuid, 1000, -1)); show_ids(); SHOW(syscall(SYS_setreuid, -1, 2000)); show_ids();
             SHOW(syscall(SYS_setreuid, 3000, -1)); SHOW(syscall(SYS_setreuid, 2000, 1000)); show_ids();
             SHOW(syscall(SYS_setreuid, -1, 0)); SHOW(syscall(SYS_setreuid, -1, -1)); show_ids());
    IN_CHILD("setregid", SHOW(syscall(SYS_setregid, -1, 50)); show_ids(); SHOW(syscall(SYS_setregid, 60, -1)); show_ids();
             SHOW(syscall(SYS_setreuid, 9, 9)); SHOW(syscall(SYS_setregid, 50, 60)); show_ids(); SHOW(syscall(SYS_setregid, 0, -1));
             SHOW(syscall(SYS_setregid, -1, 70)); show_ids());
    IN_CHILD("setresgid", SHOW(syscall(SYS_setresgid, 1, 2, 3)); show_ids(); SHOW(syscall(SYS_setresuid, 1, 2, 3)); show_ids();
             SHOW(syscall(SYS_setresgid, 3, 1, 2)); show_ids(); SHOW(syscall(SYS_setresgid, 4, -1, -1));
             SHOW(syscall(SYS_setresuid, 2, 3, 1)); show_ids(); SHOW(syscall(SYS_setresuid, -1, -1, 4)));
    SHOW(syscall(SYS_getresgid, bad_address, bad_address, bad_address));
    SHOW(syscall(SYS_getresuid, bad_address, bad_address, bad_address));
    IN_CHILD("setfsuid", SHOW(syscall(SYS_setfsuid, 77)); SHOW(syscall(SYS_setfsuid, 78)); SHOW(syscall(SYS_setfsgid, 79));
             SHOW(syscall(SYS_setfsgid, -1)); show_ids(); SHOW(syscall(SYS_setresuid, 5, 6, 7)); show_ids();
             SHOW(syscall(SYS_setfsuid, 8)); show_ids(); SHOW(syscall(SYS_setfsuid, 7)); show_ids());
    IN_CHILD("files", enter_scratch(); umask(0); setfsgid(44); setfsuid(33); chmod(".", 0777); struct stat is = {0};
             SHOW(mkdir("d", 0755)); chmod(".", 0777); setfsuid(0); chmod(".", 0777); setfsuid(33); SHOW(mkdir("d", 0755));
             stat("d", &is); NUMBER(is.st_uid); NUMBER(is.st_gid));
    IN_CHILD("setuid", SHOW(syscall(SYS_setgid, 11)); SHOW(syscall(SYS_setuid, 10)); show_ids(); SHOW(syscall(SYS_setuid, 0));
             SHOW(syscall(SYS_setgid, 0)); SHOW(syscall(SYS_setuid, -1)); SHOW(syscall(SYS_setgid, -1)));
    gid_t groups[3] = {3, 1, 2}, got[4] = {0};
    IN_CHILD("groups", SHOW(syscall(SYS_setgroups, 3, groups)); SHOW(syscall(SYS_getgroups, 0, NULL));
             SHOW(syscall(SYS_getgroups, 4, got)); NUMBER(got[0]); NUMBER(got[2]); SHOW(syscall(SYS_getgroups, 2, got));
             SHOW(syscall(SYS_getgroups, -1, got)); SHOW(syscall(SYS_getgroups, 4, bad_address)); SHOW(syscall(SYS_setgroups, 65537, groups));
             SHOW(syscall(SYS_setgroups, 1, bad_address)); SHOW(syscall(SYS_setgroups, -1, groups)); setresuid(1, 1, 1);
             SHOW(syscall(SYS_setgroups, 0, NULL)));
}

static void capabilities(void)
{
    struct capability_head head = {VERSION_3, 0};
    struct capability_data data[2] = {{0, 0, 0}, {0, 0, 0}};
    SHOW(syscall(SYS_capget, &head, data));
    HOLDS(data[0].effective & 1 << CAP_CHOWN);
    HOLDS(data[0].permitted == data[0].effective);
    HOLDS((data[0].effective & ~data[0].permitted) == 0);
    head.pid = 1;
    SHOW(syscall(SYS_capget, &head, data));
    head.pid = -1;
    SHOW(syscall(SYS_capget, &head, data));
    head.pid = 999999;
    SHOW(syscall(SYS_capget, &head, data));
    head.pid = 0;
    SHOW(syscall(SYS_capget, &head, bad_address));
    SHOW(syscall(SYS_capget, bad_address, data));
    head.version = 0;
    SHOW(syscall(SYS_capget, &head, NULL));
    HOLDS(head.version == VERSION_3);
    head.version = 0;
    SHOW(syscall(SYS_capget, &head, data));
    head.version = 0;
    SHOW(syscall(SYS_capset, &head, data));
    head.version = VERSION_1;
    SHOW(syscall(SYS_capget, &head, data));
    head.version = VERSION_3;
    SHOW(syscall(SYS_capget, &head, data));
    head.pid = 1;
    SHOW(syscall(SYS_capset, &head, data));
    head.pid = 0;
    SHOW(syscall(SYS_capset, &head, bad_address));
    struct capability_data less[2] = {data[0], data[1]};
    less[0].effective &= ~(1u << CAP_CHOWN);
    SHOW(syscall(SYS_capset, &head, less));
    enter_scratch();
    SHOW(chown(".", 5, 5));
    SHOW(syscall(SYS_capset, &head, data));
    SHOW(chown(".", 5, 5));
    less[0].permitted &= ~(1u << CAP_CHOWN);
    less[0].effective |= 1u << CAP_CHOWN;
    SHOW(syscall(SYS_capset, &head, less));
    less[0].effective &= ~(1u << CAP_CHOWN);
    less[0].inheritable = 0;
    SHOW(syscall(SYS_capset, &head, less));
    SHOW(syscall(SYS_capset, &head, data));
    less[0].inheritable = 1u << CAP_CHOWN;
    SHOW(syscall(SYS_capset, &head, less));
}

static int shared_words(uint32_t **words)
{
    *words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return *words == MAP_FAILED;
}

struct waiter {
    uint64_t value, address;
    uint32_t flags, reserved;
};

static void futex_vector(void)
{
    uint32_t *words;
    if (shared_words(&words))
        return;
    enum { SIZE_32 = 2, PRIVATE = 128 };
    struct waiter list[3] = {{0, (uintptr_t)&words[0], SIZE_32, 0}, {0, (uintptr_t)&words[1], SIZE_32, 0}, {0, (uintptr_t)&words[2], SIZE_32, 0}};
    struct timespec soon;
    clock_gettime(CLOCK_MONOTONIC, &soon);
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_MONOTONIC));
    words[1] = 1;
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, NULL, CLOCK_MONOTONIC));
    words[1] = 0;
    SHOW(syscall(SYS_futex_waitv, list, 0, 0, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, list, 129, 0, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, list, 3, 1, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, NULL, 3, 0, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, bad_address, 3, 0, NULL, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, bad_address, CLOCK_MONOTONIC));
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_BOOTTIME));
    list[2].flags = 0;
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_MONOTONIC));
    list[2].flags = SIZE_32 | 4;
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_MONOTONIC));
    list[2].flags = SIZE_32;
    list[2].reserved = 1;
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_MONOTONIC));
    list[2].reserved = 0;
    list[2].address++;
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_MONOTONIC));
    list[2].address = (uintptr_t)bad_address;
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_MONOTONIC));
    list[2].address = (uintptr_t)&words[2];
    soon.tv_nsec = 1000000000;
    SHOW(syscall(SYS_futex_waitv, list, 3, 0, &soon, CLOCK_MONOTONIC));
    pid_t child = fork();
    if (child == 0) {
        long woken = syscall(SYS_futex_waitv, list, 3, 0, NULL, CLOCK_REALTIME);
        _exit(woken == 2 ? 0 : 1);
    }
    for (int i = 0; i < 2000 && syscall(SYS_futex, &words[2], 1, 1) == 0; i++)
        sleep_ms(1);
    int status;
    waitpid(child, &status, 0);
    show_status("woken by the third", status);
}

static void descriptors_of_others(void)
{
    int pipes[2];
    pipe(pipes);
    pid_t child = fork();
    if (child == 0) {
        close(pipes[1]);
        pause();
    }
    int child_fd = (int)syscall(SYS_pidfd_open, child, 0);
    int taken = (int)syscall(SYS_pidfd_getfd, child_fd, pipes[0], 0);
    HOLDS(taken >= 0);
    NUMBER(fcntl(taken, F_GETFD));
    write(pipes[1], "x", 1);
    SHOW(read(taken, &(char){0}, 1));
    SHOW(syscall(SYS_pidfd_getfd, child_fd, 99, 0));
    SHOW(syscall(SYS_pidfd_getfd, child_fd, pipes[0], 1));
    SHOW(syscall(SYS_pidfd_getfd, 99, pipes[0], 0));
    SHOW(syscall(SYS_pidfd_getfd, pipes[0], pipes[0], 0));
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000); SHOW(syscall(SYS_pidfd_getfd, child_fd, pipes[0], 0)));
    enum { FILE_KIND, VM, FILES, FS, SIGHAND, IO, SYSVSEM };
    SHOW(syscall(SYS_kcmp, getpid(), child, FILE_KIND, pipes[0], pipes[0]));
    HOLDS(syscall(SYS_kcmp, getpid(), child, FILE_KIND, pipes[0], pipes[1]) != 0);
    HOLDS(syscall(SYS_kcmp, getpid(), child, VM, 0, 0) != 0);
    SHOW(syscall(SYS_kcmp, getpid(), getpid(), VM, 0, 0));
    SHOW(syscall(SYS_kcmp, getpid(), getpid(), FILES, 0, 0));
    SHOW(syscall(SYS_kcmp, getpid(), getpid(), 99, 0, 0));
    SHOW(syscall(SYS_kcmp, getpid(), 999999, VM, 0, 0));
    SHOW(syscall(SYS_kcmp, getpid(), child, FILE_KIND, pipes[0], 99));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    SHOW(syscall(SYS_pidfd_getfd, child_fd, pipes[0], 0));
}

struct clone_args3 {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

static void clones(void)
{
    struct clone_args3 args = {.exit_signal = SIGCHLD};
    int status = 0;
    pid_t child = (pid_t)syscall(SYS_clone3, &args, 64);
    if (child == 0)
        _exit(3);
    HOLDS(child > 0);
    waitpid(child, &status, 0);
    show_status("child", status);
    int child_fd = -1;
    args = (struct clone_args3){.flags = CLONE_PIDFD, .pidfd = (uintptr_t)&child_fd, .exit_signal = SIGUSR1};
    signal(SIGUSR1, SIG_IGN);
    child = (pid_t)syscall(SYS_clone3, &args, sizeof args);
    if (child == 0)
        _exit(4);
    HOLDS(child_fd >= 0);
    SHOW(waitpid(child, &status, WNOHANG));
    HOLDS(waitpid(child, &status, __WCLONE) == child || waitpid(child, &status, __WALL) == child);
    SHOW(syscall(SYS_clone3, &args, 63));
    SHOW(syscall(SYS_clone3, &args, 5000));
    SHOW(syscall(SYS_clone3, bad_address, sizeof args));
    SHOW(syscall(SYS_clone3, NULL, sizeof args));
    args = (struct clone_args3){.exit_signal = 65};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.exit_signal = SIGCHLD, .stack = 0x1000};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.exit_signal = SIGCHLD, .stack_size = 0x1000};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.flags = CLONE_THREAD, .exit_signal = 0};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.flags = CLONE_SIGHAND};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.flags = CLONE_DETACHED};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.flags = SIGCHLD};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.flags = 1ull << 40};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
    args = (struct clone_args3){.flags = CLONE_FS | CLONE_NEWNS};
    SHOW(syscall(SYS_clone3, &args, sizeof args));
}

static void execution_by_descriptor(void)
{
    enter_scratch();
    char *list[] = {"x", "processors", NULL}, *none[] = {NULL};
    int self = open("/proc/self/exe", O_RDONLY), closing = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    symlink("/proc/self/exe", "link");
    int script = open("script", O_CREAT | O_WRONLY, 0755);
    write(script, "#!/proc/self/exe x\n", 19);
    close(script);
    script = open("script", O_RDONLY);
    int plain = open("plain", O_CREAT | O_RDWR, 0644), here = open(".", O_RDONLY), path = open("/proc/self/exe", O_PATH);
    IN_CHILD("by descriptor", SHOW(syscall(SYS_execveat, self, "", list, none, AT_EMPTY_PATH)));
    IN_CHILD("that closes", SHOW(syscall(SYS_execveat, closing, "", list, none, AT_EMPTY_PATH)));
    IN_CHILD("by path alone", SHOW(syscall(SYS_execveat, path, "", list, none, AT_EMPTY_PATH)));
    IN_CHILD("by name", SHOW(syscall(SYS_execveat, here, "link", list, none, 0)));
    SHOW(syscall(SYS_execveat, here, "link", list, none, AT_SYMLINK_NOFOLLOW));
    SHOW(syscall(SYS_execveat, self, "", list, none, 0));
    SHOW(syscall(SYS_execveat, here, "", list, none, AT_EMPTY_PATH));
    SHOW(syscall(SYS_execveat, plain, "", list, none, AT_EMPTY_PATH));
    SHOW(syscall(SYS_execveat, 99, "", list, none, AT_EMPTY_PATH));
    SHOW(syscall(SYS_execveat, 99, "none", list, none, 0));
    SHOW(syscall(SYS_execveat, self, "none", list, none, 0));
    SHOW(syscall(SYS_execveat, here, "none", list, none, 0));
    SHOW(syscall(SYS_execveat, self, "", list, none, AT_EMPTY_PATH | 1));
    SHOW(syscall(SYS_execveat, self, bad_address, list, none, AT_EMPTY_PATH));
    SHOW(syscall(SYS_execveat, self, "", bad_address, none, AT_EMPTY_PATH));
    SHOW(syscall(SYS_execveat, self, "", list, bad_address, AT_EMPTY_PATH));
    fcntl(script, F_SETFD, FD_CLOEXEC);
    SHOW(syscall(SYS_execveat, script, "", list, none, AT_EMPTY_PATH));
}

static volatile int caught, code, value;

static void take(int number, siginfo_t *info, void *context)
{
    (void)context;
    caught = number;
    code = info->si_code;
    value = info->si_value.sival_int;
}

static void queued_to_threads(void)
{
    struct sigaction action = {.sa_sigaction = take, .sa_flags = SA_SIGINFO};
    sigaction(SIGRTMIN, &action, NULL);
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_code = SI_QUEUE;
    info.si_value.sival_int = 42;
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGRTMIN, &info));
    NUMBER(caught == SIGRTMIN);
    NUMBER(code);
    NUMBER(value);
    info.si_code = -77;
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGRTMIN, &info));
    NUMBER(code);
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), 0, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), 65, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), 999999, SIGRTMIN, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getppid(), getpid(), SIGRTMIN, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, 0, getpid(), SIGRTMIN, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), -1, SIGRTMIN, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGRTMIN, bad_address));
    info.si_code = SI_USER;
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), SIGRTMIN, &info));
    SHOW(syscall(SYS_rt_tgsigqueueinfo, getppid(), getppid(), 0, &info));
    SHOW(syscall(SYS_restart_syscall));
}

static void processors(void)
{
    unsigned cpu = 999, node = 999;
    SHOW(syscall(SYS_getcpu, &cpu, &node, NULL));
    HOLDS(cpu < 64);
    NUMBER(node);
    SHOW(syscall(SYS_getcpu, NULL, NULL, NULL));
    SHOW(syscall(SYS_getcpu, bad_address, NULL, NULL));
    SHOW(syscall(SYS_getcpu, NULL, bad_address, NULL));
    struct timespec slice = {-1, -1};
    SHOW(syscall(SYS_sched_rr_get_interval, 0, &slice));
    HOLDS(slice.tv_sec == 0 && slice.tv_nsec >= 0);
    SHOW(syscall(SYS_sched_rr_get_interval, -1, &slice));
    SHOW(syscall(SYS_sched_rr_get_interval, 999999, &slice));
    SHOW(syscall(SYS_sched_rr_get_interval, 0, bad_address));
}

static void messages(void)
{
    int ends[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, ends);
    struct iovec one = {"one", 3}, two = {"second", 6};
    struct mmsghdr list[3];
    memset(list, 0, sizeof list);
    list[0].msg_hdr.msg_iov = &one;
    list[1].msg_hdr.msg_iov = &two;
    list[0].msg_hdr.msg_iovlen = list[1].msg_hdr.msg_iovlen = 1;
    SHOW(syscall(SYS_sendmmsg, ends[0], list, 2, 0));
    NUMBER(list[0].msg_len);
    NUMBER(list[1].msg_len);
    char bytes[16] = "";
    SHOW(recv(ends[1], bytes, 16, 0));
    SHOW(recv(ends[1], bytes, 16, 0));
    TEXT(bytes);
    SHOW(syscall(SYS_sendmmsg, ends[0], list, 0, 0));
    SHOW(syscall(SYS_sendmmsg, ends[0], bad_address, 1, 0));
    SHOW(syscall(SYS_sendmmsg, 99, list, 1, 0));
    SHOW(syscall(SYS_sendmmsg, STDIN_FILENO + 90, list, 1, 0));
    two.iov_base = bad_address;
    SHOW(syscall(SYS_sendmmsg, ends[0], list, 2, 0));
    SHOW(syscall(SYS_sendmmsg, ends[0], list + 1, 1, 0));
    int pipes[2];
    pipe(pipes);
    SHOW(syscall(SYS_sendmmsg, pipes[1], list, 1, 0));
    close(ends[1]);
    signal(SIGPIPE, SIG_IGN);
    SHOW(syscall(SYS_sendmmsg, ends[0], list, 1, 0));
}

static void policies(void)
{
    enum { DEFAULT, PREFERRED, BIND, INTERLEAVE };
    int mode = -1;
    unsigned long nodes[16] = {0};
    unsigned char *memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *memory = 1;
    SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
    NUMBER(mode);
    SHOW(syscall(SYS_get_mempolicy, NULL, nodes, sizeof nodes * 8, NULL, 4));
    SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, memory, 3));
    NUMBER(mode);
    SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 8));
    SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, bad_address, 2));
    SHOW(syscall(SYS_get_mempolicy, bad_address, NULL, 0, NULL, 0));
    nodes[0] = 1;
    IN_CHILD("policy", SHOW(syscall(SYS_set_mempolicy, PREFERRED, nodes, 64)); SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0));
             NUMBER(mode); SHOW(syscall(SYS_set_mempolicy, DEFAULT, NULL, 0)));
    SHOW(syscall(SYS_set_mempolicy, 99, NULL, 0));
    SHOW(syscall(SYS_set_mempolicy, BIND, NULL, 0));
    SHOW(syscall(SYS_set_mempolicy, BIND, bad_address, 64));
    SHOW(syscall(SYS_set_mempolicy, DEFAULT, nodes, 64));
    SHOW(syscall(SYS_mbind, memory, 4096, DEFAULT, NULL, 0, 0));
    SHOW(syscall(SYS_mbind, memory, 4096, INTERLEAVE, nodes, 64, 0));
    SHOW(syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, memory, 2));
    NUMBER(mode);
    NUMBER(nodes[0]);
    SHOW(syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, memory + 4096, 2));
    NUMBER(mode);
    NUMBER(nodes[0]);
    SHOW(syscall(SYS_get_mempolicy, &mode, nodes, 8, memory, 2));
    nodes[0] = 1;
    SHOW(syscall(SYS_mbind, memory, 4096, PREFERRED | 0x8000, nodes, 64, 0));
    SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, memory, 2));
    NUMBER(mode);
    SHOW(syscall(SYS_mbind, memory, 4096, PREFERRED, NULL, 0, 0));
    SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, memory, 2));
    NUMBER(mode);
    SHOW(syscall(SYS_mbind, memory, 4096, PREFERRED | 0xc000, nodes, 64, 0));
    SHOW(syscall(SYS_mbind, memory, 4096, PREFERRED | 0x2000, nodes, 64, 0));
    SHOW(syscall(SYS_mbind, memory, 4096, PREFERRED | 0x8000, NULL, 0, 0));
    nodes[0] = 3;
    SHOW(syscall(SYS_mbind, memory, 4096, BIND, nodes, 64, 0));
    nodes[0] = 2;
    SHOW(syscall(SYS_mbind, memory, 4096, BIND, nodes, 64, 0));
    nodes[0] = 1;
    IN_CHILD("inherited", SHOW(syscall(SYS_set_mempolicy, INTERLEAVE, nodes, 64)); SHOW(syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 1));
             IN_CHILD("child", SHOW(syscall(SYS_get_mempolicy, &mode, nodes, sizeof nodes * 8, NULL, 0)); NUMBER(mode); NUMBER(nodes[0])));
    SHOW(syscall(SYS_mbind, memory, 4096, BIND, nodes, 64, 0));
    SHOW(syscall(SYS_mbind, memory + 1, 4096, BIND, nodes, 64, 0));
    SHOW(syscall(SYS_mbind, memory, 4096, BIND, nodes, 64, 16));
    SHOW(syscall(SYS_mbind, memory, 4096, 99, nodes, 64, 0));
    SHOW(syscall(SYS_mbind, (void *)0x10000, 4096, BIND, nodes, 64, 0));
    SHOW(syscall(SYS_mbind, memory, 0, BIND, nodes, 64, 0));
    SHOW(syscall(SYS_migrate_pages, 0, 64, nodes, nodes));
    SHOW(syscall(SYS_migrate_pages, 999999, 64, nodes, nodes));
    SHOW(syscall(SYS_migrate_pages, 0, 64, bad_address, nodes));
    SHOW(syscall(SYS_pkey_mprotect, memory, 4096, PROT_READ, -1));
    SHOW(syscall(SYS_pkey_mprotect, memory, 4096, PROT_READ, 15));
    SHOW(syscall(SYS_pkey_alloc, 1, 0));
    SHOW(syscall(SYS_pkey_alloc, 0, 8));
    SHOW(syscall(SYS_pkey_free, 15));
}

static void administration(void)
{
    struct timex clock = {0};
    long state = syscall(SYS_adjtimex, &clock);
    HOLDS(state >= 0 && state <= 5);
    HOLDS(clock.tick == 10000);
    HOLDS(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &clock) == state);
    SHOW(syscall(SYS_adjtimex, bad_address));
    SHOW(syscall(SYS_clock_adjtime, 99, &clock));
    setresuid(2000, 2000, 2000);
    clock = (struct timex){.modes = ADJ_FREQUENCY};
    SHOW(syscall(SYS_adjtimex, &clock));
    SHOW(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &clock));
    struct timeval now = {1, 0};
    SHOW(syscall(SYS_settimeofday, &now, NULL));
    now.tv_usec = 1000000;
    SHOW(syscall(SYS_settimeofday, &now, NULL));
    SHOW(syscall(SYS_settimeofday, bad_address, NULL));
    SHOW(syscall(SYS_acct, "/tmp/none"));
    SHOW(syscall(SYS_swapon, "/tmp/none", 0));
    SHOW(syscall(SYS_swapoff, "/tmp/none"));
    SHOW(syscall(SYS_reboot, 0xfee1dead, 672274793, 0, NULL));
    SHOW(syscall(SYS_reboot, 0, 0, 0, NULL));
    SHOW(syscall(SYS_init_module, NULL, 0, ""));
    SHOW(syscall(SYS_finit_module, 0, "", 0));
    SHOW(syscall(SYS_delete_module, "none", 0));
    SHOW(syscall(SYS_kexec_load, 0, 0, NULL, 0));
    SHOW(syscall(SYS_kexec_file_load, 0, 0, 0, NULL, 0));
    SHOW(syscall(SYS_vhangup));
    SHOW(syscall(SYS_pivot_root, ".", "."));
    SHOW(syscall(SYS_iopl, 3));
    SHOW(syscall(SYS_ioperm, 0x80, 1, 1));
    SHOW(syscall(SYS_sethostname, "x", 1));
    SHOW(syscall(SYS_setdomainname, "x", 1));
    SHOW(syscall(SYS_syslog, 5, NULL, 0));
    SHOW(syscall(SYS_syslog, 99, NULL, 0));
    SHOW(syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL));
    SHOW(syscall(SYS_umount2, "/tmp", 0));
    SHOW(syscall(SYS_chroot, "/tmp"));
}

static const struct test_case cases[] = {
    {"ids", ids},
    {"capabilities", capabilities},
    {"futex_vector", futex_vector},
    {"descriptors_of_others", descriptors_of_others},
    {"clones", clones},
    {"execution_by_descriptor", execution_by_descriptor},
    {"queued_to_threads", queued_to_threads},
    {"processors", processors},
    {"messages", messages},
    {"policies", policies},
    {"administration", administration},
};

int main(int argc, char **argv)
{
    return RUN_CASES(argc, argv, cases);
}
