/* Sockets beyond sending and receiving: urgent data, options one by one, what close does, sources of groups, UDP-Lite.
 * To be run in a network namespace with nothing but loopback. */
#include "show.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef IPPROTO_UDPLITE
#define IPPROTO_UDPLITE 136
#endif
#ifndef SO_PEEK_OFF
#define SO_PEEK_OFF 42
#endif
#define UDPLITE_SEND_CSCOV 10
#define UDPLITE_RECV_CSCOV 11

static struct sockaddr_in v4(const char *ip, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &at.sin_addr);
    return at;
}
#define BIND4(fd, ip, port) ({ struct sockaddr_in a_ = v4(ip, port); bind(fd, (void *)&a_, sizeof a_); })
#define CONNECT4(fd, ip, port) ({ struct sockaddr_in a_ = v4(ip, port); connect(fd, (void *)&a_, sizeof a_); })
#define SENDTO4(fd, data, len, flags, ip, port) \
    ({ struct sockaddr_in a_ = v4(ip, port); sendto(fd, data, len, flags, (void *)&a_, sizeof a_); })

static int port_of(int fd)
{
    struct sockaddr_in6 at;
    socklen_t len = sizeof at;
    return getsockname(fd, (void *)&at, &len) < 0 ? -1 : ntohs(at.sin6_port);
}

static int events(int fd)
{
    struct pollfd entry = {fd, POLLIN | POLLPRI | POLLRDHUP, 0};
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}

static int at_mark(int fd)
{
    int value = -1;
    return ioctl(fd, SIOCATMARK, &value) < 0 ? -errno : value;
}

static int waiting(int fd)
{
    int value = -1;
    return ioctl(fd, FIONREAD, &value) < 0 ? -errno : value;
}

static volatile int urgent_signals;

static void on_urgent(int number)
{
    (void)number;
    urgent_signals++;
}

struct ends { int from, to, listener; };

static struct ends tcp_pair(void)
{
    struct ends made;
    made.listener = socket(AF_INET, SOCK_STREAM, 0);
    BIND4(made.listener, "127.0.0.1", 0);
    listen(made.listener, 5);
    made.from = socket(AF_INET, SOCK_STREAM, 0);
    CONNECT4(made.from, "127.0.0.1", port_of(made.listener));
    made.to = accept(made.listener, NULL, NULL);
    return made;
}

static struct ends unix_pair(int kind)
{
    int fds[2] = {-1, -1};
    socketpair(AF_UNIX, kind, 0, fds);
    return (struct ends){fds[0], fds[1], -1};
}

/* Receives without waiting and prints the bytes. */
static void take(int fd, int len, int flags)
{
    char bytes[100] = "";
    long got = recv(fd, bytes, len, flags | MSG_DONTWAIT);
    if (got < 0)
        printf("  recv(%d, %#x): %s\n", len, flags, errno_name(errno));
    else
        printf("  recv(%d, %#x): %ld \"%s\"\n", len, flags, got, bytes);
    fflush(stdout);
}

static void show_state(int fd)
{
    printf("  events %#x, at mark %d, waiting %d\n", events(fd), at_mark(fd), waiting(fd));
    fflush(stdout);
}

static void urgent(struct ends pair)
{
    signal(SIGURG, on_urgent);
    fcntl(pair.to, F_SETOWN, getpid());
    show_state(pair.to);
    take(pair.to, 1, MSG_OOB);
    SHOW(send(pair.from, "abc", 3, MSG_OOB));
    sleep_ms(20);
    NUMBER(urgent_signals);
    show_state(pair.to);
    take(pair.to, 1, MSG_OOB | MSG_PEEK);
    take(pair.to, 10, 0);
    show_state(pair.to);
    take(pair.to, 1, MSG_OOB);
    take(pair.to, 10, 0);
    SHOW(send(pair.from, "de", 2, 0));
    SHOW(send(pair.from, "fg", 2, MSG_OOB));
    SHOW(send(pair.from, "hi", 2, 0));
    sleep_ms(20);
    take(pair.to, 1, 0);
    take(pair.to, 5, 0);
    show_state(pair.to);
    take(pair.to, 5, 0);
    take(pair.to, 1, MSG_OOB);
    /* The second one takes the place of the first. */
    SHOW(send(pair.from, "1", 1, MSG_OOB));
    sleep_ms(20);
    SHOW(send(pair.from, "2", 1, MSG_OOB));
    sleep_ms(20);
    NUMBER(urgent_signals);
    take(pair.to, 1, MSG_OOB);
    take(pair.to, 1, MSG_OOB);
    take(pair.to, 5, 0);
}

static void urgent_inline(struct ends pair)
{
    int on = 1;
    SHOW(setsockopt(pair.to, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on));
    SHOW(send(pair.from, "xyz", 3, MSG_OOB));
    SHOW(send(pair.from, "end", 3, 0));
    sleep_ms(20);
    take(pair.to, 1, MSG_OOB);
    take(pair.to, 10, 0);
    show_state(pair.to);
    take(pair.to, 10, 0);
    show_state(pair.to);
    close(pair.from);
    sleep_ms(20);
    take(pair.to, 1, MSG_OOB);
    take(pair.to, 10, 0);
}

static void urgent_tcp(void)
{
    struct ends pair = tcp_pair();
    SHOW(send(pair.from, "", 0, MSG_OOB));
    urgent(pair);
    urgent_inline(tcp_pair());
}

static void urgent_unix(void)
{
    struct ends pair = unix_pair(SOCK_STREAM);
    SHOW(send(pair.from, "", 0, MSG_OOB));
    urgent(pair);
    urgent_inline(unix_pair(SOCK_STREAM));
}

static void urgent_others(void)
{
    struct ends pair = unix_pair(SOCK_DGRAM);
    SHOW(send(pair.from, "a", 1, MSG_OOB));
    SHOW(send(pair.from, "a", 1, 0));
    take(pair.to, 1, MSG_OOB);
    pair = unix_pair(SOCK_SEQPACKET);
    SHOW(send(pair.from, "a", 1, MSG_OOB));
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    BIND4(udp, "127.0.0.1", 0);
    SHOW(SENDTO4(udp, "a", 1, MSG_OOB, "127.0.0.1", port_of(udp)));
    take(udp, 1, MSG_OOB);
    SHOW(at_mark(udp));
    pair = tcp_pair();
    take(pair.listener, 1, MSG_OOB);
    int unconnected = socket(AF_INET, SOCK_STREAM, 0);
    take(unconnected, 1, MSG_OOB);
    int epoll = epoll_create1(0);
    struct epoll_event wanted = {.events = EPOLLPRI}, got = {0};
    SHOW(epoll_ctl(epoll, EPOLL_CTL_ADD, pair.to, &wanted));
    SHOW(epoll_wait(epoll, &got, 1, 0));
    SHOW(send(pair.from, "!", 1, MSG_OOB));
    SHOW(epoll_wait(epoll, &got, 1, 1000));
    NUMBER(got.events);
    char bytes[4];
    SHOW(recv(pair.to, bytes, 0, MSG_OOB));
    struct iovec part = {bytes, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    SHOW(recvmsg(pair.to, &message, MSG_OOB));
    NUMBER(message.msg_flags);
    SHOW(epoll_wait(epoll, &got, 1, 0));
    SHOW(recv(pair.to, bad_address, 1, MSG_OOB));
}

/* Memory of which the second half is not there. */
static char *half(size_t good)
{
    char *memory = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(memory + (1 << 19), 1 << 19);
    return memory + (1 << 19) - good;
}

static void half_good(void)
{
    struct ends pair = unix_pair(SOCK_STREAM);
    SHOW(send(pair.from, half(100), 200, 0));
    SHOW(waiting(pair.to));
    SHOW(send(pair.from, half(5000), 10000, 0));
    SHOW(write(pair.from, half(5000), 10000));
    SHOW(waiting(pair.to));
    SHOW(send(pair.from, "abc", 3, 0));
    SHOW(send(pair.from, half(100), 200, 0));
    SHOW(waiting(pair.to));
    pair = unix_pair(SOCK_DGRAM);
    SHOW(send(pair.from, half(100), 200, 0));
    SHOW(waiting(pair.to));
    pair = tcp_pair();
    SHOW(send(pair.from, half(100), 200, 0));
    SHOW(recv(pair.from, half(2), 4, MSG_DONTWAIT));
    pair = unix_pair(SOCK_STREAM);
    SHOW(send(pair.to, "abcd", 4, 0));
    SHOW(recv(pair.from, half(2), 4, MSG_DONTWAIT));
    SHOW(waiting(pair.from));
}

/* Options that are not compared: pointers, sizes of the machine, numbers that only one kernel has, and those that are refused
 * (docs/limits.md). */
static int is_skipped(int domain, int level, int name)
{
    static const int sockets[] = {17, 26, 27, 37, 50, 51, 52, 53, 55, 56, 57, 60, 61, 63, 64, 65, 66};
    static const int ip[] = {4, 5, 9, 16, 17, 22, 26, 35, 36, 50, 51, 52};
    static const int ipv6[] = {1, 2, 3, 4, 5, 6, 7, 8, 11, 17, 18, 27, 28, 30, 31, 32, 34, 35, 36, 48, 50, 54, 55, 57, 59, 61, 62,
                               70, 72, 75, 76, 77, 80};
    static const int tcp[] = {10, 11, 14, 19, 20, 21, 22, 23, 24, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 37, 38};
    static const struct { int level, count; const int *names; } lists[] = {
        {SOL_SOCKET, sizeof sockets / sizeof *sockets, sockets},
        {SOL_IP, sizeof ip / sizeof *ip, ip},
        {IPPROTO_IPV6, sizeof ipv6 / sizeof *ipv6, ipv6},
        {IPPROTO_TCP, sizeof tcp / sizeof *tcp, tcp},
    };
    if (level == SOL_SOCKET && domain == AF_UNIX && (name == 25 || name == 62))
        return 1;
    if (level == SOL_SOCKET && domain == AF_NETLINK && (name == 20 || name == 21 || name == 25 || name == 28))
        return 1;
    if (level == 270 && name == 8)
        return 1;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        for (int j = 0; lists[i].level == level && j < lists[i].count; j++)
            if (lists[i].names[j] == name)
                return 1;
    return 0;
}

/* Every option of a level: what it is at first, and what becomes of some values. */
static void sweep(const char *what, int domain, int kind, int protocol, int level, int first, int last)
{
    printf("  %s, level %d\n", what, level);
    for (int name = first; name <= last; name++) {
        if (is_skipped(domain, level, name))
            continue;
        int fd = socket(domain, kind, protocol);
        printf("  %d:", name);
        unsigned char bytes[64];
        static const int rooms[] = {4, 1, 0, 16};
        for (int i = 0; i < 4; i++) {
            memset(bytes, 0, sizeof bytes);
            socklen_t len = rooms[i];
            if (getsockopt(fd, level, name, bytes, &len) < 0) {
                printf(" %s", errno_name(errno));
                if (i == 0)
                    break;
            } else {
                int value;
                memcpy(&value, bytes, 4);
                printf(" %d/%d", value, (int)len);
            }
        }
        printf(" |");
        static const struct { int len, value; } tries[] = {{4, 1}, {4, 0}, {4, -1}, {4, 300}, {4, 100000}, {1, 3}, {3, 1}, {0, 0}, {-1, 0}, {8, 2}};
        for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
            memset(bytes, 0, sizeof bytes);
            memcpy(bytes, &tries[i].value, 4);
            if (setsockopt(fd, level, name, bytes, tries[i].len) < 0) {
                printf(" %s", errno_name(errno));
                continue;
            }
            memset(bytes, 0, sizeof bytes);
            socklen_t len = 8;
            if (getsockopt(fd, level, name, bytes, &len) < 0) {
                printf(" (%s)", errno_name(errno));
            } else {
                int value;
                memcpy(&value, bytes, 4);
                printf(" %d", value);
            }
        }
        printf("\n");
        fflush(stdout);
        close(fd);
    }
}

static void socket_options(void)
{
    sweep("tcp", AF_INET, SOCK_STREAM, 0, SOL_SOCKET, 1, 66);
    sweep("udp", AF_INET, SOCK_DGRAM, 0, SOL_SOCKET, 1, 66);
    sweep("unix stream", AF_UNIX, SOCK_STREAM, 0, SOL_SOCKET, 1, 66);
    sweep("unix datagram", AF_UNIX, SOCK_DGRAM, 0, SOL_SOCKET, 1, 66);
}

static void ip_options(void)
{
    sweep("tcp", AF_INET, SOCK_STREAM, 0, SOL_IP, 1, 52);
    sweep("udp", AF_INET, SOCK_DGRAM, 0, SOL_IP, 1, 52);
    sweep("raw", AF_INET, SOCK_RAW, IPPROTO_ICMP, SOL_IP, 1, 52);
}

static void ipv6_options(void)
{
    sweep("tcp", AF_INET6, SOCK_STREAM, 0, IPPROTO_IPV6, 1, 80);
    sweep("udp", AF_INET6, SOCK_DGRAM, 0, IPPROTO_IPV6, 1, 80);
    sweep("raw", AF_INET6, SOCK_RAW, IPPROTO_UDP, IPPROTO_IPV6, 1, 80);
    sweep("udp of ipv6", AF_INET6, SOCK_DGRAM, 0, SOL_IP, 1, 15);
}

static void protocol_options(void)
{
    sweep("tcp", AF_INET, SOCK_STREAM, 0, IPPROTO_TCP, 1, 38);
    sweep("udp", AF_INET, SOCK_DGRAM, 0, IPPROTO_UDP, 1, 5);
    sweep("raw", AF_INET, SOCK_RAW, IPPROTO_ICMP, 255, 1, 3);
    sweep("raw", AF_INET, SOCK_RAW, IPPROTO_UDP, 255, 1, 3);
    sweep("tcp", AF_INET, SOCK_STREAM, 0, IPPROTO_UDP, 1, 3);
    sweep("tcp", AF_INET, SOCK_STREAM, 0, IPPROTO_IPV6, 16, 18);
    sweep("unix", AF_UNIX, SOCK_STREAM, 0, SOL_IP, 1, 2);
    sweep("netlink", AF_NETLINK, SOCK_RAW, 0, 270, 1, 12);
    sweep("netlink", AF_NETLINK, SOCK_RAW, 0, SOL_SOCKET, 1, 49);
}

static void mtus(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0), value = 0;
    socklen_t len = sizeof value;
    SHOW(getsockopt(fd, SOL_IP, IP_MTU, &value, &len));
    SHOW(CONNECT4(fd, "127.0.0.1", 9));
    SHOW(getsockopt(fd, SOL_IP, IP_MTU, &value, &len));
    NUMBER(value);
    struct ends pair = tcp_pair();
    SHOW(getsockopt(pair.from, SOL_IP, IP_MTU, &value, &len));
    NUMBER(value);
}

static void peek_offsets(void)
{
    for (int kind = 0; kind < 3; kind++) {
        struct ends pair = unix_pair(kind == 0 ? SOCK_STREAM : SOCK_DGRAM);
        if (kind == 2) {
            pair.to = socket(AF_INET, SOCK_DGRAM, 0);
            BIND4(pair.to, "127.0.0.1", 0);
            pair.from = socket(AF_INET, SOCK_DGRAM, 0);
            CONNECT4(pair.from, "127.0.0.1", port_of(pair.to));
        }
        int offset = 0;
        socklen_t len = sizeof offset;
        SHOW(getsockopt(pair.to, SOL_SOCKET, SO_PEEK_OFF, &offset, &len));
        NUMBER(offset);
        send(pair.from, "abcdef", 6, 0);
        send(pair.from, "ghi", 3, 0);
        take(pair.to, 2, MSG_PEEK);
        offset = 0;
        SHOW(setsockopt(pair.to, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
        take(pair.to, 2, MSG_PEEK);
        take(pair.to, 2, MSG_PEEK);
        take(pair.to, 3, MSG_PEEK);
        take(pair.to, 10, MSG_PEEK);
        getsockopt(pair.to, SOL_SOCKET, SO_PEEK_OFF, &offset, &len);
        NUMBER(offset);
        offset = 4;
        SHOW(setsockopt(pair.to, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
        take(pair.to, 10, MSG_PEEK);
        take(pair.to, 3, 0);
        getsockopt(pair.to, SOL_SOCKET, SO_PEEK_OFF, &offset, &len);
        NUMBER(offset);
        take(pair.to, 10, MSG_PEEK);
        offset = -1;
        SHOW(setsockopt(pair.to, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
        take(pair.to, 10, MSG_PEEK);
        offset = -5;
        SHOW(setsockopt(pair.to, SOL_SOCKET, SO_PEEK_OFF, &offset, sizeof offset));
    }
}

static void truncated(void)
{
    struct ends pair = tcp_pair();
    send(pair.from, "abcdef", 6, 0);
    SHOW(recv(pair.to, NULL, 2, MSG_TRUNC));
    take(pair.to, 10, MSG_TRUNC | MSG_PEEK);
    take(pair.to, 10, 0);
    pair = unix_pair(SOCK_STREAM);
    send(pair.from, "abcdef", 6, 0);
    take(pair.to, 2, MSG_TRUNC);
    take(pair.to, 10, 0);
    pair = unix_pair(SOCK_DGRAM);
    send(pair.from, "abcdef", 6, 0);
    send(pair.from, "", 0, 0);
    take(pair.to, 2, MSG_TRUNC | MSG_PEEK);
    take(pair.to, 2, MSG_TRUNC);
    take(pair.to, 2, MSG_TRUNC);
    take(pair.to, 2, MSG_TRUNC);
    struct msghdr message = {0};
    pair = tcp_pair();
    SHOW(sendmsg(pair.from, &message, 0));
    SHOW(recvmsg(pair.to, &message, MSG_DONTWAIT));
    pair = unix_pair(SOCK_DGRAM);
    SHOW(sendmsg(pair.from, &message, 0));
    SHOW(recvmsg(pair.to, &message, MSG_DONTWAIT));
    pair = unix_pair(SOCK_STREAM);
    SHOW(sendmsg(pair.from, &message, 0));
    SHOW(recvmsg(pair.to, &message, MSG_DONTWAIT));
    message.msg_iovlen = 1025;
    SHOW(sendmsg(pair.from, &message, 0));
    message.msg_iovlen = 1;
    SHOW(sendmsg(pair.from, &message, 0));
    message.msg_iov = bad_address;
    SHOW(sendmsg(pair.from, &message, 0));
    struct mmsghdr many[3] = {0};
    char bytes[3][10];
    struct iovec parts[3];
    for (int i = 0; i < 3; i++) {
        parts[i] = (struct iovec){bytes[i], 10};
        many[i].msg_hdr.msg_iov = &parts[i];
        many[i].msg_hdr.msg_iovlen = 1;
    }
    pair = unix_pair(SOCK_DGRAM);
    send(pair.from, "one", 3, 0);
    send(pair.from, "three", 5, 0);
    struct timespec limit = {5, 0};
    SHOW(recvmmsg(pair.to, many, 3, MSG_DONTWAIT, &limit));
    NUMBER(many[0].msg_len);
    NUMBER(many[1].msg_len);
    limit = (struct timespec){0, -1};
    SHOW(recvmmsg(pair.to, many, 3, MSG_DONTWAIT, &limit));
    limit = (struct timespec){0, 2000000000};
    SHOW(recvmmsg(pair.to, many, 3, MSG_DONTWAIT, &limit));
    limit = (struct timespec){5, 0};
    send(pair.from, "one", 3, 0);
    SHOW(recvmmsg(pair.to, many, 1, 0, &limit));
    HOLDS(limit.tv_sec <= 5 && limit.tv_sec >= 4);
    SHOW(recvmmsg(pair.to, many, 1, MSG_DONTWAIT, bad_address));
    SHOW(recvmmsg(pair.to, many, 0, MSG_DONTWAIT, NULL));
    SHOW(recvmmsg(pair.to, bad_address, 1, MSG_DONTWAIT, NULL));
    SHOW(sendmmsg(pair.from, many, 0, 0));
    SHOW(sendmmsg(pair.from, many, 3, 0));
}

static long send_fds(int fd, int count, int extra)
{
    static int fds[400];
    for (int i = 0; i < count; i++)
        fds[i] = 0;
    static char control[2000];
    struct iovec part = {"x", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(4 * count)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(4 * count) + extra;
    memcpy(CMSG_DATA(header), fds, 4 * count);
    return sendmsg(fd, &message, 0);
}

static void receive_fds(int fd, int room, int flags)
{
    static char control[2000];
    memset(control, 0, sizeof control);
    char byte;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = room};
    long got = recvmsg(fd, &message, MSG_DONTWAIT | flags);
    if (got < 0) {
        printf("  %s\n", errno_name(errno));
        return;
    }
    struct cmsghdr *header = (void *)control;
    printf("  %ld bytes, flags %#x, control %d, message of %d level %d type %d\n", got, message.msg_flags & ~MSG_CMSG_CLOEXEC,
           (int)message.msg_controllen, (int)header->cmsg_len, header->cmsg_level, header->cmsg_type);
    if (message.msg_controllen >= CMSG_LEN(0))
        for (size_t i = 0; i < (header->cmsg_len - CMSG_LEN(0)) / 4; i++)
            close(((int *)CMSG_DATA(header))[i]);
}

static void rights(void)
{
    struct ends pair = unix_pair(SOCK_STREAM);
    SHOW(send_fds(pair.from, 253, 0));
    receive_fds(pair.to, 2000, 0);
    SHOW(send_fds(pair.from, 254, 0));
    SHOW(send_fds(pair.from, 0, 0));
    receive_fds(pair.to, 2000, 0);
    SHOW(send_fds(pair.from, 3, 2));
    receive_fds(pair.to, 2000, 0);
    for (int room = 0; room <= 32; room += 4) {
        send_fds(pair.from, 3, 0);
        printf("  room for %d\n", room);
        receive_fds(pair.to, room, 0);
    }
    send_fds(pair.from, 2, 0);
    receive_fds(pair.to, 2000, MSG_PEEK);
    receive_fds(pair.to, 2000, MSG_CMSG_CLOEXEC);
    /* Too many under way. */
    IN_CHILD("child", {
        struct rlimit few = {20, 20};
        setrlimit(RLIMIT_NOFILE, &few);
        setgid(65534);
        setuid(65534);
        SHOW(send_fds(pair.from, 15, 0));
        SHOW(send_fds(pair.from, 15, 0));
        SHOW(send_fds(pair.from, 15, 0));
        receive_fds(pair.to, 2000, 0);
        SHOW(send_fds(pair.from, 2, 0));
    });
    IN_CHILD("child", {
        pair = unix_pair(SOCK_STREAM);
        send_fds(pair.from, 10, 0);
        struct rlimit few = {8, 8};
        setrlimit(RLIMIT_NOFILE, &few);
        receive_fds(pair.to, 2000, 0);
    });
}

static void lingering(void)
{
    struct linger linger = {1, 0};
    struct ends pair = tcp_pair();
    SHOW(setsockopt(pair.from, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    send(pair.from, "abc", 3, 0);
    SHOW(close(pair.from));
    sleep_ms(20);
    SHOW(events(pair.to));
    take(pair.to, 10, 0);
    take(pair.to, 10, 0);
    take(pair.to, 10, 0);
    SHOW(send(pair.to, "x", 1, MSG_NOSIGNAL));
    pair = tcp_pair();
    linger.l_linger = 1;
    SHOW(setsockopt(pair.from, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    send(pair.from, "abc", 3, 0);
    long long start = now_ns();
    SHOW(close(pair.from));
    HOLDS(now_ns() - start < 500000000);
    take(pair.to, 10, 0);
    take(pair.to, 10, 0);
    linger.l_linger = -1;
    SHOW(setsockopt(pair.to, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    SHOW(setsockopt(pair.to, SOL_SOCKET, SO_LINGER, &linger, 4));
    socklen_t len = sizeof linger;
    SHOW(getsockopt(pair.to, SOL_SOCKET, SO_LINGER, &linger, &len));
    NUMBER(linger.l_onoff);
    /* More than the other side takes: close waits for a second. */
    pair = tcp_pair();
    static char much[4 << 20];
    fcntl(pair.from, F_SETFL, O_NONBLOCK);
    while (send(pair.from, much, sizeof much, 0) > 0)
        ;
    fcntl(pair.from, F_SETFL, 0);
    linger = (struct linger){1, 1};
    setsockopt(pair.from, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    start = now_ns();
    SHOW(close(pair.from));
    HOLDS(now_ns() - start > 900000000 && now_ns() - start < 3000000000LL);
}

static void oneself(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(BIND4(fd, "127.0.0.1", 0));
    SHOW(CONNECT4(fd, "127.0.0.1", port_of(fd)));
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    SHOW(getpeername(fd, (void *)&peer, &len));
    HOLDS(ntohs(peer.sin_port) == port_of(fd));
    SHOW(send(fd, "hello", 5, 0));
    SHOW(waiting(fd));
    take(fd, 10, 0);
    SHOW(shutdown(fd, SHUT_WR));
    sleep_ms(20);
    SHOW(events(fd));
    take(fd, 10, 0);
    SHOW(close(fd));
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    BIND4(fd, "127.0.0.1", 0);
    SHOW(CONNECT4(fd, "127.0.0.1", port_of(fd)));
    SHOW(send(fd, "hello", 5, 0));
    take(fd, 10, 0);
}

static void sources(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(BIND4(fd, "0.0.0.0", 0));
    int from = socket(AF_INET, SOCK_DGRAM, 0);
    struct in_addr lo = {htonl(INADDR_LOOPBACK)};
    SHOW(setsockopt(from, SOL_IP, IP_MULTICAST_IF, &lo, sizeof lo));
    struct ip_mreq_source request = {{inet_addr("239.1.2.3")}, lo, lo};
    SHOW(setsockopt(fd, SOL_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, sizeof request));
    SHOW(setsockopt(fd, SOL_IP, IP_BLOCK_SOURCE, &request, sizeof request));
    SHOW(setsockopt(fd, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request - 1));
    SHOW(setsockopt(fd, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
    SHOW(setsockopt(fd, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
    SHOW(SENDTO4(from, "a", 1, 0, "239.1.2.3", port_of(fd)));
    take(fd, 10, 0);
    request.imr_sourceaddr.s_addr = htonl(INADDR_LOOPBACK + 1);
    SHOW(setsockopt(fd, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
    SHOW(setsockopt(fd, SOL_IP, IP_BLOCK_SOURCE, &request, sizeof request));
    request.imr_sourceaddr = lo;
    SHOW(setsockopt(fd, SOL_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, sizeof request));
    SHOW(SENDTO4(from, "b", 1, 0, "239.1.2.3", port_of(fd)));
    take(fd, 10, 0);
    request.imr_sourceaddr.s_addr = htonl(INADDR_LOOPBACK + 1);
    SHOW(setsockopt(fd, SOL_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, sizeof request));
    SHOW(setsockopt(fd, SOL_IP, IP_DROP_SOURCE_MEMBERSHIP, &request, sizeof request));
    struct ip_mreq plain = {{inet_addr("239.1.2.3")}, lo};
    SHOW(setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &plain, sizeof plain));
    request.imr_sourceaddr = lo;
    SHOW(setsockopt(fd, SOL_IP, IP_UNBLOCK_SOURCE, &request, sizeof request));
    SHOW(setsockopt(fd, SOL_IP, IP_BLOCK_SOURCE, &request, sizeof request));
    SHOW(setsockopt(fd, SOL_IP, IP_BLOCK_SOURCE, &request, sizeof request));
    SHOW(SENDTO4(from, "c", 1, 0, "239.1.2.3", port_of(fd)));
    take(fd, 10, 0);
    SHOW(setsockopt(fd, SOL_IP, IP_UNBLOCK_SOURCE, &request, sizeof request));
    SHOW(SENDTO4(from, "d", 1, 0, "239.1.2.3", port_of(fd)));
    take(fd, 10, 0);
    SHOW(setsockopt(fd, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
    request.imr_multiaddr.s_addr = inet_addr("10.1.2.3");
    SHOW(setsockopt(fd, SOL_IP, IP_ADD_SOURCE_MEMBERSHIP, &request, sizeof request));
    struct group_req group = {.gr_interface = 1};
    struct sockaddr_in address = v4("239.9.9.9", 0);
    memcpy(&group.gr_group, &address, sizeof address);
    SHOW(setsockopt(fd, SOL_IP, MCAST_JOIN_GROUP, &group, sizeof group));
    SHOW(setsockopt(fd, SOL_IP, MCAST_JOIN_GROUP, &group, sizeof group));
    SHOW(setsockopt(fd, SOL_IP, MCAST_JOIN_GROUP, &group, 20));
    SHOW(SENDTO4(from, "e", 1, 0, "239.9.9.9", port_of(fd)));
    take(fd, 10, 0);
    SHOW(setsockopt(fd, SOL_IP, MCAST_LEAVE_GROUP, &group, sizeof group));
    SHOW(setsockopt(fd, SOL_IP, MCAST_LEAVE_GROUP, &group, sizeof group));
    struct group_source_req both = {.gsr_interface = 1};
    memcpy(&both.gsr_group, &address, sizeof address);
    address = v4("127.0.0.1", 0);
    memcpy(&both.gsr_source, &address, sizeof address);
    SHOW(setsockopt(fd, SOL_IP, MCAST_JOIN_SOURCE_GROUP, &both, sizeof both));
    SHOW(SENDTO4(from, "f", 1, 0, "239.9.9.9", port_of(fd)));
    take(fd, 10, 0);
    SHOW(setsockopt(fd, SOL_IP, MCAST_LEAVE_SOURCE_GROUP, &both, sizeof both));
    SHOW(setsockopt(fd, SOL_IP, MCAST_BLOCK_SOURCE, &both, sizeof both));
}

static void lite(void)
{
    int to = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE), from = socket(AF_INET, SOCK_DGRAM, IPPROTO_UDPLITE);
    SHOW(BIND4(to, "127.0.0.1", 0));
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(BIND4(udp, "127.0.0.1", port_of(to)));
    int value = -1;
    socklen_t len = sizeof value;
    SHOW(getsockopt(to, SOL_SOCKET, SO_PROTOCOL, &value, &len));
    NUMBER(value);
    SHOW(getsockopt(to, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &value, &len));
    NUMBER(value);
    SHOW(getsockopt(to, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV, &value, &len));
    NUMBER(value);
    static const int coverages[] = {0, 1, 7, 8, 20, 70000, -1};
    for (int i = 0; i < 7; i++) {
        value = coverages[i];
        SHOW(setsockopt(to, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &value, sizeof value));
        SHOW(setsockopt(from, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV, &value, sizeof value));
        getsockopt(to, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &value, &len);
        NUMBER(value);
        getsockopt(from, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV, &value, &len);
        NUMBER(value);
    }
    SHOW(SENDTO4(from, "hello", 5, 0, "127.0.0.1", port_of(to)));
    take(to, 10, 0);
    take(udp, 10, 0);
    value = 10;
    SHOW(setsockopt(from, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &value, sizeof value));
    SHOW(SENDTO4(from, "hello", 5, 0, "127.0.0.1", port_of(to)));
    take(to, 10, 0);
    /* A receiver that wants more covered, and one that wants no partial coverage. */
    value = 12;
    SHOW(setsockopt(to, IPPROTO_UDPLITE, UDPLITE_RECV_CSCOV, &value, sizeof value));
    SHOW(SENDTO4(from, "hello", 5, 0, "127.0.0.1", port_of(to)));
    take(to, 10, 0);
    SHOW(setsockopt(udp, IPPROTO_UDPLITE, UDPLITE_SEND_CSCOV, &value, sizeof value));
    SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDPLITE));
    WORKS(socket(AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE));
}

/* A fresh network namespace has its loopback interface down. */
static void take_loopback_up(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    ioctl(fd, SIOCSIFFLAGS, &request);
    close(fd);
}

int main(int argc, char **argv)
{
    take_loopback_up();
    static const struct test_case cases[] = {
        {"urgent_tcp", urgent_tcp},         {"urgent_unix", urgent_unix},
        {"urgent_others", urgent_others},   {"half_good", half_good},
        {"socket_options", socket_options}, {"ip_options", ip_options},
        {"ipv6_options", ipv6_options},     {"protocol_options", protocol_options},
        {"mtus", mtus},                     {"peek_offsets", peek_offsets},     {"truncated", truncated},
        {"rights", rights},                 {"lingering", lingering},
        {"oneself", oneself},               {"sources", sources},
        {"lite", lite},
    };
    return RUN_CASES(argc, argv, cases);
}
