/* Processes: fork, exec, exit, wait, groups, sessions, identity, limits. */
#include "show.h"
#include <grp.h>
#include <sched.h>
#include <sys/time.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/times.h>
#include <sys/utsname.h>

extern char **environ;

static void exit_codes(void)
{
    int codes[] = {0, 1, 7, 127, 255, 256, -1};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        IN_CHILD("child", _exit(codes[i]));
}

static void killed_children(void)
{
    int signals[] = {SIGKILL, SIGTERM, SIGABRT, SIGSEGV, SIGUSR1, SIGRTMIN + 2};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        int number = signals[i];
        fflush(stdout);
        pid_t child = fork();
        if (child == 0)
            for (;;)
                pause();
        int status;
        SHOW(kill(child, number));
        HOLDS(waitpid(child, &status, 0) == child);
        HOLDS(WIFSIGNALED(status) && WTERMSIG(status) == number);
    }
}

static void wait_family(void)
{
    int status;
    SHOW(wait(&status));
    SHOW(waitpid(-1, &status, WNOHANG));
    SHOW(waitpid(1 << 22, &status, 0));
    SHOW(waitpid(-1, &status, 0x40000));
    pid_t child = fork();
    if (child == 0) {
        sleep_ms(100);
        _exit(3);
    }
    SHOW(waitpid(child, &status, WNOHANG));
    siginfo_t info;
    memset(&info, 0, sizeof info);
    SHOW(waitid(P_PID, child, &info, WEXITED | WNOWAIT));
    HOLDS(info.si_pid == child && info.si_code == CLD_EXITED);
    NUMBER(info.si_status);
    NUMBER(info.si_signo);
    struct rusage usage;
    HOLDS(wait4(child, &status, 0, &usage) == child);
    show_status("child", status);
    SHOW(waitid(P_ALL, 0, &info, WEXITED));
    pid_t group = fork();
    if (group == 0) {
        setpgid(0, 0);
        _exit(4);
    }
    setpgid(group, group);
    HOLDS(waitpid(-group, &status, 0) == group);
    show_status("group child", status);
}

static void stop_and_continue(void)
{
    int status;
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    kill(child, SIGSTOP);
    HOLDS(waitpid(child, &status, WUNTRACED) == child);
    show_status("child", status);
    kill(child, SIGCONT);
    HOLDS(waitpid(child, &status, WCONTINUED) == child);
    show_status("child", status);
    SHOW(waitpid(child, &status, WNOHANG | WUNTRACED | WCONTINUED));
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    kill(child, SIGTERM);
    kill(child, SIGCONT);
    HOLDS(waitpid(child, &status, 0) == child);
    show_status("child", status);
}

static void parents(void)
{
    pid_t parent = getpid();
    IN_CHILD("child", HOLDS(getppid() == parent));
    /* An orphan goes to the nearest subreaper. */
    SHOW(prctl(PR_SET_CHILD_SUBREAPER, 1));
    int ends[2];
    SHOW(pipe(ends));
    pid_t middle = fork();
    if (middle == 0) {
        if (fork() == 0) {
            while (getppid() == middle || getppid() != parent)
                sleep_ms(5);
            char yes = getppid() == parent;
            _exit(write(ends[1], &yes, 1) == 1 ? 9 : 1);
        }
        middle = getpid();
        _exit(0);
    }
    int status;
    HOLDS(waitpid(middle, &status, 0) == middle);
    char adopted = 0;
    SHOW(read(ends[0], &adopted, 1));
    NUMBER(adopted);
    HOLDS(wait(&status) > 0);
    show_status("orphan", status);
}

static void parent_death_signal(void)
{
    int ends[2];
    SHOW(pipe(ends));
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t middle = fork();
    if (middle == 0) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGUSR2);
            if (write(ends[1], "x", 1) != 1)
                _exit(1);
            for (;;)
                pause();
        }
        char c;
        _exit(read(ends[0], &c, 1) == 1 ? 0 : 1);
    }
    int status;
    waitpid(middle, &status, 0);
    show_status("parent", status);
    HOLDS(wait(&status) > 0);
    show_status("orphan", status);
}

static void exec_arguments(void)
{
    char *arguments[] = {"process", "echo-arguments", "", "two words", "\xff", NULL};
    char *environment[] = {"A=1", "EMPTY=", "B=x y", NULL};
    IN_CHILD("exec", execve("/proc/self/exe", arguments, environment));
}

static void exec_errors(void)
{
    enter_scratch();
    char *arguments[] = {"x", NULL};
    SHOW(execve("/missing", arguments, environ));
    SHOW(execve("", arguments, environ));
    SHOW(execve("/tmp", arguments, environ));
    SHOW(execve("/etc/passwd/x", arguments, environ));
    SHOW(execve(bad_address, arguments, environ));
    int file = open("plain", O_CREAT | O_WRONLY, 0644);
    SHOW(write(file, "data", 4));
    SHOW(execve("plain", arguments, environ));
    fchmod(file, 0755);
    SHOW(execve("plain", arguments, environ) == -1 && (errno == ETXTBSY || errno == ENOEXEC));
    close(file);
    SHOW(execve("plain", arguments, environ));
    file = open("empty", O_CREAT | O_WRONLY, 0755);
    close(file);
    SHOW(execve("empty", arguments, environ));
    file = open("truncated", O_CREAT | O_WRONLY, 0755);
    SHOW(write(file, "\177ELF\2\1\1", 7));
    close(file);
    SHOW(execve("truncated", arguments, environ));
    file = open("noint", O_CREAT | O_WRONLY, 0755);
    SHOW(write(file, "#!/no/such/interpreter\n", 23));
    close(file);
    SHOW(execve("noint", arguments, environ));
    SHOW(symlink("loop", "loop"));
    SHOW(execve("loop", arguments, environ));
}

static void exec_script(void)
{
    enter_scratch();
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    self[length < 0 ? 0 : length] = 0;
    FILE *script = fopen("script", "w");
    fprintf(script, "#! %s echo-arguments \n", self);
    fclose(script);
    chmod("script", 0755);
    char *arguments[] = {"name", "one", NULL};
    char *environment[] = {"SCRIPT=1", NULL};
    IN_CHILD("script", execve("./script", arguments, environment); printf("  %s\n", errno_name(errno)));
    FILE *outer = fopen("outer", "w");
    fprintf(outer, "#!./script\n");
    fclose(outer);
    chmod("outer", 0755);
    IN_CHILD("script of a script", execve("./outer", arguments, environment); printf("  %s\n", errno_name(errno)));
}

static void exec_large_arguments(void)
{
    static char big[100000];
    memset(big, 'a', sizeof big - 1);
    char *arguments[] = {"process", "count-arguments", big, big, big, NULL};
    IN_CHILD("300 kB of arguments", execve("/proc/self/exe", arguments, environ); printf("  %s\n", errno_name(errno)));
    static char too_big[140000];
    memset(too_big, 'b', sizeof too_big - 1);
    arguments[2] = too_big;
    SHOW(execve("/proc/self/exe", arguments, environ));
    static char *many[40002];
    for (int i = 0; i < 40001; i++)
        many[i] = "x";
    many[0] = "process";
    many[1] = "count-arguments";
    IN_CHILD("40000 arguments", execve("/proc/self/exe", many, environ); printf("  %s\n", errno_name(errno)));
}

static void exec_keeps(void)
{
    /* Descriptors without close-on-exec, ignored signals, the mask and the directory survive; handlers do not. */
    enter_scratch();
    int kept = open("/dev/null", O_RDONLY), closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(kept, 40);
    dup3(closed, 41, O_CLOEXEC);
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, (void (*)(int))exit_codes);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGHUP);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    umask(027);
    char *arguments[] = {"process", "report-kept", NULL};
    IN_CHILD("exec", execve("/proc/self/exe", arguments, environ));
}

static void report_kept(void)
{
    SHOW(fcntl(40, F_GETFD));
    SHOW(fcntl(41, F_GETFD));
    struct sigaction action;
    sigaction(SIGUSR1, NULL, &action);
    HOLDS(action.sa_handler == SIG_IGN);
    sigaction(SIGUSR2, NULL, &action);
    HOLDS(action.sa_handler == SIG_DFL);
    sigset_t mask;
    sigprocmask(SIG_SETMASK, NULL, &mask);
    HOLDS(sigismember(&mask, SIGHUP) && !sigismember(&mask, SIGINT));
    printf("  umask %o\n", umask(0));
    char directory[PATH_MAX];
    HOLDS(getcwd(directory, sizeof directory) && strncmp(directory, "/tmp/case.", 10) == 0);
    char name[17] = "";
    prctl(PR_GET_NAME, name);
    TEXT(name);
}

static void vfork_exec(void)
{
    char *arguments[] = {"process", "count-arguments", NULL};
    fflush(stdout);
    pid_t child = vfork();
    if (child == 0) {
        execve("/proc/self/exe", arguments, environ);
        _exit(99);
    }
    int status;
    HOLDS(waitpid(child, &status, 0) == child);
    show_status("vfork child", status);
    volatile int shared = 0;
    child = vfork();
    if (child == 0) {
        shared = 5;
        _exit(0);
    }
    waitpid(child, &status, 0);
    NUMBER(shared);
}

static void groups_and_sessions(void)
{
    HOLDS(getpgrp() == getpid());
    SHOW(setsid());
    IN_CHILD("session leader", HOLDS(setsid() == getpid()); HOLDS(getsid(0) == getpid()); HOLDS(getpgid(0) == getpid());
             SHOW(setpgid(0, 0)));
    SHOW(setpgid(0, 1 << 22));
    SHOW(setpgid(1 << 22, 0));
    SHOW(setpgid(0, -1));
    SHOW(getpgid(1 << 22));
    SHOW(getsid(1 << 22));
    SHOW(kill(1 << 22, 0));
    SHOW(kill(-(1 << 22), 0));
    SHOW(kill(getpid(), 0));
    SHOW(kill(getpid(), 65));
    SHOW(kill(getpid(), -1));
}

static void identity(void)
{
    IN_CHILD("user 1000", {
        gid_t groups[] = {5, 7};
        SHOW(setgroups(2, groups));
        SHOW(getgroups(0, NULL));
        SHOW(setresgid(100, 100, 100));
        SHOW(setresuid(1000, 1000, 1000));
        NUMBER(getuid()); NUMBER(geteuid()); NUMBER(getgid()); NUMBER(getegid());
        SHOW(setuid(0));
        SHOW(setgid(0));
        SHOW(setgroups(0, NULL));
        SHOW(open("/etc/shadow", O_RDONLY));
        SHOW(chroot("/"));
        SHOW(kill(1, 0));
        SHOW(setpriority(PRIO_PROCESS, 0, -5));
    });
    IN_CHILD("effective only", {
        SHOW(seteuid(1000));
        SHOW(open("/etc/shadow", O_WRONLY));
        SHOW(seteuid(0));
        WORKS(open("/etc/shadow", O_RDONLY));
    });
    uid_t real, effective, saved;
    SHOW(getresuid(&real, &effective, &saved));
    SHOW(getresuid(bad_address, &effective, &saved));
}

static void limits(void)
{
    struct rlimit limit;
    SHOW(getrlimit(RLIMIT_NOFILE, &limit));
    limit.rlim_cur = 20;
    SHOW(setrlimit(RLIMIT_NOFILE, &limit));
    int last = -1, fd;
    while ((fd = open("/dev/null", O_RDONLY)) >= 0)
        last = fd;
    HOLDS(errno == EMFILE);
    NUMBER(last);
    SHOW(dup2(0, 20));
    SHOW(fcntl(0, F_DUPFD, 20));
    SHOW(getrlimit(99, &limit));
    limit.rlim_cur = 10;
    limit.rlim_max = 5;
    SHOW(setrlimit(RLIMIT_CORE, &limit));
    IN_CHILD("file size", {
        /* Standard output may be a file itself, so results are printed once the limit is lifted. */
        enter_scratch();
        close(last);
        signal(SIGXFSZ, SIG_IGN);
        int file = open("big", O_CREAT | O_RDWR, 0644);
        char data[800] = {0};
        getrlimit(RLIMIT_FSIZE, &limit);
        limit.rlim_cur = 1000;
        setrlimit(RLIMIT_FSIZE, &limit);
        long first = write(file, data, 800);
        long second = write(file, data, 800);
        long third = write(file, data, 800);
        int third_error = errno;
        long grown = ftruncate(file, 2000);
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_FSIZE, &limit);
        NUMBER(first);
        NUMBER(second);
        NUMBER(third);
        HOLDS(third_error == EFBIG);
        NUMBER(grown);
        limit.rlim_cur = 1000;
        setrlimit(RLIMIT_FSIZE, &limit);
        signal(SIGXFSZ, SIG_DFL);
        write(file, data, 1);
    });
    IN_CHILD("cpu time", {
        limit.rlim_cur = 1;
        limit.rlim_max = 2;
        setrlimit(RLIMIT_CPU, &limit);
        for (;;)
            ;
    });
}

static void names(void)
{
    struct utsname name;
    SHOW(uname(&name));
    TEXT(name.sysname);
    TEXT(name.machine);
    SHOW(uname(bad_address));
    char text[17] = "";
    SHOW(prctl(PR_SET_NAME, "a-rather-long-name"));
    SHOW(prctl(PR_GET_NAME, text));
    TEXT(text);
    FILE *comm = fopen("/proc/self/comm", "r");
    char line[64] = "";
    HOLDS(comm && fgets(line, sizeof line, comm));
    HOLDS(strcmp(line, "a-rather-long-n\n") == 0);
    SHOW(prctl(PR_GET_DUMPABLE));
    SHOW(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    SHOW(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    SHOW(prctl(-1));
}

static void scheduling(void)
{
    SHOW(sched_yield());
    SHOW(getpriority(PRIO_PROCESS, 0));
    SHOW(setpriority(PRIO_PROCESS, 0, 5));
    SHOW(getpriority(PRIO_PROCESS, 0));
    SHOW(syscall(SYS_sched_getscheduler, 0));
    cpu_set_t set;
    CPU_ZERO(&set);
    SHOW(sched_getaffinity(0, sizeof set, &set));
    HOLDS(CPU_COUNT(&set) >= 1);
    SHOW(sched_getaffinity(1 << 22, sizeof set, &set));
    CPU_ZERO(&set);
    SHOW(sched_setaffinity(0, sizeof set, &set));
    struct tms times_;
    HOLDS(times(&times_) != -1);
    struct rusage usage;
    SHOW(getrusage(RUSAGE_SELF, &usage));
    SHOW(getrusage(77, &usage));
}

static int clone_body(void *argument)
{
    *(int *)argument = 11;
    return 6;
}

static void clones(void)
{
    static char stack[65536] __attribute__((aligned(16)));
    int value = 0, status;
    pid_t child = clone(clone_body, stack + sizeof stack, CLONE_VM | SIGCHLD, &value);
    HOLDS(child > 0);
    HOLDS(waitpid(child, &status, 0) == child);
    show_status("shares memory", status);
    NUMBER(value);
    value = 0;
    child = clone(clone_body, stack + sizeof stack, SIGCHLD, &value);
    waitpid(child, &status, 0);
    NUMBER(value);
    child = clone(clone_body, stack + sizeof stack, CLONE_VM, &value);
    SHOW(waitpid(child, &status, 0));
    HOLDS(waitpid(child, &status, __WALL) == child);
    SHOW(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));
    SHOW(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
    child = clone(clone_body, stack + sizeof stack, CLONE_VM | CLONE_FILES | CLONE_FS | SIGCHLD, &value);
    waitpid(child, &status, 0);
    show_status("shares files", status);
}

static void many_children(void)
{
    int sum = 0, status;
    for (int i = 0; i < 50; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(i);
        if (child < 0)
            printf("  fork: %s\n", errno_name(errno));
    }
    while (wait(&status) > 0)
        sum += WEXITSTATUS(status);
    NUMBER(sum);
}

static void deep_fork(void)
{
    int depth = 0, status;
    for (; depth < 20; depth++) {
        pid_t child = fork();
        if (child > 0) {
            waitpid(child, &status, 0);
            if (depth > 0)
                _exit(WEXITSTATUS(status) + 1);
            NUMBER(WEXITSTATUS(status));
            return;
        }
    }
    _exit(0);
}

static void waiting_call(void)
{
    char path[64], line[256] = "";
    unsigned long numbers[9];
    int ends[2];
    pipe(ends);
    pid_t child = fork();
    if (child == 0) {
        syscall(SYS_read, ends[0], line, 77UL);
        _exit(0);
    }
    sleep_ms(200);
    snprintf(path, sizeof path, "/proc/%d/syscall", child);
    int file = open(path, O_RDONLY);
    HOLDS(read(file, line, sizeof line - 1) > 0);
    int found = sscanf(line, "%lu %lx %lx %lx %lx %lx %lx %lx %lx", numbers, numbers + 1, numbers + 2, numbers + 3,
        numbers + 4, numbers + 5, numbers + 6, numbers + 7, numbers + 8);
    NUMBER(found);
    HOLDS(numbers[0] == SYS_read && (int)numbers[1] == ends[0] && numbers[2] == (unsigned long)line && numbers[3] == 77);
    HOLDS(numbers[7] > (unsigned long)&numbers - (1 << 20) && numbers[7] < (unsigned long)&numbers + (1 << 20) && numbers[8] != 0);
    close(file);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static volatile int alarms;
static void count_alarm(int number) { (void)number; alarms++; }

/* fork is never interrupted by a signal, whatever its handler says. */
static void fork_under_signals(void)
{
    struct sigaction action = {.sa_handler = count_alarm};
    struct itimerval often = {{0, 10000}, {0, 10000}}, off = {{0, 0}, {0, 0}};
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    int failed = 0;
    long long end = now_ns() + 1000000000;
    while (now_ns() < end) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        failed += child < 0;
        while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    setitimer(ITIMER_REAL, &off, NULL);
    NUMBER(failed);
    HOLDS(alarms > 5);
}

static const struct test_case cases[] = {
    {"fork_under_signals", fork_under_signals},
    {"exit_codes", exit_codes}, {"killed_children", killed_children}, {"wait_family", wait_family},
    {"stop_and_continue", stop_and_continue}, {"parents", parents}, {"parent_death_signal", parent_death_signal},
    {"exec_arguments", exec_arguments}, {"exec_errors", exec_errors}, {"exec_script", exec_script},
    {"exec_large_arguments", exec_large_arguments}, {"exec_keeps", exec_keeps}, {"vfork_exec", vfork_exec},
    {"groups_and_sessions", groups_and_sessions}, {"identity", identity}, {"limits", limits}, {"names", names},
    {"scheduling", scheduling}, {"clones", clones}, {"many_children", many_children}, {"deep_fork", deep_fork}, {"waiting_call", waiting_call},
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "echo-arguments") == 0) {
        /* Of a script's own path only the last part is the same everywhere. */
        for (int i = 1; i < argc; i++)
            printf("  argument \"%s\"\n", argv[i]);
        for (char **variable = environ; *variable; variable++)
            printf("  variable \"%s\"\n", *variable);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "count-arguments") == 0) {
        size_t bytes = 0;
        for (int i = 0; i < argc; i++)
            bytes += strlen(argv[i]) + 1;
        printf("  %d arguments of %zu bytes\n", argc, bytes);
        return 0;
    }
    if (argc > 1 && strcmp(argv[1], "report-kept") == 0)
        return report_kept(), 0;
    return RUN_CASES(argc, argv, cases);
}
