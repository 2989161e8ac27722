/* clone, unshare and setns with namespaces: names, mounts, users. */
#include "show.h"

#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

static void show_host(const char *who)
{
    struct utsname names;
    static const char *const known[] = {"before", "after", "inside", "cloned", "mine", "changed"};
    const char *name = "of the container";
    uname(&names);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(names.nodename, known[i]) == 0)
            name = known[i];
    printf("  %s: host %s\n", who, name);
    fflush(stdout);
}

static long put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    if (fd < 0)
        return -1;
    long done = write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

static void show_file(const char *path)
{
    char text[512];
    int fd = open(path, O_RDONLY);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (len < 0)
        printf("  %s: %s\n", path, errno_name(errno));
    else
        printf("  %s: %.*s%s", path, (int)len, text, len > 0 && text[len - 1] == '\n' ? "" : "\n");
    close(fd);
    fflush(stdout);
}

static void same(const char *name, pid_t pid, int expect)
{
    char a[64], b[64], path[64];
    snprintf(path, sizeof path, "/proc/self/ns/%s", name);
    ssize_t la = readlink(path, a, sizeof a);
    snprintf(path, sizeof path, "/proc/%d/ns/%s", pid, name);
    ssize_t lb = readlink(path, b, sizeof b);
    printf("  %s %s as expected: %s\n", name, expect ? "same" : "other", la > 0 && (la == lb && memcmp(a, b, la) == 0) == expect ? "yes" : "NO");
    fflush(stdout);
}

static void names(void)
{
    /* Names of a namespace of its own, for the machine keeps its name. */
    SHOW(unshare(CLONE_NEWUTS));
    SHOW(sethostname("before", 6));
    SHOW(setdomainname("dom", 3));
    int old = open("/proc/self/ns/uts", O_RDONLY);
    HOLDS(old >= 0);
    SHOW(unshare(CLONE_NEWUTS));
    same("uts", getppid(), 0);
    same("mnt", getppid(), 1);
    show_host("new");
    SHOW(sethostname("after", 5));
    show_host("changed");
    IN_CHILD("child", show_host("inherits"));
    SHOW(setns(old, CLONE_NEWIPC));
    SHOW(setns(old, 0));
    show_host("back");
    SHOW(setns(old, CLONE_NEWUTS));
    SHOW(setns(-1, 0));
    SHOW(setns(0, 0) == -1 ? -1 : 0);
    SHOW(setns(old, 12345));
    IN_CHILD("user", syscall(SYS_setresuid, 1234, 1234, 1234); SHOW(unshare(CLONE_NEWUTS)); SHOW(setns(old, 0)); SHOW(sethostname("x", 1)));
    struct stat info;
    SHOW(fstat(old, &info));
    HOLDS(S_ISREG(info.st_mode));
    char byte;
    SHOW(read(old, &byte, 1));
    SHOW(write(old, &byte, 1));
    SHOW(open("/proc/self/ns/uts", O_RDWR) == -1 ? -1 : 0);
}

static void flags(void)
{
    SHOW(unshare(1));
    SHOW(unshare(0));
    SHOW(unshare(CLONE_FS | CLONE_FILES));
    SHOW(unshare(CLONE_THREAD));
    SHOW(unshare(CLONE_VM));
    SHOW(unshare(CLONE_SYSVSEM));
    SHOW(unshare(CLONE_PTRACE));
    SHOW(unshare(CLONE_NEWCGROUP));
    SHOW(syscall(SYS_clone, CLONE_NEWNS | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    SHOW(syscall(SYS_clone, CLONE_NEWUSER | CLONE_FS | SIGCHLD, 0, 0, 0, 0));
    SHOW(syscall(SYS_clone, CLONE_NEWUSER | CLONE_VM | CLONE_SIGHAND | CLONE_THREAD, 0, 0, 0, 0));
    fflush(stdout);
    pid_t child = syscall(SYS_clone, CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        sethostname("cloned", 6);
        show_host("child");
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    struct utsname own;
    uname(&own);
    HOLDS(strcmp(own.nodename, "cloned") != 0);
}

static void mounts(void)
{
    enter_scratch();
    mkdir("at", 0755);
    SHOW(unshare(CLONE_NEWNS));
    SHOW(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
    SHOW(mount("none", "at", "tmpfs", 0, NULL));
    SHOW(mkdir("at/inside", 0755));
    pid_t child;
    fflush(stdout);
    if ((child = fork()) == 0) {
        SHOW(unshare(CLONE_NEWNS));
        SHOW(umount("at"));
        SHOW(access("at/inside", F_OK));
        fflush(stdout);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    SHOW(access("at/inside", F_OK));
    SHOW(umount("at"));
}

static void objects(void)
{
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    struct shmid_ds info;
    int old = open("/proc/self/ns/ipc", O_RDONLY);
    HOLDS(id >= 0);
    SHOW(shmctl(id, IPC_STAT, &info));
    SHOW(syscall(SYS_clone, CLONE_NEWIPC | CLONE_SYSVSEM | SIGCHLD, 0, 0, 0, 0));
    SHOW(unshare(CLONE_NEWIPC));
    same("ipc", getppid(), 0);
    SHOW(shmctl(id, IPC_STAT, &info));
    SHOW(setns(old, CLONE_NEWIPC));
    SHOW(shmctl(id, IPC_STAT, &info));
    SHOW(shmctl(id, IPC_RMID, NULL));
}

static void users(void)
{
    enter_scratch();
    close(open("file", O_CREAT | O_WRONLY, 0644));
    chown("file", 1234, 1234);
    chmod(".", 0777);
    SHOW(syscall(SYS_setresgid, 1234, 1234, 1234));
    SHOW(syscall(SYS_setresuid, 1234, 1234, 1234));
    prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    SHOW(unshare(CLONE_NEWUSER));
    NUMBER(getuid());
    NUMBER(getegid());
    same("user", getppid(), 0);
    show_file("/proc/self/uid_map");
    SHOW(setuid(0));
    SHOW(put("/proc/self/gid_map", "0 1234 1"));
    SHOW(put("/proc/self/uid_map", "0 5 1"));
    SHOW(put("/proc/self/uid_map", "0 1234 2"));
    SHOW(put("/proc/self/uid_map", "x"));
    SHOW(put("/proc/self/uid_map", "0 1234 1"));
    SHOW(put("/proc/self/uid_map", "0 1234 1"));
    SHOW(put("/proc/self/setgroups", "maybe"));
    SHOW(put("/proc/self/setgroups", "deny"));
    show_file("/proc/self/setgroups");
    SHOW(put("/proc/self/gid_map", "7 1234 1"));
    SHOW(put("/proc/self/setgroups", "allow"));
    show_file("/proc/self/uid_map");
    show_file("/proc/self/gid_map");
    NUMBER(getuid());
    NUMBER(getgid());
    gid_t group = 7;
    SHOW(syscall(SYS_setgroups, 1, &group));
    SHOW(setuid(0));
    SHOW(setuid(1));
    SHOW(setgid(7));
    struct stat info;
    SHOW(stat("file", &info));
    NUMBER(info.st_uid);
    SHOW(chmod("file", 0600));
    SHOW(open("file", O_WRONLY) == -1 ? -1 : 0);
    SHOW(chown("file", 0, 7));
    SHOW(chown("file", 9, 9));
    /* What needs capabilities in the new namespace, and what needs them outside. */
    SHOW(unshare(CLONE_NEWUTS));
    SHOW(sethostname("mine", 4));
    SHOW(unshare(CLONE_NEWNS));
    SHOW(mount("none", "/tmp", "tmpfs", 0, NULL));
    SHOW(close(open("/tmp/own", O_CREAT | O_WRONLY, 0600)));
    SHOW(stat("/tmp/own", &info));
    NUMBER(info.st_uid);
    SHOW(chroot("/tmp"));
    SHOW(kill(getppid(), 0));
    SHOW(mknod("null", S_IFCHR | 0666, 0x103));
}

static void users_of_root(void)
{
    int ends[2], back[2];
    char byte;
    pipe(ends);
    pipe(back);
    fflush(stdout);
    pid_t child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        write(ends[1], "x", 1);
        read(back[0], &byte, 1);
        NUMBER(getuid());
        SHOW(setuid(5));
        NUMBER(getuid());
        show_file("/proc/self/uid_map");
        gid_t groups[2] = {3, 4};
        SHOW(syscall(SYS_setgroups, 2, groups));
        SHOW(syscall(SYS_setgroups, 2, (gid_t[]){3, 400}));
        fflush(stdout);
        _exit(0);
    }
    read(ends[0], &byte, 1);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/uid_map", child);
    NUMBER(put(path, "0 0 10\n100 5000 10\n"));
    NUMBER(put(path, "0 0 10"));
    snprintf(path, sizeof path, "/proc/%d/gid_map", child);
    NUMBER(put(path, "0 0 10"));
    write(back[1], "x", 1);
    int status;
    waitpid(child, &status, 0);
    show_status("child", status);
}

static void enter_users(void)
{
    int ends[2];
    char byte;
    pipe(ends);
    fflush(stdout);
    pid_t child = syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWUTS | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        sethostname("inside", 6);
        write(ends[1], "x", 1);
        for (;;)
            pause();
    }
    read(ends[0], &byte, 1);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", child);
    int user = open(path, O_RDONLY);
    snprintf(path, sizeof path, "/proc/%d/ns/uts", child);
    int uts = open(path, O_RDONLY);
    SHOW(setns(uts, 0));
    show_host("there");
    SHOW(setns(user, 0));
    SHOW(setns(user, 0));
    NUMBER(getuid());
    SHOW(sethostname("changed", 7));
    show_host("there");
    same("user", child, 1);
    kill(child, SIGKILL);
}

static const struct test_case cases[] = {
    {"names", names}, {"flags", flags}, {"mounts", mounts}, {"objects", objects}, {"users", users}, {"users_of_root", users_of_root},
    {"enter_users", enter_users},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
