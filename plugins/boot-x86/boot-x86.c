/*
 * plugins/boot-x86/boot-x86.c - the device that starts an x86 guest.
 *
 * It stands in for the firmware: at the end of a reset it puts what [boot] of
 * the machine file names into guest RAM and sets vCPU 0 to enter it.  Formats
 * are in linux.c, elf.c, multiboot.c and flat.c; plan.c places them; entry.c
 * has the CPU states.  Left out: EFI, options a user sets in a BIOS.
 */
#include "boot.h"

#include <vmrun/plugin.h>

typedef struct BootX86 {
    VmrDevice parent;
    BootPlan *plan; /* NULL: [boot] names nothing to start */
} BootX86;

/* ---- [boot] ------------------------------------------------------------ */

static bool parse_enum(const char *key, const char *text, const char *const *names,
                       unsigned *value, GError **error)
{
    if (!text)
        return true;
    for (unsigned i = 0; names[i]; i++) {
        if (strcmp(names[i], text) == 0) {
            *value = i;
            return true;
        }
    }
    g_autofree char *list = g_strjoinv(", ", (char **)names);
    return boot_fail(error, NULL, "[boot] %s: '%s' is none of %s", key, text, list);
}

static bool parse_settings(VmrDevice *dev, BootSettings *set, GError **error)
{
    static const char *const types[] = {"auto", "linux",  "elf", "multiboot",
                                        "flat", "sector", NULL};
    static const char *const entries[] = {"auto", "32", "64", NULL};
    static const char *const modes[] = {"real", "protected", "long", NULL};
    /* Ask for every key, also one that will not be used: an unasked key counts as unknown. */
    set->kernel = vmr_machine_value(dev, "boot", "kernel");
    set->initrd = vmr_machine_value(dev, "boot", "initrd");
    set->firmware = vmr_machine_value(dev, "boot", "firmware");
    set->disk = vmr_machine_value(dev, "boot", "disk");
    set->cmdline = vmr_machine_value(dev, "boot", "cmdline");
    if (!set->cmdline)
        set->cmdline = "";
    const char *load = vmr_machine_value(dev, "boot", "load-address");
    unsigned type = BOOT_AUTO, entry = 0, mode = BOOT_PROTECTED;
    if (!parse_enum("type", vmr_machine_value(dev, "boot", "type"), types, &type, error) ||
        !parse_enum("entry", vmr_machine_value(dev, "boot", "entry"), entries, &entry, error) ||
        !parse_enum("mode", vmr_machine_value(dev, "boot", "mode"), modes, &mode, error))
        return false;
    set->type = (BootType)type;
    set->entry_bits = entry * 32;
    set->mode = (BootMode)mode;
    set->load_address = set->mode == BOOT_REAL ? 0x7c00 : BOOT_1M;
    if (load) {
        char *end;
        set->load_address = g_ascii_strtoull(load, &end, 0);
        if (!g_ascii_isdigit(load[0]) || *end)
            return boot_fail(error, NULL, "[boot] load-address: '%s' is not a number", load);
        set->has_load_address = true;
    }
    return true;
}

/* ---- planning ---------------------------------------------------------- */

static BootType detect(const BootPlan *p)
{
    const BootFile *f = &p->kernel;
    if (boot_is_linux(f))
        return BOOT_LINUX;
    if (boot_is_elf(f))
        return BOOT_ELF;
    if (boot_is_multiboot(f))
        return BOOT_MULTIBOOT;
    if (p->set.has_load_address)
        return BOOT_FLAT;
    return boot_is_sector(f) ? BOOT_SECTOR : BOOT_AUTO;
}

/* An ELF image with both a PVH note and a Multiboot header is entered as PVH. */
static bool plan_elf(BootPlan *p, GError **error)
{
    uint64_t entry, pvh = 0;
    bool is64;
    if (p->set.type != BOOT_ELF && boot_is_multiboot(&p->kernel)) {
        g_autofree BootPlan *trial = g_memdup2(p, sizeof(*p));
        if (!boot_elf_load(trial, &entry, &pvh, &is64, NULL) || pvh == 0)
            return boot_plan_multiboot(p, error);
    }
    return boot_plan_elf(p, error);
}

static void read_ram(VmrDevice *dev, BootPlan *p)
{
    VmrMemoryRange ranges[BOOT_MAX_RAM];
    unsigned n = MIN(vmr_ram_ranges(dev, ranges, BOOT_MAX_RAM), BOOT_MAX_RAM);
    for (unsigned i = 0; i < n; i++) {
        VmrMemoryRange *last = p->ram_count ? &p->ram[p->ram_count - 1] : NULL;
        if (last && last->base + last->size == ranges[i].base)
            last->size += ranges[i].size; /* an image may cross from one into the next */
        else
            p->ram[p->ram_count++] = ranges[i];
    }
}

static bool make_plan(BootPlan *p, GError **error)
{
    BootSettings *set = &p->set;
    if (!set->kernel && !set->firmware)
        return boot_plan_disk(p, error);
    if (!set->kernel)
        return boot_file_read(&p->firmware, set->firmware, error) && boot_plan_firmware(p, error);
    if (set->firmware)
        return boot_fail(error, NULL, "[boot] has both a kernel and a firmware to start");
    if (!boot_file_read(&p->kernel, set->kernel, error) ||
        (set->initrd && !boot_file_read(&p->initrd, set->initrd, error)))
        return false;
    bool ok = false;
    switch (set->type == BOOT_AUTO ? detect(p) : set->type) {
    case BOOT_LINUX:
        ok = boot_plan_linux(p, error);
        break;
    case BOOT_ELF:
        ok = plan_elf(p, error);
        break;
    case BOOT_MULTIBOOT:
        ok = boot_plan_multiboot(p, error);
        break;
    case BOOT_FLAT:
        ok = boot_plan_flat(p, error);
        break;
    case BOOT_SECTOR:
        ok = boot_plan_sector(p, error);
        break;
    case BOOT_AUTO:
        return boot_fail(error, &p->kernel,
                         "is in no known format: not bzImage, ELF, Multiboot or a boot sector "
                         "(for a flat image, set [boot] load-address)");
    }
    if (ok && p->mode != BOOT_REAL)
        boot_entry_tables(p);
    return ok;
}

static void plan_free(BootPlan *p)
{
    if (!p)
        return;
    boot_file_clear(&p->kernel);
    boot_file_clear(&p->initrd);
    boot_file_clear(&p->firmware);
    g_free(p->bios);
    g_free(p);
}

/* ---- carrying it out --------------------------------------------------- */

static bool copy_chunk(VmrDevice *dev, const BootChunk *c)
{
    /* In pieces, as a host may bound a single transfer. */
    enum { PIECE = 1 << 20 };
    if (!c->data)
        return true;
    uint64_t at = 0;
    for (uint64_t n; at < c->data_size; at += n) {
        n = MIN(c->data_size - at, PIECE);
        if (vmr_dma_write(dev, c->address + at, c->data + at, (size_t)n) != VMR_OK)
            return false;
    }
    if (at == c->size)
        return true;
    g_autofree uint8_t *zeroes = g_malloc0(MIN(c->size - at, PIECE));
    for (uint64_t n; at < c->size; at += n) {
        n = MIN(c->size - at, PIECE);
        if (vmr_dma_write(dev, c->address + at, zeroes, (size_t)n) != VMR_OK)
            return false;
    }
    return true;
}

static bool start(VmrDevice *dev, const BootPlan *p)
{
    for (unsigned i = 0; i < p->chunk_count; i++) {
        const BootChunk *c = &p->chunks[i];
        vmr_trace(dev, "%s: 0x%" G_GINT64_MODIFIER "x, 0x%" G_GINT64_MODIFIER "x bytes", c->what,
                  c->address, c->size);
        if (!copy_chunk(dev, c)) {
            vmr_log(dev, VMR_LOG_ERROR, "%s cannot be written to guest RAM at 0x%"
                    G_GINT64_MODIFIER "x", c->what, c->address);
            return false;
        }
    }
    VmrCpu *cpu = vmr_cpu(dev, 0);
    const VmrX86CpuInterface *x86 = cpu ? vmr_cpu_interface(dev, cpu, VMR_X86_CPU) : NULL;
    if (!x86) {
        vmr_log(dev, VMR_LOG_ERROR, "CPU 0 is not an x86 CPU");
        return false;
    }
    VmrX86State state = {.size = sizeof(state)};
    g_autoptr(GError) error = NULL;
    x86->get_state(cpu, &state);
    boot_entry_state(p, &state);
    if (!x86->set_state(cpu, &state, &error)) {
        vmr_log(dev, VMR_LOG_ERROR, "CPU 0 refuses its first state: %s",
                error ? error->message : "no reason given");
        return false;
    }
    vmr_trace(dev, "%s, enters at 0x%" G_GINT64_MODIFIER "x", p->format, p->entry);
    return true;
}

static void boot_reset(VmrDevice *dev, VmrResetPhase phase, VmrResetKind kind)
{
    const BootPlan *p = ((BootX86 *)dev)->plan;
    if (phase != VMR_RESET_EXIT)
        return;
    if (!p) {
        vmr_log(dev, VMR_LOG_ERROR, "nothing to start: [boot] names no kernel and no disk (or use --kernel)");
        vmr_request(dev, VMR_REQUEST_EXIT, 2);
    } else if (p->set.disk && p->bios && !boot_find_disk(dev, p)) {
        vmr_log(dev, VMR_LOG_ERROR, "[boot] disk: '%s' is the drive of no IDE disk", p->set.disk);
        vmr_request(dev, VMR_REQUEST_EXIT, 2);
    } else if (!start(dev, p)) {
        vmr_request(dev, VMR_REQUEST_EXIT, 1);
    }
}

static bool boot_realize(VmrDevice *dev, GError **error)
{
    BootX86 *b = (BootX86 *)dev;
    BootPlan *p = g_new0(BootPlan, 1);
    read_ram(dev, p);
    bool ok = parse_settings(dev, &p->set, error);
    bool nothing = ok && !p->set.kernel && !p->set.firmware && !p->set.disk;
    if (ok && !nothing)
        ok = make_plan(p, error);
    if (ok && !nothing)
        b->plan = g_steal_pointer(&p);
    plan_free(p);
    return ok;
}

static void boot_unrealize(VmrDevice *dev)
{
    BootX86 *b = (BootX86 *)dev;
    plan_free(b->plan);
    b->plan = NULL;
}

static const VmrDeviceClass boot_x86_class = {
    .size = sizeof(VmrDeviceClass),
    .id = "boot-x86",
    .summary = "Starts an x86 guest: puts a kernel into RAM and enters it, in place of firmware",
    .doc =
        "What to start comes from [boot] of the machine file:\n"
        "  kernel        the image\n"
        "  initrd        an initial RAM disk, or the module of a PVH or Multiboot kernel\n"
        "  cmdline       the kernel's command line\n"
        "  type          auto (default), linux, elf, multiboot, flat or sector\n"
        "  entry         Linux: 64, 32 or auto (default: 64 where the kernel has it)\n"
        "  load-address  flat: where the image goes and is entered (default 0x100000, or\n"
        "                0x7c00 in real mode); setting it makes an unknown image a flat one\n"
        "  mode          flat: real, protected (default) or long\n"
        "  firmware      without a kernel: a BIOS image of up to 128 KiB that ends at 1 MiB\n"
        "                and starts at its reset vector\n"
        "  disk          without these two: the [drive NAME] whose first sector is started; it\n"
        "                must be one of an IDE disk\n"
        "\n"
        "Formats, found by content: Linux bzImage from boot protocol 2.02; ELF with a PVH\n"
        "note (XEN_ELFNOTE_PHYS32_ENTRY); Multiboot 1; plain ELF; a boot sector.\n"
        "\n"
        "How an image is entered: Linux, PVH and Multiboot as their protocols say.  A plain\n"
        "ELF32 in flat 32-bit protected mode with paging off; a plain ELF64 in long mode with\n"
        "the first 4 GiB mapped to themselves; both with RBX, RSI and RDI pointing at a PVH\n"
        "hvm_start_info (command line, module, memory map) and a stack of 3 KiB.  A flat image\n"
        "the same without start info.  Interrupts are off, CS is 0x10 and the data segments\n"
        "are 0x18 of a GDT in low RAM.  A boot sector starts at 0:7c00 with DL = 0x80, and finds\n"
        "a small BIOS: text, keyboard (both by the port at 0x3f8), memory size, ticks, and the\n"
        "boot disk.\n"
        "\n"
        "The loader keeps its tables at 0x90000-0x9fbff, except in real mode; an image must\n"
        "not load there.  0x9fc00-0xfffff is reserved in the memory map: the writers of ACPI\n"
        "and MP tables use it.  Everything is loaded again at each reset.",
    .flags = VMR_DEVICE_NO_STATE,
    .instance_size = sizeof(BootX86),
    .realize = boot_realize,
    .unrealize = boot_unrealize,
    .reset = boot_reset,
};

VMR_PLUGIN_DEVICE("boot-x86", "1.0", &boot_x86_class);
