/* inotify: every event, masks, flags, limits of a read, removal. */
#include "show.h"
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>

static int watcher;
static uint32_t cookies[64];
static int seen_cookies;

static void drain(const char *what)
{
    static const char *const bits[] = {"ACCESS", "MODIFY", "ATTRIB", "CLOSE_WRITE", "CLOSE_NOWRITE", "OPEN", "MOVED_FROM",
        "MOVED_TO", "CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF", "?", "UNMOUNT", "Q_OVERFLOW", "IGNORED"};
    char buffer[4096] __attribute__((aligned(8)));
    printf("  after %s\n", what);
    ssize_t got;
    while ((got = read(watcher, buffer, sizeof buffer)) > 0)
        for (char *at = buffer; at < buffer + got;) {
            struct inotify_event *event = (void *)at;
            printf("    %d", event->wd);
            for (int i = 0; i < 16; i++)
                if (event->mask & 1u << i)
                    printf(" %s", bits[i]);
            if (event->mask & IN_ISDIR)
                printf(" ISDIR");
            int which = 0;
            if (event->cookie) {
                while (which < seen_cookies && cookies[which] != event->cookie)
                    which++;
                if (which == seen_cookies)
                    cookies[seen_cookies++] = event->cookie;
                printf(" cookie %d", which + 1);
            }
            printf(" len %u \"%s\"\n", event->len, event->len ? event->name : "");
            at += sizeof *event + event->len;
        }
    if (got == 0 || errno != EAGAIN)
        printf("    read %zd %s\n", got, errno_name(errno));
    fflush(stdout);
}

static void files_of_a_directory(void)
{
    enter_scratch();
    char bytes[16];
    watcher = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    SHOW(fcntl(watcher, F_GETFD));
    SHOW(inotify_add_watch(watcher, ".", IN_ALL_EVENTS));
    int file = open("a", O_CREAT | O_RDWR, 0644);
    drain("open with O_CREAT");
    write(file, "text", 4);
    write(file, "text", 4);
    pread(file, bytes, 4, 0);
    drain("write, write and read");
    read(file, bytes, 4);
    pread(file, bytes, 4, 100);
    drain("read at the end");
    ftruncate(file, 2);
    fchmod(file, 0600);
    drain("ftruncate and fchmod");
    close(file);
    drain("close");
    close(open("a", O_RDONLY));
    drain("open and close");
    close(open("a", O_WRONLY | O_TRUNC));
    drain("open with O_TRUNC");
    chown("a", 0, 0);
    utimensat(AT_FDCWD, "a", NULL, 0);
    drain("chown and utimensat");
    link("a", "b");
    drain("link");
    rename("a", "c");
    drain("rename");
    rename("c", "b");
    drain("rename of one file onto itself");
    unlink("c");
    drain("unlink");
    symlink("b", "s");
    mkfifo("f", 0600);
    mkdir("d", 0755);
    drain("symlink, mkfifo, mkdir");
    rmdir("d");
    drain("rmdir");
    close(open(".", O_RDONLY));
    chmod(".", 0755);
    drain("the directory itself");
    setxattr("b", "trusted.x", "1", 1, 0);
    drain("setxattr");
    truncate("b", 100);
    drain("truncate");
    close(open("b", O_PATH));
    drain("O_PATH");
}

static void a_file_itself(void)
{
    enter_scratch();
    watcher = inotify_init1(IN_NONBLOCK);
    int file = open("a", O_CREAT | O_RDWR, 0644);
    SHOW(inotify_add_watch(watcher, "a", IN_ALL_EVENTS));
    write(file, "text", 4);
    rename("a", "b");
    drain("write and rename");
    link("b", "c");
    unlink("b");
    drain("link and unlink of one name");
    unlink("c");
    drain("unlink of the last name");
    close(file);
    drain("last close");
    close(open("a", O_CREAT | O_RDWR, 0644));
    SHOW(inotify_add_watch(watcher, "a", IN_ALL_EVENTS));
    unlink("a");
    drain("unlink");
    mkdir("d", 0755);
    SHOW(inotify_add_watch(watcher, "d", IN_ALL_EVENTS));
    rename("d", "e");
    rmdir("e");
    drain("rename and rmdir of a directory");
    close(open("x", O_CREAT | O_RDWR, 0644));
    close(open("y", O_CREAT | O_RDWR, 0644));
    SHOW(inotify_add_watch(watcher, "x", IN_ALL_EVENTS));
    SHOW(inotify_add_watch(watcher, "y", IN_ALL_EVENTS));
    rename("x", "y");
    drain("rename over another");
}

static void moves(void)
{
    enter_scratch();
    mkdir("one", 0755);
    mkdir("two", 0755);
    close(open("one/f", O_CREAT | O_RDWR, 0644));
    close(open("two/g", O_CREAT | O_RDWR, 0644));
    mkdir("one/sub", 0755);
    watcher = inotify_init1(IN_NONBLOCK);
    SHOW(inotify_add_watch(watcher, "one", IN_MOVE));
    SHOW(inotify_add_watch(watcher, "two", IN_MOVE));
    rename("one/f", "two/f");
    rename("one/sub", "two/sub");
    drain("two moves");
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "two/f", AT_FDCWD, "two/g", 2 /* RENAME_EXCHANGE */));
    drain("exchange");
    rename("two/f", "f");
    drain("a move out of sight");
}

static void flags(void)
{
    enter_scratch();
    watcher = inotify_init1(IN_NONBLOCK);
    mkdir("d", 0755);
    close(open("f", O_CREAT | O_RDWR, 0644));
    symlink("d", "s");
    SHOW(inotify_add_watch(watcher, "f", IN_ONLYDIR | IN_OPEN));
    SHOW(inotify_add_watch(watcher, "s", IN_ONLYDIR | IN_OPEN | IN_DONT_FOLLOW));
    SHOW(inotify_add_watch(watcher, "s", IN_ONLYDIR | IN_CREATE));
    SHOW(inotify_add_watch(watcher, "d", IN_CREATE | 0x10000000 /* IN_MASK_CREATE */));
    SHOW(inotify_add_watch(watcher, "d", IN_DELETE | IN_MASK_ADD));
    SHOW(inotify_add_watch(watcher, "d", IN_DELETE | IN_MASK_ADD | 0x10000000));
    close(open("d/x", O_CREAT | O_RDWR, 0644));
    unlink("d/x");
    drain("create and delete");
    SHOW(inotify_add_watch(watcher, "d", IN_DELETE));
    close(open("d/x", O_CREAT | O_RDWR, 0644));
    drain("a mask that was replaced");
    SHOW(inotify_add_watch(watcher, "f", IN_OPEN | IN_ONESHOT));
    close(open("f", O_RDONLY));
    close(open("f", O_RDONLY));
    drain("IN_ONESHOT");
    int number = inotify_add_watch(watcher, "d", IN_MODIFY | IN_EXCL_UNLINK);
    int file = open("d/x", O_RDWR);
    write(file, "1", 1);
    unlink("d/x");
    write(file, "2", 1);
    drain("IN_EXCL_UNLINK");
    SHOW(inotify_rm_watch(watcher, number));
    drain("inotify_rm_watch");
    SHOW(inotify_rm_watch(watcher, number));
    SHOW(inotify_rm_watch(watcher, -1));
    SHOW(inotify_rm_watch(0, 1));
    SHOW(inotify_rm_watch(99, 1));
    SHOW(inotify_add_watch(watcher, "f", 0));
    SHOW(inotify_add_watch(watcher, "f", IN_ONESHOT));
    SHOW(inotify_add_watch(watcher, "none", IN_OPEN));
    SHOW(inotify_add_watch(watcher, bad_address, IN_OPEN));
    SHOW(inotify_add_watch(watcher, "f/x", IN_OPEN));
    SHOW(inotify_add_watch(0, "f", IN_OPEN));
    SHOW(inotify_add_watch(99, "f", IN_OPEN));
    SHOW(inotify_init1(1));
    SHOW(write(watcher, "x", 1));
    chmod("f", 0);
    chmod(".", 0755);
    IN_CHILD("a stranger", setresgid(2000, 2000, 2000); setresuid(2000, 2000, 2000);
        SHOW(inotify_add_watch(watcher, "f", IN_OPEN)));
}

static void reads(void)
{
    enter_scratch();
    char buffer[256];
    watcher = inotify_init1(IN_NONBLOCK);
    inotify_add_watch(watcher, ".", IN_CREATE);
    SHOW(read(watcher, buffer, sizeof buffer));
    struct pollfd ready = {watcher, POLLIN, 0};
    SHOW(poll(&ready, 1, 0));
    close(open("sixteen_letters_", O_CREAT, 0644));
    close(open("b", O_CREAT, 0644));
    SHOW(poll(&ready, 1, 0));
    NUMBER(ready.revents);
    int bytes = 0;
    SHOW(ioctl(watcher, FIONREAD, &bytes));
    NUMBER(bytes);
    SHOW(read(watcher, buffer, 40));
    SHOW(read(watcher, buffer, 60));
    SHOW(read(watcher, buffer, 60));
    SHOW(read(watcher, buffer, 60));
    fcntl(watcher, F_SETFL, 0);
    fflush(stdout);
    if (fork() == 0) {
        sleep_ms(50);
        close(open("later", O_CREAT, 0644));
        _exit(0);
    }
    SHOW(read(watcher, buffer, sizeof buffer));
    wait(NULL);
}

static void overflow(void)
{
    enter_scratch();
    watcher = inotify_init1(IN_NONBLOCK);
    close(open("a", O_CREAT | O_RDWR, 0644));
    inotify_add_watch(watcher, "a", IN_OPEN | IN_CLOSE);
    for (int i = 0; i < 8300; i++)
        close(open("a", O_RDONLY));
    int count = 0, lost = 0;
    char buffer[4096] __attribute__((aligned(8)));
    ssize_t got;
    while ((got = read(watcher, buffer, sizeof buffer)) > 0)
        for (char *at = buffer; at < buffer + got; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len) {
            struct inotify_event *event = (void *)at;
            if (event->mask & IN_Q_OVERFLOW) {
                lost++;
                NUMBER(event->wd);
            } else
                count++;
        }
    NUMBER(count);
    NUMBER(lost);
}

static void instances(void)
{
    int count = 0;
    while (count < 1000 && inotify_init() >= 0)
        count++;
    HOLDS(errno == EMFILE && count >= 100 && count <= 128);
}

static int signalled;

/* How many signals came since the last time, and by which descriptor and how the last one says it came. */
static void rung(const char *after)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGRTMIN);
    siginfo_t info;
    struct timespec none = {0, 0};
    int count = 0, signal, last = 0;
    while ((signal = sigtimedwait(&set, &info, &none)) > 0) {
        count++;
        last = signal;
    }
    printf("  after %s: %d", after, count);
    if (last == SIGIO)
        printf(" SIGIO code %d", info.si_code);
    else if (last)
        printf(" code %d fd %d band %lx", info.si_code, info.si_fd == signalled, info.si_band);
    printf("\n");
}

static void signals_of_a_directory(void)
{
    enter_scratch();
    mkdir("d", 0755);
    mkdir("d/sub", 0755);
    int file = open("d/f", O_CREAT | O_RDWR, 0644);
    write(file, "x", 1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGIO);
    sigaddset(&set, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int dir = signalled = open("d", O_RDONLY | O_DIRECTORY);
    SHOW(fcntl(file, F_NOTIFY, DN_CREATE));
    SHOW(fcntl(-1, F_NOTIFY, DN_CREATE));
    SHOW(fcntl(open("d", O_PATH), F_NOTIFY, DN_CREATE));
    SHOW(fcntl(dir, F_NOTIFY, 0));
    SHOW(fcntl(dir, F_NOTIFY, DN_CREATE));
    SHOW(fcntl(dir, F_GETOWN) == getpid());
    close(open("d/a", O_CREAT | O_WRONLY, 0644));
    rung("a file is made");
    close(open("d/b", O_CREAT | O_WRONLY, 0644));
    rung("another");
    SHOW(fcntl(dir, F_SETSIG, SIGRTMIN));
    SHOW(fcntl(dir, F_NOTIFY, DN_MULTISHOT | DN_DELETE));
    SHOW(fcntl(dir, F_NOTIFY, DN_CREATE));
    unlink("d/a");
    rung("a file is removed");
    close(open("d/a", O_CREAT | O_WRONLY, 0644));
    rung("made again");
    unlink("d/a");
    rung("removed again");
    chmod("d/b", 0600);
    rung("chmod, not asked for");
    SHOW(fcntl(dir, F_NOTIFY, DN_MULTISHOT | DN_ATTRIB | DN_MODIFY | DN_ACCESS));
    chmod("d/b", 0640);
    rung("chmod");
    chmod("d", 0750);
    rung("chmod of the directory");
    write(file, "y", 1);
    rung("a write");
    char byte;
    pread(file, &byte, 1, 0);
    rung("a read");
    mkdir("d/sub/deep", 0755);
    rung("something deeper");
    rename("d/b", "b");
    rung("a file moves out");
    rename("b", "d/b");
    rung("and in");
    int other = dup(dir);
    SHOW(close(other));
    unlink("d/b");
    rung("a duplicate was closed");
    SHOW(fcntl(dir, F_NOTIFY, DN_MULTISHOT | DN_CREATE));
    SHOW(fcntl(dir, F_NOTIFY, DN_MULTISHOT));
    close(open("d/c", O_CREAT | O_WRONLY, 0644));
    rung("it was ended");
    SHOW(fcntl(dir, F_NOTIFY, DN_MULTISHOT | DN_CREATE));
    SHOW(close(dir));
    close(open("d/e", O_CREAT | O_WRONLY, 0644));
    rung("it was closed");
}

static const struct test_case cases[] = {
    {"files_of_a_directory", files_of_a_directory}, {"a_file_itself", a_file_itself}, {"moves", moves}, {"flags", flags},
    {"reads", reads}, {"overflow", overflow}, {"instances", instances}, {"signals_of_a_directory", signals_of_a_directory},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
