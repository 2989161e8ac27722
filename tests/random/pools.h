/* Arguments: one out of a pool for each kind, with a label that is the same wherever the program runs. */
#ifndef POOLS_H
#define POOLS_H

#include "calls.h"

static uint64_t state;
static uint32_t rnd(uint32_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 33) % n;
}

#define PICK(a) a[rnd(sizeof(a) / sizeof(*(a)))]
static char *region, *edge, *ro;
static uint64_t *out;
static struct iovec *iov;
static struct msghdr *msg;
static pid_t zombie;
static char longname[300], longpath[5000];
static unsigned char sas[12][128];
static const char *label[6];
static char lab[6][40];

static uint64_t arg(int kind, int i, unsigned flags)
{
    uint64_t v = 0;
    label[i] = NULL;
    switch (kind) {
    case FD: {
        static const int p[] = {10, 10, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22,   23,
                                24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 36, 37, -1, -100, INT_MAX};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case PFD: {
        static const int p[] = {999999, INT_MAX};
        v = (uint64_t)PICK(p);
        break;
    }
    case DIRFD: {
        static const int p[] = {-100, -100, -100, 14, 14, 10, 15, 33, -1};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case PATH: {
        static const char *p[] = {"f",    "f",    "f",      "d",   "d",     "s",  "dangling", "loop",
                                  "none", "f/x",  "d/none", "d/g", "",      "/",  ".",        "..",
                                  "fifo", "sock", "d/",     "f/",  "none/", "sd", "sd/g",     "/proc/self/status"};
        uint32_t n = rnd(28);
        if (n < 24) {
            v = (uint64_t)p[n];
            label[i] = p[n];
        } else if (n == 24) {
            v = 0;
        } else if (n == 25) {
            v = 8;
        } else if (n == 26) {
            v = (uint64_t)longname;
            label[i] = "LONGNAME";
        } else {
            v = (uint64_t)longpath;
            label[i] = "LONGPATH";
        }
        break;
    }
    case NAME: {
        static const char *p[] = {"/q", "name", "", "/q/r", "tmpfs", "proc", "none"};
        uint32_t n = rnd(9);
        if (n < 7) {
            v = (uint64_t)p[n];
            label[i] = p[n];
        } else
            v = n == 7 ? 0 : 8;
        break;
    }
    case XN: {
        static const char *p[] = {"trusted.a",  "trusted.b", "", "bad", "trusted.", "security.x", "system.posix_acl_access",
                                  "system.none"};
        uint32_t n = rnd(10);
        if (n < 8) {
            v = (uint64_t)p[n];
            label[i] = p[n];
        } else
            v = n == 8 ? 0 : 8;
        break;
    }
    case BUF: {
        uint32_t n = rnd(8);
        static const char *l[] = {"buf", "buf", "buf", "ro", "null", "bad", "edge", "kernel"};
        label[i] = l[n];
        v = n < 3    ? (uint64_t)out
            : n == 3 ? (uint64_t)ro
            : n == 4 ? 0
            : n == 5 ? 8
            : n == 6 ? (uint64_t)edge
                     : 0xffff800000000000ull;
        break;
    }
    case LENP: {
        uint32_t n = rnd(6);
        static const int p[] = {0, 1, 16, 128, -1};
        if (n < 5) {
            int *q = (int *)(out + 4000);
            *q = p[n];
            v = (uint64_t)q;
            snprintf(lab[i], 40, "*%d", p[n]);
            label[i] = lab[i];
        } else {
            v = 8;
        }
        break;
    }
    case LEN: {
        static const int64_t p[] = {0, 1, 4, 8, 16, 100, 128, 4096, 8192, 65536, INT_MAX, 0x100000000ll, LLONG_MAX, -1, -4096};
        v = (uint64_t)PICK(p);
        break;
    }
    case SMALL: {
        static const int64_t p[] = {0, 1, 2, 4, 8, 16, 100, 4096, 8192, 12288, -1, 65537};
        v = (uint64_t)PICK(p);
        break;
    }
    case OFF: {
        static const int64_t p[] = {
            0, 1, 50, 99, 100, 101, 4096, 8192, 0x100000, -1, LLONG_MIN, LLONG_MAX, 0x7fffffffffffffffll - 4095};
        v = (uint64_t)PICK(p);
        break;
    }
    case OFFP: {
        uint32_t n = rnd(6);
        static const int64_t p[] = {0, 10, 200, -1};
        if (n < 4) {
            int64_t *q = (int64_t *)(out + 4100 + i);
            *q = p[n];
            v = (uint64_t)q;
            snprintf(lab[i], 40, "*%lld", (long long)p[n]);
            label[i] = lab[i];
        } else
            v = n == 4 ? 0 : 8;
        break;
    }
    case FLAGS: {
        uint32_t n = rnd(8);
        if (n < 3)
            v = 0;
        else if (n < 5 && flags)
            v = 1u << rnd(32) & flags ?: flags & (1u << rnd(8));
        else if (n == 5 && flags)
            v = flags & rnd(0xffffffff);
        else if (n == 6)
            v = 1ull << rnd(32);
        else
            v = n == 7 && rnd(4) == 0 ? (uint64_t)-1 : rnd(64);
        break;
    }
    case INT: {
        static const int p[] = {0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 10, 16, 17, 100, 1024, 1025, -1, INT_MAX, INT_MIN};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case RES: {
        v = rnd(80);
        break;
    }
    case PID: {
        uint32_t n = rnd(8);
        v = n < 3    ? 0
            : n == 3 ? (uint64_t)getpid()
            : n == 4 ? 999999
            : n == 5 ? (uint64_t)-1
            : n == 6 ? (uint64_t)zombie
                     : INT_MIN;
        static const char *l[] = {"0", "0", "0", "self", "999999", "-1", "zombie", "INT_MIN"};
        label[i] = l[n];
        break;
    }
    case SIG: {
        static const int p[] = {0, 0, SIGCHLD, SIGURG, 64, 65, -1, SIGKILL + 100, 32};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case IOV: {
        uint32_t n = rnd(7);
        if (n < 5)
            v = (uint64_t)(iov + n * 8);
        else
            v = n == 5 ? 0 : 8;
        snprintf(lab[i], 40, "iov%u", n);
        label[i] = lab[i];
        break;
    }
    case MAP: {
        uint32_t n = rnd(8);
        v = n < 3    ? (uint64_t)region
            : n == 3 ? (uint64_t)region + 1
            : n == 4 ? (uint64_t)region + 8192
            : n == 5 ? (uint64_t)region + 7 * 4096
            : n == 6 ? 0
                     : 0xffff800000000000ull;
        static const char *l[] = {"R", "R", "R", "R+1", "R+2p", "R+7p", "0", "kernel"};
        label[i] = l[n];
        break;
    }
    case SA: {
        uint32_t n = rnd(12);
        if (n < 10) {
            v = (uint64_t)sas[n];
        } else
            v = n == 10 ? 0 : 8;
        snprintf(lab[i], 40, "sa%u", n);
        label[i] = lab[i];
        break;
    }
    case SALEN: {
        static const int p[] = {0, 1, 2, 3, 8, 15, 16, 16, 16, 28, 28, 110, 110, 128, 129, -1};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case TS:
    case ITV: {
        uint32_t n = rnd(8);
        static int64_t t[6][4] = {{0, 0, 0, 0},          {0, 1000, 0, 1000}, {-1, 0, 0, 0},
                                  {0, 1000000000, 0, 0}, {0, -1, 0, -1},     {1, 5, -1, 1000000}};
        if (n < 6) {
            memcpy(out + 4200 + i * 8, t[n], 32);
            v = (uint64_t)(out + 4200 + i * 8);
        } else
            v = n == 6 ? 0 : 8;
        if (n == 6 && kind == TS) {
            n = 0;
            v = (uint64_t)(out + 4200 + i * 8);
            memset((void *)v, 0, 32);
        }
        snprintf(lab[i], 40, "t%u", n);
        label[i] = lab[i];
        break;
    }
    case SET: {
        uint32_t n = rnd(4);
        if (n < 2) {
            out[4400] = n ? ~0ull : 0;
            v = (uint64_t)(out + 4400);
            snprintf(lab[i], 40, "set%u", n);
            label[i] = lab[i];
        } else
            v = n == 2 ? 0 : 8;
        break;
    }
    case SETLEN: {
        static const int p[] = {8, 8, 8, 8, 0, 4, 16, 128, -1};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case MODE: {
        static const int p[] = {0,
                                0644,
                                0755,
                                07777,
                                S_IFREG | 0644,
                                S_IFIFO | 0600,
                                S_IFSOCK | 0600,
                                S_IFCHR | 0600,
                                S_IFBLK | 0600,
                                S_IFDIR | 0700,
                                S_IFLNK,
                                0170000,
                                -1,
                                0100000};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case OPENF: {
        static const int p[] = {0,
                                O_RDWR,
                                O_WRONLY,
                                3,
                                O_CREAT,
                                O_CREAT | O_EXCL,
                                O_CREAT | O_EXCL | O_RDWR,
                                O_DIRECTORY,
                                O_DIRECTORY | O_CREAT,
                                O_NOFOLLOW,
                                O_PATH,
                                O_PATH | O_NOFOLLOW,
                                O_PATH | O_DIRECTORY | O_CREAT,
                                O_TMPFILE | O_RDWR,
                                O_TMPFILE,
                                O_TRUNC,
                                O_TRUNC | O_RDWR,
                                O_APPEND | O_RDWR,
                                O_CLOEXEC,
                                O_NONBLOCK,
                                O_DIRECT,
                                O_NOATIME,
                                O_SYNC,
                                O_DSYNC,
                                O_ASYNC,
                                O_LARGEFILE,
                                O_NOCTTY,
                                -1,
                                0x10,
                                1 << 30};
        v = (uint64_t)(int64_t)(PICK(p) | O_NONBLOCK);
        break;
    }
    case ATF: {
        static const int p[] = {0,      0,      0,      0x100,  0x200,  0x400, 0x800, 0x1000,
                                0x1100, 0x2000, 0x4000, 0x6000, 0x8000, 1,     -1,    0x10000};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case PROT: {
        static const int p[] = {0, 1, 2, 3, 4, 5, 7, 8, 16, -1, 0x01000000, 0x02000000};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case MAPF: {
        static const int p[] = {1, 2,    3,    2,      0x22,    0x21, 0x12,       0x11,    0x32,   0x100022, 0x22 | 0x100,
                                0, 0x20, 0x23, 0x8022, 0x40022, -1,   2 | 0x2000, 0x80003, 0x80002};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case UID: {
        static const int p[] = {0, 1, 1000, 65534, -1, INT_MAX, INT_MIN};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case WHENCE: {
        v = rnd(3) ? rnd(3) : rnd(8);
        break;
    }
    case EV: {
        uint32_t n = rnd(8);
        static const uint32_t e[] = {1, 4, 0x80000001, 0x40000001, 0x10000001, 0x10000000 | 1 << 30, 0};
        if (n < 7) {
            memcpy(out + 4500, &e[n], 4);
            v = (uint64_t)(out + 4500);
        } else
            v = 8;
        snprintf(lab[i], 40, "ev%u", n);
        label[i] = lab[i];
        break;
    }
    case MSG: {
        uint32_t n = rnd(7);
        v = n < 6 ? (uint64_t)(msg + n * 2) : 8;
        snprintf(lab[i], 40, "msg%u", n);
        label[i] = lab[i];
        break;
    }
    case RLIM: {
        uint32_t n = rnd(6);
        static const uint64_t t[4][2] = {{10, 20}, {20, 10}, {~0ull, ~0ull}, {0, ~0ull}};
        if (n < 4) {
            memcpy(out + 4600, t[n], 16);
            v = (uint64_t)(out + 4600);
        } else
            v = n == 4 ? 0 : 8;
        snprintf(lab[i], 40, "lim%u", n);
        label[i] = lab[i];
        break;
    }
    case CLOCK: {
        static const int p[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16, -1, -2, -6, -7, -8, INT_MAX, INT_MIN};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case POLLS: {
        uint32_t n = rnd(4);
        struct pollfd *p = (struct pollfd *)(out + 4700);
        for (int k = 0; k < 5; k++)
            p[k] = (struct pollfd){10 + (int)rnd(24), (short)(1 << rnd(10)), 0};
        v = n < 3 ? (uint64_t)p : 8;
        snprintf(lab[i], 40, "p(%d:%x,%d:%x)", p[0].fd, p[0].events, p[1].fd, p[1].events);
        label[i] = lab[i];
        break;
    }
    case WOPT: {
        static const int p[] = {1,     1,          1,          3,          5,          9,      4 | 1, 2 | 1,
                                8 | 1, 0x01000001, 0x20000001, 0x40000001, 0x80000001, 16 | 1, -1,    0x01000005};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case FC: {
        static const int p[] = {0,    1,    2,    3,    4,    5,    6,    8,    9,    10,   11,   15,   16, 36, 37,
                                1024, 1025, 1026, 1030, 1031, 1032, 1033, 1034, 1035, 1036, 1037, 1038, 99, 17, 18};
        v = (uint64_t)PICK(p);
        break;
    }
    case FLK: {
        uint32_t n = rnd(8);
        static const struct flock t[6] = {{F_RDLCK, 0, 0, 0, 0}, {F_WRLCK, 0, 10, 10, 0}, {F_UNLCK, 1, 0, -5, 0},
                                          {9, 0, 0, 0, 0},       {F_WRLCK, 0, -1, 5, 0},  {F_WRLCK, 7, 0, 0, 0}};
        if (n < 6) {
            memcpy(out + 4800, &t[n], sizeof t[n]);
            v = (uint64_t)(out + 4800);
        } else
            v = n == 6 ? 0 : 8;
        snprintf(lab[i], 40, "lk%u", n);
        label[i] = lab[i];
        break;
    }
    case ADV: {
        static const int p[] = {0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 100, -1};
        v = (uint64_t)(int64_t)PICK(p);
        break;
    }
    case CL: {
        static const unsigned p[] = {0,         0x200,     0x400,      0x40000, 0x800, 0x100,      0x10000,
                                     0x4000000, 0x8000000, 0x02000000, 1,       0x80,  0xffffffff, 0x00020000};
        v = PICK(p);
        break;
    }
    }
    return v;
}

#endif
