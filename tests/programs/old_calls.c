/* Calls that newer ones have replaced and libraries make no more, by their numbers, and the *at calls that libraries build others
 * on. */
#include "show.h"
#include <dirent.h>
#include <grp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <utime.h>

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

static void put(const char *path, const char *text)
{
    int file = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0644);
    write(file, text, strlen(text));
    close(file);
}

static void times(void)
{
    long seconds = 0;
    long told = syscall(SYS_time, &seconds);
    HOLDS(told == seconds && told > 1600000000);
    HOLDS(syscall(SYS_time, NULL) - told <= 1);
    SHOW(syscall(SYS_time, bad_address));
    struct timeval now = {0, 0};
    struct timezone zone = {-1, -1};
    SHOW(syscall(SYS_gettimeofday, &now, &zone));
    HOLDS(now.tv_sec - told <= 1 && now.tv_usec >= 0 && now.tv_usec < 1000000);
    NUMBER(zone.tz_minuteswest);
    SHOW(syscall(SYS_gettimeofday, NULL, NULL));
    SHOW(syscall(SYS_gettimeofday, bad_address, NULL));
    SHOW(syscall(SYS_gettimeofday, NULL, bad_address));
    SHOW(syscall(SYS_alarm, 100));
    SHOW(syscall(SYS_alarm, 50));
    SHOW(syscall(SYS_alarm, 0));
    SHOW(syscall(SYS_alarm, 0));
}

static void show_times(const char *path)
{
    struct stat is;
    if (stat(path, &is) == 0)
        printf("  %s: %ld.%09ld %ld.%09ld\n", path, (long)is.st_atim.tv_sec, is.st_atim.tv_nsec, (long)is.st_mtim.tv_sec,
               is.st_mtim.tv_nsec);
}

static void file_times(void)
{
    enter_scratch();
    put("f", "");
    struct utimbuf old = {100, 200};
    SHOW(syscall(SYS_utime, "f", &old));
    show_times("f");
    struct timeval two[2] = {{300, 5}, {400, 999999}};
    SHOW(syscall(SYS_utimes, "f", two));
    show_times("f");
    two[0].tv_sec = 500;
    SHOW(syscall(SYS_futimesat, AT_FDCWD, "f", two));
    show_times("f");
    two[1].tv_usec = 1000000;
    SHOW(syscall(SYS_utimes, "f", two));
    SHOW(syscall(SYS_futimesat, AT_FDCWD, "f", two));
    two[1].tv_usec = -1;
    SHOW(syscall(SYS_utimes, "f", two));
    SHOW(syscall(SYS_utime, "none", &old));
    SHOW(syscall(SYS_utime, "f", bad_address));
    SHOW(syscall(SYS_utime, bad_address, &old));
    SHOW(syscall(SYS_utimes, "f", bad_address));
    SHOW(syscall(SYS_futimesat, 99, "f", NULL));
    two[1].tv_usec = 7;
    int file = open("f", O_RDONLY);
    SHOW(syscall(SYS_futimesat, file, NULL, two));
    show_times("f");
    SHOW(syscall(SYS_futimesat, 99, NULL, two));
    SHOW(syscall(SYS_futimesat, file, "x", two));
    SHOW(syscall(SYS_utime, "f", NULL));
    struct stat is;
    stat("f", &is);
    HOLDS(is.st_mtime > 1600000000);
    chmod("f", 0666);
    chmod(".", 0777);
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000);
             SHOW(syscall(SYS_utime, "f", NULL)); SHOW(syscall(SYS_utime, "f", &old)); SHOW(syscall(SYS_utimes, "f", two)));
    chmod("f", 0644);
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000); SHOW(syscall(SYS_utime, "f", NULL)));
}

struct old_entry {
    unsigned long inode;
    unsigned long offset;
    unsigned short bytes;
    char name[];
};

static void directories(void)
{
    enter_scratch();
    char buffer[1024];
    put("one", "");
    mkdir("two", 0755);
    symlink("one", "three");
    int place = open(".", O_RDONLY | O_DIRECTORY);
    int seen = 0, dots = 0, kinds = 0;
    for (long left; (left = syscall(SYS_getdents, place, buffer, sizeof buffer)) > 0;)
        for (char *at = buffer; at < buffer + left; at += ((struct old_entry *)at)->bytes) {
            struct old_entry *entry = (struct old_entry *)at;
            unsigned char kind = ((unsigned char *)at)[entry->bytes - 1];
            dots += entry->name[0] == '.';
            seen += strcmp(entry->name, "one") == 0 || strcmp(entry->name, "two") == 0 || strcmp(entry->name, "three") == 0;
            kinds += strcmp(entry->name, "one") == 0 && kind == DT_REG;
            kinds += strcmp(entry->name, "two") == 0 && kind == DT_DIR;
            kinds += strcmp(entry->name, "three") == 0 && kind == DT_LNK;
        }
    NUMBER(seen);
    NUMBER(dots);
    NUMBER(kinds);
    SHOW(syscall(SYS_getdents, place, buffer, sizeof buffer));
    lseek(place, 0, SEEK_SET);
    SHOW(syscall(SYS_getdents, place, buffer, 8));
    SHOW(syscall(SYS_getdents, place, bad_address, sizeof buffer));
    SHOW(syscall(SYS_getdents, 99, buffer, sizeof buffer));
    int file = open("one", O_RDONLY);
    SHOW(syscall(SYS_getdents, file, buffer, sizeof buffer));
    rmdir("two");
    mkdir("gone", 0755);
    int gone = open("gone", O_RDONLY);
    rmdir("gone");
    SHOW(syscall(SYS_getdents, gone, buffer, sizeof buffer));
}

static void creation(void)
{
    enter_scratch();
    umask(022);
    int file = (int)syscall(SYS_creat, "f", 0666);
    HOLDS(file >= 0);
    NUMBER(fcntl(file, F_GETFL) & (O_ACCMODE | O_APPEND));
    SHOW(write(file, "abc", 3));
    SHOW(read(file, &(char){0}, 1));
    file = (int)syscall(SYS_creat, "f", 0600);
    struct stat is;
    SHOW(fstat(file, &is));
    NUMBER(is.st_size);
    NUMBER(is.st_mode & 07777);
    SHOW(syscall(SYS_creat, "none/f", 0600));
    SHOW(syscall(SYS_creat, ".", 0600));
    SHOW(syscall(SYS_creat, "", 0600));
    SHOW(syscall(SYS_creat, bad_address, 0600));
    SHOW(syscall(SYS_fchown, file, 12, 34));
    fstat(file, &is);
    NUMBER(is.st_uid);
    NUMBER(is.st_gid);
    SHOW(syscall(SYS_fchown, file, -1, 56));
    fstat(file, &is);
    NUMBER(is.st_uid);
    NUMBER(is.st_gid);
    SHOW(syscall(SYS_fchown, 99, 1, 1));
    int path = open("f", O_PATH);
    SHOW(syscall(SYS_fchown, path, 1, 1));
    chmod(".", 0777);
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000); SHOW(syscall(SYS_fchown, file, 2000, 2000)));
    IN_CHILD("the owner", setresgid(70, 70, 70); setgroups(0, NULL); setresuid(12, 12, 12);
             SHOW(syscall(SYS_fchown, file, 12, 70)); SHOW(syscall(SYS_fchown, file, 12, 71)); SHOW(syscall(SYS_fchown, file, 13, 70)));
}

static void relative(void)
{
    enter_scratch();
    umask(022);
    SHOW(syscall(SYS_mkdirat, AT_FDCWD, "d", 0777));
    SHOW(syscall(SYS_mkdirat, AT_FDCWD, "d", 0777));
    int d = open("d", O_RDONLY | O_DIRECTORY);
    put("d/f", "text");
    int file = open("d/f", O_RDWR);
    SHOW(syscall(SYS_mkdirat, d, "sub", 02777));
    struct stat is;
    fstatat(d, "sub", &is, 0);
    NUMBER(is.st_mode & 07777);
    SHOW(syscall(SYS_mkdirat, file, "sub", 0777));
    SHOW(syscall(SYS_mkdirat, 99, "sub", 0777));
    SHOW(syscall(SYS_mkdirat, 99, "/tmp", 0777));
    SHOW(syscall(SYS_mkdirat, d, "", 0777));
    SHOW(syscall(SYS_mkdirat, d, bad_address, 0777));
    SHOW(syscall(SYS_mkdirat, d, "none/sub", 0777));
    SHOW(syscall(SYS_mknodat, d, "fifo", S_IFIFO | 0666, 0));
    SHOW(syscall(SYS_mknodat, d, "file", S_IFREG | 0666, 0));
    SHOW(syscall(SYS_mknodat, d, "plain", 0666, 0));
    SHOW(syscall(SYS_mknodat, d, "socket", S_IFSOCK | 0666, 0));
    SHOW(syscall(SYS_mknodat, d, "dir", S_IFDIR | 0666, 0));
    SHOW(syscall(SYS_mknodat, d, "link", S_IFLNK | 0666, 0));
    SHOW(syscall(SYS_mknodat, d, "odd", 0170000 | 0666, 0));
    SHOW(syscall(SYS_mknodat, d, "fifo", S_IFIFO | 0666, 0));
    SHOW(syscall(SYS_mknodat, 99, "x", S_IFIFO | 0666, 0));
    fstatat(d, "plain", &is, 0);
    NUMBER(is.st_mode);
    fstatat(d, "socket", &is, 0);
    NUMBER(is.st_mode);
    SHOW(syscall(SYS_symlinkat, "f", d, "s"));
    SHOW(syscall(SYS_symlinkat, "f", d, "s"));
    SHOW(syscall(SYS_symlinkat, "", d, "e"));
    SHOW(syscall(SYS_symlinkat, "f", 99, "s2"));
    SHOW(syscall(SYS_symlinkat, bad_address, d, "s2"));
    SHOW(syscall(SYS_symlinkat, "f", d, ""));
    char target[8] = "";
    SHOW(syscall(SYS_readlinkat, d, "s", target, sizeof target));
    TEXT(target);
    SHOW(syscall(SYS_readlinkat, d, "s", target, 0));
    SHOW(syscall(SYS_readlinkat, d, "s", target, -1));
    SHOW(syscall(SYS_readlinkat, d, "f", target, sizeof target));
    SHOW(syscall(SYS_readlinkat, d, "s", bad_address, sizeof target));
    SHOW(syscall(SYS_readlinkat, d, "", target, sizeof target));
    int link = openat(d, "s", O_PATH | O_NOFOLLOW);
    SHOW(syscall(SYS_readlinkat, link, "", target, sizeof target));
    SHOW(syscall(SYS_readlinkat, 99, "s", target, sizeof target));
    SHOW(syscall(SYS_renameat, d, "s", AT_FDCWD, "moved"));
    SHOW(syscall(SYS_renameat, d, "s", AT_FDCWD, "moved"));
    SHOW(syscall(SYS_renameat, 99, "s", AT_FDCWD, "moved"));
    SHOW(syscall(SYS_renameat, d, "sub", d, "sub/below"));
    SHOW(syscall(SYS_renameat, d, "f", d, "sub"));
    SHOW(syscall(SYS_renameat, d, "sub", d, "f"));
    SHOW(syscall(SYS_renameat, d, ".", AT_FDCWD, "x"));
    SHOW(syscall(SYS_renameat, d, "f", d, "f"));
    SHOW(syscall(SYS_fchmodat, d, "f", 04755));
    fstatat(d, "f", &is, 0);
    NUMBER(is.st_mode & 07777);
    SHOW(syscall(SYS_fchmodat, d, "none", 0755));
    SHOW(syscall(SYS_fchmodat, d, "", 0755));
    SHOW(syscall(SYS_fchmodat, 99, "f", 0755));
    SHOW(syscall(SYS_fchmodat, d, bad_address, 0755));
    SHOW(syscall(SYS_faccessat, d, "f", R_OK | W_OK));
    SHOW(syscall(SYS_faccessat, d, "none", F_OK));
    SHOW(syscall(SYS_faccessat, d, "f", 8));
    SHOW(syscall(SYS_faccessat, 99, "f", F_OK));
    SHOW(syscall(SYS_faccessat, d, bad_address, F_OK));
    chmod(".", 0755);
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000); SHOW(syscall(SYS_faccessat, d, "f", W_OK));
             SHOW(syscall(SYS_faccessat, d, "f", X_OK)); SHOW(syscall(SYS_fchmodat, d, "f", 0777)));
    IN_CHILD("real and effective", setresuid(2000, 0, 0); SHOW(syscall(SYS_faccessat, d, "f", W_OK)));
}

static void modes_without_following(void)
{
    enter_scratch();
    put("f", "");
    symlink("f", "s");
    struct stat is;
    SHOW(syscall(SYS_fchmodat2, AT_FDCWD, "f", 0700, 0));
    stat("f", &is);
    NUMBER(is.st_mode & 07777);
    SHOW(syscall(SYS_fchmodat2, AT_FDCWD, "s", 0711, AT_SYMLINK_NOFOLLOW));
    SHOW(syscall(SYS_fchmodat2, AT_FDCWD, "f", 0711, 1));
    int file = open("f", O_RDONLY);
    SHOW(syscall(SYS_fchmodat2, file, "", 0711, AT_EMPTY_PATH));
    stat("f", &is);
    NUMBER(is.st_mode & 07777);
}

static void descriptors(void)
{
    int queue = (int)syscall(SYS_epoll_create, 1);
    HOLDS(queue >= 0);
    NUMBER(fcntl(queue, F_GETFD));
    SHOW(syscall(SYS_epoll_create, 0));
    SHOW(syscall(SYS_epoll_create, -1));
    int counter = (int)syscall(SYS_eventfd, 3);
    HOLDS(counter >= 0);
    NUMBER(fcntl(counter, F_GETFL));
    uint64_t count = 0;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.u64 = 77}, got[4];
    SHOW(epoll_ctl(queue, EPOLL_CTL_ADD, counter, &event));
    SHOW(syscall(SYS_epoll_wait, queue, got, 4, 0));
    NUMBER(got[0].events);
    NUMBER(got[0].data.u64);
    SHOW(read(counter, &count, 8));
    NUMBER(count);
    SHOW(syscall(SYS_epoll_wait, queue, got, 4, 10));
    NUMBER(got[0].events);
    SHOW(syscall(SYS_epoll_wait, queue, got, 0, 0));
    SHOW(syscall(SYS_epoll_wait, queue, got, -1, 0));
    SHOW(syscall(SYS_epoll_wait, queue, got, INT_MAX, 0));
    SHOW(syscall(SYS_epoll_wait, queue, bad_address, 1, 0));
    SHOW(syscall(SYS_epoll_wait, counter, got, 1, 0));
    SHOW(syscall(SYS_epoll_wait, 99, got, 1, 0));
    event.events = EPOLLIN;
    SHOW(epoll_ctl(queue, EPOLL_CTL_MOD, counter, &event));
    SHOW(syscall(SYS_epoll_wait, queue, got, 1, 1));
    int watch = (int)syscall(SYS_inotify_init);
    HOLDS(watch >= 0);
    NUMBER(fcntl(watch, F_GETFL));
    NUMBER(fcntl(watch, F_GETFD));
    uint64_t mask = 1ul << (SIGUSR1 - 1);
    sigprocmask(SIG_BLOCK, (sigset_t *)&mask, NULL);
    int signals = (int)syscall(SYS_signalfd, -1, &mask, 8);
    HOLDS(signals >= 0);
    NUMBER(fcntl(signals, F_GETFL));
    kill(getpid(), SIGUSR1);
    unsigned char news[128];
    SHOW(read(signals, news, sizeof news));
    NUMBER(news[0]);
    SHOW(syscall(SYS_signalfd, -1, &mask, 4));
    SHOW(syscall(SYS_signalfd, 0, &mask, 8));
    SHOW(syscall(SYS_signalfd, 99, &mask, 8));
    SHOW(syscall(SYS_signalfd, -1, bad_address, 8));
}

static void limits(void)
{
    struct rlimit limit = {0, 0};
    SHOW(syscall(SYS_getrlimit, RLIMIT_CORE, &limit));
    struct rlimit set = {10, 20};
    SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &set));
    SHOW(syscall(SYS_getrlimit, RLIMIT_NOFILE, &limit));
    NUMBER(limit.rlim_cur);
    NUMBER(limit.rlim_max);
    set.rlim_cur = 21;
    SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &set));
    SHOW(syscall(SYS_setrlimit, RLIMIT_NLIMITS, &set));
    SHOW(syscall(SYS_getrlimit, RLIMIT_NLIMITS, &limit));
    SHOW(syscall(SYS_getrlimit, -1, &limit));
    SHOW(syscall(SYS_getrlimit, RLIMIT_NOFILE, bad_address));
    SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, bad_address));
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000); set.rlim_cur = 5; set.rlim_max = 30;
             SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &set)); set.rlim_max = 15;
             SHOW(syscall(SYS_setrlimit, RLIMIT_NOFILE, &set)));
    HOLDS(syscall(SYS_getpgrp) == getpgid(0));
}

static void file_systems(void)
{
    enter_scratch();
    struct { int free; unsigned long inodes; char name[6], pack[6]; } old;
    struct stat is;
    stat(".", &is);
    SHOW(syscall(SYS_ustat, 0xffff, &old));
    SHOW(syscall(SYS_sync));
    struct statfs by_path, by_file;
    int place = open(".", O_RDONLY);
    SHOW(syscall(SYS_statfs, ".", &by_path));
    SHOW(syscall(SYS_fstatfs, place, &by_file));
    HOLDS(by_path.f_type == by_file.f_type && by_path.f_bsize == by_file.f_bsize && by_path.f_blocks == by_file.f_blocks);
    SHOW(syscall(SYS_fstatfs, 99, &by_file));
    SHOW(syscall(SYS_fstatfs, place, bad_address));
    int pipes[2];
    pipe(pipes);
    SHOW(syscall(SYS_fstatfs, pipes[0], &by_file));
    printf("  type of a pipe: %lx\n", (long)by_file.f_type);
    int path = open(".", O_PATH);
    SHOW(syscall(SYS_fstatfs, path, &by_file));
}

static void attributes(void)
{
    enter_scratch();
    put("f", "");
    symlink("f", "s");
    int file = open("f", O_RDWR);
    char list[64] = "", value[64] = "";
    SHOW(syscall(SYS_lsetxattr, "f", "trusted.one", "1", 1, 0));
    SHOW(syscall(SYS_lsetxattr, "f", "trusted.three", "22", 2, 0));
    SHOW(syscall(SYS_lsetxattr, "s", "trusted.one", "22", 2, 0));
    long length = SHOW(syscall(SYS_llistxattr, "f", list, sizeof list));
    HOLDS(length <= 0 || memchr(list, 0, (size_t)length) != NULL);
    SHOW(syscall(SYS_flistxattr, file, list, sizeof list));
    SHOW(syscall(SYS_flistxattr, file, NULL, 0));
    SHOW(syscall(SYS_llistxattr, "s", list, sizeof list));
    SHOW(syscall(SYS_llistxattr, "none", list, sizeof list));
    SHOW(syscall(SYS_flistxattr, 99, list, sizeof list));
    SHOW(syscall(SYS_llistxattr, bad_address, list, sizeof list));
    SHOW(syscall(SYS_lgetxattr, "f", "trusted.none", value, sizeof value));
    SHOW(syscall(SYS_lgetxattr, "f", "nonsense", value, sizeof value));
    SHOW(syscall(SYS_lremovexattr, "f", "trusted.none"));
    SHOW(syscall(SYS_fremovexattr, file, "trusted.none"));
    SHOW(syscall(SYS_fremovexattr, 99, "trusted.none"));
    SHOW(syscall(SYS_lremovexattr, "none", "trusted.none"));
    SHOW(syscall(SYS_lsetxattr, "f", "trusted.two", "1", 1, 4));
    SHOW(syscall(SYS_lsetxattr, "f", "trusted.two", "1", 1, 2));
    SHOW(syscall(SYS_lsetxattr, "f", "", "1", 1, 0));
    SHOW(syscall(SYS_lsetxattr, "f", "trusted.", "1", 1, 0));
    SHOW(syscall(SYS_lsetxattr, "f", "trusted.big", "1", 65537, 0));
}

static void vectors(void)
{
    enter_scratch();
    int file = open("f", O_CREAT | O_RDWR, 0644);
    struct iovec parts[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
    SHOW(syscall(SYS_pwritev, file, parts, 3, 4L, 0L));
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(lseek(file, 0, SEEK_END));
    char back[8] = "";
    SHOW(pread(file, back, 7, 4));
    TEXT(back);
    SHOW(syscall(SYS_pwritev, file, parts, 3, -1L, -1L));
    SHOW(syscall(SYS_pwritev, file, parts, -1, 0L, 0L));
    SHOW(syscall(SYS_pwritev, file, parts, 1025, 0L, 0L));
    SHOW(syscall(SYS_pwritev, file, bad_address, 1, 0L, 0L));
    SHOW(syscall(SYS_pwritev, file, parts, 0, 0L, 0L));
    parts[1].iov_base = bad_address;
    parts[1].iov_len = 1;
    SHOW(syscall(SYS_pwritev, file, parts, 3, 0L, 0L));
    int reader = open("f", O_RDONLY);
    SHOW(syscall(SYS_pwritev, reader, parts, 1, 0L, 0L));
    SHOW(syscall(SYS_pwritev, 99, parts, 1, 0L, 0L));
    int pipes[2];
    pipe(pipes);
    SHOW(syscall(SYS_pwritev, pipes[1], parts, 1, 0L, 0L));
}

static const struct test_case cases[] = {
    {"times", times},
    {"file_times", file_times},
    {"directories", directories},
    {"creation", creation},
    {"relative", relative},
    {"modes_without_following", modes_without_following},
    {"descriptors", descriptors},
    {"limits", limits},
    {"file_systems", file_systems},
    {"attributes", attributes},
    {"vectors", vectors},
};

int main(int argc, char **argv)
{
    return RUN_CASES(argc, argv, cases);
}
