/* Memory: mappings, protection, copy on write, files in memory, the heap, bad pointers. */
#include "show.h"
#include <setjmp.h>
#include <sys/uio.h>

#define PAGE 4096L

static sigjmp_buf back;
static void escape(int number) { siglongjmp(back, number); }

/* Which signal touching `action` raises, 0 for none. */
#define SIGNAL_OF(action) ({ int number_ = sigsetjmp(back, 1); if (number_ == 0) { action; } number_; })

static void catch_faults(void)
{
    signal(SIGSEGV, escape);
    signal(SIGBUS, escape);
}

static char *anonymous(long pages, int protection)
{
    return mmap(NULL, pages * PAGE, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static long sum(const char *bytes, long length)
{
    long total = 0;
    for (long i = 0; i < length; i++)
        total += (unsigned char)bytes[i];
    return total;
}

static void anonymous_pages(void)
{
    catch_faults();
    char *map = anonymous(16, PROT_READ | PROT_WRITE);
    HOLDS(map != MAP_FAILED && ((uintptr_t)map & (PAGE - 1)) == 0);
    NUMBER(sum(map, 16 * PAGE));
    memset(map, 1, 16 * PAGE);
    NUMBER(sum(map, 16 * PAGE));
    SHOW(munmap(map + 4 * PAGE, 2 * PAGE));
    NUMBER(SIGNAL_OF(map[3 * PAGE] = 2));
    NUMBER(SIGNAL_OF(map[4 * PAGE] = 2));
    NUMBER(SIGNAL_OF(map[5 * PAGE] = 2));
    NUMBER(SIGNAL_OF(map[6 * PAGE] = 2));
    SHOW(munmap(map + 4 * PAGE, 2 * PAGE));
    SHOW(munmap(map, 16 * PAGE));
    NUMBER(SIGNAL_OF(map[0] = 2));
}

static void mapping_errors(void)
{
    char *map = anonymous(2, PROT_READ);
    SHOW(mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_ANONYMOUS, -1, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, -1, 0));
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 0, 100));
    SHOW(mmap(NULL, 1UL << 62, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    SHOW(mmap((void *)100, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SHOW(syscall(SYS_mmap, 0x7ffffffff000, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
    SHOW(mmap(map, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    SHOW(munmap(map + 1, PAGE));
    SHOW(munmap(map, 0));
    SHOW(syscall(SYS_munmap, 0x7ffffffff000, 1UL << 47));
    SHOW(syscall(SYS_mprotect, map + 1, PAGE, PROT_READ));
    char *holed = anonymous(8, PROT_READ);
    munmap(holed + 5 * PAGE, PAGE);
    SHOW(syscall(SYS_mprotect, holed, 8 * PAGE, PROT_READ));
    SHOW(mprotect(map, PAGE, 0x100));
    SHOW(mprotect(map, 0, PROT_READ));
    SHOW(madvise(map, PAGE, 9999));
    SHOW(madvise(map + 1, PAGE, MADV_DONTNEED));
    SHOW(msync(map, PAGE, 0x77));
    SHOW(msync(map, PAGE, MS_SYNC | MS_ASYNC));
    int file = open("/dev/null", O_RDONLY);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, 0));
    file = open("/etc/passwd", O_WRONLY | O_APPEND);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0));
    file = open("/etc/passwd", O_RDONLY);
    SHOW(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0));
    WORKS(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0));
    file = open("/etc", O_RDONLY);
    SHOW(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, file, 0));
}

static void protection(void)
{
    catch_faults();
    char *map = anonymous(4, PROT_READ | PROT_WRITE);
    memset(map, 7, 4 * PAGE);
    SHOW(mprotect(map + PAGE, PAGE, PROT_READ));
    SHOW(mprotect(map + 2 * PAGE, PAGE, PROT_NONE));
    NUMBER(SIGNAL_OF(map[0] = 1));
    NUMBER(SIGNAL_OF(map[PAGE] = 1));
    NUMBER(SIGNAL_OF((void)((volatile char *)map)[PAGE]));
    NUMBER(SIGNAL_OF((void)((volatile char *)map)[2 * PAGE]));
    NUMBER(SIGNAL_OF(map[3 * PAGE] = 1));
    SHOW(mprotect(map, 4 * PAGE, PROT_READ | PROT_WRITE));
    NUMBER(map[2 * PAGE]);
    NUMBER(SIGNAL_OF(map[2 * PAGE] = 1));
    char code[] = {(char)0xb8, 42, 0, 0, 0, (char)0xc3}; /* mov $42, %eax; ret */
    memcpy(map, code, sizeof code);
    NUMBER(SIGNAL_OF(((int (*)(void))map)()));
    SHOW(mprotect(map, PAGE, PROT_READ | PROT_EXEC));
    NUMBER(((int (*)(void))map)());
    SHOW(mprotect(map, PAGE, PROT_READ | PROT_WRITE));
    map[1] = 43;
    SHOW(mprotect(map, PAGE, PROT_READ | PROT_EXEC));
    NUMBER(((int (*)(void))map)());
}

static void fixed_places(void)
{
    char *map = anonymous(8, PROT_READ | PROT_WRITE);
    memset(map, 5, 8 * PAGE);
    HOLDS(mmap(map + 2 * PAGE, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == map + 2 * PAGE);
    NUMBER(map[PAGE] + map[2 * PAGE] + map[3 * PAGE] + map[4 * PAGE]);
    munmap(map, 8 * PAGE);
    HOLDS(mmap(map, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == map);
    HOLDS(mmap(map + 4 * PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == map + 4 * PAGE);
}

static void remapping(void)
{
    catch_faults();
    char *map = anonymous(8, PROT_READ | PROT_WRITE);
    for (int i = 0; i < 8; i++)
        map[i * PAGE] = (char)(i + 1);
    HOLDS(mremap(map, 8 * PAGE, 4 * PAGE, 0) == map);
    NUMBER(SIGNAL_OF(map[4 * PAGE] = 1));
    HOLDS(mremap(map, 4 * PAGE, 6 * PAGE, 0) == map);
    NUMBER(map[3 * PAGE] * 10 + map[5 * PAGE]);
    char *moved = mremap(map, 6 * PAGE, 4096 * PAGE, MREMAP_MAYMOVE);
    HOLDS(moved != MAP_FAILED);
    NUMBER(moved[0] + moved[PAGE] + moved[2 * PAGE] + moved[3 * PAGE]);
    NUMBER(moved[4095 * PAGE]);
    char *target = anonymous(4, PROT_NONE);
    HOLDS(mremap(moved, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target) == target);
    NUMBER(target[0] + target[3 * PAGE]);
    NUMBER(SIGNAL_OF((void)((volatile char *)moved)[0]));
    SHOW(mremap(target, 4 * PAGE, 0, 0));
    SHOW(mremap(target + 1, PAGE, PAGE, 0));
    SHOW(mremap(target, PAGE, PAGE, 0x100));
    SHOW(mremap((void *)0x10000, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
    anonymous(1, PROT_READ);
}

static void heap(void)
{
    char *start = sbrk(0);
    HOLDS((char *)syscall(SYS_brk, 0) >= start);
    char *end = (char *)syscall(SYS_brk, start + 10 * PAGE);
    HOLDS(end == start + 10 * PAGE);
    memset(start, 3, 10 * PAGE);
    HOLDS((char *)syscall(SYS_brk, start + PAGE) == start + PAGE);
    HOLDS((char *)syscall(SYS_brk, start + 10 * PAGE) == start + 10 * PAGE);
    NUMBER(sum(start + 2 * PAGE, 8 * PAGE));
    HOLDS((char *)syscall(SYS_brk, 1) == start + 10 * PAGE);
    HOLDS((char *)syscall(SYS_brk, -1L) == start + 10 * PAGE);
}

static void copy_on_write(void)
{
    char *private = anonymous(600, PROT_READ | PROT_WRITE);
    char *shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 600; i++)
        private[i * PAGE] = 1;
    shared[0] = 1;
    IN_CHILD("child", {
        private[0] = 2;
        shared[0] = 2;
        shared[PAGE] = 9;
        NUMBER(private[0] + private[599 * PAGE]);
        IN_CHILD("grandchild", private[599 * PAGE] = 3; shared[0]++; NUMBER(private[0] + private[599 * PAGE]));
        NUMBER(private[599 * PAGE]);
    });
    NUMBER(private[0]);
    NUMBER(shared[0]);
    NUMBER(shared[PAGE]);
    private[0] = 4;
    IN_CHILD("child", NUMBER(private[0]); memset(private, 6, 600 * PAGE); NUMBER(sum(private, 600 * PAGE)));
    NUMBER(sum(private, 600 * PAGE));
    madvise(private, 300 * PAGE, MADV_DONTNEED);
    NUMBER(sum(private, 600 * PAGE));
    IN_CHILD("child", NUMBER(sum(private, 600 * PAGE)));
}

static void kernel_writes_copy(void)
{
    /* A system call that writes to a page shared after fork must not write through to the other process. */
    char *map = anonymous(1, PROT_READ | PROT_WRITE);
    strcpy(map, "parent");
    int ends[2];
    pipe(ends);
    write(ends[1], "child!", 7);
    IN_CHILD("child", read(ends[0], map, 7); TEXT(map));
    TEXT(map);
}

static void file_mappings(void)
{
    catch_faults();
    enter_scratch();
    int file = open("file", O_CREAT | O_RDWR, 0644);
    char text[10000];
    for (int i = 0; i < (int)sizeof text; i++)
        text[i] = (char)('a' + i % 26);
    SHOW(write(file, text, sizeof text));
    char *private = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    char *shared = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    char *second = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, file, PAGE);
    HOLDS(memcmp(private, text, sizeof text) == 0 && memcmp(shared, text, sizeof text) == 0);
    NUMBER(sum(shared + 10000, 3 * PAGE - 10000));
    NUMBER(SIGNAL_OF((void)((volatile char *)shared)[3 * PAGE]));
    private[0] = 'P';
    shared[PAGE] = 'S';
    NUMBER(shared[0]);
    NUMBER(second[0]);
    char back_[2] = "";
    SHOW(pread(file, back_, 1, PAGE));
    NUMBER(back_[0]);
    SHOW(pwrite(file, "W", 1, 1));
    NUMBER(shared[1]);
    NUMBER(private[1]);
    SHOW(msync(shared, 4 * PAGE, MS_SYNC));
    IN_CHILD("child", shared[2] = 'C'; private[2] = 'c');
    NUMBER(shared[2]);
    SHOW(pread(file, back_, 1, 2));
    NUMBER(back_[0]);
    SHOW(close(file));
    SHOW(unlink("file"));
    NUMBER(shared[2]);
    shared[3] = '3';
    NUMBER(second[1]);
    file = open("sparse", O_CREAT | O_RDWR, 0644);
    SHOW(ftruncate(file, 100 * PAGE));
    char *sparse = mmap(NULL, 100 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    sparse[99 * PAGE] = 1;
    NUMBER(sum(sparse, 100 * PAGE));
    SHOW(ftruncate(file, 50 * PAGE + 10));
    NUMBER(SIGNAL_OF((void)((volatile char *)sparse)[51 * PAGE]));
    NUMBER(sparse[50 * PAGE + 20]);
    SHOW(ftruncate(file, 100 * PAGE));
    NUMBER(sparse[99 * PAGE]);
}

static void memfd(void)
{
    int fd = (int)SHOW(syscall(SYS_memfd_create, "name", 3)) >= 0 ? 3 : 3;
    SHOW(ftruncate(fd, 2 * PAGE));
    char *one = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    char *two = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    strcpy(one + 100, "same");
    TEXT(two + 100);
    SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW));
    SHOW(ftruncate(fd, PAGE));
    SHOW(ftruncate(fd, 3 * PAGE));
    SHOW(fcntl(fd, F_GET_SEALS));
    SHOW(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
}

static void bad_pointers(void)
{
    enter_scratch();
    char *map = anonymous(3, PROT_READ | PROT_WRITE);
    munmap(map + PAGE, PAGE);
    mprotect(map + 2 * PAGE, PAGE, PROT_READ);
    int ends[2], file = open("f", O_CREAT | O_RDWR, 0644);
    pipe(ends);
    SHOW(write(ends[1], bad_address, 1));
    SHOW(read(ends[0], bad_address, 0));
    write(ends[1], "0123456789", 10);
    SHOW(read(ends[0], bad_address, 1));
    SHOW(read(ends[0], (void *)0xffff800000000000, 1));
    SHOW(write(file, (void *)-100L, 200));
    SHOW(write(ends[1], map + PAGE - 5, 10));
    SHOW(write(file, map + PAGE - 5, 10));
    SHOW(lseek(file, 0, SEEK_CUR));
    SHOW(pread(file, map + PAGE - 3, 5, 0));
    SHOW(read(open("/dev/zero", O_RDONLY), map + PAGE - 3, 5));
    SHOW(read(open("/dev/zero", O_RDONLY), map + 2 * PAGE, 5));
    SHOW(syscall(SYS_stat, "/tmp", map + 2 * PAGE));
    SHOW(open(map + PAGE, O_RDONLY));
    memset(map, 'a', PAGE);
    SHOW(open(map + PAGE - 10, O_RDONLY));
    SHOW(open(map, O_RDONLY));
    SHOW(pipe(bad_address));
    SHOW(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, bad_address));
    SHOW(syscall(SYS_nanosleep, bad_address, NULL));
    SHOW(getcwd((char *)map + 2 * PAGE, 100) == NULL ? -1 : 0);
    struct iovec parts[2] = {{map, 4}, {map + PAGE, 4}};
    SHOW(writev(file, parts, 2));
    SHOW(writev(file, bad_address, 2));
    SHOW(writev(file, parts, 5000));
    SHOW(writev(file, parts, -1));
    parts[1].iov_len = -1;
    SHOW(writev(file, parts, 2));
    SHOW(syscall(SYS_getrandom, map + PAGE, 4, 0));
    SHOW(syscall(SYS_futex, map + PAGE, 0, 0, NULL, NULL, 0));
    SHOW(syscall(SYS_futex, map + 1, 0, 0, NULL, NULL, 0));
    SHOW(syscall(SYS_poll, bad_address, 1, 0));
    SHOW(syscall(SYS_wait4, -1, bad_address, 0, NULL));
    SHOW(syscall(SYS_sysinfo, bad_address));
    SHOW(syscall(SYS_set_robust_list, bad_address, 1));
}

static void advice(void)
{
    char *map = anonymous(8, PROT_READ | PROT_WRITE);
    memset(map, 1, 8 * PAGE);
    SHOW(madvise(map + PAGE, 2 * PAGE, MADV_DONTNEED));
    NUMBER(sum(map, 8 * PAGE));
    SHOW(madvise(map, 8 * PAGE, MADV_WILLNEED));
    SHOW(madvise(map, 8 * PAGE, MADV_HUGEPAGE) == 0 || errno == EINVAL);
    SHOW(madvise(map, 8 * PAGE, MADV_DONTFORK));
    SHOW(madvise(map, 8 * PAGE, MADV_DOFORK));
    SHOW(madvise(map, 8 * PAGE, MADV_WIPEONFORK));
    IN_CHILD("child", NUMBER(sum(map, 8 * PAGE)));
    munmap(map + 3 * PAGE, PAGE);
    SHOW(madvise(map, 8 * PAGE, MADV_DONTNEED));
    SHOW(mlock(map, PAGE));
    SHOW(munlock(map, PAGE));
    SHOW(mlock(map, 8 * PAGE));
    unsigned char resident[8];
    SHOW(mincore(map, 2 * PAGE, resident));
    SHOW(mincore(map, 8 * PAGE, resident));
}

static void large_and_sparse(void)
{
    char *map = mmap(NULL, 64L << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    HOLDS(map != MAP_FAILED);
    for (long i = 0; i < 64; i++)
        map[(i << 30) + 12345] = (char)i;
    long total = 0;
    for (long i = 0; i < 64; i++)
        total += map[(i << 30) + 12345];
    NUMBER(total);
    IN_CHILD("child", map[12345] = 1; NUMBER(map[12345]));
    SHOW(munmap(map, 64L << 30));
    map = anonymous(32 << 8, PROT_READ | PROT_WRITE);
    memset(map, 1, 32L << 20);
    NUMBER(sum(map, 32L << 20));
    SHOW(munmap(map, 32L << 20));
}

static void many_areas(void)
{
    char *map = anonymous(2000, PROT_READ | PROT_WRITE);
    int failures = 0;
    for (long i = 0; i < 2000; i += 2)
        failures += mprotect(map + i * PAGE, PAGE, PROT_READ) != 0;
    NUMBER(failures);
    for (long i = 1; i < 2000; i += 2)
        map[i * PAGE] = 1;
    NUMBER(sum(map, 2000 * PAGE));
    SHOW(mprotect(map, 2000 * PAGE, PROT_READ | PROT_WRITE));
    SHOW(munmap(map, 2000 * PAGE));
}

static int recurse(int levels, volatile char *above)
{
    volatile char frame[4000];
    frame[0] = above[0];
    return levels == 0 ? frame[0] : recurse(levels - 1, frame) + frame[0] - above[0];
}

static void stack_growth(void)
{
    volatile char top = 3;
    NUMBER(recurse(1000, &top));
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512];
    int stacks = 0, heaps = 0, lines = 0;
    while (maps && fgets(line, sizeof line, maps)) {
        stacks += strstr(line, "[stack]") != NULL;
        heaps += strstr(line, "[heap]") != NULL;
        lines++;
    }
    NUMBER(stacks);
    HOLDS(lines > 4);
}

static void many_processes_share(void)
{
    /* A counter in shared memory, atomically counted by many. */
    long *counter = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 8; i++)
        if (fork() == 0) {
            for (int j = 0; j < 10000; j++)
                __atomic_fetch_add(counter, 1, __ATOMIC_SEQ_CST);
            _exit(0);
        }
    while (wait(NULL) > 0)
        ;
    NUMBER(*counter);
}

static const struct test_case cases[] = {
    {"anonymous_pages", anonymous_pages}, {"mapping_errors", mapping_errors}, {"protection", protection},
    {"fixed_places", fixed_places}, {"remapping", remapping}, {"heap", heap}, {"copy_on_write", copy_on_write},
    {"kernel_writes_copy", kernel_writes_copy}, {"file_mappings", file_mappings}, {"memfd", memfd},
    {"bad_pointers", bad_pointers}, {"advice", advice}, {"large_and_sparse", large_and_sparse},
    {"many_areas", many_areas}, {"stack_growth", stack_growth}, {"many_processes_share", many_processes_share},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
