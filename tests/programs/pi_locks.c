/* Futexes that the kernel hands over: locking, owners that die, waiting to be moved to a lock. */
#include "show.h"

#include <pthread.h>
#include <stddef.h>

enum { WAIT = 0, WAKE = 1, REQUEUE = 3, LOCK = 6, UNLOCK = 7, TRYLOCK = 8, WAIT_REQUEUE = 11, CMP_REQUEUE = 12, LOCK2 = 13, PRIVATE = 128, REALTIME = 256 };
#define WAITERS 0x80000000u
#define OWNER_DIED 0x40000000u

static uint32_t lock, wait_word;

static long futex(void *at, int op, int value, const void *timeout, void *at2, int value3)
{
    return syscall(SYS_futex, at, op, value, timeout, at2, value3);
}

static int own(void) { return syscall(SYS_gettid); }

static void alone(void)
{
    SHOW(futex(&lock, TRYLOCK, 0, NULL, NULL, 0));
    HOLDS(lock == (uint32_t)own());
    SHOW(futex(&lock, TRYLOCK, 0, NULL, NULL, 0));
    SHOW(futex(&lock, LOCK, 0, NULL, NULL, 0));
    SHOW(futex(&lock, UNLOCK, 0, NULL, NULL, 0));
    NUMBER(lock);
    SHOW(futex(&lock, UNLOCK, 0, NULL, NULL, 0));
    SHOW(futex(&lock, LOCK, 0, NULL, NULL, 0));
    SHOW(futex(&lock, UNLOCK, 0, NULL, NULL, 0));
    SHOW(futex((char *)&lock + 1, LOCK, 0, NULL, NULL, 0));
    SHOW(futex(bad_address, LOCK, 0, NULL, NULL, 0));
    SHOW(futex(&lock, LOCK | REALTIME, 0, NULL, NULL, 0));
    lock = 4000000;
    SHOW(futex(&lock, LOCK, 0, NULL, NULL, 0));
    SHOW(futex(&lock, UNLOCK, 0, NULL, NULL, 0));
}

static void *waits_for_lock(void *arg)
{
    (void)arg;
    long got = futex(&lock, LOCK | PRIVATE, 0, NULL, NULL, 0);
    printf("  second has it: %ld %d\n", got, (lock & 0x3fffffff) == (uint32_t)own());
    fflush(stdout);
    futex(&lock, UNLOCK | PRIVATE, 0, NULL, NULL, 0);
    return NULL;
}

static void handed_over(void)
{
    pthread_t thread;
    SHOW(futex(&lock, LOCK | PRIVATE, 0, NULL, NULL, 0));
    pthread_create(&thread, NULL, waits_for_lock, NULL);
    while (!(__atomic_load_n(&lock, __ATOMIC_SEQ_CST) & WAITERS))
        sleep_ms(1);
    SHOW(futex(&lock, UNLOCK | PRIVATE, 0, NULL, NULL, 0));
    pthread_join(thread, NULL);
    NUMBER(lock);
}

static void times_out(void)
{
    pid_t child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    lock = child;
    struct timespec until, bad = {0, 1000000000};
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 20000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    SHOW(futex(&lock, LOCK, 0, &until, NULL, 0));
    SHOW(futex(&lock, LOCK, 0, &bad, NULL, 0));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void *waits_to_be_moved(void *arg)
{
    long got = futex(&wait_word, WAIT_REQUEUE | PRIVATE, 0, NULL, &lock, 0);
    printf("  waiter has the lock: %ld %d\n", got, (lock & 0x3fffffff) == (uint32_t)own());
    fflush(stdout);
    futex(&lock, UNLOCK | PRIVATE, 0, NULL, NULL, 0);
    return arg;
}

static void moved_to_a_lock(void)
{
    pthread_t threads[3];
    SHOW(futex(&wait_word, WAIT_REQUEUE | PRIVATE, 1, NULL, &lock, 0));
    SHOW(futex(&wait_word, WAIT_REQUEUE | PRIVATE, 0, NULL, &wait_word, 0));
    SHOW(futex(&wait_word, CMP_REQUEUE | PRIVATE, 2, (void *)1, &lock, 0));
    SHOW(futex(&wait_word, CMP_REQUEUE | PRIVATE, 1, (void *)-1, &lock, 0));
    SHOW(futex(&wait_word, CMP_REQUEUE | PRIVATE, 1, (void *)1, &wait_word, 0));
    SHOW(futex(&wait_word, CMP_REQUEUE | PRIVATE, 1, (void *)1, &lock, 5));
    SHOW(futex(&wait_word, CMP_REQUEUE | PRIVATE, 1, (void *)1, &lock, 0));
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    SHOW(futex(&wait_word, WAIT_REQUEUE | PRIVATE, 0, &until, &lock, 0));
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, waits_to_be_moved, NULL);
    sleep_ms(200);
    SHOW(futex(&lock, LOCK | PRIVATE, 0, NULL, NULL, 0));
    SHOW(futex(&wait_word, CMP_REQUEUE | PRIVATE, 1, (void *)5, &lock, 0));
    HOLDS(lock & WAITERS);
    SHOW(futex(&lock, UNLOCK | PRIVATE, 0, NULL, NULL, 0));
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    NUMBER(lock);
}

struct head { struct head *next; long offset; struct head *pending; };
struct entry { struct head *next; uint32_t word; };

static void *dies_with_lock(void *arg)
{
    static struct head head;
    struct entry *entry = arg;
    head.next = (struct head *)((char *)&entry->next + 1);
    entry->next = &head;
    head.offset = offsetof(struct entry, word);
    syscall(SYS_set_robust_list, &head, sizeof head);
    futex(&entry->word, LOCK | PRIVATE, 0, NULL, NULL, 0);
    while (!(__atomic_load_n(&entry->word, __ATOMIC_SEQ_CST) & WAITERS))
        sleep_ms(1);
    syscall(SYS_exit, 0);
    return NULL;
}

static void owner_dies(void)
{
    static struct entry entry;
    pthread_t thread;
    pthread_create(&thread, NULL, dies_with_lock, &entry);
    while (__atomic_load_n(&entry.word, __ATOMIC_SEQ_CST) == 0)
        sleep_ms(1);
    SHOW(futex(&entry.word, LOCK | PRIVATE, 0, NULL, NULL, 0));
    HOLDS(entry.word & OWNER_DIED);
    HOLDS((entry.word & 0x3fffffff) == (uint32_t)own());
}

static const struct test_case cases[] = {
    {"alone", alone}, {"handed_over", handed_over}, {"times_out", times_out}, {"moved_to_a_lock", moved_to_a_lock}, {"owner_dies", owner_dies},
};

int main(int argc, char **argv) { return RUN_CASES(argc, argv, cases); }
