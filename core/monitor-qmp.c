/*
 * core/monitor-qmp.c - QMP, QEMU's monitor protocol: JSON objects on a UNIX socket.
 *
 * After QEMU's docs/interop/qmp-spec.  One client at a time; the next one waits.
 * Leaves out: out-of-band commands, jobs, and most of QEMU's commands.
 */
#include "monitor.h"

#include "runtime.h"
#include "swap.h"

#include <errno.h>
#include <glib-unix.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#ifdef VMR_HAVE_JSON_GLIB
#include <json-glib/json-glib.h>

enum { MESSAGE_MAX = 1 << 20, OUT_MAX = 4 << 20, DEPTH_MAX = 64 };

typedef struct Qmp {
    VmrMachine *machine;
    char *path;
    int listen_fd, fd; /* fd -1: no client */
    GSource *listen_source, *in_source, *out_source;
    GByteArray *in, *out;
    size_t scanned;    /* of `in` */
    unsigned depth;    /* of brackets there */
    bool in_string, after_backslash, started;
    bool ready;        /* qmp_capabilities was said */
} Qmp;

static void disconnect(Qmp *q);

static void source_end(GSource **s)
{
    if (*s) {
        g_source_destroy(*s);
        g_source_unref(*s);
        *s = NULL;
    }
}

static GSource *source_new(Qmp *q, int fd, GIOCondition condition, GUnixFDSourceFunc fn)
{
    GSource *s = g_unix_fd_source_new(fd, condition);
    g_source_set_callback(s, G_SOURCE_FUNC(fn), q, NULL);
    g_source_attach(s, q->machine->priv->context);
    return s;
}

/* ---- output ----------------------------------------------------------- */

static gboolean writable(int fd, GIOCondition condition, gpointer data);

static void flush(Qmp *q)
{
    while (q->fd >= 0 && q->out->len) {
        ssize_t n = send(q->fd, q->out->data, q->out->len, MSG_NOSIGNAL);
        if (n > 0)
            g_byte_array_remove_range(q->out, 0, (guint)n);
        else if (n < 0 && errno == EINTR)
            continue;
        else
            break; /* full, or gone: then reading says so */
    }
    if (!q->out->len)
        source_end(&q->out_source);
    else if (!q->out_source)
        q->out_source = source_new(q, q->fd, G_IO_OUT, writable);
}

static gboolean writable(int fd, GIOCondition condition, gpointer data)
{
    Qmp *q = data;
    flush(q);
    return q->out_source ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

/* Takes the node. */
static void send_node(Qmp *q, JsonNode *node)
{
    char *text = json_to_string(node, FALSE);
    json_node_unref(node);
    if (q->fd >= 0 && q->out->len < OUT_MAX) {
        g_byte_array_append(q->out, (const guint8 *)text, (guint)strlen(text));
        g_byte_array_append(q->out, (const guint8 *)"\r\n", 2);
        flush(q);
    }
    g_free(text);
}

static void send_object(Qmp *q, JsonObject *object)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, object);
    send_node(q, node);
}

static void add_time(JsonObject *to)
{
    int64_t now = g_get_real_time();
    JsonObject *t = json_object_new();
    json_object_set_int_member(t, "seconds", now / G_USEC_PER_SEC);
    json_object_set_int_member(t, "microseconds", now % G_USEC_PER_SEC);
    json_object_set_object_member(to, "timestamp", t);
}

void vmr_qmp_event(VmrMachine *m, VmrEvent event, bool guest)
{
    static const char *const names[] = {
        [VMR_EVENT_STOP] = "STOP", [VMR_EVENT_RESUME] = "RESUME", [VMR_EVENT_RESET] = "RESET",
        [VMR_EVENT_SHUTDOWN] = "SHUTDOWN", [VMR_EVENT_POWERDOWN] = "POWERDOWN",
        [VMR_EVENT_PANICKED] = "GUEST_PANICKED", [VMR_EVENT_SWAP] = "X_VMRUN_SWAP"};
    Qmp *q = m->priv->qmp;
    if (q->fd < 0 || !q->ready)
        return;
    JsonObject *e = json_object_new(), *data = json_object_new();
    add_time(e);
    json_object_set_string_member(e, "event", names[event]);
    if (event == VMR_EVENT_RESET || event == VMR_EVENT_SHUTDOWN) {
        json_object_set_boolean_member(data, "guest", guest);
        json_object_set_string_member(data, "reason",
                                      event == VMR_EVENT_RESET
                                          ? guest ? "guest-reset" : "host-qmp-system-reset"
                                      : guest ? "guest-shutdown"
                                              : "host-qmp-quit");
    } else if (event == VMR_EVENT_PANICKED) {
        json_object_set_string_member(data, "action", "shutdown");
    } else if (event == VMR_EVENT_SWAP) {
        json_object_set_string_member(data, "accel", m->accel->name);
    }
    if (json_object_get_size(data))
        json_object_set_object_member(e, "data", json_object_ref(data));
    json_object_unref(data);
    send_object(q, e);
}

/* ---- commands --------------------------------------------------------- */

static JsonNode *empty(void)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, json_object_new());
    return node;
}

static JsonNode *object_node(JsonObject *o)
{
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);
    json_node_take_object(node, o);
    return node;
}

static JsonNode *array_node(JsonArray *a)
{
    JsonNode *node = json_node_new(JSON_NODE_ARRAY);
    json_node_take_array(node, a);
    return node;
}

static const char *text_argument(JsonObject *a, const char *name, GError **error)
{
    JsonNode *n = json_object_get_member(a, name);
    if (n && json_node_get_value_type(n) == G_TYPE_STRING)
        return json_node_get_string(n);
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, n ? "Parameter '%s' is not a string"
                                                           : "Parameter '%s' is missing", name);
    return NULL;
}

static JsonNode *done(bool ok)
{
    return ok ? empty() : NULL;
}

static JsonObject *version(void)
{
    JsonObject *v = json_object_new(), *n = json_object_new();
    char **parts = g_strsplit(VMR_VERSION, ".", 3);
    static const char *const names[] = {"major", "minor", "micro"};
    for (unsigned i = 0; i < 3; i++)
        json_object_set_int_member(n, names[i], g_strv_length(parts) > i ? atoi(parts[i]) : 0);
    g_strfreev(parts);
    json_object_set_object_member(v, "qemu", n);
    json_object_set_string_member(v, "package", "vmrun " VMR_VERSION);
    return v;
}

static JsonNode *qmp_capabilities(Qmp *q, JsonObject *a, GError **error)
{
    JsonNode *n = json_object_get_member(a, "enable");
    if (n && (!JSON_NODE_HOLDS_ARRAY(n) || json_array_get_length(json_node_get_array(n)))) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "there are no capabilities to enable");
        return NULL;
    }
    q->ready = true;
    return empty();
}

static JsonNode *query_version(Qmp *q, JsonObject *a, GError **error)
{
    return object_node(version());
}

static JsonNode *query_status(Qmp *q, JsonObject *a, GError **error)
{
    JsonObject *o = json_object_new();
    bool stopped = vmr_machine_is_stopped(q->machine);
    json_object_set_string_member(o, "status", stopped ? "paused" : "running");
    json_object_set_boolean_member(o, "running", !stopped);
    json_object_set_boolean_member(o, "singlestep", FALSE);
    json_object_set_string_member(o, "x-accel", q->machine->accel->name);
    return object_node(o);
}

static JsonNode *stop(Qmp *q, JsonObject *a, GError **error)
{
    return done(vmr_machine_stop(q->machine, error));
}

static JsonNode *cont(Qmp *q, JsonObject *a, GError **error)
{
    vmr_machine_cont(q->machine);
    return empty();
}

static JsonNode *quit(Qmp *q, JsonObject *a, GError **error)
{
    vmr_machine_leave(q->machine, 0, NULL);
    return empty();
}

static JsonNode *system_reset(Qmp *q, JsonObject *a, GError **error)
{
    q->machine->priv->reset_by_user = true;
    vmr_machine_request(q->machine, VMR_REQUEST_RESET, 0);
    return empty();
}

static JsonNode *system_powerdown(Qmp *q, JsonObject *a, GError **error)
{
    return done(vmr_machine_powerdown(q->machine, error));
}

static JsonNode *query_cpus_fast(Qmp *q, JsonObject *a, GError **error)
{
    JsonArray *all = json_array_new();
    for (unsigned i = 0; i < q->machine->cpu_count; i++) {
        JsonObject *o = json_object_new();
        char *path = g_strdup_printf("/machine/cpu[%u]", i);
        json_object_set_int_member(o, "cpu-index", i);
        json_object_set_string_member(o, "qom-path", path);
        json_object_set_int_member(o, "thread-id", q->machine->cpus[i].tid);
        json_object_set_string_member(o, "target", "x86_64");
        json_array_add_object_element(all, o);
        g_free(path);
    }
    return array_node(all);
}

static JsonNode *human(Qmp *q, JsonObject *a, GError **error)
{
    const char *line = text_argument(a, "command-line", error);
    if (!line)
        return NULL;
    char *text = vmr_monitor_human(q->machine, line);
    JsonNode *node = json_node_new(JSON_NODE_VALUE);
    json_node_set_string(node, text);
    g_free(text);
    return node;
}

static JsonNode *snapshot_save(Qmp *q, JsonObject *a, GError **error)
{
    const char *file = text_argument(a, "file", error);
    return done(file && vmr_machine_savevm(q->machine, file, error));
}

static JsonNode *screendump(Qmp *q, JsonObject *a, GError **error)
{
    const char *file = text_argument(a, "filename", error);
    return done(file && vmr_machine_screendump(q->machine, file, error));
}

static JsonNode *swap_accel(Qmp *q, JsonObject *a, GError **error)
{
    const char *name = NULL;
    if (json_object_has_member(a, "accel") && !(name = text_argument(a, "accel", error)))
        return NULL;
    return done(vmr_machine_swap(q->machine, name, error));
}

static JsonNode *balloon(Qmp *q, JsonObject *a, GError **error)
{
    JsonNode *value = json_object_get_member(a, "value");
    bool number = value && JSON_NODE_HOLDS_VALUE(value) &&
                  json_node_get_value_type(value) == G_TYPE_INT64;
    if (!number || json_node_get_int(value) <= 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "Parameter 'value' expects a size");
        return NULL;
    }
    return done(vmr_machine_balloon(q->machine, (uint64_t)json_node_get_int(value), error));
}

static JsonNode *query_balloon(Qmp *q, JsonObject *a, GError **error)
{
    uint64_t bytes;
    if (!vmr_machine_balloon_memory(q->machine, &bytes, error))
        return NULL;
    JsonObject *o = json_object_new();
    json_object_set_int_member(o, "actual", (gint64)bytes);
    return object_node(o);
}

static bool key_name(JsonNode *node, GPtrArray *names)
{
    if (!JSON_NODE_HOLDS_OBJECT(node))
        return false;
    JsonObject *o = json_node_get_object(node);
    const char *type = text_argument(o, "type", NULL);
    JsonNode *data = json_object_get_member(o, "data");
    if (!type || !data || !JSON_NODE_HOLDS_VALUE(data))
        return false;
    if (!strcmp(type, "qcode") && json_node_get_value_type(data) == G_TYPE_STRING)
        g_ptr_array_add(names, g_strdup(json_node_get_string(data)));
    else if (!strcmp(type, "number") && json_node_get_value_type(data) == G_TYPE_INT64)
        g_ptr_array_add(names, g_strdup_printf("0x%x", (unsigned)json_node_get_int(data)));
    else
        return false;
    return true;
}

static JsonNode *send_key(Qmp *q, JsonObject *a, GError **error)
{
    JsonNode *keys = json_object_get_member(a, "keys"), *hold = json_object_get_member(a, "hold-time");
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    bool ok = keys && JSON_NODE_HOLDS_ARRAY(keys);
    JsonArray *array = ok ? json_node_get_array(keys) : NULL;
    for (guint i = 0; ok && i < json_array_get_length(array); i++)
        ok = key_name(json_array_get_element(array, i), names);
    g_ptr_array_add(names, NULL);
    int64_t ms = hold && JSON_NODE_HOLDS_VALUE(hold) ? json_node_get_int(hold) : 100;
    if (!ok)
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "Parameter 'keys' is an array of {'type': 'qcode' or 'number', 'data': ...}");
    else
        ok = vmr_machine_send_keys(q->machine, (const char *const *)names->pdata,
                                   (unsigned)CLAMP(ms, 0, 60000), error);
    g_ptr_array_unref(names);
    return done(ok);
}

static JsonNode *query_commands(Qmp *q, JsonObject *a, GError **error);

static const struct Command {
    const char *name;
    JsonNode *(*run)(Qmp *q, JsonObject *arguments, GError **error);
    const char *arguments; /* those that there are, with spaces around */
} commands[] = {
    {"qmp_capabilities", qmp_capabilities, " enable "},
    {"query-commands", query_commands, ""},
    {"query-version", query_version, ""},
    {"query-status", query_status, ""},
    {"query-cpus-fast", query_cpus_fast, ""},
    {"stop", stop, ""},
    {"cont", cont, ""},
    {"system_reset", system_reset, ""},
    {"system_powerdown", system_powerdown, ""},
    {"quit", quit, ""},
    {"human-monitor-command", human, " command-line cpu-index "},
    {"snapshot-save", snapshot_save, " file "},
    {"screendump", screendump, " filename "},
    {"send-key", send_key, " keys hold-time "},
    {"balloon", balloon, " value "},
    {"query-balloon", query_balloon, ""},
    {"swap-accel", swap_accel, " accel "},
};

static JsonNode *query_commands(Qmp *q, JsonObject *a, GError **error)
{
    JsonArray *all = json_array_new();
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        JsonObject *o = json_object_new();
        json_object_set_string_member(o, "name", commands[i].name);
        json_array_add_object_element(all, o);
    }
    return array_node(all);
}

/* ---- messages --------------------------------------------------------- */

static JsonObject *error_object(const char *class, const char *text)
{
    JsonObject *o = json_object_new(), *e = json_object_new();
    json_object_set_string_member(e, "class", class);
    json_object_set_string_member(e, "desc", text);
    json_object_set_object_member(o, "error", e);
    return o;
}

static bool arguments_known(const struct Command *c, JsonObject *a, GError **error)
{
    GList *names = json_object_get_members(a);
    bool ok = true;
    for (GList *n = names; n && ok; n = n->next) {
        char *padded = g_strdup_printf(" %s ", (const char *)n->data);
        ok = strstr(c->arguments, padded) != NULL;
        if (!ok)
            g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "Parameter '%s' is unexpected",
                        (const char *)n->data);
        g_free(padded);
    }
    g_list_free(names);
    return ok;
}

static JsonObject *answer(Qmp *q, JsonObject *message)
{
    JsonNode *execute = json_object_get_member(message, "execute");
    JsonNode *arguments = json_object_get_member(message, "arguments");
    if (!execute || json_node_get_value_type(execute) != G_TYPE_STRING)
        return error_object("GenericError", "QMP input lacks member 'execute', a string");
    if (arguments && !JSON_NODE_HOLDS_OBJECT(arguments))
        return error_object("GenericError", "QMP input member 'arguments' must be an object");
    const char *name = json_node_get_string(execute);
    const struct Command *c = NULL;
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++)
        if (!strcmp(commands[i].name, name))
            c = &commands[i];
    bool negotiation = c && c->run == qmp_capabilities;
    if (!c || q->ready == negotiation) {
        char *text = g_strdup_printf(!q->ready ? "Expecting capabilities negotiation with "
                                                 "'qmp_capabilities'"
                                     : c       ? "Capabilities negotiation is already complete"
                                               : "The command %s has not been found", name);
        JsonObject *o = error_object("CommandNotFound", text);
        g_free(text);
        return o;
    }
    JsonObject *given = arguments ? json_object_ref(json_node_get_object(arguments))
                                  : json_object_new();
    GError *error = NULL;
    JsonNode *result = arguments_known(c, given, &error) ? c->run(q, given, &error) : NULL;
    json_object_unref(given);
    if (!result) {
        JsonObject *o = error_object("GenericError", error ? error->message : "it failed");
        g_clear_error(&error);
        return o;
    }
    JsonObject *o = json_object_new();
    json_object_set_member(o, "return", result);
    return o;
}

static void message(Qmp *q, const char *text, size_t length)
{
    JsonParser *parser = json_parser_new();
    GError *error = NULL;
    JsonObject *reply;
    JsonNode *root = json_parser_load_from_data(parser, text, (gssize)length, &error)
                         ? json_parser_get_root(parser)
                         : NULL;
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        char *why = g_strdup_printf("JSON parse error, %s",
                                    error ? error->message : "an object is expected");
        reply = error_object("GenericError", why);
        g_free(why);
    } else {
        JsonObject *o = json_node_get_object(root);
        reply = answer(q, o);
        if (json_object_has_member(o, "id"))
            json_object_set_member(reply, "id", json_object_dup_member(o, "id"));
    }
    g_clear_error(&error);
    g_object_unref(parser);
    send_object(q, reply);
}

/* The end of the message that `in` begins with, or 0: it is not complete.  Messages follow each
   other with or without space between; what is no object ends with its line. */
static size_t message_end(Qmp *q)
{
    for (; q->scanned < q->in->len; q->scanned++) {
        uint8_t c = q->in->data[q->scanned];
        if (q->in_string) {
            if (q->after_backslash)
                q->after_backslash = false;
            else if (c == '\\')
                q->after_backslash = true;
            else if (c == '"')
                q->in_string = false;
            continue;
        }
        if (!g_ascii_isspace(c))
            q->started = true;
        if (c == '"') {
            q->in_string = true;
        } else if (c == '{' || c == '[') {
            q->depth++;
        } else if (c == '}' || c == ']') {
            q->depth -= q->depth > 0;
            if (!q->depth)
                return ++q->scanned;
        } else if (c == '\n' && !q->depth && q->started) {
            return ++q->scanned;
        }
    }
    return 0;
}

static void take_messages(Qmp *q)
{
    size_t end;
    while (q->fd >= 0 && (end = message_end(q))) {
        char *text = g_strndup((const char *)q->in->data, end);
        g_byte_array_remove_range(q->in, 0, (guint)end);
        q->scanned = 0;
        q->started = q->in_string = q->after_backslash = false;
        q->depth = 0;
        message(q, text, end);
        g_free(text);
    }
    /* Deep brackets are a recursion in the parser. */
    if (q->fd >= 0 && (q->in->len > MESSAGE_MAX || q->depth > DEPTH_MAX)) {
        send_object(q, error_object("GenericError", "the message is too long"));
        disconnect(q);
    }
}

/* ---- clients ---------------------------------------------------------- */

static gboolean incoming(int fd, GIOCondition condition, gpointer data);

static void disconnect(Qmp *q)
{
    source_end(&q->in_source);
    source_end(&q->out_source);
    if (q->fd >= 0)
        close(q->fd);
    q->fd = -1;
    q->ready = q->started = q->in_string = q->after_backslash = false;
    q->scanned = q->depth = 0;
    g_byte_array_set_size(q->in, 0);
    g_byte_array_set_size(q->out, 0);
    if (q->listen_fd >= 0 && !q->listen_source)
        q->listen_source = source_new(q, q->listen_fd, G_IO_IN, incoming);
}

static gboolean readable(int fd, GIOCondition condition, gpointer data)
{
    Qmp *q = data;
    uint8_t buf[4096];
    ssize_t n = recv(fd, buf, sizeof buf, 0);
    if (n > 0) {
        g_byte_array_append(q->in, buf, (guint)n);
        take_messages(q);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        disconnect(q);
    }
    return q->in_source ? G_SOURCE_CONTINUE : G_SOURCE_REMOVE;
}

static gboolean incoming(int fd, GIOCondition condition, gpointer data)
{
    Qmp *q = data;
    q->fd = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (q->fd < 0)
        return G_SOURCE_CONTINUE;
    source_end(&q->listen_source);
    q->in_source = source_new(q, q->fd, G_IO_IN, readable);
    JsonObject *o = json_object_new(), *g = json_object_new();
    json_object_set_object_member(g, "version", version());
    json_object_set_array_member(g, "capabilities", json_array_new());
    json_object_set_object_member(o, "QMP", g);
    send_object(q, o);
    return G_SOURCE_REMOVE;
}

bool vmr_monitor_listen(VmrMachine *m, const char *address, GError **error)
{
    const char *path = g_str_has_prefix(address, "unix:") ? address + 5 : address;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof to.sun_path) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL,
                    "--monitor: '%s' is not unix:PATH with a path of at most %zu bytes", address,
                    sizeof to.sun_path - 1);
        return false;
    }
    strcpy(to.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    /* A socket that nobody listens on is left over from an earlier run. */
    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) < 0 && errno == ECONNREFUSED)
        unlink(path);
    if (fd >= 0)
        close(fd);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    mode_t mask = umask(0177); /* only its owner may command the machine */
    bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&to, sizeof to) == 0 && listen(fd, 4) == 0;
    int why = errno;
    umask(mask);
    if (!ok) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(why), "--monitor: %s: %s", path,
                    g_strerror(why));
        if (fd >= 0)
            close(fd);
        return false;
    }
    Qmp *q = m->priv->qmp = g_new0(Qmp, 1);
    *q = (Qmp){.machine = m, .path = g_strdup(path), .listen_fd = fd, .fd = -1,
               .in = g_byte_array_new(), .out = g_byte_array_new()};
    q->listen_source = source_new(q, fd, G_IO_IN, incoming);
    return true;
}

void vmr_monitor_close(VmrMachine *m)
{
    Qmp *q = m->priv->qmp;
    if (!q)
        return;
    m->priv->qmp = NULL;
    source_end(&q->listen_source);
    close(q->listen_fd);
    q->listen_fd = -1;
    disconnect(q);
    unlink(q->path);
    g_free(q->path);
    g_byte_array_unref(q->in);
    g_byte_array_unref(q->out);
    g_free(q);
}

#else

bool vmr_monitor_listen(VmrMachine *m, const char *address, GError **error)
{
    g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                "--monitor: this vmrun was built without json-glib, which QMP takes");
    return false;
}

void vmr_monitor_close(VmrMachine *m)
{
}

void vmr_qmp_event(VmrMachine *m, VmrEvent event, bool guest)
{
}

#endif
