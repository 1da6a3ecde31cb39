/*
 * core/host.c - the table that every device gets: VmrHost of vmrun/host.h.
 */
#include "chardev.h"
#include "display.h"
#include "drive.h"
#include "net.h"
#include "runtime.h"

#include <string.h>

static VmrMachine *machine(VmrDevice *dev)
{
    return dev->handle->machine;
}

/* ---- DMA -------------------------------------------------------------- */

static VmrResult dma_read(VmrDevice *dev, uint64_t address, void *buf, size_t len)
{
    VmrResult r = vmr_space_copy_from(machine(dev)->memory, address, buf, len);
    if (vmr_tracing(VMR_TRACE_DMA))
        vmr_core_trace(dev->name, "dma: read 0x%" PRIx64 " %zu bytes%s", address, len,
                       r ? ": failed" : "");
    return r;
}

static VmrResult dma_write(VmrDevice *dev, uint64_t address, const void *buf, size_t len)
{
    VmrResult r = vmr_space_copy_to(machine(dev)->memory, address, buf, len);
    if (vmr_tracing(VMR_TRACE_DMA))
        vmr_core_trace(dev->name, "dma: write 0x%" PRIx64 " %zu bytes%s", address, len,
                       r ? ": failed" : "");
    return r;
}

static void *dma_map(VmrDevice *dev, uint64_t address, size_t *len, bool for_write)
{
    void *p = NULL;
    vmr_reader_pin();
    const VmrRange *r = vmr_space_find(machine(dev)->memory, address);
    if (r && *len && (r->kind == VMR_RANGE_RAM || (r->kind == VMR_RANGE_ROM && !for_write))) {
        *len = (size_t)MIN((uint64_t)(*len - 1), r->last - address) + 1;
        p = r->host + (address - r->base);
    }
    vmr_reader_unpin(); /* RAM itself stays as long as the machine */
    if (vmr_tracing(VMR_TRACE_DMA))
        vmr_core_trace(dev->name, "dma: map 0x%" PRIx64 " %zu bytes%s", address, *len,
                       p ? "" : ": not RAM");
    return p;
}

static void dma_unmap(VmrDevice *dev, void *p, size_t len, size_t written)
{
    VmrMachine *m = machine(dev);
    uint8_t *from = p;
    written = MIN(written, len);
    if (written && m->vm && m->accel->ram_written && from >= m->ram.base &&
        from < m->ram.base + m->ram.size)
        m->accel->ram_written(m->vm, (uint64_t)(from - m->ram.base), written);
}

/* The piece of plain RAM at `address`, up to `length` bytes, goes back.  How long it is; 0: not RAM. */
static uint64_t release_piece(VmrMachine *m, uint64_t address, uint64_t length)
{
    uint64_t offset = 0;
    vmr_reader_pin();
    const VmrRange *r = vmr_space_find(m->memory, address);
    bool ram = r && r->kind == VMR_RANGE_RAM && !r->device;
    if (ram) {
        length = MIN(length - 1, r->last - address) + 1;
        offset = r->ram_offset + (address - r->base);
    }
    vmr_reader_unpin();
    if (ram && vmr_ram_discard(&m->ram, offset, length) && m->vm && m->accel->ram_written)
        m->accel->ram_written(m->vm, offset, length);
    return ram ? length : 0;
}

static void ram_release(VmrDevice *dev, uint64_t address, uint64_t length)
{
    VmrMachine *m = machine(dev);
    if (!length || address + (length - 1) < address || length > m->ram.size)
        return;
    uint64_t end = (address + length) & ~UINT64_C(4095), at = (address + 4095) & ~UINT64_C(4095);
    uint64_t done;
    while (at >= address && at < end && (done = release_piece(m, at, end - at)))
        at += done;
}

/* ---- the machine ------------------------------------------------------ */

static int64_t clock_now(VmrDevice *dev, VmrClock clock)
{
    return clock == VMR_CLOCK_WALL ? vmr_clock_wall() : vmr_machine_time(machine(dev));
}

static void request(VmrDevice *dev, VmrRequest r, uint32_t code)
{
    vmr_machine_request(machine(dev), r, code);
}

static unsigned cpu_count(VmrDevice *dev)
{
    return machine(dev)->cpu_count;
}

static VmrCpu *cpu(VmrDevice *dev, unsigned index)
{
    VmrMachine *m = machine(dev);
    return index < m->cpu_count ? &m->cpus[index] : NULL;
}

static const void *cpu_interface(VmrCpu *c, const char *id)
{
    const VmrAccelClass *a = c ? c->machine->accel : NULL;
    return a && c->acpu && a->cpu_interface ? a->cpu_interface(c->acpu, id) : NULL;
}

static int initiator(VmrDevice *dev)
{
    return vmr_current_initiator;
}

static unsigned ram_ranges(VmrDevice *dev, VmrMemoryRange *ranges, unsigned max)
{
    const GArray *all = machine(dev)->ram_ranges;
    for (unsigned i = 0; i < all->len && i < max; i++)
        ranges[i] = g_array_index(all, VmrMemoryRange, i);
    return all->len;
}

static const char *machine_value(VmrDevice *dev, const char *section, const char *key)
{
    return vmr_machine_value_text(machine(dev), section, key);
}

static VmrDevice *device_next(VmrDevice *dev, VmrDevice *after)
{
    const GPtrArray *all = machine(dev)->devices;
    for (unsigned i = 0; i < all->len; i++) {
        VmrDeviceHandle *h = all->pdata[i];
        if (!after)
            return h->device;
        if (h->device == after)
            after = NULL;
    }
    return NULL;
}

static const VmrDescription *description(VmrDevice *dev, VmrDevice *of)
{
    return of && of->handle ? of->handle->description : NULL;
}

const VmrHost *vmr_host_table(void)
{
    static const VmrHost table = {
        .size = sizeof(VmrHost),
        .abi_major = VMR_ABI_MAJOR,
        .abi_minor = VMR_ABI_MINOR,
        .irq_set = vmr_irq_drive,
        .dma_read = dma_read,
        .dma_write = dma_write,
        .dma_map = dma_map,
        .dma_unmap = dma_unmap,
        .clock_now = clock_now,
        .timer_new = vmr_host_timer_new,
        .timer_set = vmr_host_timer_set,
        .timer_cancel = vmr_host_timer_cancel,
        .timer_pending = vmr_host_timer_pending,
        .timer_free = vmr_host_timer_free,
        .watch_new = vmr_host_watch_new,
        .watch_free = vmr_host_watch_free,
        .work_submit = vmr_host_work_submit,
        .chardev_attach = vmr_chardev_host_attach,
        .chardev_write = vmr_chardev_host_write,
        .chardev_accept_input = vmr_chardev_host_accept_input,
        .request = request,
        .cpu_count = cpu_count,
        .cpu = cpu,
        .cpu_interface = cpu_interface,
        .initiator = initiator,
        .ram_ranges = ram_ranges,
        .machine_value = machine_value,
        .device_next = device_next,
        .description = description,
        .log = vmr_host_log,
        .trace_enabled = vmr_host_trace_enabled,
        .trace = vmr_host_trace,
        .region_map = vmr_host_region_map,
        .region_placed = vmr_host_region_placed,
        .display_attach = vmr_display_host_attach,
        .drive_attach = vmr_drive_host_attach,
        .drive_submit = vmr_drive_host_submit,
        .drive_drain = vmr_drive_host_drain,
        .net_attach = vmr_net_host_attach,
        .net_offloads = vmr_net_host_offloads,
        .net_send = vmr_net_host_send,
        .net_accept = vmr_net_host_accept,
        .ram_release = ram_release,
    };
    return &table;
}
