/* Errors and flags of calls on files: which error comes first, which flags are known, what is done in part. */
#include "show.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static char bytes[70000];
static int file, readonly, appending, writeonly, directory, ends[2], pair[2], path, null, full;

static void files_of_all_kinds(void)
{
    enter_scratch();
    file = open("f", O_CREAT | O_RDWR, 0644);
    write(file, "0123456789abcdef", 16);
    readonly = open("f", O_RDONLY);
    writeonly = open("f", O_WRONLY);
    appending = open("f", O_WRONLY | O_APPEND);
    directory = open(".", O_RDONLY);
    path = open("f", O_PATH);
    null = open("/dev/null", O_RDWR);
    full = open("/dev/full", O_RDWR);
    pipe2(ends, O_NONBLOCK);
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);
    signal(SIGPIPE, SIG_IGN);
}

static void reading(void)
{
    files_of_all_kinds();
    SHOW(read(99, bytes, 1));
    SHOW(read(-1, bytes, 1));
    SHOW(read(writeonly, bytes, 1));
    SHOW(read(directory, bytes, 1));
    SHOW(read(path, bytes, 1));
    SHOW(read(file, bad_address, 1));
    SHOW(pread(file, bad_address, 1, 0));
    SHOW(pread(file, bad_address, 0, 0));
    SHOW(pread(file, bytes, 1, -1));
    SHOW(pread(ends[0], bytes, 1, 0));
    SHOW(pread(ends[0], bytes, 1, -1));
    SHOW(pread(directory, bytes, 1, 0));
    SHOW(pread(file, bytes, 100, 10));
    SHOW(pread(file, bytes, 100, 100));
    SHOW(read(null, bytes, 10));
    SHOW(read(null, bad_address, 10));
    SHOW(read(ends[0], bad_address, 10));
    SHOW(read(ends[0], bytes, 0));
    SHOW(write(ends[1], bytes, 0));
    SHOW(write(full, bytes, 1));
    SHOW(write(full, bytes, 0));
    SHOW(write(readonly, bytes, 1));
    SHOW(write(directory, bytes, 1));
    SHOW(write(file, bad_address, 1));
    SHOW(write(file, bad_address, 0));
    SHOW(pwrite(file, bytes, 1, -1));
    SHOW(pwrite(readonly, bytes, 1, -1));
    SHOW(pwrite(ends[1], bytes, 1, 0));
    struct iovec parts[3] = {{bytes, 4}, {bytes + 4, 0}, {bytes + 4, 4}};
    SHOW(preadv(file, parts, 3, 0));
    SHOW(preadv(file, parts, -1, 0));
    SHOW(preadv(file, parts, 1025, 0));
    SHOW(preadv(file, bad_address, 1, 0));
    SHOW(preadv(file, parts, 0, 0));
    SHOW(preadv(file, parts, 1, -1));
    parts[1].iov_len = -1;
    SHOW(readv(file, parts, 3));
    parts[1] = (struct iovec){bad_address, 4};
    lseek(file, 0, SEEK_SET);
    SHOW(readv(file, parts, 3));
    SHOW(lseek(file, 0, SEEK_CUR));
    parts[0].iov_base = bad_address;
    SHOW(readv(file, parts, 1));
    SHOW(syscall(SYS_preadv2, file, parts + 2, 1, -1, 0, 0));
    SHOW(syscall(SYS_preadv2, file, parts + 2, 1, -2, 0, 0));
    SHOW(syscall(SYS_preadv2, file, parts + 2, 1, 0, 0, 1));
    SHOW(syscall(SYS_preadv2, file, parts + 2, 1, 0, 0, 0x80));
    SHOW(syscall(SYS_pwritev2, file, parts + 2, 1, 0, 0, 16));
    SHOW(syscall(SYS_pwritev2, file, parts + 2, 1, 0, 0, 0x100));
    SHOW(syscall(SYS_pwritev2, readonly, parts + 2, 1, 0, 0, 0x100));
    SHOW(lseek(file, 0, SEEK_END));
    SHOW(lseek(file, -1, SEEK_SET));
    SHOW(lseek(file, 0, 7));
    SHOW(lseek(ends[0], 0, SEEK_SET));
    SHOW(lseek(ends[0], 0, 7));
    SHOW(lseek(pair[0], 0, SEEK_SET));
    SHOW(lseek(99, 0, SEEK_SET));
    SHOW(lseek(path, 0, SEEK_SET));
    SHOW(lseek(file, INT64_MAX, SEEK_CUR));
    SHOW(lseek(file, 100, SEEK_DATA));
    SHOW(lseek(file, 0, SEEK_HOLE));
    SHOW(lseek(file, -1, SEEK_DATA));
}

static void moving(void)
{
    files_of_all_kinds();
    loff_t offset = 0, negative = -1;
    lseek(file, 0, SEEK_SET);
    SHOW(sendfile(pair[0], file, NULL, 4));
    SHOW(sendfile(pair[0], file, (off_t *)&offset, 4));
    NUMBER(offset);
    SHOW(sendfile(pair[0], file, (off_t *)&negative, 4));
    SHOW(sendfile(pair[0], file, bad_address, 4));
    SHOW(sendfile(pair[0], writeonly, NULL, 4));
    SHOW(sendfile(readonly, file, NULL, 4));
    SHOW(sendfile(appending, file, NULL, 4));
    SHOW(sendfile(pair[0], ends[0], NULL, 4));
    SHOW(sendfile(pair[0], directory, NULL, 4));
    SHOW(sendfile(99, file, NULL, 4));
    SHOW(sendfile(pair[0], 99, NULL, 4));
    SHOW(sendfile(ends[1], file, NULL, 4));
    SHOW(sendfile(null, file, NULL, 0));
    read(ends[0], bytes, 100);
    SHOW(splice(file, NULL, pair[0], NULL, 4, 0));
    SHOW(splice(ends[0], NULL, file, NULL, 4, 0));
    SHOW(splice(ends[0], NULL, file, NULL, 4, SPLICE_F_NONBLOCK));
    SHOW(splice(file, NULL, ends[1], NULL, 4, 99));
    SHOW(splice(file, NULL, ends[1], NULL, 0, 0));
    SHOW(splice(file, NULL, ends[1], &offset, 4, 0));
    SHOW(splice(ends[0], &offset, file, NULL, 4, 0));
    SHOW(splice(file, &negative, ends[1], NULL, 4, 0));
    SHOW(splice(file, bad_address, ends[1], NULL, 4, 0));
    SHOW(splice(ends[0], NULL, ends[1], NULL, 4, 0));
    SHOW(splice(99, NULL, ends[1], NULL, 4, 0));
    SHOW(splice(writeonly, NULL, ends[1], NULL, 4, 0));
    SHOW(splice(directory, NULL, ends[1], NULL, 4, 0));
    write(ends[1], "abcd", 4);
    SHOW(splice(ends[0], NULL, appending, NULL, 4, 0));
    SHOW(splice(ends[0], NULL, readonly, NULL, 4, 0));
    SHOW(tee(ends[0], ends[1], 4, 0));
    SHOW(tee(file, ends[1], 4, 0));
    SHOW(tee(ends[0], file, 4, 0));
    SHOW(tee(ends[0], 99, 4, 0));
    SHOW(tee(ends[0], ends[1], 4, 99));
    struct iovec part = {bytes, 4}, bad = {bad_address, 4};
    SHOW(vmsplice(ends[1], &part, 1, 0));
    SHOW(vmsplice(ends[1], &bad, 1, 0));
    SHOW(vmsplice(ends[1], bad_address, 1, 0));
    SHOW(vmsplice(ends[1], &part, 1025, 0));
    SHOW(vmsplice(ends[1], &part, 1, 99));
    SHOW(vmsplice(file, &part, 1, 0));
    SHOW(vmsplice(99, &part, 1, 0));
    SHOW(vmsplice(ends[1], &part, 0, 0));
    int other = open("other", O_CREAT | O_RDWR, 0644);
    offset = 0;
    SHOW(copy_file_range(file, &offset, other, NULL, 100, 0));
    NUMBER(offset);
    SHOW(copy_file_range(file, NULL, other, NULL, 4, 1));
    SHOW(copy_file_range(writeonly, NULL, other, NULL, 4, 0));
    SHOW(copy_file_range(file, NULL, readonly, NULL, 4, 0));
    SHOW(copy_file_range(file, NULL, appending, NULL, 4, 0));
    SHOW(copy_file_range(directory, NULL, other, NULL, 4, 0));
    SHOW(copy_file_range(file, NULL, directory, NULL, 4, 0));
    SHOW(copy_file_range(ends[0], NULL, other, NULL, 4, 0));
    SHOW(copy_file_range(file, NULL, null, NULL, 4, 0));
    SHOW(copy_file_range(99, NULL, other, NULL, 4, 0));
    offset = 0;
    loff_t overlap = 2;
    SHOW(copy_file_range(file, &offset, file, &overlap, 8, 0));
    SHOW(copy_file_range(file, &negative, other, NULL, 4, 0));
    offset = 1000;
    SHOW(copy_file_range(file, &offset, other, NULL, 4, 0));
}

static void advising(void)
{
    files_of_all_kinds();
    SHOW(posix_fadvise(file, 0, 0, 3));
    SHOW(posix_fadvise(file, 0, 0, 6));
    SHOW(posix_fadvise(file, 0, -1, 0));
    SHOW(posix_fadvise(ends[0], 0, 0, 0));
    SHOW(posix_fadvise(ends[0], 0, 0, 77));
    SHOW(posix_fadvise(99, 0, 0, 0));
    SHOW(posix_fadvise(path, 0, 0, 0));
    SHOW(posix_fadvise(directory, 0, 0, 0));
    SHOW(posix_fadvise(null, 0, 0, 0));
    SHOW(syscall(SYS_readahead, file, 0, 10));
    SHOW(syscall(SYS_readahead, writeonly, 0, 10));
    SHOW(syscall(SYS_readahead, directory, 0, 10));
    SHOW(syscall(SYS_readahead, ends[0], 0, 10));
    SHOW(syscall(SYS_readahead, pair[0], 0, 10));
    SHOW(syscall(SYS_readahead, 99, 0, 10));
    SHOW(syscall(SYS_readahead, path, 0, 10));
    SHOW(sync_file_range(file, 0, 10, 7));
    SHOW(sync_file_range(file, 0, 10, 8));
    SHOW(sync_file_range(file, -1, 10, 0));
    SHOW(sync_file_range(file, 0, -1, 0));
    SHOW(sync_file_range(ends[0], 0, 10, 0));
    SHOW(sync_file_range(directory, 0, 10, 0));
    SHOW(sync_file_range(null, 0, 10, 0));
    SHOW(sync_file_range(99, 0, 10, 0));
    SHOW(fsync(ends[0]));
    SHOW(fsync(directory));
    SHOW(fsync(null));
    SHOW(fsync(pair[0]));
    SHOW(fsync(path));
    SHOW(fdatasync(readonly));
    SHOW(syncfs(99));
    SHOW(syncfs(path));
    SHOW(ftruncate(readonly, 1));
    SHOW(ftruncate(file, -1));
    SHOW(ftruncate(ends[1], 1));
    SHOW(ftruncate(directory, 1));
    SHOW(ftruncate(pair[0], 1));
    SHOW(ftruncate(null, 1));
    SHOW(ftruncate(path, 1));
    SHOW(ftruncate(99, 1));
    SHOW(truncate(".", 1));
    SHOW(truncate("f", -1));
    SHOW(truncate("none", 1));
    SHOW(truncate("f/x", 1));
    SHOW(truncate(bad_address, 1));
    SHOW(flock(file, 0));
    SHOW(flock(file, LOCK_SH | LOCK_EX));
    SHOW(flock(99, LOCK_SH));
    SHOW(flock(path, LOCK_SH));
    SHOW(flock(ends[0], LOCK_SH));
    SHOW(flock(pair[0], LOCK_SH));
}

static void descriptors(void)
{
    files_of_all_kinds();
    SHOW(fcntl(file, F_DUPFD, -1));
    SHOW(fcntl(file, F_DUPFD, 1 << 30));
    SHOW(fcntl(99, F_DUPFD, 0));
    SHOW(fcntl(file, F_DUPFD, 200));
    SHOW(fcntl(file, F_DUPFD_CLOEXEC, 300));
    SHOW(fcntl(300, F_GETFD));
    SHOW(fcntl(file, F_SETFD, 99));
    SHOW(fcntl(file, F_GETFD));
    SHOW(dup2(99, 5));
    SHOW(dup2(file, -1));
    SHOW(dup2(file, 1 << 30));
    SHOW(dup2(file, file) == file);
    SHOW(dup3(file, file, 0));
    SHOW(dup3(file, 50, 1));
    SHOW(dup3(99, 99, 0));
    SHOW(syscall(SYS_close_range, 5, 4, 0));
    SHOW(syscall(SYS_close_range, 400, 500, 8));
    SHOW(syscall(SYS_close_range, 400, 500, 0));
    SHOW(fcntl(file, F_GETPIPE_SZ));
    SHOW(fcntl(ends[0], F_SETPIPE_SZ, -1));
    SHOW(fcntl(ends[0], F_SETPIPE_SZ, 1) > 0);
    SHOW(fcntl(ends[0], F_GETPIPE_SZ));
    SHOW(fcntl(path, F_GETFL) == O_PATH);
    SHOW(fcntl(path, F_SETFL, 0));
    SHOW(fcntl(file, 1033 /* F_ADD_SEALS */, 1));
    SHOW(fcntl(file, 1034 /* F_GET_SEALS */));
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    SHOW(fcntl(readonly, F_SETLK, &lock));
    SHOW(fcntl(file, F_SETLK, bad_address));
    lock.l_type = 9;
    SHOW(fcntl(file, F_SETLK, &lock));
    lock = (struct flock){.l_type = F_RDLCK, .l_whence = 9};
    SHOW(fcntl(file, F_SETLK, &lock));
    lock = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = -1};
    SHOW(fcntl(file, F_SETLK, &lock));
    lock = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 5, .l_len = -6};
    SHOW(fcntl(file, F_SETLK, &lock));
    lock = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET};
    SHOW(fcntl(writeonly, F_SETLK, &lock));
    SHOW(fcntl(ends[0], F_SETLK, &lock));
    lock = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET};
    SHOW(fcntl(file, F_GETLK, &lock));
    lock = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_pid = 1};
    SHOW(fcntl(file, F_OFD_SETLK, &lock));
}

static void naming(void)
{
    files_of_all_kinds();
    static char longest[5000];
    memset(longest, 'n', sizeof longest - 1);
    static char name[300];
    memset(name, 'n', 256);
    mkdir("d", 0755);
    mkdir("d/full", 0755);
    symlink("loop", "loop");
    SHOW(mkdir("d", 0755));
    SHOW(mkdir("none/d", 0755));
    SHOW(mkdir("f/d", 0755));
    SHOW(mkdir("", 0755));
    SHOW(mkdir(longest, 0755));
    SHOW(mkdir(name, 0755));
    SHOW(mkdir(bad_address, 0755));
    SHOW(mkdir("loop/x", 0755));
    SHOW(mkdir("loop", 0755));
    SHOW(rmdir("d"));
    SHOW(rmdir("f"));
    SHOW(rmdir("none"));
    SHOW(rmdir("."));
    SHOW(rmdir("d/full/.."));
    SHOW(rmdir("/"));
    SHOW(unlink("d"));
    SHOW(unlink("f/"));
    SHOW(unlink("none"));
    SHOW(unlinkat(AT_FDCWD, "f", 1));
    SHOW(unlinkat(99, "f", 0));
    SHOW(unlinkat(file, "f", 0));
    SHOW(rename("none", "x"));
    SHOW(rename("f", "d"));
    SHOW(rename("d", "f"));
    SHOW(rename("d", "d/x"));
    SHOW(rename("d/full", "d/full/.."));
    SHOW(rename("f", "f/"));
    SHOW(rename(".", "x"));
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "loop", 1));
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "none", 2));
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "none", 3));
    SHOW(syscall(SYS_renameat2, AT_FDCWD, "f", AT_FDCWD, "none", 8));
    SHOW(link("d", "x"));
    SHOW(link("f", "d"));
    SHOW(link("none", "x"));
    SHOW(linkat(AT_FDCWD, "f", AT_FDCWD, "x", 1));
    SHOW(linkat(file, "", AT_FDCWD, "x", AT_EMPTY_PATH));
    SHOW(symlink("", "x2"));
    SHOW(symlink("f", ""));
    SHOW(symlink(longest, "x3"));
    SHOW(symlink("f", "d"));
    char target[10];
    SHOW(readlink("loop", target, 0));
    SHOW(readlink("loop", target, -1));
    SHOW(readlink("f", target, 10));
    SHOW(readlink("loop", target, 2));
    SHOW(readlink("", target, 10));
    SHOW(mknod("n", S_IFDIR | 0644, 0));
    SHOW(mknod("n", 0170000, 0));
    SHOW(mknod("n", 0, 0));
    SHOW(mknod("n", S_IFIFO | 0644, 0));
    SHOW(open("loop", O_RDONLY));
    SHOW(open("loop", O_RDONLY | O_NOFOLLOW));
    SHOW(open("f", O_RDONLY | O_DIRECTORY));
    SHOW(open("d", O_RDWR));
    SHOW(open("d", O_CREAT | O_RDONLY, 0644));
    SHOW(open("d/", O_CREAT | O_RDWR, 0644));
    SHOW(open("f", O_CREAT | O_EXCL, 0644));
    SHOW(open("new/", O_CREAT | O_RDWR, 0644));
    SHOW(open("f/", O_RDONLY));
    SHOW(open("f/.", O_RDONLY));
    SHOW(open("", O_RDONLY));
    SHOW(open("d", O_TMPFILE | O_RDONLY, 0600));
    SHOW(open("f", O_TMPFILE | O_RDWR, 0600));
    SHOW(open(".", O_CREAT | O_DIRECTORY, 0600));
    SHOW(access("f", 8));
    SHOW(access("f/x", F_OK));
    SHOW(syscall(439 /* faccessat2 */, AT_FDCWD, "f", F_OK, 1));
    SHOW(chdir("f"));
    SHOW(chdir("none"));
    SHOW(fchdir(file));
    SHOW(fchdir(99));
    SHOW(chroot("f"));
    SHOW(syscall(SYS_getcwd, target, 1));
    SHOW(syscall(SYS_getcwd, bad_address, 4096));
    SHOW(syscall(SYS_getdents64, file, bytes, 1000));
    SHOW(syscall(SYS_getdents64, directory, bytes, 5));
    SHOW(syscall(SYS_getdents64, directory, bad_address, 1000));
    SHOW(syscall(SYS_getdents64, 99, bytes, 1000));
}

struct how { uint64_t flags, mode, resolve; };

static void open_how(void)
{
    files_of_all_kinds();
    mkdir("d", 0755);
    symlink("../f", "d/up");
    symlink("/etc/passwd", "d/absolute");
    symlink("f", "link");
    struct how how = {O_RDONLY, 0, 0};
    int d = open("d", O_PATH);
#define OPEN2(dir, name) (errno = 0, syscall(437, dir, name, &how, sizeof how) < 0 ? -1 : 0)
    SHOW(OPEN2(AT_FDCWD, "f"));
    how.mode = 0644;
    SHOW(OPEN2(AT_FDCWD, "f"));
    how = (struct how){O_RDONLY | (1ull << 40), 0, 0};
    SHOW(OPEN2(AT_FDCWD, "f"));
    how = (struct how){O_RDONLY, 0, 1 << 20};
    SHOW(OPEN2(AT_FDCWD, "f"));
    how = (struct how){O_CREAT | O_RDWR, 010000, 0};
    SHOW(OPEN2(AT_FDCWD, "g"));
    how = (struct how){O_PATH | O_RDWR, 0, 0};
    SHOW(OPEN2(AT_FDCWD, "f"));
    how = (struct how){O_RDONLY, 0, 8 /* BENEATH */};
    SHOW(OPEN2(d, "up"));
    SHOW(OPEN2(d, "../f"));
    SHOW(OPEN2(d, "/f"));
    SHOW(OPEN2(d, "absolute"));
    how.resolve = 16 /* IN_ROOT */;
    SHOW(OPEN2(d, "up"));
    SHOW(OPEN2(d, "../f"));
    SHOW(OPEN2(d, "absolute"));
    how.resolve = 24;
    SHOW(OPEN2(d, "up"));
    how.resolve = 4 /* NO_SYMLINKS */;
    SHOW(OPEN2(AT_FDCWD, "link"));
    SHOW(OPEN2(AT_FDCWD, "d/up"));
    SHOW(OPEN2(AT_FDCWD, "f"));
    how.resolve = 2 /* NO_MAGICLINKS */;
    SHOW(OPEN2(AT_FDCWD, "/proc/self/fd/0"));
    SHOW(OPEN2(AT_FDCWD, "/proc/self/exe"));
    how.resolve = 1 /* NO_XDEV */;
    SHOW(OPEN2(AT_FDCWD, "/proc/version"));
    how = (struct how){O_RDONLY, 0, 0};
    SHOW(syscall(437, AT_FDCWD, "f", &how, 8));
    SHOW(syscall(437, AT_FDCWD, "f", &how, 5000));
    SHOW(syscall(437, AT_FDCWD, "f", bad_address, sizeof how));
    struct { struct how how; uint64_t more; } longer = {{O_RDONLY, 0, 0}, 1};
    SHOW(syscall(437, AT_FDCWD, "f", &longer, sizeof longer));
    longer.more = 0;
    WORKS(syscall(437, AT_FDCWD, "f", &longer, sizeof longer));
}

static void attributes(void)
{
    files_of_all_kinds();
    char value[16] = "";
    SHOW(setxattr("f", "trusted.a", "one", 3, XATTR_REPLACE));
    SHOW(setxattr("f", "trusted.a", "one", 3, XATTR_CREATE));
    SHOW(setxattr("f", "trusted.a", "one", 3, XATTR_CREATE));
    SHOW(setxattr("f", "trusted.a", "four", 4, 3));
    SHOW(setxattr("f", "trusted.a", "four", 4, 4));
    SHOW(getxattr("f", "trusted.a", value, 16));
    SHOW(getxattr("f", "trusted.a", value, 2));
    SHOW(getxattr("f", "trusted.a", NULL, 0));
    SHOW(getxattr("f", "trusted.none", value, 16));
    SHOW(getxattr("f", "nonsense", value, 16));
    SHOW(setxattr("f", "nonsense", "x", 1, 0));
    SHOW(setxattr("f", "", "x", 1, 0));
    SHOW(setxattr("f", "trusted.", "x", 1, 0));
    SHOW(setxattr("f", bad_address, "x", 1, 0));
    SHOW(setxattr("f", "trusted.b", bad_address, 1, 0));
    SHOW(setxattr("f", "trusted.b", "x", 70000, 0));
    SHOW(setxattr("none", "trusted.b", "x", 1, 0));
    static char name[300];
    memset(name, 'n', 290);
    memcpy(name, "trusted.", 8);
    SHOW(setxattr("f", name, "x", 1, 0));
    SHOW(setxattr("f", "trusted.empty", "", 0, 0));
    SHOW(getxattr("f", "trusted.empty", value, 16));
    SHOW(listxattr("f", NULL, 0) > 0);
    SHOW(listxattr("f", value, 3));
    SHOW(fsetxattr(99, "trusted.b", "x", 1, 0));
    SHOW(fgetxattr(path, "trusted.a", value, 16));
    SHOW(fsetxattr(readonly, "trusted.c", "x", 1, 0));
    SHOW(removexattr("f", "trusted.a"));
    SHOW(removexattr("f", "trusted.a"));
    SHOW(removexattr("f", "nonsense"));
    struct stat info;
    SHOW(chmod("none", 0644));
    SHOW(fchmod(99, 0644));
    SHOW(fchmod(path, 0644));
    SHOW(fchmodat(AT_FDCWD, "f", 0644, 99));
    SHOW(fchownat(AT_FDCWD, "f", -1, -1, 99));
    SHOW(fchownat(99, "f", -1, -1, 0));
    SHOW(fchownat(file, "", -1, -1, AT_EMPTY_PATH));
    SHOW(fstatat(AT_FDCWD, "f", &info, 99));
    SHOW(fstatat(AT_FDCWD, "", &info, 0));
    SHOW(fstatat(file, "", &info, AT_EMPTY_PATH));
    SHOW(fstatat(file, "x", &info, 0));
    SHOW(syscall(SYS_fstat, file, bad_address));
    SHOW(syscall(SYS_stat, "f", bad_address));
    char statx[256];
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x7ff, statx));
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0x6000, 0x7ff, statx));
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0x8000, 0x7ff, statx));
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x80000000, statx));
    SHOW(syscall(SYS_statx, AT_FDCWD, "f", 0, 0x7ff, bad_address));
    SHOW(syscall(SYS_statx, file, "", AT_EMPTY_PATH, 0x7ff, statx));
    struct timespec times[2] = {{1, 1000000000}, {1, 0}};
    SHOW(utimensat(AT_FDCWD, "f", times, 0));
    times[0].tv_nsec = UTIME_OMIT;
    SHOW(utimensat(AT_FDCWD, "f", times, 0));
    SHOW(utimensat(AT_FDCWD, "f", times, 99));
    SHOW(utimensat(AT_FDCWD, "none", times, 0));
    SHOW(utimensat(AT_FDCWD, "f", bad_address, 0));
    SHOW(syscall(SYS_utimensat, file, NULL, times, 0));
    SHOW(syscall(SYS_utimensat, file, NULL, times, AT_SYMLINK_NOFOLLOW));
}

static void events(void)
{
    files_of_all_kinds();
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    SHOW(epoll_create(0));
    SHOW(epoll_create(-1));
    SHOW(epoll_create1(1));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], bad_address));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_DEL, ends[0], bad_address));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, directory, &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, path, &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, null, &event));
    event.events = EPOLLIN | EPOLLEXCLUSIVE | EPOLLONESHOT;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    event.events = EPOLLIN | EPOLLEXCLUSIVE;
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event));
    SHOW(epoll_ctl(epoll, EPOLL_CTL_MOD, ends[0], &event));
    write(ends[1], "x", 1);
    SHOW(epoll_wait(epoll, &event, 1, 1000));
    SHOW(epoll_wait(epoll, bad_address, 1, 0));
    SHOW(epoll_wait(epoll, &event, -1, 0));
    SHOW(epoll_wait(99, &event, 1, 0));
    SHOW(epoll_wait(ends[0], &event, 1, 0));
    SHOW(syscall(SYS_epoll_pwait, epoll, &event, 1, 0, &event, 4));
    SHOW(syscall(441 /* epoll_pwait2 */, epoll, &event, 1, &(struct timespec){0, 1000000000}, NULL, 0));
    SHOW(syscall(SYS_eventfd2, 0, 99));
    SHOW(syscall(SYS_timerfd_create, CLOCK_MONOTONIC, 1));
    SHOW(syscall(SYS_timerfd_create, CLOCK_PROCESS_CPUTIME_ID, 0));
    int timer = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    struct itimerspec wrong = {{0, 0}, {-1, 0}};
    SHOW(timerfd_settime(timer, 0, &wrong, NULL));
    SHOW(timerfd_settime(timer, 8, &wrong, NULL));
    SHOW(timerfd_settime(timer, 0, bad_address, NULL));
    SHOW(timerfd_settime(99, 0, bad_address, NULL));
    SHOW(timerfd_gettime(timer, bad_address));
    SHOW(timerfd_gettime(ends[0], &wrong));
    uint64_t value = 1;
    SHOW(read(timer, &value, 7));
    SHOW(write(timer, &value, 8));
    int counter = eventfd(0, EFD_NONBLOCK);
    SHOW(write(counter, bad_address, 8));
    SHOW(read(counter, bad_address, 8));
    SHOW(lseek(counter, 0, SEEK_SET));
    SHOW(pread(counter, &value, 8, 0));
    SHOW(poll(NULL, 1, 0));
    SHOW(poll(NULL, 0, 0));
    SHOW(syscall(SYS_ppoll, NULL, 0, &(struct timespec){0, -1}, NULL, 0));
    SHOW(syscall(SYS_ppoll, NULL, 0, &(struct timespec){0, 0}, &value, 4));
    SHOW(syscall(SYS_pipe2, bad_address, 0));
    SHOW(syscall(SYS_pipe2, ends, 0x7f000000));
}

static const struct test_case cases[] = {
    {"reading", reading}, {"moving", moving}, {"advising", advising}, {"descriptors", descriptors}, {"naming", naming},
    {"open_how", open_how}, {"attributes", attributes}, {"events", events},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
