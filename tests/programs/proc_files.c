/* Files of /proc/PID that tell of memory, children and settings. */
#include "show.h"
#include <sys/prctl.h>

#define PAGE 4096

/* The value in KiB under `name` of the area at `at` in smaps; -1 if there is none. */
static long area_value(const void *at, const char *name)
{
    char line[512];
    unsigned long from = 0, to = 0, wanted = (unsigned long)at;
    long found = -1;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (file && fgets(line, sizeof line, file)) {
        unsigned long a, b;
        if (sscanf(line, "%lx-%lx ", &a, &b) == 2 && strchr(line, '-') < strchr(line, ' '))
            from = a, to = b;
        else if (wanted >= from && wanted < to && strncmp(line, name, strlen(name)) == 0 && line[strlen(name)] == ':')
            found = strtol(line + strlen(name) + 1, NULL, 10);
    }
    if (file)
        fclose(file);
    return found;
}

static int area_has(const void *at, const char *flag)
{
    char line[512];
    unsigned long from = 0, to = 0, wanted = (unsigned long)at;
    int found = 0;
    FILE *file = fopen("/proc/self/smaps", "r");
    while (file && fgets(line, sizeof line, file)) {
        unsigned long a, b;
        if (sscanf(line, "%lx-%lx ", &a, &b) == 2 && strchr(line, '-') < strchr(line, ' '))
            from = a, to = b;
        else if (wanted >= from && wanted < to && strncmp(line, "VmFlags:", 8) == 0)
            found = strstr(line, flag) != NULL;
    }
    if (file)
        fclose(file);
    return found;
}

static void sizes(void)
{
    char *area = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    madvise(area, 8 * PAGE, MADV_NOHUGEPAGE);
    mprotect(area + 8 * PAGE - PAGE, PAGE, PROT_NONE);
    area[0] = area[PAGE] = area[2 * PAGE] = 1;
    static const char *const names[] = {"Size", "KernelPageSize", "MMUPageSize", "Rss", "Shared_Clean", "Shared_Dirty", "Private_Clean", "Private_Dirty", "Referenced", "Anonymous", "LazyFree", "AnonHugePages", "ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss", "Locked"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        printf("  %s: %ld\n", names[i], area_value(area, names[i]));
    HOLDS(area_value(area, "Pss") == 12);
    static const char *const flags[] = {" rd ", " wr ", " ex ", " sh ", " mr ", " mw ", " me ", " gd ", " lo ", " ac ", " dc ", " nh "};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        printf("  flag%s: %d\n", flags[i], area_has(area, flags[i]));
    mlock(area, 2 * PAGE);
    NUMBER(area_value(area, "Locked"));
    NUMBER(area_has(area, " lo "));
    madvise(area + 2 * PAGE, PAGE, MADV_DONTFORK);
    NUMBER(area_has(area + 2 * PAGE, " dc "));
    char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared[0] = 1;
    NUMBER(area_value(shared, "Rss"));
    NUMBER(area_value(shared, "Anonymous"));
    NUMBER(area_has(shared, " sh "));
}

static void rollup(void)
{
    char line[512], head[64] = "";
    long rss = -1, anonymous = -1;
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    HOLDS(file != NULL);
    if (!file)
        return;
    fgets(line, sizeof line, file);
    sscanf(line, "%*s %*s %*s %*s %*s %60s", head);
    TEXT(head);
    while (fgets(line, sizeof line, file)) {
        sscanf(line, "Rss: %ld", &rss);
        sscanf(line, "Anonymous: %ld", &anonymous);
    }
    fclose(file);
    HOLDS(rss > 0 && anonymous > 0 && anonymous <= rss);
}

static uint64_t entry(int fd, const void *at)
{
    uint64_t word = 1;
    pread(fd, &word, 8, (off_t)((uintptr_t)at / PAGE * 8));
    return word;
}

static void page_map(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY);
    HOLDS(fd >= 0);
    char *area = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    area[PAGE] = 1;
    NUMBER(entry(fd, area) >> 63);
    NUMBER(entry(fd, area + PAGE) >> 63);
    NUMBER(entry(fd, area + PAGE) >> 61 & 3);
    NUMBER(entry(fd, area + PAGE) >> 56 & 1);
    munmap(area, PAGE);
    NUMBER(entry(fd, area));
    char *shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shared[0] = 1;
    NUMBER(entry(fd, shared) >> 63);
    NUMBER(entry(fd, shared) >> 61 & 1);
    uint64_t words[4];
    SHOW(pread(fd, words, 7, 0));
    SHOW(pread(fd, words, 8, 3));
    SHOW(pread(fd, words, sizeof words, (off_t)((uintptr_t)area / PAGE * 8)));
    NUMBER(words[1] >> 63);
    SHOW(pread(fd, words, 8, (off_t)1 << 40));
    SHOW(pread(fd, bad_address, 8, 0));
    SHOW(open("/proc/self/pagemap", O_WRONLY) == -1 ? -1 : 0);
}

static void children(void)
{
    char path[64], text[64] = "", expected[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    fflush(stdout);
    pid_t first = fork();
    if (first == 0)
        for (;;)
            pause();
    pid_t second = fork();
    if (second == 0)
        for (;;)
            pause();
    int fd = open(path, O_RDONLY);
    read(fd, text, sizeof text - 1);
    snprintf(expected, sizeof expected, "%d %d ", first, second);
    HOLDS(strcmp(text, expected) == 0);
    kill(first, SIGKILL);
    kill(second, SIGKILL);
    waitpid(first, NULL, 0);
    waitpid(second, NULL, 0);
    SHOW(pread(fd, text, sizeof text, 0));
    SHOW(access("/proc/self/children", F_OK));
}

static void show_text(const char *path)
{
    char text[256] = "";
    int fd = open(path, O_RDONLY);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (len < 0)
        printf("  %s: %s\n", path, errno_name(errno));
    else
        printf("  %s: %s", path, text);
    close(fd);
    fflush(stdout);
}

static long put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY);
    long done = fd < 0 ? -1 : write(fd, text, strlen(text));
    int error = errno;
    close(fd);
    errno = error;
    return done;
}

static void settings(void)
{
    show_text("/proc/self/timerslack_ns");
    SHOW(put("/proc/self/timerslack_ns", "123456\n"));
    show_text("/proc/self/timerslack_ns");
    SHOW(prctl(PR_GET_TIMERSLACK));
    SHOW(put("/proc/self/timerslack_ns", "0"));
    show_text("/proc/self/timerslack_ns");
    SHOW(put("/proc/self/timerslack_ns", "x"));
    SHOW(put("/proc/self/oom_score_adj", "500"));
    show_text("/proc/self/oom_adj");
    SHOW(put("/proc/self/oom_adj", "15"));
    show_text("/proc/self/oom_score_adj");
    SHOW(put("/proc/self/oom_adj", "16"));
    SHOW(put("/proc/self/oom_adj", "-18"));
    char text[4096];
    int fd = open("/proc/self/mountstats", O_RDONLY);
    ssize_t len = read(fd, text, sizeof text - 1);
    HOLDS(len > 0 && strncmp(text, "device ", 7) == 0 && memmem(text, (size_t)len, " mounted on / with fstype ", 26) != NULL);
}

static const struct test_case cases[] = {
    {"sizes", sizes}, {"rollup", rollup}, {"page_map", page_map}, {"children", children}, {"settings", settings},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
