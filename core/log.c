/*
 * core/log.c - messages to the user, and the trace.
 *
 * Guest errors are counted, and shown only when traced.  What a device tells the
 * user is limited in rate: a guest may be the cause of it.
 */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

enum { LOG_BURST = 20 };
static const int64_t LOG_WINDOW_US = 5 * G_USEC_PER_SEC;

unsigned vmr_trace_mask;

static GMutex lock;         /* leaf: the trace's file */
static FILE *trace_file;    /* NULL: standard error */
static GPtrArray *only;     /* names that the trace is limited to; NULL: not limited */
static int64_t trace_start;

static void say(VmrLogLevel level, const char *who, const char *text)
{
    static const char *const words[] = {[VMR_LOG_ERROR] = "error: ",
                                        [VMR_LOG_WARNING] = "warning: ", [VMR_LOG_INFO] = ""};
    const char *word = (unsigned)level < G_N_ELEMENTS(words) && words[level] ? words[level] : "";
    /* One write, so that lines of two threads do not mix. */
    char *line = who ? g_strdup_printf("vmrun: %s%s: %s\n", word, who, text)
                     : g_strdup_printf("vmrun: %s%s\n", word, text);
    fputs(line, stderr);
    g_free(line);
}

void vmr_core_log(VmrLogLevel level, const char *format, ...)
{
    if (level >= VMR_LOG_GUEST_ERROR && !(vmr_trace_mask & VMR_TRACE_GUEST_ERROR))
        return;
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    if (level >= VMR_LOG_GUEST_ERROR)
        vmr_core_trace("machine", "guest-error: %s", text);
    else
        say(level, NULL, text);
    g_free(text);
}

/* May this device speak?  Says once when it may not.  Races only blur the count. */
static bool may_speak(VmrDeviceHandle *h)
{
    int64_t now = g_get_monotonic_time();
    if (!h->log_window || now - h->log_window > LOG_WINDOW_US) {
        h->log_window = now;
        h->log_count = 0;
    }
    if (h->log_count < LOG_BURST) {
        h->log_count++;
        return true;
    }
    if (h->log_count++ == LOG_BURST)
        say(VMR_LOG_WARNING, h->name, "says too much: some messages are left out");
    return false;
}

void vmr_host_log(VmrDevice *dev, VmrLogLevel level, const char *format, va_list args)
{
    VmrDeviceHandle *h = dev->handle;
    if (level >= VMR_LOG_GUEST_ERROR) {
        __atomic_add_fetch(&h->guest_errors, 1, __ATOMIC_RELAXED);
        if (!vmr_tracing(VMR_TRACE_GUEST_ERROR))
            return;
    } else if (!may_speak(h)) {
        return;
    }
    char *text = g_strdup_vprintf(format, args);
    if (level >= VMR_LOG_GUEST_ERROR)
        vmr_core_trace(dev->name, "%s: %s",
                       level == VMR_LOG_GUEST_ERROR ? "guest-error" : "unimplemented", text);
    else
        say(level, dev->name, text);
    g_free(text);
}

/* ---- trace ------------------------------------------------------------ */

static bool wanted(const char *who)
{
    for (unsigned i = 0; only && i < only->len; i++)
        if (!strcmp(only->pdata[i], who))
            return true;
    return !only;
}

static void put(const char *who, const char *text)
{
    int64_t us = g_get_monotonic_time() - trace_start;
    g_mutex_lock(&lock);
    fprintf(trace_file ? trace_file : stderr, "%3" PRId64 ".%06d %s %s\n", us / 1000000,
            (int)(us % 1000000), who, text);
    g_mutex_unlock(&lock);
}

void vmr_core_trace(const char *who, const char *format, ...)
{
    if (!wanted(who))
        return;
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    put(who, text);
    g_free(text);
}

void vmr_core_trace_cpu(unsigned index, const char *format, ...)
{
    char who[16];
    g_snprintf(who, sizeof who, "cpu%u", index);
    if (!wanted(who))
        return;
    va_list args;
    va_start(args, format);
    char *text = g_strdup_vprintf(format, args);
    va_end(args);
    put(who, text);
    g_free(text);
}

bool vmr_host_trace_enabled(VmrDevice *dev)
{
    return vmr_tracing(VMR_TRACE_DEVICE);
}

void vmr_host_trace(VmrDevice *dev, const char *format, va_list args)
{
    if (!vmr_tracing(VMR_TRACE_DEVICE) || !wanted(dev->name))
        return;
    char *text = g_strdup_vprintf(format, args);
    char *line = g_strconcat("device: ", text, NULL);
    put(dev->name, line);
    g_free(line);
    g_free(text);
}

static const struct {
    const char *name;
    unsigned mask;
} categories[] = {
    {"io", VMR_TRACE_IO},           {"irq", VMR_TRACE_IRQ},
    {"dma", VMR_TRACE_DMA},         {"exit", VMR_TRACE_EXIT},
    {"insn", VMR_TRACE_INSN},       {"device", VMR_TRACE_DEVICE},
    {"guest-error", VMR_TRACE_GUEST_ERROR}, {"unassigned", VMR_TRACE_UNASSIGNED},
    {"exception", VMR_TRACE_EXCEPTION}, {"memory", VMR_TRACE_MEMORY},
};

static unsigned category(const char *name)
{
    if (!strcmp(name, "all"))
        return ~(unsigned)(VMR_TRACE_INSN | VMR_TRACE_MEMORY);
    for (unsigned i = 0; i < G_N_ELEMENTS(categories); i++)
        if (!strcmp(categories[i].name, name))
            return categories[i].mask;
    return 0;
}

bool vmr_trace_setup(const char *spec, GError **error)
{
    const char *colon = strchr(spec, ':');
    char *cats = colon ? g_strndup(spec, (gsize)(colon - spec)) : g_strdup(spec);
    char **names = g_strsplit(cats, ",", -1);
    unsigned mask = 0;
    bool ok = true;
    for (unsigned i = 0; ok && names[i]; i++) {
        const char *name = g_strstrip(names[i]);
        if (!*name)
            continue;
        if (*name == '@') {
            if (!only)
                only = g_ptr_array_new_with_free_func(g_free);
            g_ptr_array_add(only, g_strdup(name + 1));
            continue;
        }
        unsigned one = category(name);
        mask |= one;
        if (!one) {
            g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                        "--trace: no category \"%s\"; there are all, io, irq, dma, exit, insn, "
                        "device, guest-error, unassigned, exception", name);
            ok = false;
        }
    }
    if (ok && colon && colon[1]) {
        FILE *f = fopen(colon + 1, "we");
        if (!f) {
            g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "--trace: %s: %s",
                        colon + 1, g_strerror(errno));
            ok = false;
        } else {
            vmr_trace_finish();
            trace_file = f;
        }
    }
    if (ok) {
        trace_start = g_get_monotonic_time();
        /* Only @NAME: everything of that device. */
        vmr_trace_mask |= mask || !only ? mask : category("all");
    }
    g_strfreev(names);
    g_free(cats);
    return ok;
}

void vmr_trace_finish(void)
{
    g_mutex_lock(&lock);
    if (trace_file)
        fclose(trace_file);
    trace_file = NULL;
    g_mutex_unlock(&lock);
}
