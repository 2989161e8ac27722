/* Threads and futexes: creation, exit, locks, conditions, raw futex operations, robust lists, exec and exit of groups. */
#include "show.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>

/* linux/futex.h is not there for musl. */
enum {
    FUTEX_WAIT = 0, FUTEX_WAKE = 1, FUTEX_CMP_REQUEUE = 4, FUTEX_WAKE_OP = 5, FUTEX_WAIT_BITSET = 9,
    FUTEX_PRIVATE_FLAG = 128,
};

static long futex(volatile int *word, int operation, int value, const struct timespec *limit, volatile int *second, int third)
{
    return syscall(SYS_futex, word, operation, value, limit, second, third);
}

static void *double_it(void *argument) { return (void *)((long)argument * 2); }

static void create_and_join(void)
{
    pthread_t threads[32];
    long sum = 0;
    int failures = 0;
    for (long i = 0; i < 32; i++)
        failures += pthread_create(&threads[i], NULL, double_it, (void *)i) != 0;
    for (int i = 0; i < 32; i++) {
        void *result = NULL;
        failures += pthread_join(threads[i], &result) != 0;
        sum += (long)result;
    }
    NUMBER(failures);
    NUMBER(sum);
    for (int i = 0; i < 300; i++) {
        pthread_t one;
        failures += pthread_create(&one, NULL, double_it, NULL) != 0 || pthread_join(one, NULL) != 0;
    }
    NUMBER(failures);
}

static __thread int local = 5;
static void *use_local(void *argument)
{
    HOLDS(local == 5);
    local = 6;
    HOLDS(syscall(SYS_gettid) != getpid());
    return argument;
}

static void identity(void)
{
    pthread_t one;
    local = 7;
    pthread_create(&one, NULL, use_local, NULL);
    pthread_join(one, NULL);
    NUMBER(local);
    HOLDS(syscall(SYS_gettid) == getpid());
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long counter, turns;

static void *count(void *argument)
{
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&lock);
        counter++;
        pthread_mutex_unlock(&lock);
    }
    return argument;
}

static void *take_turns(void *argument)
{
    for (int i = 0; i < 500; i++) {
        pthread_mutex_lock(&lock);
        while (turns % 3 != (long)argument)
            pthread_cond_wait(&changed, &lock);
        turns++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void locks(void)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, count, NULL);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    NUMBER(counter);
    for (long i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, take_turns, (void *)i);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    NUMBER(turns);
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += 30000000;
    if (limit.tv_nsec >= 1000000000) {
        limit.tv_sec++;
        limit.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&lock);
    HOLDS(pthread_cond_timedwait(&changed, &lock, &limit) == ETIMEDOUT);
    HOLDS(pthread_mutex_trylock(&lock) == EBUSY);
    pthread_mutex_unlock(&lock);
}

static pthread_barrier_t barrier;
static volatile int arrived;
static void *meet(void *argument)
{
    for (int round = 1; round <= 50; round++) {
        __atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
        pthread_barrier_wait(&barrier);
        if (arrived < round * 4)
            return (void *)1;
        pthread_barrier_wait(&barrier);
    }
    return argument;
}

static void barriers_and_semaphores(void)
{
    pthread_t threads[4];
    pthread_barrier_init(&barrier, NULL, 4);
    long wrong = 0;
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, meet, NULL);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(threads[i], &result);
        wrong += (long)result;
    }
    NUMBER(wrong);
    NUMBER(arrived);
    sem_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sem_init(shared, 1, 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 100; i++)
            sem_post(shared);
        _exit(0);
    }
    int taken = 0;
    for (; taken < 100; taken++)
        sem_wait(shared);
    NUMBER(taken);
    SHOW(sem_trywait(shared));
    waitpid(child, NULL, 0);
}

static volatile int word;
static void *wake_later(void *argument)
{
    sleep_ms(50);
    word = 1;
    return (void *)futex(&word, (int)(long)argument, 1, NULL, NULL, 0);
}

static void *wait_here(void *argument)
{
    return (void *)futex(argument, FUTEX_WAIT, 0, NULL, NULL, 0);
}

static void raw_futexes(void)
{
    struct timespec brief = {0, 20000000}, wrong = {0, -1};
    void *woken;
    pthread_t one, two;
    word = 0;
    SHOW(futex(&word, FUTEX_WAIT, 5, NULL, NULL, 0));
    SHOW(futex(&word, FUTEX_WAIT, 0, &brief, NULL, 0));
    SHOW(futex(&word, FUTEX_WAIT, 0, &wrong, NULL, 0));
    SHOW(futex(&word, FUTEX_WAKE, 1, NULL, NULL, 0));
    SHOW(futex(&word, 99, 1, NULL, NULL, 0));
    pthread_create(&one, NULL, wake_later, (void *)FUTEX_WAKE);
    SHOW(futex(&word, FUTEX_WAIT, 0, NULL, NULL, 0));
    pthread_join(one, &woken);
    NUMBER((long)woken);
    word = 0;
    pthread_create(&one, NULL, wake_later, (void *)(FUTEX_WAKE | FUTEX_PRIVATE_FLAG));
    SHOW(futex(&word, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0));
    pthread_join(one, &woken);
    NUMBER((long)woken);
    SHOW(futex(&word, FUTEX_WAIT_BITSET, 1, &brief, NULL, 0));
    SHOW(futex(&word, FUTEX_WAIT_BITSET, 1, &brief, NULL, 1));
    static volatile int first, second;
    pthread_create(&one, NULL, wait_here, (void *)&first);
    pthread_create(&two, NULL, wait_here, (void *)&first);
    sleep_ms(50);
    SHOW(futex(&first, FUTEX_CMP_REQUEUE, 0, (void *)1L, &second, 7));
    SHOW(futex(&first, FUTEX_CMP_REQUEUE, 1, (void *)1L, &second, 0));
    SHOW(futex(&first, FUTEX_WAKE, 10, NULL, NULL, 0));
    SHOW(futex(&second, FUTEX_WAKE, 10, NULL, NULL, 0));
    pthread_join(one, NULL);
    pthread_join(two, NULL);
    static volatile int shared_zero;
    (void)shared_zero;
    volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fork() == 0) {
        sleep_ms(50);
        *shared = 1;
        _exit(futex(shared, FUTEX_WAKE, 1, NULL, NULL, 0) == 1 ? 0 : 1);
    }
    SHOW(futex(shared, FUTEX_WAIT, 0, NULL, NULL, 0));
    int status;
    wait(&status);
    show_status("waker", status);
    word = 10;
    first = 0;
    pthread_create(&one, NULL, wait_here, (void *)&first);
    sleep_ms(30);
    SHOW(futex(&first, FUTEX_WAKE_OP, 1, (void *)1L, &word, 1 << 28 | 5 << 12 | 10 /* add 5, compare equal with 10 */));
    NUMBER(word);
    pthread_join(one, NULL);
}

static void *die_with_lock(void *argument)
{
    pthread_mutex_lock(argument);
    return NULL;
}

static void robust_mutexes(void)
{
    pthread_mutex_t *mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(mutex, &kind);
    pthread_t one;
    pthread_create(&one, NULL, die_with_lock, mutex);
    pthread_join(one, NULL);
    HOLDS(pthread_mutex_lock(mutex) == EOWNERDEAD);
    HOLDS(pthread_mutex_consistent(mutex) == 0);
    HOLDS(pthread_mutex_unlock(mutex) == 0);
    pid_t child = fork();
    if (child == 0) {
        pthread_mutex_lock(mutex);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    HOLDS(pthread_mutex_lock(mutex) == EOWNERDEAD);
    pthread_mutex_unlock(mutex);
    HOLDS(pthread_mutex_lock(mutex) == ENOTRECOVERABLE);
}

static void *block_for_ever(void *argument)
{
    for (;;)
        pause();
    return argument;
}

static void *spin_for_ever(void *argument)
{
    for (;;)
        __asm__ volatile("" ::: "memory");
    return argument;
}

static void *exit_group(void *argument)
{
    sleep_ms(20);
    syscall(SYS_exit_group, (int)(long)argument);
    return NULL;
}

static void *exec_self(void *argument)
{
    char *arguments[] = {"threads", "survivor", NULL}, *none[] = {NULL};
    (void)argument;
    sleep_ms(20);
    execve("/proc/self/exe", arguments, none);
    return NULL;
}

static void group_exit_and_exec(void)
{
    pthread_t one;
    IN_CHILD("exit from a thread", {
        for (int i = 0; i < 4; i++)
            pthread_create(&one, NULL, i % 2 ? block_for_ever : spin_for_ever, NULL);
        pthread_create(&one, NULL, exit_group, (void *)9L);
        block_for_ever(NULL);
    });
    IN_CHILD("exec from a thread", {
        pthread_create(&one, NULL, block_for_ever, NULL);
        pthread_create(&one, NULL, spin_for_ever, NULL);
        pthread_create(&one, NULL, exec_self, NULL);
        block_for_ever(NULL);
    });
    IN_CHILD("leader leaves first", {
        pthread_create(&one, NULL, exit_group, (void *)12L);
        syscall(SYS_exit, 3);
    });
    IN_CHILD("killed", {
        for (int i = 0; i < 3; i++)
            pthread_create(&one, NULL, spin_for_ever, NULL);
        sleep_ms(20);
        kill(getpid(), SIGKILL);
        block_for_ever(NULL);
    });
    IN_CHILD("only this thread forks", {
        pthread_create(&one, NULL, spin_for_ever, NULL);
        IN_CHILD("forked", {
            int tasks = 0;
            char path[64];
            snprintf(path, sizeof path, "/proc/self/task/%d/comm", getpid());
            tasks += access(path, F_OK) == 0;
            NUMBER(tasks);
        });
    });
}

static volatile int handled_by;
static void note_thread(int number) { (void)number; handled_by = (int)syscall(SYS_gettid); }
static void *take_signal(void *argument)
{
    sigset_t all;
    sigemptyset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
    *(volatile int *)argument = (int)syscall(SYS_gettid);
    while (!handled_by)
        sleep_ms(5);
    return NULL;
}

static void signals_and_threads(void)
{
    volatile int tid = 0;
    pthread_t one;
    sigset_t set;
    signal(SIGUSR1, note_thread);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_create(&one, NULL, take_signal, (void *)&tid);
    while (!tid)
        sleep_ms(1);
    kill(getpid(), SIGUSR1);
    pthread_join(one, NULL);
    HOLDS(handled_by == tid);
    handled_by = 0;
    pthread_kill(pthread_self(), SIGUSR1);
    NUMBER(handled_by);
    sigset_t pending;
    sigpending(&pending);
    HOLDS(sigismember(&pending, SIGUSR1));
}

static void *cancel_me(void *argument)
{
    char byte;
    read(*(int *)argument, &byte, 1);
    return NULL;
}

static void cancellation(void)
{
    int ends[2];
    pipe(ends);
    pthread_t one;
    void *result = NULL;
    pthread_create(&one, NULL, cancel_me, &ends[0]);
    sleep_ms(30);
    HOLDS(pthread_cancel(one) == 0);
    HOLDS(pthread_join(one, &result) == 0);
    HOLDS(result == PTHREAD_CANCELED);
}

static void detached(void)
{
    pthread_attr_t kind;
    pthread_attr_init(&kind);
    pthread_attr_setdetachstate(&kind, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&kind, 65536);
    int failures = 0;
    for (int i = 0; i < 100; i++) {
        pthread_t one;
        failures += pthread_create(&one, &kind, count, NULL) != 0;
        if (i % 10 == 9)
            sleep_ms(20);
    }
    NUMBER(failures);
    while (__atomic_load_n(&counter, __ATOMIC_SEQ_CST) < 2000000)
        sleep_ms(5);
    NUMBER(counter);
}

static void *yield_loop(void *argument)
{
    for (int i = 0; i < 1000; i++)
        sched_yield();
    return argument;
}

static void yielding(void)
{
    pthread_t threads[8];
    for (int i = 0; i < 8; i++)
        pthread_create(&threads[i], NULL, yield_loop, NULL);
    int joined = 0;
    for (int i = 0; i < 8; i++)
        joined += pthread_join(threads[i], NULL) == 0;
    NUMBER(joined);
}

static const struct test_case cases[] = {
    {"create_and_join", create_and_join}, {"identity", identity}, {"locks", locks},
    {"barriers_and_semaphores", barriers_and_semaphores}, {"raw_futexes", raw_futexes},
    {"robust_mutexes", robust_mutexes}, {"group_exit_and_exec", group_exit_and_exec},
    {"signals_and_threads", signals_and_threads}, {"cancellation", cancellation}, {"detached", detached},
    {"yielding", yielding},
};

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "survivor") == 0) {
        HOLDS(syscall(SYS_gettid) == getpid());
        return 33;
    }
    return RUN_CASES(argc, argv, cases);
}
