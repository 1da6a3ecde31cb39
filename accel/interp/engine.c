/*
 * The ISA-neutral part of the interpreter: block cache, software TLB, events,
 * exclusive sections, and noticing writes to translated code.  See engine.h.
 *
 * Lock order: vm->lock, vm->code_lock and queue_lock are leaves; none is held
 * while another is taken, but for queue_lock below code_lock.
 */
#include "engine.h"

/* ---- events and exclusive sections ------------------------------------ */

void interp_cpu_event(InterpCpu *cpu, uint32_t event)
{
    atomic_fetch_or_explicit(&cpu->events, event, memory_order_acq_rel);
    atomic_store_explicit(&cpu->limit, 0, memory_order_release);
}

void interp_cpu_enter(InterpCpu *cpu)
{
    InterpVm *vm = cpu->vm;
    g_mutex_lock(&vm->lock);
    while (vm->exclusive_owner)
        g_cond_wait(&vm->resumed, &vm->lock);
    cpu->running = true;
    g_mutex_unlock(&vm->lock);
}

void interp_cpu_leave(InterpCpu *cpu)
{
    InterpVm *vm = cpu->vm;
    g_mutex_lock(&vm->lock);
    cpu->running = false;
    g_cond_broadcast(&vm->stopped);
    g_mutex_unlock(&vm->lock);
}

void interp_cpu_safe_point(InterpCpu *cpu)
{
    interp_cpu_ack(cpu, INTERP_EV_EXCLUSIVE);
    interp_cpu_leave(cpu);
    interp_cpu_enter(cpu);
}

void interp_exclusive_begin(InterpCpu *cpu)
{
    InterpVm *vm = cpu->vm;
    if (vm->cpu_count == 1)
        return;
    g_mutex_lock(&vm->lock);
    cpu->running = false;
    g_cond_broadcast(&vm->stopped);
    while (vm->exclusive_owner)
        g_cond_wait(&vm->resumed, &vm->lock);
    vm->exclusive_owner = cpu;
    for (unsigned i = 0; i < vm->cpu_count; i++) {
        InterpCpu *other = vm->cpus[i];
        if (other == cpu)
            continue;
        interp_cpu_event(other, INTERP_EV_EXCLUSIVE);
        while (other->running)
            g_cond_wait(&vm->stopped, &vm->lock);
    }
    g_mutex_unlock(&vm->lock);
}

void interp_exclusive_end(InterpCpu *cpu)
{
    InterpVm *vm = cpu->vm;
    if (vm->cpu_count == 1)
        return;
    g_mutex_lock(&vm->lock);
    vm->exclusive_owner = NULL;
    cpu->running = true;
    g_cond_broadcast(&vm->resumed);
    g_mutex_unlock(&vm->lock);
}

/* ---- block cache ------------------------------------------------------ */

static unsigned block_hash(uint64_t ram, uint32_t key)
{
    uint64_t h = (ram ^ ((uint64_t)key << 40)) * 0x9e3779b97f4a7c15ull;
    return (unsigned)(h >> (64 - INTERP_HASH_BITS));
}

InterpBlock *interp_block_find(InterpCpu *cpu, uint64_t ram, uint32_t key)
{
    for (InterpBlock *b = cpu->hash[block_hash(ram, key)]; b; b = b->hash_next)
        if (b->ram == ram && b->key == key)
            return b;
    return NULL;
}

InterpBlock *interp_block_new(InterpCpu *cpu)
{
    size_t most = sizeof(InterpBlock) + INTERP_BLOCK_OPS * sizeof(InterpOp);
    if (cpu->pool_used + most > INTERP_POOL_BYTES)
        interp_blocks_flush(cpu);
    InterpBlock *b = (InterpBlock *)(cpu->pool + cpu->pool_used);
    memset(b, 0, sizeof *b);
    b->ram2 = UINT64_MAX;
    return b;
}

static void page_add(InterpCpu *cpu, uint64_t ram, InterpBlock *block, unsigned slot)
{
    gpointer page = GSIZE_TO_POINTER(ram >> INTERP_PAGE_BITS);
    block->page_next[slot] = g_hash_table_lookup(cpu->pages, page);
    g_hash_table_insert(cpu->pages, page, block);
}

void interp_block_add(InterpCpu *cpu, InterpBlock *block, unsigned ops)
{
    cpu->pool_used += sizeof(InterpBlock) + ops * sizeof(InterpOp);
    unsigned h = block_hash(block->ram, block->key);
    block->hash_next = cpu->hash[h];
    cpu->hash[h] = block;
    page_add(cpu, block->ram, block, 0);
    if (block->ram2 != UINT64_MAX)
        page_add(cpu, block->ram2, block, 1);
    cpu->stats.blocks_translated++;
}

void interp_blocks_flush(InterpCpu *cpu)
{
    cpu->pool_used = 0;
    cpu->pool_gen++;
    cpu->stats.flushes++;
    memset(cpu->hash, 0, sizeof(InterpBlock *) << INTERP_HASH_BITS);
    memset(cpu->jumps, 0, sizeof cpu->jumps);
    g_hash_table_remove_all(cpu->pages);
}

/* Nobody may enter the block any more; whoever has a link to it finds out. */
static void block_kill(InterpCpu *cpu, InterpBlock *block)
{
    if (block->dead)
        return;
    block->dead = true;
    block->ops[0].handler = cpu->dead_handler;
    block->ops[0].code = cpu->dead_code;
    InterpBlock **at = &cpu->hash[block_hash(block->ram, block->key)];
    while (*at && *at != block)
        at = &(*at)->hash_next;
    if (*at)
        *at = block->hash_next;
}

/* All blocks of a page of RAM.  On the vCPU's own thread. */
static bool page_kill(InterpCpu *cpu, uint64_t page)
{
    InterpBlock *b = g_hash_table_lookup(cpu->pages, GSIZE_TO_POINTER(page));
    if (!b)
        return false;
    g_hash_table_remove(cpu->pages, GSIZE_TO_POINTER(page));
    while (b) {
        unsigned slot = b->ram >> INTERP_PAGE_BITS == page ? 0 : 1;
        InterpBlock *next = b->page_next[slot];
        block_kill(cpu, b);
        b = next;
    }
    return true;
}

/* The lines of one page that [ram, ram + len) touches; len stays within the page. */
static uint64_t lines_of(uint64_t ram, uint64_t len)
{
    unsigned first = (ram >> 6) & 63, last = ((ram + len - 1) >> 6) & 63;
    return (~0ull << first) & (~0ull >> (63 - last));
}

void interp_code_mark(InterpCpu *cpu, uint64_t ram, unsigned len)
{
    InterpVm *vm = cpu->vm;
    uint64_t page = ram >> INTERP_PAGE_BITS, lines = lines_of(ram, len);
    uint64_t old = atomic_load_explicit(&vm->code_lines[page], memory_order_acquire);
    if ((old & lines) == lines)
        return;
    if (old == 0) {
        /* The page's first code: writable TLB entries of all vCPUs must learn it. */
        interp_exclusive_begin(cpu);
        uint64_t base = page << INTERP_PAGE_BITS;
        for (unsigned c = 0; c < vm->cpu_count; c++) {
            for (unsigned t = 0; t < INTERP_TLBS; t++) {
                InterpTlb *tlb = &vm->cpus[c]->tlbs[t];
                if (!tlb->used)
                    continue;
                for (unsigned i = 0; i < INTERP_TLB_SIZE; i++)
                    if (tlb->info[i].ram == base)
                        tlb->e[i].tag_w |= TLB_CODE;
            }
        }
    }
    g_mutex_lock(&vm->code_lock);
    atomic_fetch_or_explicit(&vm->code_lines[page], lines, memory_order_acq_rel);
    g_mutex_unlock(&vm->code_lock);
    if (old == 0)
        interp_exclusive_end(cpu);
}

bool interp_code_written(InterpVm *vm, InterpCpu *cpu, uint64_t ram, uint64_t len)
{
    bool hit = false;
    while (len) {
        uint64_t n = MIN(len, INTERP_PAGE - (ram & (INTERP_PAGE - 1)));
        uint64_t page = ram >> INTERP_PAGE_BITS;
        if (page >= vm->pages)
            break;
        if (atomic_load_explicit(&vm->code_lines[page], memory_order_acquire) & lines_of(ram, n)) {
            g_mutex_lock(&vm->code_lock);
            atomic_store_explicit(&vm->code_lines[page], 0, memory_order_release);
            for (unsigned i = 0; i < vm->cpu_count; i++) {
                InterpCpu *other = vm->cpus[i];
                if (!other || other == cpu)
                    continue;
                g_mutex_lock(&other->queue_lock);
                g_array_append_val(other->queue, page);
                g_mutex_unlock(&other->queue_lock);
                interp_cpu_event(other, INTERP_EV_INVALIDATE);
            }
            g_mutex_unlock(&vm->code_lock);
            if (cpu && page_kill(cpu, page))
                hit = true;
        }
        ram += n;
        len -= n;
    }
    return hit;
}

void interp_cpu_handle_events(InterpCpu *cpu)
{
    uint32_t events = atomic_load_explicit(&cpu->events, memory_order_acquire);
    if (events & INTERP_EV_EXCLUSIVE)
        interp_cpu_safe_point(cpu);
    if (events & INTERP_EV_INVALIDATE) {
        interp_cpu_ack(cpu, INTERP_EV_INVALIDATE);
        g_mutex_lock(&cpu->queue_lock);
        for (unsigned i = 0; i < cpu->queue->len; i++)
            page_kill(cpu, g_array_index(cpu->queue, uint64_t, i));
        g_array_set_size(cpu->queue, 0);
        g_mutex_unlock(&cpu->queue_lock);
    }
    if (events & INTERP_EV_FLUSH) {
        interp_cpu_ack(cpu, INTERP_EV_FLUSH);
        interp_tlb_flush(cpu);
    }
}

/* ---- software TLB ----------------------------------------------------- */

void interp_tlb_flush(InterpCpu *cpu)
{
    cpu->map_gen++;
    for (unsigned t = 0; t < INTERP_TLBS; t++) {
        InterpTlb *tlb = &cpu->tlbs[t];
        if (!tlb->used)
            continue;
        memset(tlb->e, 0xff, sizeof tlb->e);
        memset(tlb->info, 0xff, sizeof tlb->info);
        tlb->used = false;
    }
    for (unsigned half = 0; half < 2; half++) {
        cpu->large_low[half] = UINT64_MAX;
        cpu->large_high[half] = 0;
    }
}

void interp_tlb_flush_page(InterpCpu *cpu, uint64_t addr)
{
    unsigned half = addr >> 63;
    if (addr >= cpu->large_low[half] && addr <= cpu->large_high[half]) {
        interp_tlb_flush(cpu);
        return;
    }
    cpu->map_gen++;
    uint64_t vpage = addr & INTERP_PAGE_MASK;
    for (unsigned t = 0; t < INTERP_TLBS; t++) {
        InterpTlbEntry *e = interp_tlb_entry(&cpu->tlbs[t], addr);
        if ((e->tag_r & INTERP_PAGE_MASK) == vpage || (e->tag_w & INTERP_PAGE_MASK) == vpage ||
            (e->tag_x & INTERP_PAGE_MASK) == vpage) {
            memset(e, 0xff, sizeof *e);
            interp_tlb_info(&cpu->tlbs[t], addr)->ram = UINT64_MAX;
        }
    }
}

void interp_tlb_fill(InterpCpu *cpu, InterpTlb *tlb, uint64_t vpage, uint64_t phys, unsigned prot,
                     uint64_t page_size)
{
    InterpTlbEntry *e = interp_tlb_entry(tlb, vpage);
    InterpTlbInfo *info = interp_tlb_info(tlb, vpage);
    VmrMachine *m = cpu->vm->machine;
    vpage &= INTERP_PAGE_MASK;
    phys &= INTERP_PAGE_MASK & cpu->vm->a20_mask;
    const VmrRange *range = vmr_space_find(m->memory, phys);
    bool whole = range && range->kind != VMR_RANGE_IO && range->base <= phys &&
                 range->last >= phys + INTERP_PAGE - 1;
    uint64_t r = 0, w = 0, x = 0;

    info->phys = phys;
    info->size = page_size;
    info->ram = UINT64_MAX;
    e->addend = 0;
    if (whole) {
        info->ram = range->ram_offset + (phys - range->base);
        e->addend = (uint64_t)(uintptr_t)(range->host + (phys - range->base)) - vpage;
        if (range->kind == VMR_RANGE_ROM)
            w = TLB_MMIO;
        else if (atomic_load_explicit(&cpu->vm->code_lines[info->ram >> INTERP_PAGE_BITS],
                                      memory_order_acquire))
            w = TLB_CODE;
    } else {
        r = w = x = TLB_MMIO;
    }
    e->tag_r = prot & 1 ? vpage | r : ~0ull;
    e->tag_w = prot & 2 ? vpage | w : ~0ull;
    e->tag_x = prot & 4 ? vpage | x : ~0ull;
    tlb->used = true;
    if (page_size > INTERP_PAGE) {
        unsigned half = vpage >> 63;
        uint64_t low = vpage & ~(page_size - 1), high = low + page_size - 1;
        cpu->large_low[half] = MIN(cpu->large_low[half], low);
        cpu->large_high[half] = MAX(cpu->large_high[half], high);
    }
}

/* ---- life ------------------------------------------------------------- */

void interp_vm_init(InterpVm *vm, VmrMachine *machine)
{
    vm->machine = machine;
    vm->a20_mask = ~0ull;
    vm->cpu_count = machine->cpu_count;
    vm->cpus = g_new0(InterpCpu *, vm->cpu_count);
    vm->pages = machine->ram.size >> INTERP_PAGE_BITS;
    vm->code_lines = g_malloc0_n(vm->pages, sizeof *vm->code_lines);
    g_mutex_init(&vm->code_lock);
    g_mutex_init(&vm->lock);
    g_cond_init(&vm->resumed);
    g_cond_init(&vm->stopped);
}

void interp_vm_clear(InterpVm *vm)
{
    g_free(vm->cpus);
    g_free(vm->code_lines);
    g_mutex_clear(&vm->code_lock);
    g_mutex_clear(&vm->lock);
    g_cond_clear(&vm->resumed);
    g_cond_clear(&vm->stopped);
}

bool interp_cpu_init(InterpCpu *cpu, InterpVm *vm, VmrCpu *core, unsigned index, GError **error)
{
    cpu->vm = vm;
    cpu->core = core;
    cpu->index = index;
    cpu->map_gen = 1;
    cpu->pool = aligned_alloc(64, INTERP_POOL_BYTES);
    if (!cpu->pool) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_NOMEM, "no memory for the block cache");
        return false;
    }
    cpu->hash = g_malloc0(sizeof(InterpBlock *) << INTERP_HASH_BITS);
    cpu->pages = g_hash_table_new(NULL, NULL);
    cpu->queue = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_mutex_init(&cpu->queue_lock);
    for (unsigned t = 0; t < INTERP_TLBS; t++)
        cpu->tlbs[t].used = true;
    interp_tlb_flush(cpu);
    cpu->tlb = &cpu->tlbs[1];
    vm->cpus[index] = cpu;
    return true;
}

void interp_cpu_clear(InterpCpu *cpu)
{
    cpu->vm->cpus[cpu->index] = NULL;
    free(cpu->pool);
    g_free(cpu->hash);
    g_hash_table_destroy(cpu->pages);
    g_array_free(cpu->queue, TRUE);
    g_mutex_clear(&cpu->queue_lock);
}
