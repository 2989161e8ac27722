/* Keys and keyrings: add_key, request_key, keyctl. Numbers of keys are never printed. */
#include "show.h"
#include <pthread.h>

enum { THREAD = -1, PROCESS = -2, SESSION = -3, USER = -4, USER_SESSION = -5, GROUP = -6 };
enum { GET_ID, JOIN, UPDATE, REVOKE, CHOWN, SETPERM, DESCRIBE, CLEAR, LINK, UNLINK, SEARCH, READ, INSTANTIATE, NEGATE, SET_DEFAULT,
       TIMEOUT, ASSUME, SECURITY, TO_PARENT, REJECT, INSTANTIATE_IOV, INVALIDATE, PERSISTENT, RESTRICT = 29, MOVE, CAPABILITIES };

/* After that a key that nobody has is gone. */
#define COLLECTED_MS 400

#define KEY(...) syscall(SYS_keyctl, __VA_ARGS__)
#define REQUEST(type, name, info, ring) (int)syscall(SYS_request_key, type, name, info, ring)
#define DATA(text) ((const char *)(text))

static int ADD(const char *type, const char *name, const char *data, int ring)
{
    return syscall(SYS_add_key, type, name, data, data ? strlen(data) : 0, ring);
}

/* What a container has. */
static void drop_capabilities(void)
{
    struct { uint32_t version; int pid; } head = {0x20080522, 0};
    struct { uint32_t effective, permitted, inheritable; } data[2] = {{0, 0, 0}, {0, 0, 0}};
    syscall(SYS_capget, &head, data);
    data[0].effective = data[0].permitted &= 0xa80425fb;
    data[1].effective = data[1].permitted = 0;
    syscall(SYS_capset, &head, data);
}

static void fresh(void)
{
    KEY(JOIN, NULL);
}

static void describe(int key)
{
    char text[300] = "";
    errno = 0;
    long length = KEY(DESCRIBE, key, text, sizeof text);
    if (length < 0)
        printf("  described: %s\n", errno_name(errno));
    else
        printf("  described: %ld \"%s\"\n", length, text);
}

static void show_key(int key)
{
    char text[300] = "";
    errno = 0;
    long length = KEY(READ, key, text, sizeof text - 1);
    if (length < 0)
        printf("  read: %s\n", errno_name(errno));
    else
        printf("  read: %ld \"%s\"\n", length, text);
}

static long links(int ring)
{
    return KEY(READ, ring, NULL, 0) / 4;
}

static void adding(void)
{
    static char large[1 << 20];
    char text[5000];
    fresh();
    memset(large, 'x', sizeof large);
    memset(text, 'y', sizeof text);
    text[4999] = 0;
    int key = ADD("user", "one", "first", SESSION);
    HOLDS(key > 0);
    describe(key);
    show_key(key);
    HOLDS(ADD("user", "one", "second", SESSION) == key);
    show_key(key);
    HOLDS(ADD("user", "two", "x", SESSION) != key);
    SHOW(links(SESSION));
    SHOW(ADD("user", "", "x", SESSION));
    SHOW(ADD("user", NULL, "x", SESSION));
    SHOW(ADD("user", "empty", "", SESSION));
    SHOW(ADD("user", bad_address, "x", SESSION));
    SHOW(ADD(bad_address, "one", "x", SESSION));
    SHOW(ADD(NULL, "one", "x", SESSION));
    SHOW(ADD("", "one", "x", SESSION));
    SHOW(ADD(".user", "one", "x", SESSION));
    SHOW(ADD("nothing", "one", "x", SESSION));
    SHOW(ADD("nothing-with-a-very-long-name-yes", "one", "x", SESSION));
    SHOW(ADD("user", "one", "x", 0));
    SHOW(ADD("user", "one", "x", 2147483000));
    SHOW(ADD("user", "one", "x", GROUP));
    SHOW(ADD("user", "one", "x", -7));
    SHOW(ADD("user", "one", "x", -8));
    SHOW(ADD("user", "one", "x", -9));
    SHOW(ADD("user", "one", "x", key));
    SHOW(ADD("nothing", "one", "x", key));
    SHOW(ADD("user", "one", "", key));
    SHOW(syscall(SYS_add_key, "user", "one", large, (size_t)32768, SESSION));
    WORKS(syscall(SYS_add_key, "user", "one", large, (size_t)32767, SESSION));
    SHOW(syscall(SYS_add_key, "user", "one", large, (size_t)1048576, SESSION));
    SHOW(syscall(SYS_add_key, "user", "one", large, (size_t)1048575, SESSION));
    SHOW(syscall(SYS_add_key, "user", "one", bad_address, (size_t)1, SESSION));
    SHOW(syscall(SYS_add_key, "user", "one", NULL, (size_t)1, SESSION));
    SHOW(syscall(SYS_add_key, "user", text, "x", (size_t)1, SESSION));
    text[4095] = 0;
    WORKS(syscall(SYS_add_key, "user", text, "x", (size_t)1, SESSION));
    SHOW(ADD("logon", "one", "x", SESSION));
    SHOW(ADD("logon", ":one", "x", SESSION));
    int logon = ADD("logon", "s:one", "x", SESSION);
    HOLDS(logon > 0);
    describe(logon);
    show_key(logon);
    HOLDS(ADD("logon", "s:one", "y", SESSION) == logon);
    SHOW(ADD("keyring", "ring", "x", SESSION));
    SHOW(ADD("keyring", ".ring", NULL, SESSION));
    SHOW(ADD("keyring", NULL, NULL, SESSION));
    int ring = ADD("keyring", "ring", NULL, SESSION);
    HOLDS(ring > 0);
    describe(ring);
    HOLDS(ADD("keyring", "ring", NULL, SESSION) != ring);
    sleep_ms(COLLECTED_MS);
    describe(ring);
}

static void special(void)
{
    fresh();
    SHOW(KEY(GET_ID, THREAD, 0));
    SHOW(KEY(GET_ID, PROCESS, 0));
    int thread = KEY(GET_ID, THREAD, 1), process = KEY(GET_ID, PROCESS, 1);
    HOLDS(thread > 0 && process > 0 && thread != process);
    HOLDS(KEY(GET_ID, THREAD, 0) == thread);
    describe(THREAD);
    describe(PROCESS);
    describe(SESSION);
    describe(USER);
    describe(USER_SESSION);
    SHOW(links(THREAD));
    HOLDS(links(USER_SESSION) >= 1);
    SHOW(KEY(GET_ID, GROUP, 1));
    SHOW(KEY(GET_ID, -7, 1));
    SHOW(KEY(GET_ID, -8, 0));
    SHOW(KEY(GET_ID, -9, 0));
    SHOW(KEY(GET_ID, 0, 0));
    SHOW(KEY(GET_ID, 1, 0));
    int session = KEY(GET_ID, SESSION, 0);
    HOLDS(KEY(GET_ID, session, 0) == session);
    IN_CHILD("fork", SHOW(KEY(GET_ID, THREAD, 0)); SHOW(KEY(GET_ID, PROCESS, 0)); HOLDS(KEY(GET_ID, SESSION, 0) == session);
             HOLDS(KEY(GET_ID, USER, 0) > 0); SHOW(KEY(GET_ID, thread, 0)); SHOW(KEY(GET_ID, process, 0)));
    int first = KEY(JOIN, NULL), second = KEY(JOIN, NULL);
    HOLDS(first != second && first != session);
    sleep_ms(COLLECTED_MS);
    SHOW(KEY(GET_ID, session, 0));
    SHOW(KEY(GET_ID, first, 0));
    int named = KEY(JOIN, "some-session-of-mine");
    HOLDS(named > 0);
    describe(named);
    SHOW(KEY(JOIN, ".dot"));
    SHOW(KEY(JOIN, ""));
    SHOW(KEY(JOIN, bad_address));
    HOLDS(KEY(JOIN, "some-session-of-mine") != named);
    HOLDS(KEY(SETPERM, SESSION, 0x3f1f0000) == 0);
    named = KEY(GET_ID, SESSION, 0);
    SHOW(KEY(JOIN, "some-session-of-mine"));
    IN_CHILD("joins", fresh(); HOLDS(KEY(JOIN, "some-session-of-mine") == named));
}

static int shared_ring, shared_key;

static void *in_thread(void *unused)
{
    WORKS(KEY(GET_ID, THREAD, 0));
    HOLDS(KEY(GET_ID, PROCESS, 0) == shared_ring);
    HOLDS(REQUEST("user", "in-process", NULL, 0) == shared_key);
    fresh();
    return unused;
}

static void threads(void)
{
    fresh();
    int session = KEY(GET_ID, SESSION, 0);
    KEY(GET_ID, THREAD, 1);
    shared_key = ADD("user", "in-process", "x", PROCESS);
    shared_ring = KEY(GET_ID, PROCESS, 0);
    pthread_t thread;
    pthread_create(&thread, NULL, in_thread, NULL);
    pthread_join(thread, NULL);
    HOLDS(KEY(GET_ID, SESSION, 0) == session);
}

static void linking(void)
{
    fresh();
    int a = ADD("keyring", "a", NULL, SESSION), b = ADD("keyring", "b", NULL, a), key = ADD("user", "k", "x", b);
    SHOW(KEY(LINK, a, b));
    SHOW(KEY(LINK, a, a));
    SHOW(KEY(LINK, b, a));
    SHOW(links(a));
    SHOW(KEY(LINK, key, a));
    SHOW(links(a));
    SHOW(KEY(LINK, key, key));
    SHOW(KEY(LINK, 0, a));
    SHOW(KEY(LINK, key, 0));
    SHOW(KEY(UNLINK, key, key));
    SHOW(KEY(UNLINK, key, a));
    SHOW(KEY(UNLINK, key, a));
    SHOW(KEY(UNLINK, 5, a));
    SHOW(KEY(UNLINK, key, 5));
    int other = ADD("user", "k", "y", a);
    HOLDS(other != key);
    HOLDS(KEY(SEARCH, a, "user", "k", 0) == other);
    HOLDS(KEY(SEARCH, b, "user", "k", 0) == key);
    HOLDS(KEY(SEARCH, SESSION, "user", "k", 0) == other);
    SHOW(KEY(LINK, key, a));
    SHOW(links(a));
    sleep_ms(COLLECTED_MS);
    show_key(other);
    SHOW(KEY(SEARCH, a, "user", "none", 0));
    SHOW(KEY(SEARCH, a, "nothing", "k", 0));
    SHOW(KEY(SEARCH, a, "keyring", "k", 0));
    HOLDS(KEY(SEARCH, SESSION, "keyring", "b", 0) == b);
    HOLDS(KEY(SEARCH, a, "keyring", "a", 0) == a);
    SHOW(KEY(SEARCH, key, "user", "k", 0));
    SHOW(KEY(SEARCH, 7, "user", "k", 0));
    SHOW(KEY(SEARCH, a, bad_address, "k", 0));
    SHOW(KEY(SEARCH, a, "user", bad_address, 0));
    HOLDS(KEY(SEARCH, a, "user", "k", PROCESS) == key);
    SHOW(links(PROCESS));
    SHOW(KEY(SEARCH, a, "user", "k", key));
    SHOW(KEY(CLEAR, key));
    SHOW(KEY(CLEAR, b));
    SHOW(links(b));
    SHOW(KEY(CLEAR, 9));
    int inner = a;
    for (int i = 0; i < 6; i++) {
        char name[8] = {'r', '0' + i};
        inner = ADD("keyring", name, NULL, inner);
    }
    ADD("user", "deep", "x", inner);
    SHOW(KEY(SEARCH, SESSION, "user", "deep", 0));
    WORKS(KEY(SEARCH, a, "user", "deep", 0));
    SHOW(KEY(LINK, a, inner));
    int next = ADD("keyring", "next", NULL, inner), aside = ADD("keyring", "aside", NULL, SESSION);
    HOLDS(next > 0);
    SHOW(KEY(LINK, a, aside));
    SHOW(KEY(LINK, inner, aside));
}

static void moving(void)
{
    fresh();
    int a = ADD("keyring", "a", NULL, SESSION), b = ADD("keyring", "b", NULL, SESSION), key = ADD("user", "k", "x", a);
    SHOW(KEY(MOVE, key, a, b, 2));
    SHOW(KEY(MOVE, key, b, a, 0));
    SHOW(KEY(MOVE, key, a, a, 0));
    SHOW(KEY(MOVE, key, a, b, 0));
    printf("  %ld %ld\n", links(a), links(b));
    ADD("user", "k", "y", a);
    SHOW(KEY(MOVE, key, b, a, 1));
    SHOW(KEY(MOVE, key, b, a, 0));
    printf("  %ld %ld\n", links(a), links(b));
    SHOW(KEY(MOVE, key, key, b, 0));
    SHOW(KEY(MOVE, key, a, key, 0));
    SHOW(KEY(MOVE, 3, a, b, 0));
    SHOW(KEY(RESTRICT, b, NULL, NULL));
    SHOW(KEY(RESTRICT, b, NULL, NULL));
    SHOW(KEY(RESTRICT, b, NULL, "x"));
    SHOW(KEY(RESTRICT, b, "user", NULL));
    SHOW(KEY(RESTRICT, a, "user", "x"));
    SHOW(KEY(RESTRICT, key, NULL, NULL));
    SHOW(KEY(RESTRICT, 3, NULL, NULL));
    SHOW(KEY(LINK, key, b));
    SHOW(ADD("user", "new", "x", b));
    SHOW(KEY(MOVE, key, a, b, 0));
}

static void reading(void)
{
    char text[64];
    fresh();
    int key = ADD("user", "name", "some data", SESSION);
    memset(text, '#', sizeof text);
    SHOW(KEY(READ, key, text, 3));
    HOLDS(text[0] == '#');
    SHOW(KEY(READ, key, text, 9));
    HOLDS(text[0] == 's' && text[9] == '#');
    SHOW(KEY(READ, key, NULL, 100));
    SHOW(KEY(READ, key, text, 0));
    SHOW(KEY(READ, key, bad_address, 100));
    SHOW(KEY(READ, 0, text, 64));
    SHOW(KEY(READ, 12345, text, 64));
    memset(text, '#', sizeof text);
    SHOW(KEY(DESCRIBE, key, text, 10));
    HOLDS(text[0] == '#');
    SHOW(KEY(DESCRIBE, key, NULL, 0));
    SHOW(KEY(DESCRIBE, key, bad_address, 100));
    SHOW(KEY(DESCRIBE, 0, text, 10));
    SHOW(KEY(SECURITY, key, text, 10));
    SHOW(KEY(SECURITY, 77, text, 10));
    int ring = ADD("keyring", "r", NULL, SESSION), first = ADD("user", "1", "x", ring), got[3] = {0, 0, 0};
    ADD("user", "2", "x", ring);
    SHOW(KEY(READ, ring, got, 4));
    HOLDS(got[0] == 0);
    SHOW(KEY(READ, ring, got, 8));
    HOLDS((got[0] == first) != (got[1] == first));
    SHOW(KEY(UPDATE, key, DATA("new"), 3));
    show_key(key);
    SHOW(KEY(UPDATE, key, DATA("new"), 0));
    SHOW(KEY(UPDATE, key, bad_address, 3));
    SHOW(KEY(UPDATE, key, bad_address, 5000));
    SHOW(KEY(UPDATE, ring, DATA("new"), 3));
    SHOW(KEY(UPDATE, 5, DATA("new"), 3));
    SHOW(KEY(200, 0, 0, 0, 0));
    SHOW(KEY(-1, 0, 0, 0, 0));
}

static void permissions(void)
{
    fresh();
    int ring = ADD("keyring", "r", NULL, SESSION), key = ADD("user", "k", "x", ring);
    SHOW(KEY(SETPERM, key, 0x40));
    SHOW(KEY(SETPERM, key, 0xffffffff));
    SHOW(KEY(SETPERM, 5, 0));
    SHOW(KEY(SETPERM, key, 0x3f000000));
    describe(key);
    SHOW(KEY(SETPERM, key, 0x3d000000));
    show_key(key);
    SHOW(KEY(SETPERM, key, 0x20000000));
    show_key(key);
    describe(key);
    SHOW(KEY(SETPERM, key, 0x28000000));
    show_key(key);
    describe(key);
    SHOW(KEY(UPDATE, key, DATA("x"), 1));
    SHOW(KEY(LINK, key, SESSION));
    WORKS(KEY(SEARCH, ring, "user", "k", 0));
    SHOW(KEY(SEARCH, ring, "user", "k", SESSION));
    SHOW(REQUEST("user", "k", NULL, SESSION));
    SHOW(KEY(SETPERM, key, 0x20000000));
    SHOW(KEY(SEARCH, ring, "user", "k", 0));
    SHOW(REQUEST("user", "k", NULL, 0));
    SHOW(KEY(SETPERM, key, 0x00200000));
    SHOW(KEY(INVALIDATE, key));
    SHOW(KEY(REVOKE, key));
    describe(key);
    key = ADD("user", "m", "x", ring);
    SHOW(KEY(SETPERM, key, 0x1f1f0000));
    SHOW(KEY(SETPERM, key, 0x3f3f0000));
    SHOW(KEY(TIMEOUT, key, 100));
    key = ADD("user", "n", "x", ring);
    SHOW(KEY(SETPERM, ring, 0x3b3f0000));
    WORKS(ADD("user", "o", "x", ring));
    SHOW(KEY(SETPERM, ring, 0x373f0000));
    show_key(key);
    HOLDS(KEY(GET_ID, ring, 0) == ring);
    SHOW(KEY(SETPERM, ring, 0x37370000));
    SHOW(KEY(GET_ID, ring, 0));
    SHOW(KEY(SEARCH, ring, "user", "n", 0));
    SHOW(KEY(SEARCH, SESSION, "user", "n", 0));
    show_key(key);
}

static void owners(void)
{
    fresh();
    int key = ADD("user", "k", "x", SESSION), open_key = ADD("user", "o", "y", SESSION);
    SHOW(KEY(CHOWN, key, -1, -1));
    SHOW(KEY(CHOWN, 5, -1, -1));
    SHOW(KEY(CHOWN, 5, 0, -1));
    SHOW(KEY(CHOWN, key, 0, 0));
    SHOW(KEY(CHOWN, key, 77, -1));
    SHOW(KEY(CHOWN, key, -1, 77));
    describe(key);
    SHOW(KEY(SETPERM, open_key, 0x3f3f001f));
    IN_CHILD("other", setresgid(77, 77, 77); setresuid(77, 77, 77); show_key(key); describe(key); describe(open_key);
             SHOW(KEY(SETPERM, open_key, 0x3f3f3f3f)); int own = ADD("user", "own", "z", PROCESS); describe(own); describe(USER);
             SHOW(KEY(CHOWN, own, 0, -1)); SHOW(KEY(CHOWN, own, -1, 5)); SHOW(KEY(LINK, open_key, PROCESS)));
    IN_CHILD("stranger", fresh(); setresgid(78, 78, 78); setresuid(78, 78, 78); fresh(); show_key(key); describe(key);
             show_key(open_key); describe(open_key); SHOW(KEY(UPDATE, open_key, DATA("q"), 1)); show_key(open_key);
             SHOW(KEY(LINK, open_key, SESSION)); SHOW(KEY(REVOKE, open_key)); show_key(open_key);
             SHOW(KEY(LINK, key, SESSION)); SHOW(KEY(UNLINK, open_key, SESSION)));
    show_key(open_key);
    IN_CHILD("follows", KEY(GET_ID, THREAD, 1); KEY(GET_ID, PROCESS, 1); setresgid(79, 79, 79); setresuid(79, 79, 79); describe(THREAD);
             describe(PROCESS); describe(SESSION));
}

static void endings(void)
{
    fresh();
    int key = ADD("user", "k", "x", SESSION), ring = ADD("keyring", "r", NULL, SESSION);
    ADD("user", "in", "x", ring);
    SHOW(KEY(REVOKE, key));
    SHOW(KEY(REVOKE, key));
    show_key(key);
    describe(key);
    SHOW(KEY(UPDATE, key, DATA("y"), 1));
    SHOW(REQUEST("user", "k", NULL, 0));
    SHOW(KEY(SEARCH, SESSION, "user", "k", 0));
    SHOW(KEY(LINK, key, ring));
    HOLDS(ADD("user", "k", "y", SESSION) != key);
    WORKS(REQUEST("user", "k", NULL, 0));
    SHOW(KEY(REVOKE, ring));
    SHOW(links(ring));
    SHOW(ADD("user", "in", "x", ring));
    SHOW(KEY(LINK, key, ring));
    SHOW(KEY(UNLINK, ring, SESSION));
    sleep_ms(COLLECTED_MS);
    SHOW(KEY(GET_ID, ring, 0));
    key = ADD("user", "i", "x", SESSION);
    SHOW(KEY(INVALIDATE, key));
    sleep_ms(COLLECTED_MS);
    show_key(key);
    describe(key);
    SHOW(REQUEST("user", "i", NULL, 0));
    SHOW(KEY(INVALIDATE, 5));
    key = ADD("user", "t", "x", SESSION);
    SHOW(KEY(TIMEOUT, key, 1000));
    show_key(key);
    SHOW(KEY(TIMEOUT, key, 1));
    sleep_ms(2100);
    show_key(key);
    describe(key);
    SHOW(REQUEST("user", "t", NULL, 0));
    SHOW(KEY(SEARCH, SESSION, "user", "t", 0));
    SHOW(KEY(TIMEOUT, key, 0));
    HOLDS(ADD("user", "t", "y", SESSION) == key);
    show_key(key);
    SHOW(KEY(TIMEOUT, 5, 0));
}

static void requests(void)
{
    fresh();
    int key = ADD("user", "k", "x", SESSION);
    HOLDS(REQUEST("user", "k", NULL, 0) == key);
    HOLDS(REQUEST("user", "k", NULL, PROCESS) == key);
    SHOW(links(PROCESS));
    SHOW(REQUEST("user", "none", NULL, 0));
    SHOW(REQUEST("user", "none", NULL, PROCESS));
    SHOW(REQUEST("nothing", "k", NULL, 0));
    SHOW(REQUEST(".user", "k", NULL, 0));
    SHOW(REQUEST("", "k", NULL, 0));
    SHOW(REQUEST(bad_address, "k", NULL, 0));
    SHOW(REQUEST("user", bad_address, NULL, 0));
    SHOW(REQUEST("user", NULL, NULL, 0));
    SHOW(REQUEST("user", "k", bad_address, 0));
    SHOW(REQUEST("user", "k", NULL, 99));
    SHOW(REQUEST("user", "k", NULL, key));
    SHOW(REQUEST("keyring", "none", NULL, 0));
    SHOW(KEY(SET_DEFAULT, -1));
    SHOW(KEY(SET_DEFAULT, 1));
    HOLDS(KEY(GET_ID, THREAD, 0) > 0);
    SHOW(KEY(SET_DEFAULT, 3));
    SHOW(KEY(SET_DEFAULT, 6));
    SHOW(KEY(SET_DEFAULT, 8));
    SHOW(KEY(SET_DEFAULT, -2));
    IN_CHILD("child", SHOW(KEY(SET_DEFAULT, -1)));
    SHOW(KEY(SET_DEFAULT, 0));
    SHOW(KEY(INSTANTIATE, key, DATA("x"), 1, 0));
    SHOW(KEY(INSTANTIATE, key, DATA("x"), 1 << 20, 0));
    SHOW(KEY(NEGATE, key, 1, 0));
    SHOW(KEY(REJECT, key, 1, 128, 0));
    SHOW(KEY(REJECT, key, 1, 0, 0));
    SHOW(KEY(REJECT, key, 1, 512, 0));
    SHOW(KEY(ASSUME, 0));
    SHOW(KEY(ASSUME, -1));
    SHOW(KEY(ASSUME, 5));
    unsigned char known[4] = {9, 9, 9, 9};
    SHOW(KEY(CAPABILITIES, known, 4));
    HOLDS((known[0] & 0xe1) == 0xe1 && known[2] == 0 && known[3] == 0);
    SHOW(KEY(CAPABILITIES, NULL, 0));
    SHOW(KEY(CAPABILITIES, bad_address, 1));
}

static void parents(void)
{
    fresh();
    int before = KEY(GET_ID, SESSION, 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        SHOW(KEY(TO_PARENT));
        fresh();
        ADD("user", "gift", "from the child", SESSION);
        SHOW(KEY(TO_PARENT));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    HOLDS(KEY(GET_ID, SESSION, 0) != before);
    show_key(REQUEST("user", "gift", NULL, 0));
    child = fork();
    if (child == 0) {
        setresuid(77, 77, 77);
        fresh();
        SHOW(KEY(TO_PARENT));
        _exit(0);
    }
    waitpid(child, NULL, 0);
    if (fork() == 0) {
        char *arguments[] = {"keys", "after_exec", NULL};
        KEY(GET_ID, THREAD, 1);
        ADD("user", "passed", "x", PROCESS);
        execv("/proc/self/exe", arguments);
        _exit(1);
    }
    wait(NULL);
}

static void after_exec(void)
{
    SHOW(KEY(GET_ID, THREAD, 0));
    SHOW(KEY(GET_ID, PROCESS, 0));
    SHOW(REQUEST("user", "passed", NULL, 0));
    WORKS(REQUEST("user", "gift", NULL, 0));
}

static void quotas(void)
{
    IN_CHILD("other user", setresgid(88, 88, 88); setresuid(88, 88, 88); fresh(); static char large[20000]; memset(large, 'x', sizeof large);
             SHOW(syscall(SYS_add_key, "user", "k", large, (size_t)20000, SESSION));
             WORKS(syscall(SYS_add_key, "user", "k", large, (size_t)19000, SESSION));
             SHOW(syscall(SYS_add_key, "user", "l", large, (size_t)1000, SESSION));
             WORKS(KEY(CLEAR, SESSION)); sleep_ms(COLLECTED_MS);
             int made = 0; char name[16];
             do snprintf(name, sizeof name, "%d", made++); while (made < 500 && ADD("user", name, "x", SESSION) > 0);
             printf("  %s\n", errno_name(errno)); HOLDS(made > 190 && made <= 200); WORKS(ADD("user", "0", "y", SESSION));
             WORKS(KEY(CLEAR, SESSION)));
}

static int lines_with(const char *path, const char *text)
{
    char line[6000];
    int count = 0;
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file))
        count += strstr(line, text) != NULL;
    if (file)
        fclose(file);
    return count;
}

static void shown(void)
{
    fresh();
    ADD("user", "shown-in-proc", "12345", SESSION);
    int ring = ADD("keyring", "shown-ring", NULL, SESSION), hidden = ADD("user", "hidden-in-proc", "x", SESSION);
    KEY(SETPERM, hidden, 0x3e000000);
    NUMBER(lines_with("/proc/keys", " perm 3f010000     0     0 user      shown-in-proc: 5\n"));
    NUMBER(lines_with("/proc/keys", "keyring   shown-ring: empty\n"));
    ADD("user", "x", "x", ring);
    NUMBER(lines_with("/proc/keys", "keyring   shown-ring: 1\n"));
    NUMBER(lines_with("/proc/keys", "hidden-in-proc"));
    KEY(TIMEOUT, ring, 7000);
    NUMBER(lines_with("/proc/keys", "   1h 3f010000     0     0 keyring   shown-ring"));
    NUMBER(lines_with("/proc/key-users", "    0: "));
    NUMBER(lines_with("/proc/sys/kernel/keys/maxkeys", "200"));
    NUMBER(lines_with("/proc/sys/kernel/keys/maxbytes", "20000"));
    IN_CHILD("other", setresuid(99, 99, 99); NUMBER(lines_with("/proc/keys", "shown-in-proc")));
}

int main(int argc, char **argv)
{
    static const struct test_case cases[] = {
        {"adding", adding},
        {"special", special},
        {"threads", threads},
        {"linking", linking},
        {"moving", moving},
        {"reading", reading},
        {"permissions", permissions},
        {"owners", owners},
        {"endings", endings},
        {"requests", requests},
        {"parents", parents},
        {"after_exec", after_exec},
        {"quotas", quotas},
        {"shown", shown},
    };
    drop_capabilities();
    return RUN_CASES(argc, argv, cases);
}
