/* Packet sockets and socket filters over loopback.
 * To be run in a network namespace with nothing but loopback. */
#include "show.h"
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

#ifndef SO_DETACH_FILTER
#define SO_DETACH_FILTER 27
#endif
#ifndef SO_LOCK_FILTER
#define SO_LOCK_FILTER 44
#endif
#define SO_ATTACH_BPF_ 50

/* What libc's headers do not have of packet(7). */
#undef PACKET_AUXDATA
#undef PACKET_ORIGDEV
#undef PACKET_LOSS
#define PACKET_AUXDATA 8
#define PACKET_ORIGDEV 9
#define PACKET_LOSS 14
#define PACKET_QDISC_BYPASS 20
#define PACKET_IGNORE_OUTGOING 23
struct auxdata { uint32_t tp_status, tp_len, tp_snaplen; uint16_t tp_mac, tp_net, tp_vlan_tci, tp_vlan_tpid; };
struct stats { unsigned tp_packets, tp_drops; };

/* Classic BPF. */
struct sock_filter { uint16_t code; uint8_t jt, jf; uint32_t k; };
struct sock_fprog { unsigned short len; struct sock_filter *filter; };
#define BPF_STMT(code, k) {(uint16_t)(code), 0, 0, (uint32_t)(k)}
#define BPF_JUMP(code, k, jt, jf) {(uint16_t)(code), jt, jf, (uint32_t)(k)}
enum {
    BPF_LD = 0, BPF_LDX = 1, BPF_ST = 2, BPF_ALU = 4, BPF_JMP = 5, BPF_RET = 6, BPF_MISC = 7,
    BPF_W = 0, BPF_H = 8, BPF_B = 0x10,
    BPF_IMM = 0, BPF_ABS = 0x20, BPF_IND = 0x40, BPF_MEM = 0x60, BPF_LEN = 0x80, BPF_MSH = 0xa0,
    BPF_ADD = 0, BPF_SUB = 0x10, BPF_DIV = 0x30, BPF_LSH = 0x60, BPF_RSH = 0x70, BPF_MOD = 0x90,
    BPF_JA = 0, BPF_JEQ = 0x10, BPF_K = 0, BPF_X = 8, BPF_A = 0x10, BPF_TAX = 0,  BPF_TXA = 0x80,
    SKF_AD_OFF = -0x1000, SKF_AD_PROTOCOL = 0, SKF_AD_PKTTYPE = 4, SKF_AD_IFINDEX = 8, SKF_AD_HATYPE = 28,
    SKF_NET_OFF = -0x100000,
};

static struct sockaddr_in v4(const char *ip, int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, ip, &at.sin_addr);
    return at;
}

static int port_of(int fd)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    return getsockname(fd, (void *)&at, &len) < 0 ? -1 : ntohs(at.sin_port);
}

static int bound_udp(void)
{
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in at = v4("127.0.0.1", 0);
    bind(fd, (void *)&at, sizeof at);
    return fd;
}

static int link_address(struct sockaddr_ll *at, int protocol, int device)
{
    memset(at, 0, sizeof *at);
    at->sll_family = AF_PACKET;
    at->sll_protocol = htons(protocol);
    at->sll_ifindex = device;
    return sizeof *at;
}

static int ready(int fd)
{
    struct pollfd entry = {fd, POLLIN | POLLOUT | POLLPRI, 0};
    poll(&entry, 1, 0);
    return entry.revents;
}

static void making(void)
{
    WORKS(socket(AF_PACKET, SOCK_RAW, 0));
    WORKS(socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)));
    SHOW(socket(AF_PACKET, SOCK_STREAM, 0));
    SHOW(socket(AF_PACKET, SOCK_SEQPACKET, 0));
    SHOW(socket(AF_PACKET, 99, 0));
    WORKS(socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, htons(ETH_P_IP)));
    int ends[2];
    SHOW(socketpair(AF_PACKET, SOCK_RAW, 0, ends));
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    struct sockaddr_ll at;
    int len = link_address(&at, ETH_P_IP, 1);
    SHOW(connect(fd, (void *)&at, len));
    SHOW(listen(fd, 1));
    SHOW(accept(fd, NULL, NULL));
    SHOW(shutdown(fd, SHUT_RD));
    socklen_t got = sizeof at;
    SHOW(getpeername(fd, (void *)&at, &got));
    int value = 0;
    socklen_t size = sizeof value;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &value, &size));
    NUMBER(value);
    SHOW(getsockopt(fd, SOL_SOCKET, SO_TYPE, &value, &size));
    NUMBER(value);
    SHOW(getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &size));
    NUMBER(value);
    IN_CHILD("nobody", setgid(65534); setuid(65534); SHOW(socket(AF_PACKET, SOCK_RAW, 0)); SHOW(socket(AF_PACKET, SOCK_STREAM, 0)));
}

static void binding(void)
{
    int fd = socket(AF_PACKET, SOCK_RAW, 0);
    struct sockaddr_ll at, got;
    socklen_t size = sizeof got;
    memset(&got, 0xee, sizeof got);
    SHOW(getsockname(fd, (void *)&got, &size));
    NUMBER(size);
    NUMBER(got.sll_family);
    NUMBER(got.sll_protocol);
    NUMBER(got.sll_ifindex);
    NUMBER(got.sll_hatype);
    NUMBER(got.sll_halen);
    int len = link_address(&at, ETH_P_IP, 1);
    SHOW(bind(fd, (void *)&at, len - 1));
    SHOW(bind(fd, (void *)&at, 16));
    at.sll_family = AF_INET;
    SHOW(bind(fd, (void *)&at, len));
    len = link_address(&at, ETH_P_IP, 12345);
    SHOW(bind(fd, (void *)&at, len));
    len = link_address(&at, ETH_P_IP, -1);
    SHOW(bind(fd, (void *)&at, len));
    len = link_address(&at, ETH_P_IP, 1);
    SHOW(bind(fd, (void *)&at, len));
    size = sizeof got;
    SHOW(getsockname(fd, (void *)&got, &size));
    NUMBER(size);
    NUMBER(ntohs(got.sll_protocol));
    NUMBER(got.sll_ifindex);
    NUMBER(got.sll_hatype);
    NUMBER(got.sll_halen);
    len = link_address(&at, 0, 1);
    SHOW(bind(fd, (void *)&at, len));
    size = sizeof got;
    SHOW(getsockname(fd, (void *)&got, &size));
    NUMBER(ntohs(got.sll_protocol));
    len = link_address(&at, ETH_P_ALL, 0);
    SHOW(bind(fd, (void *)&at, len));
    size = sizeof got;
    SHOW(getsockname(fd, (void *)&got, &size));
    NUMBER(size);
    NUMBER(got.sll_ifindex);
    int inet = socket(AF_INET, SOCK_DGRAM, 0);
    SHOW(bind(inet, (void *)&at, sizeof at));
    SHOW(connect(inet, (void *)&at, sizeof at));
}

/* Receives everything that waits and says what it is. */
static void receive_all(int fd, int has_header, int port)
{
    for (;;) {
        unsigned char bytes[65600];
        struct sockaddr_ll from;
        memset(&from, 0, sizeof from);
        socklen_t size = sizeof from;
        long len = recvfrom(fd, bytes, sizeof bytes, MSG_DONTWAIT, (void *)&from, &size);
        if (len < 0) {
            printf("  then %s\n", errno_name(errno));
            return;
        }
        int at = has_header ? 14 : 0;
        struct iphdr *ip = (void *)(bytes + at);
        printf("  %ld bytes, address of %d: protocol %#x, interface %d, hardware %d, type %d, address of %d;", len, (int)size,
               ntohs(from.sll_protocol), from.sll_ifindex, from.sll_hatype, from.sll_pkttype, from.sll_halen);
        if (has_header)
            printf(" ethernet %02x%02x, source %d;", bytes[12], bytes[13], bytes[6]);
        printf(" ip %d protocol %d, %d bytes, ttl %d", ip->version, ip->protocol, ntohs(ip->tot_len), ip->ttl);
        unsigned char *rest = bytes + at + 4 * ip->ihl;
        if (ip->protocol == IPPROTO_UDP)
            printf(", to the port %s, %d bytes: %.*s", (rest[2] << 8 | rest[3]) == port ? "yes" : "no", rest[4] << 8 | rest[5],
                   (int)(len - at - 28), rest + 8);
        if (ip->protocol == IPPROTO_ICMP)
            printf(", icmp %d %d", rest[0], rest[1]);
        printf("\n");
    }
}

static void datagrams(void)
{
    int all = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    int cooked = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
    int none = socket(AF_PACKET, SOCK_RAW, 0);
    int six = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IPV6));
    int to = bound_udp(), from = bound_udp();
    struct sockaddr_in at = v4("127.0.0.1", port_of(to));
    SHOW(ready(all));
    SHOW(sendto(from, "hello", 5, 0, (void *)&at, sizeof at));
    SHOW(ready(all));
    receive_all(all, 1, port_of(to));
    receive_all(cooked, 0, port_of(to));
    receive_all(none, 1, port_of(to));
    receive_all(six, 1, port_of(to));
    int value = 1;
    SHOW(setsockopt(all, SOL_PACKET, PACKET_IGNORE_OUTGOING, &value, sizeof value));
    SHOW(sendto(from, "again", 5, 0, (void *)&at, sizeof at));
    receive_all(all, 1, port_of(to));
    /* To a port that nobody has: the error is seen too. */
    at.sin_port = htons(1);
    SHOW(sendto(from, "x", 1, 0, (void *)&at, sizeof at));
    receive_all(cooked, 0, 1);
}

static void peeking(void)
{
    int fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
    int to = bound_udp();
    struct sockaddr_in at = v4("127.0.0.1", port_of(to));
    sendto(to, "hello", 5, 0, (void *)&at, sizeof at);
    char bytes[100];
    int waiting = 0;
    SHOW(ioctl(fd, FIONREAD, &waiting));
    NUMBER(waiting);
    SHOW(recv(fd, bytes, 10, MSG_PEEK));
    SHOW(recv(fd, bytes, 10, MSG_PEEK | MSG_TRUNC));
    struct iovec part = {bytes, 4};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    SHOW(recvmsg(fd, &message, MSG_PEEK));
    NUMBER(message.msg_flags);
    SHOW(recv(fd, bytes, 10, MSG_OOB));
    SHOW(recv(fd, bytes, 10, MSG_WAITALL));
    SHOW(recv(fd, bytes, 10, MSG_ERRQUEUE));
    SHOW(recv(fd, bad_address, 10, 0));
    /* That one is gone. */
    SHOW(recv(fd, bytes, 10, MSG_DONTWAIT));
    sendto(to, "hello", 5, 0, (void *)&at, sizeof at);
    SHOW(recv(fd, bytes, sizeof bytes, 0));
    SHOW(recv(fd, bytes, 10, MSG_DONTWAIT));
    /* As with datagrams. */
    SHOW(recv(to, bad_address, 10, MSG_PEEK));
    SHOW(recv(to, bad_address, 10, 0));
    SHOW(recv(to, bytes, 10, MSG_DONTWAIT));
    SHOW(recv(to, bytes, 10, MSG_DONTWAIT));
    int ends[2];
    SHOW(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
    send(ends[0], "hello", 5, 0);
    SHOW(recv(ends[1], bad_address, 10, 0));
    SHOW(recv(ends[1], bytes, 10, MSG_DONTWAIT));
    struct timeval limit = {0, 20000};
    SHOW(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit));
    SHOW(recv(fd, bytes, 10, 0));
}

static void auxiliary(void)
{
    int raw = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_IP)), cooked = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
    int value = 1, to = bound_udp();
    SHOW(setsockopt(raw, SOL_PACKET, PACKET_AUXDATA, &value, sizeof value));
    setsockopt(cooked, SOL_PACKET, PACKET_AUXDATA, &value, sizeof value);
    struct sockaddr_in at = v4("127.0.0.1", port_of(to));
    sendto(to, "hello", 5, 0, (void *)&at, sizeof at);
    for (int i = 0; i < 2; i++) {
        char bytes[100], control[200];
        struct iovec part = {bytes, sizeof bytes};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        SHOW(recvmsg(i ? cooked : raw, &message, 0));
        NUMBER(message.msg_flags);
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
            struct auxdata *data = (void *)CMSG_DATA(c);
            printf("  level %d type %d length %d: status %#x len %d snaplen %d mac %d net %d vlan %d %d\n", c->cmsg_level,
                   c->cmsg_type, (int)c->cmsg_len, data->tp_status, data->tp_len, data->tp_snaplen, data->tp_mac, data->tp_net,
                   data->tp_vlan_tci, data->tp_vlan_tpid);
        }
    }
}

static void statistics(void)
{
    int fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP)), to = bound_udp();
    struct sockaddr_in at = v4("127.0.0.1", port_of(to));
    for (int i = 0; i < 3; i++)
        sendto(to, "hello", 5, 0, (void *)&at, sizeof at);
    struct stats stats = {9, 9};
    socklen_t size = sizeof stats;
    SHOW(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size));
    NUMBER(size);
    NUMBER(stats.tp_packets);
    NUMBER(stats.tp_drops);
    SHOW(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size));
    NUMBER(stats.tp_packets);
    size = 4;
    SHOW(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size));
    NUMBER(size);
    char bytes[100];
    while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
        ;
    int small = 1;
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    for (int i = 0; i < 50; i++)
        sendto(to, "hello", 5, 0, (void *)&at, sizeof at);
    size = sizeof stats;
    SHOW(getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, &stats, &size));
    NUMBER(stats.tp_packets);
    HOLDS(stats.tp_drops > 20 && stats.tp_drops < 50);
}

static void options(void)
{
    int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    static const int names[] = {PACKET_AUXDATA, PACKET_ORIGDEV, PACKET_LOSS, PACKET_QDISC_BYPASS, PACKET_IGNORE_OUTGOING,
                                PACKET_COPY_THRESH, 77};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        int value = 7;
        socklen_t size = sizeof value;
        printf("  option %d\n", names[i]);
        SHOW(getsockopt(fd, SOL_PACKET, names[i], &value, &size));
        NUMBER(value);
        value = 1;
        SHOW(setsockopt(fd, SOL_PACKET, names[i], &value, 3));
        SHOW(setsockopt(fd, SOL_PACKET, names[i], &value, sizeof value));
        if (names[i] < 77)
            SHOW(setsockopt(fd, SOL_PACKET, names[i], bad_address, sizeof value));
        value = 7;
        SHOW(getsockopt(fd, SOL_PACKET, names[i], &value, &size));
        NUMBER(value);
        value = -1;
        SHOW(setsockopt(fd, SOL_PACKET, names[i], &value, sizeof value));
        size = -1;
        SHOW(getsockopt(fd, SOL_PACKET, names[i], &value, &size));
    }
    struct packet_mreq member = {.mr_ifindex = 1, .mr_type = PACKET_MR_PROMISC};
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member - 1));
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &member, sizeof member));
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_DROP_MEMBERSHIP, &member, sizeof member));
    member.mr_ifindex = 4711;
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
    member.mr_ifindex = 1;
    member.mr_alen = 9;
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
    member.mr_alen = 7;
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
    member.mr_type = PACKET_MR_MULTICAST;
    member.mr_alen = 5;
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
    member.mr_alen = 6;
    SHOW(setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &member, sizeof member));
    int value = 1;
    SHOW(setsockopt(fd, SOL_IP, IP_TTL, &value, sizeof value));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &value, sizeof value));
    struct ifreq request = {0};
    strcpy(request.ifr_name, "lo");
    SHOW(ioctl(fd, SIOCGIFINDEX, &request));
    NUMBER(request.ifr_ifindex);
}

/* A frame of loopback with a datagram for a port. */
static int make_frame(unsigned char *frame, int port, const char *text)
{
    int len = strlen(text);
    memset(frame, 0, 64);
    frame[12] = 8;
    struct iphdr *ip = (void *)(frame + 14);
    ip->version = 4;
    ip->ihl = 5;
    ip->ttl = 9;
    ip->protocol = IPPROTO_UDP;
    ip->tot_len = htons(28 + len);
    ip->saddr = ip->daddr = htonl(INADDR_LOOPBACK);
    unsigned sum = 0;
    for (int i = 0; i < 20; i += 2)
        sum += frame[14 + i] << 8 | frame[15 + i];
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    ip->check = htons(~sum);
    unsigned char *udp = frame + 34;
    udp[0] = 4, udp[1] = 210;
    udp[2] = port >> 8, udp[3] = port;
    udp[5] = 8 + len;
    memcpy(udp + 8, text, len);
    return 42 + len;
}

static void sending(void)
{
    int raw = socket(AF_PACKET, SOCK_RAW, 0), cooked = socket(AF_PACKET, SOCK_DGRAM, 0);
    int watch = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_ALL)), to = bound_udp();
    unsigned char frame[2000];
    int len = make_frame(frame, port_of(to), "by hand");
    struct sockaddr_ll at;
    SHOW(send(raw, frame, len, 0));
    link_address(&at, ETH_P_IP, 1);
    SHOW(sendto(raw, frame, len, 0, (void *)&at, sizeof at - 1));
    at.sll_ifindex = 99;
    SHOW(sendto(raw, frame, len, 0, (void *)&at, sizeof at));
    at.sll_ifindex = 1;
    SHOW(sendto(raw, frame, 13, 0, (void *)&at, sizeof at));
    SHOW(sendto(raw, frame, 0, 0, (void *)&at, sizeof at));
    SHOW(sendto(raw, bad_address, len, 0, (void *)&at, sizeof at));
    static char big[70000];
    SHOW(sendto(raw, big, sizeof big, 0, (void *)&at, sizeof at));
    at.sll_halen = 40;
    SHOW(sendto(raw, frame, len, 0, (void *)&at, sizeof at));
    at.sll_halen = 6;
    SHOW(sendto(raw, frame, len, 0, (void *)&at, sizeof at));
    receive_all(watch, 0, port_of(to));
    char bytes[100] = "";
    struct sockaddr_in from;
    socklen_t size = sizeof from;
    SHOW(recvfrom(to, bytes, sizeof bytes, MSG_DONTWAIT, (void *)&from, &size));
    TEXT(bytes);
    NUMBER(ntohs(from.sin_port));
    SHOW(sendto(cooked, frame + 14, len - 14, 0, (void *)&at, sizeof at));
    receive_all(watch, 0, port_of(to));
    SHOW(recv(to, bytes, sizeof bytes, MSG_DONTWAIT));
    SHOW(bind(cooked, (void *)&at, sizeof at));
    SHOW(send(cooked, frame + 14, len - 14, 0));
    SHOW(recv(to, bytes, sizeof bytes, MSG_DONTWAIT));
}

/* What a connection looks like: flags and lengths, without acknowledgements, which come as they come. */
static void connections(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = v4("127.0.0.1", 0);
    bind(listener, (void *)&at, sizeof at);
    listen(listener, 1);
    at = v4("127.0.0.1", port_of(listener));
    int watch = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
    int client = socket(AF_INET, SOCK_STREAM, 0);
    connect(client, (void *)&at, sizeof at);
    int server = accept(listener, NULL, NULL);
    send(client, "hello", 5, 0);
    char bytes[100];
    recv(server, bytes, sizeof bytes, 0);
    send(server, "good day", 8, 0);
    recv(client, bytes, sizeof bytes, 0);
    close(client);
    sleep_ms(50);
    close(server);
    int nobody = socket(AF_INET, SOCK_STREAM, 0);
    at = v4("127.0.0.1", 1);
    connect(nobody, (void *)&at, sizeof at);
    sleep_ms(50);
    unsigned next[2] = {0, 0};
    for (;;) {
        unsigned char packet[70000];
        long len = recv(watch, packet, sizeof packet, MSG_DONTWAIT);
        if (len < 0)
            break;
        struct iphdr *ip = (void *)packet;
        unsigned char *tcp = packet + 4 * ip->ihl;
        int side = (tcp[2] << 8 | tcp[3]) == port_of(listener) ? 0 : (tcp[0] << 8 | tcp[1]) == port_of(listener) ? 1 : 2;
        int head = (tcp[12] >> 4) * 4, data = ntohs(ip->tot_len) - 20 - head, flags = tcp[13] & 0x3f;
        unsigned seq = (unsigned)tcp[4] << 24 | tcp[5] << 16 | tcp[6] << 8 | tcp[7];
        if (flags == 16 && data == 0)
            continue;
        printf("  from %s: flags %#x, %d bytes", side == 0 ? "client" : side == 1 ? "server" : "others", flags, data);
        if (side < 2) {
            printf(", %s", flags & 2 || seq == next[side] ? "in order" : "OUT OF ORDER");
            next[side] = seq + data + !!(flags & 3);
        }
        if (data > 0)
            printf(": %.*s", data, tcp + head);
        printf("\n");
    }
}

static void filter(int fd, struct sock_filter *code, int count)
{
    struct sock_fprog program = {count, code};
    if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
        printf("  no filter: %s\n", errno_name(errno));
}
#define FILTER(fd, ...) ({ struct sock_filter c_[] = {__VA_ARGS__}; filter(fd, c_, sizeof c_ / sizeof *c_); })

static void filter_options(void)
{
    int fd = bound_udp();
    struct sock_filter code[] = {BPF_STMT(BPF_LD | BPF_LEN, 0), BPF_STMT(BPF_RET | BPF_A, 0)};
    struct sock_fprog program = {2, code};
    SHOW(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &program, 4));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &program, 2));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, 8));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, 24));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, 3));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, bad_address, sizeof program));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    socklen_t size = 0;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, NULL, &size));
    NUMBER(size);
    struct sock_filter got[4];
    size = 1;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, got, &size));
    size = 4;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, got, &size));
    NUMBER(size);
    HOLDS(memcmp(got, code, sizeof code) == 0);
    program.len = 0;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    program.len = 5000;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    program.len = 2;
    program.filter = NULL;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    program.filter = bad_address;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    program.filter = code;
    static const struct sock_filter bad[] = {
        BPF_STMT(0xffff, 0), BPF_STMT(BPF_LD | BPF_MEM, 0), BPF_STMT(BPF_ST, 16), BPF_STMT(BPF_ALU | BPF_DIV | BPF_K, 0),
        BPF_STMT(BPF_ALU | BPF_MOD | BPF_K, 0), BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 32), BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + 1),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + 64), BPF_STMT(BPF_RET | BPF_X, 0), BPF_STMT(BPF_LDX | BPF_W | BPF_ABS, 0),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        code[0] = bad[i];
        printf("  bad %d\n", (int)i);
        SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    }
    code[0] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0);
    code[1] = (struct sock_filter)BPF_STMT(BPF_MISC | BPF_TAX, 0);
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    int value = 1;
    size = sizeof value;
    SHOW(getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &value, &size));
    NUMBER(value);
    value = 1;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &value, sizeof value));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &value, sizeof value));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
    SHOW(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &value, sizeof value));
    value = 0;
    SHOW(setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &value, sizeof value));
    SHOW(getsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &value, &size));
    NUMBER(value);
    int other = bound_udp();
    value = -1;
    SHOW(setsockopt(other, SOL_SOCKET, SO_ATTACH_BPF_, &value, sizeof value));
    value = 0;
    SHOW(setsockopt(other, SOL_SOCKET, SO_ATTACH_BPF_, &value, sizeof value));
    SHOW(setsockopt(other, SOL_SOCKET, SO_ATTACH_BPF_, &value, 8));
}

static long filtered(int from, int to, const char *text)
{
    struct sockaddr_in at = v4("127.0.0.1", port_of(to));
    if (sendto(from, text, strlen(text), 0, (void *)&at, sizeof at) < 0)
        return -2;
    char bytes[100];
    return recv(to, bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC);
}

static void filter_datagrams(void)
{
    int to = bound_udp(), from = bound_udp();
    SHOW(filtered(from, to, "hello"));
    FILTER(to, BPF_STMT(BPF_RET | BPF_K, 0));
    SHOW(filtered(from, to, "hello"));
    FILTER(to, BPF_STMT(BPF_RET | BPF_K, 11));
    SHOW(filtered(from, to, "hello"));
    FILTER(to, BPF_STMT(BPF_RET | BPF_K, 1));
    SHOW(filtered(from, to, "hello"));
    FILTER(to, BPF_STMT(BPF_RET | BPF_K, -1));
    SHOW(filtered(from, to, "hello"));
    /* The first byte of the data, behind the header of UDP. */
    FILTER(to, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 8), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'a', 0, 1),
           BPF_STMT(BPF_RET | BPF_K, -1), BPF_STMT(BPF_RET | BPF_K, 0));
    SHOW(filtered(from, to, "abc"));
    SHOW(filtered(from, to, "cba"));
    /* A load beyond the end ends the program. */
    SHOW(filtered(from, to, ""));
    FILTER(to, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, SKF_NET_OFF + 9), BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "protocol 17 is 9 bytes"));
    FILTER(to, BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 2), BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "two less"));
    FILTER(to, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PROTOCOL), BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 7),
           BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "0x800 >> 7 is 16"));
    FILTER(to, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_IFINDEX), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 9),
           BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "interface 1"));
    FILTER(to, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_HATYPE), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 760),
           BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "hardware 772"));
    FILTER(to, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE), BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 10),
           BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "packet type"));
    FILTER(to, BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, SKF_NET_OFF), BPF_STMT(BPF_MISC | BPF_TXA, 0), BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "the header of IP has twenty bytes"));
    FILTER(to, BPF_STMT(BPF_LD | BPF_IMM, 7), BPF_STMT(BPF_LDX | BPF_IMM, 0), BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
           BPF_STMT(BPF_RET | BPF_K, -1));
    SHOW(filtered(from, to, "division by zero"));
    FILTER(to, BPF_STMT(BPF_LDX | BPF_IMM, 9), BPF_STMT(BPF_LD | BPF_B | BPF_IND, -1), BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 90),
           BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(filtered(from, to, "indirect"));
    int value = 0;
    SHOW(setsockopt(to, SOL_SOCKET, SO_DETACH_FILTER, &value, sizeof value));
    SHOW(filtered(from, to, "hello"));
}

static void filter_others(void)
{
    int ends[2];
    char bytes[100];
    SHOW(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends));
    FILTER(ends[1], BPF_STMT(BPF_RET | BPF_K, 3));
    SHOW(send(ends[0], "hello", 5, 0));
    SHOW(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC));
    FILTER(ends[1], BPF_STMT(BPF_RET | BPF_K, 0));
    SHOW(send(ends[0], "hello", 5, 0));
    SHOW(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT));
    FILTER(ends[1], BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_IFINDEX), BPF_STMT(BPF_RET | BPF_K, -1));
    SHOW(send(ends[0], "hello", 5, 0));
    SHOW(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT));
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
    FILTER(ends[1], BPF_STMT(BPF_RET | BPF_K, 0));
    SHOW(send(ends[0], "hello", 5, 0));
    SHOW(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT));
    SHOW(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends));
    FILTER(ends[1], BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0), BPF_STMT(BPF_RET | BPF_A, 0));
    SHOW(send(ends[0], "\2hello", 6, 0));
    SHOW(recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT));
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
    FILTER(raw, BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 20), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ICMP_ECHOREPLY, 0, 1),
           BPF_STMT(BPF_RET | BPF_K, 26), BPF_STMT(BPF_RET | BPF_K, 0));
    struct icmphdr ping = {.type = ICMP_ECHO, .checksum = htons(0xf7ff)};
    struct sockaddr_in at = v4("127.0.0.1", 0);
    SHOW(sendto(raw, &ping, sizeof ping, 0, (void *)&at, sizeof at));
    sleep_ms(20);
    SHOW(recv(raw, bytes, sizeof bytes, MSG_DONTWAIT));
    SHOW(recv(raw, bytes, sizeof bytes, MSG_DONTWAIT));
    int all = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
    FILTER(all, BPF_STMT(BPF_LD | BPF_W | BPF_ABS, SKF_AD_OFF + SKF_AD_PKTTYPE),
           BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PACKET_OUTGOING, 1, 0), BPF_STMT(BPF_RET | BPF_K, 20), BPF_STMT(BPF_RET | BPF_K, 30));
    int udp = bound_udp();
    at = v4("127.0.0.1", port_of(udp));
    SHOW(sendto(udp, "hello", 5, 0, (void *)&at, sizeof at));
    SHOW(recv(all, bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC));
    SHOW(recv(all, bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC));
    SHOW(recv(all, bytes, sizeof bytes, MSG_DONTWAIT | MSG_TRUNC));
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
        {"making", making},           {"binding", binding},
        {"datagrams", datagrams},     {"peeking", peeking},
        {"auxiliary", auxiliary},     {"statistics", statistics},
        {"options", options},         {"sending", sending},
        {"connections", connections}, {"filter_options", filter_options},
        {"filter_datagrams", filter_datagrams}, {"filter_others", filter_others},
    };
    return RUN_CASES(argc, argv, cases);
}
