/* File handles, sysfs(2), and what proc and sys say that programs size themselves by. */
#include "show.h"
#include <sys/sysinfo.h>

struct handle {
    unsigned bytes;
    int type;
    unsigned char data[128];
};

static void handles(void)
{
    enter_scratch();
    struct handle one = {.bytes = 128}, two = {.bytes = 128}, small = {.bytes = 0};
    int mount = -1;
    mkdir("d", 0755);
    int file = open("d/f", O_CREAT | O_RDWR, 0644);
    write(file, "contents", 8);
    symlink("d/f", "s");
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "d/f", &one, &mount, 0));
    HOLDS(one.bytes > 0 && one.bytes <= 128 && mount > 0);
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "s", &two, &mount, AT_SYMLINK_FOLLOW));
    HOLDS(one.bytes == two.bytes && memcmp(one.data, two.data, one.bytes) == 0);
    two.bytes = 128;
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "s", &two, &mount, 0));
    HOLDS(one.bytes != two.bytes || memcmp(one.data, two.data, one.bytes) != 0);
    two.bytes = 128;
    SHOW(syscall(SYS_name_to_handle_at, file, "", &two, &mount, AT_EMPTY_PATH));
    HOLDS(one.bytes == two.bytes && memcmp(one.data, two.data, one.bytes) == 0);
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "d/f", &small, &mount, 0));
    HOLDS(small.bytes == one.bytes);
    small.bytes = 129;
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "d/f", &small, &mount, 0));
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "none", &two, &mount, 0));
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "", &two, &mount, 0));
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "d/f", &two, &mount, 0x800));
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "d/f", bad_address, &mount, 0));
    two.bytes = 128;
    SHOW(syscall(SYS_name_to_handle_at, AT_FDCWD, "d/f", &two, bad_address, 0));
    two.bytes = 128;
    SHOW(syscall(SYS_name_to_handle_at, 99, "f", &two, &mount, 0));
    int place = open(".", O_RDONLY);
    char bytes[16] = "";
    int opened = (int)syscall(SYS_open_by_handle_at, place, &one, O_RDONLY);
    HOLDS(opened >= 0);
    SHOW(read(opened, bytes, 16));
    TEXT(bytes);
    SHOW(write(opened, "x", 1));
    small.bytes = 0;
    SHOW(syscall(SYS_open_by_handle_at, place, &small, O_RDONLY));
    small.bytes = 129;
    SHOW(syscall(SYS_open_by_handle_at, place, &small, O_RDONLY));
    SHOW(syscall(SYS_open_by_handle_at, 99, &one, O_RDONLY));
    SHOW(syscall(SYS_open_by_handle_at, place, bad_address, O_RDONLY));
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000); SHOW(syscall(SYS_open_by_handle_at, place, &one, O_RDONLY)));
    close(opened);
    close(file);
    unlink("d/f");
    SHOW(syscall(SYS_open_by_handle_at, place, &one, O_RDONLY));
}

static void types(void)
{
    char name[64];
    long count = syscall(SYS_sysfs, 3);
    HOLDS(count > 3);
    long tmpfs = syscall(SYS_sysfs, 1, "tmpfs");
    HOLDS(tmpfs >= 0 && tmpfs < count);
    SHOW(syscall(SYS_sysfs, 2, tmpfs, name));
    TEXT(name);
    SHOW(syscall(SYS_sysfs, 1, "nonsense"));
    SHOW(syscall(SYS_sysfs, 1, bad_address));
    SHOW(syscall(SYS_sysfs, 2, count, name));
    SHOW(syscall(SYS_sysfs, 2, tmpfs, bad_address));
    SHOW(syscall(SYS_sysfs, 4));
}

static int has_line(const char *path, const char *start)
{
    char line[4096];
    FILE *file = fopen(path, "r");
    int found = 0;
    while (file && fgets(line, sizeof line, file))
        found += strncmp(line, start, strlen(start)) == 0;
    if (file)
        fclose(file);
    return found;
}

static void figures(void)
{
    const char *cpuinfo[] = {"processor\t:", "vendor_id\t:", "cpu family\t:", "model\t\t:", "model name\t:", "stepping\t:", "cpu MHz\t\t:",
        "physical id\t:", "siblings\t:", "core id\t\t:", "cpu cores\t:", "apicid\t\t:", "flags\t\t:", "bogomips\t:", "clflush size\t:"};
    for (size_t i = 0; i < sizeof cpuinfo / sizeof *cpuinfo; i++) {
        printf("  %s", cpuinfo[i]);
        HOLDS(has_line("/proc/cpuinfo", cpuinfo[i]) >= 1);
    }
    const char *meminfo[] = {"MemTotal:", "MemFree:", "MemAvailable:", "Buffers:", "Cached:", "SwapTotal:", "SwapFree:", "Shmem:"};
    for (size_t i = 0; i < sizeof meminfo / sizeof *meminfo; i++) {
        printf("  %s", meminfo[i]);
        HOLDS(has_line("/proc/meminfo", meminfo[i]) == 1);
    }
    const char *stat[] = {"cpu ", "cpu0 ", "intr ", "ctxt ", "btime ", "processes ", "procs_running ", "procs_blocked ", "softirq "};
    for (size_t i = 0; i < sizeof stat / sizeof *stat; i++) {
        printf("  %s", stat[i]);
        HOLDS(has_line("/proc/stat", stat[i]) == 1);
    }
    double one, five, fifteen;
    int running, all, last;
    FILE *file = fopen("/proc/loadavg", "r");
    HOLDS(file && fscanf(file, "%lf %lf %lf %d/%d %d", &one, &five, &fifteen, &running, &all, &last) == 6);
    HOLDS(running >= 1 && all >= running && last >= 1);
    double loads[3];
    HOLDS(getloadavg(loads, 3) == 3);
    HOLDS(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
    const char *numbers[] = {"/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max", "/proc/sys/fs/nr_open", "/proc/sys/fs/pipe-max-size",
        "/proc/sys/kernel/tainted", "/proc/sys/vm/overcommit_memory", "/proc/sys/fs/inotify/max_user_watches", "/proc/sys/net/core/wmem_max"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        long value = -1;
        FILE *number = fopen(numbers[i], "r");
        printf("  %s", numbers[i]);
        HOLDS(number && fscanf(number, "%ld", &value) == 1 && value >= 0);
    }
}

static const struct test_case cases[] = {{"handles", handles}, {"types", types}, {"figures", figures}};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
