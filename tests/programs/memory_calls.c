/* Memory calls at their edges: which error comes first, what is done before it, limits. */
#include "show.h"
#include <sys/resource.h>
#include <sys/uio.h>

#define PAGE 4096L
#define TOP 0x7ffffffff000UL

static char *anonymous(long pages, int protection)
{
    return mmap(NULL, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static char *shared(long pages)
{
    return mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static int file_of(long pages)
{
    int file = memfd_create("file", MFD_ALLOW_SEALING);
    ftruncate(file, pages * PAGE);
    for (long page = 0; page < pages; page++) {
        char byte = (char)('a' + page);
        pwrite(file, &byte, 1, page * PAGE);
    }
    return file;
}

static void limit(int which, rlim_t value)
{
    struct rlimit limits = {value, value};
    setrlimit(which, &limits);
}

static void become_nobody(void)
{
    setgid(65534);
    setuid(65534);
}

static void mmap_order(void)
{
    int reads = open("/dev/null", O_RDONLY), writes = open("/etc/hostname", O_WRONLY | O_CREAT, 0644);
    int path = open("/etc", O_PATH), file = file_of(2);
    SHOW(mmap(NULL, 0, PROT_READ, 0, 99, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, 0, 99, 0));
    SHOW(mmap(NULL, 0, PROT_READ, MAP_PRIVATE, writes, 0));
    SHOW(mmap(NULL, 0, PROT_READ, 0, reads, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, 0, reads, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, 7, file, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, path, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, writes, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 1));
    SHOW(syscall(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, file, 0x7ffffffffffff000));
    WORKS(syscall(SYS_mmap, 0, PAGE, PROT_READ, MAP_PRIVATE, file, 0x7fffffffe000));
    SHOW(syscall(SYS_mmap, 0, -PAGE, PROT_READ, MAP_PRIVATE, file, PAGE));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | MAP_ANONYMOUS, -1, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE | 0x800000, file, 0));
    WORKS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED_VALIDATE, file, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS | MAP_GROWSDOWN, -1, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_GROWSDOWN, file, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_HUGETLB, file, 0));
    SHOW(mmap((void *)1, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SHOW(syscall(SYS_mmap, TOP, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SHOW(syscall(SYS_mmap, 0, ~0UL, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(syscall(SYS_mmap, 0, TOP + PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    int append = open("/tmp", O_DIRECTORY | O_RDONLY);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, append, 0));
    int ends[2];
    pipe(ends);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ends[0], 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, ends[1], 0));
    int zero = open("/dev/zero", O_RDWR);
    WORKS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, zero, 0));
    WORKS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, zero, 0));
    SHOW(munmap((void *)TOP, PAGE));
    SHOW(munmap((void *)PAGE, PAGE));
    SHOW(syscall(SYS_munmap, 0, ~0UL));
}

static void noreplace(void)
{
    char *map = anonymous(4, PROT_READ);
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    SHOW(mmap(map, PAGE, PROT_READ, flags, -1, 0));
    SHOW(mmap(map + 3 * PAGE, 2 * PAGE, PROT_READ, flags | MAP_FIXED, -1, 0));
    SHOW(mmap(map + 1, PAGE, PROT_READ, flags, -1, 0));
    munmap(map + PAGE, PAGE);
    HOLDS(mmap(map + PAGE, PAGE, PROT_READ, flags, -1, 0) == map + PAGE);
}

static void protections(void)
{
    char *map = anonymous(4, PROT_READ);
    SHOW(mprotect(map + 1, 0, PROT_READ));
    SHOW(mprotect(map, 0, 0x1000));
    SHOW(mprotect(map, PAGE, 0x1000));
    SHOW(mprotect(map, PAGE, PROT_READ | 8));
    SHOW(mprotect(map, PAGE, PROT_GROWSDOWN | PROT_READ));
    SHOW(mprotect(map, PAGE, PROT_GROWSUP | PROT_READ));
    SHOW(mprotect(map, PAGE, PROT_GROWSUP | PROT_GROWSDOWN | PROT_READ));
    SHOW(syscall(SYS_mprotect, map, ~0UL, PROT_READ));
    SHOW(syscall(SYS_mprotect, map, -PAGE, PROT_READ));
    SHOW(mprotect((void *)TOP, PAGE, PROT_READ));
    SHOW(mprotect(NULL, PAGE, PROT_READ));
    int file = open("/etc/passwd", O_RDONLY);
    char *read_only = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0);
    SHOW(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE));
    read_only = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0);
    SHOW(mprotect(read_only, PAGE, PROT_READ | PROT_WRITE));
}

static void remap_order(void)
{
    char *map = anonymous(8, PROT_READ | PROT_WRITE), *other = anonymous(8, PROT_READ);
    munmap(other, 8 * PAGE);
    SHOW(mremap(map + 1, PAGE, PAGE, 0));
    SHOW(mremap(map, PAGE, 0, 0));
    SHOW(mremap(map, PAGE, PAGE, 0x10));
    SHOW(mremap(map, PAGE, PAGE, MREMAP_FIXED, other));
    SHOW(mremap(map, PAGE, PAGE, 4));
    SHOW(mremap(map, PAGE, 2 * PAGE, 5));
    SHOW(mremap(map, 0, PAGE, MREMAP_MAYMOVE));
    SHOW(mremap(map, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other + 1));
    SHOW(mremap(map, 2 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map));
    SHOW(mremap(map, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, map + PAGE));
    SHOW(mremap(map, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, TOP));
    SHOW(mremap(other, PAGE, PAGE, 0));
    SHOW(mremap(other, PAGE, PAGE, MREMAP_MAYMOVE));
    SHOW(mremap(map, PAGE, 2 * PAGE, 0));
    SHOW(syscall(SYS_mremap, map, PAGE, 1UL << 60, MREMAP_MAYMOVE));
    munmap(map + 4 * PAGE, PAGE);
    SHOW(mremap(map, 8 * PAGE, 9 * PAGE, MREMAP_MAYMOVE));
    HOLDS(mremap(map, 8 * PAGE, 2 * PAGE, 0) == map);
    map[0] = 1, map[PAGE] = 2;
    HOLDS(mremap(map, 2 * PAGE, 4 * PAGE, 0) == map);
    char *moved = mremap(map, 4 * PAGE, 64 * PAGE, MREMAP_MAYMOVE);
    NUMBER(moved[0] + moved[PAGE] + moved[2 * PAGE] + moved[63 * PAGE]);
    other = anonymous(8, PROT_READ);
    HOLDS(mremap(moved, 64 * PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, other) == other);
    NUMBER(other[0]);
    SHOW(msync(moved, PAGE, MS_ASYNC));
    char *both = shared(2);
    both[PAGE] = 9;
    char *second = mremap(both, 0, 2 * PAGE, MREMAP_MAYMOVE);
    HOLDS(second != MAP_FAILED && second != both);
    second[0] = 5;
    NUMBER(both[0] + second[PAGE]);
    char *emptied = anonymous(2, PROT_READ | PROT_WRITE);
    emptied[0] = 3, emptied[PAGE] = 4;
    char *taken = mremap(emptied, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4, NULL);
    NUMBER(taken[0] + 10 * taken[PAGE] + 100 * emptied[0] + 100 * emptied[PAGE]);
}

static void locking(void)
{
    char *map = anonymous(8, PROT_READ | PROT_WRITE);
    become_nobody();
    limit(RLIMIT_MEMLOCK, 4 * PAGE);
    SHOW(mlock(map, 4 * PAGE));
    SHOW(mlock(map, 4 * PAGE));
    SHOW(mlock(map + 4 * PAGE, 1));
    SHOW(munlock(map, PAGE));
    SHOW(mlock(map + 4 * PAGE, 1));
    SHOW(munlock(map, 8 * PAGE));
    SHOW(mlock(map + 1, 4 * PAGE));
    SHOW(mlock(map + 1, 4 * PAGE - 1));
    SHOW(munlock(map, 8 * PAGE));
    SHOW(mlock(map, 0));
    SHOW(mlock(NULL, 0));
    SHOW(syscall(SYS_mlock, map, ~0UL));
    SHOW(syscall(SYS_mlock2, map, PAGE, 2));
    SHOW(syscall(SYS_mlock2, map, PAGE, 1));
    SHOW(mlock((void *)PAGE, PAGE));
    SHOW(munlock((void *)PAGE, PAGE));
    SHOW(munlock(map, 8 * PAGE));
    SHOW(mlockall(0));
    SHOW(mlockall(8));
    SHOW(mlockall(4));
    SHOW(mlockall(MCL_CURRENT));
    SHOW(mlockall(MCL_FUTURE));
    SHOW(mmap(NULL, 64 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    WORKS(mmap(NULL, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(munlockall());
    SHOW(mmap(NULL, 5 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
    WORKS(mmap(NULL, 4 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
    SHOW(munlockall());
    limit(RLIMIT_MEMLOCK, 0);
    SHOW(mlock(map, PAGE));
    SHOW(syscall(SYS_mlock, map, ~0UL));
    SHOW(mlockall(MCL_CURRENT));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
    SHOW(munlock(map, PAGE));
    SHOW(munlockall());
}

static void advising(void)
{
    char *map = anonymous(8, PROT_READ | PROT_WRITE);
    SHOW(madvise(map, 0, 9999));
    SHOW(madvise(map + 1, 0, MADV_NORMAL));
    SHOW(madvise(map, 0, MADV_NORMAL));
    SHOW(madvise(map, ~0UL, MADV_NORMAL));
    SHOW(madvise(map, -PAGE, MADV_NORMAL));
    SHOW(madvise((void *)TOP, PAGE, MADV_NORMAL));
    SHOW(madvise(NULL, PAGE, MADV_WILLNEED));
    SHOW(madvise(map, 8 * PAGE, MADV_WILLNEED));
    SHOW(madvise(map, 8 * PAGE, MADV_REMOVE));
    SHOW(madvise(map, 8 * PAGE, MADV_FREE));
    SHOW(madvise(map, 8 * PAGE, 20));
    SHOW(madvise(map, 8 * PAGE, 21));
    int file = file_of(4);
    char *writable = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *readable = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, file, 0);
    char *private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    SHOW(madvise(private, PAGE, MADV_REMOVE));
    SHOW(madvise(writable, PAGE, MADV_REMOVE));
    NUMBER(writable[0] + readable[0]);
    NUMBER(writable[PAGE]);
    SHOW(madvise(writable, PAGE, MADV_FREE));
    SHOW(madvise(private, PAGE, MADV_FREE));
    SHOW(madvise(writable, PAGE, MADV_WIPEONFORK));
    private[PAGE] = 'z';
    SHOW(madvise(private, 4 * PAGE, MADV_DONTNEED));
    NUMBER(private[PAGE]);
    SHOW(madvise(map, PAGE, 22));
    SHOW(madvise(map, 8 * PAGE, 23));
    SHOW(madvise(readable, PAGE, 22));
    SHOW(madvise(readable, PAGE, 23));
    ftruncate(file, PAGE);
    SHOW(madvise(readable, 4 * PAGE, 22));
    mprotect(map, PAGE, PROT_NONE);
    SHOW(madvise(map, PAGE, 22));
    mlock(map + PAGE, PAGE);
    SHOW(madvise(map + PAGE, PAGE, MADV_DONTNEED));
    SHOW(madvise(map + PAGE, PAGE, 24));
    SHOW(madvise(map + PAGE, PAGE, 20));
    SHOW(madvise(map + PAGE, PAGE, MADV_FREE));
    munmap(map + 4 * PAGE, PAGE);
    SHOW(madvise(map, 8 * PAGE, MADV_NORMAL));
    SHOW(madvise(map + 2 * PAGE, 6 * PAGE, MADV_DONTNEED));
    SHOW(madvise(map + 2 * PAGE, 6 * PAGE, 22));
}

static void syncing(void)
{
    int file = file_of(4);
    char *map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    SHOW(msync(map, PAGE, 0));
    SHOW(msync(map + 1, PAGE, MS_SYNC));
    SHOW(msync(map + 1, PAGE, MS_SYNC | MS_ASYNC));
    SHOW(msync(map, 0, MS_SYNC));
    SHOW(syscall(SYS_msync, map, ~0UL, MS_SYNC));
    SHOW(syscall(SYS_msync, map, -PAGE, MS_ASYNC));
    SHOW(msync((void *)TOP, PAGE, MS_ASYNC));
    SHOW(msync(NULL, PAGE, MS_SYNC));
    mlock(map + PAGE, PAGE);
    SHOW(msync(map, 4 * PAGE, MS_SYNC | MS_INVALIDATE));
    SHOW(msync(map, PAGE, MS_ASYNC | MS_INVALIDATE));
    munmap(map + 2 * PAGE, PAGE);
    SHOW(msync(map, 4 * PAGE, MS_SYNC));
    SHOW(msync(map, 4 * PAGE, MS_ASYNC));
}

static void in_core(void)
{
    unsigned char pages[8] = {0};
    char *map = anonymous(8, PROT_READ | PROT_WRITE);
    map[0] = map[3 * PAGE] = 1;
    SHOW(mincore(map, 8 * PAGE, pages));
    for (int i = 0; i < 8; i++)
        NUMBER(pages[i] & 1);
    SHOW(mincore(map + 1, PAGE, pages));
    SHOW(mincore(map, 1, pages));
    SHOW(mincore(map, 0, pages));
    SHOW(mincore(map, PAGE, bad_address));
    SHOW(mincore(map, PAGE, (void *)TOP));
    SHOW(syscall(SYS_mincore, map, ~0UL, pages));
    munmap(map, PAGE);
    SHOW(mincore(map, 2 * PAGE, pages));
    SHOW(mincore(map, 2 * PAGE, (void *)-1L));
}

static void remapped_file_pages(void)
{
    int file = file_of(4);
    char *map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    SHOW(syscall(SYS_remap_file_pages, map, PAGE, 0, 3, 0));
    NUMBER(map[0]);
    NUMBER(map[PAGE]);
    SHOW(syscall(SYS_remap_file_pages, map, PAGE, PROT_READ, 3, 0));
    SHOW(syscall(SYS_remap_file_pages, map, 0, 0, 3, 0));
    SHOW(syscall(SYS_remap_file_pages, map, -PAGE, 0, 3, 0));
    SHOW(syscall(SYS_remap_file_pages, private, PAGE, 0, 3, 0));
    SHOW(syscall(SYS_remap_file_pages, PAGE, PAGE, 0, 3, 0));
    SHOW(syscall(SYS_remap_file_pages, map + 1, PAGE, 0, 2, 0));
    NUMBER(map[0]);
    SHOW(syscall(SYS_remap_file_pages, map, PAGE, 0, -1L, 0));
}

static void other_processes(void)
{
    char *map = anonymous(2, PROT_READ | PROT_WRITE), here[64] = "from here";
    strcpy(map, "from there");
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    map[0] = 0;
    struct iovec local = {here, 32}, remote = {map, 32}, wrong = {bad_address, 8};
    SHOW(process_vm_readv(child, &local, 1, &remote, 1, 0));
    TEXT(here);
    SHOW(process_vm_readv(child, &local, 1, &remote, 1, 1));
    SHOW(process_vm_readv(child, &local, 1, &wrong, 1, 0));
    SHOW(process_vm_readv(child, &wrong, 1, &remote, 1, 0));
    SHOW(process_vm_readv(child, bad_address, 1, &remote, 1, 0));
    SHOW(process_vm_readv(child, &local, 1, bad_address, 1, 0));
    SHOW(process_vm_readv(child, &local, 2000, &remote, 1, 0));
    SHOW(process_vm_readv(child, &local, 1, &remote, 0, 0));
    SHOW(process_vm_readv(child, &local, 0, &remote, 1, 0));
    SHOW(process_vm_readv(0x3ffffff, &local, 1, &remote, 1, 0));
    struct iovec several[3] = {{map, 4}, {bad_address, 4}, {map, 4}};
    SHOW(process_vm_readv(child, &local, 1, several, 3, 0));
    SHOW(process_vm_writev(child, &local, 1, &remote, 1, 0));
    int fd = (int)syscall(SYS_pidfd_open, child, 0);
    SHOW(syscall(SYS_process_madvise, fd, &remote, 1, 20, 0));
    SHOW(syscall(SYS_process_madvise, fd, &remote, 1, MADV_DONTNEED, 0));
    SHOW(syscall(SYS_process_madvise, fd, &remote, 1, 20, 1));
    SHOW(syscall(SYS_process_madvise, 99, &remote, 1, 20, 0));
    SHOW(syscall(SYS_process_madvise, 0, &remote, 1, 20, 0));
    SHOW(syscall(SYS_process_madvise, fd, bad_address, 1, 20, 0));
    struct iovec aligned = {map, PAGE};
    SHOW(syscall(SYS_process_madvise, fd, &aligned, 1, 21, 0));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    SHOW(process_vm_readv(child, &local, 1, &remote, 1, 0));
    SHOW(syscall(SYS_process_madvise, fd, &aligned, 1, 21, 0));
}

static void limits(void)
{
    limit(RLIMIT_AS, 64 << 20);
    SHOW(mmap(NULL, 128 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    WORKS(mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(brk(sbrk(0) + (128 << 20)));
    char *map = anonymous(4, PROT_READ | PROT_WRITE);
    SHOW(mremap(map, 4 * PAGE, 128 << 20, MREMAP_MAYMOVE));
    limit(RLIMIT_DATA, 0);
    SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    WORKS(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    WORKS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    SHOW(brk(sbrk(0) + PAGE));
}

static void seals(void)
{
    int file = file_of(4);
    SHOW(fcntl(file, F_GET_SEALS));
    char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
    SHOW(fcntl(file, F_ADD_SEALS, 0x10));
    SHOW(fcntl(file, F_GET_SEALS));
    SHOW(pwrite(file, "x", 1, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    WORKS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0));
    map[0] = 'm';
    munmap(map, PAGE);
    SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW));
    SHOW(ftruncate(file, PAGE));
    SHOW(ftruncate(file, 8 * PAGE));
    SHOW(ftruncate(file, 4 * PAGE));
    SHOW(fallocate(file, 0, 0, 8 * PAGE));
    SHOW(fallocate(file, 3, 0, PAGE));
    WORKS(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0));
    WORKS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_SEAL));
    SHOW(fcntl(file, F_ADD_SEALS, F_SEAL_SEAL));
    SHOW(fcntl(file, F_ADD_SEALS, 0x100));
    SHOW(fcntl(file, F_GET_SEALS));
    int unsealed = memfd_create("plain", 0);
    SHOW(fcntl(unsealed, F_GET_SEALS));
    SHOW(fcntl(unsealed, F_ADD_SEALS, F_SEAL_GROW));
    SHOW(memfd_create("x", 0x100));
    SHOW(memfd_create(bad_address, 0));
    char long_name[251];
    memset(long_name, 'n', 250);
    long_name[250] = 0;
    SHOW(memfd_create(long_name, 0));
    long_name[249] = 0;
    WORKS(memfd_create(long_name, 0));
    SHOW(fcntl(0, F_GET_SEALS));
}

static void growing(void)
{
    char *map = mmap((void *)0x10000000, 16 * PAGE, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED, -1, 0);
    HOLDS(map == (void *)0x10000000);
    map[-1] = 1;
    map[-PAGE - 1] = 2;
    NUMBER(map[-1] + map[-PAGE - 1]);
    IN_CHILD("far", map[-2000 * PAGE] = 3);
    SHOW(mprotect(map, PAGE, PROT_GROWSDOWN | PROT_READ));
    IN_CHILD("protected", map[-1] = 3);
    HOLDS(mmap(map - 64 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
    IN_CHILD("guard", map[-62 * PAGE] = 3);
}

static void coherence(void)
{
    int file = open("coherent", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char byte = 0, *map, *again, *private;
    ftruncate(file, 3 * PAGE);
    map = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    again = mmap(NULL, 4 * PAGE, PROT_READ, MAP_SHARED, open("coherent", O_RDONLY), 0);
    private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    map[100] = 1;
    SHOW(pread(file, &byte, 1, 100));
    NUMBER(byte + again[100] + private[100]);
    private[101] = 7;
    SHOW(pwrite(file, "ab", 2, 100));
    NUMBER(map[100] + map[101]);
    NUMBER(again[100] + again[101]);
    NUMBER(private[101]);
    SHOW(pwrite(file, "tail", 4, 3 * PAGE - 2));
    NUMBER(map[3 * PAGE - 1] + map[3 * PAGE] + map[3 * PAGE + 1]);
    SHOW(ftruncate(file, PAGE + 10));
    IN_CHILD("beyond", map[2 * PAGE] = 1);
    IN_CHILD("private beyond", private[2 * PAGE] = 1);
    map[PAGE + 50] = 9;
    SHOW(ftruncate(file, 2 * PAGE));
    NUMBER(map[PAGE + 50]);
    SHOW(fallocate(file, 3, 0, PAGE));
    NUMBER(map[100] + again[101]);
    SHOW(msync(map, 2 * PAGE, MS_SYNC));
    IN_CHILD("child", map[5] = 6);
    NUMBER(again[5]);
    unlink("coherent");
}

static const struct test_case cases[] = {
    {"mmap_order", mmap_order}, {"noreplace", noreplace}, {"protections", protections}, {"remap_order", remap_order},
    {"locking", locking}, {"advising", advising}, {"syncing", syncing}, {"in_core", in_core},
    {"remapped_file_pages", remapped_file_pages}, {"other_processes", other_processes}, {"limits", limits},
    {"seals", seals}, {"growing", growing}, {"coherence", coherence},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
