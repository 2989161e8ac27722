/* random COUNT [CALL|- [WHICH|-1 [SEED]]]: makes each system call COUNT times with arguments out of pools, every time in a child
 * of its own with the same surroundings, and prints what it returned. The output is the same wherever Linux's behaviour is.
 *
 * Some calls change mounts, and some kill what has a low pid: run it in namespaces of its own (compare does). */
#include "scene.h"

static void sigh(int n)
{
    (void)n;
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? atoi(argv[1]) : 50;
    const char *only = argc > 2 ? argv[2] : NULL;
    int which = argc > 3 ? atoi(argv[3]) : -1;
    uint64_t seed = argc > 4 ? (uint64_t)atoll(argv[4]) : 1;
    char base[] = "/tmp/fz.XXXXXX";
    mkdtemp(base);
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t c = 0; c < sizeof calls / sizeof *calls; c++) {
        if (only && strcmp(only, calls[c].name) && strcmp(only, "-"))
            continue;
        for (int n = 0; n < count; n++) {
            if (which >= 0 && n != which)
                continue;
            state = seed * 0x9e3779b97f4a7c15ull + (uint64_t)n * 0x2545f4914f6cdd1dull;
            for (const char *x = calls[c].name; *x; x++)
                state = state * 31 + (uint64_t)*x;
            state |= 1;
            for (int k = 0; k < 5; k++)
                rnd(2);
            int p[2];
            pipe(p);
            pid_t child = fork();
            if (child == 0) {
                setpgid(0, 0);
                char dir[64];
                snprintf(dir, 64, "%s/%d", base, getpid());
                mkdir(dir, 0755);
                chdir(dir);
                dup2(p[1], 200);
                close(p[0]);
                close(p[1]);
                prepare();
                uint64_t a[6] = {0};
                int argn = 0;
                for (; argn < 6 && calls[c].args[argn]; argn++)
                    a[argn] = arg(calls[c].args[argn], argn, calls[c].flags);
                char text[512];
                int at = snprintf(text, 512, "%s#%d(", calls[c].name, n);
                for (int i = 0; i < argn; i++)
                    at += label[i] ? snprintf(text + at, 512 - (size_t)at, "%s%s", i ? "," : "", label[i])
                                   : snprintf(text + at, 512 - (size_t)at, "%s%llx", i ? "," : "", (unsigned long long)a[i]);
                at += snprintf(text + at, 512 - (size_t)at, ")");
                write(200, text, (size_t)at);
                struct sigaction act = {.sa_handler = sigh};
                sigaction(SIGALRM, &act, NULL);
                struct itimerval it = {{0, 100000}, {0, 200000}};
                setitimer(ITIMER_REAL, &it, NULL);
                long r = syscall(calls[c].number, a[0], a[1], a[2], a[3], a[4], a[5]);
                int e = errno;
                struct itimerval off = {{0, 0}, {0, 0}};
                setitimer(ITIMER_REAL, &off, NULL);
                if (r == -1)
                    at = snprintf(text, 512, " = E%d %s", e, strerror(e));
                else if (r > 0x100000 || r < -1)
                    at = snprintf(text, 512, " = big");
                else if (r == getpid())
                    at = snprintf(text, 512, " = self");
                else if (r == zombie)
                    at = snprintf(text, 512, " = zombie");
                else
                    at = snprintf(text, 512, " = %ld", r);
                write(200, text, (size_t)at);
                _exit(0);
            }
            close(p[1]);
            char text[1024];
            int at = 0;
            ssize_t got;
            while ((got = read(p[0], text + at, sizeof text - 1 - (size_t)at)) > 0)
                at += (int)got;
            text[at] = 0;
            close(p[0]);
            int status = 0;
            waitpid(child, &status, 0);
            if (WIFSIGNALED(status))
                snprintf(text + at, 100, " killed %d", WTERMSIG(status));
            kill(-child, SIGKILL);
            puts(text);
            char cmd[100];
            snprintf(cmd, 100, "%s/%d", base, child);
            char rm[200];
            (void)rm;
            char *names[] = {"f", "d/g", "s", "dangling", "loop", "sd", "fifo", "sock", "new", NULL};
            for (char **x = names; *x; x++) {
                snprintf(rm, 200, "%s/%s", cmd, *x);
                unlink(rm);
            }
            snprintf(rm, 200, "%s/d", cmd);
            rmdir(rm);
            rmdir(cmd);
        }
    }
    return 0;
}
