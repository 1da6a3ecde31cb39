/*
 * core/config.c - machine files: GLib key file syntax, includes, variables, --set.
 *
 * After the "Key-value file parser" chapter of the GLib reference: [section],
 * key=value, # comments, the escapes \s \n \t \r \\.  Parsed here rather than
 * by GKeyFile, which knows no line numbers and stops at the first error.
 * Beyond it: `include =`, ${NAME}, $$.  Stricter than it: a key given twice in
 * one file is an error, and section titles are those of a machine file.
 * Left out: lists and translated keys (key[de]).
 *
 * Order: a file's includes are merged first, each over the one before, then the
 * file itself, then --set.  Variables are expanded last, so that any layer may
 * set a variable that another one uses.
 */
#include "core/config-private.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bounds on what a file may ask for. */
#define FILE_MAX (1024 * 1024)
#define LINE_MAX_BYTES (64 * 1024)
#define SECTIONS_MAX 4096
#define KEYS_MAX 4096 /* of a section */
#define INCLUDE_DEPTH 16
#define INCLUDE_FILES 128

typedef struct Include {
    const char *raw;
    VmrPlace place;
} Include;

/* The files being read, innermost first. */
typedef struct Chain {
    const struct Chain *outer;
    const char *real;
    unsigned depth;
} Chain;

static const char *const plain_kinds[] = {"machine", "boot", "vars", NULL};
static const char *const all_kinds[] = {"machine", "boot", "vars",    "device", "chardev",
                                        "drive",   "net",  "display", NULL};

/* ---- sections --------------------------------------------------------- */

static void section_free(gpointer p)
{
    VmrSection *section = p;
    g_ptr_array_unref(section->values);
    g_free(section);
}

VmrSection *vmr_config_find_section(GPtrArray *sections, const char *kind, const char *name)
{
    for (unsigned i = 0; i < sections->len; i++) {
        VmrSection *s = g_ptr_array_index(sections, i);
        if (strcmp(s->kind, kind) == 0 && (!name || strcmp(s->name, name) == 0))
            return s;
    }
    return NULL;
}

static VmrSection *section_add(VmrConfig *config, GPtrArray *sections, const char *kind,
                               const char *name, VmrPlace place)
{
    VmrSection *s = vmr_config_find_section(sections, kind, name);
    if (s)
        return s;
    s = g_new0(VmrSection, 1);
    s->kind = g_string_chunk_insert_const(config->strings, kind);
    s->name = g_string_chunk_insert_const(config->strings, name);
    s->place = place;
    s->values = g_ptr_array_new_with_free_func(g_free);
    char *title = *name ? g_strdup_printf("%s %s", kind, name) : g_strdup(kind);
    s->title = g_string_chunk_insert_const(config->strings, title);
    g_free(title);
    g_ptr_array_add(sections, s);
    return s;
}

VmrConfigValue *vmr_config_find_value(const VmrSection *section, const char *key)
{
    for (unsigned i = 0; section && i < section->values->len; i++) {
        VmrConfigValue *v = g_ptr_array_index(section->values, i);
        if (strcmp(v->v.key, key) == 0)
            return v;
    }
    return NULL;
}

/* Set a key, in place if the section has it. */
static VmrConfigValue *value_set(VmrSection *section, const VmrConfigValue *from)
{
    VmrConfigValue *v = vmr_config_find_value(section, from->v.key);
    if (!v) {
        v = g_new0(VmrConfigValue, 1);
        g_ptr_array_add(section->values, v);
    }
    *v = *from;
    v->v.used = false;
    return v;
}

/* Letters, digits, - and _: a name must not look like an address, a line or a list. */
static bool name_valid(const char *name)
{
    if (!g_ascii_isalpha(*name))
        return false;
    for (; *name; name++)
        if (!g_ascii_isalnum(*name) && *name != '-' && *name != '_')
            return false;
    return true;
}

/* Names that mean something of the core in links and lines, or in --set. */
static bool name_reserved(const char *name)
{
    static const char *const reserved[] = {"machine", "boot", "vars", "none", "io", "mem", NULL};
    if (g_strv_contains(reserved, name))
        return true;
    if (!g_str_has_prefix(name, "cpu") || !name[3])
        return false;
    return strspn(name + 3, "0123456789") == strlen(name + 3);
}

/* The section that a title names, or NULL after an error. */
static VmrSection *section_from_title(VmrConfigLoader *l, GPtrArray *own, const char *title,
                                      VmrPlace place)
{
    char **words = g_strsplit_set(title, " \t", 0);
    const char *word[3];
    unsigned count = 0;
    VmrSection *section = NULL;

    for (unsigned i = 0; words[i]; i++) {
        if (!*words[i])
            continue;
        if (count < 3)
            word[count] = words[i];
        count++;
    }
    if (count == 0) {
        vmr_errors_add(l->errors, place, NULL, NULL, "a section needs a title: [machine]");
    } else if (!g_strv_contains(all_kinds, word[0])) {
        char *hint = vmr_nearest_hint(word[0], all_kinds);
        vmr_errors_add(l->errors, place, title, NULL, "unknown kind of section '%s'%s", word[0],
                       hint);
        g_free(hint);
    } else if (g_strv_contains(plain_kinds, word[0])) {
        if (count > 1)
            vmr_errors_add(l->errors, place, title, NULL, "a [%s] section takes no name", word[0]);
        else
            section = section_add(l->config, own, word[0], "", place);
    } else if (count != 2) {
        vmr_errors_add(l->errors, place, title, NULL,
                       count < 2 ? "a name is missing: [%s NAME]" : "one name is wanted: [%s NAME]",
                       word[0]);
    } else if (!name_valid(word[1])) {
        vmr_errors_add(l->errors, place, title, NULL,
                       "a name starts with a letter and has only letters, digits, '-' and '_'");
    } else if (name_reserved(word[1])) {
        vmr_errors_add(l->errors, place, title, NULL, "the name '%s' is reserved", word[1]);
    } else if (own->len >= SECTIONS_MAX) {
        vmr_errors_add(l->errors, place, title, NULL, "more than %u sections", SECTIONS_MAX);
    } else {
        section = section_add(l->config, own, word[0], word[1], place);
    }
    g_strfreev(words);
    return section;
}

/* ---- one file --------------------------------------------------------- */

/* All of a file, at most FILE_MAX; NULL with a reason that the caller frees. */
static GString *read_file(const char *path, char **reason)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        *reason = g_strdup(g_strerror(errno));
        return NULL;
    }
    if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        *reason = g_strdup("it is a directory");
        close(fd);
        return NULL;
    }
    GString *data = g_string_new(NULL);
    for (;;) {
        char buffer[16384];
        ssize_t n = read(fd, buffer, sizeof(buffer));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            *reason = g_strdup(g_strerror(errno));
        if (n <= 0)
            break;
        g_string_append_len(data, buffer, n);
        if (data->len > FILE_MAX) {
            *reason = g_strdup_printf("it is larger than %u bytes", FILE_MAX);
            break;
        }
    }
    close(fd);
    if (*reason) {
        g_string_free(data, TRUE);
        return NULL;
    }
    return data;
}

static void parse_pair(VmrConfigLoader *l, VmrSection *section, GArray *includes, char *line,
                       char *equals, VmrPlace place, const char *dir)
{
    VmrConfig *config = l->config;
    *equals = '\0';
    char *key = g_strchomp(line);
    char *raw = g_strstrip(equals + 1);

    if (!*key) {
        vmr_errors_add(l->errors, place, section ? section->title : NULL, NULL,
                       "a key is missing before '='");
        return;
    }
    for (const char *p = key; *p; p++) {
        if (!g_ascii_isalnum(*p) && *p != '-' && *p != '_' && *p != '.') {
            vmr_errors_add(l->errors, place, section ? section->title : NULL, NULL,
                           "'%s' is no key: letters, digits, '-', '_' and '.' make one", key);
            return;
        }
    }
    if (strcmp(key, "include") == 0 && (!section || strcmp(section->kind, "machine") == 0)) {
        Include include = {g_string_chunk_insert(config->strings, raw), place};
        g_array_append_val(includes, include);
        return;
    }
    if (!section) {
        vmr_errors_add(l->errors, place, NULL, key,
                       "before the first section there can only be include = FILE");
        return;
    }
    const VmrConfigValue *first = vmr_config_find_value(section, key);
    if (first) {
        vmr_errors_add(l->errors, place, section->title, key, "set twice: the first is in line %u",
                       first->v.place.line);
        return;
    }
    if (section->values->len >= KEYS_MAX) {
        vmr_errors_add(l->errors, place, section->title, key, "more than %u keys", KEYS_MAX);
        return;
    }
    VmrConfigValue value = {.v = {.key = g_string_chunk_insert_const(config->strings, key),
                         .place = place,
                         .dir = dir},
                   .strings = config->strings,
                   .raw = g_string_chunk_insert(config->strings, raw)};
    value_set(section, &value);
}

/* The sections of one file, unexpanded. */
static void parse_text(VmrConfigLoader *l, GString *data, const char *file, const char *dir,
                       GPtrArray *own, GArray *includes)
{
    VmrSection *section = NULL;
    bool skipping = false; /* the keys of a section that is not one */
    VmrPlace place = {file, 0};
    char *p = data->str, *end = data->str + data->len;

    if (g_str_has_prefix(p, "\xef\xbb\xbf"))
        p += 3;
    while (p < end) {
        char *newline = memchr(p, '\n', (size_t)(end - p));
        char *stop = newline ? newline : end;
        size_t length = (size_t)(stop - p);
        char *line = p;
        p = newline ? newline + 1 : end;
        place.line++;
        *stop = '\0'; /* GString keeps one byte beyond its length */

        if (length > LINE_MAX_BYTES) {
            vmr_errors_add(l->errors, place, NULL, NULL, "the line is longer than %u bytes",
                           LINE_MAX_BYTES);
            continue;
        }
        if (memchr(line, '\0', length)) {
            vmr_errors_add(l->errors, place, NULL, NULL, "the line has a NUL byte");
            continue;
        }
        if (!g_utf8_validate(line, (gssize)length, NULL)) {
            vmr_errors_add(l->errors, place, NULL, NULL, "the line is not UTF-8");
            continue;
        }
        g_strstrip(line);
        if (!*line || *line == '#')
            continue;
        if (*line == '[') {
            size_t n = strlen(line);
            section = NULL;
            skipping = true;
            if (line[n - 1] != ']' || strchr(line, ']') != line + n - 1) {
                vmr_errors_add(l->errors, place, NULL, NULL,
                               "a section is [TITLE] on a line of its own");
                continue;
            }
            line[n - 1] = '\0';
            section = section_from_title(l, own, line + 1, place);
            skipping = section == NULL;
            continue;
        }
        char *equals = strchr(line, '=');
        if (!equals) {
            char *shown = g_utf8_strlen(line, -1) > 40 ? g_utf8_substring(line, 0, 40) : NULL;
            vmr_errors_add(l->errors, place, section ? section->title : NULL, NULL,
                           "neither [SECTION] nor KEY = VALUE nor # comment: '%s%s'",
                           shown ? shown : line, shown ? "..." : "");
            g_free(shown);
            continue;
        }
        if (!skipping)
            parse_pair(l, section, includes, line, equals, place, dir);
    }
}

static void merge(VmrConfigLoader *l, GPtrArray *own)
{
    for (unsigned i = 0; i < own->len; i++) {
        const VmrSection *from = g_ptr_array_index(own, i);
        GPtrArray *all = l->config->sections;
        if (all->len >= SECTIONS_MAX && !vmr_config_find_section(all, from->kind, from->name)) {
            vmr_errors_add(l->errors, from->place, from->title, NULL, "more than %u sections",
                           SECTIONS_MAX);
            return;
        }
        VmrSection *to =
            section_add(l->config, l->config->sections, from->kind, from->name, from->place);
        for (unsigned j = 0; j < from->values->len; j++) {
            const VmrConfigValue *v = g_ptr_array_index(from->values, j);
            if (to->values->len >= KEYS_MAX && !vmr_config_find_value(to, v->v.key)) {
                vmr_errors_add(l->errors, v->v.place, from->title, v->v.key, "more than %u keys",
                               KEYS_MAX);
                break;
            }
            value_set(to, v);
        }
    }
}

/* ---- includes --------------------------------------------------------- */

static bool load_file(VmrConfigLoader *l, const char *display, const Chain *outer, char **reason);

static void load_include(VmrConfigLoader *l, const Include *include, const char *display,
                         const VmrSection *vars, const Chain *chain)
{
    VmrValue value = {.key = "include", .place = include->place};
    VmrExpander e = {.loader = l, .vars = vars, .value = &value};
    GString *text = g_string_new(NULL);
    char *reason = NULL;

    if (vmr_config_expand(&e, text, include->raw)) {
        char *dir = g_path_get_dirname(display);
        char *path;
        if (e.dir)
            path = g_canonicalize_filename(text->str, e.dir);
        else if (g_path_is_absolute(text->str) || strcmp(dir, ".") == 0)
            path = g_strdup(text->str);
        else
            path = g_build_filename(dir, text->str, NULL);
        if (!*text->str)
            vmr_errors_add(l->errors, include->place, NULL, "include", "a file is wanted");
        else if (!load_file(l, path, chain, &reason))
            vmr_errors_add(l->errors, include->place, NULL, "include", "cannot read %s: %s", path,
                           reason);
        g_free(path);
        g_free(dir);
    }
    g_free(reason);
    g_string_free(text, TRUE);
}

/* Variables that an include may use: --set over the file's own. */
static void add_set_vars(VmrConfigLoader *l, GPtrArray *sections)
{
    for (unsigned i = 0; l->sets && l->sets[i]; i++) {
        const char *equals = strchr(l->sets[i], '=');
        if (!g_str_has_prefix(l->sets[i], "vars.") || !equals)
            continue;
        VmrSection *vars =
            section_add(l->config, sections, "vars", "", (VmrPlace){NULL, 0});
        char *key = g_strndup(l->sets[i] + 5, (size_t)(equals - l->sets[i] - 5));
        VmrConfigValue value = {.v = {.key = g_string_chunk_insert_const(l->config->strings, key),
                             .dir = l->cwd},
                       .strings = l->config->strings,
                       .raw = g_string_chunk_insert(l->config->strings, equals + 1),
                       .literal = true};
        value_set(vars, &value);
        g_free(key);
    }
}

/* Read a file, its includes first, and merge it; false with a reason if it cannot be read. */
static bool load_file(VmrConfigLoader *l, const char *display, const Chain *outer, char **reason)
{
    char *real = realpath(display, NULL);
    char *absolute = g_canonicalize_filename(real ? real : display, NULL);
    Chain chain = {outer, absolute, outer ? outer->depth + 1 : 0};
    bool ok = false;
    GString *data = NULL;

    free(real);
    for (const Chain *c = outer; c; c = c->outer)
        if (strcmp(c->real, absolute) == 0)
            *reason = g_strdup("it includes itself");
    if (!*reason && chain.depth > INCLUDE_DEPTH)
        *reason = g_strdup_printf("includes go deeper than %u files", INCLUDE_DEPTH);
    if (!*reason && ++l->files > INCLUDE_FILES)
        *reason = g_strdup_printf("more than %u files are included", INCLUDE_FILES);
    if (!*reason)
        data = read_file(display, reason);
    if (data) {
        GPtrArray *own = g_ptr_array_new_with_free_func(section_free);
        GArray *includes = g_array_new(FALSE, FALSE, sizeof(Include));
        GPtrArray *scratch = g_ptr_array_new_with_free_func(section_free);
        char *dir = g_path_get_dirname(absolute);
        parse_text(l, data, g_string_chunk_insert_const(l->config->strings, display),
                   g_string_chunk_insert_const(l->config->strings, dir), own, includes);
        if (includes->len) {
            const VmrSection *vars = vmr_config_find_section(own, "vars", "");
            if (vars) {
                VmrSection *copy = section_add(l->config, scratch, "vars", "", vars->place);
                for (unsigned i = 0; i < vars->values->len; i++)
                    value_set(copy, g_ptr_array_index(vars->values, i));
            }
            add_set_vars(l, scratch);
        }
        for (unsigned i = 0; i < includes->len; i++)
            load_include(l, &g_array_index(includes, Include, i), display,
                         vmr_config_find_section(scratch, "vars", ""), &chain);
        merge(l, own);
        g_free(dir);
        g_array_unref(includes);
        g_ptr_array_unref(scratch);
        g_ptr_array_unref(own);
        g_string_free(data, TRUE);
        ok = true;
    }
    g_free(absolute);
    return ok;
}

/* ---- --set ------------------------------------------------------------ */

static VmrSection *section_of_set(VmrConfigLoader *l, const char *name, VmrPlace place)
{
    GPtrArray *sections = l->config->sections;
    if (g_strv_contains(plain_kinds, name))
        return section_add(l->config, sections, name, "", place);
    for (unsigned i = 0; i < sections->len; i++) {
        VmrSection *s = g_ptr_array_index(sections, i);
        if (*s->name && strcmp(s->name, name) == 0)
            return s;
    }
    return NULL;
}

static void apply_set(VmrConfigLoader *l, const char *set)
{
    VmrPlace place = {NULL, 0};
    const char *equals = strchr(set, '=');
    const char *dot = equals ? memchr(set, '.', (size_t)(equals - set)) : NULL;

    if (!g_utf8_validate(set, -1, NULL)) {
        vmr_errors_add(l->errors, place, NULL, "--set", "the text is not UTF-8");
        return;
    }
    if (!dot || dot == set || dot + 1 == equals) {
        vmr_errors_add(l->errors, place, NULL, "--set", "'%s' is not SECTION.KEY=VALUE", set);
        return;
    }
    char *name = g_strndup(set, (size_t)(dot - set));
    char *key = g_strndup(dot + 1, (size_t)(equals - dot - 1));
    VmrSection *section = section_of_set(l, name, place);
    if (!section) {
        GPtrArray *known = g_ptr_array_new();
        for (unsigned i = 0; plain_kinds[i]; i++)
            g_ptr_array_add(known, (gpointer)plain_kinds[i]);
        for (unsigned i = 0; i < l->config->sections->len; i++) {
            const VmrSection *s = g_ptr_array_index(l->config->sections, i);
            if (*s->name)
                g_ptr_array_add(known, (gpointer)s->name);
        }
        g_ptr_array_add(known, NULL);
        char *hint = vmr_nearest_hint(name, (const char *const *)known->pdata);
        vmr_errors_add(l->errors, place, NULL, "--set", "%s: no section is named '%s'%s", set, name,
                       hint);
        g_free(hint);
        g_ptr_array_unref(known);
    } else {
        VmrConfigValue value = {.v = {.key = g_string_chunk_insert_const(l->config->strings, key),
                             .place = place,
                             .dir = l->cwd},
                       .strings = l->config->strings,
                       .raw = g_string_chunk_insert(l->config->strings, equals + 1),
                       .literal = true};
        value_set(section, &value);
    }
    g_free(key);
    g_free(name);
}

/* ---- the whole -------------------------------------------------------- */

/* --set and messages name a section by its name alone. */
static void check_names(VmrConfigLoader *l)
{
    GPtrArray *sections = l->config->sections;
    for (unsigned i = 0; i < sections->len; i++) {
        const VmrSection *s = g_ptr_array_index(sections, i);
        for (unsigned j = 0; *s->name && j < i; j++) {
            const VmrSection *other = g_ptr_array_index(sections, j);
            if (strcmp(s->name, other->name) == 0) {
                vmr_errors_add(l->errors, s->place, s->title, NULL,
                               "the name is taken by [%s] in %s:%u", other->title,
                               other->place.file, other->place.line);
                break;
            }
        }
    }
}

VmrConfig *vmr_config_load(const char *path, const char *const *sets, VmrErrors *errors)
{
    VmrConfig *config = g_new0(VmrConfig, 1);
    VmrConfigLoader l = {.config = config, .errors = errors, .sets = sets};
    char *cwd = g_get_current_dir();
    char *reason = NULL;

    config->strings = g_string_chunk_new(1024);
    config->sections = g_ptr_array_new_with_free_func(section_free);
    l.cwd = g_string_chunk_insert_const(config->strings, cwd);
    g_free(cwd);
    if (!load_file(&l, path, NULL, &reason)) {
        const char *shown = g_string_chunk_insert(config->strings, path);
        vmr_errors_add(errors, (VmrPlace){shown, 0}, NULL, NULL, "cannot read the machine file: %s",
                       reason);
        g_free(reason);
        vmr_config_free(config);
        return NULL;
    }
    for (unsigned i = 0; sets && sets[i]; i++)
        apply_set(&l, sets[i]);
    check_names(&l);
    vmr_config_expand_all(&l);
    return config;
}

void vmr_config_free(VmrConfig *config)
{
    if (!config)
        return;
    g_ptr_array_unref(config->sections);
    g_string_chunk_free(config->strings);
    g_free(config);
}

const VmrSection *vmr_config_section(const VmrConfig *config, const char *kind, const char *name)
{
    return vmr_config_find_section(config->sections, kind, name);
}

const VmrSection *vmr_config_next(const VmrConfig *config, const char *kind,
                                  const VmrSection *after)
{
    bool passed = after == NULL;
    for (unsigned i = 0; i < config->sections->len; i++) {
        const VmrSection *s = g_ptr_array_index(config->sections, i);
        if (passed && (!kind || strcmp(s->kind, kind) == 0))
            return s;
        if (s == after)
            passed = true;
    }
    return NULL;
}

const VmrValue *vmr_section_value(const VmrSection *section, const char *key)
{
    VmrConfigValue *v = vmr_config_find_value(section, key);
    if (!v)
        return NULL;
    v->v.used = true;
    return &v->v;
}

char *vmr_value_path(const VmrValue *value)
{
    return g_canonicalize_filename(value->text, value->dir);
}

const char *vmr_value_path_kept(const VmrValue *value)
{
    const VmrConfigValue *v =
        (const VmrConfigValue *)value; /* all of them are: v is the first member */
    char *path = vmr_value_path(value);
    const char *kept = g_string_chunk_insert_const(v->strings, path);
    g_free(path);
    return kept;
}

VmrPlace vmr_section_place(const VmrSection *section, const char *key)
{
    const VmrConfigValue *v = vmr_config_find_value(section, key);
    return v ? v->v.place : section ? section->place : (VmrPlace){NULL, 0};
}
