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

static const struct test_case cases[] = {{"classic", classic}, {"by_descriptor", by_descriptor}};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
