// block DEVICE: what a program sees of a block device of at least 1 MiB, as lines to compare with another kernel's.
// block DEVICE read-only: likewise of one that is not to be written.
// block DEVICE log: writes numbered pages for ever, each followed by fsync and its number on stdout.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static const char *device;
static char *buffer;

static void show(const char *what, long result) {
    if (result < 0) printf("%s: %ld %s\n", what, result, strerrorname_np(errno) ?: "?");
    else printf("%s: %ld\n", what, result);
}

#define SHOW(call) show(#call, (long)(call))

static int open_device(int flags) {
    int fd = open(device, flags);
    if (fd < 0) show("open", fd);
    return fd;
}

static void ioctls(int fd) {
    unsigned long size = 0, ra = 1;
    uint64_t bytes = 0;
    int ro = -1, ssz = -1, bsz = -1;
    unsigned pbsz = 0;
    SHOW(ioctl(fd, BLKGETSIZE, &size));
    SHOW(ioctl(fd, BLKGETSIZE64, &bytes));
    printf("sizes agree: %d\n", size * 512 == bytes && bytes == (uint64_t)lseek(fd, 0, SEEK_END));
    SHOW(ioctl(fd, BLKSSZGET, &ssz));
    SHOW(ioctl(fd, BLKPBSZGET, &pbsz));
    SHOW(ioctl(fd, BLKBSZGET, &bsz));
    SHOW(ioctl(fd, BLKROGET, &ro));
    SHOW(ioctl(fd, BLKRAGET, &ra));
    printf("logical %d, soft %d, read-only %d, physical at least logical: %d\n", ssz, bsz, ro, pbsz >= (unsigned)ssz);
    SHOW(ioctl(fd, BLKGETSIZE64, (void *)8));
    SHOW(ioctl(fd, BLKFLSBUF, 0));
}

static void positions(int fd) {
    off_t end = lseek(fd, 0, SEEK_END);
    SHOW(lseek(fd, end, SEEK_SET) == end);
    SHOW(lseek(fd, end + 1, SEEK_SET));
    SHOW(lseek(fd, 1, SEEK_END));
    SHOW(lseek(fd, -1, SEEK_SET));
    SHOW(lseek(fd, 1000, SEEK_DATA));
    SHOW(lseek(fd, 1000, SEEK_HOLE) == end);
    SHOW(lseek(fd, end, SEEK_DATA));
    SHOW(pread(fd, buffer, 4096, end - 100));
    SHOW(pread(fd, buffer, 4096, end));
    SHOW(pread(fd, buffer, 4096, end + 4096));
    SHOW(ftruncate(fd, 0));
    SHOW(truncate(device, 0));
}

static void writes(int fd) {
    off_t end = lseek(fd, 0, SEEK_END);
    memset(buffer, 'w', 8192);
    SHOW(pwrite(fd, buffer, 8192, 4096));
    SHOW(pwrite(fd, buffer, 8192, end - 4096));
    SHOW(pwrite(fd, buffer, 1, end));
    SHOW(pwrite(fd, buffer, 0, end));
    SHOW(pwrite(fd, (void *)8, 512, 0));
    SHOW(fsync(fd));
    SHOW(fdatasync(fd));
    SHOW(pread(fd, buffer, 3, 5000));
    printf("read %.3s\n", buffer);
    int append = open_device(O_RDWR | O_APPEND);
    SHOW(write(append, "append", 6));
    SHOW(pread(fd, buffer, 6, 0));
    printf("read %.6s\n", buffer);
    close(append);
}

static void ranges(int fd) {
    uint64_t range[2] = {8192, 4096}, odd[2] = {100, 512}, far[2] = {1ull << 50, 512}, wraps[2] = {-512ull, 1024};
    SHOW(ioctl(fd, BLKZEROOUT, range));
    SHOW(pread(fd, buffer, 1, 8192));
    printf("zeroed %d\n", buffer[0]);
    SHOW(ioctl(fd, BLKZEROOUT, odd));
    SHOW(ioctl(fd, BLKZEROOUT, far));
    SHOW(ioctl(fd, BLKZEROOUT, wraps));
    SHOW(ioctl(fd, BLKZEROOUT, (void *)8));
    SHOW(ioctl(fd, BLKDISCARD, range));
    SHOW(ioctl(fd, BLKDISCARD, odd));
    SHOW(ioctl(fd, BLKDISCARD, far));
    SHOW(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE, 1ll << 50, 4096));
    SHOW(fallocate(fd, FALLOC_FL_ZERO_RANGE, 100, 4096));
    SHOW(fallocate(fd, 0, 0, 4096));
    int reader = open_device(O_RDONLY);
    SHOW(ioctl(reader, BLKZEROOUT, range));
    SHOW(ioctl(reader, BLKDISCARD, range));
    close(reader);
}

static void direct(void) {
    int fd = open_device(O_RDWR | O_DIRECT);
    memset(buffer, 'd', 16384);
    SHOW(pwrite(fd, buffer, 16384, 0));
    SHOW(pwrite(fd, buffer, 512, 512));
    SHOW(pwrite(fd, buffer, 100, 0));
    SHOW(pwrite(fd, buffer, 512, 100));
    SHOW(pwrite(fd, buffer + 100, 512, 0));
    SHOW(pread(fd, buffer + 512, 1024, 512));
    SHOW(pread(fd, buffer + 1, 1024, 512));
    SHOW(pread(fd, buffer, 4096, lseek(fd, 0, SEEK_END)));
    SHOW(pread(fd, (void *)4096, 4096, 0));
    int buffered = open_device(O_RDWR);
    SHOW(pwrite(buffered, "cached", 6, 0));
    SHOW(pread(fd, buffer, 512, 0));
    printf("direct read sees %.6s\n", buffer);
    memset(buffer, 'D', 512);
    SHOW(pwrite(fd, buffer, 512, 0));
    SHOW(pread(buffered, buffer + 4096, 6, 0));
    printf("buffered read sees %.6s\n", buffer + 4096);
    close(buffered);
    close(fd);
}

static void maps(int fd) {
    char *map = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 16384);
    SHOW(map == MAP_FAILED);
    if (map == MAP_FAILED) return;
    strcpy(map, "mapped");
    SHOW(pread(fd, buffer, 6, 16384));
    printf("read %.6s\n", buffer);
    SHOW(pwrite(fd, "written", 7, 16384));
    printf("map has %.7s\n", map);
    SHOW(msync(map, 8192, MS_SYNC));
    SHOW(munmap(map, 8192));
}

static void opens(void) {
    struct stat st;
    SHOW(stat(device, &st));
    printf("block device %d, size %ld, has a number %d\n", S_ISBLK(st.st_mode), (long)st.st_size, st.st_rdev != 0);
    int one = open_device(O_RDONLY | O_EXCL);
    SHOW(open(device, O_RDONLY | O_EXCL));
    close(one);
    SHOW(one = open(device, O_RDWR | O_TRUNC | O_CREAT, 0600));
    close(one);
    SHOW(open(device, O_RDONLY | O_DIRECTORY));
}

static void read_only(void) {
    int fd = open_device(O_RDONLY);
    uint64_t range[2] = {0, 4096};
    SHOW(pread(fd, buffer, 16, 0));
    SHOW(pwrite(fd, buffer, 16, 0));
    SHOW(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
    SHOW(ioctl(fd, BLKZEROOUT, range));
    SHOW(fsync(fd));
    close(fd);
    int ro = -1;
    fd = open_device(O_RDWR);
    if (fd < 0) return;
    SHOW(ioctl(fd, BLKROGET, &ro));
    printf("read-only %d\n", ro);
    SHOW(pread(fd, buffer, 16, 0));
    SHOW(pwrite(fd, buffer, 16, 0));
    SHOW(fsync(fd));
    SHOW(mmap(0, 4096, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED);
}

static void log_pages(int fd) {
    uint64_t pages = lseek(fd, 0, SEEK_END) / 4096;
    for (uint64_t number = 1; number < pages; number++) {
        for (int at = 0; at < 512; at++) ((uint64_t *)buffer)[at] = number * 512 + at;
        if (pwrite(fd, buffer, 4096, number * 4096) != 4096 || fsync(fd)) {
            perror("log");
            exit(1);
        }
        printf("%lu\n", number);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    device = argc > 1 ? argv[1] : "/dev/vda";
    const char *mode = argc > 2 ? argv[2] : "";
    buffer = aligned_alloc(4096, 65536);
    memset(buffer, 0, 65536);
    if (!strcmp(mode, "read-only")) return read_only(), 0;
    int fd = open_device(O_RDWR);
    if (fd < 0) return 1;
    if (!strcmp(mode, "log")) return log_pages(fd), 0;
    opens();
    ioctls(fd);
    positions(fd);
    writes(fd);
    ranges(fd);
    direct();
    maps(fd);
    return 0;
}
