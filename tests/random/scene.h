/* What each call finds: files in the working directory, descriptors 10 to 37, memory at fixed addresses, an ended child. */
#ifndef SCENE_H
#define SCENE_H

#include "pools.h"

static void prepare(void)
{
    for (int i = 3; i < 70; i++)
        close(i);
    int fd = open("f", O_CREAT | O_RDWR, 0644);
    char b[100];
    memset(b, 'x', 100);
    write(fd, b, 100);
    lseek(fd, 0, SEEK_SET);
    mkdir("d", 0755);
    close(open("d/g", O_CREAT | O_RDWR, 0644));
    symlink("f", "s");
    symlink("nowhere", "dangling");
    symlink("loop", "loop");
    symlink("d", "sd");
    mkfifo("fifo", 0644);
#define PUT(n, e)                                                                                                                \
    do {                                                                                                                         \
        int x_ = (e);                                                                                                            \
        if (x_ >= 0 && x_ != n) {                                                                                                \
            dup2(x_, n);                                                                                                         \
            close(x_);                                                                                                           \
        }                                                                                                                        \
    } while (0)
    PUT(10, fd);
    PUT(11, open("f", O_RDONLY));
    PUT(12, open("f", O_WRONLY));
    PUT(13, open("f", O_RDWR | O_APPEND));
    PUT(14, open("d", O_RDONLY));
    PUT(15, open("f", O_PATH));
    int p[2];
    pipe2(p, O_NONBLOCK);
    dup2(p[0], 60);
    dup2(p[1], 61);
    close(p[0]);
    close(p[1]);
    dup2(60, 16);
    dup2(61, 17);
    close(60);
    close(61);
    write(17, "hello", 5);
    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p);
    dup2(p[0], 60);
    dup2(p[1], 61);
    close(p[0]);
    close(p[1]);
    dup2(60, 18);
    dup2(61, 19);
    close(60);
    close(61);
    write(19, "hi", 2);
    PUT(20, socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    int l = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un u = {AF_UNIX, "sock"};
    bind(l, (void *)&u, sizeof u);
    listen(l, 3);
    PUT(21, l);
    PUT(22, socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    PUT(23, socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    PUT(24, epoll_create1(0));
    PUT(25, eventfd(1, EFD_NONBLOCK));
    PUT(26, timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK));
    sigset_t s;
    sigemptyset(&s);
    sigaddset(&s, SIGUSR2);
    PUT(27, signalfd(-1, &s, SFD_NONBLOCK));
    PUT(28, inotify_init1(IN_NONBLOCK));
    PUT(29, memfd_create("m", MFD_ALLOW_SEALING));
    PUT(30, open("/dev/null", O_RDWR));
    PUT(31, open("/dev/zero", O_RDWR));
    PUT(32, open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
    PUT(34, (int)syscall(SYS_pidfd_open, getpid(), 0));
    PUT(36, open("/proc/self/status", O_RDONLY));
    PUT(37, open("fifo", O_RDWR | O_NONBLOCK));
    zombie = fork();
    if (zombie == 0)
        _exit(7);
    siginfo_t si;
    waitid(P_PID, (id_t)zombie, &si, WEXITED | WNOWAIT);
    out = mmap((void *)0x10000000, 1 << 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memset(out, 0, 1 << 16);
    ro = mmap((void *)0x10100000, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    edge = mmap((void *)0x10200000, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    munmap(edge + 4096, 4096);
    edge += 4092;
    region = mmap((void *)0x10300000, 16 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    memset(region, 1, 3 * 4096);
    munmap(region + 7 * 4096, 9 * 4096);
    iov = (struct iovec *)(out + 5000);
    iov[0] = (struct iovec){out + 100, 10};
    iov[1] = (struct iovec){out + 200, 20};
    iov[8] = (struct iovec){out + 100, 10};
    iov[9] = (struct iovec){(void *)8, 10};
    iov[16] = (struct iovec){out, (size_t)-1};
    iov[24] = (struct iovec){(void *)8, 0};
    iov[25] = (struct iovec){(void *)8, 5};
    iov[32] = (struct iovec){out, 0x7fffffff};
    iov[33] = (struct iovec){out, 0x7fffffff};
    msg = (struct msghdr *)(out + 5400);
    for (int i = 0; i < 6; i++) {
        msg[i * 2].msg_iov = iov + (i % 4) * 8;
        msg[i * 2].msg_iovlen = 2;
    }
    msg[8].msg_control = (void *)8;
    msg[8].msg_controllen = 16;
    msg[10].msg_iovlen = 2000;
    memset(sas, 0, sizeof sas);
    *(short *)sas[0] = AF_UNIX;
    strcpy((char *)sas[0] + 2, "sock");
    *(short *)sas[1] = AF_UNIX;
    strcpy((char *)sas[1] + 2, "new");
    *(short *)sas[2] = AF_UNIX;
    memcpy(sas[2] + 2, "\0abs", 4);
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(1), .sin_addr = {htonl(0x7f000001)}};
    memcpy(sas[3], &in, sizeof in);
    in.sin_port = 0;
    memcpy(sas[4], &in, sizeof in);
    in.sin_addr.s_addr = 0;
    memcpy(sas[5], &in, sizeof in);
    in.sin_addr.s_addr = htonl(0x08080808);
    memcpy(sas[6], &in, sizeof in);
    *(short *)sas[7] = AF_UNSPEC;
    *(short *)sas[8] = AF_INET6;
    *(short *)sas[9] = 99;
    memset(longname, 'n', 299);
    memset(longpath, 'p', 4999);
    for (int i = 0; i < 4990; i += 100)
        longpath[i] = '/';
    longpath[0] = 'p';
    for (int i = 1; i < 65; i++)
        if (i != SIGKILL && i != SIGSTOP && i != SIGALRM && i != SIGCHLD)
            signal(i, SIG_IGN);
}

#endif
