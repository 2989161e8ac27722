/* System V IPC: shared memory, semaphores, message queues, and what proc tells of them. */
#include "show.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

union argument {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

static void segments(void)
{
    int key = 0x5eed01;
    SHOW(shmget(key, 5000, 0600));
    SHOW(shmget(key, 0, IPC_CREAT | 0600));
    int id = shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0640);
    HOLDS(id >= 0);
    SHOW(shmget(key, 5000, IPC_CREAT | IPC_EXCL | 0640));
    HOLDS(shmget(key, 100, 0600) == id);
    SHOW(shmget(key, 9000, 0600));
    struct shmid_ds info;
    SHOW(shmctl(id, IPC_STAT, &info));
    NUMBER(info.shm_segsz);
    NUMBER(info.shm_nattch);
    NUMBER(info.shm_perm.mode);
    HOLDS(info.shm_perm.__key == key && info.shm_cpid == getpid() && info.shm_lpid == 0 && info.shm_atime == 0);
    char *one = shmat(id, NULL, 0), *two = shmat(id, NULL, SHM_RDONLY);
    HOLDS(one != (void *)-1 && two != (void *)-1);
    strcpy(one, "seen by both");
    TEXT(two);
    HOLDS(one[4999] == 0 && one[8191] == 0);
    IN_CHILD("writes to read-only", signal(SIGSEGV, SIG_DFL), two[0] = 1);
    SHOW(shmctl(id, IPC_STAT, &info));
    NUMBER(info.shm_nattch);
    HOLDS(info.shm_atime != 0);
    IN_CHILD("inherits", shmctl(id, IPC_STAT, &info), NUMBER(info.shm_nattch), one[0] = 'S', SHOW(shmdt(two)),
        shmctl(id, IPC_STAT, &info), NUMBER(info.shm_nattch));
    TEXT(two);
    shmctl(id, IPC_STAT, &info);
    NUMBER(info.shm_nattch);
    SHOW(shmat(id, one, 0) == (void *)-1 ? -1 : 0);
    SHOW(shmat(id, one + 1, 0) == (void *)-1 ? -1 : 0);
    SHOW(shmat(id, NULL, SHM_REMAP) == (void *)-1 ? -1 : 0);
    HOLDS(shmat(id, one + 100, SHM_RND | SHM_REMAP) == one);
    SHOW(shmat(-1, NULL, 0) == (void *)-1 ? -1 : 0);
    SHOW(shmat(id + 1, NULL, 0) == (void *)-1 ? -1 : 0);
    SHOW(shmdt(one + 1));
    SHOW(shmdt(one + 4096));
    SHOW(shmdt(two));
    SHOW(shmdt(two));
    SHOW(shmctl(id, IPC_RMID, NULL));
    SHOW(shmctl(id, IPC_STAT, &info));
    NUMBER(info.shm_perm.mode);
    HOLDS(info.shm_perm.__key == IPC_PRIVATE);
    SHOW(shmget(key, 100, 0600));
    TEXT(one);
    char *again = shmat(id, NULL, 0);
    HOLDS(again != (void *)-1);
    SHOW(shmdt(again));
    SHOW(shmdt(one));
    SHOW(shmctl(id, IPC_STAT, &info));
    SHOW(shmctl(id, IPC_RMID, NULL));
}

static void segment_commands(void)
{
    int id = shmget(IPC_PRIVATE, 4096, 0600);
    struct shmid_ds info;
    SHOW(shmctl(id, IPC_STAT, bad_address));
    SHOW(shmctl(id, 99, &info));
    SHOW(shmctl(-1, IPC_STAT, &info));
    SHOW(shmctl(id, SHM_LOCK, NULL));
    shmctl(id, IPC_STAT, &info);
    NUMBER(info.shm_perm.mode);
    SHOW(shmctl(id, SHM_UNLOCK, NULL));
    info.shm_perm.mode = 0400;
    info.shm_perm.uid = 1000;
    SHOW(shmctl(id, IPC_SET, &info));
    SHOW(shmctl(id, IPC_SET, bad_address));
    SHOW(shmctl(id, IPC_STAT, &info));
    NUMBER(info.shm_perm.mode);
    NUMBER(info.shm_perm.uid);
    NUMBER(info.shm_perm.cuid);
    IN_CHILD("a stranger", setresgid(2000, 2000, 2000), setresuid(2000, 2000, 2000),
        SHOW(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0), SHOW(shmctl(id, IPC_STAT, &info)), SHOW(shmctl(id, IPC_RMID, NULL)),
        SHOW(shmctl(id, SHM_LOCK, NULL)), SHOW(shmctl(id, IPC_SET, &info)));
    IN_CHILD("the owner", setresuid(1000, 1000, 1000), SHOW(shmat(id, NULL, 0) == (void *)-1 ? -1 : 0),
        HOLDS(shmat(id, NULL, SHM_RDONLY) != (void *)-1), SHOW(shmctl(id, IPC_STAT, &info)));
    struct shminfo limits;
    HOLDS(shmctl(0, IPC_INFO, (void *)&limits) >= 0);
    NUMBER(limits.shmmin);
    NUMBER(limits.shmmni);
    HOLDS(shmctl(0, SHM_INFO, (void *)&limits) >= 0);
    SHOW(shmctl(id, IPC_RMID, NULL));
    SHOW(shmget(IPC_PRIVATE, 0, 0600));
}

static void segment_of_the_dead(void)
{
    /* The pages go with the last process that has them. */
    int id = shmget(IPC_PRIVATE, 1 << 20, 0600);
    IN_CHILD("attaches and removes", char *at = shmat(id, NULL, 0); memset(at, 1, 1 << 20); shmctl(id, IPC_RMID, NULL));
    struct shmid_ds info;
    SHOW(shmctl(id, IPC_STAT, &info));
}

static int value(int set, int number) { return semctl(set, number, GETVAL); }

static void semaphores(void)
{
    int key = 0x5eed02;
    SHOW(semget(key, 2, 0600));
    SHOW(semget(key, 0, IPC_CREAT | 0600));
    SHOW(semget(key, -1, IPC_CREAT | 0600));
    SHOW(semget(key, 32001, IPC_CREAT | 0600));
    int set = semget(key, 3, IPC_CREAT | 0600);
    HOLDS(set >= 0);
    SHOW(semget(key, 4, 0600));
    HOLDS(semget(key, 0, 0600) == set);
    SHOW(semctl(set, 0, SETVAL, (union argument){.val = 5}));
    SHOW(semctl(set, 0, SETVAL, (union argument){.val = 32768}));
    SHOW(semctl(set, 0, SETVAL, (union argument){.val = -1}));
    SHOW(semctl(set, 3, SETVAL, (union argument){.val = 1}));
    SHOW(value(set, 0));
    SHOW(value(set, 3));
    struct sembuf ops[3] = {{0, -2, 0}, {1, 3, 0}, {2, 0, 0}};
    SHOW(semop(set, ops, 3));
    SHOW(value(set, 0));
    SHOW(value(set, 1));
    ops[2].sem_op = -1;
    ops[2].sem_flg = IPC_NOWAIT;
    SHOW(semop(set, ops, 3));
    SHOW(value(set, 0));
    SHOW(value(set, 1));
    HOLDS(semctl(set, 0, GETPID) == getpid());
    SHOW(semop(set, ops, 0));
    SHOW(semop(set, ops, 501));
    SHOW(semop(set, bad_address, 1));
    SHOW(semop(-1, ops, 1));
    SHOW(semop(set + 1, ops, 1));
    ops[0] = (struct sembuf){3, 1, 0};
    SHOW(semop(set, ops, 1));
    ops[0] = (struct sembuf){0, 32767, 0};
    SHOW(semop(set, ops, 1));
    ops[0] = (struct sembuf){0, 0, IPC_NOWAIT};
    SHOW(semop(set, ops, 1));
    struct timespec brief = {0, 20000000}, wrong = {0, 1000000000};
    ops[0] = (struct sembuf){0, 0, 0};
    SHOW(semtimedop(set, ops, 1, &brief));
    SHOW(semtimedop(set, ops, 1, &wrong));
    SHOW(semtimedop(set, ops, 1, bad_address));
    unsigned short all[3] = {7, 8, 9}, got[3];
    SHOW(semctl(set, 0, SETALL, (union argument){.array = all}));
    SHOW(semctl(set, 0, GETALL, (union argument){.array = got}));
    HOLDS(memcmp(all, got, sizeof all) == 0);
    all[1] = 40000;
    SHOW(semctl(set, 0, SETALL, (union argument){.array = all}));
    SHOW(value(set, 0));
    struct semid_ds info;
    SHOW(semctl(set, 0, IPC_STAT, (union argument){.buf = &info}));
    NUMBER(info.sem_nsems);
    NUMBER(info.sem_perm.mode);
    HOLDS(info.sem_otime != 0 && info.sem_ctime != 0);
    SHOW(semctl(set, 0, IPC_STAT, (union argument){.buf = bad_address}));
    SHOW(semctl(set, 0, 99));
    info.sem_perm.mode = 0644;
    SHOW(semctl(set, 0, IPC_SET, (union argument){.buf = &info}));
    IN_CHILD("a stranger", setresgid(2000, 2000, 2000), setresuid(2000, 2000, 2000), SHOW(value(set, 0)),
        SHOW(semctl(set, 0, SETVAL, (union argument){.val = 1})), SHOW(semop(set, &(struct sembuf){0, 1, 0}, 1)),
        SHOW(semop(set, &(struct sembuf){0, 0, IPC_NOWAIT}, 1)), SHOW(semctl(set, 0, IPC_RMID)), SHOW(semget(key, 0, 0200)));
    SHOW(semctl(set, 0, IPC_RMID));
    SHOW(semctl(set, 0, IPC_RMID));
    SHOW(value(set, 0));
}

static void semaphores_wait(void)
{
    int set = semget(IPC_PRIVATE, 2, 0600), status;
    fflush(stdout);
    pid_t waits = fork();
    if (waits == 0) {
        SHOW(semop(set, &(struct sembuf){0, -2, 0}, 1));
        _exit(0);
    }
    while (semctl(set, 0, GETNCNT) == 0)
        sleep_ms(2);
    SHOW(semctl(set, 0, GETZCNT));
    SHOW(semop(set, &(struct sembuf){0, 1, 0}, 1));
    sleep_ms(20);
    SHOW(semctl(set, 0, GETNCNT));
    semop(set, &(struct sembuf){0, 1, 0}, 1);
    waitpid(waits, &status, 0);
    SHOW(value(set, 0));
    HOLDS(semctl(set, 0, GETPID) == waits);
    SHOW(semctl(set, 1, SETVAL, (union argument){.val = 1}));
    waits = fork();
    if (waits == 0) {
        SHOW(semop(set, (struct sembuf[]){{1, 0, 0}, {0, 4, 0}}, 2));
        _exit(0);
    }
    while (semctl(set, 1, GETZCNT) == 0)
        sleep_ms(2);
    SHOW(semctl(set, 1, GETNCNT));
    semctl(set, 1, SETVAL, (union argument){.val = 0});
    waitpid(waits, &status, 0);
    SHOW(value(set, 0));
    waits = fork();
    if (waits == 0) {
        SHOW(semop(set, &(struct sembuf){1, -1, 0}, 1));
        _exit(0);
    }
    while (semctl(set, 1, GETNCNT) == 0)
        sleep_ms(2);
    semctl(set, 0, IPC_RMID);
    waitpid(waits, &status, 0);
}

static volatile int alarms;
static void count_alarm(int number) { (void)number; alarms++; }

static void waits_and_signals(void)
{
    struct sigaction action = {.sa_handler = count_alarm, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    int set = semget(IPC_PRIVATE, 1, 0600), queue = msgget(IPC_PRIVATE, 0600);
    pid_t me = getpid();
    if (fork() == 0) {
        for (int i = 0; i < 2; i++) {
            sleep_ms(60);
            kill(me, SIGUSR1);
        }
        _exit(0);
    }
    SHOW(semop(set, &(struct sembuf){0, -1, 0}, 1));
    struct { long kind; char text[8]; } message;
    SHOW(msgrcv(queue, &message, 8, 0, 0));
    NUMBER(alarms);
    SHOW(semctl(set, 0, GETNCNT));
    wait(NULL);
    semctl(set, 0, IPC_RMID);
    msgctl(queue, IPC_RMID, NULL);
}

static void undo(void)
{
    int set = semget(IPC_PRIVATE, 2, 0600);
    semctl(set, 0, SETVAL, (union argument){.val = 5});
    IN_CHILD("undoes", SHOW(semop(set, &(struct sembuf){0, -3, SEM_UNDO}, 1)), SHOW(semop(set, &(struct sembuf){1, 2, SEM_UNDO}, 1)),
        SHOW(value(set, 0)), SHOW(value(set, 1)));
    SHOW(value(set, 0));
    SHOW(value(set, 1));
    IN_CHILD("set in between", SHOW(semop(set, &(struct sembuf){0, -3, SEM_UNDO}, 1)),
        semctl(set, 0, SETVAL, (union argument){.val = 9}));
    SHOW(value(set, 0));
    IN_CHILD("too much", SHOW(semop(set, &(struct sembuf){0, 20000, SEM_UNDO}, 1)),
        semop(set, &(struct sembuf){0, -20000, 0}, 1), SHOW(semop(set, &(struct sembuf){0, 20000, SEM_UNDO}, 1)));
    SHOW(value(set, 0));
    fflush(stdout);
    pid_t holder = fork();
    if (holder == 0) {
        semop(set, &(struct sembuf){1, 1, SEM_UNDO}, 1);
        for (;;)
            pause();
    }
    while (value(set, 1) == 0)
        sleep_ms(2);
    kill(holder, SIGKILL);
    waitpid(holder, NULL, 0);
    SHOW(value(set, 1));
    /* The one that waits is woken by the undoing. */
    semctl(set, 0, SETVAL, (union argument){.val = 1});
    holder = fork();
    if (holder == 0) {
        semop(set, &(struct sembuf){0, -1, SEM_UNDO}, 1);
        while (semctl(set, 0, GETNCNT) == 0)
            sleep_ms(2);
        _exit(0);
    }
    while (value(set, 0) == 1)
        sleep_ms(2);
    SHOW(semop(set, &(struct sembuf){0, -1, 0}, 1));
    semctl(set, 0, IPC_RMID);
}

static struct { long kind; char text[9000]; } message;

static long put(int queue, long kind, const char *text, int flags)
{
    message.kind = kind;
    strcpy(message.text, text);
    return msgsnd(queue, &message, strlen(text) + 1, flags);
}

static void queues(void)
{
    int key = 0x5eed03;
    SHOW(msgget(key, 0600));
    int queue = msgget(key, IPC_CREAT | IPC_EXCL | 0600);
    HOLDS(queue >= 0);
    SHOW(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
    HOLDS(msgget(key, 0) == queue);
    SHOW(put(queue, 3, "three", 0));
    SHOW(put(queue, 1, "one", 0));
    SHOW(put(queue, 2, "two", 0));
    SHOW(put(queue, 1, "one again", 0));
    SHOW(put(queue, 0, "none", 0));
    SHOW(put(queue, -1, "none", 0));
    message.kind = 1;
    SHOW(msgsnd(queue, &message, 8193, 0));
    SHOW(msgsnd(queue, &message, -1, 0));
    SHOW(msgsnd(queue, bad_address, 1, 0));
    SHOW(msgsnd(-1, &message, 1, 0));
    struct msqid_ds info;
    SHOW(msgctl(queue, IPC_STAT, &info));
    NUMBER(info.msg_qnum);
    NUMBER(info.msg_cbytes);
    NUMBER(info.msg_qbytes);
    HOLDS(info.msg_lspid == getpid() && info.msg_lrpid == 0 && info.msg_stime != 0 && info.msg_rtime == 0);
    SHOW(msgrcv(queue, &message, 2, 0, 0));
    SHOW(msgrcv(queue, &message, 3, 0, MSG_NOERROR));
    NUMBER(message.kind);
    SHOW(msgrcv(queue, &message, 100, -2, 0));
    TEXT(message.text);
    SHOW(msgrcv(queue, &message, 100, 1, 020000 /* MSG_EXCEPT */));
    TEXT(message.text);
    SHOW(msgrcv(queue, &message, 100, 5, IPC_NOWAIT));
    SHOW(msgrcv(queue, &message, 100, 0, 040000 /* MSG_COPY */ | IPC_NOWAIT));
    SHOW(msgrcv(queue, &message, 100, 1, 040000 | IPC_NOWAIT));
    SHOW(msgrcv(queue, &message, 100, 0, 040000));
    SHOW(msgrcv(queue, &message, 100, 1, 0));
    TEXT(message.text);
    SHOW(msgrcv(queue, &message, 100, 0, IPC_NOWAIT));
    SHOW(msgrcv(queue, &message, -1, 0, IPC_NOWAIT));
    put(queue, 1, "lost", 0);
    SHOW(msgrcv(queue, bad_address, 100, 0, 0));
    SHOW(msgrcv(queue, &message, 100, 0, IPC_NOWAIT));
    for (int i = 0; i < 2; i++) {
        message.kind = 1;
        SHOW(msgsnd(queue, &message, 8192, IPC_NOWAIT));
    }
    SHOW(msgsnd(queue, &message, 1, IPC_NOWAIT));
    fflush(stdout);
    if (fork() == 0) {
        SHOW(msgsnd(queue, &message, 100, 0));
        _exit(0);
    }
    sleep_ms(50);
    msgrcv(queue, &message, 9000, 0, 0);
    wait(NULL);
    msgctl(queue, IPC_STAT, &info);
    NUMBER(info.msg_cbytes);
    info.msg_qbytes = 100;
    SHOW(msgctl(queue, IPC_SET, &info));
    SHOW(msgctl(queue, IPC_STAT, bad_address));
    SHOW(msgctl(queue, 99, &info));
    IN_CHILD("a stranger", setresgid(2000, 2000, 2000), setresuid(2000, 2000, 2000), SHOW(msgsnd(queue, &message, 1, IPC_NOWAIT)),
        SHOW(msgrcv(queue, &message, 1, 0, IPC_NOWAIT)), SHOW(msgctl(queue, IPC_STAT, &info)), SHOW(msgctl(queue, IPC_RMID, NULL)),
        SHOW(msgctl(queue, IPC_SET, &info)), SHOW(msgget(key, 0400)));
    if (fork() == 0) {
        SHOW(msgrcv(queue, &message, 100, 77, 0));
        _exit(0);
    }
    sleep_ms(50);
    msgctl(queue, IPC_RMID, NULL);
    wait(NULL);
    SHOW(msgctl(queue, IPC_RMID, NULL));
}

static void show_limit(const char *path)
{
    char text[200] = "";
    int file = open(path, O_RDONLY);
    SHOW(read(file, text, sizeof text - 1) > 0);
    printf("  %s: %s", path, text);
    close(file);
}

static void proc_files(void)
{
    show_limit("/proc/sys/kernel/sem");
    show_limit("/proc/sys/kernel/shmmni");
    show_limit("/proc/sys/kernel/shmmax");
    show_limit("/proc/sys/kernel/shmall");
    show_limit("/proc/sys/kernel/msgmax");
    show_limit("/proc/sys/kernel/msgmnb");
    char line[512];
    const char *files[] = {"/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"};
    for (int i = 0; i < 3; i++) {
        FILE *file = fopen(files[i], "r");
        if (file && fgets(line, sizeof line, file))
            printf("  %s", line);
        if (file)
            fclose(file);
    }
}

static const struct test_case cases[] = {
    {"segments", segments}, {"segment_commands", segment_commands}, {"segment_of_the_dead", segment_of_the_dead},
    {"semaphores", semaphores}, {"semaphores_wait", semaphores_wait}, {"waits_and_signals", waits_and_signals},
    {"undo", undo}, {"queues", queues}, {"proc_files", proc_files},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
