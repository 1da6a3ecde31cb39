/*
 * core/gdb.c - GDB's remote protocol, for `target remote`.
 *
 * After "Remote Protocol" of GDB's manual.  All-stop: the machine is paused while the client has
 * the say, its clock with it.  Threads are CPUs, from 1.  One client at a time.
 *
 * Leaves out: non-stop mode, watchpoints of reads alone, tracepoints, files, reverse execution.
 */
#include "gdb.h"

#include "debug.h"
#include "gdb-registers.h"
#include "monitor.h"
#include "runtime.h"

#include <errno.h>
#include <gio/gio.h>
#include <gio/gunixsocketaddress.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PACKET_MAX = 0x4000, OUT_MAX = 1 << 20, INTERRUPT = 3, SIGNAL_INT = 2, SIGNAL_TRAP = 5 };

typedef struct Break {
    VmrPoint point;
    char type; /* of the Z packet */
} Break;

struct VmrGdb {
    VmrMachine *machine;
    GSocketService *service;
    char *path;                  /* of a UNIX socket; or NULL */
    GSocketConnection *connection; /* NULL: no client */
    GSource *in_source, *out_source;
    GByteArray *in, *out;
    GArray *breaks;              /* Break */
    bool no_ack, wait, swbreak, hwbreak;
    bool halted;                 /* the client has paused the machine */
    bool running;                /* it waits for a stop: atomic */
    unsigned stop;               /* atomic: 1 + the CPU that has stopped; 0 none */
    bool *pending;               /* of a CPU: it has stopped and is still to be told of */
    unsigned current;            /* the thread that packets are about, from 0 */
    unsigned continue_with;      /* Hc: 1 + the thread, 0 all */
};

/* ---- output --------------------------------------------------------------------------------------- */

static void hang_up(struct VmrGdb *g);

static void source_end(GSource **s)
{
    if (*s) {
        g_source_destroy(*s);
        g_source_unref(*s);
        *s = NULL;
    }
}

static int socket_of(const struct VmrGdb *g)
{
    return g_socket_get_fd(g_socket_connection_get_socket(g->connection));
}

static gboolean writable(int fd, GIOCondition condition, gpointer data);

static void flush(struct VmrGdb *g)
{
    while (g->connection && g->out->len) {
        ssize_t n = send(socket_of(g), g->out->data, g->out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            g_byte_array_remove_range(g->out, 0, (guint)n);
        else if (n == 0 || errno != EINTR)
            break; /* full, or gone: then reading says so */
    }
    if (!g->out->len) {
        source_end(&g->out_source);
    } else if (!g->out_source) {
        g->out_source = g_unix_fd_source_new(socket_of(g), G_IO_OUT);
        g_source_set_callback(g->out_source, G_SOURCE_FUNC(writable), g, NULL);
        g_source_attach(g->out_source, g->machine->priv->context);
    }
}

static gboolean writable(int fd, GIOCondition condition, gpointer data)
{
    struct VmrGdb *g = data;
    flush(g);
    return g->out_source ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void put(struct VmrGdb *g, const void *data, size_t len)
{
    if (g->connection && g->out->len + len < OUT_MAX)
        g_byte_array_append(g->out, data, (guint)len);
}

/* A packet whose content may have any byte. */
static void send_bytes(struct VmrGdb *g, const char *data, size_t len)
{
    GString *p = g_string_new("$");
    uint8_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        if (strchr("$#}*", data[i]) && data[i]) {
            g_string_append_c(p, '}');
            g_string_append_c(p, data[i] ^ 0x20);
        } else {
            g_string_append_c(p, data[i]);
        }
    }
    for (size_t i = 1; i < p->len; i++)
        sum = (uint8_t)(sum + (uint8_t)p->str[i]);
    g_string_append_printf(p, "#%02x", sum);
    put(g, p->str, p->len);
    flush(g);
    g_string_free(p, TRUE);
}

static void reply(struct VmrGdb *g, const char *text)
{
    send_bytes(g, text, strlen(text));
}

G_GNUC_PRINTF(2, 3) static void replyf(struct VmrGdb *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    reply(g, text);
    g_free(text);
}

static void add_hex(GString *to, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        g_string_append_printf(to, "%02x", bytes[i]);
}

/* ---- numbers of packets ------------------------------------------------------------------------------ */

static bool number(const char **p, uint64_t *value)
{
    const char *from = *p;
    *value = 0;
    while (g_ascii_isxdigit(**p))
        *value = *value << 4 | (unsigned)g_ascii_xdigit_value(*(*p)++);
    return *p != from;
}

static bool two_numbers(const char **p, uint64_t *a, uint64_t *b)
{
    return number(p, a) && *(*p)++ == ',' && number(p, b);
}

static size_t from_hex(const char *p, uint8_t *to, size_t most)
{
    size_t n = 0;
    for (; n < most && g_ascii_isxdigit(p[0]) && g_ascii_isxdigit(p[1]); p += 2)
        to[n++] = (uint8_t)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
    return n;
}

/* A thread: "p1.2", "2", "-1" (all), "0" (any): 1 + the CPU, 0 for all or any; false: there is none. */
static bool thread(const struct VmrGdb *g, const char **p, unsigned *n)
{
    uint64_t id = 0;
    if (**p == 'p') {
        const char *dot = strchr(*p, '.');
        *p = dot ? dot + 1 : *p + strlen(*p);
    }
    if (g_str_has_prefix(*p, "-1"))
        *p += 2;
    else if (**p && !number(p, &id))
        return false;
    *n = (unsigned)MIN(id, UINT32_MAX);
    return id <= g->machine->cpu_count;
}

/* ---- state of a CPU ------------------------------------------------------------------------------------ */

static const VmrX86CpuInterface *x86_of(VmrMachine *m, unsigned n)
{
    VmrCpu *cpu = &m->cpus[n];
    return cpu->acpu && m->accel->cpu_interface ? m->accel->cpu_interface(cpu->acpu, VMR_X86_CPU) : NULL;
}

static VmrX86State *state_get(struct VmrGdb *g)
{
    const VmrX86CpuInterface *x86 = x86_of(g->machine, g->current);
    if (!x86)
        return NULL;
    VmrX86State *s = g_new0(VmrX86State, 1);
    s->size = sizeof *s;
    vmr_domain_lock_urgent(g->machine->domain);
    x86->get_state(&g->machine->cpus[g->current], s);
    vmr_domain_unlock(g->machine->domain);
    return s;
}

static void state_set(struct VmrGdb *g, const VmrX86State *s)
{
    VmrCpu *cpu = &g->machine->cpus[g->current];
    GError *error = NULL;
    vmr_domain_lock_urgent(g->machine->domain);
    bool ok = x86_of(g->machine, g->current)->set_state(cpu, s, &error);
    vmr_domain_unlock(g->machine->domain);
    cpu->debug_over = false; /* it may stand elsewhere */
    reply(g, ok ? "OK" : "E01");
    if (!ok)
        vmr_core_log(VMR_LOG_WARNING, "--gdb: CPU %u: %s", g->current, error->message);
    g_clear_error(&error);
}

static void registers_read(struct VmrGdb *g, int only)
{
    VmrX86State *s = state_get(g);
    GString *text = g_string_new(NULL);
    uint8_t bytes[VMR_GDB_REGISTER_BYTES];
    unsigned n = only < 0 ? 0 : (unsigned)only, size;
    while (s && (size = vmr_gdb_register_read(s, n, bytes))) {
        add_hex(text, bytes, size);
        n++;
        if (only >= 0)
            break;
    }
    reply(g, text->len ? text->str : "E01");
    g_string_free(text, TRUE);
    g_free(s);
}

static void registers_write(struct VmrGdb *g, const char *hex)
{
    VmrX86State *s = state_get(g);
    uint8_t bytes[VMR_GDB_REGISTER_BYTES];
    bool ok = s;
    for (unsigned n = 0, size; ok && (size = vmr_gdb_register_size(n)) && *hex; n++) {
        ok = from_hex(hex, bytes, size) == size;
        if (ok)
            vmr_gdb_register_write(s, n, bytes);
        hex += ok ? 2 * size : 0;
    }
    if (ok)
        state_set(g, s);
    else
        reply(g, "E01");
    g_free(s);
}

static void register_write(struct VmrGdb *g, const char *p)
{
    uint64_t n;
    uint8_t bytes[VMR_GDB_REGISTER_BYTES];
    VmrX86State *s = state_get(g);
    unsigned size = 0;
    if (s && number(&p, &n) && *p++ == '=')
        size = vmr_gdb_register_size((unsigned)MIN(n, UINT16_MAX));
    if (size && from_hex(p, bytes, size) == size) {
        vmr_gdb_register_write(s, (unsigned)n, bytes);
        state_set(g, s);
    } else {
        reply(g, "E01");
    }
    g_free(s);
}

/* ---- memory ---------------------------------------------------------------------------------------------- */

static void memory_read(struct VmrGdb *g, const char *p)
{
    uint64_t address, len;
    VmrX86State *s = state_get(g);
    if (!s || !two_numbers(&p, &address, &len)) {
        reply(g, "E01");
        g_free(s);
        return;
    }
    len = MIN(len, PACKET_MAX / 2 - 8);
    uint8_t *buf = g_malloc(len + 1);
    size_t n = vmr_debug_memory(g->machine, s, address, buf, len, false);
    GString *text = g_string_new(NULL);
    add_hex(text, buf, n);
    reply(g, n || !len ? text->str : "E14");
    g_string_free(text, TRUE);
    g_free(buf);
    g_free(s);
}

/* M has hexadecimal digits, X bytes. */
static void memory_write(struct VmrGdb *g, const char *p, const char *end, bool hex)
{
    uint64_t address, len;
    VmrX86State *s = state_get(g);
    bool ok = s && two_numbers(&p, &address, &len) && *p++ == ':' && len <= PACKET_MAX;
    if (ok) {
        uint8_t *buf = g_malloc(len + 1);
        size_t n = hex ? from_hex(p, buf, len) : MIN(len, (size_t)(end - p));
        if (!hex)
            memcpy(buf, p, n);
        ok = n == len && vmr_debug_memory(g->machine, s, address, buf, n, true) == n;
        g_free(buf);
    }
    reply(g, ok ? "OK" : "E14");
    g_free(s);
}

/* ---- breakpoints ------------------------------------------------------------------------------------------ */

static void breakpoint(struct VmrGdb *g, const char *p, bool set)
{
    static const int kinds[] = {VMR_POINT_EXEC, VMR_POINT_EXEC, VMR_POINT_WRITE, -1, VMR_POINT_ACCESS};
    char type = *p++;
    uint64_t address = 0, size = 0;
    if (type < '0' || type > '4' || kinds[type - '0'] < 0 || *p++ != ',') {
        reply(g, ""); /* not known here */
        return;
    }
    bool ok = two_numbers(&p, &address, &size);
    Break b = {.type = type, .point = {.address = address, .kind = (VmrPointKind)kinds[type - '0'], .size = (uint8_t)size}};
    if (b.point.kind == VMR_POINT_EXEC)
        b.point.size = 1;
    else
        ok = ok && size && size <= 8 && !(size & (size - 1)) && !(address & (size - 1));
    GError *error = NULL;
    if (!ok) {
        reply(g, "E22");
    } else if (set) {
        ok = vmr_debug_add(g->machine, &b.point, &error);
        if (ok)
            g_array_append_val(g->breaks, b);
        reply(g, ok ? "OK" : "E28");
        if (!ok)
            vmr_core_log(VMR_LOG_WARNING, "--gdb: %s", error->message);
        g_clear_error(&error);
    } else {
        for (unsigned i = 0; i < g->breaks->len; i++) {
            const Break *o = &g_array_index(g->breaks, Break, i);
            if (o->type != type || o->point.address != address || o->point.size != b.point.size)
                continue;
            vmr_debug_remove(g->machine, &b.point);
            g_array_remove_index(g->breaks, i);
            break;
        }
        reply(g, "OK");
    }
}

/* ---- running and stopping ---------------------------------------------------------------------------------- */

/* Why CPU n has stopped. */
static void tell_stop(struct VmrGdb *g, unsigned n, unsigned signal)
{
    const VmrDebugHit *hit = &g->machine->cpus[n].debug_hit;
    GString *text = g_string_new(NULL);
    g->current = n;
    g_string_printf(text, "T%02x", signal);
    for (unsigned i = 0; signal == SIGNAL_TRAP && !hit->step && i < g->breaks->len; i++) {
        const Break *b = &g_array_index(g->breaks, Break, i);
        if (b->point.kind != hit->kind || b->point.address != hit->address)
            continue;
        if (b->type == '0' && g->swbreak)
            g_string_append(text, "swbreak:;");
        else if (b->type == '1' && g->hwbreak)
            g_string_append(text, "hwbreak:;");
        else if (b->type >= '2')
            g_string_append_printf(text, "%s:%" PRIx64 ";", b->type == '2' ? "watch" : "awatch", hit->address);
        break;
    }
    g_string_append_printf(text, "thread:%x;", n + 1);
    reply(g, text->str);
    g_string_free(text, TRUE);
}

static bool halt(struct VmrGdb *g)
{
    if (!g->halted)
        g->halted = vmr_machine_pause(g->machine);
    __atomic_store_n(&g->running, false, __ATOMIC_SEQ_CST);
    for (unsigned i = 0; g->halted && i < g->machine->cpu_count; i++) {
        g->machine->cpus[i].debug_step = false;
        __atomic_store_n(&g->machine->cpus[i].debug_hold, false, __ATOMIC_SEQ_CST);
    }
    return g->halted;
}

bool vmr_gdb_stopped(VmrCpu *cpu)
{
    struct VmrGdb *g = cpu->machine->priv->gdb;
    if (!g || !__atomic_load_n(&g->running, __ATOMIC_SEQ_CST))
        return false;
    unsigned none = 0;
    bool first = __atomic_compare_exchange_n(&g->stop, &none, cpu->index + 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    bool point = !cpu->debug_hit.step && cpu->debug_hit.kind == VMR_POINT_EXEC;
    if (!first && !point)
        g->pending[cpu->index] = true; /* it does not come again by itself */
    vmr_machine_look(cpu->machine);
    return first;
}

void vmr_gdb_carry_out(VmrMachine *m)
{
    struct VmrGdb *g = m->priv->gdb;
    unsigned n = g ? __atomic_load_n(&g->stop, __ATOMIC_SEQ_CST) : 0;
    if (!n || !halt(g))
        return;
    __atomic_store_n(&g->stop, 0, __ATOMIC_SEQ_CST);
    tell_stop(g, n - 1, SIGNAL_TRAP);
}

/* As debug_step and debug_hold of the CPUs say. */
static void run_on(struct VmrGdb *g)
{
    for (unsigned i = 0; i < g->machine->cpu_count; i++) {
        if (!g->pending[i])
            continue;
        g->pending[i] = false;
        (void)halt(g);
        tell_stop(g, i, SIGNAL_TRAP);
        return;
    }
    vmr_debug_changed(g->machine);
    __atomic_store_n(&g->running, true, __ATOMIC_SEQ_CST);
    if (g->halted) {
        g->halted = false;
        vmr_machine_resume(g->machine);
    }
}

/* c, s: all go on, or the thread of Hc alone steps. */
static void simple_run(struct VmrGdb *g, bool step)
{
    unsigned n = g->continue_with ? g->continue_with - 1 : g->current;
    for (unsigned i = 0; i < g->machine->cpu_count; i++) {
        VmrCpu *cpu = &g->machine->cpus[i];
        cpu->debug_step = step && i == n;
        __atomic_store_n(&cpu->debug_hold, (step || g->continue_with) && i != n, __ATOMIC_SEQ_CST);
    }
    run_on(g);
}

/* vCont;ACTION[:THREAD]...: the leftmost that fits a thread is its own; none: it waits. */
static void v_cont(struct VmrGdb *g, const char *p)
{
    VmrMachine *m = g->machine;
    char *actions = g_malloc0(m->cpu_count);
    bool ok = true;
    while (ok && *p++ == ';') {
        char action = g_ascii_tolower(*p++);
        unsigned n = 0;
        uint64_t unused;
        if (p[-1] == 'C' || p[-1] == 'S')
            (void)number(&p, &unused); /* a signal: there are none in a machine */
        ok = action == 'c' || action == 's';
        if (ok && *p == ':') {
            p++;
            ok = thread(g, &p, &n);
        }
        for (unsigned i = 0; ok && i < m->cpu_count; i++)
            if (!actions[i] && (!n || n == i + 1))
                actions[i] = action;
    }
    if (!ok) {
        reply(g, "E22");
    } else {
        for (unsigned i = 0; i < m->cpu_count; i++) {
            m->cpus[i].debug_step = actions[i] == 's';
            __atomic_store_n(&m->cpus[i].debug_hold, !actions[i], __ATOMIC_SEQ_CST);
        }
        run_on(g);
    }
    g_free(actions);
}

/* The client has gone, or lets go: nothing stays of it. */
static void let_go(struct VmrGdb *g)
{
    for (unsigned i = 0; i < g->breaks->len; i++)
        vmr_debug_remove(g->machine, &g_array_index(g->breaks, Break, i).point);
    g_array_set_size(g->breaks, 0);
    (void)halt(g);
    __atomic_store_n(&g->stop, 0, __ATOMIC_SEQ_CST);
    memset(g->pending, 0, g->machine->cpu_count * sizeof *g->pending);
    vmr_debug_changed(g->machine);
    if (g->halted) {
        g->halted = false;
        vmr_machine_resume(g->machine);
    }
}

/* ---- queries ------------------------------------------------------------------------------------------------- */

static void threads(struct VmrGdb *g)
{
    GString *text = g_string_new("m");
    for (unsigned i = 0; i < g->machine->cpu_count; i++)
        g_string_append_printf(text, "%s%x", i ? "," : "", i + 1);
    reply(g, text->str);
    g_string_free(text, TRUE);
}

static void thread_info(struct VmrGdb *g, const char *p)
{
    unsigned n, before = g->current;
    if (!thread(g, &p, &n) || !n) {
        reply(g, "E01");
        return;
    }
    g->current = n - 1;
    VmrX86State *s = state_get(g);
    g->current = before;
    static const char *const states[] = {"running", "halted", "waiting for SIPI"};
    char *text = g_strdup_printf("CPU %u, %s, on %s", n - 1, s && s->mp_state < 3 ? states[s->mp_state] : "?",
                                 g->machine->accel->name);
    GString *hex = g_string_new(NULL);
    add_hex(hex, (const uint8_t *)text, strlen(text));
    reply(g, hex->str);
    g_string_free(hex, TRUE);
    g_free(text);
    g_free(s);
}

/* qXfer:features:read:target.xml:OFFSET,LENGTH */
static void features(struct VmrGdb *g, const char *p)
{
    uint64_t offset, length;
    if (!g_str_has_prefix(p, "target.xml:") || (p += 11, !two_numbers(&p, &offset, &length))) {
        reply(g, "E00");
        return;
    }
    char *xml = vmr_gdb_target_xml();
    size_t whole = strlen(xml), from = MIN(offset, whole), n = MIN(MIN(length, whole - from), PACKET_MAX / 2);
    GString *text = g_string_new(from + n < whole ? "m" : "l");
    g_string_append_len(text, xml + from, (gssize)n);
    send_bytes(g, text->str, text->len);
    g_string_free(text, TRUE);
    g_free(xml);
}

/* qRcmd: a line for the monitor; what it does to the machine while it is paused stays so. */
static void command(struct VmrGdb *g, const char *hex)
{
    char line[512];
    size_t n = from_hex(hex, (uint8_t *)line, sizeof line - 1);
    line[n] = 0;
    char *text = vmr_monitor_human(g->machine, line);
    GString *out = g_string_new(NULL);
    add_hex(out, (const uint8_t *)text, MIN(strlen(text), PACKET_MAX / 2 - 8));
    reply(g, out->len ? out->str : "OK");
    g_string_free(out, TRUE);
    g_free(text);
}

static void query(struct VmrGdb *g, const char *p)
{
    if (g_str_has_prefix(p, "Supported")) {
        g->swbreak = strstr(p, "swbreak+") != NULL;
        g->hwbreak = strstr(p, "hwbreak+") != NULL;
        replyf(g, "PacketSize=%x;qXfer:features:read+;QStartNoAckMode+;vContSupported+;swbreak+;hwbreak+", PACKET_MAX);
    } else if (g_str_has_prefix(p, "Xfer:features:read:")) {
        features(g, p + 19);
    } else if (!strcmp(p, "fThreadInfo")) {
        threads(g);
    } else if (!strcmp(p, "sThreadInfo")) {
        reply(g, "l");
    } else if (g_str_has_prefix(p, "ThreadExtraInfo,")) {
        thread_info(g, p + 16);
    } else if (!strcmp(p, "C")) {
        replyf(g, "QC%x", g->current + 1);
    } else if (g_str_has_prefix(p, "Attached")) {
        reply(g, "1");
    } else if (g_str_has_prefix(p, "Rcmd,")) {
        command(g, p + 5);
    } else {
        reply(g, "");
    }
}

static void v_packet(struct VmrGdb *g, const char *p)
{
    if (!strcmp(p, "Cont?"))
        reply(g, "vCont;c;C;s;S");
    else if (g_str_has_prefix(p, "Cont;"))
        v_cont(g, p + 4);
    else if (g_str_has_prefix(p, "Kill"))
        reply(g, "OK"), vmr_machine_leave(g->machine, 0, NULL);
    else
        reply(g, "");
}

static void set_thread(struct VmrGdb *g, const char *p)
{
    char what = *p++;
    unsigned n;
    bool ok = (what == 'g' || what == 'c') && thread(g, &p, &n);
    if (ok && what == 'c')
        g->continue_with = n;
    else if (ok && n)
        g->current = n - 1;
    reply(g, ok ? "OK" : "E01");
}

/* data is followed by a NUL. */
static void packet(struct VmrGdb *g, char *data, size_t len)
{
    const char *p = data + 1;
    uint64_t n;
    unsigned id;
    switch (data[0]) {
    case '?': tell_stop(g, g->current, SIGNAL_TRAP); break;
    case 'g': registers_read(g, -1); break;
    case 'G': registers_write(g, p); break;
    case 'p': registers_read(g, number(&p, &n) && n < G_MAXINT ? (int)n : G_MAXINT); break;
    case 'P': register_write(g, p); break;
    case 'm': memory_read(g, p); break;
    case 'M': memory_write(g, p, data + len, true); break;
    case 'X': memory_write(g, p, data + len, false); break;
    case 'Z': breakpoint(g, p, true); break;
    case 'z': breakpoint(g, p, false); break;
    case 'H': set_thread(g, p); break;
    case 'T': reply(g, thread(g, &p, &id) && id ? "OK" : "E01"); break;
    case 'c': case 'C': simple_run(g, false); break;
    case 's': case 'S': simple_run(g, true); break;
    case 'v': v_packet(g, p); break;
    case 'q': query(g, p); break;
    case 'Q':
        if (!strcmp(p, "StartNoAckMode")) {
            reply(g, "OK");
            g->no_ack = true;
        } else {
            reply(g, "");
        }
        break;
    case 'D':
        reply(g, "OK");
        let_go(g);
        break;
    case 'k': vmr_machine_leave(g->machine, 0, NULL); break;
    default: reply(g, "");
    }
}

/* ---- the connection -------------------------------------------------------------------------------------------- */

/* Takes the packet at the start of `in`, if it is complete: how many bytes, or 0. */
static size_t take_packet(struct VmrGdb *g)
{
    const uint8_t *in = g->in->data, *hash = memchr(in, '#', g->in->len);
    if (!hash || hash + 3 > in + g->in->len)
        return 0;
    uint8_t sum = 0;
    char *data = g_malloc((size_t)(hash - in) + 1);
    size_t n = 0;
    for (const uint8_t *p = in + 1; p < hash; p++) {
        sum = (uint8_t)(sum + *p);
        if (*p == '}' && p + 1 < hash) {
            p++;
            sum = (uint8_t)(sum + *p);
            data[n++] = (char)(*p ^ 0x20);
        } else {
            data[n++] = (char)*p;
        }
    }
    data[n] = 0;
    size_t taken = (size_t)(hash + 3 - in);
    uint8_t wanted = 0;
    bool good = from_hex((const char *)hash + 1, &wanted, 1) == 1 && wanted == sum;
    if (!g->no_ack)
        put(g, good ? "+" : "-", 1);
    /* While it runs, the client has no say but to interrupt. */
    if (good && g->halted)
        packet(g, data, n);
    else
        flush(g);
    g_free(data);
    return taken;
}

static void take(struct VmrGdb *g)
{
    while (g->connection && g->in->len) {
        size_t n = 1;
        if (g->in->data[0] == '$') {
            n = take_packet(g);
            if (!n)
                break;
        } else if (g->in->data[0] == INTERRUPT && !g->halted && halt(g)) {
            __atomic_store_n(&g->stop, 0, __ATOMIC_SEQ_CST);
            tell_stop(g, g->current, SIGNAL_INT);
        }
        if (g->connection)
            g_byte_array_remove_range(g->in, 0, (guint)n);
    }
    if (g->connection && g->in->len > 2 * PACKET_MAX + 4)
        hang_up(g);
}

static gboolean readable(int fd, GIOCondition condition, gpointer data)
{
    struct VmrGdb *g = data;
    uint8_t buf[4096];
    ssize_t n = recv(fd, buf, sizeof buf, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return G_SOURCE_CONTINUE;
    if (n <= 0) {
        hang_up(g);
        return G_SOURCE_REMOVE;
    }
    g_byte_array_append(g->in, buf, (guint)n);
    take(g);
    return g->connection ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static void hang_up(struct VmrGdb *g)
{
    if (!g->connection)
        return;
    source_end(&g->in_source);
    source_end(&g->out_source);
    g_clear_object(&g->connection);
    g_byte_array_set_size(g->in, 0);
    g_byte_array_set_size(g->out, 0);
    let_go(g);
}

static gboolean incoming(GSocketService *service, GSocketConnection *connection, GObject *source, gpointer data)
{
    struct VmrGdb *g = data;
    char c;
    if (g->connection && recv(socket_of(g), &c, 1, MSG_PEEK | MSG_DONTWAIT) == 0)
        hang_up(g); /* the former one has gone, which comes to light now */
    if (g->connection || (!g->halted && !halt(g)))
        return TRUE; /* it is closed: one at a time */
    g->wait = false;
    g->connection = g_object_ref(connection);
    g->no_ack = g->swbreak = g->hwbreak = false;
    g->current = g->continue_with = 0;
    g->in_source = g_unix_fd_source_new(socket_of(g), G_IO_IN);
    g_source_set_callback(g->in_source, G_SOURCE_FUNC(readable), g, NULL);
    g_source_attach(g->in_source, g->machine->priv->context);
    return TRUE;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static GSocketAddress *address_of(struct VmrGdb *g, const char *text, GError **error)
{
    if (g_str_has_prefix(text, "unix:")) {
        struct stat st;
        g->path = g_strdup(text + 5);
        /* A socket that a former one left behind; anything else stays, and is in the way. */
        if (stat(g->path, &st) == 0 && S_ISSOCK(st.st_mode))
            (void)unlink(g->path);
        return g_unix_socket_address_new(g->path);
    }
    if (g_str_has_prefix(text, "tcp:"))
        text += 4;
    const char *colon = strrchr(text, ':');
    guint64 port;
    if (colon && g_ascii_string_to_unsigned(colon + 1, 10, 1, 65535, &port, NULL)) {
        char *host = colon == text || (colon - text == 9 && !strncmp(text, "localhost", 9))
                         ? g_strdup("127.0.0.1") : g_strndup(text, (gsize)(colon - text));
        GSocketAddress *a = g_inet_socket_address_new_from_string(host, (guint)port);
        g_free(host);
        if (a)
            return a;
    }
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "'%s' is not unix:PATH, ADDRESS:PORT or :PORT", text);
    return NULL;
}

bool vmr_gdb_listen(VmrMachine *m, const char *text, bool wait, GError **error)
{
    if (!m->accel->debug_points || !m->accel->debug_points(m->vm))
        vmr_core_log(VMR_LOG_WARNING, "--gdb: %s has no breakpoints here", m->accel->name);
    struct VmrGdb *g = g_new0(struct VmrGdb, 1);
    g->machine = m;
    g->wait = wait;
    g->in = g_byte_array_new();
    g->out = g_byte_array_new();
    g->breaks = g_array_new(FALSE, FALSE, sizeof(Break));
    g->pending = g_new0(bool, m->cpu_count);
    m->priv->gdb = g;
    GSocketAddress *address = address_of(g, text, error);
    bool ok = address;
    if (ok) {
        g->service = g_socket_service_new();
        g_socket_service_stop(g->service); /* until the machine runs */
        mode_t mask = umask(0177); /* the socket is its owner's */
        ok = g_socket_listener_add_address(G_SOCKET_LISTENER(g->service), address, G_SOCKET_TYPE_STREAM,
                                           G_SOCKET_PROTOCOL_DEFAULT, NULL, NULL, error);
        umask(mask);
        g_object_unref(address);
        g_signal_connect(g->service, "incoming", G_CALLBACK(incoming), g);
    }
    if (!ok)
        g_prefix_error(error, "--gdb %s: ", text);
    return ok;
}

bool vmr_gdb_waits(const VmrMachine *m)
{
    struct VmrGdb *g = m->priv->gdb;
    if (!g)
        return false;
    g->halted |= g->wait;
    g_socket_service_start(g->service);
    return g->wait;
}

void vmr_gdb_close(VmrMachine *m, int status)
{
    struct VmrGdb *g = m->priv->gdb;
    if (!g)
        return;
    if (g->connection) {
        replyf(g, "W%02x", status & 0xff);
        source_end(&g->in_source);
        source_end(&g->out_source);
        g_clear_object(&g->connection);
    }
    if (g->service) {
        g_socket_service_stop(g->service);
        g_socket_listener_close(G_SOCKET_LISTENER(g->service));
        g_object_unref(g->service);
        if (g->path)
            (void)unlink(g->path);
    }
    g_byte_array_unref(g->in);
    g_byte_array_unref(g->out);
    g_array_unref(g->breaks);
    g_free(g->pending);
    g_free(g->path);
    g_free(g);
    m->priv->gdb = NULL;
}
