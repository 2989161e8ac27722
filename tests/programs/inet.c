/* Internet sockets over loopback: TCP, UDP, ICMP, their options, interfaces and tables.
 * To be run in a network namespace with nothing but loopback. */
#include "show.h"
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifndef SIOCOUTQ
#define SIOCOUTQ 0x5411
#endif

static struct sockaddr_in v4(const char *ip, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &at.sin_addr);
    return at;
}

static struct sockaddr_in6 v6(const char *ip, int port)
{
    struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
    inet_pton(AF_INET6, ip, &at.sin6_addr);
    return at;
}

#define BIND4(fd, ip, port) ({ struct sockaddr_in a_ = v4(ip, port); bind(fd, (void *)&a_, sizeof a_); })
#define CONNECT4(fd, ip, port) ({ struct sockaddr_in a_ = v4(ip, port); connect(fd, (void *)&a_, sizeof a_); })
#define BIND6(fd, ip, port) ({ struct sockaddr_in6 a_ = v6(ip, port); bind(fd, (void *)&a_, sizeof a_); })
#define CONNECT6(fd, ip, port) ({ struct sockaddr_in6 a_ = v6(ip, port); connect(fd, (void *)&a_, sizeof a_); })
#define SENDTO4(fd, data, len, flags, ip, port) \
    ({ struct sockaddr_in a_ = v4(ip, port); sendto(fd, data, len, flags, (void *)&a_, sizeof a_); })

static int events(int fd, int wanted)
{
    struct pollfd entry = {fd, wanted, 0};
    return poll(&entry, 1, 0) < 0 ? -1 : entry.revents;
}
#define EVENTS(fd) \
    (printf("  events of " #fd ": %#x\n", events(fd, POLLIN | POLLOUT | POLLPRI | POLLRDHUP)), fflush(stdout))

static int option(int fd, int level, int name)
{
    int value = 0;
    socklen_t len = sizeof value;
    return getsockopt(fd, level, name, &value, &len) < 0 ? -errno : value;
}

static int set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value);
}

static int port_of(int fd)
{
    struct sockaddr_in6 at;
    socklen_t len = sizeof at;
    return getsockname(fd, (void *)&at, &len) < 0 ? -1 : ntohs(at.sin6_port);
}

/* A listener, what connected to it, and what it accepted. */
struct pair { int listener, client, server, port; };

static struct pair connected(void)
{
    struct pair made;
    made.listener = socket(AF_INET, SOCK_STREAM, 0);
    BIND4(made.listener, "127.0.0.1", 0);
    listen(made.listener, 5);
    made.port = port_of(made.listener);
    made.client = socket(AF_INET, SOCK_STREAM, 0);
    if (CONNECT4(made.client, "127.0.0.1", made.port) < 0)
        printf("  no connection: %s\n", errno_name(errno));
    made.server = accept(made.listener, NULL, NULL);
    return made;
}

static void sockets(void)
{
    WORKS(socket(AF_INET, SOCK_STREAM, 0));
    WORKS(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP));
    WORKS(socket(AF_INET, SOCK_DGRAM, IPPROTO_UDP));
    WORKS(socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    SHOW(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
    SHOW(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
    SHOW(socket(AF_INET, SOCK_SEQPACKET, 0));
    SHOW(socket(AF_INET, 77, 0));
    SHOW(socket(AF_INET, SOCK_STREAM, 999));
    SHOW(socket(AF_INET, SOCK_STREAM, -1));
    SHOW(socket(AF_INET, SOCK_RAW, 0));
    WORKS(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    SHOW(socket(1000, SOCK_STREAM, 0));
    int ends[2];
    SHOW(socketpair(AF_INET, SOCK_STREAM, 0, ends));
    SHOW(socketpair(AF_INET, SOCK_DGRAM, 0, ends));
}

static void addresses(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = v4("127.0.0.1", 0);
    SHOW(bind(fd, (void *)&at, 8));
    SHOW(bind(fd, (void *)&at, sizeof at + 1000));
    at.sin_family = AF_INET6;
    SHOW(bind(fd, (void *)&at, sizeof at));
    SHOW(bind(fd, bad_address, sizeof at));
    SHOW(BIND4(fd, "10.11.12.13", 0));
    SHOW(BIND4(fd, "224.0.0.1", 0));
    SHOW(BIND4(fd, "127.0.0.1", 0));
    SHOW(BIND4(fd, "127.0.0.1", 0));
    struct sockaddr_storage got;
    socklen_t len = sizeof got;
    SHOW(getsockname(fd, (void *)&got, &len));
    NUMBER(len);
    NUMBER(got.ss_family);
    len = 4;
    SHOW(getsockname(fd, (void *)&got, &len));
    NUMBER(len);
    SHOW(getpeername(fd, (void *)&got, &len));
    len = -1;
    SHOW(getsockname(fd, (void *)&got, &len));
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 at6 = v6("::1", 0);
    SHOW(bind(six, (void *)&at6, 20));
    SHOW(bind(six, (void *)&at6, 24));
    int other = socket(AF_INET6, SOCK_STREAM, 0);
    at = v4("127.0.0.1", 0);
    SHOW(bind(other, (void *)&at, sizeof at));
    SHOW(BIND6(other, "2001:db8::1", 0));
    SHOW(BIND6(other, "::ffff:127.0.0.1", 0));
}

static void connecting(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EVENTS(fd);
    SHOW(CONNECT4(fd, "127.0.0.1", 1));
    SHOW(option(fd, SOL_SOCKET, SO_ERROR));
    EVENTS(fd);
    SHOW(CONNECT4(fd, "10.11.12.13", 80));
    SHOW(CONNECT4(fd, "8.8.8.8", 80));
    SHOW(CONNECT4(fd, "255.255.255.255", 80));
    SHOW(CONNECT4(fd, "224.0.0.1", 80));
    struct sockaddr_in at = v4("127.0.0.1", 1);
    SHOW(connect(fd, (void *)&at, 7));
    at.sin_family = 99;
    SHOW(connect(fd, (void *)&at, sizeof at));
    at.sin_family = AF_UNSPEC;
    SHOW(connect(fd, (void *)&at, sizeof at));
    struct pair one = connected();
    SHOW(CONNECT4(one.client, "127.0.0.1", one.port));
    SHOW(CONNECT4(one.listener, "127.0.0.1", one.port));
    SHOW(listen(one.client, 1));
    SHOW(accept(one.client, NULL, NULL));
    int quick = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SHOW(CONNECT4(quick, "127.0.0.1", one.port));
    struct pollfd entry = {quick, POLLOUT, 0};
    SHOW(poll(&entry, 1, 1000));
    SHOW(option(quick, SOL_SOCKET, SO_ERROR));
    SHOW(CONNECT4(quick, "127.0.0.1", one.port));
    SHOW(CONNECT4(quick, "127.0.0.1", one.port));
    int refused = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SHOW(CONNECT4(refused, "127.0.0.1", 1));
    entry.fd = refused;
    SHOW(poll(&entry, 1, 1000));
    EVENTS(refused);
    SHOW(option(refused, SOL_SOCKET, SO_ERROR));
    EVENTS(refused);
    SHOW(CONNECT4(refused, "127.0.0.1", 1));
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    SHOW(CONNECT6(six, "::1", 1));
    SHOW(CONNECT6(six, "2001:db8::1", 80));
    SHOW(CONNECT6(six, "fe80::1", 80));
    SHOW(CONNECT6(six, "::ffff:127.0.0.1", one.port));
    int any = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(CONNECT4(any, "0.0.0.0", one.port));
    struct sockaddr_in peer;
    socklen_t len = sizeof peer;
    SHOW(getpeername(any, (void *)&peer, &len));
    TEXT(inet_ntoa(peer.sin_addr));
    SHOW(getsockname(any, (void *)&peer, &len));
    TEXT(inet_ntoa(peer.sin_addr));
    int far = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(CONNECT4(far, "127.1.2.3", 1));
}

static void transfers(void)
{
    struct pair one = connected();
    char bytes[64] = "";
    EVENTS(one.client);
    SHOW(send(one.client, "hello", 5, 0));
    EVENTS(one.server);
    int count = -1;
    SHOW(ioctl(one.server, FIONREAD, &count));
    NUMBER(count);
    SHOW(ioctl(one.listener, FIONREAD, &count));
    SHOW(recv(one.server, bytes, 2, MSG_PEEK));
    SHOW(recv(one.server, bytes, 64, MSG_PEEK));
    SHOW(recv(one.server, bytes, 2, MSG_TRUNC));
    SHOW(recv(one.server, bytes, 64, 0));
    TEXT(bytes);
    SHOW(recv(one.server, bytes, 64, MSG_DONTWAIT));
    SHOW(recv(one.server, bytes, 64, MSG_OOB));
    SHOW(recv(one.server, bytes, 0, MSG_DONTWAIT));
    SHOW(send(one.client, "", 0, 0));
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    send(one.client, "abc", 3, 0);
    SHOW(recvfrom(one.server, bytes, 64, 0, (void *)&from, &len));
    NUMBER(len);
    SHOW(SENDTO4(one.client, "xyz", 3, 0, "127.0.0.1", 1));
    SHOW(read(one.server, bytes, 64));
    struct iovec parts[2] = {{"one", 3}, {"two", 3}};
    SHOW(writev(one.server, parts, 2));
    SHOW(recv(one.client, bytes, 6, MSG_WAITALL));
    SHOW(ioctl(one.client, SIOCOUTQ, &count));
    NUMBER(count);
    SHOW(send(one.client, bad_address, 5, 0));
    send(one.client, "x", 1, 0);
    SHOW(recv(one.server, bad_address, 5, 0));
    SHOW(recv(one.server, bytes, 5, 0));
    struct timeval soon = {0, 20000};
    setsockopt(one.server, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof soon);
    SHOW(recv(one.server, bytes, 5, 0));
    SHOW(recv(one.server, bytes, 5, MSG_ERRQUEUE));
    SHOW(recv(one.listener, bytes, 5, 0));
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(recv(fresh, bytes, 5, 0));
    SHOW(send(fresh, bytes, 5, MSG_NOSIGNAL));
    IN_CHILD("writes to nobody", write(fresh, bytes, 5));
}

static void ends(void)
{
    char bytes[64];
    signal(SIGPIPE, SIG_IGN);
    struct pair one = connected();
    SHOW(shutdown(one.client, SHUT_WR));
    SHOW(send(one.client, "x", 1, 0));
    EVENTS(one.client);
    EVENTS(one.server);
    SHOW(recv(one.server, bytes, 64, 0));
    SHOW(send(one.server, "late", 4, 0));
    SHOW(recv(one.client, bytes, 64, 0));
    SHOW(shutdown(one.server, SHUT_RDWR));
    EVENTS(one.client);
    EVENTS(one.server);
    SHOW(recv(one.client, bytes, 64, 0));
    SHOW(shutdown(one.client, SHUT_RDWR));
    SHOW(shutdown(one.client, 7));
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    SHOW(getpeername(one.client, (void *)&at, &len));

    one = connected();
    close(one.server);
    EVENTS(one.client);
    SHOW(recv(one.client, bytes, 64, 0));
    SHOW(send(one.client, "first", 5, 0));
    sleep_ms(20);
    EVENTS(one.client);
    SHOW(send(one.client, "second", 6, 0));
    SHOW(recv(one.client, bytes, 64, 0));

    one = connected();
    send(one.client, "unread", 6, 0);
    close(one.server);
    EVENTS(one.client);
    SHOW(recv(one.client, bytes, 64, 0));
    SHOW(recv(one.client, bytes, 64, 0));
    SHOW(send(one.client, "x", 1, 0));

    one = connected();
    struct linger now = {1, 0};
    setsockopt(one.server, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    send(one.server, "last", 4, 0);
    close(one.server);
    SHOW(recv(one.client, bytes, 64, 0));
    SHOW(option(one.client, SOL_SOCKET, SO_ERROR));
    SHOW(recv(one.client, bytes, 64, 0));

    one = connected();
    SHOW(shutdown(one.server, SHUT_RD));
    EVENTS(one.server);
    SHOW(recv(one.server, bytes, 64, 0));
    SHOW(send(one.client, "more", 4, 0));
    sleep_ms(10);
    SHOW(recv(one.server, bytes, 64, 0));

    one = connected();
    int waiting = socket(AF_INET, SOCK_STREAM, 0);
    CONNECT4(waiting, "127.0.0.1", one.port);
    close(one.listener);
    sleep_ms(10);
    EVENTS(waiting);
    SHOW(recv(waiting, bytes, 64, 0));

    one = connected();
    SHOW(shutdown(one.listener, SHUT_RDWR));
    EVENTS(one.listener);
    SHOW(accept(one.listener, NULL, NULL));
    SHOW(listen(one.listener, 3));
    int fresh = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(shutdown(fresh, SHUT_RDWR));
    at.sin_family = AF_UNSPEC;
    SHOW(connect(one.client, (void *)&at, sizeof at));
    sleep_ms(10);
    SHOW(recv(one.server, bytes, 64, 0));
}

static void backlog(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(listen(listener, 0));
    HOLDS(port_of(listener) > 0);
    int port = port_of(listener), first = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(CONNECT4(first, "127.0.0.1", port));
    int second = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    SHOW(CONNECT4(second, "127.0.0.1", port));
    sleep_ms(50);
    EVENTS(second);
    SHOW(CONNECT4(second, "127.0.0.1", port));
    WORKS(accept(listener, NULL, NULL));
    struct pollfd entry = {second, POLLOUT, 0};
    SHOW(poll(&entry, 1, 5000));
    SHOW(CONNECT4(second, "127.0.0.1", port));
    EVENTS(listener);
    SHOW(listen(listener, 100));
    SHOW(option(listener, SOL_SOCKET, SO_ACCEPTCONN));
    WORKS(accept4(listener, NULL, NULL, SOCK_NONBLOCK));
    SHOW(syscall(SYS_accept4, listener, NULL, NULL, 3));
    fcntl(listener, F_SETFL, O_NONBLOCK);
    SHOW(accept(listener, NULL, NULL));
    int datagram = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(listen(datagram, 1));
    SHOW(accept(datagram, NULL, NULL));
}

static void sharing(void)
{
    int one = socket(AF_INET, SOCK_STREAM, 0), two = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(BIND4(one, "127.0.0.1", 7001));
    SHOW(BIND4(two, "127.0.0.1", 7001));
    SHOW(BIND4(two, "0.0.0.0", 7001));
    SHOW(BIND4(two, "127.0.0.2", 7001));
    close(two);
    two = socket(AF_INET, SOCK_STREAM, 0);
    set(one, SOL_SOCKET, SO_REUSEADDR, 1);
    SHOW(BIND4(two, "127.0.0.1", 7001));
    set(two, SOL_SOCKET, SO_REUSEADDR, 1);
    SHOW(BIND4(two, "127.0.0.1", 7001));
    SHOW(listen(one, 1));
    SHOW(listen(two, 1));
    int three = socket(AF_INET, SOCK_STREAM, 0);
    set(three, SOL_SOCKET, SO_REUSEADDR, 1);
    SHOW(BIND4(three, "127.0.0.1", 7001));
    int four = socket(AF_INET, SOCK_STREAM, 0), five = socket(AF_INET, SOCK_STREAM, 0);
    set(four, SOL_SOCKET, SO_REUSEPORT, 1);
    set(five, SOL_SOCKET, SO_REUSEPORT, 1);
    SHOW(BIND4(four, "127.0.0.1", 7002));
    SHOW(BIND4(five, "127.0.0.1", 7002));
    SHOW(listen(four, 1));
    SHOW(listen(five, 1));
    int six = socket(AF_INET6, SOCK_STREAM, 0), mapped = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(BIND6(six, "::", 7003));
    SHOW(BIND4(mapped, "0.0.0.0", 7003));
    int only = socket(AF_INET6, SOCK_STREAM, 0), beside = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(set(only, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    SHOW(BIND6(only, "::", 7004));
    SHOW(BIND4(beside, "0.0.0.0", 7004));
    SHOW(set(only, IPPROTO_IPV6, IPV6_V6ONLY, 0));
    int udp = socket(AF_INET, SOCK_DGRAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(BIND4(udp, "127.0.0.1", 7001));
    SHOW(BIND4(other, "127.0.0.1", 7001));
    set(udp, SOL_SOCKET, SO_REUSEADDR, 1);
    set(other, SOL_SOCKET, SO_REUSEADDR, 1);
    SHOW(BIND4(other, "127.0.0.1", 7001));

    struct pair pair = connected();
    close(pair.listener);
    int again = socket(AF_INET, SOCK_STREAM, 0);
    SHOW(BIND4(again, "127.0.0.1", pair.port));
    close(pair.server);
    close(pair.client);
    sleep_ms(10);
    SHOW(BIND4(again, "127.0.0.1", pair.port));
}

static void options(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), udp = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(option(fd, SOL_SOCKET, SO_TYPE));
    SHOW(option(fd, SOL_SOCKET, SO_DOMAIN));
    SHOW(option(fd, SOL_SOCKET, SO_PROTOCOL));
    SHOW(option(udp, SOL_SOCKET, SO_PROTOCOL));
    SHOW(set(fd, SOL_SOCKET, SO_SNDBUF, 10000));
    SHOW(option(fd, SOL_SOCKET, SO_SNDBUF));
    SHOW(set(fd, SOL_SOCKET, SO_RCVBUF, 1));
    SHOW(option(fd, SOL_SOCKET, SO_RCVBUF));
    SHOW(set(fd, SOL_SOCKET, SO_SNDBUF, 1));
    SHOW(option(fd, SOL_SOCKET, SO_SNDBUF));
    SHOW(set(fd, SOL_SOCKET, SO_TYPE, 1));
    SHOW(set(fd, SOL_SOCKET, SO_ERROR, 1));
    SHOW(set(fd, SOL_SOCKET, 9999, 1));
    SHOW(option(fd, SOL_SOCKET, 9999));
    SHOW(option(fd, 77, 1));
    SHOW(set(fd, 77, 1, 1));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, "", 1));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, bad_address, 4));
    SHOW(set(fd, SOL_SOCKET, SO_KEEPALIVE, 5));
    SHOW(option(fd, SOL_SOCKET, SO_KEEPALIVE));
    SHOW(set(fd, SOL_SOCKET, SO_PRIORITY, 3));
    SHOW(option(fd, SOL_SOCKET, SO_PRIORITY));
    SHOW(set(fd, SOL_SOCKET, SO_RCVLOWAT, 0));
    SHOW(option(fd, SOL_SOCKET, SO_RCVLOWAT));
    SHOW(set(fd, SOL_SOCKET, SO_RCVLOWAT, 50));
    SHOW(option(fd, SOL_SOCKET, SO_RCVLOWAT));
    SHOW(set(fd, SOL_SOCKET, SO_SNDLOWAT, 50));
    SHOW(set(fd, IPPROTO_TCP, TCP_NODELAY, 9));
    SHOW(option(fd, IPPROTO_TCP, TCP_NODELAY));
    SHOW(option(fd, IPPROTO_TCP, TCP_MAXSEG));
    SHOW(set(fd, IPPROTO_TCP, TCP_MAXSEG, 5));
    SHOW(option(fd, IPPROTO_TCP, TCP_KEEPIDLE));
    SHOW(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 0));
    SHOW(set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30));
    SHOW(option(fd, IPPROTO_TCP, TCP_KEEPIDLE));
    SHOW(option(fd, IPPROTO_TCP, TCP_KEEPINTVL));
    SHOW(option(fd, IPPROTO_TCP, TCP_KEEPCNT));
    SHOW(set(fd, IPPROTO_TCP, TCP_KEEPCNT, 200));
    SHOW(option(fd, IPPROTO_TCP, TCP_SYNCNT));
    SHOW(set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5));
    SHOW(option(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT));
    SHOW(set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 5000));
    SHOW(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT));
    SHOW(option(fd, IPPROTO_TCP, TCP_QUICKACK));
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "nonesuch", 8));
    SHOW(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4));
    char name[16] = "";
    socklen_t len = sizeof name;
    SHOW(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len));
    TEXT(name);
    SHOW(set(fd, IPPROTO_TCP, 999, 1));
    SHOW(option(fd, IPPROTO_TCP, 999));
    SHOW(set(udp, IPPROTO_TCP, TCP_NODELAY, 1));
    SHOW(option(fd, IPPROTO_IP, IP_TTL));
    SHOW(set(fd, IPPROTO_IP, IP_TTL, 0));
    SHOW(set(fd, IPPROTO_IP, IP_TTL, 256));
    SHOW(set(fd, IPPROTO_IP, IP_TTL, 9));
    SHOW(option(fd, IPPROTO_IP, IP_TTL));
    SHOW(set(udp, IPPROTO_IP, IP_TOS, 0x10));
    SHOW(option(udp, IPPROTO_IP, IP_TOS));
    SHOW(set(udp, IPPROTO_IP, 999, 1));
    SHOW(option(udp, IPPROTO_IP, IP_MULTICAST_TTL));
    SHOW(option(udp, IPPROTO_IP, IP_MULTICAST_LOOP));
    SHOW(option(fd, IPPROTO_IPV6, IPV6_V6ONLY));
    int six = socket(AF_INET6, SOCK_DGRAM, 0);
    SHOW(option(six, IPPROTO_IPV6, IPV6_V6ONLY));
    SHOW(option(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS));
    SHOW(set(six, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 300));
    SHOW(option(six, IPPROTO_IPV6, IPV6_MTU_DISCOVER));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "nonesuch", 8));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 2));
    struct linger linger = {1, 5};
    SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, 4));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    len = sizeof linger;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &len));
    NUMBER(linger.l_linger);
    len = 2;
    int value = -1;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len));
    NUMBER(len);
    len = -1;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &len));
    struct timeval wrong = {0, 1000000};
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wrong, sizeof wrong));
    struct pair one = connected();
    struct tcp_info info;
    memset(&info, 0, sizeof info);
    len = sizeof info;
    SHOW(getsockopt(one.client, IPPROTO_TCP, TCP_INFO, &info, &len));
    NUMBER(info.tcpi_state);
    shutdown(one.client, SHUT_WR);
    sleep_ms(20);
    len = sizeof info;
    getsockopt(one.client, IPPROTO_TCP, TCP_INFO, &info, &len);
    NUMBER(info.tcpi_state);
    getsockopt(one.server, IPPROTO_TCP, TCP_INFO, &info, &len);
    NUMBER(info.tcpi_state);
    getsockopt(one.listener, IPPROTO_TCP, TCP_INFO, &info, &len);
    NUMBER(info.tcpi_state);
}

static void datagrams(void)
{
    int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
    char bytes[70000] = "";
    SHOW(BIND4(server, "127.0.0.1", 7005));
    EVENTS(server);
    SHOW(send(client, "x", 1, 0));
    SHOW(SENDTO4(client, "x", 1, 0, "127.0.0.1", 0));
    SHOW(SENDTO4(client, "x", 1, 0, "10.0.0.1", 5));
    SHOW(SENDTO4(client, "x", 1, 0, "255.255.255.255", 5));
    SHOW(SENDTO4(client, "x", 1, 0, "127.255.255.255", 5));
    SHOW(SENDTO4(client, "x", 1, 0, "224.1.2.3", 5));
    SHOW(SENDTO4(client, bytes, 65508, 0, "127.0.0.1", 7005));
    SHOW(SENDTO4(client, bytes, 65507, 0, "127.0.0.1", 7005));
    SHOW(recv(server, bytes, sizeof bytes, 0));
    SHOW(SENDTO4(client, "question", 8, 0, "127.0.0.1", 7005));
    SHOW(SENDTO4(client, "", 0, 0, "127.0.0.1", 7005));
    int count = -1;
    SHOW(ioctl(server, FIONREAD, &count));
    NUMBER(count);
    SHOW(recv(server, bytes, 3, MSG_PEEK | MSG_TRUNC));
    struct sockaddr_in from;
    socklen_t len = sizeof from;
    SHOW(recvfrom(server, bytes, 3, 0, (void *)&from, &len));
    NUMBER(len);
    TEXT(inet_ntoa(from.sin_addr));
    HOLDS(ntohs(from.sin_port) == port_of(client));
    SHOW(recv(server, bytes, 64, 0));
    SHOW(recv(server, bytes, 64, MSG_DONTWAIT));
    SHOW(shutdown(server, SHUT_RDWR));
    SHOW(CONNECT4(client, "127.0.0.1", 7006));
    SHOW(send(client, "nobody", 6, 0));
    sleep_ms(10);
    EVENTS(client);
    SHOW(recv(client, bytes, 64, 0));
    SHOW(send(client, "nobody", 6, 0));
    sleep_ms(10);
    SHOW(option(client, SOL_SOCKET, SO_ERROR));
    SHOW(option(client, SOL_SOCKET, SO_ERROR));
    SHOW(CONNECT4(client, "127.0.0.1", 7005));
    int stranger = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(SENDTO4(stranger, "hello", 5, 0, "127.0.0.1", port_of(client)));
    SHOW(recv(client, bytes, 64, MSG_DONTWAIT));
    from.sin_family = AF_UNSPEC;
    SHOW(connect(client, (void *)&from, sizeof from));
    SHOW(getpeername(client, (void *)&from, &len));
    SHOW(send(client, "x", 1, 0));
    SHOW(CONNECT4(client, "127.0.0.1", 7005));
    SHOW(shutdown(client, SHUT_RDWR));
    EVENTS(client);
    SHOW(recv(client, bytes, 64, 0));
    SHOW(send(client, "x", 1, 0));
    int full = 0;
    for (int i = 0; i < 2000; i++)
        SENDTO4(stranger, "flood", 5, 0, "127.0.0.1", 7005);
    int late = socket(AF_INET, SOCK_DGRAM, 0);
    BIND4(late, "127.0.0.1", 7007);
    for (int i = 0; i < 2000; i++)
        SENDTO4(stranger, "flood", 5, 0, "127.0.0.1", 7007);
    while (recv(late, bytes, 64, MSG_DONTWAIT) == 5)
        full++;
    HOLDS(full > 100 && full < 1000);
    int six = socket(AF_INET6, SOCK_DGRAM, 0);
    SHOW(BIND6(six, "::", 7008));
    SHOW(SENDTO4(stranger, "mapped", 6, 0, "127.0.0.1", 7008));
    struct sockaddr_in6 from6;
    len = sizeof from6;
    SHOW(recvfrom(six, bytes, 64, 0, (void *)&from6, &len));
    char text[64];
    TEXT(inet_ntop(AF_INET6, &from6.sin6_addr, text, sizeof text));
}

/* Prints the control messages of a header. */
static void show_control(struct msghdr *header)
{
    for (struct cmsghdr *at = CMSG_FIRSTHDR(header); at; at = CMSG_NXTHDR(header, at))
        printf("  control %d %d of %zu bytes, first %d\n", at->cmsg_level, at->cmsg_type, (size_t)at->cmsg_len,
               at->cmsg_type == SO_TIMESTAMP && at->cmsg_level == SOL_SOCKET ? 0 : *(int *)CMSG_DATA(at));
}

static void control(void)
{
    int server = socket(AF_INET, SOCK_DGRAM, 0), client = socket(AF_INET, SOCK_DGRAM, 0);
    BIND4(server, "0.0.0.0", 7010);
    set(server, IPPROTO_IP, IP_PKTINFO, 1);
    set(server, IPPROTO_IP, IP_RECVTTL, 1);
    set(server, IPPROTO_IP, IP_RECVTOS, 1);
    set(server, SOL_SOCKET, SO_TIMESTAMP, 1);
    set(client, IPPROTO_IP, IP_TTL, 33);
    SENDTO4(client, "hello", 5, 0, "127.0.0.1", 7010);
    char bytes[64], space[512];
    struct iovec part = {bytes, sizeof bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    SHOW(recvmsg(server, &header, 0));
    show_control(&header);
    NUMBER(header.msg_flags);
    SENDTO4(client, "hello", 5, 0, "127.0.0.1", 7010);
    header.msg_controllen = 40;
    SHOW(recvmsg(server, &header, 0));
    NUMBER(header.msg_flags);
    struct sockaddr_in to = v4("127.0.0.1", 7010);
    char out[CMSG_SPACE(sizeof(int))];
    memset(out, 0, sizeof out);
    struct msghdr sent = {.msg_name = &to, .msg_namelen = sizeof to, .msg_iov = &part, .msg_iovlen = 1,
                          .msg_control = out, .msg_controllen = sizeof out};
    struct cmsghdr *first = CMSG_FIRSTHDR(&sent);
    first->cmsg_level = IPPROTO_IP;
    first->cmsg_type = IP_TTL;
    first->cmsg_len = CMSG_LEN(sizeof(int));
    *(int *)CMSG_DATA(first) = 44;
    part.iov_len = 3;
    SHOW(sendmsg(client, &sent, 0));
    header.msg_controllen = sizeof space;
    SHOW(recvmsg(server, &header, 0));
    show_control(&header);
    *(int *)CMSG_DATA(first) = 4444;
    SHOW(sendmsg(client, &sent, 0));
    first->cmsg_type = 99;
    SHOW(sendmsg(client, &sent, 0));
    set(client, IPPROTO_IP, IP_RECVERR, 1);
    CONNECT4(client, "127.0.0.1", 7011);
    SHOW(send(client, "nobody", 6, 0));
    sleep_ms(10);
    EVENTS(client);
    struct sockaddr_in from;
    struct msghdr error = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1,
                           .msg_control = space, .msg_controllen = sizeof space};
    HOLDS(recvmsg(client, &error, MSG_ERRQUEUE) >= 0);
    HOLDS((error.msg_flags & MSG_ERRQUEUE) != 0);
    show_control(&error);
    NUMBER(ntohs(from.sin_port));
    struct mmsghdr many[3];
    memset(many, 0, sizeof many);
    CONNECT4(client, "127.0.0.1", 7010);
    for (int i = 0; i < 3; i++) {
        many[i].msg_hdr.msg_iov = &part;
        many[i].msg_hdr.msg_iovlen = 1;
    }
    SHOW(option(client, SOL_SOCKET, SO_ERROR));
    SHOW(sendmmsg(client, many, 3, 0));
    SHOW(recvmmsg(server, many, 3, MSG_DONTWAIT, NULL));
    SHOW(recvmmsg(server, many, 3, MSG_DONTWAIT, NULL));
    set(client, IPPROTO_UDP, 1, 1);
    SHOW(send(client, "ab", 2, 0));
    SHOW(send(client, "cd", 2, MSG_MORE));
    SHOW(recv(server, bytes, 64, MSG_DONTWAIT));
    SHOW(set(client, IPPROTO_UDP, 1, 0));
    SHOW(recv(server, bytes, 64, MSG_DONTWAIT));
}

static void groups(void)
{
    int member = socket(AF_INET, SOCK_DGRAM, 0), sender = socket(AF_INET, SOCK_DGRAM, 0);
    char bytes[64];
    BIND4(member, "0.0.0.0", 7020);
    struct ip_mreq request = {v4("239.1.2.3", 0).sin_addr, v4("0.0.0.0", 0).sin_addr};
    SHOW(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
    request.imr_interface = v4("127.0.0.1", 0).sin_addr;
    SHOW(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
    SHOW(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
    struct in_addr local = v4("127.0.0.1", 0).sin_addr;
    SHOW(setsockopt(sender, IPPROTO_IP, IP_MULTICAST_IF, &local, sizeof local));
    SHOW(SENDTO4(sender, "group", 5, 0, "239.1.2.3", 7020));
    SHOW(recv(member, bytes, 64, MSG_DONTWAIT));
    SHOW(setsockopt(member, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request, sizeof request));
    SHOW(setsockopt(member, IPPROTO_IP, IP_DROP_MEMBERSHIP, &request, sizeof request));
    SHOW(SENDTO4(sender, "group", 5, 0, "239.1.2.3", 7020));
    SHOW(recv(member, bytes, 64, MSG_DONTWAIT));
    set(sender, SOL_SOCKET, SO_BROADCAST, 1);
    SHOW(SENDTO4(sender, "all", 3, 0, "127.255.255.255", 7020));
    SHOW(recv(member, bytes, 64, MSG_DONTWAIT));
    request.imr_multiaddr = v4("10.0.0.1", 0).sin_addr;
    SHOW(setsockopt(member, IPPROTO_IP, IP_ADD_MEMBERSHIP, &request, sizeof request));
}

static unsigned short sum_of(const unsigned char *bytes, size_t len)
{
    unsigned sum = 0;
    for (size_t i = 0; i + 1 < len; i += 2)
        sum += bytes[i] << 8 | bytes[i + 1];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return htons((unsigned short)~sum);
}

static void echo(void)
{
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    unsigned char bytes[128] = {8, 0, 0, 0, 0x12, 0x34, 0, 1, 'p', 'i', 'n', 'g'};
    unsigned short sum = sum_of(bytes, 12);
    memcpy(bytes + 2, &sum, 2);
    SHOW(SENDTO4(raw, bytes, 12, 0, "127.0.0.1", 0));
    SHOW(recv(raw, bytes, sizeof bytes, 0));
    printf("  version %d protocol %d type %d\n", bytes[0] >> 4, bytes[9], bytes[20]);
    SHOW(recv(raw, bytes, sizeof bytes, 0));
    printf("  version %d protocol %d type %d ttl %d\n", bytes[0] >> 4, bytes[9], bytes[20], bytes[8]);
    HOLDS(sum_of(bytes, 20) == 0);
    HOLDS(sum_of(bytes + 20, 12) == 0);
    SHOW(recv(raw, bytes, sizeof bytes, MSG_DONTWAIT));
    int filter = ~(1 << 0);
    SHOW(setsockopt(raw, SOL_RAW, 1, &filter, sizeof filter));
    unsigned char again[12] = {8, 0, 0, 0, 0x12, 0x34, 0, 2, 'p', 'i', 'n', 'g'};
    sum = sum_of(again, 12);
    memcpy(again + 2, &sum, 2);
    SHOW(SENDTO4(raw, again, 12, 0, "127.0.0.1", 0));
    SHOW(recv(raw, bytes, sizeof bytes, 0));
    NUMBER(bytes[20]);
    SHOW(recv(raw, bytes, sizeof bytes, MSG_DONTWAIT));
    IN_CHILD("without privilege", setgid(1000); setuid(1000); SHOW(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP)));
    IN_CHILD("low port", setuid(1000); int fd = socket(AF_INET, SOCK_STREAM, 0); SHOW(BIND4(fd, "127.0.0.1", 80)));
}

static void interfaces(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq request;
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "lo");
    SHOW(ioctl(fd, SIOCGIFFLAGS, &request));
    printf("  flags %#x\n", request.ifr_flags);
    SHOW(ioctl(fd, SIOCGIFADDR, &request));
    TEXT(inet_ntoa(((struct sockaddr_in *)&request.ifr_addr)->sin_addr));
    SHOW(ioctl(fd, SIOCGIFNETMASK, &request));
    TEXT(inet_ntoa(((struct sockaddr_in *)&request.ifr_addr)->sin_addr));
    SHOW(ioctl(fd, SIOCGIFMTU, &request));
    NUMBER(request.ifr_mtu);
    SHOW(ioctl(fd, SIOCGIFINDEX, &request));
    NUMBER(request.ifr_ifindex);
    SHOW(ioctl(fd, SIOCGIFHWADDR, &request));
    NUMBER(request.ifr_hwaddr.sa_family);
    memset(request.ifr_name, 0, sizeof request.ifr_name);
    SHOW(ioctl(fd, SIOCGIFNAME, &request));
    SHOW(if_nametoindex("lo"));
    SHOW(if_nametoindex("nonesuch"));
    strcpy(request.ifr_name, "nonesuch");
    SHOW(ioctl(fd, SIOCGIFFLAGS, &request));
    struct ifconf list = {.ifc_len = 0, .ifc_buf = NULL};
    SHOW(ioctl(fd, SIOCGIFCONF, &list));
    NUMBER(list.ifc_len);
    struct ifaddrs *all, *at;
    SHOW(getifaddrs(&all));
    for (at = all; at; at = at->ifa_next) {
        char text[64] = "";
        if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET)
            inet_ntop(AF_INET, &((struct sockaddr_in *)at->ifa_addr)->sin_addr, text, sizeof text);
        if (at->ifa_addr && at->ifa_addr->sa_family == AF_INET6)
            inet_ntop(AF_INET6, &((struct sockaddr_in6 *)at->ifa_addr)->sin6_addr, text, sizeof text);
        printf("  %s family %d flags %#x %s\n", at->ifa_name, at->ifa_addr ? at->ifa_addr->sa_family : -1,
               at->ifa_flags, text);
    }
}

/* Prints how many lines of a table name a port in some state. */
static int lines_with(const char *path, int port, const char *state)
{
    char line[512], wanted[16];
    int count = 0;
    FILE *file = fopen(path, "r");
    snprintf(wanted, sizeof wanted, ":%04X ", port);
    while (file && fgets(line, sizeof line, file))
        count += strstr(line, wanted) && strstr(line, state);
    if (file)
        fclose(file);
    return count;
}

/* The first line of a file. */
static const char *first_line(const char *path)
{
    static char line[256];
    FILE *file = fopen(path, "r");
    line[0] = 0;
    if (!file || !fgets(line, sizeof line, file))
        return "none";
    fclose(file);
    line[strcspn(line, "\n")] = 0;
    return line;
}

static void tables(void)
{
    struct pair one = connected();
    SHOW(lines_with("/proc/net/tcp", one.port, " 0A "));
    SHOW(lines_with("/proc/net/tcp", one.port, " 01 "));
    close(one.server);
    sleep_ms(10);
    SHOW(lines_with("/proc/net/tcp", one.port, " 08 "));
    close(one.client);
    sleep_ms(10);
    SHOW(lines_with("/proc/net/tcp", one.port, " 06 "));
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    BIND4(udp, "127.0.0.1", 7030);
    SHOW(lines_with("/proc/net/udp", 7030, " 07 "));
    TEXT(first_line("/proc/net/if_inet6"));
    TEXT(first_line("/proc/sys/net/ipv4/ip_local_port_range"));
    TEXT(first_line("/sys/class/net/lo/mtu"));
}

static void much(void)
{
    struct pair one = connected();
    static unsigned char block[70000];
    fflush(stdout);
    if (fork() == 0) {
        for (int round = 0; round < 100; round++) {
            memset(block, round, sizeof block);
            if (write(one.client, block, sizeof block) != (ssize_t)sizeof block)
                printf("  short write\n");
        }
        _exit(0);
    }
    close(one.client);
    long total = 0, wrong = 0;
    for (ssize_t got; (got = read(one.server, block, sizeof block)) > 0; total += got)
        for (ssize_t i = 0; i < got; i++)
            wrong += block[i] != (total + i) / 70000;
    NUMBER(total);
    NUMBER(wrong);
    wait(NULL);
    one = connected();
    fcntl(one.client, F_SETFL, O_NONBLOCK);
    total = 0;
    for (ssize_t put; (put = write(one.client, block, sizeof block)) > 0; total += put)
        ;
    HOLDS(errno == EAGAIN && total > 100000);
    HOLDS((events(one.client, POLLOUT) & POLLOUT) == 0);
    long drained = 0;
    while (drained < total) {
        ssize_t got = read(one.server, block, sizeof block);
        if (got <= 0)
            break;
        drained += got;
    }
    HOLDS(drained == total);
    sleep_ms(50);
    HOLDS((events(one.client, POLLOUT) & POLLOUT) != 0);
    enter_scratch();
    int file = open("data", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 4; i++)
        write(file, block, sizeof block);
    off_t offset = 0;
    fcntl(one.client, F_SETFL, 0);
    fflush(stdout);
    if (fork() == 0) {
        sendfile(one.client, file, &offset, 280000);
        _exit(0);
    }
    long received = 0;
    while (received < 280000) {
        ssize_t got = read(one.server, block, sizeof block);
        if (got <= 0)
            break;
        received += got;
    }
    NUMBER(received);
    wait(NULL);
}

static void watching(void)
{
    struct pair one = connected();
    int watch = epoll_create1(0);
    struct epoll_event event = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.fd = one.server}}, got[4];
    SHOW(epoll_ctl(watch, EPOLL_CTL_ADD, one.server, &event));
    SHOW(epoll_wait(watch, got, 4, 0));
    printf("  %#x\n", got[0].events);
    SHOW(epoll_wait(watch, got, 4, 0));
    write(one.client, "x", 1);
    SHOW(epoll_wait(watch, got, 4, 1000));
    printf("  %#x\n", got[0].events);
    SHOW(epoll_wait(watch, got, 4, 0));
    write(one.client, "y", 1);
    SHOW(epoll_wait(watch, got, 4, 1000));
    shutdown(one.client, SHUT_WR);
    SHOW(epoll_wait(watch, got, 4, 1000));
    printf("  %#x\n", got[0].events);
    close(one.client);
    event.events = EPOLLIN;
    event.data.fd = one.listener;
    SHOW(epoll_ctl(watch, EPOLL_CTL_ADD, one.listener, &event));
    int client = socket(AF_INET, SOCK_STREAM, 0);
    CONNECT4(client, "127.0.0.1", one.port);
    SHOW(epoll_wait(watch, got, 4, 1000) > 0);
}

static void no_handler(int number)
{
    (void)number;
}

static void interrupted(void)
{
    struct pair one = connected();
    char bytes[8];
    struct sigaction action = {.sa_handler = no_handler};
    sigaction(SIGUSR1, &action, NULL);
    pid_t me = getpid();
    fflush(stdout);
    pid_t child = fork();
    while (child == 0) {
        sleep_ms(200);
        kill(me, SIGUSR1);
    }
    SHOW(recv(one.server, bytes, 8, 0));
    SHOW(accept(one.listener, NULL, NULL));
    kill(child, SIGKILL);
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
        {"sockets", sockets},       {"addresses", addresses},   {"connecting", connecting},
        {"transfers", transfers},   {"ends", ends},             {"backlog", backlog},
        {"sharing", sharing},       {"options", options},       {"datagrams", datagrams},
        {"control", control},       {"groups", groups},         {"echo", echo},
        {"interfaces", interfaces}, {"tables", tables},         {"much", much},
        {"watching", watching},     {"interrupted", interrupted},
    };
    return RUN_CASES(argc, argv, cases);
}
