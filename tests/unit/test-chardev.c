/*
 * core/chardev*.c, terminal.c: back-pressure, bounded buffers, every type, and the terminal.
 *
 * stdio is tested in a child on a pseudo-terminal: this program again, with --child.
 */
#include "runtimefixture.h"
#include "core/chardev-private.h"
#include "core/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

typedef struct Uart {
    VmrDevice base;
    VmrChardev *c;
    unsigned takes; /* how much it takes now */
    bool hungry;    /* takes all that comes */
    GString *got;
    unsigned writable, opened, closed, breaks;
} Uart;

static unsigned can_receive(VmrDevice *dev)
{
    return ((Uart *)dev)->hungry ? 16 : ((Uart *)dev)->takes;
}

static void receive(VmrDevice *dev, const uint8_t *data, unsigned len)
{
    Uart *u = (Uart *)dev;
    g_assert_cmpuint(len, <=, can_receive(dev));
    g_string_append_len(u->got, (const char *)data, len);
    if (!u->hungry)
        u->takes -= len;
}

static void event(VmrDevice *dev, VmrChardevEvent e)
{
    Uart *u = (Uart *)dev;
    u->opened += e == VMR_CHARDEV_OPENED;
    u->closed += e == VMR_CHARDEV_CLOSED;
    u->breaks += e == VMR_CHARDEV_BREAK;
}

static void writable(VmrDevice *dev)
{
    ((Uart *)dev)->writable++;
}

static const VmrChardevHandler handler = {sizeof(VmrChardevHandler), can_receive, receive, event,
                                          writable};
static const VmrDeviceClass uart_class = {.size = sizeof(VmrDeviceClass), .id = "uart",
                                          .instance_size = sizeof(Uart)};

static Uart *uart(Fixture *f, const VmrChardevClass *klass, const VmrChardevOptions *options)
{
    Uart *u = fixture_device(f, &uart_class, "uart");
    u->got = g_string_new(NULL);
    u->c = vmr_chardev_make(f->m, "c", klass, options);
    vmr_chardev_attach(&u->base, u->c, &handler);
    return u;
}

static void done(Fixture *f, Uart *u)
{
    g_string_free(u->got, TRUE);
    fixture_free(f);
}

static void settle(void)
{
    while (g_main_context_iteration(NULL, FALSE))
        ;
}

static unsigned put(Uart *u, const void *data, unsigned len)
{
    VmrDomain *d = u->base.handle->machine->domain;
    vmr_domain_lock(d);
    unsigned n = vmr_chardev_write(&u->base, u->c, data, len);
    vmr_domain_unlock(d);
    return n;
}

static void accept_input(Uart *u, unsigned takes)
{
    VmrDomain *d = u->base.handle->machine->domain;
    vmr_domain_lock(d);
    u->takes = takes;
    vmr_chardev_accept_input(&u->base, u->c);
    vmr_domain_unlock(d);
}

/* A back end on one end of a socket pair; the other is the user's. */
static Uart *on_pair(Fixture *f, int *other)
{
    static const VmrChardevOptions none;
    int pair[2];
    Uart *u = uart(f, &vmr_chardev_null, &none);
    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), ==, 0);
    vmr_chardev_stream(u->c, pair[0], pair[0]);
    *other = pair[1];
    return u;
}

static void test_input(void)
{
    Fixture *f = fixture_new(1);
    int fd;
    Uart *u = on_pair(f, &fd);
    g_assert_cmpint(write(fd, "hello, world", 12), ==, 12);
    settle();
    g_assert_cmpstr(u->got->str, ==, "");
    accept_input(u, 5);
    g_assert_cmpstr(u->got->str, ==, "hello");
    accept_input(u, 100);
    g_assert_cmpstr(u->got->str, ==, "hello, world");
    /* More than is read ahead stays with the sender, and nobody spins. */
    accept_input(u, 0);
    char *much = g_strnfill(20000, 'x');
    g_assert_cmpint(write(fd, much, 20000), ==, 20000);
    settle();
    g_assert_null(u->c->in_source);
    u->hungry = true;
    accept_input(u, 0);
    settle();
    g_assert_cmpuint(u->got->len, ==, 20012);
    g_free(much);
    /* The end: no source is left to be ready for ever. */
    close(fd);
    settle();
    g_assert_null(u->c->in_source);
    accept_input(u, 1);
    g_assert_null(u->c->in_source);
    vmr_chardev_stream_end(u->c);
    done(f, u);
}

static void test_output(void)
{
    Fixture *f = fixture_new(1);
    int fd;
    Uart *u = on_pair(f, &fd);
    uint8_t block[1000], back[4000];
    memset(block, 7, sizeof block);
    uint64_t sent = 0, got = 0;
    for (unsigned n = sizeof block; n == sizeof block && sent < (1 << 24); sent += n)
        n = put(u, block, sizeof block);
    g_assert_cmpuint(sent, <, 1 << 24); /* bounded */
    g_assert_cmpuint(put(u, block, 1), ==, 0);
    settle();
    g_assert_cmpuint(u->writable, ==, 0);
    ssize_t n;
    while (got < sent && ((n = read(fd, back, sizeof back)) > 0 || errno == EAGAIN)) {
        got += n > 0 ? (uint64_t)n : 0;
        settle();
    }
    g_assert_cmpuint(got, ==, sent);
    g_assert_cmpuint(u->writable, ==, 1);
    g_assert_null(u->c->out_source);
    /* Nobody listens: it takes all and goes on. */
    close(fd);
    signal(SIGPIPE, SIG_IGN);
    g_assert_cmpuint(put(u, block, 1000), ==, 1000);
    g_assert_cmpuint(put(u, block, 1000), ==, 1000);
    settle();
    vmr_chardev_stream_end(u->c);
    done(f, u);
}

static void test_file(void)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("vmrun-XXXXXX", NULL);
    char *out = g_build_filename(dir, "out", NULL), *in = g_build_filename(dir, "in", NULL);
    g_assert_true(g_file_set_contents(in, "input", -1, NULL));
    VmrChardevOptions o = {.path = out, .input = in, .append = true};
    for (unsigned i = 0; i < 2; i++) {
        Fixture *f = fixture_new(1);
        Uart *u = uart(f, &vmr_chardev_file, &o);
        u->hungry = true;
        g_assert_true(vmr_chardevs_open(f->m, &error));
        g_assert_cmpuint(put(u, "output ", 7), ==, 7);
        settle();
        g_assert_cmpstr(u->got->str, ==, "input");
        g_assert_null(u->c->in_source);
        vmr_chardevs_close(f->m, 1000);
        done(f, u);
    }
    char *text;
    g_assert_true(g_file_get_contents(out, &text, NULL, NULL));
    g_assert_cmpstr(text, ==, "output output ");
    g_free(text);
    unlink(out);
    unlink(in);
    /* A file that cannot be made is named. */
    Fixture *f = fixture_new(1);
    o.path = "/nowhere/at/all";
    Uart *u = uart(f, &vmr_chardev_file, &o);
    g_assert_false(vmr_chardevs_open(f->m, &error));
    g_assert_nonnull(strstr(error->message, "/nowhere/at/all"));
    g_clear_error(&error);
    vmr_chardevs_close(f->m, 0);
    done(f, u);
    rmdir(dir);
    g_free(out);
    g_free(in);
    g_free(dir);
}

static int connect_to(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    strcpy(a.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    g_assert_cmpint(connect(fd, (struct sockaddr *)&a, sizeof a), ==, 0);
    return fd;
}

static void test_unix(void)
{
    GError *error = NULL;
    char *dir = g_dir_make_tmp("vmrun-XXXXXX", NULL), *path = g_build_filename(dir, "s", NULL);
    VmrChardevOptions o = {.path = path, .listen = true};
    Fixture *f = fixture_new(1);
    Uart *u = uart(f, &vmr_chardev_unix, &o);
    u->hungry = true;
    g_assert_true(vmr_chardevs_open(f->m, &error));
    g_assert_cmpuint(put(u, "lost", 4), ==, 4);
    for (unsigned i = 1; i <= 2; i++) { /* a second client, once the first is gone */
        char buf[8] = "";
        int fd = connect_to(path);
        settle();
        g_assert_cmpuint(u->opened, ==, i);
        int other = connect_to(path);
        settle();
        g_assert_cmpint(read(other, buf, 1), ==, 0);
        close(other);
        g_assert_cmpint(write(fd, "in", 2), ==, 2);
        settle();
        g_assert_cmpuint(u->got->len, ==, 2 * i);
        g_assert_cmpuint(put(u, "out", 3), ==, 3);
        g_assert_cmpint(read(fd, buf, 8), ==, 3);
        g_assert_cmpstr(buf, ==, "out");
        close(fd);
        settle();
        g_assert_cmpuint(u->closed, ==, i);
    }
    vmr_chardevs_close(f->m, 100);
    g_assert_cmpint(access(path, F_OK), <, 0);
    done(f, u);
    rmdir(dir);
    g_free(path);
    g_free(dir);
}

/* Sections of a machine file: every error, with its place. */
static void test_sections(void)
{
    static const char text[] = "[machine]\n[chardev a]\ntype = fil\n[chardev b]\ntype = file\n"
                               "append = perhaps\n[chardev c]\n[chardev d]\ntype = unix\n"
                               "path = sock\nlisten = off\n";
    char *dir = g_dir_make_tmp("vmrun-XXXXXX", NULL), *path = g_build_filename(dir, "m.conf", NULL);
    g_assert_true(g_file_set_contents(path, text, -1, NULL));
    VmrErrors *errors = vmr_errors_new();
    VmrConfig *config = vmr_config_load(path, NULL, errors);
    g_assert_cmpuint(vmr_errors_count(errors), ==, 0);
    Fixture *f = fixture_new(1);
    VmrChardev *made[4];
    for (unsigned i = 0; i < 4; i++) {
        const char name[] = {(char)('a' + i), 0};
        made[i] = vmr_chardev_new(f->m, vmr_config_section(config, "chardev", name), errors);
    }
    g_assert_null(made[0]);
    g_assert_null(made[1]);
    g_assert_null(made[2]);
    g_assert_nonnull(made[3]);
    char *sock = g_build_filename(dir, "sock", NULL);
    g_assert_cmpstr(made[3]->options.path, ==, sock);
    g_assert_false(made[3]->options.listen);
    char *said = NULL;
    size_t size;
    FILE *to = open_memstream(&said, &size);
    vmr_errors_print(errors, to);
    fclose(to);
    g_test_message("%s", said);
    g_assert_cmpuint(vmr_errors_count(errors), ==, 4); /* b has two */
    g_assert_nonnull(strstr(said, "m.conf:3: [chardev a] type"));
    g_assert_nonnull(strstr(said, "\"file\""));
    free(said);
    g_free(sock);
    fixture_free(f);
    vmr_config_free(config);
    vmr_errors_free(errors);
    unlink(path);
    rmdir(dir);
    g_free(path);
    g_free(dir);
}

/* ---- the terminal ----------------------------------------------------- */

/* What the child does: a machine with stdio, which echoes its input in brackets. */
static void child_receive(VmrDevice *dev, const uint8_t *data, unsigned len)
{
    Uart *u = (Uart *)dev;
    for (unsigned i = 0; i < len; i++) {
        char text[8];
        g_snprintf(text, sizeof text, "<%02x>", data[i]);
        vmr_chardev_write(dev, u->c, (uint8_t *)text, 4);
        if (data[i] == 'S')
            raise(SIGSEGV);
        if (data[i] == 'A')
            abort();
        if (data[i] == 'E')
            exit(7);
        if (data[i] == 'Z')
            raise(SIGTSTP);
    }
}

static void child_event(VmrDevice *dev, VmrChardevEvent e)
{
    if (e == VMR_CHARDEV_BREAK)
        vmr_chardev_write(dev, ((Uart *)dev)->c, (const uint8_t *)"<break>", 7);
}

static int child(void)
{
    static const VmrChardevHandler echo = {sizeof(VmrChardevHandler), can_receive, child_receive,
                                           child_event, NULL};
    Fixture *f = fixture_new(1);
    VmrChardevOptions o = {.escape = true};
    Uart *u = uart(f, &vmr_chardev_stdio, &o);
    u->hungry = true;
    vmr_chardev_attach(&u->base, u->c, &echo);
    vmr_machine_set_time_limit(f->m, 20);
    int status = vmr_machine_run(f->m);
    done(f, u);
    return status;
}

static char *own_path;

typedef struct Child {
    pid_t pid;
    int master, slave;
    struct termios before;
    int flags;
} Child;

static Child child_start(void)
{
    Child c;
    c.master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    grantpt(c.master);
    unlockpt(c.master);
    c.slave = open(ptsname(c.master), O_RDWR | O_NOCTTY | O_CLOEXEC);
    g_assert_cmpint(c.slave, >=, 0);
    tcgetattr(c.slave, &c.before);
    c.flags = fcntl(c.slave, F_GETFL);
    c.pid = fork();
    if (c.pid == 0) {
        setsid();
        ioctl(c.slave, TIOCSCTTY, 0);
        /* whoever runs the tests may ignore these, as a shell does for what is in the background */
        signal(SIGINT, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        for (int i = 0; i < 3; i++)
            dup2(c.slave, i);
        execl(own_path, own_path, "--child", NULL);
        _exit(99);
    }
    return c;
}

/* Until the terminal is raw (or not). */
static bool child_mode(Child *c, bool raw)
{
    for (unsigned i = 0; i < 10000; i++) {
        struct termios t;
        tcgetattr(c->slave, &t);
        if (!(t.c_lflag & ICANON) == raw)
            return true;
        poll(NULL, 0, 1);
    }
    return false;
}

/* Type, and read until `want` has come; false after ten seconds. */
static bool child_talk(Child *c, const char *keys, size_t len, const char *want)
{
    GString *seen = g_string_new(NULL);
    bool ok = write(c->master, keys, len) == (ssize_t)len;
    while (ok && !strstr(seen->str, want)) {
        char buf[256];
        struct pollfd p = {.fd = c->master, .events = POLLIN};
        ok = poll(&p, 1, 10000) == 1;
        ssize_t n = ok ? read(c->master, buf, sizeof buf) : 0;
        if (n <= 0)
            ok = false;
        else
            g_string_append_len(seen, buf, n);
    }
    if (!ok)
        g_test_message("wanted %s, saw %s", want, seen->str);
    g_string_free(seen, TRUE);
    return ok;
}

/* It is gone, and the terminal is as before: its wait status. */
static int child_end(Child *c)
{
    int status;
    struct termios t;
    /* Someone has to read, for the child's restore waits until its output is out. */
    while (waitpid(c->pid, &status, WNOHANG) == 0) {
        char buf[256];
        struct pollfd p = {.fd = c->master, .events = POLLIN};
        if (poll(&p, 1, 5) == 1)
            (void)!read(c->master, buf, sizeof buf);
    }
    g_assert_cmpint(tcgetattr(c->slave, &t), ==, 0);
    g_assert_cmphex(t.c_lflag, ==, c->before.c_lflag);
    g_assert_cmphex(t.c_iflag, ==, c->before.c_iflag);
    g_assert_cmphex(t.c_oflag, ==, c->before.c_oflag);
    g_assert_cmphex(t.c_cflag, ==, c->before.c_cflag);
    g_assert_cmphex(fcntl(c->slave, F_GETFL), ==, c->flags);
    close(c->master);
    close(c->slave);
    return status;
}

static void test_keys(void)
{
    Child c = child_start();
    g_assert_true(child_mode(&c, true));
    /* ^C and ^Z go to the guest */
    g_assert_true(child_talk(&c, "a\003\032\r", 4, "<61><03><1a><0d>"));
    g_assert_true(child_talk(&c, "\001\001", 2, "<01>"));
    g_assert_true(child_talk(&c, "\001b", 2, "<break>"));
    g_assert_true(child_talk(&c, "\001h", 2, "Ctrl-A x"));
    g_assert_true(child_talk(&c, "\001c", 2, "(vmrun) "));
    g_assert_true(child_talk(&c, "info version\r", 13, "vmrun 0."));
    g_assert_true(child_talk(&c, "\001c", 2, "the guest's again"));
    g_assert_true(child_talk(&c, "x", 1, "<78>"));
    g_assert_cmpint(write(c.master, "\001x", 2), ==, 2);
    int status = child_end(&c);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 0);
}

static void test_ways_out(void)
{
    static const struct {
        const char *key;
        int signal; /* sent from outside, if there is no key */
        int exit, killed;
    } ways[] = {{"S", 0, -1, SIGSEGV}, {"A", 0, -1, SIGABRT}, {"E", 0, 7, 0},
                {NULL, SIGTERM, 128 + SIGTERM, 0}, {NULL, SIGHUP, 128 + SIGHUP, 0},
                {NULL, SIGINT, 128 + SIGINT, 0}, {NULL, SIGQUIT, -1, SIGQUIT},
                {NULL, SIGSEGV, -1, SIGSEGV}};
    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        Child c = child_start();
        g_assert_true(child_mode(&c, true));
        g_assert_true(child_talk(&c, "a", 1, "<61>")); /* the main loop runs */
        if (ways[i].key)
            g_assert_cmpint(write(c.master, ways[i].key, 1), ==, 1);
        else
            kill(c.pid, ways[i].signal);
        int status = child_end(&c);
        g_test_message("way %u: status 0x%x", i, status);
        if (ways[i].killed) {
#ifndef __SANITIZE_ADDRESS__ /* it ends a fault in its own way */
            g_assert_true(WIFSIGNALED(status));
            g_assert_cmpint(WTERMSIG(status), ==, ways[i].killed);
#endif
        } else {
            g_assert_true(WIFEXITED(status));
            g_assert_cmpint(WEXITSTATUS(status), ==, ways[i].exit);
        }
    }
}

static void test_stop(void)
{
    Child c = child_start();
    int status;
    g_assert_true(child_mode(&c, true));
    g_assert_true(child_talk(&c, "a", 1, "<61>"));
    kill(c.pid, SIGSTOP); /* orphaned groups do not obey SIGTSTP: see that ours asks at all */
    g_assert_cmpint(waitpid(c.pid, &status, WUNTRACED), ==, c.pid);
    tcsetattr(c.slave, TCSANOW, &c.before); /* as a shell would */
    kill(c.pid, SIGCONT);
    g_assert_true(child_mode(&c, true));
    kill(c.pid, SIGTSTP);
    g_assert_true(child_talk(&c, "b", 1, "<62>"));
    g_assert_true(child_mode(&c, true));
    g_assert_cmpint(write(c.master, "\001x", 2), ==, 2);
    g_assert_cmpint(WEXITSTATUS(child_end(&c)), ==, 0);
}

/* Standard input and output as pipes: no escape key, the end of input is no end, all is flushed. */
static void test_pipes(void)
{
    int in[2], out[2], status;
    g_assert_cmpint(pipe2(in, O_CLOEXEC), ==, 0);
    g_assert_cmpint(pipe2(out, O_CLOEXEC), ==, 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        execl(own_path, own_path, "--child", NULL);
        _exit(99);
    }
    close(out[1]);
    g_assert_cmpint(write(in[1], "\001xE", 3), ==, 3);
    close(in[1]);
    char buf[64] = "";
    size_t got = 0;
    ssize_t n;
    while (got < sizeof buf - 1 && (n = read(out[0], buf + got, sizeof buf - 1 - got)) > 0)
        got += (size_t)n;
    g_assert_cmpint(waitpid(pid, &status, 0), ==, pid);
    g_assert_cmpstr(buf, ==, "<01><78><45>");
    g_assert_cmpint(WEXITSTATUS(status), ==, 7);
    g_assert_cmphex(fcntl(in[0], F_GETFL) & O_NONBLOCK, ==, 0);
    close(in[0]);
    close(out[0]);
}

static void test_pty(void)
{
    GError *error = NULL;
    Fixture *f = fixture_new(1);
    VmrChardevOptions o = {0};
    Uart *u = uart(f, &vmr_chardev_pty, &o);
    u->hungry = true;
    g_assert_true(vmr_chardevs_open(f->m, &error));
    g_assert_cmpuint(put(u, "lost", 4), ==, 4);
    /* The name was told to the user; here, the master gives it. */
    int master = ((struct { VmrChardev base; int master; } *)(void *)u->c)->master;
    int fd = open(ptsname(master), O_RDWR | O_NOCTTY);
    g_assert_cmpint(fd, >=, 0);
    while (!u->opened)
        g_main_context_iteration(NULL, TRUE);
    char buf[8] = "";
    put(u, "out", 3);
    g_assert_cmpint(read(fd, buf, 8), ==, 3);
    g_assert_cmpstr(buf, ==, "out");
    g_assert_cmpint(write(fd, "in\003", 3), ==, 3);
    while (u->got->len < 3)
        g_main_context_iteration(NULL, TRUE);
    close(fd);
    while (!u->closed)
        g_main_context_iteration(NULL, TRUE);
    g_assert_null(u->c->in_source);
    vmr_chardevs_close(f->m, 0);
    done(f, u);
}

int main(int argc, char **argv)
{
    if (argc == 2 && !strcmp(argv[1], "--child"))
        return child();
    own_path = g_file_read_link("/proc/self/exe", NULL);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/chardev/input", test_input);
    g_test_add_func("/chardev/output", test_output);
    g_test_add_func("/chardev/file", test_file);
    g_test_add_func("/chardev/unix", test_unix);
    g_test_add_func("/chardev/sections", test_sections);
    g_test_add_func("/chardev/pty", test_pty);
    g_test_add_func("/chardev/pipes", test_pipes);
    g_test_add_func("/chardev/keys", test_keys);
    g_test_add_func("/chardev/ways-out", test_ways_out);
    g_test_add_func("/chardev/stop", test_stop);
    int status = g_test_run();
    g_free(own_path);
    return status;
}
