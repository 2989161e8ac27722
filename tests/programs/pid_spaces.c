/* Pid namespaces: who has which number where, what init is, who inherits orphans, what ends with it. */
#include "show.h"
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/sem.h>
#include <sys/socket.h>

#define NS_GET_USERNS 0xb701
#define NS_GET_PARENT 0xb702

static pid_t cloned(unsigned long flags)
{
    fflush(stdout);
    return syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
}

static void reap(const char *who, pid_t child)
{
    int status = 0;
    if (waitpid(child, &status, 0) != child)
        printf("  %s: waitpid %s\n", who, errno_name(errno));
    else
        show_status(who, status);
}

/* `body` runs as init of a new namespace. */
#define AS_INIT(who, ...) do { \
        pid_t init_ = cloned(CLONE_NEWPID); \
        if (init_ == 0) { __VA_ARGS__; fflush(stdout); _exit(0); } \
        reap(who, init_); \
    } while (0)

static void numbers(void)
{
    pid_t outside = getpid();
    pid_t init = cloned(CLONE_NEWPID);
    if (init == 0) {
        SHOW(getpid());
        SHOW(syscall(SYS_gettid));
        SHOW(getppid());
        SHOW(getpgrp());
        SHOW(getsid(0));
        SHOW(getpgid(outside > 100 ? outside : 4000000));
        SHOW(kill(outside > 100 ? outside : 4000000, 0));
        pid_t child = fork();
        if (child == 0) {
            SHOW(getpid());
            SHOW(getppid());
            SHOW(setsid());
            SHOW(getpgrp());
            SHOW(kill(1, 0));
            _exit(5);
        }
        NUMBER(child);
        siginfo_t info = {0};
        SHOW(waitid(P_PID, 2, &info, WEXITED));
        NUMBER(info.si_pid);
        SHOW(fork() ? wait(NULL) : (_exit(0), 0));
        fflush(stdout);
        _exit(7);
    }
    reap("init", init);
    HOLDS(init > 1);
    SHOW(waitpid(init, NULL, 0));
}

static void threads_share(void)
{
    SHOW(syscall(SYS_clone, CLONE_NEWPID | CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0));
    SHOW(unshare(CLONE_NEWPID));
    SHOW(unshare(CLONE_NEWPID));
    /* A thread would be in another namespace than its process. */
    SHOW(syscall(SYS_clone, CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0));
    HOLDS(getpid() > 1);
    pid_t first = cloned(0);
    if (first == 0) {
        SHOW(getpid());
        SHOW(getppid());
        pause();
    }
    sleep_ms(50);
    pid_t second = cloned(0);
    if (second == 0) {
        SHOW(getpid());
        SHOW(getppid());
        _exit(3);
    }
    reap("second", second);
    kill(first, SIGKILL);
    reap("first", first);
    /* Its init is gone. */
    SHOW(fork());
}

static void signals_to_init(void)
{
    pid_t init = cloned(CLONE_NEWPID);
    if (init == 0) {
        SHOW(kill(1, SIGKILL));
        SHOW(kill(1, SIGTERM));
        SHOW(syscall(SYS_tkill, 1, SIGINT));
        pid_t child = fork();
        if (child == 0) {
            SHOW(kill(1, SIGKILL));
            SHOW(kill(1, SIGSTOP));
            SHOW(kill(-1, SIGKILL));
            _exit(4);
        }
        reap("child", child);
        fflush(stdout);
        for (;;)
            pause();
    }
    sleep_ms(200);
    /* From outside only what cannot be caught reaches it. */
    SHOW(kill(init, SIGTERM));
    SHOW(kill(init, SIGUSR1));
    sleep_ms(50);
    SHOW(waitpid(init, NULL, WNOHANG));
    SHOW(kill(init, SIGSTOP));
    int status;
    HOLDS(waitpid(init, &status, WUNTRACED) == init);
    show_status("init", status);
    SHOW(kill(init, SIGCONT));
    SHOW(kill(init, SIGKILL));
    reap("init", init);
}

static volatile sig_atomic_t told_pid = -1, told_code;

static void tell(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    told_pid = info->si_pid;
    told_code = info->si_code;
}

static void who_sent(void)
{
    pid_t self = getpid();
    int ready[2];
    pipe(ready);
    pid_t init = cloned(CLONE_NEWPID);
    if (init == 0) {
        struct sigaction action = {.sa_sigaction = tell, .sa_flags = SA_SIGINFO};
        sigaction(SIGUSR1, &action, NULL);
        write(ready[1], "x", 1);
        while (told_pid == -1)
            sleep_ms(5);
        printf("  from outside: pid %d code %d\n", told_pid, told_code);
        told_pid = -1;
        write(ready[1], "x", 1);
        while (told_pid == -1)
            sleep_ms(5);
        printf("  queued from outside: pid %d code %d\n", told_pid, told_code);
        told_pid = -1;
        if (fork() == 0) {
            kill(1, SIGUSR1);
            _exit(0);
        }
        while (told_pid == -1)
            sleep_ms(5);
        printf("  from inside: pid %d code %d\n", told_pid, told_code);
        fflush(stdout);
        _exit(0);
    }
    char byte;
    read(ready[0], &byte, 1);
    SHOW(kill(init, SIGUSR1));
    read(ready[0], &byte, 1);
    SHOW(sigqueue(init, SIGUSR1, (union sigval){.sival_int = 4}));
    reap("init", init);
    HOLDS(self == getpid());
}

static void orphans(void)
{
    AS_INIT("init",
        pid_t middle = fork();
        if (middle == 0) {
            if (fork() == 0) {
                sleep_ms(100);
                SHOW(getpid());
                SHOW(getppid());
                _exit(9);
            }
            _exit(0);
        }
        reap("middle", middle);
        int status;
        SHOW(wait(&status));
        show_status("orphan", status);
        SHOW(wait(&status)));
    /* One outside is not heir, even if it takes orphans. */
    SHOW(prctl(PR_SET_CHILD_SUBREAPER, 1));
    AS_INIT("init",
        if (fork() == 0) {
            if (fork() == 0) {
                sleep_ms(100);
                SHOW(getppid());
                _exit(9);
            }
            _exit(0);
        }
        wait(NULL);
        wait(NULL));
}

static void end_of_all(void)
{
    int pipes[2];
    pipe(pipes);
    pid_t init = cloned(CLONE_NEWPID);
    if (init == 0) {
        close(pipes[0]);
        for (int i = 0; i < 5; i++)
            if (fork() == 0) {
                signal(SIGTERM, SIG_IGN);
                if (i & 1)
                    fork();
                for (;;)
                    pause();
            }
        sleep_ms(100);
        _exit(6);
    }
    close(pipes[1]);
    reap("init", init);
    /* All of them are gone by now: nobody has the pipe. */
    char byte;
    struct pollfd at = {.fd = pipes[0], .events = POLLIN};
    SHOW(poll(&at, 1, 0));
    SHOW(read(pipes[0], &byte, 1));
}

static void nested(void)
{
    AS_INIT("outer",
        pid_t inner = cloned(CLONE_NEWPID);
        if (inner == 0) {
            SHOW(getpid());
            SHOW(getppid());
            pid_t child = fork();
            if (child == 0) {
                SHOW(getpid());
                sleep_ms(300);
                _exit(2);
            }
            reap("innermost", child);
            fflush(stdout);
            _exit(1);
        }
        sleep_ms(150);
        SHOW(kill(3, 0));
        SHOW(kill(4, 0));
        SHOW(getpgid(3));
        reap("inner", inner);
        NUMBER(inner));
    int depth = 0;
    pid_t child;
    while ((child = cloned(CLONE_NEWPID)) == 0)
        depth++;
    if (child > 0) {
        int status;
        waitpid(child, &status, 0);
        _exit(WEXITSTATUS(status));
    }
    printf("  too deep: %s\n", errno_name(errno));
    HOLDS(depth >= 25 && depth <= 32);
}

static void entering(void)
{
    int own = open("/proc/self/ns/pid", O_RDONLY);
    HOLDS(own >= 0);
    int hold[2];
    pipe(hold);
    pid_t init = cloned(CLONE_NEWPID);
    if (init == 0) {
        close(hold[1]);
        char byte;
        read(hold[0], &byte, 1);
        _exit(0);
    }
    close(hold[0]);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/pid", init);
    int other = open(path, O_RDONLY);
    HOLDS(other >= 0);
    SHOW(setns(other, CLONE_NEWUTS));
    SHOW(setns(other, CLONE_NEWPID));
    HOLDS(getpid() > 1);
    pid_t child = cloned(0);
    if (child == 0) {
        SHOW(getpid());
        SHOW(getppid());
        SHOW(kill(1, 0));
        /* What is above is out of reach. */
        SHOW(setns(own, CLONE_NEWPID));
        _exit(8);
    }
    reap("child", child);
    SHOW(setns(own, 0));
    child = cloned(0);
    if (child == 0)
        _exit(getpid() > 3);
    reap("child outside", child);
    int pidfd = syscall(SYS_pidfd_open, init, 0);
    SHOW(setns(pidfd, CLONE_NEWPID));
    child = cloned(0);
    if (child == 0)
        _exit(getpid());
    reap("by pidfd", child);
    close(hold[1]);
    reap("init", init);
    SHOW(fork());
}

static void above(void)
{
    int hold[2];
    pipe(hold);
    pid_t init = cloned(CLONE_NEWPID);
    if (init == 0) {
        close(hold[1]);
        char byte;
        read(hold[0], &byte, 1);
        _exit(0);
    }
    close(hold[0]);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/pid", init);
    int inner = open(path, O_RDONLY), own = open("/proc/self/ns/pid", O_RDONLY);
    struct stat a, b, c;
    fstat(inner, &a);
    fstat(own, &b);
    HOLDS(a.st_ino != b.st_ino);
    int parent = ioctl(inner, NS_GET_PARENT);
    HOLDS(parent >= 0);
    fstat(parent, &c);
    HOLDS(b.st_ino == c.st_ino);
    SHOW(ioctl(own, NS_GET_PARENT));
    int user = ioctl(inner, NS_GET_USERNS);
    HOLDS(user >= 0);
    fstat(user, &a);
    stat("/proc/self/ns/user", &b);
    HOLDS(a.st_ino == b.st_ino);
    SHOW(ioctl(user, NS_GET_PARENT));
    int uts = open("/proc/self/ns/uts", O_RDONLY);
    SHOW(ioctl(uts, NS_GET_PARENT));
    HOLDS(ioctl(uts, NS_GET_USERNS) >= 0);
    SHOW(ioctl(uts, 0xb7ff));
    close(hold[1]);
    reap("init", init);
}

static void for_children(void)
{
    char before[64] = "", after[64] = "";
    readlink("/proc/self/ns/pid_for_children", before, sizeof before - 1);
    SHOW(unshare(CLONE_NEWPID));
    /* There is no init yet. */
    SHOW(readlink("/proc/self/ns/pid_for_children", after, sizeof after - 1));
    SHOW(open("/proc/self/ns/pid_for_children", O_RDONLY));
    pid_t init = fork();
    if (init == 0)
        for (;;)
            pause();
    HOLDS(readlink("/proc/self/ns/pid_for_children", after, sizeof after - 1) > 0 && strcmp(before, after) != 0);
    readlink("/proc/self/ns/pid", after, sizeof after - 1);
    HOLDS(strcmp(before, after) == 0);
    kill(init, SIGKILL);
    reap("init", init);
}

static void show_lines(const char *path, const char *const *names)
{
    char line[256];
    FILE *file = fopen(path, "r");
    if (!file) {
        printf("  %s: %s\n", path, errno_name(errno));
        return;
    }
    while (fgets(line, sizeof line, file))
        for (int i = 0; names[i]; i++)
            if (strncmp(line, names[i], strlen(names[i])) == 0)
                printf("  %s", line);
    fclose(file);
}

static void proc_inside(void)
{
    static const char *const lines[] = {"Tgid:", "Pid:", "PPid:", "NStgid:", "NSpid:", "NSpgid:", "NSsid:", NULL};
    enter_scratch();
    mkdir("proc", 0755);
    char path[300], here[200];
    getcwd(here, sizeof here);
    SHOW(unshare(CLONE_NEWNS));
    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    AS_INIT("init",
        /* The proc of outside does not know it by its own number. */
        char link[64] = "";
        HOLDS(readlink("/proc/self", link, sizeof link - 1) > 0);
        HOLDS(strcmp(link, "1") != 0);
        SHOW(mount("proc", "proc", "proc", 0, NULL));
        memset(link, 0, sizeof link);
        SHOW(readlink("proc/self", link, sizeof link - 1));
        TEXT(link);
        memset(link, 0, sizeof link);
        SHOW(readlink("proc/thread-self", link, sizeof link - 1));
        TEXT(link);
        show_lines("proc/1/status", lines);
        SHOW(access("proc/2", F_OK));
        setsid();
        pid_t child = fork();
        if (child == 0) {
            snprintf(path, sizeof path, "%s/proc/self/status", here);
            show_lines(path, lines);
            FILE *file = fopen("proc/self/stat", "r");
            int pid = 0; int ppid = 0; int group = 0; int session = 0; char state = 0;
            fscanf(file, "%d (%*[^)]) %c %d %d %d", &pid, &state, &ppid, &group, &session);
            printf("  stat: %d %c %d %d %d\n", pid, state, ppid, group, session);
            pid_t deeper = cloned(CLONE_NEWPID);
            if (deeper == 0) {
                show_lines("proc/3/status", lines);
                SHOW(readlink("proc/self", path, sizeof path) > 0);
                _exit(0);
            }
            reap("deeper", deeper);
            SHOW(access("proc/self/task/2", F_OK));
            _exit(0);
        }
        reap("child", child);
        SHOW(umount("proc")));
    rmdir("proc");
}

static void credentials(void)
{
    int pair[2];
    int on = 1;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on);
    pid_t outside = getpid();
    pid_t init = cloned(CLONE_NEWPID);
    struct ucred sent = {0};
    char byte = 'x', control[CMSG_SPACE(sizeof sent)];
    struct iovec vector = {&byte, 1};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    if (init == 0) {
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_CREDENTIALS;
        head->cmsg_len = CMSG_LEN(sizeof sent);
        sent = (struct ucred){1, getuid(), getgid()};
        memcpy(CMSG_DATA(head), &sent, sizeof sent);
        SHOW(sendmsg(pair[1], &message, 0));
        message.msg_controllen = sizeof control;
        SHOW(recvmsg(pair[1], &message, 0));
        memcpy(&sent, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof sent);
        /* Whoever is outside has no number here. */
        NUMBER(sent.pid);
        socklen_t len = sizeof sent;
        SHOW(getsockopt(pair[1], SOL_SOCKET, SO_PEERCRED, &sent, &len));
        NUMBER(sent.pid);
        fflush(stdout);
        _exit(0);
    }
    sleep_ms(100);
    SHOW(recvmsg(pair[0], &message, 0));
    memcpy(&sent, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof sent);
    HOLDS(sent.pid == init);
    write(pair[0], "y", 1);
    reap("init", init);
    HOLDS(getpid() == outside);
}

static void other_calls(void)
{
    AS_INIT("init",
        pid_t child = fork();
        if (child == 0)
            for (;;)
                pause();
        sleep_ms(20);
        SHOW(setpgid(2, 2));
        SHOW(getpgid(2));
        SHOW(syscall(SYS_sched_getscheduler, 2));
        SHOW(getpriority(PRIO_PROCESS, 2));
        SHOW(getpriority(PRIO_PROCESS, 3));
        SHOW(getpriority(PRIO_PGRP, 2));
        int pidfd = syscall(SYS_pidfd_open, 2, 0);
        HOLDS(pidfd >= 0);
        int files[2];
        pipe(files);
        SHOW(fcntl(files[0], F_SETOWN, 2));
        SHOW(fcntl(files[0], F_GETOWN));
        SHOW(fcntl(files[0], F_SETOWN, -2));
        SHOW(fcntl(files[0], F_GETOWN));
        SHOW(fcntl(files[0], F_SETOWN, 77));
        int set = semget(IPC_PRIVATE, 1, 0600);
        SHOW(semctl(set, 0, SETVAL, 1));
        SHOW(semctl(set, 0, GETPID));
        semctl(set, 0, IPC_RMID);
        SHOW(syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0));
        reap("child", child);
        clockid_t clock;
        SHOW(clock_getcpuclockid(1, &clock));
        struct timespec time;
        SHOW(clock_gettime(clock, &time));
        struct flock lock = {.l_type = F_WRLCK};
        char name[] = "/tmp/lock.XXXXXX";
        int file = mkstemp(name);
        SHOW(fcntl(file, F_SETLK, &lock));
        IN_CHILD("asks", lock.l_type = F_WRLCK; SHOW(fcntl(file, F_GETLK, &lock)); NUMBER(lock.l_pid));
        unlink(name));
}

static void restarting(void)
{
    /* Not the machine: init ends by a signal. */
    pid_t init = cloned(CLONE_NEWPID);
    if (init == 0) {
        SHOW(reboot(RB_ENABLE_CAD));
        SHOW(reboot(12345));
        reboot(RB_AUTOBOOT);
        pause();
    }
    reap("restart", init);
    init = cloned(CLONE_NEWPID);
    if (init == 0) {
        reboot(RB_POWER_OFF);
        pause();
    }
    reap("power off", init);
    init = cloned(CLONE_NEWPID);
    if (init == 0) {
        if (fork() == 0)
            reboot(RB_HALT_SYSTEM);
        pause();
    }
    reap("halt", init);
}

static void in_a_user_space(void)
{
    pid_t child = cloned(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS);
    if (child == 0) {
        SHOW(getpid());
        SHOW(geteuid());
        SHOW(setns(open("/proc/1/ns/pid", O_RDONLY), CLONE_NEWPID) == -1 ? -1 : 0);
        _exit(0);
    }
    reap("user", child);
    IN_CHILD("no power", setresuid(1234, 1234, 1234); SHOW(unshare(CLONE_NEWPID)); SHOW(cloned(CLONE_NEWPID)));
}

static const struct test_case cases[] = {
    {"numbers", numbers},
    {"threads_share", threads_share},
    {"signals_to_init", signals_to_init},
    {"who_sent", who_sent},
    {"orphans", orphans},
    {"end_of_all", end_of_all},
    {"nested", nested},
    {"entering", entering},
    {"above", above},
    {"for_children", for_children},
    {"proc_inside", proc_inside},
    {"credentials", credentials},
    {"other_calls", other_calls},
    {"restarting", restarting},
    {"in_a_user_space", in_a_user_space},
};

int main(int argc, char **argv)
{
    return RUN_CASES(argc, argv, cases);
}
