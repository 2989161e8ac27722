/* Mounts: tmpfs, bind, move, the calls by descriptor, errors. Needs CAP_SYS_ADMIN; where that is missing, both sides say so. */
#include "show.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/statfs.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#define SYS_fspick 433
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

static void own_namespace(void)
{
    enter_scratch();
    SHOW(unshare(CLONE_NEWNS));
    SHOW(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
}

static void classic(void)
{
    own_namespace();
    struct stat info;
    mkdir("m", 0755);
    mkdir("n", 0755);
    SHOW(mount("none", "m", "tmpfs", MS_NOEXEC, "size=64k,mode=0711"));
    stat("m", &info);
    NUMBER(info.st_mode);
    SHOW(close(open("m/f", O_CREAT | O_RDWR, 0755)));
    SHOW(execl("m/f", "f", NULL));
    SHOW(mount("m", "n", NULL, MS_BIND, NULL));
    SHOW(access("n/f", F_OK));
    SHOW(mount(NULL, "n", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
    SHOW(open("n/g", O_CREAT | O_RDWR, 0644));
    SHOW(close(open("m/g", O_CREAT | O_RDWR, 0644)));
    SHOW(umount2("n", 99));
    SHOW(umount2("n", MNT_EXPIRE | MNT_FORCE));
    SHOW(umount("n"));
    SHOW(umount("n"));
    SHOW(umount("none"));
    mkdir("k", 0755);
    SHOW(mount("m", "k", NULL, MS_MOVE, NULL));
    SHOW(access("k/f", F_OK));
    SHOW(access("m/f", F_OK));
    SHOW(mount("k/x", "m", NULL, MS_MOVE, NULL));
    SHOW(mount("n", "m", NULL, MS_MOVE, NULL));
    int busy = open("k/f", O_RDONLY);
    SHOW(umount("k"));
    SHOW(umount2("k", MNT_DETACH));
    SHOW(fstat(busy, &info));
    SHOW(mount("none", "m", "nosuchfs", 0, NULL));
    SHOW(mount("none", "nowhere", "tmpfs", 0, NULL));
    SHOW(mount("none", bad_address, "tmpfs", 0, NULL));
    SHOW(mount("none", "m", "tmpfs", 0, "nonsense=1"));
    SHOW(mount(bad_address, "m", "tmpfs", 0, NULL));
    close(open("file", O_CREAT, 0644));
    SHOW(mount("none", "file", "tmpfs", 0, NULL));
    SHOW(mount("file", "m", NULL, MS_BIND, NULL));
    SHOW(mount("m", "n", NULL, MS_REMOUNT, NULL));
    IN_CHILD("a stranger", setresuid(2000, 2000, 2000); SHOW(mount("none", "/tmp", "tmpfs", 0, NULL)); SHOW(umount("/tmp"));
        SHOW(syscall(SYS_fsopen, "tmpfs", 0)); SHOW(syscall(SYS_open_tree, AT_FDCWD, "/tmp", 1)));
}

static void by_descriptor(void)
{
    own_namespace();
    mkdir("m", 0755);
    SHOW(syscall(SYS_fsopen, "tmpfs", 2));
    SHOW(syscall(SYS_fsopen, "nosuchfs", 0));
    SHOW(syscall(SYS_fsopen, bad_address, 0));
    int fs = (int)syscall(SYS_fsopen, "tmpfs", 1);
    SHOW(fcntl(fs, F_GETFD));
    SHOW(syscall(SYS_fsmount, fs, 0, 0));
    SHOW(syscall(SYS_fsconfig, fs, 1, "size", "64k", 0));
    SHOW(syscall(SYS_fsconfig, fs, 1, "mode", "0711", 0));
    SHOW(syscall(SYS_fsconfig, fs, 1, "size", NULL, 0));
    SHOW(syscall(SYS_fsconfig, fs, 0, "ro", "x", 0));
    SHOW(syscall(SYS_fsconfig, fs, 99, NULL, NULL, 0));
    SHOW(syscall(SYS_fsconfig, -1, 6, NULL, NULL, 0));
    SHOW(syscall(SYS_fsconfig, 0, 6, NULL, NULL, 0));
    SHOW(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0));
    SHOW(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0));
    SHOW(syscall(SYS_fsmount, fs, 2, 0));
    SHOW(syscall(SYS_fsmount, fs, 0, 0x70));
    int mounted = (int)syscall(SYS_fsmount, fs, 1, 8 /* MOUNT_ATTR_NOEXEC */);
    HOLDS(mounted >= 0);
    SHOW(syscall(SYS_fsmount, fs, 0, 0));
    SHOW(fcntl(mounted, F_GETFL) & O_PATH);
    SHOW(close(openat(mounted, "inside", O_CREAT | O_RDWR, 0644)));
    SHOW(syscall(SYS_move_mount, mounted, "", AT_FDCWD, "m", 0x1000));
    SHOW(syscall(SYS_move_mount, mounted, "", AT_FDCWD, "m", 4 /* MOVE_MOUNT_F_EMPTY_PATH */));
    SHOW(access("m/inside", F_OK));
    struct stat info;
    stat("m", &info);
    NUMBER(info.st_mode);
    int tree = (int)syscall(SYS_open_tree, AT_FDCWD, "m", 1 | O_CLOEXEC);
    HOLDS(tree >= 0);
    SHOW(syscall(SYS_open_tree, AT_FDCWD, "m", 0x8000));
    SHOW(syscall(SYS_open_tree, AT_FDCWD, "m", 2));
    SHOW(syscall(SYS_open_tree, AT_FDCWD, "none", 1));
    mkdir("copy", 0755);
    SHOW(syscall(SYS_move_mount, tree, "", AT_FDCWD, "copy", 4));
    SHOW(access("copy/inside", F_OK));
    struct { uint64_t set, clear, propagation, userns; } attributes = {1, 0, 0, 0};
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "copy", 0, &attributes, sizeof attributes));
    SHOW(open("copy/new", O_CREAT | O_RDWR, 0644));
    SHOW(close(open("m/new", O_CREAT | O_RDWR, 0644)));
    attributes.set = 0;
    attributes.clear = 1;
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "copy", 0, &attributes, sizeof attributes));
    SHOW(close(open("copy/new2", O_CREAT | O_RDWR, 0644)));
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "copy", 0, &attributes, 8));
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "copy", 0, &attributes, 5000));
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "copy", 0x10, &attributes, sizeof attributes));
    attributes.set = 0x10;
    attributes.clear = 0;
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "copy", 0, &attributes, sizeof attributes));
    attributes.set = 1 << 30;
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "copy", 0, &attributes, sizeof attributes));
    SHOW(syscall(SYS_fspick, AT_FDCWD, "m/inside", 0));
    SHOW(syscall(SYS_fspick, AT_FDCWD, "m", 99));
    int pick = (int)syscall(SYS_fspick, AT_FDCWD, "m", 0);
    HOLDS(pick >= 0);
    SHOW(syscall(SYS_fsconfig, pick, 1, "size", "128k", 0));
    SHOW(syscall(SYS_fsconfig, pick, 7, NULL, NULL, 0));
    struct statfs space;
    statfs("m", &space);
    NUMBER(space.f_blocks);
    SHOW(umount2("m", MNT_DETACH));
    SHOW(umount2("copy", MNT_DETACH));
}

static int groups[64], known;

/* The optional fields of the topmost mount at `end` below the working directory, with letters for the numbers of groups. */
static void sharing(const char *end)
{
    char line[4096], last[4096] = "", here[1024] = "";
    getcwd(here, sizeof here);
    FILE *info = fopen("/proc/self/mountinfo", "r");
    while (info && fgets(line, sizeof line, info)) {
        char place[2048];
        if (sscanf(line, "%*s %*s %*s %*s %2047s", place) != 1)
            continue;
        if (strncmp(place, here, strlen(here)) == 0 && strcmp(place + strlen(here), end) == 0)
            strcpy(last, line);
    }
    if (info)
        fclose(info);
    printf("  %s:", end);
    if (!*last) {
        printf(" not mounted\n");
        return;
    }
    *strstr(last, " - ") = 0;
    strtok(last, " ");
    for (int i = 0; i < 5; i++)
        strtok(NULL, " ");
    for (char *field = strtok(NULL, " "); field; field = strtok(NULL, " ")) {
        char *colon = strchr(field, ':');
        if (!colon) {
            printf(" %s", field);
            continue;
        }
        int at = 0;
        while (at < known && groups[at] != atoi(colon + 1))
            at++;
        if (at == known)
            groups[known++] = atoi(colon + 1);
        printf(" %.*s:%c", (int)(colon - field), field, 'A' + at);
    }
    printf("\n");
    fflush(stdout);
}

/* Those of several mounts: the same letter is the same group. */
#define sharings(...) do { \
        const char *ends_[] = {__VA_ARGS__}; \
        known = 0; \
        for (size_t i_ = 0; i_ < sizeof ends_ / sizeof *ends_; i_++) \
            sharing(ends_[i_]); \
    } while (0)

static int bound(const char *from, const char *to, unsigned long more)
{
    mkdir(to, 0755);
    return mount(from, to, NULL, MS_BIND | more, NULL);
}

static int tmpfs(const char *on)
{
    mkdir(on, 0755);
    return mount("none", on, "tmpfs", 0, "size=64k");
}

static int change(const char *on, unsigned long to) { return mount(NULL, on, NULL, to, NULL); }

static void changes_of_kind(void)
{
    own_namespace();
    SHOW(tmpfs("a"));
    sharings("/a");
    SHOW(change("a", MS_SLAVE));
    sharings("/a");
    SHOW(change("a", MS_SHARED));
    sharings("/a");
    SHOW(change("a", MS_SHARED));
    sharings("/a");
    SHOW(bound("a", "b", 0));
    sharings("/b");
    SHOW(change("b", MS_SLAVE));
    sharings("/b");
    SHOW(change("b", MS_SHARED));
    sharings("/b");
    SHOW(bound("b", "c", 0));
    SHOW(change("c", MS_SLAVE));
    sharings("/c");
    SHOW(change("b", MS_PRIVATE));
    sharings("/c");
    SHOW(change("a", MS_PRIVATE));
    sharings("/c");
    SHOW(change("a", MS_UNBINDABLE));
    sharings("/a");
    SHOW(bound("a", "d", 0));
    SHOW(bound("a", "d", MS_REC));
    SHOW(change("a", MS_SLAVE));
    sharings("/a");
    SHOW(change("a", MS_SHARED));
    sharings("/a");
    SHOW(change("a", MS_SHARED | MS_PRIVATE));
    SHOW(change("a", MS_SHARED | MS_RDONLY));
    SHOW(change("a", MS_SHARED | MS_SILENT));
    mkdir("a/sub", 0755);
    SHOW(change("a/sub", MS_SHARED));
    SHOW(change("none", MS_SHARED));
    SHOW(mount("", "d", NULL, MS_BIND, NULL));
    SHOW(mount(NULL, "d", NULL, MS_BIND, NULL));
    SHOW(mount("", "d", NULL, MS_MOVE, NULL));
    struct { uint64_t set, clear, propagation, userns; } attributes = {0, 0, MS_PRIVATE, 0};
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, &attributes, sizeof attributes));
    sharings("/a");
    attributes.propagation = MS_SHARED;
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0x8000, &attributes, sizeof attributes));
    sharings("/a");
    attributes.propagation = MS_SHARED | MS_SLAVE;
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, &attributes, sizeof attributes));
    attributes.propagation = 1;
    SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "a", 0, &attributes, sizeof attributes));
}

static void spreading(void)
{
    own_namespace();
    tmpfs("a");
    SHOW(change("a", MS_SHARED));
    SHOW(bound("a", "b", 0));
    SHOW(bound("a", "slave", 0));
    SHOW(change("slave", MS_SLAVE));
    SHOW(bound("a", "private", 0));
    SHOW(change("private", MS_PRIVATE));
    SHOW(bound("slave", "both", 0));
    SHOW(change("both", MS_SHARED));
    SHOW(bound("both", "below", 0));
    SHOW(change("below", MS_SLAVE));
    SHOW(tmpfs("a/x"));
    sharings("/a/x", "/b/x", "/slave/x", "/private/x", "/both/x", "/below/x");
    SHOW(close(open("below/x/file", O_CREAT | O_RDWR, 0644)));
    SHOW(access("a/x/file", F_OK));
    SHOW(tmpfs("slave/only"));
    sharings("/a/only", "/slave/only");
    SHOW(tmpfs("both/y"));
    sharings("/a/y", "/both/y", "/below/y");
    int busy = open("below/x/file", O_RDONLY);
    SHOW(umount("a/x"));
    close(busy);
    SHOW(umount("b/x"));
    sharings("/a/x", "/slave/x", "/below/x");
    /* What is mounted on a copy keeps it. */
    SHOW(tmpfs("a/z"));
    SHOW(tmpfs("slave/z/deep"));
    SHOW(umount("a/z"));
    sharings("/b/z", "/slave/z", "/slave/z/deep");
    /* A copy goes below what is there already. */
    mkdir("a/under", 0755);
    SHOW(tmpfs("slave/under"));
    SHOW(close(open("slave/under/old", O_CREAT | O_RDWR, 0644)));
    SHOW(tmpfs("a/under"));
    SHOW(access("slave/under/old", F_OK));
    SHOW(umount("slave/under"));
    SHOW(access("slave/under/old", F_OK));
    sharings("/slave/under");
    SHOW(umount2("a/under", MNT_DETACH));
    sharings("/slave/under");
    /* A bound part only hears of what it shows. */
    mkdir("a/part", 0755);
    SHOW(bound("a/part", "part", 0));
    SHOW(tmpfs("a/part/in"));
    sharings("/part/in");
    SHOW(tmpfs("a/out"));
    sharings("/part/out");
    /* A tree, moved and bound. */
    SHOW(tmpfs("tree"));
    SHOW(tmpfs("tree/t"));
    mkdir("a/tree", 0755);
    SHOW(mount("tree", "a/tree", NULL, MS_BIND | MS_REC, NULL));
    sharings("/a/tree", "/b/tree/t", "/slave/tree/t", "/tree");
    SHOW(umount2("b/tree", MNT_DETACH));
    sharings("/a/tree", "/a/tree/t");
    SHOW(mount("a/x", "tree", NULL, MS_MOVE, NULL));
    mkdir("a/moved", 0755);
    SHOW(mount("tree", "a/moved", NULL, MS_MOVE, NULL));
    sharings("/slave/moved/t");
    SHOW(mount("a/moved", "tree", NULL, MS_MOVE, NULL));
    SHOW(mount("private", "a/moved/none", NULL, MS_MOVE, NULL));
    SHOW(tmpfs("closed"));
    SHOW(change("closed", MS_UNBINDABLE));
    SHOW(tmpfs("loop"));
    SHOW(mount("loop", "a/moved", NULL, MS_MOVE, NULL));
    SHOW(mount("closed", "a/moved", NULL, MS_MOVE, NULL));
    close(open("plain", O_CREAT, 0644));
    SHOW(mount("closed", "plain", NULL, MS_MOVE, NULL));
    mkdir("closed/d", 0755);
    SHOW(mount("closed", "closed/d", NULL, MS_MOVE, NULL));
    /* A mount on itself. */
    SHOW(tmpfs("self"));
    SHOW(change("self", MS_SHARED));
    mkdir("self/s", 0755);
    SHOW(mount("self", "self/s", NULL, MS_BIND | MS_REC, NULL));
    sharings("/self/s", "/self/s/s");
    /* Without what must not be bound. */
    SHOW(tmpfs("t"));
    SHOW(tmpfs("t/u"));
    SHOW(tmpfs("t/v"));
    SHOW(change("t/u", MS_UNBINDABLE));
    SHOW(bound("t", "t2", MS_REC));
    sharings("/t2/u", "/t2/v");
    SHOW(syscall(SYS_open_tree, AT_FDCWD, "t/u", 1));
}

static void other_namespaces(void)
{
    own_namespace();
    tmpfs("a");
    SHOW(change("a", MS_SHARED));
    int go[2], done[2];
    pipe(go);
    pipe(done);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        SHOW(unshare(CLONE_NEWNS));
        sharings("/a");
        write(done[1], "", 1);
        read(go[0], &byte, 1);
        sharings("/a/x");
        SHOW(tmpfs("a/y"));
        SHOW(change("a", MS_SLAVE));
        SHOW(tmpfs("a/z"));
        write(done[1], "", 1);
        read(go[0], &byte, 1);
        sharings("/a/x", "/a/w");
        fflush(stdout);
        _exit(0);
    }
    char byte;
    read(done[0], &byte, 1);
    SHOW(tmpfs("a/x"));
    write(go[1], "", 1);
    read(done[0], &byte, 1);
    sharings("/a/y", "/a/z");
    SHOW(umount("a/x"));
    SHOW(tmpfs("a/w"));
    write(go[1], "", 1);
    waitpid(child, NULL, 0);
    /* A less privileged one hears only, and must leave what it got. */
    tmpfs("a/keep");
    SHOW(mount("a/keep", "a/keep", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL));
    child = fork();
    if (child == 0) {
        SHOW(unshare(CLONE_NEWUSER | CLONE_NEWNS));
        sharings("/a", "/a/keep");
        SHOW(umount("a/keep"));
        SHOW(umount2("a/keep", MNT_DETACH));
        SHOW(mount(NULL, "a/keep", NULL, MS_REMOUNT | MS_BIND, NULL));
        SHOW(mount(NULL, "a/keep", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOEXEC, NULL));
        SHOW(mount(NULL, "a/keep", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NOATIME, NULL));
        SHOW(bound("a", "c", 0));
        SHOW(bound("a", "c", MS_REC));
        SHOW(umount("c/keep"));
        SHOW(umount2("c", MNT_DETACH));
        SHOW(mount("a/keep", "c", NULL, MS_MOVE, NULL));
        SHOW(tmpfs("a/own"));
        sharings("/a/own");
        SHOW(umount("a/own"));
        struct { uint64_t set, clear, propagation, userns; } attributes = {0, 1, 0, 0};
        SHOW(syscall(SYS_mount_setattr, AT_FDCWD, "a/keep", 0, &attributes, sizeof attributes));
        SHOW(syscall(SYS_open_tree, AT_FDCWD, "a", 1));
        write(done[1], "", 1);
        read(go[0], &byte, 1);
        sharings("/a/late");
        SHOW(umount("a/late"));
        fflush(stdout);
        _exit(0);
    }
    read(done[0], &byte, 1);
    sharings("/a/own");
    SHOW(tmpfs("a/late"));
    write(go[1], "", 1);
    waitpid(child, NULL, 0);
}

static void groups_set(void)
{
    own_namespace();
    tmpfs("a");
    bound("a", "b", 0);
    SHOW(syscall(SYS_move_mount, AT_FDCWD, "a", AT_FDCWD, "b", 0x100));
    SHOW(change("a", MS_SHARED));
    SHOW(syscall(SYS_move_mount, AT_FDCWD, "a", AT_FDCWD, "b", 0x100));
    sharings("/a", "/b");
    SHOW(syscall(SYS_move_mount, AT_FDCWD, "a", AT_FDCWD, "b", 0x100));
    tmpfs("c");
    SHOW(syscall(SYS_move_mount, AT_FDCWD, "a", AT_FDCWD, "c", 0x100));
    SHOW(change("b", MS_SLAVE));
    bound("a", "d", 0);
    SHOW(change("d", MS_PRIVATE));
    SHOW(syscall(SYS_move_mount, AT_FDCWD, "b", AT_FDCWD, "d", 0x100));
    sharings("/d");
    SHOW(syscall(SYS_move_mount, AT_FDCWD, "b", AT_FDCWD, "d", 0x1000));
}

static void marked(void)
{
    own_namespace();
    tmpfs("a");
    SHOW(umount2("a", MNT_EXPIRE | MNT_DETACH));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(access("a", F_OK));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(umount2("a", MNT_EXPIRE));
    SHOW(umount2("a", MNT_EXPIRE));
}

static void pivoting(void)
{
    own_namespace();
    tmpfs("new");
    mkdir("new/old", 0755);
    mkdir("plain", 0755);
    SHOW(syscall(SYS_pivot_root, "new", "none"));
    SHOW(syscall(SYS_pivot_root, "/", "/tmp"));
    SHOW(change("new", MS_SHARED));
    SHOW(syscall(SYS_pivot_root, "new", "new/old"));
    SHOW(change("new", MS_PRIVATE));
    tmpfs("new/shared");
    SHOW(change("new/shared", MS_SHARED));
    tmpfs("new/shared/in");
    mkdir("new/shared/in/old", 0755);
    SHOW(syscall(SYS_pivot_root, "new/shared/in", "new/shared/in/old"));
    SHOW(syscall(SYS_pivot_root, "new", "new/old"));
    SHOW(chdir("/"));
    SHOW(access("/old/tmp", F_OK));
    SHOW(umount2("/old", MNT_DETACH));
    SHOW(access("/old/tmp", F_OK));
    tmpfs("/next");
    SHOW(chdir("/next"));
    SHOW(syscall(SYS_pivot_root, ".", "."));
    SHOW(umount2(".", MNT_DETACH));
    SHOW(access("/next", F_OK));
}

static void too_many(void)
{
    own_namespace();
    tmpfs("a");
    mkdir("a/d", 0755);
    SHOW(change("a", MS_SHARED));
    int made = 0;
    for (; made < 40 && mount("a", "a/d", NULL, MS_BIND | MS_REC, NULL) == 0; made++)
        ;
    HOLDS(made < 40 && errno == ENOSPC);
    SHOW(umount2("a", MNT_DETACH));
}

static const struct test_case cases[] = {{"classic", classic}, {"by_descriptor", by_descriptor},
    {"changes_of_kind", changes_of_kind}, {"spreading", spreading}, {"other_namespaces", other_namespaces},
    {"groups_set", groups_set}, {"marked", marked}, {"pivoting", pivoting}, {"too_many", too_many}};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
