/* Network namespaces: what a new one has, what is its own, going back, the loopback interface. */
#include "show.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>

static int bound(int kind, const char *ip, int port)
{
    int fd = socket(AF_INET, kind, 0), on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    inet_pton(AF_INET, ip, &at.sin_addr);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&at, sizeof at) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int connected(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (connect(fd, (void *)&at, sizeof at) == 0)
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static int named(const char *name, int (*act)(int, const struct sockaddr *, socklen_t))
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    strcpy(at.sun_path + 1, name);
    if (act(fd, (void *)&at, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name))) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    if (act != connect)
        listen(fd, 5);
    return fd;
}

static int link_flags(const char *name)
{
    struct ifreq request = {0};
    strcpy(request.ifr_name, name);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), result = ioctl(fd, SIOCGIFFLAGS, &request);
    int error = errno;
    close(fd);
    errno = error;
    return result ? result : request.ifr_flags;
}

static int set_link(const char *name, int flags)
{
    struct ifreq request = {.ifr_flags = (short)flags};
    strcpy(request.ifr_name, name);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), result = ioctl(fd, SIOCSIFFLAGS, &request);
    int error = errno;
    close(fd);
    errno = error;
    return result;
}

static int lines(const char *path)
{
    char line[512];
    int count = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        count++;
    if (file)
        fclose(file);
    return count;
}

static int namespace_differs(const char *path)
{
    char one[64] = "", other[64] = "";
    readlink("/proc/self/ns/net", one, sizeof one - 1);
    readlink(path, other, sizeof other - 1);
    return strcmp(one, other) != 0;
}

static void a_new_one(void)
{
    char parent[64];
    snprintf(parent, sizeof parent, "/proc/%d/ns/net", getppid());
    SHOW(unshare(CLONE_NEWUSER | CLONE_NEWNET));
    HOLDS(namespace_differs(parent));
    struct if_nameindex *names = if_nameindex();
    int count = 0;
    while (names && names[count].if_index)
        count++;
    NUMBER(count);
    TEXT(names[0].if_name);
    NUMBER(link_flags("lo"));
    SHOW(link_flags("eth0"));
    NUMBER(lines("/proc/net/dev"));
    NUMBER(lines("/proc/net/route"));
    WORKS(bound(SOCK_STREAM, "127.0.0.1", 7001));
    SHOW(connected(7001));
    WORKS(bound(SOCK_STREAM, "0.0.0.0", 7000));
    SHOW(set_link("lo", IFF_UP));
    NUMBER(link_flags("lo"));
    SHOW(connected(7002));
    int server = bound(SOCK_STREAM, "127.0.0.1", 7003);
    SHOW(listen(server, 1));
    int client = connected(7003), accepted = accept(server, NULL, NULL);
    char bytes[8] = "";
    SHOW(write(client, "hello", 5));
    SHOW(read(accepted, bytes, 8));
    TEXT(bytes);
    NUMBER(lines("/proc/net/if_inet6"));
    WORKS(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
    SHOW(set_link("lo", 0));
    NUMBER(link_flags("lo"));
    WORKS(bound(SOCK_DGRAM, "127.0.0.1", 7005));
    NUMBER(lines("/proc/net/if_inet6"));
    SHOW(set_link("lo", IFF_UP));
    WORKS(bound(SOCK_DGRAM, "127.0.0.1", 7004));
}

static void names_and_ports(void)
{
    int server = bound(SOCK_STREAM, "0.0.0.0", 7011), name = named("spaces", bind), before = socket(AF_UNIX, SOCK_STREAM, 0);
    HOLDS(server >= 0 && name >= 0);
    WORKS(named("spaces", connect));
    SHOW(named("spaces", bind));
    SHOW(unshare(CLONE_NEWUSER | CLONE_NEWNET));
    SHOW(named("spaces", connect));
    WORKS(named("spaces", bind));
    WORKS(named("spaces", connect));
    SHOW(set_link("lo", IFF_UP));
    WORKS(bound(SOCK_STREAM, "0.0.0.0", 7011));
    SHOW(bound(SOCK_STREAM, "127.0.0.1", 80) >= 0);
    /* Sockets stay where they were made. */
    struct sockaddr_un at = {.sun_family = AF_UNIX, .sun_path = "\0spaces"};
    SHOW(connect(before, (void *)&at, offsetof(struct sockaddr_un, sun_path) + 7));
    int pair[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    SHOW(write(pair[0], "x", 1));
}

static void back_and_forth(void)
{
    int old = open("/proc/self/ns/net", O_RDONLY);
    SHOW(unshare(CLONE_NEWUSER | CLONE_NEWNET));
    SHOW(setns(old, 0));
    SHOW(setns(old, CLONE_NEWUTS));
    int first = open("/proc/self/ns/net", O_RDONLY);
    SHOW(set_link("lo", IFF_UP));
    SHOW(unshare(CLONE_NEWNET));
    NUMBER(link_flags("lo"));
    int second = open("/proc/self/ns/net", O_RDONLY);
    SHOW(setns(first, CLONE_NEWNET));
    NUMBER(link_flags("lo"));
    SHOW(setns(second, 0));
    NUMBER(link_flags("lo"));
    fflush(stdout);
    pid_t child = syscall(SYS_clone, CLONE_NEWNET | SIGCHLD, 0, 0, 0, 0);
    if (child == 0) {
        SHOW(set_link("lo", IFF_UP));
        NUMBER(link_flags("lo"));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    NUMBER(link_flags("lo"));
}

/* Asks for a change of a link by rtnetlink(7): its flags, or a new one of a type. */
static long ask(int fd, int kind, int index, unsigned flags, unsigned change, const char *type)
{
    struct {
        uint32_t len;
        uint16_t kind, flags;
        uint32_t sequence, port;
        uint16_t family, hardware;
        int32_t index;
        uint32_t link_flags, change;
        uint16_t info_len, info_kind, type_len, type_kind;
        char type[16];
    } request = {.len = 32, .kind = (uint16_t)kind, .flags = 5, .index = index, .link_flags = flags, .change = change};
    if (type) {
        request.type_len = (uint16_t)(4 + strlen(type));
        request.type_kind = 1;
        request.info_len = (uint16_t)(4 + (request.type_len + 3) / 4 * 4);
        request.info_kind = 18;
        strcpy(request.type, type);
        request.len += request.info_len;
        request.flags |= 0x600;
    }
    struct {
        uint32_t len;
        uint16_t kind, flags;
        uint32_t sequence, port;
        int32_t error;
        char rest[4000];
    } reply = {0};
    send(fd, &request, request.len, 0);
    do
        recv(fd, &reply, sizeof reply, 0);
    while (reply.kind != 2);
    errno = -reply.error;
    return reply.error ? -1 : 0;
}

static void by_netlink(void)
{
    SHOW(unshare(CLONE_NEWUSER | CLONE_NEWNET));
    int fd = socket(AF_NETLINK, SOCK_RAW, 0);
    NUMBER(link_flags("lo"));
    SHOW(ask(fd, 16, 1, IFF_UP, IFF_UP, NULL));
    NUMBER(link_flags("lo"));
    SHOW(ask(fd, 16, 9, IFF_UP, IFF_UP, NULL));
    SHOW(ask(fd, 16, 0, 0, 0, "nonsense"));
    WORKS(bound(SOCK_DGRAM, "127.0.0.1", 7004));
}

/* The kinds of messages that wait for a socket, each once. */
static void told(int fd, const char *after)
{
    struct {
        uint32_t len;
        uint16_t kind, flags;
        uint32_t sequence, port;
        char rest[4000];
    } message;
    struct { uint16_t family, pad; uint32_t port, groups; } from;
    char seen[256] = "";
    uint32_t groups = 0;
    socklen_t len = sizeof from;
    while (recvfrom(fd, &message, sizeof message, MSG_DONTWAIT, (void *)&from, &len) > 0) {
        seen[message.kind & 255] = 1;
        groups |= from.groups;
        len = sizeof from;
    }
    printf("  after %s:", after);
    for (int kind = 0; kind < 256; kind++)
        if (seen[kind])
            printf(" %d", kind);
    printf(", groups %x\n", groups);
}

static void announcements(void)
{
    SHOW(unshare(CLONE_NEWUSER | CLONE_NEWNET));
    int fd = socket(AF_NETLINK, SOCK_RAW, 0), other = socket(AF_NETLINK, SOCK_RAW, 0), group = 1;
    struct { uint16_t family, pad; uint32_t port, groups; } at = {AF_NETLINK, 0, 0, 0x111};
    SHOW(bind(fd, (void *)&at, sizeof at));
    SHOW(setsockopt(other, 270, 1, &group, sizeof group));
    told(fd, "nothing");
    set_link("lo", IFF_UP);
    told(fd, "up");
    told(other, "up");
    set_link("lo", IFF_UP);
    told(fd, "no change");
    SHOW(setsockopt(other, 270, 2, &group, sizeof group));
    set_link("lo", 0);
    told(fd, "down");
    told(other, "down");
    group = 0;
    SHOW(setsockopt(other, 270, 1, &group, sizeof group));
    group = 10000;
    SHOW(setsockopt(other, 270, 1, &group, sizeof group));
}

static const struct test_case cases[] = {{"a_new_one", a_new_one}, {"names_and_ports", names_and_ports},
    {"back_and_forth", back_and_forth}, {"by_netlink", by_netlink}, {"announcements", announcements}};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
