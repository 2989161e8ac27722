/* Files: opening, reading, writing, names, directories, links, attributes, descriptors, locks. */
#include "show.h"
#include <dirent.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

static int create(const char *name, const char *text)
{
    int file = open(name, O_CREAT | O_TRUNC | O_RDWR, 0644);
    if (file < 0 || write(file, text, strlen(text)) != (ssize_t)strlen(text))
        printf("  create %s: %s\n", name, errno_name(errno));
    return file;
}

static void show_content(const char *name)
{
    char text[256] = "";
    int file = open(name, O_RDONLY);
    ssize_t length = read(file, text, sizeof text - 1);
    if (length < 0)
        printf("  %s: %s\n", name, errno_name(errno));
    else
        printf("  %s: %zd bytes \"%.60s\"\n", name, length, text);
    fflush(stdout);
    close(file);
}

static void show_stat(const char *name)
{
    struct stat info;
    if (lstat(name, &info) != 0)
        printf("  %s: %s\n", name, errno_name(errno));
    else
        printf("  %s: mode %o links %ld owner %d:%d size %ld\n", name, info.st_mode,
               S_ISDIR(info.st_mode) ? -1L : (long)info.st_nlink, info.st_uid, info.st_gid,
               S_ISDIR(info.st_mode) ? -1L : (long)info.st_size);
    fflush(stdout);
}

static int by_name(const void *left, const void *right) { return strcmp(*(char **)left, *(char **)right); }

static void show_directory(const char *name)
{
    char *names[256];
    int count = 0;
    DIR *directory = opendir(name);
    struct dirent *entry;
    if (!directory) {
        printf("  %s: %s\n", name, errno_name(errno));
        return;
    }
    while ((entry = readdir(directory)) && count < 256) {
        char text[300];
        snprintf(text, sizeof text, "%s/%d", entry->d_name, entry->d_type);
        names[count++] = strdup(text);
    }
    closedir(directory);
    qsort(names, count, sizeof *names, by_name);
    printf("  %s:", name);
    for (int i = 0; i < count; i++)
        printf(" %s", names[i]);
    printf("\n");
    fflush(stdout);
}

static void opening(void)
{
    enter_scratch();
    umask(022);
    SHOW(open("missing", O_RDONLY));
    SHOW(open("", O_RDONLY));
    WORKS(open("new", O_CREAT | O_EXCL | O_WRONLY, 0666));
    SHOW(open("new", O_CREAT | O_EXCL | O_WRONLY, 0666));
    show_stat("new");
    WORKS(open("mode", O_CREAT | O_RDWR, 04751));
    show_stat("mode");
    create("text", "0123456789");
    SHOW(open("text/x", O_RDONLY));
    SHOW(open("text/", O_RDONLY));
    SHOW(open("text", O_RDONLY | O_DIRECTORY));
    SHOW(open(".", O_WRONLY));
    SHOW(open(".", O_CREAT | O_RDONLY, 0644));
    SHOW(open("no/such/dir", O_CREAT | O_WRONLY, 0644));
    SHOW(open("newdir/", O_CREAT | O_WRONLY, 0644));
    int file = open("text", O_WRONLY | O_TRUNC);
    SHOW(read(file, &file, 1));
    show_content("text");
    file = open("text", O_RDONLY);
    SHOW(write(file, "x", 1));
    SHOW(ftruncate(file, 0));
    symlink("text", "link");
    SHOW(open("link", O_RDONLY | O_NOFOLLOW));
    symlink("target", "dangling");
    SHOW(open("dangling", O_RDONLY));
    SHOW(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
    WORKS(open("dangling", O_CREAT | O_WRONLY, 0600));
    show_stat("target");
    file = open("text", O_PATH);
    SHOW(read(file, &file, 1));
    WORKS(openat(open(".", O_PATH), "text", O_RDONLY));
    char name[300];
    memset(name, 'n', sizeof name);
    name[256] = 0;
    SHOW(open(name, O_CREAT | O_WRONLY, 0644));
    name[255] = 0;
    WORKS(open(name, O_CREAT | O_WRONLY, 0644));
    file = open("/dev/shm", O_TMPFILE | O_RDWR, 0600); /* a tmpfs everywhere; not every overlayfs has it */
    struct stat info;
    SHOW(fstat(file, &info));
    NUMBER(info.st_nlink);
    SHOW(close(99));
    SHOW(close(-1));
    SHOW(openat(99, "x", O_RDONLY));
    SHOW(openat(open("text", O_RDONLY), "x", O_RDONLY));
}

static void reading_and_writing(void)
{
    enter_scratch();
    char text[64] = "";
    int file = create("f", "hello world");
    SHOW(lseek(file, 0, SEEK_SET));
    SHOW(read(file, text, 5));
    TEXT(text);
    SHOW(read(file, text, 100));
    SHOW(read(file, text, 100));
    SHOW(lseek(file, -3, SEEK_END));
    SHOW(lseek(file, -100, SEEK_CUR));
    SHOW(lseek(file, 0, 99));
    SHOW(lseek(file, 100, SEEK_SET));
    SHOW(write(file, "end", 3));
    show_stat("f");
    memset(text, 'x', 20);
    SHOW(pread(file, text, 20, 5));
    HOLDS(memcmp(text, " world\0\0\0\0", 10) == 0);
    SHOW(pwrite(file, "W", 1, 6));
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(pread(file, text, 1, -1));
    struct iovec parts[3] = {{"one ", 4}, {"", 0}, {"two", 3}};
    SHOW(lseek(file, 0, SEEK_SET));
    SHOW(writev(file, parts, 3));
    show_content("f");
    char first[3] = "", second[3] = "";
    struct iovec into[2] = {{first, 2}, {second, 2}};
    SHOW(preadv(file, into, 2, 1));
    TEXT(first);
    TEXT(second);
    SHOW(ftruncate(file, 3));
    show_content("f");
    SHOW(ftruncate(file, 6));
    show_stat("f");
    SHOW(ftruncate(file, -1));
    SHOW(truncate("f", 1));
    show_content("f");
    SHOW(truncate("missing", 1));
    SHOW(truncate(".", 1));
    int append = open("f", O_WRONLY | O_APPEND);
    SHOW(write(append, "app", 3));
    SHOW(lseek(append, 0, SEEK_SET));
    SHOW(write(append, "end", 3));
    show_content("f");
    SHOW(fsync(file));
    SHOW(fdatasync(file));
    SHOW(fsync(0) == 0 || errno == EINVAL || errno == EROFS);
    SHOW(read(open(".", O_RDONLY), text, 1));
    SHOW(fallocate(file, 0, 0, 100));
    show_stat("f");
    SHOW(fallocate(file, 0, 0, 0));
    SHOW(fallocate(file, 1 /* keep size */, 0, 500));
    show_stat("f");
}

static void large_files(void)
{
    enter_scratch();
    static char block[1 << 16];
    int file = open("big", O_CREAT | O_RDWR, 0644);
    for (int i = 0; i < 64; i++) {
        memset(block, i, sizeof block);
        if (write(file, block, sizeof block) != sizeof block)
            printf("  short write\n");
    }
    long wrong = 0;
    lseek(file, 0, SEEK_SET);
    for (int i = 0; i < 64; i++) {
        ssize_t got = read(file, block, sizeof block);
        for (ssize_t j = 0; j < got; j++)
            wrong += block[j] != i;
    }
    NUMBER(wrong);
    SHOW(lseek(file, 1L << 40, SEEK_SET));
    SHOW(write(file, "x", 1) == 1 || errno == EFBIG);
    int copy = open("copy", O_CREAT | O_RDWR, 0644);
    off_t offset = 65530;
    SHOW(sendfile(copy, file, &offset, 12));
    NUMBER(offset);
    char bytes[12];
    SHOW(pread(copy, bytes, 12, 0));
    HOLDS(bytes[5] == 0 && bytes[6] == 1);
    loff_t from = 0, to = 100;
    SHOW(syscall(SYS_copy_file_range, file, &from, copy, &to, 1000, 0));
    show_stat("copy");
}

static void names(void)
{
    enter_scratch();
    create("a", "A");
    SHOW(link("a", "b"));
    show_stat("a");
    SHOW(link("a", "b"));
    SHOW(link("missing", "c"));
    SHOW(link(".", "c"));
    SHOW(unlink("a"));
    show_content("b");
    SHOW(unlink("a"));
    SHOW(unlink("."));
    SHOW(symlink("b", "s"));
    char text[16] = "";
    SHOW(readlink("s", text, sizeof text));
    TEXT(text);
    SHOW(readlink("b", text, sizeof text));
    SHOW(syscall(SYS_readlink, "s", text, 0));
    symlink("a-long-target", "t");
    memset(text, 0, sizeof text);
    SHOW(readlink("t", text, 4));
    TEXT(text);
    SHOW(symlink("", "e"));
    SHOW(symlink("x", "s"));
    show_stat("s");
    symlink("y", "x");
    symlink("x", "y");
    SHOW(open("x", O_RDONLY));
    SHOW(rename("b", "c"));
    show_directory(".");
    create("d", "D");
    SHOW(rename("d", "c"));
    show_content("c");
    mkdir("dir", 0755);
    mkdir("dir/sub", 0755);
    mkdir("other", 0755);
    SHOW(rename("dir", "dir/sub/x"));
    SHOW(rename("dir", "c"));
    SHOW(rename("c", "dir"));
    SHOW(rename("other", "dir"));
    SHOW(rename("dir", "other"));
    show_directory("other");
    SHOW(rename("missing", "z"));
    SHOW(rename("c", "c"));
    SHOW(rename(".", "z"));
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "s", 1 /* NOREPLACE */));
    create("one", "1");
    create("two", "22");
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", 2 /* EXCHANGE */));
    show_content("one");
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "one", AT_FDCWD, "two", 3));
    int file = create("gone", "still here");
    unlink("gone");
    SHOW(lseek(file, 0, SEEK_SET));
    SHOW(read(file, text, 10));
    struct stat info;
    fstat(file, &info);
    NUMBER(info.st_nlink);
    SHOW(open("./other/../c", O_RDONLY) >= 0);
    SHOW(open("../../../../../../..", O_RDONLY) >= 0);
    SHOW(open("c/..", O_RDONLY));
    SHOW(open("missing/..", O_RDONLY));
}

static void directories(void)
{
    enter_scratch();
    umask(0);
    SHOW(mkdir("d", 01777));
    show_stat("d");
    SHOW(mkdir("d", 0777));
    SHOW(mkdir("x/y", 0777));
    SHOW(mkdir("d/e/", 0777));
    show_stat("d");
    SHOW(rmdir("d"));
    SHOW(rmdir("d/e"));
    SHOW(rmdir("d/."));
    SHOW(rmdir("d"));
    SHOW(rmdir("d"));
    create("f", "");
    SHOW(rmdir("f"));
    mkdir("many", 0755);
    char name[64];
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "many/entry-%d", i);
        close(open(name, O_CREAT | O_WRONLY, 0644));
    }
    DIR *directory = opendir("many");
    struct dirent *entry;
    int count = 0;
    while ((entry = readdir(directory)))
        count++;
    NUMBER(count);
    rewinddir(directory);
    count = 0;
    while ((entry = readdir(directory))) {
        count++;
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    NUMBER(count);
    show_directory("many");
    SHOW(unlinkat(AT_FDCWD, "many", 0));
    SHOW(unlinkat(AT_FDCWD, "many", AT_REMOVEDIR));
    mkdir("w", 0755);
    SHOW(chdir("w"));
    SHOW(rmdir("../w"));
    char path[PATH_MAX];
    SHOW(syscall(SYS_getcwd, path, sizeof path));
    SHOW(open("new", O_CREAT | O_WRONLY, 0644));
    SHOW(chdir(".."));
    SHOW(chdir("f"));
    SHOW(chdir("missing"));
    SHOW(fchdir(open("/tmp", O_RDONLY)));
    TEXT(getcwd(path, sizeof path));
    SHOW(syscall(SYS_getcwd, path, 2));
    SHOW(syscall(SYS_getdents64, open("/etc/passwd", O_RDONLY), path, 100));
    SHOW(syscall(SYS_getdents64, open("/tmp", O_RDONLY), path, 3));
}

static void attributes(void)
{
    enter_scratch();
    umask(022);
    int file = create("f", "x");
    SHOW(chmod("f", 0640));
    show_stat("f");
    SHOW(fchmod(file, 07777));
    show_stat("f");
    SHOW(chown("f", 1000, 100));
    show_stat("f");
    SHOW(chown("f", -1, 5));
    show_stat("f");
    SHOW(chmod("missing", 0640));
    symlink("f", "l");
    SHOW(lchown("l", 3, 4));
    show_stat("l");
    struct timespec times[2] = {{1000000000, 123456789}, {2000000000, 987654321}};
    SHOW(utimensat(AT_FDCWD, "f", times, 0));
    struct stat info;
    stat("f", &info);
    NUMBER(info.st_atim.tv_sec);
    NUMBER(info.st_mtim.tv_sec);
    NUMBER(info.st_mtim.tv_nsec);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    SHOW(utimensat(AT_FDCWD, "f", times, 0));
    stat("f", &info);
    NUMBER(info.st_atim.tv_sec);
    HOLDS(labs(info.st_mtim.tv_sec - time(NULL)) < 5);
    times[0].tv_nsec = 2000000000;
    SHOW(utimensat(AT_FDCWD, "f", times, 0));
    HOLDS(labs(info.st_ctim.tv_sec - time(NULL)) < 5);
    SHOW(access("f", R_OK | W_OK | X_OK));
    SHOW(access("missing", F_OK));
    SHOW(access("f", 99));
    chmod("f", 0600);
    SHOW(access("f", X_OK));
    IN_CHILD("user 1000", {
        chmod(".", 0755);
        setgid(1000);
        setuid(1000);
        WORKS(open("f", O_RDONLY));
        SHOW(access("f", R_OK));
        SHOW(unlink("f"));
        SHOW(chmod("f", 0666));
        SHOW(open("n", O_CREAT | O_WRONLY, 0644));
        SHOW(mkdir("n", 0755));
        SHOW(open("/root/x", O_RDONLY));
        SHOW(mknod("dev", S_IFCHR | 0600, makedev(1, 3)));
    });
    struct stat one, two;
    stat("f", &one);
    fstat(file, &two);
    HOLDS(one.st_ino == two.st_ino && one.st_dev == two.st_dev && one.st_blksize > 0);
    struct statfs fs;
    SHOW(statfs(".", &fs));
    HOLDS(fs.f_bsize >= 512 && fs.f_blocks > 0 && fs.f_namelen >= 255);
    char value[16] = "";
    SHOW(syscall(SYS_getxattr, "f", "user.missing", value, 16) == -1 && (errno == ENODATA || errno == EOPNOTSUPP));
    struct { uint32_t mask, blksize; uint64_t attributes; uint32_t nlink, uid, gid; uint16_t mode; char rest[250]; } x = {0};
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x7ff, &x));
    printf("  statx mode %o links %u owner %u:%u\n", x.mode, x.nlink, x.uid, x.gid);
    SHOW(syscall(SYS_statx, file, "", AT_EMPTY_PATH, 0x7ff, &x));
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0x1, 0x7ff, &x));
}

static void descriptors(void)
{
    enter_scratch();
    int file = create("f", "0123456789");
    SHOW(dup2(file, 50));
    SHOW(lseek(50, 3, SEEK_SET));
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(dup2(50, 50));
    SHOW(dup2(99, 51));
    SHOW(dup3(50, 50, 0));
    SHOW(dup3(50, 52, O_CLOEXEC));
    SHOW(fcntl(52, F_GETFD));
    SHOW(fcntl(52, F_SETFD, 0));
    SHOW(fcntl(52, F_GETFD));
    SHOW(fcntl(50, F_DUPFD, 60));
    SHOW(fcntl(50, F_DUPFD_CLOEXEC, 60));
    SHOW(fcntl(61, F_GETFD));
    SHOW(fcntl(50, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    SHOW(fcntl(50, F_SETFL, O_APPEND | O_NONBLOCK));
    SHOW(fcntl(file, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
    SHOW(write(file, "A", 1));
    show_stat("f");
    SHOW(fcntl(99, F_GETFD));
    SHOW(fcntl(50, 9999));
    IN_CHILD("child shares the offset", SHOW(lseek(50, 7, SEEK_SET)));
    SHOW(lseek(50, 0, SEEK_CUR));
    SHOW(syscall(SYS_close_range, 50, 100, 0));
    SHOW(fcntl(52, F_GETFD));
    SHOW(dup(-1));
    int lowest = dup(0);
    close(lowest);
    int again = open("/dev/null", O_RDONLY);
    HOLDS(again == lowest);
}

static void locks(void)
{
    enter_scratch();
    int file = create("f", "0123456789"), second = open("f", O_RDWR);
    SHOW(flock(file, LOCK_EX));
    SHOW(flock(second, LOCK_EX | LOCK_NB));
    SHOW(flock(second, LOCK_SH | LOCK_NB));
    SHOW(flock(file, LOCK_SH));
    SHOW(flock(second, LOCK_SH | LOCK_NB));
    SHOW(flock(file, LOCK_UN));
    SHOW(flock(file, 16));
    struct flock range = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3};
    SHOW(fcntl(file, F_SETLK, &range));
    IN_CHILD("other process", {
        struct flock wanted = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 3};
        SHOW(fcntl(file, F_SETLK, &wanted));
        SHOW(fcntl(file, F_GETLK, &wanted));
        HOLDS(wanted.l_type == F_WRLCK && wanted.l_pid == getppid());
        NUMBER(wanted.l_start);
        NUMBER(wanted.l_len);
        wanted = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = 0};
        SHOW(fcntl(file, F_SETLK, &wanted));
    });
    close(second);
    IN_CHILD("after a close", {
        struct flock wanted = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 3};
        SHOW(fcntl(file, F_SETLK, &wanted));
    });
}

static void special_files(void)
{
    enter_scratch();
    char bytes[8] = "xxxxxxx";
    int null = open("/dev/null", O_RDWR), zero = open("/dev/zero", O_RDWR), full = open("/dev/full", O_RDWR);
    SHOW(read(null, bytes, 8));
    SHOW(write(null, bytes, 8));
    SHOW(read(zero, bytes, 8));
    NUMBER(bytes[0] + bytes[7]);
    SHOW(write(zero, bytes, 8));
    SHOW(read(full, bytes, 8));
    SHOW(write(full, bytes, 8));
    SHOW(lseek(null, 10, SEEK_SET));
    SHOW(read(open("/dev/urandom", O_RDONLY), bytes, 8));
    SHOW(syscall(SYS_getrandom, bytes, 8, 0));
    SHOW(syscall(SYS_getrandom, bytes, 8, 99));
    struct stat info;
    stat("/dev/null", &info);
    NUMBER(info.st_mode);
    NUMBER(major(info.st_rdev) * 1000 + minor(info.st_rdev));
    SHOW(mkfifo("fifo", 0600));
    show_stat("fifo");
    SHOW(open("fifo", O_WRONLY | O_NONBLOCK));
    WORKS(open("fifo", O_RDONLY | O_NONBLOCK));
    SHOW(open("/dev/tty", O_RDWR));
    SHOW(isatty(null));
    SHOW(open("/proc/self/fd/99", O_RDONLY));
    char link_[64] = "";
    dup2(null, 77);
    SHOW(readlink("/proc/self/fd/77", link_, 63));
    TEXT(link_);
    int text = create("t", "through proc");
    dup2(text, 78);
    show_content("/proc/self/fd/78");
}

static void sparse_files(void)
{
    enter_scratch();
    int file = open("s", O_CREAT | O_RDWR, 0644);
    SHOW(pwrite(file, "x", 1, 1000000));
    struct stat info;
    fstat(file, &info);
    HOLDS(info.st_size == 1000001 && info.st_blocks < 200);
    char zeros[100], got[100];
    memset(zeros, 0, 100);
    SHOW(pread(file, got, 100, 500000));
    HOLDS(memcmp(zeros, got, 100) == 0);
    SHOW(lseek(file, 2000000, SEEK_DATA));
    SHOW(lseek(file, 1000001, SEEK_HOLE));
}

static void working_root(void)
{
    enter_scratch();
    mkdir("root", 0755);
    mkdir("root/in", 0755);
    create("root/in/f", "inside");
    symlink("/in/f", "root/link");
    IN_CHILD("chroot", {
        SHOW(chroot("root"));
        SHOW(chdir("/"));
        show_content("/in/f");
        show_content("/link");
        show_content("/../../in/f");
        SHOW(open("/etc/passwd", O_RDONLY));
    });
    SHOW(chroot("missing"));
}

static const struct test_case cases[] = {
    {"opening", opening}, {"reading_and_writing", reading_and_writing}, {"large_files", large_files}, {"names", names},
    {"directories", directories}, {"attributes", attributes}, {"descriptors", descriptors}, {"locks", locks},
    {"special_files", special_files}, {"sparse_files", sparse_files}, {"working_root", working_root},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
