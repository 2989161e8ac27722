/* Unix sockets: kinds, names, messages, ancillary data, options. */
#include "show.h"
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#define SIOCINQ 0x541b
#define SIOCOUTQ 0x5411

static struct sockaddr_un named(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    return address;
}

static void kinds(void)
{
    int pair[2];
    SHOW(socket(AF_UNIX, SOCK_STREAM, 1) >= 0);
    SHOW(socket(AF_UNIX, SOCK_STREAM, 2));
    SHOW(socket(AF_UNIX, SOCK_RDM, 0));
    SHOW(socket(AF_UNIX, 77, 0));
    SHOW(socket(99, SOCK_STREAM, 0));
    SHOW(socketpair(AF_UNIX, SOCK_STREAM, 0, bad_address));
    int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 3; i++) {
        NUMBER(types[i]);
        SHOW(socketpair(AF_UNIX, types[i] | SOCK_NONBLOCK, 0, pair));
        char bytes[32] = "";
        SHOW(send(pair[0], "one", 3, 0));
        SHOW(send(pair[0], "twelve", 6, 0));
        SHOW(recv(pair[1], bytes, 2, MSG_PEEK));
        SHOW(recv(pair[1], bytes, 2, MSG_TRUNC));
        SHOW(recv(pair[1], bytes, 32, 0));
        TEXT(bytes);
        SHOW(recv(pair[1], bytes, 32, 0));
        SHOW(send(pair[0], "", 0, 0));
        SHOW(recv(pair[1], bytes, 32, 0));
        struct sockaddr_un address;
        socklen_t len = sizeof address;
        SHOW(getsockname(pair[0], (void *)&address, &len));
        NUMBER(len);
        len = sizeof address;
        SHOW(getpeername(pair[0], (void *)&address, &len));
        NUMBER(len);
        SHOW(shutdown(pair[0], 7));
        SHOW(shutdown(pair[0], SHUT_WR));
        signal(SIGPIPE, SIG_IGN);
        SHOW(send(pair[0], "x", 1, 0));
        SHOW(recv(pair[1], bytes, 32, 0));
        struct pollfd ready = {pair[1], POLLIN | POLLOUT | POLLRDHUP, 0};
        SHOW(poll(&ready, 1, 0));
        NUMBER(ready.revents);
        close(pair[0]);
        SHOW(poll(&ready, 1, 0));
        NUMBER(ready.revents);
        SHOW(send(pair[1], "x", 1, 0));
        SHOW(recv(pair[1], bytes, 32, 0));
        close(pair[1]);
    }
}

static void names(void)
{
    enter_scratch();
    struct sockaddr_un address = named("s"), got;
    socklen_t len = sizeof got;
    int one = socket(AF_UNIX, SOCK_STREAM, 0), two = socket(AF_UNIX, SOCK_STREAM, 0);
    SHOW(listen(one, 5));
    SHOW(connect(two, (void *)&address, sizeof address));
    SHOW(bind(one, (void *)&address, 1));
    SHOW(bind(one, (void *)&address, 200));
    SHOW(bind(one, bad_address, sizeof address));
    SHOW(bind(one, (void *)&address, sizeof address));
    SHOW(bind(one, (void *)&address, sizeof address));
    SHOW(bind(two, (void *)&address, sizeof address));
    SHOW(getsockname(one, (void *)&got, &len));
    NUMBER(len);
    TEXT(got.sun_path);
    len = 3;
    SHOW(getsockname(one, (void *)&got, &len));
    NUMBER(len);
    SHOW(connect(two, (void *)&address, sizeof address));
    SHOW(accept(two, NULL, NULL));
    SHOW(listen(one, 5));
    SHOW(connect(two, (void *)&address, sizeof address));
    SHOW(connect(two, (void *)&address, sizeof address));
    len = sizeof got;
    int accepted = accept4(one, (void *)&got, &len, SOCK_CLOEXEC);
    NUMBER(len);
    SHOW(fcntl(accepted, F_GETFD));
    len = sizeof got;
    SHOW(getpeername(two, (void *)&got, &len));
    NUMBER(len);
    SHOW(syscall(SYS_accept4, one, NULL, NULL, 1));
    fcntl(one, F_SETFL, O_NONBLOCK);
    SHOW(accept(one, NULL, NULL));
    struct stat info;
    SHOW(stat("s", &info));
    NUMBER(info.st_mode);
    SHOW(open("s", O_RDWR));
    int datagram = socket(AF_UNIX, SOCK_DGRAM, 0);
    SHOW(connect(datagram, (void *)&address, sizeof address));
    close(one);
    int three = socket(AF_UNIX, SOCK_STREAM, 0);
    SHOW(connect(three, (void *)&address, sizeof address));
    unlink("s");
    SHOW(connect(three, (void *)&address, sizeof address));
    close(open("plain", O_CREAT | O_RDWR, 0644));
    address = named("plain");
    SHOW(connect(three, (void *)&address, sizeof address));
    address = named("none/s");
    SHOW(bind(three, (void *)&address, sizeof address));
    address = named("\0abstract");
    memcpy(address.sun_path, "\0case-abstract", 14);
    SHOW(bind(three, (void *)&address, 2 + 14));
    len = sizeof got;
    SHOW(getsockname(three, (void *)&got, &len));
    NUMBER(len);
    int four = socket(AF_UNIX, SOCK_STREAM, 0);
    SHOW(bind(four, (void *)&address, 2 + 14));
    SHOW(bind(four, (void *)&address, 2));
    len = sizeof got;
    SHOW(getsockname(four, (void *)&got, &len));
    NUMBER(len);
    SHOW(listen(datagram, 1));
    SHOW(connect(datagram, (void *)&(struct sockaddr){AF_UNSPEC}, sizeof(struct sockaddr)));
    SHOW(accept(datagram, NULL, NULL));
}

static void messages(void)
{
    int pair[2], extra[2];
    char bytes[64] = "", control[256];
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    pipe(extra);
    struct iovec parts[2] = {{"ab", 2}, {"cde", 3}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = control, .msg_controllen = CMSG_SPACE(2 * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(2 * sizeof(int))};
    memcpy(CMSG_DATA(header), extra, sizeof extra);
    SHOW(sendmsg(pair[0], &message, 0));
    SHOW(send(pair[0], "fgh", 3, 0));
    struct iovec room = {bytes, sizeof bytes};
    message = (struct msghdr){.msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    SHOW(recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC));
    NUMBER(message.msg_controllen);
    HOLDS((message.msg_flags & ~MSG_CMSG_CLOEXEC) == 0);
    int got[2];
    memcpy(got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof got);
    SHOW(fcntl(got[0], F_GETFD));
    SHOW(write(got[1], "through", 7));
    SHOW(read(extra[0], bytes, 64));
    SHOW(recv(pair[1], bytes, 64, 0));
    /* Too little room for both. */
    message = (struct msghdr){.msg_iov = parts, .msg_iovlen = 2, .msg_control = control, .msg_controllen = CMSG_SPACE(2 * sizeof(int))};
    header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(2 * sizeof(int))};
    memcpy(CMSG_DATA(header), extra, sizeof extra);
    SHOW(sendmsg(pair[0], &message, 0));
    message = (struct msghdr){.msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_LEN(sizeof(int))};
    SHOW(recvmsg(pair[1], &message, 0));
    NUMBER(message.msg_controllen);
    NUMBER(message.msg_flags);
    /* Bad descriptors and headers. */
    message = (struct msghdr){.msg_iov = parts, .msg_iovlen = 2, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int))};
    header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
    memcpy(CMSG_DATA(header), &(int){99}, sizeof(int));
    SHOW(sendmsg(pair[0], &message, 0));
    header->cmsg_len = 5;
    SHOW(sendmsg(pair[0], &message, 0));
    header->cmsg_len = CMSG_LEN(sizeof(int));
    header->cmsg_type = 55;
    SHOW(sendmsg(pair[0], &message, 0));
    SHOW(sendmsg(pair[0], bad_address, 0));
    message = (struct msghdr){.msg_iov = parts, .msg_iovlen = 2000};
    SHOW(sendmsg(pair[0], &message, 0));
    SHOW(send(pair[0], "x", 1, MSG_OOB) >= -1);
    SHOW(send(0, "x", 1, 0));
    SHOW(send(99, "x", 1, 0));
    SHOW(sendto(pair[0], "x", 1, 0, (void *)&(struct sockaddr_un){.sun_family = AF_UNIX}, 5));
}

static void show_creds(int socket)
{
    char bytes[8], control[256];
    struct iovec room = {bytes, sizeof bytes};
    struct msghdr message = {.msg_iov = &room, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    SHOW(recvmsg(socket, &message, 0));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (!header) {
        printf("  no control message\n");
        return;
    }
    struct ucred creds;
    memcpy(&creds, CMSG_DATA(header), sizeof creds);
    printf("  type %d pid %s uid %d gid %d\n", header->cmsg_type, creds.pid == getpid() ? "mine" : creds.pid == 0 ? "0" : "?",
        (int)creds.uid, (int)creds.gid);
}

static void credentials(void)
{
    int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
    for (int i = 0; i < 3; i++) {
        int pair[2], on = 1;
        NUMBER(types[i]);
        socketpair(AF_UNIX, types[i], 0, pair);
        send(pair[0], "x", 1, 0);
        show_creds(pair[1]);
        send(pair[0], "x", 1, 0);
        SHOW(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
        show_creds(pair[1]);
        send(pair[0], "x", 1, 0);
        show_creds(pair[1]);
        struct ucred creds;
        socklen_t len = sizeof creds;
        SHOW(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &creds, &len));
        HOLDS(creds.pid == getpid() && creds.uid == getuid());
        char control[256];
        struct iovec part = {"y", 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof creds)};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS, .cmsg_len = CMSG_LEN(sizeof creds)};
        creds.uid = 1234;
        memcpy(CMSG_DATA(header), &creds, sizeof creds);
        SHOW(sendmsg(pair[0], &message, 0));
        show_creds(pair[1]);
        creds.pid = 1 << 22;
        memcpy(CMSG_DATA(header), &creds, sizeof creds);
        SHOW(sendmsg(pair[0], &message, 0));
        IN_CHILD("a liar", setresuid(2000, 2000, 2000); creds.pid = getpid(); creds.uid = 0; memcpy(CMSG_DATA(header), &creds, sizeof creds);
            SHOW(sendmsg(pair[0], &message, 0)));
    }
    struct ucred creds;
    socklen_t len = sizeof creds;
    SHOW(getsockopt(socket(AF_UNIX, SOCK_STREAM, 0), SOL_SOCKET, SO_PEERCRED, &creds, &len));
    NUMBER(creds.pid);
    NUMBER(creds.uid);
}

static void show_option(int socket, const char *name, int option, int value)
{
    int before = -9, after = -9;
    socklen_t len = sizeof before;
    int first = getsockopt(socket, SOL_SOCKET, option, &before, &len);
    int error = first ? errno : 0;
    errno = 0;
    int set = setsockopt(socket, SOL_SOCKET, option, &value, sizeof value);
    int set_error = set ? errno : 0;
    len = sizeof after;
    getsockopt(socket, SOL_SOCKET, option, &after, &len);
    printf("  %s: %d %s, set to %d: %d %s, %d\n", name, before, first ? errno_name(error) : "", value, set, set ? errno_name(set_error) : "", after);
    fflush(stdout);
}
#define OPTION(option, value) show_option(one, #option, option, value)

static void options(void)
{
    int one = socket(AF_UNIX, SOCK_STREAM, 0), value = 0;
    OPTION(SO_DEBUG, 1);
    OPTION(SO_REUSEADDR, 1);
    OPTION(SO_REUSEADDR, 0);
    OPTION(SO_TYPE, 1);
    OPTION(SO_ERROR, 1);
    OPTION(SO_DONTROUTE, 1);
    OPTION(SO_BROADCAST, 1);
    OPTION(SO_SNDBUF, 21000);
    OPTION(SO_SNDBUF, 0);
    OPTION(SO_SNDBUF, 1 << 30);
    OPTION(SO_RCVBUF, 21000);
    OPTION(SO_RCVBUF, 0);
    OPTION(SO_KEEPALIVE, 5);
    OPTION(SO_OOBINLINE, 1);
    OPTION(SO_NO_CHECK, 1);
    OPTION(SO_PRIORITY, 5);
    OPTION(SO_PASSCRED, 1);
    OPTION(SO_RCVLOWAT, 7);
    OPTION(SO_SNDLOWAT, 7);
    OPTION(SO_TIMESTAMP, 1);
    OPTION(SO_ACCEPTCONN, 1);
    OPTION(SO_PROTOCOL, 1);
    OPTION(SO_DOMAIN, 1);
    OPTION(SO_RXQ_OVFL, 1);
    OPTION(99, 1);
    struct linger linger = {1, 5};
    socklen_t len = sizeof linger;
    SHOW(setsockopt(one, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
    SHOW(setsockopt(one, SOL_SOCKET, SO_LINGER, &linger, 4));
    linger = (struct linger){0, 0};
    SHOW(getsockopt(one, SOL_SOCKET, SO_LINGER, &linger, &len));
    NUMBER(linger.l_onoff * 100 + linger.l_linger);
    struct timeval time = {5, 40000};
    SHOW(setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    time = (struct timeval){0, 0};
    len = sizeof time;
    SHOW(getsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &time, &len));
    NUMBER(time.tv_sec * 1000000 + time.tv_usec);
    time.tv_usec = 1000000;
    SHOW(setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    SHOW(setsockopt(one, SOL_SOCKET, SO_RCVTIMEO, &time, 4));
    SHOW(setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &value, 3));
    SHOW(setsockopt(one, SOL_SOCKET, SO_REUSEADDR, bad_address, 4));
    SHOW(setsockopt(one, SOL_SOCKET, SO_REUSEADDR, &value, -1));
    SHOW(setsockopt(one, 6, 1, &value, 4));
    SHOW(getsockopt(one, 6, 1, &value, &len));
    len = 1;
    value = 0;
    SHOW(getsockopt(one, SOL_SOCKET, SO_TYPE, &value, &len));
    NUMBER(value * 10 + (int)len);
    len = (socklen_t)-1;
    SHOW(getsockopt(one, SOL_SOCKET, SO_TYPE, &value, &len));
    SHOW(getsockopt(one, SOL_SOCKET, SO_TYPE, &value, bad_address));
    SHOW(getsockopt(0, SOL_SOCKET, SO_TYPE, &value, &len));
}

static void timeouts(void)
{
    int pair[2];
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    struct timeval brief = {0, 50000};
    setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &brief, sizeof brief);
    setsockopt(pair[0], SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof brief);
    long long start = now_ns();
    SHOW(recv(pair[0], &byte, 1, 0));
    SHOW(read(pair[0], &byte, 1));
    HOLDS(now_ns() - start >= 90000000);
    static char block[1 << 20];
    HOLDS(send(pair[0], block, sizeof block, 0) > 0);
    SHOW(send(pair[0], block, sizeof block, 0));
    SHOW(write(pair[0], block, sizeof block));
    fflush(stdout);
    int other[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, other);
    if (fork() == 0) {
        for (int i = 0; i < 4; i++) {
            write(other[1], "abc", 3);
            sleep_ms(10);
        }
        _exit(0);
    }
    char bytes[16];
    SHOW(recv(other[0], bytes, 12, MSG_WAITALL));
    SHOW(recv(other[0], bytes, 1, MSG_DONTWAIT));
    wait(NULL);
    int queued = -1;
    write(other[1], "12345", 5);
    SHOW(ioctl(other[0], SIOCINQ, &queued));
    NUMBER(queued);
    SHOW(ioctl(other[1], SIOCOUTQ, &queued) == 0 && queued >= 5);
    SHOW(ioctl(other[0], 0x1234, &queued));
}

static void datagrams(void)
{
    enter_scratch();
    struct sockaddr_un server = named("server"), client = named("client"), from;
    int one = socket(AF_UNIX, SOCK_DGRAM, 0), two = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    char bytes[64] = "";
    socklen_t len = sizeof from;
    bind(one, (void *)&server, sizeof server);
    SHOW(send(two, "x", 1, 0));
    SHOW(sendto(two, "unnamed", 7, 0, (void *)&server, sizeof server));
    SHOW(recvfrom(one, bytes, 64, 0, (void *)&from, &len));
    NUMBER(len);
    bind(two, (void *)&client, sizeof client);
    SHOW(sendto(two, "named", 5, 0, (void *)&server, sizeof server));
    len = sizeof from;
    SHOW(recvfrom(one, bytes, 2, 0, (void *)&from, &len));
    NUMBER(len);
    TEXT(from.sun_path);
    SHOW(connect(one, (void *)&client, sizeof client));
    int three = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    SHOW(sendto(three, "stranger", 8, 0, (void *)&server, sizeof server));
    SHOW(connect(three, (void *)&server, sizeof server));
    int sent = 0;
    while (sendto(two, "x", 1, 0, (void *)&server, sizeof server) == 1)
        sent++;
    NUMBER(sent);
    SHOW(sendto(two, "x", 1, 0, (void *)&server, sizeof server));
    SHOW(sendto(two, bytes, 64, 0, (void *)&server, 1));
    static char big[300000];
    SHOW(sendto(two, big, sizeof big, 0, (void *)&server, sizeof server));
    close(one);
    SHOW(sendto(two, "x", 1, 0, (void *)&server, sizeof server));
    server = named("none");
    SHOW(sendto(two, "x", 1, 0, (void *)&server, sizeof server));
    struct mmsghdr several[3] = {0};
    struct iovec part = {bytes, 4};
    int pair[2];
    socketpair(AF_UNIX, SOCK_DGRAM, 0, pair);
    for (int i = 0; i < 3; i++)
        several[i].msg_hdr = (struct msghdr){.msg_iov = &part, .msg_iovlen = 1};
    SHOW(sendmmsg(pair[0], several, 3, 0));
    NUMBER(several[2].msg_len);
    SHOW(recvmmsg(pair[1], several, 3, MSG_WAITFORONE, NULL));
    SHOW(recvmmsg(pair[1], several, 3, MSG_DONTWAIT, NULL));
    SHOW(recvmmsg(pair[1], several, 3, MSG_DONTWAIT, &(struct timespec){0, -1}));
}

static void cycles(void)
{
    /* Sockets that are only in flight inside one another go away: the descriptors are not used up. */
    for (int i = 0; i < 300; i++) {
        int pair[2];
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0) {
            printf("  socketpair: %s after %d\n", errno_name(errno), i);
            return;
        }
        char control[256];
        struct iovec part = {"y", 1};
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof pair)};
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof pair)};
        memcpy(CMSG_DATA(header), pair, sizeof pair);
        if (i == 0)
            SHOW(sendmsg(pair[0], &message, 0));
        else
            sendmsg(pair[0], &message, 0);
        close(pair[0]);
        close(pair[1]);
    }
    int watch[2], pair[2];
    char control[256], byte;
    pipe(watch);
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    int all[3] = {pair[0], pair[1], watch[1]};
    struct iovec part = {"y", 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof all)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof all)};
    memcpy(CMSG_DATA(header), all, sizeof all);
    sendmsg(pair[0], &message, 0);
    close(pair[0]);
    close(pair[1]);
    close(watch[1]);
    /* The collection may have to be set off. */
    socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
    close(pair[0]);
    close(pair[1]);
    alarm(10);
    SHOW(read(watch[0], &byte, 1));
}

static const struct test_case cases[] = {
    {"kinds", kinds}, {"names", names}, {"messages", messages}, {"credentials", credentials}, {"options", options},
    {"timeouts", timeouts}, {"datagrams", datagrams}, {"cycles", cycles},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
