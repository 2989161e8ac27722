/* The machine and what a container may not do to it: ports, modules, swap, power, accounting. */
#include "show.h"
#include <sys/prctl.h>
#include <sys/vfs.h>

/* glibc has no declaration of it any more. */
struct old_statistics { int free; unsigned long files_free; char name[6], pack[6]; };

static void refused(void)
{
    /* With these privileges the calls do harm where they work. */
    for (int capability = 16; capability <= 22; capability += 6)
        if (prctl(PR_CAPBSET_READ, capability) == 1) {
            printf("  not with capability %d\n", capability);
            return;
        }
    char attr[128] = {0};
    SHOW(syscall(SYS_acct, NULL));
    SHOW(syscall(SYS_acct, "/no/such/file"));
    SHOW(syscall(SYS_swapon, "/no/such/file", 0));
    SHOW(syscall(SYS_swapon, "/no/such/file", 0x100000));
    SHOW(syscall(SYS_swapoff, "/no/such/file"));
    SHOW(syscall(SYS_reboot, 0, 0, 0, NULL));
    SHOW(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x89abcdef, NULL));
    SHOW(syscall(SYS_init_module, NULL, 0, ""));
    SHOW(syscall(SYS_finit_module, -1, "", 0));
    SHOW(syscall(SYS_delete_module, "none", 0));
    SHOW(syscall(SYS_kexec_load, 0, 0, NULL, 0));
    SHOW(syscall(SYS_kexec_file_load, -1, -1, 0, "", 0));
    SHOW(syscall(SYS_vhangup));
    SHOW(syscall(SYS_bpf, 5 /* BPF_PROG_LOAD */, attr, sizeof attr));
    SHOW(syscall(SYS_bpf, 1000, NULL, 0));
}

static void ports(void)
{
    SHOW(syscall(SYS_iopl, 0));
    SHOW(syscall(SYS_iopl, 1));
    SHOW(syscall(SYS_iopl, 3));
    SHOW(syscall(SYS_iopl, 4));
    SHOW(syscall(SYS_iopl, -1));
    SHOW(syscall(SYS_ioperm, 0x80, 1, 1));
    SHOW(syscall(SYS_ioperm, 0x80, 1, 0));
    SHOW(syscall(SYS_ioperm, 0x80, 0, 1));
    SHOW(syscall(SYS_ioperm, 65535, 1, 0));
    SHOW(syscall(SYS_ioperm, 65535, 2, 1));
    SHOW(syscall(SYS_ioperm, 65536, 1, 1));
    SHOW(syscall(SYS_ioperm, -1ul, 2, 1));
}

static void removed(void)
{
    int numbers[] = {134 /* uselib */, 156 /* _sysctl */, 174 /* create_module */, 177 /* get_kernel_syms */,
        178 /* query_module */, 180 /* nfsservctl */, 181 /* getpmsg */, 182 /* putpmsg */, 183 /* afs_syscall */,
        184 /* tuxcall */, 185 /* security */, 205 /* set_thread_area */, 211 /* get_thread_area */,
        214 /* epoll_ctl_old */, 215 /* epoll_wait_old */, 236 /* vserver */, 400, 423, 470, 511, 600, 100000};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        SHOW(syscall(numbers[i], 0, 0, 0, 0, 0, 0));
    SHOW(syscall(-1));
    SHOW(syscall(1L << 32));
}

static void old_statistics(void)
{
    struct old_statistics told;
    struct stat root;
    SHOW(stat("/dev/shm", &root));
    memset(&told, 0x55, sizeof told);
    SHOW(syscall(SYS_ustat, (unsigned)root.st_dev, &told));
    HOLDS(told.free > 0 && told.files_free > 0 && told.name[0] == 0 && told.pack[5] == 0);
    SHOW(syscall(SYS_ustat, (unsigned)root.st_dev, (void *)-1));
    SHOW(syscall(SYS_ustat, 0, &told));
    SHOW(syscall(SYS_ustat, -1, &told));
}

static const struct test_case cases[] = {
    {"refused", refused}, {"ports", ports}, {"removed", removed}, {"old_statistics", old_statistics},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
