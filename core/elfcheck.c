/*
 * core/elfcheck.c - is a file a plugin?  Told from its bytes, before dlopen runs any of its code.
 *
 * After the System V ABI, chapters 4 and 5 (ELF header, program header, dynamic
 * section, symbol table, hash table) and the GNU hash section as glibc and
 * binutils have it.  Only what the dynamic loader itself uses is read: section
 * headers may be stripped.  Every offset in the file is hostile until it was
 * compared with the file's size.  64-bit ELF in the host's byte order only.
 */
#include "core/loader.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLUGIN_FILE_MAX (256u * 1024 * 1024)
#define PROGRAM_HEADERS_MAX 256

#if defined(__x86_64__)
#define HOST_MACHINE EM_X86_64
#elif defined(__aarch64__)
#define HOST_MACHINE EM_AARCH64
#elif defined(__riscv)
#define HOST_MACHINE EM_RISCV
#else
#error "name this machine's ELF number here"
#endif
#define HOST_DATA (G_BYTE_ORDER == G_LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB)

/* What version 1.0 of the table has. */
#define PLUGIN_SIZE_MIN (offsetof(VmrPlugin, factories) + sizeof(void *))

typedef struct Image {
    const uint8_t *bytes;
    uint64_t size;
    const uint8_t *phdrs;
    unsigned phnum;
} Image;

static const char *machine_name(unsigned machine)
{
    switch (machine) {
    case EM_386:
        return "i386";
    case EM_X86_64:
        return "x86_64";
    case EM_ARM:
        return "arm";
    case EM_AARCH64:
        return "aarch64";
    case EM_RISCV:
        return "riscv";
    case EM_PPC64:
        return "ppc64";
    case EM_S390:
        return "s390";
    default:
        return "unknown";
    }
}

/* `length` bytes of the file from `offset`, or NULL. */
static const uint8_t *at(const Image *im, uint64_t offset, uint64_t length)
{
    return offset <= im->size && length <= im->size - offset ? im->bytes + offset : NULL;
}

/* The same by the address that it is loaded at: the bytes must come from the file. */
static const uint8_t *at_address(const Image *im, uint64_t address, uint64_t length)
{
    for (unsigned i = 0; i < im->phnum; i++) {
        Elf64_Phdr ph;
        memcpy(&ph, im->phdrs + i * sizeof(ph), sizeof(ph));
        if (ph.p_type != PT_LOAD || address < ph.p_vaddr)
            continue;
        uint64_t within = address - ph.p_vaddr;
        if (within <= ph.p_filesz && length <= ph.p_filesz - within &&
            within <= UINT64_MAX - ph.p_offset)
            return at(im, ph.p_offset + within, length);
    }
    return NULL;
}

static bool get_u32(const Image *im, uint64_t address, uint32_t *value)
{
    const uint8_t *p = at_address(im, address, sizeof(*value));
    if (p)
        memcpy(value, p, sizeof(*value));
    return p != NULL;
}

/* How many symbols a GNU hash section knows: the end of its longest chain. */
static bool gnu_hash_count(const Image *im, uint64_t address, uint64_t *count)
{
    uint32_t header[4]; /* buckets, first symbol, Bloom words, Bloom shift */
    const uint8_t *p = at_address(im, address, sizeof(header));
    if (!p)
        return false;
    memcpy(header, p, sizeof(header));
    uint64_t buckets = address + sizeof(header) + (uint64_t)header[2] * 8;
    uint64_t chains = buckets + (uint64_t)header[0] * 4;
    uint64_t last = 0;
    if (buckets < address || chains < buckets || (uint64_t)header[0] * 4 > im->size)
        return false;
    for (uint32_t i = 0; i < header[0]; i++) {
        uint32_t bucket;
        if (!get_u32(im, buckets + (uint64_t)i * 4, &bucket))
            return false;
        last = MAX(last, bucket);
    }
    if (last < header[1]) {
        *count = header[1]; /* nothing is exported */
        return true;
    }
    for (;; last++) {
        uint32_t entry;
        uint64_t where = chains + (last - header[1]) * 4;
        if (where < chains || !get_u32(im, where, &entry))
            return false;
        if (entry & 1)
            break;
    }
    *count = last + 1;
    return true;
}

static bool check_header(Image *im, const char *path, GPtrArray *problems)
{
    Elf64_Ehdr eh;
    if (im->size < SELFMAG || memcmp(im->bytes, ELFMAG, SELFMAG) != 0) {
        vmr_problem_add(problems, "%s: not a plugin: not an ELF file", path);
        return false;
    }
    if (im->size < sizeof(eh)) {
        vmr_problem_add(problems, "%s: the ELF file is truncated", path);
        return false;
    }
    memcpy(&eh, im->bytes, sizeof(eh));
    if (eh.e_ident[EI_CLASS] != ELFCLASS64 || eh.e_ident[EI_DATA] != HOST_DATA ||
        eh.e_machine != HOST_MACHINE) {
        vmr_problem_add(problems, "%s: built for another architecture: %s, %s bits (this is %s)",
                        path, machine_name(eh.e_machine),
                        eh.e_ident[EI_CLASS] == ELFCLASS64 ? "64" : "32",
                        machine_name(HOST_MACHINE));
        return false;
    }
    if (eh.e_type != ET_DYN) {
        vmr_problem_add(problems, "%s: not a plugin: not a shared object", path);
        return false;
    }
    if (eh.e_phentsize != sizeof(Elf64_Phdr) || eh.e_phnum > PROGRAM_HEADERS_MAX) {
        vmr_problem_add(problems, "%s: the ELF program headers are malformed", path);
        return false;
    }
    im->phnum = eh.e_phnum;
    im->phdrs = at(im, eh.e_phoff, (uint64_t)eh.e_phnum * sizeof(Elf64_Phdr));
    bool whole = im->phdrs != NULL;
    for (unsigned i = 0; whole && i < im->phnum; i++) {
        Elf64_Phdr ph;
        memcpy(&ph, im->phdrs + i * sizeof(ph), sizeof(ph));
        whole = ph.p_type != PT_LOAD || at(im, ph.p_offset, ph.p_filesz);
    }
    if (!whole)
        vmr_problem_add(problems, "%s: the ELF file is truncated", path);
    return whole;
}

typedef struct Dynamic {
    uint64_t symtab, strtab, strsz, syment, hash, gnu_hash, flags_1;
} Dynamic;

static bool read_dynamic(const Image *im, Dynamic *d)
{
    memset(d, 0, sizeof(*d));
    for (unsigned i = 0; i < im->phnum; i++) {
        Elf64_Phdr ph;
        memcpy(&ph, im->phdrs + i * sizeof(ph), sizeof(ph));
        if (ph.p_type != PT_DYNAMIC)
            continue;
        const uint8_t *p = at(im, ph.p_offset, ph.p_filesz);
        for (uint64_t n = p ? ph.p_filesz / sizeof(Elf64_Dyn) : 0; n; n--, p += sizeof(Elf64_Dyn)) {
            Elf64_Dyn dyn;
            memcpy(&dyn, p, sizeof(dyn));
            switch (dyn.d_tag) {
            case DT_NULL:
                n = 1;
                break;
            case DT_SYMTAB:
                d->symtab = dyn.d_un.d_ptr;
                break;
            case DT_STRTAB:
                d->strtab = dyn.d_un.d_ptr;
                break;
            case DT_STRSZ:
                d->strsz = dyn.d_un.d_val;
                break;
            case DT_SYMENT:
                d->syment = dyn.d_un.d_val;
                break;
            case DT_HASH:
                d->hash = dyn.d_un.d_ptr;
                break;
            case DT_GNU_HASH:
                d->gnu_hash = dyn.d_un.d_ptr;
                break;
            case DT_FLAGS_1:
                d->flags_1 = dyn.d_un.d_val;
                break;
            default:
                break;
            }
        }
        return d->symtab && d->strtab && (d->hash || d->gnu_hash) &&
               d->syment == sizeof(Elf64_Sym);
    }
    return false;
}

/* The exported data symbol VMR_PLUGIN_SYMBOL. */
static bool find_symbol(const Image *im, const Dynamic *d, Elf64_Sym *found)
{
    uint64_t count;
    if (d->hash) {
        uint32_t n;
        if (!get_u32(im, d->hash + 4, &n))
            return false;
        count = n;
    } else if (!gnu_hash_count(im, d->gnu_hash, &count)) {
        return false;
    }
    if (count > im->size / sizeof(Elf64_Sym))
        return false;
    const uint8_t *symbols = at_address(im, d->symtab, count * sizeof(Elf64_Sym));
    const uint8_t *names = at_address(im, d->strtab, d->strsz);
    for (uint64_t i = 0; symbols && names && i < count; i++) {
        memcpy(found, symbols + i * sizeof(*found), sizeof(*found));
        if (found->st_shndx != SHN_UNDEF && ELF64_ST_TYPE(found->st_info) == STT_OBJECT &&
            ELF64_ST_BIND(found->st_info) != STB_LOCAL && found->st_name < d->strsz &&
            d->strsz - found->st_name >= sizeof(VMR_PLUGIN_SYMBOL) &&
            memcmp(names + found->st_name, VMR_PLUGIN_SYMBOL, sizeof(VMR_PLUGIN_SYMBOL)) == 0)
            return true;
    }
    return false;
}

/* The numbers of the table; its pointers are not relocated yet and are left alone. */
static bool check_table(const Image *im, const Elf64_Sym *symbol, const char *path,
                        GPtrArray *problems)
{
    VmrPlugin table = {0};
    size_t head = offsetof(VmrPlugin, name);
    const uint8_t *p = symbol->st_size >= head ? at_address(im, symbol->st_value, head) : NULL;
    if (!p) {
        vmr_problem_add(problems, "%s: the table %s is truncated", path, VMR_PLUGIN_SYMBOL);
        return false;
    }
    memcpy(&table, p, head);
    if (table.magic != VMR_PLUGIN_MAGIC) {
        vmr_problem_add(problems, "%s: not a plugin: the table %s has no magic number", path,
                        VMR_PLUGIN_SYMBOL);
        return false;
    }
    if (table.abi_major != VMR_ABI_MAJOR) {
        vmr_problem_add(problems, "%s: built for plugin ABI %u.%u; this vmrun has ABI %u.%u", path,
                        table.abi_major, table.abi_minor, VMR_ABI_MAJOR, VMR_ABI_MINOR);
        return false;
    }
    if (table.abi_minor > VMR_ABI_MINOR) {
        vmr_problem_add(problems,
                        "%s: needs plugin ABI %u.%u, which is newer than this vmrun's %u.%u", path,
                        table.abi_major, table.abi_minor, VMR_ABI_MAJOR, VMR_ABI_MINOR);
        return false;
    }
    if (table.size < PLUGIN_SIZE_MIN || table.size > symbol->st_size ||
        !at_address(im, symbol->st_value, table.size)) {
        vmr_problem_add(problems, "%s: the table %s is truncated", path, VMR_PLUGIN_SYMBOL);
        return false;
    }
    return true;
}

static bool check_image(Image *im, const char *path, GPtrArray *problems)
{
    Dynamic dynamic;
    Elf64_Sym symbol;
    if (!check_header(im, path, problems))
        return false;
    if (!read_dynamic(im, &dynamic)) {
        vmr_problem_add(problems, "%s: not a plugin: no dynamic symbols", path);
        return false;
    }
    if (dynamic.flags_1 & DF_1_PIE) {
        vmr_problem_add(problems, "%s: not a plugin: a program, not a shared object", path);
        return false;
    }
    if (!find_symbol(im, &dynamic, &symbol)) {
        vmr_problem_add(problems, "%s: not a plugin: it does not export the symbol %s", path,
                        VMR_PLUGIN_SYMBOL);
        return false;
    }
    return check_table(im, &symbol, path, problems);
}

bool vmr_plugin_check_file(const char *path, GPtrArray *problems)
{
    struct stat st;
    bool ok = false;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        vmr_problem_add(problems, "%s: %s", path, g_strerror(errno));
    } else if (!S_ISREG(st.st_mode)) {
        vmr_problem_add(problems, "%s: not a plugin: not a file", path);
    } else if ((uint64_t)st.st_size > PLUGIN_FILE_MAX) {
        vmr_problem_add(problems, "%s: not a plugin: larger than %u bytes", path, PLUGIN_FILE_MAX);
    } else {
        uint8_t *bytes = g_malloc((size_t)st.st_size + 1);
        size_t n = 0;
        while (n < (size_t)st.st_size) {
            ssize_t r = read(fd, bytes + n, (size_t)st.st_size - n);
            if (r < 0 && errno == EINTR)
                continue;
            if (r <= 0)
                break;
            n += (size_t)r;
        }
        Image im = {.bytes = bytes, .size = n};
        ok = check_image(&im, path, problems);
        g_free(bytes);
    }
    if (fd >= 0)
        close(fd);
    return ok;
}
